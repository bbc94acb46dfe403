# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values as they are declared: which are taken, as what, and where each check draws its line."""

from __future__ import annotations

import datetime
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.plugin_utils import checks
from ansible_collections.unshare.container.plugins.plugin_utils.errors import DeclarationError, suggestion
from ansible_collections.unshare.container.plugins.plugin_utils.validation import plain, strict, validate


class Text(str):
    """As Ansible's own texts, with more than the text."""

    def __str__(self) -> str:
        return "wrong"


class Number(int):
    def __int__(self) -> int:
        return 999


class Fraction(float):
    def __float__(self) -> float:
        return 9.9


class AnsibleVaultEncryptedUnicode:
    def __str__(self) -> str:
        return "secret"


class EncryptedString(AnsibleVaultEncryptedUnicode): ...


class Undefined:
    def _fail_with_undefined_error(self) -> None: ...

    def __str__(self) -> str:
        raise KeyError("x is undefined")


class Quiet(Undefined):
    def __str__(self) -> str:
        return ""


@pytest.mark.parametrize(
    ("value", "result"),
    [
        (None, None),
        (True, True),
        (Text("a"), "a"),
        ("\ud7ff\ue000", "\ud7ff\ue000"),
        (Number(5), 5),
        (Fraction(1.5), 1.5),
        (AnsibleVaultEncryptedUnicode(), "secret"),
        (EncryptedString(), "secret"),
        ({Text("a"): (Number(1), [Text("b")])}, {"a": [1, ["b"]]}),
    ],
)
def test_values_become_plain(value: t.Any, result: t.Any) -> None:
    found = plain(value, "x")
    assert found == result
    assert type(found) is type(result)


def test_a_plain_value_is_a_copy() -> None:
    value = {"a": [{"b": 1}]}
    found = plain(value, "x")
    found["a"][0]["b"] = 2
    assert value == {"a": [{"b": 1}]}


def nested(depth: int) -> t.Any:
    value: t.Any = []
    for _ in range(depth):
        value = [value]
    return value


def test_one_value_may_stand_in_two_places_and_60_levels_deep() -> None:
    shared = [1]
    assert plain([shared, {"a": shared}], "x") == [[1], {"a": [1]}]
    assert plain(nested(60), "x") == nested(60)


class _OmitType:
    """As that of ansible-core 2.19 is called."""


class Complex:
    """A type that neither YAML nor JSON has."""


class _Tagged(Complex):
    """As Ansible wraps such a type."""


OMITTED = "__omit_place_holder__0123456789abcdef"
OMITS = "is `omit`, which only a task's own options can be; say `default(none)` to leave the key out"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [0, b"x"]}, "x.a[1]: is binary data, which only a file can hold: {content: …, encoding: base64}"),
        ({"a": bytearray()}, "x.a: is binary data, which only a file can hold: {content: …, encoding: base64}"),
        ({"a": {1}}, "x.a: is a set, which has no order; write a list, or add `| list`"),
        pytest.param(
            {"a": datetime.date(2026, 1, 1)}, "x.a: is a date, as YAML reads it; quote it", id="cases_N2_date"
        ),
        ({"a": datetime.datetime(2026, 1, 1, 12)}, "x.a: is a time, as YAML reads it; quote it"),
        pytest.param({"a": OMITTED}, f"x.a: {OMITS}", id="cases_N2_omit"),
        ({"a": [_OmitType()]}, f"x.a[0]: {OMITS}"),
        ({"a": (item for item in "ab")}, "x.a: is a sequence that can be read only once; add `| list`"),
        ({"a": {}.keys()}, "x.a: is a sequence that can be read only once; add `| list`"),
        ({"a": "".upper}, "x.a: is a function, not its result; call it: `()`"),
        ({"a": _Tagged()}, "x.a: is of the Python type Complex; make it text, a number, a list or a mapping"),
        ({True: "a"}, "x: the key true must be a string; quote it"),
        ({1: "a"}, "x: the key 1 must be a string; quote it"),
        ({"a": {None: "a"}}, "x.a: the key null must be a string; quote it"),
        (["\ud800"], "x[0]: holds a character that cannot be written as UTF-8"),
        ({"\udfff": 1}, "x: holds a character that cannot be written as UTF-8"),
        (Quiet(), "x: is undefined"),
        (nested(61), f"x{'[0]' * 61}: contains itself, or is nested too deeply"),
    ],
)
def test_what_is_no_plain_value(value: t.Any, message: str) -> None:
    with pytest.raises(DeclarationError) as error:
        plain(value, "x")
    assert str(error.value) == message


