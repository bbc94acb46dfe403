# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The network files of a container: copies, which follow the host's where it shares the host's network (C11).

A bind mount follows the file that was there, and who changes one of these mostly puts a new file in its place. So what
a container sees is a copy in memory, mounted read-only, and the copy is brought up to date without a restart: by each
run for the container, by who enters it, and by `run-container --refresh`.

The names of a container are in its copy of /etc/hosts, where the host's file does not have them. A container with a
network of its own has the names of its zones (N6, `neighbours`), and servers that it reaches (N7): its runtime
directory says which.

Root inside can read a copy so that the kernel holds its lock for as long as root inside likes, and who writes it waits,
past any signal. So a child that can be left behind looks at copies and writes them, one at a time for a container.
"""

from __future__ import annotations

import fcntl
import os
import stat

from .errors import LauncherError
from .excursion import in_child
from .neighbours import OWN_LINES, ZoneLines
from .paths import make_directory
from .targets import NETWORK_FILES, plain_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .contract import Mount

DIRECTORY = "network"  # of the copies, in the container's runtime directory
HOSTS, RESOLVER = "/etc/hosts", "/etc/resolv.conf"
# In the runtime directory of a container with a network of its own: its own text of HOSTS, and the servers of its copy
# of RESOLVER, or nothing for those of the host.
OWN = {HOSTS: "names", RESOLVER: "nameservers"}
WHOLE = "hosts"  # in that of a container which a former version of the collection has started: the whole text of HOSTS
WITHOUT_STUB = "/run/systemd/resolve/resolv.conf"  # what the host's stub asks, where that is systemd's
LOCAL = b"127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
SIZE_LIMIT = 1 << 24  # bytes of a file
READ_SIZE = 1 << 16  # of which so many are read at a time: the interpreter takes memory for as many as it asks for
MOMENT = 1.0  # seconds in which those of others are brought up to date
SECONDS = 3.0  # in which copies are brought up to date, unless somebody holds them
HELD = (
    "the copies of the host's network files (/etc/hosts and others) have not been brought up to date within %g s: a "
    "program in the container may hold them; restart the container when that stays so"
)
ABSENT = "%s: does not exist on the host, so it is empty inside until it does"


class CopiesHeld(LauncherError):
    """Somebody inside keeps the copies from being brought up to date."""


def is_followed(record: Mount) -> bool:
    """Return whether a mount record is one of the host's network files, at its own place."""
    path = plain_path(record.source) if record.is_bind else ""
    return path in NETWORK_FILES and plain_path(record.mount_point) == path


def directory_of(run_directory: str, records: list[Mount]) -> str | None:
    """Return the directory that has the copies for a container with these records, or None when it has none."""
    return os.path.join(run_directory, DIRECTORY) if any(map(is_followed, records)) else None


def prepare(run_directory: str, records: list[Mount], host_name: str, owner: int) -> list[str]:
    """Make the copies of those of the records that are followed; return warnings.

    Args:
        run_directory: the container's runtime directory.
        host_name: the container's.
        owner: the host's id of the container's root, to which a copy belongs.

    Raises:
        LauncherError: a file does not exist, and has to; or one cannot be copied.
    """
    warnings: list[str] = []
    directory = directory_of(run_directory, records)
    if directory is None:
        return warnings
    for record in filter(is_followed, records):
        path = plain_path(record.source)
        content = _wanted(path, run_directory, ZoneLines())
        if content is None:
            if record.required:
                raise LauncherError("%s: the source of the mapping to %s does not exist" % (path, path))
            warnings.append(ABSENT % path)
        if path == RESOLVER and _lacks_servers(run_directory, content):
            from . import resolver

            warnings.append(resolver.NONE)
        make_directory(directory)
        _write(os.path.join(directory, os.path.basename(path)), _shown(path, content, host_name), owner)
    return warnings


def refresh(run_directory: str, host_name: str, check: bool = False, seconds: float | None = None) -> list[str]:
    """Bring the copies of a running container up to date; return the paths of those that were not.

    What the host has no more stays as it was: a file that is replaced may be away for a moment.

    Args:
        check: only look.
        seconds: how long that may take; `SECONDS` when it is left out.

    Raises:
        LauncherError: a file cannot be copied, or a copy cannot be written.
        CopiesHeld: that has taken longer.
    """
    directory = os.path.join(run_directory, DIRECTORY)
    if not os.path.isdir(directory):
        return []
    seconds = SECONDS if seconds is None else seconds
    try:
        said = in_child(lambda: "\n".join(_refresh(directory, host_name, check, ZoneLines())), seconds, keep=())
    except TimeoutError:
        raise CopiesHeld(HELD % seconds) from None
    return said.split("\n") if said else []


def _refresh(
    directory: str, host_name: str, check: bool, zones: ZoneLines, paths: tuple[str, ...] = NETWORK_FILES
) -> list[str]:
    """Do the work of `refresh`, in a process of its own: one that is held keeps others from being held as well."""
    try:
        lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return []  # the container has just ended
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return [path for path in paths if _refresh_one(directory, path, host_name, check, zones)]
    finally:
        os.close(lock)


def _refresh_one(directory: str, path: str, host_name: str, check: bool, zones: ZoneLines) -> bool:
    """Bring one copy up to date. Return whether it was not."""
    copy = os.path.join(directory, os.path.basename(path))
    try:
        former = _read(copy, os.O_NOFOLLOW)
    except FileNotFoundError:
        return False  # not shared with this container
    content = _wanted(path, os.path.dirname(directory), zones)
    shown = b"" if content is None else _shown(path, content, host_name)
    if content is None or shown == former:
        return False
    if not check:
        try:
            _write(copy, shown)
        except FileNotFoundError:
            return False  # the container has just ended
    return True


