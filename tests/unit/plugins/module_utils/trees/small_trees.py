# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Small trees for the tests, and archives of them, honest and hostile."""

from __future__ import annotations

import io
import os
import tarfile
import typing as t
from pathlib import Path

from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout
from ansible_collections.unshare.container.plugins.module_utils.trees.kinds_of_sources import TREE_SOURCES
from ansible_collections.unshare.container.plugins.module_utils.trees.making import TreeMaking

NAME = "small"
LIMIT = 1 << 24
STATUS = "Package: hello\nStatus: install ok installed\nArchitecture: all\nVersion: {version}\n\n"


def make_tree(directory: Path, version: str = "1") -> Path:
    """Make a directory that holds a small tree, with a package of a version. Return it."""
    for name in ("usr/bin", "etc", "var/lib/dpkg", "var/log"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    (directory / "usr/bin/hello").write_text(f"version {version}\n")
    (directory / "var/lib/dpkg/status").write_text(STATUS.format(version=version))
    if not (directory / "bin").is_symlink():
        (directory / "bin").symlink_to("usr/bin")
    return directory


def member(name: str, content: bytes = b"", **attributes: t.Any) -> tuple[tarfile.TarInfo, bytes]:
    """Return a member of an archive, of this process's own ids, with further attributes of TarInfo."""
    info = tarfile.TarInfo(name)
    info.uid, info.gid, info.mode, info.size = os.geteuid(), os.getegid(), 0o644, len(content)
    for key, value in attributes.items():
        setattr(info, key, value)
    return info, content


def directory(name: str, **attributes: t.Any) -> tuple[tarfile.TarInfo, bytes]:
    """Return a directory, as `member` does."""
    return member(name, type=tarfile.DIRTYPE, mode=0o755, **attributes)


def archive(path: Path, *members: tuple[tarfile.TarInfo, bytes], mode: str = "w") -> Path:
    """Write an archive of some members in their order, and return its path."""
    with tarfile.open(path, mode, format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return path


def making(
    root: Path, kind: str | None, given: dict[str, t.Any] | None = None, check: bool = False, limit: int = LIMIT
) -> TreeMaking:
    """Return what makes the tree NAME below a root."""
    source = None if kind is None else TREE_SOURCES[kind](given or {})
    return TreeMaking(Layout(root), NAME, source, limit, 60.0, check)


def left(root: Path) -> list[str]:
    """Return what lies where trees are kept, names of trees included."""
    trees = Layout(root).trees
    if not trees.is_dir():
        return []
    return sorted(str(path.relative_to(trees)) for path in [*trees.iterdir(), *(trees / "names").glob("*")])
