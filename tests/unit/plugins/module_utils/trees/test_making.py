# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""T2: trees are stored once, by their content, and are made again only when that is needed."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.state import trees as trees_module
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout, TargetError, exclusive
from ansible_collections.unshare.container.plugins.module_utils.state.trees import Trees
from ansible_collections.unshare.container.plugins.module_utils.trees import making as making_module
from ansible_collections.unshare.container.plugins.module_utils.trees import sources
from ansible_collections.unshare.container.plugins.module_utils.trees.listing import Listing

from .small_trees import NAME, archive, directory, left, make_tree, making, member


@pytest.fixture
def source(tmp_path: Path) -> dict[str, t.Any]:
    return {"path": str(make_tree(tmp_path / "source"))}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


def renew(source: dict[str, t.Any], version: str) -> None:
    make_tree(Path(source["path"]), version)


def test_t2_a_tree_is_made_once_and_is_a_copy(root: Path, source: dict[str, t.Any]) -> None:
    made = making(root, "directory", source).reach("present")
    assert made["changed"]
    tree = Path(made["root"])
    assert tree == root / "var/lib/unshare/trees" / made["content"] / "root"
    assert (tree / "usr/bin/hello").read_text() == "version 1\n"
    assert os.readlink(tree / "bin") == "usr/bin"
    assert stat.S_IMODE(tree.parent.stat().st_mode) == 0o700
    assert left(root) == [made["content"], "names", f"names/{NAME}.json"]
    renew(source, "2")
    again = making(root, "directory", source).reach("present")
    assert not again["changed"]
    assert (tree / "usr/bin/hello").read_text() == "version 1\n"


def test_t2_latest_keeps_a_new_one_only_when_its_content_is_another(root: Path, source: dict[str, t.Any]) -> None:
    first = making(root, "directory", source).reach("latest")
    os.utime(Path(source["path"]) / "usr/bin/hello", (1, 1))
    assert not making(root, "directory", source).reach("latest")["changed"]
    renew(source, "2")
    second = making(root, "directory", source).reach("latest")
    assert second["changed"]
    assert second["former_content"] == first["content"]
    assert second["package_changes"] == [{"name": "hello", "before": "1", "after": "2"}]
    assert second["diff"]["before"].endswith("\nhello 1\n")
    assert second["diff"]["after"].endswith("\nhello 2\n")
    assert left(root) == sorted([second["content"], "names", f"names/{NAME}.json"])  # nothing used the first


def test_t2_another_declaration_is_a_change_of_the_same_content(root: Path, source: dict[str, t.Any]) -> None:
    first = making(root, "directory", source).reach("present")
    path = archive(root.parent / "a", directory("usr"))
    assert making(root, "archive", {"path": str(path)}, check=True).reach("present")["changed"]
    second = making(root, "archive", {"path": str(path)}).reach("present")
    assert second["changed"]
    assert second["content"] != first["content"]
    back = making(root, "directory", source).reach("present")
    assert back["content"] == first["content"]


def test_t2_check_mode_tells_the_truth_and_changes_nothing(root: Path, source: dict[str, t.Any]) -> None:
    foreseen = making(root, "directory", source, check=True).reach("present")
    assert foreseen["changed"]
    assert left(root) == []
    made = making(root, "directory", source).reach("present")
    before = left(root)
    assert not making(root, "directory", source, check=True).reach("latest")["changed"]
    renew(source, "2")
    assert not making(root, "directory", source, check=True).reach("present")["changed"]
    foreseen = making(root, "directory", source, check=True).reach("latest")
    assert left(root) == before
    after = making(root, "directory", source).reach("latest")
    assert {key: foreseen[key] for key in after} == after
    assert making(root, None, check=True).reach("absent")["changed"]
    assert Trees(Layout(root)).content(NAME) == after["content"] != made["content"]


