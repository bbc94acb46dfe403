# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A container whose init is another program than systemd, as the filter declares it and a host writes it down."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.specification import read_outline
from ansible_collections.unshare.container.plugins.module_utils.life import starting
from ansible_collections.unshare.container.plugins.module_utils.life.life_cycle import LifeCycle
from ansible_collections.unshare.container.plugins.module_utils.life.unhealthy import UnhealthyError
from ansible_collections.unshare.container.plugins.module_utils.state import library
from ansible_collections.unshare.container.plugins.module_utils.state.system_content import SystemContent
from ansible_collections.unshare.container.plugins.module_utils.state.systems import Systems
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout
from ansible_collections.unshare.container.plugins.plugin_utils.containerized import containerized_operating_system
from ansible_collections.unshare.container.plugins.plugin_utils.system_files import system_files

from ..target_helpers import FakeContainer

INITS: list[t.Any] = [None, {"argv": ["/usr/bin/sleep", "1000"]}, {"argv": ["/x"], "systemd": True, "ready": "notify"}]


@pytest.fixture(params=INITS, ids=["systemd", "another", "one like systemd"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Layout, Path, bool]:
    """Return a host, the directory of a system on it, and whether that system's init has units."""
    system = system_files(containerized_operating_system({"host_name": "web"}), name="web", init=request.param)
    layout = Layout(tmp_path)
    content = SystemContent(dict(system), "", library.sources(), "/usr/bin/python3")
    return layout, Systems(layout).write(content, None), request.param is None or "systemd" in request.param


def test_whose_launcher_it_brings_is_known(made: tuple[Layout, Path, bool]) -> None:
    _layout, system, _systemd = made
    assert starting.is_own(system)
    assert read_outline(str(system)).launcher == library.fingerprint()


def test_units_are_asked_for_where_there_are_any(made: tuple[Layout, Path, bool]) -> None:
    layout, system, systemd = made
    container = FakeContainer(failed=["bad.service"])
    cycle = LifeCycle(layout, "web", container, system=system)
    if systemd:
        with pytest.raises(UnhealthyError, match=r"bad\.service"):
            cycle.reach("started")
    else:
        cycle.reach("started")
        assert cycle.failed_units is None
    assert (cycle.changed, container.running) == (True, str(system))
