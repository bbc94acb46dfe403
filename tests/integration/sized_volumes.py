# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Containers whose volumes have sizes (V3), for the tests: their directories on the host lie on a btrfs."""

from __future__ import annotations

import contextlib
import os
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.life.container import Container
from ansible_collections.unshare.container.plugins.module_utils.life.one_container import OneContainer
from ansible_collections.unshare.container.plugins.module_utils.state import quotas
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout
from ansible_collections.unshare.container.plugins.modules.containers import options_of

from .conftest import Host, Machine, write_system
from .isolation import attach_loop, mounted
from .size_attempts import FILL

M = 1 << 20


class Sized:
    """A container whose directory on the host lies on a btrfs."""

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.name = name
        self.container = Container(name)
        self.warnings: list[str] = []

    def volume(self, name: str) -> Path:
        return self.path / "volumes" / name

    def one(self, *volumes: dict[str, t.Any], state: str = "started", **options: t.Any) -> OneContainer:
        declared = [{"path": f"/srv/{item['name']}", **item} for item in volumes]
        private_users = options.pop("private_users", "auto")
        plain = [{key: item[key] for key in ("name", "path")} for item in declared]
        system = write_system(
            {"host_name": self.name}, self.name, volumes=plain, private_users=private_users, **options
        )
        given = options_of({"state": state, "volumes": declared, "wait": True, "timeout": 60}, self.name)
        return OneContainer(Layout(), self.container, system, given, False)

    def bring(self, *volumes: dict[str, t.Any], check: bool = False, **options: t.Any) -> dict[str, t.Any]:
        one = self.one(*volumes, **options)
        result = one.bring(check, True)
        self.warnings = [said for said in one.warnings if "volume" in said]
        return result

    def back(self, check: bool) -> None:
        """Go back to the former system."""
        given = options_of({"state": "rolled_back", "wait": True, "timeout": 60}, self.name)
        OneContainer(Layout(), self.container, None, given, False).bring(check, False)

    def inside(self) -> Machine:
        return Machine(self.name, Path(self.container.status().system or ""))

    def fill(self) -> tuple[str, int]:
        """Write until it is full; return the error's number, and how many bytes were written."""
        number, written = self.inside().output("python3", "-c", FILL).split()
        return number, int(written)

    def close(self) -> None:
        """Close what the last question has opened."""
        with self.container.lock(30):
            pass

    def limit(self, name: str) -> int:
        with quotas.opened(str(self.volume(name))) as quota:
            return quota.limit()


@contextlib.contextmanager
def btrfs(tmp_path: Path, name: str, quota: bool = True) -> t.Iterator[Path]:
    """Mount a new btrfs where the directory of the container lies."""
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(512 * M)
    subprocess.run(["mkfs.btrfs", "--quiet", str(image)], check=True, capture_output=True)
    path = Layout().container(name)
    Host.claim(name)
    path.mkdir(parents=True, mode=0o700)
    with contextlib.ExitStack() as stack:
        stack.callback(path.rmdir)
        device = attach_loop(image, stack)
        stack.enter_context(mounted("-t", "btrfs", device, path))
        path.chmod(0o700)
        if (
            quota
            and subprocess.run(["btrfs", "quota", "enable", str(path)], check=False, capture_output=True).returncode
        ):
            pytest.skip("this kernel has no quotas of btrfs")
        try:
            yield path
        finally:
            one = OneContainer(
                Layout(), Container(name), None, options_of({"state": "absent", "remove_volumes": True}, name), False
            )
            one.bring(False, False)
            assert os.listdir(path) == []
