# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host in a virtual machine, as a test handles it."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
import tempfile
import typing as t
import uuid
from functools import partial
from pathlib import Path

from ansible_collections.unshare.container.plugins.module_utils.launcher import linux
from ansible_collections.unshare.container.tests.hosts.acceleration import Accelerator
from ansible_collections.unshare.container.tests.hosts.making import READY, Image
from ansible_collections.unshare.container.tests.hosts.processes import Deadline, plain
from ansible_collections.unshare.container.tests.hosts.qemu import Hardware, Qemu, QemuError
from ansible_collections.unshare.container.tests.hosts.session import LoginError, Session

BOOT_SECONDS = 60.0
"""How long a boot may take, or the way down. Each such number is for a processor that is not emulated."""

KERNEL_SECONDS = 12.0
"""How long a kernel may take until it runs its first program. It takes half a second, or 5 when it is emulated."""

COMMAND_SECONDS = 30.0
"""How long a command may take."""

PARAMETERS = "net.ifnames=0 mitigations=off"
"""For the kernel. What it does against faults of real processors costs an emulated one a tenth of its time."""

FIRST_PROGRAM = "Run /init as init process"
"""What a kernel says when it runs its first program. Before that, nothing is written to the disk."""

LINES = 60
"""How much of the console a failure's message shows."""

IS_UNIT = re.compile(r"\.(?:automount|device|mount|path|scope|service|slice|socket|swap|target|timer)$")
"""The end of a unit's full name."""

WAIT_FOR_UNIT = """\
exec 3< <(exec journalctl --boot --follow --no-tail --quiet --output=cat _PID=1 UNIT="$1")
journal=$!
trap 'kill $journal' EXIT
while state=$(systemctl show --property=ActiveState --value -- "$1"); do
    case $state in active) exit 0 ;; failed) break ;; esac
    read -r _ <&3
done
systemctl status --no-pager --full -- "$1" >&2
exit 1
"""
"""Waits, as a script of bash, for a unit: systemd writes a line about each of its changes to the journal."""


class MachineError(Exception):
    """A machine does not boot, or is not reached. The message ends with what its console has said."""


class CommandFailed(AssertionError):
    """A command has ended in another way than the test expects. The message ends with what the console has said."""


AnyError = t.TypeVar("AnyError", MachineError, CommandFailed)


