# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The changes from one system to another, for `--diff`: only the files that differ, and no secret.

Both systems are compared as what would be in `spec.json` and below `root/`; neither is run. It makes no difference
whether the second one is on the host already.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict

from ..launcher import confine
from ..launcher.errors import LauncherError
from ..launcher.specification import read_spec
from .system_content import SystemContent
from .tree_records import changed_packages, package_lines
from .trees import facts_in

if TYPE_CHECKING:
    from ..launcher.contract import Directory, Mount, Specification
    from ..launcher.store import Store

NOT_SETTINGS = (
    "store",
    "files",
    "directories",
    "host_files",
    "file_systems",
    "ports",
    "launcher",
    "python",
    "filter_digest",
)
"""Parts of the specification that are shown in a way of their own."""

PARTS = (
    "boot",
    "store",
    "mounts",
    "directories",
    "files taken from beside the store",
    "settings",
    "ports of the host",
    "system-call filter",
    "launcher",
)
"""All but the files, by the titles under which they are shown."""

SYSTEMS = "systems"
"""The key by which a difference names its two systems. The controller removes it."""

Difference = Dict[str, str]


class Snapshot:
    """A system in the form of a diff: every part by its title, as text.

    :param packages: those of the tree that is its store, by name, with their versions.
    :ivar known: whether there is one, which could be read.
    """

    def __init__(
        self,
        specification: Specification | None,
        contents: dict[str, bytes],
        boot: str,
        seccomp_filter: bytes | None = None,
        packages: dict[str, str] | None = None,
    ) -> None:
        self.packages = packages or {}
        self.known = specification is not None
        self.files = specification.files if specification else {}
        self.contents = contents
        self.parts = dict.fromkeys(PARTS, "")
        if specification:
            self.parts.update(
                {
                    "boot": boot,
                    "store": _store(specification.store),
                    "mounts": _lines(_mount(mount, specification.store) for mount in specification.file_systems),
                    "directories": _lines(_directory(entry) for entry in specification.directories),
                    "files taken from beside the store": _lines(specification.host_files),
                    "settings": _settings(specification),
                    "ports of the host": _lines(f"{port}" for port in specification.ports),
                    "system-call filter": _filter(seccomp_filter),
                    "launcher": f"launcher {specification.launcher}\npython {specification.python}\n",
                }
            )

    def text(self, path: str) -> str:
        """Return the file `path` as a diff shows it; "" when the system does not have it."""
        entry = self.files.get(path)
        if entry is None:
            return ""
        if entry.link is not None:
            return f"link to {entry.link}\n"
        content = self.contents.get(path, b"")
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            return f"binary, {len(content)} bytes\n"
        if "\0" in text:
            return f"binary, {len(content)} bytes\n"
        return text or "(empty)\n"

    def attributes(self, path: str) -> str:
        """Return the mode and owner of the file `path`; "" when it has none of its own."""
        entry = self.files.get(path)
        if entry is None or entry.link is not None:
            return ""
        return f"mode {entry.mode}, owner {entry.uid}:{entry.gid}\n"


def of_content(
    content: SystemContent, seccomp_filter: bytes | None, packages: dict[str, str] | None = None
) -> Snapshot:
    """Return the snapshot of the system that would be written; `packages` are those of the tree that is its store."""
    contents = {path: file.content for path, file in content.files.items() if file.link is None}
    return Snapshot(content.specification, contents, content.boot, seccomp_filter, packages)


def of_directory(directory: Path | None) -> Snapshot:
    """Return the snapshot of the system in `directory`; an empty one when there is none, or it cannot be read."""
    if directory is None:
        return Snapshot(None, {}, "")
    try:
        specification = read_spec(str(directory))
        contents = {
            path: (directory / "root" / path[1:]).read_bytes()
            for path, entry in specification.files.items()
            if entry.link is None
        }
        filter_path = directory / confine.FILTER
        seccomp_filter = filter_path.read_bytes() if filter_path.exists() else None
        packages = tree_packages(specification, directory.parent.parent / "trees")
        return Snapshot(specification, contents, (directory / "boot").read_text("utf-8"), seccomp_filter, packages)
    except (OSError, ValueError, LauncherError):
        return Snapshot(None, {}, "")


