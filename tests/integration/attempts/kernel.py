# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What tells of the kernel and what steers it: `/proc`, `/sys`, and what is mounted over parts of them."""

from __future__ import annotations

import os
from functools import partial

from .common import add, attempt, opened

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
    "/usr/bin/su",
):
    row = "bounds" if path.startswith("/sys/fs/cgroup") else "software" if path.startswith("/usr") else "switches"
    add(row, "write " + path, partial(opened, path))

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

    add("masked", "read " + path, look)


@attempt("masked", "disclose a mask: chmod the null device below it")
def chmod_mask() -> None:
    os.chmod("/proc/timer_list", 0o600)
