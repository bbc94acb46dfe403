# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the host runs is not writable from inside, by whatever way; what a container needs is not hidden by a mount."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import guarded, mounts
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.life.staging import stage
from ansible_collections.unshare.container.plugins.module_utils.state.target import TargetError, make_private_directory

from ..unit.plugins.module_utils.specifications import mount as record
from .conftest import INTERPRETER, contain, files_of, render_boot
from .eval_commands import Evaluator
from .isolation import attach_loop

if t.TYPE_CHECKING:
    from .conftest import Machine, MakeMachine

pytestmark = pytest.mark.root

NAME = "test-isolation-protected"
STATE = Path("/var/lib/unshare")
RELATION = r"(is|contains|lies in) (/var/lib/unshare|/run/unshare|/etc/systemd/system|/\S*python\S*),"


def mount(*words: object) -> None:
    subprocess.run(["mount", *map(str, words)], check=True, timeout=60)


class Ways:
    """Other names for the directories in which the host keeps what it runs; each is taken away again."""

    def __init__(self, directory: Path, stack: contextlib.ExitStack) -> None:
        self.directory = directory
        self.stack = stack
        self.python = sys.executable

    def make(self, name: str) -> str:
        """Make one of the sources, and return its path."""
        return str(getattr(self, name.replace("-", "_"))(self.directory))

    def _mounted(self, point: Path, *words: object) -> Path:
        point.mkdir(exist_ok=True)
        mount(*words, point)
        self.stack.callback(subprocess.run, ["umount", "--recursive", str(point)], check=True, timeout=60)
        return point

    def _overlay(self, lower: Path, upper: Path, work: Path, point: str = "merged") -> Path:
        for path in (lower, upper, work):
            path.mkdir(parents=True, exist_ok=True)
        options = f"lowerdir={lower},upperdir={upper},workdir={work}"
        return self._mounted(self.directory / point, "-t", "overlay", "-o", options, "overlay")

    def bind(self, directory: Path) -> Path:
        return self._mounted(directory / "alias", "--bind", STATE)

    def bind_of_a_part(self, directory: Path) -> Path:
        return self._mounted(directory / "alias", "--bind", STATE / "systems")

    def bind_of_the_parent(self, directory: Path) -> Path:
        return self._mounted(directory / "alias", "--bind", "/var/lib")

    def below_a_bind_of_the_root(self, directory: Path) -> Path:
        return self._mounted(directory / "alias", "--bind", "/") / "var/lib/unshare/systems"

    def bind_of_a_bind(self, directory: Path) -> Path:
        return self._mounted(directory / "second", "--bind", self.bind_of_the_parent(directory) / "unshare")

    def above_a_bind(self, directory: Path) -> Path:
        (directory / "outer").mkdir()
        self._mounted(directory / "outer/inner", "--bind", STATE)
        return directory / "outer"

    def of_what_runs(self, directory: Path) -> Path:
        return self._mounted(directory / "alias", "--bind", "/run/unshare")

    def overlay_with_it_above(self, directory: Path) -> Path:
        kept = STATE / "containers" / NAME
        self.stack.callback(subprocess.run, ["rm", "-r", str(kept)], check=True, timeout=60)
        return self._overlay(directory / "lower", kept / "upper", kept / "work")

    def units(self, directory: Path) -> Path:
        return self._mounted(directory / "alias", "--bind", "/etc/systemd")

    def library(self, directory: Path) -> str:
        words = [self.python, "-c", "import os; print(os.path.dirname(os.__file__))"]
        return subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout.strip()

    def programs(self, directory: Path) -> str:
        return os.path.dirname(os.path.realpath(self.python))


class Below(Ways):
    """Overlays of which it is a lower layer, or a part of one: what is written to them does not come there."""

    def _over(self, lower: object, name: str = "merged") -> Path:
        return self._overlay(Path(str(lower)), self.directory / f"{name} upper", self.directory / f"{name} work", name)

    def itself(self, directory: Path) -> Path:
        return self._over(STATE)

    def its_parent(self, directory: Path) -> Path:
        return self._over("/var") / "lib"

    def of_two_layers(self, directory: Path) -> Path:
        return self._over(self._over(STATE, "first"), "second")

    def bind_of_it(self, directory: Path) -> Path:
        return self._mounted(directory / "alias", "--bind", self.itself(directory))

    def above_it(self, directory: Path) -> Path:
        (directory / "outer").mkdir()
        self._mounted(directory / "outer" / "inner", "--bind", self.itself(directory))
        return directory / "outer"


