# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a tree can be made from. Each is a class with the same few methods, found in `kinds_of_sources.TREE_SOURCES`."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import stat
from pathlib import Path
from typing import IO, Any, Callable, Iterator

from ..launcher import lookup
from ..launcher.paths import refusal_of_root
from ..launcher.targets import is_below, plain_path
from ..state.target import TargetError
from ..state.tree_records import TreeFacts
from . import entries, fetching, tools
from .archives import Archive
from .arriving import Arrival
from .copying import put_all
from .entries import Budget, TreeEntry
from .writer import TreeWriter

WHITEOUT = ".wh."
"""What the names of files begin with that stand, in a layer of an image, for what the layer takes away."""

COPIES = ("hostname", "resolv.conf")
"""What mmdebstrap copies from this host's /etc."""

NOISE = ("I: ", "W: Download is performed unsandboxed ")
"""How lines of mmdebstrap begin that tell nobody why it has failed."""

DAY = 1577836800
"""The time that programs take for now (SOURCE_DATE_EPOCH), where they note when they made something."""


class Order:
    """How a tree is to be made.

    :ivar root: its root, an empty directory.
    :ivar scratch: an empty directory beside it, for what is needed on the way.
    :ivar kept: a directory of this host, for what a run that is interrupted leaves to the next one.
    :ivar size_limit: bytes that it may have.
    :ivar timeout: seconds that programs may take, and that another run which gets the same file is waited for.
    """

    def __init__(self, root: str, scratch: str, kept: str, size_limit: int, timeout: float) -> None:
        self.root = root
        self.scratch = scratch
        self.kept = kept
        self.size_limit = size_limit
        self.timeout = timeout


