# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A process of QEMU: started, asked over its monitor, waited for, killed. It is never found by a name or a number."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import select
import signal
import socket
import subprocess
import typing as t
from functools import partial

from ansible_collections.unshare.container.plugins.module_utils.launcher import linux
from ansible_collections.unshare.container.tests.hosts.processes import Deadline

PROGRAM = "qemu-system-x86_64"
FORWARDED = re.compile(r"TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)\s")
"""The line about a forwarded port in what `info usernet` says."""


class QemuError(Exception):
    """QEMU is not there, has ended, or refuses a command."""


@dataclasses.dataclass(frozen=True)
class Hardware:
    """What a machine consists of.

    Attributes:
        kernel: path of the kernel.
        initrd: path of its initial file system.
        arguments: the kernel's command line.
        disk: descriptor of a qcow2 file.
        console: descriptor of the file that gets what the first serial line says, and what QEMU itself says.
        memory: MiB.
        processors: their number.
        accelerator: options of QEMU that say how the processors are had.
    """

    kernel: str
    initrd: str
    arguments: str
    disk: int
    console: int
    memory: int
    processors: int
    accelerator: tuple[str, ...]

    def options(self) -> list[str]:
        """Return QEMU's options, without those of the descriptors that a process makes for itself.

        Files are named by their descriptors: they need no name, so none stays when everybody is killed. The machine's
        network has QEMU and nobody else in it. QEMU takes a free port of this machine itself (port 0), so no other
        program can come in between.
        """
        return [
            *("-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35", *self.accelerator),
            *("-m", str(self.memory), "-smp", str(self.processors)),
            *("-kernel", self.kernel, "-initrd", self.initrd, "-append", self.arguments),
            *("-chardev", f"file,id=console,path=/proc/self/fd/{self.console},append=on", "-serial", "chardev:console"),
            *("-drive", f"if=none,id=disk,format=qcow2,file=/proc/self/fd/{self.disk}"),
            *("-device", "virtio-blk-pci,drive=disk"),
            *("-netdev", "user,id=network,restrict=on,ipv6=off,hostfwd=tcp:127.0.0.1:0-:22"),
            *("-device", "virtio-net-pci,netdev=network,romfile="),
            *("-device", "virtio-rng-pci"),
        ]


class Qemu:
    """A running QEMU.

    Attributes:
        events: the names of what the monitor has told since that was last forgotten.
    """

    def __init__(self, hardware: Hardware) -> None:
        self._monitor, monitor = socket.socketpair()
        self._line, line = socket.socketpair()
        inherited = (hardware.disk, hardware.console, monitor.fileno(), line.fileno())
        channels = [
            *("-chardev", f"socket,id=line,fd={line.fileno()}", "-serial", "chardev:line"),
            *("-chardev", f"socket,id=monitor,fd={monitor.fileno()}", "-mon", "chardev=monitor,mode=control"),
        ]
        with monitor, line:
            try:
                self._process = subprocess.Popen(
                    [PROGRAM, *hardware.options(), *channels],
                    stdin=subprocess.DEVNULL,
                    stdout=hardware.console,
                    stderr=hardware.console,
                    pass_fds=inherited,
                    process_group=0,  # whoever interrupts the tests has them take the machine away
                    preexec_fn=partial(linux.end_with, os.getpid()),
                )
            except FileNotFoundError as error:
                self._monitor.close()
                self._line.close()
                raise QemuError(f"{PROGRAM} is not installed here; run `make host-packages`") from error
        self._pidfd = os.pidfd_open(self._process.pid)
        self._replies: list[dict[str, t.Any]] = []
        self._unread = b""
        self._said = b""
        self.events: list[str] = []

    @property
    def ended(self) -> bool:
        """Return whether it has ended."""
        return self._process.poll() is not None

    def begin(self, deadline: Deadline) -> int:
        """Greet the monitor; return the port of this machine that leads to the machine's sshd."""
        self.command("qmp_capabilities", deadline)
        said = self.command("human-monitor-command", deadline, **{"command-line": "info usernet"})
        ports = FORWARDED.findall(said)
        if len(ports) != 1:
            raise QemuError(f"one forwarded port is expected: {said}")
        return int(ports[0])

    def command(self, name: str, deadline: Deadline, **arguments: t.Any) -> t.Any:
        """Give the monitor a command, and return what it returns."""
        self._replies.clear()
        with contextlib.suppress(BrokenPipeError):
            self._monitor.sendall(json.dumps({"execute": name, "arguments": arguments}).encode())
        self._wait(lambda: bool(self._replies), f"the monitor's answer to {name}", deadline, stopped=True)
        (reply,) = self._replies
        if "return" not in reply:
            raise QemuError(f"{name}: {reply}")
        return reply["return"]

    def forget(self) -> None:
        """Forget what the monitor and the machine have told so far."""
        self._listen(Deadline(0))
        self.events.clear()
        self._said = b""

    def wait_for_event(self, name: str, deadline: Deadline) -> None:
        """Wait until the monitor has told of an event (see QEMU's QMP reference)."""
        self._wait(lambda: name in self.events, f"the event {name}", deadline)

    def wait_for_line(self, line: bytes, deadline: Deadline) -> None:
        """Wait until the machine has written a line to its second serial line."""
        self._wait(lambda: line in self._said.replace(b"\r", b""), f"the machine's line {line!r}", deadline)

    def wait_for_end(self, deadline: Deadline) -> None:
        """Wait until QEMU ends by itself."""
        while not self.ended:
            if not deadline.left:
                raise TimeoutError("the machine's end")
            self._listen(deadline)

    def close(self) -> None:
        """Kill it, as if somebody had pulled the plug, and give back what it had."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        self._process.wait()
        os.close(self._pidfd)
        self._monitor.close()
        self._line.close()

    def _wait(self, happened: t.Callable[[], bool], what: str, deadline: Deadline, *, stopped: bool = False) -> None:
        """Wait for something that a channel tells.

        Args:
            happened: whether it has.
            what: it is, for messages.
            deadline: until when.
            stopped: whether it can come from a machine that QEMU has stopped.

        Raises:
            TimeoutError: it did not happen in time.
            QemuError: QEMU has ended, or has stopped the machine, without it.
        """
        while not happened():
            if self.ended:
                raise QemuError(f"QEMU has ended with {self._process.returncode} before {what}")
            if "STOP" in self.events and not stopped:  # as when KVM does not know an instruction
                raise QemuError(f"QEMU has stopped the machine before {what}")
            if not deadline.left:
                raise TimeoutError(what)
            self._listen(deadline)

    def _listen(self, deadline: Deadline) -> None:
        """Sleep until a channel has something, QEMU ends, or the time is over; take in what there is."""
        poll = select.poll()
        for channel in (self._monitor, self._line, self._pidfd):
            poll.register(channel, select.POLLIN)
        ready = {descriptor for descriptor, _events in poll.poll(deadline.left * 1000)}
        if self._pidfd in ready:
            self._process.wait()
        if self._monitor.fileno() in ready:
            *lines, self._unread = (self._unread + receive(self._monitor)).split(b"\n")
            for message in map(json.loads, filter(bytes.strip, lines)):
                if "event" in message:
                    self.events.append(message["event"])
                elif "QMP" not in message:
                    self._replies.append(message)
        if self._line.fileno() in ready:
            self._said += receive(self._line)


def receive(channel: socket.socket) -> bytes:
    """Return what a channel has; nothing when its other end is gone."""
    try:
        return channel.recv(65536)
    except ConnectionResetError:
        return b""
