# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Accounts of a container, whose files root inside writes."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.inside.account import Account
from ansible_collections.unshare.container.plugins.module_utils.launcher import lookup
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError


@pytest.mark.parametrize("number", ["-1", "65536", "70000", "4294967295", "99999999999", "0x10", "\u0663", ""])
def test_an_id_that_no_container_has_is_none(number: str) -> None:
    """4294967295 would leave the ids of who enters as they are (setresuid(2))."""
    for line in (f"evil:x:{number}:0::/:/bin/sh", f"evil:x:1000:{number}::/:/bin/sh"):
        with pytest.raises(LauncherError, match="user evil"):
            Account.parse("evil", line, "")
    assert Account.parse("good", "good:x:1000:1000::/:/bin/sh", f"g:x:{number}:good").groups == [1000]


UNUSABLE = {
    "a NUL in the home": "{0}:x:{1}:{1}:r:/ro\0ot:/bin/sh",
    "a NUL in the shell": "{0}:x:{1}:{1}:r:/root:/bin/\0sh",
    "a NUL in what is not read": "{0}:x\0:{1}:{1}:r:/root:/bin/sh",
    "a long home": "{0}:x:{1}:{1}:r:/" + "a" * 300_000 + ":/bin/sh",
    "a home of long characters": "{0}:x:{1}:{1}:r:/" + "\ufffd" * 1366 + ":/bin/sh",
    "a long shell": "{0}:x:{1}:{1}:r:/root:/" + "b/" * 100_000,
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_a_line_that_no_program_could_be_run_with_is_none(case: str) -> None:
    """Root can be entered all the same; of two lines the one that can be used is taken."""
    line = UNUSABLE[case]
    for user in ("root", "0"):
        account = Account.parse(user, line.format("root", 0), "")
        assert (account.name, account.uid, account.home, account.shell) == ("root", 0, "/root", "/bin/sh")
    with pytest.raises(LauncherError, match="user evil"):
        Account.parse("evil", line.format("evil", 1000), "")
    assert Account.parse("evil", line.format("evil", 1000) + "\nevil:x:7:7::/:/bin/sh", "").uid == 7


@pytest.mark.parametrize("line", ["root:x:65535:0:r:/:/bin/sh", "root:x:1:1:r:/:/x", "0:x:1000:0:r:/:/x"])
@pytest.mark.parametrize("user", ["root", "0"])
def test_root_is_root_whatever_its_line_says(line: str, user: str) -> None:
    assert Account.parse(user, line, "").uid == 0
    assert Account.parse(user, line + "\ntoor:x:0:5:r:/toor:/x\nroot:x:00:5:r:/toor:/x", "").home == "/toor"


def test_the_longest_path_is_one() -> None:
    path = "/" + "a" * 4094
    account = Account.parse("app", f"app:x:5:6:r:{path}:{path}", "")
    assert (account.home, account.shell) == (path, path)


def test_more_groups_than_a_process_can_have_are_left_out() -> None:
    group = "\n".join(f"g:x:{number % 65536}:root" for number in range(70_000))
    account = Account.parse("root", "root:x:0:7:r:/root:/bin/sh", group)
    assert len(account.groups) == 65536
    assert account.groups[0] == 7


def test_the_highest_id_is_one() -> None:
    assert Account.parse("nobody", "nobody:x:65534:65535::/:/bin/sh", "g:x:65535:nobody").groups == [65535, 65535]


@pytest.mark.parametrize(
    ("line", "home", "shell"),
    [("a:x:5:6:::", "/", "/bin/sh"), ("a:x:5:6:r:/h:/s", "/h", "/s"), ("b:x:5:6::/h:", "/h", "/bin/sh")],
)
def test_what_a_line_leaves_out(line: str, home: str, shell: str) -> None:
    account = Account.parse("5", f"none\n{line}\na:x:5:7::/other:/other", "")
    assert (account.name, account.uid, account.gid) == (line[0], 5, 6)
    assert (account.home, account.shell, account.groups) == (home, shell, [6])


@pytest.mark.parametrize(
    ("line", "groups"),
    [
        ("g:x:7:a", [6, 7]),
        ("g:x:7:b,a,c", [6, 7]),
        ("g:x:7:aa", [6]),
        ("g:x:7:", [6]),
        ("g:x:7:a:b", [6]),
        ("g:x:7", [6]),
        ("g:x:x:a", [6]),
        ("g:x:7:a\ng:x:8:a", [6, 7, 8]),
    ],
)
def test_the_groups_of_a_user(line: str, groups: list[int]) -> None:
    assert Account.parse("a", "a:x:5:6::/:/s", line).groups == groups


@pytest.fixture
def find(tmp_path: Path) -> t.Callable[[str], Account]:
    """Return a function that finds a user by the files below a directory, which leaves nothing open."""
    (tmp_path / "etc").mkdir()
    before = os.listdir("/proc/self/fd")

    def find(user: str) -> Account:
        root = lookup.open_root(str(tmp_path))
        try:
            return Account.find(root, user)
        finally:
            os.close(root)
            assert os.listdir("/proc/self/fd") == before

    return find


def test_an_account_is_found_in_the_containers_files(tmp_path: Path, find: t.Callable[[str], Account]) -> None:
    (tmp_path / "etc/passwd").write_bytes(b"\xff:x:1:1::/:/s\na:x:5:6::/h:/s\n")
    assert find("a").groups == [6]  # without a file of groups
    (tmp_path / "etc/group").write_text("g:x:7:a\n")
    account = find("a")
    assert (account.name, account.uid, account.gid, account.home, account.shell) == ("a", 5, 6, "/h", "/s")
    assert account.groups == [6, 7]
    with pytest.raises(LauncherError, match=r"^user b: is not in the container's /etc/passwd$"):
        find("b")


@pytest.mark.parametrize("file", ["passwd", "group"])
@pytest.mark.parametrize("kind", ["directory", "fifo", "link"])
def test_what_is_no_file_keeps_out_all_but_root(
    tmp_path: Path, find: t.Callable[[str], Account], file: str, kind: str
) -> None:
    (tmp_path / "etc/passwd").write_text("root:x:0:9:r:/r:/r\na:x:5:6::/h:/s\n")
    (tmp_path / "etc" / file).unlink(missing_ok=True)
    if kind == "directory":
        (tmp_path / "etc" / file).mkdir()
    elif kind == "fifo":
        os.mkfifo(tmp_path / "etc" / file)
    else:
        (tmp_path / "etc" / file).symlink_to(file)
    said = r"symbolic links" if kind == "link" else rf"^/etc/{file}: is not a file in this container$"
    with pytest.raises((OSError, LauncherError), match=said):
        find("a")
    for user in ("root", "0"):
        account = find(user)
        assert (account.name, account.uid, account.gid, account.home, account.shell) == (
            "root",
            0,
            0,
            "/root",
            "/bin/sh",
        )


def test_a_long_file_is_looked_at_as_far_as_its_bound(tmp_path: Path, find: t.Callable[[str], Account]) -> None:
    padding = "#" * ((1 << 20) - 20) + "\n"
    (tmp_path / "etc/passwd").write_text(padding + "a:x:5:6::/h:/s\nb:x:5:6::/h:/s\n")
    assert find("a").uid == 5
    with pytest.raises(LauncherError, match="^user b: "):
        find("b")
