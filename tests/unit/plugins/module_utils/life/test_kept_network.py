# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Published ports and name servers are kept beside a container's systems: what changes, what is said of it, and when.

A change restarts nothing; ports that others have are refused before anything changes.
"""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host import claims, ports
from ansible_collections.unshare.container.plugins.module_utils.host.facts import HostFacts
from ansible_collections.unshare.container.plugins.module_utils.host.published import parse_ports
from ansible_collections.unshare.container.plugins.module_utils.launcher import network_options
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.launcher.network_options import NetworkOptions
from ansible_collections.unshare.container.plugins.module_utils.life import examination, networking
from ansible_collections.unshare.container.plugins.module_utils.life.kept_network import KeptNetwork
from ansible_collections.unshare.container.plugins.module_utils.life.one_container import OneContainer
from ansible_collections.unshare.container.plugins.module_utils.state import generations, network_record
from ansible_collections.unshare.container.plugins.module_utils.state.system_content import SystemContent
from ansible_collections.unshare.container.plugins.module_utils.state.systems import Systems
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout, TargetError
from ansible_collections.unshare.container.plugins.modules.containers import options_of

from ..host.test_claims import Hosted
from ..specifications import specification
from ..target_helpers import LAUNCHER, system
from .test_check_mode import HEALTH, Running

ZONE = {"interfaces": [{"kind": "zone", "parent": "web", "name": "eth0"}]}
BRIDGE = {"interfaces": [{"kind": "bridge", "parent": "br0", "name": "eth0"}]}
PORTS = ["8080:80", "127.0.0.1:5353:53/udp"]
SHOWN = ["8080/tcp to 80", "127.0.0.1:5353/udp to 53"]


class InZone:
    """A container whose system has a network, and that runs it."""

    def __init__(self, root: Path, network: dict[str, t.Any] | None = None) -> None:
        self.layout = Layout(root)
        self.container = Running(root)
        self.followed: list[NetworkOptions] = []
        declared = system()
        if network is not None:
            declared["spec"]["network"] = network
        self.system = Systems(self.layout).write(
            SystemContent(declared, "#!/bin/sh\n", LAUNCHER, "/usr/bin/python3"), None
        )
        generations.switch(self.layout, "web", self.system)
        self.container.running, self.container.waited = str(self.system), True
        generations.note_well(self.layout, "web")

    def follow(self, container: t.Any) -> list[str]:
        """Stand in for what changes the host's packet filter."""
        self.followed.append(self.kept())
        return ["followed"]

    def one(self, **given: t.Any) -> OneContainer:
        options = options_of({"health": HEALTH, **given}, "web")
        return OneContainer(self.layout, self.container, self.system, options, False)

    def bring(self, check: bool, **given: t.Any) -> dict[str, t.Any]:
        return self.one(**given).bring(check, True)

    def kept(self) -> NetworkOptions:
        return network_options.read(str(self.layout.container("web")))


@pytest.fixture
def in_zone(tmp_path: Path, own_launcher: None, monkeypatch: pytest.MonkeyPatch) -> InZone:
    monkeypatch.setattr(examination, "examine", lambda *arguments: examination.Examined([], []))
    monkeypatch.setattr(ports, "listening", lambda host: [])
    made = InZone(tmp_path, ZONE)
    monkeypatch.setattr(networking, "follow", made.follow)
    return made


def test_n5_a_change_is_shown_and_restarts_nothing(in_zone: InZone) -> None:
    assert not in_zone.bring(False, ports=[], nameservers=[])["changed"]
    given = {"ports": PORTS, "nameservers": ["192.0.2.53"]}
    planned = in_zone.bring(True, **given)
    assert in_zone.kept() == NetworkOptions()
    done = in_zone.bring(False, **given)
    assert planned["diff"] == done["diff"]
    assert planned["changed"] is done["changed"] is True
    assert (done["diff"]["before"]["ports"], done["diff"]["after"]["ports"]) == ([], SHOWN)
    assert done["diff"]["after"]["nameservers"] == ["192.0.2.53"]
    assert in_zone.kept().ports == parse_ports(PORTS)
    assert not in_zone.bring(True, **given)["changed"]
    assert not in_zone.bring(False, **given)["changed"]
    assert not {"start", "stop"} & set(in_zone.container.calls)
    assert in_zone.followed == [in_zone.kept()]
    assert in_zone.bring(False, ports=[], nameservers=[])["changed"]
    assert in_zone.kept() == NetworkOptions()
    assert len(in_zone.followed) == 2


