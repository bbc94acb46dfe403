# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of single values: paths, names, fields of passwd. Each raises DeclarationError with the place."""

from __future__ import annotations

import re
import typing as t

from ..module_utils.launcher import guarded, targets
from ..module_utils.launcher.identity import COUNT
from ..module_utils.launcher.paths import refusal_of_root
from .errors import DeclarationError
from .validation import describe, quoting

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_ACCOUNT = re.compile(r"[a-z_][a-z0-9_.-]{0,30}\$?")
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]{1,200}\.(service|socket|timer|path|target|mount|slice)")
_OTHER_KINDS = ("automount", "device", "scope", "swap")
"""The kinds of units that a system does not bring."""

SYSTEM_DIRECTORIES = frozenset(
    f"/{name}"
    for name in (
        *(*targets.MERGED, "boot", "dev", "etc", "etc/systemd", "etc/systemd/system", "home", "media", "mnt", "opt"),
        *("proc", "run", "run/lock", "srv", "sys", "tmp", "usr", "usr/bin", "usr/lib", "usr/local", "usr/sbin"),
        *("usr/share", "var", "var/backups", "var/cache", "var/empty", "var/lib", "var/local", "var/lock", "var/log"),
        *("var/mail", "var/opt", "var/run", "var/spool", "var/tmp"),
    )
)
_BELOW_VAR = ("backups", "cache", "empty", "lib", "local", "log", "mail", "opt", "spool")
ROOT_DIRECTORIES = ("/home", "/media", "/mnt", "/opt", "/srv", "/var", *(f"/var/{name}" for name in _BELOW_VAR))
STICKY_DIRECTORIES = ("/run/lock", "/tmp", "/var/tmp")
"""The directories that a fresh root has beside those of accounts and services."""
CONTAINER_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")  # as the target's `is_name`


def text(value: t.Any, path: str) -> str:
    """Return a string. Refuse anything else, with what to do about a number or a boolean."""
    if isinstance(value, str):
        return value
    raise DeclarationError(path, f"must be a string, not {describe(value)}{quoting(value)}")


def line(value: str, path: str) -> str:
    """Return a text without control characters. Refuse any (NUL and newlines among them)."""
    found = _CONTROL.search(value)
    if found:
        raise DeclarationError(path, f"{value!r} holds the control character {found.group()!r}")
    return value


def absolute_path(value: str, path: str) -> str:
    """Return an absolute path in its plain form. Refuse relative paths, `..` and control characters."""
    line(value, path)
    if not value.startswith("/"):
        raise DeclarationError(path, f"'{value}' must be an absolute path")
    if ".." in value.split("/"):
        raise DeclarationError(path, f"'{value}' must not contain '..'")
    if len(value.encode()) > 4095 or any(len(part.encode()) > 255 for part in value.split("/")):
        raise DeclarationError(path, "is longer than a path may be")
    return "/" + "/".join(part for part in value.split("/") if part not in ("", "."))


def mapping_target(value: str, path: str, store: str | None = None) -> str:
    """Return the target of a mapping. Refuse paths that the container needs, and all of /dev."""
    target = mount_point(value, path, store)
    if target.startswith("/dev/"):
        raise DeclarationError(path, f"'{target}' lies in /dev, which the container makes itself")
    return target


def mount_point(value: str, path: str, store: str | None = None) -> str:
    """Return a mount point in its plain form. Refuse one that is, contains, or lies in a path the container needs.

    Without STORE, the store's path, the paths that depend on the store are not checked.
    """
    place = absolute_path(value, path)
    reason = targets.refusal_of_place(place, store)
    if reason:
        raise DeclarationError(path, reason)
    return place


def source(value: str, path: str) -> str:
    """Return a path of the host that a container may see. Refuse `/`."""
    reason = refusal_of_root(absolute_path(value, path))
    if reason:
        raise DeclarationError(path, reason)
    return absolute_path(value, path)


def writable_source(value: str, path: str) -> str:
    """Return a path of the host that a container may write to. Refuse, by its text, a path that the host runs."""
    place = absolute_path(value, path)
    reason = guarded.refusal_of_words(place)
    if reason:
        raise DeclarationError(path, reason)
    return place


