# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of a tmpfs, of which ids may be names of the container's accounts."""

from __future__ import annotations

from .account_ids import AccountIds
from .errors import DeclarationError, suggestion


def parts(options: str | None) -> dict[str, str]:
    """Return options by name; one without a value has an empty one."""
    pairs = (option.partition("=") for option in (options or "").split(",") if option)
    return {name: value for name, _equals, value in pairs}


def with_ids(options: str | None, ids: AccountIds, path: str) -> str | None:
    """Return options with numbers for the names of a user and a group."""
    found = parts(options)
    for key, what, known in (("uid", "user", ids.users), ("gid", "group", ids.groups)):
        name = found.get(key, "0")
        if name.isdigit():
            continue
        if name not in known:
            raise DeclarationError(path, f"{key}={name}: there is no such {what}" + suggestion(name, known))
        found[key] = str(known[name])
    return ",".join(f"{name}={value}" if value else name for name, value in found.items()) or None
