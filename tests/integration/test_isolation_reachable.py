# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs with rights of the host's root, left in writable directories that users of the host can reach."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host.facts import HostFacts as PreflightHost
from ansible_collections.unshare.container.plugins.module_utils.host.preflight import check_host
from ansible_collections.unshare.container.plugins.module_utils.launcher import guarded
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.launcher.reachable import check_bind
from ansible_collections.unshare.container.plugins.module_utils.launcher.specification import read_spec
from ansible_collections.unshare.container.plugins.module_utils.state.target import TargetError

from . import isolation_record
from .isolation import attach_loop, make_hostile, mounted, writable

if t.TYPE_CHECKING:
    from .conftest import Machine, MakeMachine

pytestmark = pytest.mark.root

NAME = "test-isolation-reach"
COPY_UP = Path(__file__).with_name("isolation_copy_up.py")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.mkdir()
    return path


@pytest.mark.parametrize("trick", ["fuse", "store"])
def test_who_can_reach_a_writable_directory_is_warned_of(
    make_machine: MakeMachine, public: Path, data: Path, trick: str
) -> None:
    """The way past the filter that is left: overlayfs copies a mode inside the kernel. Hence the warning."""
    security = {"fuse": trick == "fuse"}
    machine = make_machine(name=NAME, mappings=[writable(public), writable(data, "/kept")], security=security)
    warnings = machine.start().warnings
    assert len(warnings) == 1
    assert warnings[0].startswith(f"{public}: users of this host can reach it")
    machine.output("/usr/bin/python3", "-I", "-", "/data", trick, input=COPY_UP.read_text())
    copied = [path for path in public.rglob("*") if path.is_file() and path.stat().st_mode & stat.S_ISUID]
    assert [path.stat().st_uid for path in copied] == [0], (
        "the kernel refuses it now: docs/security.md can promise more"
    )


def test_nobody_is_warned_where_nobody_can_come(make_machine: MakeMachine, public: Path, data: Path) -> None:
    read_only = {"source": str(public), "target": "/mnt/read-only"}
    assert make_machine(name=NAME, mappings=[writable(data), read_only]).start().warnings == []


def preflight(machine: Machine) -> None:
    """Look at the host as a deployment of the machine does."""
    check_host(PreflightHost(), read_spec(str(machine.system)))


NESTING: dict[str, t.Any] = {"security": {"nesting": True}}
REFUSED = "with security.nesting it cannot be writable at /data.*mode 0700.*nosuid"


