# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking the archive of a tree from a host to the controller, in pieces.

What has come lies beside the place of the archive, in a file whose name has the archive's checksum, so that a run after
one that was interrupted goes on from there.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import fcntl
import os
import typing as t
from pathlib import Path

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ..module_utils.launcher.kinds import ContractError
from ..module_utils.launcher.paths import write_atomically
from ..module_utils.state.tree_records import TreeArchive, parsed, record_text
from .errors import DeclarationError
from .shipping import Progress
from .tree_archives import DESCRIPTION, checksum_of

MODULE = "unshare.container.tree_archive"
LENGTH = 16 << 20
"""Bytes of a piece: the answer that has it is held in memory, on both sides."""


class Taking:
    """The archive of one tree on its way to the controller.

    :param action: the plugin whose task it is for.
    :param arguments: those of the module.
    :raises DeclarationError: there is no place for it.
    """

    def __init__(self, action: ActionBase, arguments: dict[str, t.Any], task_vars: dict[str, t.Any] | None) -> None:
        if "asked" in arguments:
            raise AnsibleActionFail("asked: is filled in by the action plugin, and cannot be given")
        self.action, self.task_vars = action, task_vars
        self.path = os.path.abspath(os.path.expanduser(os.path.expandvars(str(arguments.get("path") or ""))))
        self.arguments = {**arguments, "path": self.path}
        above = os.path.dirname(self.path)
        if os.path.isdir(self.path):
            raise DeclarationError("path", f"{self.path} is a directory on the controller; name a file in it")
        if not os.path.isdir(above):
            raise DeclarationError("path", f"{self.path}: the controller has no directory {above}; make it")
        target = action._task.delegate_to or (task_vars or {}).get("inventory_hostname", "")
        self.what = f"{target}: archive of the tree {arguments.get('name')}"

    def take(self) -> dict[str, t.Any]:
        """Bring the archive to the controller, if it is another one. Return the module's result.

        :raises AnsibleActionFail: it has not come as the host has it.
        """
        known = self._known()
        done = self._ask({"content": known.content if known is not None else ""})
        if done.get("failed"):
            return done
        found = known
        if "archive" in done:
            found = self._read(done.pop("archive"))
            above, name = os.path.split(self.path)
            part = os.path.join(above, f".{name}.{found.checksum.partition(':')[2][:16]}.part")
            with self._held(part) as file:
                if self._known() == found:
                    os.unlink(part)  # another run was faster
                else:
                    self._receive(found, file, part)
                    Path(part).rename(self.path)
                    write_atomically(self.path + DESCRIPTION, record_text(found), 0o644)
            self._ask({"content": found.content, "taken": True})
        if found is not None and found.content == done.get("content"):
            done.update(checksum=found.checksum, size=found.size)
        return {**done, "path": self.path}

    def _ask(self, asked: dict[str, t.Any]) -> dict[str, t.Any]:
        done: dict[str, t.Any] = self.action._execute_module(
            MODULE, module_args={**self.arguments, "asked": asked}, task_vars=self.task_vars
        )
        return done

    def _known(self) -> TreeArchive | None:
        """Return what the description of the archive that is there says; None when it is of no use."""
        with contextlib.suppress(OSError, ValueError, ContractError):
            with open(self.path + DESCRIPTION, encoding="utf-8") as file:
                found = TreeArchive.read(parsed(file.read()))
            if found.size == os.stat(self.path).st_size:
                return found
        return None

    @staticmethod
    def _read(value: t.Any) -> TreeArchive:
        try:
            return TreeArchive.read(value)
        except ContractError as error:
            raise AnsibleActionFail(f"the host describes no archive: {error}") from None

    @contextlib.contextmanager
    def _held(self, path: str) -> t.Iterator[t.IO[bytes]]:
        """Hold the file that pieces are added to, and yield it. Another run that brings the same is waited for."""
        while True:
            with open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644), "rb+") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                if os.path.lexists(path) and os.path.samestat(os.lstat(path), os.fstat(file.fileno())):
                    yield file
                    return

    def _receive(self, found: TreeArchive, file: t.IO[bytes], path: str) -> None:
        """Add pieces until the file is whole. Raise AnsibleActionFail when it is another one then."""
        there = file.seek(0, os.SEEK_END)
        progress = Progress(self.action._display.display, self.what, found.size, there)
        while there < found.size:
            done = self._ask({"content": found.content, "offset": there, "length": min(LENGTH, found.size - there)})
            try:
                piece = base64.b64decode(done.get("piece", ""), validate=True)
            except (TypeError, binascii.Error):
                piece = b""
            if not piece or len(piece) > found.size - there:
                said = done.get("msg", "it has sent no piece")
                raise AnsibleActionFail(
                    f"{self.what}: {said}; {there} bytes of it are here, and the next run goes on from there"
                )
            file.write(piece)
            file.flush()
            there += len(piece)
            progress.reached(there)
        if checksum_of(file) != found.checksum:
            os.unlink(path)
            raise AnsibleActionFail(f"{self.what}: has another checksum than the host says; it was removed: run again")
        os.fsync(file.fileno())
        progress.ended()
