# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host's systemd: a container's unit as text, and the calls of systemctl(1) that this collection needs."""

from __future__ import annotations

import contextlib
import re
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

from ..launcher import data, times
from ..launcher.errors import RUNS_ELSEWHERE
from ..launcher.limits import properties
from ..launcher.names import is_name
from ..launcher.stop_signals import UNIT_STOP
from ..state import unit_texts
from ..state.target import TargetError
from . import reboots
from .container_options import OPTIONS
from .limits import Limits
from .network_units import FILTERS
from .unit_by_hand import MARGIN, SLICE, TRANSIENT_UNITS, as_word, clearing, stopping

TEMPLATE_UNIT = "unshare-container@.service"
BOOT_DROP_IN = "unshare.conf"
LIMITS_DROP_IN = "unshare-limits.conf"
WANTS = "multi-user.target.wants"
STEPS_SINCE = 254
"""The version of systemd from which on a restart's delay grows by itself (RestartSteps=)."""

MOUNTS_FOR = "RequiresMountsFor="
ONLINE = "network-online.target"
KILL_SIGNAL = "KillSignal="
WRITTEN = "# Written by the Ansible collection unshare.container."
RESTARTS = tuple(OPTIONS["restart"]["choices"])

_TEMPLATE = """\
# Written by the Ansible collection unshare.container, and removed with the last container.
# What one container has of its own is in %(drop_in)s and %(limits)s of its instance.

[Unit]
Description=System container %%i
After=network.target systemd-machined.service
After=%(filters)s
RequiresMountsFor=/var/lib/unshare/containers/%%i
AssertPathExists=/var/lib/unshare/containers/%%i/current/run-container
StartLimitIntervalSec=%(interval)ds
StartLimitBurst=%(burst)d

[Service]
Type=notify
NotifyAccess=main
Slice=%(slice)s
Environment=UNSHARE_TIMEOUT=30
ExecStart=/var/lib/unshare/containers/%%i/current/run-container --service --timeout=${UNSHARE_TIMEOUT}
ExecReload=/var/lib/unshare/containers/%%i/current/run-container --refresh --timeout=${UNSHARE_TIMEOUT}

# While the host shuts down, no launcher begins: KillSignal= asks a systemd inside to power off, and what its container
# leaves in memory goes with the host.
ExecStop=%(stopping)s
ExecStopPost=%(clearing)s
KillMode=mixed
KillSignal=%(signal)d
Delegate=yes

# The main process is the container's PID 1. A reboot from inside ends it with SIGHUP, and it comes back; a power-off
# ends it with SIGINT, and it stays down; all else but a status of 0 is a crash, and it comes back after a while.
Restart=on-failure
RestartForceExitStatus=SIGHUP
RestartPreventExitStatus=%(elsewhere)d
%(back_off)s
[Install]
WantedBy=multi-user.target
"""
_PROGRAM = "/var/lib/unshare/containers/%i/current/run-container"
_STOP, _CLEAR = (_PROGRAM + " --%s --timeout=${UNSHARE_TIMEOUT}" % what for what in ("stop", "clear"))
_GROWING = "RestartSec=1s\nRestartSteps=6\nRestartMaxDelaySec=30s\n"
_CONSTANT = "RestartSec=3s\n"


def template(version: int) -> str:
    """Return the text of the template unit for this version of systemd."""
    back_off = _GROWING if version >= STEPS_SINCE else _CONSTANT
    return _TEMPLATE % {
        "drop_in": BOOT_DROP_IN,
        "limits": LIMITS_DROP_IN,
        "slice": SLICE,
        "filters": " ".join(FILTERS),
        "elsewhere": RUNS_ELSEWHERE,
        "back_off": back_off,
        "stopping": stopping("%i", _STOP),
        "clearing": clearing("%i", _CLEAR),
        "signal": UNIT_STOP,
        "burst": reboots.BURST,
        "interval": reboots.INTERVAL,
    }


def unit_of(name: str) -> str:
    """Return the unit of the container called `name`."""
    return f"unshare-container@{name}.service"


class UnitOptions(NamedTuple):
    """The settings in the drop-in of one container.

    :param timeout: seconds for becoming ready and for stopping, each.
    :param restart: of RESTARTS.
    :param after: containers that are started before this one, if they are started at all.
    :param requires: containers that are started before this one, and without which this one does not run.
    :param mounts: paths of the host that are mounted before, each as `quoted` has it.
    :param online: whether the host has its addresses before.
    :param stop_signal: the number of the signal that asks its init to stop.
    """

    timeout: float = float(OPTIONS["timeout"]["default"])
    restart: str = OPTIONS["restart"]["default"]
    after: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    mounts: tuple[str, ...] = ()
    online: bool = False
    stop_signal: int = UNIT_STOP

    @classmethod
    def read(cls, text: str) -> UnitOptions:
        """Return the settings in the text of a drop-in. A setting that is missing or unusable has its default."""
        said = cls()
        with contextlib.suppress(times.TimeLimitError):
            said = said._replace(timeout=times.seconds("".join(_values(text, "Environment=UNSHARE_TIMEOUT=")), ""))
        for restart in _values(text, "Restart="):
            said = said._replace(restart=restart if restart in RESTARTS else said.restart)
        after, requires = (
            [name for name in map(_name_of, _values(text, key)) if is_name(name)] for key in ("After=", "Requires=")
        )
        for name in requires:
            if name in after:
                after.remove(name)
        for signal in _values(text, KILL_SIGNAL):
            said = said._replace(stop_signal=int(signal) if signal.isdecimal() else said.stop_signal)
        mounts = tuple(_values(text, MOUNTS_FOR))
        online = ONLINE in _values(text, "Wants=")
        return said._replace(after=tuple(after), requires=tuple(requires), mounts=mounts, online=online)

    def text(self) -> str:
        """Return the text of the drop-in. A name in both lists has two lines `After=`, so that `read` finds both."""
        lines = [WRITTEN, "[Unit]"]
        lines += [f"After={unit_of(name)}" for name in sorted(set(self.after))]
        for name in sorted(set(self.requires)):
            lines += [f"Requires={unit_of(name)}", f"After={unit_of(name)}"]
        lines += [MOUNTS_FOR + path for path in self.mounts]
        lines += [f"Wants={ONLINE}", f"After={ONLINE}"] if self.online else []
        lines += ["", "[Service]", f"Environment=UNSHARE_TIMEOUT={times.as_text(self.timeout)}"]
        whole = times.as_text(self.timeout + MARGIN)
        lines += [f"TimeoutStartSec={whole}s", f"TimeoutStopSec={whole}s", f"Restart={self.restart}"]
        lines += [f"{KILL_SIGNAL}{self.stop_signal}"] if self.stop_signal != UNIT_STOP else []
        return "\n".join(lines) + "\n"


