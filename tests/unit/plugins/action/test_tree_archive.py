# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""T3: the action `tree_archive` takes the archive of a tree from the real code of a host below a directory."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import typing as t
from pathlib import Path

import pytest
from ansible import constants
from ansible.errors import AnsibleActionFail
from ansible_collections.unshare.container.plugins.action.tree_archive import ActionModule
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout
from ansible_collections.unshare.container.plugins.module_utils.state.trees import KEPT_FOR, Trees
from ansible_collections.unshare.container.plugins.module_utils.trees import archiving
from ansible_collections.unshare.container.plugins.modules import tree_archive
from ansible_collections.unshare.container.plugins.plugin_utils import taking
from ansible_collections.unshare.container.plugins.plugin_utils.foreseen_trees import (
    ARCHIVES,
    foreseen_trees,
    note_foreseen,
)
from ansible_collections.unshare.container.tests.unit.plugins.module_utils.trees.small_trees import (
    left,
    make_tree,
    making,
)

from .conftest import Run

NAME = "small"


class Taken(Run):
    """Tasks for a host whose module is run here, below a root.

    Attributes:
        root: the host's.
        damage: changes an answer; called with the number of the piece and with its bytes.
        taken: the sizes of the pieces.
    """

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root
        self.damage: t.Callable[[int, bytes], bytes] = lambda _number, piece: piece
        self.taken: list[int] = []
        self.check = False

    def _execute(
        self, name: str, module_args: dict[str, t.Any], task_vars: dict[str, t.Any], wrap_async: bool = False
    ) -> dict[str, t.Any]:
        super()._execute(name, module_args, task_vars, wrap_async)
        given = {"timeout": 5.0, **json.loads(json.dumps(module_args))}
        asked = {**tree_archive.ASKED, **given["asked"]}
        try:
            done = tree_archive.answer(given, asked, Layout(self.root), self.check)
        except Exception as error:  # as the module does
            return {"failed": True, "msg": str(error)}
        if "piece" in done:
            piece = self.damage(len(self.taken), base64.b64decode(done["piece"]))
            self.taken.append(len(piece))
            done["piece"] = base64.b64encode(piece).decode()
        return done

    def take(self, path: Path) -> dict[str, t.Any]:
        """Run the task."""
        return self(ActionModule, {"name": NAME, "path": str(path)}, check=self.check)


@pytest.fixture
def taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Taken:
    """Return what runs tasks on a host that has a tree."""
    monkeypatch.setattr(taking, "LENGTH", 4000)
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path / "run"))
    source = make_tree(tmp_path / "source")
    (source / "usr/share").mkdir()
    (source / "usr/share/large").write_bytes(os.urandom(20_000))
    (source / "usr/share/again").hardlink_to(source / "usr/share/large")
    (source / "usr/share" / ("long" * 40)).write_text("é")
    (source / "usr/bin/hello").chmod(0o4755)
    os.setxattr(source / "usr/bin/hello", "user.note", b"\0\xff\n")
    os.mkfifo(source / "usr/fifo")
    making(tmp_path / "host", "directory", {"path": str(source)}).reach("present")
    (tmp_path / "out").mkdir()
    return Taken(tmp_path / "host")


@pytest.mark.parametrize("form", [".tar", ".tar.gz", ".tar.xz", ".tar.zst"])
def test_t3_an_archive_makes_the_tree_that_it_is_of(taken: Taken, tmp_path: Path, form: str) -> None:
    """Its owners, modes, attributes, links and names, and its description."""
    path = tmp_path / f"out/a{form}"
    done = taken.take(path)
    assert done["changed"], done
    given = {"path": str(path), "checksum": done["checksum"]}
    made = making(tmp_path / "other", "archive", given).reach("present")
    assert made["content"] == done["content"]
    description = json.loads(Path(f"{path}.json").read_text())
    assert (description["content"], description["size"]) == (done["content"], path.stat().st_size)
    assert description["facts"]["packages"] == {"hello": "1"}
    assert sorted(os.listdir(tmp_path / "out")) == [path.name, f"{path.name}.json"]
    assert left(taken.root) == sorted([done["content"], "names", f"names/{NAME}.json"])
    taken.taken.clear()
    again = taken.take(path)
    assert again == {**done, "changed": False}
    assert taken.taken == []