class TreeSource:
    """What a tree is made from.

    :param given: the options of its kind, checked by Ansible's specification of them.
    :raises TargetError: naming the option that is of no use.
    :cvar KIND: the name of the module's option for it.
    :ivar is_fixed: whether one declaration makes one tree, whenever it is made.
    :ivar content: the digest of the content of the tree that will be made, where that is known before.
    :ivar facts: those of that tree.
    """

    KIND = ""
    is_fixed = False
    content = ""
    facts = TreeFacts()

    def __init__(self, given: dict[str, Any]) -> None:
        self.given = given

    def digest(self) -> str:
        """Return a digest of what was declared: with another one, the tree is to be made anew."""
        text = json.dumps([self.KIND, self.given], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def describe(self) -> str:
        """Return what it is in a few words, without what may be secret."""
        raise NotImplementedError

    def refuse(self) -> None:
        """Raise TargetError for what is missing on this host, before anything is made."""

    def take(self, kept: Path, timeout: float) -> None:
        """Take what was sent to this host for it.

        :param kept: where a run leaves to the next one what it needs.
        :param timeout: seconds to wait for another run.
        :raises TargetError: that cannot be done.
        """

    def lacking(self, _kept: Path, _size_limit: int) -> dict[str, Any] | None:
        """Return what is to be sent before it can be made, for whoever sends it; None when nothing is.

        :raises TargetError: there is no room for it.
        """
        return None

    def make(self, order: Order) -> None:
        """Fill the root. Raise TargetError, OSError."""
        raise NotImplementedError


def _refuse_relative(path: str, place: str) -> None:
    """Raise TargetError for a path that begins somewhere else in each run."""
    if not path.startswith("/"):
        raise TargetError(f"{place}: {path!r} must be an absolute path")


class PackedSource(TreeSource):
    """One file that has a tree in it, by tar, perhaps compressed by gzip, xz or zstd."""

    def open(self, order: Order) -> contextlib.AbstractContextManager[IO[bytes]]:
        """Yield the file, open, once it has its checksum. Raise TargetError, OSError."""
        raise NotImplementedError

    def make(self, order: Order) -> None:
        place = self.describe().replace(" ", ": ", 1)
        self.unpack(order, place, order.root, _without_whiteouts)

    def unpack(self, order: Order, place: str, directory: str, look: Callable[[TreeEntry], TreeEntry]) -> None:
        """Unpack the file to a directory.

        :param place: what the file is called in messages.
        :param look: is asked about each entry, and may refuse it.
        :raises TargetError, OSError: it cannot be read, or written, or something in it is refused.
        """
        budget = Budget(order.size_limit)
        with self.open(order) as file, Archive(file, place, order.size_limit) as archive, TreeWriter(
            directory, budget
        ) as writer:
            archive.each(lambda entry: writer.put(look(entry)))


class ArchiveSource(PackedSource):
    """An archive that is on this host, or is fetched by its URL."""

    KIND = "archive"

    def __init__(self, given: dict[str, Any]) -> None:
        super().__init__(given)
        self.path, self.url, self.checksum = (given.get(key) for key in ("path", "url", "checksum"))
        if (self.path is None) == (self.url is None):
            raise TargetError(f"{self.KIND}: needs either 'path' or 'url'")
        if self.path is not None:
            _refuse_relative(self.path, f"{self.KIND}.path")
        if self.url is not None and not self.checksum:
            raise TargetError(
                f"{self.KIND}.checksum: is required for a URL: whoever answers there could answer anything"
            )
        if self.url is not None:
            fetching.check_url(self.url, f"{self.KIND}.url")
        if self.checksum:
            self.checksum = fetching.check_checksum(self.checksum, f"{self.KIND}.checksum")
            self.is_fixed = True

    def digest(self) -> str:
        """Return the same for one file wherever it lies: a URL may have a token that is another in each run."""
        if not self.checksum:
            return super().digest()
        said = {**self.given, "path": None, "url": None, "checksum": self.checksum}
        return hashlib.sha256(json.dumps([self.KIND, said], sort_keys=True).encode()).hexdigest()

    def describe(self) -> str:
        where = self.path if self.path is not None else fetching.without_password(self.url or "")
        return f"{self.KIND} {where}"

    def refuse(self) -> None:
        if self.path is not None:
            fetching.opened(self.path, f"{self.KIND}.path").close()

    @contextlib.contextmanager
    def open(self, order: Order) -> Iterator[IO[bytes]]:
        if self.url is not None:
            url, checksum, place = self.url, str(self.checksum), f"{self.KIND}.url"

            def complete(file: IO[bytes]) -> None:
                fetching.fetched(url, checksum, file, order.size_limit, place)

            what = f"{place}: {fetching.without_password(url)}"
            # Held until it is unpacked: another run that gets the same file finds it whole, or fetches it.
            with Arrival(Path(order.kept), checksum, order.timeout).whole(what, complete) as file:
                yield file
            return
        with fetching.opened(str(self.path), f"{self.KIND}.path") as file:
            if self.checksum:
                fetching.held_to(file, self.checksum, f"{self.KIND}.path: {self.path}")
            yield file


def _without_whiteouts(entry: TreeEntry) -> TreeEntry:
    if entry.path.rpartition("/")[2].startswith(WHITEOUT):
        said = "is a whiteout, as a layer of an image has them: use 'image' for that"
        raise entries.Refused(f"{entries.shown_name(entry.path)} {said}")
    return entry


class DirectorySource(TreeSource):
    """A directory of this host that holds a tree."""

    KIND = "directory"

    def __init__(self, given: dict[str, Any]) -> None:
        super().__init__(given)
        self.path = str(given["path"])
        _refuse_relative(self.path, "directory")
        reason = refusal_of_root(self.path)
        if reason:
            raise TargetError(f"directory: {reason}")

    def describe(self) -> str:
        return f"directory {self.path}"

    def refuse(self) -> None:
        os.close(self._open())

    def _open(self) -> int:
        try:
            return os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise TargetError(f"directory: {self.path} cannot be read: {error.strerror}") from None

    def make(self, order: Order) -> None:
        if is_below(order.root, plain_path(os.path.realpath(self.path))):
            raise TargetError(f"directory: {self.path} holds the directory that trees are kept in, and so itself")
        top = self._open()
        try:
            with TreeWriter(order.root, Budget(order.size_limit)) as writer:
                put_all(top, writer.put)
        except entries.Refused as error:
            raise entries.Refused(f"directory: {self.path}: {error}") from None
        finally:
            os.close(top)


class CommandSource(TreeSource):
    """A command of the user's, which fills an empty directory: its last argument, and `TREE` in its environment."""

    KIND = "command"

    def __init__(self, given: dict[str, Any]) -> None:
        super().__init__(given)
        self.argv: list[str] = list(given["argv"])
        if not self.argv or not all(self.argv[:1]) or any("\0" in word for word in self.argv):
            raise TargetError("command.argv: must name a program")
        if "/" in self.argv[0]:
            _refuse_relative(self.argv[0], "command.argv")
        self.environment = {str(name): str(value) for name, value in (given.get("environment") or {}).items()}

    def describe(self) -> str:
        return f"command {self.argv[0]}"

    def refuse(self) -> None:
        if shutil.which(self.argv[0]) is None:
            raise TargetError(f"command.argv: {self.argv[0]} is no program on this host")

    def make(self, order: Order) -> None:
        environment = {"SOURCE_DATE_EPOCH": str(DAY), **self.environment, "TREE": order.root, "TMPDIR": order.scratch}
        tools.run_apart([*self.argv, order.root], environment, order.scratch, order.timeout, f"command: {self.argv[0]}")


class MmdebstrapSource(TreeSource):
    """A distribution of the Debian family, installed by mmdebstrap from its packages."""

    KIND = "mmdebstrap"

    def __init__(self, given: dict[str, Any]) -> None:
        super().__init__(given)
        self.suite = str(given["suite"])
        for key in ("suite", "variant", "packages", "mirrors", "components", "keyrings"):
            values = given.get(key) or []
            for value in [values] if isinstance(values, str) else values:
                if value.startswith("-") or not value.strip() or "\n" in value or "\0" in value:
                    raise TargetError(f"mmdebstrap.{key}: {value!r} is of no use there: options belong into 'options'")
        for path in given.get("keyrings") or []:
            _refuse_relative(path, "mmdebstrap.keyrings")

    def describe(self) -> str:
        return f"mmdebstrap {self.suite}"

    def refuse(self) -> None:
        if shutil.which("mmdebstrap") is None:
            raise TargetError("mmdebstrap: is not on this host: install the package mmdebstrap")

    def argv(self, root: str) -> list[str]:
        """Return the command line that fills a directory."""
        given = self.given
        words = ["mmdebstrap", "--format=directory", f"--variant={given.get('variant') or 'minbase'}"]
        words += [f"--include={package}" for package in given.get("packages") or []]
        if given.get("components"):
            words.append("--components=" + ",".join(given["components"]))
        words += [f"--keyring={path}" for path in given.get("keyrings") or []]
        words += list(given.get("options") or [])
        return [*words, self.suite, root, *(given.get("mirrors") or [])]

    def make(self, order: Order) -> None:
        environment = {"SOURCE_DATE_EPOCH": str(DAY), "TMPDIR": order.scratch, "LC_ALL": "C.UTF-8"}
        tools.run_apart(self.argv(order.root), environment, order.scratch, order.timeout, "mmdebstrap", NOISE)
        _remove_copies(order.root)


def _remove_copies(root: str) -> None:
    """Remove the files of this host that mmdebstrap has copied to a tree. A link in place of its `etc` stays in it."""
    top = lookup.open_root(root)
    try:
        directory = lookup.open_below(top, "etc", lookup.DIRECTORY)
        try:
            for name in COPIES:
                with contextlib.suppress(FileNotFoundError):
                    if stat.S_ISREG(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
                        os.unlink(name, dir_fd=directory)
        finally:
            os.close(directory)
    except (FileNotFoundError, NotADirectoryError):
        pass  # a tree of some other packages
    finally:
        os.close(top)
