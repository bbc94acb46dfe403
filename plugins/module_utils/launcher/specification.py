# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`spec.json` of a system, read and checked: what is started from it has every key, of the right kind.

It was written by `container_script` from a declaration that was checked on the controller. A file that was damaged or
edited must be an error that says so all the same, and never a container with another meaning, or a write outside of it.
"""

from __future__ import annotations

import os

from . import data, targets
from .errors import LauncherError
from .identity import COUNT
from .paths import read_text, refusal_of_root
from .process import signal_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

SIZE_LIMIT = 1 << 26  # bytes of a spec.json
PATH_LIMIT = 4095  # bytes; PATH_MAX of Linux
NAME_LIMIT = 63
LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
FLAGS = frozenset(
    (
        "read-only",
        "bind-mount",
        "no-suid",
        "no-dev",
        "no-exec",
        "no-atime",
        "no-diratime",
        "strict-atime",
        "lazy-time",
        "remount",
        "shared",
    )
)


def read_spec(system: str) -> dict[str, Any]:
    """The `spec.json` of a system's directory.

    Raises:
        LauncherError: there is none, or it is not one.
    """
    path = os.path.join(system, "spec.json")
    try:
        text = read_text(path, limit=SIZE_LIMIT)
    except OSError as error:
        raise LauncherError("%s: cannot be read: %s; stage the system again" % (path, error.strerror)) from error
    if not text:
        raise LauncherError("%s: holds no spec.json; stage the system again with container_script" % system)
    try:
        spec = data.parse(text, path)
    except ValueError as error:
        raise LauncherError("%s; stage the system again" % error) from error
    if spec.get("format") != 1:
        raise LauncherError("%s: is not of format 1; stage the system again" % path)
    _Check(path).check(spec)
    return spec


def is_name(name: object) -> bool:
    """Whether this is a container's name, so that it can be part of a path."""
    return isinstance(name, str) and 0 < len(name) <= NAME_LIMIT and name[0] != "-" and LETTERS.issuperset(name)


def hidden_file(spec: dict[str, Any], point: str) -> str | None:
    """Which file of the system a mount at a point would hide, as a reason against it, or None."""
    place = targets.plain_path(point)
    for path in spec["files"]:
        if targets.plain_path(path).startswith(place + "/"):
            return "'%s' would hide %s, which the system brings itself: use a deeper path" % (place, path)
    return None


