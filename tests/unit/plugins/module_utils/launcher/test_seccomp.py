# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the compiled system-call filter answers, by running it over every number and the arguments that matter."""

from __future__ import annotations

import ctypes.util
import os
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import contract, seccomp
from ansible_collections.unshare.container.tests.unit.plugins.module_utils.launcher import bpf

pytestmark = [
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are those of x86_64"),
    pytest.mark.skipif(ctypes.util.find_library("seccomp") is None, reason="needs libseccomp"),
]

ALLOW, ERRNO = 0x7FFF0000, 0x00050000
EPERM, ENOTTY, ENOSYS, EOPNOTSUPP, EAFNOSUPPORT = 1, 25, 38, 95, 97
X86_64, I386, AARCH64, X32 = 0xC000003E, 0x40000003, 0xC00000B7, 0x40000000
NUMBERS = 512

# By name, with the number of each, where there is one: on x86_64, on i386, on x32.
REFUSED: dict[str, tuple[int | None, int | None, int | None]] = {
    "_sysctl": (156, 149, None),
    "acct": (163, 51, 163),
    "add_key": (248, 286, 248),
    "bpf": (321, 357, 321),
    "clock_settime": (227, 264, 227),
    "clock_settime64": (None, 404, None),
    "create_module": (174, 127, None),
    "delete_module": (176, 129, 176),
    "fanotify_init": (300, 338, 300),
    "fanotify_mark": (301, 339, 301),
    "finit_module": (313, 350, 313),
    "init_module": (175, 128, 175),
    "ioperm": (173, 101, 173),
    "iopl": (172, 110, 172),
    "kexec_file_load": (320, None, 320),
    "kexec_load": (246, 283, 528),
    "keyctl": (250, 288, 250),
    "lookup_dcookie": (212, 253, 212),
    "nfsservctl": (180, 169, None),
    "open_by_handle_at": (304, 342, 304),
    "perf_event_open": (298, 336, 298),
    "quotactl": (179, 131, 179),
    "quotactl_fd": (443, 443, 443),
    "request_key": (249, 287, 249),
    "settimeofday": (164, 79, 164),
    "stime": (None, 25, None),
    "swapoff": (168, 115, 168),
    "swapon": (167, 87, 167),
    "sysfs": (139, 135, 139),
    "syslog": (103, 103, 103),
    "uselib": (134, 86, None),
    "userfaultfd": (323, 374, 323),
    "ustat": (136, 62, 136),
    "vm86": (None, 166, None),
    "vm86old": (None, 113, None),
    "vserver": (236, 273, None),
}
ABSENT = {"fchmodat2": 452, "io_uring_enter": 426, "io_uring_register": 427, "io_uring_setup": 425, "openat2": 437}
ATTRIBUTES = {"setxattr": 188, "lsetxattr": 189, "fsetxattr": 190, "setxattrat": 463}

# Which argument is the mode, by number: chmod, fchmod, fchmodat, mknod, mknodat, creat.
MODES = {X86_64: {90: 1, 91: 1, 268: 2, 133: 1, 259: 2, 85: 1}, I386: {15: 1, 94: 1, 306: 2, 14: 1, 297: 2, 8: 1}}
OPENS = {X86_64: {2: (1, 2), 257: (2, 3)}, I386: {5: (1, 2), 295: (2, 3)}}  # flags and mode of open and openat
IOCTL, SOCKET = {X86_64: 16, I386: 54}, {X86_64: 41, I386: 359}
FCNTL = {X86_64: (72,), I386: (55, 221)}
SOCKETCALL, MAKES_SOCKET = 102, 1

