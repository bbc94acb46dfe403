# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check mode tells the truth: what it says of a run is what the run then does, changes, warns of and refuses."""

from __future__ import annotations

import json
import os
import tempfile
import traceback
import typing as t
from pathlib import Path

import pytest
from ansible import constants
from ansible.errors import AnsibleActionFail
from ansible_collections.unshare.container.plugins.action.container_script import ActionModule as WriteSystem
from ansible_collections.unshare.container.plugins.action.containers import ActionModule as BringAll
from ansible_collections.unshare.container.plugins.action.system_container import ActionModule as BringUp
from ansible_collections.unshare.container.plugins.module_utils.life.container import Container
from ansible_collections.unshare.container.plugins.module_utils.life.one_container import OneContainer
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout
from ansible_collections.unshare.container.plugins.modules import container_script, containers, system_container
from ansible_collections.unshare.container.plugins.modules.containers import options_of
from ansible_collections.unshare.container.tests.unit.plugins.action import conftest as of_actions
from ansible_collections.unshare.container.tests.unit.plugins.modules import conftest as of_modules

from .conftest import contain, files_of

NAME = "test-check-mode"
pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]
run, run_module = of_actions.run, of_modules.run_module
MODULES = {
    "container_script": container_script.main,
    "containers": containers.main,
    "system_container": system_container.main,
}

GIVEN = {"path": "/dev/full", "target": "/dev/given"}
CHANGES, STAYS, REFUSED, NEEDED = "changes", "stays", "is refused", "is refused, unless an earlier task mends it"


def machine(text: str = "1", **more: t.Any) -> dict[str, t.Any]:
    """Return a declaration with a file of this text."""
    services = [{"type": "simple", "value": {"target": "etc", "value": {"motd": text}}}, *more.pop("services", [])]
    return {"host_name": NAME, "services": services, **more}


def unit(**sections: t.Any) -> dict[str, t.Any]:
    return {"type": "unit", "value": {"name": "a", "sections": {"Service": {"ExecStart": "/bin/sleep 1d", **sections}}}}


class Attempt(t.Protocol):
    """Runs a task of an action plugin with its arguments; returns its result."""

    def __call__(self, kind: t.Any, arguments: dict[str, t.Any], /) -> dict[str, t.Any]: ...


class Case(t.NamedTuple):
    """Something that is tried: how it ends, a part of what is said, the tasks, and what happens to the host before."""

    ends: str
    said: str
    act: t.Callable[[Attempt], list[dict[str, t.Any]]]
    before: t.Callable[[], object] | None = None


