# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The code of modules is sent only to hosts that lack it."""

from __future__ import annotations

import ast
import base64
import io
import tarfile
import types
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils import basic
from ansible_collections.unshare.container.plugins.action.system_container import ActionModule
from ansible_collections.unshare.container.plugins.modules.kept_code import ROOMS
from ansible_collections.unshare.container.plugins.plugin_utils import kept_code
from ansible_collections.unshare.container.plugins.plugin_utils.errors import DeclarationError
from ansible_collections.unshare.container.plugins.plugin_utils.kept_code import KeptCode

from .conftest import Run

LACKS = {"changed": False, "lacks_code": True}
TASK = {"name": "web", "state": "stopped"}


def archives(run: Run) -> list[bool]:
    """Return for each time that something was sent whether the code was."""
    return ["archive" in code for code in run.codes]


def test_a_host_that_has_the_code_is_sent_its_digest_alone(run: Run) -> None:
    run.answers = [{"changed": True}]
    assert run(ActionModule, TASK) == {"changed": True}
    assert run.sent == [("unshare.container.system_container", TASK)]
    assert archives(run) == [False]


def test_a_host_that_lacks_it_gets_it_with_the_same_arguments(run: Run) -> None:
    run.answers = [LACKS, {"changed": True}]
    assert run(ActionModule, TASK) == {"changed": True}
    assert run.sent == [("unshare.container.system_container", TASK)] * 2
    assert archives(run) == [False, True]
    assert len({code["digest"] for code in run.codes}) == 1


def test_others_get_it_unasked_until_one_has_had_it(run: Run) -> None:
    run.answers = [LACKS, {"changed": True}]
    for host in ("web1", "web2"):
        run(ActionModule, TASK, host=host)
    assert archives(run) == [False, True, True]


def test_where_one_has_had_it_the_others_are_asked(run: Run) -> None:
    run.answers = [{"changed": True}, LACKS, {"changed": True}]
    for host in ("web1", "web2", "web3"):
        run(ActionModule, TASK, host=host)
    assert archives(run) == [False, False, True, False]


def test_who_cannot_be_asked_gets_it(run: Run) -> None:
    run(ActionModule, TASK, async_val=60)
    assert archives(run) == [True]


def test_the_archive_has_all_modules_and_what_they_import(tmp_path: Path) -> None:
    code = KeptCode(str(tmp_path))
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(code.archive)), mode="r:gz") as members:
        found = {member.name: members.extractfile(member) for member in members}
        texts = {name: file.read() for name, file in found.items() if file}
    plugins = kept_code.PLUGINS
    expected = [*plugins.glob("modules/*.py"), *plugins.glob("module_utils/*/*.py")]
    assert texts == {str(path.relative_to(plugins)): path.read_bytes() for path in expected}
    assert {"modules/containers.py", "module_utils/launcher/paths.py"} <= texts.keys()


def test_what_it_imports_of_ansible_comes_with_the_module_that_runs_it() -> None:
    """That one imports `basic` alone, and Ansible sends what this imports."""

    def imported(path: Path) -> set[str]:
        nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
        return {node.module for node in nodes if node.module and node.module.startswith("ansible.module_utils.")}

    files = [path for room in ROOMS for path in (kept_code.PLUGINS / room).rglob("*.py")]
    needed = {name for path in files for name in imported(path)}
    assert "ansible.module_utils.common.arg_spec" in needed
    assert needed <= {"ansible.module_utils.basic", *imported(Path(basic.__file__))}


@pytest.mark.parametrize("change", ["content", "name"])
def test_each_change_of_a_file_has_a_digest_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    for room in ROOMS:
        (tmp_path / "plugins" / room).mkdir(parents=True)
    monkeypatch.setattr(kept_code, "PLUGINS", tmp_path / "plugins")
    file = tmp_path / "plugins/modules/a.py"
    file.write_text("a = 1\n")
    first = KeptCode(str(tmp_path / "one")).digest
    later = KeptCode(str(tmp_path / "two"))
    assert later.digest == first
    if change == "content":
        file.write_text("a = 2\n")
    else:
        file.rename(file.with_name("b.py"))
    assert KeptCode(str(tmp_path / "three")).digest != first
    with pytest.raises(DeclarationError, match="have changed while this run used them: run it again"):
        _ = later.archive  # would be kept by the name of the former


def test_it_is_made_once_for_all_hosts_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = KeptCode(str(tmp_path))
    made = (first.digest, first.archive)
    nothing: t.Any = types.SimpleNamespace()  # where each look at a file fails
    monkeypatch.setattr(kept_code, "PLUGINS", nothing)
    assert (KeptCode(str(tmp_path)).digest, KeptCode(str(tmp_path)).archive) == made
