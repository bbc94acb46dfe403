# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The option `volumes`: what of a container lasts, in directories of its own on its host (V1).

Their sizes (V3) belong to the container and not to its system: a target gets them beside that.

A type of services names the volume for the directory in which it keeps what is to last. So a declaration can ask for
all of these (`true`), or for one by its name alone.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ..module_utils.host.volume_options import parse_sizes
from ..module_utils.launcher import targets
from ..module_utils.launcher.contract import Mount
from ..module_utils.launcher.errors import OptionError
from ..module_utils.launcher.names import NO_NAME, is_name
from ..module_utils.launcher.volumes import Volume, volume_directory
from ..module_utils.state.quotas import QUOTA_OF_ROOT
from . import checks
from .account_ids import AccountIds
from .errors import DeclarationError, suggestion
from .validation import Spec, describe, validate

OPTION = "volumes"
SIZE_KEYS = ("name", "size", "size_may_fail")

_VOLUME: Spec = {
    "name": {"type": "str", "required": True},
    "path": {"type": "str"},
    "owner": {"type": "raw"},
    "group": {"type": "raw"},
    "mode": {"type": "str"},
    "size": {"type": "raw"},
    "size_may_fail": {"type": "bool"},
}


class VolumeMount(t.NamedTuple):
    """The mount of a volume, and the place in the declaration that asks for it."""

    mount: Mount
    place: str


def volumes(
    declared: t.Any,
    container: str,
    directories: list[dict[str, t.Any]],
    mounts: t.Sequence[Mount],
    ids: AccountIds,
    store: str,
) -> list[VolumeMount]:
    """Return the mounts of a container's volumes. Raise DeclarationError with the place.

    :param declared: true for those of all services, or a list of names of those, and of mappings of `name`, `path`,
        `owner`, `group`, `mode`, `size` and `size_may_fail`.
    :param container: its name.
    :param directories: those that the system makes; `volume` is in those for which a service names one.
    :param mounts: what else is mounted.
    :param store: where the store is mounted.
    """
    offered = _offered(directories)
    found: list[VolumeMount] = []
    for place, given in _given(declared, offered, mounts):
        placed = VolumeMount(_mount(given, offered.get(given["name"], {}), container, ids, store, place), place)
        _refuse_second(placed, found, mounts)
        found.append(placed)
    return found


def sized(declared: t.Any, identity: bool) -> list[dict[str, t.Any]]:
    """Return what the option says of sizes, at the same places, for a target that is to write the system.

    :param identity: whether root inside is the host's root.
    :raises DeclarationError: with the place.
    """
    try:
        given = parse_sizes(declared, OPTION)
    except OptionError as error:
        raise DeclarationError(error.path, error.message) from error
    for place, size in given.values():
        if identity and not size.may_fail:
            raise DeclarationError(place, QUOTA_OF_ROOT)
    items = [item if isinstance(item, dict) else {} for item in declared] if given else []
    return [{key: item[key] for key in SIZE_KEYS if key in item} for item in items]


def _offered(directories: list[dict[str, t.Any]]) -> dict[str, dict[str, t.Any]]:
    """Return the directories for which services name a volume, by its name."""
    found: dict[str, dict[str, t.Any]] = {}
    for item in directories:
        name = item.get("volume")
        if name is not None and found.setdefault(name, item)["path"] != item["path"]:
            raise DeclarationError(
                OPTION,
                f"two services keep what is to last in a volume {name!r}, at {found[name]['path']} and at "
                f"{item['path']}: say both with names of their own (volumes: [{{name: …, path: {item['path']}}}])",
            )
    return found


def _given(
    declared: t.Any, offered: Mapping[str, t.Any], mounts: t.Sequence[Mount]
) -> t.Iterator[tuple[str, dict[str, t.Any]]]:
    """Yield each volume that is asked for, with the place that does."""
    if declared is True:
        for name, item in offered.items():
            if not _lasts(item["path"], mounts):
                yield OPTION, validate({"name": name}, _VOLUME, OPTION)
        return
    if declared is not None and declared is not False and not isinstance(declared, list):
        raise DeclarationError(OPTION, f"must be a list, or true for those of all services, not {describe(declared)}")
    for index, item in enumerate(declared or []):
        place = f"{OPTION}[{index}]"
        given = validate({"name": item} if isinstance(item, str) else item, _VOLUME, place)
        name = given["name"]
        where = place if isinstance(item, str) else f"{place}.name"
        if not is_name(name):
            raise DeclarationError(where, NO_NAME % (name, "volume"))
        if given["path"] is None and name not in offered:
            known = suggestion(name, offered) or "; no declared service names one"
            raise DeclarationError(
                where, f"no declared service has a volume {name!r}{known}; of one of your own, say its `path`"
            )
        yield place, given


def _lasts(path: str, mounts: t.Sequence[Mount]) -> bool:
    """Return whether what is at a path lasts by a mount that was declared for it, or is meant not to."""
    around = [item for item in mounts if targets.is_below(path, item.mount_point)]
    return any(item.is_bind or item.mount_point == path for item in around)


def _mount(
    given: dict[str, t.Any], offered: dict[str, t.Any], container: str, ids: AccountIds, store: str, place: str
) -> Mount:
    path = offered["path"] if given["path"] is None else given["path"]
    point = checks.mount_point(path, place if given["path"] is None else f"{place}.path", store)
    if given["owner"] is None and given["group"] is None and offered:
        uid, gid = offered["uid"], offered["gid"]
    else:
        uid, gid = ids.owner(given["owner"] or 0, given["group"], place)
    mode = offered.get("mode", Volume.mode) if given["mode"] is None else checks.mode(given["mode"], f"{place}.mode")
    return Mount(
        device=volume_directory(container, given["name"]),
        mount_point=point,
        type="none",
        flags=["bind-mount"],
        volume=Volume(name=given["name"], uid=uid, gid=gid, mode=mode),
    )


def _refuse_second(placed: VolumeMount, former: list[VolumeMount], mounts: t.Sequence[Mount]) -> None:
    """Refuse a volume whose name or place another mount has."""
    mount, volume = placed.mount, placed.mount.volume
    for other in former:
        if volume is not None and other.mount.volume is not None and volume.name == other.mount.volume.name:
            raise DeclarationError(f"{placed.place}.name", f"{volume.name!r} is the name of {other.place}, too")
        if mount.mount_point == other.mount.mount_point:
            raise DeclarationError(f"{placed.place}.path", f"'{mount.mount_point}' is that of {other.place}, too")
    if any(mount.mount_point == other.mount_point for other in mounts):
        raise DeclarationError(
            f"{placed.place}.path",
            f"'{mount.mount_point}' is also the target of a mapping or the mount point of a file system: leave one of "
            "them out",
        )
