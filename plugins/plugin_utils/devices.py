# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The option `devices`: devices of the host that a container has."""

from __future__ import annotations

import typing as t

from ..module_utils.launcher import targets
from ..module_utils.launcher.needs import Device
from . import checks
from .account_ids import number_of
from .errors import DeclarationError
from .validation import Spec, validate

PLACE = "devices"

_DEVICE: Spec = {
    "path": {"type": "str", "required": True},
    "target": {"type": "str"},
    "mode": {"type": "str"},
    "owner": {"type": "raw", "default": 0},
    "group": {"type": "raw", "default": 0},
}


def devices(declared: list[t.Any], ids: t.Mapping[str, t.Mapping[str, int]]) -> list[Device]:
    """Return the devices of a container. Raise DeclarationError with the place.

    :param declared: paths, or mappings of `path`, `target`, `mode`, `owner` and `group`.
    :param ids: the numbers of the container's users, below `uid`, and groups, below `gid`, by name.
    """
    found: list[Device] = []
    for index, item in enumerate(declared):
        place = f"{PLACE}[{index}]"
        given = validate({"path": item} if isinstance(item, str) else item, _DEVICE, place)
        target = "path" if given["target"] is None else "target"
        for key in ("path", "target"):
            given[key] = _path(given[key] or given["path"], f"{place}.{key if given[key] else 'path'}")
        mode = "" if given["mode"] is None else checks.mode(given["mode"], f"{place}.mode")
        if int(mode or "0", 8) > 0o777:
            raise DeclarationError(f"{place}.mode", f"'{mode}' sets more than permissions, and a device has no more")
        device = Device(
            path=given["path"],
            target=given["target"],
            mode=mode,
            uid=number_of(given["owner"], ids["uid"], "user", f"{place}.owner"),
            gid=number_of(given["group"], ids["gid"], "group", f"{place}.group"),
        )
        reason = targets.refusal_of_place(device.target) or device.refusal_beside(found, [])
        if reason:
            raise DeclarationError(f"{place}.{target}", reason)
        found.append(device)
    return found


def _path(value: str, place: str) -> str:
    path = checks.absolute_path(value, place)
    reason = targets.refusal_of_device(path)
    if path == f"/dev/{targets.FUSE}":
        reason = f"'{path}' is given by security.fuse: true, which says what it costs"
    if reason:
        raise DeclarationError(place, reason)
    return path
