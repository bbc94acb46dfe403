# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a hostile root tries, run inside a container by its /usr/bin/python3; the host's tests never import it.

Every attempt runs in a child of its own and gives a word: `ok` when it got through, the name of the errno, or what it
saw. The whole is printed as one JSON mapping. The argument is a JSON mapping of what the tests planted on the host.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import socket
import stat
import struct
import sys
from collections.abc import Callable
from functools import partial

Attempt = Callable[[], object]
ATTEMPTS: dict[str, Attempt] = {}
HOST = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
LIBC = ctypes.CDLL(None, use_errno=True)
X32 = 0x40000000
NEWNS, NEWUSER, NEWPID, NEWNET = 0x20000, 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_MOVE = 1, 32, 4096, 8192
FILE = "/tmp/probe"


def attempt(name: str) -> Callable[[Attempt], Attempt]:
    def register(function: Attempt) -> Attempt:
        ATTEMPTS[name] = function
        return function

    return register


def check(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result


def call(number: int, *arguments: object) -> int:
    LIBC.syscall.restype = ctypes.c_long
    return check(LIBC.syscall(ctypes.c_long(number), *arguments))


def mount(source: str | None, target: str, kind: str | None, flags: int = 0, data: str | None = None) -> None:
    words = [word.encode() if word is not None else None for word in (source, target, kind)]
    check(LIBC.mount(*words, ctypes.c_ulong(flags), data.encode() if data else None))


def unmount(path: str) -> None:
    check(LIBC.umount2(path.encode(), 2))


def unshare(flags: int) -> None:
    check(LIBC.unshare(flags))


def touch(path: str = FILE) -> str:
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))
    return path


def opened(path: str, flags: int = os.O_WRONLY) -> None:
    os.close(os.open(path, flags))


# The kernel's own switches: opened for writing, never written to.
for path in (
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/kernel/hostname",
    "/proc/sys/vm/overcommit_memory",
    "/proc/sys/vm/drop_caches",
    "/proc/sys/fs/suid_dumpable",
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sysrq-trigger",
    "/proc/irq/default_smp_affinity",
    "/sys/kernel/mm/transparent_hugepage/enabled",
    "/sys/kernel/uevent_helper",
    "/sys/fs/cgroup/cgroup.max.descendants",
    "/sys/fs/cgroup/cgroup.freeze",
    "/usr/bin/env",
):
    ATTEMPTS["write " + path] = partial(opened, path)

for path in (
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/keys",
    "/proc/sched_debug",
    "/proc/timer_list",
    "/sys/firmware",
    "/sys/kernel/security",
):

    def look(path: str = path) -> str:
        if os.path.isdir(path):
            return "seen" if os.listdir(path) else "nothing"
        if not os.path.exists(path):
            return "nothing"
        with open(path, "rb") as file:
            return "seen" if file.read(1) else "nothing"

    ATTEMPTS["read " + path] = look


@attempt("disclose a mask: chmod the null device below it")
def chmod_mask() -> None:
    os.chmod("/proc/timer_list", 0o600)


# Mounts (S13).
LOCKED = ("/usr", "/proc/sys", "/proc/timer_list", "/sys", "/dev", "/run/host/notify")
for path in LOCKED:
    ATTEMPTS["unmount " + path] = partial(unmount, path)
for path in ("/usr", "/proc/sys", "/sys", "/proc/sysrq-trigger"):
    ATTEMPTS["remount writable " + path] = partial(mount, None, path, None, MS_REMOUNT | MS_BIND)


@attempt("bind /usr elsewhere and remount that writable")
def bind_again() -> None:
    os.makedirs("/mnt/again", exist_ok=True)
    unshare(NEWNS)
    mount("/usr", "/mnt/again", None, MS_BIND)
    mount(None, "/mnt/again", None, MS_REMOUNT | MS_BIND)
    touch("/mnt/again/made-by-probe")


@attempt("clear read-only on a detached copy of /usr")
def clear_read_only() -> None:
    tree = call(428, -100, b"/usr", 1)
    call(442, tree, b"", 0x1000, struct.pack("<QQQQ", 0, 1, 0, 0), 32)


@attempt("move /usr away")
def move_store() -> None:
    os.makedirs("/mnt/moved", exist_ok=True)
    mount("/usr", "/mnt/moved", None, MS_MOVE)


