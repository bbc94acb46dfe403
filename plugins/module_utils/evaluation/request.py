# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The request for a command, checked to the leaves before any process is made."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any, NamedTuple

from ..launcher.errors import LauncherError
from ..launcher.guarded import refusal_of_words
from ..launcher.mounts import ATTRIBUTES
from ..launcher.paths import refusal_of_root
from ..launcher.program import SEARCH_PATH
from ..launcher.targets import parents
from .programs import find_program
from .reach import KERNEL_DIRECTORIES

NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
SHELL, PYTHON = "/bin/sh", "python3"
# Options that say how the tree looks; without a mount namespace there is none.
NEED_TREE = ("mappings", "file_systems", "files", "inputs", "writable_root")
# A value that is written as an interactive interpreter would, but for other programs to read.
_EXPRESSION = """_ = (%s
)
if _ is not None:
    import json
    print(json.dumps(_, default=repr))
"""


class Manager(NamedTuple):
    """A package manager that knows what the members of its store refer to."""

    store: str
    command: list[str]


MANAGED = {
    "guix": Manager("/gnu/store", ["guix", "gc", "--requisites"]),
    "nix": Manager("/nix/store", ["nix-store", "--query", "--requisites"]),
}


class Mapping(NamedTuple):
    """A file or directory of the host and where the program sees it."""

    source: str
    target: str
    writable: bool


class RequestedFileSystem(NamedTuple):
    """A new file system that the program sees."""

    mount_point: str
    type: str
    options: str
    flags: list[str]


class RequestedFile(NamedTuple):
    """A file or symbolic link that is placed before the program runs."""

    content: bytes
    mode: int
    link: str | None


