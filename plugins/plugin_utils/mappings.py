# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mappings of files and directories of the host, alone."""

from __future__ import annotations

import typing as t

from .errors import DeclarationError
from .records import FileSystemMapping
from .validation import describe, plain

PLACE = "mapping"


def file_system_mapping(specification: t.Any, writable: t.Any = False) -> dict[str, t.Any]:
    """Return the mapping {source, target, writable} that the text SOURCE[=TARGET] describes."""
    text = plain(specification, PLACE)
    if not isinstance(text, str):
        raise DeclarationError(PLACE, f"must be SOURCE[=TARGET], not {describe(text)}")
    source, divider, target = text.partition("=")
    mapping = FileSystemMapping.from_mapping(
        {"source": source, "target": target if divider else source, "writable": writable}, PLACE
    )
    return mapping.to_mapping()


def bind_mount(mapping: t.Any) -> dict[str, t.Any]:
    """Return the file system that realises a mapping (C10)."""
    return FileSystemMapping.from_mapping(mapping, PLACE).bind_mount().to_mapping()
