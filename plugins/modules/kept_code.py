#!/usr/bin/python
# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt)

"""Run a module of this collection with code that the host keeps."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kept_code
short_description: Run a module of this collection with code that the host keeps
version_added: 0.2.0
description:
  - Runs another module of this collection. The action plugins of the collection use it, and a play has no need for it.
  - A module needs much of the collection's code. Ansible parses all of it for each play, sends it with each task, and
    has the host compile it each time. This module needs nothing of it. It finds the code by its digest in
    C(/run/unshare.code), where Python also keeps it compiled. On a host that lacks the code it says so, and is sent
    again with the code.
  - The last three versions are kept. In check mode, and for a user who is not root, nothing is kept.
author:
  - The unshare.container authors (@unshare)
extends_documentation_fragment:
  - unshare.container.attributes
attributes:
  check_mode:
    details: As of the module that is run.
  diff_mode:
    details: As of the module that is run.
  idempotent:
    details: As of the module that is run.
options:
  module:
    description: Name of the module that is run, without that of the collection.
    type: str
    required: true
  arguments:
    description: The arguments of that.
    type: dict
    default: {}
  digest:
    description: Digest of the code.
    type: str
    required: true
  archive:
    description: The code, if the host may lack it.
    type: str
"""

EXAMPLES = r"""
- name: Ask whether the host has this code
  unshare.container.kept_code:
    module: tree_info
    digest: 0123456789abcdef0123456789abcdef
  register: result

- name: It has not
  ansible.builtin.assert:
    that: result.lacks_code
"""

RETURN = r"""
lacks_code:
  description: Whether nothing was run, because the host has no such code. Otherwise the result is that of the module.
  returned: when it is so
  type: bool
"""

import base64
import contextlib
import fcntl
import hashlib
import importlib
import importlib.machinery
import io
import json
import os
import re
import shutil
import sys
import tarfile
import tempfile
import typing as t
from pathlib import Path

from ansible.module_utils import basic
from ansible.module_utils.basic import AnsibleModule  # by such a line Mitogen tells a module in Python from a script

DIRECTORY = Path("/run/unshare.code")
ROOMS = ("modules", "module_utils")
"""The directories, beside each other, whose files are the code."""
KEPT_VERSIONS = 3
Main = t.Callable[[], t.NoReturn]
ARGUMENT_SPEC = {
    "module": {"type": "str", "required": True},
    "arguments": {"type": "dict", "default": {}},
    "digest": {"type": "str", "required": True},
    "archive": {"type": "str"},
}
DIGEST = re.compile("[0-9a-f]{32}")
MODULE_NAME = re.compile("[a-z][a-z_]*")
DAMAGED = (AttributeError, EOFError, ImportError, NameError, OSError, SyntaxError, TypeError, ValueError)
"""What the import of a damaged file raises, among other causes."""


class KeptCodeModule(AnsibleModule):
    """The module. The one that it runs says what the host's log is to have: arguments may hold secrets."""

    def log(self, msg: t.Any, log_args: t.Any = None) -> None:
        """Log nothing."""


def code_in(directory: Path) -> t.Iterator[tuple[str, bytes]]:
    """Yield the path and the content of each file of the code in a directory, in order."""
    for room in ROOMS:
        for path in sorted((directory / room).rglob("*.py")):
            yield str(path.relative_to(directory)), path.read_bytes()


def code_digest(code: t.Iterable[tuple[str, bytes]]) -> str:
    """Return the digest that names code, in hexadecimal."""
    found = hashlib.sha256()
    for path, content in code:
        found.update(b"%s\0%d\0" % (path.encode(), len(content)) + content)
    return found.hexdigest()[:32]


