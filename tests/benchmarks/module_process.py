# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A process like that of the module system_container: it holds what the module imports, and starts containers.

    module_process.py COLLECTIONS ANSIBLE

Each line on standard input is the directory of a system, which it runs to its end. The answer is a line: the seconds
that this took, and those of a processor that it and the processes that it waited for have taken so far.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
import time

sys.path[:0] = sys.argv[1:3]


def processor_seconds() -> float:
    """Return the processor time that this process, and those it waited for, have used so far, in seconds."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def main() -> None:
    import ansible.module_utils.basic  # noqa: F401
    import ansible_collections.unshare.container.plugins.module_utils.life.life_cycle  # noqa: F401
    from ansible_collections.unshare.container.plugins.module_utils.life.container import Container

    container = Container("bench-module")
    for line in sys.stdin:
        began = time.perf_counter()
        with container.lock(10):
            status = container.start(line.rstrip("\n"))
            with contextlib.suppress(ChildProcessError):
                os.waitpid(status.pid or 0, 0)
            container.clear()
        print(time.perf_counter() - began, processor_seconds(), flush=True)


if __name__ == "__main__":
    main()
