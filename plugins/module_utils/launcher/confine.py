# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rights that PID 1, and every command that enters later, gives up before it runs.

Entering a user namespace gives a full capability bounding set (user_namespaces(7)), so the limits are set after
that, in a start and in every entry alike.
"""

from __future__ import annotations

import os
import sys

from . import linux
from .errors import LauncherError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .contract import Security
    from .identity import Identity

# Capabilities (linux/capability.h) that no init needs: they could only reach what the host owns. SETFCAP would let a
# file in a writable mapping carry capabilities for a root that is not the container's; SYS_BOOT stays, it ends only the
# container.
DROPPED = {
    "SYS_MODULE": 16,
    "SYS_RAWIO": 17,
    "SYS_TIME": 25,
    "AUDIT_WRITE": 29,
    "AUDIT_CONTROL": 30,
    "SETFCAP": 31,
    "MAC_OVERRIDE": 32,
    "MAC_ADMIN": 33,
    "SYSLOG": 34,
    "WAKE_ALARM": 35,
    "BLOCK_SUSPEND": 36,
    "AUDIT_READ": 37,
    "PERFMON": 38,
    "BPF": 39,
    "CHECKPOINT_RESTORE": 40,
}
FILTER = "seccomp.bpf"  # in a system's directory
SHA_256 = "_sha2" if sys.version_info >= (3, 12) else "_sha256"  # the interpreter's own module of that function
# What a container must have to run containers of its own: it maps its uid 0 into a user namespace (Linux 5.12).
NESTING_KEEPS = ("SETFCAP",)


CAPABILITIES = 64  # as many as the kernel's sets have room for
ALL_CAPABILITIES = (1 << CAPABILITIES) - 1

AS_ROOT = (
    "private_users: identity: root inside is root of this host wherever a file of the host can be reached; "
    "run nothing there that is not trusted with the host"
)


def give_up(security: Security, bound: int = ALL_CAPABILITIES) -> None:
    """Take from the calling process, root in the container's namespaces, the rights that no program inside may have.

    Args:
        security: the settings in the system's specification.
        bound: a bit mask; no capability outside it is kept.
    """
    leave_session_keyring()
    nesting = security.nesting
    kept = bound
    for name, number in DROPPED.items():
        if not (nesting and name in NESTING_KEEPS):
            kept &= ~(1 << number)
    for number in (number for number in range(CAPABILITIES) if not kept >> number & 1):
        if not linux.drop_from_bounding_set(number):
            break  # nor does this kernel know a higher one
    linux.prctl(linux.PR_CAP_AMBIENT, linux.PR_CAP_AMBIENT_CLEAR_ALL)
    linux.capset(kept, kept, 0)
    if security.no_new_privileges:
        linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)


def leave_session_keyring() -> None:
    """Give the calling process a new session keyring, without the caller's keys."""
    try:
        linux.join_new_session_keyring()
    except PermissionError:
        pass  # this is run in a container itself, whose filter lets nobody have any keyring


def filter_calls(filter_program: bytes | None) -> None:
    """Refuse system calls to the calling process and all that come of it, from now on."""
    if filter_program is not None:
        linux.load_seccomp_filter(filter_program)


def given_up(security: Security, ids: Identity, filter_program: bytes | None) -> list[str]:
    """Return one warning for each part of the isolation that the container lacks.

    Raises:
        LauncherError: what would be left is no container.
    """
    warnings = []
    if ids.base == 0 and not ids.nested:
        if security.nesting:
            raise LauncherError(
                "security.nesting: not with private_users: identity; without the masks root inside could reconfigure "
                "the host's kernel. Let the container have ids of its own (auto)"
            )
        warnings.append(AS_ROOT)
    if filter_program is None:
        warnings.append(
            "system-call filter: none, as this host had no libseccomp (2.4 or newer) when the system was staged; "
            "install it, and stage the system again"
        )
    return warnings


def read_filter(system: str, digest: str) -> bytes | None:
    """Return the system-call filter that was compiled for a system on this host, or none where the host could not.

    Args:
        digest: what the system's specification says of it; a former version's says nothing.

    Raises:
        LauncherError: the filter is not there, or not as it was written.
    """
    path = os.path.join(system, FILTER)
    try:
        with open(path, "rb") as file:
            filter_program = file.read()
    except FileNotFoundError:
        if not digest:
            return None
        raise LauncherError("%s: is missing; stage the system again" % path) from None
    except OSError as error:
        raise LauncherError("%s: cannot be read: %s; stage the system again" % (path, error.strerror)) from error
    if not filter_program or (digest and digest_of(filter_program) != digest):
        form = "%s: is damaged: it is not the system-call filter that was made for this system; stage the system again"
        raise LauncherError(form % path)
    return filter_program


def digest_of(filter_program: bytes) -> str:
    """Return the SHA-256 of a filter in hexadecimal digits.

    The interpreter's own function is taken where it is there: to import `hashlib` costs a tenth of a launch, and so
    does each search for a module that no directory has.
    """
    try:
        return str(__import__(SHA_256).sha256(filter_program).hexdigest())
    except ImportError:
        import hashlib

        return hashlib.sha256(filter_program).hexdigest()


def is_filtered(status: str) -> bool:
    """Return whether a process has a system-call filter, by the text of its `/proc/PID/status`."""
    return "\nSeccomp:\t2\n" in status
