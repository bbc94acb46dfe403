# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Putting a system on a host: check the host and the store, then write the system, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Iterable, NamedTuple

from ..host import (
    claims,
    facts,
    looking,
    preflight,
    preflight_network,
    preflight_sources,
    preflight_volumes,
    store,
    system_filter,
    unit_files,
)
from ..host.preflight_accounts import contradictions
from ..host.preflight_content import Content
from ..host.preflight_hidden import hidden_mappings
from ..host.preflight_paths import UnitPaths
from ..host.preflight_programs import Programs
from ..host.preflight_units import NamesInUnits
from ..host.preflight_unread import unread
from ..host.volume_options import parse_sizes
from ..launcher.errors import LauncherError
from ..launcher.specification import read_outline
from ..state import library, system_diff, volume_sizes
from ..state.system_content import SystemContent
from ..state.system_damage import damages, summary_of_damages
from ..state.systems import Systems
from ..state.target import Layout, TargetError
from . import main as _library_main  # noqa: F401  Ansible sends what is imported: all of the library
from . import software


class Staged:
    """The result of staging a system.

    :param content: the system.
    :param path: its directory, or where it would be.
    :param changed: whether it was not there yet, or was damaged.
    :param difference: what changes from the current system, when that was asked for.
    :param warnings: what a person should know.
    """

    def __init__(self, content: SystemContent, path: Path) -> None:
        self.content = content
        self.path = path
        self.damages = damages(path) if os.path.lexists(path) else []
        self.changed = bool(self.damages) or not os.path.lexists(path)
        self.difference: list[dict[str, str]] = []
        self.warnings: list[str] = []


class Named(NamedTuple):
    """The names in a system's files that the store does not have.

    :ivar refused: without which the container would not be what was declared.
    :ivar missing: programs that units start.
    :ivar absent: paths of the host that units need.
    :ivar warnings: what will not be as declared, and is no mistake of the declaration's.
    """

    refused: list[str]
    missing: list[str]
    absent: list[str]
    warnings: list[str]


def look_for_named(
    host: facts.HostFacts, view: store.StoreView, content: SystemContent, units: unit_files.UnitFiles | None = None
) -> Named:
    """Look in the store for what a system names in its files.

    :param units: what systemd says of its units, where that was asked.
    """
    programs = Programs(host, content.specification, lambda path: content.files[path].content, content.boot)
    words = Content(view, content.files)
    names = NamesInUnits(content.specification, programs.read, programs.texts)
    paths = UnitPaths(programs)
    missing, warnings = programs.said([] if units is None else units.commands)
    if content.specification.init.systemd and not content.specification.root.is_machine:  # which has its tree's units
        warnings = warnings + unread(content.files, programs.texts, content.boot)
    return Named(
        contradictions(view, content.specification, content.files)
        + words.problems()
        + programs.init()
        + names.problems()
        + paths.refused,
        list(dict.fromkeys(programs.units() + missing)),
        paths.missing,
        list(dict.fromkeys(words.warnings() + programs.warnings() + warnings + names.warnings() + paths.warnings))
        + hidden_mappings(content.specification, programs.texts),
    )


def refuse_namesake(system: dict[str, Any], name: str | None, root: Path) -> None:
    """Refuse a system whose container's name, made of its host name, is that of a container with another host name.

    That one may have been given its name, whatever its host name is.

    :raises TargetError: naming both, and the way out.
    """
    name = name or str(system["name"])
    current = Layout(root).current_system(name)
    try:
        known = read_outline(str(current)).host_name if current is not None else ""
    except (LauncherError, OSError):
        return  # it is damaged, or gone
    new = str((system.get("spec") or {}).get("host_name", ""))
    if not known or known.lower() == new.lower():
        return
    raise TargetError(
        f"the container {name!r} of this host is that of {known!r}, and {new!r} would replace it: the name is a host "
        "name up to its first dot. Set system_container_name: to another name where this is another container, "
        f"to {name!r} where it is the same one under a new host name"
    )


