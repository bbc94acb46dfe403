# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which units run software that the host has replaced: of lists and names that root inside may have made."""

from __future__ import annotations

import pytest
from ansible_collections.unshare.container.plugins.module_utils.inside import outdated

LINE = b"55d0-55d1 r-xp 00000000 fe:00 123                  "
REDIS, LIBRARY = b"/usr/bin/redis-server", b"/usr/lib/x/libc.so.6"
MAPS = {
    "cases_B18_program": (LINE + REDIS + b" (deleted)\n", [REDIS]),
    "cases_B18_library": (LINE + b"[heap]\n" + LINE + LIBRARY + b" (deleted)\n", [LIBRARY]),
    "cases_B18_both": ((LINE + REDIS + b" (deleted)\n" + LINE + LIBRARY + b" (deleted)\n") * 2, [REDIS, LIBRARY]),
    "cases_B18_spaces": (LINE + b"/usr/lib/a b (deleted)\n", [b"/usr/lib/a b"]),
    "cases_B18_no_end": (LINE + b"/usr/lib/x (deleted)", [b"/usr/lib/x"]),
    "cases_B18_there": (LINE + b"/usr/bin/redis-server\n", []),
    "cases_B18_memory": (LINE + b"/memfd:/usr/bin/x (deleted)\n" + LINE + b"/dev/zero (deleted)\n", []),
    "cases_B18_shared_memory": (LINE + b"/SYSV00000000 (deleted)\n", []),
    "cases_B18_own_file": (LINE + b"/var/tmp/usr/x (deleted)\n" + LINE + b"/usrx/y (deleted)\n", []),
    "cases_B18_name_of_a_file": (LINE + b"/usr/lib/(deleted) x\n" + LINE + b"/x (deleted)/usr/y\n", []),
    "cases_B18_newline": (LINE + b"/x\\012/usr/y (deleted)\n", []),
    "cases_B18_nothing": (b"", []),
    "cases_B18_garbage": (b" (deleted)\n\n\0 (deleted)\n", []),
}


@pytest.mark.parametrize("case", MAPS)
def test_files_of_the_store_that_are_no_more(case: str) -> None:
    maps, expected = MAPS[case]
    assert outdated.deleted_files(maps, b"/usr/") == expected


GROUPS = {
    "0::/unshare/web/payload/system.slice/redis.service\n": "redis.service",
    "1:name=systemd:/x\n0::/unshare/web/payload/init.scope\n": "init.scope",
    "0::/unshare/web/payload/user.slice/user-1.slice/user@1.service/app.slice/x.service\n": "user@1.service",
    "0::/machine.slice/a.service/unshare/web/payload/system.slice/b.service\n": "b.service",
    "0::/unshare/web/payload\n": "-.slice",
    "0::/unshare/web/payload/x\033[31m y\n": "x\\x1b\\x5b31m\\x20y",
    "0::/unshare/web/payload/a%s'\"\\\n": "a\\x25s\\x27\\x22\\x5c",
    "0::/unshare/web/payload/\udcff\n": "\\xff",
    "0::/unshare/web/payload/" + "a" * 300 + "\n": "a" * 252 + "...",
    "0::/unshare/web/payload/system.slice/_cpu.service\n": "cpu.service",
    "0::/unshare/web/payload/system.slice/__own.service\n": "_own.service",
    "0::/unshare/web/payload/_group\n": "_group",
    "0::/unshare/web2/payload/system.slice/x.service\n": None,
    "0::/unshare/web/entered\n": None,
    "0::/\n": None,
    "": None,
}


@pytest.mark.parametrize("groups", GROUPS)
def test_the_unit_of_a_process(groups: str) -> None:
    assert outdated.unit_in(groups, "unshare/web/payload") == GROUPS[groups]


@pytest.mark.parametrize("name", ["redis-server.service", "a\\x2db@1.service", "a b%\033", "user@1.service", "x\\y"])
def test_an_escaped_name_is_found_again(name: str) -> None:
    assert outdated.name_of_escaped(outdated.escape(name)) == name


def test_a_path_is_shown_as_it_is_unless_it_would_lead_astray() -> None:
    assert outdated.escape(b"/usr/lib/a b+~.so", outdated.IN_PATHS, 99) == "/usr/lib/a b+~.so"
    assert outdated.escape(b"/usr/\t\n\xff\\", outdated.IN_PATHS, 99) == "/usr/\\x09\\x0a\\xff\\x5c"
    assert outdated.escape(b"/usr/" + b"x" * 99, outdated.IN_PATHS, 10) == "/usr/xx..."
