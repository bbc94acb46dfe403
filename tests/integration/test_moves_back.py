# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A move that fails goes back while the container was not started on the new host, and only forward after that (V5)."""

from __future__ import annotations

import os
import signal
import subprocess
import typing as t

import pytest

from .fleet_hosts import Fleet
from .moves import NAME, Mover, of_host
from .playbooks import Run

pytestmark = [pytest.mark.root, pytest.mark.long, pytest.mark.timeout(600)]

SOURCE = "/run/source"
"""A directory that each host has for itself."""


@pytest.fixture(scope="module")
def mover() -> t.Iterator[Mover]:
    """Yield two hosts, of which the first has the container; it is well where a file is."""
    with Fleet(2) as fleet:
        made = Mover(fleet)
        for host in fleet.hosts:
            host.inside("sh", "-c", f"mkdir {SOURCE}; echo well >{SOURCE}/well")
        services = made.declaration["operating_system"]["services"]
        services.append({"type": "unit", "value": {"name": "picky", "command": ["/usr/bin/sleep", "infinity"]}})
        services[-1]["value"]["command"] = ["/bin/sh", "-c", "cat /source/well && exec sleep infinity"]
        made.declaration["mappings"].append({"source": SOURCE, "target": "/source", "required": True})
        made.declaration["health"]["units"].append("picky.service")
        made.deploy(0)
        yield made


def moved(mover: Mover, task: str, act: t.Callable[[], object]) -> Run:
    """Move it, and do something when a task begins."""
    process = subprocess.Popen(
        mover.command(0, 1),
        env=mover.fleet.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if line.startswith(f"TASK [{task}"):
            act()
    assert f"TASK [{task}" in said, said
    return Run(process.wait(120), said)


def test_v5_what_is_refused_on_the_new_host_runs_on_the_old_one_again(mover: Mover) -> None:
    host = mover.host(1)
    done = moved(mover, "Admit it", lambda: host.inside("mv", SOURCE, SOURCE + ".away"))
    assert done.code != 0
    assert SOURCE in done.output
    assert f"{NAME} has not moved: host01 has it as before. Mend what has failed, and run this again" in done.output
    mover.is_at(0)

    host.inside("mv", SOURCE + ".away", SOURCE)


def test_v5_what_has_run_on_the_new_host_stays_there(mover: Mover) -> None:
    host = mover.host(1)
    host.inside("mv", f"{SOURCE}/well", f"{SOURCE}/ill")
    done = mover.move(0, 1)
    assert done.code != 0
    assert "picky.service" in done.output
    assert f"{NAME} has not moved: host02 may have started it. Mend what keeps it from being well there" in done.output
    assert mover.runs(1)
    assert not mover.runs(0)
    assert (mover.state(0), mover.state(1)) == ("given", "")
    mover.await_write()

    refused = mover.fleet.playbook("-i", str(mover.inventory(0)), "--limit=host01", str(mover.site()))
    assert refused.code != 0
    assert "it was moved to host02, and may have run there since" in refused.output
    by_hand = mover.host(0).inside(f"/var/lib/unshare/containers/{NAME}/current/run-container", "--detach")
    assert by_hand.returncode == 125
    assert "it was moved to host02" in by_hand.stderr
    assert not mover.runs(0)

    host.inside("mv", f"{SOURCE}/ill", f"{SOURCE}/well")
    enter = f"/var/lib/unshare/containers/{NAME}/current/enter-container"
    host.inside(enter, "sh", "-c", "systemctl reset-failed picky; systemctl restart picky")
    mover.move(0, 1).succeeded()
    mover.is_at(1)


def test_v5_the_old_host_keeps_what_it_is_to_keep_and_does_not_start_it(mover: Mover) -> None:
    mover.move(1, 0, "-e", "move_keep=true").succeeded()
    assert mover.runs(0)
    assert not mover.runs(1)
    assert mover.state(1) == "given"
    assert "volumes" in mover.host(1).inside("ls", f"/var/lib/unshare/containers/{NAME}").stdout
    refused = mover.move(0, 1)
    assert refused.code != 0
    assert "on host02 a move between that host and host01 is not finished" in refused.output
    mover.await_write()
    mover.move(1, 0).succeeded()
    mover.is_at(0)


def test_v5_what_waits_for_a_host_that_is_lost_runs_on_the_old_one_again(mover: Mover) -> None:
    host = mover.host(1)
    first = int(host.first())

    def lose() -> None:
        os.kill(first, signal.SIGSTOP)  # who takes connections
        for pid in of_host(host, "sshd-session", "sshd: "):
            if pid != first:
                os.kill(pid, signal.SIGKILL)

    try:
        done = moved(mover, "Import its volumes", lose)
    finally:
        os.kill(first, signal.SIGCONT)
    assert done.code != 0
    assert f"{NAME} has not moved: host01 has it as before" in done.output, done.output
    assert mover.runs(0)
    assert (mover.state(0), mover.state(1)) == ("", "expected")
    mover.await_write()
    mover.move(0, 1).succeeded()
    mover.is_at(1)