@attempt("map the ids of /usr anew in a nested user namespace")
def map_again() -> None:
    child = os.fork()
    if child == 0:
        unshare(NEWUSER)
        os.kill(os.getpid(), 19)
        os._exit(0)
    os.waitpid(child, os.WUNTRACED)
    try:
        tree = call(428, -100, b"/usr", 1)
        namespace = os.open(f"/proc/{child}/ns/user", os.O_RDONLY)
        call(442, tree, b"", 0x1000, struct.pack("<QQQQ", 0x100000, 0, 0, namespace), 32)
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


@attempt("look below a mask through a copy of /proc")
def below_mask() -> None:
    call(428, -100, b"/proc", 1)


@attempt("unmount /usr in a nested user namespace")
def nested_unmount() -> None:
    unshare(NEWUSER | NEWNS)
    check(LIBC.umount2(b"/usr", 2))


@attempt("mount a fresh /proc")
def fresh_proc() -> None:
    unshare(NEWNS | NEWPID)
    child = os.fork()
    if child == 0:
        try:
            mount("proc", "/mnt", "proc")
        except OSError as error:
            os._exit(error.errno or 255)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        raise OSError(status, "")


@attempt("mount a fresh, writable /sys")
def fresh_sys() -> None:
    unshare(NEWNS | NEWNET)
    mount("sysfs", "/mnt", "sysfs")


@attempt("leave the root by chroot and ..")
def chroot_out() -> str:
    os.makedirs("/tmp/jail", exist_ok=True)
    inside = os.stat("/").st_ino, os.stat("/").st_dev
    outer = os.open("/", os.O_RDONLY)
    os.chroot("/tmp/jail")
    os.fchdir(outer)
    for _step in range(64):
        os.chdir("..")
    os.chroot(".")
    return "inside" if (os.stat("/").st_ino, os.stat("/").st_dev) == inside else "ok"


@attempt("leave the root by pivot_root and an unmount")
def pivot_out() -> None:
    unshare(NEWNS)
    mount("none", "/mnt", "tmpfs")
    os.mkdir("/mnt/old")
    call({"x86_64": 155}.get(os.uname().machine, 41), b"/mnt", b"/mnt/old")
    check(LIBC.umount2(b"/old/usr", 2))


for kind in ("debugfs", "tracefs", "securityfs", "devtmpfs", "ext4", "xfs", "pstore", "efivarfs", "configfs"):
    ATTEMPTS["mount " + kind] = partial(mount, "/dev/null", "/mnt", kind)


@attempt("mount a version 1 hierarchy and open its release_agent")
def release_agent() -> None:
    """CVE-2022-0492. Mounting may be allowed: it shows the container's own group, whose parent is not named."""
    unshare(NEWNS)
    mount("none", "/mnt", "cgroup", 0, "pids")
    opened("/mnt/release_agent")


@attempt("remount the root's file system larger")
def larger() -> None:
    mount(None, "/tmp", None, MS_REMOUNT, "size=100%")


# Devices.
DEVICES = (("memory", stat.S_IFCHR, 1, 1), ("null", stat.S_IFCHR, 1, 3), ("disk", stat.S_IFBLK, 8, 0))
for name, mode, major, minor in DEVICES:
    for place in ("/", "/tmp/", "/dev/"):

        def node(mode: int = mode, device: int = os.makedev(major, minor), path: str = f"{place}{name}-node") -> None:
            os.mknod(path, mode | 0o600, device)

        ATTEMPTS[f"make a device node of {name} in {place}"] = node


# Processes and namespaces.
@attempt("see a process of the host or a sibling")
def see_process() -> str:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            if HOST["marker"].encode() in file.read() and pid != str(os.getpid()) and pid != str(os.getppid()):
                return "seen"
    return "nothing"


for signal_name, number in (("signal", 0), ("kill", 9)):

    def kill(number: int = number) -> None:
        os.kill(HOST["pid"], number)

    ATTEMPTS[f"{signal_name} a process of the host by its PID"] = kill


@attempt("trace a process of the host")
def trace() -> None:
    check(LIBC.ptrace(16, HOST["pid"], 0, 0))


@attempt("read memory of a process of the host")
def read_memory() -> None:
    buffer = ctypes.create_string_buffer(8)
    vector = struct.pack("<QQ", ctypes.addressof(buffer), 8)
    check(LIBC.process_vm_readv(HOST["pid"], vector, 1, vector, 1, 0))


@attempt("/proc/1/root is another root")
def root_of_init() -> str:
    return "inside" if os.path.samefile("/proc/1/root", "/") else "ok"