SET_USER, SET_GROUP, CREATE, TEMPORARY = 0o4000, 0o2000, 0o100, 0o20000000
TIOCSTI, TIOCLINUX, NETLINK, AUDIT, VSOCK = 0x5412, 0x541C, 16, 9, 40
SUBVOLUMES = (0x5000940E, 0x50009418, 0x50009401, 0x50009417, 0x4008941A)  # of btrfs: made, snapshots, read-only (V3)
SET_LEASE, SET_DELEGATION, DUPLICATE = 1024, 1040, 1030
ABOVE = 1 << 32  # of a register of 64 bits the kernel does not look at the rest, of an `int` or a mode
SINGLE = (
    SET_USER | 0o755, SET_GROUP, 0o755, TIOCSTI, TIOCLINUX, ABOVE | TIOCSTI, SET_LEASE, SET_DELEGATION, DUPLICATE,
    VSOCK, MAKES_SOCKET, *SUBVOLUMES,
)  # fmt: skip
PAIRS = [
    *((flags, mode) for flags in (CREATE, TEMPORARY | CREATE, TEMPORARY) for mode in (SET_USER, SET_GROUP, 0o755)),
    (NETLINK, AUDIT),
    (ABOVE | NETLINK, ABOVE | AUDIT),
    (NETLINK, 0),
    (CREATE, ABOVE | SET_USER | 0o644),
]


def calls() -> t.Iterator[tuple[int, int, int, int]]:
    """Yield the arguments to try with each number: none, each value alone at each place, each pair at two places."""
    yield 0, 0, 0, 0
    for place in range(4):
        for value in SINGLE:
            yield t.cast("tuple[int, int, int, int]", tuple(value if place == other else 0 for other in range(4)))
    for one, other in ((0, 2), (1, 2), (2, 3)):
        for first, second in PAIRS:
            arguments = [0, 0, 0, 0]
            arguments[one], arguments[other] = first, second
            yield t.cast("tuple[int, int, int, int]", tuple(arguments))


CALLS = list(calls())


def answer(plain: dict[int, int], architecture: int, number: int, arguments: tuple[int, ...]) -> int:
    """Return the answer that a call should get. PLAIN has the errors of calls refused with any arguments."""
    if number in plain:
        return ERRNO | plain[number]
    words = [argument & 0xFFFFFFFF for argument in arguments]
    set_id = SET_USER | SET_GROUP
    flags, mode = OPENS[architecture].get(number, (0, 0))
    not_permitted = (
        number in MODES[architecture] and words[MODES[architecture][number]] & set_id,
        number in OPENS[architecture] and words[flags] & (CREATE | TEMPORARY) and words[mode] & set_id,
        number == IOCTL[architecture] and words[1] in (TIOCSTI, TIOCLINUX),
        number in FCNTL[architecture] and words[1] in (SET_LEASE, SET_DELEGATION),
    )
    no_family = (
        number == SOCKET[architecture] and words[0] == VSOCK,
        number == SOCKET[architecture] and (words[0], words[2]) == (NETLINK, AUDIT),
        (architecture, number) == (I386, SOCKETCALL) and words[0] == MAKES_SOCKET,
    )
    if any(not_permitted):
        return ERRNO | EPERM
    if number == IOCTL[architecture] and words[1] in SUBVOLUMES:
        return ERRNO | ENOTTY
    return ERRNO | EAFNOSUPPORT if any(no_family) else ALLOW


def compiled(**security: bool) -> list[tuple[int, int, int, int]]:
    program = seccomp.compile_filter(contract.Security(**security))
    assert program is not None
    return bpf.load(program)


def plain(place: int) -> dict[int, int]:
    """Return the numbers that are refused in any case, of x86_64 (0), i386 (1) or x32 (2)."""
    refused = {numbers[place]: EPERM for numbers in REFUSED.values()}
    return {number: error for number, error in refused.items() if number is not None} | dict.fromkeys(
        ABSENT.values(), ENOSYS
    )


def wrong(program: list[tuple[int, int, int, int]], architecture: int, expected: dict[int, int]) -> list[str]:
    """Return the calls that are answered otherwise than they should be."""
    return [
        f"{number}{arguments}"
        for number in range(NUMBERS)
        for arguments in CALLS
        if bpf.run(program, architecture, number, *arguments) != answer(expected, architecture, number, arguments)
    ]


@pytest.mark.parametrize(("architecture", "place"), [(X86_64, 0), (I386, 1)])
def test_every_call_of_a_container(architecture: int, place: int) -> None:
    assert wrong(compiled(), architecture, plain(place)) == []