@contextlib.contextmanager
def locked(path: Path, how: int) -> t.Iterator[None]:
    """Hold a lock on a directory. Raise OSError where it is not there, or another one holds it and `how` says so."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)


def remove_version(version: Path) -> None:
    """Remove a version that nobody uses, or what is left of one, in a way that nobody takes a part for the whole."""
    with contextlib.suppress(OSError), locked(version, fcntl.LOCK_EX | fcntl.LOCK_NB):
        aside = version
        if not version.name.startswith("."):
            aside = version.with_name("." + version.name)
            version.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


def unpack(archive: str, directory: Path, digest: str) -> None:
    """Unpack the code into a directory. Raise OSError when it cannot be written, or is not what its digest says."""
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(archive)), mode="r:gz") as members:
        for member in members:
            path = directory / member.name
            path.parent.mkdir(parents=True, exist_ok=True)
            content = members.extractfile(member)
            path.write_bytes(content.read() if content else b"")
    if code_digest(code_in(directory)) != digest:
        raise OSError("what has come is not the code that was announced; run again")


def keep(digest: str, archive: str) -> None:
    """Put the code where it is kept, and remove versions that are older than the last ones.

    :raises OSError: it cannot be kept.
    """
    DIRECTORY.mkdir(mode=0o700, exist_ok=True)
    with locked(DIRECTORY, fcntl.LOCK_EX):
        if not (DIRECTORY / digest).exists():
            aside = Path(tempfile.mkdtemp(dir=DIRECTORY, prefix="."))
            try:
                unpack(archive, aside, digest)
                aside.rename(DIRECTORY / digest)
            except OSError:
                shutil.rmtree(aside, ignore_errors=True)
                raise
        for left in DIRECTORY.glob(".*"):
            remove_version(left)  # of runs that were killed
        others = [path for path in DIRECTORY.iterdir() if path.name != digest]
        for former in sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)[KEPT_VERSIONS - 1 :]:
            remove_version(former)


class FilesFirst:
    """A finder of the modules below a package among files.

    :param package: whose modules it finds.
    """

    def __init__(self, package: str) -> None:
        self._prefix = package + "."

    def find_spec(self, name: str, path: t.Any = None, target: t.Any = None) -> t.Any:
        """Return where a module is, as Python asks every finder."""
        return importlib.machinery.PathFinder.find_spec(name, path, target) if name.startswith(self._prefix) else None


@contextlib.contextmanager
def files_first(package: str) -> t.Iterator[None]:
    """Find the modules below a package among files before other finders are asked.

    That of Mitogen would take them from the controller.
    """
    before = sys.meta_path[:]
    sys.meta_path.insert(0, t.cast(t.Any, FilesFirst(package)))
    try:
        yield
    finally:
        sys.meta_path[:] = before


def main_of(name: str, directory: Path) -> Main:
    """Return what runs a module of the collection; it is imported from the code in a directory, with all that it needs.

    :raises DAMAGED: it cannot be imported.
    """
    modules = importlib.import_module(__package__)
    plugins = importlib.import_module(modules.__name__.rpartition(".")[0])
    plugins.__path__ = [str(directory)]
    modules.__path__ = [str(directory / "modules")]
    sent = (f"{plugins.__name__}.module_utils", f"{modules.__name__}.{name}")
    for known in [known for known in sys.modules if known.startswith(sent)]:
        del sys.modules[known]  # of a damaged version, which was tried before
    importlib.invalidate_caches()
    sys.dont_write_bytecode = False
    with files_first(plugins.__name__):
        found: Main = importlib.import_module(f"{modules.__name__}.{name}").main
    return found


def hand_over(name: str) -> None:
    """Have the next AnsibleModule of this process find the arguments of the module with a name, and bear that name."""
    sent = json.loads(basic._ANSIBLE_ARGS or "{}")
    given = sent["ANSIBLE_MODULE_ARGS"]
    settings = {key: value for key, value in given.items() if key.startswith("_ansible_")}
    settings["_ansible_module_name"] = "unshare.container." + name
    sent["ANSIBLE_MODULE_ARGS"] = {**(given.get("arguments") or {}), **settings}
    basic._ANSIBLE_ARGS = json.dumps(sent).encode()


def kept_main(name: str, digest: str, check: bool, stack: contextlib.ExitStack) -> Main | None:
    """Return what runs a module with the code that the host keeps, or None. Remove damaged code, but for check mode.

    The code is locked until the stack ends: what a module imports late is there.
    """
    kept = DIRECTORY / digest
    with contextlib.ExitStack() as own:
        try:
            own.enter_context(locked(kept, fcntl.LOCK_SH))
            os.utime(kept)
        except OSError:
            return None  # also of a version that was removed at this moment
        try:
            found = main_of(name, kept)
        except DAMAGED:
            if code_digest(code_in(kept)) == digest:
                raise
        else:
            stack.push(own.pop_all())
            return found
    if not check:
        remove_version(kept)
    return None


def passing_main(name: str, digest: str, archive: str, stack: contextlib.ExitStack) -> Main:
    """Return what runs a module with code that is removed when the stack ends.

    :raises OSError: it cannot be written.
    """
    passing = tempfile.mkdtemp(prefix="unshare-code-")
    stack.callback(shutil.rmtree, passing, ignore_errors=True)
    unpack(archive, Path(passing), digest)
    return main_of(name, Path(passing))


def find(name: str, digest: str, archive: str | None, check: bool, stack: contextlib.ExitStack) -> Main | None:
    """Return what runs a module, or None where the host lacks the code and got none.

    :raises OSError: the code cannot be put there.
    """
    found = kept_main(name, digest, check, stack)
    if found is None and archive and not check and os.geteuid() == 0:
        with contextlib.suppress(OSError):  # such as a full /run
            keep(digest, archive)
        found = kept_main(name, digest, check, stack)
    if found is None and archive:
        found = passing_main(name, digest, archive, stack)
    return found


def main() -> t.NoReturn:
    """Run as a module."""
    module = KeptCodeModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    name, digest, archive = (module.params[key] for key in ("module", "digest", "archive"))
    if not DIGEST.fullmatch(digest):
        module.fail_json(msg="digest: must be 32 hexadecimal digits", invocation={})
    if not MODULE_NAME.fullmatch(name):
        module.fail_json(msg="module: must be the name of a module, without that of the collection", invocation={})
    with contextlib.ExitStack() as stack:
        try:
            found = find(name, digest, archive, module.check_mode, stack)
        except OSError as error:
            said = f"{error.strerror}: {error.filename}" if error.filename else str(error)
            module.fail_json(msg=f"the code of the collection cannot be put on this host: {said}", invocation={})
        if found is not None:
            hand_over(name)
            found()
    module.exit_json(changed=False, lacks_code=True, invocation={})


if __name__ == "__main__":
    main()
