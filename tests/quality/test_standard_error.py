# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who writes to standard error: all messages with words of a container in them go one way, `launcher/printable`."""

from __future__ import annotations

import re
from pathlib import Path

PLUGINS = Path(__file__).parents[2] / "plugins"
WRITES = re.compile(r"os\.write\(2\b|stderr\.write\(|stdout\.write\(|(?<![\w.])print\(")
KNOWN = {
    "module_utils/evaluation/request.py": 1,  # a program's result, in a program for Python
    "module_utils/launcher/printable.py": 1,
    "module_utils/launcher/excursion.py": 1,  # of its own, and the kernel's words
    "module_utils/host/reboots.py": 1,  # the container's name alone
    "module_utils/life/commands.py": 1,  # the report for programs, made printable there
    "module_utils/life/main.py": 3,  # the usage of both, and the PID
}


def test_messages_go_one_way() -> None:
    found = {}
    for path in sorted(PLUGINS.rglob("*.py")):
        count = len(WRITES.findall(path.read_text()))
        if count:
            found[str(path.relative_to(PLUGINS))] = count
    assert found == KNOWN, (
        "write to a person with `printable.print_error` or `print_warning`, and end modules with `readable_results`"
    )
