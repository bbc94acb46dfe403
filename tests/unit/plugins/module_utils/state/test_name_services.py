# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Users and groups that a container's own files do not name may be there by what else its system has."""

from __future__ import annotations

import pytest
from ansible_collections.unshare.container.plugins.module_utils.state.name_services import has_others


@pytest.mark.parametrize(
    ("text", "others"),
    [
        ("", False),
        ("passwd: files systemd\ngroup: files [SUCCESS=merge] systemd\n", False),
        ("hosts: files dns\n# passwd: sss\n", False),
        ("passwd: files # sss\n", False),
        ("passwd: files sss\n", True),
        ("passwd: files\n  group : files ldap\n", True),
        (None, True),
    ],
)
def test_by_name_services(text: str | None, others: bool) -> None:
    assert has_others(["/etc/passwd"], ["/usr", "/"], text) is others


@pytest.mark.parametrize(
    ("files", "points", "others"),
    [
        (["/etc/userdb/a.user"], [], True),
        (["/etc/sysusers.d/a.conf"], [], True),
        (["/etc/userdb.conf", "/usr/lib/sysusers.d/a"], [], False),
        ([], ["/etc"], True),
        ([], ["/etc/passwd"], True),
        ([], ["/etc/nsswitch.conf"], True),
        ([], ["/etc/userdb/a.user"], True),
        ([], ["/etc/passwd.d", "/etc/ssl", "/home", "/"], False),
    ],
)
def test_by_files_and_mounts(files: list[str], points: list[str], others: bool) -> None:
    assert has_others(files, points, "passwd: files\n") is others
