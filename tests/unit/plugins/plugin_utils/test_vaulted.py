# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values of the vault are found in variables of both ansible-core's, and are shown nowhere."""

from __future__ import annotations

import base64
import collections
import dataclasses
import html
import json
import pathlib
import shlex
import typing as t

import pytest
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible_collections.unshare.container.plugins.plugin_utils import units
from ansible_collections.unshare.container.plugins.plugin_utils.declared_containers import declared_containers, derive
from ansible_collections.unshare.container.plugins.plugin_utils.errors import DeclarationError
from ansible_collections.unshare.container.plugins.plugin_utils.vaulted import (
    forms,
    hidden,
    hidden_message,
    message_without,
    occurring,
    reveals,
    shown,
    vaulted_texts,
    with_secrets,
)

ODD = 'p%a"s$s\\ wörd'


class AnsibleVaultEncryptedUnicode:
    """As a value of the vault is in ansible-core 2.18: decrypted when it becomes text."""

    def __init__(self, text: str | None) -> None:
        self.text = text

    def __str__(self) -> str:
        if self.text is None:
            raise ValueError("no password")
        return self.text


class VaultedValue:
    """The tag of ansible-core 2.19 for a value that was encrypted."""


class Origin:
    """The tag of ansible-core 2.19 that says where a value was written."""

    def __init__(self, path: str | None) -> None:
        self.path = path


class Tagged(str):
    """A text with notes of ansible-core."""

    _ansible_tags_mapping: dict[type, t.Any]
    ansible_pos: t.Any

    @classmethod
    def of(cls, text: str, *tags: t.Any, position: t.Any = None) -> Tagged:
        value = cls(text)
        value._ansible_tags_mapping = {type(tag): tag for tag in tags}
        value.ansible_pos = position
        return value


@pytest.fixture
def encrypted(tmp_path: pathlib.Path) -> str:
    path = tmp_path / "vault.yml"
    path.write_bytes(VaultLib([("default", VaultSecret(b"password"))]).encrypt("secret: x"))
    return str(path)


def test_values_that_were_encrypted_alone_are_found() -> None:
    variables = {
        "a": AnsibleVaultEncryptedUnicode("first secret"),
        "b": [{"c": Tagged.of("second secret", VaultedValue())}, ("x", AnsibleVaultEncryptedUnicode("third secret"))],
        "unknown": AnsibleVaultEncryptedUnicode(None),
        "plain": Tagged.of("not secret", Origin(None)),
        "hostvars": {"other": Tagged.of("of another host", VaultedValue())},
        "number": 12345,
    }
    assert vaulted_texts(variables, {"d": "plain"}) == {"first secret", "second secret", "third secret"}


def test_values_of_an_encrypted_file_are_found(encrypted: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "plain.yml").write_text("a: b")
    variables = {
        "core 2.19": Tagged.of("newer secret", Origin(encrypted)),
        "core 2.18": Tagged.of("older secret", position=(encrypted, 1, 1)),
        "beside": Tagged.of("plain text", Origin(str(tmp_path / "plain.yml"))),
        "gone": Tagged.of("plain text", Origin(str(tmp_path / "gone.yml"))),
    }
    assert vaulted_texts(variables) == {"newer secret", "older secret"}


def test_numbers_of_an_encrypted_file_are_found(encrypted: str) -> None:
    class Read(dict):
        """A mapping as ansible-core 2.18 reads one: the numbers in it have no note of their own."""

        ansible_pos = (encrypted, 1, 1)

    class Number(int):
        """A number as ansible-core 2.19 reads one."""

        _ansible_tags_mapping: t.ClassVar[dict[type, t.Any]] = {Origin: Origin(encrypted)}

    inside = Read(pin=97531246, port=8080, on=True, rate=2.5, parts=[13572468])
    assert vaulted_texts({"a": inside, "b": Number(86420135), "c": 24681357}) == {"97531246", "13572468", "86420135"}


