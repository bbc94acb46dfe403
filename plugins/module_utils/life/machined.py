# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The registration of a container with systemd-machined of the host, for machinectl(1) and the options `--machine=`.

The host's bus starts it, as it does for systemd-nspawn(1). Where it is not installed, or is masked, nothing is said and
nothing is waited for. What else goes wrong is a warning.

systemd-machined finds the unit of a container by itself, and forgets the container with the unit. But a unit that is
started again has another PID 1, under the same name: so the end of a container takes its registration away.
"""

from __future__ import annotations

from ..host import bus
from ..launcher.errors import LauncherError
from ..state.configs import MACHINE_ID, read_config
from .start import noted_warnings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..state.record import RecordedContainer, Status

EXCHANGE_SECONDS = 5.0  # for a whole exchange with one that runs
START_SECONDS = 15.0  # if it may have to be started
SERVICE, OBJECT = "org.freedesktop.machine1", "/org/freedesktop/machine1"
NOT_THERE = (
    "org.freedesktop.DBus.Error.ServiceUnknown",
    "org.freedesktop.DBus.Error.NameHasNoOwner",
    "org.freedesktop.systemd1.NoSuchUnit",
    "org.freedesktop.systemd1.ShuttingDown",
    "org.freedesktop.systemd1.UnitMasked",
    "org.freedesktop.DBus.Error.FileExists",  # as well, after a reload: the name that the bus asks for is an alias
)
NO_SYSTEMD = "org.freedesktop.DBus.Error.Spawn."  # the bus has no systemd to start it: PID 1 is another init
NOT_REGISTERED = "container %s: is not registered with systemd-machined, so machinectl does not know it: %s"


def registered(container: RecordedContainer, status: Status) -> Status:
    """Register a container that has just been started, and note it. Return the status, with a warning if that failed.

    The caller holds the lock.
    """
    record = container.record() or {}
    try:
        machine_id = str(read_config(container.directory).get(MACHINE_ID, ""))
        if not register(container.name, machine_id, int(status.pid or 0)):
            return status
        record["machine"] = True
    except (LauncherError, OSError, ValueError, bus.BusError) as error:
        status.warnings = [*status.warnings, NOT_REGISTERED % (container.name, error)]
        record["warnings"] = noted_warnings(status.warnings)
    try:
        container.write_record(record)
    except OSError:
        pass  # a full /run must not keep it from running
    return status


def register(name: str, machine_id: str, pid: int) -> bool:
    """Register the container that has this first process. Return whether systemd-machined has it now."""
    values = [name, bytes.fromhex(machine_id), "unshare", "container", pid, ""]  # its root is nowhere on the host
    return _call("RegisterMachine", "sayssus", values, START_SECONDS, True)


def unregister(name: str) -> None:
    """Take a container's registration away, whatever has become of it: it is forgotten with the unit anyway."""
    try:
        _call("UnregisterMachine", "s", [name], EXCHANGE_SECONDS, False)
    except (OSError, ValueError, bus.BusError):
        pass


def _call(method: str, signature: str, values: list[Any], seconds: float, starts: bool) -> bool:
    """Call a method of systemd-machined. Return whether there is one."""
    try:
        bus.call(SERVICE, OBJECT, SERVICE + ".Manager", method, signature, values, seconds, bus.SYSTEM_BUS, starts)
    except (FileNotFoundError, ConnectionRefusedError):
        return False  # there is no bus
    except bus.BusError as error:
        if error.name not in NOT_THERE and not error.name.startswith(NO_SYSTEMD):
            raise
        return False
    return True
