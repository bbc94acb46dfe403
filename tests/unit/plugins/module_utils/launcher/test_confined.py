# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Links in a mapping, which who shares it may have left, where the launcher mounts, and where its init makes."""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import (
    excursion,
    linux,
    lookup,
    mount_calls,
    mounts,
    targets,
)
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")

OUT = {
    "/secret": "absolute, into another mapping of the same file system",
    "../secret": "relative",
    "/secret/": "with a slash at its end",
    "../../../../secret": "upward beyond the root",
    "hop/../../secret": "by way of a directory",
    "chain": "by a second link in the mapping",
    "/secret/back": "by a link in the other mapping, which leads back",
    "/own": "by the launcher's own link",
    "/etc": "into the root",
    "below/x": "into what is mounted below the mapping",
    "/data/below": "to its root",
}
IN = {
    "hop": "relative",
    "/data/hop": "absolute",
    "../data/hop": "upward, and back",
    "/etc/../data/hop": "by way of the root",
    "/secret/../data/hop": "by way of another mapping",
    "/into": "by the launcher's own link",
    "again": "by a second link in the mapping",
}


def make_tree(tmp_path: Path) -> int:
    """Mount a root and, from one file system, `/data`, what lies below that, and `/secret`; a descriptor of the root.

    For a mount namespace of one's own.
    """
    for part in ("root", "data/hop/sub", "data/below", "below/x", "secret"):
        (tmp_path / part).mkdir(parents=True)
    (tmp_path / "data/chain").symlink_to("/secret")
    (tmp_path / "data/again").symlink_to("/data/hop")
    (tmp_path / "secret/back").symlink_to("/data/hop")
    linux.unshare(linux.CLONE_NEWNS)
    mount_calls.make_private("/")
    target = os.open(tmp_path / "root", os.O_PATH | os.O_DIRECTORY)
    root = mounts.tmpfs("0755", "1m", "100")
    mount_calls.move_mount(root, target)
    for name in ("data", "secret", "etc"):
        os.mkdir(name, dir_fd=root)
    os.symlink("secret", "own", dir_fd=root)
    os.symlink("/data/hop", "into", dir_fd=root)
    tree = mounts.Tree(root)
    for part, point in (("data", "/data"), ("secret", "/secret"), ("below", "/data/below")):
        source = os.open(tmp_path / part, os.O_PATH | os.O_DIRECTORY)
        tree.attach(mounts.bind(source, 0, None), point)
    return root


def make_directory(root: int, path: str) -> str:
    return place_of(root, lookup.make_directory_below(root, path, 0o755))


def mount_point(root: int, path: str) -> str:
    return place_of(root, mounts.Tree(root).target(path, True))


def mount_point_of_a_file(root: int, path: str) -> str:
    return place_of(root, mounts.Tree(root).target(path, False))


def place_of(root: int, descriptor: int) -> str:
    own, place = (os.readlink(f"/proc/self/fd/{number}") for number in (root, descriptor))
    os.close(descriptor)
    return place[len(own) :]


WAYS = {
    "directory": make_directory,
    "mount point": mount_point,
    "file": mount_point_of_a_file,
}


def try_all(tmp_path: Path, way: str, links: t.Iterable[str], below: str) -> dict[str, str]:
    """Return where each link at `/data/link` leads a path through it, or its error."""

    def work() -> str:
        root = make_tree(tmp_path)
        found = {}
        open_before = os.listdir("/proc/self/fd")
        for link in links:
            os.symlink(link, tmp_path / "data/link")
            try:
                found[link] = WAYS[way](root, "/data/link" + below)
            except (OSError, LauncherError) as error:
                found[link] = str(error)
            os.unlink(tmp_path / "data/link")
        assert os.listdir("/proc/self/fd") == open_before
        made = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
        return json.dumps([found, sorted(made)])

    found, made = json.loads(excursion.in_child(work, 30, ()))
    assert not [path for path in made if path.startswith(("secret/new", "below/x/")) or path == "secret/sub"]
    return t.cast("dict[str, str]", found)


@pytest.mark.parametrize("below", ["", "/sub", "/new", "/new/er"])
@pytest.mark.parametrize("way", WAYS)
def test_a_link_in_a_mapping_leads_not_out_of_it(tmp_path: Path, way: str, below: str) -> None:
    found = try_all(tmp_path, way, OUT, below)
    assert {link: text for link, text in found.items() if lookup.LEADS_OUT not in text} == {}


