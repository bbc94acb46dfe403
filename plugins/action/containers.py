# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action plugin that derives the systems of a host's containers, and sends the host only those that it lacks.

The first round trip tells the host the digests, and has the content of small systems, which costs less than another
trip. A host that has all of the systems brings its containers up at once, and most runs end with that. Another host
names the systems that it lacks, and gets them with the second round trip. From then on, such a system is sent to the
further hosts of the run with the first round trip, unasked. With `async` there is one round trip alone, with all
systems.
"""

from __future__ import annotations

from typing import Any

from ansible import constants
from ansible.errors import AnsibleActionFail
from ansible_collections.unshare.container.plugins.plugin_utils.declared_containers import (
    Declared,
    DerivedSystems,
    declared_containers,
    refuse_shared,
    refuse_unknown_units,
    report,
)
from ansible_collections.unshare.container.plugins.plugin_utils.errors import DeclarationError
from ansible_collections.unshare.container.plugins.plugin_utils.hiding_action import HidingAction
from ansible_collections.unshare.container.plugins.plugin_utils.namesakes import namesake_in_run
from ansible_collections.unshare.container.plugins.plugin_utils.shipping import Shipping, declared_trees, refuse_absent
from ansible_collections.unshare.container.plugins.plugin_utils.unknown_names import refuse_alike
from ansible_collections.unshare.container.plugins.plugin_utils.vaulted import shown

ROLE = "unshare.container.containers"
VARIABLES = ("purge", "restart_outdated", "roll_back", "stage", "trees", "result")
"""The variables of the role of the same name, without their prefix."""


UNASKED = 64 << 10
"""Characters of systems that a host is sent with the first round trip, whether it lacks them or not."""


class ActionModule(HidingAction):
    """The plugin that runs the module of the same name."""

    MODULE = "unshare.container.containers"

    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any] | None, texts: frozenset[str]) -> dict[str, Any]:
        """Derive the systems that `arguments` declare, apply them, and return the module's result.

        :raises DeclarationError: naming the place.
        """
        role = getattr(self._task, "_role", None)
        if role is not None and role.get_name() == ROLE:
            refuse_alike(task_vars or {}, VARIABLES, "containers_", "the role")
        for reserved in ("systems", "secrets", "foreseen_trees"):
            if reserved in arguments:
                raise AnsibleActionFail(f"{reserved}: is filled in from 'containers', and cannot be given")
        trees = declared_trees(arguments.pop("trees", {}))
        if trees and self.is_detached:
            raise AnsibleActionFail("async: nobody would bring the 'trees'; leave out 'async', or make them before")
        declared = declared_containers(arguments.get("containers", {}), texts)
        refuse_absent(trees, {item.name: item.derivation.get("store") for item in declared})
        derivation = DerivedSystems(str(constants.DEFAULT_LOCAL_TMP))  # type: ignore[attr-defined]
        refuse_shared(declared, derivation)
        refuse_unknown_units(declared, derivation)
        self._refuse_namesakes(declared, task_vars)
        arguments["containers"] = {item.name: {**item.options, **derivation.announcement(item)} for item in declared}
        brought = self._bring_trees(trees, task_vars)
        if brought and brought[-1].get("failed"):
            return shown(_with_trees({"changed": False}, brought), texts)
        foreseen = self.foreseen_trees(task_vars)
        if foreseen:
            arguments["foreseen_trees"] = foreseen
        # Nobody is there to answer a host that names systems in the result of a task with `async`.
        lacked = [item for item in declared if self.is_detached or derivation.is_lacked(item)]
        lacked += small(declared, lacked, derivation)
        done = self._send(arguments, [derivation.system(item) for item in lacked], task_vars)
        if done.get("missing"):
            missing = [item for item in declared if item.name in done["missing"]]
            for item in missing:
                derivation.note_lacked(item)
            lacked += missing
            done = self._send(arguments, [derivation.system(item) for item in lacked], task_vars)
        self._explain(declared, done)
        _with_trees(done, brought)
        return shown(done, {text for item in declared for text in item.vaulted})

    def _bring_trees(self, trees: dict[str, dict[str, Any]], task_vars: dict[str, Any] | None) -> list[dict[str, Any]]:
        """Bring trees to the host, until one cannot be. Return the results of the module `tree`."""
        brought: list[dict[str, Any]] = []
        for name, options in trees.items():
            done = Shipping(self, {**options, "name": name}, task_vars, f"trees.{name}.").bring()
            brought.append(done)
            if done.get("failed"):
                done["msg"] = f"trees.{name}: {done.get('msg', 'has failed')}"
                break
        return brought

    def _refuse_namesakes(self, declared: list[Declared], task_vars: dict[str, Any] | None) -> None:
        """Refuse a container that another task of this run has declared with another host name."""
        target = self._task.delegate_to or (task_vars or {}).get("inventory_hostname", "")
        for item in declared:
            host_name = (item.derivation.get("operating_system") or {}).get("host_name")
            said = namesake_in_run(str(constants.DEFAULT_LOCAL_TMP), str(target), item.name, host_name)  # type: ignore[attr-defined]
            if said:
                raise DeclarationError(f"containers.{item.name}", said)

    def _send(
        self, arguments: dict[str, Any], systems: list[dict[str, Any]], task_vars: dict[str, Any] | None
    ) -> dict[str, Any]:
        """Run the module with the content of some systems, secrets apart."""
        sent = {
            **arguments,
            "systems": {item["name"]: {"system": item["system"], "boot": item["boot"]} for item in systems},
            "secrets": {item["name"]: item["secrets"] for item in systems if item["secrets"]},
        }
        return self.send(sent, task_vars)

    def _explain(self, declared: list[Declared], done: dict[str, Any]) -> None:
        """Show with `--diff`, before the differences, what the containers do not take over from their declarations."""
        if not (self._task.diff and done.get("diff")):
            return
        reports = []
        for item in declared:
            lines = report(item)
            if lines:
                reports.append({"prepared": f"container {item.name}, of its declaration:\n" + "\n".join(lines) + "\n"})
        done["diff"] = reports + done["diff"]


def small(declared: list[Declared], sent: list[Declared], derivation: DerivedSystems) -> list[Declared]:
    """Return those of a host's containers, beside others that are sent, whose systems are sent unasked: the first."""
    room = UNASKED
    found = []
    for item in declared:
        if item.derivation and item not in sent and derivation.size(item) <= room:
            room -= derivation.size(item)
            found.append(item)
    return found


def _with_trees(done: dict[str, Any], brought: list[dict[str, Any]]) -> dict[str, Any]:
    """Add the results of trees to that of the containers, and return it."""
    if not brought:
        return done
    differences: list[Any] = [tree.pop("diff") for tree in brought if "diff" in tree]
    kept = ("name", "changed", "content", "former_content", "package_changes", "failed", "msg")
    done["trees"] = [{key: tree[key] for key in kept if key in tree} for tree in brought]
    done["changed"] = bool(done.get("changed")) or any(tree.get("changed") for tree in brought)
    if differences:
        found = done.get("diff", [])
        done["diff"] = differences + (found if isinstance(found, list) else [found])
    if brought[-1].get("failed"):
        done.update(failed=True, msg=brought[-1]["msg"])
    return done
