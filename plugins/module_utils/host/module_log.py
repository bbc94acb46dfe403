# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The log of a module on the host: it says that the module runs, and neither its arguments nor its warnings."""

from __future__ import annotations

from typing import Any

from .readable_results import ReadableResults


class Unlogged(ReadableResults):
    """A base class of modules, named before AnsibleModule: the host's log then names no secret of theirs.

    AnsibleModule logs all arguments but those that are marked `no_log`, and that mark hides each word of them (`web`,
    `/usr`) wherever a result has it. A command, an environment or a script among them may hold a secret, and only the
    controller knows which does. What ran is the log's to say; with what, the task's output.
    """

    def log(self, msg: Any, log_args: Any = None) -> None:
        """Log that the module runs, and leave out anything else."""
        if log_args is not None:
            super().log("Invoked; the arguments are not logged, for they may hold secrets")  # type: ignore[misc]
