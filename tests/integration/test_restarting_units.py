# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Units that systemd starts again and again: those that fail, or do not live, are failed ones at any moment."""

from __future__ import annotations

import time
import typing as t

import pytest

pytestmark = pytest.mark.root


def unit(name: str, *command: str, **service: t.Any) -> dict[str, t.Any]:
    """Return a service that is started again a minute after it has ended."""
    return {"type": "unit", "value": {"name": name, "command": [*command], "service": {"RestartSec": 60, **service}}}


def test_a_unit_between_two_failures_is_a_failed_one_and_a_periodic_one_is_not(make_machine: t.Any) -> None:
    services = [
        unit("at-once", "/usr/bin/true", Restart="always"),
        unit("crashing", "/usr/bin/false"),
        unit("periodic", "/usr/bin/sleep", "2.2", Restart="always"),
    ]
    machine = make_machine({"services": services}, name="test-restarting")
    machine.start()
    deadline = time.monotonic() + 20
    states: list[str] = []
    names = [service["value"]["name"] for service in services]
    while states != ["auto-restart"] * 3:  # a unit is started, and so the boot over, before it has ended
        assert time.monotonic() < deadline, states
        states = machine.output("systemctl", "show", "--property=SubState", "--value", *names).split()
    assert machine.container.failed_units() == ["at-once.service", "crashing.service"]


LOUD = "head -c 6000000 /dev/urandom | base64 -w 40000; sleep 2.4; exit 1"
"""What fails after a while, and pushes out of the log that it has failed."""


def test_a_unit_whose_output_pushes_its_failures_out_of_the_log_is_a_failed_one(make_machine: t.Any) -> None:
    loud = unit("loud", "/bin/sh", "-c", LOUD, Restart="always", RestartSec="50ms")
    machine = make_machine({"services": [loud]}, name="test-restarting")
    machine.start()
    deadline = time.monotonic() + 60
    states: list[str] = []
    while len(states) < 2 or int(states[0]) < 3 or states[1] != "running":
        assert time.monotonic() < deadline, states
        states = machine.output(
            "systemctl", "show", "--property=NRestarts", "--property=SubState", "--value", "loud"
        ).split()
    assert machine.container.failed_units() == ["loud.service"]
    said = machine.output("journalctl", "--quiet", "MESSAGE_ID=d9b373ed55a64feb8242e02dbe79a49c", "UNIT=loud.service")
    assert said == "", "the log is longer than this test expects"
