# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Snapshots on the disk: what is one, what is noted of it, which are no longer kept, and how one is put back (V4)."""

from __future__ import annotations

import errno
import json
import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.state import renaming, restoring, volumes
from ansible_collections.unshare.container.plugins.module_utils.state.restoring import Restore
from ansible_collections.unshare.container.plugins.module_utils.state.snapshot_record import (
    DAY,
    SnapshotRecord,
    no_longer_kept,
)
from ansible_collections.unshare.container.plugins.module_utils.state.snapshots import Snapshots, copy, write_out
from ansible_collections.unshare.container.plugins.module_utils.state.target import TargetError


def record(**more: t.Any) -> SnapshotRecord:
    return SnapshotRecord(**{"container": "web", "made": 1000.5, "consistent": "frozen", "volumes": ["data"], **more})


@pytest.fixture
def kept(tmp_path: Path) -> Snapshots:
    (tmp_path / "volumes/data").mkdir(parents=True)
    (tmp_path / "volumes/data/file").write_text("saved")
    return Snapshots("web", tmp_path)


def save(kept: Snapshots, name: str, **more: t.Any) -> None:
    with kept.making(name) as path:
        (path / "volumes").mkdir()
        copy(kept.directory / "volumes", "data", path / "volumes")
        write_out(path)
        kept.finish(name, path, record(**more))


def test_v4_what_is_noted_is_read_again() -> None:
    whole = record(
        system="0" * 32 + "-web", labels={"a": "", "b": "c"}, size=7, files=3, seconds=1.5, paused_seconds=0.25
    )
    text = whole.text()
    assert json.loads(text)["format"] == 1
    assert SnapshotRecord.parse(text, "/x") == whole
    assert SnapshotRecord.parse(record().text(), "/x") == record()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2}, "/x: has format 2, and this version of the collection knows 1"),
        ({"format": None}, "/x: is damaged: it has no number of its format; remove the snapshot"),
        ({"format": True}, "/x: is damaged: it has no number of its format"),
        ({"format": 0}, "/x: is damaged: it has no number of its format"),
        ({"other": 1}, "/x: is damaged: other: is no field"),
        ({"container": "../x"}, "/x: is damaged: container: is no container's name"),
        ({"volumes": ["../../etc"]}, r"/x: is damaged: volumes\[0\]: is no name of a volume"),
        ({"volumes": "data"}, "/x: is damaged: volumes: is not of type list"),
        ({"consistent": "perhaps"}, "/x: is damaged: consistent: is neither 'frozen' nor"),
        ({"made": "now"}, "/x: is damaged: made: is no number of seconds"),
        ({"made": -1}, "/x: is damaged: made: is no number of seconds"),
        ({"made": True}, "/x: is damaged: made: is no number of seconds"),
        ({"size": -1}, "/x: is damaged: size: is no count"),
        ({"size": 1.5}, "/x: is damaged: size: is no count"),
        ({"labels": {"a": 1}}, r"/x: is damaged: labels\.\[a\]: is no text|/x: is damaged: labels\[a\]: is no text"),
    ],
)
def test_v4_what_is_damaged_or_of_a_later_version_is_refused(change: dict[str, t.Any], said: str) -> None:
    fields = {**json.loads(record().text()), **change}
    with pytest.raises(TargetError, match=said):
        SnapshotRecord.parse(json.dumps(fields), "/x")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": 1}'])
def test_v4_what_is_no_record_is_damaged(text: str) -> None:
    with pytest.raises(TargetError, match=r"/x: is damaged: .*remove the snapshot \(state: absent\)"):
        SnapshotRecord.parse(text, "/x")


def made(**times: float) -> dict[str, SnapshotRecord]:
    return {name: record(made=when) for name, when in times.items()}