@pytest.mark.parametrize("below", ["", "/new"])
@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_made_where_a_link_leads_to_nothing(tmp_path: Path, way: str, below: str) -> None:
    found = try_all(tmp_path, way, ["/secret/new", "nothing", "/new"], below)
    assert all("link to nothing" in text or "Not a directory" in text for text in found.values()), found


@pytest.mark.parametrize("below", ["", "/sub", "/new", "/new/er"])
@pytest.mark.parametrize("way", WAYS)
def test_a_link_within_a_mapping_is_followed(tmp_path: Path, way: str, below: str) -> None:
    assert try_all(tmp_path, way, IN, below) == dict.fromkeys(IN, "/data/hop" + below)


def test_a_mount_point_is_not_led_to_the_mapping_itself(tmp_path: Path) -> None:
    """Where it would hide that. A directory above one may be led there: mirrors have such links."""
    found = try_all(tmp_path, "mount point", [".", "/data", "hop/.."], "")
    assert all("which would be hidden" in text for text in found.values()), found


def test_a_directory_above_may_be_the_mapping_itself(tmp_path: Path) -> None:
    assert try_all(tmp_path, "mount point", [".", "/data"], "/fresh") == {".": "/data/fresh", "/data": "/data/fresh"}


class Sibling:
    """A process of another mount namespace, which can rename the mount points of this one."""

    def __init__(self, old: Path, new: Path) -> None:
        self.wake, self.done = os.pipe(), os.pipe()
        if os.fork() == 0:
            os.read(self.wake[0], 1)
            os.rename(old, new)
            os.write(self.done[1], b"1")
            os._exit(0)

    def rename(self) -> None:
        os.write(self.wake[1], b"1")
        os.read(self.done[0], 1)


@pytest.mark.parametrize(
    ("way", "put"), [*((way, "link") for way in WAYS), ("directory", "mount point"), ("mount point", "mount point")]
)
def test_what_takes_the_place_of_what_was_made_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, put: str
) -> None:
    """A link out, or the mount point of another mapping, which another mount namespace can rename."""
    mkdir, close = os.mkdir, os.close

    sibling: list[Sibling] = []

    def exchange() -> None:
        place = tmp_path / "data/fresh"
        if not place.exists() or place.is_symlink() or (put == "mount point" and not sibling):
            return
        if put == "mount point":
            sibling.pop().rename()
            return
        place.unlink() if way == "file" else place.rmdir()
        place.symlink_to("/secret")

    def make(*arguments: t.Any, **options: t.Any) -> None:
        mkdir(*arguments, **options)
        exchange()

    def close_and_exchange(descriptor: int) -> None:
        close(descriptor)
        exchange()

    def work() -> str:
        if put == "mount point":
            sibling.append(Sibling(tmp_path / "data/below", tmp_path / "data/fresh"))
        root = make_tree(tmp_path)
        monkeypatch.setattr(os, "mkdir", make)
        if way == "file":
            monkeypatch.setattr(os, "close", close_and_exchange)
        try:
            return WAYS[way](root, "/data/fresh")
        except OSError as error:
            return str(error)

    said = excursion.in_child(work, 30, ())
    if put == "mount point":
        assert "mount point of something else" in said
    elif way == "directory":
        assert "Not a directory" in said
    else:
        assert said == "/data/fresh"  # the link itself, on which `attach` mounts nothing


def test_the_launchers_own_links_lead_anywhere_but_to_what_is_protected(tmp_path: Path) -> None:
    def work() -> str:
        root = make_tree(tmp_path)
        os.mkdir("run", dir_fd=root)
        os.symlink("/run", "wrong", dir_fd=root)
        found = [way(root, "/own/made") for way in (make_directory, mount_point)]
        with pytest.raises(mounts.ProtectedTarget, match="a symbolic link on the way"):
            mount_point(root, "/wrong")
        return json.dumps(found)

    assert json.loads(excursion.in_child(work, 30, ())) == ["/secret/made", "/secret/made"]
    assert targets.refusal_of_place("/run")


def test_a_link_in_its_place_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    root, mount = (os.open(tmp_path, os.O_PATH | os.O_DIRECTORY) for _number in range(2))
    tree = mounts.Tree(root)
    link = os.open("link", os.O_PATH | os.O_NOFOLLOW, dir_fd=root)
    monkeypatch.setattr(tree, "target", lambda _path, _directory: link)
    with pytest.raises(LauncherError, match="/data/point: has become a symbolic link"):
        tree.attach(mount, "/data/point")
    os.close(root)
