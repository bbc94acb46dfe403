# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The system-call filter of a system as this host compiles it: a part of the system's name.

It is compiled at every run, which takes half a millisecond. So nothing that is remembered can be out of date when
libseccomp is installed, upgraded or removed.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from ..launcher import confine, quota_calls, seccomp
from ..launcher.contract import Security
from ..state.target import TargetError
from .distribution import DEBIAN_PACKAGES

if TYPE_CHECKING:
    from pathlib import Path

INSTRUCTION = "=HBBI"  # struct sock_filter, linux/filter.h
NO_FILTER = (
    "the system-call filter could not be made, because libseccomp is not on this host; "
    f"the container will run without it. Install the package {DEBIAN_PACKAGES.libseccomp}"
)


def compiled(security: Security) -> bytes | None:
    """Return the filter of a container with these settings, or None when the host has no libseccomp.

    :param security: the settings in the system's specification.
    :raises TargetError: libseccomp refused a rule.
    """
    try:
        return seccomp.compile_filter(security)
    except OSError as error:
        raise TargetError(f"libseccomp cannot make the system-call filter: {error}; nothing was changed") from error


def refuses_subvolumes(system: Path) -> bool:
    """Return whether the filter of a system on the host keeps programs inside from making subvolumes of a btrfs.

    That of a system which a former version of this collection has written, to which a container goes back, does not.
    """
    try:
        program = (system / confine.FILTER).read_bytes()
    except FileNotFoundError:
        return False
    if len(program) % struct.calcsize(INSTRUCTION):
        return False  # it is damaged
    compared = {operand for _code, _true, _false, operand in struct.iter_unpack(INSTRUCTION, program)}
    return compared.issuperset(quota_calls.BTRFS_REFUSED)


def warnings(seccomp_filter: bytes | None) -> list[str]:
    """Return what a person should know about the filter."""
    return [NO_FILTER] if seccomp_filter is None else []
