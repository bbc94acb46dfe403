# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A mount that the launcher could not make is known before a container that runs is stopped for it."""

from __future__ import annotations

import os
import re
import socket
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host import id_maps, preflight_targets
from ansible_collections.unshare.container.plugins.module_utils.host.facts import HostFacts
from ansible_collections.unshare.container.plugins.module_utils.host.preflight_targets import problems
from ansible_collections.unshare.container.plugins.module_utils.launcher import mount_table

from ..specifications import specification

STORE = {"device": "/usr", "mount_point": "/usr", "type": "none", "flags": ["bind-mount", "read-only"]}
FILES = {"/etc/hostname": {}, "/etc/deep/file": {}, "/etc/localtime": {"link": "../usr/share/zoneinfo/UTC"}}


@pytest.fixture
def host(tmp_path: Path) -> HostFacts:
    for directory in ("usr/bin", "srv/dir/below", "srv/other", "proc", "var/lib/unshare/containers"):
        (tmp_path / directory).mkdir(parents=True)
    for file in ("srv/file", "srv/dir/file", "usr/bin/env"):
        (tmp_path / file).touch()
    (tmp_path / "srv/link").symlink_to("dir")
    (tmp_path / "srv/dir/link").symlink_to("below")
    (tmp_path / "proc/filesystems").write_text("nodev\ttmpfs\n\text4\n")
    os.mkfifo(tmp_path / "srv/fifo")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "srv/socket"))
    return HostFacts(tmp_path)


def bind(source: str, point: str, *flags: str, **more: t.Any) -> dict[str, t.Any]:
    return {"device": source, "mount_point": point, "type": "none", "flags": ["bind-mount", *flags], **more}


def found(host: HostFacts, *mounts: dict[str, t.Any], **more: t.Any) -> list[str]:
    """Return what is said; no descriptor is left open, of which there would be one for each mount of each run."""
    before = {*os.listdir("/proc/self/fd")}
    said = problems(host, specification(file_systems=[STORE, *mounts], files=FILES, **more))
    assert {*os.listdir("/proc/self/fd")} <= before
    return said


