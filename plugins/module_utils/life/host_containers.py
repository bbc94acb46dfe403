# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""All containers of a host, brought one after the other into the states that were asked for.

A failure of one container is part of its own result, and does not affect the others. First the controller names each
system by the digest of its content. It sends the content only when the host does not have the whole system.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Callable, Dict

from ..host import facts, system_filter
from ..launcher.contract import Security
from ..launcher.names import is_name, system_name
from ..state.system_content import digest_on_target
from ..state.systems import Systems
from ..state.target import Layout, TargetError
from .one_container import ERRORS, OneContainer, failure

Result = Dict[str, Any]


class HostContainers:
    """The containers of a host.

    :param root: the host's `/`, another directory in tests.
    :param declared: name to options, by `container_options.TASK_OPTIONS` with defaults filled in; `digest`, that of the
        content of the system to make current (None for the one that is); and `security`, those settings of it.
    :param systems: name to `system` and `boot`, for the systems whose content was sent.
    :param secrets: name to path to content, of the files marked as secret.
    :param make: makes the launcher's view of a container from its name.
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
    ) -> None:
        self.root = root
        self.layout = Layout(root)
        self.declared = declared
        self.contents = systems
        self.secrets = secrets
        self.make = make
        self.check = check
        self.diff = diff
        self.warnings: list[str] = []
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
        return [self._guarded(name, self._stage) for name in self.declared]

    def bring(self, roll_back: bool) -> list[Result]:
        """Bring every container into its state; the result of each, in the order in which they were declared.

        Those that are to end come first: what they have may be meant for the others.

        :param roll_back: whether a switch to a system that is not well is undone, for all of them. Otherwise only for
            those whose own options say so.
        """
        ending = self._ending()
        order = ending + [name for name in self.declared if name not in ending]
        results = {name: self._guarded(name, lambda name: self._bring(name, roll_back)) for name in order}
        return [results[name] for name in self.declared]

    def _ending(self) -> list[str]:
        return [name for name, options in self.declared.items() if options["state"] in ("absent", "stopped")]

    def purge(self, options: dict[str, Any]) -> list[Result]:
        """Remove the containers that were not declared. Return the result of each.

        :param options: those of a container that is to be absent.
        """
        return [self._guarded(name, lambda name: self._one(name, None, options, False)) for name in self.unnamed()]

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
        options = self.declared[name]
        system, changed, difference = self._system(name)
        one = OneContainer(self.layout, self.make(name), system, options, False)
        one.without = self._others(name)
        one.beside = self._beside(name)
        one.refuse_strangers(self.check, staging=True)
        pending = one.cycle.would_change(options["state"])
        if pending:
            one.examine_before(self.check)
        self._warn(one.warnings)
        result: Result = {"name": name, "changed": changed, "pending": pending, "system": str(system or "")}
        return dict(result, diff=difference) if difference else result

    def _bring(self, name: str, roll_back: bool) -> Result:
        system, changed, difference = self._system(name)
        options = self.declared[name]
        result = self._one(name, system, options, roll_back or options["roll_back"])
        result["changed"] = result["changed"] or changed
        differences = difference + ([result.pop("diff")] if "diff" in result else [])
        return dict(result, diff=differences) if differences else result

    def _one(self, name: str, system: Path | None, options: dict[str, Any], roll_back: bool) -> Result:
        one = OneContainer(self.layout, self.make(name), system, options, roll_back)
        one.without = self._others(name) if self.check else []
        one.beside = self._beside(name)
        try:
            return one.bring(self.check, self.diff)
        finally:
            self._warn(one.warnings)

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
        )
        self._warn(staged.warnings)
        if staged.path != path:
            raise TargetError(f"the system of {name!r} is not the one that was announced; run again")
        return staged.path, staged.changed, staged.difference

    def _others(self, name: str) -> list[str]:
        """Return the containers that this run brings into other states beside one: what they have now says little."""
        return [other for other in self.declared if other != name]

    def _beside(self, name: str) -> list[str]:
        """Return the containers that the host has after this run, beside one."""
        return [other for other in self._others(name) if self.declared[other]["state"] != "absent"]

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

        :raises TargetError: its system-call filter, a part of its name, cannot be made.
        """
        digest = self.declared[name]["digest"]
        if not digest:
            return None
        python = facts.HostFacts(self.root).interpreter
        return self.layout.systems / system_name(digest_on_target(digest, python, self._filter(name)), name)