def test_what_is_undefined_says_so_itself() -> None:
    with pytest.raises(KeyError, match="x is undefined"):
        plain([Undefined()], "x")


@pytest.mark.parametrize(
    ("kind", "value", "result"),
    [
        ("raw", {"a": 1}, {"a": 1}),
        ("bool", True, True),
        ("bool", "Yes", True),
        ("bool", "on", True),
        ("bool", "TRUE", True),
        ("bool", "no", False),
        ("bool", "off", False),
        ("bool", "False", False),
        ("int", 5, 5),
        ("int", "5", 5),
        ("int", "9" * 18, 10**18 - 1),
        ("float", 5, 5.0),
        ("float", 1.5, 1.5),
        ("float", "1.5", 1.5),
        ("float", "123456789.123456789", 123456789.123456789),
        ("str", "", ""),
        ("list", [], []),
        ("dict", {}, {}),
    ],
)
def test_a_value_of_a_type_or_its_exact_text(kind: str, value: t.Any, result: t.Any) -> None:
    found = validate({"a": value}, {"a": {"type": kind}}, "")["a"]
    assert (found, type(found)) == (result, type(result))


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("bool", 1, "a: must be a boolean, not a number"),
        ("bool", "1", "a: must be a boolean, not a string"),
        ("int", True, "a: must be a whole number, not a boolean"),
        ("int", 1.5, "a: must be a whole number, not a number"),
        ("int", "-5", "a: must be a whole number, not a string"),
        ("int", "٣", "a: must be a whole number, not a string"),
        ("int", "9" * 19, "a: must be a whole number, not a string"),
        ("float", True, "a: must be a number, not a boolean"),
        ("float", "1e5", "a: must be a number, not a string"),
        ("float", "1.", "a: must be a number, not a string"),
        ("float", "1" * 10, "a: must be a number, not a string"),
        ("str", 5, "a: must be a string, not a number; quote it"),
        ("str", 1.5, "a: must be a string, not a number; quote it"),
        ("str", True, "a: must be a string, not a boolean; quote it"),
        ("str", [], "a: must be a string, not a list"),
        ("list", "a", "a: must be a list, not a string"),
        ("dict", [], "a: must be a mapping, not a list"),
    ],
)
def test_a_value_of_another_type(kind: str, value: t.Any, message: str) -> None:
    with pytest.raises(DeclarationError) as error:
        validate({"a": value}, {"a": {"type": kind}}, "")
    assert str(error.value) == message


SPEC: t.Any = {
    "name": {"required": True},
    "flags": {"type": "list", "elements": "str", "choices": ["hot", "cold"], "default": []},
    "parts": {"type": "list", "elements": "dict", "options": {"size": {"type": "int", "default": 3}}},
    "one": {"type": "dict", "options": {"type": {"type": "str", "choices": ["a"]}}},
}