for name, request in (("user", 0xB702), ("pid", 0xB702), ("mnt", 0xB701), ("net", 0xB701)):

    def outer(name: str = name, request: int = request) -> str:
        descriptor = os.open(f"/proc/self/ns/{name}", os.O_RDONLY)
        found = fcntl.ioctl(descriptor, request)
        if request == 0xB701:
            return "inside" if os.path.sameopenfile(found, os.open("/proc/self/ns/user", os.O_RDONLY)) else "ok"
        return "ok"

    ATTEMPTS[f"get the namespace around the {name} namespace"] = outer

ATTEMPTS["take an id outside of the range"] = lambda: os.setresuid(70000, 70000, 70000)
ATTEMPTS["write uid_map anew"] = lambda: os.write(os.open("/proc/self/uid_map", os.O_WRONLY), b"0 0 1\n")
ATTEMPTS["spare itself from the kernel's killer"] = lambda: os.write(
    os.open("/proc/self/oom_score_adj", os.O_WRONLY), b"-1000"
)
ATTEMPTS["take a real-time priority"] = lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))


@attempt("map uid 0 into a nested user namespace")
def map_root() -> None:
    """What a nested namespace needs for a file capability that counts for the container's root (CAP_SETFCAP)."""
    unshare(NEWUSER)
    os.write(os.open("/proc/self/uid_map", os.O_WRONLY), b"0 0 1\n")


@attempt("map another uid into a nested user namespace and set a file capability")
def nested_capability() -> None:
    path = touch(os.path.join(HOST["writable"], "nested"))
    os.chown(path, 1000, 1000)
    parent_read, parent_write = os.pipe()
    ready_read, ready_write = os.pipe()
    child = os.fork()
    if child == 0:
        unshare(NEWUSER)
        os.write(ready_write, b"1")
        os.read(parent_read, 1)
        try:
            os.setresgid(0, 0, 0)
            os.setresuid(0, 0, 0)
            os.setxattr(path, "security.capability", struct.pack("<IIIII", 0x2000001, 0xFFFFFFFF, 0, 0xFFFFFFFF, 0))
        except OSError as error:
            os._exit(error.errno or 255)
        os._exit(0)
    os.read(ready_read, 1)
    for name in ("uid_map", "gid_map"):
        with open(f"/proc/{child}/{name}", "w") as file:
            file.write("0 1000 1\n")
    os.write(parent_write, b"1")
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        raise OSError(status, "")


# System calls. Most take nonsense: what counts is who refuses.
for name, x86, generic, arguments in (
    ("kexec_load", 246, 104, (0, 0, 0, 0)),
    ("kexec_file_load", 320, 294, (-1, -1, 0, 0, 0)),
    ("init_module", 175, 105, (0, 0, 0)),
    ("finit_module", 313, 273, (-1, 0, 0)),
    ("delete_module", 176, 106, (0, 0)),
    ("settimeofday", 164, 170, (0, 0)),
    ("clock_settime", 227, 112, (0, 0)),
    ("swapon", 167, 224, (0, 0)),
    ("acct", 163, 89, (0,)),
    ("syslog", 103, 116, (3, 0, 0)),
    ("open_by_handle_at", 304, 265, (-1, 0, 0)),
    ("add_key", 248, 217, (0, 0, 0, 0, 0)),
    ("request_key", 249, 218, (0, 0, 0, 0)),
    ("keyctl", 250, 219, (0, -3, 1)),
    ("bpf", 321, 280, (0, 0, 0)),
    ("perf_event_open", 298, 241, (0, 0, -1, -1, 0)),
    ("fanotify_init", 300, 262, (0, 0)),
    ("quotactl", 179, 60, (0, 0, 0, 0)),
    ("userfaultfd", 323, 282, (0,)),
    ("io_uring_setup", 425, 425, (1, 0)),
):

    def system_call(x86: int = x86, generic: int = generic, arguments: tuple[int, ...] = arguments) -> None:
        call(x86 if os.uname().machine == "x86_64" else generic, *map(ctypes.c_long, arguments))

    ATTEMPTS["call " + name] = system_call

ATTEMPTS["speak to the hypervisor (vsock)"] = lambda: socket.socket(40, socket.SOCK_STREAM).close()
ATTEMPTS["open an audit socket"] = lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 9).close()


@attempt("push input into a terminal (TIOCSTI)")
def push_input() -> None:
    _master, slave = os.openpty()
    fcntl.ioctl(slave, 0x5412, b"x")


