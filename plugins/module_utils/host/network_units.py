# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The units by which running containers follow their host's network (N7, N8). No process of theirs stays.

Three things set them off: a change of a file with name servers or names, a start of what flushes the rules of the
packet filter, and a reload of that. The first two start CHANGED, which has REFRESH begin anew; a reload reaches REFRESH
itself.

systemd does not watch a path while the unit runs that the path starts. So that unit ends at once, and the work comes
after it: a change meanwhile is either seen by the work or starts it again. Nor does it keep an event of one path of a
unit when there is one of another: so each path has a unit.

A file beside them has systemd-networkd leave the interfaces of containers alone. Else a `.network` file of the host's
for all interfaces (`Type=ether`) would give them the host's address, and take them away from their bridge.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from ..launcher.network_records import MADE_NAME, MADE_NAME_BYTES
from ..launcher.paths import STATE_DIRECTORY
from ..state.target import TargetError

REFRESH = "unshare-network.service"
CHANGED = "unshare-network-changed.service"
WATCH = "unshare-network@.path"
EVERY_WATCH = WATCH.replace("@", "@*")
FILTERS = ("nftables.service", "firewalld.service")
"""Units that flush the rules of the host's packet filter, those for containers included."""

WATCHED = (
    "etc",
    "etc-resolv.conf",  # where that is a link to elsewhere
    "run-systemd-resolve",
    "run-resolvconf",
    "run-NetworkManager",
    "run-connman",
)
"""Paths as systemd-escape(1) has them. Of a directory systemd misses nothing that happens in it; of a file it may."""

UNMANAGED = "00-unshare.network"  # the first file, by its name, that an interface matches is that which counts
NETWORKD = "systemd-networkd.service"

SECONDS = 30.0
_HEAD = "# Written by the Ansible collection unshare.container, and removed with the last container.\n"

# What one container's program does for all of them; the program that came last is the newest.
_COMMAND = (
    '/bin/sh -c \'trap "" TERM; status=0; for each in $$(ls -dt %s/containers/*/current); do'
    ' "$$each/run-container" --refresh-all --timeout=3; status=$$?;'
    " [ $$status -ge 125 ] || break; done; exit $$status'"
) % STATE_DIRECTORY

_WORDS = {
    "head": _HEAD,
    "command": _COMMAND,
    "state": STATE_DIRECTORY,
    "filters": " ".join(FILTERS),
    "refresh": REFRESH,
    "changed": CHANGED,
}
_REFRESH = """\
%(head)s
[Unit]
Description=Network of the host in all system containers
After=%(changed)s %(filters)s
ReloadPropagatedFrom=%(filters)s
RequiresMountsFor=%(state)s
StartLimitIntervalSec=0

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=%(command)s
ExecReload=%(command)s
# With a change meanwhile it begins anew, after what it does.
TimeoutStopSec=10s
# Root inside a container can hold the one that writes its files, and nobody waits for that one.
KillMode=process
# What is watched may change often, so the log has only what could not be done.
SyslogLevel=warning
LogLevelMax=notice
"""
_CHANGED = """\
%(head)s
[Unit]
Description=Change of the host's network, for system containers
After=%(filters)s
StartLimitIntervalSec=0

[Service]
Type=oneshot
ExecStart=/bin/sh -c 'exec systemctl --no-block restart %(refresh)s'
SyslogLevel=warning
LogLevelMax=notice

[Install]
WantedBy=%(filters)s
"""
_WATCH = """\
%(head)s
[Unit]
Description=Name servers and names of the host in %%f, for system containers
Wants=%(refresh)s

[Path]
PathChanged=%%f
Unit=%(changed)s

[Install]
WantedBy=multi-user.target
"""
_UNMANAGED = """\
%%(head)s
[Match]
Name=%s

[Link]
Unmanaged=yes
""" % (MADE_NAME % ("[0-9a-f]" * 2 * MADE_NAME_BYTES))


class NetworkUnits:
    """The files of these units, which the containers of a host share.

    :param directory: where units are written to.
    :param root: the host's `/`.
    """

    def __init__(self, directory: Path, root: Path) -> None:
        self.directory = directory
        self.unmanaged = directory.parent / "network" / UNMANAGED
        self.links: dict[Path, str] = {}
        self.watches = [WATCH.replace("@", f"@{place}") for place in WATCHED]
        links = [("multi-user.target", unit, WATCH) for unit in self.watches]
        links += [(wanting, CHANGED, CHANGED) for wanting in FILTERS]
        for wanting, unit, file in links:
            self.links[directory / f"{wanting}.wants" / unit] = "/" + str((directory / file).relative_to(root))

    def files(self) -> dict[Path, str]:
        """Return the text of each file, by path."""
        texts = {REFRESH: _REFRESH, CHANGED: _CHANGED, WATCH: _WATCH}
        files = {self.directory / name: text for name, text in texts.items()}
        return {path: text % _WORDS for path, text in {**files, self.unmanaged: _UNMANAGED}.items()}

    def are_linked(self) -> bool:
        """Return whether the links are there by which others start them."""
        return all(link.is_symlink() for link in self.links)

    def link(self) -> None:
        """Make these links."""
        for link, target in self.links.items():
            if not link.is_symlink():
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(target)

    def unlink(self) -> None:
        """Remove these links."""
        for link in self.links:
            with contextlib.suppress(FileNotFoundError):
                link.unlink()

    def begin(self, systemd: Any) -> list[str]:
        """Have the host be watched from now on, by the units as they are. Return a warning for what is not so."""
        warnings = []
        try:
            systemd.restart(self.watches, SECONDS)
        except TargetError as error:
            said = "running containers do not follow the host's name servers, and flushed rules stay away"
            warnings.append(f"{said}: {error}")
        try:
            self._tell_networkd(systemd)
        except TargetError as error:
            warnings.append(f"{NETWORKD} may configure interfaces of containers until its next start: {error}")
        return warnings

    @staticmethod
    def _tell_networkd(systemd: Any) -> None:
        if systemd.is_active(NETWORKD):
            systemd.reload_unit(NETWORKD, SECONDS)

    def remove(self, systemd: Any) -> None:
        """Remove the files, and what runs by them."""
        if systemd.present:
            systemd.stop_all([EVERY_WATCH, REFRESH], SECONDS)
        further = self.directory.glob(f"*.wants/{EVERY_WATCH}")  # an administrator's
        for link in [*self.links, *further]:
            with contextlib.suppress(FileNotFoundError):
                link.unlink()
            with contextlib.suppress(OSError):  # others want something as well
                link.parent.rmdir()
        for path in self.files():
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
        if systemd.present:
            with contextlib.suppress(TargetError):  # no interface is left that this would be about
                self._tell_networkd(systemd)
