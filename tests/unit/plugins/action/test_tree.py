# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""T3: the action `tree` sends an archive in pieces, to the real code of a host below a directory."""

from __future__ import annotations

import hashlib
import json
import os
import typing as t
from pathlib import Path

import pytest
from ansible import constants
from ansible.errors import AnsibleActionFail
from ansible_collections.unshare.container.plugins.action.tree import ActionModule
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout, TargetError
from ansible_collections.unshare.container.plugins.module_utils.trees import making
from ansible_collections.unshare.container.plugins.module_utils.trees.arriving import Arrival
from ansible_collections.unshare.container.plugins.module_utils.trees.kinds_of_sources import TREE_SOURCES
from ansible_collections.unshare.container.plugins.plugin_utils import shipping
from ansible_collections.unshare.container.plugins.plugin_utils.foreseen_trees import ARCHIVES, note_foreseen
from ansible_collections.unshare.container.tests.unit.plugins.module_utils.trees.small_trees import (
    archive,
    directory,
    left,
    member,
)

from .conftest import Run

PIECE = 1000


class Shipped(Run):
    """Tasks for a host whose module is run here, below a root.

    Attributes:
        root: the host's.
        damage: changes what is put on the host; called with the number of the piece and the path.
    """

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root
        self.damage: t.Callable[[int, Path], None] = lambda _number, _path: None
        self.put_sizes: list[int] = []
        self.check = False

    def put(self, local: str, remote: str) -> None:
        super().put(local, remote)
        self.put_sizes.append(os.stat(remote).st_size)
        self.damage(len(self.put_sizes), Path(remote))

    def _execute(
        self, name: str, module_args: dict[str, t.Any], task_vars: dict[str, t.Any], wrap_async: bool = False
    ) -> dict[str, t.Any]:
        super()._execute(name, module_args, task_vars, wrap_async)
        given = json.loads(json.dumps(module_args))  # as it goes to a host
        source = TREE_SOURCES["controller"]({"path": given["controller"], **given.get("sent", {})})
        limit = given.get("size_limit", 1 << 24)
        maker = making.TreeMaking(Layout(self.root), given["name"], source, limit, 5.0, self.check)
        try:
            return maker.reach(given.get("state", "present"))
        except TargetError as error:
            return {"failed": True, "msg": str(error)}

    def tree(self, path: Path, **more: t.Any) -> dict[str, t.Any]:
        """Run the task for an archive."""
        return self(ActionModule, {"name": "small", "controller": str(path), **more})


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shipped:
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path / "run"))
    for name in ("run", "remote"):
        (tmp_path / name).mkdir()
    for name in ("FIRST", "LEAST", "MOST"):
        monkeypatch.setattr(shipping, name, PIECE)
    found = Shipped(tmp_path / "host")
    found.remote = str(tmp_path / "remote")
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return archive(tmp_path / "a.tar", directory("usr"), member("usr/f", b"x" * 3000))


