# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking the archive of a tree from a host to the controller, in pieces.

What has come lies beside the place of the archive, in a file whose name has the archive's checksum, so that a run after
one that was interrupted goes on from there.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import os
import re
import typing as t
from pathlib import Path

from ansible import constants
from ansible.errors import AnsibleActionFail

from ..module_utils.launcher.kinds import ContractError
from ..module_utils.launcher.paths import remove_file, write_atomically
from ..module_utils.state.target import explain
from ..module_utils.state.tree_records import TreeArchive, parsed, plain_words, record_text
from .errors import DeclarationError
from .foreseen_trees import ARCHIVES, note_foreseen
from .hiding_action import HidingAction
from .shipping import Progress
from .tree_archives import DESCRIPTION, checksum_of

MODULE = "unshare.container.tree_archive"
LENGTH = 16 << 20
"""Bytes of a piece: the answer that has it is held in memory, on both sides."""

ATTEMPTS = 3
"""Answers in a row without a piece, after which the transfer has failed."""

PART = ".part"
SUM_DIGITS = 16
"""Digits of the archive's checksum in the name of the file that its pieces are added to."""


class Taking:
    """The archive of one tree on its way to the controller.

    :param action: the plugin whose task it is for.
    :param arguments: those of the module.
    :raises DeclarationError: there is no place for it.
    """

    def __init__(self, action: HidingAction, arguments: dict[str, t.Any], task_vars: dict[str, t.Any] | None) -> None:
        if "asked" in arguments:
            raise AnsibleActionFail("asked: is filled in by the action plugin, and cannot be given")
        self.action, self.task_vars = action, task_vars
        given = str(arguments.get("path") or "")
        if not given or "\0" in given:
            raise DeclarationError("path", "names no file: give the archive's, on the controller")
        self.path = os.path.abspath(os.path.expanduser(os.path.expandvars(given)))
        self.arguments = {**arguments, "path": self.path}
        self.above, self.file_name = os.path.split(self.path)
        if os.path.isdir(self.path):
            raise DeclarationError("path", f"{self.path} is a directory on the controller; name a file in it")
        if not os.path.isdir(self.above):
            raise DeclarationError("path", f"{self.path}: the controller has no directory {self.above}; make it")
        target = action._task.delegate_to or (task_vars or {}).get("inventory_hostname", "")
        self.what = f"{target}: archive of the tree {arguments.get('name')}"

    def take(self) -> dict[str, t.Any]:
        """Bring the archive to the controller, if it is another one. Return the module's result.

        :raises AnsibleActionFail: it has not come as the host has it.
        :raises DeclarationError: it cannot be written on the controller.
        """
        known = self._known()
        done = self._ask({"content": known.content if known is not None else ""})
        if done.get("failed"):
            return done
        if self.action._task.check_mode:
            self._foresee(known, done)
        found = known
        if "archive" in done:
            found = self._read(done.pop("archive"))
            part = os.path.join(self.above, f".{self.file_name}.{found.checksum.partition(':')[2][:SUM_DIGITS]}{PART}")
            with self._held(part) as file:
                if self._known() == found:
                    os.unlink(part)  # another run was faster
                else:
                    self._receive(found, file, part)
                    self._replace(found, part)
            self._remove_others()
            self._ask({"content": found.content, "taken": True})
        if found is not None and found.content == done.get("content"):
            done.update(checksum=found.checksum, size=found.size)
        return {**done, "path": self.path}

    def _ask(self, asked: dict[str, t.Any]) -> dict[str, t.Any]:
        return self.action.run_module(MODULE, {**self.arguments, "asked": asked}, self.task_vars)

    def _foresee(self, known: TreeArchive | None, done: dict[str, t.Any]) -> None:
        """Say in a result in check mode what the archive would be of, after the tasks before this one.

        Later tasks, for which the archive would be there, are told as well.
        """
        trees = self.action.foreseen_trees(self.task_vars)
        name = str(self.arguments.get("name"))
        if name in trees:
            content = trees[name]
            done.pop("content", None)
            if content:
                done["content"] = content
            done["changed"] = known is None or known.content != content
        if done.get("changed"):
            directory = str(constants.DEFAULT_LOCAL_TMP)  # type: ignore[attr-defined]
            note_foreseen(directory, ARCHIVES, self.path, str(done.get("content", "")))

    def _known(self) -> TreeArchive | None:
        """Return what the description of the archive that is there says; None when it is of no use."""
        try:
            with open(self.path + DESCRIPTION, encoding="utf-8") as text, open(self.path, "rb") as file:
                found = TreeArchive.read(parsed(text.read()))
                is_of_it = found.size == os.fstat(file.fileno()).st_size and found.checksum == checksum_of(file)
        except (OSError, ValueError, ContractError):
            return None
        return found if is_of_it else None

    @staticmethod
    def _read(value: t.Any) -> TreeArchive:
        try:
            found = TreeArchive.read(value)
        except ContractError as error:
            raise AnsibleActionFail(f"the host describes no archive: {plain_words(str(error))}") from None
        if not re.fullmatch("sha256:[0-9a-f]{64}", found.checksum):
            raise AnsibleActionFail(f"the host describes no archive: {found.checksum!r} is no checksum")
        return found

    @contextlib.contextmanager
    def _writing(self) -> t.Iterator[None]:
        """Say of an error of the system that it was on the controller. Raise DeclarationError."""
        try:
            yield
        except OSError as error:
            said = f"{self.path} cannot be written on the controller: {explain(error)}"
            raise DeclarationError("path", said) from None

    @contextlib.contextmanager
    def _held(self, path: str) -> t.Iterator[t.IO[bytes]]:
        """Hold the file that pieces are added to, and yield it. Another run that brings the same is waited for."""
        while True:
            with self._writing():
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
            with open(descriptor, "rb+", buffering=0) as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                if os.path.lexists(path) and os.path.samestat(os.lstat(path), os.fstat(descriptor)):
                    yield file
                    return

    def _receive(self, found: TreeArchive, file: t.IO[bytes], path: str) -> None:
        """Add pieces until the file is whole. Raise AnsibleActionFail when it is another one then."""
        there, idle = file.seek(0, os.SEEK_END), 0
        progress = Progress(self.action._display.display, self.what, found.size, there)
        while there < found.size:
            done = self._ask({"content": found.content, "offset": there, "length": min(LENGTH, found.size - there)})
            try:
                piece = base64.b64decode(done.get("piece", ""), validate=True)
            except (TypeError, ValueError):
                piece = b""
            if not piece or len(piece) > found.size - there:
                idle += 1
                # A run that takes the same archive elsewhere was faster, and has removed it on the host.
                again = self._ask({"content": ""}).get("archive") if idle < ATTEMPTS else None
                if again is not None and self._read(again) == found:
                    continue
                said = done.get("msg", "it has sent no piece")
                raise AnsibleActionFail(
                    f"{self.what}: {said}; {there} bytes of it are here, and the next run goes on from there"
                )
            idle = 0
            with self._writing():
                while piece:
                    written = file.write(piece)
                    there += written
                    piece = piece[written:]
            progress.reached(there)
        if checksum_of(file) != found.checksum:
            os.unlink(path)
            raise AnsibleActionFail(f"{self.what}: has another checksum than the host says; it was removed: run again")
        with self._writing():
            os.fsync(file.fileno())
        progress.ended()

    def _replace(self, found: TreeArchive, path: str) -> None:
        """Put the file in the archive's place. Whatever happens meanwhile, no archive has another one's description."""
        with self._writing():
            remove_file(self.path + DESCRIPTION)
            Path(path).rename(self.path)
            write_atomically(self.path + DESCRIPTION, record_text(found), 0o644)

    def _remove_others(self) -> None:
        """Remove what has come of other archives for this place, and nobody adds to: no run goes on with it."""
        pattern = re.compile(re.escape(f".{self.file_name}.") + "[0-9a-f]{%d}" % SUM_DIGITS + re.escape(PART))
        for name in filter(pattern.fullmatch, os.listdir(self.above)):
            with contextlib.suppress(OSError), open(os.path.join(self.above, name), "rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(file.name)
