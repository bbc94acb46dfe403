# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading and checking a system's `spec.json`, so that every field of it is present and of the right kind.

All that is read of the file is read here, for only the records know what a field means that it does not have.

It was written by `container_script` from a declaration that was checked on the controller. A file that was damaged or
edited must be an error that says so all the same, and never a container with another meaning, or a write outside of it.
"""

from __future__ import annotations

import os

from . import contract, data
from .errors import LauncherError
from .kinds import ContractError, ContractRecord
from .paths import read_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, ClassVar, TypeVar

    from .kinds import Kind

    R = TypeVar("R")

SIZE_LIMIT = 1 << 26  # bytes of a spec.json


class Outline(ContractRecord):
    """The part of a specification that is read of a system of any version, while its container runs.

    Nothing of it is judged by what can be declared today: a container that runs can be entered, asked and stopped.
    Attributes are those of `contract.Specification`.
    """

    host_name: str
    init: contract.Init
    security: contract.Security = contract.Security()
    files: dict[str, contract.File] = {}
    launcher: str = ""
    filter_digest: str = ""

    KINDS: ClassVar[dict[str, Kind]] = {
        name: contract.Specification.KINDS[name]
        for name in ("host_name", "init", "security", "files", "launcher", "filter_digest")
    }


class Claims(ContractRecord):
    """The part of a specification of any version that claims something of the host, for questions about many of them.

    Attributes are those of `contract.Specification`.
    """

    file_systems: list[contract.Mount]
    ports: list[contract.Port] = []
    network: contract.Network | None = None

    KINDS: ClassVar[dict[str, Kind]] = {
        name: contract.Specification.KINDS[name] for name in ("file_systems", "ports", "network")
    }


class StoreOutline(ContractRecord):
    """The software that a system of any version is made for."""

    store: contract.Store

    KINDS: ClassVar[dict[str, Kind]] = {"store": contract.Store.read}


def read_spec(system: str) -> contract.Specification:
    """Return the specification in a system's directory.

    Raises:
        LauncherError: there is none, or it is not one.
    """
    return _read(system, contract.Specification.read)


def read_outline(system: str) -> Outline:
    """Return what of a system's specification is asked of a container that runs; errors are those of `read_spec`."""
    return _read(system, _outline)


def read_claims(system: str) -> Claims:
    """Return what a system's container has of the host; errors are those of `read_spec`."""
    return _read(system, _claims)


def read_store(system: str) -> contract.Store:
    """Return which store a system is made for; errors are those of `read_spec`."""
    return _read(system, _software).store


def _software(written: dict[str, Any]) -> StoreOutline:
    return StoreOutline.read({name: written[name] for name in StoreOutline.KINDS if name in written})


def _claims(written: dict[str, Any]) -> Claims:
    return Claims.read({name: written[name] for name in Claims.KINDS if name in written})


def _outline(written: dict[str, Any]) -> Outline:
    return Outline.read({name: written[name] for name in Outline.KINDS if name in written})


def _read(system: str, read: Callable[[dict[str, Any]], R]) -> R:
    path = os.path.join(system, "spec.json")
    try:
        text = read_text(path, limit=SIZE_LIMIT)
    except OSError as error:
        raise LauncherError("%s: cannot be read: %s; stage the system again" % (path, error.strerror)) from error
    if not text:
        raise LauncherError("%s: holds no spec.json; stage the system again with container_script" % system)
    try:
        written = data.parse(text, path)
    except ValueError as error:
        raise LauncherError("%s; stage the system again" % error) from error
    known = written.get("format")
    if not data.is_integer(known) or known not in (1, contract.FORMAT):
        raise LauncherError("%s: is not of format %d; stage the system again" % (path, contract.FORMAT))
    try:
        return read(_upgrade(written))
    except ContractError as error:
        form = "%s: %s; declare it otherwise, and stage the system again"
        if not error.refused:
            form = "%s: is damaged: %s; stage the system again"
        message = form % (path, error)
        raise LauncherError(message.encode("utf-8", "backslashreplace").decode()) from error


def _upgrade(written: dict[str, Any]) -> dict[str, Any]:
    """Return what a former version wrote in today's form.

    A system of that version may still run when this launcher reads its specification.
    """
    mounts = written.get("file_systems")
    if written.get("format") != 1 or not isinstance(mounts, list):
        return written
    return dict(written, format=contract.FORMAT, file_systems=[_upgrade_mount(mount) for mount in mounts])


def _upgrade_mount(mount: Any) -> Any:
    if not isinstance(mount, dict) or not isinstance(mount.get("flags"), list):
        return mount
    gone = ("check", "create_mount_point", "needed_for_boot")
    kept = {key: value for key, value in mount.items() if key not in gone and value is not None}
    if kept.get("options") == "":
        del kept["options"]
    kept["flags"] = [flag for flag in mount["flags"] if flag not in ("remount", "shared")]
    return dict(kept, type="none") if "bind-mount" in kept["flags"] else kept
