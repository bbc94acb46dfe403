# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes to a list of services, selected by type or by a JMESPath expression: delete, replace, or merge."""

from __future__ import annotations

import copy
import importlib
import typing as t

from .errors import DeclarationError, suggestion
from .records import Service
from .validation import Spec, describe, plain, validate

_SELECT: Spec = {"type": {"type": "str"}, "query": {"type": "str"}}
_CHANGE: Spec = {
    "select": {"type": "dict", "required": True, "options": _SELECT},
    "action": {"type": "str", "required": True, "choices": ["delete", "replace", "merge"]},
    "value": {"type": "raw"},
    "required": {"type": "bool", "default": True},
}


def modify_services(services: t.Any, changes: t.Any) -> list[dict[str, t.Any]]:
    """Return SERVICES with CHANGES applied in order. Raise DeclarationError, also when a change selects nothing.

    A query is applied to the whole list and returns the services it selects (`[?type=='nginx']`). A query that returns
    a truth value instead is applied to each service alone (`value.port == `80``).
    """
    result = plain(services, "services")
    wanted = plain(changes, "changes")
    for path, value in (("services", result), ("changes", wanted)):
        if not isinstance(value, list):
            raise DeclarationError(path, f"must be a list, not {describe(value)}")
    for index, item in enumerate(result):
        Service.from_mapping(item, f"services[{index}]")
    for index, item in enumerate(wanted):
        path = f"changes[{index}]"
        result = _apply(result, validate(item, _CHANGE, path), "value" in item, path)
    return t.cast("list[dict[str, t.Any]]", result)


def _apply(
    services: list[dict[str, t.Any]], change: dict[str, t.Any], has_value: bool, path: str
) -> list[dict[str, t.Any]]:
    action = change["action"]
    if has_value == (action == "delete"):
        raise DeclarationError(f"{path}.value", "is not used by `delete`" if has_value else f"is needed by `{action}`")
    selected = _selected(services, change["select"], f"{path}.select")
    if not selected and change["required"]:
        known = ""
        if change["select"]["type"]:
            known = suggestion(change["select"]["type"], {service["type"] for service in services})
        raise DeclarationError(f"{path}.select", f"no service is selected{known}")
    result = []
    for service in services:
        if id(service) not in selected:
            result.append(service)
        elif action == "replace":
            result.append({**service, "value": copy.deepcopy(change["value"])})
        elif action == "merge":
            merged = _merged(service.get("value"), change["value"], f"{path}.value")
            result.append({**service, "value": merged})
    return result


def _merged(value: t.Any, change: t.Any, path: str) -> t.Any:
    if not isinstance(change, dict) or not (value is None or isinstance(value, dict)):
        raise DeclarationError(path, f"a mapping can be merged only into a mapping, not {describe(value)}")
    result = dict(value or {})
    for key, item in change.items():
        both = isinstance(item, dict) and isinstance(result.get(key), dict)
        result[key] = _merged(result[key], item, f"{path}.{key}") if both else copy.deepcopy(item)
    return result


def _selected(services: list[dict[str, t.Any]], select: dict[str, t.Any], path: str) -> set[int]:
    if (select["type"] is None) == (select["query"] is None):
        raise DeclarationError(path, "needs exactly one of `type` and `query`")
    if select["type"] is not None:
        return {id(service) for service in services if service["type"] == select["type"]}
    return _queried(services, select["query"], f"{path}.query")


def _queried(services: list[dict[str, t.Any]], query: str, path: str) -> set[int]:
    try:
        jmespath = importlib.import_module("jmespath")
    except ImportError:
        raise DeclarationError(path, "needs the Python library jmespath on the controller") from None
    known = {id(service) for service in services}
    try:
        expression = jmespath.compile(query)
        found = expression.search(services)
        candidates = found if isinstance(found, list) else [found]
        if found == [] or any(id(item) in known for item in candidates):
            strangers = [item for item in candidates if id(item) not in known]
            if strangers:
                raise DeclarationError(path, f"{query!r} selects something that is not a service")
            return {id(item) for item in candidates}
        return {id(service) for service in services if _true(expression.search(service))}
    except (jmespath.exceptions.JMESPathError, ValueError, TypeError, RecursionError) as error:
        if isinstance(error, DeclarationError):
            raise
        raise DeclarationError(path, f"{query!r} is not a usable JMESPath expression: {error}") from error


def _true(value: t.Any) -> bool:
    """Return the truth of a value as in JMESPath: 0 is true; null, false and empty values are not."""
    return not (value is None or value is False or value in ("", [], {}))
