# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every module's result is valid UTF-8: results, errors and warnings, whatever names a container has chosen."""

from __future__ import annotations

import ast
import importlib
import json
import os
import pkgutil
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils import basic
from ansible_collections.unshare.container.plugins import modules
from ansible_collections.unshare.container.plugins.module_utils.host.readable_results import ReadableResults, readable

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "container_script": {"system": {"name": "x", "files": {}, "spec": {}}},
    "container_snapshot": {"name": "x"},
    "containers": {"containers": {}},
    "eval_container": {"argv": ["/bin/true"]},
    "system_container": {"name": "x"},
    "system_container_info": {},
    "container_archive": {"name": "x", "path": "/x.tar"},
    "container_move": {"name": "x", "peer": "two"},
    "tree": {"name": "x", "state": "absent"},
    "tree_archive": {"name": "x", "path": "/x.tar"},
    "tree_info": {},
}
BYTES = os.fsdecode(b"own\xff\xc3\xa9")  # a name as Python has it
TEXT = "own\ufffd\u00e9"


def classes(name: str) -> list[t.Any]:
    """Return the classes of a module that are modules of Ansible's."""
    module = importlib.import_module(f"{modules.__name__}.{name}")
    found = [each for each in vars(module).values() if isinstance(each, type) and issubclass(each, basic.AnsibleModule)]
    return [each for each in found if each is not basic.AnsibleModule]


MODULES = sorted(
    entry.name
    for entry in pkgutil.iter_modules(modules.__path__)
    if hasattr(importlib.import_module(f"{modules.__name__}.{entry.name}"), "main")
    and entry.name != "kept_code"  # which passes on what another one says
)


def test_all_modules_are_tried() -> None:
    assert sorted(ARGUMENTS) == MODULES


@pytest.mark.parametrize("name", MODULES)
def test_a_module_makes_no_module_but_its_own(name: str) -> None:
    (own,) = classes(name)
    assert own.__mro__.index(ReadableResults) < own.__mro__.index(basic.AnsibleModule)
    source = ast.parse((Path(next(iter(modules.__path__))) / f"{name}.py").read_text())
    (main,) = (node for node in source.body if isinstance(node, ast.FunctionDef) and node.name == "main")
    used = {node.id for node in ast.walk(main) if isinstance(node, ast.Name)}
    assert own.__name__ in used
    assert "AnsibleModule" not in used


@pytest.fixture(params=MODULES)
def module(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> t.Any:
    arguments = ARGUMENTS[request.param]
    monkeypatch.setattr(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode())
    monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
    monkeypatch.setattr(basic.AnsibleModule, "_log_invocation", lambda self: None)
    found = importlib.import_module(f"{modules.__name__}.{request.param}")
    (own,) = classes(request.param)
    return own(argument_spec=found.ARGUMENT_SPEC, supports_check_mode=True)


def said(capsys: pytest.CaptureFixture[str]) -> t.Any:
    """Return the result that a module has printed, which must be text, in whatever form JSON has it."""
    output = capsys.readouterr().out.strip().splitlines()[-1]
    output.encode()
    result = json.loads(output)
    json.dumps(result, ensure_ascii=False).encode()
    return result


def test_a_result(module: t.Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        module.exit_json(changed=False, state=BYTES, mounts=[{"type": BYTES, BYTES: (BYTES, 7, None)}])
    result = said(capsys)
    assert (result["state"], result["mounts"]) == (TEXT, [{"type": TEXT, TEXT: [TEXT, 7, None]}])
    assert result["changed"] is False
    assert "module_args" in result["invocation"]


def test_a_path_decides_nothing_else_of_a_result(
    module: t.Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ansible would say how large the directory of a snapshot is, where the module says how large the snapshot is."""
    with pytest.raises(SystemExit):
        module.exit_json(path=str(tmp_path), size=7)
    result = said(capsys)
    assert (result["path"], result["size"]) == (str(tmp_path), 7)
    assert not {"state", "mode", "owner", "group", "uid", "gid"} & result.keys()


@pytest.mark.parametrize("positional", [True, False])
def test_an_error(module: t.Any, capsys: pytest.CaptureFixture[str], positional: bool) -> None:
    message: t.Any = ([BYTES], {}) if positional else ([], {"msg": BYTES})
    with pytest.raises(SystemExit):
        module.fail_json(*message[0], **message[1], diff={"before": BYTES})
    result = said(capsys)
    assert (result["failed"], result["msg"], result["diff"]) == (True, TEXT, {"before": TEXT})


def test_a_warning(module: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(basic.AnsibleModule, "warn", lambda self, warning: warnings.append(warning))
    module.warn(BYTES)
    assert warnings == [TEXT]


def test_an_argument(module: t.Any, capsys: pytest.CaptureFixture[str]) -> None:
    module.params["name"] = BYTES
    with pytest.raises(SystemExit):
        module.exit_json()
    assert said(capsys)["invocation"]["module_args"]["name"] == TEXT


HOSTILE, SHOWN = "a\x1b]0;x\r\x07\u202eb", r"a\x1b]0;x\x0d\x07\u202eb"


def test_no_result_drives_a_terminal(module: t.Any, capsys: pytest.CaptureFixture[str]) -> None:
    data = {"stdout": HOSTILE, "stdout_lines": [HOSTILE], "stderr": HOSTILE, "diff": [{"after": HOSTILE}]}
    with pytest.raises(SystemExit):
        module.exit_json(failed_units=[HOSTILE], containers=[{"msg": HOSTILE + "\n\tx"}], log=HOSTILE, **data)
    result = said(capsys)
    assert (result["failed_units"], result["log"]) == ([SHOWN], SHOWN)
    assert result["containers"] == [{"msg": SHOWN + "\n\tx"}]
    assert {key: result[key] for key in data} == data, "what a command has written, and files, are not messages"


@pytest.mark.parametrize("positional", [True, False])
def test_no_error_drives_a_terminal(module: t.Any, capsys: pytest.CaptureFixture[str], positional: bool) -> None:
    message: t.Any = ([HOSTILE], {}) if positional else ([], {"msg": HOSTILE})
    with pytest.raises(SystemExit):
        module.fail_json(*message[0], **message[1], failed_units=[HOSTILE])
    result = said(capsys)
    assert (result["msg"], result["failed_units"]) == (SHOWN, [SHOWN])


def test_no_warning_drives_a_terminal(module: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(basic.AnsibleModule, "warn", lambda self, warning: warnings.append(warning))
    module.warn(f"{HOSTILE}\n[WARNING]: y")
    assert warnings == [f"{SHOWN} [WARNING]: y"]


@pytest.mark.parametrize("number", [0xD800, 0xDBFF, 0xDC00, 0xDC80, 0xDFFF])
def test_any_lone_surrogate_is_replaced(number: int) -> None:
    assert readable(f"a{chr(number)}b") == "a\ufffdb"
    assert readable(chr(0xD7FF) + chr(0xE000) + "\U0001f600") == chr(0xD7FF) + chr(0xE000) + "\U0001f600"
