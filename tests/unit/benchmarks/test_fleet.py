# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmark of fleets: its peers do the same, it says who is missing, and it counts in pings of the same run."""

from __future__ import annotations

import ast
import types
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.tests.benchmarks import fleet, fleet_peers

HOSTS = [types.SimpleNamespace(name="host01", address="192.0.2.2")]


def sample(wall: float, controller: float, sent: float = 0) -> fleet.Sample:
    return {"wall": wall, "controller": controller, "hosts": 2 * wall, "sent": sent, "received": 0}


def test_what_is_made_by_hand_has_the_same_files_with_ansible_and_with_pyinfra(tmp_path: Path) -> None:
    wanted = {f"/run/x/{name}": content for name, content in fleet_peers.contents("/run/x", "page").items()}
    assert wanted["/run/x/site/index.html"] == "page"
    play = fleet_peers.plain_play("/run/x", "page")[0]
    copied = [task["ansible.builtin.copy"] for task in play["tasks"] if "ansible.builtin.copy" in task]
    assert {task["dest"]: task["content"] for task in copied} == wanted

    made = t.cast("t.Any", types.SimpleNamespace(directory=tmp_path, hosts=HOSTS, key=tmp_path / "key"))
    command = fleet_peers.pyinfra_command(made, "/run/x", "page", Path("pyinfra"))
    inventory, deploy = (ast.parse(Path(path).read_text()) for path in command[2:])
    assert "'host01', '192.0.2.2'" in ast.unparse(inventory)
    pairs = next(node.generators[0].iter for node in ast.walk(deploy) if isinstance(node, ast.ListComp))
    assert {f"/run/x/{name}": Path(source).read_text() for name, source in ast.literal_eval(pairs)} == wanted
    assert "sh /run/x/start" in ast.unparse(deploy)
    assert "sh /run/x/start" in str(play["handlers"])


def test_peers_that_are_not_installed_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fleet_peers.versions(tmp_path) == {}
    found = fleet_peers.pyinfra_program(tmp_path), fleet_peers.mitogen_environment(tmp_path)
    monkeypatch.setattr(fleet_peers, "pyinfra_program", lambda: found[0])
    monkeypatch.setattr(fleet_peers, "mitogen_environment", lambda: found[1])
    absent = fleet.Measured(t.cast("t.Any", None)).absent()
    assert absent == dict.fromkeys(("pyinfra", "mitogen"), "it is not installed")


def test_mitogen_is_found_where_it_is_installed(tmp_path: Path) -> None:
    strategies = tmp_path / "lib/python3.11/site-packages/ansible_mitogen/plugins/strategy"
    strategies.mkdir(parents=True)
    environment = fleet_peers.mitogen_environment(tmp_path)
    assert environment
    assert environment["ANSIBLE_STRATEGY_PLUGINS"] == str(strategies)


def test_runs_are_in_pings_of_the_same_run_and_bytes_by_host() -> None:
    samples = {"ping": [sample(2, 1), sample(4, 2), sample(3, 3)], "first": [sample(6, 4, 5000)]}
    for kind in ("change", "nothing"):
        samples[kind] = [sample(3.6, 2.4)]
    result = fleet.summary(samples, 2)
    assert result["ratios"]["first"] == {"wall": 2.0, "controller": 2.0, "hosts": 2.0}
    assert result["seconds_per_host"]["ping"] == {"wall": 1.5, "controller": 1.0, "hosts": 3.0}
    assert result["bytes_per_host"]["first"] == {"sent": 2500, "received": 0}
    assert fleet.missed(result) == []
    samples["nothing"] = [sample(3.6, 2.5)]
    assert fleet.missed(fleet.summary(samples, 2)) == ["nothing"]


def test_each_host_has_a_derivation_of_its_own() -> None:
    derived = fleet.derivation(2)
    assert (derived["hosts"], derived["wall"] > 0, derived["processor"] > 0) == (2, True, True)
