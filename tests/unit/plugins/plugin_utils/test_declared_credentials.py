# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The option `credentials`: what becomes of values and of names of the host's, and that no message has a value."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.contract import Specification
from ansible_collections.unshare.container.plugins.module_utils.launcher.credentials import LARGEST
from ansible_collections.unshare.container.plugins.module_utils.state.system_content import SystemContent
from ansible_collections.unshare.container.plugins.module_utils.state.system_diff import of_content
from ansible_collections.unshare.container.plugins.plugin_utils.containerized import containerized_operating_system
from ansible_collections.unshare.container.plugins.plugin_utils.credentials import credentials
from ansible_collections.unshare.container.plugins.plugin_utils.errors import DeclarationError
from ansible_collections.unshare.container.plugins.plugin_utils.secrets import split_secrets
from ansible_collections.unshare.container.plugins.plugin_utils.system_files import system_files

DECLARED: dict[str, t.Any] = {
    "token": "swordfish",
    "empty": "",
    "key": {"value": "AP8=", "encoding": "base64"},
    "more": {"value": "halibut"},
    "cert": {"path": "/etc/ssl/private/web.pem"},
    "plain": {"stored": "web-plain"},
    "sealed": {"encrypted": "web-sealed"},
}
SECRET = {"mode": "0400", "secret": True}


def test_each_source() -> None:
    found, files = credentials(DECLARED)
    assert [item.write() for item in found] == [
        {"name": "cert", "source": "path", "place": "/etc/ssl/private/web.pem"},
        {"name": "empty"},
        {"name": "key"},
        {"name": "more"},
        {"name": "plain", "source": "stored", "place": "web-plain"},
        {"name": "sealed", "source": "encrypted", "place": "web-sealed"},
        {"name": "token"},
    ]
    assert files == {
        "/run/host/credentials/token": {"content": "swordfish", **SECRET},
        "/run/host/credentials/empty": {"content": "", **SECRET},
        "/run/host/credentials/key": {"content": "AP8=", "encoding": "base64", **SECRET},
        "/run/host/credentials/more": {"content": "halibut", **SECRET},
    }
    assert credentials({}) == ([], {})


@pytest.mark.parametrize(
    ("name", "item", "said"),
    [
        ("a b", "swordfish", "credentials: 'a b' is no name of a credential"),
        ("..", "swordfish", "credentials: '..' is no name"),
        ("a/b", "swordfish", "credentials: 'a/b' is no name"),
        ("a:b", "swordfish", "credentials: 'a:b' is no name"),
        ("a" * 256, "swordfish", "credentials: 'aaa"),
        ("a", 7, "credentials.a: must be a text or a mapping, not a number"),
        ("a", None, "credentials.a: needs one of value, path, stored, encrypted"),
        ("a", ["swordfish"], "credentials.a: must be a text or a mapping, not a list"),
        ("a", {}, "credentials.a: needs one of value, path, stored, encrypted"),
        ("a", {"value": "swordfish", "path": "/x"}, "credentials.a: needs one of value, path, stored, encrypted"),
        ("a", {"valu": "swordfish"}, "credentials.a: unknown key 'valu'; did you mean 'value'?"),
        ("a", {"value": "swordfish", "encoding": "hex"}, "credentials.a.encoding: must be 'base64' or 'utf-8'"),
        ("a", {"value": "swordfish!", "encoding": "base64"}, "credentials.a.value: is not valid base64"),
        ("a", {"path": "/x", "encoding": "base64"}, "credentials.a.encoding: is for a value"),
        ("a", {"path": "x"}, "credentials.a.path: 'x' must be an absolute path"),
        ("a", {"path": "/"}, "credentials.a.path: '/' is the whole host"),
        ("a", {"path": 7}, "credentials.a.path: must be a string"),
        ("a", {"stored": "../x"}, "credentials.a.stored: '../x' is no name of a credential"),
        ("a", {"encrypted": "/x"}, "credentials.a.encrypted: '/x' is no name of a credential"),
        ("a", "x" * (LARGEST + 1), f"credentials: have {LARGEST + 1} bytes together, and may have {LARGEST}"),
    ],
)
def test_what_is_refused_is_named_and_no_value_is(name: str, item: t.Any, said: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        credentials({name: item})
    assert str(caught.value).startswith(said)
    assert "swordfish" not in str(caught.value)


def rendered(**declared: t.Any) -> dict[str, t.Any]:
    derived = containerized_operating_system({"host_name": "web"})
    return system_files(derived, credentials=declared)


def content(system: dict[str, t.Any]) -> SystemContent:
    plain, secrets = split_secrets(system)
    assert "swordfish" not in repr(plain)
    return SystemContent(plain, "", {}, "/usr/bin/python3", secrets)


def test_values_travel_with_the_secrets_and_change_the_system() -> None:
    one, same, other = (content(rendered(**DECLARED, **more)) for more in ({}, {}, {"second": "pike"}))
    changed = content(rendered(**{**DECLARED, "token": "swordfish2"}))
    assert one.digest(None) == same.digest(None)
    assert len({one.digest(None), other.digest(None), changed.digest(None)}) == 3
    assert one.files["/run/host/credentials/token"].content == b"swordfish"
    assert one.files["/run/host/credentials/key"].content == b"\0\xff"
    assert "swordfish" not in repr(one.specification.write())
    assert "swordfish" not in repr(of_content(one, None).parts)
    assert of_content(one, None).files["/run/host/credentials/token"].secret


def test_a_container_without_any() -> None:
    system = rendered()
    assert "credentials" not in system["spec"]
    assert Specification.read(system["spec"]).credentials == []
