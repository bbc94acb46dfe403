# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What plugins share is compiled once, and not in every run of Ansible."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
PACKAGE = "ansible_collections.unshare.container.plugins"
RUN = f"""
import json, sys
from ansible.plugins.loader import init_plugin_loader
init_plugin_loader([sys.argv[1]])
class Foreign:  # of somebody who lets nobody come before it, as the sanity tests have one
    find_spec = staticmethod(lambda *_given: None)
sys.meta_path.insert(0, Foreign)
from {PACKAGE}.action import containers
from {PACKAGE}.plugin_utils import fold
found = {{name: [type(module.__spec__.loader).__name__, module.__file__]
         for name, module in sys.modules.items() if name.startswith("{PACKAGE}.") and module.__spec__.loader}}
for name in [name for name in sys.modules if name.startswith("{PACKAGE}")]:
    del sys.modules[name]
from {PACKAGE}.action import containers
assert sys.meta_path[0] is Foreign
assert [type(finder).__name__ for finder in sys.meta_path].count("CompiledCode") == 1
print(json.dumps([found, fold.__doc__]))
"""


class Controller:
    """A directory of collections with a copy of this one's plugins, as Ansible loads it."""

    def __init__(self, directory: Path) -> None:
        self.collections = directory
        self.plugins = directory / "ansible_collections/unshare/container/plugins"
        for room in ("action", "modules", "module_utils", "plugin_utils"):
            for path in sorted((ROOT / "plugins" / room).rglob("*.py")):
                copy = self.plugins / path.relative_to(ROOT / "plugins")
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(path.read_bytes())

    def load(self) -> tuple[dict[str, list[t.Any]], str]:
        """Load an action plugin. Return the loader and the file of each module, and the text of one."""
        kept = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
        environment = {key: text for key, text in os.environ.items() if key not in kept}
        command = [sys.executable, "-c", RUN, str(self.collections)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, cwd="/")
        assert done.returncode == 0, done.stderr
        found, said = json.loads(done.stdout)
        return found, said


@pytest.fixture
def controller(tmp_path: Path) -> Controller:
    return Controller(tmp_path)


def test_files_are_compiled_once_and_anew_after_a_change(controller: Controller) -> None:
    found, said = controller.load()
    shared = {name: pair for name, pair in found.items() if ".plugin_utils." in name or ".module_utils." in name}
    late = {name for name, (loader, _file) in shared.items() if loader != "SourceFileLoader"}
    assert late == {f"{PACKAGE}.plugin_utils.compiled"}  # which has to be there first
    assert all(Path(file).is_relative_to(controller.plugins) for _loader, file in found.values())
    compiled = {path: path.stat().st_mtime_ns for path in controller.plugins.rglob("*.pyc")}
    assert len(compiled) == len(shared)  # the first one is loaded once more, by the finder
    assert controller.load() == (found, said)
    assert {path: path.stat().st_mtime_ns for path in controller.plugins.rglob("*.pyc")} == compiled
    file = controller.plugins / "plugin_utils/fold.py"
    file.write_text(file.read_text() + '__doc__ = "Other text."\n')
    assert controller.load()[1] == "Other text."


def test_a_directory_that_nobody_writes_to_is_no_obstacle(controller: Controller) -> None:
    for directory, _directories, _files in os.walk(controller.plugins):
        Path(directory, "__pycache__").write_text("no directory")
    found, _said = controller.load()
    assert f"{PACKAGE}.plugin_utils.fold" in found
