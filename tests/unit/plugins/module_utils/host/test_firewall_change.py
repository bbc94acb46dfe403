# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Changes of the host's packet filter: what they lead to is what is made anew, whatever comes and goes."""

from __future__ import annotations

import itertools
import random
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host import firewall
from ansible_collections.unshare.container.plugins.module_utils.host.firewall_change import change, marks, outlines
from ansible_collections.unshare.container.plugins.module_utils.launcher.made_interfaces import MadeInterface
from ansible_collections.unshare.container.plugins.module_utils.life.network_rules import ports_in_both
from ansible_collections.unshare.container.plugins.module_utils.state.network_record import NetworkRecord

Filter = dict[str, dict[str, list[str]]]


def record(number: int, **fields: t.Any) -> NetworkRecord:
    """Return a container in one of two zones; some publish ports, and some reach the host."""
    interface: dict[str, t.Any] = {
        "name": "eth0",
        "kind": fields.pop("kind", "zone"),
        "parent": "web",
        "device": f"ubridge{number % 2}",
        "host_name": f"uport{number}",
        "mac": f"02:00:00:00:00:{number:02x}",
        "addresses": [f"10.80.{number % 2}.{number + 2}/24", f"fd00:{number % 2}::{number + 2:x}/64"],
        "subnets": [f"10.80.{number % 2}.0/24", f"fd00:{number % 2}::/64"],
        "dhcp": False,
    }
    ports: list[dict[str, t.Any]] = [{"port": 8000 + number, "target": 80}] if number % 3 == 0 else []
    if number % 3 == 1:
        ports = [{"port": 53, "target": 53, "protocol": "udp", "address": f"192.0.2.{number}"}]
    given = {"interfaces": [interface], "ports": ports, "host_access": number % 4 == 0, **fields}
    return NetworkRecord(f"c{number:02}", given)


class Nft:
    """What nft(8) does with the commands of this collection, strictly: nothing is made twice, or goes in use."""

    def __init__(self) -> None:
        self.chains: Filter = {}
        self.maps: Filter = {}

    def run(self, text: str) -> None:
        for line in text.splitlines():
            words = line.split()
            {
                "add": self._add,
                "delete": self._delete,
                "flush": lambda kind, table, name, *_rest: self.chains[table][name].clear(),
            }[words[0]](words[1], " ".join(words[2:4]), words[4], *words[5:])

    def _add(self, kind: str, table: str, name: str, *rest: str) -> None:
        if kind == "chain":
            assert name not in self.chains[table], name
            self.chains[table][name] = []
        elif kind == "rule":
            self._exists(table, *rest)
            self.chains[table][name].append(" ".join(rest))
        else:
            for element in " ".join(rest)[2:-2].split(", "):
                assert element not in self.maps[table][name], element
                self._exists(table, *element.split())
                self.maps[table][name].append(element)

    def _exists(self, table: str, *words: str) -> None:
        for verb, name in itertools.pairwise(words):
            assert verb not in ("goto", "jump") or name in self.chains[table], name

    def _delete(self, kind: str, table: str, name: str, *rest: str) -> None:
        if kind == "element":
            for element in " ".join(rest)[2:-2].split(", "):
                self.maps[table][name].remove(element)
            return
        assert not self.chains[table][name]
        used = [item for items in self.chains[table].values() for item in items]
        used += [item for items in self.maps[table].values() for item in items]
        assert not [item for item in used if item.split()[-2:] in (["goto", name], ["jump", name])]
        del self.chains[table][name]

    def load(self, text: str) -> None:
        """Take a text of `ruleset`."""
        self.__init__()  # type: ignore[misc]
        table = name = ""
        for line in text.splitlines():
            words = line.split()
            if words and words[-1] == "{" and words[0] == "table":
                table = " ".join(words[1:3])
                self.chains[table], self.maps[table] = {}, {}
            elif line.startswith("  chain "):
                name = words[1]
                rules = self.chains[table][name] = []
            elif line.startswith("  map "):
                name = words[1]
                rules = self.maps[table][name] = []
            elif line.startswith("    elements = { "):
                rules += line.strip()[len("elements = { ") : -2].split(", ")
            elif line.startswith("    ") and words[0] != "type":
                rules.append(line.strip())

    def state(self) -> tuple[Filter, Filter]:
        return self.chains, {
            table: {name: sorted(items) for name, items in found.items()} for table, found in self.maps.items()
        }


