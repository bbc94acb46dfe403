# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host keeps the code of modules, and runs them with it as Ansible would: each in a process of its own."""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import json
import os
import re
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import guarded
from ansible_collections.unshare.container.plugins.modules import kept_code
from ansible_collections.unshare.container.plugins.plugin_utils.kept_code import KeptCode

pytestmark = pytest.mark.root

RUN = """
import os, sys, tempfile
from pathlib import Path
from ansible.module_utils import basic
from ansible_collections.unshare.container.plugins.module_utils.launcher import guarded
from ansible_collections.unshare.container.plugins.modules import kept_code
kept_code.DIRECTORY, tempfile.tempdir, user = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
os.geteuid = lambda: user
basic.AnsibleModule.log = lambda self, message, log_args=None: print(message, log_args, file=sys.stderr)
basic._ANSIBLE_ARGS = sys.stdin.buffer.read()
basic._ANSIBLE_PROFILE = "legacy"
kept_code.main()
"""
LACKS = {"changed": False, "lacks_code": True, "invocation": {}}


class Host:
    """A host that keeps code in a directory of the test's."""

    def __init__(self, path: Path) -> None:
        self.directory = path / "code"
        self.temporary = path / "temporary"
        self.temporary.mkdir()
        self.code = KeptCode(str(path / "controller"))
        self.log = path / "log"
        self.kept = self.directory / self.code.digest

    def begin(self, archive: bool, check: bool = False, user: int = 0, **more: t.Any) -> subprocess.Popen[str]:
        """Begin to run `tree_info`, or another module."""
        parameters = {"module": "tree_info", "digest": self.code.digest, "_ansible_check_mode": check, **more}
        if archive:
            parameters["archive"] = self.code.archive
        process = subprocess.Popen(
            [sys.executable, "-c", RUN, str(self.directory), str(self.temporary), str(user)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log.open("a"),
            text=True,
        )
        assert process.stdin
        process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": parameters}))
        process.stdin.close()
        return process

    def run(self, archive: bool, **more: t.Any) -> dict[str, t.Any]:
        """Run it to its end, and return its result."""
        process = self.begin(archive, **more)
        assert process.stdout
        said = process.stdout.read()
        process.wait(60)
        assert os.listdir(self.temporary) == []
        result: dict[str, t.Any] = json.loads(said)
        return result


def test_no_container_can_be_given_the_place_to_write_to() -> None:
    assert str(kept_code.DIRECTORY) in guarded.RUNS


@contextlib.contextmanager
def mounted(directory: Path) -> t.Iterator[None]:
    """Mount a file system without room on a directory."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", directory], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", directory], check=True)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_a_host_that_lacks_the_code_says_so_and_makes_nothing(host: Host) -> None:
    assert host.run(archive=False) == LACKS
    assert not host.directory.exists()


def test_it_keeps_what_it_gets_for_root_alone_and_compiles_it_once(host: Host) -> None:
    assert "trees" in host.run(archive=True)
    assert host.directory.stat().st_mode & 0o777 == 0o700
    assert os.listdir(host.directory) == [host.code.digest]
    compiled = {path: path.stat().st_mtime_ns for path in host.kept.rglob("*.pyc")}
    assert {path.name.partition(".")[0] for path in compiled} >= {"tree_info", "paths"}
    assert "trees" in host.run(archive=False)
    assert {path: path.stat().st_mtime_ns for path in host.kept.rglob("*.pyc")} == compiled


def test_the_module_runs_with_its_own_arguments_and_name(host: Host) -> None:
    result = host.run(archive=True, arguments={"name": ["there-is-none"], "packages": True})
    assert (result["trees"], result["invocation"]["module_args"]["packages"]) == ([], True)
    refused = host.run(archive=False, arguments={"nonsense": 1}, _ansible_module_name="kept_code")
    assert refused["failed"]
    assert "(unshare.container.tree_info)" in refused["msg"]
    assert "nonsense" in refused["msg"]


def test_the_log_of_the_host_has_none_of_the_arguments(host: Host) -> None:
    """As Ansible sends them: it always says whether the task has `no_log`."""
    for archive in (False, True):
        host.run(archive, arguments={"name": ["SECRET"]}, _ansible_no_log=False)
    said = host.log.read_text()
    assert "Invoked" in said  # by the module that is run, which has no argument with a secret
    assert host.code.archive[:40] not in said
    host.run(True, module="container_script", arguments={"system": {"x": "SECRET"}}, _ansible_no_log=False)
    assert "SECRET" not in host.log.read_text()[len(said) :]


@pytest.mark.parametrize("digest", ["", ".", "..", "/", "{}", "{}/x", "0" * 31, "G" * 32])
@pytest.mark.parametrize("check", [True, False])
def test_what_is_no_digest_names_no_directory(host: Host, tmp_path: Path, digest: str, check: bool) -> None:
    mine = tmp_path / "mine"
    (mine / "x").mkdir(parents=True)
    host.run(archive=True)
    result = host.run(archive=False, digest=digest.format(mine), check=check)
    assert result["msg"] == "digest: must be 32 hexadecimal digits"
    assert (mine / "x").is_dir()
    assert host.kept.is_dir()
    assert "module: " in host.run(archive=False, module="../x")["msg"]


def test_finders_of_others_are_not_asked_for_the_code_and_stay(monkeypatch: pytest.MonkeyPatch, host: Host) -> None:
    """Mitogen has one that is asked first, and takes the files of collections from the controller."""
    asked = []

    class Finder:
        @staticmethod
        def find_spec(name: str, _path: object = None, _target: object = None) -> None:
            asked.append(name)

    host.run(archive=True)
    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
    monkeypatch.setattr(sys, "path", [str(host.kept), *sys.path])
    before = sys.meta_path[:]
    with kept_code.files_first("module_utils"):
        assert importlib.import_module("module_utils.trees").__file__ == str(
            host.kept / "module_utils/trees/__init__.py"
        )
    for name in [name for name in sys.modules if name.partition(".")[0] == "module_utils"]:
        monkeypatch.delitem(sys.modules, name)
    assert [name for name in asked if "." in name] == [], "but for the package above"
    assert sys.meta_path == before


def test_mitogen_takes_the_module_for_one_in_python() -> None:
    """It runs what has no such line as a script, and such a script finds nothing of Ansible on the host."""
    assert re.search(r"^from ansible\.module_utils\.", Path(kept_code.__file__).read_text(), re.MULTILINE)


def test_other_code_than_was_announced_is_not_kept(host: Host) -> None:
    result = host.run(archive=True, digest="0" * 32)
    assert "is not the code that was announced" in result["msg"]
    assert os.listdir(host.directory) == []


def test_nothing_of_the_code_is_taken_from_where_this_module_came_from(host: Host) -> None:
    host.run(archive=True)
    file = host.kept / "module_utils/state/target.py"
    file.write_text(file.read_text() + 'raise ValueError("this file")\n')
    assert host.run(archive=False) == LACKS  # for it could not be imported


@pytest.mark.parametrize("is_asked", [True, False])
@pytest.mark.parametrize("damage", ["", "def f(:\n", "raise EOFError\n", "import there_is_none\n", "\0"])
def test_damaged_code_is_removed_and_comes_again(host: Host, damage: str, is_asked: bool) -> None:
    host.run(archive=True)
    (host.kept / "modules/tree_info.py").write_text(damage)
    for path in host.kept.rglob("*.pyc"):
        path.unlink()
    if is_asked:
        assert host.run(archive=False, check=True) == LACKS
        assert os.listdir(host.directory) == [host.code.digest]  # check mode removes nothing
        assert host.run(archive=False) == LACKS
        assert os.listdir(host.directory) == []
    assert "trees" in host.run(archive=True)
    assert "trees" in host.run(archive=False)


@pytest.mark.parametrize("refusal", [{"check": True}, {"user": 1000}])
def test_nothing_is_kept_in_check_mode_or_for_another_user(host: Host, refusal: dict[str, t.Any]) -> None:
    assert host.run(archive=False, **refusal) == LACKS
    result = host.run(archive=True, **refusal)
    assert "trees" in result or "root" in result["msg"]
    assert not host.directory.exists()


def test_the_last_versions_are_kept(host: Host) -> None:
    host.directory.mkdir(mode=0o700)
    for number in range(5):
        former = host.directory / f"{number:032}"
        former.mkdir()
        os.utime(former, (number, number))
    host.run(archive=True)
    kept = sorted([f"{number:032}" for number in (3, 4)] + [host.code.digest])
    assert sorted(os.listdir(host.directory)) == kept
    assert len(kept) == kept_code.KEPT_VERSIONS


def test_a_version_that_is_used_is_kept_and_so_is_what_has_just_come(host: Host) -> None:
    host.directory.mkdir(mode=0o700)
    for number in range(5):
        (host.directory / f"{number:032}").mkdir()
        os.utime(host.directory / f"{number:032}", (2**33, 2**33))  # the clock was ahead
    with kept_code.locked(host.directory / f"{3:032}", fcntl.LOCK_SH):
        host.run(archive=True)
    kept = os.listdir(host.directory)
    assert {f"{3:032}", host.code.digest} <= set(kept)
    assert len(kept) in (kept_code.KEPT_VERSIONS, kept_code.KEPT_VERSIONS + 1)


def test_a_full_place_is_no_obstacle(host: Host) -> None:
    host.directory.mkdir()
    with mounted(host.directory):
        assert "trees" in host.run(archive=True)
        assert os.listdir(host.directory) == []


def test_runs_that_bring_it_at_once_all_run(host: Host) -> None:
    processes = [host.begin(archive=True) for _each in range(4)]
    results = [json.loads(process.stdout.read()) for process in processes if process.stdout]
    assert [process.wait(60) for process in processes] == [0] * 4
    assert all("trees" in result for result in results), results
    assert os.listdir(host.directory) == [host.code.digest]


def test_what_a_killed_run_left_is_not_taken_for_the_code(host: Host) -> None:
    host.directory.mkdir(mode=0o700)
    (host.directory / ".half/modules").mkdir(parents=True)
    assert host.run(archive=False) == LACKS
    assert "trees" in host.run(archive=True)
    assert os.listdir(host.directory) == [host.code.digest]
