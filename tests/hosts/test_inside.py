# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""One container on a host that boots: who works in it, what its units and its root can do, and what AppArmor does."""

from __future__ import annotations

import base64
import json
import shlex
import typing as t

import pytest
from ansible_collections.unshare.container.tests.hosts.conftest import HOST
from ansible_collections.unshare.container.tests.hosts.fleet import Fleet, daemon, declared, unit
from ansible_collections.unshare.container.tests.hosts.machine import Machine
from ansible_collections.unshare.container.tests.integration import isolation, isolation_record

pytestmark = [pytest.mark.root, pytest.mark.on("debian12", "debian13")]

HUNGRY = "block = bytearray(96 << 20)"
FORKS = """
import os, signal, time
made = []
try:
    while len(made) < 40:
        made.append(os.fork())
        if not made[-1]:
            signal.pause()
except OSError as error:
    print("refused after", len(made), flush=True)
for child in made:
    os.kill(child, signal.SIGKILL)
"""
SPINS = """
import time
group = "/sys/fs/cgroup" + open("/proc/self/cgroup").read().split("::")[1].strip()
throttled = "0"
while throttled == "0" and time.process_time() < 20:
    throttled = dict(line.split() for line in open(group + "/cpu.stat"))["nr_throttled"]
print("throttled" if throttled != "0" else "not bound: " + open(group + "/cpu.max").read(), flush=True)
"""
BOUND: dict[str, dict[str, t.Any]] = {
    "hungry": {"MemoryMax": "48M", "MemorySwapMax": 0},
    "forks": {"TasksMax": 10},
    "spins": {"CPUQuota": "20%"},
}
PROGRAMS = {"hungry": HUNGRY, "forks": FORKS, "spins": SPINS}

CONTAINER = declared(
    "web",
    daemon("redis", "/usr/bin/redis-server", "--save", ""),
    *(
        daemon(name, "/usr/bin/python3", "-c", PROGRAMS[name], service={"Type": "oneshot", **limits}, wanted_by=[])
        for name, limits in BOUND.items()
    ),
    mappings=[{"source": "/srv/data", "target": "/data", "writable": True}],
    limits={"tasks_max": isolation.TASKS},
)
CONTAINER["operating_system"]["users"] = [{"name": "alice"}]

INVENTORY = """
plugin: unshare.container.system_containers
inventory: [inventory]
compose:
  ansible_python_interpreter: "'/usr/bin/python3'"
"""

WORK = """
- hosts: system_containers
  gather_facts: false
  tasks:
    - ansible.builtin.copy: {content: "from the controller", dest: /data/note, mode: "0644"}
    - ansible.builtin.command: cat /data/note
      register: read
    - ansible.builtin.command: id --user --name
      register: became
      become: true
      become_method: ansible.builtin.su
      become_user: alice
    - ansible.builtin.command: cat /proc/1/comm
      register: first
    - ansible.builtin.debug:
        msg: "{{ [inventory_hostname, read.stdout, became.stdout, first.stdout] | join(', ') }}"
"""

PROFILE = "profile for-the-tests /usr/bin/redis-{server,check-rdb} flags=(complain) { }\n"
"""For Redis's server, which Debian has by either name; the other one is then a link."""

PLANTED = """
import ctypes, json, os, signal, socket
listening = socket.socket(socket.AF_UNIX)
listening.bind("\\0unshare-planted")
listening.listen()
tcp = socket.create_server(("127.0.0.1", 0))
segment = ctypes.CDLL(None).shmget(0x55001234, 4096, 0o1666)
open("/root/secret-of-the-host", "w").close()
limit = [int(open("/proc/sys/kernel/pty/" + name).read()) for name in ("max", "reserve")]
words = {
    "secret": "/root/secret-of-the-host", "abstract": "unshare-planted", "port": tcp.getsockname()[1],
    "shared_memory": 0x55001234, "marker": os.environ["MARKER"], "writable": "/data", "ptys": limit[0] - limit[1],
    "own": [], "pid": os.getpid(),
}
with open("/run/planted.new", "w") as file:
    json.dump(words, file)
os.rename("/run/planted.new", "/run/planted")
signal.pause()
"""
"""Plants on the host what root inside is to look for, as `isolation.Planted` does on this machine."""


SETTINGS = f"""
grep --recursive --no-messages '' /proc/sys/fs /proc/sys/kernel /proc/sys/vm |
    grep --invert-match --extended-regexp '{"|".join(isolation.CHANGING)}'
"""
"""Prints the settings of the host's kernel that do not change by themselves."""


