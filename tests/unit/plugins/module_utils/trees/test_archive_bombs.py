# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""T2: no archive keeps its reader busy, or fills its memory, beyond what its size allows, whatever its headers say."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.state.target import TargetError
from ansible_collections.unshare.container.plugins.module_utils.trees import archives

from .small_trees import archive, directory, left, making, member

BLOCK, END = tarfile.BLOCKSIZE, bytes(2 * tarfile.BLOCKSIZE)


def block(content: bytes) -> bytes:
    """Return content as it stands in an archive."""
    return content + bytes(-len(content) % BLOCK)


def raw(name: str, kind: bytes, content: bytes = b"") -> bytes:
    """Return a member as it stands in an archive, of any kind and with any content."""
    info = tarfile.TarInfo(name)
    info.type, info.size, info.mode = kind, len(content), 0o755
    return info.tobuf(tarfile.GNU_FORMAT) + block(content)


def extended(words: dict[str, str], kind: bytes = tarfile.XHDTYPE) -> bytes:
    """Return an extended header."""
    lines = b""
    for name, value in words.items():
        text = f" {name}={value}\n"
        length = next(size for size in range(len(text), len(text) + 9) if size == len(f"{size}{text}"))
        lines += f"{length}{text}".encode()
    return raw("headers", kind, lines)


def old_sparse(blocks: int) -> bytes:
    """Return a file with holes as old GNU tar wrote it, whose list of holes has so many blocks, and no end."""
    info = tarfile.TarInfo("usr/f")
    info.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[482] = 1  # the list goes on
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    hole = b"00000000001\0" * 2
    return bytes(header) + (hole * 21 + b"\1").ljust(BLOCK, b"\0") * blocks


SPARSE = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "usr/f", "GNU.sparse.realsize": "9"}
HOLES = b"%d\n" % archives.HEADER_LIMIT + b"0\n" * archives.HEADER_LIMIT
TOO_LARGE = "the headers of one of its members are larger than"
BOMBS: dict[str, tuple[bytes, str]] = {
    "a chain of long names": (raw("name", tarfile.GNUTYPE_LONGNAME, b"abc\0") * 3000, f"is damaged|{TOO_LARGE}"),
    "a chain of extended headers": (extended({"comment": "x"}) * 3000, f"is damaged|{TOO_LARGE}"),
    "a list of holes": (extended(SPARSE) + raw("usr/f", tarfile.REGTYPE, HOLES), TOO_LARGE),
    "an old list of holes": (old_sparse(3000), TOO_LARGE),
    "headers for all members": (
        b"".join(extended({f"k{n}": "x"}, tarfile.XGLTYPE) + raw(f"usr/{n}", tarfile.REGTYPE) for n in range(99)),
        "it has more than 64 headers for all members",
    ),
    "digits without an end": (raw("headers", tarfile.XHDTYPE, b"1" * (1 << 19)), "more than 256 digits in a row"),
}


@pytest.mark.parametrize("what", BOMBS)
@pytest.mark.timeout(20)
def test_t2_a_bomb_of_headers_is_refused(tmp_path: Path, what: str) -> None:
    members, said = BOMBS[what]
    path = tmp_path / "a.tar"
    path.write_bytes(raw("usr", tarfile.DIRTYPE) + members + raw("usr/x", tarfile.REGTYPE) + END)
    with pytest.raises(TargetError, match=said):
        making(tmp_path / "root", "archive", {"path": str(path)}).reach("present")
    assert left(tmp_path / "root") == []


def test_t2_holes_and_headers_of_an_honest_archive_are_read(tmp_path: Path) -> None:
    """Some for all members, as `git archive` writes them, and a file with more holes than one block lists."""
    holes = [f"{place * 1024}\n512\n" for place in range(400)]
    content = block(f"{len(holes)}\n{''.join(holes)}".encode()) + b"x" * 512 * len(holes)
    words = {**SPARSE, "GNU.sparse.realsize": str(1024 * len(holes))}
    path = tmp_path / "a.tar"
    path.write_bytes(
        extended({"comment": "0" * 40}, tarfile.XGLTYPE)
        + raw("usr", tarfile.DIRTYPE)
        + extended(words)
        + raw("usr/f", tarfile.REGTYPE, content)
        + END
    )
    made = making(tmp_path / "root", "archive", {"path": str(path)}).reach("present")
    assert Path(made["root"], "usr/f").read_bytes() == (b"x" * 512 + bytes(512)) * len(holes)


@pytest.mark.parametrize(("attribute", "value"), [("security.capability", "none"), ("user.a", "x" * 70_000)])
@pytest.mark.root
def test_t2_an_attribute_that_cannot_be_set_is_refused_by_its_file(tmp_path: Path, attribute: str, value: str) -> None:
    path = archive(
        tmp_path / "a.tar", directory("usr"), member("usr/f", pax_headers={f"SCHILY.xattr.{attribute}": value})
    )
    with pytest.raises(TargetError, match=f"'usr/f' has the attribute '{attribute}', which cannot be set to its"):
        making(tmp_path / "root", "archive", {"path": str(path)}).reach("present")
    assert left(tmp_path / "root") == []


def test_t2_an_archive_that_ends_behind_a_block_of_zeros_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    members = raw("usr", tarfile.DIRTYPE) + raw("usr/zeros", tarfile.REGTYPE, bytes(BLOCK))
    path.write_bytes(members)
    with pytest.raises(TargetError, match="it is cut off"):
        making(tmp_path / "root", "archive", {"path": str(path)}).reach("present")
    path.write_bytes(members + END)
    assert making(tmp_path / "root", "archive", {"path": str(path)}).reach("present")["size"] == BLOCK