def test_whatever_comes_and_goes_the_rules_are_those_made_anew() -> None:
    chance = random.Random(7)
    changing, anew = Nft(), Nft()
    there: dict[int, NetworkRecord] = {number: record(number) for number in (0, 1)}
    before, flows = [there[number] for number in sorted(there)], 64
    former = firewall.ruleset(before, flows)
    changing.load(former)
    changes = 0
    for _step in range(300):
        number = chance.randrange(2, 14)
        if there.pop(number, None) is None:
            there[number] = record(number)
        if chance.random() < 0.2:
            there[0] = record(0, ports=[{"port": chance.randrange(8000, 8015), "target": 80}])
        after, flows_after = [there[number] for number in sorted(there)], chance.choice((64, 64, 64, 128))
        new = firewall.ruleset(after, flows_after)
        commands = change(former, new)
        assert commands is not None
        known = ports_in_both(before, after)
        assert len(known) >= len(after) - 2
        without_known = [
            firewall.ruleset(some, count, known=known) for some, count in ((before, flows), (after, flows_after))
        ]
        assert change(*without_known) == commands
        before, flows = after, flows_after
        changing.run(commands)
        anew.load(new)
        assert changing.state() == anew.state()
        changes += commands.count("\n")
        former = new
    assert changes > 300


@pytest.mark.parametrize(
    "fields",
    [
        {"host_name": "uother"},
        {"mac": "02:00:00:00:00:77"},
        {"addresses": ["10.80.0.99/24"]},
        {"addresses": []},
        {"dhcp": True},
        {"device": "ubridge9"},
        {"kind": "bridge"},
        {"subnets": ["10.99.0.0/24"]},
    ],
)
def test_a_mark_tells_of_all_that_rules_are_made_of(fields: dict[str, t.Any]) -> None:
    """Also where the chains of ports are left out."""
    one, other = record(0), record(0)
    vars(other.interfaces[0]).update(fields)
    texts = [firewall.ruleset([some, record(1)]) for some in (one, other)]
    first, second = (marks(text) for text in texts)
    assert texts[0] != texts[1]
    assert not set(first.values()) & set(second.values())
    assert marks(firewall.ruleset([one, record(1)], known={"uport0", "uport1"})) == first


def test_each_field_that_a_ports_rules_follow_from_is_told_by_the_mark() -> None:
    read: set[str] = set()

    class Port:
        def __init__(self, port: MadeInterface) -> None:
            self.port = port

        def plain_addresses(self) -> list[str]:
            read.add("addresses")
            return self.port.plain_addresses()

        def __getattr__(self, name: str) -> t.Any:
            read.add(name)
            return getattr(self.port, name)

    firewall._port_chain(t.cast("MadeInterface", Port(record(0).interfaces[0])))
    assert read == {"host_name", "mac", "addresses", "dhcp"}


def test_another_version_of_the_rules_has_other_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what a former one has loaded is made anew."""
    records = [record(0), record(1)]
    before = marks(firewall.ruleset(records, known={"uport0", "uport1"}))
    make = firewall._port_rules
    monkeypatch.setattr(firewall, "_port_rules", lambda port: [*make(port), "accept"])
    firewall._port_form.cache_clear()
    try:
        after = marks(firewall.ruleset(records, known={"uport0", "uport1"}))
    finally:
        firewall._port_form.cache_clear()
    assert not set(before.values()) & set(after.values())


def test_a_change_begins_with_the_marks_of_the_former_rules() -> None:
    former, new = firewall.ruleset([record(0)]), firewall.ruleset([record(0), record(2)])
    commands = (change(former, new) or "").splitlines()
    gone = [f"delete chain {table} {mark}" for table, mark in marks(former).items()]
    assert [line for line in commands if line.startswith("delete chain")] == gone
    assert commands[0] == gone[0]
    assert [line for line in commands if firewall.MARK in line and line.startswith("add chain")] == [
        f"add chain {table} {mark}" for table, mark in marks(new).items()
    ]


def test_n8_an_outline_has_the_number_of_all_that_can_be_missed() -> None:
    text = firewall.ruleset([record(0), record(1)])
    anew = Nft()
    anew.load(text)
    expected = {
        table: {
            **{f"chain {name}": len(rules) for name, rules in anew.chains[table].items()},
            **{f"map {name}": len(items) for name, items in anew.maps[table].items()},
        }
        for table in anew.chains
    }
    assert outlines(text) == expected
    assert expected["bridge unshare"]["map ports"] == 2
    assert expected["inet unshare"]["chain tcp_8000"] == 2
    assert outlines(firewall.ruleset([])) == {}


def test_a_change_has_nothing_of_those_that_stay() -> None:
    few, many = [record(2)], [record(number) for number in range(2, 60, 12)]
    sizes = []
    for others in (few, many):
        commands = change(firewall.ruleset(others), firewall.ruleset([*others, record(62)])) or ""
        assert "uport62" in commands
        assert "uport2 " not in commands
        sizes.append(len(commands.splitlines()))
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize(
    ("former", "new"), [([], [record(0)]), ([record(0)], []), ([record(0, kind="bridge")], [record(0)]), ([], [])]
)
def test_where_a_table_comes_or_goes_all_is_made_anew(former: list[NetworkRecord], new: list[NetworkRecord]) -> None:
    assert change(firewall.ruleset(former), firewall.ruleset(new)) is None
