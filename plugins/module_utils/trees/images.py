# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A tree from an image: an OCI layout, or what `docker save` and `podman save` write, as a directory or an archive.

The image is found through documents of JSON, each named by its digest and held to it. Its layers are archives. Each is
read twice: first it is held to its digest and takes away what its whiteouts name, then it adds what it has. So a
whiteout hides what lower layers have, and nothing of its own, wherever in the layer it stands.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import platform
import re
import stat
from typing import IO, Any, NamedTuple

from ..launcher import lookup
from ..state.target import TargetError
from ..state.tree_records import plain_words
from . import entries
from .archives import Archive
from .entries import Budget, Refused, TreeEntry, path_in_tree, shown_name
from .fetching import held_to
from .sources import WHITEOUT, ArchiveSource, Order
from .writer import InTheWay, TreeWriter

OPAQUE = WHITEOUT + WHITEOUT + ".opq"
"""The name of the whiteout that hides all that lower layers have in its directory."""

INDEX, SAVED = "index.json", "manifest.json"
DOCUMENT_LIMIT = 1 << 22  # bytes of a document of JSON
LAYERS_LIMIT, DEPTH_LIMIT = 1000, 4
SHOWN_NAMES = 20  # of images, in a message
NAME = "org.opencontainers.image.ref.name"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "ppc64le": "ppc64le", "s390x": "s390x", "riscv64": "riscv64"}


class Layer(NamedTuple):
    """A layer of an image.

    :ivar path: its file in the image.
    :ivar digest: that of the file, ALGORITHM:DIGITS; empty where only the next one is known.
    :ivar unpacked: that of the archive in it.
    """

    path: str
    digest: str
    unpacked: str


class ImageSource(ArchiveSource):
    """An image: a directory, or an archive as that of `ArchiveSource`."""

    KIND = "image"

    def refuse(self) -> None:
        if self.path is not None and os.path.isdir(self.path):
            return
        super().refuse()

    def make(self, order: Order) -> None:
        place = self.describe().replace(" ", ": ", 1)
        if self.path is not None and os.path.isdir(self.path):
            if self.checksum:
                raise TargetError("image.checksum: is that of a file, and image.path is a directory")
            directory = self.path
        else:
            directory = os.path.join(order.scratch, "image")
            os.mkdir(directory, 0o700)
            self.unpack(order, place, directory, lambda entry: entry)
        root = lookup.open_root(directory)
        try:
            image = Image(root, self.given.get("reference"))
            with TreeWriter(order.root, Budget(order.size_limit)) as writer:
                left = order.size_limit  # of all layers, whose content may be none of the tree's in the end
                for layer in image.layers():
                    left -= _apply(image, layer, writer, left)
        except Refused as error:
            raise Refused(f"{place}: {error}") from None
        finally:
            os.close(root)