class TestNesting:
    """With `nesting` root inside makes set-user-ID files and file capabilities: nobody may reach them."""

    def test_what_users_can_reach_is_refused(self, make_machine: MakeMachine, public: Path) -> None:
        (public / "data").mkdir(mode=0o700)
        machine = make_machine(name=NAME, mappings=[writable(public / "data")], **NESTING)
        with pytest.raises(LauncherError, match=f"{public}/data: {REFUSED}"):
            machine.start()
        assert machine.container.status().state == "stopped"
        with pytest.raises(TargetError, match=f"nothing was changed. {public}/data: {REFUSED}"):
            preflight(machine)
        public.chmod(0o700)
        preflight(machine)
        assert machine.start().warnings == []
        machine.output("touch", "/data/x")

    def test_no_option_makes_it_less(self, make_machine: MakeMachine, public: Path) -> None:
        may_fail = {"device": str(public), "mount_point": "/data", "type": "none", "flags": ["bind-mount"]}
        item = {**may_fail, "mount_may_fail": True, "needed_for_boot": True}
        machine = make_machine(name=NAME, extra_file_systems=[item], **NESTING)
        with pytest.raises(LauncherError, match=REFUSED):
            machine.start()

    def test_a_share_is_refused(self, make_machine: MakeMachine, public: Path) -> None:
        machine = make_machine(name=NAME, **NESTING)
        words = [str(machine.system / "run-container"), "--detach", f"--share={public}=/data"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60)
        assert done.returncode == 125
        assert re.search(REFUSED, done.stderr)

    def test_it_is_found_wherever_it_is_shown(self, make_machine: MakeMachine, data: Path, public: Path) -> None:
        """A bind mount shows it, or a part of it, where users come."""
        (data / "part").mkdir()
        machine = make_machine(name=NAME, mappings=[writable(data)], **NESTING)
        for shown in (data, data / "part"):
            with mounted("--bind", shown, public):
                with pytest.raises(LauncherError, match=f"{data}: .*as {public}, and root"):
                    machine.start()
                with pytest.raises(TargetError, match=f"{data}: .*as {public}, and root"):
                    preflight(machine)
        machine.start()

    @pytest.mark.parametrize("lower", ["{usr}", "{public}:{usr}", "{usr}/doc", "{public}", "{merged}"])
    @pytest.mark.parametrize("part", ["", "part"])
    def test_lower_layers_of_an_overlay_are_not_written(self, public: Path, data: Path, lower: str, part: str) -> None:
        """Users of the host read them; what root inside writes comes to the upper layer."""
        words = {"usr": "/usr/share", "public": public, "merged": data / "merged"}
        with contextlib.ExitStack() as stack:
            for name in ("merged", "own"):
                for path in (data / name, data / f"{name} upper" / "part", data / f"{name} work"):
                    path.mkdir(parents=True)
                options = f"lowerdir={(lower if name == 'own' else '{public}').format(**words)}"
                options += f",upperdir={data / f'{name} upper'},workdir={data / f'{name} work'}"
                stack.enter_context(mounted("-t", "overlay", "-o", options, "overlay", data / name))
            source = os.open(data / "own" / part, os.O_PATH)
            stack.callback(os.close, source)
            host = guarded.GuardedHost(guarded.RUNS)
            assert check_bind(host, source, "it", "/data", "security.nesting") is None
            stack.enter_context(mounted("--bind", data / "own upper", public))
            with pytest.raises(guarded.WritableSource, match=f"it as {public}"):
                check_bind(guarded.GuardedHost(guarded.RUNS), source, "it", "/data", "security.nesting")

    def test_nosuid_is_enough_where_all_of_it_is(self, make_machine: MakeMachine, public: Path) -> None:
        with mounted("-t", "tmpfs", "-o", "nosuid,mode=0755", "tmpfs", public):
            (public / "below").mkdir()
            machine = make_machine(name=NAME, mappings=[writable(public)], **NESTING)
            below = mounted("-t", "tmpfs", "-o", "mode=0755", "tmpfs", public / "below")
            with below, pytest.raises(LauncherError, match=f"cannot be writable.*as {public}/below, and"):
                machine.start()
            preflight(machine)
            assert machine.start().warnings == []
            machine.stop()

    def test_a_file_system_that_the_host_shows_is_refused(
        self, make_machine: MakeMachine, tmp_path: Path, public: Path
    ) -> None:
        with contextlib.ExitStack() as stack:
            with open(tmp_path / "image", "wb") as image:
                image.truncate(8 << 20)
            device = attach_loop(tmp_path / "image", stack)
            subprocess.run(["mkfs.ext4", "-q", device], check=True, timeout=60)
            item = {"device": device, "mount_point": "/data", "type": "ext4", "needed_for_boot": True}
            machine = make_machine(name=NAME, extra_file_systems=[item], **NESTING)
            with mounted(device, public):
                with pytest.raises(LauncherError, match=f"{device}: {REFUSED}"):
                    machine.start()
                with pytest.raises(TargetError, match=f"{device}: {REFUSED}"):
                    preflight(machine)
            preflight(machine)
            assert machine.start().warnings == []
            machine.stop()


@pytest.mark.parametrize("mode", ["auto", "nesting"])
def test_a_file_capability_is_copied_up_with_nesting_only(make_machine: MakeMachine, data: Path, mode: str) -> None:
    """What the refusal of reachable mappings is for: the kernel writes it for CAP_SETFCAP, which nesting keeps."""
    security = {"nesting": mode == "nesting", "fuse": True}
    machine = make_hostile(make_machine, mode, NAME, data, security=security)
    machine.start()
    done = machine.run("/usr/bin/python3", "-I", "-", "/data", "capability", input=COPY_UP.read_text())
    word = "ok"
    try:
        capability = os.getxattr(data / "upper" / "program", "security.capability")
        assert len(capability) == 20, "it counts in a namespace of another user only"
    except (FileNotFoundError, OSError) as error:
        word = errno.errorcode[error.errno or 0]
        assert mode == "auto", done.stderr
    isolation_record.check(mode, "copy up", "capability", {"a file capability copied up by overlayfs": word})
