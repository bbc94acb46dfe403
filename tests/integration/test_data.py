# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What becomes of data: each tmpfs below its services, sizes within the limit, directories of the host as they were.

One container serves all cases that a container can run with; another is refused.
"""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import limits
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.tests.integration.conftest import Machine, MakeMachine, write_system

pytestmark = pytest.mark.root

NAME = "test-data"
MEBIBYTE = 1 << 20
LIMIT = 256 * MEBIBYTE
SIZES = {"/run": "24m", "/tmp": "40m", "/dev/shm": "96m", "/var/lib": "48m", "/home": None, "/srv/a b": "5%"}
OF_EVERY_SYSTEM = {"media": "/media", "temporary": "/var/tmp"}
KEPT = {"mode": 0o711, "uid": 33, "gid": 34}


def status(path: Path) -> dict[str, int]:
    found = path.stat()
    return {"mode": found.st_mode & 0o7777, "uid": found.st_uid, "gid": found.st_gid}


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directories of the host: of others, root's own and empty, with a file of nobody inside."""
    top = tmp_path_factory.mktemp("data")
    for name in ("site", "site/deep", "empty", "own", "foreign", "foreign/deep", *OF_EVERY_SYSTEM):
        (top / name).mkdir()
    for name in OF_EVERY_SYSTEM:
        (top / name).chmod(0o700)
    for name in ("site", "site/deep"):
        os.chmod(top / name, KEPT["mode"])
        os.chown(top / name, KEPT["uid"], KEPT["gid"])
    (top / "own/file").touch()
    os.chown(top / "own", 105, 9)
    (top / "foreign/deep/file").touch()
    os.chown(top / "foreign/deep/file", 9000001, 0)
    return top


@pytest.fixture(scope="module")
def data(directories: Path) -> t.Iterator[tuple[Machine, list[str]]]:
    """Yield the container, and what its start warned of."""
    declared = {
        "host_name": NAME,
        "users": [{"name": "alice"}, {"name": "redis", "uid": 105}],
        "file_systems": [
            {"device": "tmpfs", "mount_point": place, "type": "tmpfs", **({"options": f"size={size}"} if size else {})}
            for place, size in SIZES.items()
        ],
        "services": [
            {"type": "redis"},
            {"type": "simple", "value": {"target": "activation", "value": [{"path": "/var/opt/deep", "mode": "0700"}]}},
            {
                "type": "simple",
                "value": {"target": "activation", "value": [{"path": "/empty", "owner": "redis", "group": "adm"}]},
            },
            {
                "type": "simple",
                "value": {"target": "activation", "value": [{"path": "/own", "owner": "redis", "mode": "0700"}]},
            },
        ],
    }
    mappings = [
        {"source": str(directories / name), "target": target, "writable": True}
        for name, target in (
            ("site", "/var/opt"),
            ("empty", "/empty"),
            ("own", "/own"),
            ("foreign", "/foreign"),
            *OF_EVERY_SYSTEM.items(),
        )
    ]
    machine = Machine(NAME, write_system(declared, NAME, mappings=mappings))
    try:
        limits.write(machine.container.directory, {"memory_max": LIMIT})
        yield machine, machine.start().warnings
    finally:
        machine.destroy()


def test_cases_b10_tv_a_tmpfs_lies_below_what_services_have_in_it(data: tuple[Machine, list[str]]) -> None:
    machine, _warnings = data
    assert machine.output("systemctl", "is-system-running").strip() == "running", machine.logs()
    found = machine.output(
        "stat", "-c", "%n %U %a", "/home", "/home/alice", "/var/lib", "/var/lib/redis", "/tmp", "/run"
    )
    assert found.splitlines() == [
        "/home root 755",
        "/home/alice alice 700",
        "/var/lib root 755",
        "/var/lib/redis redis 750",
        "/tmp root 1777",
        "/run root 755",
    ]
    assert machine.output("redis-cli", "save").strip() == "OK"


