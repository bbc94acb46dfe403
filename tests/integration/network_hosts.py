# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Machines for the tests of networks, each a network namespace: a host, another machine of its LAN, one outside.

    host ── LAN ── machine
             │
           router ── outside

The router knows no way back to a container's private addresses. The test process enters the host to start containers.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import typing as t
from pathlib import Path

from ansible_collections.unshare.container.plugins.module_utils.launcher import linux

HOST, MACHINE, ROUTER, OUTSIDE = "192.0.2.10", "192.0.2.20", "192.0.2.1", "198.51.100.2"
HOST6, MACHINE6, ROUTER6, OUTSIDE6 = "2001:db8:1::10", "2001:db8:1::20", "2001:db8:1::1", "2001:db8:2::2"

ECHO = """
import os, select, socket, sys
sockets = []
for family, kind, port in [(f, k, int(p)) for f in (2, 10) for k in (1, 2) for p in sys.argv[1:]]:
    s = socket.socket(family, kind)
    s.setsockopt(1, 2, 1)
    if family == 10:
        s.setsockopt(41, 26, 1)
    s.bind(("", port))
    if kind == 1:
        s.listen(64)
    sockets.append(s)
print("ready", flush=True)
while True:
    for s in select.select(sockets, [], [])[0]:
        if s.type == 1:
            c, peer = s.accept()
            c.sendall((peer[0] + "\\n").encode())
            c.close()
        else:
            data, peer = s.recvfrom(64)
            s.sendto((peer[0] + "\\n").encode(), peer)
"""
"""A program that tells each client of its ports, by TCP and UDP, the address from which it was reached."""

ASK = """
import socket, sys
address, port, kind = sys.argv[1], int(sys.argv[2]), sys.argv[3]
s = socket.socket(10 if ":" in address else 2, 1 if kind == "tcp" else 2)
s.settimeout(float(sys.argv[4]))
try:
    s.connect((address, port))
    if kind == "udp":
        s.send(b"?")
    print(s.recv(64).decode().strip())
except OSError as error:
    print("-", type(error).__name__, error)
"""
PYTHON = "/usr/bin/python3"

OWN_RULES = """
table inet own {
  chain keep {
    type filter hook forward priority 10; policy accept;
    ip saddr 203.0.113.7 drop
  }
}
table ip other {
  chain nat {
    type nat hook postrouting priority 100;
  }
}
"""
"""Rules of the host's own, that stay."""


@contextlib.contextmanager
def running(command: list[str]) -> t.Iterator[t.TextIO]:
    """Run a program until the end of the block; yield what it prints after the line `ready`."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield t.cast("t.TextIO", process.stdout)
        finally:
            process.terminate()


class Namespace:
    """A machine of a test."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = Path("/run/netns", name)

    def make(self, *links: str) -> None:
        """Make it, with commands of ip(8) for it."""
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        self.ip("link set lo up", *links)

    def ip(self, *commands: str) -> None:
        """Run commands of ip(8) in it."""
        text = "\n".join(commands) + "\n"
        subprocess.run(["ip", "-n", self.name, "-batch", "-"], input=text, text=True, check=True)

    def command(self, *words: str) -> list[str]:
        """Return the command that runs another one there."""
        return ["ip", "netns", "exec", self.name, *words]

    def run(self, *words: str, **options: t.Any) -> subprocess.CompletedProcess[str]:
        """Run a command there."""
        given: dict[str, t.Any] = {"capture_output": True, "text": True, "timeout": 30, **options}
        return subprocess.run(self.command(*words), **given)

    def output(self, *words: str, **options: t.Any) -> str:
        """Return the output of a command there that must succeed."""
        done = self.run(*words, **options)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    def ask(self, address: str, port: int, kind: str = "tcp", seconds: float = 3) -> str:
        """Return what the program `ECHO` says at an address; what begins with `-` is an error."""
        return self.output(PYTHON, "-c", ASK, address, str(port), kind, str(seconds)).strip()

    def reaches(self, address: str) -> bool:
        """Return whether an echo comes back."""
        return self.run("ping", "-n", "-c1", "-W2", address).returncode == 0

    def serving(self, *ports: int) -> t.ContextManager[t.TextIO]:
        """Run the program `ECHO` there."""
        return running(self.command(PYTHON, "-c", ECHO, *map(str, ports)))

    @contextlib.contextmanager
    def entered(self) -> t.Iterator[None]:
        """Have this process, and what it starts, be there."""
        home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            there = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            linux.setns(there, linux.CLONE_NEWNET)
            os.close(there)
            try:
                yield
            finally:
                linux.setns(home, linux.CLONE_NEWNET)
        finally:
            os.close(home)

    def remove(self) -> None:
        """Remove it, if it is there."""
        if self.path.exists():
            subprocess.run(["ip", "netns", "del", self.name], check=False)


class World:
    """The machines of a test, and the wires between them."""

    def __init__(self, name: str) -> None:
        self.lan, self.host, self.machine, self.router, self.outside = self.all = [
            Namespace(f"test-n{os.getpid()}-{name}-{part}") for part in ("lan", "host", "machine", "router", "outside")
        ]

    def make(self) -> None:
        """Make them."""
        self.lan.make("link add br0 type bridge forward_delay 0", "link set br0 up")
        for there in (self.host, self.machine, self.router, self.outside):
            there.make()
        for there in (self.machine, self.router, self.outside):  # else they say nothing for a second or two
            there.output("sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0", "net.ipv6.conf.all.accept_dad=0")
        for number, there in enumerate((self.host, self.machine, self.router)):
            self.lan.ip(
                f"link add p{number} type veth peer name eth0 netns {there.name}",
                f"link set p{number} master br0",
                f"link set p{number} up",
            )
        addresses = ((self.host, HOST, HOST6), (self.machine, MACHINE, MACHINE6), (self.router, ROUTER, ROUTER6))
        for there, four, six in addresses:
            there.ip("link set eth0 up", f"addr add {four}/24 dev eth0", f"addr add {six}/64 dev eth0 nodad")
        for there in (self.host, self.machine):
            there.ip(f"route add default via {ROUTER}", f"route add default via {ROUTER6}")
        self.router.ip(f"link add eth1 type veth peer name eth0 netns {self.outside.name}", "link set eth1 up")
        self.router.ip("addr add 198.51.100.1/24 dev eth1", "addr add 2001:db8:2::1/64 dev eth1 nodad")
        self.outside.ip("link set eth0 up", f"addr add {OUTSIDE}/24 dev eth0", f"addr add {OUTSIDE6}/64 dev eth0 nodad")
        self.outside.ip("route add default via 198.51.100.1", "route add default via 2001:db8:2::1")
        self.router.output("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")

    def remove(self) -> None:
        """Remove them."""
        for there in self.all:
            there.remove()


@contextlib.contextmanager
def world(name: str) -> t.Iterator[World]:
    """Give the machines, which are gone afterwards."""
    found = World(name)
    try:
        found.make()
        yield found
    finally:
        found.remove()
