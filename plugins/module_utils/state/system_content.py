# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A system before it is on a disk: checked, and named by a hash of all that decides its behaviour."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import posixpath
import re
from typing import Any, Callable, Dict

from ..launcher import confine, contract, kinds
from ..launcher.identity import COUNT
from ..launcher.names import DIGITS, NO_NAME, is_name, system_name
from .library import fingerprint
from .target import TargetError

ENTRY_KEYS = frozenset(("content", "encoding", "link", "mode", "uid", "gid", "secret"))

FileEntry = Dict[str, Any]

STUBS = {"run-container": "run_container_main", "enter-container": "enter_container_main"}
"""Scripts in a system, and the function of `life/main` each calls."""

STUB = """#!{python} -IS
# {script} of the system in this directory; the library beside it does the work.
import _signal
import gc
import os
import sys

gc.disable()  # all that is imported stays: to look through it for garbage takes a sixth of the time
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

# Python drops the exception of a signal that comes in a callback of an import.
former = _signal.pthread_sigmask(_signal.SIG_BLOCK, [_signal.SIGINT])
from library.life.main import {function}

_signal.pthread_sigmask(_signal.SIG_SETMASK, former)
gc.freeze()
gc.enable()
status = {function}()
try:
    sys.stdout.flush()
    sys.stderr.flush()
finally:
    os._exit(status)  # to take apart what was imported takes a twentieth of the time
"""


def check_name(name: str) -> str:
    """Return `name`. Raise TargetError when it cannot name a container."""
    if not is_name(name):
        raise TargetError("name: " + NO_NAME % (name, "container"))
    return name


def check_path(path: str, where: str) -> str:
    """Return `path`, an absolute one in its shortest form. Raise TargetError naming `where` when it is not."""
    if not path.startswith("/") or path == "/" or "\0" in path or posixpath.normpath("/" + path.lstrip("/")) != path:
        raise TargetError(f"{where}: {path!r} must be an absolute path without '.', '..' or empty parts")
    return path


def canonical(value: Any) -> bytes:
    """Return the one JSON text of `value`, whatever the order of its keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")


class SystemFile:
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

    def record(self) -> contract.File:
        """Return the record of this file in `spec.json`."""
        if self.link is not None:
            return contract.File(link=self.link)
        return contract.File(mode=self.mode, uid=self.uid, gid=self.gid, secret=self.secret)


class SystemContent:
    """The content of a system: all that decides how it behaves.

    :param system: the result of the filter `system_files`.
    :param boot: the text of the script that runs first inside the container.
    :param secrets: path to content, for the files marked as secret whose content is not in `system`.
    :param launcher: file name to text, the launcher's sources.
    :param python: the interpreter that runs the launcher on the target.
    :param tree: says to which content the name of a tree leads on this host, empty for none; None on the controller.
    :raises TargetError: naming the place in `system` that is wrong.
    :ivar specification: the content of `spec.json`.
    :ivar tree: the content of the tree that the system is made for; empty without one, or where the host has none.
    """

    def __init__(
        self,
        system: dict[str, Any],
        boot: str,
        launcher: dict[str, str],
        python: str,
        secrets: dict[str, str] | None = None,
        name: str | None = None,
        tree: Callable[[str], str] | None = None,
    ) -> None:
        self.name = check_name(name or str(system["name"]))
        self.boot = boot
        self.launcher = launcher
        self.python = python
        beside = _beside(system)
        self.files = _files(system["files"], secrets or {})
        beside["files"] = {path: file.record().write() for path, file in sorted(self.files.items())}
        self._declared = _specification(system["spec"], beside, self.name).replacing(
            launcher=fingerprint(self.launcher), python=self.python
        )
        name_of_tree = self._declared.store.tree
        self.tree = tree(name_of_tree) if tree is not None and name_of_tree else ""
        self.specification = self._declared.with_tree(self.tree) if self.tree else self._declared

    def content_digest(self) -> str:
        """Return the part of the digest that does not depend on a target, known before a host is asked."""
        contents = {path: hashlib.sha256(file.content).hexdigest() for path, file in self.files.items()}
        specification = self._declared.replacing(python="").write()
        return hashlib.sha256(canonical([specification, contents, self.boot])).hexdigest()

    def digest(self, seccomp_filter: bytes | None) -> str:
        """Return a digest that any change of behaviour changes, and nothing else."""
        return digest_on_target(self.content_digest(), self.python, seccomp_filter, self.tree)

    def directory_name(self, seccomp_filter: bytes | None) -> str:
        """Return the name of the system's directory."""
        return system_name(self.digest(seccomp_filter), self.name)


def digest_on_target(content_digest: str, python: str, seccomp_filter: bytes | None, tree: str = "") -> str:
    """Return the digest of a system, from that of its content and what the target adds.

    :param python: the path of the target's Python.
    :param seccomp_filter: the system-call filter as the target compiles it, None for none.
    :param tree: the content of the tree that the system is made for, empty without one.
    """
    filter_digest = None if seccomp_filter is None else confine.digest_of(seccomp_filter)
    parts = [content_digest, scripts(python), filter_digest, *([tree] if tree else [])]
    return hashlib.sha256(canonical(parts)).hexdigest()[:DIGITS]


def scripts(python: str) -> dict[str, str]:
    """Return the scripts of a system, file name to text, which `python`, a path on the target, runs."""
    return {name: STUB.format(python=python, script=name, function=function) for name, function in STUBS.items()}


def _files(entries: dict[str, FileEntry], secrets: dict[str, str]) -> dict[str, SystemFile]:
    files: dict[str, SystemFile] = {}
    for path, entry in entries.items():
        if not isinstance(entry, dict):
            raise TargetError(f"system.files[{path!r}]: must be a mapping with 'content' or 'link'")
        if path in secrets:
            if "content" in entry:
                raise TargetError(f"system.files[{path!r}]: its content is given twice, here and in 'secrets'")
            entry = dict(entry, content=secrets[path], secret=True)
        files[path] = SystemFile(path, entry)
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


def _beside(system: dict[str, Any]) -> dict[str, Any]:
    """Return the parts of the specification that `system` has beside `spec`: `directories` and `host_files`."""
    directories, host_files = system.get("directories") or [], system.get("host_files") or []
    for index, entry in enumerate(directories):
        check_path(str(entry["path"]), f"system.directories[{index}]")
    for path in host_files:
        check_path(path, "system.host_files")
    given = [{key: value for key, value in entry.items() if value is not None} for entry in directories]
    return {"directories": given, "host_files": host_files}


def _specification(spec: dict[str, Any], beside: dict[str, Any], name: str) -> contract.Specification:
    """Return the specification of a system, from its `spec` and the parts beside that.

    :raises TargetError: naming the place in `system`.
    """
    for key in beside:
        if key in spec:
            raise TargetError(f"system.spec.{key}: belongs beside 'spec', not in it")
    try:
        return contract.Specification.read({**spec, **beside, "name": name})
    except kinds.ContractError as error:
        place = "system" if error.place.partition("[")[0] in beside else "system.spec"
        raise TargetError(f"{place}.{error}") from error


def _mode(value: Any, where: str) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[0-7]{3,4}", value):
        raise TargetError(f"{where}.mode: {value!r} must be a string of 3 or 4 octal digits")
    return value.rjust(4, "0")


def _identifier(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < COUNT:
        raise TargetError(f"{where}: {value!r} must be a number from 0 to {COUNT - 1}")
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