def refresh_several(containers: list[tuple[str, str]], paths: tuple[str, ...] = NETWORK_FILES) -> None:
    """Bring the copies of some files of several running containers up to date, each given as for `refresh`.

    One process does it for all. When it takes long, another one goes on behind those that are done, and leaves out one
    with which it comes to no end in its time: somebody holds that copy, as a rule.
    """
    left = containers
    seconds = MOMENT / 2
    while left:
        done = _refresh_first(left, paths, seconds)
        left = left[done or 1 :]
        seconds = MOMENT / 4


def _refresh_first(containers: list[tuple[str, str]], paths: tuple[str, ...], seconds: float) -> int:
    """Do the work of `refresh_several`, as far as one process comes. Return how many containers are done."""
    read, write = os.pipe()

    def work() -> None:
        zones = ZoneLines()
        for run_directory, host_name in containers:
            directory = os.path.join(run_directory, DIRECTORY)
            try:
                if os.path.isdir(directory):
                    _refresh(directory, host_name, False, zones, paths)
            except (LauncherError, OSError):
                pass  # the next run for the container says why
            os.write(write, b".")

    try:
        in_child(work, seconds, keep=(write,))
    except (TimeoutError, LauncherError):
        os.set_blocking(read, False)  # the other end is open still
        try:
            return len(os.read(read, len(containers)))
        except BlockingIOError:
            return 0
    finally:
        os.close(read)
        os.close(write)
    return len(containers)


def _wanted(path: str, run_directory: str, zones: ZoneLines) -> bytes | None:
    """Return what a container is to have of a file, but for its own name; None where the host has no such file."""
    own = None
    if path in OWN:
        own = _content(os.path.join(run_directory, OWN[path]))
    if own is None and path == HOSTS:
        own = _content(os.path.join(run_directory, WHOLE))
    if own is None:
        return _content(path)
    if path == HOSTS:
        own_lines = _content(os.path.join(run_directory, OWN_LINES)) or b""
        return own + zones.seen_by(own.decode("utf-8", "replace"), own_lines.decode()).encode()
    if own or path != RESOLVER:
        return own
    from . import resolver

    host = _content(path) or b""
    text = resolver.reached_from_inside(host.decode("utf-8", "replace"))
    if not resolver.has_servers(text):
        behind = (_content(WITHOUT_STUB) or b"").decode("utf-8", "replace")
        text = resolver.reached_from_inside(behind) or text
    return text.encode()


def _lacks_servers(run_directory: str, content: bytes | None) -> bool:
    """Return whether the host has servers, and a container with a network of its own gets none of them."""
    if not os.path.exists(os.path.join(run_directory, OWN[RESOLVER])):
        return False
    from . import resolver

    host, own = (text.decode("utf-8", "replace") for text in (_content(RESOLVER) or b"", content or b""))
    return resolver.has_servers(host) and not resolver.has_servers(own)


def _content(path: str) -> bytes | None:
    """Return what the host's file holds, or None where there is none, or a link to nothing."""
    try:
        return _read(path, 0)
    except FileNotFoundError:
        return None


def _read(path: str, flags: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | flags)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise LauncherError("%s: is no file, so it cannot be shared with a container" % path)
        if status.st_size > SIZE_LIMIT:
            raise LauncherError("%s: is larger than %d bytes, and is not copied for a container" % (path, SIZE_LIMIT))
        text = b""
        while len(text) < SIZE_LIMIT:
            part = os.read(descriptor, READ_SIZE)
            if not part:
                break
            text += part
        return text
    finally:
        os.close(descriptor)


def _shown(path: str, content: bytes | None, host_name: str) -> bytes:
    """Return what the container is to see of a file."""
    if path != HOSTS:
        return content or b""
    return with_own_name(LOCAL if content is None else content, host_name)


def with_own_name(hosts: bytes, host_name: str) -> bytes:
    """Return the text of hosts(5) with a line for a container's names, for those that it does not have."""
    missing = [host_name] if "." not in host_name else [host_name, host_name.split(".")[0]]
    place = 0
    while place < len(hosts):  # not by all lines at once, of which an own text has its names first
        end = hosts.find(b"\n", place)
        line = hosts[place:end] if end >= 0 else hosts[place:]
        place = end + 1 if end >= 0 else len(hosts)
        known = line.partition(b"#")[0].lower().split()[1:]
        missing = [name for name in missing if name.lower().encode() not in known]
        if not missing:
            return hosts
    ended = not hosts or hosts.endswith(b"\n")
    return hosts + (b"" if ended else b"\n") + b"127.0.1.1 " + " ".join(missing).encode() + b"\n"


def _write(path: str, content: bytes, owner: int | None = None) -> None:
    """Write a copy in its place, for it is the file itself that is mounted.

    A reader sees old lines or new ones and, for a moment after these, empty ones: what is longer is cut off afterwards.

    Args:
        owner: to whom a copy is to belong that is made; None for one that has to be there.
    """
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | (0 if owner is None else os.O_CREAT)
    descriptor = os.open(path, flags, 0o644)
    try:
        if owner is not None:
            os.fchmod(descriptor, 0o644)
            os.fchown(descriptor, owner, owner)
        written = 0
        padded = content.ljust(os.fstat(descriptor).st_size, b"\n")
        while written < len(padded):
            written += os.pwrite(descriptor, padded[written:], written)
        os.ftruncate(descriptor, len(content))
    finally:
        os.close(descriptor)
