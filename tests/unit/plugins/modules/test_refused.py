# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the modules of one container and of all of a host's refuse alike, before they look at any."""

from __future__ import annotations

import importlib
import pkgutil
import typing as t

import pytest
from ansible_collections.unshare.container.plugins import modules
from ansible_collections.unshare.container.plugins.module_utils.host.facts import HostFacts
from ansible_collections.unshare.container.plugins.module_utils.host.preflight import problems
from ansible_collections.unshare.container.plugins.module_utils.state.target import NEEDS_ROOT
from ansible_collections.unshare.container.plugins.plugin_utils.declared_containers import declared_containers
from ansible_collections.unshare.container.plugins.plugin_utils.errors import DeclarationError

from ..module_utils.specifications import SMALL, specification
from .conftest import RunModule

pytestmark = pytest.mark.usefixtures("untouched")

HEALTH: list[tuple[dict[str, t.Any], str]] = [
    *(
        ({kind: [{"port": 80}, {"port": port}]}, f"health.{kind}[1].port: {port} is not a port (1 to 65535)")
        for kind in ("tcp", "http")
        for port in (-1, 0, 65536, 99999)
    ),
    ({"http": [{"path": "status"}]}, "health.http[0].path: 'status' cannot be asked for"),
    ({"http": [{"host": "a\r\nb: c"}]}, r"health.http[0].host: 'a\r\nb: c' cannot be asked for"),
    ({"steady": 3, "timeout": 2}, "health.steady: 3 s cannot pass within the timeout beside it"),
]
TASKS: list[tuple[str, dict[str, t.Any]]] = [
    ("container_script", {"system": {"name": "web", "files": {}, "spec": SMALL}, "boot": ""}),
    ("system_container_info", {}),
    ("containers", {"containers": {"web": {"state": "stopped"}}}),
    ("container_snapshot", {"name": "web"}),
    ("container_archive", {"name": "web", "path": "/web.tar"}),
    ("container_move", {"name": "web", "peer": "two"}),
    ("tree", {"name": "web", "state": "absent"}),
    ("tree_archive", {"name": "web", "path": "/web.tar"}),
    ("tree_info", {}),
    *(("system_container", {"name": "web", "state": state}) for state in ("started", "stopped", "absent")),
]


def main_of(module: str) -> t.Callable[[], t.Any]:
    main: t.Callable[[], t.Any] = importlib.import_module(f"{modules.__name__}.{module}").main
    return main


@pytest.mark.parametrize(("health", "message"), HEALTH)
def test_health_that_cannot_be_asked(run_module: RunModule, health: dict[str, t.Any], message: str) -> None:
    one = run_module(main_of("system_container"), name="web", health=health)
    assert (one["failed"], one["msg"]) == (True, message)
    every = run_module(main_of("containers"), containers={"web": {"health": health}})
    assert (every["failed"], every["msg"]) == (True, f"containers.web.{message}")
    with pytest.raises(DeclarationError) as caught:
        declared_containers({"web": {"state": "stopped", "health": health}})
    assert str(caught.value) == f"containers.web.{message}"


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize(("module", "arguments"), TASKS)
def test_who_is_not_root_is_told_to_become_root(
    run_module: RunModule, module: str, arguments: dict[str, t.Any], check: bool
) -> None:
    result = run_module(main_of(module), check=check, user_id=1000, **arguments)
    assert result["failed"]
    assert NEEDS_ROOT in result["msg"]
    assert "set become: true" in NEEDS_ROOT


def test_every_module_is_asked() -> None:
    """But the one that an ordinary user may run, the one whose work is done on the controller, and what runs others."""
    host = HostFacts()
    host.user_id = 1000
    assert NEEDS_ROOT in problems(host, specification())
    assert {module for module, _arguments in TASKS} | {"eval_container", "kept_code", "rollout_step"} == {
        entry.name for entry in pkgutil.iter_modules(modules.__path__)
    }
