# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module four ways (check, run, check, run), and that it keeps secrets."""

from __future__ import annotations

import copy
import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import seccomp
from ansible_collections.unshare.container.plugins.module_utils.state import generations, library
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout
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
    """Return a host that has all that is needed, but no library to compile filters with."""
    for directory in ("proc/self/ns", "proc/sys/user", "usr/bin"):
        (tmp_path / directory).mkdir(parents=True)
    (tmp_path / "proc/self/ns/user").touch()
    (tmp_path / "proc/filesystems").write_text("nodev\tcgroup2\n")
    for program in ("init", "served"):
        (tmp_path / "usr/bin" / program).touch(0o755)
    monkeypatch.setattr(container_script, "ROOT", tmp_path)
    monkeypatch.setattr(seccomp, "compile_filter", lambda security: None)
    monkeypatch.setattr(library, "sources", lambda: {"main.py": ""})  # all of it takes long to compile
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


def test_another_filter_is_another_system(root: Path, run_module: RunModule, monkeypatch: pytest.MonkeyPatch) -> None:
    """A libseccomp that is installed, upgraded to make another filter, and removed again."""
    seen = [run_module(container_script.main, **arguments())["system"]]
    for made in (b"filter", b"another filter"):
        monkeypatch.setattr(seccomp, "compile_filter", lambda specification, made=made: made)
        planned = run_module(container_script.main, check=True, **arguments())
        done = run_module(container_script.main, **arguments())
        for result in (planned, done):
            assert result["changed"]
            assert result["warnings"] == []
            assert result["system"] not in seen
            assert Path(result["system"]).name.startswith(result["hash"] + "-")
        assert planned["system"] == done["system"]
        assert (Path(done["system"]) / "seccomp.bpf").read_bytes() == made
        seen.append(done["system"])
        for check in (True, False):
            again = run_module(container_script.main, check=check, **arguments())
            assert (again["changed"], again["system"]) == (False, seen[-1])
    monkeypatch.setattr(seccomp, "compile_filter", lambda specification: None)
    for check in (True, False):
        back = run_module(container_script.main, check=check, **arguments())
        assert (back["changed"], back["system"]) == (False, seen[0])
        assert "libseccomp" in back["warnings"][0]


def test_the_difference_names_the_filter(root: Path, run_module: RunModule, monkeypatch: pytest.MonkeyPatch) -> None:
    system = Path(run_module(container_script.main, **arguments())["system"])
    layout = Layout(root)
    generations.switch(layout, "web", system)
    monkeypatch.setattr(seccomp, "compile_filter", lambda specification: b"filter")
    (shown,) = run_module(container_script.main, check=True, **arguments())["diff"]
    assert (shown["before_header"], shown["before"]) == ("system-call filter", "")
    assert shown["after"].startswith("SHA-256 ")


def test_a_damaged_system_is_mended_with_a_warning(root: Path, run_module: RunModule) -> None:
    system = Path(run_module(container_script.main, **arguments())["system"])
    whole = (system / "spec.json").read_bytes()
    (system / "spec.json").write_text("{}")
    (system / "root/etc/shadow").write_text("other")
    planned = run_module(container_script.main, check=True, **arguments())
    assert (system / "spec.json").read_text() == "{}"
    done = run_module(container_script.main, **arguments())
    for result, word in ((planned, "would be"), (done, "was")):
        assert result["changed"]
        assert result["system"] == str(system)
        (warning,) = (said for said in result["warnings"] if "damaged" in said)
        assert f"{system} was found damaged, and {word} written anew: root/etc/shadow has 5 bytes" in warning
        assert "spec.json has 2 bytes" in warning
    assert (system / "spec.json").read_bytes() == whole
    assert (system / "root/etc/shadow").read_text() == SECRET
    for check in (True, False):
        again = run_module(container_script.main, check=check, **arguments())
        assert not again["changed"]
        assert not any("damaged" in warning for warning in again["warnings"])


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
    assert any("served" in warning for warning in warned["warnings"])
    assert listing(root) == before


@pytest.mark.parametrize("required", [True, False])
def test_a_missing_source_is_an_error_or_a_warning(root: Path, run_module: RunModule, required: bool) -> None:
    mount = {"device": "/srv/db", "mount_point": "/db", "type": "none", "flags": ["bind-mount"], "required": required}
    given = arguments(spec={**SYSTEM["spec"], "file_systems": [mount]})
    before = listing(root)
    planned = run_module(container_script.main, check=True, **given)
    assert listing(root) == before
    done = run_module(container_script.main, **given)
    said = [warning for warning in planned["warnings"] if "/srv/db" in warning]
    assert len(said) == 1
    if required:
        assert listing(root) == before
        assert "ansible.builtin.file with state: directory" in done["msg"]
        return
    assert planned["warnings"] == done["warnings"]
    again = run_module(container_script.main, **given)  # it may run, and its start has said so
    assert not any("/srv/db" in warning for warning in again["warnings"])


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


def test_an_interface_that_the_host_cannot_give_yet_is_a_warning_of_check_mode(
    root: Path, run_module: RunModule
) -> None:
    """An earlier task may make the bridge. The run looks for it when the container is to start."""
    (root / "usr/sbin").mkdir()
    (root / "usr/sbin/nft").touch(0o755)
    interfaces = [{"kind": "bridge", "name": "eth0", "parent": "br-of-nobody", "addresses": ["192.0.2.5/24"]}]
    given = arguments(spec={**SYSTEM["spec"], "network": {"interfaces": interfaces}})
    said = "network: bridge: br-of-nobody: the host has no such interface: make it, or name another"
    assert said in run_module(container_script.main, check=True, **given)["warnings"]
    assert said not in run_module(container_script.main, **given).get("warnings", [])