def described(path: Path, content: str, **more: t.Any) -> None:
    """Write a description beside an archive."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    found = {"checksum": f"sha256:{digest}", "size": path.stat().st_size, "content": content, **more}
    Path(f"{path}.json").write_text(json.dumps(found))


def test_t3_an_archive_goes_in_pieces_and_is_sent_once(shipped: Shipped, path: Path, tmp_path: Path) -> None:
    made = shipped.tree(path)
    assert made["changed"], made
    assert (Path(made["root"]) / "usr/f").read_text() == "x" * 3000
    size = path.stat().st_size
    assert shipped.put_sizes == [PIECE] * (size // PIECE) + [size % PIECE]
    assert left(shipped.root) == sorted([made["content"], "names", "names/small.json"])
    assert [name for name in os.listdir(tmp_path / "run") if name.startswith("unshare-piece")] == []
    for state in ("present", "latest"):
        assert not shipped.tree(path, state=state)["changed"]
    assert len(shipped.put_sizes) == size // PIECE + 1


def test_t3_a_host_that_has_the_content_is_sent_nothing(shipped: Shipped, path: Path, tmp_path: Path) -> None:
    """By another name, from another archive: the description tells."""
    content = shipped.tree(path)["content"]
    shipped.put_sizes.clear()
    other = tmp_path / "other.tar"
    other.write_bytes(path.read_bytes() + bytes(10240))
    described(other, content)
    for state in ("present", "latest"):
        assert not shipped.tree(other, state=state)["changed"]
    second = shipped(ActionModule, {"name": "second", "controller": str(other)})
    assert (second["changed"], second["content"]) == (True, content)
    assert not shipped(ActionModule, {"name": "second", "controller": str(other)})["changed"]
    assert shipped.put_sizes == []


def test_t3_the_next_run_goes_on_where_one_was_interrupted(shipped: Shipped, path: Path) -> None:
    def lose(number: int, _path: Path) -> None:
        if number == 4:
            raise ConnectionError("lost")

    shipped.damage = lose
    with pytest.raises(ConnectionError):
        shipped.tree(path)
    assert [name.partition("-")[0] for name in left(shipped.root)] == [".received"]
    shipped.damage = lambda _number, _path: None
    shipped.put_sizes.clear()
    assert shipped.tree(path)["changed"]
    assert sum(shipped.put_sizes) == path.stat().st_size - 3 * PIECE
    assert any("goes on at" in said for said in shipped.shown)


def test_t3_a_damaged_piece_is_sent_again(shipped: Shipped, path: Path) -> None:
    def damage(number: int, piece: Path) -> None:
        if number in (2, 3):
            piece.write_bytes([b"y" * PIECE, b"short"][number - 2])

    shipped.damage = damage
    assert shipped.tree(path)["changed"]
    assert sum(shipped.put_sizes) == path.stat().st_size + 2 * PIECE


def test_t3_pieces_that_never_arrive_end_the_task(shipped: Shipped, path: Path) -> None:
    def damage(_number: int, piece: Path) -> None:
        piece.write_bytes(b"y")

    shipped.damage = damage
    with pytest.raises(AnsibleActionFail, match=r"controller: 5 pieces of .*a\.tar in a row have not arrived"):
        shipped.tree(path)


def test_t3_two_runs_that_send_at_once_help_each_other(shipped: Shipped, path: Path, tmp_path: Path) -> None:
    """The other one adds a piece, and then makes the tree, while pieces of this one are under way."""
    content = path.read_bytes()
    other = Shipped(shipped.root)
    (tmp_path / "other").mkdir()
    other.remote = str(tmp_path / "other")

    def meanwhile(number: int, _path: Path) -> None:
        checksum = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if number == 2:
            with Arrival(Layout(shipped.root).trees, checksum, 1.0).held() as file:
                file.seek(0, os.SEEK_END)
                file.write(content[PIECE : 2 * PIECE + 10])
        if number == 3:
            assert other.tree(path)["changed"]

    shipped.damage = meanwhile
    made = shipped.tree(path)
    assert not made["changed"], made
    assert len(shipped.put_sizes) == 3
    assert left(shipped.root) == sorted([made["content"], "names", "names/small.json"])


def test_t3_what_is_whole_and_not_yet_unpacked_is_not_sent_again(shipped: Shipped, path: Path) -> None:
    """Of a run that was killed while it unpacked."""
    checksum = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    with Arrival(Layout(shipped.root).trees, checksum, 1.0).held() as file:
        file.write(path.read_bytes())
    assert shipped.tree(path)["changed"]
    assert shipped.put_sizes == []


def test_t3_what_has_arrived_as_another_file_is_refused_and_removed(shipped: Shipped, path: Path) -> None:
    checksum = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    with Arrival(Layout(shipped.root).trees, checksum, 1.0).held() as file:
        file.write(b"y" * path.stat().st_size)
    assert "has the checksum" in shipped.tree(path)["msg"]
    assert left(shipped.root) == []
    assert shipped.tree(path)["changed"]


def test_t3_check_mode_sends_nothing_and_tells_what_is_known(shipped: Shipped, path: Path, tmp_path: Path) -> None:
    shipped.check = True
    foreseen = shipped.tree(path)
    assert foreseen["changed"]
    assert "unknown until it is made" in foreseen["diff"]["after"]
    facts = {"size": 3000, "files": 2, "packages": {"hello": "1"}}
    described(path, "0" * 32, facts=facts)
    foreseen = shipped.tree(path, state="latest")
    assert foreseen["content"] == "0" * 32
    assert foreseen["package_changes"] == [{"name": "hello", "before": "", "after": "1"}]
    assert shipped.put_sizes == []
    assert left(shipped.root) == []


def test_t3_a_content_that_is_not_what_was_said_is_refused(shipped: Shipped, path: Path) -> None:
    described(path, "0" * 32)
    assert "is said to have the content 000" in shipped.tree(path)["msg"]
    assert left(shipped.root) == []


@pytest.mark.parametrize(
    ("description", "said"),
    [
        ("x", "describes no archive"),
        ('{"checksum": "sha256:0", "size": 1}', "describes a file of 1 bytes, and"),
        ('{"checksum": "sha256:0", "size": 1, "other": 2}', "describes no archive"),
    ],
)
def test_t3_a_description_of_no_use_is_refused(shipped: Shipped, path: Path, description: str, said: str) -> None:
    Path(f"{path}.json").write_text(description)
    with pytest.raises(AnsibleActionFail, match=rf"controller: .*a\.tar\.json {said}.*: write the archive again"):
        shipped.tree(path)
    assert shipped.sent == []


@pytest.mark.parametrize("kind", ["directory", "bytes"])
def test_t3_a_description_that_cannot_be_read_is_refused(shipped: Shipped, path: Path, kind: str) -> None:
    description = Path(f"{path}.json")
    if kind == "directory":
        description.mkdir()
    else:
        description.write_bytes(b"\xff")
    with pytest.raises(AnsibleActionFail, match=r"^controller: .*a\.tar\.json cannot be read: "):
        shipped.tree(path)
    assert shipped.sent == []


def test_t3_a_host_without_room_is_sent_nothing(shipped: Shipped, path: Path) -> None:
    described(path, "0" * 32, facts={"size": 1 << 60})
    assert "make room there; nothing was changed" in shipped.tree(path)["msg"]
    assert "set size_limit to more" in shipped.tree(path, size_limit=100)["msg"]
    assert shipped.put_sizes == []


def test_t3_what_is_written_to_while_it_is_sent_is_refused(shipped: Shipped, path: Path) -> None:
    shipped.damage = lambda number, _piece: os.utime(path, (number, number))
    with pytest.raises(AnsibleActionFail, match="was written to while it was sent: run again"):
        shipped.tree(path)


@pytest.mark.parametrize("there", [-1, 1 << 40, "1", None])
def test_t3_a_host_is_not_believed_everything(run: Run, path: Path, there: t.Any) -> None:
    run.answers = [{"changed": False, "awaits": {"received": there}}]
    with pytest.raises(AnsibleActionFail, match="controller: the host says that it has"):
        run(ActionModule, {"name": "small", "controller": str(path)})


def test_t3_without_a_plugin_that_stays_nothing_is_sent(run: Run, path: Path) -> None:
    with pytest.raises(AnsibleActionFail, match="async: nobody would send the archive"):
        run(ActionModule, {"name": "small", "controller": str(path)}, async_val=10)
    with pytest.raises(AnsibleActionFail, match="sent: is filled in from 'controller'"):
        run(ActionModule, {"name": "small", "sent": {}})


def test_t3_a_person_sees_how_far_it_is() -> None:
    shown: list[str] = []
    now = iter([0.0, 1.0, 6.0, 7.0, 12.0, 13.0])
    progress = shipping.Progress(shown.append, "web1: tree x", 100 << 20, 0, lambda: next(now))
    for there in (10, 30, 40, 90):
        progress.reached(there << 20)
    progress.ended()
    assert shown == [
        "web1: tree x: 30 % (30.0 of 100.0 MiB), 5.0 MiB/s, 14 s left",
        "web1: tree x: 90 % (90.0 of 100.0 MiB), 7.5 MiB/s, 1 s left",
        "web1: tree x: 100.0 MiB in 13.0 s, 7.7 MiB/s",
    ]


@pytest.mark.parametrize(
    ("size", "seconds", "following"),
    [(16 << 20, 0.5, 128 << 20), (8 << 20, 3.0, 32 << 20), (16 << 20, 8.0, 8 << 20), (1 << 20, 60.0, 1 << 20)],
)
def test_t3_pieces_are_as_large_as_the_connection_is_fast(size: int, seconds: float, following: int) -> None:
    assert shipping._following(size, seconds) == following


def test_t3_another_archive_of_the_same_size_is_not_taken_for_the_one_that_is_described(
    shipped: Shipped, path: Path
) -> None:
    """Archives that are not compressed often are, and a host that has the former content would be sent nothing."""
    described(path, shipped.tree(path)["content"])
    assert not shipped.tree(path)["changed"]
    size = path.stat().st_size
    archive(path, directory("usr"), member("usr/f", b"y" * 3000))
    assert path.stat().st_size == size
    with pytest.raises(AnsibleActionFail, match=r"a\.tar\.json describes another file, .*: write the archive again"):
        shipped.tree(path)
    Path(f"{path}.json").unlink()
    assert shipped.tree(path)["changed"]


def test_t3_no_description_speaks_to_the_terminal(shipped: Shipped, path: Path) -> None:
    for facts in ({"packages": {"a\x1b[2J": "1"}}, {"packages": {"a": "1\r2"}}, {"distribution": {"id": "\x9b"}}):
        described(path, "0" * 32, facts=facts)
        with pytest.raises(AnsibleActionFail, match="describes no archive") as caught:
            shipped.tree(path)
        assert str(caught.value).isprintable()


@pytest.mark.parametrize("is_there", [False, True])
def test_t3_check_mode_knows_an_archive_that_an_earlier_task_would_write(
    shipped: Shipped, path: Path, tmp_path: Path, is_there: bool
) -> None:
    content = shipped.tree(path)["content"]
    shipped.check = True
    if not is_there:
        path.unlink()
        with pytest.raises(AnsibleActionFail, match="is not on the controller"):
            shipped(ActionModule, {"name": "small", "controller": str(path)}, check=True)
    for foreseen, is_changed in ((content, False), ("0" * 32, True), ("", True)):
        note_foreseen(str(tmp_path / "run"), ARCHIVES, str(path), foreseen)
        done = shipped(ActionModule, {"name": "small", "controller": str(path)}, check=True)
        assert done["changed"] is is_changed, done


def test_t3_an_archive_that_is_not_there_is_said_with_the_way_out(shipped: Shipped, tmp_path: Path) -> None:
    with pytest.raises(AnsibleActionFail, match="^controller: .*/none.tar' is not on the controller") as refused:
        shipped.tree(tmp_path / "none.tar")
    assert "give 'archive' for a file of the host" in str(refused.value)
    assert "remote_src" not in str(refused.value)
