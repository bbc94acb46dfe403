# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Units that systemd starts again and again: those that fail are failed ones at any moment."""

from __future__ import annotations

import time
import typing as t

import pytest

pytestmark = pytest.mark.root


def unit(name: str, program: str, **service: t.Any) -> dict[str, t.Any]:
    """Return a service that ends at once, and is started again a minute later."""
    return {
        "type": "unit",
        "value": {"name": name, "command": [f"/usr/bin/{program}"], "service": {"RestartSec": 60, **service}},
    }


def test_a_unit_between_two_failures_is_a_failed_one_and_a_periodic_one_is_not(make_machine: t.Any) -> None:
    services = [unit("crashing", "false"), unit("periodic", "true", Restart="always")]
    machine = make_machine({"services": services}, name="test-restarting")
    machine.start()
    deadline = time.monotonic() + 20
    states: list[str] = []
    while states != ["auto-restart", "auto-restart"]:  # a unit is started, and so the boot over, before it has ended
        assert time.monotonic() < deadline, states
        states = machine.output("systemctl", "show", "--property=SubState", "--value", "crashing", "periodic").split()
    assert machine.container.failed_units() == ["crashing.service"]