BELOW = [name for name in vars(Below) if not name.startswith("_")]
WAYS = [name.replace("_", "-") for name in vars(Ways) if not name.startswith("_") and name != "make"]
SECRET = [name for name in WAYS if name not in ("units", "library", "programs")]


@pytest.fixture
def ways(tmp_path: Path) -> t.Iterator[Ways]:
    # The end of a container removes the directories that it leaves empty, and what is bound elsewhere is another then.
    kept = [STATE / "systems/kept", Path("/run/unshare/kept")]
    make_private_directory(STATE / "systems")
    for path in kept:
        path.mkdir(parents=True)
    with contextlib.ExitStack() as stack:
        yield Below(tmp_path, stack)
    for path in kept:
        path.rmdir()


def share(source: str, **more: t.Any) -> dict[str, t.Any]:
    return {"source": source, "target": "/data", "writable": True, **more}


@pytest.mark.parametrize("way", WAYS)
def test_what_the_host_runs_is_refused_at_the_start(make_machine: MakeMachine, ways: Ways, way: str) -> None:
    source = ways.make(way)
    machine = make_machine(name=NAME, mappings=[share(source)])
    with pytest.raises(LauncherError, match=RELATION):
        machine.start()
    assert machine.container.status().state == "stopped"
    may_fail = {
        "device": source,
        "mount_point": "/data",
        "type": "none",
        "flags": ["bind-mount"],
        "mount_may_fail": True,
    }
    make_again = make_machine(name=NAME, extra_file_systems=[{**may_fail, "needed_for_boot": True}])
    with pytest.raises(LauncherError, match=RELATION):
        make_again.start()


@pytest.mark.parametrize("way", WAYS)
def test_run_container_refuses_it_too(make_machine: MakeMachine, ways: Ways, way: str) -> None:
    ways.python = INTERPRETER
    source = ways.make(way)
    machine = make_machine(name=NAME)
    words = [str(machine.system / "run-container"), "--detach", f"--share={source}=/data"]
    result = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert result.returncode == 125
    assert "could have this host run programs of its own" in result.stderr
    assert machine.container.status().state == "stopped"


def staged() -> list[str]:
    """Return the names of this container's systems."""
    return sorted(path.name for path in (STATE / "systems").glob(f"*-{NAME}"))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("check", [True, False])
def test_it_is_refused_before_anything_is_written(ways: Ways, way: str, check: bool) -> None:
    source = ways.make(way)
    system = files_of(contain({"host_name": NAME}, mappings=[share(source)]), name=NAME)
    before = staged()
    with pytest.raises(TargetError, match=rf"nothing was changed\. {source}: {RELATION}"):
        stage(system, render_boot(system), {}, NAME, Path("/"), check, False)
    assert staged() == before


@pytest.mark.parametrize("way", SECRET)
def test_to_read_it_is_a_warning(make_machine: MakeMachine, ways: Ways, way: str) -> None:
    source = ways.make(way)
    mapping = {"source": source, "target": "/data"}
    machine = make_machine(name=NAME, mappings=[mapping])
    warnings = machine.start().warnings
    assert any("can read the secrets" in line for line in warnings), warnings
    assert machine.shell("touch /data/x").returncode != 0
    system = files_of(contain({"host_name": NAME}, mappings=[mapping]), name=NAME)
    staged = stage(system, render_boot(system), {}, NAME, Path("/"), True, False)
    assert any("can read the secrets" in line for line in staged.warnings)


WITHIN = "/systems /unshare/systems /inner/systems"
"""Where in an overlay a system may be: who does not own what is above it cannot look for it there."""


@pytest.mark.parametrize("way", BELOW)
def test_a_lower_layer_is_only_read(make_machine: MakeMachine, ways: Ways, way: str) -> None:
    """It is read by who may write to the overlay, too: that is a warning."""
    source = ways.make(way)
    machine = make_machine(name=NAME, mappings=[share(source)], private_users="identity")
    warnings = machine.start().warnings
    assert any(line.startswith(f"{source}: ") and "can read the secrets" in line for line in warnings), warnings
    script = f"for place in {WITHIN}; do [ ! -d /data$place/kept ] || touch /data$place/kept/{NAME}-written; done"
    machine.output("sh", "-c", script)
    machine.output("touch", "/data/x")
    assert Path(source, "x").exists()
    # Tests beside this one make systems there, and trees that are too deep for Path.rglob, and take them away.
    for directory in (ways.directory, STATE):
        words = ["find", str(directory), "-name", f"{NAME}-written"]
        found = subprocess.run(words, capture_output=True, text=True, check=False).stdout
        assert bool(found) == (directory == ways.directory), found
    system = files_of(contain({"host_name": NAME}, mappings=[share(source)]), name=NAME, private_users="identity")
    staged = stage(system, render_boot(system), {}, NAME, Path("/"), True, False)
    assert any("can read the secrets" in line for line in staged.warnings)
    evaluate = Evaluator(0)
    try:
        done = evaluate("true", mappings=[share(source)])
    finally:
        evaluate.close()
    assert done.code == 0
    assert any("can read the secrets" in line for line in done.warnings)


