# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every module that runs on a target: an error of the system that nothing has foreseen is a result, and names what."""

from __future__ import annotations

import importlib
import pkgutil
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins import modules

from ..module_utils.specifications import SMALL
from .conftest import RunModule

SYSTEM = {"name": "web", "files": {}, "spec": SMALL}
CASES: dict[str, tuple[tuple[str, ...], dict[str, t.Any], str]] = {
    "container_script": (("stage",), {"system": SYSTEM, "boot": ""}, "container 'web'"),
    "container_snapshot": (("Container", "Snapshotting.reach"), {"name": "web"}, "container 'web'"),
    "containers": (
        ("HostContainers.missing", "Container"),
        {"containers": {"web": {"state": "stopped"}}},
        "web",
    ),
    "eval_container": (("Request", "evaluation.run"), {"argv": ["/bin/true"]}, "the container of this command"),
    "kept_code": (("find",), {"module": "tree_info", "digest": "0" * 32}, "the code of the collection"),
    "system_container": (("Container", "OneContainer.bring"), {"name": "web"}, "container 'web'"),
    "system_container_info": (("Container", "Information.gather"), {"name": ["web"]}, "web"),
    "container_move": (("Moving", "Moving.look"), {"name": "web", "peer": "two"}, "container 'web'"),
    "container_archive": (("Archiving", "Archiving.export"), {"name": "web", "path": "/web.tar"}, "container 'web'"),
    "tree": (("TreeMaking", "TreeMaking.reach"), {"name": "web", "directory": "/srv"}, "tree 'web'"),
    "tree_archive": (("Trees", "Trees.content"), {"name": "web", "path": "/web.tar"}, "tree 'web'"),
    "tree_info": (("Listing", "Listing.unnamed"), {}, "the trees of this host"),
}
"""Where something fails, the arguments, and what the message must name."""

BROKEN = [(module, place) for module, (places, _arguments, _words) in CASES.items() for place in places]


def broken(*_arguments: t.Any, **_options: t.Any) -> t.Any:
    raise OSError(28, "No space left on device", "/var/lib/unshare/x")


def test_all_modules_are_tried() -> None:
    found = {entry.name for entry in pkgutil.iter_modules(modules.__path__)}
    with_main = {name for name in found if hasattr(importlib.import_module(f"{modules.__name__}.{name}"), "main")}
    assert with_main == set(CASES)


@pytest.mark.parametrize(("module_name", "place"), BROKEN)
def test_an_error_of_the_system_is_a_result(
    run_module: RunModule, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, module_name: str, place: str
) -> None:
    _places, arguments, words = CASES[module_name]
    module = importlib.import_module(f"{modules.__name__}.{module_name}")
    if hasattr(module, "ROOT"):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(f"{module.__name__}.{place}", broken)
    result = run_module(module.main, **arguments)
    assert result["failed"]
    assert words in result["msg"]
    assert result["msg"].endswith("No space left on device: /var/lib/unshare/x")
