# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A container is a unit of its host, however it was started, and systemd's own tools say what is true of it."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.unshare.container.tests.hosts.conftest import HOST
from ansible_collections.unshare.container.tests.hosts.controller import START_SECONDS, Controller
from ansible_collections.unshare.container.tests.hosts.machine import Machine
from ansible_collections.unshare.container.tests.hosts.test_example import Example

pytestmark = [pytest.mark.root, pytest.mark.on("debian12", "debian13")]

UNIT = "unshare-container@web.service"
BY_HAND = "unshare-by-hand-web.service"
SCOPE = "unshare-by-hand-web.scope"
RUN = "/var/lib/unshare/containers/web/current/run-container"
START = f"{RUN} --detach --timeout={START_SECONDS}"
ENTER = "/run/unshare/web/system/enter-container"
BOOTED = f"{ENTER} systemctl is-system-running --wait"
KILLED = "systemd-shutdown[1]: Waiting for process:"
"""What the console says on the way down when a process did not end in time, and is killed."""

SYSTEM = {
    "host_name": "web",
    "services": [
        {"type": "dbus"},
        {"type": "login"},
        {"type": "unit", "value": {"name": "other", "command": ["/usr/bin/sleep", "infinity"]}},
    ],
}
"""A system whose systemd and logind the host's tools can ask: it has a bus."""

IN_FOREGROUND = f"""
setsid {RUN} --timeout={START_SECONDS} </dev/null >/root/said 2>&1 &
tail --lines=+1 --follow --retry /root/said 2>/dev/null | grep --max-count=1 'running as PID'
until {BOOTED} | grep running; do :; done 2>/dev/null
"""
"""A command that leaves a container in the foreground of a session that has gone, once it has booted."""


class Web(Example):
    """The container `web` with a bus, which nobody starts. To deploy and remove it costs more time than most tests.

    Attributes:
        stopped: what of the collection is on the host while it is deployed, and stopped.
    """

    def __init__(self, controller: Controller, host: Machine) -> None:
        super().__init__(controller, host)
        self.stopped: set[str] = set()

    def make_ready(self) -> None:
        """Have it on the host, and stopped."""
        if not self.stopped:
            assert self.deploy("stopped") > 0
            self.stopped = self.active()

    def active(self) -> set[str]:
        """Return what of the collection is on the host, beside what it keeps there."""
        return {line for line in self.left() if not line.startswith("/var/lib/unshare")}

    def remove(self) -> None:
        """Have it removed, and see that nothing stays."""
        super().remove()
        self.stopped = set()

    def deploy(self, state: str) -> int:
        """Deploy it; return how many tasks have changed something."""
        return self.play(system_container_operating_system=SYSTEM, system_container_state=state)

    def show(self, unit: str, name: str) -> str:
        """Return a property of a unit."""
        return self.host.succeed(f"systemctl show --property={name} --value {unit}").strip()

    def first_process(self) -> str:
        """Return the PID of its first process."""
        return (
            self.host.succeed("grep --only-matching '\"pid\": *[0-9]*' /run/unshare/web/state.json")
            .split(":")[1]
            .strip()
        )

    def ends(self, pid: str, unit: str) -> None:
        """Wait until a process has ended by itself, and its unit with it."""
        self.host.succeed(f"tail --pid={pid} --follow /dev/null; systemctl stop {unit}")


@pytest.fixture(scope="module")
def deployed(shared: Machine, nothing_left: None, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Web]:
    """Yield it as all tests here share it, and take it away after them."""
    if not shared.is_on:
        shared.start()
    web = Web(Controller(tmp_path_factory.mktemp("web"), {HOST: shared}), shared)
    yield web
    if not shared.is_on:
        shared.start()
    if web.stopped:
        web.remove()
    web.remove_page()


@pytest.fixture
def web(deployed: Web, host: Machine) -> t.Iterator[Web]:
    """Yield it, deployed and stopped, and see that it is so again after the test, or removed."""
    deployed.make_ready()
    yield deployed
    if not host.is_on:
        host.start()
    if deployed.stopped:
        host.execute(f"systemctl stop {UNIT} {BY_HAND} {SCOPE}; {RUN} --stop")
        assert not deployed.active() ^ deployed.stopped


def registered(host: Machine) -> str:
    """Return the PID of the first process that the host's systemd-machined knows for the container; "" for none."""
    return host.execute("machinectl show web --property=Leader --value").stdout.strip()