# Set-user-ID files: one in a writable mapping would be the host root's.
def set_user_id(function: Callable[[str], object]) -> str:
    path = os.path.join(HOST["writable"], "set-user-id")
    if os.path.isdir(path):
        os.rmdir(path)
    elif os.path.lexists(path):
        os.unlink(path)
    function(path)
    mode = os.stat(path).st_mode if os.path.lexists(path) else 0
    return "ok" if mode & 0o6000 else "stripped"


def by_descriptor(path: str) -> None:
    os.fchmod(os.open(path, os.O_CREAT | os.O_RDWR, 0o755), 0o4755)


def without_name(path: str) -> None:
    descriptor = os.open(os.path.dirname(path), os.O_TMPFILE | os.O_RDWR, 0o4755)
    os.link(f"/proc/self/fd/{descriptor}", path, follow_symlinks=True)


def by_init(path: str) -> None:
    """PID 1 is under the same filter, and so is what it runs."""
    ask = "systemd-run --quiet --service-type=oneshot"
    if os.system(f"{ask} touch {touch(path)}") or not os.system(f"{ask} chmod 4755 {path} 2>/dev/null"):
        raise RuntimeError("systemd-run")


for name, function in {
    "chmod": lambda path: os.chmod(touch(path), 0o4755),
    "chmod to set-group-ID": lambda path: os.chmod(touch(path), 0o2755),
    "fchmod": by_descriptor,
    "fchmodat": lambda path: check(LIBC.fchmodat(-100, touch(path).encode(), 0o4755, 0)),
    "fchmodat2": lambda path: call(452, -100, touch(path).encode(), 0o4755, 0),
    "open": lambda path: os.open(path, os.O_CREAT | os.O_WRONLY, 0o4755),
    "O_TMPFILE": without_name,
    "openat2": lambda path: call(437, -100, path.encode(), struct.pack("<QQQ", 0o101, 0o4755, 0), 24),
    "mknod": lambda path: os.mknod(path, stat.S_IFREG | 0o4755),
    "mkdir": lambda path: os.mkdir(path, 0o2755),
    "xattr": lambda path: os.setxattr(
        touch(path), "security.capability", struct.pack("<IIIII", 0x2000001, 0xFFFFFFFF, 0, 0xFFFFFFFF, 0)
    ),
    "the init": by_init,
}.items():
    ATTEMPTS["set-user-ID by " + name] = partial(set_user_id, function)


# The other ABIs of this machine.
def low_memory(content: bytes) -> int:
    LIBC.mmap.restype = ctypes.c_void_p
    address = LIBC.mmap(None, ctypes.c_size_t(4096), 7, 0x20 | 0x2 | 0x40, -1, ctypes.c_long(0))
    ctypes.memmove(address, content, len(content))
    return int(address)


def compatible(number: int, *arguments: int) -> int:
    """A system call of the 32-bit ABI, from this 64-bit process (int 0x80)."""
    code = b"\x53"  # push rbx
    for opcode, value in zip((b"\xb8", b"\xbb", b"\xb9", b"\xba", b"\xbe"), (number, *arguments), strict=False):
        code += opcode + struct.pack("<I", value & 0xFFFFFFFF)
    code += b"\xcd\x80\x5b\xc3"  # int 0x80; pop rbx; ret
    result = ctypes.CFUNCTYPE(ctypes.c_int)(low_memory(code))()
    if result < 0:
        raise OSError(-result, "")
    return result


