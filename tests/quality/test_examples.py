# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The EXAMPLES of all plugins are tasks that they take; those of the filters run."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.unshare.container.tests.quality.declared import (
    OWN,
    REPOSITORY,
    accept_containers,
    accept_inventory_plugin,
    accept_task,
    run_tasks,
    templated,
)

MODULES = sorted(path.stem for path in (REPOSITORY / "plugins/modules").glob("*.py"))
FILTERS = sorted(path.stem for path in (REPOSITORY / "plugins/filter").glob("*.py"))


def examples(kind: str, name: str) -> t.Any:
    """Return the EXAMPLES of a plugin, parsed."""
    text = (REPOSITORY / "plugins" / kind / f"{name}.py").read_text("utf-8")
    found = re.search(r'^EXAMPLES = r"""\n(.*?)^"""', text, re.MULTILINE | re.DOTALL)
    assert found
    return yaml.safe_load(found[1])


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_a_module_are_tasks_that_it_takes(name: str) -> None:
    tasks = examples("modules", name)
    assert any(f"{OWN}{name}" in task for task in tasks)
    for task in tasks:
        accept_task(task)
        if f"{OWN}{name}" in task and name == "containers":
            accept_containers(templated(task[f"{OWN}{name}"]["containers"]))


def test_examples_of_the_inventory_plugin_are_options_of_it() -> None:
    accept_inventory_plugin(examples("inventory", "system_containers"))


def test_examples_of_all_filters_run(tmp_path: Path) -> None:
    tasks = [task for name in FILTERS for task in examples("filter", name)]
    assert len(tasks) >= len(FILTERS)
    for task in tasks:
        accept_task(task)
    run_tasks(tasks, tmp_path, {})
