# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a container needs is not hidden by a mount, however its path is written: on the launcher's side."""

from __future__ import annotations

import copy
import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import contract, targets
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.launcher.specification import read_spec
from ansible_collections.unshare.container.plugins.module_utils.life import main

from ..specifications import SPECIFICATION

RECORD = contract.Specification.read(SPECIFICATION)

MOUNT = {"device": "/", "mount_point": "/host", "type": "none", "flags": ["bind-mount", "read-only"]}
REFUSED = [
    *("/", "//", "/./", "/proc", "/proc/sys", "//proc", "/./proc/1", "/sys", "/sys/fs/cgroup", "/sys/"),
    *("/dev", "/dev/", "//dev", "/dev/null", "/dev/console", "/dev/ptmx", "/dev/fd/3", "/dev/tty"),
    *("/run", "/run/", "//run", "/./run", "/run/.", "/run/./"),
    *(
        "/run/host",
        "/run/./host",
        "/run//host/notify",
        "/run/systemd",
        "/run/systemd/journal/socket",
        "/run/output.log",
    ),
    *("/run/current-system", "/run/current-system/boot"),
    *(
        "/usr",
        "/usr/",
        "//usr",
        "/usr/.",
        "/usr/bin",
        "/usr/lib",
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/arm-linux-gnueabihf/",
        "/usr/lib64",
        "/usr/lib/systemd",
        "/usr/lib/./systemd/x",
    ),
    *("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/bin/sh", "/lib/modules", "//bin/"),
    *("/var/run", "/var/run/x", "/var//run", "/var/lock", "/var/./lock/y"),
]
ALLOWED = [
    *(
        "/data",
        "/var",
        "/var/lib",
        "/var/log/journal",
        "/run/x",
        "/run/user/0",
        "/run/hosts",
        "/runs",
        "/srv/run",
        "/tmp",
    ),
    *(
        "/dev/shm",
        "/dev/mqueue",
        "/dev/pts",
        "/dev/hugepages",
        "/usr/local",
        "/usr/share/foo",
        "/usr/lib/python3",
        "/binary",
    ),
    *(
        "/home",
        "/etc/hosts",
        "/etc/systemd/system/x.service.d",
        "/process",
        "/system",
        "/var/runs",
        "/mnt/usr",
        "/tmp",
        "/binary",
    ),
]


@pytest.mark.parametrize("path", REFUSED)
def test_what_a_container_needs_is_refused_with_its_reason(path: str) -> None:
    reason = targets.refusal_of_place(path, "/usr")
    assert reason is not None
    assert targets.plain_path(path) in reason
    assert len(reason) > len(path) + 20


@pytest.mark.parametrize("path", ALLOWED)
def test_what_it_does_not_need_is_not(path: str) -> None:
    assert targets.refusal_of_place(path, "/usr") is None


def test_a_store_elsewhere_is_protected_with_its_parents_and_usr_is_not() -> None:
    assert all(
        targets.refusal_of_place(path, "/gnu/store") for path in ("/gnu/store", "/gnu", "/gnu/store/lib", "//gnu/.")
    )
    assert not any(targets.refusal_of_place(path, "/gnu/store") for path in ("/usr", "/bin", "/usr/bin", "/gnu/other"))


def test_all_that_is_made_in_dev_is_in_the_table() -> None:
    for name in (*targets.DEVICES, targets.FUSE, *targets.DEVICE_LINKS, targets.CONSOLE):
        assert targets.refusal_of_place("/dev/" + name), name


@pytest.mark.parametrize(
    "path", ["/usr/bin/env", "/usr/x", "/dev/x", "/proc/x", "/run/host/x", "/bin/sh", "/run/current-system/x"]
)
def test_files_that_would_be_lost_are_refused(path: str) -> None:
    assert targets.refusal_of_file(path, "/usr")


@pytest.mark.parametrize("path", ["/etc/x", "/run/x", "/var/run/x", "/opt/x", "/srv/www/index.html"])
def test_files_that_are_kept_are_not(path: str) -> None:
    assert targets.refusal_of_file(path, "/usr") is None


Change = t.Callable[[dict[str, t.Any]], object]


def mutate(tmp_path: Path, change: Change) -> str:
    spec = copy.deepcopy(SPECIFICATION)
    change(spec)
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    return str(tmp_path)


def mount_change(number: int, **changes: t.Any) -> Change:
    return lambda spec: spec["file_systems"][number].update(changes)


