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
import importlib
import io
import json
import os
import shutil
import sys
import tarfile
import tempfile
import typing as t
from pathlib import Path

from ansible.module_utils import basic

DIRECTORY = Path("/run/unshare.code")
KEPT_VERSIONS = 3
"""How many versions are kept."""
ARGUMENT_SPEC = {
    "module": {"type": "str", "required": True},
    "arguments": {"type": "dict", "default": {}},
    "digest": {"type": "str", "required": True},
    "archive": {"type": "str"},
}
DAMAGED = (AttributeError, EOFError, ImportError, NameError, OSError, SyntaxError, TypeError, ValueError)
"""What the import of a damaged file raises."""


def set_aside(path: Path) -> None:
    """Remove a version in a way that nobody takes a part of it for the whole."""
    aside = tempfile.mkdtemp(dir=path.parent, prefix=".")
    try:
        path.rename(Path(aside) / path.name)
    except OSError:
        pass  # another run has done it
    shutil.rmtree(aside, ignore_errors=True)


def unpack(archive: str, directory: Path) -> None:
    """Unpack the code into a directory."""
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(archive)), mode="r:gz") as members:
        for member in members:
            path = directory / member.name
            path.parent.mkdir(parents=True, exist_ok=True)
            content = members.extractfile(member)
            path.write_bytes(content.read() if content else b"")


def keep(digest: str, archive: str) -> Path:
    """Put the code where it is kept, and return its directory. Remove the versions that are older than the last ones.

    :raises OSError: it cannot be kept.
    """
    kept = DIRECTORY / digest
    if kept.is_dir():
        return kept
    DIRECTORY.mkdir(mode=0o700, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=DIRECTORY, prefix="."))
    try:
        unpack(archive, aside)
        aside.rename(kept)
    except OSError:
        shutil.rmtree(aside, ignore_errors=True)
        if not kept.is_dir():  # another run was faster
            raise
    versions = [path for path in DIRECTORY.iterdir() if not path.name.startswith(".")]
    for former in sorted(versions, key=lambda path: path.stat().st_mtime)[:-KEPT_VERSIONS]:
        set_aside(former)
    return kept


def main_of(name: str, directory: Path) -> t.Callable[[], t.NoReturn]:
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
    found: t.Callable[[], t.NoReturn] = importlib.import_module(f"{modules.__name__}.{name}").main
    return found


def hand_over(name: str) -> None:
    """Have the next AnsibleModule of this process find the arguments of the module with a name, and bear that name."""
    sent = json.loads(basic._ANSIBLE_ARGS or "{}")
    given = sent["ANSIBLE_MODULE_ARGS"]
    settings = {key: value for key, value in given.items() if key.startswith("_ansible_")}
    settings["_ansible_module_name"] = "unshare.container." + name
    sent["ANSIBLE_MODULE_ARGS"] = {**(given.get("arguments") or {}), **settings}
    basic._ANSIBLE_ARGS = json.dumps(sent).encode()


def kept_main(name: str, digest: str) -> t.Callable[[], t.NoReturn] | None:
    """Return what runs a module with the code that the host keeps, or None. Damaged code is removed."""
    kept = DIRECTORY / digest
    if not os.access(kept, os.R_OK):
        return None
    try:
        return main_of(name, kept)
    except DAMAGED:
        set_aside(kept)
        return None


def code_of(module: basic.AnsibleModule) -> tuple[t.Callable[[], t.NoReturn] | None, str | None]:
    """Return what runs the module that was named, None where the host lacks the code; and what is to be removed then.

    :raises OSError: the code cannot be put there.
    """
    name, digest, archive = (module.params[key] for key in ("module", "digest", "archive"))
    found = kept_main(name, digest)
    if found is not None or not archive:
        return found, None
    if not module.check_mode and os.geteuid() == 0:
        return main_of(name, keep(digest, archive)), None
    passing = tempfile.mkdtemp(prefix="unshare-code-")
    try:
        unpack(archive, Path(passing))
        return main_of(name, Path(passing)), passing
    except BaseException:
        shutil.rmtree(passing, ignore_errors=True)
        raise


def main() -> t.NoReturn:
    """Run as a module."""
    module = basic.AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True, no_log=True)
    try:
        found, passing = code_of(module)
    except OSError as error:
        said = f"{error.strerror}: {error.filename}" if error.filename else str(error)
        module.fail_json(msg=f"the code of the collection cannot be put on this host: {said}", invocation={})
    try:
        if found is not None:
            hand_over(module.params["module"])
            found()
    finally:
        if passing:
            shutil.rmtree(passing, ignore_errors=True)
    module.exit_json(changed=False, lacks_code=True, invocation={})


if __name__ == "__main__":
    main()