@pytest.mark.parametrize(
    ("keep", "max_age", "gone"),
    [
        (None, None, []),
        (4, None, []),
        (3, None, ["a"]),
        (2, None, ["a", "b"]),
        (1, None, ["a", "b", "c"]),
        (None, 10, []),
        (None, 9, ["a"]),
        (None, 8, ["a", "b"]),
        (None, 1, ["a", "b", "c"]),
        (3, 8, ["a", "b"]),
        (1, 9, ["a", "b", "c"]),
    ],
)
def test_v4_retention_by_count_and_age(keep: int | None, max_age: int | None, gone: list[str]) -> None:
    """The newest stay; one as old as the age stays, too."""
    records = made(now=10 * DAY, a=0, c=2 * DAY, b=DAY)
    assert no_longer_kept(records, "now", {}, keep, max_age, 10 * DAY) == gone


def test_v4_what_was_just_asked_for_stays_whatever_the_clock_said() -> None:
    records = made(asked=0, a=5 * DAY, b=6 * DAY)
    assert no_longer_kept(records, "asked", {}, 1, 1, 9 * DAY) == ["a", "b"]
    assert no_longer_kept(records, "asked", {}, 2, None, 9 * DAY) == ["a"]


def test_v4_retention_is_of_those_that_have_just_these_labels() -> None:
    nightly = {"made": "nightly"}
    records = {
        "plain": record(made=0),
        "more": record(made=0, labels={**nightly, "why": "x"}),
        "other": record(made=0, labels={"made": "by hand"}),
        "same": record(made=0, labels=nightly),
    }
    assert no_longer_kept(records, "now", nightly, 1, None, 0) == ["same"]
    assert no_longer_kept(records, "now", {}, 1, None, 0) == ["plain"]


