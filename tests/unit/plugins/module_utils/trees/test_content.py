# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""T2: the digest that names a tree is over all that its software sees: nobody makes another tree of the same name."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.trees.content import TreeContent
from ansible_collections.unshare.container.plugins.module_utils.trees.entries import Budget, Refused

from .small_trees import LIMIT, make_tree

PEM = "-----BEGIN CERTIFICATE-----\n"
CERTS, KEY = "etc/ssl/certs/ssl-cert-snakeoil.pem", "etc/ssl/private/ssl-cert-snakeoil.key"


def content(tree: Path, limit: int = LIMIT) -> TreeContent:
    return TreeContent(str(tree), Budget(limit))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Give a tree with the certificate of the package ssl-cert, and accounts."""
    path = make_tree(tmp_path / "tree")
    for name, text in ((CERTS, PEM), (KEY, PEM), ("etc/shadow", "root:*:19000:0:99999:7:::\nann:!:1\n")):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    return path


def link(name: str) -> t.Callable[[Path], None]:
    """Return what makes a link whose target is called as the certificate is."""
    return lambda tree: (tree / name).symlink_to(os.path.relpath(CERTS, os.path.dirname(name)))


def text(name: str, written: str) -> t.Callable[[Path], object]:
    return lambda tree: (tree / name).write_text(written)


OTHERS: dict[str, t.Callable[[Path], object]] = {
    "a link to the certificate elsewhere": link("etc/ld.so.preload"),
    "a link that is no hash": link("etc/ssl/certs/ca-certificates.crt"),
    "a certificate that is a program": text(CERTS, "#!/bin/sh\n"),
    "a key that is a vast file": text(KEY, PEM + "x" * (1 << 16)),
    "a password of a short line": text("etc/shadow", "root:*:19000:0:99999:7:::\nann::1\n"),
    "a field of a short line": text("etc/shadow", "root:*:19000:0:99999:7:::\nann:!\n"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_t2_what_only_looks_as_if_it_did_not_count_counts(tree: Path, what: str) -> None:
    before = content(tree).digest
    OTHERS[what](tree)
    assert content(tree).digest != before


def test_t2_an_account_far_behind_counts(tree: Path) -> None:
    found = set()
    for name in ("ann", "eve"):
        text("etc/shadow", "\n" * (5 << 20) + f"{name}:::\n")(tree)
        found.add(content(tree).digest)
    assert len(found) == 2


def test_t2_a_certificate_for_tests_does_not_count(tree: Path) -> None:
    """As ssl-cert makes it anew at each installation, with links by its hash."""
    before = content(tree).digest
    for name in (CERTS, KEY):
        text(name, PEM + "another\n")(tree)
    for name in ("0123abcd", "0123abcd.0"):
        (tree / "etc/ssl/certs" / name).symlink_to("ssl-cert-snakeoil.pem")
    text("etc/shadow", "root:*:20000:0:99999:7:::\nann:!:2\n")(tree)
    assert content(tree).digest == before


def test_t2_a_file_that_is_emptied_has_no_other_name(tree: Path) -> None:
    """Else the other one would be empty, too, and be counted with its content."""
    (tree / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    (tree / "etc/machine-id").hardlink_to(tree / "etc/passwd")
    with pytest.raises(Refused, match="etc/machine-id is to be empty, and is a hard link to another file"):
        content(tree)
    assert (tree / "etc/passwd").stat().st_size


def test_t2_a_file_with_several_names_is_counted_once_and_not_never(tree: Path) -> None:
    (tree / "usr/a").write_bytes(bytes(5000))
    (tree / "usr/b").hardlink_to(tree / "usr/a")
    size = content(tree).facts.size
    assert content(tree, 9000).facts.size == size
    with pytest.raises(Refused, match="would make the tree larger than 4000 bytes"):
        content(tree, 4000)