class Cases:
    """What is tried, in this order, upon one container: how it ends, and a part of what is said of it."""

    def __init__(self, directory: Path) -> None:
        self.cases: dict[str, Case] = {}
        later, needed, data = (str(directory / name) for name in ("later", "needed", "data"))
        (directory / "data").mkdir()
        (directory / "file").touch()
        (directory / "link").symlink_to("data")
        failing = {"commands": [{"argv": ["/bin/false"]}], "timeout": 5}
        optional, required = [f"{later}=/srv/later"], [{"source": needed, "target": "/srv/needed", "required": True}]

        self.role("first", CHANGES, machine())
        self.role("again", STAYS, machine())
        self.role("a_file", CHANGES, machine("2"))
        self.all("back", CHANGES, state="rolled_back", generation=1)
        self.all("nowhere_to_go", REFUSED, state="rolled_back", generation=99)
        self.role("staged_before", CHANGES, machine("2"))
        self.role("optional", CHANGES, machine(), f"{later}: does not exist on the host", mappings=optional)
        self.role("optional_again", STAYS, machine(), f"{later}: does not exist on the host", mappings=optional)
        again: dict[str, t.Any] = {"operating_system": machine(), "state": "restarted"}
        self.all("optional_restarted", CHANGES, f"{later}: does not exist on the host", mappings=optional, **again)
        self.role("healed", CHANGES, machine(), mappings=optional, before=lambda: Path(later).mkdir())
        self.role("required", NEEDED, machine(), "ansible.builtin.file", mappings=required)
        self.role("required_made", CHANGES, machine(), mappings=required, before=lambda: Path(needed).mkdir())
        self.all("required_gone", NEEDED, "ansible.builtin.file", mappings=required, **again,
                 before=lambda: Path(needed).rmdir())  # fmt: skip
        self.all("a_link", REFUSED, operating_system=machine(), mappings=[f"{directory}/link=/x"])
        self.all("below_a_file", REFUSED, operating_system=machine(), mappings=[f"{directory}/file/x=/x"])
        self.all("no_device", NEEDED, "devices[1]: this host has no /dev/no-such", operating_system=machine(),
                 devices=[GIVEN, "/dev/no-such"])  # fmt: skip
        self.all("device", CHANGES, operating_system=machine(), devices=[GIVEN])
        self.all("device_again", STAYS, operating_system=machine(), devices=[GIVEN])
        self.all("no_credential", NEEDED, "credentials.token: ", operating_system=machine(),
                 credentials={"token": {"path": f"{directory}/token"}})  # fmt: skip
        self.all("credential", CHANGES, operating_system=machine(), credentials={"token": "one"})
        self.all("credential_again", STAYS, operating_system=machine(), credentials={"token": "one"})
        self.all("another_value", CHANGES, operating_system=machine(), credentials={"token": "two"})
        self.role("limits", CHANGES, machine(), limits={"tasks_max": 500})
        self.all("limits_again", STAYS, operating_system=machine(), limits={"tasks_max": 500})
        self.all("no_such_limit", REFUSED, operating_system=machine(), limits={"tasks_max": "many"})
        self.all("more_than_memory", CHANGES, operating_system=self.disk("size=4G"), limits={"memory_max": "512M"})
        self.all("wrong_options", REFUSED, operating_system=self.disk("size=much"))
        self.all("in_tmp", CHANGES, "not seen by a.service", operating_system=machine(services=[unit(PrivateTmp=True)]),
                 mappings=[f"{data}=/tmp/data"])  # fmt: skip
        self.all("plain", CHANGES, operating_system=machine())
        self.all("unwell", REFUSED, health=failing, operating_system=machine())
        self.all("limit_of_what_runs", CHANGES, operating_system=machine(), limits={"tasks_max": 700})
        self.all("another_limit", CHANGES, operating_system=machine("3"), limits={"tasks_max": 600})
        self.all("after_itself", REFUSED, operating_system=machine("3"), after=[NAME])
        self.all("no_generation", REFUSED, operating_system=machine("3"), keep_generations=0)
        self.all("nesting", CHANGES, operating_system=machine(), security={"nesting": True})
        self.all("identity", CHANGES, operating_system=machine(), private_users="identity", mappings=[data])
        self.all("network", CHANGES, operating_system=machine(), shared_network=True)
        self.all("log", CHANGES, operating_system=machine(), log="persistent")
        self.all("ids", CHANGES, operating_system=machine(), private_users=65536 * 100)
        self.all("other_ids", REFUSED, operating_system=machine(), private_users=3000000)
        shared = {"source": data, "target": "/srv/data", "writable": True}
        self.all("slave", CHANGES, operating_system=machine(), mappings=[{**shared, "propagation": "slave"}])
        self.all("foreign", CHANGES, operating_system=machine(), private_users="identity",
                 mappings=[shared],
                 before=lambda: os.chown(data, 70000, 70000))  # fmt: skip
        self.all("no_wait", CHANGES, operating_system=machine(), wait=False)
        self.all("redis", CHANGES, "lies in memory", operating_system=machine(services=[{"type": "redis"}]))
        self.all("no_zone", REFUSED, operating_system=machine(timezone="Mars/Olympus"))
        self.all("a_program", NEEDED, "nosuch, which is not there",
                 operating_system=machine(services=[unit(ExecStart="/usr/bin/nosuch")]))  # fmt: skip
        self.all("fuse", CHANGES, operating_system=machine(), security={"fuse": True})
        self.all("fewer", CHANGES, operating_system=machine(), keep_generations=1)
        self.all("stopped", CHANGES, operating_system=machine(), state="stopped")
        self.all("stopped_again", STAYS, operating_system=machine(), state="stopped")
        self.all("stopped_and_another", CHANGES, operating_system=machine("4"), state="stopped")
        self.all("started", CHANGES, operating_system=machine("4"))
        self.all("staged", CHANGES, operating_system=machine("5"), stage=True)
        self.all("staged_again", STAYS, operating_system=machine("5"), stage=True)
        self.all("switched", CHANGES, operating_system=machine("5"))
        self.all("absent", CHANGES, state="absent")
        self.all("absent_again", STAYS, state="absent")

    @staticmethod
    def disk(options: str) -> dict[str, t.Any]:
        """Return a declaration with a tmpfs."""
        mount = {"device": "none", "mount_point": "/srv/m", "type": "tmpfs", "options": options}
        return machine(file_systems=[{**mount, "needed_for_boot": True}])

    def role(self, name: str, ends: str, system: dict[str, t.Any], said: str = "", **more: t.Any) -> None:
        """Try the modules of the role, one after the other."""
        options = {"name": NAME, "limits": more.pop("limits", {})}
        mappings = more.pop("mappings", [])

        def act(attempt: Attempt) -> list[dict[str, t.Any]]:
            made = contain(system, mappings=mappings)
            written = attempt(WriteSystem, {"name": NAME, "system": files_of(made)})
            if written.get("failed"):
                return [written]
            return [written, attempt(BringUp, {**options, "system": written["system"]})]

        self.cases[name] = Case(ends, said, act, **more)

    def all(self, name: str, ends: str, said: str = "", stage: bool = False, **options: t.Any) -> None:
        """Try the module `containers`."""
        before = options.pop("before", None)
        given = {"containers": {NAME: options}, "stage": stage}
        self.cases[name] = Case(ends, said, lambda attempt: [attempt(BringAll, given)], before)