def test_t2_a_command_is_not_run_in_check_mode(root: Path, source: dict[str, t.Any]) -> None:
    command = {"argv": ["/bin/false"]}
    making(root, "directory", source).reach("present")
    looked = making(root, "command", command, check=True)
    assert looked.reach("latest")["changed"]
    assert "is not run in check mode" in looked.warnings[0]


def test_t2_equal_trees_are_stored_once_and_each_name_counts(root: Path, source: dict[str, t.Any]) -> None:
    first = making(root, "directory", source).reach("present")
    other = making(root, "directory", source)
    other.name = "other"
    assert other.reach("present")["content"] == first["content"]
    assert left(root) == [first["content"], "names", "names/other.json", f"names/{NAME}.json"]
    assert making(root, None).reach("absent")["changed"]
    assert first["content"] in left(root)
    assert [each["name"] for each in Listing(Layout(root)).named()] == ["other"]
    last = making(root, None)
    last.name = "other"
    assert last.reach("absent")["changed"]
    assert not last.reach("absent")["changed"]
    assert not Layout(root).trees.exists()


def test_t2_what_one_machine_alone_has_is_no_part_of_a_tree(root: Path, source: dict[str, t.Any]) -> None:
    first = making(root, "directory", source).reach("present")
    tree = Path(source["path"])
    noise = ("var/log/apt/history.log", "etc/ssh/ssh_host_rsa_key", "var/cache/ldconfig/aux-cache", "dev/null")
    for name in noise:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("noise")
    (tree / "etc/shadow").write_text("root:*:19000:0:99999:7:::\n")
    (tree / "etc/machine-id").write_text("0123456789abcdef\n")
    second = making(root, "directory", source).reach("latest")
    made = Path(second["root"])
    assert not any((made / name).exists() for name in noise)
    assert (made / "var/log/apt").is_dir()
    assert (made / "etc/machine-id").read_text() == ""
    (tree / "etc/shadow").write_text("root:*:20000:0:99999:7:::\n")
    (tree / "etc/machine-id").write_text("fedcba9876543210\n")
    (tree / noise[0]).write_text("other noise")
    assert not making(root, "directory", source).reach("latest")["changed"]
    (tree / "etc/shadow").write_text("root:secret:20000:0:99999:7:::\n")
    assert making(root, "directory", source).reach("latest")["changed"]
    assert first["content"] != second["content"]


@pytest.mark.parametrize("change", ["mode", "content", "link", "attribute", "name"])
def test_t2_any_change_of_software_is_another_content(root: Path, source: dict[str, t.Any], change: str) -> None:
    first = making(root, "directory", source).reach("present")
    tree = Path(source["path"])
    file = tree / "usr/bin/hello"
    if change == "mode":
        file.chmod(0o4755)
    elif change == "content":
        file.write_text("version 2\n")
    elif change == "link":
        (tree / "bin").unlink()
        (tree / "bin").symlink_to("usr/../usr/bin")
    elif change == "attribute":
        try:
            os.setxattr(file, "user.test", b"x")
        except OSError as error:
            pytest.skip(f"the file system keeps no attributes ({error})")
    else:
        file.rename(file.with_name("hello2"))
    assert making(root, "directory", source).reach("latest")["content"] != first["content"]


