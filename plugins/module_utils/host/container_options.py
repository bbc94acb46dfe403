# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of one container on its host: each option's type, choices and default, which stand here alone.

The options of `system_container`, of an entry of `containers` and of the role are all made from this. Options that only
the controller uses, to derive the system, are in `plugin_utils/container_record.py`. The text of all options is in
`doc_fragments/container.py`.
"""

from __future__ import annotations

import copy
from typing import Any, Dict

from ..launcher.limits import LIMITS
from .time_limits import TimeLimit

Options = Dict[str, Dict[str, Any]]
"""An argument specification."""

HEALTH: Options = {
    "timeout": TimeLimit(30),
    "steady": TimeLimit(1, least=0),
    "running": {"type": "bool", "default": True},
    "units": {"type": "list", "elements": "str", "default": []},
    "tcp": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"port": {"type": "int", "required": True}, "address": {"type": "str", "default": "127.0.0.1"}},
    },
    "http": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "port": {"type": "int", "default": 80},
            "address": {"type": "str", "default": "127.0.0.1"},
            "host": {"type": "str", "default": "localhost"},
            "path": {"type": "str", "default": "/"},
            "status": {"type": "int", "default": 200},
        },
    },
    "commands": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "argv": {"type": "list", "elements": "str", "required": True},
            "exit_code": {"type": "int", "default": 0},
        },
    },
}
"""The keys of a container's `health`."""

OPTIONS: Options = {
    "state": {
        "type": "str",
        "choices": ["started", "stopped", "restarted", "rolled_back", "absent"],
        "default": "started",
    },
    "generation": {"type": "int"},
    "keep_generations": {"type": "int", "default": 5},
    "health": {"type": "dict", "options": HEALTH},
    "roll_back": {"type": "bool", "default": False},
    "roll_back_state": {"type": "bool", "default": False},
    "wait": {"type": "bool", "default": True},
    "timeout": TimeLimit(30),
    "remove_volumes": {"type": "bool", "default": False},
    "allow_failed_units": {"type": "bool", "default": False},
    "enabled": {"type": "bool", "default": False},
    "after": {"type": "list", "elements": "str", "default": []},
    "requires": {"type": "list", "elements": "str", "default": []},
    "restart": {"type": "str", "choices": ["on-failure", "always", "no"], "default": "on-failure"},
    # A limit may be a number or a text; `limits.parse_limits` checks which.
    "limits": {"type": "dict", "default": {}, "options": {name: {"type": "raw"} for name in LIMITS}},
    # A port is a text or a mapping; `published.parse_ports` checks which.
    "ports": {"type": "list", "elements": "raw", "default": []},
    "nameservers": {"type": "list", "elements": "str", "default": []},
}
"""The options as an inventory has them: one that is left out has its default."""

HELD = ("timeout", "enabled", "after", "requires", "restart", "limits", "ports", "nameservers")
"""The options that the host holds for a container: a task of `system_container` that leaves one out changes nothing."""


def _without_default(option: dict[str, Any]) -> dict[str, Any]:
    bare = copy.copy(option)  # of the same class
    del bare["default"]
    return bare


TASK_OPTIONS: Options = {name: _without_default(option) if name in HELD else option for name, option in OPTIONS.items()}
"""The options as the module `system_container` has them, and as the target gets them."""
