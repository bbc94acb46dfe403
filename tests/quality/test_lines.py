# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A line of a file ends with a newline alone. `str.splitlines` ends one at form feeds, U+2028 and others, too."""

from __future__ import annotations

import ast
from pathlib import Path

PLUGINS = Path(__file__).parents[2] / "plugins"
OF_THE_KERNEL = "a file of the kernel"
SHOWN = "output of a program, of which the end is shown"
ALLOWED = {
    "module_utils/host/ports.py": OF_THE_KERNEL,
    "module_utils/launcher/attributes.py": OF_THE_KERNEL,
    "module_utils/launcher/identity.py": OF_THE_KERNEL,
    "module_utils/life/container_information.py": OF_THE_KERNEL,
    "module_utils/life/health.py": SHOWN,
    "module_utils/life/start.py": SHOWN,
    "plugin_utils/local_command.py": "bytes, in which a newline and a carriage return alone end a line",
    "plugin_utils/rollout.py": SHOWN,
    "plugin_utils/vaulted.py": "more lines of a secret than it has are looked for, and hidden",
}


def test_no_text_of_a_user_is_split_at_more_than_newlines() -> None:
    found = {
        path.relative_to(PLUGINS).as_posix()
        for path in PLUGINS.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "splitlines"
    }
    assert found == set(ALLOWED)