class Request:
    """The request to run a program.

    Args:
        parameters: those of the module, of the right types.

    Raises:
        LauncherError: they contradict each other, or one of them is not what it should be.
    """

    def __init__(self, parameters: dict[str, Any]) -> None:
        self.namespaces = frozenset(parameters["namespaces"])
        self.environment = self._environment(parameters["environment"] or {})
        self.files = dict(_file(path, entry) for path, entry in (parameters["files"] or {}).items())
        self.mappings = [_mapping(entry, number) for number, entry in enumerate(parameters["mappings"] or [])]
        self.file_systems = [_file_system(entry, i) for i, entry in enumerate(parameters["file_systems"] or [])]
        self.closure = str(parameters["closure"])
        self.store = _store(parameters["store"])
        self.inputs = [self._program(entry, "inputs") for entry in parameters["inputs"] or []]
        self.argv, self.shown = self._arguments(parameters)
        self.guest_uid = int(parameters["guest_uid"])
        self.guest_gid = int(parameters["guest_gid"])
        self.ids = int(parameters["ids"])
        self.private_users = str(parameters["private_users"])
        self.capabilities = [_capability(name) for name in parameters["capabilities"] or []]
        self.child_is_pid1 = bool(parameters["child_is_pid1"])
        self.writable_root = bool(parameters["writable_root"])
        self.directory = _absolute(parameters["chdir"], "chdir")
        self.timeout: float | None = parameters["timeout"]
        self.input: bytes | None = None
        if parameters["stdin"] is not None:
            newline = "\n" if parameters["stdin_add_newline"] else ""
            self.input = (parameters["stdin"] + newline).encode("utf-8", "surrogateescape")
        self._check(parameters)

    def has(self, namespace: str) -> bool:
        """Return whether the program gets its own namespace of this kind."""
        return namespace in self.namespaces

    def hidden(self) -> list[str]:
        """Return the paths where the program sees something else than the host's file of the same path."""
        places = [mapping.target for mapping in self.mappings] + list(self.files)
        return places + [entry.mount_point for entry in self.file_systems]

    def source_of(self, path: str) -> str:
        """Return the host's path of what the program sees at `path`, through the mapping that holds it."""
        for mapping in reversed(self.mappings):
            if path == mapping.target or path.startswith(mapping.target + "/"):
                return mapping.source + path[len(mapping.target) :]
        return path

    @staticmethod
    def _environment(given: dict[str, Any]) -> dict[str, str]:
        environment = {"PATH": SEARCH_PATH + ":/sbin:/bin", "HOME": "/", "LANG": "C.UTF-8", "container": "unshare"}
        for name, value in given.items():
            text = str(value)
            if not name or "=" in name or "\0" in name + text:
                raise LauncherError("environment: %r is not the name and text of a variable" % name)
            environment[name] = text
        return environment

    def _program(self, name: str, option: str) -> str:
        if "/" in name:
            return _absolute(name, option)
        if not name:
            raise LauncherError("%s: the name of a program is empty" % option)
        try:
            return find_program(name, self.environment["PATH"])
        except LauncherError as error:
            raise LauncherError("%s: %s" % (option, error)) from error

    def _arguments(self, parameters: dict[str, Any]) -> tuple[list[str], Any]:
        """Return the program with its arguments, and the value to return as `cmd`."""
        if parameters["argv"] is not None:
            argv = [str(part) for part in parameters["argv"]]
            if not argv:
                raise LauncherError("argv: is empty; its first element is the program")
            if parameters["executable"] is not None:
                raise LauncherError("executable: says what runs a cmd or an expression; argv names its program itself")
            shown: Any = list(argv)
        elif parameters["cmd"] is not None:
            argv = [parameters["executable"] or SHELL, "-c", parameters["cmd"]]
            shown = parameters["cmd"]
        else:
            argv = [parameters["executable"] or PYTHON, "-c", _python(parameters["expression"])]
            shown = parameters["expression"]
        if any("\0" in part for part in argv):
            raise LauncherError("an argument holds a NUL character, which no program can be given")
        argv[0] = self._program(argv[0], "argv" if parameters["argv"] is not None else "executable")
        return argv, shown

    def _check(self, parameters: dict[str, Any]) -> None:
        if not self.has("mnt"):
            for option in NEED_TREE:
                if parameters[option]:
                    raise LauncherError("%s: needs mnt among the namespaces" % option)
        for option, value in (("guest_uid", self.guest_uid), ("guest_gid", self.guest_gid)):
            if not 0 <= value < 0xFFFFFFFF:
                raise LauncherError("%s: %d is no id" % (option, value))
            if self.ids > 1 and value >= self.ids:
                raise LauncherError("%s: %d is not among the %d ids that are mapped" % (option, value, self.ids))
        if not 1 <= self.ids <= 65536:
            raise LauncherError("ids: must be from 1 to 65536")
        if self.child_is_pid1 and not self.has("pid"):
            raise LauncherError("child_is_pid1: needs pid among the namespaces")
        if not self.has("user") and (self.ids != 1 or self.private_users != "auto"):
            raise LauncherError("ids, private_users: need user among the namespaces")
        places = self.hidden()
        for place in places:
            if places.count(place) > 1:
                raise LauncherError("%s: is used twice (by mappings, files or file_systems)" % place)
        for path in self.files:
            inside = set(parents(path)) & set(places)
            if inside:
                raise LauncherError("files: %s: lies in %s, where something else is mounted" % (path, min(inside)))


def _absolute(path: str, option: str) -> str:
    """Return a path in its plain form. Refuse relative paths, `..` and control characters."""
    if not path.startswith("/"):
        raise LauncherError("%s: '%s' must be an absolute path" % (option, path))
    if ".." in path.split("/"):
        raise LauncherError("%s: '%s' must not contain '..'" % (option, path))
    if re.search(r"[\x00-\x1f\x7f]", path):
        raise LauncherError("%s: %r holds a control character" % (option, path))
    return "/" + "/".join(part for part in path.split("/") if part not in ("", "."))


def _store(path: str) -> str:
    store = _absolute(path, "store")
    reason = refusal_of_root(store)
    if reason:
        raise LauncherError("store: %s" % reason)
    return store


