# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Argument specifications of the declaration, to the leaves. Names are those of the Guix records in snake_case."""

from __future__ import annotations

from ..module_utils.launcher import contract
from .validation import Spec

FLAGS = [*contract.FLAGS, "remount", "shared"]
"""The flags that a machine may declare. A container's file systems are always `shared`, and never remounted."""

FILE_SYSTEM: Spec = {
    "device": {"type": "raw", "required": True},
    "mount_point": {"type": "str", "required": True},
    "type": {"type": "str", "required": True},
    "flags": {"type": "list", "elements": "str", "choices": FLAGS, "default": []},
    "options": {"type": "str"},
    "mount": {"type": "bool", "default": True},
    "mount_may_fail": {"type": "bool", "default": False},
    "needed_for_boot": {"type": "bool", "default": False},
    "check": {"type": "bool", "default": True},
    "create_mount_point": {"type": "bool", "default": False},
    "dependencies": {"type": "list", "elements": "str", "default": []},
    "required": {"type": "bool", "default": False},
    "propagation": {"type": "str", "choices": [*contract.PROPAGATIONS], "default": contract.Mount.propagation},
    "owner": {"type": "raw"},
    "group": {"type": "raw"},
}

MAPPING: Spec = {
    "source": {"type": "str", "required": True},
    "target": {"type": "str"},
    "writable": {"type": "bool", "default": False},
    "required": {"type": "bool", "default": False},
    "propagation": {"type": "str", "choices": [*contract.PROPAGATIONS], "default": contract.Mount.propagation},
    "owner": {"type": "raw"},
    "group": {"type": "raw"},
}

SERVICE: Spec = {
    "type": {"type": "str", "required": True},
    "value": {"type": "raw"},
}

USER: Spec = {
    "name": {"type": "str", "required": True},
    "uid": {"type": "int"},
    "group": {"type": "str", "default": "users"},
    "supplementary_groups": {"type": "list", "elements": "str", "default": []},
    "comment": {"type": "str", "default": ""},
    "home_directory": {"type": "str"},
    "create_home_directory": {"type": "bool", "default": True},
    "shell": {"type": "str", "default": "/bin/bash"},
    "password": {"type": "str", "no_log": True},
    "system": {"type": "bool", "default": False},
}

GROUP: Spec = {
    "name": {"type": "str", "required": True},
    "gid": {"type": "int"},
    "system": {"type": "bool", "default": False},
}

HOST: Spec = {
    "address": {"type": "str", "required": True},
    "canonical_name": {"type": "str", "required": True},
    "aliases": {"type": "list", "elements": "str", "default": []},
}

SWAP: Spec = {
    "target": {"type": "raw", "required": True},
    "dependencies": {"type": "list", "elements": "str", "default": []},
    "priority": {"type": "int"},
    "discard": {"type": "bool", "default": False},
}

MAPPED_DEVICE: Spec = {
    "source": {"type": "raw", "required": True},
    "target": {"type": "str", "required": True},
    "type": {"type": "str", "required": True},
    "arguments": {"type": "dict", "default": {}},
}

SERVICE_TYPE: Spec = {
    "name": {"type": "str", "required": True},
    "description": {"type": "str", "default": ""},
    "default": {"type": "raw"},
    "provision": {"type": "list", "elements": "str"},
    "requirement": {"type": "list", "elements": "str", "default": []},
    "bare_metal": {"type": "str"},
    "units": {"type": "list", "elements": "str", "default": []},
    "extensions": {"type": "dict", "default": {}},
    "packages": {"type": "list", "elements": "str", "default": []},
    "programs": {"type": "list", "elements": "str", "default": []},
}


def _records(spec: Spec) -> dict[str, object]:
    return {"type": "list", "elements": "dict", "options": spec, "default": []}


OPERATING_SYSTEM: Spec = {
    "host_name": {"type": "str", "required": True},
    "timezone": {"type": "str", "default": "Etc/UTC"},
    "locale": {"type": "str", "default": "C.UTF-8"},
    "kernel": {"type": "raw"},
    "kernel_arguments": {"type": "list", "elements": "str", "default": []},
    "initrd_modules": {"type": "list", "elements": "str", "default": []},
    "bootloader": {"type": "raw"},
    "keyboard_layout": {"type": "raw"},
    "firmware": {"type": "list", "elements": "str", "default": []},
    "packages": {"type": "list", "elements": "str", "default": []},
    "users": _records(USER),
    "groups": _records(GROUP),
    "hosts": _records(HOST),
    "issue": {"type": "str"},
    "sudoers": {"type": "str"},
    "swap_devices": {"type": "list", "elements": "raw", "default": []},
    "mapped_devices": _records(MAPPED_DEVICE),
    "file_systems": _records(FILE_SYSTEM),
    "services": _records(SERVICE),
    "essential_services": {"type": "list", "elements": "dict", "options": SERVICE},
    "service_types": _records(SERVICE_TYPE),
}
