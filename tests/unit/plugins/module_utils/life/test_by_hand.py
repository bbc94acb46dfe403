# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A start by hand: in a transient unit where systemd makes one, and else as on a host without systemd."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import types
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.contract import Mount
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import AlreadyRunning, LauncherError
from ansible_collections.unshare.container.plugins.module_utils.life import again, by_hand

from ..specifications import specification

SHARE = Mount(device="/srv/data", mount_point="/data", type="none", flags=["bind-mount"])
OPTION = "--share=/srv/data=/data"
BEGIN = 'echo begun >"$said"; '


class Container:
    """In place of the launcher's container; `pid` is that of one that runs."""

    def __init__(self, directory: Path) -> None:
        self.name = "web"
        self.directory = str(directory)
        self.calls: list[str] = []
        self.pid: int | None = None
        self.held = False

    @contextlib.contextmanager
    def lock(self, timeout: float) -> t.Iterator[None]:
        assert not self.held
        self.held = True
        os.makedirs(by_hand.RUN_DIRECTORY + "/web")
        try:
            yield
        finally:
            self.held = False
            with contextlib.suppress(OSError):
                os.rmdir(by_hand.RUN_DIRECTORY + "/web")
                os.rmdir(by_hand.RUN_DIRECTORY)

    def status(self) -> t.Any:
        return types.SimpleNamespace(state="running" if self.pid else "stopped", pid=self.pid, warnings=["noted"])

    def start(self, system: str, wait: bool, timeout: float, extra_file_systems: list[Mount]) -> t.Any:
        assert self.held
        assert wait
        self.calls.append(f"start {system} {timeout:g} {len(extra_file_systems)}")
        self.pid = 7
        return self.status()

    def stop(self, timeout: float) -> bool:
        assert self.held
        self.calls.append("stop")
        return True