def test_no_template_is_resolved_in_the_search() -> None:
    class _LazyValue:
        """A value as a template of ansible-core 2.19 holds it."""

        value = Tagged.of("lazy secret", VaultedValue())

    class Lazy(dict):
        def __getitem__(self, key: str) -> t.Any:
            raise AssertionError("resolved")

    class Chain(collections.ChainMap):
        """The variables as a template of ansible-core 2.18 has them."""

        def __getitem__(self, key: str) -> t.Any:
            raise AssertionError("resolved")

    lazy = Lazy(a=_LazyValue(), b=[AnsibleVaultEncryptedUnicode("first secret")])
    assert vaulted_texts(Chain(lazy, {"c": Tagged.of("second secret", VaultedValue())})) == {
        "lazy secret",
        "first secret",
        "second secret",
    }


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("x: 'open sesame\\n' holds it", "x: '********\\n' holds it"),
        ('x: "curl -H \'open sesame\' y" is wrong', 'x: "curl -H \'********\' y" is wrong'),
        ("the host's 'sesame' is no unit; the container's is 'cron'",
         "the host's '********' is no unit; the container's is 'cron'"),
        ('x: "it\'s" and `sesame` are none', 'x: "********" and `********` are none'),
        ("x: 'ese' is too short to be told, open is no word of its own", None),
        (f"no such word: {'open sesame'!r}{chr(10)}open%20sesame", "no such word: '********'\n********"),
    ],
)  # fmt: skip
def test_a_message_quotes_no_part(message: str, said: str | None) -> None:
    assert hidden_message(message, ["open sesame", "it's open\nfor all"]) == (said or message)


@pytest.mark.parametrize("made", [repr(ODD), repr(f"{ODD}'\""), f"curl {shlex.quote(ODD)}", html.escape(f"<{ODD}>")])
def test_a_text_is_hidden_however_it_is_quoted(made: str) -> None:
    assert "wörd" not in hidden(made, [ODD])


def test_what_an_error_came_from_is_looked_at() -> None:
    caught: list[Exception] = []
    for related in ("cause", "context"):
        try:
            try:
                raise KeyError("open sesame")
            except KeyError as first:
                if related == "cause":
                    raise ValueError("it went wrong") from first
                raise ValueError("it went wrong")  # noqa: B904  it is the context that is looked at
        except ValueError as error:
            caught.append(error)
    assert [reveals(error, ["open sesame"]) for error in caught] == [True, True]
    assert [reveals(error, ["another"]) for error in caught] == [False, False]
    assert message_without(KeyError("open sesame"), ["open sesame"]) == "KeyError: '********'"
    assert message_without(DeclarationError("a", "'open sesame' is none"), ["open sesame"]) == "a: '********' is none"


def test_a_result_is_hidden_wherever_it_is_shown() -> None:
    @dataclasses.dataclass(frozen=True)
    class Event:
        """As ansible-core 2.19 notes what a module has said."""

        msg: str
        events: tuple[Event, ...] = ()

    result = {
        "containers": [{"name": "secret1", "msg": "secret1 failed", "failed_units": ["a.service"]}],
        "exception": Event("secret1", (Event("of secret1"),)),
        "module_stderr": "KeyError: secret1",
        "warnings": ["secret1 is old"],
        "hash": "secret1",
    }
    assert shown(result, ["secret1"]) == {
        "containers": [{"name": "secret1", "msg": "******** failed", "failed_units": ["a.service"]}],
        "exception": Event("********", (Event("of ********"),)),
        "module_stderr": "KeyError: ********",
        "warnings": ["******** is old"],
        "hash": "secret1",
    }


def test_what_is_looked_for_is_long_enough_and_no_template() -> None:
    key = "-----BEGIN KEY-----\nabcdefghijklmnopqrst\nshort\n-----END KEY-----\n"
    texts = ["abc", "user:{{ name }}@host.example", "{% if x %}inner secret{% endif %}", key]
    found = vaulted_texts([Tagged.of(text, VaultedValue()) for text in texts])
    assert found == {
        "user:",
        "@host.example",
        "inner secret",
        key.strip(),
        "-----BEGIN KEY-----",
        "abcdefghijklmnopqrst",
        "-----END KEY-----",
    }