@pytest.fixture
def removed(host_unchanged: None) -> t.Iterator[None]:
    """Take away the container that a playbook made, with all of its systems."""
    yield
    OneContainer(Layout(), Container(NAME), None, options_of({"state": "absent"}, NAME), False).bring(False, False)


class Outcome:
    """What is said of a case, in check mode or of a run."""

    def __init__(self, results: list[dict[str, t.Any]]) -> None:
        self.changed = [result.get("changed", False) for result in results]
        said = {warning for result in results for warning in result["warnings"]}
        # Which limits of its own a start has is known to who starts.
        self.warnings = {warning for warning in said if not warning.startswith("resource limits: ")}
        self.refused = "".join(result["msg"] for result in results if result.get("failed"))
        self.diff = [entry for result in results for entry in _entries(result)]

    def __repr__(self) -> str:
        return f"changed {self.changed}, refused {self.refused!r}, warnings {sorted(self.warnings)}, diff {self.diff}"


def _entries(result: dict[str, t.Any]) -> list[t.Any]:
    found = result.get("diff", []) if result.get("changed") else []
    return found if isinstance(found, list) else [found]


def in_process(work: t.Callable[[], dict[str, t.Any]]) -> dict[str, t.Any]:
    """Return the result of `work`, which a process of its own does, as Ansible has it."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        with open(write, "w") as stream:
            try:
                stream.write(json.dumps(work()))
            except BaseException:
                stream.write(json.dumps({"failed": True, "msg": traceback.format_exc(), "warnings": []}))
        os._exit(0)
    os.close(write)
    with open(read) as stream:
        said = stream.read()
    os.waitpid(child, 0)
    result: dict[str, t.Any] = json.loads(said)
    return result


@pytest.mark.usefixtures("removed")
@pytest.mark.long
def test_what_check_mode_says_is_so(
    tmp_path: Path, run: of_actions.Run, run_module: of_modules.RunModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    def outcome(case: Case, check: bool) -> Outcome:
        def execute(
            name: str, module_args: dict[str, t.Any], task_vars: dict[str, t.Any], wrap_async: bool
        ) -> dict[str, t.Any]:
            assert not wrap_async
            return in_process(lambda: run_module(MODULES[name.rpartition(".")[2]], check=check, **module_args))

        def attempt(kind: t.Any, arguments: dict[str, t.Any], /) -> dict[str, t.Any]:
            try:
                return run(kind, arguments, check=check, diff=True)
            except AnsibleActionFail as error:
                return {"failed": True, "msg": str(error), "warnings": []}

        monkeypatch.setattr(run, "_execute", execute)
        monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", tempfile.mkdtemp(dir=tmp_path))  # a run of its own
        return Outcome(case.act(attempt))

    wrong = []
    for name, case in Cases(tmp_path).cases.items():
        if case.before is not None:
            case.before()
        planned, done = outcome(case, True), outcome(case, False)
        if case.ends == NEEDED:
            true = {
                "taken": not planned.refused,
                "warned": case.said in " ".join(planned.warnings),
                "refused": case.said in done.refused != "",
            }
        else:
            true = {
                "refused": planned.refused == done.refused and bool(done.refused) == (case.ends == REFUSED),
                "changed": planned.changed == done.changed,
                "expected": any(done.changed) == (case.ends == CHANGES),
                "warnings": planned.warnings == done.warnings,
                "said": case.said in " ".join(done.warnings),
                "diff": planned.diff == done.diff,
            }
        lies = [what for what, is_so in true.items() if not is_so]
        if lies:
            wrong.append(f"{name}: {', '.join(lies)}:\n  planned: {planned}\n  done: {done}")
    assert not wrong, "\n".join(wrong)
