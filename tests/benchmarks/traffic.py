# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two containers with a network, made by this collection or by a peer, between which iperf3 sends.

All are on one host, which is a network namespace of the benchmark. iperf3 is the host's, and runs in the network
namespaces of the containers, so that only what is between these differs.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
import typing as t
from pathlib import Path

from ansible_collections.unshare.container.plugins.module_utils.launcher import network_options
from ansible_collections.unshare.container.plugins.module_utils.life.container import Container

from .subjects import FIRST_ID, nspawn, skeleton

HOST = "192.0.2.10"
"""An address of the host, which no container has a network with."""
SECONDS = 20.0
"""In which a container is there."""
FIRST_PORT = 5300
IDLE = ["/usr/bin/sleep", "infinity"]


class Unable(Exception):
    """A peer does not run on this machine; says why."""


def run(*words: str) -> str:
    """Run a command that must succeed. Return its output."""
    done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
    if done.returncode:
        raise Unable(f"{' '.join(words[:4])}: {' '.join((done.stderr or done.stdout).split())[-300:]}")
    return done.stdout


def within(pid: int, *words: str) -> list[str]:
    """Return a command in the network namespace of a process; 0 for the host's."""
    return ["nsenter", f"--net=/proc/{pid}/ns/net", *words] if pid else [*words]


def await_true(what: str, question: t.Callable[[], bool]) -> None:
    """Wait until something holds that nobody tells of."""
    deadline = time.monotonic() + SECONDS
    while not question():
        if time.monotonic() > deadline:
            raise Unable(f"{what}: not within {SECONDS:g} s")
        time.sleep(0.02)


class Pair(t.Protocol):
    """Two containers of one network.

    Attributes:
        name: as in the results.
        pids: of a process in each.
        addresses: of IPv4, of each.
        gateway: the host's address there.
        port: of the host, that leads to the same one of the first container; 0 for none.
    """

    name: str
    pids: list[int]
    addresses: list[str]
    gateway: str
    port: int

    def start(self) -> None:
        """Start both. Raise Unable."""

    def stop(self) -> None:
        """Take them away, as far as they are there."""


class Ours:
    """Two base systems in a zone."""

    name = "this collection"

    def __init__(self, system: t.Callable[[str], Path]) -> None:
        self.port = FIRST_PORT
        self.names = ["bench-first", "bench-second"]
        self.systems = [system(name) for name in self.names]

    def start(self) -> None:
        self.pids, self.addresses = [], []
        for name, system in zip(self.names, self.systems, strict=True):
            container = Container(name)
            ports = [{"port": self.port, "target": self.port}] if name == self.names[0] else []
            network_options.write(container.directory, network_options.NetworkOptions.read({"ports": ports}))
            with container.lock(60):
                status = container.start(str(system), timeout=60)
            interface = json.loads(Path("/run/unshare", name, "network.json").read_text())["interfaces"][0]
            self.pids.append(status.pid or 0)
            self.addresses.append(interface["addresses"][0].partition("/")[0])
            self.gateway = interface["gateways"][0]

    def stop(self) -> None:
        for name in self.names:
            container = Container(name)
            with container.lock(60):
                container.stop(20)
                container.remove()


class ByNspawn:
    """Two of systemd-nspawn in a zone of its own kind; their addresses are set by hand, for want of networkd."""

    name = "systemd-nspawn"
    gateway = "10.201.0.1"

    def __init__(self, directory: Path) -> None:
        self.port = FIRST_PORT + 1
        self.roots = [directory / f"nspawn-{number}" for number in range(2)]
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        self.pids, self.addresses = [], []
        for number, root in enumerate(self.roots):
            skeleton(root)
            options = ["--network-zone=bench", "--console=pipe", "--as-pid2", f"--machine=bench-nspawn-{number}"]
            options += [f"--port=tcp:{self.port}:{self.port}"] if number == 0 else []
            words = nspawn(root, [*options, *IDLE])
            null = subprocess.DEVNULL
            process = subprocess.Popen(words, stdin=null, stdout=null, stderr=subprocess.PIPE)
            self.processes.append(process)
            self.pids.append(self._inside(process))
            address = f"10.201.0.{number + 2}"
            self.addresses.append(address)
            for command in (
                f"addr add {address}/24 dev host0",
                "link set host0 up",
                f"route add default via {self.gateway}",
            ):
                run(*within(self.pids[-1], "ip", *command.split()))
            run("ip", "addr", "replace", f"{self.gateway}/24", "dev", "vz-bench")
            run("ip", "link", "set", "vz-bench", "up")
            for link in json.loads(run("ip", "-j", "link", "show", "master", "vz-bench")):
                run("ip", "link", "set", link["ifname"], "up")

    def _inside(self, process: subprocess.Popen[bytes]) -> int:
        """Return a process in the network namespace of a container that is being started, once that has its end."""
        found: list[int] = []

        def look() -> bool:
            if process.poll() is not None:
                assert process.stderr is not None
                raise Unable(f"systemd-nspawn: {' '.join(process.stderr.read().decode().split())[-300:]}")
            new = [process.pid]
            while new and not found:
                lines = [Path(f"/proc/{pid}/task/{pid}/children").read_text().split() for pid in new]
                new = [int(child) for line in lines for child in line]
                for pid in new:
                    command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                    if command[0] == IDLE[0].encode():
                        found.append(pid)
            return bool(found)

        await_true("systemd-nspawn", look)
        return found[0]

    def stop(self) -> None:
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            process.kill()
            process.wait()


