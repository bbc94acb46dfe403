# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What cannot be moved is refused while the container runs where it is, and goes on running there (V5)."""

from __future__ import annotations

import contextlib
import json
import typing as t

import pytest

from .fleet_hosts import Fleet
from .moves import NAME, Mover

pytestmark = [pytest.mark.root, pytest.mark.long, pytest.mark.timeout(600)]

OTHER = "test-moved-other"
STATE = "/var/lib/unshare"


@pytest.fixture(scope="module")
def mover() -> t.Iterator[Mover]:
    """Yield two hosts, of which the first has the container."""
    with Fleet(2) as fleet:
        made = Mover(fleet)
        made.deploy(0)
        yield made


@pytest.fixture(autouse=True)
def declared(mover: Mover) -> t.Iterator[None]:
    """Have each test begin with the same declaration."""
    before = mover.declaration
    yield
    mover.declaration = before
    mover.extra.clear()


@contextlib.contextmanager
def goes_on(mover: Mover) -> t.Iterator[None]:
    """Fail unless the container has gone on as it was at the end of the block, and the new host has got nothing."""
    first = mover.pid(0)
    left = mover.left(1)
    mover.await_write()
    yield
    assert mover.pid(0) == first
    assert mover.state(0) == ""
    mover.await_write()
    assert mover.left(1) == left


def refused(mover: Mover, *words: str, old: int = 0, new: int = 1, inventory: t.Sequence[int] = (1,)) -> str:
    """Move it, which must be refused; return what was said."""
    given = mover.words(old, new, *words)
    mover.inventory(*inventory)
    done = mover.fleet.playbook(*given)
    assert done.code != 0, done.output
    return done.output


def test_v5_the_variables_say_where_it_is_and_where_it_is_to_be(mover: Mover) -> None:
    with goes_on(mover):
        for wrong in ({"move_to": "nowhere"}, {"move_to": "all"}, {"move_from": "host02"}):
            said = refused(mover, "-e", json.dumps(wrong))
            assert "name a container, the host that has it, and another host of the inventory; nothing was" in said


def test_v5_the_new_host_declares_it_and_the_old_one_does_not(mover: Mover) -> None:
    with goes_on(mover):
        said = refused(mover, inventory=())
        assert f"'containers' of host02 declares no {NAME} that is to run: move its declaration there" in said
        said = refused(mover, inventory=(0, 1))
        assert f"'containers' of host01 still declares {NAME}, so that the next play would start it there again" in said
        before = mover.declaration
        mover.declaration = {**before, "state": "stopped"}
        said = refused(mover)
        assert f"declares no {NAME} that is to run" in said


def test_v5_the_old_host_has_it_and_the_new_one_nothing_of_it(mover: Mover) -> None:
    with goes_on(mover):
        mover.extra["host02"] = {"containers": {OTHER: mover.declaration}}
        said = refused(mover, "-e", f"move_container={OTHER}")
        assert "host01 has neither the container nor volumes of it: name the host that has it as move_from" in said
        mover.extra.clear()
        directory = f"{STATE}/containers/{NAME}"
        mover.host(1).inside("mkdir", "-p", f"{directory}/volumes/data/somebodys")
        with goes_on(mover):
            assert "host02 has it already, and not from a move (something in volume data)" in refused(mover)
        mover.host(1).inside("rm", "-r", directory)


def test_v5_the_new_host_has_what_the_container_needs(mover: Mover) -> None:
    before = mover.declaration
    missing = {"source": "/run/missing", "target": "/missing", "required": True}
    mover.declaration = {**before, "mappings": [*before["mappings"], missing]}
    with goes_on(mover):
        said = refused(mover)
        assert "the source /run/missing of the required mapping to /missing does not exist" in said


def test_v5_what_is_taken_on_the_new_host_is_known_before_it_is_stopped(mover: Mover) -> None:
    other = {
        "operating_system": {"host_name": "other", "services": []},
        "network": {"zone": "test-moves"},
        "ports": ["18080:80"],
    }
    before = mover.declaration
    with own_playbook(mover, {OTHER: other}):
        mover.declaration = {**before, "network": {"zone": "test-moves"}, "ports": ["18080:80"]}
        with goes_on(mover):
            said = refused(mover)
            assert "18080" in said
            assert OTHER in said


@contextlib.contextmanager
def own_playbook(mover: Mover, containers: dict[str, t.Any]) -> t.Iterator[None]:
    """Have the second host run other containers for the length of a block."""
    playbook = mover.fleet.directory / "other.yml"
    for absent in ({}, {"state": "absent"}):
        declared = {name: {**given, **absent} for name, given in containers.items()}
        task = {"unshare.container.containers": {"containers": declared}}
        playbook.write_text(json.dumps([{"hosts": "host02", "gather_facts": False, "tasks": [task]}]))
        mover.fleet.playbook("-i", str(mover.inventory(1)), str(playbook)).succeeded()
        if not absent:
            yield


def test_v5_there_is_room_on_both_hosts(mover: Mover) -> None:
    file = f"{STATE}/containers/{NAME}/volumes/data/large"
    mover.host(0).inside("sh", "-c", f"head -c 20000000 /dev/zero >{file}")
    for index, words in ((0, "host01 has "), (1, "host02 has ")):
        host = mover.host(index)
        used = int(host.inside("df", "--output=used", "-k", STATE).stdout.split()[-1])
        host.inside("mount", "-o", f"remount,size={used + 10000}k", STATE)
        with goes_on(mover):
            said = refused(mover)
        host.inside("mount", "-o", "remount,size=50%", STATE)
        assert words in said
        assert f"MB left on the file system of {STATE}/containers/{NAME}, and the move needs about" in said
    mover.host(0).inside("rm", file)


def test_v5_a_system_whose_launcher_reads_no_notes_of_moves_is_deployed_anew_first(mover: Mover) -> None:
    """Or a boot of the old host would start it there again."""
    module = mover.host(0).inside("sh", "-c", f"echo {STATE}/systems/*-{NAME}/library/state/holds.py").stdout.strip()
    mover.host(0).inside("mv", module, "/run/holds.py")
    with goes_on(mover):
        said = refused(mover)
    mover.host(0).inside("mv", "/run/holds.py", module)
    assert "on host01 was written by a version of the collection whose run-container would start it" in said
    assert "with this version and keep_generations: 1" in said


def test_v5_check_mode_says_what_would_move_and_changes_nothing(mover: Mover) -> None:
    with goes_on(mover):
        done = mover.move(0, 1, "--check").succeeded()
        assert f"{NAME} would move from host01 to host02, with its volumes data" in done.output


def test_v5_what_another_move_has_begun_is_left_to_that(mover: Mover) -> None:
    note = {"format": 1, "state": "held", "peer": "host03", "move": "abc", "ran": True}
    path = f"{STATE}/containers/{NAME}/move.json"
    mover.host(0).inside("sh", "-c", f"echo '{json.dumps(note)}' >{path}")
    mover.await_write()
    said = refused(mover)
    assert "on host01 a move between that host and host03 is not finished: finish it first" in said
    assert mover.state(0) == "held"
    mover.await_write()
    mover.host(0).inside("rm", path)
