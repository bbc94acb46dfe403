# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Credentials for a container's PID 1 (P6), by systemd's container interface: files below $CREDENTIALS_DIRECTORY.

Some are part of the system, as secret files. The others are the host's, and read at each start. All lie in a file
system of their own that is never swapped out, is read-only, and that only root inside can enter.
"""

from __future__ import annotations

import errno
import os
import stat

from . import linux, mount_calls, mounts
from .errors import LauncherError
from .targets import CREDENTIALS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .contract import Specification
    from .needs import Credential

LARGEST = 1 << 20  # bytes of one, and of all together, as with systemd
# Where systemd looks for them, in this order (systemd.exec(5), LoadCredential=).
STORES = ("/etc/credstore", "/run/credstore", "/usr/local/lib/credstore", "/usr/lib/credstore")
TOOL = "systemd-creds"
TOOLS = ("/usr/bin/" + TOOL, "/bin/" + TOOL)
NO_TOOL = "this host has no %s (systemd 250 or newer), which decrypts it: install it, or use another source" % TOOL
TIMEOUT = 30.0  # seconds in which it must be decrypted; a TPM takes its time
THROUGH_LINK = "passes through a symbolic link, and what is read might be another file: name the file itself"


class NoCredential(LauncherError):
    """A credential that cannot be had from the host; the message begins with `credentials.NAME`."""


class MissingCredential(NoCredential):
    """The host does not have it, or not yet."""


def read_all(specification: Specification, system: str, root: str = "/") -> dict[str, bytes]:
    """Return the credentials of a container by their names.

    Args:
        system: directory of the system.
        root: that of the host.

    Raises:
        NoCredential: one cannot be had.
    """
    found = {}
    for credential in specification.credentials:
        if credential.source == "system":
            path = os.path.join(system, "root", path_of(credential.name).lstrip("/"))
            found[credential.name] = _read(path, path, credential.name)
        else:
            found[credential.name] = of_host(credential, root)
    refuse_size(sum(map(len, found.values())))
    return found


def refuse_size(size: int) -> None:
    """Refuse credentials that are larger than systemd takes, all together."""
    if size > LARGEST:
        raise NoCredential("credentials: they have %d bytes together, and may have %d" % (size, LARGEST))


def path_of(name: str) -> str:
    """Return the path of a credential inside."""
    return CREDENTIALS + "/" + name


def of_host(credential: Credential, root: str = "/") -> bytes:
    """Return a credential that the host keeps.

    Raises:
        NoCredential: it cannot be had.
    """
    if credential.source == "path":
        return _read(os.path.join(root, credential.place.lstrip("/")), credential.place, credential.name)
    encrypted = credential.source == "encrypted"
    stores = [store + ".encrypted" if encrypted else store for store in STORES]
    for store in stores:
        path = "%s/%s" % (store, credential.place)
        try:
            content = _read(os.path.join(root, path.lstrip("/")), path, credential.name)
        except MissingCredential:
            continue
        return _decrypt(content, credential) if encrypted else content
    message = "credentials.%s: this host has no '%s' in %s"
    raise MissingCredential(message % (credential.name, credential.place, " or ".join(stores)))


def _read(path: str, shown: str, name: str) -> bytes:
    """Return the content of a file of the host's. No link is followed: a container may have put it on the way."""
    place = "credentials.%s: %s " % (name, shown)
    try:
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
        descriptor = linux.openat2(linux.AT_FDCWD, path, flags, linux.RESOLVE_NO_SYMLINKS)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise MissingCredential(place + "does not exist on this host") from None
        said = THROUGH_LINK if error.errno == errno.ELOOP else "cannot be read: %s" % error.strerror
        raise NoCredential(place + said) from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NoCredential(place + "is no regular file")
        content = bytearray()
        while len(content) <= LARGEST:
            part = os.read(descriptor, 1 << 16)
            if not part:
                return bytes(content)
            content += part
        raise NoCredential(place + "is larger than %d bytes" % LARGEST)
    finally:
        os.close(descriptor)


def _decrypt(content: bytes, credential: Credential) -> bytes:
    """Return what the host's systemd-creds makes of an encrypted credential, by the host's own key or its TPM."""
    import subprocess

    place = "credentials.%s: " % credential.name
    tool = next((path for path in TOOLS if os.access(path, os.X_OK)), None)
    if tool is None:
        raise NoCredential(place + NO_TOOL)
    command = [tool, "decrypt", "--name=" + credential.place, "-", "-"]
    try:
        done = subprocess.run(command, input=content, capture_output=True, timeout=TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoCredential(place + "%s: %s" % (TOOL, type(error).__name__)) from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().split("\n")[-1]
        raise NoCredential(place + "%s cannot decrypt '%s' on this host: %s" % (TOOL, credential.place, said))
    if len(done.stdout) > LARGEST:
        raise NoCredential(place + "is larger than %d bytes" % LARGEST)
    return done.stdout


def attach(tree: mounts.Tree, contents: dict[str, bytes]) -> None:
    """Mount the credentials in a container's tree. They are root's inside, as whom this process makes files."""
    quiet = mount_calls.MOUNT_ATTR_NOSUID | mount_calls.MOUNT_ATTR_NOEXEC
    mount = mounts.filesystem("ramfs", [("mode", "0500")], quiet)
    try:
        for name, content in contents.items():
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            descriptor = os.open(name, flags, 0o400, dir_fd=mount)
            try:
                while content:
                    content = content[os.write(descriptor, content) :]
            finally:
                os.close(descriptor)
        mount_calls.mount_setattr(mount, quiet | mount_calls.MOUNT_ATTR_NODEV | mount_calls.MOUNT_ATTR_RDONLY, False)
    except BaseException:
        os.close(mount)
        raise
    tree.attach(mount, CREDENTIALS)
