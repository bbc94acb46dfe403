# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""T5: the accounts of a machine, which a kept layer may have alone, survive a start that fails."""

from __future__ import annotations

import errno
import os
import typing as t
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import machine_root
from ansible_collections.unshare.container.plugins.module_utils.launcher.identity import COUNT, Identity
from ansible_collections.unshare.container.plugins.module_utils.launcher.machine_root import MachineRoot

OWN = "root:x:0:0:root:/root:/bin/sh\npackage:x:101:101::/:/bin/false\n"
DECLARED = "ann:x:1000:1000::/:/bin/sh\n"


@pytest.fixture
def root(tmp_path: Path) -> t.Iterator[MachineRoot]:
    """Give the root of a machine, of this process's own ids, that is in a directory."""
    for name in ("machine/etc", "machine/usr", "machine/var", "system/root/etc"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "machine/etc/passwd").write_text(OWN)
    (tmp_path / "system/root/etc/passwd").write_text(DECLARED)
    entry = SimpleNamespace(mode="0644", uid=0, gid=0)
    accounts = SimpleNamespace(users={"ann": True}, groups={})
    spec = SimpleNamespace(files={"/etc/passwd": entry}, root=accounts)
    identity = Identity(os.geteuid(), COUNT, True)
    plan: t.Any = SimpleNamespace(spec=spec, system=str(tmp_path / "system"), identity=identity)
    source: t.Any = None
    with (tmp_path / "noted").open("wb", buffering=0) as noted:
        made = MachineRoot(plan, source, noted.fileno())
        made.root = os.open(tmp_path / "machine", os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield made
        finally:
            made.close()
            os.close(made.root)


def files(tmp_path: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (tmp_path / "machine/etc").iterdir()}


def test_t5_accounts_are_added(root: MachineRoot, tmp_path: Path) -> None:
    root.lay_out()
    assert files(tmp_path) == {"passwd": OWN + DECLARED}


def test_t5_a_disk_that_is_full_leaves_the_accounts(
    root: MachineRoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_all(descriptor: int, content: bytes) -> None:
        if content.startswith(OWN.encode()):
            os.write(descriptor, content[:10])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(machine_root, "write_all", write_all)
    with pytest.raises(OSError, match="No space left"):
        root.lay_out()
    assert files(tmp_path)["passwd"] == OWN
    monkeypatch.undo()
    root.lay_out()
    assert files(tmp_path) == {"passwd": OWN + DECLARED}


def test_t5_what_is_no_file_of_accounts_is_replaced(root: MachineRoot, tmp_path: Path) -> None:
    passwd = tmp_path / "machine/etc/passwd"
    for make in (lambda: passwd.mkdir(), lambda: passwd.symlink_to("/etc/shadow"), lambda: os.mkfifo(passwd)):
        (passwd.rmdir if passwd.is_dir() else passwd.unlink)()
        make()
        root.lay_out()
        assert files(tmp_path) == {"passwd": DECLARED}
