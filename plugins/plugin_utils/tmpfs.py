# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of a tmpfs (tmpfs(5)): the launcher mounts it, so what is wrong in them is said before that."""

from __future__ import annotations

import re
import typing as t

from .errors import DeclarationError, suggestion

_SIZE = r"[0-9]{1,18}[kKmMgGtTpPeE]?"
_NUMBER = "a number, perhaps with k, m or g"
_NAME = r"[0-9]{1,5}|[a-z_][a-z0-9_.-]*\$?"
# What their values look like, as an expression and in words.
_OPTIONS = {
    "size": (_SIZE + "|[0-9]{1,9}%", _NUMBER + ", or a share of the memory such as 10%"),
    "nr_blocks": (_SIZE, _NUMBER),
    "nr_inodes": (_SIZE, _NUMBER),
    "mode": ("[0-7]{1,5}", "octal digits"),
    "uid": (_NAME, "the id or name of a user of the container"),
    "gid": (_NAME, "the id or name of a group of the container"),
    "huge": ("never|always|within_size|advise", "never, always, within_size or advise"),
    "mpol": (".+", "a policy"),
}
_WORDS = ("inode32", "inode64", "noswap", "sync", "async", "dirsync", "mand", "nomand")


def parts(options: str | None) -> dict[str, str]:
    """Return options by name; one without a value has an empty one."""
    pairs = (option.partition("=") for option in (options or "").split(",") if option)
    return {name: value for name, _equals, value in pairs}


def verify(options: str, path: str) -> None:
    """Refuse what is no option of a tmpfs; PATH is the options' place."""
    for name, value in parts(options).items():
        if name not in _OPTIONS and name not in _WORDS:
            known = suggestion(name, (*_OPTIONS, *_WORDS))
            raise DeclarationError(path, f"{name!r} is no option of a tmpfs" + known)
        pattern, words = _OPTIONS.get(name, ("", "without a value"))
        if not re.fullmatch(pattern, value):
            raise DeclarationError(path, f"{name!r} of a tmpfs must be {words}, not {value!r}")


def with_ids(options: str | None, ids: t.Mapping[str, t.Mapping[str, int]], path: str) -> str | None:
    """Return options with numbers for the names of a user and a group, which IDS has below `uid` and `gid`."""
    found = parts(options)
    for key in ("uid", "gid"):
        name = found.get(key, "0")
        if name.isdigit():
            continue
        if name not in ids[key]:
            what = "user" if key == "uid" else "group"
            raise DeclarationError(path, f"{key}={name}: there is no such {what}" + suggestion(name, ids[key]))
        found[key] = str(ids[key][name])
    return ",".join(f"{name}={value}" if value else name for name, value in found.items()) or None
