# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a hostile root tries, run inside a container by its Python, to which the package is given as one zip file.

The argument is a JSON mapping of what the tests planted on the host. Printed is one of `attempts` (the word for each),
`rows` (the row of the table for each) and `facts`.
"""

from __future__ import annotations

import json

from . import abis, calls, filling, host, kernel, mounts, processes
from .common import ATTEMPTS, FACTS, ROWS, run

PARTS = (kernel, mounts, processes, calls, abis, host, filling)


def main() -> None:
    """Make all attempts."""
    made = {name: run(function) for name, function in ATTEMPTS.items()}
    facts = {name: run(function) for name, function in FACTS.items()}
    print(json.dumps({"attempts": made, "rows": ROWS, "facts": facts}))
