# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a start does for the network that others share: rules that change or are made anew, and names of neighbours."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host import firewall_change, loaded_rules
from ansible_collections.unshare.container.plugins.module_utils.host import nft as nft_module
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.life import network_rules
from ansible_collections.unshare.container.plugins.module_utils.state import locks
from ansible_collections.unshare.container.plugins.module_utils.state.network_record import NetworkRecord


def record(number: int) -> NetworkRecord:
    interface = {
        "name": "eth0",
        "kind": "zone",
        "parent": "web",
        "device": "ubridge",
        "host_name": f"uport{number}",
        "mac": f"02:00:00:00:00:{number:02x}",
        "addresses": [f"10.80.0.{number}/24", f"fd00::{number}/64"],
        "subnets": ["10.80.0.0/24", "fd00::/64"],
        "dhcp": False,
    }
    return NetworkRecord(f"c{number}", {"interfaces": [interface], "system": "/missing"})


class Nft:
    """A packet filter that has the rules of some containers."""

    def __init__(self, there: list[NetworkRecord]) -> None:
        self.marks = firewall_change.marks(network_rules.rules_of(there))
        self.given: list[str] = []
        self.waited = 0

    def load(self, text: str, _held: int) -> Nft:
        self.given.append(text)
        return self

    def wait(self) -> str:
        self.waited += 1
        asked = {line.split()[-1] for line in self.given[-1].splitlines() if line.startswith("delete chain")}
        if not asked <= {*self.marks.values()}:
            raise LauncherError("no such chain")
        return ""


@pytest.fixture
def nft(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> t.Callable[..., Nft]:
    monkeypatch.setattr(locks, "NETWORK_LOCK", str(tmp_path / "lock"))

    def make(there: list[NetworkRecord], living: list[NetworkRecord]) -> Nft:
        made = Nft(there)
        monkeypatch.setattr(nft_module, "Loading", made.load)
        monkeypatch.setattr(network_rules, "living", lambda: living)
        return made

    return make


@pytest.mark.parametrize("holds", [True, False], ids=["lock held", "lock free"])
def test_rules_that_are_not_those_expected_are_made_anew(nft: t.Callable[..., Nft], holds: bool) -> None:
    former, new = [record(2)], [record(2), record(3)]
    flushed = nft([], [*new, record(4)])
    with locks.NetworkLock() as lock:
        rules = network_rules.Rules(new, lock, former)
        if holds:
            rules.wait(lock)
    if not holds:
        rules.wait()
    assert len(flushed.given) == 2
    assert flushed.given[1] == network_rules.rules_of([*new, record(4)])  # another one has come meanwhile


def test_rules_that_are_those_expected_change(nft: t.Callable[..., Nft]) -> None:
    former, new = [record(2)], [record(2), record(3)]
    there = nft(former, new)
    with locks.NetworkLock() as lock:
        network_rules.Rules(new, lock, former).wait(lock)
    (given,) = there.given
    assert "uport3" in given
    assert "uport2" not in given


def test_who_waits_until_the_kernel_has_them_does_not_wait_for_the_program(
    nft: t.Callable[..., Nft], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits, in its end, until the kernel has forgotten what they replace."""
    former, new = [record(2)], [record(2), record(3)]
    there = nft(former, new)
    marks = firewall_change.marks(network_rules.rules_of(new))
    has = {table: {mark, "other"} for table, mark in marks.items()}
    monkeypatch.setattr(loaded_rules, "has_chain", lambda table, name: name in has[table])
    with locks.NetworkLock() as lock:
        rules = network_rules.Rules(new, lock, former)
        rules.wait_loaded()
        assert there.waited == 0
        has["inet unshare"] = {"made_another"}
        rules.wait_loaded()
        assert there.waited == 1

        def refuse(_table: str, _name: str) -> bool:
            raise PermissionError(1, "not for everybody")

        monkeypatch.setattr(loaded_rules, "has_chain", refuse)
        rules.wait_loaded()
        assert there.waited == 2
        network_rules.Rules([], lock).wait_loaded()
        assert there.waited == 3


def test_n8_rules_are_there_when_nothing_of_them_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    records = [record(2)]
    has = firewall_change.outlines(network_rules.rules_of(records))

    def outline(table: str, maps: list[str]) -> dict[str, int]:
        if table not in has:
            raise FileNotFoundError(2, "no such table")
        assert maps == [item[len("map ") :] for item in has[table] if item.startswith("map ")]
        return dict(has[table])

    monkeypatch.setattr(loaded_rules, "outline", outline)
    assert network_rules.has_rules(records)
    assert not network_rules.has_rules([record(3)])
    has["bridge unshare"]["chain uport2"] -= 1  # somebody has deleted a rule
    assert not network_rules.has_rules(records)
    del has["bridge unshare"]
    assert not network_rules.has_rules(records)


def test_rules_that_nft_refuses_as_a_whole_are_an_error(
    nft: t.Callable[..., Nft], monkeypatch: pytest.MonkeyPatch
) -> None:
    nft([], [record(2)])

    def refuse(_self: Nft) -> str:
        raise LauncherError("refused")

    monkeypatch.setattr(Nft, "wait", refuse)
    with locks.NetworkLock() as lock, pytest.raises(LauncherError, match="refused"):
        network_rules.Rules([record(2)], lock, [record(3)]).wait(lock)