def test_an_overlay_over_what_runs_is_ones_own(make_machine: MakeMachine, ways: Ways) -> None:
    merged = ways._overlay(Path("/usr"), ways.directory / "upper", ways.directory / "work")
    machine = make_machine(name=NAME, mappings=[share(str(merged))], private_users="identity")
    assert not [line for line in machine.start().warnings if line.startswith(str(merged))]
    machine.output("touch", "/data/bin/x")
    assert (merged / "bin" / "x").exists()
    assert not Path("/usr/bin/x").exists()


@pytest.mark.parametrize("way", WAYS)
def test_a_single_command_gets_it_no_more(ways: Ways, way: str) -> None:
    source = ways.make(way)
    evaluate = Evaluator(0)
    try:
        with pytest.raises(LauncherError, match=RELATION):
            evaluate("true", mappings=[share(source)])
        assert evaluate("true", mappings=[{"source": source, "target": "/data"}]).code == 0
    finally:
        evaluate.close()


def test_the_launchers_own_journal_is_still_kept_there(make_machine: MakeMachine) -> None:
    machine = make_machine(name=NAME, log="persistent")
    assert machine.start().warnings == []
    machine.output("logger", "said inside")
    machine.output("journalctl", "--sync")
    assert (STATE / "containers" / NAME / "journal").is_dir()
    machine.stop()
    spec = json.loads((machine.system / "spec.json").read_text())
    record = {"device": str(STATE), "mount_point": "/data", "type": "none", "flags": ["bind-mount"], "own": True}
    spec["file_systems"].append(record)
    (machine.system / "spec.json").write_text(json.dumps(spec))
    with pytest.raises(LauncherError, match="own: is no field"):
        machine.start()


def test_the_device_of_its_file_system_is_known_by_any_name(tmp_path: Path) -> None:
    """Itself, a node of another name, a link as udev makes it, and a device that lies on it; not one beside it."""
    with contextlib.ExitStack() as stack:
        devices = []
        for name in ("one", "two"):
            with open(tmp_path / name, "wb") as image:
                image.truncate(8 << 20)
            devices.append(attach_loop(tmp_path / name, stack))
            subprocess.run(["mkfs.ext2", "-q", devices[-1]], check=True, timeout=60)
        kept = tmp_path / "kept"
        kept.mkdir()
        mount(devices[0], kept)
        stack.callback(subprocess.run, ["umount", str(kept)], check=True, timeout=60)
        (kept / "state").mkdir()
        os.mknod(tmp_path / "node", 0o60600, os.stat(devices[0]).st_rdev)
        (tmp_path / "link").symlink_to(devices[0])
        upper = attach_loop(Path(devices[0]), stack)
        host = guarded.GuardedHost({str(kept / "state"): "the state"}, (str(kept / "state"),))
        for device in (devices[0], str(tmp_path / "node"), str(tmp_path / "link"), upper):
            with pytest.raises(guarded.WritableSource, match="contains"):
                host.refuse_writable_file_system(record(), device)
            assert host.warning_of_file_system(record(), device)
        host.refuse_writable_file_system(record(), devices[1])


