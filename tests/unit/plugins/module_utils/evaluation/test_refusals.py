# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A row for each check of a command in a container of its own: what is asked, and the words of the refusal."""

from __future__ import annotations

from ansible_collections.unshare.container.plugins.module_utils.evaluation.request import Request
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.tests.unit.plugins import golden

from .parameters import parameters


def test_each_check_refuses_and_says_what_is_wrong() -> None:
    golden.check_refusals("refusals/eval.yml", lambda row: Request(parameters(**row)), LauncherError)
