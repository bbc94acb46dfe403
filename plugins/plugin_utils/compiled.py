# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The code of the controller's side, as Python keeps it compiled.

Ansible's loader of collections compiles every file in every run, which took the larger part of a second. So the files
that plugins share are loaded as Python loads any others: compiled once, and anew when a file has changed.
"""

from __future__ import annotations

import functools
import sys
import typing as t
from importlib import machinery

from ansible.utils.collection_loader import AnsibleCollectionConfig

SHARED = ("plugin_utils", "module_utils")
"""The directories, beside each other, whose files are loaded so. Ansible loads the plugins themselves."""


@functools.cache
def _in_directory(directory: str) -> machinery.FileFinder:
    return machinery.FileFinder(directory, (machinery.SourceFileLoader, machinery.SOURCE_SUFFIXES))


class CompiledCode:
    """A finder of the modules below SHARED.

    :param plugins: the package that has them.
    """

    def __init__(self, plugins: str) -> None:
        self.prefixes = tuple(f"{plugins}.{name}." for name in SHARED)

    def find_spec(
        self, name: str, path: t.Sequence[str] | None = None, target: object = None
    ) -> machinery.ModuleSpec | None:
        """Return where a module is, as Python asks every finder."""
        if name.startswith(self.prefixes):
            for directory in path or ():
                found = _in_directory(directory).find_spec(name)
                if found:
                    return found
        return None

    @staticmethod
    def invalidate_caches() -> None:
        """Look at the directories again, as `importlib.invalidate_caches` asks every finder to."""
        _in_directory.cache_clear()


def keep_compiled(plugins: str) -> None:
    """Have the modules below SHARED be found before Ansible's finder of collections is asked, where there is that.

    :param plugins: the package that has them.
    """
    ours, ansible = CompiledCode(plugins), AnsibleCollectionConfig.collection_finder
    if ansible in sys.meta_path and not any(getattr(one, "prefixes", None) == ours.prefixes for one in sys.meta_path):
        sys.meta_path.insert(sys.meta_path.index(ansible), ours)
