# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Accounts of a container, whose files root inside writes."""

from __future__ import annotations

import pytest
from ansible_collections.unshare.container.plugins.module_utils.inside.account import Account
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError


@pytest.mark.parametrize("number", ["-1", "65536", "70000", "4294967295", "99999999999", "0x10", "\u0663", ""])
def test_an_id_that_no_container_has_is_none(number: str) -> None:
    """4294967295 would leave the ids of who enters as they are (setresuid(2))."""
    for line in (f"evil:x:{number}:0::/:/bin/sh", f"evil:x:1000:{number}::/:/bin/sh"):
        with pytest.raises(LauncherError, match="user evil"):
            Account.parse("evil", line, "")
    assert Account.parse("good", "good:x:1000:1000::/:/bin/sh", f"g:x:{number}:good").groups == [1000]


def test_the_highest_id_is_one() -> None:
    assert Account.parse("nobody", "nobody:x:65534:65535::/:/bin/sh", "g:x:65535:nobody").groups == [65535, 65535]
