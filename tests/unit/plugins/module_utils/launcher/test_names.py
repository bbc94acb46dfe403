# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A system's name is made and taken apart in one way; both sides agree on what names a container."""

from __future__ import annotations

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import names
from ansible_collections.unshare.container.plugins.module_utils.launcher.names import is_name
from ansible_collections.unshare.container.plugins.plugin_utils.checks import CONTAINER_NAME
from hypothesis import example, given
from hypothesis import strategies as st

DIGEST = "0f343b0931126a20f133d67c2b018a3b"
NAMES = st.from_regex(CONTAINER_NAME, fullmatch=True)


@given(name=NAMES)
@example(name="web-2-b")
@example(name="a" * 63)
def test_there_and_back(name: str) -> None:
    assert names.container_of(names.system_name(DIGEST, name)) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "web",
        DIGEST,
        f"{DIGEST}-",
        f"{DIGEST}web",
        f"{DIGEST}--web",
        f"{DIGEST}-Web",
        f"{DIGEST}-{'a' * 64}",
        f"{DIGEST}-web/x",
        f"{DIGEST}-web\n",
        f"{DIGEST[:-1]}-web",
        f"{DIGEST}0-web",
        f"{DIGEST.upper()}-web",
        f".aside-{DIGEST}-web",
        f".{DIGEST[1:]}-web",
    ],
)
def test_what_is_no_system(name: str) -> None:
    assert names.container_of(name) is None


@given(name=st.one_of(NAMES, st.text(alphabet="az09-AZ_./\n", max_size=65)))
@example(name="a" * 63)
@example(name="a" * 64)
@example(name="-a")
@example(name="a\n")
def test_both_sides_agree_on_what_names_a_container(name: str) -> None:
    assert is_name(name) == bool(CONTAINER_NAME.fullmatch(name))
