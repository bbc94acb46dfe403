# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""An archive of the controller's as the source of a tree. The action plugin sends it in pieces, over the connection."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import IO, Any, Iterator

from ..launcher.kinds import ContractError
from ..state.target import TargetError, explain, make_private_directory
from ..state.tree_records import Piece, TreeArchive
from .arriving import Arrival
from .fetching import check_checksum
from .sources import Order, PackedSource

SPARE = 16 << 20
"""Bytes that stay free on the file system of trees, beside those of an archive and its tree."""


class SentSource(PackedSource):
    """An archive of the controller's.

    :param given: `path`, that on the controller; `archive`, the fields of its `TreeArchive`; perhaps `piece`, those of
        a `Piece` of it that was sent.
    """

    KIND = "controller"
    is_fixed = True

    def __init__(self, given: dict[str, Any]) -> None:
        super().__init__(given)
        self.path = str(given["path"])
        if given.get("archive") is None:
            raise TargetError("controller: needs this collection's action plugin, which sends the archive")
        try:
            self.archive = TreeArchive.read(given["archive"])
            self.piece = Piece.read(given["piece"]) if given.get("piece") is not None else None
        except ContractError as error:
            raise TargetError(f"controller: {self.path} is sent in an unknown way: {error}") from None
        self.sum = check_checksum(self.archive.checksum, "controller")
        self.content, self.facts = self.archive.content, self.archive.facts
        self._is_damaged = False

    def digest(self) -> str:
        text = json.dumps([self.KIND, self.content or self.sum])
        return hashlib.sha256(text.encode()).hexdigest()

    def describe(self) -> str:
        return f"{self.KIND} {self.path}"

    def take(self, kept: Path, timeout: float) -> None:
        if self.piece is None:
            return
        arrival = Arrival(kept, self.sum, timeout)
        try:
            self._is_damaged = not arrival.take(self.piece)
        except OSError as error:
            arrival.remove()  # a full disk would stay full
            said = f"{self.path} cannot be received: {explain(error)}; what had come of it was removed"
            raise TargetError(f"controller: {said}") from None

    def lacking(self, kept: Path, size_limit: int) -> dict[str, Any] | None:
        there = Arrival(kept, self.sum, 0.0).length()
        if there >= self.archive.size:
            return None
        if self.archive.size > size_limit:
            said = f"has {self.archive.size} bytes, more than {size_limit}: set size_limit to more if it is meant to"
            raise TargetError(f"controller: {self.path} {said}")
        make_private_directory(kept)
        status = os.statvfs(kept)
        needed, free = self.archive.size - there + self.facts.size + SPARE, status.f_bavail * status.f_frsize
        if needed > free:
            said = f"needs {needed} bytes on the file system of {kept}, which has {free} left: make room there"
            raise TargetError(f"controller: {self.path} {said}")
        return {"received": there, "damaged": self._is_damaged}

    @contextlib.contextmanager
    def open(self, order: Order) -> Iterator[IO[bytes]]:
        arrival = Arrival(Path(order.kept), self.sum, order.timeout)
        with arrival.whole(f"controller: {self.path}") as file:
            yield file