class Image:
    """An image in a directory.

    :param root: descriptor of the directory.
    :param reference: which of several it is, by its name or tag.
    """

    def __init__(self, root: int, reference: str | None) -> None:
        self.root = root
        self.reference = reference

    def open(self, path: str) -> IO[bytes]:
        """Return a file of the image, open. Raise Refused when there is none."""
        try:
            descriptor = lookup.open_below(self.root, path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            raise Refused(f"{shown_name(path)} of the image cannot be read: {error.strerror}") from None
        file = open(descriptor, "rb")  # noqa: SIM115  the caller closes it
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            file.close()
            raise Refused(f"{shown_name(path)} of the image is no file")
        return file

    def layers(self) -> list[Layer]:
        """Return the layers, lowest first. Raise Refused when they are not what the documents say."""
        try:
            try:
                self.open(INDEX).close()
            except Refused:
                self._refuse_neither()
                found = self._saved()
            else:
                found = self._described(self._json(INDEX, self._read(INDEX)), DEPTH_LIMIT)
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise Refused(f"its documents are not those of an image ({type(error).__name__}: {error})") from error
        if not 0 < len(found) <= LAYERS_LIMIT:
            raise Refused(f"it has {len(found)} layers")
        return found

    def _refuse_neither(self) -> None:
        try:
            self.open(SAVED).close()
        except Refused:
            raise Refused(f"has neither {INDEX!r}, as an OCI layout, nor {SAVED!r}, as `docker save` writes") from None

    def _described(self, index: Any, depth: int) -> list[Layer]:
        """Return the layers of the image that an index of the OCI names."""
        chosen = self._choose(index["manifests"])
        document = self._blob(chosen)
        if "manifests" in document:
            if depth == 0:
                raise Refused("its indexes name indexes without an end")
            self.reference = None  # it has led here
            return self._described(document, depth - 1)
        layers = document["layers"]
        unpacked = self._blob(document["config"])["rootfs"]["diff_ids"]
        self._refuse_other_count(len(layers), len(unpacked))
        return [Layer(_blob_path(each["digest"]), each["digest"], diff) for each, diff in zip(layers, unpacked)]

    def _choose(self, manifests: list[Any]) -> Any:
        """Return the one of several that was asked for, or is for this machine."""
        found = manifests
        if self.reference is not None:
            found = [each for each in found if (each.get("annotations") or {}).get(NAME) == self.reference]
        here = ARCHITECTURES.get(platform.machine(), platform.machine())
        if len(found) > 1:
            found = [each for each in found if (each.get("platform") or {}).get("architecture") == here]
        if len(found) == 1:
            return found[0]
        names = [str((each.get("annotations") or {}).get(NAME)) for each in manifests]
        known = ", ".join([plain_words(name)[: entries.SHOWN] for name in names if name != "None"][:SHOWN_NAMES])
        if not found:
            raise Refused(f"it has no image {self.reference!r} for {here}; it has {known or 'none with a name'}")
        raise Refused(f"it has several images: name one of {known or 'them'} in image.reference")

    def _saved(self) -> list[Layer]:
        """Return the layers of the image that `docker save` describes."""
        images = self._json(SAVED, self._read(SAVED))
        if self.reference is not None:
            images = [each for each in images if self.reference in (each.get("RepoTags") or [])]
        if len(images) != 1:
            what = "has no image" if not images else "has several images, and image.reference is to name one, not"
            raise Refused(f"it {what} {self.reference!r}")
        path, layers = images[0]["Config"], images[0]["Layers"]
        text = self._read(path)
        named = re.search("[0-9a-f]{64}", path)
        if named and hashlib.sha256(text).hexdigest() != named.group():
            raise Refused(f"{shown_name(path)} of the image has another digest than its name says")
        unpacked = self._json(path, text)["rootfs"]["diff_ids"]
        self._refuse_other_count(len(layers), len(unpacked))
        return [Layer(path_in_tree(each), "", diff) for each, diff in zip(layers, unpacked)]

    @staticmethod
    def _refuse_other_count(layers: int, named: int) -> None:
        if layers != named:
            raise Refused(f"its manifest has {layers} layers, and its configuration names {named}")

    def _blob(self, descriptor: Any) -> Any:
        """Return the document of JSON that a descriptor of the OCI names, held to its digest."""
        path = _blob_path(descriptor["digest"])
        with self.open(path) as file:
            if os.fstat(file.fileno()).st_size > DOCUMENT_LIMIT:
                raise Refused(f"{shown_name(path)} of the image is larger than {DOCUMENT_LIMIT} bytes")
            _hold(file, descriptor["digest"], path)
            return self._json(path, file.read(DOCUMENT_LIMIT))

    def _read(self, path: str) -> bytes:
        with self.open(path_in_tree(path)) as file:
            text = file.read(DOCUMENT_LIMIT + 1)
        if len(text) > DOCUMENT_LIMIT:
            raise Refused(f"{shown_name(path)} of the image is larger than {DOCUMENT_LIMIT} bytes")
        return text

    @staticmethod
    def _json(path: str, text: bytes) -> Any:
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise Refused(f"{shown_name(path)} of the image is no JSON ({error})") from None


def _blob_path(digest: Any) -> str:
    algorithm, _colon, digits = str(digest).partition(":")
    if algorithm not in ("sha256", "sha512") or not re.fullmatch("[0-9a-f]{64}|[0-9a-f]{128}", digits):
        raise Refused(f"{shown_name(str(digest))} is no digest of a part of an image")
    return f"blobs/{algorithm}/{digits}"


def _hold(file: IO[bytes], digest: str, path: str) -> None:
    try:
        held_to(file, digest, f"{shown_name(path)} of the image")
    except TargetError as error:
        raise Refused(str(error)) from None


def _apply(image: Image, layer: Layer, writer: TreeWriter, limit: int) -> int:
    """Apply a layer to the tree of those below it. Return its bytes, unpacked."""
    size = 0
    with image.open(layer.path) as file:
        if layer.digest:
            _hold(file, layer.digest, layer.path)
    for act in (_take_away, _add):
        with image.open(layer.path) as file, Archive(file, f"its layer {shown_name(layer.path)}", limit) as archive:
            archive.each(functools.partial(act, writer))
            found = f"sha256:{archive.stream.digest.hexdigest()}"
            if found != layer.unpacked:
                raise Refused(f"its layer {shown_name(layer.path)} unpacks to {found}, and not to {layer.unpacked}")
            size = archive.stream.tell()
    return size


def _take_away(writer: TreeWriter, entry: TreeEntry) -> None:
    """Take away what lower layers have, for a whiteout.

    Lower layers have nothing where a link or a file of theirs is in the way; `_add` refuses one that stays there.
    """
    hidden = hidden_by(entry)
    if hidden is None:
        return
    with contextlib.suppress(InTheWay):
        if not hidden.content:
            writer.remove(hidden.path)
            return
        for name in writer.names(hidden.path):
            writer.remove(f"{hidden.path}/{name}" if hidden.path else name)


def _add(writer: TreeWriter, entry: TreeEntry) -> None:
    """Add what the layer has itself. Raise Refused for a whiteout that is in no directory of the tree."""
    if hidden_by(entry) is None:
        writer.put(entry)
    else:
        writer.check_place(entry.path)


class Hidden(NamedTuple):
    """What a whiteout hides: the path, or of a directory all that is in it."""

    path: str
    content: bool


def hidden_by(entry: TreeEntry) -> Hidden | None:
    """Return what an entry of a layer hides, or None when it is no whiteout.

    :raises Refused: it is a whiteout that hides nothing a tree can have.
    """
    above, _slash, name = entry.path.rpartition("/")
    below = [part for part in above.split("/") if part.startswith(WHITEOUT)]
    if below:
        raise Refused(f"{shown_name(entry.path)} lies below {shown_name(below[0])}, which is a whiteout")
    if not name.startswith(WHITEOUT):
        return None
    hidden = name[len(WHITEOUT) :]
    if name == OPAQUE:
        found = Hidden(above, True)
    elif hidden in ("", ".", "..") or hidden.startswith(WHITEOUT):
        raise Refused(f"{shown_name(entry.path)} is a whiteout of what no tree has")
    else:
        found = Hidden(f"{above}/{hidden}" if above else hidden, False)
    if entry.kind not in (entries.FILE, entries.HARD_LINK):
        raise Refused(f"{shown_name(entry.path)} is a whiteout, and a {entry.kind}: it should be an empty file")
    return found