@pytest.mark.shows("by hand")
def test_what_is_started_by_hand_is_stopped_with_its_host(web: Web) -> None:
    said = web.host.succeed(f"{START} 2>&1")
    pid = web.first_process()
    assert f"running as PID {pid}\n" in said
    assert "warning" not in said
    assert web.show(BY_HAND, "MainPID") == pid
    assert f"/machine.slice/{BY_HAND}/" in web.host.succeed(f"cat /proc/{pid}/cgroup")
    assert BY_HAND in web.host.succeed(f"systemctl status --no-pager {pid}").splitlines()[0]
    assert f"already runs, as PID {pid}" in web.host.fail(START)
    web.host.power_off()
    assert KILLED not in web.host.console
    web.host.start()
    assert f"{BY_HAND}: Deactivated successfully" in web.host.succeed("journalctl --boot=-1 --no-pager")


@pytest.mark.shows("by hand")
def test_what_is_in_the_foreground_is_stopped_with_its_host(web: Web) -> None:
    web.host.succeed(IN_FOREGROUND)
    pid = web.first_process()
    assert f"/machine.slice/{SCOPE}/" in web.host.succeed(f"cat /proc/{pid}/cgroup")
    assert SCOPE in web.host.succeed(f"systemctl status --no-pager {pid}").splitlines()[0]
    assert web.host.succeed(f"cat /proc/$(ps --no-headers --format=ppid {pid} | tr --delete ' ')/comm") != "systemd\n"
    web.host.power_off()
    assert KILLED not in web.host.console
    web.host.start()
    assert f"{SCOPE}: Deactivated successfully" in web.host.succeed("journalctl --boot=-1 --no-pager")


@pytest.mark.shows("by hand")
def test_a_scope_that_is_stopped_has_its_container_shut_down(web: Web) -> None:
    web.host.succeed(IN_FOREGROUND)
    launcher = web.host.succeed(f"ps --no-headers --format=ppid {web.first_process()}").strip()
    web.host.succeed(f"systemctl stop {SCOPE}; test ! -e /proc/{launcher}; test ! -e /run/unshare")
    assert "Deactivated successfully" in web.host.succeed(f"journalctl --unit={SCOPE} --no-pager")


@pytest.mark.shows("by hand")
def test_a_reboot_from_inside_starts_it_again(web: Web) -> None:
    web.host.succeed(f"install -d -m 0700 '/srv/a $b%c' && {START} --share='/srv/a $b%c=/srv/shared' && {BOOTED}")
    pid = web.first_process()
    web.host.execute(f"{ENTER} systemctl reboot")
    web.host.succeed(f"tail --pid={pid} --follow /dev/null")
    web.host.wait_for_unit(BY_HAND)
    assert web.show(BY_HAND, "MainPID") == web.first_process() != pid
    web.host.succeed(f"{ENTER} mountpoint /srv/shared")
    web.host.succeed(f"{RUN} --stop; systemctl stop {BY_HAND}; test ! -e /run/unshare; rmdir '/srv/a $b%c'")


@pytest.mark.shows("by hand")
def test_a_start_that_fails_says_why_and_leaves_nothing(web: Web) -> None:
    said = web.host.fail(f"{START} --share=/nowhere=/data")
    assert said.startswith("run-container: container web: cannot start: ")
    assert said.count("run-container: ") == 1
    assert "/nowhere" in said
    assert "warning" not in said
    said = web.host.fail(f"{START} --pid-file=/nowhere/pid")
    assert "/nowhere" in said
    web.host.succeed(f"systemctl stop {BY_HAND}; test ! -e /run/unshare")


@pytest.mark.on("debian13")
@pytest.mark.shows("by hand")
def test_without_systemd_run_it_starts_outside_of_any_unit(web: Web) -> None:
    programs = "mkdir /root/bin; ln --symbolic /usr/bin/python3 /usr/bin/systemctl /root/bin"
    said = web.host.succeed(f"{programs}; PATH=/root/bin {START} 2>&1; rm --recursive /root/bin")
    assert "runs in no unit of the host's systemd" in said
    assert "/unshare/web/" in web.host.succeed(f"cat /proc/{web.first_process()}/cgroup")
    said = web.host.succeed(f"{RUN} --stop; unshare --mount {START} 2>&1; {RUN} --stop")
    assert "is in another namespace (mnt)" in said