def test_defaults_are_filled_in_to_the_leaves_and_null_is_as_left_out() -> None:
    given = {"name": "x", "parts": [{}, {"size": "4"}], "one": None}
    assert validate(given, SPEC, "top") == {"name": "x", "flags": [], "parts": [{"size": 3}, {"size": 4}], "one": None}
    assert strict(given, SPEC, "top") == {"name": "x", "parts": [{}, {"size": 4}]}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "top: must be a mapping, not a list"),
        (None, "top: must be a mapping, not null"),
        ({"nmae": 1}, "top: unknown key 'nmae'; did you mean 'name'?"),
        ({"qqq": 1}, "top: unknown key 'qqq'; known: flags, name, one, parts"),
        ({}, "top: 'name' is required"),
        ({"name": None}, "top: 'name' is required"),
        ({"name": "a", "flags": ["hot", "cool"]}, "top.flags: 'cool' is not a flag; did you mean 'cold'?"),
        ({"name": "a", "flags": ["hot", None]}, "top.flags[1]: must not be null"),
        ({"name": "a", "flags": ["hot", 5]}, "top.flags[1]: must be a string, not a number; quote it"),
        ({"name": "a", "parts": [{}, {"size": "x"}]}, "top.parts[1].size: must be a whole number, not a string"),
        ({"name": "a", "parts": [{}, {"seize": 1}]}, "top.parts[1]: unknown key 'seize'; did you mean 'size'?"),
        ({"name": "a", "one": {"type": "b"}}, "top.one.type: 'b' is not a type; known: a"),
    ],
)
def test_a_mapping_is_checked_to_its_leaves(value: t.Any, message: str) -> None:
    with pytest.raises(DeclarationError) as error:
        validate(value, SPEC, "top")
    assert str(error.value) == message


LONG_PATH = "/" + "/".join(["a" * 200] * 20) + "/" + "b" * 74


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (checks.line, ["", "a b", "\x80", "\x20", "~"], ["\0", "a\n", "\x1f", "\x7f"]),
        (checks.host_name, ["a", "A1", "a-b.c", "a" * 63, "a" * 31 + "." + "b" * 32],
         ["", "-a", "a-", "a_b", "a.", ".a", "a" * 64, "a" * 32 + "." + "b" * 32, "a\n"]),
        (checks.account_name, ["a", "_a", "a.b-c_1", "a$", "a" * 31, "a" * 31 + "$"],
         ["", "A", "1a", "-a", "a:b", "a$b", "a" * 32, "a\n"]),
        (checks.password, ["!", "!!", "*", "$6$salt$hash", "!$y$j9T$a/b.c$x=,+-"],
         ["", "!!!", "x", "$6$", "6$a$b", "$6$a$b:c", "$6$a$b\n"]),
        (checks.unit_name, ["a.service", "a@b.socket", "a\\x2d:_.timer", "a.path", "a.target", "a.mount", "a.slice",
                            "a" * 200 + ".service"],
         ["a", ".service", "a.scope", "a b.service", "a/b.service", "a" * 201 + ".service", "a.service\n"]),
        (checks.timezone, ["UTC", "Etc/GMT+1", "America/Argentina/Buenos_Aires", "a/b/c/d"],
         ["", "/UTC", "a/", "a//b", "../x", "a/b/c/d/e", "a.b"]),
        (checks.locale, ["C.UTF-8", "de_DE@euro", "a" * 64], ["", "a/b", "a b", "a" * 65]),
        (checks.environment_name, ["A", "_a1"], ["", "1A", "A B", "A=B", "A-B", "A\n"]),
        (checks.identifier, [0, 65535], [-1, 65536]),
        (checks.port, [1, 65535], [0, 65536]),
        (checks.account_field, ["", "A B"], ["a:b", "a\n"]),
    ],
)  # fmt: skip
def test_where_each_check_draws_its_line(
    check: t.Callable[[t.Any, str], t.Any], good: list[t.Any], bad: list[t.Any]
) -> None:
    for value in good:
        assert check(value, "x") == value
    for value in bad:
        with pytest.raises(DeclarationError, match="^x: "):
            check(value, "x")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a" * 64, "at most 63 characters between two dots"),
        ("a" * 65, "letters, digits, '-', '.'; at most 64"),
        ("a" * 32 + "." + "b" * 32, "letters, digits, '-', '.'; at most 64"),
        ("a_b", "letters, digits, '-', '.'; at most 64"),
    ],
)
def test_which_limit_of_a_host_name_is_met_first(name: str, said: str) -> None:
    with pytest.raises(DeclarationError) as error:
        checks.host_name(name, "x")
    assert str(error.value) == f"x: {name!r} is not a host name ({said})"


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/boot", "/dev", "/dev/shm", "/etc"),
        *("/etc/systemd", "/etc/systemd/system", "/home", "/media", "/mnt", "/opt", "/proc", "/run", "/run/lock"),
        *("/srv", "/sys", "/tmp", "/usr", "/usr/bin", "/usr/lib", "/usr/local", "/usr/sbin", "/usr/share", "/var"),
        *("/var/backups", "/var/cache", "/var/empty", "/var/lib", "/var/local", "/var/lock", "/var/log", "/var/mail"),
        *("/var/opt", "/var/run", "/var/spool", "/var/tmp"),
    ],
)
def test_no_directory_of_the_system_is_given_away(path: str) -> None:
    """As file-hierarchy(7) has them, and those of Debian: neither to a user nor to a service."""
    for check, whose in ((checks.home_directory, "user"), (checks.data_directory, "service")):
        with pytest.raises(DeclarationError, match=f"^x: '{path}' belongs to the system, and .* given to the {whose}"):
            check(path, "x")


