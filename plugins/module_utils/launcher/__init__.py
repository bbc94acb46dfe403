# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The launcher: starts, enters and stops one system container, with the standard library and the kernel alone.

The same files run in three places: inside the Ansible module, beside `run-container` in a system's directory, and
under a unit at host boot. The story of a start, in the order of its modules:

    main         the command line of `run-container` and `enter-container`
    foreground   the same with a person in front of it; `terminal` is their pty, `reboots` says how often it
                 starts a container that reboots itself
    service      the same for a unit of systemd, which then has the container itself for its main process
    again        a container that has rebooted itself, and who starts it then
    container    one container's life: status, start, stop; `locks` keeps runs on it apart, and `fuse` ends the file
                 systems on which killed processes wait
    specification   what is to be started, read from `spec.json`; `contract` has the records in it, which the controller
                 makes, of `kinds`
    start        the caller's side of a start: the record, the wait for readiness (`notification`)
    identity     which host ids it gets
    cgroup       the delegated control group it lives in; `limits` says how much of the host that may take
    launch       the processes and namespaces of a start, and how they wait for each other (`handshake`); `excursion` is
                 how the caller gets to where it builds, and back
    root         the file tree that the container sees, built by the host's root
    records      the mappings and file systems in it; `targets` says where nothing can be mounted, `guarded` what of the
                 host a container cannot write to, and `file_systems` which paths of the host are in a record
    kernel       /proc, /sys and /dev of the container, and what is masked of them
    confine      what PID 1 and every entering command give up before they run; `seccomp` compiles their filter
    init         the container's first process, until it runs `boot`
    enter        a further process in a running container; `passage` is its way there, `account` whose it is
    attributes, descriptors, lookup, program, elf   how both come near the container: the limits that they take, the few
                 descriptors that they keep, the paths that they follow, the program that they become
    mounts, mount_table, devices, trees, process, paths, names, times, data, scheduling, syscalls, errors   what all of
                 these stand on

Imports are chosen for their cost: `typing`, `json`, `contextlib` and what they import take longer than a launch.
"""

from __future__ import annotations

# The members of the library, so that nothing that merely lies in the directory is taken for one.
MODULES = (
    "__init__",
    "account",
    "again",
    "attributes",
    "cgroup",
    "confine",
    "container",
    "contract",
    "data",
    "descriptors",
    "devices",
    "elf",
    "enter",
    "errors",
    "excursion",
    "file_systems",
    "foreground",
    "fuse",
    "guarded",
    "handshake",
    "identity",
    "init",
    "kernel",
    "kinds",
    "launch",
    "limits",
    "locks",
    "lookup",
    "main",
    "mount_table",
    "mounts",
    "names",
    "notification",
    "passage",
    "paths",
    "process",
    "program",
    "reachable",
    "reboots",
    "records",
    "root",
    "scheduling",
    "seccomp",
    "specification",
    "service",
    "start",
    "syscalls",
    "targets",
    "terminal",
    "times",
    "trees",
)


def sources() -> dict[str, str]:
    """The text of every file of this library by its name, from wherever it was imported (a zip file, too)."""
    import pkgutil

    texts = {}
    for module in MODULES:
        data = pkgutil.get_data(__name__, module + ".py")
        if data is None:
            raise ImportError("the launcher's file %s.py cannot be read" % module)
        texts[module + ".py"] = data.decode()
    return texts


def fingerprint(texts: dict[str, str] | None = None) -> str:
    """SHA-256 of a launcher's files, by default this one's, in hexadecimal: two with the same one behave the same."""
    import hashlib

    digest = hashlib.sha256()
    for name, text in sorted((sources() if texts is None else texts).items()):
        digest.update(b"%s\0%d\0" % (name.encode(), len(text.encode())))
        digest.update(text.encode())
    return digest.hexdigest()
