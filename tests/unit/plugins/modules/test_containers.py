# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the module says of containers that nobody declared, and of systems that it is told by their digests."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host import preflight, store
from ansible_collections.unshare.container.plugins.module_utils.launcher import contract, seccomp
from ansible_collections.unshare.container.plugins.module_utils.life import examination, staging
from ansible_collections.unshare.container.plugins.module_utils.state import library
from ansible_collections.unshare.container.plugins.module_utils.state.system_content import SystemContent
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout
from ansible_collections.unshare.container.plugins.modules import containers

from ..module_utils.specifications import SMALL
from .conftest import RunModule
from .test_system_container import Host


@pytest.mark.parametrize(("purge", "count"), [(None, 0), (False, 1)])
def test_the_warning_names_what_removes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_module: RunModule, purge: bool | None, count: int
) -> None:
    monkeypatch.setattr(containers, "ROOT", tmp_path)
    Layout(tmp_path).generations("old").mkdir(parents=True)
    result = run_module(containers.main, containers={}, purge=purge)
    assert result["unnamed"] == ["old"]
    assert len(result["warnings"]) == count
    for warning in result["warnings"]:
        assert "not declared: old; 'containers_purge: true' (of this module alone, 'purge: true') removes" in warning


NAME = "test-unit-containers"
SYSTEM: dict[str, t.Any] = {
    "name": NAME,
    "files": {"/etc/hostname": {"content": "web\n"}},
    "spec": SMALL,
}


class Target:
    """A host that can run anything, told of one system as the action plugin does; nothing is started.

    Attributes:
        made: what its libseccomp makes of the security settings `nesting`, false and true.
    """

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, run_module: RunModule) -> None:
        self.run_module = run_module
        self.made: list[bytes | None] = [b"filter", b"filter for nesting"]
        self.asked: list[t.Any] = []
        monkeypatch.setattr(containers, "ROOT", root)
        monkeypatch.setattr(preflight, "check_host", lambda host, specification, check=False: [])
        monkeypatch.setattr(preflight, "warnings", lambda host, specification: [])
        monkeypatch.setattr(store, "StoreView", lambda *arguments: None)
        monkeypatch.setattr(store, "check_programs", lambda *arguments: None)
        monkeypatch.setattr(staging, "look_for_named", lambda *arguments: staging.Named([], [], [], []))
        monkeypatch.setattr(examination, "examine", lambda *arguments: examination.Examined([], []))
        monkeypatch.setattr(seccomp, "compile_filter", self.compile_filter)
        monkeypatch.setattr(library, "sources", lambda: {"main.py": ""})  # all of it takes long to compile

    def compile_filter(self, security: contract.Security) -> bytes | None:
        self.asked.append(security)
        return self.made[security.nesting]

    def run(self, check: bool = False, sent: bool = False, names: t.Sequence[str] = (NAME,)) -> dict[str, t.Any]:
        """One round trip, with the content of the systems or without."""
        content = SystemContent(SYSTEM, "boot", library.sources(), "", None, NAME)
        told = {"digest": content.content_digest(), "security": {}}
        systems = {name: {"system": SYSTEM, "boot": "boot"} for name in names} if sent else {}
        return self.run_module(
            containers.main, check=check, containers=dict.fromkeys(names, told), stage=True, systems=systems
        )

    def system(self) -> Path:
        """Return the system of a run that changes nothing."""
        result = self.run()
        assert not result["changed"]
        return Path(result["containers"][0]["system"])


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_module: RunModule) -> Target:
    return Target(tmp_path, monkeypatch, run_module)


def test_a_system_is_asked_for_once(target: Target) -> None:
    for check in (True, False):
        assert target.run(check)["missing"] == [NAME]
        assert target.run(check, sent=True)["changed"]
    for check in (True, False):
        for sent in (True, False):
            assert "missing" not in target.run(check, sent)
            assert not target.run(check, sent)["changed"]


def test_another_filter_is_another_system(target: Target) -> None:
    target.run(sent=True)
    first = target.system()
    assert (first / "seccomp.bpf").read_bytes() == b"filter"
    for made in (b"other", None):
        target.made[0] = made
        assert target.run()["missing"] == [NAME]
        planned, done = target.run(check=True, sent=True), target.run(sent=True)
        assert (planned["changed"], done["changed"]) == (True, True)
        assert planned["containers"][0]["system"] == done["containers"][0]["system"] == str(target.system())
        assert target.system() != first
        for check in (True, False):
            warnings = target.run(check)["warnings"]
            assert len([warning for warning in warnings if "libseccomp is not on this host" in warning]) == (not made)
    assert not (target.system() / "seccomp.bpf").exists()
    target.made[0] = b"filter"
    assert target.system() == first


