# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The execution of a container's program by a process of ours in the container: the last thing that process does.

The program is found below the container's root, and executed by descriptor. By its path it could be a link to
`/proc/self/exe`, or a script whose interpreter is that: the host's own Python would run as a program of the container,
and the container could overwrite it (CVE-2019-5736). So the kernel gets no choice: this module reads the first line of
a script as the kernel would, and looks up the interpreter that a binary names. Files that this cannot settle are left
to the container's own shell: a program of another machine or kind, which binfmt_misc may know; a binary that may not be
read; one whose interpreter is a link of /proc.

Root inside may change a binary between this look-up and execve. The kernel then maps the host's Python into a process
of the container, which can read it and not write to it.
"""

from __future__ import annotations

import errno
import os
import stat

from . import elf, linux, lookup

SCRIPTS_LIMIT = 5  # a script whose interpreter is a script…, as in the kernel
LINE_LIMIT = 256  # bytes of a first line that count (BINPRM_BUF_SIZE)
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"  # of every program that is given none
SHELL = "/bin/sh"
BY_SHELL = ("sh", "-c", 'exec "$0" "$@"')
NULL_DEVICE = (1, 3)


class Program:
    """A file that can be executed, and its arguments, with those that a script's first line adds.

    Attributes:
        directory: descriptor of the directory in which it is. It is closed on execution, so that neither a script that
            takes the program's place meanwhile nor a program of binfmt_misc could be given the path of the file.
        name: its name there.
        arguments: the first is what the program is told of its own name.
        path: by which it was found, for an error.
    """

    def __init__(self, directory: int, name: str, arguments: list[str], path: str) -> None:
        self.directory = directory
        self.name = name
        self.arguments = arguments
        self.path = path

    def execute(self, environment: dict[str, str]) -> None:
        """Execute the program in place of this process. Return by an error only."""
        try:
            linux.execveat(self.directory, self.name, self.arguments, environment)
        except OSError as error:
            error.filename = self.path
            raise


def find(root: int, path: str, arguments: list[str]) -> Program:
    """Find a program by its path.

    Args:
        root: descriptor of the root of the container.
        path: absolute.
        arguments: of the program, its own name first.

    Raises:
        OSError: there is none, it may not be executed, or its interpreter is none (`ENOEXEC`).
    """
    found, path, arguments = _find(root, path, arguments)
    if found is not None:
        return found
    shell, path, arguments = _find(root, SHELL, [*BY_SHELL, path, *arguments[1:]])
    if shell is None:
        raise OSError(errno.ENOEXEC, "is no program of this machine, and neither is %s, to execute it" % SHELL, path)
    return shell


def _find(root: int, path: str, arguments: list[str]) -> tuple[Program | None, str, list[str]]:
    """Return a program that can be executed from here, or None; the path where a script ends, and its arguments."""
    asked = path
    for _script in range(SCRIPTS_LIMIT + 1):
        directory, name = lookup.find(root, path)
        settled = False
        try:
            beginning, settled = _examine(root, directory, name)
        except OSError as error:
            error.filename = path
            raise
        finally:
            if not settled:
                os.close(directory)
        if settled:
            return Program(directory, name, arguments, path), path, arguments
        if not beginning.startswith(b"#!"):
            if b"\0" not in beginning and not beginning.startswith(elf.MAGIC):
                raise OSError(errno.ENOEXEC, "is no program, and a script whose first line does not say so", path)
            return None, path, arguments
        interpreter, options = _interpreter(beginning[2:].split(b"\n")[0])
        if not interpreter.startswith("/"):
            raise OSError(errno.ENOEXEC, "names no interpreter by an absolute path in its first line", path)
        arguments = [interpreter, *options, path, *arguments[1:]]
        path = interpreter
    raise OSError(errno.ELOOP, "its interpreter is a script, and so on", asked)


def find_in_path(root: int, name: str, arguments: list[str], path: str) -> Program:
    """Find a program by its name in the directories of a `PATH`, as execvp(3) does; raise as `find`."""
    if not name:
        raise FileNotFoundError(errno.ENOENT, "is no name of a program", name)
    refused: OSError | None = None
    for directory in path.split(":"):
        if not directory.startswith("/"):
            continue  # relative to where? nobody who enters means that
        try:
            return find(root, directory.rstrip("/") + "/" + name, arguments)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            refused = refused or error
    raise refused or FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)


def _examine(root: int, directory: int, name: str) -> tuple[bytes, bool]:
    """Return the first bytes of a program, and whether the kernel runs it with the container's files alone.

    Of a file that may be executed and not read, the first bytes are those of a binary: the kernel runs no script that
    way.

    Raises:
        OSError: it is no regular file, this process may not execute it, or its interpreter is missing.
    """
    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if not stat.S_ISREG(status.st_mode) or not linux.may_execute(directory, name):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)
    try:
        # It may be another file by now, and one that waits for somebody to write to it.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        descriptor = os.open(name, flags, dir_fd=directory)
    except PermissionError:
        return elf.MAGIC, False
    try:
        beginning = os.read(descriptor, LINE_LIMIT)
        if not elf.is_native(beginning):
            return beginning, False
        loaders = elf.interpreters(descriptor, beginning)
    finally:
        os.close(descriptor)
    return beginning, all(_is_own_loader(root, loader) for loader in loaders)


def _is_own_loader(root: int, path: str) -> bool:
    """Return whether the interpreter that the kernel will load for a binary is a file of the container.

    Raises:
        OSError: there is no such file.
    """
    if not path.startswith("/"):
        return False
    try:
        directory, name = lookup.find(root, path, magic=False)
        try:
            os.stat(name, dir_fd=directory, follow_symlinks=False)
        finally:
            os.close(directory)
    except OSError as error:
        if error.errno == errno.ELOOP:
            return False
        raise OSError(error.errno, "its interpreter %s: %s" % (ascii(path), error.strerror)) from error
    return True


def _interpreter(line: bytes) -> tuple[str, list[str]]:
    """Return the interpreter in a script's first line, and the rest of the line as at most one argument (execve(2))."""
    text = line.split(b"\0")[0].strip(b" \t")
    end = next((place for place, byte in enumerate(text) if byte in b" \t"), len(text))
    option = text[end:].lstrip(b" \t")
    return os.fsdecode(text[:end]), [os.fsdecode(option)] if option else []


def open_own_null(root: int) -> int:
    """Return a descriptor of the container's own null device.

    Raises:
        OSError: `/dev/null` is something else there (`ENODEV`), or cannot be opened.
    """
    descriptor = lookup.open_found(root, "/dev/null", os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY)
    status = os.fstat(descriptor)
    if not stat.S_ISCHR(status.st_mode) or status.st_rdev != os.makedev(*NULL_DEVICE):
        os.close(descriptor)
        raise OSError(errno.ENODEV, "is not the null device in this container", "/dev/null")
    os.set_blocking(descriptor, True)
    return descriptor
