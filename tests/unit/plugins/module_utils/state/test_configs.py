# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What containers keep for life: one's own, and those of all others with few looks at the disk (S5)."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import guarded, paths
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.state import configs

MANY = [f"c{number:02}" for number in range(configs.ENOUGH)]


class Process:
    """A process that knows nothing yet. `read` are the files that it reads."""

    def __init__(self, containers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.containers = containers
        self.monkeypatch = monkeypatch
        self.read: list[str] = []
        self.begin()

    def begin(self) -> None:
        self.read.clear()
        self.monkeypatch.setattr(configs, "_known", {})
        self.monkeypatch.setattr(configs, "_read_anew", set())

    def read_text(self, path: str, *limit: int) -> str:
        if path != configs.CONFIGS_FILE:
            self.read.append(Path(path).parent.name)
        return Path(path).read_text()[: limit[0] if limit else None] if Path(path).exists() else ""

    def write(self, name: str, **config: object) -> None:
        configs.write_config(str(self.containers / name), config)

    def others(self, *names: str) -> dict[str, dict[str, object]]:
        return configs.configs_of_others({*names})


@pytest.fixture
def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Process:
    monkeypatch.setattr(configs, "STATE_DIRECTORY", str(tmp_path))
    monkeypatch.setattr(configs, "CONFIGS_FILE", str(tmp_path / "known"))
    process = Process(tmp_path / "containers", monkeypatch)
    for module in (configs, paths):
        monkeypatch.setattr(module, "read_text", process.read_text)
    return process


@pytest.fixture
def many(process: Process) -> Process:
    """Return a later process, where an earlier one has kept what many containers remember."""
    for name in MANY:
        process.write(name, uid_base=int(name[1:]))
    process.others()
    configs.keep_configs()
    process.begin()
    return process


def test_what_is_remembered_is_read_again(tmp_path: Path) -> None:
    directory = tmp_path / "containers/web"
    assert configs.read_config(str(directory)) == {}
    configs.write_config(str(directory), {"uid_base": 7, "name": "x"})
    assert configs.read_config(str(directory)) == {"uid_base": 7, "name": "x"}
    assert directory.stat().st_mode & 0o777 == 0o700
    assert json.loads((directory / "config.json").read_text()) == {"uid_base": 7, "name": "x"}


@pytest.mark.parametrize("text", ["{", "[]", "7", '{"uid_base": }'])
def test_damage_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(LauncherError, match=rf"{tmp_path}/config.json.*; restore it from a backup$"):
        configs.read_config(str(tmp_path))


def test_those_of_others_are_in_the_order_of_names(process: Process) -> None:
    assert process.others("web") == {}
    for name in ("b", "web", "a", "c"):
        process.write(name, of=name)
    (process.containers / "without").mkdir()
    found = process.others("web", "c")
    assert [*found.items()] == [("a", {"of": "a"}), ("b", {"of": "b"}), ("without", {})]


def test_a_damaged_one_of_others_is_an_error_each_time(process: Process) -> None:
    process.write("a")
    (process.containers / "a/config.json").write_text("{")
    for _time in range(2):
        with pytest.raises(LauncherError, match="a/config.json.*; restore it from a backup$"):
            process.others()


def test_what_was_kept_is_not_read_again(many: Process) -> None:
    assert many.others("c03") == {name: {"uid_base": int(name[1:])} for name in MANY if name != "c03"}
    assert many.read == []
    assert os.stat(configs.CONFIGS_FILE).st_mode & 0o777 == 0o600
    many.others()
    assert many.read == []


def test_what_has_changed_since_is_read(many: Process) -> None:
    many.write("c05", uid_base=5000)
    many.write("new", uid_base=6000)
    (many.containers / "c06/config.json").unlink()
    (many.containers / "c07/config.json").unlink()
    (many.containers / "c07").rmdir()
    found = many.others()
    assert found["c05"] == {"uid_base": 5000}
    assert found["new"] == {"uid_base": 6000}
    assert found["c06"] == {}
    assert "c07" not in found
    assert many.read == ["c05", "new"]
    many.write("c05", uid_base=7000)
    assert many.others()["c05"] == {"uid_base": 7000}


def test_a_file_of_the_same_size_in_the_same_place_is_read(many: Process) -> None:
    path = many.containers / "c05/config.json"
    path.write_text(path.read_text().replace("5", "9"))
    assert many.others()["c05"] == {"uid_base": 9}


def test_few_new_ones_are_not_kept(many: Process) -> None:
    kept = Path(configs.CONFIGS_FILE).read_text()
    many.write("new")
    many.others()
    configs.keep_configs()
    assert Path(configs.CONFIGS_FILE).read_text() == kept


def test_what_is_gone_is_not_kept(many: Process) -> None:
    for name in MANY[1:]:
        many.write(name, uid_base=1)
    (many.containers / "c00/config.json").unlink()
    (many.containers / "c00").rmdir()
    many.write("new")
    many.others()
    configs.keep_configs()
    assert "c00" not in Path(configs.CONFIGS_FILE).read_text()


def test_what_cannot_be_kept_keeps_no_start_waiting_and_nothing_open(many: Process) -> None:
    path = Path(configs.CONFIGS_FILE)
    path.unlink()
    path.mkdir()
    opened = len(os.listdir("/proc/self/fd"))
    assert len(many.others()) == len(MANY)
    configs.keep_configs()
    assert [each.name for each in path.parent.iterdir() if each.name.startswith("known")] == ["known"]
    assert len(os.listdir("/proc/self/fd")) == opened


def test_what_a_killed_writer_has_left_does_not_stay(many: Process) -> None:
    path = Path(configs.CONFIGS_FILE)
    path.unlink()
    path.with_name(path.name + paths.NEW).write_text("half of i")
    many.others()
    configs.keep_configs()
    assert [each.name for each in path.parent.iterdir() if each.name.startswith("known")] == ["known"]


def test_machine_ids_are_no_business_of_others(process: Process) -> None:
    process.write("a", machine_id="0" * 32, uid_base=7)
    assert process.others() == {"a": {"uid_base": 7}}
    assert configs.read_config(str(process.containers / "a")) == {"machine_id": "0" * 32, "uid_base": 7}


def test_no_container_can_write_to_what_was_kept() -> None:
    assert configs.CONFIGS_FILE in guarded.RUNS


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[:20],
        lambda text: "[]",
        lambda text: text.replace("[", "7, [", 1),
        lambda text: '{"c00": 7}',
        lambda text: '{"c00": [[1, 2, 3]]}',
        lambda text: "\0" * len(text),
    ],
)
def test_what_was_kept_and_is_damaged_is_read_anew(many: Process, damage: object) -> None:
    path = Path(configs.CONFIGS_FILE)
    path.write_text(damage(path.read_text()))  # type: ignore[operator]
    assert many.others() == {name: {"uid_base": int(name[1:])} for name in MANY}
    many.begin()
    many.others()
    configs.keep_configs()
    many.begin()
    many.others()
    assert many.read == []