def test_t2_two_names_of_one_file_stay_one(root: Path, source: dict[str, t.Any]) -> None:
    tree = Path(source["path"])
    os.link(tree / "usr/bin/hello", tree / "usr/bin/hallo")
    made = Path(making(root, "directory", source).reach("present")["root"])
    assert (made / "usr/bin/hello").samefile(made / "usr/bin/hallo")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_t2_a_disk_that_refuses_leaves_nothing(
    root: Path, source: dict[str, t.Any], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    first = making(root, "directory", source).reach("present")
    before = left(root)

    def refuse(_directory: str) -> None:
        raise OSError(number, os.strerror(number), "/somewhere")

    renew(source, "2")
    with monkeypatch.context() as patch:
        patch.setattr(making_module, "synchronise", refuse)
        with pytest.raises(
            TargetError, match=f"cannot be made: {os.strerror(number)}: /somewhere; nothing was changed"
        ):
            making(root, "directory", source).reach("latest")
    assert left(root) == before
    assert Trees(Layout(root)).content(NAME) == first["content"]


def test_t2_what_a_run_that_died_has_left_is_removed_by_the_next(root: Path, source: dict[str, t.Any]) -> None:
    """Of this name, of another one, a tree half collected, and one that got its place and not its name."""
    made = making(root, "directory", source).reach("present")
    trees = Layout(root).trees
    for name in (f".aside-{NAME}", ".aside-other", ".gone-" + "0" * 32, "0" * 32):
        (trees / name / "root/usr").mkdir(parents=True)
    assert not making(root, "directory", source).reach("present")["changed"]
    assert left(root) == [made["content"], "names", f"names/{NAME}.json"]
    (trees / f".aside-{NAME}/root/usr").mkdir(parents=True)
    renew(source, "2")
    assert making(root, "directory", source).reach("latest")["changed"]


def test_t2_what_another_run_makes_just_now_is_left_alone(root: Path, source: dict[str, t.Any]) -> None:
    making(root, "directory", source).reach("present")
    aside = Layout(root).trees / ".aside-other"
    with exclusive(aside):
        (aside / "root").mkdir()
        making(root, "directory", source).reach("latest")
        assert (aside / "root").is_dir()
    making(root, "directory", source).reach("latest")
    assert not aside.exists()


def test_t2_two_runs_of_one_name_take_turns(root: Path, source: dict[str, t.Any]) -> None:
    making(root, "directory", source).reach("present")
    waiting = making(root, "directory", source)
    waiting.timeout = 0.1
    with exclusive(Layout(root).trees / f".aside-{NAME}"), pytest.raises(TargetError, match="another process"):
        waiting.reach("latest")


def test_t2_a_damaged_record_is_said_and_made_anew(root: Path, source: dict[str, t.Any]) -> None:
    making(root, "directory", source).reach("present")
    trees = Trees(Layout(root))
    record = Layout(root).trees / "names" / f"{NAME}.json"
    for text in ("{", "[]", '{"content": "../..", "source": "x"}'):
        record.write_text(text)
        with pytest.raises(TargetError, match="make it again"):
            trees.content(NAME)
        assert Listing(Layout(root)).named() == []
    assert making(root, "directory", source).reach("present")["changed"]
    trees.path(trees.content(NAME)).rename(root / "elsewhere")
    with pytest.raises(TargetError, match="is damaged, .* is missing"):
        trees.content(NAME)
    healed = making(root, "directory", source).reach("present")
    assert (Path(healed["root"]) / "usr/bin/hello").read_text() == "version 1\n"
    assert left(root) == [healed["content"], "names", f"names/{NAME}.json"]


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        ("archive", {}, "archive: needs either 'path' or 'url'"),
        ("archive", {"path": "/a", "url": "http://x/a"}, "archive: needs either"),
        ("archive", {"url": "http://x/a"}, "archive.checksum: is required for a URL"),
        ("archive", {"url": "file:///etc/passwd", "checksum": "sha256:" + "0" * 64}, "archive.url: .* is no URL of"),
        ("archive", {"path": "/a", "checksum": "md5:" + "0" * 32}, "archive.checksum: .* is no checksum"),
        ("archive", {"path": "/a", "checksum": "sha256:xyz"}, "archive.checksum: .* is no checksum"),
        ("archive", {"path": "/nothing/there"}, "archive.path: /nothing/there cannot be read"),
        ("archive", {"path": "/"}, "archive.path: / is no file"),
        ("archive", {"path": "tree.tar"}, "archive.path: 'tree.tar' must be an absolute path"),
        ("image", {"path": "./image"}, "image.path: './image' must be an absolute path"),
        ("command", {"argv": ["./make"]}, "command.argv: './make' must be an absolute path"),
        ("mmdebstrap", {"suite": "trixie", "keyrings": ["k.gpg"]}, "mmdebstrap.keyrings: 'k.gpg' must be an absolute"),
        ("image", {"path": "/nothing/there"}, "image.path: /nothing/there cannot be read"),
        ("directory", {"path": "relative"}, "directory: 'relative' must be an absolute path"),
        ("directory", {"path": "/"}, "directory: '/' is the whole host"),
        ("directory", {"path": "/nothing/there"}, "directory: /nothing/there cannot be read"),
        ("command", {"argv": []}, "command.argv: must name a program"),
        ("command", {"argv": ["/nothing/there"]}, "command.argv: /nothing/there is no program on this host"),
        ("mmdebstrap", {"suite": "--help"}, "mmdebstrap.suite: '--help' is of no use there"),
        ("mmdebstrap", {"suite": "trixie", "packages": ["--x"]}, "mmdebstrap.packages: '--x' is of no use"),
    ],
)
def test_t2_a_source_of_no_use_is_refused_by_its_place(root: Path, kind: str, given: t.Any, said: str) -> None:
    with pytest.raises(TargetError, match=said):
        making(root, kind, given).reach("present")
    assert left(root) == []