def test_t3_what_has_come_is_not_taken_again(taken: Taken, tmp_path: Path) -> None:
    """The archive is made once, and what came of it before the run was interrupted stays."""
    path = tmp_path / "out/a.tar.zst"

    def lose(number: int, piece: bytes) -> bytes:
        if number == 3:
            raise ConnectionError("lost")
        return piece

    taken.damage = lose
    with pytest.raises(ConnectionError):
        taken.take(path)
    (part,) = os.listdir(tmp_path / "out")
    assert (part.endswith(".part"), (tmp_path / "out" / part).stat().st_size) == (True, 12_000)
    taken.damage = lambda _number, piece: piece
    taken.taken.clear()
    done = taken.take(path)
    assert sum(taken.taken) == done["size"] - 12_000


def test_t3_a_damaged_archive_does_not_replace_the_former_one(taken: Taken, tmp_path: Path) -> None:
    path = tmp_path / "out/a.tar"
    path.write_text("former")
    taken.damage = lambda number, piece: b"x" * len(piece) if number == 1 else piece
    with pytest.raises(AnsibleActionFail, match="has another checksum than the host says; it was removed: run again"):
        taken.take(path)
    assert (path.read_text(), os.listdir(tmp_path / "out")) == ("former", ["a.tar"])
    taken.damage = lambda number, piece: b"" if number >= 1 else piece
    taken.taken.clear()
    with pytest.raises(AnsibleActionFail, match="has sent no piece; 4000 bytes of it are here"):
        taken.take(path)
    taken.damage = lambda _number, piece: piece
    assert taken.take(path)["changed"]


def test_t3_an_archive_that_nobody_takes_is_removed_after_days(taken: Taken, tmp_path: Path) -> None:
    taken.damage = lambda _number, _piece: b""
    with pytest.raises(AnsibleActionFail):
        taken.take(tmp_path / "out/a.tar")
    trees = Trees(Layout(taken.root))
    (archived,) = (name for name in left(taken.root) if name.startswith(".archived-"))
    trees.collect()
    assert archived in left(taken.root)
    directory = trees.layout.trees / archived
    for path in [*directory.iterdir(), directory]:
        os.utime(path, (path.stat().st_mtime - KEPT_FOR - 60,) * 2)
    trees.collect()
    assert archived not in left(taken.root)


def test_t3_check_mode_makes_no_archive(taken: Taken, tmp_path: Path) -> None:
    taken.check = True
    path = tmp_path / "out/a.tar"
    foreseen = taken.take(path)
    assert (foreseen["changed"], len(foreseen["content"])) == (True, 32)
    assert os.listdir(tmp_path / "out") == []
    shutil.rmtree(taken.root)
    assert taken.take(path)["changed"]
    taken.check = False
    assert "this host has no tree 'small'" in taken.take(path)["msg"]


@pytest.mark.parametrize(
    ("path", "said"),
    [("out", "is a directory on the controller"), ("none/a.tar", "the controller has no directory")],
)
def test_t3_a_place_of_no_use_is_refused(taken: Taken, tmp_path: Path, path: str, said: str) -> None:
    with pytest.raises(AnsibleActionFail, match=f"path: .*{said}"):
        taken.take(tmp_path / path)
    assert taken.sent == []


def test_t3_a_name_says_how_it_is_compressed(taken: Taken, tmp_path: Path) -> None:
    assert "path: " in taken.take(tmp_path / "out/a.zip")["msg"]


def test_t3_a_run_that_takes_the_same_tree_elsewhere_may_be_faster(taken: Taken, tmp_path: Path) -> None:
    """It removes the host's archive, as it has all of it: the host makes that again."""

    def overtake(number: int, piece: bytes) -> bytes:
        if number == 1:
            other = Taken(taken.root)
            assert other.take(tmp_path / "out/other.tar")["changed"]
        return piece

    taken.damage = overtake
    done = taken.take(tmp_path / "out/a.tar")
    assert done.get("changed"), done
    assert (tmp_path / "out/a.tar").read_bytes() == (tmp_path / "out/other.tar").read_bytes()
    assert [name for name in left(taken.root) if name.startswith(".")] == []


def test_t3_another_file_in_the_archive_s_place_is_replaced(taken: Taken, tmp_path: Path) -> None:
    """Also one of the same size, as archives that are not compressed often are."""
    path = tmp_path / "out/a.tar"
    done = taken.take(path)
    path.write_bytes(bytes(done["size"]))
    again = taken.take(path)
    assert (again["changed"], again["checksum"]) == (True, done["checksum"])
    assert hashlib.sha256(path.read_bytes()).hexdigest() == done["checksum"].partition(":")[2]


