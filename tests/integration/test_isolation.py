# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Root inside, with every capability it has, tries to reach the host and a sibling (docs/security.md has the table)."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import typing as t
from pathlib import Path

import pytest

from . import isolation_record
from .isolation import (
    MARKER,
    MODES,
    Planted,
    absent,
    differences,
    host_state,
    limit_tasks,
    make_hostile,
    package,
    probe,
)

if t.TYPE_CHECKING:
    from .conftest import MakeMachine

pytestmark = pytest.mark.root

OPEN = {"/dev/null", "/dev/kmsg", "/run/systemd/journal/stdout", "/usr/lib/systemd/systemd-executor"}
"""What PID 1 and services have open; the last of it is the program by which a systemd from 255 on starts others."""

LIBC = ctypes.CDLL(None, use_errno=True)

# How a refusal must look where another error would mean that the attempt went wrong before anybody refused it.
EXACTLY = {
    **{f"unmount {path}": "EINVAL" for path in ("/usr", "/proc/sys", "/proc/timer_list", "/sys", "/dev")},
    "remount writable /usr": "EPERM",
    "remount writable /proc/sys": "EPERM",
    "remount writable /sys": "EPERM",
    "bind /usr elsewhere and remount that writable": "EPERM",
    "clear read-only on a detached copy of /usr": "EPERM",
    "look below a mask through a copy of /proc": "EINVAL",
    "unmount /usr in a nested user namespace": "EINVAL",
    "mount a fresh /proc": "EPERM",
    "mount a fresh, writable /sys": "EPERM",
    "leave the root by chroot and ..": "inside",
    "leave the root by pivot_root and an unmount": "EINVAL",
    "disclose a mask: chmod the null device below it": "EROFS",
    "make a file in /usr": "EROFS",
    "call open_by_handle_at": "EPERM",
    "call kexec_load": "EPERM",
    "call bpf": "EPERM",
    "call io_uring_setup": "ENOSYS",
    "set-user-ID by chmod": "EPERM",
    "set-user-ID by open": "EPERM",
    "set-user-ID by O_TMPFILE": "EPERM",
    "set-user-ID by fchmodat2": "ENOSYS",
    "set-user-ID by openat2": "ENOSYS",
    "set-user-ID by the init": "stripped",
    "set-user-ID by xattr": "EPERM",
    "map uid 0 into a nested user namespace": "EPERM",
    "push input into a terminal (TIOCSTI)": "EPERM",
    "read a file of the host": "ENOENT",
    "get shared memory of the host": "ENOENT",
    "nest control groups without end": "EAGAIN",
}
# Not in the bounding set: SYS_MODULE, SYS_RAWIO, SYS_TIME, AUDIT_WRITE, AUDIT_CONTROL, SETFCAP, MAC_*, SYSLOG,
# WAKE_ALARM, BLOCK_SUSPEND, AUDIT_READ, PERFMON, BPF, CHECKPOINT_RESTORE.
DROPPED = sum(1 << number for number in (16, 17, 25, *range(29, 41)))


@pytest.fixture
def planted(tmp_path: Path) -> t.Iterator[Planted]:
    with contextlib.ExitStack() as stack:
        yield Planted(tmp_path, stack)


@pytest.fixture
def process_of_the_host() -> t.Iterator[subprocess.Popen[bytes]]:
    # A number that is no PID of a container's, as a container counts from 1.
    with subprocess.Popen(["/usr/bin/env", f"MARKER={MARKER}", "sleep", "600"]) as process:
        yield process
        process.kill()


def check_limits(found: dict[str, t.Any], no_new_privileges: str) -> None:
    for who in ("PID 1", "an entered command"):
        given = found[f"limits of {who}"]
        assert int(given["CapBnd"], 16) & DROPPED == 0, who
        assert int(given["CapEff"], 16) & DROPPED == 0, who
        assert int(given["CapAmb"], 16) == 0, who
        assert given["Seccomp"] == "2", who
        assert given["NoNewPrivs"] == no_new_privileges, who


def check_descriptors(found: dict[str, t.Any], planted: Planted) -> None:
    """No directory, file or device of the host; kernel objects, and files of the container's own (CVE-2024-21626)."""
    for path in ("/proc/1/fd", "/proc/self/fd"):
        links = found["descriptors in " + path]
        strangers = [link for link in links.values() if link.startswith("/") and not link.startswith(("/proc", "/sys"))]
        assert set(strangers) <= OPEN, links
        assert planted.words["secret"] not in str(links)


@pytest.mark.parametrize("mode", MODES)
def test_root_inside_is_refused(
    make_machine: MakeMachine,
    tmp_path: Path,
    planted: Planted,
    process_of_the_host: subprocess.Popen[bytes],
    mode: str,
) -> None:
    before = host_state()
    data = tmp_path / "data"
    machine = make_hostile(make_machine, mode, "test-isolation", data)
    bound = limit_tasks(machine)
    machine.start()
    if mode == "identity" and not machine.container.cgroup.has("pids.max"):
        bound = {}  # nothing on this host counts the tasks of one container of uid 0
    found = probe(machine, {**planted.words, **bound, "pid": process_of_the_host.pid})
    attempts = found["attempts"]
    missing = absent(found)
    isolation_record.check(mode, "live", found["rows"], attempts, missing)
    if MODES[mode].filtered and mode != "nesting":
        assert {name: attempts[name] for name in EXACTLY} == EXACTLY
        assert_no_privilege_on_disk(data)
        check_limits(found["facts"], "1" if mode == "no new privileges" else "0")
    for name, word in attempts.items():
        if word == "ENOENT" and name.startswith("write /"):
            assert name in missing, f"{name} was not tried"
    check_descriptors(found["facts"], planted)
    assert process_of_the_host.poll() is None
    assert differences(before) == {}
    machine.stop()
    assert differences(before) == {}