def test_t2_a_source_without_software_is_refused(root: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(TargetError, match="it has no /usr"):
        making(root, "directory", {"path": str(tmp_path / "empty")}).reach("present")
    assert left(root) == []


def test_t2_a_file_with_another_checksum_is_refused(root: Path, tmp_path: Path) -> None:
    path = archive(tmp_path / "a", directory("usr"), member("usr/f", b"x"))
    given = {"path": str(path), "checksum": "sha256:" + "0" * 64}
    with pytest.raises(TargetError, match=f"{path}: has the checksum sha256:.*, and not sha256:000"):
        making(root, "archive", given).reach("present")
    assert left(root) == []


def test_t2_a_directory_that_holds_the_trees_is_not_copied_into_itself(root: Path, source: dict[str, t.Any]) -> None:
    with pytest.raises(TargetError, match="and so itself"):
        making(root, "directory", {"path": str(root.parent)}).reach("present")


def test_t2_a_tree_stays_while_its_users_cannot_be_known(root: Path, source: dict[str, t.Any]) -> None:
    made = making(root, "directory", source).reach("present")
    (Layout(root).systems / f"{'0' * 32}-web").mkdir(parents=True)
    removing = making(root, None)
    with contextlib.suppress(TargetError):
        removing.reach("absent")
    assert made["content"] in left(root)


def test_t2_a_collection_waits_for_who_writes_a_system(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that is just being written may be made for a tree that has lost its name."""
    layout = Layout(root)
    (layout.trees / ("0" * 32)).mkdir(parents=True)
    layout.systems.mkdir()
    held: list[bool] = []

    def users(_self: t.Any) -> dict[str, list[str]]:
        descriptor = os.open(layout.systems, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held.append(False)
        except BlockingIOError:
            held.append(True)
        os.close(descriptor)
        return {"0" * 32: ["x"]}

    monkeypatch.setattr(trees_module.Trees, "users", users)
    assert Trees(layout).collect() == []
    assert held == [True]


def test_t2_what_mmdebstrap_copies_is_removed_from_the_tree_alone(tmp_path: Path) -> None:
    """A package may have put a link in place of the directory, which leads to this host's for whoever follows it."""
    host = tmp_path / "host"
    for place in (host, tmp_path / "tree/inside"):
        place.mkdir(parents=True)
        (place / "hostname").write_text("here\n")
    (tmp_path / "tree/etc").symlink_to(host)
    sources._remove_copies(str(tmp_path / "tree"))
    assert (host / "hostname").read_text() == "here\n"
    (tmp_path / "tree/etc").unlink()
    (tmp_path / "tree/etc").symlink_to("/inside")
    (tmp_path / "tree/inside/resolv.conf").symlink_to("/run/systemd/resolve/stub-resolv.conf")
    sources._remove_copies(str(tmp_path / "tree"))
    assert os.listdir(tmp_path / "tree/inside") == ["resolv.conf"]
