# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A system on the disk is whole or not there, private, and never changed."""

from __future__ import annotations

import errno
import json
import marshal
import os
import py_compile
import shutil
import stat
import subprocess
import sys
import threading
import types
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.state import systems as systems_module
from ansible_collections.unshare.container.plugins.module_utils.state.systems import ASIDE, Systems
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout, TargetError

from ..target_helpers import content


@pytest.fixture
def systems(tmp_path: Path) -> Systems:
    return Systems(Layout(tmp_path))


def test_writes_everything(systems: Systems) -> None:
    path = systems.write(content(motd="hello\n"), b"filter")
    assert path.name == content(motd="hello\n").directory_name(b"filter")
    assert (path / "root/etc/motd").read_text() == "hello\n"
    assert os.readlink(path / "root/etc/systemd/system/default.target").endswith("multi-user.target")
    assert (path / "seccomp.bpf").read_bytes() == b"filter"
    specification = json.loads((path / "spec.json").read_text())
    assert specification["files"]["/etc/shadow"] == {"mode": "0640", "gid": 42, "secret": True}
    assert specification["host_files"] == ["/etc/alternatives"]
    assert "root:!" not in (path / "spec.json").read_text()


def test_is_for_root_alone(systems: Systems) -> None:
    path = systems.write(content(), None)
    for directory in (path, path.parent, path.parent.parent):
        assert stat.S_IMODE(directory.stat().st_mode) & ~0o700 == 0
    assert stat.S_IMODE((path / "root/etc/shadow").stat().st_mode) == 0o600
    assert os.access(path / "run-container", os.X_OK)
    assert os.access(path / "enter-container", os.X_OK)
    assert not (path / "seccomp.bpf").exists()


def test_the_script_runs_and_writes_nothing(systems: Systems) -> None:
    path = systems.write(content(), None)
    before = sorted(path.rglob("*"))
    script = (path / "run-container").read_text().replace("/usr/bin/python3", sys.executable)
    result = subprocess.run([sys.executable, "-IS", path / "run-container"], check=False, timeout=20)
    assert result.returncode == 0
    assert script.startswith(f"#!{sys.executable} -IS\n")
    assert sorted(path.rglob("*")) == before
    assert list(path.glob("library/life/__pycache__/main.*.pyc"))


def test_an_existing_system_is_left_alone(systems: Systems) -> None:
    path = systems.write(content(), None)
    inode = (path / "spec.json").stat().st_ino
    assert systems.write(content(), None) == path
    assert (path / "spec.json").stat().st_ino == inode


def test_leftovers_of_a_killed_run_are_removed(systems: Systems) -> None:
    leftover = systems.layout.systems / (ASIDE + "x")
    (leftover / "root/etc").mkdir(parents=True)
    systems.write(content(), None)
    assert not leftover.exists()


