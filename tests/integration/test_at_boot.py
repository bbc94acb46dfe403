# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host whose PID 1 is systemd, and its reboot: the containers that should run do, in their order.

The host is a container itself, with a disk for /var/lib/unshare and /etc/systemd/system; the modules run inside it.
"""

from __future__ import annotations

import json
import os
import re
import time
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.unshare.container.tests import followed

from .conftest import INTERPRETER
from .systemd_host import SystemdHost, started
from .test_reboot import DECLARED, LOGIN, rebooting

if t.TYPE_CHECKING:
    from .conftest import MakeMachine, Mapping

pytestmark = pytest.mark.root

BOOT_ID = "/proc/sys/kernel/random/boot_id"


@pytest.fixture
def host(make_machine: MakeMachine, tmp_path: Path) -> SystemdHost:
    return started("test-boot-host", make_machine, tmp_path)


TRANSIENT_UNITS = "/run/systemd/transient"


@pytest.fixture
def forgetful_host(host: SystemdHost) -> SystemdHost:
    """Return a host whose systemd does not look for units where systemd-run puts them."""
    host.machine.stop()
    path = host.machine.system / "spec.json"
    spec = json.loads(path.read_text())
    spec["init"]["environment"]["SYSTEMD_UNIT_PATH"] = "/etc/systemd/system"
    path.write_text(json.dumps(spec))
    host.machine.start()
    host.machine.output("systemctl", "is-system-running", "--wait")
    return host


def test_a_reboot_of_the_host(host: SystemdHost) -> None:
    systems = {name: host.write(name) for name in ("database", "web", "idle")}
    host.container("web", system=systems["web"], enabled=True, after=["database"])
    host.container("database", system=systems["database"], enabled=True)
    host.container("idle", system=systems["idle"], enabled=False)
    assert host.runs("idle")
    host.inside("idle", "systemctl", "poweroff")
    former = host.inside("web", "cat", BOOT_ID)  # PIDs begin anew with the host, which is a container
    assert former

    host.reboot()

    assert host.machine.output("systemctl", "is-system-running").strip() == "running", host.machine.logs()
    assert host.show("database", "ActiveState", "SubState") == ["active", "running"]
    assert host.show("web", "ActiveState", "SubState") == ["active", "running"]
    assert host.runs("database")
    assert host.runs("web")
    assert not host.runs("idle")
    assert host.inside("web", "cat", BOOT_ID) != former
    (ready,), (begun,) = (
        host.show("database", "ActiveEnterTimestampMonotonic"),
        host.show("web", "InactiveExitTimestampMonotonic"),
    )
    assert int(ready) <= int(begun)


def test_reboot_power_off_and_crash_of_a_container(host: SystemdHost) -> None:
    host.container("web", system=host.write("web"), enabled=True)
    (first,) = host.show("web", "MainPID")
    host.inside("web", "systemctl", "reboot")
    host.await_message("web", "Started unshare-container@web", 2)
    (second,) = host.show("web", "MainPID")
    assert first != second

    host.machine.output("kill", "-KILL", second)
    host.await_message("web", "Started unshare-container@web", 3)
    state, third, restarts = host.show("web", "ActiveState", "MainPID", "NRestarts")
    assert state == "active"
    assert third not in (first, second)
    assert restarts == "2"

    host.inside("web", "systemctl", "poweroff")
    host.await_message("web", "web.service: Deactivated successfully", 2)
    assert host.show("web", "ActiveState", "Result", "NRestarts") == ["inactive", "success", "2"]
    assert not host.runs("web")
    assert host.machine.run("ls", "/run/unshare").stdout == "", "something was left in memory"


@pytest.mark.parametrize("told", [{}, {"enabled": False}], ids=["nothing", "disabled"])
def test_a_container_that_the_boot_does_not_start_has_a_unit(host: SystemdHost, told: Mapping) -> None:
    arguments = {"system": host.write("web"), **told}
    assert host.container("web", check=True, **arguments)["changed"]
    assert host.show("web", "ActiveState") == ["inactive"]
    started = host.container("web", **arguments)
    assert not started["enabled"]
    assert all("resource limits: " in str(warning) for warning in started.get("warnings") or ())
    assert host.show("web", "ActiveState", "MainPID") == ["active", str(started["pid"])]
    assert host.show("web", "ControlGroup") == ["/machine.slice/unshare-container@web.service"]
    for check in (True, False):
        assert not host.container("web", check=check, **arguments)["changed"]
    limited = {**arguments, "limits": {"tasks_max": "300"}}
    assert host.container("web", **limited)["pid"] == started["pid"]
    assert host.show("web", "TasksMax") == ["300"]
    assert host.container("web", state="restarted")["pid"] != started["pid"]
    assert host.show("web", "ActiveState") == ["active"]
    assert host.container("web", state="stopped")["changed"]
    assert not host.container("web", state="stopped")["changed"]
    assert host.show("web", "ActiveState") == ["inactive"]
    other = host.container("web", system=host.write("web", "other"), **told)
    back = host.container("web", state="rolled_back")
    assert back["generation"] < other["generation"]
    assert host.show("web", "MainPID") == [str(back["pid"])]

    # The host stops it in order, and does not wait for it until a time limit.
    begun = time.monotonic()
    host.reboot()
    assert time.monotonic() - begun < 20
    assert not host.runs("web")
    host.container("web", state="absent")
    assert host.machine.shell("ls -R /etc/systemd/system | grep unshare-container@").stdout == ""


def test_ansible_reboots_a_container_with_a_unit(host: SystemdHost) -> None:
    host.container("web", system=host.write("web", services=[*DECLARED["services"], *LOGIN]), enabled=False)
    (former,) = host.show("web", "MainPID")
    host.machine.output("sh", "-c", "cat > /tmp/play.yml", input=json.dumps(rebooting("web")))
    command = [INTERPRETER, "-m", "ansible", "playbook", "--inventory=web,", "/tmp/play.yml"]
    settings = ["ansible_connection=unshare.container.nsenter", f"ansible_python_interpreter={INTERPRETER}"]
    environment = ["PYTHONPATH=/opt/packages", "ANSIBLE_COLLECTIONS_PATH=/opt/collections", "LC_ALL=C.UTF-8"]
    options = [f"--extra-vars={setting}" for setting in settings]
    done = host.machine.run("env", *environment, *command, *options, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert host.show("web", "MainPID") != [former]
    host.await_message("web", "Started unshare-container@web", 2)


def test_the_module_and_systemd_agree(host: SystemdHost) -> None:
    system = host.write("web")
    unit = "unshare-container@web.service"
    arguments: Mapping = {"system": system, "enabled": True, "timeout": 20.0}
    planned = host.container("web", check=True, **arguments)
    assert planned["changed"]
    assert host.machine.shell("ls /etc/systemd/system | grep unshare-container@").stdout == ""
    assert host.container("web", **arguments)["changed"]
    for check in (True, False):
        assert not host.container("web", check=check, **arguments)["changed"]
    assert host.show("web", "TimeoutStopUSec", "TasksMax", "Delegate") == ["35s", "16384", "yes"]
    assert host.machine.run("systemctl", "is-enabled", unit).stdout.strip() == "enabled"
    verified = host.machine.run("systemd-analyze", "verify", f"/etc/systemd/system/{unit}")
    assert "unshare-container" not in verified.stderr, verified.stderr

    # Stopped by systemd, seen by the module; the other way round; started by systemd, restarted by the module.
    host.machine.output("systemctl", "stop", unit)
    assert host.show("web", "Result") == ["success"]
    assert host.container("web", check=True, state="started")["changed"]
    host.machine.output("systemctl", "start", unit)
    (pid,) = host.show("web", "MainPID")
    assert host.container("web", state="restarted")["pid"] != int(pid)
    assert host.container("web", state="stopped")["changed"]
    assert host.show("web", "ActiveState") == ["inactive"]

    # Limits alone do not restart it.
    pid = host.container("web")["pid"]
    changed = host.container("web", limits={"tasks_max": "300", "memory_max": "256M"})
    assert changed["changed"]
    assert changed["pid"] == pid
    assert host.show("web", "TasksMax", "MemoryMax", "MainPID") == ["300", str(256 << 20), str(pid)]
    assert not host.container("web", limits={"tasks_max": "300", "memory_max": "256M"})["changed"]

    # Whether the boot starts it is no matter of the running one, and what nobody needs any more is gone.
    disabled = host.container("web", enabled=False)
    assert disabled["changed"]
    assert disabled["pid"] == pid
    assert host.machine.run("systemctl", "is-enabled", unit).stdout.strip() == "disabled"
    assert host.show("web", "ActiveState", "MainPID") == ["active", str(pid)]
    assert not host.container("web", enabled=False)["changed"]
    assert host.container("web", state="stopped")["changed"]
    host.container("web", state="absent")
    assert host.machine.shell("ls -R /etc/systemd/system | grep unshare-container@").stdout == ""


def test_no_unit_is_made_that_systemd_forgets(forgetful_host: SystemdHost) -> None:
    launcher = forgetful_host.write("web") + "/run-container"
    said = forgetful_host.machine.run("sh", "-c", f"{launcher} --detach; {launcher} --stop").stderr
    assert f"runs in no unit of the host's systemd: its SYSTEMD_UNIT_PATH lacks {TRANSIENT_UNITS}" in said


def test_what_is_in_the_foreground_is_a_scope(host: SystemdHost) -> None:
    machine = host.machine
    launcher = host.write("web") + "/run-container"
    host.container("web", system=os.path.dirname(launcher), state="stopped", limits={"tasks_max": "400"})
    script = """
        "$0" </dev/null 2>/tmp/said & launcher=$!
        timeout 40 grep --max-count=1 enter-container <(exec tail --lines=+1 --follow --retry /tmp/said 2>/dev/null)
        cat /proc/$launcher/cgroup
        systemctl show --property=TasksMax,Slice unshare-by-hand-web.scope
        until "${0%/*}/enter-container" systemctl is-system-running --wait | grep running; do :; done 2>/dev/null
        systemctl stop unshare-by-hand-web.scope
        wait $launcher; echo status $?
        ls /run/unshare; systemctl is-active unshare-by-hand-web.scope
    """
    said = machine.run("bash", "-c", script, launcher).stdout
    assert "0::/machine.slice/unshare-by-hand-web.scope/launcher\n" in said
    assert "TasksMax=400\n" in said
    assert "Slice=machine.slice\n" in said
    assert said.endswith("running\nstatus 0\ninactive\n"), said
    # The module ends it as well, and has its own unit for it then.
    machine.run("sh", "-c", f"setsid {launcher} </dev/null >/dev/null 2>&1 & {launcher[:-13]}enter-container true")
    moved = host.container("web", state="restarted")
    assert host.show("web", "MainPID") == [str(moved["pid"])]
    assert machine.run("systemctl", "is-active", "unshare-by-hand-web.scope").stdout == "inactive\n"


def test_what_is_started_by_hand_is_a_unit(host: SystemdHost) -> None:
    launcher = host.write("web") + "/run-container"
    arguments: Mapping = {"system": os.path.dirname(launcher), "limits": {"tasks_max": "400"}}
    host.container("web", **arguments)
    host.container("web", state="stopped")

    def shown(*properties: str, unit: str = "unshare-by-hand-web.service") -> list[str]:
        show = [f"systemctl show --value --property={name} {unit}" for name in properties]
        return [host.machine.output("sh", "-c", command).strip() for command in show]

    # It is ready when the command has ended, with its mappings, its limits and its mark.
    host.machine.output("sh", "-c", "install -d -m 0700 '/srv/a $b%c' && touch '/srv/a $b%c/there'")
    options = ["--detach", "--share", "/srv/a $b%c=/data", "--pid-file", "/run/web.pid", "--timeout=20"]
    done = host.machine.run(launcher, *options)
    assert done.returncode == 0, done.stderr
    assert "warning: container web" not in done.stderr
    pid = host.machine.output("cat", "/run/web.pid").strip()
    assert f"running as PID {pid}\n" in done.stderr
    assert shown("ActiveState", "MainPID", "Slice") == ["active", pid, "machine.slice"]
    assert shown("TasksMax", "TimeoutStopUSec", "ControlGroup")[:2] == ["400", "35s"]
    assert shown("ControlGroup")[0] + "/payload" in host.machine.output("cat", f"/proc/{pid}/cgroup")
    assert host.machine.run(launcher[: -len("run-container")] + "enter-container", "ls", "/data").stdout == "there\n"
    again = host.machine.run(launcher, "--detach")
    assert (again.returncode, again.stderr) == (125, f"run-container: container web: already runs, as PID {pid}\n")

    # There is no second one, and the deployment takes it over.
    assert host.machine.run("systemctl", "start", "unshare-container@web").returncode != 0
    told = host.container("web", **arguments)
    assert told["pid"] == int(pid)
    assert "was started by hand, and runs outside of its unit" in str(told["warnings"])
    assert host.container("web", limits={"tasks_max": "300"})["pid"] == int(pid)
    assert shown("TasksMax") == ["300"]
    moved = host.container("web", state="restarted")
    assert host.show("web", "MainPID") == [str(moved["pid"])]
    assert shown("LoadState") == ["not-found"]
    host.container("web", state="stopped")

    # A reboot from inside starts it again, and a stop ends it, with all that it had.
    host.machine.output(launcher, "--detach")
    (former,) = shown("MainPID")
    host.inside("web", "systemctl", "reboot")
    host.await_message("web", "system container is running", 3, "unshare-by-hand-web")
    host.machine.output("sh", "-c", "systemctl start unshare-by-hand-web")
    assert shown("MainPID") not in ([former], ["0"])
    host.machine.output("systemctl", "stop", "unshare-by-hand-web")
    assert shown("LoadState") == ["not-found"]
    assert host.machine.run("ls", "/run/unshare").returncode != 0

    # What fails there is said here, and what is not ready in time goes on running.
    failed = host.machine.run(launcher, "--detach", "--share=/nowhere=/data")
    assert failed.stderr.startswith("run-container: container web: cannot start: /nowhere: "), failed.stderr
    assert (failed.returncode, failed.stderr.count("\n")) == (125, 1)
    failed = host.machine.run(launcher, "--detach", "--pid-file=/nowhere/pid")
    assert (failed.returncode, "/nowhere" in failed.stderr) == (125, True)
    late = {"name": "late", "command": ["/usr/bin/sleep", "infinity"], "service": {"Type": "oneshot", "Restart": "no"}}
    slow = host.write("slow", services=[{"type": "unit", "value": late}]) + "/run-container"
    failed = host.machine.run(slow, "--detach", "--timeout=1")
    assert "was not ready within 1 s, and still runs" in failed.stderr
    assert (failed.returncode, shown("ActiveState", unit="unshare-by-hand-slow")) == (125, ["active"])
    host.machine.output(slow, "--stop")
    host.container("slow", state="absent")

    # Somebody else's view of the host, and no systemd-run: as on a host without systemd.
    for before, why in ("unshare --mount", "another namespace (mnt)"), ("env PATH=/nowhere", "systemd-run: "):
        done = host.machine.run("sh", "-c", f"{before} {launcher} --detach; {launcher} --stop")
        assert "runs in no unit of the host's systemd" in done.stderr
        assert why in done.stderr
    host.machine.output(launcher, "--detach")
    host.container("web", state="absent")
    assert shown("LoadState") == ["not-found"]
    assert host.machine.run("ls", "/run/unshare").returncode != 0


def test_the_page_about_starting_with_the_host(host: SystemdHost) -> None:
    with followed.Page("docs/at-boot.md", __file__) as page:
        options = {**yaml.safe_load(page.take("system_container_enabled").text)}
        options.update(yaml.safe_load(page.take("system_container_limits").text))
    text = (Path(__file__).parents[2] / "docs/at-boot.md").read_text()
    files = re.findall(r"^\| `(unshare-container@\S+)` \|", text, re.MULTILINE)
    (link,) = re.findall(r"`(multi-user\.target\.wants/\S+)`", text)
    assert len(files) == 3
    host.container("database", system=host.write("database"))
    told = {key.removeprefix("system_container_"): value for key, value in options.items()}
    host.container("web", system=host.write("web"), **told)

    host.machine.output("sh", "-c", "cd /etc/systemd/system && ls -d " + " ".join([*files, link]))
    limits = ["MemoryMax", "MemoryHigh", "MemorySwapMax", "CPUQuotaPerSecUSec", "CPUWeight", "AllowedCPUs", "TasksMax"]
    assert host.show("web", *limits) == [str(512 << 20), str(400 << 20), "0", "1.500000s", "50", "0", "512"]
    disks = ["IOWeight", "IOReadBandwidthMax", "IOWriteBandwidthMax", "IOReadIOPSMax", "IOWriteIOPSMax"]
    assert host.show("web", *disks) == ["50", "/var 50000000", "/var 20000000", "/var 2000", "/var 1000"]
    assert "unshare-container@database.service" in host.show("web", "After")[0].split()
