# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""All containers of a host, brought one after the other into the states that were asked for.

A container comes after those that it requires, or is to start after, whatever the order of their declaration.

A failure of one container is part of its own result, and does not affect the others. First the controller names each
system by the digest of its content. It sends the content only when the host does not have the whole system.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, NamedTuple

from ..host import facts, system_filter
from ..host.module_main import ERRORS
from ..launcher.contract import Security, Specification
from ..launcher.names import is_name, system_name
from ..state import holds
from ..state.system_content import digest_on_target
from ..state.systems import Systems
from ..state.target import Layout, TargetError
from .one_container import OneContainer, failure
from .software import content_of_tree

Result = Dict[str, Any]


MOVING = "container '%s': is not declared, and is not removed all the same: %s"
LEFT = (
    "container '%s': is left as it is: nothing is stopped or removed in a run in which another container is refused "
    "(%s). Mend what is refused, or take it out of the declaration"
)


class Prepared(NamedTuple):
    """A container whose system is on the host.

    :ivar changed: whether the system is new there.
    :ivar difference: how it differs from the former one, when that was asked for.
    :ivar foreseen: `ends`, whether it is to be stopped or removed, and `stays`, whether it goes on as it is.
    """

    one: OneContainer
    changed: bool
    difference: list[dict[str, str]]
    foreseen: dict[str, bool]


def ordered(declared: dict[str, dict[str, Any]]) -> list[str]:
    """Return the names of containers, each after those of `requires` and `after`, else in their order.

    Where these lead in a circle, `requires` alone counts; in a circle of that, the order of the declaration.
    """
    found = _after_what_they_name(declared, ("requires", "after"))
    place = {name: index for index, name in enumerate(found)}
    if all(place.get(other, -1) < place[name] for name in found for other in declared[name].get("requires") or ()):
        return found
    return _after_what_they_name(declared, ("requires",))


def _after_what_they_name(declared: dict[str, dict[str, Any]], options: tuple[str, ...]) -> list[str]:
    found: list[str] = []
    begun: set[str] = set()
    for first in declared:
        pending = [(first, False)]
        while pending:
            name, is_complete = pending.pop()
            if is_complete:
                found.append(name)
            elif name in declared and name not in begun:
                begun.add(name)
                named = [other for option in options for other in declared[name].get(option) or ()]
                pending += [(name, True), *((other, False) for other in reversed(named))]
    return found


@contextlib.contextmanager
def closed_at_its_end(one: OneContainer) -> Iterator[None]:
    """Close in the end what is open of a container: a host may have more of them than a process may have open files."""
    try:
        yield
    finally:
        one.container.cgroup.close()


