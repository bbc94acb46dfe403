# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The checks of a target before anything is written on it. All problems are reported at once."""

from __future__ import annotations

import errno
import os
import posixpath
import re
import stat
from typing import Callable, List

from ..launcher import confine, identity, lookup, program, targets
from ..launcher.contract import Specification
from ..state.target import NEEDS_ROOT, TargetError
from . import (
    looking,
    nested,
    preflight_credentials,
    preflight_devices,
    preflight_machine,
    preflight_sources,
    preflight_targets,
    preflight_volumes,
)
from .distribution import DEBIAN_PACKAGES
from .facts import HostFacts
from .preflight_directories import lost_data, missing, owners
from .preflight_mounts import Sources, mount_points, tmpfs_options, types
from .store import StoreView, open_bind_source

KERNEL = (5, 12)
"""The oldest kernel with all that the launcher cannot do without; mount_setattr(2) is the last of it."""

PYTHON = (3, 8)


Check = Callable[[HostFacts, Specification], List[str]]


def _privileges(host: HostFacts, specification: Specification) -> list[str]:
    if host.user_id == 0:
        return []
    return [NEEDS_ROOT]


def _kernel(host: HostFacts, specification: Specification) -> list[str]:
    if host.system != "Linux":
        return [f"the kernel is {host.system}; containers need Linux {_version(KERNEL)} or newer"]
    match = re.match(r"(\d+)\.(\d+)", host.release)
    found: tuple[int, ...] = tuple(int(part) for part in match.groups()) if match else (0,)
    if found >= KERNEL:
        return []
    needed = f"Linux {_version(KERNEL)} or newer is needed (mount_setattr)"
    return [f"the kernel is {host.release}; {needed}: install a newer one, and reboot"]


def _python(host: HostFacts, specification: Specification) -> list[str]:
    problems = []
    if host.python < PYTHON:
        problems.append(
            f"Python is {_version(host.python)}; {_version(PYTHON)} or newer is needed: "
            "install it, and name it in ansible_python_interpreter"
        )
    # A script names its interpreter in its first line, where old kernels take 127 bytes and none takes a space.
    if not re.fullmatch(r"/[^\s]{1,119}", host.interpreter or ""):
        problems.append(
            f"the path of Python, {host.interpreter!r}, cannot stand in the first line of a script: "
            "name another in ansible_python_interpreter (absolute, no space, at most 120 characters)"
        )
    return problems


def _namespaces(host: HostFacts, specification: Specification) -> list[str]:
    if not host.exists("/proc/self/ns/user"):
        return ["the kernel has no user namespaces: use one built with CONFIG_USER_NS"]
    limit = host.read("/proc/sys/user/max_user_namespaces").strip()
    if limit.isdigit() and int(limit) == 0:
        return ["user namespaces are switched off: set the sysctl user.max_user_namespaces to 1000 or more"]
    return []


def _control_groups(host: HostFacts, specification: Specification) -> list[str]:
    if re.search(r"\bcgroup2$", host.read("/proc/filesystems"), re.MULTILINE):
        return []
    return ["the kernel has no cgroup2: use one built with CONFIG_CGROUPS (4.5 or newer)"]


def _store(host: HostFacts, specification: Specification) -> list[str]:
    if _kernel(host, specification):
        return []  # one without openat2 cannot look into a tree
    if specification.root.is_machine:
        return preflight_machine.refused(host, specification)
    source, target, tree = specification.store.source, specification.store.target, specification.store.tree
    doing = f"make the tree {tree!r} with" if tree else "install"
    try:
        kind = _kind(host, source)
    except OSError as error:
        if error.errno == errno.ELOOP:
            return [f"the store {source} passes through a symbolic link: name the directory itself"]
        kind = 0
    if not stat.S_ISDIR(kind):
        return [f"the store {source} is not a directory on this host"]
    if target == "/usr" and not _is_merged(host, posixpath.dirname(source.rstrip("/")) or "/"):
        said = f"beside the store {source} there is a bin that is not a link into it; containers need a merged /usr"
        return [f"{said}: {doing} the package {DEBIAN_PACKAGES.merged_usr}"]  # its systemd is beside it, too
    first = specification.init.argv[0]
    view = StoreView(specification, host.root)
    if specification.init.systemd and first.startswith(target + "/") and not view.is_program(first):
        return [f"the store {source} has no systemd ({first}): {doing} the package {DEBIAN_PACKAGES.systemd}"]
    if tree and not view.is_program(target + program.SHELL):
        said = f"the tree {tree!r} has no {program.SHELL}, which every container begins with"
        return [f"{said}: install it in the tree (dash)"]
    return []


