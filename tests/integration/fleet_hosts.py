# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hosts for a fleet, on one machine: each a real sshd in namespaces of its own, with a state of its own.

A host has its own processes, mounts, network, host name, control group, `/run`, `/root` (a login runs nothing of this
machine's) and `/var/lib/unshare`; the rest of the file tree is this machine's. It is reached over a pair of virtual
interfaces, and ends with the first process in it.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import json
import os
import shlex
import socket
import subprocess
import tempfile
import time
import typing as t
from pathlib import Path

from ansible_collections.unshare.container.tests import mountinfo

from .playbooks import Run, ended

INTERPRETER = "/usr/bin/python3"
STATE = "/var/lib/unshare"
FIRST_ID, IDS = 0x70000000, 65536
"""Where the launcher takes ids from: each host is left with a part of its own, so that none shares another's limits."""

INIT = """\
set -eu
cd {directory}
echo in its namespaces
exec > init.log 2>&1
echo $$ > {cgroup}/cgroup.procs
exec unshare --cgroup --mount --propagation=private -- sh -c '
mount -t proc proc /proc
mount -t tmpfs -o mode=0755 tmpfs /run
{storage} {state}
mount -t tmpfs -o mode=0700 tmpfs /root
mount --bind subuid /etc/subuid
mkdir /run/sshd
hostname {name}
read go
ip address add {address}/30 dev eth0
ip link set eth0 up
ip link set lo up
exec /usr/sbin/sshd -D -E sshd.log -f sshd_config
'
"""

SSHD = """\
Port 22
ListenAddress {address}
HostKey {key}
AuthorizedKeysFile {key}.pub
PidFile none
PermitRootLogin prohibit-password
PasswordAuthentication no
StrictModes no
UsePAM no
UseDNS no
MaxStartups 100
MaxSessions 100
Subsystem sftp internal-sftp
"""


def run(*command: str, **options: t.Any) -> subprocess.CompletedProcess[str]:
    """Run a command that must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, **options)
    assert done.returncode == 0, f"{shlex.join(command)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def hierarchy() -> str:
    """Return where the unified hierarchy of control groups is mounted."""
    for line in mountinfo.lines():
        if " - cgroup2 " in line:
            return line.split()[4]
    raise AssertionError("cgroup2 is not mounted")


class FleetHost:
    """One host.

    Attributes:
        name: as in the inventory.
        address: of its sshd.
    """

    def __init__(self, fleet: Fleet, index: int) -> None:
        self.fleet = fleet
        self.name = f"host{index:02d}"
        self.directory = fleet.directory / self.name
        self.directory.mkdir()
        (self.directory / "state").mkdir(0o700)
        network = 10 << 24 | fleet.octet << 16 | index << 2
        self.near, self.address = (".".join(str(network + n >> s & 255) for s in (24, 16, 8, 0)) for n in (1, 2))
        self.link = f"uf{fleet.octet}x{index}"
        self.cgroup = fleet.cgroup / str(index)
        self.cgroup.mkdir()
        self._write_subuid(index)
        (self.directory / "sshd_config").write_text(SSHD.format(address=self.address, key=fleet.key))
        script = INIT.format(
            directory=self.directory,
            cgroup=self.cgroup,
            storage="mount --bind state" if fleet.on_disk else "mount -t tmpfs -o mode=0700 tmpfs",
            state=STATE,
            name=self.name,
            address=self.address,
        )
        (self.directory / "init").write_text(script)
        namespaces = ["--pid", "--fork", "--kill-child", "--uts", "--ipc", "--net"]
        # A host ends with its test, however that ends.
        command = ["setpriv", "--pdeathsig=KILL", "unshare", *namespaces, "--", "sh", str(self.directory / "init")]
        (self.directory / "init.log").touch()
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def _write_subuid(self, index: int) -> None:
        share = self.fleet.ranges * IDS
        low, high = FIRST_ID + index * share, FIRST_ID + (index + 1) * share
        last = 0x7FC00000
        (self.directory / "subuid").write_text(f"a:{FIRST_ID}:{low - FIRST_ID}\nb:{high}:{last - high}\n")

    def link_commands(self) -> list[str]:
        """Return the commands of `ip` that make the host reachable."""
        peer = f"peer name eth0 netns {self.process.pid}"
        return [
            f"link add {self.link} type veth {peer}",
            f"address add {self.near}/30 dev {self.link}",
            f"link set {self.link} up",
        ]

    def await_namespaces(self) -> None:
        """Wait until it has left this machine's network, so that its end of the link is not put there."""
        assert self.process.stdout is not None
        assert self.process.stdout.readline(), f"{self.name}: {(self.directory / 'init.log').read_text()}"
        self.process.stdout.close()

    def go(self) -> None:
        """Let it go on: its network is there."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.close()

    def first(self) -> str:
        """Return the PID of the first process in it."""
        return Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()[0]

    def inside(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the host, as its root, without ssh."""
        spaces = ["--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup"]
        full = ["nsenter", f"--target={self.first()}", *spaces, *command]
        return subprocess.run(full, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)

    def destroy(self) -> None:
        """End it, and all that runs in it, and remove its link."""
        with self.process:
            self.process.kill()
        remove_link(self.link)


class Fleet:
    """So many hosts, for as long as the context lasts.

    Attributes:
        directory: short-lived files, the inventory's among them.
        ranges: how many ranges of ids each host has left for containers.
        on_disk: whether `/var/lib/unshare` of a host lies on this machine's disk, and not in memory.
    """

    def __init__(self, count: int, ranges: int = 4, on_disk: bool = False) -> None:
        self.count = count
        self.on_disk = on_disk
        self.ranges = ranges
        self.hosts: list[FleetHost] = []

    def __enter__(self) -> Fleet:
        self.octet, self.cgroup, self.place = _take_place()
        self.temporary = tempfile.TemporaryDirectory(prefix="uf-", dir="/tmp")
        self.directory = Path(self.temporary.name)
        self.key = self.directory / "key"
        os.makedirs(STATE, 0o700, exist_ok=True)
        try:
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key))
            for index in range(1, self.count + 1):
                self.hosts.append(FleetHost(self, index))
            for host in self.hosts:
                host.await_namespaces()
            commands = [command for host in self.hosts for command in host.link_commands()]
            run("ip", "-batch", "-", input="\n".join(commands) + "\n")
            for host in self.hosts:
                host.go()
            for host in self.hosts:
                self._await(host)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _await(self, host: FleetHost) -> None:
        """Wait until its sshd answers."""
        deadline = time.monotonic() + 60
        while True:
            try:
                with socket.create_connection((host.address, 22), 5) as connected:
                    assert connected.recv(4) == b"SSH-"
                return
            except OSError:
                said = (host.directory / "init.log").read_text()
                assert host.process.poll() is None, f"{host.name}: {said}"
                assert time.monotonic() < deadline, f"{host.name}: {said}"
                time.sleep(0.02)  # nobody says when a host in namespaces begins to listen

    def __exit__(self, *_error: object) -> None:
        for host in self.hosts:
            host.process.kill()
        for host in self.hosts:
            host.destroy()
        _remove_groups(self.cgroup)
        os.close(self.place)
        self.temporary.cleanup()

    def variables(self) -> dict[str, t.Any]:
        """Return the variables with which a host is reached."""
        ssh = f"-F none -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -i {self.key}"
        return {
            "ansible_user": "root",
            "ansible_ssh_common_args": ssh,
            "ansible_python_interpreter": INTERPRETER,
            "ansible_remote_tmp": "/run/ansible",
        }

    def inventory(self, variables: dict[str, t.Any], count: int | None = None) -> Path:
        """Write an inventory of all hosts, or of the first so many, with variables of the group `all`."""
        hosts = {host.name: {"ansible_host": host.address} for host in self.hosts[:count]}
        path = self.directory / "inventory.json"
        path.write_text(json.dumps({"all": {"hosts": hosts, "vars": {**self.variables(), **variables}}}))
        return path

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment for `ansible-playbook`: pipelining on, connections kept, nothing of the user's."""
        collections = str(Path(__file__).parents[2] / ".collections")
        return {
            **{key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")},
            "HOME": str(self.directory),
            "ANSIBLE_COLLECTIONS_PATH": os.environ.get("ANSIBLE_COLLECTIONS_PATH", collections),
            "ANSIBLE_CONFIG": str(Path(__file__).parents[2] / "ansible.cfg"),
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_FORKS": "10",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.directory / "cp"),
            "LC_ALL": "C.UTF-8",
            **more,
        }

    def playbook(self, *words: str, timeout: float = 300) -> Run:
        """Run ansible-playbook with some words. Return the run."""
        return ended(words, self.environment(), timeout=timeout)


_octets = itertools.cycle(range(100, 200))
"""The kernel takes a network apart when it likes, so the next fleet does not use the names of the last one."""


def _take_place() -> tuple[int, Path, int]:
    """Reserve a number from 100 to 199 that no other fleet of this machine has.

    Who has a number holds a lock on its control group. What a fleet has left there that was killed is removed.

    Returns:
        The number, its control group, and the descriptor that holds the lock.
    """
    for octet in itertools.islice(_octets, 100):
        group = Path(hierarchy(), f"unshare-fleet-{octet}")
        group.mkdir(exist_ok=True)
        try:
            place = os.open(group, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # another fleet has just ended there
        try:
            fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(place), group.stat()):
                for left in filter(Path.is_dir, group.iterdir()):
                    _remove_groups(left)
                for link in Path("/sys/class/net").glob(f"uf{octet}x*"):
                    remove_link(link.name)  # the kernel takes it away some time after the last process
                return octet, group, place
        except OSError:
            pass  # another fleet has it, or has just ended there, or processes are left that do not end
        os.close(place)
    raise AssertionError("100 fleets are there already")


def remove_link(name: str) -> None:
    """Remove a network interface, unless the kernel already has."""
    subprocess.run(["ip", "link", "delete", name], capture_output=True, timeout=60)


def _remove_groups(path: Path) -> None:
    """Remove a control group and those below it, once the last process in them has ended.

    Raises:
        OSError: with EBUSY, when one has not ended within 30 s.
    """
    deadline = time.monotonic() + 30
    while path.exists():
        try:
            for directory, _directories, _files in os.walk(path, topdown=False):
                os.rmdir(directory)
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)  # a process enters just before it ends, and the kernel tears the namespaces down by itself
