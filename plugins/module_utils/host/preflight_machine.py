# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The checks of a machine's root before anything is written: its tree, its layer, and whether the kernel can do it."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from ..launcher import identity, layers, linux, lookup, mount_calls, program
from ..launcher.declared_root import SKELETON
from ..launcher.errors import LauncherError
from ..launcher.excursion import in_child
from ..launcher.paths import STATE_DIRECTORY
from ..launcher.root_options import tree_of
from ..launcher.source import Source
from ..state import kept_layer
from . import id_maps
from .store import StoreView, open_bind_source

if TYPE_CHECKING:
    from ..launcher.contract import Specification
    from .facts import HostFacts

KERNEL = (5, 19)
"""The oldest one on which the parts of an overlay can have mapped ids."""

NEEDED = ("etc", "usr", "var")
SECONDS = 10.0
"""In which the kernel mounts an overlay, for a trial."""


def refused(host: HostFacts, specification: Specification) -> list[str]:
    """Return why a container cannot have the machine's root that is declared, each with a remedy."""
    if not specification.root.is_machine:
        return []
    said = _of_host(host, specification) + _of_tree(host, specification)
    if said or host.user_id or host.root != Path("/"):
        return said
    failed = _trial(specification)
    return [failed] if failed else []


def _of_host(host: HostFacts, specification: Specification) -> list[str]:
    if identity.available()[1]:
        return ["root: machine needs the host's own user namespace, and this host is itself a container"]
    found = re.match(r"(\d+)\.(\d+)", host.release)
    version = tuple(map(int, found.groups())) if found else (0,)
    if version < KERNEL and specification.private_users != "identity":
        needed = "root: machine needs Linux 5.19 or newer (overlays of id-mapped layers)"
        return [f"the kernel is {host.release}; {needed}: install a newer one, and reboot, or declare root: declared"]
    directory = host.path(f"{STATE_DIRECTORY}/containers/{specification.name}")
    reason = kept_layer.refusal(str(directory), specification)
    return [reason] if reason else []


def _of_tree(host: HostFacts, specification: Specification) -> list[str]:
    path = tree_of(specification.store.source)
    try:
        tree = open_bind_source(host.root, path)
    except OSError as error:
        return [f"the tree {path} cannot be the root of a machine: {error.strerror}; name the directory itself"]
    try:
        found = [said for name in SKELETON for said in _of_directory(tree, path, name)]
    finally:
        os.close(tree)
    first = specification.init.argv[0]
    view = StoreView(specification, host.root)
    if not found and not view.is_program(program.SHELL):
        found.append(
            f"the tree {path} has no {program.SHELL}, which every container begins with: install it in the tree (dash)"
        )
    if not found and not view.is_program(first):
        init = "systemd" if specification.init.systemd else "the init"
        found.append(
            f"the tree {path} has no {first}, {init} of the container: install it in the tree, name another tree, or "
            "another init"
        )
    return found


def _of_directory(tree: int, path: str, name: str) -> list[str]:
    """Return what is wrong with a directory that every root has, in a list; a link leads nowhere on the host."""
    try:
        mode = os.stat(name, dir_fd=tree, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return [f"the tree {path} has no {name}: a machine's root needs one"] if name in NEEDED else []
    if stat.S_ISDIR(mode):
        return []
    what = "a symbolic link" if stat.S_ISLNK(mode) else "no directory"
    return [f"{path}/{name} is {what}, and a machine's root needs a directory there: it is no tree of a whole system"]


def _trial(specification: Specification) -> str:
    """Return why the kernel mounts no such root, after a trial that nobody sees; nothing when it does."""
    if specification.private_users == "identity":
        return ""
    if specification.root.is_kept and not id_maps.can_keep():
        return (
            f"the file system of {STATE_DIRECTORY} cannot map ids, so no layer can be kept there: put it on ext4, xfs "
            "or btrfs, or declare layer: ephemeral"
        )
    try:
        with id_maps.user_namespace() as namespace:
            in_child(lambda: _mount(specification, namespace), SECONDS, keep=(namespace,))
    except (LauncherError, TimeoutError) as error:
        return str(error) or f"the kernel has not mounted an overlay within {SECONDS:g} s"
    except OSError:
        return ""  # it cannot be tried, and the start says what it finds
    return ""


def _mount(specification: Specification, namespace: int) -> str:
    linux.unshare(linux.CLONE_NEWNS)
    mount_calls.make_private("/")
    linux.prctl(linux.PR_SET_SECUREBITS, linux.SECBIT_NO_SETUID_FIXUP)
    os.setresgid(-1, id_maps.OWN_RANGES, -1)
    os.setresuid(-1, id_maps.OWN_RANGES, -1)
    source = Source(specification.store)
    target = lookup.open_root("/run")
    layer = layers.memory_layer([("mode", "0755"), ("size", "64k")])
    layers.mount(source.tree, layer, namespace, target, tree_of(specification.store.source), True)
    return ""