@pytest.mark.on("debian13")
@pytest.mark.shows("machined")
def test_machinectl_says_what_is_true(web: Web) -> None:
    """The start of the container has had systemd-machined started, which did not run."""
    web.host.succeed("systemctl stop systemd-machined")
    assert web.deploy("started") > 0
    pid = web.first_process()
    assert web.host.succeed("systemctl is-active systemd-machined") == "active\n"
    assert "web" in web.host.succeed("machinectl list --no-legend").split()
    assert registered(web.host) == pid
    status = web.host.succeed("machinectl status --no-pager web")
    assert UNIT in status
    assert "other.service" in status
    assert "other.service" in web.host.succeed("systemctl --machine=web list-units --no-pager --plain")
    assert "sleep infinity" in web.host.succeed("systemd-cgls --no-pager --machine=web")
    assert "other.service" in web.host.succeed("journalctl --machine=web --no-pager")
    assert "uid=0(root)" in web.host.succeed("machinectl --quiet shell root@web /usr/bin/id </dev/null")
    assert web.host.succeed("systemd-run --machine=web --wait --pipe --quiet /usr/bin/hostname") == "web\n"
    # It is the logind inside that answers. A host without libpam-systemd has no module that registers a session.
    assert web.host.succeed("loginctl --machine=web --no-legend list-sessions") == ""
    web.host.succeed(f"systemctl restart {UNIT}")
    assert registered(web.host) == web.first_process() != pid
    for verb in ("poweroff", "terminate"):
        pid = web.first_process()
        web.host.succeed(f"{BOOTED}; machinectl {verb} web")
        web.ends(pid, UNIT)
        assert web.show(UNIT, "Result") == "success"
        assert registered(web.host) == ""
        web.host.succeed(f"test ! -e /run/unshare; systemctl start {UNIT}")
        assert registered(web.host) == web.first_process()
    web.deploy("stopped")
    assert registered(web.host) == ""


@pytest.mark.on("debian13")
@pytest.mark.shows("machined")
def test_what_was_started_by_hand_is_registered(web: Web) -> None:
    web.host.succeed(f"systemctl stop systemd-machined; {START}; {BOOTED}")
    pid = web.first_process()
    assert registered(web.host) == pid
    web.host.execute(f"{ENTER} systemctl reboot")
    web.host.succeed(f"tail --pid={pid} --follow /dev/null")
    web.host.wait_for_unit(BY_HAND)
    assert registered(web.host) == web.first_process() != pid
    web.host.succeed(f"{RUN} --stop")
    assert registered(web.host) == ""
    web.host.succeed(f"systemctl stop {BY_HAND} systemd-machined; {IN_FOREGROUND}")
    assert registered(web.host) == web.first_process()
    web.host.succeed(f"machinectl terminate web; systemctl stop {SCOPE}; test ! -e /run/unshare")
    assert registered(web.host) == ""


@pytest.mark.shows("no machined")
def test_where_there_is_no_machined_nobody_misses_it(web: Web) -> None:
    """Debian 12 has none here; that of Debian 13 is masked."""
    web.host.succeed("systemctl stop systemd-machined || true; systemctl mask --runtime systemd-machined")
    try:
        said = web.host.succeed(f"{START} 2>&1")
        assert "warning" not in said
        web.host.succeed(f"{RUN} --stop; systemctl stop {BY_HAND} || test $? = 5")  # 5: it has gone (systemctl(1))
        play = web.run(system_container_operating_system=SYSTEM)
        assert "machinectl" not in play.output
        assert web.host.execute("systemctl is-active systemd-machined").stdout == "inactive\n"
    finally:
        web.host.succeed("systemctl unmask --runtime systemd-machined")


@pytest.mark.shows("by hand")
def test_a_deployment_takes_it_over(web: Web) -> None:
    """The last one, since it removes the container, which the others share."""
    web.host.succeed(f"{START} && {BOOTED}")
    pid = web.first_process()
    web.host.fail(f"systemctl start {UNIT}")
    assert f"runs outside of its unit, as PID {pid}" in web.host.succeed(f"journalctl --unit={UNIT} --no-pager")
    assert web.first_process() == pid
    play = web.run(system_container_operating_system=SYSTEM, system_container_limits={"memory_max": "500M"})
    assert "was started by hand, and runs outside of its unit" in " ".join(play.output.split())
    assert web.show(BY_HAND, "MemoryMax") == str(500 << 20)
    assert web.first_process() == pid
    assert web.deploy("restarted") > 0
    assert web.show(UNIT, "MainPID") == web.first_process() != pid
    assert web.show(BY_HAND, "LoadState") == "not-found"
    web.deploy("stopped")
    web.host.succeed(f"{START} && {BOOTED}; {ENTER} systemctl reboot || true")
    web.remove()  # also when it is about to start again
