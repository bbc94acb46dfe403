# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Validation of declarations: strict about types and keys, with the place in every message.

The specifications are those of ansible-core's ArgumentSpecValidator, which fills in defaults at all levels. It also
converts silently (a string to a list, a number to a string), which would hide mistakes. So `strict` comes first, and
refuses a value of another type.
"""

from __future__ import annotations

import copy
import math
import re
import typing as t
from collections.abc import Mapping, Sequence

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
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise DeclarationError(path, "holds a character that cannot be written as UTF-8")
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
                raise DeclarationError(path, f"the key {key!r} must be a string; quote it")
            name = plain(key, path)
            result[name] = plain(value[key], f"{path}.{name}", inner)
        return result
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return [plain(item, f"{path}[{index}]", inner) for index, item in enumerate(value)]
    raise DeclarationError(path, f"a value of type {type(value).__name__} cannot be used here")


def describe(value: t.Any) -> str:
    """Return the kind of VALUE for a message, such as "a string"."""
    return "null" if value is None else _NAMES.get(type(value), type(value).__name__)


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
        hint = "; quote it" if kind == "str" and isinstance(value, (int, float)) else ""
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
