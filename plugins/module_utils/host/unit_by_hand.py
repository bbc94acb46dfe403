# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The transient unit of a container that is started by hand, as the words of systemd-run(1) that make it.

It is another unit than that of a deployment, which the host keeps: by hand, another system may be started, or the same
with other mappings. Like that one it has the container's PID 1 as its main process.
"""

from __future__ import annotations

from ..launcher.limits import properties
from ..launcher.paths import RUN_DIRECTORY, STATE_DIRECTORY
from ..launcher.root_options import tree_of
from ..launcher.stop_signals import SCOPE_STOP, SYSTEMD_STOP, UNIT_STOP
from ..launcher.targets import NETWORK_FILES, plain_path
from ..launcher.times import as_text
from . import reboots

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Sequence

    from ..launcher.contract import Mount, Specification

SLICE = "machine.slice"
TRANSIENT_UNITS = "/run/systemd/transient"  # where systemd keeps their files
MARGIN = 15  # seconds that systemd waits longer than the launcher does, which knows better what to do then
RESTART_SECONDS = 1.0  # between a reboot from inside and the start after it


def unit_by_hand(name: str, kind: str = "service") -> str:
    """Return the transient unit of the container called `name`; no container's name has a dot.

    Args:
        kind: `service` for one that is left running, `scope` for one in the foreground.
    """
    return "unshare-by-hand-%s.%s" % (name, kind)


def units_by_hand(name: str) -> list[str]:
    """Return each unit that a container which was started by hand can have."""
    return [unit_by_hand(name, kind) for kind in ("service", "scope")]


_SHUTS_DOWN = 'test "$$(systemctl is-system-running)" = stopping'
# Says whether the record of the start (`state.json`, whose keys are in order) is that of a systemd which became ready:
# before that, an init may not heed its signal yet.
_BY_SIGNAL = 'read -r kept <"$$0" && case $$kept in *?boot_seconds?:?[0-9]*?stop_signal?:??%s?*) exit ;; esac'


def stopping(name: str, command: str) -> str:
    """Return the value of ExecStop= for a command that stops a container.

    When the host shuts down, all containers stop at once, and the start of a launcher for each would take longer than
    all the rest. Then nothing is done here for one whose init is systemd: the unit's KillSignal= asks it to power off.
    A host that has not finished its boot does not say that it shuts down (systemctl(1)).
    """
    script = '%s && %s; exec "$$@"' % (_SHUTS_DOWN, _BY_SIGNAL % SYSTEMD_STOP)
    return "-/bin/sh -c '%s' %s/%s/state.json %s" % (script, RUN_DIRECTORY, name, command)


def clearing(name: str, command: str) -> str:
    """Return the value of ExecStopPost= for a command that clears what a container has left, if it has left anything.

    A stop clears by itself. A shell finds that out in a tenth of the time in which the launcher begins. What is left of
    a container that has powered off goes with the host when that shuts down; after a `soft-reboot`, the next start,
    stop or removal clears.
    """
    script = 'test ! -e "$$0" || { test "$$SERVICE_RESULT" = success && %s; } || exec "$$@"' % _SHUTS_DOWN
    return "-/bin/sh -c '%s' %s/%s %s" % (script, RUN_DIRECTORY, name, command)


def service_words(
    name: str,
    system: str,
    options: list[str],
    timeout: float,
    bounds: dict[str, Any],
    mounts: list[str],
    stop_signal: int = UNIT_STOP,
) -> list[str]:
    """Return the command that starts a container in its transient unit, and waits until it is ready.

    Args:
        system: the directory of the system.
        options: further ones for its `run-container`.
        timeout: seconds for becoming ready, and for stopping.
        bounds: the limits that are kept for the container.
        mounts: the paths of the host that must stay mounted until it has stopped.
        stop_signal: the signal that asks its init to stop.
    """
    program = system + "/run-container"
    limit = "--timeout=" + as_text(timeout)
    settings = [
        "StartLimitIntervalSec=%ds" % reboots.INTERVAL,
        "StartLimitBurst=%d" % reboots.BURST,
        "NotifyAccess=main",
        "KillMode=mixed",
        "KillSignal=%d" % stop_signal,
        "ExecStop=" + stopping(name, "%s --stop %s" % (program, limit)),
        "ExecStopPost=" + clearing(name, "%s --clear %s" % (program, limit)),
        "TimeoutStartSec=" + as_text(timeout + MARGIN),
        # How PID 1 ends is what has happened, as in the unit of a deployment; only a reboot from inside is followed by
        # a start.
        "RestartForceExitStatus=SIGHUP",
        "RestartSec=" + as_text(RESTART_SECONDS),
    ]
    command = [program, "--service", limit, *options]
    return [
        *_transient(unit_by_hand(name), name, timeout, bounds, mounts, settings),
        *("--service-type=notify", "--"),
        *(word.replace("$", "$$") for word in command),  # systemd puts variables in (systemd.service(5))
    ]


def scope_words(name: str, program: list[str], timeout: float, bounds: dict[str, Any], mounts: list[str]) -> list[str]:
    """Return the command that runs a program in a new scope for a container in the foreground."""
    settings = ["KillSignal=%d" % SCOPE_STOP]
    unit = unit_by_hand(name, "scope")
    return [*_transient(unit, name, timeout, bounds, mounts, settings), "--scope", "--", *program]


def _transient(
    unit: str, name: str, timeout: float, bounds: dict[str, Any], mounts: list[str], settings: list[str]
) -> list[str]:
    """Return the beginning of a command that makes a unit, with the settings that each has."""
    settings = [
        "Description=System container %s, started by hand" % name,
        "After=network.target",
        "RequiresMountsFor=" + " ".join(map(as_word, [STATE_DIRECTORY + "/containers/" + name, *mounts])),
        "Delegate=yes",
        "TimeoutStopSec=" + as_text(timeout + MARGIN),
        *settings,
        *properties(bounds),
    ]
    options = ["--quiet", "--collect", "--unit=" + unit, "--slice=" + SLICE]
    return ["systemd-run", *options, *("--property=" + setting for setting in settings)]


def as_word(path: str) -> str:
    """Return a path as one word of a list (systemd.syntax(7))."""
    return '"%s"' % path.replace("\\", "\\\\").replace('"', '\\"')


def paths_of_host(spec: Specification, further: Sequence[Mount] = ()) -> list[str]:
    """Return the paths of the host without which a start would give the container other files.

    Args:
        further: mount records beside those of the system.
    """
    records = [item for item in [*spec.file_systems, *further] if item.is_bind and not item.mount_may_fail]
    paths = {plain_path(item.source) for item in records if plain_path(item.source) not in NETWORK_FILES}
    paths.update(item.place for item in spec.credentials if item.source == "path")
    if spec.root.is_machine:
        paths.add(tree_of(spec.store.source))  # which no mount record names
    return sorted(path for path in paths if _is_text(path))


def _is_text(path: str) -> bool:
    """Return whether systemd can read a path: no unit has bytes that are no UTF-8."""
    return not any("\ud800" <= character <= "\udfff" for character in path)