if os.uname().machine == "x86_64":
    AT = -100
    calls: tuple[tuple[str, int, tuple[object, ...]], ...] = (
        ("chmod", 15, ("path", 0o4755)),
        ("fchmod", 94, ("descriptor", 0o4755)),
        ("fchmodat", 306, (AT, "path", 0o4755)),
        ("fchmodat2", 452, (AT, "path", 0o4755, 0)),
        ("open", 5, ("new", 0o101, 0o4755)),
        ("openat", 295, (AT, "new", 0o101, 0o4755)),
        ("creat", 8, ("new", 0o4755)),
        ("mknod", 14, ("new", stat.S_IFREG | 0o4755, 0)),
        ("mknodat", 297, (AT, "new", stat.S_IFREG | 0o4755, 0)),
        ("openat2", 437, (AT, "new", 0, 24)),
        ("io_uring_setup", 425, (1, 0)),
        ("socketcall", 102, (1, "internet")),
        ("socket", 359, (40, 1, 0)),
        ("keyctl", 288, (0, -3, 1)),
        ("bpf", 357, (0, 0, 0)),
        ("perf_event_open", 336, (0, 0, -1, -1)),
        ("open_by_handle_at", 342, (-1, 0, 0)),
        ("kexec_load", 283, (0, 0, 0, 0)),
        ("init_module", 128, (0, 0, 0)),
        ("syslog", 103, (3, 0, 0)),
        ("settimeofday", 79, (0, 0)),
    )
    for name, number, words in calls:

        def in_32_bits(number: int = number, arguments: tuple[object, ...] = words) -> str:
            old, new = touch("/tmp/compatible"), "/tmp/compatible-new"
            if os.path.exists(new):
                os.unlink(new)
            given: dict[object, Callable[[], int]] = {
                "path": lambda: low_memory(old.encode() + b"\0"),
                "new": lambda: low_memory(new.encode() + b"\0"),
                "descriptor": lambda: os.open(old, os.O_RDWR),
                "internet": lambda: low_memory(struct.pack("<III", 2, 1, 0)),
            }
            compatible(number, *(given[word]() if word in given else int(str(word)) for word in arguments))
            return "ok"

        ATTEMPTS["32 bits: " + name] = in_32_bits
    ATTEMPTS["32 bits: getpid is answered"] = lambda: "answered" if compatible(20) == os.getpid() else "wrong"
    ATTEMPTS["x32: chmod"] = lambda: call(X32 | 90, touch().encode(), 0o4755)


def descriptors(path: str) -> dict[str, str]:
    """What is open there, by its name."""
    numbers = [number for number in os.listdir(path) if os.path.lexists(f"{path}/{number}")]
    return {number: os.readlink(f"{path}/{number}") for number in numbers}


# The host's files, sockets and shared memory.
for path in HOST.get("own", ()):
    # What PID 1 and an entered command have open, by its name.
    ATTEMPTS["descriptors in " + path] = partial(descriptors, path)
ATTEMPTS["read a file of the host"] = lambda: opened(HOST["secret"], os.O_RDONLY)
ATTEMPTS["make a file in /usr"] = lambda: touch("/usr/made-by-probe")
ATTEMPTS["set times in /usr"] = lambda: os.utime("/usr/bin/env")
ATTEMPTS["see the launcher's state"] = lambda: os.listdir("/var/lib/unshare")
ATTEMPTS["see the launcher's runtime state"] = lambda: os.listdir("/run/unshare")
ATTEMPTS["get shared memory of the host"] = lambda: check(LIBC.shmget(HOST["shared_memory"], 1, 0))


@attempt("connect to an abstract socket of the host")
def abstract() -> None:
    """CVE-2020-15257."""
    socket.socket(socket.AF_UNIX).connect("\0" + HOST["abstract"])


@attempt("connect to a port of the host's loopback")
def port() -> None:
    socket.create_connection(("127.0.0.1", HOST["port"]), 2).close()


@attempt("nest control groups without end")
def nest_groups() -> str:
    made: list[str] = []
    path = "/sys/fs/cgroup/probe"
    try:
        for _level in range(64):
            os.mkdir(path)
            made.append(path)
            path += "/x"
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    finally:
        for path in reversed(made):
            os.rmdir(path)
    return "ok"


# What every process of the container is limited by.
def limits(status: str) -> dict[str, str]:
    with open(status) as file:
        fields = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    return {key: fields[key].strip() for key in ("CapBnd", "CapEff", "CapAmb", "Seccomp", "NoNewPrivs")}


ATTEMPTS["limits of PID 1"] = lambda: limits("/proc/1/status")
ATTEMPTS["limits of an entered command"] = lambda: limits("/proc/self/status")


def run(function: Attempt) -> object:
    """The word for one attempt, made in a child."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            result = function()
            answer = result if isinstance(result, (str, dict)) else "ok"
        except OSError as error:
            answer = errno.errorcode.get(error.errno or 0, str(error))
        except BaseException as error:
            answer = f"{type(error).__name__}: {error}"
        os.write(write, json.dumps(answer).encode())
        os._exit(0)
    os.close(write)
    said = b""
    while part := os.read(read, 65536):
        said += part
    os.close(read)
    status = os.waitpid(child, 0)[1]
    return json.loads(said) if said else f"killed {status}"


if __name__ == "__main__":
    print(json.dumps({name: run(function) for name, function in ATTEMPTS.items()}))