def test_cases_b11_b12_sizes(data: tuple[Machine, list[str]]) -> None:
    """A share is one of the limit; a size in bytes is as declared; what is full says so, and nothing is killed."""
    machine, _warnings = data
    shares = {"/": LIMIT // 10, "/home": LIMIT // 2, "/srv/a b": LIMIT // 20}
    for place, size in {**SIZES, **shares}.items():
        stated = int(size[:-1]) * MEBIBYTE if isinstance(size, str) else size
        found = machine.output("df", "--output=size", "-B1", place).split()[-1]
        assert abs(int(found) - (stated or 0)) <= 4096, place
    full = machine.shell("dd if=/dev/zero of=/var/x bs=1M; rm /var/x")
    assert "No space left on device" in full.stderr
    assert machine.output("systemctl", "is-system-running").strip() == "running"


def test_cases_b12_pid_1_is_the_last_to_be_killed(data: tuple[Machine, list[str]]) -> None:
    machine, _warnings = data
    units = ("redis.service", "systemd-journald.service")
    pids = [machine.output("systemctl", "show", "-P", "MainPID", unit).strip() for unit in units]
    first, *others = (int(machine.output("cat", f"/proc/{pid}/oom_score_adj")) for pid in ("1", *pids))
    assert all(score > first for score in others), (first, others)


def test_cases_b8_directories_of_the_host_stay_as_they_were(data: tuple[Machine, list[str]], directories: Path) -> None:
    machine, _warnings = data
    machine.output("test", "-d", "/var/opt/deep")
    assert [status(directories / name) for name in ("site", "site/deep")] == [KEPT, KEPT]
    assert status(directories / "own") == {"mode": 0o755, "uid": 105, "gid": 9}
    assert status(directories / "empty") == {"mode": 0o755, "uid": 105, "gid": 4}
    for name in OF_EVERY_SYSTEM:
        assert status(directories / name) == {"mode": 0o700, "uid": 0, "gid": 0}


def test_cases_b9_a_file_of_nobody_is_said(data: tuple[Machine, list[str]], directories: Path) -> None:
    _machine, warnings = data
    (said,) = [text for text in warnings if "9000001" in text]
    assert said.startswith(f"{directories}/foreign/deep/file: belongs to 9000001:0")


@pytest.mark.parametrize(
    ("name", "ids", "mappings", "said"),
    [
        pytest.param("file", (101, 104), "/var/lib/redis", r"/var/lib/redis: belongs to 101:104", id="cases_B8"),
        pytest.param("", (107, 107), "/var/lib/redis", r"chown 902:902", id="cases_B8_empty"),
        pytest.param("redis/file", (101, 104), "/var/lib", r"/var/lib/redis: belongs to 101:104", id="cases_B8_below"),
        pytest.param("", (0, 0), "/dev/null", r"/dev/null there: it is a device", id="cases_N5_device"),
    ],
)
def test_a_start_is_refused(
    make_machine: MakeMachine, tmp_path: Path, name: str, ids: tuple[int, int], mappings: str, said: str
) -> None:
    """Whoever starts it: these did not come by a deployment, which says it before."""
    source = tmp_path / "kept"
    (source / name).parent.mkdir(parents=True, exist_ok=True)
    source.mkdir(exist_ok=True)
    if name:
        (source / name).touch()
    owned = (source / name).parent if name else source
    os.chown(owned, *ids)
    os.chmod(owned, 0o751)
    mapping: dict[str, t.Any] = {"source": str(source), "target": mappings, "writable": True}
    if mappings == "/dev/null":
        mapping = {"source": mappings, "target": "/srv/null"}
    machine = make_machine({"services": [{"type": "redis"}]}, name=NAME + "-refused", mappings=[mapping])
    with pytest.raises(LauncherError, match=said):
        machine.start()
    assert status(owned) == {"mode": 0o751, "uid": ids[0], "gid": ids[1]}
