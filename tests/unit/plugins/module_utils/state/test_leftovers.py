# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What runs that were killed leave beside a container's volumes is seen, and removed when nobody needs it (V6)."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.state import volumes


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for name in (
        "volumes/data",
        "volumes.importing/data",
        "snapshots/one",
        "snapshots/.restoring",
        "snapshots/.new-two",
    ):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def test_v6_what_was_left_is_named(directory: Path) -> None:
    (directory / "volumes.sizing").mkdir()
    assert volumes.leftovers(str(directory)) == [
        str(directory / name) for name in ("volumes.importing", "volumes.sizing", "snapshots/.new-two")
    ]
    assert volumes.leftovers(str(directory / "volumes")) == []


def test_v6_what_an_import_has_left_is_removed_and_nothing_else(directory: Path) -> None:
    (directory / "volumes.importing/data/file").write_text("x")
    assert volumes.clear(str(directory)) == []
    assert volumes.clear(str(directory)) == []
    left = sorted(str(path.relative_to(directory)) for path in directory.glob("*/*"))
    assert left == ["snapshots/.new-two", "snapshots/.restoring", "snapshots/one", "volumes/data"]
    assert not (directory / "volumes.importing").exists()


def test_v6_what_cannot_be_removed_is_a_warning(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def mounted(*_arguments: object) -> None:
        raise LauncherError("something is mounted there")

    monkeypatch.setattr(volumes, "remove_entries", mounted)
    (said,) = volumes.clear(str(directory))
    assert said.startswith(f"{directory}/volumes.importing is not removed: something is mounted there;")


@pytest.mark.parametrize("asked", [True, False])
def test_v6_it_goes_with_the_container(directory: Path, asked: bool) -> None:
    said = volumes.part_with("web", str(directory), asked)
    assert not (directory / "volumes.importing").exists()
    assert (directory / "volumes/data").exists() is not asked
    assert len(said) == (0 if asked else 2)


def test_v6_nothing_of_a_container_stays_that_has_no_volumes(tmp_path: Path) -> None:
    directory = tmp_path / "web"
    (directory / "volumes.importing/data").mkdir(parents=True)
    assert volumes.part_with("web", str(directory), False) == []
    assert not directory.exists()
