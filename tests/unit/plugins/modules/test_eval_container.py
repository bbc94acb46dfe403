# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the module returns, with a run that is made up."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.unshare.container.plugins.doc_fragments import view
from ansible_collections.unshare.container.plugins.module_utils.evaluation import run as evaluation
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.modules import eval_container

if t.TYPE_CHECKING:
    from .conftest import RunModule


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[t.Any]:
    """Return the requests that were run; the outcome is what a test puts into `outcome`."""
    asked: list[t.Any] = []
    outcome.__init__()  # type: ignore[misc]

    def run(request: t.Any, requisites: t.Any) -> evaluation.Outcome:
        asked.append(request)
        return outcome

    monkeypatch.setattr(eval_container.evaluation, "run", run)
    return asked


outcome = evaluation.Outcome()


def test_returns_what_a_command_returns(run_module: RunModule, runs: list[t.Any]) -> None:
    outcome.output, outcome.error, outcome.warnings = b"caf\xc3\xa9\xff\n\n", b"e", ["careful"]
    outcome.closure, outcome.truncated = ["/usr"], True
    result = run_module(eval_container.main, cmd="say something")
    assert result["changed"] is True
    assert {
        key: result[key] for key in ("rc", "stdout", "stderr", "cmd", "msg", "timed_out", "truncated", "closure")
    } == {
        "rc": 0,
        "stdout": "café\ufffd",
        "stderr": "e",
        "cmd": "say something",
        "msg": "",
        "timed_out": False,
        "truncated": True,
        "closure": ["/usr"],
    }
    assert result["start"] <= result["end"]
    assert result["delta"].startswith("0:00:0")
    assert result["warnings"] == ["careful"]
    assert run_module(eval_container.main, cmd="x", strip_empty_ends=False)["stdout"] == "café\ufffd\n\n"


def test_a_code_other_than_0_is_a_failure(run_module: RunModule, runs: list[t.Any]) -> None:
    outcome.code, outcome.output = 143, b"said"
    result = run_module(eval_container.main, argv=["/bin/true"])
    assert (result["failed"], result["rc"], result["msg"]) == (True, 143, "non-zero return code")
    assert (result["stdout"], result["cmd"]) == ("said", ["/bin/true"])


def test_the_end_of_its_time_is_a_failure_with_what_was_said(run_module: RunModule, runs: list[t.Any]) -> None:
    outcome.code, outcome.output, outcome.expired = 137, b"so far", True
    result = run_module(eval_container.main, cmd="x", timeout=2.5)
    assert (result["failed"], result["timed_out"], result["msg"]) == (True, True, "killed after 2.5 s")
    assert result["stdout"] == "so far"


def test_what_could_not_be_started_has_no_code(run_module: RunModule, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(_request: t.Any, _requisites: t.Any) -> t.NoReturn:
        raise LauncherError("mapping: cannot bind /a at /b: ENOENT (No such file or directory)")

    monkeypatch.setattr(eval_container.evaluation, "run", run)
    result = run_module(eval_container.main, cmd="x")
    assert result["failed"] is True
    assert "ENOENT" in result["msg"]
    assert "rc" not in result


def test_creates_and_removes(run_module: RunModule, runs: list[t.Any], tmp_path: Path) -> None:
    (tmp_path / "there-1").write_text("")
    there, missing = f"{tmp_path}/there-*", f"{tmp_path}/missing-*"
    for check in (False, True):
        skipped = run_module(eval_container.main, check=check, cmd="x", creates=there)
        assert (skipped["changed"], skipped["rc"]) == (False, 0)
        assert "exists" in skipped["msg"]
        assert run_module(eval_container.main, check=check, cmd="x", removes=missing)["changed"] is False
    assert runs == []
    for given in ({"creates": missing}, {"removes": there}):
        assert run_module(eval_container.main, cmd="x", **given)["changed"] is True
    assert len(runs) == 2


def test_check_mode_runs_nothing(run_module: RunModule, runs: list[t.Any], tmp_path: Path) -> None:
    result = run_module(eval_container.main, check=True, cmd="x")
    assert (result["changed"], result["skipped"]) == (False, True)
    result = run_module(eval_container.main, check=True, cmd="x", creates=f"{tmp_path}/missing")
    assert (result["changed"], result.get("skipped")) == (True, False)
    assert runs == []


def test_exactly_one_command(run_module: RunModule, runs: list[t.Any]) -> None:
    assert "one of the following is required" in run_module(eval_container.main)["msg"]
    assert "mutually exclusive" in run_module(eval_container.main, cmd="x", argv=["y"])["msg"]


def test_a_package_manager_that_fails(run_module: RunModule, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    manager = tmp_path / "guix"
    manager.write_text('#!/bin/sh\n[ "$1 $2" = "gc --requisites" ] || exit 9\necho "no $3" >&2\nexit 1\n')
    manager.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setattr(eval_container.evaluation, "run", lambda _request, requisites: requisites(["/gnu/store/a"]))
    result = run_module(eval_container.main, cmd="x", closure="guix")
    assert result["msg"] == "closure: guix does not know what /gnu/store/a refers to: no /gnu/store/a"
    manager.write_text("#!/bin/sh\nshift 2\necho /gnu/store/libc; printf '%s\\n' \"$@\"\n")
    asked: list[str] = []

    def run(_request: t.Any, requisites: t.Any) -> evaluation.Outcome:
        asked.extend(requisites(["/gnu/store/a"]))
        return evaluation.Outcome()

    monkeypatch.setattr(eval_container.evaluation, "run", run)
    assert run_module(eval_container.main, cmd="x", closure="guix")["rc"] == 0
    assert asked == ["/gnu/store/libc", "/gnu/store/a"]


def test_the_documentation_is_that_of_the_options() -> None:
    documented = {
        **yaml.safe_load(eval_container.DOCUMENTATION)["options"],
        **yaml.safe_load(view.ModuleDocFragment.DOCUMENTATION)["options"],
    }
    assert set(documented) == set(eval_container.ARGUMENT_SPEC)
    for name, specification in eval_container.ARGUMENT_SPEC.items():
        for key in ("type", "choices", "default"):
            assert documented[name].get(key) == specification.get(key), (name, key)
