# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ids of a container as the kernel is told them, and the plan of a start that has them."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import identity, linux
from ansible_collections.unshare.container.plugins.module_utils.launcher.identity import Identity
from ansible_collections.unshare.container.plugins.module_utils.launcher.plan import CLONED, MADE, Plan

from ..specifications import mount, specification


@pytest.mark.parametrize(("base", "maps"), [(0, False), (1, True), (0x70000000, True)])
def test_the_map(base: int, maps: bool) -> None:
    ids = Identity(base, 65536, False)
    assert ids.map_line == f"0 {base} 65536\n"
    assert ids.maps_files is maps
    assert not ids.nested


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("         0          0 4294967295\n", (4294967295, False)),
        ("         0     524288      65536\n", (65536, True)),
        ("      1000       1000          1\n", (0, True)),
        ("      1000          5          7\n         0     524288      65536\n", (65536, True)),
        ("         0          1 4294967295\n", (4294967295, True)),
        ("         0          0      65536\n", (65536, True)),
        ("", (0, True)),
    ],
)
def test_the_ids_that_there_are(monkeypatch: pytest.MonkeyPatch, text: str, found: tuple[int, bool]) -> None:
    monkeypatch.setattr(identity, "read_text", {"/proc/self/uid_map": text}.__getitem__)
    assert identity.available() == found


def test_namespaces() -> None:
    """User and process ids with the first process, which makes the others itself; mounts come from the tree."""
    assert CLONED == 0x10000000 | 0x20000000
    assert MADE == 0x08000000 | 0x04000000 | 0x02000000


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("nesting", [True, False])
@pytest.mark.parametrize("compiled", [b"filter", None])
def test_a_plan_has_what_it_was_given(tmp_path: Path, shared: bool, nesting: bool, compiled: bytes | None) -> None:
    if compiled is not None:
        (tmp_path / "seccomp.bpf").write_bytes(compiled)
    given: dict[str, t.Any] = {
        "spec": specification(shared_network=shared, security={"nesting": nesting}),
        "identity": Identity(1, 2, False),
        "cgroup": 3,
        "staging": "/staging",
        "machine_id": "0" * 32,
        "notify_path": "/notify",
        "console": "/dev/pts/4",
        "output": 5,
        "extra_file_systems": [mount()],
        "tasks": 6,
    }
    plan = Plan(str(tmp_path), **given)
    assert {name: getattr(plan, name) for name in given} == given
    assert (plan.system, plan.filter_program) == (str(tmp_path), compiled)
    assert (plan.shared_network, plan.nesting) == (shared, nesting)
    assert plan.made == (MADE if shared else MADE | linux.CLONE_NEWNET)
    del given["tasks"]
    assert Plan(str(tmp_path), **given).tasks is None
