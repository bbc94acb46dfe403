# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bringing trees to hosts: an archive of the controller's goes over Ansible's connection, in pieces.

Each round puts one piece on the host, and runs the module, which takes it, and says from where on it lacks something.
So what was there before the run was interrupted is not sent again, and nothing is held in memory but a part of a piece.
"""

from __future__ import annotations

import os
import tempfile
import time
import typing as t

from ansible import constants
from ansible.errors import AnsibleActionFail, AnsibleError

from ..module_utils.launcher.names import NO_NAME, is_name
from ..module_utils.state.tree_records import Piece, TreeArchive
from .errors import DeclarationError
from .foreseen_trees import ARCHIVES, foreseen_trees, note_foreseen
from .tree_archives import LocalArchive
from .validation import describe, plain

if t.TYPE_CHECKING:
    from .hiding_action import HidingAction

MODULE = "unshare.container.tree"
FIRST, LEAST, MOST = 16 << 20, 1 << 20, 128 << 20
"""Bytes of the first piece, and of the smallest and the largest that follow."""

PIECE_TAKES = 4.0
"""Seconds that a piece is to take on its way: what an interruption loses, beside what a round costs."""

ATTEMPTS = 5
"""Rounds in a row that bring nothing, after which the transfer has failed."""

SHOWN_EVERY = 5.0
"""Seconds between two lines that say how far the transfer is."""

MIB = 1 << 20


MEANT = {"archive": "path: %s", "command": "argv: [%s]", "image": "path: %s", "mmdebstrap": "suite: %s"}
"""Parameters that have options, each with the one that is always needed."""


def declared_trees(value: t.Any) -> dict[str, dict[str, t.Any]]:
    """Return the trees that are declared for a host: the options of the module `tree`, by their names.

    :raises DeclarationError: naming the place.
    """
    found = plain(value, "trees")
    if not isinstance(found, dict):
        raise DeclarationError("trees", f"must be a mapping of names to trees, not {describe(found)}")
    for name, options in found.items():
        if not is_name(name):
            raise DeclarationError("trees", NO_NAME % (name, "tree"))
        if not isinstance(options, dict):
            raise DeclarationError(f"trees.{name}", f"must be a mapping of options, not {describe(options)}")
        if "name" in options:
            raise DeclarationError(f"trees.{name}.name", "is the key of the tree, and cannot be given beside it")
    return found


def refuse_absent(trees: dict[str, dict[str, t.Any]], stores: dict[str, t.Any]) -> None:
    """Refuse trees that are taken away while containers are declared with them.

    :param trees: as `declared_trees` returns them.
    :param stores: what is declared as the stores of containers, by their names.
    :raises DeclarationError: naming the place.
    """
    for container, store in stores.items():
        tree = store.get("tree") if isinstance(store, dict) else None
        if isinstance(tree, str) and trees.get(tree, {}).get("state") == "absent":
            raise DeclarationError(
                f"trees.{tree}.state",
                f"'absent' takes away the tree that container {container!r} is declared with: leave the tree, or give "
                "the container another store",
            )


class Progress:
    """What a person sees of a transfer: a line now and then, and one at its end.

    :param show: shows a line.
    :param what: what is transferred, and where.
    :param size: its bytes.
    :param there: how many of them are there before.
    """

    def __init__(
        self,
        show: t.Callable[[str], t.Any],
        what: str,
        size: int,
        there: int,
        clock: t.Callable[[], float] = time.monotonic,
    ) -> None:
        self.show, self.what, self.size, self.first, self.clock = show, what, size, there, clock
        self.begun = self.last = clock()
        if there:
            show(f"{what}: goes on at {_share(there, size)}")

    def reached(self, there: int) -> None:
        """Show a line, if the last one was a while ago."""
        now = self.clock()
        if there < self.size and now - self.last >= SHOWN_EVERY:
            self.last = now
            rate = (there - self.first) / (now - self.begun)
            left = f", {(self.size - there) / rate:.0f} s left" if rate > 0 else ""
            self.show(f"{self.what}: {_share(there, self.size)}, {rate / MIB:.1f} MiB/s{left}")

    def ended(self) -> None:
        """Show what the whole transfer was."""
        sent, seconds = self.size - self.first, max(self.clock() - self.begun, 0.001)
        self.show(f"{self.what}: {sent / MIB:.1f} MiB in {seconds:.1f} s, {sent / MIB / seconds:.1f} MiB/s")


def _share(there: int, size: int) -> str:
    return f"{100 * there // max(size, 1)} % ({there / MIB:.1f} of {size / MIB:.1f} MiB)"


def _following(size: int, seconds: float) -> int:
    """Return how large the piece should be that follows one of this size, which took so long."""
    factor = PIECE_TAKES / max(seconds, 0.001)
    if factor > 1:  # of so little time, most is not the connection's
        factor = max(factor, 4.0)
    return max(LEAST, min(int(size * factor), MOST))


def _searched(error: AnsibleError) -> str:
    """Return where Ansible has looked for a file, as an error says it."""
    lines = [line[1:].partition(" on the Ansible Controller")[0] for line in str(error).split("\n") if line[:1] == "\t"]
    return ", ".join(dict.fromkeys(lines)) or "it stands there"


class Shipping:
    """One tree on its way to one host.

    :param action: the plugin whose task it is for.
    :param arguments: those of the module `tree`.
    :param place: what is put before the names of its options in errors.
    """

    def __init__(
        self, action: HidingAction, arguments: dict[str, t.Any], task_vars: dict[str, t.Any] | None, place: str = ""
    ) -> None:
        self.action = action
        self.arguments = arguments
        self.task_vars = task_vars
        self.place = place
        self.target = str(action._task.delegate_to or (task_vars or {}).get("inventory_hostname", ""))
        self.what = f"{self.target}: tree {arguments.get('name')}"

    def bring(self) -> dict[str, t.Any]:
        """Run the module, with what it needs of the controller. Return its result.

        :raises DeclarationError, AnsibleActionFail: naming what stands in the way.
        """
        done = self._bring()
        if self.action._task.check_mode and done.get("changed"):
            content = None if self.arguments.get("state") == "absent" else str(done.get("content", ""))
            directory = str(constants.DEFAULT_LOCAL_TMP)  # type: ignore[attr-defined]
            note_foreseen(directory, self.target, str(self.arguments.get("name")), content)
        return done

    def _bring(self) -> dict[str, t.Any]:
        path = self.arguments.get("controller")
        if "sent" in self.arguments:
            raise AnsibleActionFail(f"{self.place}sent: is filled in from 'controller', and cannot be given")
        self._refuse_words()
        if not isinstance(path, str) or self.arguments.get("state") == "absent":
            return self._run({})
        directory = str(constants.DEFAULT_LOCAL_TMP)  # type: ignore[attr-defined]
        foreseen = foreseen_trees(directory, ARCHIVES) if self.action._task.check_mode else {}
        place = os.path.abspath(os.path.expanduser(os.path.expandvars(path)))
        if place in foreseen:  # an earlier task would write it
            unwritten = TreeArchive(checksum=f"sha256:{'0' * 64}", size=0, content=foreseen[place])
            return self._run({"archive": unwritten.write()})
        found = self._found(path)
        with LocalArchive(found, directory, f"{self.place}controller") as archive:
            sent = {"archive": archive.archive.write()}
            done = self._run(sent)
            return self._send(archive, sent, done) if "awaits" in done else done

    def _found(self, path: str) -> str:
        """Return the path of an archive of the controller's."""
        try:
            found: str = self.action._find_needle("files", path)
        except AnsibleError as error:
            raise AnsibleActionFail(
                f"{self.place}controller: '{path}' is not on the controller (looked for as {_searched(error)}): write "
                "it with unshare.container.tree_archive, correct the path, or give 'archive' for a file of the host"
            ) from None  # whose words speak of the module copy
        return found

    def _refuse_words(self) -> None:
        """Refuse one word where options are to be; the module would not say of which of its parameters it speaks."""
        for key, example in MEANT.items():
            value = self.arguments.get(key)
            if isinstance(value, str) and "=" not in value and not value.lstrip().startswith("{"):
                raise AnsibleActionFail(
                    f"{self.place}{key}: must be a mapping of options, as {{{example % value}}}, not one word"
                )

    def _run(self, sent: dict[str, t.Any]) -> dict[str, t.Any]:
        arguments = {**self.arguments, "sent": sent} if sent else self.arguments
        return self.action.run_module(MODULE, arguments, self.task_vars)

    def _send(self, archive: LocalArchive, sent: dict[str, t.Any], done: dict[str, t.Any]) -> dict[str, t.Any]:
        """Send pieces for as long as the host awaits one. Return the result of the module that awaits none any more."""
        shell = self.action._connection._shell
        if shell.tmpdir is None:
            self.action._make_tmp_path()
        remote = shell.join_path(shell.tmpdir, "piece")
        there, length, idle = self._there(archive, done), FIRST, 0
        progress = Progress(self.action._display.display, self.what, archive.archive.size, there)
        directory = str(constants.DEFAULT_LOCAL_TMP)  # type: ignore[attr-defined]
        with tempfile.TemporaryDirectory(prefix="unshare-piece-", dir=directory) as own:
            local = os.path.join(own, "piece")
            while "awaits" in done:
                size, digest = archive.cut(there, length, local)
                begun = time.monotonic()
                self.action._transfer_file(local, remote)
                length = _following(size, time.monotonic() - begun)
                piece = Piece(path=remote, offset=there, size=size, digest=digest)
                done = self._run({**sent, "piece": piece.write()})
                reached = self._there(archive, done) if "awaits" in done else archive.archive.size
                idle = 0 if reached > there else idle + 1
                if idle == ATTEMPTS:
                    raise AnsibleActionFail(
                        f"{self.place}controller: {idle} pieces of {archive.path} in a row have not arrived as they "
                        f"were sent; {there} bytes of it are on the host, and the next run goes on from there"
                    )
                there = reached
                progress.reached(there)
        if not done.get("failed"):
            progress.ended()
        return done

    def _there(self, archive: LocalArchive, done: dict[str, t.Any]) -> int:
        """Return how much of an archive the host says it has. Raise AnsibleActionFail when that cannot be."""
        there = done["awaits"].get("received") if isinstance(done["awaits"], dict) else None
        if not isinstance(there, int) or not 0 <= there < archive.archive.size:
            raise AnsibleActionFail(f"{self.place}controller: the host says that it has {there!r} of {archive.path}")
        return there
