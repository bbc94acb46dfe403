# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of the host's packet filter for containers: whether they are there, and how they change (N8)."""

from __future__ import annotations

from ..host import firewall, firewall_change, foreign_filters, loaded_rules, nft
from ..launcher.errors import LauncherError
from ..launcher.host_settings import interfaces
from ..state.locks import NetworkLock
from ..state.network_record import NetworkRecord


def living() -> list[NetworkRecord]:
    """Return the records of the containers of this network namespace that run, or are being started."""
    records, there = NetworkRecord.all_here(), interfaces()
    return [record for record in records if record.is_alive(there)]


class Rules:
    """The rules of the packet filter for some containers, loaded by a program that keeps the lock until it ends.

    Args:
        records: of all containers.
        former: of those that the rules were made for that are there; None to make all rules anew.
    """

    def __init__(
        self, records: list[NetworkRecord], lock: NetworkLock, former: list[NetworkRecord] | None = None
    ) -> None:
        commands = None
        if former is not None:
            known = ports_in_both(former, records)
            new = rules_of(records, known)
            commands = firewall_change.change(rules_of(former, known), new)
        self.is_change = commands is not None
        if commands is None:
            commands = new = rules_of(records)
        self.marks = firewall_change.marks(new)
        self.loading = nft.Loading(commands, lock.descriptor)

    def wait_loaded(self) -> None:
        """Wait until the kernel has them; the program may still be there, as long as that forgets what they replace.

        Raises:
            LauncherError: as for `wait`.
        """
        try:
            if self.marks and all(loaded_rules.has_chain(table, mark) for table, mark in self.marks.items()):
                return
        except OSError:
            pass  # the kernel does not say
        self.wait()

    def wait(self, lock: NetworkLock | None = None) -> None:
        """Wait until the program has loaded them. Where the former ones were not there, all are made anew.

        Args:
            lock: that the caller holds, if it does.

        Raises:
            LauncherError: they could not be loaded.
        """
        try:
            self.loading.wait()
        except LauncherError:
            if not self.is_change:
                raise
            if lock is not None:
                Rules(living(), lock).wait()
            else:
                with NetworkLock() as own:
                    Rules(living(), own).wait()


def rules_of(records: list[NetworkRecord], known: set[str] | None = None) -> str:
    """Return the commands that make the packet filter for these containers.

    Args:
        known: names of ports whose chains are left out.
    """
    return firewall.ruleset(records, firewall.flows_here(), firewall.tracks_bridges(), known or ())


def ports_in_both(former: list[NetworkRecord], records: list[NetworkRecord]) -> set[str]:
    """Return the names of the ports of the containers whose records are in both lists, as they are."""
    before = {id(record) for record in former}
    return {port.host_name for record in records if id(record) in before for port in record.interfaces}


def has_rules(records: list[NetworkRecord]) -> bool:
    """Return whether the host's packet filter is the one for these containers, and has lost nothing."""
    expected = firewall_change.outlines(rules_of(records))
    try:
        return all(
            loaded_rules.outline(table, [item[len("map ") :] for item in outline if item.startswith("map ")]) == outline
            for table, outline in expected.items()
        )
    except OSError:
        return False


def warnings_of_filters(chains: str, bridges: list[str]) -> list[str]:
    """Return a warning for each chain of the host's own that drops what it does not know, and knows no such bridge.

    Args:
        chains: what nft(8) says of all of them.
    """
    found = []
    for chain in foreign_filters.dropping(chains):
        with NetworkLock() as lock:
            known = nft.Loading(chain.question + "\n", lock.descriptor).wait()
        strange = [bridge for bridge in dict.fromkeys(bridges) if bridge not in known]
        if strange:
            found.append(foreign_filters.advice(chain, strange))
    return found