def quoted(path: str) -> str:
    """Return a path as one word of a unit's option that knows specifiers (systemd.syntax(7), systemd.unit(5))."""
    return as_word(path).replace("%", "%%")


def _values(text: str, beginning: str) -> list[str]:
    """Return the rest of each assignment in a text that begins so."""
    found = [f"{key}={value}" for _section, key, value in unit_texts.assignments(text)]
    return [assignment[len(beginning) :] for assignment in found if assignment.startswith(beginning)]


def _name_of(unit: str) -> str:
    """Return the name of the container whose unit this is, or "" for any other unit."""
    before, after = unit_of("\0").split("\0")
    whole = unit.startswith(before) and unit.endswith(after)
    return unit[len(before) : -len(after)] if whole else ""


def limits_drop_in(limits: Limits) -> str:
    """Return the text of the drop-in with a container's limits, one on its tasks in any case."""
    return "\n".join([WRITTEN, "[Service]", *properties(limits)]) + "\n"


class Systemd:
    """The systemd that is PID 1 of the host whose root is `root`, if it is one (sd_booted(3))."""

    def __init__(self, root: Path) -> None:
        self.present = (root / "run/systemd/system").is_dir()
        self.transient = root / TRANSIENT_UNITS[1:]

    def version(self) -> int:
        """Return systemd's version, or 0 when it cannot be read."""
        match = re.match(r"systemd (\d+)", self._run("--version").stdout)
        return int(match.group(1)) if match else 0

    def is_active(self, unit: str) -> bool:
        """Return whether the unit runs, starts, stops, or waits for a restart."""
        return self.show(unit, "ActiveState") not in ("inactive", "failed", "")

    def active_transients(self, units: list[str]) -> list[str]:
        """Return those of these transient units that are active; about one without a file systemd is not asked."""
        return [unit for unit in units if (self.transient / unit).exists() and self.is_active(unit)]

    def show(self, unit: str, name: str) -> str:
        """Return a property of a unit."""
        return self._run("show", f"--property={name}", "--value", unit).stdout.strip()

    def properties(self, unit: str, names: list[str]) -> dict[str, str]:
        """Return properties of a unit by their names."""
        said = self._run("show", f"--property={','.join(names)}", unit).stdout
        return {name: value for name, _sign, value in (line.partition("=") for line in said.split("\n"))}

    def active_instances(self) -> list[str]:
        """Return the units of containers that run, or are about to."""
        pattern = unit_of("*")
        listed = self._run("list-units", "--plain", "--no-legend", "--full", pattern).stdout
        return data.first_words(listed)

    def reload(self) -> None:
        """Let systemd read its units again. Whether running ones get new limits by that depends on its version."""
        self._order(60, "daemon-reload")

    def start(self, unit: str, timeout: float) -> None:
        """Start the unit, and wait for it. Raises TargetError with the end of the unit's log."""
        self._run("reset-failed", unit)
        self._order(timeout + 2 * MARGIN, "start", unit)

    def reload_unit(self, unit: str, timeout: float) -> None:
        """Have what the unit runs read its settings again, and wait for it."""
        self._order(timeout, "reload", unit)

    def restart(self, units: list[str], timeout: float) -> None:
        """Stop the units that are active, start all of them, and wait for that."""
        self._order(timeout, "restart", *units)

    def stop_all(self, units: list[str], timeout: float) -> None:
        """Stop the units, wait for that, and have systemd forget how they ended."""
        self._order(timeout, "stop", *units)
        self._run("reset-failed", *units)

    def stop(self, unit: str, timeout: float) -> None:
        """Stop the unit, and wait for it."""
        self._order(2 * (timeout + MARGIN), "stop", unit)

    def limit(self, unit: str, assignments: list[str]) -> None:
        """Set limits of a unit that runs, until it ends."""
        self._order(30, "set-property", unit, "--runtime", *assignments)

    def _order(self, timeout: float, *words: str) -> None:
        done = self._run(*words, timeout=timeout)
        if done.returncode:
            log = ""
            if len(words) > 1:
                command = ["journalctl", "--no-pager", "--quiet", "--output=cat", "--lines=15", f"--unit={words[1]}"]
                log = _execute(command, 10).stdout.strip()
            said = done.stderr.strip() or f"status {done.returncode}"
            raise TargetError(
                f"systemctl {' '.join(words)}: {said}" + (f"\nThe unit's log ends:\n{log}" if log else "")
            )

    @staticmethod
    def _run(*words: str, timeout: float = 30.0) -> subprocess.CompletedProcess[str]:
        return _execute(["systemctl", *words], timeout)


def _execute(command: list[str], timeout: float) -> Any:
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TargetError(f"{' '.join(command)}: {error}") from error
