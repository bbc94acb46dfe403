# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table of what a tree can be made from."""

from __future__ import annotations

from .images import ImageSource
from .sent import SentSource
from .sources import ArchiveSource, CommandSource, DirectorySource, MmdebstrapSource, TreeSource

TREE_SOURCES: dict[str, type[TreeSource]] = {
    kind.KIND: kind
    for kind in (MmdebstrapSource, ArchiveSource, SentSource, ImageSource, DirectorySource, CommandSource)
}
"""The kinds, by the names of the module's options for them."""
