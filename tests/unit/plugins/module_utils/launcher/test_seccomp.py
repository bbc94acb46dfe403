# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the compiled system-call filter answers, read by an interpreter of its instructions (bpf(4), seccomp(2))."""

from __future__ import annotations

import ctypes.util
import os
import platform
import struct
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import seccomp

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64" or ctypes.util.find_library("seccomp") is None,
    reason="needs libseccomp, on x86_64",
)

X86_64, I386 = 0xC000003E, 0x40000003
ALLOW, EPERM, ENOSYS, EOPNOTSUPP, EAFNOSUPPORT = 0x7FFF0000, 0x50001, 0x50026, 0x5005F, 0x50061
X32 = 0x40000000


def run(program: bytes, number: int, *arguments: int, architecture: int = X86_64) -> int:
    """Return what a filter answers to a call: the word that the kernel acts by."""
    data = struct.pack("<IIQ6Q", number, architecture, 0, *(*arguments, *[0] * (6 - len(arguments))))
    instructions = list(struct.iter_unpack("<HBBI", program))
    compare: dict[int, t.Callable[[int, int], bool]] = {
        0x15: lambda a, k: a == k,
        0x25: lambda a, k: a > k,
        0x35: lambda a, k: a >= k,
        0x45: lambda a, k: bool(a & k),
    }
    place = accumulator = 0
    while True:
        code, jump_true, jump_false, k = instructions[place]
        place += 1
        if code == 0x20:
            accumulator = struct.unpack_from("<I", data, k)[0]
        elif code == 0x54:
            accumulator &= k
        elif code == 0x05:
            place += k
        elif code == 0x06:
            return k
        else:
            place += jump_true if compare[code](accumulator, k) else jump_false


@pytest.fixture(scope="module")
def plain() -> bytes:
    compiled = seccomp.compile_filter({})
    assert compiled is not None
    return compiled


@pytest.fixture(scope="module")
def nesting() -> bytes:
    compiled = seccomp.compile_filter({"security": {"nesting": True}})
    assert compiled is not None
    return compiled