BAD: dict[str, tuple[list[dict[str, t.Any]], str]] = {
    "cases_N5_link_in_the_source": ([bind("/srv/link", "/x")], "through a symbolic link: name the .*: /srv/dir$"),
    "a_link_on_the_way": ([bind("/srv/link/below", "/x", "read-only")], "link: name the .*: /srv/dir/below$"),
    "a_link_to_nothing": ([bind("/srv/nowhere", "/x")], "passes through a symbolic link"),
    "a_link_inside": ([bind("/srv/dir/link", "/x")], "link: name the directory itself: /srv/dir/below$"),
    "cases_N5_directory_over_a_file_of_the_system": ([bind("/srv/dir", "/etc/hostname")], "which is a file"),
    "directory_over_a_file_of_the_store": ([bind("/srv/dir", "/usr/bin/env")], "/usr/bin/env, which is a file"),
    "directory_over_a_file_of_a_mapping": (
        [bind("/srv/dir", "/x"), bind("/srv/other", "/x/file")],
        "/x/file, which is a file",
    ),
    "directory_over_a_mapped_file": ([bind("/srv/file", "/x"), bind("/srv/dir", "//x/")], "/x, which is a file"),
    "directory_over_the_machine_id": ([bind("/srv/dir", "/etc/machine-id")], "which is a file"),
    "file_over_a_directory": ([bind("/srv/file", "/opt")], "which is a directory: use the target /opt/file$"),
    "file_over_a_directory_of_a_mapping": (
        [bind("/srv/dir", "/x"), bind("/srv/file", "/x/below")],
        "which is a directory: use the target /x/below/file$",
    ),
    "socket_over_a_directory": ([bind("/srv/socket", "/tmp")], "which is a directory"),
    "file_over_a_tmpfs": (
        [{"device": "tmpfs", "mount_point": "/x", "type": "tmpfs"}, bind("/srv/file", "/x")],
        "which is a directory",
    ),
    "below_a_file": ([bind("/srv/dir", "/etc/hostname/x")], "lies below a file"),
    "below_a_mapped_file": ([bind("/srv/file", "/x"), bind("/srv/dir", "/x/y/z")], "lies below a file"),
    "below_a_file_of_a_mapping": ([bind("/srv/dir", "/x"), bind("/srv/dir", "/x/file/y")], "lies below a file"),
    "a_missing_disk": ([{"device": "/dev/nosuch", "mount_point": "/x", "type": "ext4"}], "/dev/nosuch does not exist"),
    "a_file_as_a_disk": ([{"device": "/srv/file", "mount_point": "/x", "type": "ext4"}], "is no block device"),
    "a_directory_as_a_disk": ([{"device": "/srv/dir", "mount_point": "/x", "type": "ext4"}], "is no block device"),
    "a_missing_label": (
        [{"device": {"label": "no"}, "mount_point": "/x", "type": "ext4"}],
        "by-label/no does not exist",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_it_is_known_before(host: HostFacts, case: str) -> None:
    if case == "a_link_to_nothing":
        (host.root / "srv/nowhere").symlink_to("gone")
    mounts, said = BAD[case]
    (message,) = found(host, *mounts)
    assert re.search(said, message), message
    assert found(host, *[{**mount, "mount_may_fail": True} for mount in mounts]) == []


GOOD: dict[str, list[dict[str, t.Any]]] = {
    "file": [bind("/srv/file", "/x")],
    "file_over_a_file": [bind("/srv/file", "/etc/hostname")],
    "file_over_a_link": [bind("/srv/file", "/etc/localtime")],
    "pipe_and_socket": [bind("/srv/fifo", "/x/fifo"), bind("/srv/socket", "/x/socket")],
    "nested_in_a_writable_mapping": [bind("/srv/dir", "/x"), bind("/srv/other", "/x/new")],
    "nested_in_what_is_there": [bind("/srv/dir", "/x", "read-only"), bind("/srv/other", "/x/below")],
    "through_a_link_inside": [bind("/srv/dir", "/x"), bind("/srv/other", "/x/link/y")],
    "absent": [bind("/srv/absent", "/etc/hostname")],
    "in_a_tmpfs": [{"device": "tmpfs", "mount_point": "/x", "type": "tmpfs"}, bind("/srv/file", "/x/y")],
    "of_a_server": [{"device": "nas:/x", "mount_point": "/x", "type": "nfs"}, bind("/srv/file", "/x/y")],
    "in_our_own_state": [bind("/var/lib/unshare/containers", "/x", "read-only")],
    "the_hosts_network_files": [bind("/etc/resolv.conf", "/etc/resolv.conf")],
}


@pytest.mark.parametrize("case", GOOD)
def test_what_can_be_made_is_no_matter(host: HostFacts, case: str) -> None:
    (host.root / "etc").mkdir()
    (host.root / "etc/resolv.conf").symlink_to("../srv/file")
    assert found(host, *GOOD[case]) == []


@pytest.mark.parametrize("device", ["null", "zero", "full"])
def test_cases_n5_devices(host: HostFacts, monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    monkeypatch.setattr(preflight_targets, "_open", lambda _host, path: os.open(path, os.O_PATH))
    (said,) = found(host, bind(f"/dev/{device}", "/x"))
    assert f"/dev/{device} is a device, and a mapping gives no access to devices" in said


@pytest.mark.parametrize("kind", ["is a file", "lies below a file"])
def test_directories_that_cannot_be_made(host: HostFacts, kind: str) -> None:
    path = "/srv/www" if kind == "is a file" else "/srv/www/below"
    (said,) = found(host, bind("/srv/file", "/srv/www"), directories=[{"path": path}])
    assert f"the directory {path} cannot be made, for it {kind}" in said
    assert found(host, bind("/srv/dir", "/srv/www"), directories=[{"path": path}]) == []


@pytest.mark.parametrize(
    ("users", "flags", "maps", "refused"),
    [
        ("auto", [], False, True),
        ("auto", [], True, False),
        ("auto", ["read-only"], False, False),
        ("identity", [], False, False),
        (131072, [], False, True),
    ],
)
def test_cases_n5_writable_overlay(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, users: t.Any, flags: list[str], maps: bool, refused: bool
) -> None:
    monkeypatch.setattr(id_maps, "can_map", lambda source, path: maps)
    said = found(HostFacts(), bind(str(tmp_path), "/data", *flags), private_users=users)
    assert ["cannot map ids" in text for text in said] == [True] * refused
    assert not any("chown" in text for text in said)


@pytest.mark.parametrize("flags", [[], ["read-only"]])
@pytest.mark.parametrize(
    ("users", "ids", "maps", "refused"),
    [
        ("auto", (107, 112), False, True),
        ("auto", (107, 112), True, False),
        ("identity", (107, 112), False, True),
        ("identity", (901, 901), False, False),
        (131072, (131072 + 901, 131072 + 901), False, False),
        (131072, (131072 + 901, 112), False, True),
        (131072, (901, 901), False, True),
        ("auto", (id_maps.OWN_RANGES, 5), False, False),
        (131072, (id_maps.OWN_RANGES, 5), False, True),
    ],
)
def test_v2_an_owner_needs_a_map(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    users: t.Any,
    ids: tuple[int, int],
    maps: bool,
    refused: bool,
    flags: list[str],
) -> None:
    """To be read as well, and with the host's own ids."""
    monkeypatch.setattr(id_maps, "can_map", lambda source, path, own: maps and own)
    os.chown(tmp_path, *ids)
    said = found(HostFacts(), bind(str(tmp_path), "/data", *flags, uid=901, gid=901), private_users=users)
    assert ["so it cannot have the `owner`" in text for text in said] == [True] * refused
    assert all(text.startswith(f"the mapping to /data: {tmp_path}: its file system cannot map ids") for text in said)


@pytest.mark.parametrize("kind", ["ext4", "overlay"])
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("works", [False, True])
def test_v2_whether_ids_can_be_mapped_is_tried(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, nested: bool, own: bool, works: bool
) -> None:
    """In a user namespace too, where a mapping needs a map of its own; what is known is not tried."""
    entry = mount_table.parse(f"1 0 8:1 / / rw - {kind} /dev/a rw\n".encode())
    tried: list[str] = []
    monkeypatch.setattr(mount_table, "read", lambda: entry)
    monkeypatch.setattr(id_maps, "available", lambda: (65536, nested))

    def trial(source: int, text: str) -> bool:
        tried.append(text)
        return works

    monkeypatch.setattr(id_maps, "_try", trial)
    tries = (own and nested) or (kind == "overlay" and not nested)
    assert id_maps.can_map(-1, str(tmp_path), own) == (works or not tries)
    assert tried == ([id_maps.NESTED_MAP if nested else id_maps.MAP] if tries else [])


@pytest.mark.root
@pytest.mark.parametrize("text", [id_maps.MAP, id_maps.NESTED_MAP])
def test_v2_a_trial_finds_out(text: str) -> None:
    """The file systems of the kernel itself map none."""
    source = os.open("/proc", os.O_PATH)
    assert not id_maps._try(source, text)
    os.close(source)


@pytest.mark.parametrize(
    ("ids", "content", "flags", "refused"),
    [
        ((0, 0), "", [], False),
        ((0, 0), "file", [], True),
        ((0, 0), "file", ["read-only"], False),
        ((0, 5), "", [], True),
        ((5, 0), "file", [], False),
    ],
)
def test_v2_what_is_roots_is_nobody_elses_to_write(
    host: HostFacts, ids: tuple[int, int], content: str, flags: list[str], refused: bool
) -> None:
    made = host.root / "srv/other"
    if content:
        (made / content).touch()
    os.chown(made, *ids)
    said = found(host, bind("/srv/other", "/data", *flags, uid=901, gid=901))
    assert ["the mapping to /data: /srv/other: belongs to root on the host" in text for text in said] == [
        True
    ] * refused
    assert (made.stat().st_uid, made.stat().st_gid) == ids


LINKED = bind("/srv/linked", "/x/p", "read-only")
LINKS = {
    "absolute_out": ("/etc", "", "leads out of the mapping"),
    "relative_out": ("../../other", "", "leads out of the mapping"),
    "out_into_another_mapping": ("/y", "", "leads out of the mapping"),
    "out_above": ("..", "", "leads out of the mapping"),
    "dangling": ("nosuch", "", "leads to nothing"),
    "dangling_below": ("nosuch", "a", "leads to nothing"),
    "dangling_deep": ("real/nosuch/a", "a", "leads to nothing"),
    "dangling_twice": ("second/nosuch", "", "leads to nothing"),
    "loop": ("link", "a", "lead in a circle"),
    "hiding": (".", "", "would be hidden"),
    "hiding_absolute": ("/x/p", "", "would be hidden"),
    "read_only_behind_it": ("real", "a", "missing, in what is shared read-only"),
    "read_only_behind_two": ("second", "a/b", "missing, in what is shared read-only"),
    "below_a_file": ("file", "a", "lies below a file"),
    "a_file": ("real/file", "", "which is a file"),
    "a_directory": ("real", "", ""),
    "a_directory_below": ("real", "below", ""),
    "by_the_way_of_another": ("second/below", "", ""),
    "absolute": ("/x/p/real", "below", ""),
    "out_and_back": ("../p/real", "", ""),
    "the_roots_own_links": ("/bin/real", "", ""),
    "a_link_of_the_system": ("/etc/localtime", "", ""),
}


@pytest.mark.parametrize("case", LINKS)
def test_links_in_a_mapping(host: HostFacts, case: str) -> None:
    text, rest, said = LINKS[case]
    (host.root / "srv/linked/real/below").mkdir(parents=True)
    (host.root / "srv/linked/real/file").touch()
    (host.root / "srv/linked/file").touch()
    (host.root / "srv/linked/second").symlink_to("./real")
    (host.root / "srv/linked/link").symlink_to(text)
    inner = bind("/srv/other", f"/x/p/link/{rest}".rstrip("/"))
    messages = found(host, bind("/srv/dir", "/y"), LINKED, inner)
    assert len(messages) == bool(said)
    assert all(said in message for message in messages), messages
    if "read-only" in said:
        assert found(host, {**LINKED, "flags": ["bind-mount"]}, inner) == []
    assert found(host, bind("/srv/dir", "/y"), LINKED, {**inner, "mount_may_fail": True}) == []


def test_a_link_to_where_another_mapping_lies(host: HostFacts) -> None:
    (host.root / "srv/linked/real/below").mkdir(parents=True)
    (host.root / "srv/linked/link").symlink_to("real")
    covering = bind("/srv/dir", "/x/p/real")
    (said,) = found(host, LINKED, covering, bind("/srv/other", "/x/p/link/below"))
    assert "leads out of the mapping" in said
