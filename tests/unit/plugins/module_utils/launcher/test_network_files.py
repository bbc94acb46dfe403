# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a container sees of its host's network files, and how the copies follow these."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import network_files
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.launcher.targets import NETWORK_FILES

from ..specifications import mount

NAME = "web"


@pytest.fixture
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory in the place of the host's /etc."""
    place = tmp_path / "etc"
    place.mkdir()
    known = network_files._content
    monkeypatch.setattr(network_files, "_content", lambda path: known(str(place / os.path.basename(path))))
    return place


def record(path: str, **more: t.Any) -> t.Any:
    return mount(**{"device": path, "mount_point": path, "flags": ["bind-mount", "read-only"], **more})


def copies(tmp_path: Path) -> dict[str, str]:
    directory = tmp_path / "run" / network_files.DIRECTORY
    return {path.name: path.read_text() for path in sorted(directory.iterdir())} if directory.is_dir() else {}


def prepare(tmp_path: Path, *records: t.Any) -> list[str]:
    (tmp_path / "run").mkdir(exist_ok=True)
    return network_files.prepare(str(tmp_path / "run"), list(records), NAME, os.getuid())


def refresh(tmp_path: Path, check: bool = False) -> list[str]:
    return network_files.refresh(str(tmp_path / "run"), NAME, check)


@pytest.mark.parametrize(
    ("given", "followed"),
    [
        ({}, True),
        ({"device": "/etc//hosts", "mount_point": "/etc/./hosts"}, True),
        ({"flags": ["bind-mount"]}, True),
        ({"mount_point": "/srv/hosts"}, False),
        ({"device": "/srv/hosts"}, False),
        ({"device": "/etc/passwd", "mount_point": "/etc/passwd"}, False),
        ({"flags": [], "type": "tmpfs"}, False),
    ],
)
def test_which_are_followed(given: dict[str, t.Any], followed: bool) -> None:
    assert network_files.is_followed(record("/etc/hosts", **given)) == followed


HOSTS = {
    "cases_B15_none": (b"", "web", b"127.0.1.1 web\n"),
    "cases_B15_no_end": (b"::1 x", "web", b"::1 x\n127.0.1.1 web\n"),
    "cases_B15_there": (b"192.0.2.1 a web\n", "web", b"192.0.2.1 a web\n"),
    "cases_B15_another_case": (b"192.0.2.1 WEB\n", "web", b"192.0.2.1 WEB\n"),
    "cases_B15_in_a_comment": (
        b"#192.0.2.1 web\n1.2.3.4 x # web\n",
        "web",
        b"#192.0.2.1 web\n1.2.3.4 x # web\n127.0.1.1 web\n",
    ),
    "cases_B15_an_address": (b"web x\n", "web", b"web x\n127.0.1.1 web\n"),
    "cases_B15_whole": (b"", "web.example.com", b"127.0.1.1 web.example.com web\n"),
    "cases_B15_short_missing": (
        b"192.0.2.1 web.example.com\n",
        "web.example.com",
        b"192.0.2.1 web.example.com\n127.0.1.1 web\n",
    ),
    "cases_B15_no_text": (b"\xff\xfe\0\n", "web", b"\xff\xfe\0\n127.0.1.1 web\n"),
}


@pytest.mark.parametrize("case", HOSTS)
def test_its_own_name_is_in_hosts(case: str) -> None:
    given, name, expected = HOSTS[case]
    assert network_files.with_own_name(given, name) == expected
    assert network_files.with_own_name(expected, name) == expected


def test_cases_b1_copies_follow(tmp_path: Path, etc: Path) -> None:
    """Replaced, longer, shorter, the same; twice nothing; the inode stays, for that is what is mounted."""
    (etc / "hosts").write_text("127.0.0.1 localhost web\n")
    (etc / "services").write_text("ssh 22/tcp\n")
    assert prepare(tmp_path, record("/etc/hosts"), record("/etc/services"), record("/etc/passwd")) == []
    assert copies(tmp_path) == {"hosts": "127.0.0.1 localhost web\n", "services": "ssh 22/tcp\n"}
    inode = (tmp_path / "run/network/hosts").stat().st_ino
    for text in ("127.0.0.1 web\n", "127.0.0.1 web\n" + "# long\n" * 9000, "1.2.3.4 web", "1.2.3.4 other\n"):
        new = etc / "new"
        new.write_text(text)
        new.rename(etc / "hosts")
        assert refresh(tmp_path, check=True) == ["/etc/hosts"]
        assert refresh(tmp_path) == ["/etc/hosts"]
        assert copies(tmp_path)["hosts"] == network_files.with_own_name(text.encode(), NAME).decode()
        assert refresh(tmp_path, check=True) == refresh(tmp_path) == []
    assert (tmp_path / "run/network/hosts").stat().st_ino == inode
    (etc / "resolv.conf").write_text("nameserver ::1\n")
    assert refresh(tmp_path) == []  # not one of this container's