class ByPodman:
    """Two of podman on a bridge network."""

    name = "podman"
    gateway = "10.202.0.1"

    def __init__(self, directory: Path) -> None:
        self.port = FIRST_PORT + 2
        self.roots = [directory / f"podman-{number}" for number in range(2)]
        self.words = [
            "podman",
            f"--root={directory}/podman",
            f"--runroot={directory}/podman-run",
            "--cgroup-manager=cgroupfs",
        ]
        self.words += [f"--network-config-dir={directory}/podman-networks", "--events-backend=none"]

    def start(self) -> None:
        if not shutil.which("podman"):
            raise Unable("podman: is not installed")
        self.pids, self.addresses = [], []
        run(*self.words, "network", "create", f"--subnet={self.gateway}/24", "--disable-dns", "bench")
        # It asks for more than root may have on some machines, and for controllers of control groups.
        options_of_all = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024", "--cgroups=disabled"]
        for number, root in enumerate(self.roots):
            skeleton(root)
            address = f"10.202.0.{number + 2}"
            options = [f"--uidmap=0:{FIRST_ID}:65536", f"--gidmap=0:{FIRST_ID}:65536", "--volume=/usr:/usr:ro"]
            options += [f"--network=bench:ip={address}", f"--name=bench-{number}", *options_of_all]
            options += [f"--publish={self.port}:{self.port}"] if number == 0 else []
            run(*self.words, "run", "--detach", *options, "--rootfs", str(root), *IDLE)
            self.pids.append(int(run(*self.words, "inspect", "--format={{.State.Pid}}", f"bench-{number}")))
            self.addresses.append(address)

    def stop(self) -> None:
        if shutil.which("podman"):
            subprocess.run([*self.words, "rm", "--all", "--force", "--time=0"], capture_output=True, timeout=60)


class ByHand:
    """Two network namespaces on a bridge without any rules: what the kernel gives at best."""

    name = "bridge without rules"
    gateway = "10.203.0.1"
    port = 0

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        self.pids, self.addresses = [], []
        run("ip", "link", "add", "by-hand", "type", "bridge", "forward_delay", "0")
        run("ip", "addr", "add", f"{self.gateway}/24", "dev", "by-hand")
        run("ip", "link", "set", "by-hand", "up")
        home = os.stat("/proc/self/ns/net").st_ino
        for number in range(2):
            process = subprocess.Popen(["unshare", "--net", *IDLE])
            self.processes.append(process)
            await_true("unshare", lambda pid=process.pid: os.stat(f"/proc/{pid}/ns/net").st_ino != home)  # type: ignore[misc]
            address = f"10.203.0.{number + 2}"
            pair = f"link add hand{number} master by-hand type veth peer name eth0 netns {process.pid}"
            for command in (pair, f"link set hand{number} up"):
                run("ip", *command.split())
            inside = (f"addr add {address}/24 dev eth0", "link set eth0 up", f"route add default via {self.gateway}")
            for command in inside:
                run(*within(process.pid, "ip", *command.split()))
            self.pids.append(process.pid)
            self.addresses.append(address)

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


class Way(t.NamedTuple):
    """From where to where it is sent: a client and a server, each by its number in the pair or -1 for the host."""

    name: str
    client: int
    server: int
    published: bool = False


WAYS = (
    Way("container to host", 0, -1),
    Way("container to container", 1, 0),
    Way("host to published port", -1, 0, True),
)


class Sent(t.NamedTuple):
    """What arrived, in Gbit/s, and in Gbit for each second of a processor that both programs took.

    The second depends less on what else the machine does: their time has that of the kernel which sends for them.
    """

    by_second: float
    by_processor: float


def measure(pair: Pair, way: Way, streams: int, seconds: float) -> Sent:
    """Send once. Raise Unable."""
    port = pair.port if way.published else FIRST_PORT - 1
    pid = pair.pids[way.server] if way.server >= 0 else 0
    null = subprocess.DEVNULL
    words = within(pid, "iperf3", "--server", "--one-off", f"--port={port}")
    with subprocess.Popen(words, stdin=null, stdout=null, stderr=null) as server:
        try:
            await_true("iperf3", lambda: f":{port} " in run(*within(pid, "ss", "-Hltn")))
            target = HOST if way.published else pair.gateway if way.server < 0 else pair.addresses[way.server]
            client = pair.pids[way.client] if way.client >= 0 else 0
            options = [f"--client={target}", f"--port={port}", f"--time={seconds:g}", f"--parallel={streams}", "--json"]
            said = run(*within(client, "iperf3", "--connect-timeout=3000", *options))
        finally:
            server.terminate()
    end = json.loads(said)["end"]
    rate = float(end["sum_received"]["bits_per_second"]) / 1e9
    percent = end["cpu_utilization_percent"]
    return Sent(rate, rate / (percent["host_total"] + percent["remote_total"]) * 100)
