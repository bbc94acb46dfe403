# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Trees for tests that make trees: a shell and a few programs of this machine, which a container runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import typing as t
from pathlib import Path

from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout
from ansible_collections.unshare.container.plugins.module_utils.trees.kinds_of_sources import TREE_SOURCES
from ansible_collections.unshare.container.plugins.module_utils.trees.making import TreeMaking

NAME = "test-trees"
PROGRAMS = ("sh", "cat", "sleep", "mkdir", "chmod", "chown", "ln", "rm", "touch")
WAITING = {"argv": ["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"]}
STATUS = "Package: hello\nStatus: install ok installed\nArchitecture: all\nVersion: {version}\n\n"


def make_bootable(tree: Path, version: str) -> None:
    """Make a directory that holds a tree with a shell, a few programs, and what these are linked with."""
    for name in ("usr/bin", "usr/share/hello", "etc", "var/lib/dpkg"):
        (tree / name).mkdir(parents=True, exist_ok=True)
    for program in PROGRAMS:
        real = Path("/usr/bin", program).resolve()
        shutil.copy2(real, tree / "usr/bin" / program)
        linked = subprocess.run(["ldd", str(real)], capture_output=True, text=True, check=True, timeout=60).stdout
        for library in map(Path, re.findall(r"(/\S+) \(0x", linked)):
            place = tree / "usr" / str(library).removeprefix("/usr").lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(library.resolve(), place)
    for name in ("bin", "sbin", "lib", "lib64"):
        if (tree / "usr" / name).is_dir() and not (tree / name).is_symlink():
            (tree / name).symlink_to(f"usr/{name}")
    (tree / "usr/share/hello/text").write_text(f"version {version}\n")
    (tree / "var/lib/dpkg/status").write_text(STATUS.format(version=version))


def making(root: Path, kind: str | None, given: dict[str, t.Any] | None = None, timeout: float = 60.0) -> TreeMaking:
    """Return what makes the tree NAME on a host below a root."""
    source = None if kind is None else TREE_SOURCES[kind](given or {})
    return TreeMaking(Layout(root), NAME, source, 1 << 30, timeout)


def left(root: Path) -> set[str]:
    """Return what lies where trees are kept, but what names lead to."""
    trees = Layout(root).trees
    return set(os.listdir(trees)) - {"names"} if trees.is_dir() else set()
