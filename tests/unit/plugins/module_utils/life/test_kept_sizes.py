# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sizes of volumes are kept beside a container's systems (V3): what changes, what is refused, and what is said."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError, OptionError
from ansible_collections.unshare.container.plugins.module_utils.life import examination
from ansible_collections.unshare.container.plugins.module_utils.life.kept_sizes import KeptSizes
from ansible_collections.unshare.container.plugins.module_utils.life.one_container import OneContainer
from ansible_collections.unshare.container.plugins.module_utils.life.staging import sizes_kept
from ansible_collections.unshare.container.plugins.module_utils.state import quotas, volume_sizes
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout, TargetError
from ansible_collections.unshare.container.plugins.modules.containers import options_of

from ..specifications import specification
from ..state.counted_directories import Counted
from .test_check_mode import HEALTH
from .test_kept_network import InZone

M = 1 << 20
DATA = {"name": "data", "path": "/srv/data", "size": "32M"}


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    host = Counted()
    monkeypatch.setattr(quotas, "KINDS", dict.fromkeys(range(1), host.quota))
    monkeypatch.setattr(quotas.linux, "file_system_type", lambda descriptor: 0)
    return host


class Deployed(InZone):
    """A container that runs, with the directory of a volume."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.volume = self.layout.container("web") / "volumes" / "data"
        self.volume.mkdir(parents=True)

    def one(self, **given: t.Any) -> OneContainer:
        options = options_of({"health": HEALTH, **given}, "web")
        return OneContainer(self.layout, self.container, self.system, options, False)

    def sizes(self) -> dict[str, int]:
        found = volume_sizes.read(str(self.layout.container("web")))
        return {name: size.size for name, size in found.items()}


@pytest.fixture
def deployed(tmp_path: Path, own_launcher: None, monkeypatch: pytest.MonkeyPatch, counted: Counted) -> Deployed:
    monkeypatch.setattr(examination, "examine", lambda *arguments: examination.Examined([], []))
    return Deployed(tmp_path)


def test_v3_a_changed_size_is_a_change_and_no_restart(deployed: Deployed, counted: Counted) -> None:
    counted.limits[str(deployed.volume)] = 0
    result = deployed.bring(True, volumes=[DATA])
    assert result["changed"]
    assert deployed.sizes() == {}
    assert counted.did == []
    result = deployed.bring(False, volumes=[DATA])
    assert result["changed"]
    (difference,) = result["diff"] if isinstance(result["diff"], list) else [result["diff"]]
    assert "volume_sizes" not in difference["before"]
    assert difference["after"]["volume_sizes"] == {"data": "32M"}
    assert deployed.sizes() == {"data": 32 * M}
    assert counted.limits[str(deployed.volume)] == 32 * M
    assert not deployed.bring(False, volumes=[DATA])["changed"]
    assert not deployed.bring(True, volumes=[DATA])["changed"]
    assert not deployed.bring(False)["changed"]  # who says nothing of volumes changes nothing
    counted.limits[str(deployed.volume)] = 64 * M  # somebody has changed it by hand
    assert deployed.bring(True, volumes=[DATA])["changed"]
    assert deployed.bring(False)["changed"]
    assert counted.limits[str(deployed.volume)] == 32 * M
    assert deployed.bring(False, volumes=[])["changed"]
    assert deployed.sizes() == {}
    assert counted.limits[str(deployed.volume)] == 0


def test_v3_a_volume_without_a_size_gets_it_at_a_start(deployed: Deployed, counted: Counted) -> None:
    one = deployed.one(volumes=[DATA])
    assert one.bring(False, False)["changed"]
    (said,) = [said for said in one.warnings if "volume data" in said]
    assert "is kept to 32M from the next start on (state: restarted)" in said
    one = deployed.one(volumes=[DATA])
    assert not one.bring(False, False)["changed"]
    assert said in one.warnings
    assert counted.did == []


@pytest.mark.parametrize("check", [True, False])
def test_v3_what_cannot_be_kept_is_refused_before_anything_changes(
    deployed: Deployed, counted: Counted, check: bool
) -> None:
    counted.lack = "no quotas here: turn them on"
    with pytest.raises(TargetError) as error:
        deployed.bring(check, volumes=["other", DATA])
    assert str(error.value) == (
        "container 'web' is left as it is: volumes[1].size: the volume data cannot be kept to 32M here: "
        "no quotas here: turn them on; or say size_may_fail: true"
    )
    assert deployed.sizes() == {}
    one = deployed.one(volumes=[{**DATA, "size_may_fail": True}])
    assert one.bring(check, False)["changed"]
    (said,) = [said for said in one.warnings if "volume data" in said and "as size_may_fail allows" in said]
    assert said.startswith("volumes[0].size: the volume data is not kept to 32M, as size_may_fail allows: no quotas")


@pytest.mark.parametrize("check", [True, False])
def test_v3_no_size_is_below_what_is_there(deployed: Deployed, counted: Counted, check: bool) -> None:
    counted.limits[str(deployed.volume)] = 64 * M
    counted.holds[str(deployed.volume)] = 48 * M
    with pytest.raises(TargetError, match=r"volumes\[0\]\.size: the volume data holds 48M, which is more than 32M: "):
        deployed.bring(check, volumes=[DATA])
    assert deployed.bring(False, volumes=[{**DATA, "size": "48M"}])["changed"]
    counted.holds[str(deployed.volume)] = 49 * M  # a file system may let it have a little more
    assert not deployed.bring(check, volumes=[{**DATA, "size": "48M"}])["changed"]


def test_v3_what_has_lost_its_quotas_can_be_stopped(deployed: Deployed, counted: Counted) -> None:
    counted.limits[str(deployed.volume)] = 32 * M
    deployed.bring(False, volumes=[DATA])
    counted.lack = "quotas are off"
    with pytest.raises(TargetError, match=r"volumes\[data\]\.size: the volume data cannot be kept to 32M here: quotas"):
        deployed.bring(False)
    assert deployed.bring(True, volumes=[DATA], state="stopped")["changed"]
    assert deployed.bring(True, volumes=[DATA], state="absent")["changed"]
    with pytest.raises(TargetError, match="quotas are off"):
        deployed.bring(False, volumes=[{**DATA, "size": "64M"}], state="stopped")


def test_v3_damaged_sizes_are_written_anew_by_who_says_them(deployed: Deployed, counted: Counted) -> None:
    (deployed.layout.container("web") / "sizes.json").write_text("{")
    with pytest.raises(LauncherError, match="declare the container's volumes again"):
        deployed.bring(False)
    assert deployed.bring(False, volumes=[DATA])["changed"]
    assert deployed.sizes() == {"data": 32 * M}


def test_v3_wrong_sizes_name_the_option(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"^volumes\[0\]\.size: '1M' is not a size of 16M or more"):
        KeptSizes(Layout(tmp_path), "web", None, [{"name": "data", "size": "1M"}])
    with pytest.raises(TargetError, match=r"^web\.volumes\[0\]\.size: '1M' is not a size of 16M or more"):
        options_of({"volumes": [{"name": "data", "size": "1M"}]}, "web")


def test_v3_a_system_is_not_written_where_its_volumes_cannot_have_their_sizes(tmp_path: Path, counted: Counted) -> None:
    class Content:
        name = "web"
        specification = specification()

    layout, content = Layout(tmp_path), t.cast("t.Any", Content())
    assert sizes_kept(layout, content, None, True) == []
    assert sizes_kept(layout, content, [{}, {"name": "data", "size": 33554432}], True) == []
    counted.filter = True
    with pytest.raises(
        TargetError, match=r"nothing was changed\. volumes\[1\]\.size: .* has no filter of system calls"
    ):
        sizes_kept(layout, content, [{}, DATA], False)
    counted.lack = "no quotas here"
    (said,) = sizes_kept(layout, content, [{**DATA, "size_may_fail": True}], True)
    assert said.endswith("as size_may_fail allows: no quotas here")
