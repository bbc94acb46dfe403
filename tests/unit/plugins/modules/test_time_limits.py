# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every option of every module that is a time limit: what cannot be waited for is refused, before anything else."""

from __future__ import annotations

import importlib
import math
import pkgutil
import re
import typing as t

import pytest
from ansible_collections.unshare.container.plugins import modules
from ansible_collections.unshare.container.plugins.module_utils.host.container_options import TASK_OPTIONS
from ansible_collections.unshare.container.plugins.module_utils.host.time_limits import TimeLimit
from ansible_collections.unshare.container.plugins.module_utils.launcher import times
from ansible_collections.unshare.container.plugins.plugin_utils.declared_containers import declared_containers
from ansible_collections.unshare.container.plugins.plugin_utils.errors import DeclarationError

from .conftest import RunModule

BAD: list[t.Any] = [-1, "-1", math.nan, "nan", math.inf, "inf", "-inf", 1e300, 10**400, True, False, "soon", "", [], {}]
NAMED = re.compile(r"timeout|steady|seconds|delay|interval|duration|period")

Found = t.Iterator[tuple[tuple[str, ...], t.Mapping[str, t.Any]]]

REQUIRED: dict[str, dict[str, t.Any]] = {
    "system_container": {"name": "web"},
    "system_container_info": {},
    "eval_container": {"argv": ["/bin/true"]},
    "container_snapshot": {"name": "web"},
    "container_archive": {"name": "web", "path": "/srv/web.tar"},
    "container_move": {"name": "web", "peer": "two"},
    "containers": {},
    "tree": {"name": "web", "state": "absent"},
    "tree_archive": {"name": "web", "path": "/web.tar"},
}
"""What the modules with time limits need beside them."""


def options(spec: t.Mapping[str, t.Any], way: tuple[str, ...] = ()) -> Found:
    for name, option in spec.items():
        yield (*way, name), option
        yield from options(option.get("options", {}), (*way, name))


def specifications() -> dict[str, t.Mapping[str, t.Any]]:
    """Return the argument specifications of all modules, and that of the containers in `containers`."""
    found = {}
    for entry in pkgutil.iter_modules(modules.__path__):
        module = importlib.import_module(f"{modules.__name__}.{entry.name}")
        if hasattr(module, "ARGUMENT_SPEC"):
            found[entry.name] = module.ARGUMENT_SPEC
    return {**found, "containers": {**found["containers"], "web": {"options": TASK_OPTIONS}}}


ALL = [(module, way, option) for module, spec in specifications().items() for way, option in options(spec)]
LIMITS = [(module, way, option) for module, way, option in ALL if isinstance(option, TimeLimit)]


def test_what_is_a_time_limit_is_declared_as_one() -> None:
    undeclared = [
        (module, way)
        for module, way, option in ALL
        if not isinstance(option, TimeLimit) and (option.get("type") == "float" or NAMED.search(way[-1]))
    ]
    assert undeclared == []
    assert {module for module, _way, _option in LIMITS} == set(REQUIRED)


def main_of(module: str) -> t.Callable[[], t.Any]:
    main: t.Callable[[], t.Any] = importlib.import_module(f"{modules.__name__}.{module}").main
    return main


def nested(way: tuple[str, ...], value: t.Any) -> t.Any:
    for name in reversed(way):
        value = {name: value}
    return value


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("value", BAD, ids=lambda value: repr(value)[:12])
@pytest.mark.parametrize(("module", "way", "option"), LIMITS, ids=lambda item: str(item)[:40])
def test_a_bad_one_is_refused_by_its_name(
    run_module: RunModule, module: str, way: tuple[str, ...], option: TimeLimit, value: t.Any
) -> None:
    given = nested(("containers", *way) if module == "containers" else way, value)
    place = "containers." * (module == "containers") + ".".join(way)
    tasks = [{**REQUIRED[module], **given}]
    if module == "eval_container":
        tasks.append({**tasks[0], "creates": "/"})  # nor is it let pass where there is nothing to do
    for task in tasks:
        result = run_module(main_of(module), **task)
        assert result["failed"]
        assert result["msg"].startswith(f"{place}: "), result["msg"]
        assert f"is no number of seconds from {option.least:g} to {times.MOST}" in result["msg"]
    assert option.least == 0 or option.least == times.LEAST


@pytest.mark.parametrize("value", BAD, ids=lambda value: repr(value)[:12])
@pytest.mark.parametrize("way", [way[1:] for module, way, _option in LIMITS if module == "containers"])
def test_a_bad_one_is_refused_on_the_controller(way: tuple[str, ...], value: t.Any) -> None:
    with pytest.raises(DeclarationError, match=rf"^containers\.web\.{'.'.join(way)}: "):
        declared_containers({"web": {"state": "stopped", **nested(way, value)}})


def test_zero_is_no_time_but_for_being_steady(run_module: RunModule) -> None:
    main = main_of("system_container")
    for way in [way for module, way, option in LIMITS if module == "system_container" and option.least]:
        result = run_module(main, name="web", **nested(way, 0))
        assert result["msg"].startswith(f"{'.'.join(way)}: 0 is no number of seconds")
    (found,) = declared_containers({"web": {"state": "stopped", "health": {"steady": 0, "timeout": "2.5"}}})
    assert (found.options["health"]["steady"], found.options["health"]["timeout"]) == (0.0, 2.5)
    with pytest.raises(DeclarationError, match=r"^containers\.web\.health\.steady: 3 s cannot pass"):
        declared_containers({"web": {"state": "stopped", "health": {"steady": 3, "timeout": 2}}})
