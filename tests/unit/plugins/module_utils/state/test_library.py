# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a system brings along is all that its scripts import, and no more."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

from ansible_collections.unshare.container.plugins.module_utils.state import library

ROOMS = Path(library.__file__).parents[1]

IMPORT = """
import importlib, sys
sys.path.insert(0, sys.argv[1])
for module in sys.argv[2:]:
    importlib.import_module("library." + module.replace("/", "."))
print(sorted({name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names))
"""


def imports(module: str) -> set[str]:
    """Return the modules of the rooms that a module imports at run time, in functions as well, as `room/name`."""
    found: set[str] = set()
    tree = ast.parse((ROOMS / f"{module}.py").read_text())
    for node in [tree, *ast.walk(tree)]:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            room = module.partition("/")[0] if node.level == 1 else ""
            place = "/".join(part for part in (room, *(node.module or "").split(".")) if part)
            if (ROOMS / f"{place}.py").is_file():
                found.add(place)
            else:
                found |= {f"{place}/{alias.name}" for alias in node.names}
    return found


def test_it_is_what_the_scripts_import() -> None:
    needed, new = set(), {"life/main"}
    while new:
        needed |= new
        new = set().union(*(imports(module) for module in new)) - needed
    assert list(library.MODULES) == sorted(needed)


def test_it_needs_nothing_else_than_the_standard_library(tmp_path: Path) -> None:
    for name, text in library.sources().items():
        path = tmp_path / library.NAME / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    command = [sys.executable, "-IS", "-c", IMPORT, str(tmp_path), *library.MODULES]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("['__main__', 'library']\n", "")


def test_the_fingerprint_is_of_every_file() -> None:
    texts = library.sources()
    assert library.fingerprint() == library.fingerprint(texts)
    prints = {library.fingerprint({**texts, name: text + "#"}) for name, text in texts.items()}
    assert len(prints | {library.fingerprint()}) == len(texts) + 1