# Numbers of x86_64, from the kernel's table.
REFUSED = {
    "uselib": 134, "ustat": 136, "sysfs": 139, "_sysctl": 156, "acct": 163, "settimeofday": 164, "swapon": 167,
    "swapoff": 168, "iopl": 172, "ioperm": 173, "create_module": 174, "init_module": 175, "delete_module": 176,
    "quotactl": 179, "nfsservctl": 180, "lookup_dcookie": 212, "vserver": 236, "clock_settime": 227, "kexec_load": 246,
    "add_key": 248, "request_key": 249, "keyctl": 250, "perf_event_open": 298, "fanotify_init": 300,
    "fanotify_mark": 301, "open_by_handle_at": 304, "finit_module": 313, "kexec_file_load": 320, "bpf": 321,
    "userfaultfd": 323, "syslog": 103, "quotactl_fd": 443,
}  # fmt: skip
ALLOWED = {
    "read": 0, "write": 1, "open": 2, "mmap": 9, "ioctl": 16, "socket": 41, "clone": 56, "execve": 59, "fcntl": 72,
    "chmod": 90, "ptrace": 101, "mknod": 133, "mount": 165, "umount2": 166, "reboot": 169, "sethostname": 170,
    "setxattr": 188, "openat": 257, "unshare": 272, "setns": 308, "seccomp": 317, "execveat": 322, "clone3": 435,
    "open_tree": 428, "move_mount": 429, "mount_setattr": 442, "adjtimex": 159, "clock_adjtime": 305,
}  # fmt: skip
ABSENT = {"io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "openat2": 437, "fchmodat2": 452}


@pytest.mark.parametrize("name", REFUSED)
def test_calls_that_reach_beyond_the_namespaces_are_refused(plain: bytes, nesting: bytes, name: str) -> None:
    if ctypes.CDLL("libseccomp.so.2").seccomp_syscall_resolve_name(name.encode()) == -1:
        pytest.skip(f"this libseccomp does not know {name}")
    assert (run(plain, REFUSED[name]), run(nesting, REFUSED[name])) == (EPERM, EPERM)


@pytest.mark.parametrize("name", ALLOWED)
def test_all_others_are_allowed(plain: bytes, name: str) -> None:
    assert run(plain, ALLOWED[name]) == ALLOW


@pytest.mark.parametrize("name", ABSENT)
def test_calls_that_would_pass_by_the_filter_are_not_there(plain: bytes, nesting: bytes, name: str) -> None:
    assert run(plain, ABSENT[name]) == ENOSYS
    assert run(nesting, ABSENT[name]) == (ALLOW if name == "openat2" else ENOSYS)


CREATE, TEMPORARY, NEITHER = os.O_CREAT, 0o20200000, os.O_TRUNC


@pytest.mark.parametrize(
    ("number", "arguments"),
    [
        (90, (0, None)),  # chmod
        (91, (3, None)),  # fchmod
        (268, (3, 0, None)),  # fchmodat
        (133, (0, None)),  # mknod
        (259, (3, 0, None)),  # mknodat
        (85, (0, None)),  # creat
        (2, (0, CREATE, None)),  # open
        (2, (0, TEMPORARY, None)),
        (257, (3, 0, CREATE, None)),  # openat
        (257, (3, 0, TEMPORARY, None)),
    ],
)
def test_no_file_is_made_set_user_id(plain: bytes, number: int, arguments: tuple[int | None, ...]) -> None:
    def answer(mode: int) -> int:
        return run(plain, number, *(mode if argument is None else argument for argument in arguments))

    assert {answer(mode) for mode in (0o4000, 0o4755, 0o2000, 0o2755, 0o6777, 0o104755)} == {EPERM}
    assert {answer(mode) for mode in (0, 0o755, 0o1777, 0o100644)} == {ALLOW}


@pytest.mark.parametrize(("number", "arguments"), [(2, (0, NEITHER, 0o4755)), (257, (3, 0, NEITHER, 0o4755))])
def test_the_mode_of_a_file_that_is_not_made_says_nothing(
    plain: bytes, number: int, arguments: tuple[int, ...]
) -> None:
    assert run(plain, number, *arguments) == ALLOW


@pytest.mark.parametrize(
    ("number", "arguments", "answer"),
    [
        (16, (0, 0x5412), EPERM),  # ioctl TIOCSTI
        (16, (0, 0x541C), EPERM),  # ioctl TIOCLINUX
        (16, (0, 0xFFFFFFFF00005412), EPERM),  # the kernel takes 32 bits of it
        (16, (0, 0x5413), ALLOW),
        (72, (0, 1024), EPERM),  # fcntl F_SETLEASE
        (72, (0, 1025), ALLOW),
        (41, (16, 3, 9), EAFNOSUPPORT),  # socket NETLINK_AUDIT
        (41, (16, 3, 0), ALLOW),
        (41, (1, 1, 9), ALLOW),
        (41, (40, 1, 0), EAFNOSUPPORT),  # socket VSOCK
        (41, (2, 1, 0), ALLOW),
    ],
)
def test_calls_that_are_refused_for_an_argument(
    plain: bytes, number: int, arguments: tuple[int, ...], answer: int
) -> None:
    assert run(plain, number, *arguments) == answer


@pytest.mark.parametrize("number", [188, 189, 190, 463])
def test_an_attribute_is_set_unless_the_container_runs_containers(plain: bytes, nesting: bytes, number: int) -> None:
    assert (run(plain, number), run(nesting, number)) == (ALLOW, EOPNOTSUPP)


@pytest.mark.parametrize(
    ("number", "architecture", "answer"),
    [
        (128, I386, EPERM),  # init_module
        (4, I386, ALLOW),  # write
        (437, I386, ENOSYS),  # openat2
        (X32 + 175, X86_64, EPERM),  # init_module
        (X32 + 1, X86_64, ALLOW),  # write
        (1, 0xC00000B7, ENOSYS),  # a machine of another kind
    ],
)
def test_the_other_kinds_of_calls_of_this_machine(plain: bytes, number: int, architecture: int, answer: int) -> None:
    assert run(plain, number, architecture=architecture) == answer


class Library:
    """A libseccomp that knows no call by its name, and answers RESULTS."""

    def __init__(self, **results: int) -> None:
        self.results = results
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> t.Any:
        def function(*_arguments: t.Any) -> int:
            self.asked.append(name)
            return self.results.get(name, -1 if name == "seccomp_syscall_resolve_name" else 0)

        return function


def test_without_the_library_there_is_no_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> t.Any:
        raise OSError(f"{name}: no such file")

    monkeypatch.setattr(seccomp.ctypes, "CDLL", missing)
    assert seccomp.compile_filter({}) is None


@pytest.mark.parametrize(
    ("function", "what"),
    [("seccomp_rule_add_array", "rule for system call 452"), ("seccomp_arch_add", "architecture"),
     ("seccomp_export_bpf", "export")],
)  # fmt: skip
def test_a_rule_that_is_refused_is_an_error_that_names_it(
    monkeypatch: pytest.MonkeyPatch, function: str, what: str
) -> None:
    class Builder(seccomp._Builder):
        def __init__(self, library: t.Any) -> None:
            self.library = library
            self.context = ctypes.c_void_p()

    library: t.Any = Library(**{function: -12})
    with pytest.raises(OSError) as error:
        Builder(library).build({})
    assert (error.value.errno, error.value.filename) == (12, f"libseccomp: {what}")
    assert library.asked[-1] == "seccomp_release"
