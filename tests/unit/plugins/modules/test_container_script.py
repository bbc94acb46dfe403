# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module four ways (check, run, check, run), and that it keeps secrets."""

from __future__ import annotations

import copy
import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils import staging
from ansible_collections.unshare.container.plugins.modules import container_script

from ..module_utils.specifications import SMALL
from .conftest import RunModule

SECRET = "alice:$y$secret:::::::\n"
SYSTEM: dict[str, t.Any] = {
    "name": "web",
    "files": {
        "/etc/hostname": {"content": "web\n", "mode": "0644"},
        "/etc/shadow": {"mode": "0640", "gid": 42, "secret": True},
    },
    "directories": [{"path": "/srv"}],
    "host_files": [],
    "spec": {**SMALL, "init": {"argv": ["/usr/bin/init"]}},
    "activation": [],
    "programs": [{"service": "web", "program": "/usr/bin/served", "package": "web-server"}],
    "packages": ["web-server"],
}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host that has all that is needed, but no library to compile filters with."""
    for directory in ("proc/self/ns", "proc/sys/user", "usr/bin"):
        (tmp_path / directory).mkdir(parents=True)
    (tmp_path / "proc/self/ns/user").touch()
    (tmp_path / "proc/filesystems").write_text("nodev\tcgroup2\n")
    (tmp_path / "usr/bin/served").touch(0o755)
    monkeypatch.setattr(container_script, "ROOT", tmp_path)
    monkeypatch.setattr(staging.seccomp, "compile_filter", lambda security: None)
    return tmp_path


def arguments(**changes: t.Any) -> dict[str, t.Any]:
    system = copy.deepcopy(SYSTEM)
    system.update(changes)
    return {"system": system, "boot": "#!/bin/sh\n", "secrets": {"/etc/shadow": SECRET}}


def listing(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def test_four_ways(root: Path, run_module: RunModule) -> None:
    before = listing(root)
    planned = run_module(container_script.main, check=True, **arguments())
    assert listing(root) == before
    done = run_module(container_script.main, **arguments())
    assert planned["changed"]
    assert done["changed"]
    assert {key: planned[key] for key in ("system", "run_container", "hash", "diff")} == {
        key: done[key] for key in ("system", "run_container", "hash", "diff")
    }
    assert Path(done["run_container"]).is_file()
    assert "libseccomp" in done["warnings"][0]
    after = listing(root)
    for check in (True, False):
        again = run_module(container_script.main, check=check, **arguments())
        assert not again["changed"]
        assert "diff" not in again
        assert again["system"] == done["system"]
        assert listing(root) == after


def test_no_secret_is_said(root: Path, run_module: RunModule) -> None:
    result = run_module(container_script.main, **arguments())
    assert "secret, changed" in json.dumps(result["diff"])
    assert "$y$" not in json.dumps(result)
    assert result["invocation"]["module_args"]["secrets"] == {"/etc/shadow": "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"}
    assert (Path(result["system"]) / "root/etc/shadow").read_text() == SECRET


def test_the_name_may_be_another(root: Path, run_module: RunModule) -> None:
    result = run_module(container_script.main, name="other", **arguments())
    assert result["name"] == "other"
    assert result["system"].endswith("-other")
    assert json.loads((Path(result["system"]) / "spec.json").read_text())["name"] == "other"


def test_a_missing_program_is_an_error_before_anything_is_written(root: Path, run_module: RunModule) -> None:
    (root / "usr/bin/served").unlink()
    before = listing(root)
    failed = run_module(container_script.main, **arguments())
    assert failed["failed"]
    assert "service web runs /usr/bin/served, which is not there: install the package web-server" in failed["msg"]
    warned = run_module(container_script.main, check=True, **arguments())
    assert warned["changed"]
    assert "served" in warned["warnings"][0]
    assert listing(root) == before


def test_a_host_that_lacks_something_is_an_error_in_check_mode_too(root: Path, run_module: RunModule) -> None:
    (root / "proc/filesystems").write_text("")
    for check in (True, False):
        assert "no cgroup2" in run_module(container_script.main, check=check, **arguments())["msg"]
    assert not (root / "var").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"filez": {}}, "Unsupported parameters.*filez"),
        ({"directories": [{"path": "/srv", "owner": 0}]}, "Unsupported parameters.*owner"),
        ({"directories": [{"path": "srv"}]}, "must be an absolute path"),
        ({"name": "Web"}, "cannot name a container"),
        ({"files": {"/etc/hostname": {"contents": ""}}}, "unknown key 'contents'"),
    ],
)
def test_bad_input(root: Path, run_module: RunModule, changes: dict[str, t.Any], message: str) -> None:
    failed = run_module(container_script.main, **{**arguments(**changes), "secrets": {}})
    assert failed["failed"]
    assert __import__("re").search(message, failed["msg"])
    assert not (root / "var").exists()