def test_a_filter_for_other_settings_does_not_matter(target: Target) -> None:
    target.run(sent=True)
    first = target.system()
    target.made[1] = b"other"
    assert target.system() == first


def test_a_filter_is_made_once_in_a_run(target: Target) -> None:
    target.run(sent=True)
    target.asked.clear()
    target.run()
    assert len(target.asked) == 1


@pytest.mark.parametrize("staged", [False, True])
def test_a_difference_of_content_is_shown_once_whether_or_not_it_is_staged(
    tmp_path: Path, target: Target, monkeypatch: pytest.MonkeyPatch, staged: bool
) -> None:
    monkeypatch.setattr(containers, "Container", Host(tmp_path))
    if staged:
        target.run(sent=True)
    content = SystemContent(SYSTEM, "boot", library.sources(), "", None, NAME)
    declared = {"digest": content.content_digest(), "security": {}, "wait": False}
    given: dict[str, t.Any] = {"containers": {NAME: declared}, "systems": {NAME: {"system": SYSTEM, "boot": "boot"}}}
    planned = target.run_module(containers.main, check=True, **given)
    done = target.run_module(containers.main, **given)
    assert planned["diff"] == done["diff"]
    titles = [entry["after_header"] for entry in done["diff"]]
    assert titles == [*titles[:-1], f"container {NAME}"]
    assert titles[:-1] == ["/etc/hostname", "boot", "store", "settings", "system-call filter", "launcher"]
    again = target.run_module(containers.main, **given)
    assert (again["changed"], "diff" in again) == (False, False)


def test_a_library_that_fails_is_the_containers_error(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(specification: dict[str, t.Any]) -> bytes:
        raise OSError(22, "Invalid argument", "libseccomp: export")

    monkeypatch.setattr(seccomp, "compile_filter", fail)
    failed = target.run()
    assert failed["failed"]
    assert "missing" not in failed
    assert f"container '{NAME}': libseccomp cannot make the system-call filter" in failed["msg"]


@pytest.mark.parametrize("sent_unasked", [True, False])
def test_a_damaged_system_is_asked_for_and_mended(target: Target, sent_unasked: bool) -> None:
    target.run(sent=True)
    system = target.system()
    whole = (system / "spec.json").read_bytes()
    (system / "spec.json").unlink()
    if not sent_unasked:
        for check in (True, False):
            assert target.run(check)["missing"] == [NAME]
    planned = target.run(check=True, sent=True)
    assert not (system / "spec.json").exists()
    done = target.run(sent=True)
    for result, word in ((planned, "would be"), (done, "was")):
        assert result["changed"]
        assert result["containers"][0]["changed"]
        (warning,) = result["warnings"]
        assert f"{system} was found damaged, and {word} written anew: spec.json is missing" in warning
    assert (system / "spec.json").read_bytes() == whole
    assert target.system() == system
    assert target.run()["warnings"] == []


def test_v4_state_that_goes_back_is_no_matter_of_a_run_that_switches_nothing(target: Target) -> None:
    """A rollout, or a move, that stages says to undo a switch when it switches."""
    content = SystemContent(SYSTEM, "boot", library.sources(), "", None, NAME).content_digest()
    told = {NAME: {"digest": content, "security": {}, "roll_back_state": True}}
    sent = {NAME: {"system": SYSTEM, "boot": "boot"}}
    for check in (True, False):
        staged = target.run_module(containers.main, check=check, containers=told, stage=True, systems=sent)
        assert (staged.get("msg"), staged["changed"]) == (None, True)
    failed = target.run_module(containers.main, containers=told, systems=sent)
    assert "roll_back_state: needs roll_back: true" in failed["msg"]


def test_a_system_that_was_not_announced_is_refused(target: Target) -> None:
    content = SystemContent(SYSTEM, "boot", library.sources(), "", None, NAME).content_digest()
    told = {NAME: {"digest": content, "security": {}}}
    sent = {NAME: {"system": {**SYSTEM, "files": {"/etc/x": {"content": ""}}}, "boot": "boot"}}
    failed = target.run_module(containers.main, containers=told, stage=True, systems=sent)
    assert "is not the one that was announced" in failed["msg"]