def test_every_call_of_x32() -> None:
    program = compiled()
    found = {number: bpf.run(program, X86_64, X32 | number) for number in range(1024)}
    assert {number: error for number, error in found.items() if error != ALLOW} == {
        number: ERRNO | error for number, error in plain(2).items()
    }
    for number, mode in MODES[X86_64].items():
        arguments = [SET_USER if place == mode else 0 for place in range(4)]
        assert bpf.run(program, X86_64, X32 | number, *arguments) == ERRNO | EPERM


def test_no_new_privileges_is_no_matter_of_the_filter() -> None:
    assert compiled(no_new_privileges=True) == compiled()


def test_t5_a_machine_makes_set_user_id_files_and_does_nothing_else_more() -> None:
    machine, other = compiled(set_user_id=True), compiled()
    for number in range(NUMBERS):
        for arguments in CALLS:
            said = bpf.run(other, X86_64, number, *arguments)
            makes = number in (*MODES[X86_64], *OPENS[X86_64]) and said == ERRNO | EPERM
            assert bpf.run(machine, X86_64, number, *arguments) == (ALLOW if makes else said)


def test_every_call_where_containers_are_nested() -> None:
    """No attribute can be set; on an architecture of which one such call cannot be refused, no call is answered."""
    expected = plain(0) | dict.fromkeys(ATTRIBUTES.values(), EOPNOTSUPP)
    del expected[ABSENT["openat2"]]
    program = compiled(nesting=True)
    assert wrong(program, X86_64, expected) == []
    library = ctypes.CDLL("libseccomp.so.2")
    if library.seccomp_syscall_resolve_name(b"setxattrat") == -1:  # a libseccomp that does not know it
        for architecture, bit in ((I386, 0), (X86_64, X32)):
            answers = {bpf.run(program, architecture, bit | number) for number in range(NUMBERS)}
            assert answers == {ERRNO | ENOSYS}


@pytest.mark.parametrize("nesting", [False, True])
def test_a_foreign_architecture_has_no_calls(nesting: bool) -> None:
    program = compiled(nesting=nesting)
    assert {bpf.run(program, AARCH64, number) for number in range(NUMBERS)} == {ERRNO | ENOSYS}


class OldLibrary:
    """A libseccomp that does not know some calls, and cannot translate their numbers for another architecture."""

    def __init__(self, unknown: t.Collection[str]) -> None:
        self._library = ctypes.CDLL("libseccomp.so.2")
        self._unknown = {name.encode(): seccomp.YOUNG[name] for name in unknown}
        self._others = 0

    def __getattr__(self, name: str) -> t.Any:
        return getattr(self._library, name)

    def seccomp_syscall_resolve_name(self, name: bytes) -> int:
        return -1 if name in self._unknown else int(self._library.seccomp_syscall_resolve_name(name))

    def seccomp_arch_add(self, *arguments: t.Any) -> int:
        self._others += 1
        return int(self._library.seccomp_arch_add(*arguments))

    def seccomp_rule_add_array(self, context: t.Any, action: t.Any, number: t.Any, *arguments: t.Any) -> int:
        if self._others and number.value in self._unknown.values():
            return -14
        return int(self._library.seccomp_rule_add_array(context, action, number, *arguments))


@pytest.mark.parametrize("unknown", [["fchmodat2"], ["quotactl_fd"], ["setxattrat"], list(seccomp.YOUNG)])
@pytest.mark.parametrize("nesting", [False, True])
def test_an_old_library_makes_a_filter_that_refuses_young_calls(nesting: bool, unknown: list[str]) -> None:
    """Where a call cannot be refused for another architecture, that has none."""
    library = t.cast("ctypes.CDLL", OldLibrary(unknown))
    program = bpf.load(seccomp._Builder(library).build(contract.Security(nesting=nesting)))
    refused = {name: number for name, number in seccomp.YOUNG.items() if nesting or name != "setxattrat"}
    for number in refused.values():
        assert bpf.run(program, X86_64, number) != ALLOW
    assert bpf.run(program, X86_64, 0) == ALLOW
    if refused.keys() & set(unknown):
        for architecture, bit in ((I386, 0), (X86_64, X32)):
            assert {bpf.run(program, architecture, bit | number) for number in range(NUMBERS)} == {ERRNO | ENOSYS}
    elif not nesting:
        assert bpf.run(program, I386, 1) == ALLOW
