# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container's first process, from its birth until it runs `boot`.

The files that it finds in the container may be hostile: writable mappings as a former run has left them, and the tree
that the store is part of. So before it resolves the first path of the container, it closes the descriptors of the host,
loads all code that it needs, and gives up the rights that `boot` may not have. It resolves paths with `lookup.find`
alone.
"""

from __future__ import annotations

import fcntl
import os

from . import confine, linux, lookup, mount_calls, own_directories, ownership, program, root, targets
from .attributes import UMASK, reset_own
from .descriptors import keep_only
from .errors import LauncherError
from .handshake import read_token, tell, write_all
from .loading import load_nothing_more
from .owners import Owners

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from .plan import Plan

BOOT = root.SELF + "/boot"
OWNERS_SIZE = 1 << 22  # bytes of what is noted of the ids of accounts
SPECIAL_BITS = 0o6000  # set-user-ID and set-group-ID


class FirstProcess:
    """The first process of the container that `launch` starts. The caller makes the object, and that process runs it.

    What can be prepared is prepared by the caller: each page of memory that the process touches is copied for it.

    Args:
        plan: what it is for.
        noted: descriptor of a file in which the builder of a machine's root says which ids of accounts are others than
            declared (`owners`); negative with another root.
    """

    def __init__(self, plan: Plan, noted: int = -1) -> None:
        self.plan = plan
        self.noted = noted
        self.spec = plan.spec
        self.environment = self._environment()

    def run(self, report: int, ids: int, ready: int, built: int, go: int) -> NoReturn:
        """Wait for each of the caller's steps, and run `boot`.

        Args:
            report: descriptor for reports of failures.
            ids, built, go: descriptors to read a byte from before the next step; the caller's death ends the wait.
            ready: descriptor for the report that the namespaces are made.
        """
        try:
            load_nothing_more()
            wanted = (report, ids, ready, built, go, self.plan.output, self.noted)
            report, ids, ready, built, go, output, noted = keep_only(*wanted)
            read_token(ids, "the launcher ended before it gave the container its ids")
            self._make_namespaces(ready)
            reset_own()
            confine.give_up(self.spec.security)
            # The filter takes a while, and the root is not there yet.
            filtered = not self._makes_special_directories()
            if filtered:
                confine.filter_calls(self.plan.filter_program)
            read_token(built, "the launcher ended before the container's root was built")
            owners = Owners() if noted < 0 else Owners.of_text(os.pread(noted, OWNERS_SIZE, 0).decode())
            linux.unshare(linux.CLONE_NEWNS)
            # Within the container alone. systemd leaves it to a container's manager, and needs it for credentials.
            mount_calls.make_shared("/")
            os.chdir("/")
            top = lookup.open_root("/")
            os.umask(0)
            self._make_directories(top, owners)
            if not filtered:
                confine.filter_calls(self.plan.filter_program)
            self._connect_standard_streams(top, output)
            boot = program.find(top, BOOT, [BOOT])
            os.umask(UMASK)
            read_token(go, "the launcher ended before the container's start was recorded")
            boot.execute(self.environment)
        except BaseException as error:
            tell(report, "in the container: ", error)
        os._exit(1)

    def _make_namespaces(self, ready: int) -> None:
        os.setgroups([])
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        linux.unshare(self.plan.made)
        write_all(ready, b"1")
        os.setsid()
        linux.set_host_name(self.spec.host_name)
        if not self.plan.shared_network:
            linux.bring_loopback_up()

    def _makes_special_directories(self) -> bool:
        """Return whether a directory has a bit, mostly set-group-ID, that nobody can set once calls are filtered."""
        return any(int(entry.mode, 8) & SPECIAL_BITS for entry in self.plan.left)

    def _make_directories(self, top: int, owners: Owners) -> None:
        """Make the directories that may lie in writable mappings, as the container's own root.

        What the host had there before is left as it is (`ownership`).

        Args:
            owners: the ids of accounts that are others than declared.
        """
        entries = [owners.of_directory(entry) for entry in self.plan.left if not entry.present]
        own = self._own_file_systems(top) if entries else set()
        mappings = {targets.plain_path(each.mount_point) for each in self.spec.file_systems if each.is_bind}
        for entry in entries:
            try:
                descriptor, made = self._directory(top, entry.path)
                try:
                    status = os.fstat(descriptor)
                    if not made and status.st_dev not in own:
                        mapped = targets.plain_path(entry.path) in mappings
                        reason = ownership.take(entry, status, descriptor, mapped)
                        if reason:
                            raise LauncherError(reason)
                        continue
                    os.fchown(descriptor, entry.uid, entry.gid)
                    os.fchmod(descriptor, int(entry.mode, 8))
                finally:
                    os.close(descriptor)
            except OSError as error:
                raise LauncherError(own_directories.UNMADE % (entry.path, error)) from error

    @staticmethod
    def _directory(top: int, path: str) -> tuple[int, bool]:
        """Return a descriptor of a directory, and whether it was made."""
        try:
            return lookup.open_confined(top, path, os.O_RDONLY | os.O_DIRECTORY)[0], False
        except FileNotFoundError:
            return lookup.make_directory_below(top, path, 0o755), True

    def _own_file_systems(self, top: int) -> set[int]:
        """Return the devices of the file systems that are new with this start: all in them is the launcher's."""
        points = ["/", targets.RUN, targets.TEMPORARY]
        points += [record.mount_point for record in self.spec.file_systems if record.is_tmpfs]
        found = set()
        for point in points:
            try:
                descriptor, foreign = lookup.open_confined(top, point, os.O_PATH | os.O_DIRECTORY)
            except OSError:
                continue  # one that may fail
            if not foreign:
                found.add(os.fstat(descriptor).st_dev)
            os.close(descriptor)
        return found

    def _connect_standard_streams(self, top: int, output: int) -> None:
        if output < 0:
            output = lookup.open_found(top, targets.OUTPUT_LOG, os.O_WRONLY | os.O_APPEND)
        if self.plan.console is not None:
            os.dup2(output, 0)
            fcntl.ioctl(0, linux.TIOCSCTTY, 0)
        else:
            null = program.open_own_null(top)
            os.dup2(null, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)

    def _environment(self) -> dict[str, str]:
        environment = {
            "HOME": "/root",
            "TMPDIR": "/tmp",
            "PATH": program.SEARCH_PATH,
            "CONTAINER_SYSTEM": root.SELF,
            "container": "unshare",
            "container_uuid": self.plan.machine_id,
        }
        if self.plan.credentials:
            environment["CREDENTIALS_DIRECTORY"] = targets.CREDENTIALS
        if self.plan.notify_path is not None:
            environment["NOTIFY_SOCKET"] = "/run/host/notify"
        if self.plan.console is not None:
            environment["TERM"] = os.environ.get("TERM", "linux")
        environment.update(self.spec.init.environment)
        return environment
