# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""An archive that has only what changed since another: the two give what one would, whatever root inside does (V5)."""

from __future__ import annotations

import os
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.life.container import Container
from ansible_collections.unshare.container.plugins.module_utils.state import increments
from ansible_collections.unshare.container.plugins.module_utils.state.increments import Moment
from ansible_collections.unshare.container.plugins.module_utils.state.tar_members import Member, TarKind
from ansible_collections.unshare.container.plugins.module_utils.state.target import TargetError

from .archives import another, data_of, digest, export, fill, made_by_hand, reach, restore, system
from .conftest import Machine

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

NAME = "test-added-archives"
OTHER = "test-added-archives-other"

FIRST = """
import os
os.chdir("/srv/data")
open("same", "wb").write(os.urandom(3_000_000)); os.setxattr("same", "user.said", bytes(range(256)))
os.mkdir("sub"); os.chown("sub", 12, 34); os.link("same", "sub/again")
open("sub/moved", "w").write("moved"); os.mkdir("gone"); open("gone/file", "w").write("gone")
open(b"odd\\n\\xff", "w").write("odd"); os.symlink("same", "link"); os.mkfifo("pipe")
open("a" * 200, "w").write("long"); open("becomes", "w").write("a file"); os.mkdir("became")
with open("sparse", "wb") as file:
    file.truncate(1 << 40); file.seek(1 << 30); file.write(b"here")
open("forged", "w").write("before"); os.utime("forged", ns=(1, 1234567890123456789))
open("owned", "w").write("owned"); open("named", "w").write("named")
open("mapped", "wb").write(bytes(4096))
"""
SECOND = """
import os, shutil
os.chdir("/srv/data")
shutil.rmtree("gone"); os.rename("sub", "other"); open("new", "w").write("new")
os.remove("becomes"); os.mkdir("becomes"); os.rmdir("became"); open("became", "w").write("a file")
with open("forged", "r+") as file:
    file.write("after!")
os.utime("forged", ns=(1, 1234567890123456789))
os.chown("owned", 1234, 4321); os.setxattr("named", "user.new", b"new")
"""
MAPPED = """
import mmap, os, sys
file = os.open("/srv/data/mapped", os.O_RDWR)
memory = mmap.mmap(file, 4096)
memory[:6] = b"before"
print("written", flush=True)
sys.stdin.readline()
memory[:6] = b"after!"
print("written", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def filled(container: Container) -> Container:
    return fill(container)


@pytest.fixture
def other(host_unchanged: None) -> t.Iterator[Container]:
    with another(OTHER) as container:
        yield container


@pytest.fixture
def no_margin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have files be known again that were changed just before, as if that were long ago."""
    monkeypatch.setattr(increments, "CLOCK_MARGIN", -(10**12))


def test_v5_the_two_give_what_there_was(
    container: Container, other: Container, tmp_path: Path, no_margin: None
) -> None:
    """Also of a file that is written through a mapping, and of one whose size and time are as they were."""
    made = system(NAME)
    reach(container, system=made)
    machine = Machine(NAME, made)
    machine.output("/usr/bin/python3", "-c", FIRST)
    words = [str(made / "enter-container"), "--", "/usr/bin/python3", "-c", MAPPED]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True) as mapping:
        assert mapping.stdin is not None
        assert mapping.stdout is not None
        try:
            assert mapping.stdout.readline() == "written\n"
            base, rest = tmp_path / "base", tmp_path / "rest"
            export(NAME, base)
            machine.output("/usr/bin/python3", "-c", SECOND)
            mapping.stdin.write("\n")
            mapping.stdin.flush()
            assert mapping.stdout.readline() == "written\n"
            exported = export(NAME, rest, base=base)
        finally:
            mapping.kill()
    assert exported["consistent"] == "frozen"
    assert exported["warnings"] == []
    assert rest.stat().st_size < 100_000
    before = digest(NAME)
    assert exported["volumes"][0]["files"] == len(before)
    examined = restore(OTHER, rest, other=NAME, base=base, check=True)
    assert not os.path.exists(other.directory)
    imported = restore(OTHER, rest, other=NAME, base=base)
    assert exported["volumes"] == examined["volumes"] == imported["volumes"]
    assert exported["base"] == imported["base"] == "sha256:" + checksum_of(base)
    assert digest(OTHER) == before
    assert (data_of(OTHER) / "forged").read_text() == "after!"
    assert (data_of(OTHER) / "mapped").read_bytes()[:6] == b"after!"
    assert (data_of(OTHER) / "same").stat().st_nlink == 2
    assert os.listdir(other.directory) == ["volumes"]
    assert os.listdir(data_of(OTHER).parent) == ["data"]


def checksum_of(path: Path) -> str:
    return subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout.split()[0]


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_v5_the_rest_can_be_compressed(
    filled: Container, other: Container, tmp_path: Path, no_margin: None, compression: str
) -> None:
    base, rest = tmp_path / "base", tmp_path / "rest"
    export(NAME, base)
    (data_of(NAME) / "new").write_text("new")
    export(NAME, rest, compression, base=base)
    restore(OTHER, rest, other=NAME, base=base)
    assert digest(OTHER) == digest(NAME)


def written_in(path: Path) -> set[str]:
    """Return the files that an archive has itself."""
    said = subprocess.run(["tar", "-tvf", path], capture_output=True, text=True, check=True).stdout
    return {line.split()[5] for line in said.splitlines() if line.startswith("-") and "unshare-archive" not in line}


