# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The generated part of docs/services.md, made from the registry. Run as a program, it brings the file up to date."""

from __future__ import annotations

import importlib
import pkgutil
import typing as t
from pathlib import Path

from ansible_collections.unshare.container.plugins.plugin_utils import accounts, services
from ansible_collections.unshare.container.plugins.plugin_utils.operating_system import OperatingSystem
from ansible_collections.unshare.container.plugins.plugin_utils.service_types import Context, ServiceType, _Required
from ansible_collections.unshare.container.tests.quality import marked

PAGE = Path(__file__).resolve().parents[2] / "docs" / "services.md"
BEGIN = "<!-- made from the registry: begin -->"
END = "<!-- made from the registry: end -->"
TITLES = {
    "essential": "Essential services",
    "networking": "Services that set up the network",
    "bare_metal": "Services of bare metal",
}
INTRODUCTIONS = {
    "essential": "Every operating system has these, computed from its other fields. `type: simple` adds to them.",
    "networking": "Rules C3 and C5.",
    "bare_metal": "None of these works in a container. C1, C2 and C14 drop them, unless `keep_services` names them.",
}


def types_by_topic() -> dict[str, tuple[ServiceType, ...]]:
    """Return the types of the registry by the module that declares them, the topics without a title first."""
    result = {}
    for module in pkgutil.iter_modules(services.__path__):
        types = getattr(importlib.import_module(f"{services.__name__}.{module.name}"), "TYPES", ())
        if types:
            result[module.name] = tuple(types)
    return dict(sorted(result.items(), key=lambda item: list(TITLES).index(item[0]) if item[0] in TITLES else -1))


def _code(names: t.Iterable[str], otherwise: str = "") -> str:
    return ", ".join(f"`{name}`" for name in names) or otherwise


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _default(option: dict[str, t.Any]) -> str:
    if option.get("required"):
        return "*required*"
    value = option.get("default")
    if value is None:
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`" if value != "" else "empty"


def _fields(spec: dict[str, t.Any], prefix: str = "") -> t.Iterator[str]:
    for name, option in spec.items():
        kind = option.get("type", "str")
        if "elements" in option:
            kind = f"list of {option['elements']}"
        if option.get("choices"):
            kind = _code(map(str, option["choices"]))
        yield _row(f"`{prefix}{name}`", "any" if kind == "raw" else kind, _default(option))
        yield from _fields(
            option.get("options") or {}, f"{prefix}{name}[]." if "elements" in option else f"{prefix}{name}."
        )


def _names(of: t.Callable[[t.Any], tuple[str, ...]] | tuple[str, ...]) -> str:
    return "from its value" if callable(of) else _code(of)


def _adds(entry: ServiceType) -> str:
    return "from its value" if callable(entry.extensions) else _code(entry.extensions)


def _section(entry: ServiceType) -> t.Iterator[str]:
    yield f"### `{entry.name}`\n"
    yield f"{entry.description}\n"
    facts = [
        ("Provides", _names(entry.provision)),
        ("Requires", _names(entry.requirement)),
        ("Programs", _code(entry.programs)),
        ("Packages", _code(entry.packages)),
        ("Adds to", _adds(entry)),
        ("Value", "*required*" if isinstance(entry.default, _Required) else ""),
    ]
    lines = [f"- {name}: {text}" for name, text in facts if text]
    if lines:
        yield "\n".join(lines) + "\n"
    if entry.spec:
        yield "\n".join(["| value | type | default |", "|---|---|---|", *_fields(entry.spec)]) + "\n"


def _table(topic: str, types: tuple[ServiceType, ...]) -> t.Iterator[str]:
    if topic == "bare_metal":
        rows = ["| type | why it goes | the units it stands for |", "|---|---|---|"]
        rows += [_row(f"`{e.name}`", e.bare_metal or "", _code(e.units)) for e in types]
    else:
        rows = ["| type | what it is | adds to | dropped because |", "|---|---|---|---|"]
        rows += [_row(f"`{e.name}`", e.description, _adds(e), e.bare_metal or "") for e in types]
    yield "\n".join(rows) + "\n"


def reference() -> str:
    """Return the generated part, without the two marks."""
    parts: list[str] = []
    for topic, types in types_by_topic().items():
        parts.append(f"## {TITLES.get(topic, topic.replace('_', ' ').capitalize())}\n")
        if topic in INTRODUCTIONS:
            parts.append(f"{INTRODUCTIONS[topic]}\n")
        if topic in TITLES:
            parts.extend(_table(topic, types))
        else:
            for entry in types:
                parts.extend(_section(entry))
    parts.extend(_accounts())
    return "\n".join(parts)


def _accounts() -> t.Iterator[str]:
    yield "## Accounts of services\n"
    yield (
        "The ids that they have inside, unless `users` or `groups` of the declaration gives them others: "
        "`users: [{name: redis, uid: 105}]` is enough, and the files and directories of the service follow. A writable "
        "mapping has the same ids on the host, unless it says "
        "[whose it is](operating_system.md#the-owner-of-a-mapping).\n"
    )
    rows = ["| account | id | a user, a group | of the services |", "|---|---|---|---|"]
    found: dict[str, dict[str, set[str]]] = {name: {} for name in accounts.SERVICE_IDS}
    for entry in (entry for types in types_by_topic().values() for entry in types):
        contribute = {} if callable(entry.extensions) else entry.extensions
        added = contribute["account"](None, Context(OperatingSystem("x"))) if "account" in contribute else {}
        for key in added:
            for record in added[key]:
                found[record.name].setdefault(key[:-1], set()).add(entry.name)
    for group in accounts.base_groups():
        if group.name in found:
            found[group.name].setdefault("group", set()).add("every container")
    for name, number in accounts.SERVICE_IDS.items():
        if found[name]:
            used = sorted(set().union(*found[name].values()))
            rows.append(_row(f"`{name}`", str(number), ", ".join(sorted(found[name], reverse=True)), ", ".join(used)))
    yield "\n".join(rows) + "\n"
    low, high = accounts.SYSTEM_RANGE
    yield (
        f"Another account without an id has one derived from its name: {low} to {high - 1} for system accounts, "
        f"{accounts.NORMAL_RANGE[0]} to {accounts.NORMAL_RANGE[1] - 1} for others.\n"
    )


def updated(page: str) -> str:
    """Return PAGE with its generated part made anew; ValueError without the marks."""
    return marked.replaced(page, PAGE, BEGIN, END, reference())


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
