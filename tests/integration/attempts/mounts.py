# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Mounts: to take apart, make writable or look under those of the launcher, and to make others."""

from __future__ import annotations

import os
import struct
from functools import partial

from .common import (
    LIBC,
    MS_BIND,
    MS_MOVE,
    MS_REMOUNT,
    NEWNET,
    NEWNS,
    NEWPID,
    NEWUSER,
    add,
    attempt,
    call,
    check,
    mount,
    opened,
    touch,
    unmount,
    unshare,
)

LOCKED = ("/usr", "/proc/sys", "/proc/timer_list", "/sys", "/dev", "/run/host/notify")
for path in LOCKED:
    add("mounts", "unmount " + path, partial(unmount, path))
for path in ("/usr", "/proc/sys", "/sys", "/proc/sysrq-trigger"):
    add("mounts", "remount writable " + path, partial(mount, None, path, None, MS_REMOUNT | MS_BIND))


@attempt("mounts", "bind /usr elsewhere and remount that writable")
def bind_again() -> None:
    os.makedirs("/mnt/again", exist_ok=True)
    unshare(NEWNS)
    mount("/usr", "/mnt/again", None, MS_BIND)
    mount(None, "/mnt/again", None, MS_REMOUNT | MS_BIND)
    touch("/mnt/again/made-by-probe")


@attempt("mounts", "clear read-only on a detached copy of /usr")
def clear_read_only() -> None:
    tree = call(428, -100, b"/usr", 1)
    call(442, tree, b"", 0x1000, struct.pack("<QQQQ", 0, 1, 0, 0), 32)


@attempt("mounts", "move /usr away")
def move_store() -> None:
    os.makedirs("/mnt/moved", exist_ok=True)
    mount("/usr", "/mnt/moved", None, MS_MOVE)


@attempt("mounts", "map the ids of /usr anew in a nested user namespace")
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


@attempt("masked", "look below a mask through a copy of /proc")
def below_mask() -> None:
    call(428, -100, b"/proc", 1)


@attempt("mounts", "unmount /usr in a nested user namespace")
def nested_unmount() -> None:
    unshare(NEWUSER | NEWNS)
    check(LIBC.umount2(b"/usr", 2))


@attempt("nested", "mount a fresh /proc")
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


@attempt("mounts", "mount a fresh, writable /sys")
def fresh_sys() -> None:
    unshare(NEWNS | NEWNET)
    mount("sysfs", "/mnt", "sysfs")


@attempt("root", "leave the root by chroot and ..")
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


@attempt("root", "leave the root by pivot_root and an unmount")
def pivot_out() -> None:
    unshare(NEWNS)
    mount("none", "/mnt", "tmpfs")
    os.mkdir("/mnt/old")
    call({"x86_64": 155}.get(os.uname().machine, 41), b"/mnt", b"/mnt/old")
    check(LIBC.umount2(b"/old/usr", 2))


for kind in ("debugfs", "tracefs", "securityfs", "devtmpfs", "ext4", "xfs", "pstore", "efivarfs", "configfs"):
    add("devices", "mount " + kind, partial(mount, "/dev/null", "/mnt", kind))


@attempt("agent", "mount a version 1 hierarchy and open its release_agent")
def release_agent() -> None:
    """CVE-2022-0492. Mounting may be allowed: it shows the container's own group, whose parent is not named."""
    unshare(NEWNS)
    mount("none", "/mnt", "cgroup", 0, "pids")
    opened("/mnt/release_agent")


@attempt("mounts", "remount the root's file system larger")
def larger() -> None:
    mount(None, "/tmp", None, MS_REMOUNT, "size=100%")
