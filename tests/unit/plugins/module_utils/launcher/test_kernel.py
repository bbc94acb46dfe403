# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What of /proc, /sys and /dev a container sees, path by path; the mounts are noted, not made."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import types
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import kernel, linux, mounts
from ansible_collections.unshare.container.plugins.module_utils.launcher import launch as launch_module

READ_ONLY, NO_SET_ID, NO_PROGRAMS = 1, 2, 8  # MOUNT_ATTR_* of linux/mount.h
HIDDEN = READ_ONLY | NO_SET_ID | NO_PROGRAMS
MASKED_FILES = {
    "/proc/interrupts",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/timer_list",
    "/proc/timer_stats",
}
MASKED_DIRECTORIES = {
    "/proc/acpi",
    "/proc/asound",
    "/proc/scsi",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/kernel/security",
}
MADE_READ_ONLY = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
NODES = {"null", "zero", "full", "random", "urandom", "tty", "fuse"}
LINKS = {
    "core": "/proc/kcore",
    "fd": "/proc/self/fd",
    "ptmx": "pts/ptmx",
    "stderr": "/proc/self/fd/2",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
}


class Tree:
    """A tree below a directory; what is mounted in it is noted by its path."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.attached: list[tuple[t.Any, str]] = []

    def open(self, path: str, flags: int = os.O_PATH) -> int:
        return os.open(str(self.top) + path, flags | os.O_NOFOLLOW)

    def attach(self, mount: t.Any, path: str, directory: bool = True) -> None:
        self.attached.append((mount, path))


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


@pytest.fixture
def moved(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[t.Any, ...]]:
    """Return what `restrict` mounts where."""
    found: dict[str, tuple[t.Any, ...]] = {}
    made: dict[int, tuple[t.Any, ...]] = {}

    def make(*what: t.Any) -> int:
        descriptor = os.open("/dev/null", os.O_PATH)
        made[descriptor] = what
        return descriptor

    def path_of(descriptor: int) -> str:
        return os.readlink(f"/proc/self/fd/{descriptor}")[len(str(tree.top)) :]

    def bind(source: int, attributes: int, id_map: t.Any, recursive: bool = True, nodes: bool = False) -> int:
        assert not recursive
        assert nodes == (source == 0)
        return make("null" if source == 0 else path_of(source), attributes)

    monkeypatch.setattr(mounts, "bind", bind)
    monkeypatch.setattr(mounts, "tmpfs", lambda mode, size, inodes, attributes: make("empty", attributes))
    monkeypatch.setattr(kernel.mount_calls, "open_tree", lambda mount, path, recursive: make(*made[mount]))
    monkeypatch.setattr(
        kernel.mount_calls, "move_mount", lambda mount, target: found.update({path_of(target): made[mount]})
    )
    return found


def fill(tree: Tree, files: t.Iterable[str], directories: t.Iterable[str]) -> None:
    for path in directories:
        Path(str(tree.top) + path).mkdir(parents=True)
    for path in files:
        (tree.top / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        (tree.top / path[1:]).touch()


def test_what_is_masked_and_what_is_read_only(tree: Tree, moved: dict[str, tuple[t.Any, ...]]) -> None:
    others = {"/proc/cpuinfo", "/proc/self", "/sys/class", "/proc/meminfo"}
    fill(tree, MASKED_FILES, MASKED_DIRECTORIES | MADE_READ_ONLY | others)
    descriptors = len(os.listdir("/proc/self/fd"))
    kernel.restrict(t.cast("mounts.Tree", tree), 0)
    assert moved == {
        # The null device must be one, or whoever writes to a masked file would get an error.
        **dict.fromkeys(MASKED_FILES, ("null", HIDDEN)),
        **dict.fromkeys(MASKED_DIRECTORIES, ("empty", HIDDEN)),
        **{path: (path, HIDDEN) for path in MADE_READ_ONLY},
    }
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_what_the_kernel_lacks_is_passed_over(tree: Tree, moved: dict[str, tuple[t.Any, ...]]) -> None:
    fill(tree, ["/proc/kcore"], ["/proc/sys"])
    kernel.restrict(t.cast("mounts.Tree", tree), 0)
    assert set(moved) == {"/proc/kcore", "/proc/sys"}


@pytest.mark.parametrize(("nesting", "done"), [(False, ["restrict", "name_boot"]), (True, ["leave_bare", "name_boot"])])
def test_who_runs_containers_inside_keeps_proc_bare(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, nesting: bool, done: list[str]
) -> None:
    """The kernel lets nobody mount /proc inside where a part of the only one is masked."""
    called: list[str] = []
    directory = os.open(tmp_path, os.O_RDONLY)
    monkeypatch.setattr(launch_module, "load_nothing_more", lambda: None)
    for name in ("restrict", "leave_bare", "name_boot"):
        monkeypatch.setattr(kernel, name, lambda *_arguments, name=name: called.append(name))
    monkeypatch.setattr(kernel, "open_null", lambda: os.open("/dev/null", os.O_PATH))
    builder = types.SimpleNamespace(build=lambda: None, warnings=[], records=types.SimpleNamespace(mapped=[]))
    monkeypatch.setattr(launch_module.root, "Source", lambda _store: types.SimpleNamespace(close=lambda: None))
    monkeypatch.setattr(launch_module.root, "Builder", lambda *_arguments: builder)
    monkeypatch.setattr(launch_module, "read_token", lambda *_arguments: b"1")
    monkeypatch.setattr(launch_module.Launch, "_mount_kernel_file_systems", lambda *_arguments: None)
    monkeypatch.setattr(launch_module, "load_nothing_more", lambda: None)
    for name in ("pivot_root", "unmount"):
        monkeypatch.setattr(launch_module.mount_calls, name, lambda *_arguments: None)
    monkeypatch.chdir(tmp_path)
    launch = launch_module.Launch.__new__(launch_module.Launch)
    launch.warnings = []
    tree = types.SimpleNamespace(root=directory)
    kind = types.SimpleNamespace(attach=lambda _id_map: tree, close=lambda: None)
    launch.kind = t.cast("t.Any", lambda *_arguments: kind)
    plan = {
        "identity": types.SimpleNamespace(maps_files=False),
        "wires": [],
        "spec": types.SimpleNamespace(store=None, oom_score_adj=7),
    }
    launch.plan = t.cast(
        "t.Any", types.SimpleNamespace(**plan, notify_path=None, copies=None, staging=str(tmp_path), nesting=nesting)
    )
    launch._make_root(t.cast("t.Any", types.SimpleNamespace(pid=1)), 0, 0.0, -1)
    assert called == done


@pytest.mark.parametrize(
    ("lacking", "score", "warnings"),
    [(None, None, []), (None, "1 has not 7", ["1 has not 7"]), ("some", "1 has not 7", ["some", "1 has not 7"])],
)
def test_the_host_gives_limits_to_the_first_process(
    monkeypatch: pytest.MonkeyPatch, lacking: str | None, score: str | None, warnings: list[str]
) -> None:
    asked: list[tuple[int, ...]] = []

    def impose(pid: int) -> str | None:
        asked.append((pid,))
        return lacking

    def give_oom_score(pid: int, adjustment: int) -> str | None:
        asked.append((pid, adjustment))
        return score

    monkeypatch.setattr(launch_module, "give_oom_score", give_oom_score)
    launch = launch_module.Launch.__new__(launch_module.Launch)
    attributes = types.SimpleNamespace(impose=impose)
    spec = types.SimpleNamespace(oom_score_adj=7)
    launch.plan = t.cast("t.Any", types.SimpleNamespace(attributes=attributes, spec=spec))
    launch.warnings = []
    launch._give_attributes(1)
    assert launch.warnings == warnings
    assert asked == [(1,), (1, 7)]


@pytest.mark.parametrize("relation", [linux.SIGCHLD, linux.CLONE_PARENT])
@pytest.mark.parametrize(("cloned", "restored"), [(0, False), (4711, True), (-1, True)])
def test_the_first_process_sets_none_of_its_limits(
    monkeypatch: pytest.MonkeyPatch, relation: int, cloned: int, restored: bool
) -> None:
    """Its caller does, perhaps before it runs at all; and the caller has its own limit on tasks again."""

    def clone3(_flags: int, _signal: int, _cgroup: int) -> int:
        if cloned < 0:
            raise OSError(errno.EAGAIN, "no")
        return cloned

    limits: list[tuple[int, ...]] = []
    for name in ("setresgid", "setresuid"):
        monkeypatch.setattr(launch_module.os, name, lambda *_ids: None)
    monkeypatch.setattr(linux, "prctl", lambda *_arguments: 0)
    monkeypatch.setattr(linux, "get_limit", lambda _pid, _number: (5000, 6000))
    monkeypatch.setattr(linux, "set_limit", lambda *limit: limits.append(limit))
    monkeypatch.setattr(linux, "clone3", clone3)
    launch = launch_module.Launch.__new__(launch_module.Launch)
    plan = types.SimpleNamespace(identity=types.SimpleNamespace(base=1), tasks=100, cgroup=3)
    launch.plan = t.cast("t.Any", plan)
    with contextlib.suppress(OSError):
        assert launch._clone(relation) == cloned
    tasks = linux.RLIMIT_NPROC
    assert limits == [(0, tasks, 100, 6000), *[(0, tasks, 5000, 6000)] * restored]


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch, tree: Tree) -> dict[str, tuple[int, int]]:
    """Return the nodes that are made, each with its type and number; all devices are this host's."""
    (tree.top / "dev").mkdir()
    made: dict[str, tuple[int, int]] = {}
    missing = os.stat("/dev/null")

    def status(path: str) -> os.stat_result:
        return os.stat_result((missing.st_mode, *missing[1:])) if path.startswith("/dev/") else os.stat(path)

    def make(name: str, mode: int, device: int, dir_fd: int) -> None:
        made[name] = (stat.S_IFMT(mode), device)

    monkeypatch.setattr(kernel.os, "lstat", status)
    monkeypatch.setattr(kernel.os, "mknod", make)
    monkeypatch.setattr(mounts, "tmpfs", lambda *options, nodes: (*options, nodes))
    return made


