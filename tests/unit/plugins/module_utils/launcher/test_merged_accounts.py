# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A declaration's accounts beside those that a machine has already (T5)."""

from __future__ import annotations

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.launcher.merged_accounts import (
    GROUP,
    GSHADOW,
    PASSWD,
    SHADOW,
    merge,
)
from ansible_collections.unshare.container.plugins.module_utils.launcher.owners import Owners
from hypothesis import given
from hypothesis import strategies as st

OWN = {
    PASSWD: "root:x:0:0:root:/root:/bin/bash\nbus:x:100:101::/none:/bin/false\n",
    GROUP: "root:x:0:\nsudo:x:27:root\nbus:x:101:\nusers:x:100:\n",
    SHADOW: "root:secret:1:0:99999:7:::\nbus:!:1::::::\n",
    GSHADOW: "root:*::\nsudo:*::root\nbus:!::\n",
}


def declared(name: str, uid: int, gid: int, password: str = "!", members: str = "") -> dict[str, str]:
    return {
        PASSWD: f"{name}:x:{uid}:{gid}:declared:/home/{name}:/bin/sh\n",
        GROUP: f"{name}:x:{gid}:{members}\n",
        SHADOW: f"{name}:{password}::0:99999:7:::\n",
        GSHADOW: f"{name}:*::{members}\n",
    }


def test_a_new_account_is_added_to_those_that_are_there() -> None:
    texts, owners = merge(OWN, declared("ann", 1000, 1000), {"ann": True}, {"ann": True})
    for path, text in texts.items():
        assert text.startswith(OWN[path])
        assert text.count("\n") == OWN[path].count("\n") + 1
    assert "ann:x:1000:1000:declared:/home/ann:/bin/sh\n" in texts[PASSWD]
    assert owners.text() == ""


def test_one_of_a_service_that_is_there_stays_as_it_is() -> None:
    texts, owners = merge(OWN, declared("bus", 903, 904), {}, {})
    assert texts == OWN
    assert (owners.users, owners.groups) == ({903: 100}, {904: 101})
    assert (owners.user(903), owners.group(904), owners.user(904), owners.user(0)) == (100, 101, 904, 0)


def test_a_declared_one_that_is_there_keeps_its_ids_and_nothing_else() -> None:
    texts, _owners = merge(OWN, declared("bus", 903, 904, "hash"), {"bus": False}, {"bus": False})
    assert "bus:x:100:101:declared:/home/bus:/bin/sh\n" in texts[PASSWD]
    assert "bus:hash:1::::::\n" in texts[SHADOW]


@pytest.mark.parametrize("password", ["!", "*", ""])
def test_a_password_that_is_there_stays_where_none_is_declared(password: str) -> None:
    texts, _owners = merge(OWN, declared("root", 0, 0, password), {"root": False}, {})
    assert "root:secret:1:0:99999:7:::\n" in texts[SHADOW]


def test_members_are_added() -> None:
    own = {**OWN, GROUP: OWN[GROUP].replace("sudo:x:27:root", "sudo:x:27:root,eve")}
    added = {GROUP: "sudo:x:27:ann,root\n", GSHADOW: "sudo:*::ann\n"}
    texts, _owners = merge(own, added, {}, {})
    assert "sudo:x:27:root,eve,ann\n" in texts[GROUP]
    assert "sudo:*::root,ann\n" in texts[GSHADOW]


def test_an_id_of_another_account_is_replaced_by_a_free_one() -> None:
    texts, owners = merge(OWN, declared("web", 100, 101), {"web": False}, {})
    assert (owners.users, owners.groups) == ({100: 101}, {101: 102})
    assert "web:x:101:102:declared" in texts[PASSWD]
    assert "web:x:102:\n" in texts[GROUP]
    own = {**OWN, PASSWD: OWN[PASSWD] + "eve:x:1000:100::/home/eve:/bin/sh\n"}
    _texts, owners = merge(own, declared("ann", 1000, 100), {"ann": False}, {})
    assert owners.users == {1000: 1001}


def test_an_id_that_the_declaration_says_is_had_or_refused() -> None:
    with pytest.raises(LauncherError, match="the user 'bus' has the id 100 in the tree .* says 903: leave the id out"):
        merge(OWN, declared("bus", 903, 101), {"bus": True}, {})
    with pytest.raises(LauncherError, match="the group 'web' cannot have the declared id 101: 'bus' has it"):
        merge(OWN, declared("web", 500, 101), {"web": False}, {"web": True})


def test_no_free_id_is_an_error() -> None:
    everybody = "".join(f"u{number}:x:{number}:0::/:/bin/sh\n" for number in range(101, 900))
    with pytest.raises(LauncherError, match="no id is free"):
        merge({PASSWD: everybody}, declared("web", 101, 0), {}, {})
    first = "u101:x:101:0::/:/bin/sh\n"
    assert merge({PASSWD: first}, declared("web", 101, 0), {}, {}, count=103)[1].users == {101: 102}
    with pytest.raises(LauncherError, match="no id is free"):
        merge({PASSWD: first}, declared("web", 101, 0), {}, {}, count=102)


@pytest.mark.parametrize("number", [65536, 4294967295, 9999999999])
def test_an_id_that_the_container_does_not_have_is_an_error(number: int) -> None:
    """Nothing can be given to it: the id on the host would be somebody else's, or none."""
    for path, kind in ((PASSWD, "user"), (GROUP, "group")):
        own = {path: declared("ann", number, number)[path]}
        with pytest.raises(
            LauncherError, match=f"the {kind} 'ann' has the id {number} .* this container has ids up to 65535"
        ):
            merge(own, declared("ann", 1000, 1000), {"ann": False}, {"ann": False})
    texts, _owners = merge(own, declared("web", 1000, 1000), {"web": False}, {"web": False})
    assert texts[GROUP].startswith(own[GROUP])
    _texts, owners = merge(own, declared("ann", 1000, 1000), {}, {}, count=1 << 34)
    assert owners.group(1000) == number


HOSTILE = "+::::::\n:x:0:0\nroot\nbus:x:no:-1:::\nx:x:99999999999999999999:0:::\n\u00e9:x:\u0661:0:::\n# a comment\n"


def test_lines_that_are_no_accounts_stay_as_they_are() -> None:
    texts, owners = merge({PASSWD: HOSTILE}, {PASSWD: declared("bus", 903, 0)[PASSWD]}, {}, {})
    assert texts[PASSWD].startswith(HOSTILE)
    assert texts[PASSWD] == HOSTILE
    assert owners.users == {}


@given(st.dictionaries(st.sampled_from([PASSWD, GROUP, SHADOW, GSHADOW]), st.text(max_size=200)))
def test_any_text_is_taken(own: dict[str, str]) -> None:
    """And a second merge of the result changes nothing (a kept layer is merged at each start)."""
    said = declared("ann", 1000, 1000)
    try:
        texts, _owners = merge(own, said, {}, {})
    except LauncherError:
        return
    assert merge(texts, said, {}, {})[0] == texts


def test_owners_as_a_text() -> None:
    owners = Owners({1: 2, 3: 4}, {5: 6})
    again = Owners.of_text(owners.text())
    assert (again.users, again.groups) == (owners.users, owners.groups)
    assert Owners.of_text("").text() == ""
