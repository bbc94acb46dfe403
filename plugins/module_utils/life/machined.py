# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The registration of a container with systemd-machined of the host, for machinectl(1) and the options `--machine=`.

Where it does not run, it is not started for this, and nothing is said. What goes wrong is a warning.

systemd-machined finds the unit of a container by itself, and forgets the container with the unit. But a unit that is
started again has another PID 1, under the same name: so the end of a container takes its registration away.
"""

from __future__ import annotations

from ..host import bus
from ..launcher.errors import LauncherError
from ..state import id_ranges
from .start import noted_warnings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..state.record import RecordedContainer, Status

EXCHANGE_SECONDS = 5.0  # for the whole exchange
SERVICE, OBJECT = "org.freedesktop.machine1", "/org/freedesktop/machine1"
NOT_THERE = ("org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NameHasNoOwner")
NOT_REGISTERED = "container %s: is not registered with systemd-machined, so machinectl does not know it: %s"


def registered(container: RecordedContainer, status: Status) -> Status:
    """Register a container that has just been started, and note it. Return the status, with a warning if that failed.

    The caller holds the lock.
    """
    record = container.record() or {}
    try:
        machine_id = str(id_ranges.read_config(container.directory).get("machine_id", ""))
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
    """Register the container that has this first process. Return whether systemd-machined runs, and has it now."""
    values = [name, bytes.fromhex(machine_id), "unshare", "container", pid, ""]  # its root is nowhere on the host
    return _call("RegisterMachine", "sayssus", values)


def unregister(name: str) -> None:
    """Take a container's registration away, whatever has become of it: it is forgotten with the unit anyway."""
    try:
        _call("UnregisterMachine", "s", [name])
    except (OSError, ValueError, bus.BusError):
        pass


def _call(method: str, signature: str, values: list[Any]) -> bool:
    """Call a method of systemd-machined. Return whether it runs."""
    try:
        bus.call(SERVICE, OBJECT, SERVICE + ".Manager", method, signature, values, EXCHANGE_SECONDS, bus.SYSTEM_BUS)
    except (FileNotFoundError, ConnectionRefusedError):
        return False  # there is no bus
    except bus.BusError as error:
        if error.name not in NOT_THERE:
            raise
        return False
    return True