def test_the_devices_that_are_made(tree: Tree, nodes: dict[str, tuple[int, int]]) -> None:
    kernel.populate_devices(t.cast("mounts.Tree", tree), None, tuple(NODES))
    assert set(nodes) == NODES
    assert {kind for kind, _number in nodes.values()} == {stat.S_IFCHR}
    assert {path.name: os.readlink(path) for path in (tree.top / "dev").iterdir()} == LINKS
    assert tree.attached == [(("0755", "4m", "64k", NO_SET_ID | NO_PROGRAMS, True), "/dev")]


def test_the_file_for_what_pid_1_says_early_is_its_own_alone(tree: Tree, nodes: dict[str, tuple[int, int]]) -> None:
    kernel.populate_devices(t.cast("mounts.Tree", tree), None, tuple(NODES), early_log=True)
    status = (tree.top / "dev" / kernel.EARLY_LOG).lstat()
    assert (stat.S_IFMT(status.st_mode), status.st_mode & 0o077, status.st_size) == (stat.S_IFREG, 0, 0)


def test_what_is_no_device_on_the_host_is_not_made(
    tree: Tree, nodes: dict[str, tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def status(path: str) -> os.stat_result:
        if path == "/dev/fuse":
            raise FileNotFoundError(errno.ENOENT, "none", path)
        return os.stat("/etc" if path == "/dev/tty" else "/dev/null")

    monkeypatch.setattr(kernel.os, "lstat", status)
    kernel.populate_devices(t.cast("mounts.Tree", tree), None, tuple(NODES))
    assert set(nodes) == NODES - {"fuse", "tty"}


def test_the_hosts_nodes_are_bound_where_none_can_be_made(
    tree: Tree, nodes: dict[str, tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: t.Any, **_options: t.Any) -> None:
        raise PermissionError(errno.EPERM, "mknod")

    monkeypatch.setattr(kernel.os, "mknod", refuse)
    monkeypatch.setattr(kernel.linux, "openat2", lambda *_arguments: os.open("/dev/null", os.O_PATH))
    monkeypatch.setattr(mounts, "bind", lambda _source, attributes, _id_map, recursive, nodes: (attributes, nodes))
    kernel.populate_devices(t.cast("mounts.Tree", tree), None, tuple(NODES))
    bound = {path: attributes for attributes, path in tree.attached[1:]}
    assert bound == dict.fromkeys((f"/dev/{name}" for name in NODES), (NO_SET_ID | NO_PROGRAMS, True))