NEEDS: dict[str, t.Callable[[], object]] = {
    "inotify instances": lambda: check_call(LIBC.inotify_init1(0)),
    "message queues": lambda: check_call(LIBC.mq_open(b"/unshare-test", os.O_CREAT | os.O_RDWR, 0o600, None)),
    "ptys": os.openpty,
    "pipes": os.pipe,
}
"""What the host must be able to do whatever a container has taken."""


def check_call(result: int) -> int:
    """Return the result of a C function; OSError when it failed."""
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result


def try_in_child(function: t.Callable[[], object]) -> str:
    """Return `ok` when the function fails in a child of its own, which gives back all that it made, or `refused`."""
    child = os.fork()
    if child == 0:
        try:
            function()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return "ok" if os.waitpid(child, 0)[1] else "refused"


@pytest.mark.parametrize("mode", MODES)
def test_the_host_has_enough_left(make_machine: MakeMachine, tmp_path: Path, mode: str) -> None:
    machine = make_hostile(make_machine, mode, "test-isolation", tmp_path / "data")
    machine.start()
    machine.output("sh", "-c", "cat > /tmp/held", input=package("held"), text=False)
    command = [str(machine.system / "enter-container"), "--", "python3", "-I", "/tmp/held"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as inside:
        assert inside.stdout is not None
        taken = dict(word.split("=") for word in inside.stdout.readline().split())
        assert set(taken) == {"inotify", "pipes", "queues", "ptys"}
        assert all(int(count) for count in taken.values()), taken
        words = {f"leave the host without {name}": try_in_child(function) for name, function in NEEDS.items()}
        inside.communicate("", timeout=30)
    LIBC.mq_unlink(b"/unshare-test")
    isolation_record.check(mode, "left", "left", words)


def assert_no_privilege_on_disk(directory: Path) -> None:
    """No set-user-ID file, and no file capability that would count for root, as the host sees what was written."""
    for path in directory.rglob("*"):
        assert path.stat().st_mode & 0o6000 == 0, path
        with contextlib.suppress(OSError):
            capability = os.getxattr(path, "security.capability")
            assert int.from_bytes(capability[-4:], "little") == 1000, f"{path}: the root of a namespace of uid 1000"


def test_a_sibling_is_out_of_reach(make_machine: MakeMachine, tmp_path: Path, planted: Planted) -> None:
    """Its processes, sockets, memory and files, as it has them."""
    victim = make_hostile(make_machine, "auto", "test-isolation-victim", tmp_path / "victim")
    attacker = make_hostile(make_machine, "auto", "test-isolation-attacker", tmp_path / "attacker")
    victim.start()
    bound = limit_tasks(attacker)
    attacker.start()
    status, other = victim.container.status(), attacker.container.status()
    assert status.uid_base is not None
    assert other.uid_base is not None
    assert abs(status.uid_base - other.uid_base) >= 65536
    script = (
        "import socket, ctypes, time, sys\n"
        f"a = socket.socket(socket.AF_UNIX); a.bind('\\0' + {planted.abstract!r} + 'x'); a.listen()\n"
        "p = socket.create_server(('127.0.0.1', 7801))\n"
        "print(ctypes.CDLL(None).shmget(0x5500001, 4096, 0o1666), flush=True)\n"
        f"open('/data/secret', 'w').write({MARKER!r}); sys.stdin.read()\n"
    )
    command = [str(victim.system / "enter-container"), "--", "python3", "-c", script, MARKER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as inside:
        assert inside.stdout is not None
        assert int(inside.stdout.readline()) >= 0
        words = {
            **planted.words,
            **bound,
            "abstract": planted.abstract + "x",
            "port": 7801,
            "shared_memory": 0x5500001,
            "secret": "/data/secret",
            "pid": status.pid,
        }
        found = probe(attacker, words)
        assert inside.poll() is None
        inside.communicate("", timeout=30)
    isolation_record.check("auto", "live", found["rows"], found["attempts"], absent(found))
    assert victim.container.status().pid == status.pid
    assert victim.output("cat", "/data/secret") == MARKER


def test_services_are_limited_as_pid_1_is(make_machine: MakeMachine, tmp_path: Path) -> None:
    service = {"name": "shows", "command": ["/usr/bin/sleep", "infinity"]}
    machine = make_machine({"services": [{"type": "unit", "value": service}]}, name="test-isolation")
    machine.start()
    pid = machine.output("systemctl", "show", "--property=MainPID", "--value", "shows").strip()
    lines = machine.output("cat", f"/proc/{pid}/status").splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    assert status["Seccomp"] == "2"
    assert int(status["CapBnd"], 16) & DROPPED == 0


def test_no_new_privileges_is_there_for_who_asks(make_machine: MakeMachine) -> None:
    machine = make_machine(name="test-isolation", security={"no_new_privileges": True})
    machine.start()
    for path in ("/proc/1/status", "/proc/self/status"):
        assert "NoNewPrivs:\t1\n" in machine.output("cat", path)
    machine.output("useradd", "--create-home", "someone")
    assert machine.run("su", "-c", "id -u", user="someone", input="\n").returncode != 0