@pytest.mark.parametrize(
    ("path", "plain_form"),
    [("/", "/"), ("//a/./b//", "/a/b"), ("/a..b/...", "/a..b/..."), ("/" + "a" * 255, "/" + "a" * 255),
     (LONG_PATH, LONG_PATH), ("/é b", "/é b")],
)  # fmt: skip
def test_a_path_in_its_plain_form(path: str, plain_form: str) -> None:
    assert checks.absolute_path(path, "x") == plain_form


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "x: '' must be an absolute path"),
        ("a/b", "x: 'a/b' must be an absolute path"),
        ("/a/..", "x: '/a/..' must not contain '..'"),
        ("/a\tb", "x: '/a\\tb' holds the control character '\\t'"),
        ("/" + "a" * 256, "x: is longer than a path may be"),
        ("/" + "é" * 128, "x: is longer than a path may be"),
        (LONG_PATH + "c", "x: is longer than a path may be"),
    ],
)
def test_what_is_no_path(path: str, message: str) -> None:
    assert len(LONG_PATH) == 4095
    with pytest.raises(DeclarationError) as error:
        checks.absolute_path(path, "x")
    assert str(error.value) == message


@pytest.mark.parametrize(("mode", "four"), [("644", "0644"), ("0644", "0644"), ("7777", "7777"), ("000", "0000")])
def test_a_mode_has_four_digits(mode: str, four: str) -> None:
    assert checks.mode(mode, "x") == four


@pytest.mark.parametrize("mode", ["", "64", "0o644", "00644", "0844", "644\n"])
def test_what_is_no_mode(mode: str) -> None:
    with pytest.raises(
        DeclarationError, match=r'^x: .* is not a mode; write it as a quoted octal number such as "0644"'
    ):
        checks.mode(mode, "x")


@pytest.mark.parametrize(
    ("word", "known", "said"),
    [
        ("ngnix", ["nginx", "redis"], "; did you mean 'nginx'?"),
        ("abc", ["abd", "abe"], "; did you mean 'abe'?"),
        ("zzz", ["b", "a"], "; known: a, b"),
        ("zzz", [chr(97 + index) for index in range(12)], "; known: a, b, c, d, e, f, g, h, i, j, k, l"),
        ("zzz", [chr(97 + index) for index in range(13)], ""),
        ("zzz", [], ""),
    ],
)
def test_suggestions(word: str, known: list[str], said: str) -> None:
    assert suggestion(word, known) == said


def test_an_error_names_the_place_if_there_is_one() -> None:
    error = DeclarationError("a.b", "is wrong")
    assert (error.path, error.message, str(error)) == ("a.b", "is wrong", "a.b: is wrong")
    assert str(DeclarationError("", "is wrong")) == "is wrong"