def test_v4_only_what_is_complete_is_a_snapshot(kept: Snapshots) -> None:
    assert kept.names() == []
    save(kept, "one")
    with pytest.raises(ZeroDivisionError), kept.making("two") as path:
        path.joinpath(str(1 // len(kept.names()[1:])))
    assert os.listdir(kept.path) == ["one"]
    (kept.path / ".new-three/volumes").mkdir(parents=True)
    (kept.path / ".gone-four/volumes").mkdir(parents=True)
    (kept.path / "No name").mkdir()
    assert kept.names() == ["one"]
    kept.clear()
    assert sorted(os.listdir(kept.path)) == ["No name", "one"]
    assert kept.record("one") == record()
    kept.remove("one")
    assert kept.names() == []
    (kept.path / "No name").rmdir()
    kept.remove_empty()
    assert not kept.path.exists()
    kept.clear()


def test_v4_nobody_else_can_enter(kept: Snapshots) -> None:
    save(kept, "one")
    assert [path.stat().st_mode & 0o777 for path in (kept.path, kept.path / "one")] == [0o700] * 2


def test_v4_one_that_is_not_there_or_not_whole_is_refused(kept: Snapshots) -> None:
    with pytest.raises(TargetError, match="container 'web' has no snapshot 'x'; it has none"):
        kept.record("x")
    save(kept, "one")
    save(kept, "two")
    with pytest.raises(TargetError, match="has no snapshot 'x'; it has one, two"):
        kept.record("x")
    (kept.path / "two/volumes/data").rename(kept.path / "two/volumes/other")
    with pytest.raises(TargetError, match="two: is damaged: it lacks data; remove it"):
        kept.record("two")
    found, problems = kept.readable()
    assert (list(found), len(problems)) == (["one"], 1)
    kept.write_record("one", record(labels={"new": "x"}))
    assert kept.record("one").labels == {"new": "x"}


class Restoring:
    """A container whose two volumes are about to be exchanged with fresh copies."""

    def __init__(self, directory: Path, ready: bool = True) -> None:
        self.directory = directory
        self.snapshots = directory / "snapshots"
        self.aside = self.snapshots / ".restoring"
        for place, text in ((directory / "volumes", "old"), (self.aside / "volumes", "new")):
            for name in ("one", "two"):
                (place / name).mkdir(parents=True)
                (place / name / "file").write_text(text)
        inodes = {name: (self.aside / "volumes" / name).stat().st_ino for name in ("one", "two")}
        self.restore = Restore(snapshot="s", restart=True, ready=ready, volumes=inodes)
        restoring.note(str(self.snapshots), self.restore)

    def finish(self, before: t.Callable[[str], None] = lambda name: None) -> None:
        restoring.finish(str(self.directory), str(self.snapshots), before)

    def texts(self) -> list[str]:
        return [(self.directory / "volumes" / name / "file").read_text() for name in ("one", "two")]


def test_v4_volumes_are_exchanged_and_what_they_were_is_kept_until_then(tmp_path: Path) -> None:
    case = Restoring(tmp_path)

    def look(name: str) -> None:
        assert (case.directory / "volumes" / name / "file").read_text() == "old"
        assert case.aside.exists()

    case.finish(look)
    assert case.texts() == ["new", "new"]
    (aside,) = case.snapshots.iterdir()
    assert aside.name.startswith(".gone-restored-")
    assert [(aside / "volumes" / name / "file").read_text() for name in ("one", "two")] == ["old", "old"]
    case.finish()  # there is nothing to finish
    assert case.texts() == ["new", "new"]


@pytest.mark.parametrize("can_exchange", [True, False])
@pytest.mark.parametrize("when", ["one", "two"])
def test_v4_whoever_comes_next_finishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str, can_exchange: bool
) -> None:
    """Also where a volume is missing for a moment, since the file system cannot exchange names."""
    case = Restoring(tmp_path)

    def refuse(one: Path, other: Path) -> t.NoReturn:
        raise OSError(errno.EINVAL, "no exchange")

    def die(name: str) -> None:
        if name == when:
            raise KeyboardInterrupt

    if not can_exchange:
        monkeypatch.setattr(renaming, "_exchange", refuse)
    with pytest.raises(KeyboardInterrupt):
        case.finish(die)
    assert case.texts() == (["old", "old"] if when == "one" else ["new", "old"])
    assert restoring.noted(str(case.snapshots)) == case.restore
    if not can_exchange:
        (case.directory / "volumes" / when).rename(case.aside / "volumes" / (when + "-former"))
    specification = t.cast(t.Any, type("Specification", (), {"file_systems": []})())
    volumes.prepare(str(case.directory), specification)  # a start
    assert case.texts() == ["new", "new"]
    assert not case.aside.exists()


def test_v4_a_restore_that_is_not_ready_changes_nothing(tmp_path: Path) -> None:
    case = Restoring(tmp_path, ready=False)
    case.finish()
    assert case.texts() == ["old", "old"]
    assert restoring.noted(str(case.snapshots)) == case.restore


@pytest.mark.parametrize(
    "text", ["{", '{"snapshot": "s"}', '{"snapshot": "s", "restart": 1, "ready": true, "volumes": {}}']
)
def test_v4_a_restore_whose_note_is_damaged_is_an_error(tmp_path: Path, text: str) -> None:
    case = Restoring(tmp_path)
    (case.aside / "restore.json").write_text(text)
    with pytest.raises(LauncherError, match="restore.json: is damaged: .*move that directory away"):
        case.finish()
    assert case.texts() == ["old", "old"]


def test_v4_a_fresh_copy_that_is_gone_is_an_error(tmp_path: Path) -> None:
    case = Restoring(tmp_path)
    (case.aside / "volumes/two").rename(case.aside / "elsewhere")
    with pytest.raises(LauncherError, match="the fresh copy of the volume two is not there"):
        case.finish()
    assert case.texts() == ["new", "old"]
    assert case.aside.exists()


def test_v6_a_removal_names_the_snapshots_that_it_keeps(kept: Snapshots) -> None:
    save(kept, "one")
    directory = str(kept.directory)
    said = volumes.part_with("web", directory, asked=False)
    assert [line for line in said if "its volumes are kept" in line and ": data;" in line]
    assert [line for line in said if "its snapshots are kept" in line and ": one;" in line]
    assert (len(said), kept.names()) == (2, ["one"])
    assert volumes.part_with("web", directory, asked=True) == []
    assert not kept.directory.exists()


def test_v6_what_an_interrupted_run_left_keeps_no_directory(kept: Snapshots) -> None:
    volumes.remove_entries(str(kept.directory), ("volumes",))
    (kept.path / ".gone-x").mkdir(parents=True)
    assert volumes.part_with("web", str(kept.directory), asked=False) == []
    assert not kept.directory.exists()