def test_variables_that_contain_themselves() -> None:
    variables: dict[str, t.Any] = {"a": Tagged.of("secret", VaultedValue())}
    variables["self"] = [variables]
    assert vaulted_texts(variables) == {"secret"}


@pytest.mark.parametrize(
    "made",
    [
        ODD,
        f"user={ODD}\n",
        json.dumps({"password": ODD}),
        json.dumps({"password": ODD}, ensure_ascii=False),
        units.quote_value(f"A={ODD}"),
        units.quote(ODD),
        ODD.replace("%", "%%"),
        base64.b64encode(ODD.encode()).decode(),
    ],
)
def test_a_text_is_found_however_it_is_escaped(made: str) -> None:
    assert occurring([ODD, "other secret"], {"a": ["x", made]}) == [ODD]
    assert ODD not in hidden(made, [ODD])
    assert all(form not in hidden(made, [ODD]) for form in forms(ODD))
    system = {"files": {"/a": {"content": made}, "/b": {"content": "plain"}, "/c": {"link": "x"}}}
    assert with_secrets(system, [ODD])["files"] == {
        "/a": {"content": made, "secret": True},
        "/b": {"content": "plain"},
        "/c": {"link": "x"},
    }


def test_a_text_within_a_binary_file_is_found() -> None:
    content = base64.b64encode(b"\xff a secret text").decode()
    system = {"files": {"/a": {"content": content, "encoding": "base64"}, "/b": {"content": "?", "encoding": "base64"}}}
    files = with_secrets(system, ["secret text"])["files"]
    assert [path for path, entry in files.items() if entry.get("secret")] == ["/a"]


def test_what_is_shown_of_a_result_holds_no_secret() -> None:
    result = {
        "changed": True,
        "diff": [{"before": "old", "after": "token=secret1\n"}],
        "invocation": {"module_args": {"boot": ["secret1"]}},
        "msg": "'secret1' is wrong",
        "system": "/var/lib/secret1",
    }
    assert shown(result, ["secret1"]) == {
        "changed": True,
        "diff": [{"before": "old", "after": "token=********\n"}],
        "invocation": {"module_args": {"boot": ["********"]}},
        "msg": "'********' is wrong",
        "system": "/var/lib/secret1",
    }
    assert shown(result, []) == result


@pytest.mark.parametrize(
    ("service", "path"),
    [
        pytest.param(
            {"type": "simple", "value": {"target": "etc", "value": {"app.conf": "password=a secret\n"}}},
            "/etc/app.conf",
            id="cases_B20_file",
        ),
        pytest.param(
            {"type": "unit", "value": {"name": "a", "command": "/bin/a", "environment": {"TOKEN": "a secret"}}},
            "/etc/systemd/system/a.service",
            id="cases_B20_environment",
        ),
        (
            {
                "type": "nginx",
                "value": {"servers": [{"root": "/srv/www"}], "http_directives": ["set $token 'a secret';"]},
            },
            "/etc/nginx/nginx.conf",
        ),
        (
            {"type": "unit", "value": {"name": "a", "text": "[Service]\nExecStart=/bin/a 'a secret'\n"}},
            "/etc/systemd/system/a.service",
        ),
        (
            {"type": "simple", "value": {"target": "session-environment", "value": {"TOKEN": "a secret"}}},
            "/etc/environment",
        ),
    ],
)
def test_a_file_with_a_value_of_the_vault_is_secret(service: dict[str, t.Any], path: str) -> None:
    containers = {"web": {"operating_system": {"host_name": "web", "services": [service]}}}
    marked, plain = (declared_containers(containers, texts)[0] for texts in (["a secret", "another"], []))
    assert marked.vaulted == ["a secret"]
    secret = {name for name, entry in derive(marked)["files"].items() if entry.get("secret")}
    assert secret - {name for name, entry in derive(plain)["files"].items() if entry.get("secret")} == {path}
    assert marked.key != plain.key  # so that neither is taken for the other


def test_a_value_of_the_vault_that_is_used_elsewhere_changes_nothing() -> None:
    containers = {"web": {"operating_system": {"host_name": "web"}}}
    keys = {declared_containers(containers, texts)[0].key for texts in ([], ["a secret"])}
    assert len(keys) == 1
