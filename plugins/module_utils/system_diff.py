# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What changes from one system to another, for `--diff`: only the files that differ, and no secret.

Both systems are compared as what would be in `spec.json` and below `root/`; neither is asked what it does.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict

from .system_content import SystemContent

NOT_SETTINGS = ("files", "directories", "host_files", "file_systems", "launcher", "python")
"""Parts of the specification that are shown in a way of their own."""

Difference = Dict[str, str]


class Snapshot:
    """A system as a diff sees it: every part by its title, as text."""

    def __init__(self, specification: dict[str, Any], contents: dict[str, bytes], boot: str) -> None:
        self.files: dict[str, dict[str, Any]] = specification.get("files") or {}
        self.contents = contents
        self.parts = {
            "boot": boot,
            "mounts": _lines(_mount(mount) for mount in specification.get("file_systems") or []),
            "directories": _lines(_directory(entry) for entry in specification.get("directories") or []),
            "files taken from beside the store": _lines(specification.get("host_files") or []),
            "settings": _settings(specification),
            "launcher": _lines(
                f"{key} {specification[key]}" for key in ("launcher", "python") if specification.get(key)
            ),
        }

    def text(self, path: str) -> str:
        """The file `path` as it is shown, no text when the system does not have it."""
        entry = self.files.get(path)
        if entry is None:
            return ""
        if "link" in entry:
            return f"link to {entry['link']}\n"
        content = self.contents.get(path, b"")
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            return f"binary, {len(content)} bytes\n"
        if "\0" in text:
            return f"binary, {len(content)} bytes\n"
        return text or "(empty)\n"

    def attributes(self, path: str) -> str:
        """Mode and owner of the file `path`, empty when it has none of its own."""
        entry = self.files.get(path)
        if entry is None or "link" in entry:
            return ""
        return f"mode {entry.get('mode')}, owner {entry.get('uid')}:{entry.get('gid')}\n"


def of_content(content: SystemContent) -> Snapshot:
    """The system that would be written."""
    contents = {path: file.content for path, file in content.files.items() if file.link is None}
    return Snapshot(content.specification(), contents, content.boot)


def of_directory(directory: Path | None) -> Snapshot:
    """The system in `directory`; an empty one when there is none, or none that can be read."""
    if directory is None:
        return Snapshot({}, {}, "")
    try:
        specification = json.loads((directory / "spec.json").read_text("utf-8"))
        contents = {
            path: (directory / "root" / path[1:]).read_bytes()
            for path, entry in specification["files"].items()
            if "link" not in entry
        }
        return Snapshot(specification, contents, (directory / "boot").read_text("utf-8"))
    except (OSError, ValueError, KeyError, TypeError):
        return Snapshot({}, {}, "")


def differences(before: Snapshot, after: Snapshot) -> list[Difference]:
    """One entry for each part that differs, in the form that Ansible shows with `--diff`."""
    result: list[Difference] = []
    for path in sorted({*before.files, *after.files}):
        result += _file_differences(path, before, after)
    for title in after.parts:
        if before.parts[title] != after.parts[title]:
            result.append(_difference(title, before.parts[title], after.parts[title]))
    return result


def _file_differences(path: str, before: Snapshot, after: Snapshot) -> list[Difference]:
    texts = before.text(path), after.text(path)
    attributes = before.attributes(path), after.attributes(path)
    if any(snapshot.files.get(path, {}).get("secret") for snapshot in (before, after)):
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


def _lines(lines: Any) -> str:
    return "".join(f"{line}\n" for line in lines)


def _mount(mount: dict[str, Any]) -> str:
    device = mount.get("device")
    if isinstance(device, dict):
        device = " ".join(f"{key}={value}" for key, value in sorted(device.items()))
    details = list(mount.get("flags") or [])
    details += [mount["options"]] if mount.get("options") else []
    details += [key for key in ("required", "mount_may_fail") if mount.get(key)]
    return f"{mount.get('mount_point')} from {device}, {mount.get('type')} ({', '.join(details) or 'no flags'})"


def _directory(entry: dict[str, Any]) -> str:
    return f"{entry['path']} mode {entry['mode']}, owner {entry['uid']}:{entry['gid']}"


def _settings(specification: dict[str, Any]) -> str:
    settings = {key: value for key, value in specification.items() if key not in NOT_SETTINGS}
    return json.dumps(settings, indent=2, sort_keys=True) + "\n" if settings else ""