class HostContainers:
    """The containers of a host.

    :param root: the host's `/`, another directory in tests.
    :param declared: name to options, by `container_options.TASK_OPTIONS` with defaults filled in; `digest`, that of the
        content of the system to make current (None for the one that is); `security`, those settings of it; and `tree`,
        the name of the tree that it is made for, if any.
    :param systems: name to `system` and `boot`, for the systems whose content was sent.
    :param secrets: name to path to content, of the files marked as secret.
    :param make: makes the launcher's view of a container from its name.
    :param restart_outdated: whether units that run outdated software are restarted, in containers that go on running.
    :param foreseen_trees: the trees that earlier tasks would make, as `software.content_of_tree` takes them.
    """

    def __init__(
        self,
        root: Path,
        declared: dict[str, dict[str, Any]],
        systems: dict[str, dict[str, Any]],
        secrets: dict[str, dict[str, str]],
        make: Callable[[str], Any],
        check: bool = False,
        diff: bool = False,
        restart_outdated: bool = False,
        foreseen_trees: dict[str, str] | None = None,
    ) -> None:
        self.foreseen_trees = foreseen_trees or {}
        self.root = root
        self.layout = Layout(root)
        self.declared = declared
        self.contents = systems
        self.secrets = secrets
        self.make = make
        self.check = check
        self.diff = diff
        self.restart_outdated = restart_outdated
        self.warnings: list[str] = []
        self._ending: list[str] = []
        self._order = ordered(declared)
        self._staying: set[str] = set()
        self._planned: dict[str, Specification] = {}
        self._filters: dict[str, bytes | None] = {}

    def missing(self) -> list[str]:
        """Return the containers whose system is missing or damaged on the host, and whose content was not sent."""
        return [name for name in self.declared if name not in self.contents and self._lacks(name)]

    def unnamed(self) -> list[str]:
        """Return the containers of the host that were not declared."""
        try:
            found = sorted(os.listdir(self.layout.containers))
        except FileNotFoundError:
            return []
        known = [name for name in found if is_name(name) and (self.layout.container(name) / "generations").is_dir()]
        return [name for name in known if name not in self.declared]

    def stage(self) -> list[Result]:
        """Put every system on the host, and change nothing else. Return the result of each container.

        In a result `pending` says whether bringing the container into its state would change it.
        """
        self._ending = self._named(self.declared)
        return [self._guarded(name, self._stage) for name in self.declared]

    def bring(self, roll_back: bool, purge: dict[str, Any] | None = None) -> list[Result]:
        """Bring every container into its state; the result of each, in the order in which they were declared.

        Those that are to end come first: what they have may be meant for the others. Before that the systems of all are
        put on the host and looked at. When one is refused, nothing ends, for it may be the former name of that one.

        :param roll_back: whether a switch to a system that is not well is undone, for all of them. Otherwise only for
            those whose own options say so.
        :param purge: the options of a container that is to be absent, for those that were not declared; their results
            come last. None leaves them alone.
        """
        wanted = dict(self.declared)
        if purge is not None:
            noted = ((name, holds.told(str(self.layout.container(name)))) for name in self.unnamed())
            moving = {name: said for name, said in noted if said is not None}
            self._warn([MOVING % (name, said) for name, said in moving.items()])
            wanted.update(dict.fromkeys((name for name in self.unnamed() if name not in moving), purge))
        self._ending = self._named(wanted)
        order = self._ending + [name for name in self._order if name not in self._ending]
        prepared: dict[str, Prepared] = {}

        def prepare(name: str) -> Result:
            prepared[name] = self._prepare(name, wanted[name], roll_back or wanted[name]["roll_back"])
            return prepared[name].foreseen

        results = {name: self._guarded(name, prepare) for name in order}
        if any(prepared[name].foreseen["ends"] for name in self._ending if name in prepared):
            self._staying = {name for name, found in prepared.items() if found.foreseen["stays"]}
            for name in order:
                if name in prepared and name not in self._ending:
                    results[name] = self._guarded(name, lambda name: self._foresee(name, prepared[name]))
        refused = [name for name in wanted if results[name].get("failed")]
        for name in order:
            if name in refused:
                continue
            if refused and prepared[name].foreseen["ends"]:
                results[name] = {"name": name, "changed": prepared[name].changed, "failed": True}
                results[name]["msg"] = LEFT % (name, ", ".join(refused))
            else:
                results[name] = self._guarded(name, lambda name: self._bring(prepared[name]))
        return [results[name] for name in wanted]

    @staticmethod
    def _named(wanted: dict[str, dict[str, Any]]) -> list[str]:
        """Return the containers that are to end."""
        return [name for name, options in wanted.items() if options["state"] in ("absent", "stopped")]

    def _lacks(self, name: str) -> bool:
        """Return whether the content of the container's system is needed. An error says no: it comes again later."""
        try:
            path = self._path(name)
        except TargetError:
            return False
        return path is not None and not Systems.is_whole(path)

    def _guarded(self, name: str, act: Callable[[str], Result]) -> Result:
        try:
            return act(name)
        except ERRORS as error:
            result = {"name": name, "changed": False, **failure(error, name)}
            if name not in result["msg"].partition("\n")[0]:
                result["msg"] = f"container {name!r}: {result['msg']}"
            return result

    def _stage(self, name: str) -> Result:
        # Whether its switch is undone, and what goes back with it then, is asked of the run that switches.
        options = {**self.declared[name], "roll_back_state": False}
        system, changed, difference = self._system(name)
        one = OneContainer(self.layout, self.make(name), system, options, False, self.restart_outdated)
        one.without = self._others(name)
        one.beside, one.earlier = self._beside(name), self._earlier(name)
        with closed_at_its_end(one):
            one.refuse_strangers(self.check, staging=True)
            pending = one.cycle.would_change(options["state"])
            if pending:
                one.examine_before(self.check)
            if self.restart_outdated:
                pending = one.foresee_refreshing(self.check) or pending
        self._warn(one.warnings)
        result: Result = {"name": name, "changed": changed, "pending": pending, "system": str(system or "")}
        return dict(result, diff=difference) if difference else result

    def _prepare(self, name: str, options: dict[str, Any], roll_back: bool) -> Prepared:
        """Put the container's system on the host, and find out what becomes of the container."""
        system, changed, difference = self._system(name) if name in self.declared else (None, False, [])
        one = OneContainer(self.layout, self.make(name), system, options, roll_back, self.restart_outdated)
        one.beside, one.earlier = self._beside(name), self._earlier(name)
        one.shown = bool(difference)
        one.specification = self._planned.get(name)
        ending = name in self._ending
        foreseen = {"ends": ending and one.would_end, "stays": not ending and one.stays}
        return Prepared(one, changed, difference, foreseen)

    def _foresee(self, name: str, prepared: Prepared) -> Result:
        """Look at the container as it will be found when those before it have ended, or changed."""
        prepared.one.without = self._others(name)
        with closed_at_its_end(prepared.one):
            prepared.one.foresee(self.check)
        return {}

    def _bring(self, prepared: Prepared) -> Result:
        one = prepared.one
        one.without = self._others(one.name) if self.check else []
        try:
            with closed_at_its_end(one):
                result = one.bring(self.check, self.diff)
        finally:
            self._warn(one.warnings)
        result["changed"] = result["changed"] or prepared.changed
        found = result.pop("diff", [])
        differences = prepared.difference + (found if isinstance(found, list) else [found])
        return dict(result, diff=differences) if differences else result

    def _system(self, name: str) -> tuple[Path | None, bool, list[dict[str, str]]]:
        """Put the system to make current on the host. Return its path, whether it is new, and how it differs."""
        path = self._path(name)
        if path is None:
            return None, False, []
        if name not in self.contents or Systems.is_whole(path):  # without content `missing` has found it whole
            self._warn(system_filter.warnings(self._filter(name)))
            if not self.check:
                Systems(self.layout).touch(path)
            return path, False, []
        from .staging import stage  # half of the code, and most runs need none of it

        content = self.contents[name]
        staged = stage(
            content["system"],
            content["boot"],
            self.secrets.get(name),
            name,
            self.root,
            self.check,
            self.diff,
            self._others(name),
            self.foreseen_trees,
        )
        self._warn(staged.warnings)
        if self.check and staged.changed:
            self._planned[name] = staged.content.specification
        if staged.path != path:
            raise TargetError(f"the system of {name!r} is not the one that was announced; run again")
        return staged.path, staged.changed, staged.difference

    def _others(self, name: str) -> list[str]:
        """Return the containers that this run will have ended or changed before one: what they have now says little."""
        if name in self._ending:
            return []
        before = self._order[: self._order.index(name)]
        return self._ending + [other for other in before if other not in (*self._ending, *self._staying)]

    def _earlier(self, name: str) -> list[str]:
        """Return the containers that the host has when this run comes to one, beside that one."""
        order = [*self._ending, *(other for other in self._order if other not in self._ending)]
        return [other for other in self._beside(name) if other in order[: order.index(name)]]

    def _beside(self, name: str) -> list[str]:
        """Return the containers that the host has after this run, beside one."""
        return [other for other in self.declared if other != name and self.declared[other]["state"] != "absent"]

    def _warn(self, warnings: list[str]) -> None:
        self.warnings += [warning for warning in warnings if warning not in self.warnings]

    def _filter(self, name: str) -> bytes | None:
        """Return the system-call filter of the container's system. Raise TargetError."""
        security = self.declared[name]["security"] or {}
        key = json.dumps(security, sort_keys=True)
        if key not in self._filters:
            self._filters[key] = system_filter.compiled(Security.read(security))
        return self._filters[key]

    def _path(self, name: str) -> Path | None:
        """Return the place of the system to make current; None keeps the current one.

        :raises TargetError: its system-call filter, a part of its name, cannot be made, or there is no such tree.
        """
        digest = self.declared[name]["digest"]
        if not digest:
            return None
        python = facts.HostFacts(self.root).interpreter
        tree = self.declared[name].get("tree")
        content = content_of_tree(self.layout, tree, self.check, self.foreseen_trees) if tree else ""
        return self.layout.systems / system_name(digest_on_target(digest, python, self._filter(name), content), name)