@pytest.mark.parametrize("path", [path for path in REFUSED if path.strip("/.")])
def test_a_specification_that_hides_it_is_refused(tmp_path: Path, path: str) -> None:
    record = {"device": "/srv/x", "mount_point": path, "type": "none", "flags": ["bind-mount"]}
    system = mutate(tmp_path, lambda spec: spec["file_systems"].append(record))
    with pytest.raises(LauncherError, match=r"file_systems\[4\]\.mount_point: .*'.*(which|part of|where)"):
        read_spec(system)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (mount_change(1, mount_point="/etc"), "'/etc' would hide /etc/passwd"),
        (mount_change(1, mount_point="/etc/deep/"), "'/etc/deep' would hide /etc/deep/file"),
        (mount_change(1, type="proc"), r"\[1\].type: a container has its own proc at /proc"),
        (mount_change(1, type="cgroup2"), "has its own cgroup2"),
        (mount_change(1, mount_may_fail="yes"), r"\[1\].mount_may_fail: is not of type bool"),
        (mount_change(1, own=True), r"\[1\].own: is no field; known are device"),
        (mount_change(0, device="/srv"), r"\[0\].mount_point: nothing can be mounted at '/usr'"),
        (lambda spec: spec["store"].update(target="/run/host"), r"store.target: nothing can be mounted at '/run/host'"),
        (lambda spec: spec["files"].update({"/usr/x": {"link": "a"}}), r"files\[/usr/x\]: '/usr/x' lies in the store"),
    ],
)
def test_other_ways_to_lose_something(
    tmp_path: Path, change: t.Callable[[dict[str, t.Any]], object], said: str
) -> None:
    system = mutate(tmp_path, change)
    with pytest.raises(LauncherError, match=said):
        read_spec(system)


@pytest.mark.parametrize("path", [path for path in REFUSED if ".." not in path])
@pytest.mark.parametrize("writable", [True, False])
def test_s11_share_and_expose_refuse_the_same(path: str, writable: bool) -> None:
    option = "--share" if writable else "--expose"
    with pytest.raises(LauncherError, match=rf"^{option}=/srv/x={path}: .*'"):
        main.mapping_record(f"/srv/x={path}", writable, RECORD)


@pytest.mark.parametrize("source", ["/", "//", "/var", "/var/lib/", "/var/lib/unshare/x", "/./run", "/etc"])
def test_s11_share_refuses_what_the_host_runs(source: str) -> None:
    with pytest.raises(LauncherError, match="(is|contains|lies in) /(var/lib/unshare|run/unshare|etc/systemd/system),"):
        main.mapping_record(f"{source}=/x", True, RECORD)
    if source.strip("/"):
        assert main.mapping_record(f"{source}=/x", False, RECORD).flags == ["bind-mount", "read-only"]


@pytest.mark.parametrize("source", ["/", "//", "/.", "/usr/..", "/../"])
def test_s11_expose_refuses_the_whole_host(source: str) -> None:
    with pytest.raises(LauncherError, match=rf"^--expose={source}=/x: '/' is the whole host.*: name the directories"):
        main.mapping_record(f"{source}=/x", False, RECORD)


@pytest.mark.parametrize(
    ("place", "change"),
    [
        ("file_systems[4].device", lambda spec: spec["file_systems"].append(MOUNT)),
        (
            "file_systems[4].mount_point",
            lambda spec: spec["file_systems"].append({**MOUNT, "device": "/srv", "mount_point": "/usr"}),
        ),
        ("file_systems[4].type", lambda spec: spec["file_systems"].append({**MOUNT, "device": "/srv", "type": "proc"})),
        ("store.source", lambda spec: spec["store"].update(source="/")),
        ("store.target", lambda spec: spec["store"].update(target="/dev")),
        ("files[/proc/x]", lambda spec: spec["files"].update({"/proc/x": {"link": "y"}})),
    ],
)
def test_what_was_declared_is_not_called_damaged(
    tmp_path: Path, place: str, change: t.Callable[[t.Any], object]
) -> None:
    spec = copy.deepcopy(SPECIFICATION)
    change(spec)
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    with pytest.raises(LauncherError) as caught:
        read_spec(str(tmp_path))
    assert f"spec.json: {place}: " in str(caught.value)
    assert str(caught.value).endswith("; declare it otherwise, and stage the system again")
    assert "damaged" not in str(caught.value)


def test_s11_share_refuses_to_hide_a_file_of_the_system() -> None:
    with pytest.raises(LauncherError, match="'/etc' would hide /etc/"):
        main.mapping_record("/srv/x=/etc", True, RECORD)
