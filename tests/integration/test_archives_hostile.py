# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Archives that somebody hostile has made, or that are damaged: nothing of them is imported, nor lies outside (V5)."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.life.container import Container
from ansible_collections.unshare.container.plugins.module_utils.state.tar_members import Member, TarKind
from ansible_collections.unshare.container.plugins.module_utils.state.target import TargetError

from .archives import digest, export, fill, made_by_hand, restore
from .lives import rounds, seeded

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

NAME = "test-hostile-archives"


@pytest.fixture
def filled(container: Container) -> Container:
    return fill(container)


def test_v5_nothing_of_a_damaged_archive_is_imported(filled: Container, tmp_path: Path) -> None:
    """Whatever bit is turned, and wherever it is cut off."""
    good = tmp_path / "good"
    export(NAME, good)
    whole, before = good.read_bytes(), digest(NAME)
    bad = tmp_path / "bad"
    choices = seeded()
    places = sorted({*range(0, 3000, 37), *choices.sample(range(len(whole)), rounds(60, 400)), len(whole) - 1})
    for place in places:
        changed = bytearray(whole)
        changed[place] ^= 1 << choices.randrange(8)
        bad.write_bytes(changed)
        with pytest.raises(TargetError, match="is refused|is an archive of|is not in the archive"):
            restore(NAME, bad, replace=True)
    for place in [*choices.sample(range(len(whole)), rounds(40, 200)), 0, 1, len(whole) - 512, len(whole) - 1]:
        bad.write_bytes(whole[:place])
        with pytest.raises(TargetError, match="is refused"):
            restore(NAME, bad, replace=True)
    bad.write_bytes(whole + bytes(512))
    with pytest.raises(TargetError, match="after its end"):
        restore(NAME, bad, replace=True, check=True)
    assert digest(NAME) == before
    assert os.listdir(filled.directory) == ["volumes"]


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_v5_nothing_of_a_damaged_compressed_archive_is_imported(
    filled: Container, tmp_path: Path, compression: str
) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    export(NAME, good, compression)
    whole, before = good.read_bytes(), digest(NAME)
    choices = seeded()
    for place in choices.sample(range(4, len(whole)), 30):
        bad.write_bytes(whole[:place])
        with pytest.raises(TargetError, match="is refused"):
            restore(NAME, bad, replace=True)
    assert digest(NAME) == before


TOP = Member(b"data", "5"), b""
HOSTILE_MEMBERS = {
    "upward": [TOP, (Member(b"data/../../x", "0"), b"")],
    "absolute": [TOP, (Member(b"/data/x", "0"), b"")],
    "other volume": [TOP, (Member(b"other/x", "0"), b"")],
    "no volume": [TOP, (Member(b".", "5"), b"")],
    "through a link": [TOP, (Member(b"data/l", "2", target=b"/tmp"), b""), (Member(b"data/l/x", "0"), b"")],
    "over a link": [TOP, (Member(b"data/l", "2", target=b"/tmp/x"), b""), (Member(b"data/l", "0"), b"")],
    "a volume that is a link": [(Member(b"data", "2", target=b"/tmp"), b"")],
    "hard link to outside": [TOP, (Member(b"data/h", "1", target=b"../../etc/shadow"), b"")],
    "absolute hard link": [TOP, (Member(b"data/h", "1", target=b"/etc/shadow"), b"")],
    "hard link through a link": [
        TOP,
        (Member(b"data/l", "2", target=b"/etc"), b""),
        (Member(b"data/h", "1", target=b"data/l/shadow"), b""),
    ],
    "hard link to a directory": [TOP, (Member(b"data/h", "1", target=b"data"), b"")],
    "attribute of the host": [TOP, (Member(b"data/f", "0", attributes={b"trusted.overlay.opaque": b"y"}), b"")],
    "sparse beyond its size": [TOP, (Member(b"data/f", "0", size=5, extents=[(3, 4)]), b"abcd")],
    "sparse backward": [TOP, (Member(b"data/f", "0", size=9, extents=[(5, 2), (1, 2)]), b"abcd")],
    "a file below a file": [TOP, (Member(b"data/f", "0"), b""), (Member(b"data/f/x", "0"), b"")],
    "too long a name": [TOP, (Member(b"data/" + b"x" * 256, "0"), b"")],
    "kept without a base": [TOP, (Member(b"data/f", TarKind.KEPT), b"")],
    "an owner that is none": [TOP, (Member(b"data/f", "0", uid=(1 << 32) - 1), b"")],
}


@pytest.mark.parametrize("case", HOSTILE_MEMBERS)
def test_v5_an_archive_that_leads_outside_is_refused(filled: Container, tmp_path: Path, case: str) -> None:
    before = digest(NAME)
    bad = made_by_hand(NAME, tmp_path / "bad", HOSTILE_MEMBERS[case])
    for check in (True, False):
        try:
            restore(NAME, bad, replace=True, check=check)
        except TargetError as error:
            said = str(error)
        else:
            said = "is refused" if check else "it was imported"  # check mode writes no link that could lead elsewhere
        assert "is refused" in said
    assert digest(NAME) == before
    assert os.listdir(filled.directory) == ["volumes"]
    assert os.listdir(tmp_path) == ["bad"]


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        ({"format": 2}, "of the format 2, .*use a newer one"),
        ({"container": "another"}, "is an archive of the container 'another'"),
        ({"volumes": ["data", "data"]}, "names a volume twice"),
        ({"volumes": ["data", "\ud800"]}, "its manifest is damaged .*is no name of a volume"),
        ({"volumes": ["data", "more"]}, "a volume that its manifest names is missing"),
        ({"more": 1}, "its manifest is damaged"),
    ],
)
def test_v5_another_archive_is_refused(
    filled: Container, tmp_path: Path, manifest: dict[str, t.Any], said: str
) -> None:
    before = digest(NAME)
    with pytest.raises(TargetError, match=said):
        restore(NAME, made_by_hand(NAME, tmp_path / "bad", [TOP], **manifest), replace=True)
    assert digest(NAME) == before