class Host:
    """A host on which systemd runs, as far as programs that are asked for tell.

    Attributes:
        container: one of its containers, which is started.
        told: the statuses that were explained.
    """

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.place = place
        self.container = Container(place)
        self.told: list[t.Any] = []
        for name in ("bin", "system", "transient"):
            (place / name).mkdir()
        monkeypatch.setattr(by_hand, "RUN_DIRECTORY", str(place / "run"))
        monkeypatch.setattr(by_hand, "RUNTIME_UNIT_DIRECTORY", str(place / "system"))
        monkeypatch.setattr(by_hand, "TRANSIENT_UNITS", str(place / "transient"))
        monkeypatch.setattr(by_hand, "elsewhere", lambda: "")
        monkeypatch.setenv("PATH", str(place / "bin"), prepend=os.pathsep)
        self.system = place / "0123-web"
        self.system.mkdir()
        (self.system / "spec.json").write_text(json.dumps(specification().write()))
        self.program("systemctl", "")

    def program(self, name: str, script: str) -> None:
        """Give the host a program, which also notes what it is called with, and has the file of a start as `$said`."""
        find = 'for word; do case $word in --by-hand=*) said=${word#*=};; esac; done; echo "$0 $*" >>"$0.log"; '
        path = self.place / "bin" / name
        path.write_text(f"#!/bin/sh\n{find}\n{script}\n")
        path.chmod(0o755)

    def log(self, name: str) -> list[str]:
        """Return with what a program was called."""
        path = self.place / "bin" / f"{name}.log"
        return path.read_text().splitlines() if path.exists() else []

    def explain(self, status: t.Any) -> None:
        assert self.container.held
        self.told.append(status)

    def start(self, **arguments: t.Any) -> None:
        arguments.setdefault("explain", self.explain)
        container = t.cast("t.Any", self.container)
        try:
            by_hand.start(container, str(self.system), [SHARE], [OPTION], 5.0, **arguments)
        finally:
            assert not (self.place / "run").exists()

    def was_started_outside(self) -> bool:
        return self.container.calls == [f"start {self.system} 5 1"]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def running(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the container run once systemd-run has been called."""
    status = host.container.status

    def later() -> t.Any:
        host.container.pid = 7 if host.log("systemd-run") else None
        return status()

    monkeypatch.setattr(host.container, "status", later)


def test_it_is_started_by_systemd(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.program("systemd-run", BEGIN)
    running(host, monkeypatch)
    host.start()
    (said,) = host.log("systemd-run")
    assert said.endswith(f" {OPTION}")
    assert (
        f" -- {host.system}/run-container --service --timeout=5 --by-hand={host.place}/run/.web.{os.getpid()} " in said
    )
    assert '"/srv/data"' in said
    assert host.container.calls == host.log("systemctl") == []
    assert [(status.pid, status.warnings) for status in host.told] == [(7, ["noted"])]


def test_without_systemd_nobody_is_asked(host: Host) -> None:
    (host.place / "system").rmdir()
    host.program("systemd-run", BEGIN)
    host.start()
    assert host.was_started_outside()
    assert host.log("systemd-run") == []
    assert [status.warnings for status in host.told] == [["noted"]]


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo Access denied >&2; exit 1", "Access denied"),
        ("exit 1", "systemd-run has failed"),
        ("kill -KILL $$", "systemd-run has failed"),
        (None, "systemd-run: "),
    ],
)
def test_where_there_is_no_unit_a_warning_says_so(
    host: Host, monkeypatch: pytest.MonkeyPatch, script: str | None, why: str
) -> None:
    if script is None:
        monkeypatch.setenv("PATH", str(host.place / "bin"))
    else:
        host.program("systemd-run", script)
    host.start()
    assert host.was_started_outside()
    ((noted, warning),) = [status.warnings for status in host.told]
    assert noted == "noted"
    assert "runs in no unit" in warning
    assert "waits for it in vain" in warning
    assert why in warning


def test_what_has_its_own_view_of_the_host_gets_no_unit(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_hand, "elsewhere", lambda: "it is elsewhere")
    host.program("systemd-run", BEGIN)
    host.start()
    assert host.was_started_outside()
    assert host.log("systemd-run") == []
    assert ": it is elsewhere; " in host.told[0].warnings[1]


@pytest.mark.parametrize("status", [0, 1])
def test_what_the_launcher_says_in_the_unit_is_the_error(host: Host, status: int) -> None:
    """With a status of 0 the container runs on: it was not ready in time."""
    host.program("systemd-run", BEGIN + f'printf "it does not\\nstart" >>"$said"; echo Job failed >&2; exit {status}')
    with pytest.raises(LauncherError, match="^it does not\nstart$"):
        host.start()
    assert host.container.calls == host.told == []


def test_a_unit_that_fails_without_a_word_is_stopped(host: Host) -> None:
    host.program("systemd-run", BEGIN + "echo Job failed >&2; exit 1")
    with pytest.raises(LauncherError, match=r"unit unshare-by-hand-web\.service: Job failed; journalctl"):
        host.start()
    assert host.log("systemctl")[-1].endswith("systemctl stop unshare-by-hand-web.service")
    assert host.container.calls == []


def test_a_signal_stops_the_unit(host: Host) -> None:
    host.program("systemd-run", BEGIN + f"kill -TERM {os.getpid()}; exec sleep 60")

    def interrupt(number: int, _frame: object) -> t.NoReturn:
        raise SystemExit(128 + number)

    former = signal.signal(signal.SIGTERM, interrupt)
    try:
        with pytest.raises(SystemExit, match="^143$"):
            host.start()
    finally:
        signal.signal(signal.SIGTERM, former)
    assert host.log("systemctl")[-1].endswith("systemctl stop unshare-by-hand-web.service")


def test_a_signal_while_a_program_begins_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What systemd-run has not asked for yet, it must not ask for later."""

    class Interrupted(subprocess.Popen[bytes]):
        def __init__(self, *arguments: t.Any, **options: t.Any) -> None:
            super().__init__(*arguments, **options)
            begun[self.pid] = Path(f"/proc/{self.pid}/status").read_text()
            os.kill(os.getpid(), signal.SIGINT)

    begun: dict[int, str] = {}
    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        by_hand.run_silently(["sleep", "60"], 30)
    ((pid, status),) = begun.items()
    assert not Path(f"/proc/{pid}").exists()
    assert "\nSigBlk:\t0000000000000000\n" in status, "it would heed no signal itself"
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_what_is_about_to_end_or_to_start_again_is_stopped_first(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    (host.place / "transient/unshare-by-hand-web.service").touch()
    host.program("systemctl", f"rm {host.place}/transient/unshare-by-hand-web.service")
    host.program("systemd-run", f"test ! -e {host.place}/transient/unshare-by-hand-web.service && {BEGIN} true")
    running(host, monkeypatch)
    host.start()
    assert len(host.log("systemctl")) == len(host.told) == 1


def test_one_that_runs_is_not_started_again(host: Host) -> None:
    host.container.pid = 7
    host.program("systemd-run", BEGIN)
    with pytest.raises(AlreadyRunning, match="^container web: already runs, as PID 7$"):
        host.start()
    assert host.log("systemd-run") == host.container.calls == []


@pytest.mark.parametrize("has_systemd", [True, False])
def test_one_that_is_not_wanted_is_not_started(host: Host, has_systemd: bool) -> None:
    if not has_systemd:
        (host.place / "system").rmdir()
    host.program("systemd-run", BEGIN)
    host.start(is_wanted=lambda: False)
    assert host.log("systemd-run") == host.container.calls == host.told == []


@pytest.mark.parametrize("has_systemd", [True, False])
def test_what_nobody_could_be_told_of_is_stopped(
    host: Host, monkeypatch: pytest.MonkeyPatch, has_systemd: bool
) -> None:
    def explain(_status: object) -> t.NoReturn:
        raise OSError("no such directory")

    if not has_systemd:
        (host.place / "system").rmdir()
    host.program("systemd-run", BEGIN)
    running(host, monkeypatch)
    with pytest.raises(OSError, match="no such directory"):
        host.start(explain=explain)
    assert host.container.calls[-1] == "stop"


def test_who_shares_the_view_of_systemd_is_not_elsewhere(tmp_path: Path) -> None:
    def process(name: str, root: str = "/", **others: str) -> str:
        place = tmp_path / name
        (place / "ns").mkdir(parents=True)
        for namespace in by_hand.VIEWS:
            (place / "ns" / namespace).symlink_to(others.get(namespace, "/usr"))
        (place / "root").symlink_to(root)
        (place / "environ").write_text("HOME=/\0TERM=linux\0")
        return str(place)

    host = process("1")
    assert by_hand.elsewhere(host, process("2")) == ""
    for namespace in by_hand.VIEWS:
        assert f"({namespace})" in by_hand.elsewhere(host, process(f"in-{namespace}", **{namespace: "/etc"}))
    assert "root directory" in by_hand.elsewhere(host, process("3", "/etc"))
    assert "is not to be seen" in by_hand.elsewhere(str(tmp_path / "none"), process("4"))
    own = process("5")
    for paths, kept in (
        ("/etc/systemd/system", False),
        ("/etc/systemd/system:", True),
        ("", True),
        ("/run/systemd/transient:/etc/systemd/system", True),
        ("/run/systemd/transient.d", False),
    ):
        (tmp_path / "1/environ").write_text(f"HOME=/\0SYSTEMD_UNIT_PATH={paths}\0TERM=linux\0")
        assert ("its SYSTEMD_UNIT_PATH lacks" in by_hand.elsewhere(host, own)) != kept
    assert by_hand.elsewhere("/proc/self", "/proc/self") == ""


GROUP = "echo 1:name=systemd:/; echo 0::/machine.slice/unshare-by-hand-web.scope; echo"


def enter_scope(host: Host, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the groups to which the launcher has moved; the program of the scope must run until then."""
    moved: list[str] = []

    def move(group: str) -> None:
        assert host.log("cat-ended") == []
        moved.append(group)

    host.container.cgroup = types.SimpleNamespace(move_below_unit=move)  # type: ignore[attr-defined]
    monkeypatch.setattr(by_hand, "_has_own_unit", lambda _container: False)
    by_hand.enter_scope(t.cast("t.Any", host.container), str(host.system), [SHARE], 5.0)
    return moved


def test_the_foreground_moves_into_a_scope(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.program("systemd-run", f"{GROUP}; cat; echo ended >>{host.place}/bin/cat-ended.log")
    assert enter_scope(host, monkeypatch) == ["machine.slice/unshare-by-hand-web.scope"]
    (said,) = host.log("systemd-run")
    assert said.endswith(f" --scope -- sh -c {by_hand.KEEP}")
    assert '"/srv/data"' in said


@pytest.mark.parametrize(
    "script",
    ["exit 1", "echo 0::/user.slice/session-1; echo; cat", "echo 1:name=systemd:/x.scope; echo; cat", "echo", None],
)
def test_the_foreground_stays_where_it_is_without_a_scope(
    host: Host, monkeypatch: pytest.MonkeyPatch, script: str | None
) -> None:
    if script is None:
        monkeypatch.setenv("PATH", str(host.place / "bin"))
    else:
        host.program("systemd-run", script)
    assert enter_scope(host, monkeypatch) == []


def test_a_unit_of_its_own_is_enough(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    marks = {"trusted.delegate": b"1"}

    def mark(_path: str, name: str) -> bytes:
        if name not in marks:
            raise OSError(61, "No data available")
        return marks[name]

    container = t.cast("t.Any", host.container)
    container.cgroup = types.SimpleNamespace(hierarchy=0)
    monkeypatch.setattr(os, "getxattr", mark)
    monkeypatch.delenv("SYSTEMD_EXEC_PID", raising=False)
    assert not by_hand._has_own_unit(container)
    monkeypatch.setenv("SYSTEMD_EXEC_PID", "1")
    assert not by_hand._has_own_unit(container)
    monkeypatch.setenv("SYSTEMD_EXEC_PID", str(os.getpid()))
    assert by_hand._has_own_unit(container)
    marks.clear()
    assert not by_hand._has_own_unit(container)
    marks["user.delegate"] = b"1"
    assert by_hand._has_own_unit(container)
    host.program("systemd-run", f"{GROUP}; cat")
    by_hand.enter_scope(container, str(host.system), [], 5.0)
    assert host.log("systemd-run") == []


def test_who_has_gone_is_not_told(tmp_path: Path) -> None:
    by_hand.tell_caller(str(tmp_path / "gone"), "it does not")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "said").write_text("begun\n")
    by_hand.tell_caller(str(tmp_path / "said"), "it does not\n")
    assert (tmp_path / "said").read_text() == "begun\nit does not\n"
    (tmp_path / "link").symlink_to(tmp_path / "said")
    by_hand.tell_caller(str(tmp_path / "link"), "more")
    assert (tmp_path / "said").read_text() == "begun\nit does not\n"


@pytest.mark.parametrize("comes_back", [True, False])
def test_one_that_has_rebooted_itself_gets_a_unit_as_well(host: Host, comes_back: bool) -> None:
    host.program("systemd-run", BEGIN)
    container = t.cast("t.Any", host.container)
    container.record = lambda: {"system": str(host.system)}
    container.is_to_come_back = lambda: comes_back
    assert again.start_again(container, str(host.system), 5.0, host.explain) == 0
    assert len(host.log("systemd-run")) == len(host.told) == comes_back
    assert host.container.calls == []