def test_two_writers_both_succeed(systems: Systems) -> None:
    results: list[Path] = []
    threads = [threading.Thread(target=lambda: results.append(systems.write(content(), None))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert results == [systems.path(content(), None)] * 4
    assert [entry.name for entry in systems.layout.systems.iterdir()] == [systems.path(content(), None).name]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_disk_that_refuses_leaves_nothing(systems: Systems, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(path: Path) -> None:
        raise OSError(number, os.strerror(number), "/somewhere")

    systems.write(content(), None)
    monkeypatch.setattr(systems_module, "_synchronise", refuse)
    with pytest.raises(TargetError, match=f"{os.strerror(number)}: /somewhere; nothing was changed"):
        systems.write(content(motd="new"), None)
    assert [entry.name for entry in systems.layout.systems.iterdir()] == [systems.path(content(), None).name]


@pytest.mark.root
@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare")
def test_a_full_disk_for_real(tmp_path: Path) -> None:
    program = (
        "import sys; sys.path[:0] = eval(sys.argv[2]); from pathlib import Path;"
        "from ansible_collections.unshare.container.tests.unit.plugins.module_utils.state import test_systems as tests;"
        "tests.write_and_report(Path(sys.argv[1]))"
    )
    script = 'mount -t tmpfs -o size=64k,nr_inodes=1000 none "$1" && exec "$2" -c "$3" "$1" "$4"'
    result = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", str(tmp_path), sys.executable, program, repr(sys.path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "No space left on device" in result.stdout
    assert result.stdout.endswith("left: []\n")


def write_and_report(root: Path) -> None:
    """Run in a process of its own, on a file system too small."""
    systems = Systems(Layout(root))
    try:
        systems.write(content(large="x" * 200_000), None)
    except TargetError as error:
        print(error)
    print("left:", [entry.name for entry in systems.layout.systems.iterdir()])


def test_removes_only_what_it_is_told(systems: Systems) -> None:
    first, second = systems.write(content(), None), systems.write(content(motd="x"), None)
    assert systems.of_container("web") == [first, second]
    assert systems.of_container("eb") == []
    systems.remove([first])
    assert [entry.name for entry in systems.layout.systems.iterdir()] == [second.name]


def test_what_is_mounted_in_a_system_keeps_it_from_being_removed(
    systems: Systems, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = systems.write(content(), None)

    def mounted(_path: str) -> None:
        raise LauncherError("something is mounted there")

    monkeypatch.setattr(systems_module, "remove_tree", mounted)
    with pytest.raises(TargetError, match="^cannot remove a system: something is mounted there$"):
        systems.remove([path])
    assert systems.of_container("web") == []


def test_the_modes_of_what_is_written(systems: Systems) -> None:
    path = systems.write(content(), b"filter")
    modes = {str(p.relative_to(path)): oct(stat.S_IMODE(p.lstat().st_mode)) for p in path.rglob("*") if p.is_file()}
    assert modes["root/etc/shadow"] == "0o600"
    assert {modes[name] for name in ("boot", "run-container", "enter-container")} == {"0o755"}
    plain = ("spec.json", "seccomp.bpf", "library/life/main.py", "root/etc/hostname")
    assert {modes[name] for name in plain} == {"0o644"}


def refuse(*_arguments: object, **_options: object) -> None:
    raise OSError(errno.EIO, "Input/output error", "/somewhere")


def test_what_cannot_be_done_is_told(systems: Systems, monkeypatch: pytest.MonkeyPatch) -> None:
    path = systems.write(content(), None)
    with monkeypatch.context() as patch:
        patch.setattr(systems_module, "_synchronise", refuse)
        with pytest.raises(TargetError) as raised:
            systems.write(content(motd="x"), None)
    new = systems.path(content(motd="x"), None)
    assert str(raised.value) == (
        f"cannot write the system {new}: Input/output error: /somewhere; nothing was changed. The directory needs to "
        "be writable by root, on a file system with free space"
    )
    with monkeypatch.context() as patch:
        patch.setattr(systems_module, "remove_tree", refuse)
        with pytest.raises(TargetError, match="^cannot remove a system: Input/output error: /somewhere$"):
            systems.remove([path])
    with pytest.raises(TargetError) as raised:
        systems.touch(path)
    assert str(raised.value) == f"the system {path} cannot be used: No such file or directory; run again"


def test_leftovers_that_stay_do_not_matter(systems: Systems, monkeypatch: pytest.MonkeyPatch) -> None:
    (systems.layout.systems / (ASIDE + "x")).mkdir(parents=True)
    monkeypatch.setattr(systems_module, "remove_tree", refuse)
    assert systems.write(content(), None).is_dir()


def test_what_is_asked_for_is_later_than_the_rest(systems: Systems) -> None:
    first, second = systems.write(content(), None), systems.write(content(motd="x"), None)
    for path, act in ((first, lambda: systems.touch(first)), (second, lambda: systems.write(content(motd="x"), None))):
        for each in (first, second):
            os.utime(each, ns=(0, 1000 if each != path else 500))
        act()
        assert systems.of_container("web")[-1] == path


def test_of_the_same_time_the_names_decide(systems: Systems) -> None:
    paths = [systems.write(content(motd=str(number)), None) for number in range(4)]
    for path in paths:
        os.utime(path, ns=(0, 0))
    assert systems.of_container("web") == sorted(paths)


def test_of_a_host_without_systems_nothing_is_there(systems: Systems) -> None:
    assert systems.of_container("web") == []
    systems.remove([])
    assert not systems.layout.systems.exists()


def test_what_is_gone_already_is_removed(systems: Systems) -> None:
    first, second = systems.write(content(), None), systems.write(content(motd="x"), None)
    shutil.rmtree(first)
    systems.remove([first, second])
    assert list(systems.layout.systems.iterdir()) == []


def places(code: types.CodeType) -> set[str]:
    """Return the files that code, and the code of the functions in it, says it is from."""
    inner = [places(each) for each in code.co_consts if isinstance(each, types.CodeType)]
    return {code.co_filename}.union(*inner)


@pytest.mark.parametrize("motd", ["the first", "another with the same launcher"])
def test_the_launcher_is_compiled_for_its_place(systems: Systems, motd: str) -> None:
    made = content(motd=motd)
    made.launcher = {**made.launcher, "life/main.py": "def run():\n    def inner(): pass\n    return inner\n"}
    path = systems.write(made, None)
    source = path / "library/life/main.py"
    (compiled,) = path.glob("library/life/__pycache__/main.*.pyc")
    text = compiled.read_bytes()
    assert int.from_bytes(text[4:8], "little") == 1  # a hash that is not checked (PEP 552)
    assert places(marshal.loads(text[16:])) == {str(source)}
    expected = py_compile.compile(
        str(source), str(path / "expected"), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
    )
    assert expected is not None
    assert marshal.loads(text[16:]) == marshal.loads(Path(expected).read_bytes()[16:])
    assert text[:16] == Path(expected).read_bytes()[:16]


def test_a_launcher_that_does_not_compile(systems: Systems) -> None:
    made = content()
    made.launcher = {**made.launcher, "life/main.py": "def"}
    with pytest.raises(TargetError, match="^the launcher cannot be compiled by this Python: "):
        systems.write(made, None)
    assert list(systems.layout.systems.iterdir()) == []
