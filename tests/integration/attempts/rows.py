# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The words of the table in docs/security.md: its columns, its rows, and what is to be said of a cell."""

from __future__ import annotations

MODES = {
    "auto": "`auto`",
    "identity": "`identity`",
    "shared network": "shared network",
    "nesting": "`nesting`",
    "nested": "in a container with `nesting`",
    "no new privileges": "`no_new_privileges`",
    "no filter": "without libseccomp",
}
"""What a container is started with."""

ROWS = {
    "switches": "write `/proc/sys`, `/sys`, `/proc/irq`, `/proc/sysrq-trigger`",
    "mounts": "unmount, remount, move, copy a mount of the launcher's",
    "root": "leave the root or a namespace, take an id outside of the range",
    "software": "change the host's software",
    "files": "read the host's files, the launcher's state, shared memory",
    "processes": "see, signal, trace a process of the host or of a sibling",
    "devices": "device nodes, disks, debugfs, modules, `bpf`, handles, and other calls that act on the host",
    "masked": "read masked files",
    "bounds": "write the bounds of the container's own control groups",
    "agent": "open `release_agent` and its like in version 1 hierarchies, where the host has them",
    "network": "connect to abstract sockets and local ports of the host (CVE-2020-15257)",
    "spoofing": "*in a zone*: be taken for another machine, a router, or a server of DHCP, by frames of any kind",
    "reaching": "*in a zone*: reach the host, its loopback (CVE-2020-8558), or another zone",
    "terminal": "type into the caller's terminal",
    "owner": "in a mapping that says whose it is (`owner`): have ids on disk that its map does not give",
    "set-user-ID": "make a set-user-ID file by a system call",
    "capability": "a file capability that counts for the host's root",
    "foreign capability": "a file capability for another user's namespace",
    "nested": "a fresh `/proc`; uid 0 in a nested user namespace",
    "lease": "keep whoever opens a shared file on the host waiting, by a lease or a delegation",
    "share": "use up what the host keeps for all: tasks, ptys, control groups, keys, queues, memory file systems",
    "left": "leave the host's root without inotify instances, message queues, ptys, pipes",
    "start": "*start*: have the host follow what a former run left in writable mappings (CVE-2024-21626)",
    "siblings": "*start*: lead a mount point or a home out of a directory that two containers share (CVE-2021-30465)",
    "tree": "*start*: have the host follow the links of a tree that is the store",
    "code": "*enter*: have its code run by a process of the host",
    "out": "*enter*: keep the host out without a word of why, from asking, or from stopping",
    "look": "*enter*: look at, trace or reach through a process of the host (CVE-2019-5736)",
    "limits": "*enter*: get more than PID 1 has from who calls",
    "stop": "*stop*: keep the host waiting, or leave something of itself",
    "wait": "*start, enter, stop*: keep the host waiting by what only root inside can end",
}
"""What attempts are gathered under, in the order of the page."""

NOTES = {
    ("switches", "nesting"): "own network's settings",
    ("masked", "nesting"): "**yes**, as any user of the host",
    ("nested", "nesting"): "yes: it is what nesting is",
    ("set-user-ID", "nesting"): "**yes**, by `openat2`; users of the host cannot reach it",
    ("capability", "nesting"): "**yes**, by overlayfs; users of the host cannot reach it",
    ("left", "identity"): "**yes**: inotify instances, message queues",
    ("devices", "no filter"): "**some**: keyrings, vsock, audit",
    ("share", "no filter"): "keys, of its own id",
    ("set-user-ID", "no filter"): "**yes**",
}
"""What a cell says instead of *yes* or *some*: (row, mode)."""

HARMLESS = {"foreign capability": "harmless"}
"""The same, in every mode where it gets through."""
