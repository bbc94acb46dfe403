# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The store of a container on its host, opened for a start."""

from __future__ import annotations

import os

from . import mounts
from .errors import LauncherError
from .paths import STATE_DIRECTORY
from .targets import plain_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .contract import Store


class Source:
    """The store on the host, and the tree that it is part of. Both are opened once, without links on the way.

    Somebody, such as root inside where they lie in a writable mapping, may be able to replace them at any time. An open
    descriptor keeps naming the same directory.

    Attributes:
        tree: descriptor (`O_PATH`) of the directory that the store is in. The links in that are the tree's own.
        store: descriptor (`O_PATH`) of the store.
        name: its name in the tree.

    Raises:
        LauncherError: it does not exist, or a link is on the way.
        OSError: it cannot be opened.
    """

    def __init__(self, store: Store) -> None:
        path = plain_path(store.source)
        above, _slash, self.name = path.rpartition("/")
        try:
            self.tree = mounts.open_source(above or "/", False, STATE_DIRECTORY)
            try:
                self.store = mounts.open_unlinked(self.tree, self.name, path)
            except BaseException:
                os.close(self.tree)
                raise
        except FileNotFoundError:
            raise LauncherError("%s: the store does not exist" % path) from None
        except LauncherError as error:
            raise LauncherError("the store cannot be bound to %s: %s" % (store.target, error)) from error

    def close(self) -> None:
        os.close(self.store)
        os.close(self.tree)
