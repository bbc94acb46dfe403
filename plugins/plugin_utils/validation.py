# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Validation of declarations: strict about types and keys, with the place in every message.

The specifications are those of ansible-core's ArgumentSpecValidator, which fills in defaults at all levels. It also
converts silently (a string to a list, a number to a string), which would hide mistakes. So `strict` comes first, and
refuses a value of another type.
"""

from __future__ import annotations

import copy
import datetime
import math
import re
import typing as t
from collections.abc import Iterable, Mapping, Sequence

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from .errors import DeclarationError, suggestion

Spec = dict[str, dict[str, t.Any]]

_VAULT_TYPES = ("AnsibleVaultEncryptedUnicode", "EncryptedString")
_NAMES = {dict: "a mapping", list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
_WANTED = {
    "dict": "a mapping",
    "list": "a list",
    "str": "a string",
    "bool": "a boolean",
    "int": "a whole number",
    "float": "a number",
}
_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
_BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_CHOICE_NOUNS = {"flags": "flag", "type": "type"}


def plain(value: t.Any, path: str, _open: tuple[int, ...] = ()) -> t.Any:
    """Return a deep copy of VALUE made of plain dict, list, str, int, float, bool and None.

    Templated data holds subclasses of these and lazy containers. Undefined values raise; anything else is refused.
    """
    if value is None or isinstance(value, bool):
        return value
    if type(value).__name__ in _VAULT_TYPES:
        value = str(value)
    if isinstance(value, str):
        text = str.__str__(value)
        if text.startswith(_OMITTED):
            raise DeclarationError(path, _OMIT)
        try:
            text.encode()
        except UnicodeEncodeError:
            raise DeclarationError(path, "holds a character that cannot be written as UTF-8") from None
        return text
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise DeclarationError(path, f"{value} is no number that can be used here")
        return float.__float__(value)
    if hasattr(value, "_fail_with_undefined_error"):
        str(value)
        raise DeclarationError(path, "is undefined")
    if id(value) in _open or len(_open) > 60:
        raise DeclarationError(path, "contains itself, or is nested too deeply")
    inner = (*_open, id(value))
    if isinstance(value, Mapping):
        result = {}
        for key in value:
            if not isinstance(key, str):
                raise DeclarationError(path, f"the key {_written(key)} must be a string; quote it")
            name = plain(key, path)
            result[name] = plain(value[key], f"{path}.{name}", inner)
        return result
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return [plain(item, f"{path}[{index}]", inner) for index, item in enumerate(value)]
    raise DeclarationError(path, _refusal(value))


_OMIT = "is `omit`, which only a task's own options can be; say `default(none)` to leave the key out"
_OMITTED = "__omit_place_holder__"
"""Prefix of the text that stands for `omit` in ansible-core 2.18."""
_REFUSALS: dict[type, str] = {
    datetime.datetime: "is a time, as YAML reads it; quote it",
    datetime.date: "is a date, as YAML reads it; quote it",
    datetime.time: "is a time, as YAML reads it; quote it",
    bytes: "is binary data, which only a file can hold: {content: …, encoding: base64}",
    bytearray: "is binary data, which only a file can hold: {content: …, encoding: base64}",
    set: "is a set, which has no order; write a list, or add `| list`",
    frozenset: "is a set, which has no order; write a list, or add `| list`",
}
"""Types that YAML and templates make beside the plain ones, the nearest class first."""


def _refusal(value: t.Any) -> str:
    """Return why VALUE cannot be used and what to do, in the words of YAML and of templates."""
    if type(value).__name__ in ("Omit", "_OmitType"):
        return _OMIT
    for kind, reason in _REFUSALS.items():
        if isinstance(value, kind):
            return reason
    if isinstance(value, Iterable):
        return "is a sequence that can be read only once; add `| list`"
    if callable(value):
        return "is a function, not its result; call it: `()`"
    named = next(kind.__name__ for kind in type(value).__mro__ if not kind.__name__.startswith("_"))
    return f"is of the Python type {named}; make it text, a number, a list or a mapping"


def _written(key: t.Any) -> str:
    """Return KEY as YAML has it."""
    return "null" if key is None else str(key).lower() if isinstance(key, bool) else str(key)


def describe(value: t.Any) -> str:
    """Return the kind of VALUE for a message, such as "a string"."""
    return "null" if value is None else _NAMES.get(type(value), type(value).__name__)


def quoting(value: t.Any) -> str:
    """Return "; quote it" when VALUE, as YAML read it, would be a string with quotes around it, else ""."""
    return "; quote it" if isinstance(value, (bool, int, float)) else ""


def _typed(value: t.Any, kind: str, path: str) -> t.Any:
    """Return VALUE when it has the type KIND, or is the exact text of such a value (templating may leave text)."""
    if kind == "raw":
        return value
    if kind == "bool" and isinstance(value, str) and value.lower() in _BOOLEANS:
        return _BOOLEANS[value.lower()]
    if kind == "int" and isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
        return int(value)
    if kind == "float" and isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value)
    expected: dict[str, t.Any] = {
        "dict": dict,
        "list": list,
        "str": str,
        "bool": bool,
        "int": int,
        "float": (int, float),
    }
    right = isinstance(value, expected[kind]) and not (kind in ("int", "float") and isinstance(value, bool))
    if not right:
        hint = quoting(value) if kind == "str" else ""
        if hint and path.endswith(".mode"):  # YAML has read the octal number already: 0644 is 420
            hint = '; write it as a quoted octal number such as "0644"'
        raise DeclarationError(path, f"must be {_WANTED[kind]}, not {describe(value)}{hint}")
    return value


def _chosen(value: t.Any, entry: dict[str, t.Any], key: str, path: str) -> None:
    choices = entry.get("choices")
    if choices and value not in choices:
        noun = _CHOICE_NOUNS.get(key)
        what = f"'{value}' is not a {noun}" if noun else f"'{value}' is not possible here"
        raise DeclarationError(path, what + suggestion(str(value), [str(choice) for choice in choices]))


def strict(value: t.Any, spec: Spec, path: str) -> dict[str, t.Any]:
    """Check a plain mapping against SPEC down to the leaves. Return it with exact types, without keys that are null."""
    if not isinstance(value, dict):
        raise DeclarationError(path, f"must be a mapping, not {describe(value)}")
    for key in value:
        if key not in spec:
            raise DeclarationError(path, f"unknown key '{key}'" + suggestion(key, spec))
    result = {}
    for key, entry in spec.items():
        if value.get(key) is None:
            if entry.get("required"):
                raise DeclarationError(path, f"'{key}' is required")
            continue
        result[key] = _entry(value[key], entry, key, f"{path}.{key}" if path else key)
    return result


def _entry(value: t.Any, entry: dict[str, t.Any], key: str, path: str) -> t.Any:
    value = _typed(value, entry.get("type", "str"), path)
    if isinstance(value, list) and entry.get("type") == "list":
        items = []
        for index, item in enumerate(value):
            place = f"{path}[{index}]"
            if item is None:
                raise DeclarationError(place, "must not be null")
            item = _typed(item, entry.get("elements", "raw"), place)
            _chosen(item, entry, key, path)
            items.append(strict(item, entry["options"], place) if "options" in entry else item)
        return items
    _chosen(value, entry, key, path)
    if "options" in entry:
        return strict(value, entry["options"], path)
    return value


def _with_own_defaults(spec: Spec) -> Spec:
    """Return SPEC with its own copy of the defaults: the validator puts them into the result, and changes them."""
    result = {}
    for name, entry in spec.items():
        if isinstance(entry.get("default"), (dict, list)):
            entry = {**entry, "default": copy.deepcopy(entry["default"])}
        if "options" in entry:
            entry = {**entry, "options": _with_own_defaults(entry["options"])}
        result[name] = entry
    return result


def validate(value: t.Any, spec: Spec, path: str) -> dict[str, t.Any]:
    """Return VALUE checked against SPEC, with defaults, to the leaves. Raise DeclarationError with the place."""
    checked = strict(plain(value, path), spec, path)
    result = ArgumentSpecValidator(_with_own_defaults(spec)).validate(checked)
    if result.error_messages:
        raise DeclarationError(path, "; ".join(str(message) for message in result.error_messages))
    return t.cast("dict[str, t.Any]", result.validated_parameters)
