# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Root inside against the size of its volume (V3): it leaves no limit, lifts none, and fills no disk with empty files.

On a btrfs here; on ext4 and xfs with project quotas in `tests/hosts`.
"""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import quota_calls
from ansible_collections.unshare.container.plugins.module_utils.state import btrfs_quotas
from ansible_collections.unshare.container.plugins.module_utils.state.target import TargetError

from .size_attempts import ATTEMPTS, EMPTY_FILES, FILL, FULL
from .sized_volumes import M, Sized, btrfs

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

NAME = "test-isolation-sizes"
DATA, BESIDE = {"name": "data", "size": "32M"}, {"name": "beside", "size": "64M"}


@pytest.fixture
def sized(tmp_path: Path, host_unchanged: None) -> t.Iterator[Sized]:
    with btrfs(tmp_path, NAME) as path:
        found = Sized(path, NAME)
        yield found
        found.close()


def got_through(sized: Sized) -> set[str]:
    """Return which attempts root inside succeeds in."""
    words = json.loads(sized.inside().output("python3", "-c", ATTEMPTS))
    assert len(words) > 10, words
    return {name for name, word in words.items() if word == "ok"}


def test_v3_root_inside_leaves_no_limit_and_lifts_none(sized: Sized) -> None:
    sized.bring(DATA, BESIDE)
    assert got_through(sized) == set()
    assert not os.path.lexists(sized.volume("data") / "sub")
    assert (sized.limit("data"), sized.limit("beside")) == (32 * M, 64 * M)
    number, written = sized.fill()
    assert number in FULL
    assert written <= 32 * M


def test_v3_it_is_the_filter_that_keeps_root_inside_from_making_subvolumes(sized: Sized) -> None:
    """So a container without one has no size: what it makes would count for none."""
    sized.bring({"name": "data"}, {"name": "beside"}, filtered=False)
    assert got_through(sized) >= {"subvolume"}
    assert (sized.volume("data") / "sub").stat().st_ino == btrfs_quotas.ROOT
    with pytest.raises(TargetError, match="has no filter of system calls"):
        sized.bring(DATA, {"name": "beside"}, filtered=False)


def test_v3_no_way_leads_back_to_a_filter_that_lets_root_inside_make_subvolumes(
    sized: Sized, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is one of a system that a former version has written, when volumes had no sizes."""
    with monkeypatch.context() as former:
        former.setattr(quota_calls, "BTRFS_REFUSED", ())
        sized.bring({"name": "data"}, {"name": "beside"})
    assert got_through(sized) >= {"subvolume"}
    sized.inside().output("rmdir", "/srv/data/sub")
    sized.bring(DATA, BESIDE, security={"no_new_privileges": True})
    pid = sized.container.status().pid
    for check in (True, False):
        with pytest.raises(TargetError, match=r"volumes\[beside\]\.size: .* keeps it from making subvolumes"):
            sized.back(check)
    assert sized.container.status().pid == pid
    assert got_through(sized) == set()


def test_v3_empty_files_are_full_as_well(sized: Sized) -> None:
    sized.bring({**DATA, "size": "16M"}, BESIDE)
    number, count = sized.inside().output("python3", "-c", EMPTY_FILES).split()
    assert number in FULL
    assert int(count) > 1000
    sized.inside().output("sh", "-c", "head -c 30M /dev/zero > /srv/beside/file && sync /srv/beside/file")
    sized.inside().output("rm", "-r", "/srv/data/many")
    sized.bring({**DATA, "size": "16M"}, BESIDE, state="restarted")
    assert sized.inside().output("python3", "-c", FILL).split()[0] in FULL


def test_v3_what_root_inside_leaves_leads_the_host_nowhere(sized: Sized, tmp_path: Path) -> None:
    """While a volume gets its first size, all that is in it is copied: links, deep trees and odd names of its own."""
    (tmp_path / "precious").write_text("stays")
    sized.bring({"name": "data"})
    sized.inside().output(
        "python3",
        "-c",
        "import os; os.chdir('/srv/data')\n"
        f"os.symlink('{tmp_path}', 'link'); os.symlink('{tmp_path}/precious', b'new\\nline \\xff')\n"
        "os.mkfifo('fifo'); open('file', 'w'); os.link('file', 'other')\n"
        "for _ in range(500): os.mkdir('d'); os.chdir('d')\n",
    )
    before = sized.inside().output("sh", "-c", "find /srv/data -printf '%P %y %m %U:%G %n %l\\n' | sort | sha256sum")
    sized.bring({"name": "data", "size": "64M"}, state="restarted")
    assert sized.limit("data") == 64 * M
    after = sized.inside().output("sh", "-c", "find /srv/data -printf '%P %y %m %U:%G %n %l\\n' | sort | sha256sum")
    assert after == before
    assert (tmp_path / "precious").read_text() == "stays"