def test_ports_that_a_failure_has_left_out_are_made_good(in_zone: InZone, monkeypatch: pytest.MonkeyPatch) -> None:
    in_zone.bring(False, ports=PORTS)
    monkeypatch.setattr(network_record, "RUN_DIRECTORY", str(in_zone.layout.root / "run"))
    noted = in_zone.layout.root / "run/web/network.json"
    noted.parent.mkdir(parents=True)
    noted.write_text(json.dumps({"ports": [{"port": 8080, "target": 80}]}))
    in_zone.followed.clear()
    assert in_zone.bring(True, ports=PORTS)["changed"]
    assert in_zone.followed == []
    assert in_zone.bring(False, ports=PORTS)["changed"]
    assert in_zone.followed == [in_zone.kept()]
    interfaces = [{"kind": "zone", "name": "eth0", "host_name": "u1", "addresses": ["10.80.0.2/24", "fd00::2/64"]}]
    noted.write_text(json.dumps({"interfaces": interfaces, "ports": [port.write() for port in parse_ports(PORTS)]}))
    assert in_zone.bring(True, ports=PORTS)["addresses"] == ["10.80.0.2", "fd00::2"]
    assert not in_zone.bring(True, ports=PORTS)["changed"]
    assert not in_zone.bring(False, ports=PORTS)["changed"]
    in_zone.container.running = None
    assert "addresses" not in in_zone.bring(False, ports=PORTS, state="stopped")
    noted.write_text("{}")
    assert not KeptNetwork(in_zone.layout, "web", in_zone.container, PORTS, None).is_behind()


def test_one_that_is_started_has_them_from_its_start(in_zone: InZone) -> None:
    subject = in_zone.one(ports=PORTS)
    subject.bring(False, False)
    assert "followed" in subject.warnings
    in_zone.followed.clear()
    in_zone.bring(False, ports=[], state="stopped")
    assert in_zone.bring(False, ports=PORTS)["changed"]
    assert in_zone.followed == []
    assert in_zone.kept().ports == parse_ports(PORTS)


def test_what_a_task_leaves_out_is_kept(in_zone: InZone) -> None:
    """As the module `system_container` has it, for which None stands for what was left out."""
    in_zone.bring(False, ports=PORTS, nameservers=["192.0.2.53"])
    kept = KeptNetwork(in_zone.layout, "web", in_zone.container, None, ["192.0.2.54"])
    assert kept.describe() == {"nameservers": ["192.0.2.53"]}
    assert kept.plan("started") == {"nameservers": ["192.0.2.54"]}
    assert kept.apply("started")
    assert in_zone.kept() == NetworkOptions(ports=parse_ports(PORTS), nameservers=["192.0.2.54"])
    nothing = KeptNetwork(in_zone.layout, "web", in_zone.container, None, None)
    assert (nothing.describe(), nothing.plan("started"), nothing.would_change("started")) == ({}, {}, False)
    assert KeptNetwork(in_zone.layout, "web", in_zone.container, [], []).plan("absent") == {
        "ports": [],
        "nameservers": [],
    }
    assert not KeptNetwork(in_zone.layout, "web", in_zone.container, [], []).would_change("absent")


@pytest.mark.parametrize("text", ["{", '{"ports": [{"port": 0, "target": 1}]}', '{"port": []}'])
def test_a_damaged_file_is_written_anew_by_who_says_all_of_it(in_zone: InZone, text: str) -> None:
    (in_zone.layout.container("web") / network_options.NETWORK_FILE).write_text(text)
    with pytest.raises(LauncherError, match="declare the container's ports and nameservers again"):
        KeptNetwork(in_zone.layout, "web", in_zone.container, [], None).would_change("started")
    assert in_zone.bring(True, ports=[], nameservers=[])["changed"]
    assert in_zone.bring(False, ports=[], nameservers=[])["changed"]
    assert in_zone.kept() == NetworkOptions()


@pytest.mark.parametrize("network", [None, BRIDGE])
@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("state", ["started", "restarted"])
def test_ports_that_lead_nowhere_are_refused(
    tmp_path: Path, own_launcher: None, network: t.Any, check: bool, state: str
) -> None:
    alone = InZone(tmp_path, network)
    with pytest.raises(
        TargetError, match="^container 'web' is left as it is: ports: the system of container 'web' has"
    ):
        alone.bring(check, ports=PORTS, state=state)
    assert not {"start", "stop"} & set(alone.container.calls)
    assert alone.kept() == NetworkOptions()
    alone.one(ports=PORTS, state="stopped").foresee(check)


