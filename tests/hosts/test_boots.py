# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host that goes down and comes back: by a reboot, in order; or in the middle of what the collection does."""

from __future__ import annotations

import json
import re
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.tests.hosts.conftest import HOST
from ansible_collections.unshare.container.tests.hosts.fleet import Fleet, daemon, declared, unit
from ansible_collections.unshare.container.tests.hosts.machine import Machine
from ansible_collections.unshare.container.tests.hosts.test_example import KILLED

pytestmark = [pytest.mark.root, pytest.mark.on("debian12", "debian13")]

STOPPING, STOPPED = "de5b426a63be47a7b6ac3eaac82e2f6f", "9d1aaa27d60140bd96365438aad20286"
"""What systemd says of a unit in the journal, by the id of the message (SD_MESSAGE_UNIT_… of sd-messages(3))."""

LATE_DISK = """
mkdir -p /srv/pages /var/log/journal
cat >/etc/systemd/system/late.service <<'EOF'
[Service]
Type=oneshot
ExecStart=/bin/bash -c 'read -t 5 <> <(:) || true'
EOF
cat >/etc/systemd/system/srv-pages.mount <<'EOF'
[Unit]
DefaultDependencies=no
Requires=late.service
After=late.service
Conflicts=umount.target
Before=umount.target
[Mount]
What=tmpfs
Where=/srv/pages
Type=tmpfs
EOF
systemctl daemon-reload && systemctl start srv-pages.mount && journalctl --flush
"""
"""Makes a file system that is mounted late at boot, and only because something needs it."""

NO_LATE_DISK = """
systemctl stop srv-pages.mount
rm -r /etc/systemd/system/late.service /etc/systemd/system/srv-pages.mount /srv/pages
systemctl daemon-reload
"""

WHEN = "systemd-run --quiet --unit=moment --path-property={} {}"
"""Runs a command as soon as a path is there."""

ASIDE = "PathExistsGlob=/var/lib/unshare/systems/.aside-*"
"""That is there while a system is written."""

ON_TRIAL = "PathExists=/var/lib/unshare/containers/web/former"
"""That is there from a switch until the container is found to be well, with `roll_back`."""

REBOOT = "systemctl --no-block reboot"
CUT = "/bin/sh -c 'echo b >/proc/sysrq-trigger'"
"""Resets the machine at once: what was not flushed is lost, as without power."""

INTERRUPTIONS = (
    ("no power while a system is written", ASIDE, CUT),
    ("a reboot during a switch", ON_TRIAL, REBOOT),
    ("no power during a switch", ON_TRIAL, CUT),
)
INSIDE = "/run/unshare/web/system/enter-container"
SLEEPS = daemon("sleeps", "/usr/bin/sleep", "infinity")


@pytest.fixture
def late_disk(host: Machine) -> t.Iterator[None]:
    """Give the host one, until the end of the test."""
    host.succeed(LATE_DISK)
    yield
    host.succeed(NO_LATE_DISK)


@pytest.fixture
def fleet(host: Machine, tmp_path: Path) -> t.Iterator[Fleet]:
    """Yield a fleet of this one host, and take what runs on it away after the test."""
    fleet = Fleet(tmp_path, {HOST: host})
    yield fleet
    fleet.remove()


def stops(host: Machine, boot: int) -> list[tuple[str, str]]:
    """Return what the journal has of units that stop in a boot, in order: the unit, and the id of the message."""
    wanted = " ".join(f"MESSAGE_ID={message}" for message in (STOPPING, STOPPED))
    lines = host.succeed(f"journalctl --boot={boot} --output=json _PID=1 {wanted}").splitlines()
    return [(entry.get("UNIT", ""), entry["MESSAGE_ID"]) for entry in map(json.loads, lines)]


def said_at(words: str, said: str) -> int:
    """Return where a console has a line with these words, a regular expression: systemd shortens names in its lines."""
    found = re.search(words, said)
    assert found, said
    return found.start()


@pytest.mark.shows("boot", "order", "mounts")
@pytest.mark.usefixtures("late_disk")
def test_a_boot_starts_what_is_enabled_in_its_order(fleet: Fleet, host: Machine) -> None:
    """Also after what they see is mounted; and a shutdown stops them the other way round, and waits for nobody."""
    fleet.containers = {
        "web": declared("web", SLEEPS, enabled=True, requires=["database"], mappings=["/srv/pages"]),
        "database": declared("database", SLEEPS, enabled=True),
        "idle": declared("idle", SLEEPS),
    }
    assert fleet.play()[HOST] > 0
    former = len(host.console)
    host.reboot()
    host.wait_for_unit(unit("web"))
    host.wait_until_booted()
    # The journal may have ended when a file system goes.
    said = host.console[former:]
    assert KILLED not in said
    assert said_at(r"] Stopped .*System container web\.", said) < said_at(r"] Unmounted srv-pages\.mount", said)
    assert "Failed unmounting srv-pages.mount" not in said
    assert host.succeed(f"{INSIDE} findmnt --noheadings --output=FSTYPE /srv/pages") == "tmpfs\n"
    assert host.execute(f"systemctl is-active {unit('idle')}").stdout.strip() == "inactive"
    for first, second in [("srv-pages.mount", unit("web")), (unit("database"), unit("web"))]:
        ready = host.succeed(f"systemctl show --property=ActiveEnterTimestampMonotonic --value {first}")
        begun = host.succeed(f"systemctl show --property=InactiveExitTimestampMonotonic --value {second}")
        assert 0 < int(ready) <= int(begun), (first, second)
    down = stops(host, -1)
    assert down.index((unit("web"), STOPPED)) < down.index((unit("database"), STOPPING))
    assert (unit("idle"), STOPPED) in down
    fleet.containers["idle"]["state"] = "stopped"
    assert fleet.play()[HOST] == 0


@pytest.mark.shows("interrupted")
def test_what_runs_after_an_interruption_is_whole(fleet: Fleet, host: Machine) -> None:
    """It is the former system or the new one, and the next run finishes what was begun."""

    def declare(number: int) -> None:
        service = daemon(f"system-{number}", "/usr/bin/sleep", "infinity")
        fleet.containers = {"web": declared("web", service, enabled=True, roll_back=True)}

    declare(0)
    fleet.play()
    for number, (what, moment, action) in enumerate(INTERRUPTIONS):
        declare(number + 1)
        host.succeed(WHEN.format(moment, action))
        with host.rebooting():
            fleet.try_to_play()
        host.wait_for_unit(unit("web"))
        host.wait_until_booted()
        ask = f"{INSIDE} systemctl is-active system-{number} system-{number + 1}"
        assert sorted(host.execute(ask).stdout.split()) == ["active", "inactive"], what
        fleet.play()
        assert host.execute(ask).stdout.split() == ["inactive", "active"], what
        assert fleet.play()[HOST] == 0, what