def test_cases_b2_what_is_missing_is_empty_until_it_is_there(tmp_path: Path, etc: Path) -> None:
    (etc / "resolv.conf").symlink_to(etc / "later")
    said = prepare(tmp_path, *map(record, NETWORK_FILES))
    assert [line.partition(":")[0] for line in said] == list(NETWORK_FILES)
    assert copies(tmp_path)["resolv.conf"] == ""
    assert "localhost" in copies(tmp_path)["hosts"]
    assert refresh(tmp_path) == []
    (etc / "later").write_text("nameserver ::1\n")
    assert refresh(tmp_path) == ["/etc/resolv.conf"]
    (etc / "later").unlink()
    assert refresh(tmp_path) == []
    assert copies(tmp_path)["resolv.conf"] == "nameserver ::1\n"


def test_what_has_to_be_there_and_is_not(tmp_path: Path, etc: Path) -> None:
    with pytest.raises(LauncherError, match="/etc/hosts does not exist"):
        prepare(tmp_path, record("/etc/hosts", required=True))


@pytest.mark.parametrize("kind", ["fifo", "directory", "large"])
def test_what_is_no_such_file_keeps_nobody_waiting(
    tmp_path: Path, etc: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(network_files, "SIZE_LIMIT", 100)
    path = etc / "hosts"
    {"fifo": lambda: os.mkfifo(path), "directory": path.mkdir, "large": lambda: path.write_text("x" * 101)}[kind]()
    with pytest.raises(LauncherError, match="hosts: is (no file|larger)"):
        prepare(tmp_path, record("/etc/hosts"))


def test_a_copy_is_never_written_through_a_link(tmp_path: Path, etc: Path) -> None:
    (etc / "hosts").write_text("new\n")
    (tmp_path / "run/network").mkdir(parents=True)
    (tmp_path / "victim").write_text("kept")
    (tmp_path / "run/network/hosts").symlink_to(tmp_path / "victim")
    with pytest.raises(LauncherError, match="symbolic links"):
        refresh(tmp_path)
    with pytest.raises(OSError, match="symbolic links"):
        prepare(tmp_path, record("/etc/hosts"))
    assert (tmp_path / "victim").read_text() == "kept"


def test_a_copy_of_a_container_that_has_ended_is_not_made_again(
    tmp_path: Path, etc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (etc / "hosts").write_text("127.0.0.1 web\n")
    prepare(tmp_path, record("/etc/hosts"))
    (etc / "hosts").write_text("127.0.0.2 web\n")
    copy = tmp_path / "run/network/hosts"
    known = network_files._content

    def ended(path: str) -> bytes | None:
        copy.unlink(missing_ok=True)
        return known(path)

    monkeypatch.setattr(network_files, "_content", ended)
    assert refresh(tmp_path) == []
    assert copies(tmp_path) == {}


@pytest.mark.parametrize("held", ["_write", "_read", "_content", "another"])
@pytest.mark.parametrize("check", [False, True])
def test_copies_that_are_held_keep_nobody_waiting_for_long(
    tmp_path: Path, etc: Path, monkeypatch: pytest.MonkeyPatch, held: str, check: bool
) -> None:
    """Whatever it is that waits, the caller goes on, and who is left behind has no descriptor of the caller's."""
    (etc / "hosts").write_text("127.0.0.1 web\n")
    prepare(tmp_path, record("/etc/hosts"))
    (etc / "hosts").write_text("127.0.0.2 web\n")
    monkeypatch.setattr(network_files, "SECONDS", 0.3)
    lock = os.open(tmp_path, os.O_RDONLY)
    caller = os.getpid()

    def wait(*_arguments: object) -> t.Any:
        assert os.getpid() != caller
        for number in map(int, os.listdir("/proc/self/fd")):
            try:
                assert not os.path.samestat(os.fstat(number), os.stat(tmp_path))
            except OSError:
                continue  # that of the directory, which is closed by now
        signal.pause()

    directory = os.open(tmp_path / "run/network", os.O_RDONLY)
    try:
        if held == "another":
            fcntl.flock(directory, fcntl.LOCK_EX)
        else:
            monkeypatch.setattr(network_files, held, wait)
        if held == "_write" and check:
            assert refresh(tmp_path, check) == ["/etc/hosts"]
            return
        began = time.monotonic()
        with pytest.raises(network_files.CopiesHeld, match="restart the container"):
            refresh(tmp_path, check)
        assert time.monotonic() - began < 2
    finally:
        os.close(directory)
        os.close(lock)
    monkeypatch.undo()
    assert copies(tmp_path)["hosts"].startswith("127.0.0.1")


def test_who_comes_at_the_same_time_waits_for_the_other(tmp_path: Path, etc: Path) -> None:
    (etc / "hosts").write_text("127.0.0.1 web\n")
    prepare(tmp_path, record("/etc/hosts"))
    (etc / "hosts").write_text("127.0.0.2 web\n")
    directory = os.open(tmp_path / "run/network", os.O_RDONLY)
    fcntl.flock(directory, fcntl.LOCK_EX)
    child = os.fork()
    if child == 0:
        time.sleep(0.2)  # then its lock ends with it
        os._exit(0)
    os.close(directory)
    assert refresh(tmp_path) == ["/etc/hosts"]
    os.waitpid(child, 0)


def made(tmp_path: Path, count: int) -> list[tuple[str, str]]:
    """Make copies of /etc/hosts for some containers, which are older than the host's file."""
    containers = [(str(tmp_path / str(number)), NAME) for number in range(count)]
    for directory, _name in containers:
        Path(directory, network_files.DIRECTORY).mkdir(parents=True)
        Path(directory, network_files.DIRECTORY, "hosts").write_text("192.0.2.1 old\n")
    return containers


def told(containers: list[tuple[str, str]]) -> list[bool]:
    """Return which copies have what the host's file has now."""
    files = [Path(directory, network_files.DIRECTORY, "hosts") for directory, _name in containers]
    return [file.read_text().startswith("192.0.2.1 new\n") for file in files]


def test_n6_more_copies_than_a_process_may_have_files_open_are_brought_up_to_date_by_one(
    tmp_path: Path, etc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    etc.joinpath("hosts").write_text("192.0.2.1 new\n")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = len(os.listdir("/proc/self/fd")) + 16
    containers = made(tmp_path, 2 * few)
    monkeypatch.setattr(network_files, "MOMENT", 40.0)
    began = time.monotonic()
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, hard))
    try:
        network_files.refresh_several(containers, (network_files.HOSTS,))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert all(told(containers))
    assert time.monotonic() - began < 20, "not at the second attempt"


@pytest.mark.parametrize("held", [(0,), (3,), (9,), (0, 1, 5, 9), ()])
def test_n6_who_holds_its_copy_keeps_no_other_from_the_names(
    tmp_path: Path, etc: Path, monkeypatch: pytest.MonkeyPatch, held: tuple[int, ...]
) -> None:
    """However many hold theirs, and however long a process needs for a few."""
    etc.joinpath("hosts").write_text("192.0.2.1 new\n")
    containers = made(tmp_path, 10)
    known = network_files._write
    monkeypatch.setattr(network_files, "MOMENT", 0.8)

    def write(path: str, *arguments: t.Any) -> None:
        if int(Path(path).parents[1].name) in held:
            signal.pause()
        time.sleep(0.06)  # of a busy machine, on which all ten take longer than one process has
        known(path, *arguments)

    monkeypatch.setattr(network_files, "_write", write)
    network_files.refresh_several(containers, (network_files.HOSTS,))
    assert told(containers) == [number not in held for number in range(10)]


def test_n6_a_copy_that_cannot_be_written_keeps_no_other_from_the_names(tmp_path: Path, etc: Path) -> None:
    etc.joinpath("hosts").write_text("192.0.2.1 new\n")
    containers = made(tmp_path, 3)
    copy = Path(containers[1][0], network_files.DIRECTORY, "hosts")
    copy.unlink()
    copy.symlink_to("elsewhere")
    network_files.refresh_several(containers, (network_files.HOSTS,))
    assert told([containers[0], containers[2]]) == [True, True]
