# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Directives of units that systemd accepts in a container, and that change nothing there."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Mapping

from ..module_utils.state import unit_texts
from . import base_units

_PROC = "the kernel gives a user namespace no new /proc while parts of its own are hidden"
_SCHEDULING = "root of a container may not raise a priority that the host has given; the container's `limits` do"
_BPF = "the kernel lets a user namespace load no BPF program, which would keep it"
_OOM = "no process of a container goes below the container's own `oom_score_adj`"


def _given(value: str) -> bool:
    return value != ""


def _negative(value: str) -> bool:
    return re.fullmatch(r"-0*[1-9][0-9]*", value) is not None


_LISTS = ("IPAddressDeny", "SocketBindDeny", "RestrictNetworkInterfaces")
DIRECTIVES: dict[str, tuple[t.Callable[[str], bool], str]] = {
    "ProtectProc": (lambda value: value not in ("", "default"), _PROC),
    "ProcSubset": (lambda value: value == "pid", _PROC),
    "Nice": (_negative, _SCHEDULING),
    "OOMScoreAdjust": (_negative, _OOM),
    **dict.fromkeys(_LISTS, (_given, _BPF)),
}
"""By name: which values are without effect, and why."""


def without_effect(files: Mapping[str, Mapping[str, t.Any]]) -> list[tuple[str, str]]:
    """Return the directives without effect in the units among a system's FILES: "UNIT: KEY=VALUE", and the reason."""
    found = []
    for path, entry in files.items():
        if path.startswith(f"{base_units.DIRECTORY}/") and "content" in entry and "encoding" not in entry:
            unit = path.removeprefix(f"{base_units.DIRECTORY}/")
            for key, value in _directives(unit_texts.of_unit(unit.partition(".d/")[0], entry["content"])):
                found.append((f"{unit}: {key}={value}", DIRECTIVES[key][1]))
    return found


def _directives(settings: unit_texts.Settings) -> t.Iterator[tuple[str, str]]:
    """Yield keys and values that count and are without effect: of a list all, of another directive the last."""
    for key in dict.fromkeys(key for _section, key, _value in settings if key in DIRECTIVES):
        judge = DIRECTIVES[key][0]
        values = unit_texts.values(settings, key)
        yield from ((key, value) for value in (values if key in _LISTS else values[-1:]) if judge(value))
