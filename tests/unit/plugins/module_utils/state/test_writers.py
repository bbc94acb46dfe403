# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A launcher refuses to start a second container that writes to one directory."""

from __future__ import annotations

import json
import os
import socket
import types
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import linux, mapped, mount_table, process
from ansible_collections.unshare.container.plugins.module_utils.launcher.contract import Mount
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.state import record, writers
from ansible_collections.unshare.container.plugins.module_utils.state.record import RecordedContainer

from ..specifications import SMALL, specification


def bind(source: str | Path, *flags: str, point: str = "/data") -> dict[str, t.Any]:
    return {"device": str(source), "mount_point": point, "type": "none", "flags": ["bind-mount", *flags]}


def note_of(mounts: t.Iterable[Mount]) -> str:
    """Return what a start notes of mappings."""
    there = [mount for mount in mounts if os.path.exists(mount.source)]
    found = [(mount, os.stat(mount.source)) for mount in there]
    return "".join(mapped.Mapped(mount, f"{at.st_dev}:{at.st_ino}", {}).line() + "\n" for mount, at in found)


class Hosted:
    """A host whose directory in memory names the containers that run, and some that do not."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.asked = 0
        self.does = "runs"
        self.starting_with: list[str] = []
        self.systems: dict[str, str | None] = {}
        (root / "run").mkdir()

    def add(self, name: str, *mounts: dict[str, t.Any], runs: bool = True, shared: t.Sequence[Mount] = ()) -> Path:
        system = self.root / f"system-{name}"
        system.mkdir()
        (system / "spec.json").write_text(json.dumps({**SMALL, "name": name, "file_systems": list(mounts)}))
        self.systems[name] = str(system) if runs else None
        (self.root / "run" / name).mkdir()
        noted = [*specification(file_systems=list(mounts)).file_systems, *shared]
        (self.root / "run" / name / mapped.FILE).write_text(note_of(noted))
        return system

    def record(self, name: str) -> t.Any:
        self.asked += 1
        system = self.systems[name]
        use = record.Use(self.does, system, "\n".join(self.starting_with)) if system else None
        return types.SimpleNamespace(use=lambda: use)

    def start(self, *mounts: dict[str, t.Any], name: str = "web", shared: t.Sequence[Mount] = ()) -> None:
        records = specification(file_systems=list(mounts)).file_systems + list(shared)
        writers.refuse_second(name, records, str(self.root / "run"), self.record)


@pytest.fixture
def hosted(tmp_path: Path) -> Hosted:
    (tmp_path / "data/below").mkdir(parents=True)
    (tmp_path / "link").symlink_to("data")
    return Hosted(tmp_path)


@pytest.mark.parametrize(
    ("theirs", "ours", "relation"),
    [
        pytest.param("data", "data", "is", id="the_same"),
        pytest.param("data", "data/below", "contains", id="below"),
        pytest.param("data/below", "data", "lies in", id="above"),
        pytest.param("link", "data/below", "contains", id="by_a_link"),
        pytest.param("nosuch", "nosuch/below", "contains", id="not_there"),
    ],
)
def test_the_second_writer_is_refused(hosted: Hosted, theirs: str, ours: str, relation: str) -> None:
    known, path = hosted.root / theirs, hosted.root / ours
    hosted.add("old", bind(known, point="/old"))
    with pytest.raises(LauncherError) as error:
        hosted.start(bind(path))
    said = str(error.value)
    assert said.startswith(f"container web: cannot start: container 'old', which runs, writes to {known} (at /old)")
    assert f"{relation} {path} (here at /data)" in said
    assert "stop or remove that container first" in said


def test_further_shares_count_on_both_sides(hosted: Hosted) -> None:
    share = Mount(device=str(hosted.root / "data"), mount_point="/shared", type="none", flags=["bind-mount"])
    hosted.add("old", shared=[share])
    said = r"'old', which runs, writes to .*/data \(at /shared\)"
    with pytest.raises(LauncherError, match=said):
        hosted.start(bind(hosted.root / "data"))
    with pytest.raises(LauncherError, match=said):
        hosted.start(shared=[share])
    hosted.start(bind(hosted.root / "data", "read-only"))


@pytest.mark.parametrize(
    "mount",
    [
        {"device": "/dev/nosuch", "mount_point": "/data", "type": "ext4", "flags": []},
        {**bind("x"), "type": "overlay", "flags": [], "options": "lowerdir=/usr,upperdir=/srv/u,workdir=/srv/w"},
    ],
)
def test_other_file_systems(hosted: Hosted, mount: dict[str, t.Any]) -> None:
    hosted.add("old", mount)
    with pytest.raises(LauncherError, match="'old', which runs, writes to"):
        hosted.start(mount)


def test_what_is_being_started_or_ends_counts_as_well(hosted: Hosted) -> None:
    share = Mount(device=str(hosted.root / "data"), mount_point="/shared", type="none", flags=["bind-mount"])
    hosted.add("old")
    hosted.starting_with = [mapped.Mapped(share, "", {}).line()]
    for hosted.does in ("is being started", "is ending"):
        with pytest.raises(LauncherError, match=rf"'old', which {hosted.does}, writes to .*/data \(at /shared\)"):
            hosted.start(bind(hosted.root / "data"))


@pytest.fixture
def container(tmp_path: Path) -> RecordedContainer:
    found = RecordedContainer("x")
    found.run_directory = str(tmp_path)
    return found


def test_a_claim_lasts_as_long_as_who_makes_it(container: RecordedContainer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert container.use() is None
    container.claim("/system", "lines\nof shares")
    found = container.use()
    assert found is not None
    assert (found.does, found.system, found.shares) == ("is being started", "/system", "lines\nof shares")
    container.give_up_claim()
    assert container.use() is None
    container.give_up_claim()
    child = os.fork()
    if child == 0:
        container.claim("/system", "")
        os._exit(0)
    os.waitpid(child, 0)
    assert (Path(container.run_directory) / record.CLAIM).exists()
    assert container.use() is None, "who made it has ended"
    container.claim("/system", "")
    monkeypatch.setattr(record, "boot_id", lambda: "another boot")
    assert container.use() is None


@pytest.mark.parametrize(("more", "does"), [({}, "runs"), ({"stopping": True}, "is ending")])
def test_a_record_lasts_as_long_as_its_process(container: RecordedContainer, more: dict[str, t.Any], does: str) -> None:
    started = process.start_time(os.getpid())
    container.write_record(
        {"pid": os.getpid(), "start_time": started, "boot_id": record.boot_id(), "system": "/s", **more}
    )
    found = container.use()
    assert found is not None
    assert (found.does, found.system, found.shares) == (does, "/s", "")
    container.claim("/other", "")
    found = container.use()
    assert found is not None
    assert found.does == "is being started", "a claim counts before the record of the run before"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"pid": "1", "start_time": 1}', '{"pid": -1, "start_time": 1}'])
def test_a_damaged_claim_is_none(container: RecordedContainer, text: str) -> None:
    (Path(container.run_directory) / record.CLAIM).write_text(text)
    assert container.use() is None


def test_nobody_asks_between_a_question_and_its_claim(
    container: RecordedContainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    class Held:
        def __enter__(self) -> None:
            done.append("held")

        def __exit__(self, *_error: object) -> None:
            done.append("given back")

    monkeypatch.setattr(writers, "AllocationLock", Held)
    monkeypatch.setattr(writers, "refuse_second", lambda *_arguments: done.append("asked"))
    monkeypatch.setattr(container, "claim", lambda system, shares: done.append(f"claimed {system} {shares}"))
    share = Mount(device=str(tmp_path), mount_point="/shared", type="none", flags=["bind-mount"])
    writers.claim(container, "/s", [], [share])
    assert done == ["held", "asked", f"claimed /s /shared {tmp_path} bind-mount private -", "given back"]
    done.clear()
    writers.claim(container, "/s", [], [])
    assert not done


def test_who_is_none(hosted: Hosted) -> None:
    data = hosted.root / "data"
    hosted.add("stopped", bind(data), runs=False)
    hosted.add("web", bind(data))
    hosted.add("reads", bind(data, "read-only"))
    hosted.add("elsewhere", bind(hosted.root / "elsewhere"))
    (hosted.root / "run/.old").mkdir()  # a lock's, of no container
    hosted.start(bind(data))


def test_sockets_and_pipes_are_for_everybody(hosted: Hosted) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(hosted.root / "data/s"))
    os.mkfifo(hosted.root / "data/p")
    mounts = [bind(hosted.root / "data/s", point="/s"), bind(hosted.root / "data/p", point="/p")]
    hosted.add("old", *mounts)
    hosted.start(*mounts)


def test_a_damaged_neighbour_is_known_by_what_it_was_started_with(hosted: Hosted) -> None:
    data = hosted.root / "data"
    noted = Mount(device=str(data), mount_point="/old", type="none", flags=["bind-mount"])
    (hosted.add("old", bind(data, point="/old"), shared=[noted]) / "spec.json").write_text("{")
    with pytest.raises(LauncherError, match=r"'old', .*\(at /old\)"):
        hosted.start(bind(data))


@pytest.mark.parametrize("mounts", [[], [bind("/srv/x", "read-only")]])
def test_nobody_is_asked_where_nothing_is_written(hosted: Hosted, mounts: list[dict[str, t.Any]]) -> None:
    hosted.add("old", bind("/srv/x"))
    hosted.start(*mounts)
    assert hosted.asked == 0


class Counted:
    """How often this search reads the mount table, and how often it opens a path."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tables = self.opened = 0
        read, openat2 = mount_table.read, linux.openat2

        def reading(*arguments: t.Any) -> t.Any:
            self.tables += 1
            return read(*arguments)

        def opening(*arguments: t.Any, **more: t.Any) -> int:
            self.opened += 1
            return openat2(*arguments, **more)

        monkeypatch.setattr(mount_table, "read", reading)
        monkeypatch.setattr(linux, "openat2", opening)


