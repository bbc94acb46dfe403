# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Running containers follow their host at once: its name servers, and what flushes its rules (N7, N8).

With systemd its units see to it; without, who has started a container in the foreground, and stays.
"""

from __future__ import annotations

import signal
import time
import typing as t
from pathlib import Path

import pytest

from .conftest import INTERPRETER
from .systemd_host import SystemdHost, started
from .test_run_container import Foreground

if t.TYPE_CHECKING:
    from .conftest import MakeMachine

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]

SECONDS = 1.0
"""In which a change is seen inside (N7)."""

NAMES = ("shared", "zoned")
UNITS = "/etc/systemd/system"

FILTER = """\
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/nft flush ruleset
ExecReload=/usr/sbin/nft flush ruleset
ExecStop=/usr/sbin/nft flush ruleset
"""
"""What the unit of Debian's package nftables does, but for the rules."""

STORM = """
import os, random, sys, time
chance, number, seconds = random.Random(7), 0, []
shared, zoned = ["/proc/%s/root/etc/resolv.conf" % pid for pid in sys.argv[1:]]
etc, run = "/etc/resolv.conf", "/run/systemd/resolve/"
os.makedirs(run, exist_ok=True)

def text():
    return "nameserver 192.0.2.%d\\n" % (number % 250)

def write(path, what):
    with open(path, "w") as file:
        file.write(what)

def written():
    write(etc, text())

def replaced():
    write(etc + ".new", text())
    os.rename(etc + ".new", etc)

def away_for_a_moment():
    os.unlink(etc)
    time.sleep(chance.random() / 50)
    write(etc, text())

def linked():
    write("/run/%d" % number, text())
    os.symlink("/run/%d" % number, etc + ".new")
    os.rename(etc + ".new", etc)

def a_stub():
    write(run + "stub-resolv.conf", "nameserver 127.0.0.53\\n")
    os.symlink(run + "stub-resolv.conf", etc + ".new")
    os.rename(etc + ".new", etc)
    behind()

def behind():
    if not os.path.realpath(etc).startswith(run):
        return a_stub()
    write(run + "new", text())
    os.rename(run + "new", run + "resolv.conf")

changes = [written, replaced, away_for_a_moment, linked, a_stub, behind]
for burst in range(len(changes) * 5):
    for further in range(chance.choice([0, 0, 1, 3])):
        number += 1
        chance.choice(changes)()
        time.sleep(chance.random() / 20)
    number += 1
    if etc != os.path.realpath(etc) and changes[burst % len(changes)] is written:
        os.unlink(etc)
    changes[burst % len(changes)]()
    began = time.monotonic()
    for file, seen in ((shared, open(etc).read()), (zoned, text())):
        while open(file).read() != seen:
            assert time.monotonic() < began + 15, (changes[burst % len(changes)], file, open(file).read(), seen)
            time.sleep(0.005)
    seconds.append(time.monotonic() - began)
print(sorted(seconds)[len(seconds) // 2], max(seconds))
"""
"""Changes the host's name servers in bursts; says how long it takes until the last is seen, as a rule and at most."""


@pytest.fixture
def followed(make_machine: MakeMachine, tmp_path: Path) -> SystemdHost:
    """Return a host with a container that shares its network, and one in a zone."""
    networks: dict[str, dict[str, t.Any]] = {
        "shared": {"network": "host", "shared_network": True},
        "zoned": {"network": {"zone": "web"}},
    }
    host = started("test-followed-host", make_machine, tmp_path)
    for name in NAMES:
        host.container(name, system=host.write(name, name, **networks[name]), enabled=True)
    return host


def pids(host: SystemdHost) -> list[str]:
    """Return the PIDs of the containers' first processes, as their host has them."""
    return [host.show(name, "MainPID")[0] for name in NAMES]


def await_rules(host: SystemdHost) -> None:
    """Wait until the rules for containers are there again."""
    tables = "nft list table inet unshare && nft list table bridge unshare"
    host.machine.output("timeout", "15", "sh", "-c", f"until {tables}; do :; done >/dev/null 2>&1")


def test_n7_n8_what_runs_follows_a_host_with_systemd(followed: SystemdHost) -> None:
    machine, first = followed.machine, pids(followed)
    usual, most = map(float, machine.output(INTERPRETER, "-", *first, input=STORM, timeout=120).split())
    assert usual < SECONDS, most

    machine.output("sh", "-c", f"cat >{UNITS}/nftables.service && systemctl daemon-reload", input=FILTER)
    before = machine.output("nft", "list", "ruleset")
    for deed in ("start", "restart", "reload", "stop", "start", "try-restart", "reload-or-restart"):
        machine.output("systemctl", deed, "nftables")
        if deed == "stop":
            assert machine.output("nft", "list", "ruleset") == ""
        else:
            await_rules(followed)
            assert len(machine.output("nft", "list", "ruleset")) == len(before)
    assert pids(followed) == first  # nothing of this restarts a container

    followed.reboot()
    await_rules(followed)
    machine.output("systemctl", "is-active", "unshare-network@etc.path", "unshare-network")
    usual, most = map(float, machine.output(INTERPRETER, "-", *pids(followed), input=STORM, timeout=120).split())
    assert usual < SECONDS, most

    for name in NAMES:
        followed.container(name, state="absent")
    assert machine.output("find", UNITS, "-name", "unshare-network*", "-o", "-name", "unshare-container*") == ""
    assert machine.output("systemctl", "list-units", "--all", "--plain", "--no-legend", "unshare-*") == ""


OWN_ETC = """
mount --make-rprivate / && mkdir "$0" && cp -a /etc/. "$0" && mount --bind "$0" /etc && exec "$@"
"""
"""Runs a program with an /etc of its own."""


def test_n7_who_stays_with_a_container_has_it_follow(make_machine: MakeMachine, tmp_path: Path) -> None:
    machine = make_machine(shared_network=True, network="host")
    etc, pid_file = tmp_path / "etc", tmp_path / "pid"
    by = ("unshare", "--mount", "sh", "-c", OWN_ETC, str(etc))
    running = Foreground(machine, f"--pid-file={pid_file}", by=by)
    running.read_until("enter-container")
    inside = Path(f"/proc/{pid_file.read_text().strip()}/root/etc/resolv.conf")
    seconds = []
    for number in range(20):
        text = f"nameserver 192.0.2.{number}\n"
        new = etc / ("resolv.conf" if number % 2 else "new")
        new.write_text(text)
        new.rename(etc / "resolv.conf")
        began = time.monotonic()
        while inside.read_text() != text:
            assert time.monotonic() < began + 15, (number, inside.read_text())
            time.sleep(0.005)
        seconds.append(time.monotonic() - began)
    assert sorted(seconds)[len(seconds) // 2] < SECONDS, seconds
    running.process.send_signal(signal.SIGTERM)
    assert running.end() == 0
