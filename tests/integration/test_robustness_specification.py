# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whatever chance makes of a `spec.json`: a start ends in time, as a container or an error, and writes nowhere else."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.credentials import path_of
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.life.container import Container
from ansible_collections.unshare.container.plugins.module_utils.state import volumes
from ansible_collections.unshare.container.tests.unit.plugins.module_utils.specifications import SPECIFICATION, mutated
from hypothesis import HealthCheck, given, settings

from .lives import Run, host_unchanged, nothing_in_memory, rounds

PREFIX = "test-fuzz"
pytestmark = [pytest.mark.root, pytest.mark.timeout(1200)]
__all__ = ["host_unchanged"]

WATCHED = ("/", "/etc", "/usr", "/var", "/var/lib", "/dev", "/usr/bin", "/usr/lib")
BUSY = ("/tmp", "/run", "/run/lock")
"""Directories of the host in which a write that went astray would show; in busy ones by its name."""


def system_directory(directory: Path) -> None:
    """Write a system with the files of the specification that is mutated."""
    for name in ("etc/passwd", "etc/deep/file", path_of("token").lstrip("/")):
        file = directory / "root" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("root:x:0:0::/:/bin/sh\n")
    (directory / "boot").write_text("#!/bin/sh\nexec sleep 1000\n")
    (directory / "boot").chmod(0o755)


def names() -> dict[str, list[str]]:
    found = {path: sorted(set(os.listdir(path)) - {"unshare"}) for path in WATCHED}
    found.update({path: [name for name in os.listdir(path) if "escaped" in name] for path in BUSY})
    return found


@pytest.mark.usefixtures("host_unchanged")
def test_any_specification_starts_or_is_refused(tmp_path: Path) -> None:
    system_directory(tmp_path)
    tally = {"started": 0, "refused": 0}

    def start() -> str:
        container = Container(PREFIX)
        try:
            with container.lock(5):
                container.start(str(tmp_path), wait=True, timeout=5)
        except LauncherError as error:
            return str(error)
        return "started"

    @settings(
        max_examples=rounds(60, 600),
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
    @given(mutated())
    def attempt(text: str) -> None:
        (tmp_path / "spec.json").write_bytes(text.encode("utf-8", "surrogatepass"))
        before = names()
        said = Run(start).result(20)
        outcome = "started" if said == "started" else "refused"
        tally[outcome] += 1
        assert said.startswith(("started", f"container {PREFIX}: ", str(tmp_path), "private_users: ", "credentials."))
        container = Container(PREFIX)
        with container.lock(5):
            assert container.stop(0) == (outcome == "started")
        nothing_in_memory(PREFIX)
        assert names() == before

    try:
        attempt()
    finally:
        container = Container(PREFIX)
        with container.lock(5):
            container.remove()
            volumes.part_with(PREFIX, container.directory, asked=True)
    print(tally)
    assert min(tally.values()) > 0


@pytest.mark.parametrize("path", ["/var/run/test-escaped", "/etc/link/test-escaped", "/etc/upward/test-escaped"])
@pytest.mark.usefixtures("host_unchanged")
def test_a_file_below_a_link_stays_inside_or_is_refused(tmp_path: Path, path: str) -> None:
    system_directory(tmp_path)
    spec = copy.deepcopy(SPECIFICATION)
    spec["files"]["/etc/link"] = {"link": "/run"}
    spec["files"]["/etc/upward"] = {"link": "../../../../run"}
    spec["files"][path] = {"mode": "0644", "uid": 0, "gid": 0}
    file = tmp_path / "root" / path[1:]
    file.parent.mkdir(parents=True)
    file.write_text("escaped")
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    container = Container(PREFIX)
    with container.lock(5):
        if path.startswith("/var/run/"):
            status = container.start(str(tmp_path))
            assert Path(f"/proc/{status.pid}/root/run/test-escaped").read_text() == "escaped"
            container.stop(0)
        else:
            with pytest.raises(LauncherError, match=r"is below /etc/(link|upward), which is no directory"):
                container.start(str(tmp_path))
        container.remove()
        volumes.part_with(PREFIX, container.directory, asked=True)
    assert not os.path.exists("/run/test-escaped")
