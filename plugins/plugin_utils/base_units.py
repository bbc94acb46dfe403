# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The allow-list: the distribution's units that PID 1 of every container may see, and the files that rule it.

PID 1 looks for units in /etc/systemd/system alone. What is linked here exists; anything else of the store does not.
"""

from __future__ import annotations

import typing as t

from ..module_utils.state import unit_texts
from .debian import DEBIAN

DIRECTORY = "/etc/systemd/system"

UNITS = (
    "basic.target",
    "ctrl-alt-del.target",
    "exit.target",
    "final.target",
    "getty.target",
    "halt.target",
    "kexec.target",
    "local-fs-pre.target",
    "local-fs.target",
    "multi-user.target",
    "network-online.target",
    "network-pre.target",
    "network.target",
    "nss-lookup.target",
    "nss-user-lookup.target",
    "paths.target",
    "poweroff.target",
    "reboot.target",
    "remote-fs-pre.target",
    "remote-fs.target",
    "shutdown.target",
    "sigpwr.target",
    "slices.target",
    "sockets.target",
    "swap.target",
    "sysinit.target",
    "systemd-exit.service",
    "systemd-halt.service",
    "systemd-journald-dev-log.socket",
    "systemd-journald.service",
    "systemd-journald.socket",
    "systemd-journald@.service",
    "systemd-journald@.socket",
    "systemd-poweroff.service",
    "systemd-reboot.service",
    "time-set.target",
    "time-sync.target",
    "timers.target",
    "umount.target",
    "user.slice",
)
WANTED = {
    "sysinit.target": ("systemd-journald.service",),
    "sockets.target": ("systemd-journald.socket", "systemd-journald-dev-log.socket"),
}
# What may start a unit on a machine (systemd.special(7)), and never does in a container.
ELSEWHERE = (
    "emergency.target",
    "hibernate.target",
    "hybrid-sleep.target",
    "initrd.target",
    "rescue.target",
    "sleep.target",
    "suspend-then-hibernate.target",
    "suspend.target",
)
# The last thing before the final step of a reboot: on hosts where no service manager sees how the container ends, its
# mark says that it is to come back (`life/again`).
REBOOT_MARK = "unshare-reboot.service"
_REBOOT_MARK = """[Unit]
Description=Mark of a Reboot
DefaultDependencies=no
After=shutdown.target umount.target
Before=final.target systemd-reboot.service

[Service]
Type=oneshot
ExecStart=chmod +t /sys/fs/cgroup
"""
# File systems of the kernel that its own root alone can mount: no service type has them.
OF_METAL = (
    "dev-hugepages.mount",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "proc-sys-fs-binfmt_misc.automount",
    "proc-sys-fs-binfmt_misc.mount",
    "systemd-binfmt.service",
)
PERSISTENT_UNITS = ("systemd-journal-flush.service",)

# What a systemd container needs nothing for, though services may require it by these names.
TARGETS = {
    "user-processes": "basic.target",
    "file-systems": "local-fs.target",
    "root-file-system": "local-fs.target",
    "user-file-systems": "local-fs.target",
    "journald": "systemd-journald.service",
    "timers": "timers.target",
    "sockets": "sockets.target",
    "name-lookup": "nss-lookup.target",
    "syslogd": "systemd-journald.service",
}

_SYSTEM_CONF = """[Manager]
DefaultStandardOutput=journal
DefaultTimeoutStopSec=20s
DefaultTimeoutStartSec=90s
ShowStatus=no
LogTarget=journal-or-kmsg
DefaultOOMScoreAdjust={score}
"""
# PID 1 has the score that is declared, and what it starts has more by this, as what a user's systemd starts: when
# memory ends, the kernel kills a service, which PID 1 starts again. It is not PID 1's score that is lowered: not every
# host lets its root do that, and root inside could give its own processes the lower one, too.
OOM_MARGIN, OOM_HIGHEST = 100, 1000
_JOURNALD = "[Service]\nOOMScoreAdjust={score}\n"  # its unit asks for less, which is refused
_SHIELD = "# {other}.d/{name} is not for this unit, which is one of the container's own.\n"
_JOURNAL = """[Journal]
Storage={storage}
RuntimeMaxUse=4M
RuntimeMaxFileSize=512K
SystemMaxUse=64M
SystemMaxFileSize=4M
ReadKMsg=no
Audit=no
ForwardToSyslog={syslog}
"""


def link(target: str) -> dict[str, str]:
    """Return a link as an entry of the system's files."""
    return {"link": target}


def store_link(name: str) -> dict[str, str]:
    """Return the link to a unit of the store."""
    return link(f"{DEBIAN.unit_directory}/{name}")


def wanted(target: str, unit: str) -> tuple[str, dict[str, str]]:
    """Return the link (below /etc) by which TARGET starts UNIT."""
    return f"systemd/system/{target}.wants/{unit}", link(f"../{unit}")


def base_files(log: str, *, syslog: bool, oom_score_adj: int = 0) -> dict[str, dict[str, t.Any]]:
    """Return the files below /etc, by name, for the base system; LOG is volatile or persistent."""
    score = min(oom_score_adj + OOM_MARGIN, OOM_HIGHEST)
    persistent = log == "persistent"
    files: dict[str, dict[str, t.Any]] = {}
    for name in UNITS + (PERSISTENT_UNITS if persistent else ()):
        files[f"systemd/system/{name}"] = store_link(name)
    files["systemd/system/default.target"] = link("multi-user.target")
    for target, units in WANTED.items():
        for unit in units:
            path, entry = wanted(target, unit)
            files[path] = entry
    if persistent:
        for unit in PERSISTENT_UNITS:
            path, entry = wanted("sysinit.target", unit)
            files[path] = entry
    files[f"systemd/system/{REBOOT_MARK}"] = {"content": _REBOOT_MARK}
    path, entry = wanted("reboot.target", REBOOT_MARK)
    files[path] = entry
    files["systemd/system.conf"] = {"content": _SYSTEM_CONF.format(score=score)}
    files["systemd/system/systemd-journald.service.d/oom.conf"] = {"content": _JOURNALD.format(score=score)}
    storage = "persistent" if persistent else "volatile"
    files["systemd/journald.conf"] = {"content": _JOURNAL.format(storage=storage, syslog="yes" if syslog else "no")}
    return files


def shielded(files: t.Mapping[str, dict[str, t.Any]]) -> dict[str, dict[str, t.Any]]:
    """Return the FILES of a system, by path, with an empty drop-in of each base unit for each that is read for a type.

    A drop-in of a unit takes the place of one with the same name for all units of its type (systemd.unit(5)). The units
    of the base system are not what a drop-in for all services is meant for, and few of them run with it.
    """
    shared: dict[str, list[str]] = {}
    for path in files:
        directory, _slash, name = path.removeprefix(f"{DIRECTORY}/").partition("/")
        if path.startswith(f"{DIRECTORY}/") and directory.endswith(".d") and name.endswith(".conf"):
            shared.setdefault(directory.removesuffix(".d"), []).append(name)
    found = dict(files)
    for unit in (*UNITS, *PERSISTENT_UNITS, REBOOT_MARK):
        others = unit_texts.drop_in_directories(unit)[1:]
        for other in others if unit == REBOOT_MARK else others[-1:]:
            for name in shared.get(other, ()) if f"{DIRECTORY}/{unit}" in files else ():
                found.setdefault(f"{DIRECTORY}/{unit}.d/{name}", {"content": _SHIELD.format(other=other, name=name)})
    return found