def tree_packages(specification: Specification, trees: Path) -> dict[str, str]:
    """Return the packages of the tree, in a directory of trees, that is a system's store, by name; none without one."""
    content = specification.store.content
    return facts_in(trees, content).packages if content else {}


def differences(before: Snapshot, after: Snapshot) -> list[Difference]:
    """Return one entry for each part that differs, in the form that Ansible shows with `--diff`."""
    result: list[Difference] = []
    for path in sorted({*before.files, *after.files}):
        result += _file_differences(path, before, after)
    for title in after.parts:
        if before.parts[title] != after.parts[title]:
            former, new = before.parts[title], after.parts[title]
            if title == "store" and before.packages and after.packages:
                changes = changed_packages(before.packages, after.packages)
                former, new = former + package_lines(changes, "before"), new + package_lines(changes, "after")
            result.append(_difference(title, former, new))
    return result


def between(before: Path | None, after: Path) -> list[Difference]:
    """Return the differences of two systems on the host, or of none and one; none when `after` cannot be read."""
    wanted = of_directory(after)
    return marked(differences(of_directory(before), wanted), before, after) if wanted.known else []


def marked(found: list[Difference], before: Path | None, after: Path) -> list[Difference]:
    """Return differences with the names of their two systems, by which the controller shows each once in a run."""
    return [{**entry, SYSTEMS: f"{before.name if before else ''} {after.name}"} for entry in found]


def _file_differences(path: str, before: Snapshot, after: Snapshot) -> list[Difference]:
    texts = before.text(path), after.text(path)
    attributes = before.attributes(path), after.attributes(path)
    if any(path in snapshot.files and snapshot.files[path].secret for snapshot in (before, after)):
        changed = before.contents.get(path) != after.contents.get(path) or texts[0] != texts[1]
        texts = _hide(before, path), _hide(after, path, changed)
    elif texts[0] == texts[1] and before.contents.get(path) != after.contents.get(path):
        texts = texts[0], texts[1].rstrip("\n") + ", other content\n"
    result = []
    if texts[0] != texts[1]:
        result.append(_difference(path, *texts))
    if attributes[0] != attributes[1] and all(path in snapshot.files for snapshot in (before, after)):
        result.append(_difference(f"{path} (attributes)", *attributes))
    return result


def _hide(snapshot: Snapshot, path: str, changed: bool = False) -> str:
    if path not in snapshot.files:
        return ""
    return "secret, changed\n" if changed else "secret\n"


def _difference(title: str, before: str, after: str) -> Difference:
    return {"before_header": title, "after_header": title, "before": before, "after": after}


def _filter(seccomp_filter: bytes | None) -> str:
    """Return a line for the filter: its hash, since it is a program for the kernel."""
    return "" if seccomp_filter is None else f"SHA-256 {hashlib.sha256(seccomp_filter).hexdigest()}\n"


def _lines(lines: Any) -> str:
    return "".join(f"{line}\n" for line in lines)


def _store(store: Store) -> str:
    return f"{store.tree} at {store.content}\n" if store.tree else f"{store.source} at {store.target}\n"


def _mount(mount: Mount, store: Store) -> str:
    device = mount.device
    if store.tree and device == store.source:
        device = f"the tree {store.tree}"  # its content is shown as the store's
    if isinstance(device, dict):
        device = " ".join(f"{key}={value}" for key, value in sorted(device.items()))
    details = list(mount.flags)
    details += [mount.options] if mount.options else []
    details += [key for key in ("required", "mount_may_fail") if getattr(mount, key)]
    details += [f"{key} {getattr(mount, key)}" for key in ("uid", "gid") if getattr(mount, key) is not None]
    return f"{mount.mount_point} from {device}, {mount.type} ({', '.join(details) or 'no flags'})"


def _directory(entry: Directory) -> str:
    return f"{entry.path} mode {entry.mode}, owner {entry.uid}:{entry.gid}"


def _settings(specification: Specification) -> str:
    settings = {key: value for key, value in specification.write().items() if key not in NOT_SETTINGS}
    return json.dumps(settings, indent=2, sort_keys=True) + "\n"
