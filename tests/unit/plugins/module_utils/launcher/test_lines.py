# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A text that somebody else can write to has the lines that its own format gives it, and no others."""

from __future__ import annotations

import pytest
from ansible_collections.unshare.container.plugins.module_utils.evaluation import programs
from ansible_collections.unshare.container.plugins.module_utils.evaluation.closure import Closure
from ansible_collections.unshare.container.plugins.module_utils.launcher import account, data, mount_table
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError

ENDS = list("\r\v\f\x1c\x1d\x1e\x85\u2028\u2029")
"""Where `str.splitlines` splits, and neither the kernel nor the C library does."""

ends = pytest.mark.parametrize("end", ENDS, ids=ascii)


def test_a_mount_is_read_with_its_escapes() -> None:
    line = r"36 35 98:0 /mnt\0401 /mnt2\011x rw,noatime shared:1 - ext3 /dev/ro\134ot rw,errors=continue"
    mount = mount_table.MountTableEntry(line)
    assert (mount.number, mount.device, mount.part, mount.point) == (36, "98:0", "/mnt 1", "/mnt2\tx")
    assert (mount.options, mount.kind, mount.source) == (["rw", "noatime"], "ext3", "/dev/ro\\ot")
    assert mount.settings == "rw,errors=continue"


@ends
def test_a_mount_point_may_hold_what_looks_like_the_end_of_a_line(end: str) -> None:
    text = f"36 35 0:9 / /mnt/x{end}36 y rw - tmpfs a{end}b rw,c{end}d\n37 36 0:10 / /sys rw - sysfs sysfs rw\n"
    (first, second) = mount_table.parse(text.replace(f"{end}36 y", f"{end}36\\040y").encode())
    assert (first.point, first.source, first.settings) == (f"/mnt/x{end}36 y", f"a{end}b", f"rw,c{end}d")
    assert (second.number, second.point) == (37, "/sys")


def test_a_line_of_an_unknown_kind_is_left_out() -> None:
    text = b"\nof another kind\nx y 0:9 / / rw - a b c\n37 36 0:10 / /\xff rw - sysfs sysfs rw\n"
    assert [mount.point for mount in mount_table.parse(text)] == ["/\udcff"]


@ends
def test_a_field_of_passwd_makes_no_account(end: str) -> None:
    passwd = f"web:x:1000:1000:A{end}admin:x:0:0::/:/bin/sh:/home/web:/bin/sh\n"
    passwd += f"mail:x:8:8:B{end}:/var/mail:/bin/bash\n"
    with pytest.raises(LauncherError, match="user admin"):
        account.Account.parse("admin", passwd, "")
    assert account.Account.parse("mail", passwd, "").shell == "/bin/bash"


@ends
def test_a_field_of_group_makes_no_group(end: str) -> None:
    group = f"users:x:100:{end}wheel:x:0:web\nweb:x:33:a,web\n"
    assert account.Account.parse("web", "web:x:1000:1000::/home/web:/bin/sh\n", group).groups == [1000, 33]


@ends
def test_a_description_makes_no_unit(end: str) -> None:
    table = f"a.service loaded failed failed Of{end}nobody.service\n\n  b.service loaded failed failed B\n"
    assert data.first_words(table) == ["a.service", "b.service"]


@pytest.mark.parametrize("end", [end for end in ENDS if end != "\r"], ids=ascii)
def test_a_value_of_a_virtual_environment_is_no_other(tmp_path: object, end: str) -> None:
    path = f"{tmp_path}/pyvenv.cfg"
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"command = x{end}home = /elsewhere\nhome = /usr/bin\n")
    assert programs.read_home(path) == "/usr/bin"


@pytest.mark.parametrize("blank", [*ENDS, "\xa0", "\u3000"], ids=ascii)
def test_the_words_of_a_first_line_are_the_kernels(blank: str) -> None:
    """Another path than the one that the kernel takes would come into the closure."""
    closure = Closure({})
    with pytest.raises(LauncherError, match="sh"):
        closure.add_script("/script", f"#!/bin/sh{blank}-e")
    assert not closure.files
    closure.add_script("/script", "#! \t/bin/sh\t -e ")
    assert closure.files