@pytest.fixture(scope="module")
def fleet(shared: Machine, nothing_left: None, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Fleet]:
    """Yield a fleet that runs the container, which all tests here share."""
    fleet = Fleet(tmp_path_factory.mktemp("inside"), {HOST: shared})
    shared.succeed("mkdir /srv/data")
    fleet.containers = {"web": CONTAINER}
    fleet.play()
    yield fleet
    fleet.remove()
    shared.succeed("rm -r /srv/data")


def inside(*words: str) -> str:
    """Return the command of the host that runs another one in the container."""
    return f"/run/unshare/web/system/enter-container --no-start -- {shlex.join(words)}"


@pytest.mark.shows("connection")
def test_works_over_ssh(fleet: Fleet) -> None:
    """The inventory plugin finds the container, and modules work in it, as another user there, too."""
    fleet.controller.write("containers.unshare.yml", INVENTORY)
    fleet.controller.write("work.yml", WORK)
    run = fleet.controller.playbook("--inventory=containers.unshare.yml", "work.yml")
    assert f"web@{HOST}, from the controller, alice, systemd" in run.output


@pytest.mark.shows("limits inside")
@pytest.mark.parametrize(("name", "said"), [("hungry", "oom-kill"), ("forks", "refused after"), ("spins", "throttled")])
def test_units_inside_have_limits_of_their_own(fleet: Fleet, host: Machine, name: str, said: str) -> None:
    """P4. They have those controllers that cannot make the host wait: not that of input and output."""
    controllers = host.succeed(inside("cat", "/sys/fs/cgroup/cgroup.controllers")).split()
    assert {"cpu", "memory", "pids"} <= set(controllers)
    assert "io" not in controllers
    host.execute(inside("systemctl", "start", name))
    shown = host.succeed(inside("systemctl", "show", "--property=Result", name))
    logged = host.succeed(inside("journalctl", "--no-pager", "--output=cat", "--unit", name))
    assert said in shown + logged
    assert host.succeed(inside("systemctl", "is-active", "redis")) == "active\n"


@pytest.mark.shows("apparmor")
def test_a_profile_of_the_host_counts_for_the_program_that_it_names(fleet: Fleet, host: Machine) -> None:
    """It is the host's file that is executed. What no profile names is unconfined, the container's PID 1 too."""
    host.succeed(f"echo {shlex.quote(PROFILE)} >/root/profile && apparmor_parser /root/profile")
    try:
        host.succeed(inside("systemctl", "restart", "redis"))
        redis, first = (
            host.succeed(inside("sh", "-c", f"cat /proc/{pid}/attr/current")).strip("\n\0")
            for pid in ("$(systemctl show --property=MainPID --value redis)", "1")
        )
        assert redis.endswith("for-the-tests (complain)")
        assert first == "unconfined"
    finally:
        host.succeed("apparmor_parser --remove /root/profile; rm /root/profile")
        host.succeed(inside("systemctl", "restart", "redis"))


@pytest.mark.shows("isolation")
def test_root_inside_is_refused(fleet: Fleet, host: Machine) -> None:
    """All attempts of the isolation suite are made on a host with AppArmor and unified control groups, too."""
    plants = ["/usr/bin/python3", "-c", PLANTED]
    host.succeed(f"systemd-run --quiet --unit=planted --setenv=MARKER={isolation.MARKER} {shlex.join(plants)}")
    host.succeed("until test -e /run/planted; do systemctl is-active --quiet planted || exit; done")
    words = {**json.loads(host.succeed("cat /run/planted")), "tasks": isolation.TASKS + 100}
    package = base64.b64encode(isolation.package()).decode()
    host.succeed(f"base64 --decode >/srv/data/attempts <<<{package}")
    before = host.succeed(SETTINGS).splitlines()
    try:
        output = host.succeed(inside("/usr/bin/python3", "-I", "/data/attempts", json.dumps(words)), 120)
        found = json.loads(output)
        assert len(found["attempts"]) > 100
        assert isolation_record.unexpected_of("auto", found["rows"], found["attempts"]) == {}
        assert host.succeed("systemctl is-active planted") == "active\n"
        # A distribution's kernel loads a module when a file system is asked for (docs/security.md): that has its own.
        assert not set(before) - set(host.succeed(SETTINGS).splitlines())
        assert host.succeed(inside("systemctl", "is-active", "redis")) == "active\n"
        assert host.succeed(f"systemctl is-active {unit('web')}") == "active\n"
    finally:
        host.succeed("systemctl stop planted; rm --force /run/planted /root/secret-of-the-host; ipcrm -M 0x55001234")
