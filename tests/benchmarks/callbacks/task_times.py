# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes, for each task, its host and how many seconds it took; a line each in the file TASK_TIMES."""

from __future__ import annotations

import os
import time
import typing as t

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: task_times
type: aggregate
short_description: Write how long each task took
description: For the benchmark of the connection.
"""


class CallbackModule(CallbackBase):
    """A task's time is from its announcement until its result is taken; each play of the benchmark has one host."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "task_times"

    def v2_playbook_on_task_start(self, task: t.Any, is_conditional: bool) -> None:
        """Begin to count."""
        self.began = time.monotonic()

    def v2_runner_on_ok(self, result: t.Any) -> None:
        """Write what was counted."""
        took = time.monotonic() - self.began
        with open(os.environ["TASK_TIMES"], "a", encoding="utf-8") as file:
            file.write(f"{took:.5f} {result._host.get_name()}\n")
