# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A file system that cannot be mounted is an error that names it and why (S14), or a warning where it may fail."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError

if t.TYPE_CHECKING:
    from .conftest import MakeMachine
    from .fuse_servers import Silent

pytestmark = pytest.mark.root

NAME = "test-mount-may-fail"
Record = dict[str, t.Any]


def item(device: t.Any, kind: str, point: str = "/srv/data", **more: t.Any) -> Record:
    return {"device": device, "mount_point": point, "type": kind, "needed_for_boot": True, **more}


FAILURES: dict[str, tuple[Record, str]] = {
    "label": (item({"label": "missing"}, "ext4"), r"/dev/disk/by-label/missing .*\[Errno 2\]"),
    "uuid": (item({"uuid": "0000-0000"}, "ext4"), r"/dev/disk/by-uuid/0000-0000 .*\[Errno 2\]"),
    "device": (item("/dev/missing", "ext4"), r"/dev/missing .*\[Errno 2\]"),
    "no-device": (item("/etc/passwd", "ext4"), r"/etc/passwd .*\[Errno 15\]"),
    "type": (item("none", "nosuchfs"), r"nosuchfs.*\[Errno 19\]"),
    "option": (item("tmpfs", "tmpfs", options="nonsense=1"), r"tmpfs.*\[Errno 22\]"),
    "value": (item("tmpfs", "tmpfs", options="size=many"), r"tmpfs.*\[Errno 22\]"),
    "server": (item("127.0.0.1:/none", "nfs4", options="addr=127.0.0.1"), r"nfs4|not answered"),
    "below-the-store": (item("tmpfs", "tmpfs", "/usr/not-there"), r"\[Errno 30\].*no such mount point"),
    "below-a-file": (item("tmpfs", "tmpfs", "/etc/passwd/x"), r"\[Errno 20\]"),
    "on-a-file": (item("tmpfs", "tmpfs", "/etc/login.defs"), "cannot be mounted over"),
    "bind-through-a-link": (item("/proc/self/root", "none", flags=["bind-mount", "read-only"]), "symbolic link"),
    "bind-on-a-file": (
        item("/srv", "none", "/etc/login.defs", flags=["bind-mount", "read-only"]),
        "cannot be mounted over",
    ),
    "bind-below-the-store": (item("/srv", "none", "/usr/no/x", flags=["bind-mount", "read-only"]), r"\[Errno 30\]"),
    "bind-required": (
        item("/missing", "none", flags=["bind-mount", "read-only"], required=True),
        "/missing: .*not exist",
    ),
}


@pytest.mark.parametrize("place", ["extra", "declared"])
@pytest.mark.parametrize("failure", FAILURES)
def test_it_is_left_out_with_a_warning_where_it_may_fail(make_machine: MakeMachine, failure: str, place: str) -> None:
    record, said = FAILURES[failure]
    declared = {**record, "mount_may_fail": True}
    if place == "declared" and str(record["device"]).startswith("/dev/"):
        pytest.skip("it is dropped (C9)")
    options: Record = {"extra_file_systems": [declared]} if place == "extra" else {}
    system = {"file_systems": [declared]} if place == "declared" else {}
    machine = make_machine(system, name=NAME, **options)
    (warning,) = machine.start().warnings
    assert_matches(warning, record["mount_point"], said)
    assert "left out, as its declaration allows" in warning
    assert machine.output("systemctl", "is-system-running").strip() == "running"


@pytest.mark.parametrize("failure", FAILURES)
def test_it_is_an_error_where_it_may_not(make_machine: MakeMachine, failure: str) -> None:
    record, said = FAILURES[failure]
    machine = make_machine(name=NAME, extra_file_systems=[record])
    with pytest.raises(LauncherError) as caught:
        machine.start()
    assert_matches(str(caught.value), record["mount_point"], said)
    assert machine.container.status().state == "stopped"


def assert_matches(text: str, point: str, said: str) -> None:
    import re

    assert point in text
    assert re.search(said, text), text


PROTECTED = ("/run", "/run/host", "/proc", "/dev", "/")


@pytest.mark.parametrize("kind", ["bind", "tmpfs"])
@pytest.mark.parametrize("place", PROTECTED)
@pytest.mark.parametrize("below", ["", "/run"])
def test_a_place_that_is_refused_is_an_error_in_any_case(
    make_machine: MakeMachine, tmp_path: Path, kind: str, place: str, below: str
) -> None:
    """Here a link, which root inside could have left in a writable mapping, leads to it."""
    (tmp_path / "link").symlink_to(place)
    point = f"/srv/left/link{below}"
    record = item("/srv", "none", point, flags=["bind-mount", "read-only"])
    if kind == "tmpfs":
        record = item("tmpfs", "tmpfs", point)
    mapping = {"source": str(tmp_path), "target": "/srv/left", "writable": True}
    options: Record = {"extra_file_systems": [{**record, "mount_may_fail": True}], "mappings": [mapping]}
    machine = make_machine(name=NAME, **options)
    with pytest.raises(LauncherError, match="a symbolic link on the way"):
        machine.start()
    assert machine.container.status().state == "stopped"


@pytest.mark.parametrize("may_fail", [True, False])
def test_a_server_that_does_not_answer(make_machine: MakeMachine, silent: Silent, may_fail: bool) -> None:
    """One that may fail does not use up the time that the start has."""
    flags = ["bind-mount", "read-only"]
    records = [
        item(str(silent.path / name), "none", f"/srv/{name}", flags=flags, mount_may_fail=may_fail)
        for name in ("one", "two")
    ]
    machine = make_machine(name=NAME, extra_file_systems=records)
    if may_fail:
        warnings = machine.start(timeout=12.0).warnings
        assert [line.split(":")[0] for line in warnings] == ["/srv/one", "/srv/two"]
        assert all("has not answered for" in line for line in warnings)
        assert machine.output("systemctl", "is-system-running").strip() == "running"
    else:
        with pytest.raises(LauncherError, match=r"/srv/one: the file system of .* has not answered for"):
            machine.start(timeout=2.0)


def test_a_tmpfs_that_the_init_would_mount(make_machine: MakeMachine) -> None:
    """Not needed for boot; as a unit that failed, it would be a failed start."""
    bad = {
        "device": "tmpfs",
        "mount_point": "/srv/bad",
        "type": "tmpfs",
        "options": "size=many",
        "mount_may_fail": True,
    }
    good = {**bad, "mount_point": "/srv/good", "options": "size=1M"}
    machine = make_machine({"file_systems": [bad, good]}, name=NAME)
    (warning,) = machine.start().warnings
    assert warning.startswith("/srv/bad: cannot mount tmpfs")
    assert machine.output("findmnt", "--noheadings", "--output=FSTYPE", "/srv/good").strip() == "tmpfs"
    assert machine.output("systemctl", "is-system-running").strip() == "running"


def test_what_can_be_mounted_is(make_machine: MakeMachine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("there\n")
    record = item(str(tmp_path), "none", flags=["bind-mount", "read-only"], mount_may_fail=True)
    machine = make_machine(name=NAME, extra_file_systems=[record])
    assert machine.start().warnings == []
    assert machine.output("cat", "/srv/data/file") == "there\n"
