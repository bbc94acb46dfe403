# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Good values of every service type, each place of which can be given another."""

from __future__ import annotations

import copy
import typing as t

Place = tuple[t.Any, ...]

PROGRAM = "/bin/x"
UNIT = {
    "name": "a",
    "description": "d",
    "command": [PROGRAM, "y"],
    "environment": {"A": "b"},
    "service": {"User": "nobody", "ExecStop": ["a", "b"]},
    "unit": {"Wants": "x"},
    "timer": {"OnCalendar": "daily"},
    "socket": {"ListenStream": 80},
    "units": {"b.service": {"Service": {"ExecStart": PROGRAM}}, "c.socket": "text"},
    "provision": ["p"],
    "requirement": ["syslogd"],
    "wanted_by": ["multi-user.target"],
    "packages": ["p"],
    "programs": [PROGRAM],
}
VALUES: dict[str, list[t.Any]] = {
    "cron": [{"jobs": [{"name": "a", "schedule": "@daily", "command": "y", "user": "bin", "environment": {"A": "b"}}]}],
    "nginx": [
        {
            "servers": [{"listen": ["80"], "locations": [{"uri": "/", "body": ["x"]}], "directives": ["y"]}],
            "worker_processes": 1,
            "http_directives": ["z"],
        },
        {"config": "http { server { } }"},
    ],
    "nscd": [{"caches": [{"database": "hosts", "check_files": True}], "debug_level": 1, "log_file": "/x"}],
    "openssh": [{"port": 22, "listen_addresses": ["::"], "authorized_keys": {"root": ["ssh-ed25519 AAAA"]}}],
    "postgresql": [{"version": "15", "port": 5, "listen_addresses": ["x"], "settings": {"a": 1}, "hba": ["local"]}],
    "redis": [{"bind": ["::1"], "port": 1, "directory": "/x", "max_memory": "1mb", "settings": {"a": "b"}}],
    "static-web-server": [{"name": "w", "root": "/x", "port": 80, "address": "::", "python": PROGRAM}],
    "syslog": [{"config": "x"}],
    "unit": [
        UNIT,
        {"name": "a", "sections": {"Unit": {"Wants": ["x"]}, "Service": {"ExecStart": PROGRAM}}},
        {"name": "a", "text": "x"},
    ],
}  # fmt: skip
ADDITIONS: dict[str, t.Any] = {
    "account": {
        "users": [{"name": "u", "uid": 1005, "group": "users", "supplementary_groups": ["adm"], "shell": "/bin/sh"}],
        "groups": [{"name": "g", "gid": 1007}],
    },
    "activation": ["text", {"path": "/x", "mode": "0755", "uid": 0, "gid": 0}],
    "boot": ["text"],
    "etc": {"f": {"content": "x", "mode": "0644", "uid": 0, "secret": True}, "g": {"link": "f"}, "h": "x"},
    "fstab": [{"device": "tmpfs", "mount_point": "/t", "type": "tmpfs", "options": "size=1m"}],
    "hosts": [{"address": "1.2.3.4", "canonical_name": "a.b", "aliases": ["c"]}],
    "pam": {"x": "text"},
    "privileged-programs": [PROGRAM],
    "profile": ["p"],
    "session-environment": {"A": "b"},
    "special-files": {"/x": "y"},
    "system": {
        "files": {"/etc/a": {"content": "x", "mode": "0644"}, "/srv/b": "x"},
        "directories": [{"path": "/d", "mode": "0755"}],
        "activation": ["x"],
        "programs": [{"service": "a", "program": PROGRAM, "package": "p"}],
        "packages": ["p"],
        "host_files": ["/etc/z"],
    },
    "systemd": [{"name": "a.service", "sections": {"Service": {"ExecStart": PROGRAM}}, "requirement": ["syslogd"]}],
}


def places(node: t.Any, place: Place = ()) -> t.Iterator[Place]:
    """Every place in a value, its own first."""
    yield place
    for key in node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
        yield from places(node[key], (*place, key))


def with_value(declared: dict[str, t.Any], place: Place, value: t.Any) -> dict[str, t.Any]:
    result = copy.deepcopy(declared)
    inner: t.Any = result
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return result