class Machine:
    """A virtual machine, with a disk of its own that lies over its image. It is off at first.

    Its disk and its console are files without names, and QEMU ends with the thread that has started it.
    So nothing of it is left when the tests are killed.

    Attributes:
        name: what messages call it.
        image: what its disk began as.
        accelerator: how its processors are had.
        memory: MiB.
    """

    def __init__(self, image: Image, accelerator: Accelerator, name: str = "", memory: int = 1024) -> None:
        self.name = name or image.recipe.name
        self.image = image
        self.accelerator = accelerator
        self.memory = memory
        self._machine_id = uuid.uuid4().hex
        self._disk = new_disk(image)
        self._console = nameless(Path(tempfile.gettempdir()))
        self._qemu: Qemu | None = None
        self._session: Session | None = None
        self._port = 0

    def __enter__(self) -> Machine:
        """Return it."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Take it away."""
        self.close()

    # Power

    @property
    def is_on(self) -> bool:
        """Return whether QEMU runs."""
        return self._qemu is not None and not self._qemu.ended

    def start(self, seconds: float = BOOT_SECONDS) -> float:
        """Switch it on, and wait until its sshd listens; return the seconds that it took."""
        assert self._disk >= 0, f"{self.name} has been taken away"
        assert not self.is_on, f"{self.name} is on"
        self._let_go()
        deadline, boots = self.deadline(seconds), self._boots()
        hardware = Hardware(
            kernel=str(self.image.kernel),
            initrd=str(self.image.initrd),
            arguments=f"root=/dev/vda ro console=ttyS0 {PARAMETERS} systemd.machine_id={self._machine_id}",
            disk=self._disk,
            console=self._console,
            memory=self.memory,
            processors=self.accelerator.processors,
            accelerator=self.accelerator.options,
        )
        with self._explained("boot"):
            self._qemu = Qemu(hardware)
            self._port = self._qemu.begin(deadline)
            self._wait_until_ready(self._qemu, boots, deadline)
        return deadline.passed

    def reboot(self, seconds: float = BOOT_SECONDS) -> float:
        """Have it reboot as an administrator does, and wait until its sshd listens; return the seconds that it took."""
        former = self.boot_id()
        with self.rebooting(seconds) as deadline:
            self.execute("systemctl reboot")
        assert self.boot_id() != former
        return deadline.passed

    @contextlib.contextmanager
    def rebooting(self, seconds: float = BOOT_SECONDS) -> t.Iterator[Deadline]:
        """Wait, at the end of a block that makes it reboot, in whatever way, until its sshd listens again."""
        deadline, qemu, boots = self.deadline(2 * seconds), self._running(), self._boots()
        qemu.forget()
        yield deadline
        with self._explained("reboot"):
            qemu.wait_for_event("RESET", deadline)
            self._log_out()
            self._wait_until_ready(qemu, boots, deadline)

    def power_off(self, seconds: float = BOOT_SECONDS) -> float:
        """Have it shut down as an administrator does, and wait until it is off; return the seconds that it took."""
        deadline, qemu = self.deadline(seconds), self._running()
        self.execute("systemctl poweroff")
        with self._explained("power off"):
            qemu.wait_for_end(deadline)
        self._let_go()
        return deadline.passed

    def cut_power(self) -> None:
        """Stop it between two instructions. What it has not flushed to its disk may be lost."""
        self._running()
        self._let_go()

    def close(self) -> None:
        """Take it away, with its disk and its console, unless that has been done."""
        self._let_go()
        for descriptor in (self._console, self._disk):
            if descriptor >= 0:
                os.close(descriptor)
        self._console = self._disk = -1

    # Commands

    def execute(self, command: str, seconds: float = COMMAND_SECONDS) -> subprocess.CompletedProcess[str]:
        """Run a shell command as root over SSH, and return how it ended."""
        deadline = self.deadline(seconds)
        session = self._logged_in()
        remote = f"exec timeout --kill-after=10 {deadline.seconds:.1f} /bin/bash -c {shlex.quote(command)}"
        try:
            return subprocess.run(
                ["ssh", "-T", "-S", str(session.path), *self._ssh_options(), "root@127.0.0.1", remote],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=deadline.seconds + 30,
                check=False,
                preexec_fn=partial(linux.end_with, os.getpid()),
            )
        except subprocess.TimeoutExpired as error:
            raise self.failure(MachineError, f"no answer after {error.timeout:.0f} s: {command}") from None

    def succeed(self, command: str, seconds: float = COMMAND_SECONDS) -> str:
        """Run a shell command that is to succeed; return its standard output."""
        done = self.execute(command, seconds)
        if done.returncode != 0:
            raise self.failure(CommandFailed, f"failed with {done.returncode}: {command}\n{done.stdout}{done.stderr}")
        return done.stdout

    def fail(self, command: str, seconds: float = COMMAND_SECONDS) -> str:
        """Run a shell command that is to fail by itself; return all that it has printed."""
        done = self.execute(command, seconds)
        if done.returncode in (0, 124, 137, 255):
            how = {0: "succeeded", 255: "SSH failed"}.get(done.returncode, "did not end")
            raise self.failure(CommandFailed, f"{how}: {command}\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def boot_id(self) -> str:
        """Return what tells this boot from others."""
        return self.succeed("cat /proc/sys/kernel/random/boot_id").strip()

    def wait_for_unit(self, unit: str, seconds: float = COMMAND_SECONDS) -> None:
        """Wait until a unit is active; without its kind, it is a service. It is an error at once when it has failed."""
        name = unit if IS_UNIT.search(unit) else f"{unit}.service"
        self.succeed(f"/bin/bash -c {shlex.quote(WAIT_FOR_UNIT)} wait {shlex.quote(name)}", seconds)

    def wait_until_booted(self, seconds: float = BOOT_SECONDS) -> None:
        """Wait until systemd has started all that the boot starts. None of it may have failed."""
        done = self.execute("systemctl is-system-running --wait", seconds)
        if done.stdout.strip() != "running":
            failed = self.execute("systemctl --failed --no-pager --plain").stdout
            raise self.failure(
                MachineError, f"the system is {done.stdout.strip() or done.stderr}, not running:\n{failed}"
            )

    # What others need

    def deadline(self, seconds: float) -> Deadline:
        """Return when something must have happened that takes a processor which is not emulated this long."""
        return Deadline(seconds * self.accelerator.slowness)

    @property
    def console(self) -> str:
        """Return what its console has said since it was made, and what QEMU has."""
        if self._console < 0:
            return ""
        length = os.fstat(self._console).st_size
        return plain(os.pread(self._console, length, 0).decode("utf-8", "replace"))

    def console_end(self) -> str:
        """Return the last lines of that."""
        return "\n".join(self.console.splitlines()[-LINES:])

    def failure(self, kind: type[AnyError], message: str) -> AnyError:
        """Return an error with the end of the console."""
        return kind(f"{self.name}: {message}\n--- console of {self.name}:\n{self.console_end()}")

    def ansible_variables(self) -> dict[str, t.Any]:
        """Return the variables with which an inventory's host is this machine. They change when it is switched on."""
        self._running()
        return {
            "ansible_host": "127.0.0.1",
            "ansible_port": self._port,
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(self.image.key),
            "ansible_ssh_common_args": shlex.join(self._host_key_options()),
            "ansible_python_interpreter": "/usr/bin/python3",
        }

    def _host_key_options(self) -> list[str]:
        """Return the options by which ssh accepts this machine's key and no other."""
        known = (f'UserKnownHostsFile="{self.image.known_hosts}"', f"HostKeyAlias={self.image.recipe.name}")
        return [word for option in (*known, "StrictHostKeyChecking=yes") for word in ("-o", option)]

    def _ssh_options(self) -> list[str]:
        """Return the options of ssh for a command. None comes from the files of the user who runs the tests."""
        limit = f"ConnectTimeout={self.deadline(COMMAND_SECONDS).seconds:.0f}"
        words = ["-F", "none", "-i", str(self.image.key), "-p", str(self._port)]
        for option in ("BatchMode=yes", "IdentitiesOnly=yes", "LogLevel=ERROR", limit):
            words += ["-o", option]
        return words + self._host_key_options()

    def _logged_in(self) -> Session:
        """Return the login that commands share, or a new one when that has ended, as by a reboot."""
        self._running()
        if self._session is None or not self._session.lasts:
            self._log_out()
            try:
                self._session = Session(self._ssh_options(), self.deadline(COMMAND_SECONDS))
            except LoginError as error:
                raise self.failure(MachineError, f"SSH: {error}") from None
        return self._session

    def _log_out(self) -> None:
        """End the login, if there is one."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _running(self) -> Qemu:
        """Return QEMU."""
        if self._qemu is None or self._qemu.ended:
            raise self.failure(MachineError, "is not on")
        return self._qemu

    def _boots(self) -> int:
        """Return how often a kernel has come as far as its first program."""
        return self.console.count(FIRST_PROGRAM)

    def _wait_until_ready(self, qemu: Qemu, boots: int, deadline: Deadline) -> None:
        """Wait until sshd listens. Reset a machine whose kernel stands still before its first program.

        That is a fault of the emulator: what the tests are about has not begun by then.

        Args:
            qemu: the machine.
            boots: how often a kernel had come as far as its first program before.
            deadline: until when.
        """
        while True:
            try:
                qemu.wait_for_line(READY, Deadline(min(deadline.left, self.deadline(KERNEL_SECONDS).seconds)))
                return
            except TimeoutError:
                if self._boots() > boots:
                    qemu.wait_for_line(READY, deadline)
                    return
                if not deadline.left:
                    raise
            said = b"\nThe kernel stands still: the machine is reset.\n"
            os.pwrite(self._console, said, os.fstat(self._console).st_size)
            qemu.command("system_reset", deadline)

    def _let_go(self) -> None:
        """Kill QEMU, if it runs."""
        self._log_out()
        if self._qemu is not None:
            self._qemu.close()
            self._qemu = None

    @contextlib.contextmanager
    def _explained(self, what: str) -> t.Iterator[None]:
        """Have an error of QEMU, in the block, say what was not reached, and what the console has said."""
        try:
            yield
        except TimeoutError as error:
            raise self.failure(MachineError, f"{what}: waited in vain for {error}") from None
        except QemuError as error:
            raise self.failure(MachineError, f"{what}: {error}") from None


def nameless(directory: Path) -> int:
    """Return a descriptor of a new file, which is in the file system of a directory, but in no directory."""
    return os.open(directory, os.O_TMPFILE | os.O_RDWR, 0o600)


def new_disk(image: Image) -> int:
    """Return a descriptor of a new disk that lies over an image.

    It is on the image's file system, where there is room; directories for temporary files may be in memory.
    """
    disk = nameless(image.directory.parent)
    try:
        subprocess.run(
            [*("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(image.disk)), f"/proc/self/fd/{disk}"],
            stdin=subprocess.DEVNULL,
            pass_fds=(disk,),
            check=True,
        )
    except BaseException:
        os.close(disk)
        raise
    return disk