def test_the_way_back_is_open_to_a_system_without_a_network(
    tmp_path: Path, own_launcher: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examination, "examine", lambda *arguments: examination.Examined([], []))
    alone = InZone(tmp_path)
    in_zone = InZone(tmp_path, ZONE)
    assert alone.system != in_zone.system
    subject = in_zone.one(ports=PORTS, state="rolled_back")
    subject.cycle.system = None
    subject.bring(False, False)
    assert in_zone.container.running == str(alone.system)
    (said,) = [text for text in subject.warnings if text.startswith("ports: ")]
    assert "has no network that the host forwards to" in said


def test_a_port_of_another_container_is_refused_before_a_change(
    in_zone: InZone, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def conflicts(host: HostFacts, layout: t.Any, name: str, wanted: t.Any, without: t.Any) -> list[str]:
        assert (host.root, layout, name) == (in_zone.layout.root, in_zone.layout, "web")
        asked.append(([(port.place, port.number) for port in wanted], without))
        return ["ports[1]: taken"] if wanted else []

    in_zone.bring(False, ports=PORTS[:1])
    monkeypatch.setattr(claims, "publishing_conflicts", conflicts)
    with pytest.raises(TargetError, match=r"^container 'web' is left as it is: ports\[1\]: taken"):
        in_zone.bring(False, ports=["8080:80", "81:80"])
    with pytest.raises(TargetError, match="taken"):
        in_zone.one(ports=["8080:80", "81:80"]).foresee(False)
    assert in_zone.kept().ports == parse_ports(PORTS[:1])
    warned = in_zone.one(ports=["8080:80", "81:80"])
    warned.bring(True, False)
    assert "ports[1]: taken" in warned.warnings
    assert asked == [([("ports[1]", 81)], ())] * 3, "those that it has already are its own"
    in_zone.bring(False, ports=PORTS[:1])


def test_who_has_a_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "listening", lambda host: [])
    hosted = Hosted(tmp_path / "host")
    hosted.add("old", network=ZONE)
    hosted.add("idle", network=BRIDGE)
    hosted.add("listens", shared_network=True, ports=[{"number": 443, "place": "its.place"}])
    for name in ("old", "idle"):
        network_options.write(
            str(hosted.layout.container(name)), NetworkOptions(ports=parse_ports(["8080:80", "22:22"]))
        )

    def said(*declared: str, without: t.Sequence[str] = ()) -> list[str]:
        wanted = claims.as_ports(parse_ports(list(declared)))
        return claims.publishing_conflicts(HostFacts(), hosted.layout, "web", wanted, without, hosted.record)

    form = (
        "ports[{}]: port {} of the host's network is that of container {!r} ({}): use another, or stop or remove that "
    )
    found = said("81:80", "8080:8080", "127.0.0.1:443:443")
    assert [text.startswith(form.format(1, "8080 (tcp)", "old", "ports[0]")) for text in found] == [True, False]
    assert found[1].startswith(form.format(2, "127.0.0.1:443 (tcp)", "listens", "its.place"))
    assert said("8080:80", "443:443", without=["old", "listens"]) == []
    assert said("8080:80/udp") == []
    (listening,) = hosted.conflicts(ports=[{"number": 8080, "place": "here"}])
    assert listening.startswith("here: port 8080 (tcp) of the host's network is that of container 'old' (ports[0])")
    wanted = parse_ports(["22:22"])
    (starting,) = claims.conflicts(HostFacts(), hosted.layout, "web", specification(), (), wanted, hosted.record)
    assert starting.startswith("ports[0]: port 22 (tcp) of the host's network is that of container 'old' (ports[1])")
    (hosted.layout.container("old") / network_options.NETWORK_FILE).write_text("{")
    assert said("8080:80") == []


def test_a_program_of_the_host_has_a_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = [ports.Listening("tcp", "0.0.0.0", 22, 0, "1")]
    monkeypatch.setattr(ports, "listening", lambda host: there)
    hosted = Hosted(tmp_path / "host")
    wanted = claims.as_ports(parse_ports(["22:22", "22:22/udp"]))
    (said,) = claims.publishing_conflicts(HostFacts(), hosted.layout, "web", wanted, (), hosted.record)
    assert said.startswith("ports[0]: port 22 (tcp) of the host's network is taken by a program of the user 0: use ")


def test_the_file_is_what_the_launcher_reads(in_zone: InZone) -> None:
    in_zone.bring(False, ports=PORTS, nameservers=["192.0.2.53"])
    path = in_zone.layout.container("web") / "network.json"
    assert json.loads(path.read_text()) == {
        "ports": [
            {"port": 8080, "target": 80},
            {"port": 5353, "target": 53, "protocol": "udp", "address": "127.0.0.1"},
        ],
        "nameservers": ["192.0.2.53"],
    }
