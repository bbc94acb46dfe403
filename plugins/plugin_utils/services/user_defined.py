# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Service types that users declare as data: `${field}` stands for a field of the service's value."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Mapping

from ..distribution import Software
from ..errors import DeclarationError, suggestion
from ..operating_system import UserServiceType
from ..service_types import Context, Contribute, ServiceType, needs
from ..systemd import unit_from_mapping
from ..validation import plain

_FIELD = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_.]*)\}")
_FIELD_OR_TEXT = re.compile(rf"(\$?){_FIELD.pattern}")


def _field(value: t.Any, name: str, path: str) -> t.Any:
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            known = suggestion(part, value) if isinstance(value, Mapping) else ""
            raise DeclarationError(path, f"'${{{name}}}' is not in the service's value{known}")
        value = value[part]
    return value


def substitute(template: t.Any, value: t.Any, path: str) -> t.Any:
    """Return TEMPLATE with each `${field}` replaced from VALUE.

    A string that consists of one `${field}` becomes the field's value, with its type. `$${field}` is the text
    `${field}`.
    """
    if isinstance(template, dict):
        return {
            t.cast(str, substitute(key, value, path)): substitute(item, value, f"{path}.{key}")
            for key, item in template.items()
        }
    if isinstance(template, list):
        return [substitute(item, value, f"{path}[{index}]") for index, item in enumerate(template)]
    if not isinstance(template, str):
        return template
    whole = _FIELD.fullmatch(template)
    if whole:
        return _field(value, whole.group(1), path)

    def text(match: re.Match[str]) -> str:
        if match.group(1):
            return match.group()[1:]
        found = _field(value, match.group(2), path)
        if isinstance(found, (dict, list)) or found is None:
            raise DeclarationError(path, f"'{match.group()}' within a text must be a string or a number")
        return str(found).lower() if isinstance(found, bool) else str(found)

    return _FIELD_OR_TEXT.sub(text, template)


def _contribution(template: t.Any, target: str, path: str) -> Contribute:
    def contribute(value: t.Any, context: Context) -> t.Any:
        result = substitute(template, value, path)
        if target == "systemd" and isinstance(result, list):
            return [unit_from_mapping(item, f"{path}[{index}]") for index, item in enumerate(result)]
        return result

    return contribute


def _merged(default: t.Any, value: t.Any) -> t.Any:
    return {**default, **value} if isinstance(default, dict) and isinstance(value, dict) else value


class _Declared(ServiceType):
    """A declared type: a value that is a mapping is completed from the default."""

    def read(self, value: t.Any, path: str) -> t.Any:
        value = plain(value, path)
        return _merged(self.default, value) if value is not None else super().read(None, path)


def service_type(declared: UserServiceType, path: str) -> ServiceType:
    """Return the type that DECLARED describes. Raise DeclarationError for a target that no type can be."""

    def names(key: str, template: tuple[str, ...]) -> t.Callable[[t.Any], tuple[str, ...]]:
        return lambda value: tuple(str(substitute(item, value, f"{path}.{key}")) for item in template)

    provision: tuple[str, ...] | t.Callable[[t.Any], tuple[str, ...]]
    provision = (declared.name,) if declared.provision is None else names("provision", declared.provision)
    extensions: dict[str, Contribute] = {
        target: _contribution(template, target, f"{path}.extensions.{target}")
        for target, template in declared.extensions.items()
    }
    if (declared.programs or declared.packages) and "system" not in extensions:
        wanted = needs(declared.name, declared.programs, declared.packages)
        extensions["system"] = _contribution(wanted, "system", f"{path}.programs")
    return _Declared(
        name=declared.name,
        description=declared.description,
        extensions=extensions,
        default=declared.default,
        provision=declared.provision or () if declared.bare_metal else provision,
        requirement=names("requirement", declared.requirement),
        bare_metal=declared.bare_metal,
        contributed_at=lambda _path, target: f"{path}.extensions.{target}",
        software=Software(units=declared.units),
    )
