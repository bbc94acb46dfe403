# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The images of hosts that are kept on this machine: each is made once, however many runs of the tests need it."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import typing as t
from pathlib import Path

from ansible_collections.unshare.container.tests.hosts import making
from ansible_collections.unshare.container.tests.hosts.making import Image
from ansible_collections.unshare.container.tests.hosts.recipes import Recipe

CACHE = Path(__file__).resolve().parents[2] / ".cache/hosts"

Maker = t.Callable[[Recipe, Path, Path], None]


def fingerprint(recipe: Recipe) -> str:
    """Return a hash of all that decides what is in an image."""
    described = json.dumps(dataclasses.asdict(recipe), sort_keys=True)
    return hashlib.sha256(described.encode() + Path(making.__file__).read_bytes()).hexdigest()[:16]


class Images:
    """The images, in a directory of this machine.

    An image is made in a directory beside the others, and gets its name when it is whole.

    Attributes:
        cache: the directory that holds them.
        make: what makes one, as `making.make_image` does.
        used: the images that this run uses, by their directories, with the descriptor that says so to other runs.
    """

    def __init__(self, cache: Path = CACHE, make: Maker = making.make_image) -> None:
        self.cache = cache
        self.make = make
        self.used: dict[Path, int] = {}

    def of(self, recipe: Recipe) -> Image:
        """Return the image of a recipe, and make it when there is none. Other runs that need it wait meanwhile.

        Raises:
            ImageError: it cannot be made.
        """
        directory = self.cache / f"{recipe.name}-{fingerprint(recipe)}"
        if directory not in self.used:
            self.cache.mkdir(parents=True, exist_ok=True)
            with self.alone(recipe):
                self.remove_others(recipe, directory)
                if not directory.is_dir():
                    self.make_whole(recipe, directory)
                self.used[directory] = lock(directory, fcntl.LOCK_SH)
        return Image(recipe, directory)

    @contextlib.contextmanager
    def alone(self, recipe: Recipe) -> t.Iterator[None]:
        """Have this process alone make, and remove, the images of a recipe's name."""
        path = self.cache / f"{recipe.name}.lock"
        path.touch()
        descriptor = lock(path, fcntl.LOCK_EX)
        try:
            yield
        finally:
            os.close(descriptor)

    def make_whole(self, recipe: Recipe, directory: Path) -> None:
        """Make an image, which gets its name when all of it is on the disk."""
        prefix = f"{recipe.name}-unfinished-"
        with tempfile.TemporaryDirectory(prefix=prefix, dir=self.cache, ignore_cleanup_errors=True) as place:
            unfinished, scratch = Path(place, "image"), Path(place, "scratch")
            unfinished.mkdir()
            scratch.mkdir()
            self.make(recipe, unfinished, scratch)
            for path in unfinished.iterdir():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
            unfinished.rename(directory)

    def remove_others(self, recipe: Recipe, current: Path) -> None:
        """Remove images that an older recipe has made and no run uses, and what a run that was killed has left."""
        for path in self.cache.glob(f"{recipe.name}-*"):
            if path != current:
                with contextlib.suppress(BlockingIOError):
                    os.close(lock(path, fcntl.LOCK_EX | fcntl.LOCK_NB))
                    shutil.rmtree(path)

    def close(self) -> None:
        """Let other runs remove what this one has used."""
        while self.used:
            os.close(self.used.popitem()[1])


def lock(path: Path, operation: int) -> int:
    """Lock a file or directory (flock(2)), and return the descriptor that holds the lock."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, operation)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