def test_many_others_cost_little(hosted: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
    """One mount table for all, and no look at a path of another that cannot meet one of these."""
    for number in range(100):
        (hosted.root / f"others/{number}").mkdir(parents=True)
        mounts = [bind(hosted.root / f"others/{number}", point="/a"), bind(f"/srv/nosuch/{number}", point="/b")]
        hosted.add(f"c{number}", *mounts)
    counted = Counted(monkeypatch)
    hosted.start(bind(hosted.root / "data"))
    deep = len((hosted.root / "data").parts)
    assert counted.tables == 1
    assert counted.opened <= 2 * deep + 2, "its own path alone, and the directories above that"


def test_an_other_that_may_meet_is_looked_at_once(hosted: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
    (hosted.root / "data/below/more").mkdir()
    paths = ["data", "data/below", "data/below/more"]
    for number, path in enumerate(paths):
        hosted.add(f"c{number}", bind(hosted.root / path))
    counted = Counted(monkeypatch)
    with pytest.raises(LauncherError) as error:
        hosted.start(*(bind(hosted.root / path, point=f"/{path}") for path in paths))
    assert str(error.value).count("which runs, writes to") == 9
    assert counted.tables == 1


def test_a_host_without_containers(hosted: Hosted) -> None:
    (hosted.root / "run").rmdir()
    hosted.start(bind("/srv/x"))
