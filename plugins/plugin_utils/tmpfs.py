# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of a tmpfs, of which ids may be names of the container's accounts."""

from __future__ import annotations

import typing as t

from .errors import DeclarationError, suggestion


def parts(options: str | None) -> dict[str, str]:
    """Return options by name; one without a value has an empty one."""
    pairs = (option.partition("=") for option in (options or "").split(",") if option)
    return {name: value for name, _equals, value in pairs}


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
