# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A store in a directory that root inside another container can write to: what stands there changes during a start."""

from __future__ import annotations

import contextlib
import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import syscalls
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError

from . import isolation_record
from .conftest import INTERPRETER
from .isolation import MODES, make_hostile, mounted

if t.TYPE_CHECKING:
    from .conftest import Machine, MakeMachine

pytestmark = pytest.mark.root

NAME = "test-isolation-exchanged"
SECRET, OWN = "secret of the host", "the tree's own"
SHARED = ("etc/rpc", "etc/terminfo/key", "etc/alternatives/key")
INIT = {"argv": [INTERPRETER, "-Ic", "import signal; signal.pause()"], "ready": "exec", "stop_signal": "SIGKILL"}
AT_FDCWD = -100
WAYS = {
    "a link in place of the store": ("above/tree/usr", "{}/above/tree/usr"),
    "a link in place of its tree": ("above/tree", "{}/above/tree"),
    "a link in place of what its tree is in": ("above", "{}/above"),
    "a link upward in place of its tree": ("above/tree", "../../../../../../../../../../../..{}/above/tree"),
    "a magic link in place of its tree": ("above/tree", "/proc/self/root{}/above/tree"),
}
"""What is exchanged for a link, and what that says of the hidden directory."""


class Exchange:
    """Puts a link in a directory's place, or takes it away, whenever this process looks up a path through that place.

    Args:
        place: the directory.
        link: what the link says.
        shown: for each look in its order whether it meets the link; those after these do not.

    Attributes:
        looks: how many there were.
    """

    def __init__(self, place: Path, link: str, shown: t.Sequence[bool] = ()) -> None:
        self.place, self.aside = place, place.with_name("aside")
        self.link, self.shown = link, shown
        self.looks = 0

    def __enter__(self) -> Exchange:
        self.patch = pytest.MonkeyPatch()
        openat2, open_ = syscalls.openat2, os.open

        def openat2_looked_at(directory: int, path: str, *rest: t.Any) -> int:
            self._look(directory, path)
            return openat2(directory, path, *rest)

        def open_looked_at(path: t.Any, *rest: t.Any, dir_fd: int | None = None) -> int:
            self._look(dir_fd, path)
            return open_(path, *rest, dir_fd=dir_fd)

        self.patch.setattr(syscalls, "openat2", openat2_looked_at)
        self.patch.setattr(os, "open", open_looked_at)
        return self

    def __exit__(self, *_error: object) -> None:
        self.patch.undo()
        self._set(False)

    def _look(self, directory: int | None, path: t.Any) -> None:
        above = os.getcwd() if directory in (None, AT_FDCWD) else os.readlink(f"/proc/self/fd/{directory}")
        if os.path.isabs(path):
            above = "/"
        if Path(above) in self.place.parents and self.place in Path(above, path, "x").parents:
            self._set(self.looks < len(self.shown) and self.shown[self.looks])
            self.looks += 1

    def _set(self, link: bool) -> None:
        if self.place.is_symlink() == link:
            return
        if link:
            self.place.rename(self.aside)
            self.place.symlink_to(self.link)
        else:
            self.place.unlink()
            self.aside.rename(self.place)


def seen(machine: Machine) -> set[str]:
    """Start it; return what is in the files that it shares, as far as it shares them."""
    machine.start(timeout=20)
    try:
        process = machine.container.process()
        assert process is not None
        root = Path(f"/proc/{process.pid}/root")
        process.close()
        return {(root / path).read_text() for path in SHARED if (root / path).exists()}
    finally:
        machine.stop(5)


def tried(machine: Machine, place: Path, link: str) -> str:
    """Exchange a place at each look of a start, at that alone, and at all the others; the word for the record."""
    with Exchange(place, link) as honest:
        assert seen(machine) == {OWN}
    assert honest.looks
    for number in range(honest.looks):
        for alone in (True, False):
            shown = [(number == each) is alone for each in range(honest.looks)]
            found = set()
            with Exchange(place, link, shown), contextlib.suppress(LauncherError):
                found = seen(machine)
            if SECRET in found:
                return "ok"
    return "refused"


@pytest.mark.parametrize("mode", MODES)
def test_a_store_is_exchanged_for_a_link(make_machine: MakeMachine, tmp_path: Path, mode: str) -> None:
    """The link leads to a directory of the host that root alone may read, with a store, and secrets beside that.

    Whenever it stands there during a start, no file of that directory's is shared with the container.
    """
    data, hidden = tmp_path / "data", tmp_path / "hidden"
    stores = []
    with contextlib.ExitStack() as stack:
        for root, text in ((data, OWN), (hidden, SECRET)):
            tree = root / "above/tree"
            for path in SHARED:
                (tree / path).parent.mkdir(parents=True, exist_ok=True)
                (tree / path).write_text(text)
                (tree / path).chmod(0o600)
            (tree / "usr").mkdir()
            stack.enter_context(mounted("--bind", "/usr", tree / "usr"))
            stores.append(tree / "usr")
        hidden.chmod(0o700)
        machine = make_hostile(make_machine, mode, NAME, tmp_path / "mapped", init=INIT, store=f"{stores[0]}=/usr")
        words = {what: tried(machine, data / place, link.format(hidden)) for what, (place, link) in WAYS.items()}
    isolation_record.check(mode, "exchanged", "tree", words)