ALL = {"data/file", "data/directory/other"}


def test_v5_what_changed_shortly_before_the_base_was_read_is_written_again(filled: Container, tmp_path: Path) -> None:
    """A later change can have the same time, where clocks tick in hundredths of a second."""
    export(NAME, tmp_path / "base")
    export(NAME, tmp_path / "rest", base=tmp_path / "base")
    assert written_in(tmp_path / "rest") == ALL


def another_boot(self: Moment) -> Moment:
    return self._replace(boot="another")


def set_back(self: Moment) -> Moment:
    return self._replace(time=self.time - 2 * 10**9)


@pytest.mark.parametrize(("change", "said"), [(another_boot, "has started anew"), (set_back, "the clock was set back")])
def test_v5_all_is_written_when_times_do_not_tell(
    filled: Container,
    tmp_path: Path,
    no_margin: None,
    monkeypatch: pytest.MonkeyPatch,
    change: t.Callable[[Moment], Moment],
    said: str,
) -> None:
    base, rest = tmp_path / "base", tmp_path / "rest"
    export(NAME, base)
    export(NAME, rest, base=base)
    assert written_in(rest) == set()
    later = change(Moment.now())
    monkeypatch.setattr(Moment, "now", lambda: later)
    [warning] = export(NAME, rest, base=base)["warnings"]
    assert said in warning
    assert written_in(rest) == ALL
    before = digest(NAME)
    restore(NAME, rest, base=base, replace=True)
    assert digest(NAME) == before


def test_v5_a_base_that_does_not_fit_is_refused(filled: Container, other: Container, tmp_path: Path) -> None:
    base, rest = tmp_path / "base", tmp_path / "rest"
    export(NAME, base)
    export(NAME, rest, base=base)
    export(NAME, tmp_path / "later")
    export(NAME, tmp_path / "packed", "zstd")
    damaged = bytearray(base.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "damaged").write_bytes(damaged)
    (tmp_path / "cut").write_bytes(damaged[:2048])
    fill(other)
    export(OTHER, tmp_path / "of-other")
    there = sorted(os.listdir(tmp_path))
    for number, (name, said) in enumerate(
        {
            "damaged": "base: .*damaged is refused",
            "cut": "base: .*cut is refused: it is cut off",
            "packed": "base: .*packed is refused: it is compressed",
            "rest": "base: .*rest is refused: it has only what had changed",
            "missing": "base: .*missing cannot be read",
            "of-other": "is an archive of 'test-added-archives-other'",
            "later": "another than the one to which that of `path` adds",
        }.items()
    ):
        before = digest(NAME)
        for check in (False, True) if name != "missing" else (False,):
            with pytest.raises(TargetError, match=said):
                restore(NAME, rest, base=tmp_path / name, replace=True, check=check)
            if number < 5:
                with pytest.raises(TargetError, match=said):
                    export(NAME, tmp_path / "new", base=tmp_path / name, check=check)
        assert digest(NAME) == before
        assert os.listdir(filled.directory) == ["volumes"]
        assert sorted(os.listdir(tmp_path)) == there
    with pytest.raises(TargetError, match="of the container 'test-added-archives-other', and not of"):
        export(NAME, tmp_path / "new", base=tmp_path / "of-other")
    with pytest.raises(TargetError, match="is what the export would replace"):
        export(NAME, base, base=base)
    with pytest.raises(TargetError, match="name that one as `base`"):
        restore(NAME, rest, replace=True)
    with pytest.raises(TargetError, match="is named for nothing"):
        restore(NAME, base, base=base, replace=True)
    assert "is not there" in export(NAME, tmp_path / "new", base=tmp_path / "missing", check=True)["warnings"][0]


TOP = Member(b"data", "5"), b""
KEPT = Member(b"data/f", TarKind.KEPT), b""
HOSTILE: dict[str, tuple[list[tuple[Member, bytes]], list[tuple[Member, bytes]]]] = {
    "missing": ([TOP], [TOP, KEPT]),
    "a directory": ([TOP, (Member(b"data/f", "5"), b"")], [TOP, KEPT]),
    "a link": ([TOP, (Member(b"data/f", "2", target=b"/etc/shadow"), b"")], [TOP, KEPT]),
    "through a link": (
        [TOP, (Member(b"data/l", "2", target=b"/etc"), b"")],
        [TOP, (Member(b"data/l", "5"), b""), (Member(b"data/l/shadow", TarKind.KEPT), b"")],
    ),
    "twice": ([TOP, (Member(b"data/f", "0"), b"")], [TOP, KEPT, KEPT]),
    "over another": ([TOP, (Member(b"data/f", "0"), b"")], [TOP, (Member(b"data/f", "0"), b""), KEPT]),
    "upward": ([TOP], [TOP, (Member(b"data/../../x", TarKind.KEPT), b"")]),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_v5_what_is_kept_is_a_file_of_the_base(filled: Container, tmp_path: Path, case: str) -> None:
    before = digest(NAME)
    of_base, added = HOSTILE[case]
    base = made_by_hand(NAME, tmp_path / "base", of_base)
    rest = made_by_hand(NAME, tmp_path / "rest", added, base=checksum_of(base))
    with pytest.raises(TargetError, match="is refused"):
        restore(NAME, rest, base=base, replace=True)
    assert digest(NAME) == before
    assert os.listdir(filled.directory) == ["volumes"]
    assert sorted(os.listdir(tmp_path)) == ["base", "rest"]
