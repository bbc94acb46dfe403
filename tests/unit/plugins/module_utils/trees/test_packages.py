# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The packages of a tree, and how those of two trees differ."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import lookup
from ansible_collections.unshare.container.plugins.module_utils.state.tree_records import (
    TreeFacts,
    changed_packages,
    package_lines,
    parsed,
    record_text,
)
from ansible_collections.unshare.container.plugins.module_utils.state.trees import LIMIT
from ansible_collections.unshare.container.plugins.module_utils.trees import packages

DPKG = """\
Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.41-12
Description: the library
 Version: of a text that goes on

Package: libc6
Status: install ok installed
Architecture: i386
Version: 2.41-12

Package: gone
Status: deinstall ok config-files
Architecture: all
Version: 1

Package: nginx-light
Status: hold ok installed
Architecture: amd64
Version: 1.26.3-3
"""
APK = "C:Q1abc=\nP:musl\nV:1.2.5-r9\nA:x86_64\n\nP:busybox\nV:1.37.0-r12\n"


@pytest.fixture
def tree(tmp_path: Path) -> t.Iterator[int]:
    descriptor = lookup.open_root(str(tmp_path))
    yield descriptor
    os.close(descriptor)


def place(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def test_t2_packages_of_dpkg(tmp_path: Path, tree: int) -> None:
    place(tmp_path, "var/lib/dpkg/status", DPKG)
    assert packages.packages_of(tree) == {
        "libc6:amd64": "2.41-12",
        "libc6:i386": "2.41-12",
        "nginx-light": "1.26.3-3",
    }


@pytest.mark.parametrize("name", ["lib/apk/db/installed", "usr/lib/apk/db/installed"])
def test_t2_packages_of_apk(tmp_path: Path, tree: int, name: str) -> None:
    place(tmp_path, name, APK)
    assert packages.packages_of(tree) == {"musl": "1.2.5-r9", "busybox": "1.37.0-r12"}


def test_t2_a_tree_without_a_database_has_none(tree: int) -> None:
    assert packages.packages_of(tree) == {}
    assert packages.distribution_of(tree) == {}


def test_t2_no_link_leads_to_a_file_of_the_host(tmp_path: Path, tree: int) -> None:
    place(tmp_path, "var/lib/dpkg/other", DPKG)
    (tmp_path / "var/lib/dpkg/status").symlink_to("/var/lib/dpkg/status")
    assert packages.packages_of(tree) == {}
    (tmp_path / "var/lib/dpkg/status").unlink()
    (tmp_path / "var/lib/dpkg/status").symlink_to("/var/lib/dpkg/other")
    assert "nginx-light" in packages.packages_of(tree)


def test_t2_a_fifo_or_a_vast_file_keeps_nobody_waiting(tmp_path: Path, tree: int) -> None:
    (tmp_path / "var/lib/dpkg").mkdir(parents=True)
    os.mkfifo(tmp_path / "var/lib/dpkg/status")
    assert packages.packages_of(tree) == {}
    (tmp_path / "var/lib/dpkg/status").unlink()
    with open(tmp_path / "var/lib/dpkg/status", "wb") as file:
        file.truncate(packages.SIZE_LIMIT + 1)
    assert packages.packages_of(tree) == {}


def test_t2_the_distribution_is_told(tmp_path: Path, tree: int) -> None:
    place(tmp_path, "usr/lib/os-release", 'ID=debian\nVERSION_ID="13"\nPRETTY_NAME="Debian 13"\nX=\nBAD="\n')
    place(tmp_path, "etc/x", "")
    (tmp_path / "etc/os-release").symlink_to("../usr/lib/os-release")
    assert packages.distribution_of(tree) == {"id": "debian", "version_id": "13", "pretty_name": "Debian 13"}


def test_t2_what_differs_is_named_with_both_versions() -> None:
    changes = changed_packages({"a": "1", "b": "1", "c": "1"}, {"a": "2", "c": "1", "d": "1"})
    assert changes == [
        {"name": "a", "before": "1", "after": "2"},
        {"name": "b", "before": "1", "after": ""},
        {"name": "d", "before": "", "after": "1"},
    ]
    assert package_lines(changes, "before") == "a 1\nb 1\n"
    assert package_lines(changes, "after") == "a 2\nd 1\n"


LONG = "Package: {0:0200}\nVersion: {0:0200}\n\n"
BOMBS = {
    "packages of distinct names": "".join(f"Package: p{n}\nVersion: 1\n\n" for n in range(190_000)) + DPKG,
    "packages of long names": "".join(map(LONG.format, range(100_000))),
    "empty paragraphs": "\n" * (1 << 25),
    "one paragraph": "ab\n" * (1 << 24),
}


@pytest.mark.timeout(30)
@pytest.mark.parametrize("what", BOMBS)
def test_t2_a_vast_database_of_packages_is_read_up_to_a_limit(tmp_path: Path, tree: int, what: str) -> None:
    """What is told of it can be read again, whatever it holds."""
    place(tmp_path, "var/lib/dpkg/status", BOMBS[what])
    facts = TreeFacts(packages=packages.packages_of(tree))
    text = record_text(facts)
    assert len(text) < LIMIT
    assert TreeFacts.read(parsed(text)).packages == facts.packages


def test_no_package_speaks_to_the_terminal() -> None:
    """Names and versions are somebody else's, and stand in what `--diff` shows."""
    status = "Package: a\x1b[2J\nVersion: 1\r2\nStatus: install ok installed\n"
    assert packages.from_dpkg(status) == {"a?[2J": "1?2"}
    assert packages.from_apk("P:a\x9b\nV:1\x07\n") == {"a?": "1?"}
    assert packages.from_os_release("ID='\x1b[31m'\n") == {"id": "?[31m"}
