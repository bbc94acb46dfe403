# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Software of a store is replaced under a container that goes on (P5): told, restarted, refused when it is gone."""

from __future__ import annotations

import shutil
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host.container_options import OPTIONS
from ansible_collections.unshare.container.plugins.module_utils.life.one_container import OneContainer
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout, TargetError
from ansible_collections.unshare.container.plugins.modules import system_container_info

if t.TYPE_CHECKING:
    from .conftest import Machine, MakeMachine

pytestmark = pytest.mark.root

NAME = "test-outdated"
PROGRAMS = "usr/local/lib/unshare-test"
UNITS = ("replaced", "kept", "wrapped")


@pytest.fixture
def tree(tmp_path: Path) -> t.Iterator[Path]:
    """Yield a tree whose `usr` begins as the host's, and can be changed, with a program for each unit."""
    path = tmp_path / "tree"
    for name in ("upper", "work", "tree/usr", "tree/etc"):
        (tmp_path / name).mkdir(parents=True)
    options = f"lowerdir=/usr,upperdir={tmp_path / 'upper'},workdir={tmp_path / 'work'}"
    subprocess.run(["mount", "-t", "overlay", "-o", options, "test", str(path / "usr")], check=True, timeout=60)
    try:
        (path / PROGRAMS).mkdir(parents=True)
        for unit in UNITS:
            shutil.copy("/usr/bin/sleep", path / PROGRAMS / unit)
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path / "usr")], check=True, timeout=60)


def replace(file: Path) -> None:
    """Put another file in the place of one, as a package manager does."""
    new = file.with_name(file.name + ".dpkg-new")
    shutil.copy(file, new)
    new.rename(file)


def bring(machine: Machine, check: bool = False, restart: bool = True) -> dict[str, t.Any]:
    options = {name: option.get("default") for name, option in OPTIONS.items()}
    options.update(generation=None, limits=None, enabled=None)
    return OneContainer(Layout(), machine.container, machine.system, options, False, restart).bring(check, False)


def main_pids(machine: Machine) -> list[str]:
    return machine.output("systemctl", "show", "--property=MainPID", "--value", *UNITS).split()


def test_a_replaced_program_of_a_tree(make_machine: MakeMachine, tree: Path) -> None:
    commands = {unit: [f"/{PROGRAMS}/{unit}", "600"] for unit in UNITS}
    commands["wrapped"] = ["/usr/bin/sh", "-c", f"exec /{PROGRAMS}/wrapped 600"]
    services = [{"type": "unit", "value": {"name": name, "command": words}} for name, words in commands.items()]
    machine = make_machine({"services": services}, name=NAME, store=f"{tree / 'usr'}=/usr")
    first = bring(machine)
    assert bring(machine)["outdated_units"] == []
    before = main_pids(machine)

    replace(tree / PROGRAMS / "replaced")
    (library,) = tree.glob("usr/lib/*/systemd/libsystemd-shared-*.so")  # of PID 1 and of most that it runs
    replace(library)
    (info,) = system_container_info.run({"name": [NAME], "log_lines": 0, "timeout": 20.0}, Layout())["containers"]
    assert info["errors"] == []
    assert info["outdated"]["replaced.service"] == [f"/{PROGRAMS}/replaced"]
    assert info["outdated"]["init.scope"] == [f"/{library.relative_to(tree)}"]
    assert list(info["outdated"]) == info["outdated_units"]
    assert not {"kept.service", "wrapped.service"}.intersection(info["outdated"])

    checked = bring(machine, check=True)
    assert checked["changed"]
    assert checked["restarted_units"] == info["outdated_units"]
    assert main_pids(machine) == before
    assert not bring(machine, restart=False)["changed"]
    assert main_pids(machine) == before

    done = bring(machine)
    assert done["changed"]
    assert (done["restarted_units"], done["outdated_units"]) == (checked["restarted_units"], [])
    assert (done["pid"], done["failed_units"]) == (first["pid"], [])
    after = main_pids(machine)
    assert after[0] != before[0]
    assert after[1:] == before[1:]
    again = bring(machine)
    assert (again["changed"], again["outdated_units"]) == (False, [])

    # Of the one its unit says which program it needs, of the other only its process.
    for unit in ("replaced", "wrapped"):
        (tree / PROGRAMS / unit).unlink()
        with pytest.raises(TargetError, match=f"nothing was restarted.* /{PROGRAMS}/{unit}, which "):
            bring(machine)
        assert main_pids(machine) == after
        shutil.copy(tree / PROGRAMS / "kept", tree / PROGRAMS / unit)
        assert bring(machine)["restarted_units"] == [f"{unit}.service"]
        after = main_pids(machine)
