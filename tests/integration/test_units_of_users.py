# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Units as users of systemd write them, in one booted container."""

from __future__ import annotations

import typing as t

import pytest

if t.TYPE_CHECKING:
    from .conftest import Machine, MakeMachine

pytestmark = pytest.mark.root

TEMPLATE = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nDefaultInstance=one\nWantedBy=graphical.target\n"
SHOWN = 'printf "%s|" "$0" "$X" >/run/shown\nsystemd-notify --ready\nexec sleep infinity'
ANSWER = ["/bin/sh", "-c", "rm /run/asked; echo >/run/answer"]
PATH = {"name": "made", "command": ANSWER, "wanted_by": [], "service": {"Type": "oneshot", "Restart": "no"}}
UNITS: tuple[dict[str, t.Any], ...] = (
    {**PATH, "units": {"made.path": {"Path": {"PathExists": "/run/asked"}}}},
    {"name": "t@", "text": TEMPLATE},
    {"name": "needs", "requirement": ["t@two"], "command": ["/bin/sleep", "infinity"]},
    {
        "name": "echo",
        "command": ["/bin/cat"],
        "service": {"StandardInput": "socket"},
        "socket": {"ListenStream": "/run/echo", "Accept": True},
    },
    {
        "name": "words",
        "command": ["/bin/sh", "-c", SHOWN, "a\tb\x01c\n%$"],
        "environment": {"X": "l1\nl2\t$Y%"},
        "service": {
            "Type": "notify",
            "NotifyAccess": "all",
            "ProtectProc": "invisible",
            "ProcSubset": "pid",
            "Nice": -5,
            "OOMScoreAdjust": -500,
        },
    },
)
ASK = """
import socket
for word in (b"first", b"second"):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("/run/echo")
        client.sendall(word)
        client.shutdown(socket.SHUT_WR)
        print(client.recv(100).decode())
"""


def test_units_start_and_hold_what_is_declared(make_machine: MakeMachine) -> None:
    machine = make_machine({"services": [{"type": "unit", "value": value} for value in UNITS]})
    machine.start()
    for unit in ("made.path", "t@one.service", "t@two.service", "needs.service", "echo.socket", "words.service"):
        assert state_of(machine, unit) == "active", machine.logs()
    assert machine.run("systemctl", "list-units", "--all", "--plain", "--no-legend", "t@*").stdout.count("t@") == 4
    assert machine.run("cat", "/run/shown").stdout == "a\tb\x01c\n%$|l1\nl2\t$Y%|"
    assert machine.output("python3", "-c", ASK).split() == ["first", "second"]
    # As docs/security.md says: what has an effect here belongs in no report.
    own = machine.output("systemctl", "show", "-P", "MainPID", "words.service").strip()
    assert machine.run("test", "-e", f"/proc/{own}/root/proc/meminfo").returncode == 0
    assert machine.output("cat", f"/proc/{own}/oom_score_adj").strip() == "0"
    assert machine.output("ps", "-o", "nice=", "-p", own).strip() == "0"
    machine.output("sh", "-c", "mkfifo /run/answer; touch /run/asked; timeout 20 cat /run/answer")


def state_of(machine: Machine, unit: str) -> str:
    return machine.run("systemctl", "is-active", unit).stdout.strip()


SHARED = {
    "service.d/x.conf": "[Unit]\nAfter=a.service\n[Service]\nRestart=always\nNice=3\n",
    "socket.d/x.conf": "[Socket]\nAccept=yes\n",
    "target.d/x.conf": "[Unit]\nRequires=nosuch.service\nConditionPathExists=/nosuch\n",
}


def test_drop_ins_for_a_type_count_for_what_is_declared_alone(make_machine: MakeMachine) -> None:
    files = {f"systemd/system/{path}": {"content": text} for path, text in SHARED.items()}
    added = {"type": "simple", "value": {"target": "etc", "value": files}}
    own = [{"type": "unit", "value": {"name": name, "command": ["/bin/sleep", "infinity"]}} for name in ("a", "b")]
    machine = make_machine({"services": [added, *own]})
    machine.start()
    assert [state_of(machine, unit) for unit in ("a.service", "b.service", "systemd-journald.socket")] == ["active"] * 3
    assert machine.output("systemctl", "show", "-P", "Nice", "b.service").strip() == "3"
    for unit in ("unshare-reboot.service", "systemd-reboot.service", "systemd-journald.socket", "multi-user.target"):
        shown = machine.output("systemctl", "show", "--property=LoadState,Restart,Accept,Requires", unit).split("\n")
        assert "LoadState=loaded" in shown
        assert not [line for line in shown if "nosuch" in line or line in ("Restart=always", "Accept=yes")]
    assert not machine.container.judge().problems
