# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The option `credentials`: what a container's PID 1 gets by systemd's credentials. No message has a value."""

from __future__ import annotations

import base64
import binascii
import functools
import typing as t

from ..module_utils.launcher import credentials as of_launcher
from ..module_utils.launcher.needs import Credential, credential_name
from . import checks
from .errors import DeclarationError, contracted, suggestion
from .validation import describe

PLACE = "credentials"
SOURCES = ("path", "stored", "encrypted")
"""Keys of a mapping that name a source on the host."""

VALUES = ("value", "encoding")


def credentials(declared: dict[str, t.Any]) -> tuple[list[Credential], dict[str, dict[str, t.Any]]]:
    """Return the credentials of a container, and the secret files of those whose values are declared.

    :raises DeclarationError: with the place.
    """
    found: list[Credential] = []
    files: dict[str, dict[str, t.Any]] = {}
    size = 0
    for name in sorted(declared):
        place, item = f"{PLACE}.{name}", declared[name]
        contracted(PLACE, functools.partial(credential_name, name))
        given = item if isinstance(item, dict) else {"value": item}
        for key in given:
            if key not in (*SOURCES, *VALUES):
                raise DeclarationError(place, f"unknown key '{key}'" + suggestion(key, (*SOURCES, *VALUES)))
        sources = [key for key in (*SOURCES, "value") if given.get(key) is not None]
        if len(sources) != 1:
            raise DeclarationError(place, f"needs one of value, {', '.join(SOURCES)}, and no second one")
        if sources == ["value"]:
            entry, length = _file(given, place)
            files[of_launcher.path_of(name)] = entry
            size += length
        elif given.get("encoding") is not None:
            raise DeclarationError(f"{place}.encoding", "is for a value")
        found.append(_credential(name, sources[0], given[sources[0]], f"{place}.{sources[0]}"))
    if size > of_launcher.LARGEST:
        raise DeclarationError(PLACE, f"have {size} bytes together, and may have {of_launcher.LARGEST}")
    return found, files


def _credential(name: str, source: str, where: t.Any, place: str) -> Credential:
    if source == "value":
        return Credential(name=name)
    text = checks.text(where, place)
    text = checks.source(text, place) if source == "path" else contracted(place, lambda: credential_name(text))
    return Credential(name=name, source=source, place=text)


def _file(given: dict[str, t.Any], place: str) -> tuple[dict[str, t.Any], int]:
    """Return the secret file of a value, and its size in bytes."""
    value, encoding = given["value"], given.get("encoding") or "utf-8"
    if not isinstance(value, str):
        raise DeclarationError(place, f"must be a text or a mapping, not {describe(value)}")
    entry = {"content": value, "mode": "0400", "secret": True}
    if encoding == "utf-8":
        return entry, len(value.encode("utf-8", "surrogateescape"))
    if encoding != "base64":
        raise DeclarationError(f"{place}.encoding", "must be 'base64' or 'utf-8'")
    try:
        return {**entry, "encoding": "base64"}, len(base64.b64decode(value, validate=True))
    except (binascii.Error, ValueError):
        raise DeclarationError(f"{place}.value", "is not valid base64") from None