class _Check:
    """Checks of one file, whose path begins every message."""

    def __init__(self, path: str) -> None:
        self.path = path

    def check(self, spec: dict[str, Any]) -> None:
        if not is_name(spec.get("name")):
            self._refuse("name", "is no container's name")
        self._text(spec.get("host_name"), "host_name")
        self._kind(spec.get("shared_network"), bool, "shared_network")
        asked = spec.get("private_users")
        if asked not in ("auto", "identity") and not data.is_integer(asked):
            self._refuse("private_users", "is neither 'auto' nor 'identity' nor a number")
        store = self._kind(spec.get("store"), dict, "store")
        self._source(store.get("source"), "store.source")
        self._path(store.get("target"), "store.target")
        self._refuse_if(targets.refusal_of_place(store["target"]), "store.target")
        self._init(self._kind(spec.get("init"), dict, "init"))
        for number, record in enumerate(self._kind(spec.get("file_systems"), list, "file_systems")):
            where = "file_systems[%d]" % number
            self._file_system(self._kind(record, dict, where), where, store)
        for path, entry in self._kind(spec.get("files"), dict, "files").items():
            self._file(path, self._kind(entry, dict, "files[%s]" % path), "files[%s]" % path, store["target"])
        for number, record in enumerate(spec["file_systems"]):
            self._refuse_if(hidden_file(spec, record["mount_point"]), "file_systems[%d].mount_point" % number)
        for number, entry in enumerate(self._kind(spec.get("directories", []), list, "directories")):
            where = "directories[%d]" % number
            self._path(self._kind(entry, dict, where).get("path"), where + ".path")
            self._owned(entry, where)
        for number, path in enumerate(self._kind(spec.get("host_files", []), list, "host_files")):
            self._path(path, "host_files[%d]" % number)
        security = self._kind(spec.get("security", {}), dict, "security")
        for key in ("no_new_privileges", "nesting"):
            self._kind(security.get(key, False), bool, "security." + key)

    def _init(self, init: dict[str, Any]) -> None:
        if init.get("ready") not in ("notify", "exec"):
            self._refuse("init.ready", "is neither 'notify' nor 'exec'")
        try:
            signal_number(self._text(init.get("stop_signal"), "init.stop_signal"))
        except LauncherError as error:
            self._refuse("init.stop_signal", str(error))
        for name, value in self._kind(init.get("environment", {}), dict, "init.environment").items():
            self._text(value, "init.environment." + name, empty=True)
            if "=" in self._text(name, "init.environment"):
                self._refuse("init.environment", "%r is no variable's name" % name)

    def _file_system(self, record: dict[str, Any], where: str, store: dict[str, str]) -> None:
        flags = self._kind(record.get("flags"), list, where + ".flags")
        for flag in flags:
            if not isinstance(flag, str) or flag not in FLAGS:
                self._refuse(where + ".flags", "%r is no flag" % (flag,))
        kind = self._text(record.get("type"), where + ".type")
        self._refuse_if(targets.refusal_of_type(kind), where + ".type")
        for key in ("required", "mount_may_fail"):
            self._kind(record.get(key, False), bool, "%s.%s" % (where, key))
        if "own" in record:
            self._refuse(where + ".own", "is for the launcher's own mounts")
        if record.get("options") is not None:
            self._text(record["options"], where + ".options", empty=True)
        point = self._path(record.get("mount_point"), where + ".mount_point")
        device = record.get("device")
        if isinstance(device, dict):
            if len(device) != 1 or next(iter(device)) not in ("uuid", "label"):
                self._refuse(where + ".device", "is neither a path nor a UUID nor a label")
            device = self._text(next(iter(device.values())), where + ".device")
            if "/" in device:
                self._refuse(where + ".device", "%r is neither a UUID nor a label" % device)
        elif "bind-mount" in flags:
            self._source(device, where + ".device")
        else:
            self._text(device, where + ".device")
        if not (point == store["target"] and device == store["source"] and {"bind-mount", "read-only"} <= set(flags)):
            self._refuse_if(targets.refusal_of_place(point, store["target"]), where + ".mount_point")

    def _file(self, path: str, entry: dict[str, Any], where: str, store: str) -> None:
        self._path(path, where)
        self._refuse_if(targets.refusal_of_file(path, store), where)
        if "link" in entry:
            self._text(entry["link"], where + ".link")
        else:
            self._owned(entry, where)

    def _owned(self, entry: dict[str, Any], where: str) -> None:
        mode = entry.get("mode")
        if not isinstance(mode, str) or not 0 < len(mode) <= 4 or not set("01234567").issuperset(mode):
            self._refuse(where + ".mode", "is not up to four octal digits")
        for key in ("uid", "gid"):
            number = entry.get(key)
            if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < COUNT:
                self._refuse("%s.%s" % (where, key), "is no id of a container")

    def _path(self, path: object, where: str) -> str:
        """An absolute path of something below `/`, with no step upward."""
        text = self._text(path, where)
        if text[0] != "/" or ".." in text.split("/") or not text.strip("/.") or len(os.fsencode(text)) > PATH_LIMIT:
            self._refuse(where, "%s is no absolute path without '..'" % ascii(text[:200]))
        return text

    def _source(self, path: object, where: str) -> str:
        """What is shared of the host."""
        self._refuse_if(refusal_of_root(self._text(path, where)), where)
        return self._path(path, where)

    def _text(self, text: object, where: str, empty: bool = False) -> str:
        if not isinstance(text, str) or "\0" in text or not (text or empty):
            self._refuse(where, "is no text" if not isinstance(text, str) or "\0" in text else "is empty")
        try:
            os.fsencode(text)
        except UnicodeEncodeError:
            self._refuse(where, "is no valid Unicode")
        return text

    def _kind(self, value: Any, kind: type, where: str) -> Any:
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            self._refuse(where, "is missing" if value is None else "is not of type %s" % kind.__name__)
        return value

    def _refuse_if(self, reason: str | None, where: str) -> None:
        """Refuse what somebody declared, and the file holds as it was written."""
        if reason:
            self._fail("%s: %s; declare it otherwise, and stage the system again" % (where, reason))

    def _refuse(self, where: str, what: str) -> NoReturn:
        self._fail("is damaged: %s: %s; stage the system again" % (where, what))

    def _fail(self, what: str) -> NoReturn:
        raise LauncherError(("%s: %s" % (self.path, what)).encode("utf-8", "backslashreplace").decode())
