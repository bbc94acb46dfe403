# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Snapshots of databases that are written to without pause: each recovers (V4)."""

from __future__ import annotations

import time
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.life.container import Container

from .conftest import Machine, write_system
from .saving import ask, reach

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]

NAME = "test-saved-databases"


WRITING = "yes 'insert into numbers select coalesce(max(number), 0) + 1 from numbers;'"


def databases(container: Container, rounds: int) -> None:
    """Take snapshots while databases are written to without pause, restore each, and see that it recovers."""
    services: list[dict[str, t.Any]] = [
        {"type": "postgresql", "value": {"settings": {"fsync": True}}},
        {"type": "redis", "value": {"settings": {"appendonly": "yes"}}},
    ]
    system = write_system({"host_name": NAME, "services": services}, NAME, volumes=True)
    reach(container, system=system)
    machine = Machine(NAME, system)

    def sql(text: str) -> str:
        return machine.output("psql", "-XAtqc", text, "postgres", user="postgres").strip()

    sql("create table numbers (number bigint primary key)")
    for user, command in (("postgres", f"{WRITING} | exec psql -Xq postgres"), ("root", "yes incr number | redis-cli")):
        machine.output("setsid", "sh", "-c", f"{{ {command}; }} </dev/null >/dev/null 2>&1 &", user=user)
    counted: list[tuple[int, int]] = []
    for number in range(rounds):
        deadline = time.monotonic() + 30
        while True:  # what was acknowledged before the snapshot is in it
            written = machine.output("redis-cli", "get", "number").strip()
            found = int(sql("select coalesce(max(number), 0) from numbers")), int(written or 0)
            if all(now > then for now, then in zip(found, counted[-1] if counted else (0, 0), strict=True)):
                break
            assert time.monotonic() < deadline, found
        counted.append(found)
        assert ask(container, snapshot=f"of-{number}")["consistent"] == "frozen"
    for number, (rows, count) in enumerate(counted):
        ask(container, "restored", snapshot=f"of-{number}", stop=True)
        greatest = int(sql("select max(number) from numbers"))
        assert greatest == int(sql("select count(*) from numbers"))
        assert greatest >= rows
        assert int(machine.output("redis-cli", "get", "number")) > 0
        assert count > 0
        assert sql("insert into numbers values (0); select count(*) from numbers") == str(greatest + 1)
        assert container.failed_units() == []


def test_v4_databases_that_are_written_to_recover(container: Container) -> None:
    databases(container, 3)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_v4_databases_that_are_written_to_recover_from_each_of_twenty(container: Container) -> None:
    databases(container, 20)