def test_every_device_of_its_btrfs_is_known(tmp_path: Path) -> None:
    """Whichever is named, by whatever name, and whichever subvolume is mounted; another btrfs is not."""
    if "\tbtrfs\n" not in Path("/proc/filesystems").read_text() or not shutil.which("mkfs.btrfs"):
        pytest.skip("this host has no btrfs")
    with contextlib.ExitStack() as stack:
        devices = []
        for name in ("one", "two", "other"):
            with open(tmp_path / name, "wb") as image:
                image.truncate(256 << 20)
            devices.append(attach_loop(tmp_path / name, stack))
        subprocess.run(["mkfs.btrfs", "-q", *devices[:2]], check=True, timeout=60)
        subprocess.run(["mkfs.btrfs", "-q", devices[2]], check=True, timeout=60)
        kept = tmp_path / "kept"
        kept.mkdir()
        mount("-t", "btrfs", "-o", f"device={devices[1]}", devices[0], kept)
        stack.callback(subprocess.run, ["umount", str(kept)], check=True, timeout=60)
        for name in ("kept", "beside"):
            subprocess.run(
                ["btrfs", "subvolume", "create", str(kept / name)], check=True, timeout=60, capture_output=True
            )
        (kept / "kept/state").mkdir()
        host = guarded.GuardedHost({str(kept / "kept/state"): "the state"})
        (tmp_path / "link").symlink_to(devices[1])
        for device in (devices[0], devices[1], str(tmp_path / "link"), attach_loop(Path(devices[1]), stack)):
            with pytest.raises(guarded.WritableSource, match="contains"):
                host.refuse_writable_file_system(record(type="btrfs", options="subvol=/"), device)
        host.refuse_writable_file_system(record(type="btrfs", options="subvol=/"), devices[2])
        assert _refuses_when_mounted(host, devices[0], None)
        assert _refuses_when_mounted(host, devices[1], "kept")
        assert _refuses_when_mounted(host, devices[1], "beside")
        assert not _refuses_when_mounted(host, devices[2], None)


def _refuses_when_mounted(host: guarded.GuardedHost, device: str, subvolume: str | None) -> bool:
    options: list[tuple[str, str | None]] = [("source", device)]
    mounted = mounts.filesystem("btrfs", options + ([("subvol", subvolume)] if subvolume else []))
    try:
        host.refuse_writable_mount(mounted, "btrfs", device)
    except guarded.WritableSource:
        return True
    finally:
        os.close(mounted)
    return False


def test_the_file_system_of_the_state_is_not_mounted(make_machine: MakeMachine) -> None:
    device = subprocess.run(
        ["findmnt", "--noheadings", "--output=SOURCE,FSTYPE", "--target=/var/lib"],
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout.split()
    if len(device) != 2 or not Path(device[0]).is_block_device():
        pytest.skip("the root of this host is on no block device")
    item = {"device": device[0], "mount_point": "/data", "type": device[1], "needed_for_boot": True}
    machine = make_machine(name=NAME, extra_file_systems=[item])
    with pytest.raises(LauncherError, match=RELATION):
        machine.start()


TARGETS = ["/run", "//run/", "/run/./host", "/run/systemd", "/run/current-system", "/usr", "/usr/lib", "/bin", "/lib64",
           "/var/run", "/var/lock/x", "/proc", "/sys/fs", "/dev", "/dev/null", "/etc", "/"]  # fmt: skip


@pytest.fixture(scope="module")
def plain_machine() -> t.Iterator[Machine]:
    from .conftest import Machine, write_system

    machine = Machine(NAME, write_system({"host_name": NAME}, NAME))
    yield machine
    machine.destroy()


@pytest.mark.parametrize("target", TARGETS)
def test_what_a_container_needs_is_not_hidden_by_hand(plain_machine: Machine, tmp_path: Path, target: str) -> None:
    for option in ("share", "expose"):
        words = [str(plain_machine.system / "run-container"), "--detach", f"--{option}={tmp_path}={target}"]
        result = subprocess.run(words, capture_output=True, text=True, timeout=60)
        assert result.returncode == 125
        assert result.stderr.startswith(f"run-container: --{option}={tmp_path}={target}: "), result.stderr
    assert plain_machine.container.status().state == "stopped"


def test_below_the_store_only_what_is_there_can_be_mounted_over(make_machine: MakeMachine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mapped\n")
    machine = make_machine(name=NAME, mappings=[f"{tmp_path}=/usr/local"])
    machine.start()
    assert machine.output("cat", "/usr/local/file") == "mapped\n"
    machine.stop()
    missing = "/usr/share/not-there-at-all/x"
    machine = make_machine(name=NAME, mappings=[f"{tmp_path}={missing}"])
    with pytest.raises(LauncherError, match=f"{missing}: .*a read-only mount there has no such mount point"):
        machine.start()
    system = files_of(contain({"host_name": NAME}, mappings=[f"{tmp_path}={missing}"]), name=NAME)
    with pytest.raises(TargetError, match=f"nothing was changed.*make {missing} on the host"):
        stage(system, render_boot(system), {}, NAME, Path("/"), True, False)
