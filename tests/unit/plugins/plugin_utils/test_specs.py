# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Argument specifications say all that they must, in words that somebody reads: what is misspelled checks nothing."""

from __future__ import annotations

import importlib
import pkgutil
import typing as t

import pytest
from ansible_collections.unshare.container.plugins import plugin_utils
from ansible_collections.unshare.container.plugins.module_utils.host import container_options
from ansible_collections.unshare.container.plugins.plugin_utils import container_record, modify, registry, specs
from ansible_collections.unshare.container.plugins.plugin_utils.validation import Spec

READ = {"type", "required", "default", "choices", "elements", "options", "no_log"}
"""What is looked at in an option, by this collection or by Ansible."""

TYPES: dict[str, type | tuple[type, ...]] = {
    "str": str,
    "int": int,
    "float": (int, float),
    "bool": bool,
    "list": list,
    "dict": dict,
    "raw": object,
    "path": str,
}
MODULES = [
    importlib.import_module(found.name)
    for found in pkgutil.walk_packages(plugin_utils.__path__, f"{plugin_utils.__name__}.")
]
WHOLE: dict[str, Spec] = {
    **{
        f"{module.__name__.removeprefix(plugin_utils.__name__)} {name}": vars(module)[name]
        for module in MODULES
        for name, kind in vars(module).get("__annotations__", {}).items()
        if kind == "Spec"
    },
    **{name: spec for name, spec in vars(specs).items() if name.isupper() and isinstance(spec, dict)},
    **{f"service {name}": kind.spec for name, kind in registry.BUILT_IN.items() if kind.spec is not None},
    "container": container_record.RECORD,
    "task": container_options.TASK_OPTIONS,
    "change": modify._CHANGE,
}


def options(spec: t.Mapping[str, t.Any], way: str) -> t.Iterator[tuple[str, dict[str, t.Any]]]:
    for name, option in spec.items():
        yield f"{way}.{name}", option
        yield from options(option.get("options", {}), f"{way}.{name}")


ALL = dict(found for name, spec in WHOLE.items() for found in options(spec, name))


def test_there_are_many() -> None:
    assert len(WHOLE) > 20
    assert len(ALL) > 250


@pytest.mark.parametrize("way", ALL)
def test_an_option_says_what_it_is(way: str) -> None:
    option = ALL[way]
    assert option.keys() <= READ
    kind = option.get("type", "str")
    assert kind in TYPES
    assert ("elements" in option) == (kind == "list")
    assert option.get("elements", "raw") in TYPES
    assert "options" not in option or "dict" in (kind, option.get("elements"))
    if "choices" in option and kind != "list":
        assert len(option["choices"]) > 1 or option["choices"] == ["base64"]  # a file may have this encoding, or none
    if "default" in option:
        assert "required" not in option
        assert option["default"] is None or isinstance(option["default"], TYPES[kind])
        default: t.Any = option["default"]
        given = default if kind == "list" else [default]
        assert "choices" not in option or set(given) <= set(option["choices"])