def _kind(host: HostFacts, path: str) -> int:
    """Return the mode (stat(2)) of a path of the host that is to be bound.

    :raises OSError: as `open_source`.
    """
    descriptor = open_bind_source(host.root, path)
    try:
        return os.fstat(descriptor).st_mode
    finally:
        os.close(descriptor)


def _is_merged(host: HostFacts, beside: str) -> bool:
    """Return whether `bin` beside the store is a link, or missing. The link is not followed."""
    directory = open_bind_source(host.root, beside)
    try:
        descriptor = lookup.open_below(directory, "bin", os.O_PATH | os.O_NOFOLLOW)
    except FileNotFoundError:
        return True
    finally:
        os.close(directory)
    try:
        return stat.S_ISLNK(os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)


def _sources(host: HostFacts, specification: Specification) -> list[str]:
    return [] if _kernel(host, specification) else preflight_sources.impossible(host, specification)


def _mounts(host: HostFacts, specification: Specification) -> list[str]:
    refused = Sources(host, specification).refusals()
    return refused or mount_points(host, specification) + preflight_targets.problems(host, specification)


def _ports(host: HostFacts, specification: Specification) -> list[str]:
    if not specification.ports:
        return []
    from . import ports

    return ports.refused(host, specification.ports)


def _owners(host: HostFacts, specification: Specification) -> list[str]:
    return [] if _kernel(host, specification) else owners(host, specification) + missing(host, specification)


def _calls(host: HostFacts, specification: Specification) -> list[str]:
    said = None if _kernel(host, specification) else nested.refusal(str(host.root))
    return [said] if said else []


def _volumes(host: HostFacts, specification: Specification) -> list[str]:
    return [] if _kernel(host, specification) else preflight_volumes.refused(host, specification)


def _devices(host: HostFacts, specification: Specification) -> list[str]:
    return [] if _kernel(host, specification) else preflight_devices.refused(host, specification)


def _credentials(host: HostFacts, specification: Specification) -> list[str]:
    return [] if _kernel(host, specification) else preflight_credentials.unavailable(host, specification)[1]


def _network(host: HostFacts, specification: Specification) -> list[str]:
    if specification.network is None or not specification.network.is_filtered:
        return []
    from . import preflight_network

    return preflight_network.absent(host)


def _version(version: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version)


CHECKS: list[Check] = [_privileges, _kernel, _python, _namespaces, _control_groups, _store, _sources]
CHECKS += [_mounts, types, tmpfs_options, _volumes, _owners, _ports, _devices, _credentials]


def problems(host: HostFacts, specification: Specification) -> list[str]:
    """Return what keeps this host from running a container of this specification, each with a remedy.

    What `missing_sources` returns does so, too.
    """
    refused = _calls(host, specification)
    checks = [_privileges, _calls] if refused else CHECKS  # most others need these calls themselves
    return [problem for check in checks for problem in check(host, specification)]


def missing_sources(host: HostFacts, specification: Specification) -> list[str]:
    """Return which sources of required mappings, devices, credentials and programs are missing, each with a remedy.

    A task of the play may make them.
    """
    if _kernel(host, specification):
        return []
    credentials = preflight_credentials.unavailable(host, specification)[0]
    devices = preflight_devices.absent(host, specification)
    return preflight_sources.required(host, specification) + devices + credentials + _network(host, specification)


def warnings(host: HostFacts, specification: Specification) -> list[str]:
    """Return what a person should know about a container of this specification on this host."""
    risks = preflight_devices.risks(host, specification)
    return Sources(host, specification).warnings() + lost_data(host, specification) + risks


def warnings_of_start(host: HostFacts, specification: Specification) -> list[str]:
    """Return what a start now would say of the container, as far as that can be known before."""
    said = preflight_sources.left_out(host, specification) + preflight_sources.of_those_there(host, specification)
    if specification.security.fuse and not host.exists("/dev/" + targets.FUSE):
        said.append(targets.NO_FUSE)
    if specification.private_users in ("identity", 0) and not identity.available()[1]:
        said.append(confine.AS_ROOT)
    return said


def warnings_of_new(host: HostFacts, specification: Specification) -> list[str]:
    """Return what a person should know about a system that has never been started."""
    return warnings_of_start(host, specification) + warnings(host, specification)


def check_host(host: HostFacts, specification: Specification, check: bool = False) -> list[str]:
    """Raise TargetError with every problem of the host. Return warnings.

    :param check: whether what an earlier task may be about to make is but a warning.
    """
    found, missing = looking.in_time(lambda: [problems(host, specification), missing_sources(host, specification)])
    if not check:
        found, missing = found + missing, []
    if found:
        raise TargetError("this host cannot run the container; nothing was changed. " + "; ".join(found))
    return list(map(preflight_sources.needed, missing))
