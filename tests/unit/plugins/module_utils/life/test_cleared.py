# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is cleared away before a start, and that nothing is looked for where nothing can be."""

from __future__ import annotations

import types
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.contract import Mount
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.life import container as subject
from ansible_collections.unshare.container.plugins.module_utils.life.container import Container
from ansible_collections.unshare.container.plugins.module_utils.state import writers


class Groups:
    """Control groups that are there, or not, and what is done to them."""

    whole = "unshare/x"

    def __init__(self, there: bool) -> None:
        self.there = there
        self.done: list[str] = []

    def exists(self) -> bool:
        return self.there

    def kill(self, _timeout: float) -> bool:
        self.done.append("kill")
        return True

    def remove(self) -> None:
        self.done.append("remove")


LEFT = {
    "nothing": (None, False, []),
    "an empty directory": ([], False, []),
    "a control group": ([], True, ["kill", "remove"]),
    "a control group without a directory": (None, True, ["kill", "remove"]),
    "a record": (["state.json"], False, ["kill", "remove"]),
    "a file aside": (["mapped.new"], False, ["kill", "remove"]),
    "the note of a unit's group": (["cgroup"], False, ["kill", "remove"]),
}


@pytest.mark.parametrize("case", LEFT)
def test_all_that_a_start_may_have_left_is_cleared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    files, group, expected = LEFT[case]
    container = Container("x")
    container.run_directory = str(tmp_path / "run")
    for name in files or ():
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / "run" / name).write_text("{}")
    if files == []:
        (tmp_path / "run").mkdir()
    container.cgroup = t.cast("t.Any", Groups(group))
    reaped: list[bool] = []
    monkeypatch.setattr(subject, "reap_left", lambda: reaped.append(True))
    container.clear()
    assert t.cast("t.Any", container.cgroup).done == expected
    assert reaped == [True]
    assert not files or not any((tmp_path / "run").iterdir())


def test_a_start_that_is_refused_leaves_what_its_last_run_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    container = Container("x")
    container.run_directory = str(tmp_path)
    container.cgroup = t.cast("t.Any", Groups(True))
    (tmp_path / "system").write_text("")
    written = Mount(device="/data", mount_point="/data", type="none", flags=["bind-mount"])
    spec = types.SimpleNamespace(file_systems=[written])
    monkeypatch.setattr(subject, "read_spec", lambda _system: spec)

    def refuse(*_arguments: object) -> None:
        raise LauncherError("another one writes there")

    monkeypatch.setattr(writers, "refuse_second", refuse)
    with pytest.raises(LauncherError, match="another one writes there"):
        container.start("/system")
    assert t.cast("t.Any", container.cgroup).done == []
    assert [path.name for path in tmp_path.iterdir()] == ["system"]
