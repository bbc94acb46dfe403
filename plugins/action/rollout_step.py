# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action plugin for the steps of a rollout. A journal on the controller notes each, and says whether to go on."""

from __future__ import annotations

from typing import Any

from ansible import constants
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible_collections.unshare.container.plugins.action import containers
from ansible_collections.unshare.container.plugins.plugin_utils import rollout, rollout_variables
from ansible_collections.unshare.container.plugins.plugin_utils.errors import DeclarationError
from ansible_collections.unshare.container.plugins.plugin_utils.hiding_action import guarded
from ansible_collections.unshare.container.plugins.plugin_utils.rollout_page import page
from ansible_collections.unshare.container.plugins.plugin_utils.vaulted import hidden_message

from ..module_utils.launcher.paths import write_atomically
from ..module_utils.launcher.printable import printable

NOTED = (
    "name",
    "generation",
    "former_generation",
    "boot_seconds",
    "failed_units",
    "system",
    "rolled_back_to",
    "restarted_units",
    "outdated_units",
)
"""The keys of a container's result that the journal keeps."""


class ActionModule(containers.ActionModule):
    """The plugin that runs one step. The journal notes how it ended, so it cannot go on by itself."""

    _supports_async = False

    def act(
        self, _arguments: dict[str, Any], task_vars: dict[str, Any] | None, texts: frozenset[str]
    ) -> dict[str, Any]:
        """Run the step, and return its result."""
        variables = task_vars or {}
        _checked, given = self.validate_argument_spec(
            {
                "step": {
                    "type": "str",
                    "required": True,
                    "choices": ["begin", "stage", "open_wave", "switch", "note", "undo", "report"],
                },
                "containers": {"type": "dict", "default": {}},
                "trees": {"type": "dict", "default": {}},
                "purge": {"type": "bool"},
                "restart_outdated": {"type": "bool", "default": False},
                "wave": {"type": "int", "default": 0},
                "size": {"type": "int", "default": 1},
                "max_fail_percentage": {"type": "raw", "default": 0.0},
                "message": {"type": "str", "default": ""},
                "page": {"type": "path"},
                "variables": {"type": "dict", "default": {}},
            }
        )
        self.journal = rollout.Journal(str(constants.DEFAULT_LOCAL_TMP))  # type: ignore[attr-defined]
        if given["step"] != "begin" and not self.journal.has_begun():
            raise AnsibleActionFail(
                f"step: '{given['step']}' finds no rollout that has begun; run the step 'begin' first, in the same run "
                "of ansible-playbook"
            )
        self.host = str(variables.get("inventory_hostname", ""))
        self.given = given
        self.texts = texts
        self.limit = self._limit()
        result: dict[str, Any] = getattr(self, f"step_{given['step']}")(variables)
        return result

    def _limit(self) -> float:
        """Return how many percent may fail. Where the host has failed already, or fails for it, it does not matter."""
        try:
            return rollout_variables.percentage(self.given["max_fail_percentage"], "max_fail_percentage")
        except DeclarationError:
            unused = self.given["step"] not in ("stage", "switch", "note")
            checked = self.given["step"] == "stage" and self.given["variables"]
            if unused or checked or self.journal.record(self.host).get("outcome") in rollout.BAD:
                return 0.0
            raise

    def _check(self, variables: dict[str, Any]) -> None:
        """Check the variables of the playbook that the task was given. Raise AnsibleActionFail."""
        if self.given["variables"]:
            guarded(lambda: rollout_variables.check_variables(self.given["variables"], variables), self.texts)

    @property
    def _restarts(self) -> dict[str, bool]:
        return {"restart_outdated": True} if self.given["restart_outdated"] else {}

    def step_begin(self, variables: dict[str, Any]) -> dict[str, Any]:
        self._check(variables)
        self.journal.begin()
        return {"changed": False}

    def step_stage(self, variables: dict[str, Any]) -> dict[str, Any]:
        try:
            self._check(variables)
            done = self._contain({"stage": True, "trees": self.given["trees"], **self._restarts}, variables)
        except AnsibleActionFail as error:
            done = {"failed": True, "changed": False, "msg": str(error)}
        if done.get("failed"):
            outcome = rollout.UNREACHABLE if done.get("not_reached") else rollout.NOT_STAGED
            self._note(outcome, done)
            size = len(variables.get("ansible_play_hosts_all") or [1])
            self.journal.fail(self.host, 0, size, self.limit)
        else:
            done["pending"] = any(entry.get("pending") for entry in done.get("containers", []))
            self._note(rollout.STAGED, done)
        return done

    def step_open_wave(self, variables: dict[str, Any]) -> dict[str, Any]:
        reason = self.journal.stopped()
        batch = [str(host) for host in variables.get("ansible_play_batch") or []]
        return {
            "changed": False,
            "goes_on": reason is None,
            "reason": reason,
            "wave": self.journal.open_wave(batch),
            "size": len(batch),
        }

    def step_switch(self, variables: dict[str, Any]) -> dict[str, Any]:
        known = self.journal.record(self.host)
        if known.get("outcome") in rollout.BAD:
            return {"changed": False, "skipped": True, "serving": False, "skip_reason": known["outcome"]}
        if self.journal.stopped() is not None:
            self._note(rollout.HELD_BACK, {})
            return {"changed": False, "skipped": True, "serving": False, "skip_reason": rollout.HELD_BACK}
        done = self._contain({"roll_back": True, "purge": self.given["purge"], **self._restarts}, variables)
        outcome = rollout.UNREACHABLE if done.get("not_reached") else rollout.outcome_of(done)
        self._note(outcome, done)
        done["serving"] = outcome in rollout.SERVING
        if outcome in rollout.BAD:
            self.journal.fail(self.host, self.given["wave"], self.given["size"], self.limit)
        return done

    def step_note(self, _variables: dict[str, Any]) -> dict[str, Any]:
        """Note that a task beside this plugin's own, such as a hook's, has failed."""
        known = self.journal.record(self.host)
        if known.get("outcome") not in rollout.BAD:
            message = hidden_message(self.given["message"], self.texts)
            self.journal.note(self.host, {"outcome": rollout.FAILED, "message": message})
            self.journal.fail(self.host, self.given["wave"], self.given["size"], self.limit)
        return {"changed": False}

    def step_undo(self, variables: dict[str, Any]) -> dict[str, Any]:
        known = self.journal.record(self.host)
        former = {
            entry["name"]: entry["former_generation"]
            for entry in known.get("containers", [])
            if entry.get("former_generation") is not None
        }
        if self.journal.stopped() is None or known.get("outcome") != rollout.SWITCHED or not former:
            return {"changed": False, "skipped": True}
        wanted = {}
        for name, generation in former.items():
            options = dict(self.given["containers"].get(name) or {})
            for option in ("health", "roll_back", "roll_back_state"):  # they were made for the new system
                options.pop(option, None)
            wanted[name] = {**options, "state": "rolled_back", "generation": generation}
        self.given["containers"] = wanted
        done = self._contain({}, variables)
        self._note(rollout.FAILED if done.get("failed") else rollout.UNDONE, done)
        return done

    def step_report(self, _variables: dict[str, Any]) -> dict[str, Any]:
        summary = self.journal.summary(bool(self._task.check_mode))
        result: dict[str, Any] = {
            "changed": False,
            "failed": summary["failed"],
            "msg": rollout.headline(summary),
            "hosts": [{**record, "message": _first_line(record)} for record in summary["hosts"]],
        }
        if self.given["page"]:
            self._write_page(self.given["page"], page(summary))
            result["page"] = self.given["page"]
        self._display.display("\n".join(rollout.text(summary)))
        return result

    def _contain(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        """Run the module `containers`. Turn a lost connection and an unusable declaration into failed results."""
        try:
            sent = {"containers": self.given["containers"], **arguments}
            return guarded(lambda: super(ActionModule, self).act(sent, variables, self.texts), self.texts)
        except AnsibleConnectionFailure as error:
            return {
                "failed": True,
                "not_reached": True,
                "changed": False,
                "msg": printable(f"cannot be reached: {error}"),
            }
        except AnsibleActionFail as error:
            return {"failed": True, "changed": False, "msg": str(error)}

    def _note(self, outcome: str, done: dict[str, Any]) -> None:
        kept = [{key: entry[key] for key in NOTED if key in entry} for entry in done.get("containers", [])]
        record: dict[str, Any] = {"outcome": outcome, "message": str(done.get("msg", ""))}
        if kept:
            record["containers"] = kept
        self.journal.note(self.host, record)

    @staticmethod
    def _write_page(path: str, text: str) -> None:
        """Replace the page in one step."""
        try:
            write_atomically(path, text, 0o644)
        except OSError as error:
            raise AnsibleActionFail(f"page: {path} cannot be written: {error}") from error


def _first_line(record: dict[str, Any]) -> str:
    return str(record.get("message", "")).partition("\n")[0]
