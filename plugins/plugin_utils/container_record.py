# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of one container: all that an inventory can say about it, each option with its type, choices and default.

It has three spellings: an entry of `containers` under its name, the variables `system_container_*` of the role, and,
for the part that a target needs, the options of the module `system_container`. All are made from this record or
compared with it. Only few things stand beside it: a container's name, the module's `system`, which is made from the
first half of the record, and what is in ROLE.
"""

from __future__ import annotations

from ..module_utils.host.container_options import OPTIONS
from ..module_utils.launcher.contract import Security, Specification
from ..module_utils.launcher.root_options import Root
from ..module_utils.launcher.targets import STORE
from .validation import Spec

DERIVED: Spec = {
    "operating_system": {"type": "dict"},
    "mappings": {"type": "list", "elements": "raw", "default": []},
    # True, or a list; `volumes.volumes` checks which.
    "volumes": {"type": "raw", "default": []},
    # Without a default, so that what contradicts `shared_network` is seen; `networks.read_network` reads it.
    "network": {"type": "raw"},
    "shared_network": {"type": "bool", "default": False},
    "extra_file_systems": {"type": "list", "elements": "dict", "default": []},
    "keep_services": {"type": "list", "elements": "str", "default": []},
    "private_users": {"type": "raw", "default": "auto"},
    "init": {"type": "raw", "default": "systemd"},
    "security": {
        "type": "dict",
        "default": {},
        "options": {
            "no_new_privileges": {"type": "bool", "default": Security.no_new_privileges},
            "nesting": {"type": "bool", "default": Security.nesting},
            "fuse": {"type": "bool", "default": Security.fuse},
        },
    },
    "oom_score_adj": {"type": "int", "default": Specification.oom_score_adj},
    "devices": {"type": "list", "elements": "raw", "default": []},
    "credentials": {"type": "dict", "default": {}},
    "log": {"type": "str", "choices": ["volatile", "persistent"], "default": "volatile"},
    "store": {"type": "raw", "default": STORE},
    "root": {"type": "raw", "default": Root.kind},
}
"""The options that a container's system is made from. The derivation checks raw values and elements in depth."""

RECORD: Spec = {**DERIVED, **OPTIONS}

ROLE = ("name", "install_packages", "own_variables", "result")
"""The names of further variables of the role, without their prefix: they are about the host, or the role itself."""

DERIVING = ("mappings", "network", "shared_network", "extra_file_systems", "keep_services", "store")
"""Names of the options that the filters `containerized_operating_system` and `containerization_report` take."""

RENDERING = (
    "network",
    "shared_network",
    "private_users",
    "init",
    "security",
    "oom_score_adj",
    "devices",
    "credentials",
    "log",
    "store",
    "root",
    "volumes",
)
"""Names of the options that the filter `system_files` takes."""