def _place(path: str, option: str) -> str:
    place = _absolute(path, option)
    if place == "/":
        raise LauncherError("%s: '/' is the container's own root" % option)
    if any(place == top or place.startswith(top + "/") for top in KERNEL_DIRECTORIES):
        raise LauncherError("%s: '%s' lies in a directory that the container makes itself" % (option, place))
    return place


def _mapping(entry: Any, number: int) -> Mapping:
    """Return the mapping that "SOURCE[=TARGET]" or {source, target, writable} describes."""
    option = "mappings[%d]" % number
    if isinstance(entry, str):
        first, divider, second = entry.partition("=")
        entry = {"source": first, "target": second if divider else first}
    if not isinstance(entry, dict) or not isinstance(entry.get("source"), str):
        raise LauncherError("%s: must be SOURCE[=TARGET] or a mapping with a source" % option)
    unknown = set(entry) - {"source", "target", "writable"}
    if unknown:
        raise LauncherError("%s: unknown key %s" % (option, ", ".join(sorted(map(str, unknown)))))
    target, writable = entry.get("target"), entry.get("writable", False)
    if isinstance(writable, str) and writable.lower() in ("yes", "true", "no", "false"):
        writable = writable.lower() in ("yes", "true")
    if not isinstance(writable, bool) or not isinstance(target, (str, type(None))):
        raise LauncherError("%s: target is a path, writable is true or false" % option)
    source = _absolute(entry["source"], option + ".source")
    reason = refusal_of_words(source) if writable else refusal_of_root(source)
    if reason:
        raise LauncherError("%s.source: %s" % (option, reason))
    return Mapping(source, _place(source if target is None else target, option + ".target"), writable)


def _file_system(entry: dict[str, Any], number: int) -> RequestedFileSystem:
    option = "file_systems[%d]" % number
    flags = list(entry["flags"] or [])
    for flag in flags:
        if flag not in ATTRIBUTES:
            raise LauncherError("%s.flags: '%s' is not one of %s" % (option, flag, ", ".join(sorted(ATTRIBUTES))))
    place = _place(entry["mount_point"], option + ".mount_point")
    return RequestedFileSystem(place, entry["type"], entry["options"] or "", flags)


def _file(path: str, entry: Any) -> tuple[str, RequestedFile]:
    """Return the place and the file that a text, {content, encoding, mode} or {link} describes."""
    option = "files[%s]" % path
    place = _place(str(path), "files")
    if isinstance(entry, str):
        entry = {"content": entry}
    if not isinstance(entry, dict) or set(entry) - {"content", "encoding", "mode", "link"}:
        raise LauncherError("%s: must be a text, or a mapping of content, encoding and mode, or of link" % option)
    if isinstance(entry.get("link"), str) and set(entry) == {"link"} and entry["link"]:
        return place, RequestedFile(b"", 0, entry["link"])
    content, mode = entry.get("content"), entry.get("mode", "0644")
    if not isinstance(content, str) or entry.get("encoding") not in (None, "base64"):
        raise LauncherError("%s: needs a content that is a text, in the encoding base64 or none" % option)
    if not isinstance(mode, str) or not re.fullmatch("0?[0-7]{3}", mode):
        raise LauncherError('%s.mode: must be a text such as "0644"' % option)
    data = content.encode("utf-8", "surrogateescape")
    if entry.get("encoding"):
        try:
            data = base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError) as error:
            raise LauncherError("%s.content: is not base64: %s" % (option, error)) from error
    return place, RequestedFile(data, int(mode, 8), None)


def _capability(name: str) -> str:
    upper = name.upper()
    return upper[4:] if upper.startswith("CAP_") else upper


def _python(text: str) -> str:
    """Return a program that prints the value of an expression; return the text itself when it is no expression."""
    stripped = text.strip()
    try:
        compile(stripped, "<expression>", "eval")
    except (SyntaxError, ValueError):
        return text
    return _EXPRESSION % stripped