def host_name(value: str, path: str) -> str:
    """Check a host name: labels of letters, digits and dashes, 64 characters at most (the kernel's limit)."""
    if len(value) <= 64 and any(len(label) > 63 for label in value.split(".")):
        raise DeclarationError(path, f"{value!r} is not a host name (at most 63 characters between two dots)")
    if len(value) > 64 or not all(_LABEL.fullmatch(label) for label in value.split(".")):
        raise DeclarationError(path, f"{value!r} is not a host name (letters, digits, '-', '.'; at most 64)")
    return value


def name_of_container(value: str, path: str) -> str:
    """Check the name of a container."""
    if not CONTAINER_NAME.fullmatch(value):
        raise DeclarationError(path, f"{value!r} is not a container's name (a-z, 0-9, '-'; at most 63)")
    return value


def account_name(value: str, path: str) -> str:
    """Check the name of a user or of a group."""
    if not _ACCOUNT.fullmatch(value):
        raise DeclarationError(path, f"{value!r} is not a user's or group's name (a-z, 0-9, '_', '-', '.'; at most 32)")
    return value


def account_field(value: str, path: str) -> str:
    """Check a field of passwd: no colon, no control character."""
    line(value, path)
    if ":" in value:
        raise DeclarationError(path, f"{value!r} must not contain ':'")
    return value


def password(value: str, path: str) -> str:
    """Check a hashed password as in shadow(5). The value is never part of the message."""
    if not re.fullmatch(r"[!*]{1,2}|!?\$[A-Za-z0-9]+\$[A-Za-z0-9./$=,+-]+", value):
        raise DeclarationError(path, "must be a hash as made by crypt(3) (mkpasswd, the filter password_hash), or '!'")
    return value


def identifier(value: int, path: str) -> int:
    """Check a user's or group's id within a container's 65,536."""
    if not 0 <= value < COUNT:
        raise DeclarationError(path, f"{value} is not an id of a container (0 to {COUNT - 1})")
    return value


def home_directory(value: str, path: str) -> str:
    """Check the path of a home directory that is to be made: a directory of the system would become the user's."""
    place = absolute_path(value, path)
    if place == "/" or place in SYSTEM_DIRECTORIES or place.startswith("/dev/") or targets.refusal_of_place(place):
        raise DeclarationError(
            path,
            f"'{place}' belongs to the system, and would be given to the user: use a directory of the user's own, "
            "such as one below /home, or create_home_directory: false",
        )
    return place


def data_directory(value: str, path: str) -> str:
    """Check the path of a directory for a service's data: one of the system would become the service's."""
    place = absolute_path(value, path)
    if place == "/" or place in (*SYSTEM_DIRECTORIES, targets.SHARED_MEMORY):
        raise DeclarationError(
            path, f"'{place}' belongs to the system, and would be given to the service: use one below it"
        )
    return place


def port(value: int, path: str) -> int:
    """Check a port of TCP or UDP."""
    if not 1 <= value <= 65535:
        raise DeclarationError(path, f"{value} is not a port (1 to 65535)")
    return value


def mode(value: str, path: str) -> str:
    """Check a file mode written as a string of octal digits."""
    if not re.fullmatch(r"[0-7]{3,4}", value):
        raise DeclarationError(path, f'{value!r} is not a mode; write it as a quoted octal number such as "0644"')
    return value.zfill(4)


def unit_name(value: str, path: str) -> str:
    """Check the full name of a systemd unit."""
    if not _UNIT.fullmatch(value):
        kind = value.rpartition(".")[2]
        if kind in _OTHER_KINDS and _UNIT.fullmatch(value.removesuffix(kind) + "service"):
            raise DeclarationError(
                path, f"{value!r} is a unit of a kind that no container declares: it makes no .{kind} by a file"
            )
        raise DeclarationError(path, f"{value!r} is not a systemd unit's name with its suffix")
    return value


def timezone(value: str, path: str) -> str:
    """Check the name of a time zone."""
    if not re.fullmatch(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,3}", value):
        raise DeclarationError(path, f"{value!r} is not the name of a time zone such as Europe/Berlin")
    return value


def locale(value: str, path: str) -> str:
    """Check the name of a locale."""
    if not re.fullmatch(r"[A-Za-z0-9_.@-]{1,64}", value):
        raise DeclarationError(path, f"{value!r} is not the name of a locale such as C.UTF-8")
    return value


def environment_name(value: str, path: str) -> str:
    """Check the name of an environment variable."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
        raise DeclarationError(path, f"{value!r} is not the name of an environment variable")
    return value