def sizes_kept(layout: Layout, content: SystemContent, volumes: Any, filtered: bool) -> list[str]:
    """Refuse sizes of volumes that this host cannot keep, or that are exceeded already. Return warnings.

    :param volumes: as they are declared.
    :param filtered: whether the system has a filter of system calls.
    :raises TargetError: naming the options.
    """
    given = parse_sizes(volumes)
    if not given:
        return []
    directory = str(layout.container(content.name))
    identity = content.specification.private_users == "identity"
    found = preflight_volumes.examine_sizes(directory, given, volume_sizes.read(directory), identity, filtered)
    if found.problems:
        raise TargetError("this host cannot run the container; nothing was changed. " + "; ".join(found.problems))
    return found.warnings


def stage(
    system: dict[str, Any],
    boot: str,
    secrets: dict[str, str] | None,
    name: str | None,
    root: Path,
    check: bool,
    diff: bool,
    without: Iterable[str] = (),
    foreseen_trees: dict[str, str] | None = None,
) -> Staged:
    """Put a system on the host below `root`, whole. Return the result.

    :param system: the result of the filter `system_files`, with the content of secret files in `secrets`.
    :param name: the container's name; None for the one in `system`.
    :param check: only find out what would be done. A missing program is a warning then: an earlier task may be about to
        install it. So are a missing source of a required mapping and what a unit needs of the host, which such a task
        may be about to make, and what another container has, which it may be about to end.
    :param without: containers that are to end in the same run, or to change.
    :param foreseen_trees: the trees that earlier tasks would make, as `software.content_of_tree` takes them.
    :raises TargetError: when the system, the host or the store stand in the way.
    """
    host = facts.HostFacts(root)
    layout = Layout(root)

    def resolve(tree: str) -> str:
        return software.content_of_tree(layout, tree, check, foreseen_trees)

    content = SystemContent(system, boot, library.sources(), host.interpreter, secrets, name, resolve)
    systems = Systems(layout)
    seccomp_filter = system_filter.compiled(content.specification.security)
    staged = Staged(content, systems.path(content, seccomp_filter))
    lacking = software.lacks_tree(layout, content, foreseen_trees)
    if lacking:
        staged.warnings.append(lacking)
        return staged
    needed = preflight.check_host(host, content.specification, check)
    staged.warnings += sizes_kept(layout, content, system.get("volumes"), seccomp_filter is not None)
    view = store.StoreView(content.specification, root)
    units = unit_files.UnitFiles(content, root) if staged.changed else None
    named = look_for_named(host, view, content, units)
    refused = named.refused + ([] if check else named.absent)
    if refused:
        raise TargetError(f"the container cannot run as it is declared; nothing was changed. {'; '.join(refused)}")
    staged.warnings += needed + (list(map(preflight_sources.needed, named.absent)) if check else [])
    # Of the mappings of a system that is there already its start speaks, and it may run.
    look = preflight.warnings_of_new if staged.changed else preflight.warnings
    staged.warnings += looking.in_time(lambda: look(host, content.specification))
    staged.warnings += system_filter.warnings(seccomp_filter)
    staged.warnings += named.warnings
    if check:
        staged.warnings += looking.in_time(
            lambda: [
                *claims.conflicts(host, layout, content.name, content.specification, without),
                *preflight_network.conflicts(content.name, content.specification, without),
            ]
        )
    if staged.damages:
        done = "would be" if check else "was"
        staged.warnings.append(
            f"the system {staged.path} was found damaged, and {done} written anew: "
            f"{summary_of_damages(staged.damages)}. "
            "What has been started from it since it was damaged may need a restart"
        )
    try:
        store.check_programs(view, system.get("programs") or [], named.missing)
    except TargetError as error:
        if not check:
            raise
        staged.warnings.append(str(error))
    if units is not None:
        units.check()
        staged.warnings += units.warnings
    if diff and staged.changed:
        current = layout.current_system(content.name)
        packages = system_diff.tree_packages(content.specification, layout.trees)
        wanted = system_diff.of_content(content, seccomp_filter, packages)
        found = system_diff.differences(system_diff.of_directory(current), wanted)
        staged.difference = system_diff.marked(found, current, staged.path)
    if not check:
        systems.write(content, seccomp_filter)
    return staged