@pytest.mark.parametrize("step", ["remove_file", "write_atomically"])
def test_t3_no_archive_has_another_one_s_description(
    taken: Taken, tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever the run that replaces both dies."""
    path = tmp_path / "out/a.tar"
    taken.take(path)
    source = tmp_path / "source"
    (source / "usr/share/large").write_bytes(os.urandom(20_000))
    making(taken.root, "directory", {"path": str(source)}).reach("latest")

    def die(*_arguments: t.Any) -> t.NoReturn:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(taking, step, die)
        with pytest.raises(KeyboardInterrupt):
            taken.take(path)
    described = Path(f"{path}.json")
    if described.exists():
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert json.loads(described.read_text())["checksum"] == f"sha256:{digest}"
    assert taken.take(path)["changed"]


def test_t3_what_has_come_of_a_former_tree_is_removed(taken: Taken, tmp_path: Path) -> None:
    held, mine = (tmp_path / f"out/.{name}.tar.{'0' * 16}.part" for name in "ba")
    other = tmp_path / "out/.a.tar.notes.part"
    for path in (held, mine, other):
        path.write_text("x")
    assert taken.take(tmp_path / "out/a.tar")["changed"]
    assert sorted(os.listdir(tmp_path / "out")) == sorted([other.name, held.name, "a.tar", "a.tar.json"])


def test_t3_what_cannot_be_written_on_the_controller_is_said(taken: Taken, tmp_path: Path) -> None:
    with pytest.raises(AnsibleActionFail, match=r"path: .* cannot be written on the controller: File name too long"):
        taken.take(tmp_path / "out" / ("a" * 250 + ".tar"))
    for path in ("", "a\0.tar"):
        with pytest.raises(AnsibleActionFail, match="path: names no file"):
            taken(ActionModule, {"name": NAME, "path": path})
    assert os.listdir(tmp_path / "out") == []


@pytest.mark.parametrize("checksum", ["sha256:/../../x", "x", "sha256:\x1b" + "0" * 63, "sha512:" + "0" * 128])
def test_t3_a_host_does_not_name_files_of_the_controller(checksum: str) -> None:
    with pytest.raises(AnsibleActionFail, match="the host describes no archive"):
        taking.Taking._read({"checksum": checksum, "size": 1})


def test_t3_a_name_that_is_none_reads_no_other_file(taken: Taken, tmp_path: Path) -> None:
    done = taken(ActionModule, {"name": "../names/small", "path": str(tmp_path / "out/a.tar")})
    assert "cannot name a tree" in done["msg"]


def test_t3_check_mode_foresees_the_archive_of_a_tree_that_would_be_another(taken: Taken, tmp_path: Path) -> None:
    path = tmp_path / "out/a.tar"
    done = taken.take(path)
    taken.check = True
    assert not taken.take(path)["changed"]
    note_foreseen(str(tmp_path / "run"), "web1", NAME, done["content"])
    assert not taken.take(path)["changed"]
    note_foreseen(str(tmp_path / "run"), "web1", NAME, "")
    foreseen = taken.take(path)
    assert (foreseen["changed"], "content" in foreseen) == (True, False)
    assert foreseen_trees(str(tmp_path / "run"), ARCHIVES) == {str(path): ""}


@pytest.mark.parametrize("program", [("sh", "-c", "head -c 100; exit 1"), ("no-such-program",)])
def test_t3_an_archive_that_cannot_be_made_leaves_nothing_on_the_host(
    taken: Taken, tmp_path: Path, program: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk, of which the program that compresses says no more than its status, would stay full for days."""
    monkeypatch.setitem(archiving.COMPRESSORS, ".tar.zst", program)
    said = taken.take(tmp_path / "out/a.tar.zst")["msg"]
    assert program[0] in said
    assert [name for name in left(taken.root) if name.startswith(".")] == []


@pytest.mark.parametrize(
    ("attribute", "value", "link", "name"),
    [
        (b"user.a=b", b"c", "x", "x"),
        (b"user.\xff", b"c", "x", "x"),
        (b"user.a", b"1" * 300, "x", "x"),
        (b"user.a", b"c", "1" * 300, "x"),
        (b"user.a", b"c", "x", ".wh.x"),
    ],
)
def test_t3_what_no_host_would_read_from_the_archive_is_refused_before_it_is_made(
    taken: Taken, tmp_path: Path, attribute: bytes, value: bytes, link: str, name: str
) -> None:
    """Or the archive would be of another tree than it is said to be, and each host would refuse it."""
    source = tmp_path / "source"
    os.setxattr(source / "usr/bin/hello", attribute, value)
    (source / "usr/link").symlink_to(link)
    (source / "usr" / name).write_text("x")
    making(taken.root, "directory", {"path": str(source)}).reach("latest")
    said = taken.take(tmp_path / "out/a.tar.gz")["msg"]
    assert said.startswith("the archive of the tree cannot be made: 'usr/"), said
    assert os.listdir(tmp_path / "out") == []
    assert [name for name in left(taken.root) if name.startswith(".")] == []
