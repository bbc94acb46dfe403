# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module system_container_info on real containers: one that runs, one that has stopped, one that is broken."""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.life.container import Container
from ansible_collections.unshare.container.plugins.module_utils.life.container_information import Information
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout

from .conftest import MakeMachine
from .connection_hosts import ansible

pytestmark = pytest.mark.root


def ask(directory: Path, **parameters: t.Any) -> dict[str, dict[str, t.Any]]:
    """Return what the module says of this machine's containers, by their names; check mode changes nothing."""
    module = ["localhost", "-c", "local", "-m", "unshare.container.system_container_info", "-a", json.dumps(parameters)]
    result = ansible("ansible", *module, "--check", directory=directory, ANSIBLE_LOAD_CALLBACK_PLUGINS="0")
    assert "SUCCESS" in result.stdout, result.stdout + result.stderr
    found = json.loads(result.stdout[result.stdout.index("{") :])
    assert found["changed"] is False
    return {container["name"]: container for container in found["containers"]}


def test_one_that_runs_one_that_has_stopped_and_one_that_is_broken(make_machine: MakeMachine, tmp_path: Path) -> None:
    failing = {"type": "unit", "value": {"name": "broken", "command": ["/usr/bin/false"]}}
    runs = make_machine({"services": [failing]}, name="test-info-runs")
    ended = make_machine(name="test-info-ended")
    damaged = make_machine(name="test-info-damaged")
    status = runs.start()
    for machine in (ended, damaged):
        machine.start()
    ended.stop()
    runs.run("systemctl", "start", "broken.service")
    specification = damaged.system / "spec.json"
    kept = specification.read_text()
    specification.write_text("{")
    try:
        found = ask(tmp_path, name=[each.name for each in (runs, ended, damaged)] + ["test-info-never"], log_lines=500)
    finally:
        specification.write_text(kept)

    facts = found[runs.name]
    assert (facts["state"], facts["ready"], facts["pid"], facts["errors"]) == ("running", True, status.pid, [])
    assert facts["running_system"] == str(runs.system)
    assert facts["uid_base"] == os.stat(f"/proc/{status.pid}").st_uid
    assert facts["failed_units"] == ["broken.service"]
    assert "broken.service" in facts["log"]
    assert 0 <= facts["uptime_seconds"] < 300
    assert facts["cpu"]["usage_seconds"] > 0
    mounts = {mount["target"]: mount for mount in facts["mounts"]}
    assert mounts["/"]["type"] == "tmpfs"
    assert "ro" in mounts["/usr"]["options"]

    assert (found[ended.name]["state"], found[ended.name]["errors"]) == ("stopped", [])
    assert found["test-info-never"]["state"] == "absent"
    facts = found[damaged.name]
    assert (facts["state"], facts["failed_units"]) == ("running", None)
    assert any("spec.json" in error or "Expecting" in error for error in facts["errors"])


def test_a_report_of_very_many_containers_needs_no_more_descriptors(make_machine: MakeMachine) -> None:
    """A process may have 1,024, and a host more containers."""
    machine = make_machine(name="test-info-many")
    machine.start()
    opened = len(os.listdir("/proc/self/fd"))
    many = [Information(Layout(), machine.name, Container(machine.name)) for _number in range(20)]
    assert [each.gather()["errors"] for each in many] == [[]] * len(many)
    assert len(os.listdir("/proc/self/fd")) == opened


def test_all_of_them_when_none_is_named(make_machine: MakeMachine, tmp_path: Path) -> None:
    machine = make_machine(name="test-info-all")
    machine.start()
    facts = ask(tmp_path, log_lines=0)[machine.name]
    assert (facts["state"], facts["log"]) == ("running", None)


def test_another_init_is_brought_up_by_the_module_and_looked_at(make_machine: MakeMachine, tmp_path: Path) -> None:
    machine = make_machine(name="test-info-another", init={"argv": ["/usr/bin/sleep", "1000"]})
    asked = json.dumps({"name": machine.name, "system": str(machine.system)})
    module = ["localhost", "-c", "local", "-m", "unshare.container.system_container", "-a", asked]
    for changed in (True, False):
        done = ansible("ansible", *module, directory=tmp_path, ANSIBLE_LOAD_CALLBACK_PLUGINS="0").stdout
        assert json.loads(done[done.index("{") :])["changed"] is changed, done
    facts = ask(tmp_path, name=[machine.name])[machine.name]
    assert (facts["state"], facts["failed_units"], facts["errors"]) == ("running", None, [])
