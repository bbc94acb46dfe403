# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""All containers of a host, brought one after the other into the states that were asked for.

What goes wrong with one is its own result, and does not keep the others from theirs. The controller names each system
by the digest of its content first; only when the host does not have it is the content asked for.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Callable, Dict

from . import preflight
from .launcher.names import system_name
from .launcher.specification import is_name
from .one_container import ERRORS, OneContainer, failure
from .system_content import digest_on_target
from .systems import Systems
from .target import Layout, TargetError

Result = Dict[str, Any]


class HostContainers:
    """The containers of a host.

    :param root: the host's `/`, another directory in tests.
    :param declared: name to options, by `one_container.OPTIONS` with the defaults filled in, and `digest`, which names
        the system to make current (None for the one that is).
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

    def missing(self) -> list[str]:
        """The containers whose system is not on the host, and whose content was not sent either."""
        return [
            name
            for name, options in self.declared.items()
            if options["digest"] and name not in self.contents and not self._path(name, options["digest"]).is_dir()
        ]

    def unnamed(self) -> list[str]:
        """The containers of the host that were not declared."""
        try:
            found = sorted(os.listdir(self.layout.containers))
        except FileNotFoundError:
            return []
        known = [name for name in found if is_name(name) and (self.layout.container(name) / "generations").is_dir()]
        return [name for name in known if name not in self.declared]

    def stage(self) -> list[Result]:
        """Have every system on the host, and change nothing else; the result of each container.

        In a result `pending` says whether bringing the container into its state would change it.
        """
        return [self._guarded(name, self._stage) for name in self.declared]

    def bring(self, roll_back: bool) -> list[Result]:
        """Bring every container into its state; the result of each.

        :param roll_back: whether a switch to a system that is not well is undone.
        """
        return [self._guarded(name, lambda name: self._bring(name, roll_back)) for name in self.declared]

    def purge(self, options: dict[str, Any]) -> list[Result]:
        """Remove the containers that were not declared; the result of each.

        :param options: those of a container that is to be absent.
        """
        return [self._guarded(name, lambda name: self._one(name, None, options, False)) for name in self.unnamed()]

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
        pending = one.cycle.would_change(options["state"])
        result: Result = {"name": name, "changed": changed, "pending": pending, "system": str(system or "")}
        return dict(result, diff=difference) if difference else result

    def _bring(self, name: str, roll_back: bool) -> Result:
        system, changed, difference = self._system(name)
        result = self._one(name, system, self.declared[name], roll_back)
        result["changed"] = result["changed"] or changed
        differences = difference + ([result.pop("diff")] if "diff" in result else [])
        return dict(result, diff=differences) if differences else result

    def _one(self, name: str, system: Path | None, options: dict[str, Any], roll_back: bool) -> Result:
        one = OneContainer(self.layout, self.make(name), system, options, roll_back)
        try:
            return one.bring(self.check, self.diff)
        finally:
            self.warnings += [warning for warning in one.warnings if warning not in self.warnings]

    def _system(self, name: str) -> tuple[Path | None, bool, list[dict[str, str]]]:
        """The system that is to be current, on the host from now on; whether it is new; how it differs."""
        digest = self.declared[name]["digest"]
        if not digest:
            return None, False, []
        path = self._path(name, digest)
        if name not in self.contents or path.is_dir():
            if not self.check:
                Systems(self.layout).touch(path)
            return path, False, []
        from .staging import stage  # half of the code, and most runs need none of it

        content = self.contents[name]
        staged = stage(
            content["system"], content["boot"], self.secrets.get(name), name, self.root, self.check, self.diff
        )
        if staged.content.content_digest() != digest:
            raise TargetError(f"the system of {name!r} is not the one that was announced; run again")
        self.warnings += [warning for warning in staged.warnings if warning not in self.warnings]
        return staged.path, staged.changed, staged.difference

    def _path(self, name: str, digest: str) -> Path:
        python = preflight.HostFacts(self.root).interpreter
        return self.layout.systems / system_name(digest_on_target(digest, python), name)
