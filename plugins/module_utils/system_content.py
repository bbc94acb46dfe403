# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a system is before it is on a disk: checked, and named by a hash of all that decides its behaviour."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import posixpath
import re
from typing import Any, Dict

from .launcher import fingerprint
from .launcher.names import DIGITS, system_name
from .launcher.specification import is_name
from .target import TargetError

ENTRY_KEYS = frozenset(("content", "encoding", "link", "mode", "uid", "gid", "secret"))

FileEntry = Dict[str, Any]


def check_name(name: str) -> str:
    """Return `name`. Raises TargetError when it cannot name a container."""
    if not is_name(name):
        raise TargetError(
            f"name: {name!r} cannot name a container; use 1 to 63 lower-case letters, digits and dashes, "
            "beginning with a letter or a digit"
        )
    return name


def check_path(path: str, where: str) -> str:
    """Return `path`, an absolute one in its shortest form. Raises TargetError naming `where` when it is not."""
    if not path.startswith("/") or path == "/" or "\0" in path or posixpath.normpath("/" + path.lstrip("/")) != path:
        raise TargetError(f"{where}: {path!r} must be an absolute path without '.', '..' or empty parts")
    return path


def canonical(value: Any) -> bytes:
    """The one JSON text of `value`, whatever the order of its keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")


class File:
    """A file of the system: its bytes or the target of a link, its owner and mode inside the container."""

    def __init__(self, path: str, entry: FileEntry) -> None:
        where = f"system.files[{path!r}]"
        self.path = check_path(path, "system.files")
        unknown = sorted(set(entry) - ENTRY_KEYS)
        if unknown:
            raise TargetError(f"{where}: unknown key {unknown[0]!r}; known are {', '.join(sorted(ENTRY_KEYS))}")
        if ("link" in entry) == ("content" in entry):
            raise TargetError(f"{where}: needs either 'content' or 'link'")
        self.link: str | None = entry.get("link")
        self.secret = bool(entry.get("secret", False))
        self.mode = _mode(entry.get("mode", "0644"), where)
        self.uid = _identifier(entry.get("uid", 0), f"{where}.uid")
        self.gid = _identifier(entry.get("gid", 0), f"{where}.gid")
        if self.link is not None:
            if not isinstance(self.link, str) or not self.link or "\0" in self.link:
                raise TargetError(f"{where}.link: must be the path that the link leads to")
            self.content = b""
        else:
            self.content = _bytes(entry, where)

    def manifest(self) -> dict[str, Any]:
        """The entry of this file in `spec.json`."""
        if self.link is not None:
            return {"link": self.link}
        entry: dict[str, Any] = {"mode": self.mode, "uid": self.uid, "gid": self.gid}
        if self.secret:
            entry["secret"] = True
        return entry


class SystemContent:
    """All that decides how a system behaves.

    :param system: the mapping that the filter `system_files` makes.
    :param boot: the text of the script that runs first inside the container.
    :param secrets: path to content, for the files marked as secret whose content is not in `system`.
    :param launcher: file name to text, the launcher's sources.
    :param python: the interpreter that runs the launcher on the target.
    :raises TargetError: naming the place in `system` that is wrong.
    """

    def __init__(
        self,
        system: dict[str, Any],
        boot: str,
        launcher: dict[str, str],
        python: str,
        secrets: dict[str, str] | None = None,
        name: str | None = None,
    ) -> None:
        self.name = check_name(name or str(system["name"]))
        self.boot = boot
        self.launcher = launcher
        self.python = python
        self.spec = dict(system["spec"], name=self.name)
        self.directories = [_directory(entry, i) for i, entry in enumerate(system.get("directories") or [])]
        self.host_files = [check_path(path, "system.host_files") for path in system.get("host_files") or []]
        self.files = _files(system["files"], secrets or {})

    def specification(self) -> dict[str, Any]:
        """What `spec.json` holds: the specification, the manifest, and what the target adds."""
        return dict(
            self.spec,
            files={path: file.manifest() for path, file in sorted(self.files.items())},
            directories=self.directories,
            host_files=self.host_files,
            launcher=fingerprint(self.launcher),
            python=self.python,
        )

    def content_digest(self) -> str:
        """The part of the digest that does not depend on a target: known before a host is asked."""
        contents = {path: hashlib.sha256(file.content).hexdigest() for path, file in self.files.items()}
        specification = {key: value for key, value in self.specification().items() if key != "python"}
        return hashlib.sha256(canonical([specification, contents, self.boot])).hexdigest()

    def digest(self) -> str:
        """A digest that any change of behaviour changes, and nothing else."""
        return digest_on_target(self.content_digest(), self.python)

    def directory_name(self) -> str:
        """The name of the system's directory."""
        return system_name(self.digest(), self.name)


def digest_on_target(content_digest: str, python: str) -> str:
    """The digest of a system by that of its content and the path of the target's Python."""
    return hashlib.sha256(canonical([content_digest, python])).hexdigest()[:DIGITS]


def _files(entries: dict[str, FileEntry], secrets: dict[str, str]) -> dict[str, File]:
    files: dict[str, File] = {}
    for path, entry in entries.items():
        if not isinstance(entry, dict):
            raise TargetError(f"system.files[{path!r}]: must be a mapping with 'content' or 'link'")
        if path in secrets:
            if "content" in entry:
                raise TargetError(f"system.files[{path!r}]: its content is given twice, here and in 'secrets'")
            entry = dict(entry, content=secrets[path], secret=True)
        files[path] = File(path, entry)
    for path in secrets:
        if path not in files:
            raise TargetError(f"secrets[{path!r}]: 'system.files' has no such file")
    for path in files:
        above = posixpath.dirname(path)
        while above != "/":
            if above in files:
                raise TargetError(f"system.files[{path!r}]: lies below {above!r}, which is a file or a link itself")
            above = posixpath.dirname(above)
    return files


def _directory(entry: dict[str, Any], index: int) -> dict[str, Any]:
    where = f"system.directories[{index}]"
    return {
        "path": check_path(str(entry["path"]), where),
        "mode": _mode(entry.get("mode") or "0755", where),
        "uid": _identifier(entry.get("uid") or 0, f"{where}.uid"),
        "gid": _identifier(entry.get("gid") or 0, f"{where}.gid"),
    }


def _mode(value: Any, where: str) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[0-7]{3,4}", value):
        raise TargetError(f"{where}.mode: {value!r} must be a string of 3 or 4 octal digits")
    return value.rjust(4, "0")


def _identifier(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 65536:
        raise TargetError(f"{where}: {value!r} must be a number from 0 to 65535")
    return value


def _bytes(entry: FileEntry, where: str) -> bytes:
    content = entry["content"]
    if not isinstance(content, str):
        raise TargetError(f"{where}.content: must be a string")
    encoding = entry.get("encoding", "utf-8")
    if encoding == "utf-8":
        return content.encode("utf-8", "surrogateescape")
    if encoding == "base64":
        try:
            return base64.b64decode(content, validate=True)
        except (binascii.Error, ValueError):
            raise TargetError(f"{where}.content: is not valid base64") from None
    raise TargetError(f"{where}.encoding: {encoding!r} is not known; use 'utf-8' or 'base64'")
