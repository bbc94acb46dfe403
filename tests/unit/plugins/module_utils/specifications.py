# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A specification (`spec.json`) that is good, and what chance makes of it."""

from __future__ import annotations

import copy
import json
import typing as t

from ansible_collections.unshare.container.plugins.module_utils.launcher import contract
from hypothesis import strategies as st

SPECIFICATION: dict[str, t.Any] = {
    "format": contract.FORMAT,
    "name": "test-fuzz",
    "host_name": "test-fuzz",
    "shared_network": False,
    "private_users": "auto",
    "store": {"source": "/usr", "target": "/usr"},
    "init": {
        "argv": ["/bin/true"],
        "environment": {"A": "b"},
        "ready": "exec",
        "stop_signal": "SIGTERM",
        "systemd": False,
    },
    "file_systems": [
        {
            "device": "/usr",
            "mount_point": "/usr",
            "type": "none",
            "flags": ["bind-mount", "read-only"],
        },
        {"device": "none", "mount_point": "/dev/shm", "type": "tmpfs", "flags": ["no-exec"], "options": "mode=1777"},
        {"device": "none", "mount_point": "/dev/mqueue", "type": "mqueue", "flags": ["no-dev"]},
        {
            "device": "/var/lib/unshare/containers/test-fuzz/volumes/data",
            "mount_point": "/srv/data",
            "type": "none",
            "flags": ["bind-mount"],
            "volume": {"name": "data", "uid": 33, "gid": 33, "mode": "0750"},
        },
    ],
    "files": {
        "/etc/passwd": {"mode": "0644", "uid": 0, "gid": 0},
        "/etc/deep/file": {"mode": "0600", "uid": 33, "gid": 33},
        "/etc/link": {"link": "/etc/passwd"},
    },
    "directories": [{"path": "/var/lib/x", "mode": "0755", "uid": 0, "gid": 0}],
    "host_files": ["/etc/ld.so.cache"],
    "ports": [{"number": 8080, "protocol": "udp", "address": "127.0.0.1", "place": "operating_system.services[0]"}],
    "devices": [{"path": "/dev/net/tun", "target": "/dev/net/tun", "mode": "0660", "uid": 33, "gid": 33}],
    "credentials": [{"name": "token", "source": "system"}],
    "log": "volatile",
    "security": {"no_new_privileges": False, "nesting": False},
    "root": {"kind": "declared", "layer": "ephemeral"},
}

SMALL: dict[str, t.Any] = {
    "format": contract.FORMAT,
    "name": "web",
    "host_name": "web",
    "store": {"source": "/usr", "target": "/usr"},
    "init": {"argv": ["/usr/lib/systemd/systemd"], "ready": "notify", "systemd": True},
}
"""No more than is needed."""


def specification(**changes: t.Any) -> contract.Specification:
    """Return the record of the small specification with other fields."""
    return contract.Specification.read({**SMALL, **changes})


def mount(**given: t.Any) -> contract.Mount:
    """Return the record of a mount; what does not matter has values of its own."""
    known = {"device": "/dev/none", "mount_point": "/data", "type": "none", **given}
    return contract.Mount.read({key: value for key, value in known.items() if value is not None})


LEAVES: st.SearchStrategy[t.Any] = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(
        [
            *(
                "",
                "/",
                "/..",
                "/../../tmp/escaped",
                "/etc/../../escaped",
                "//",
                "/proc/1/root/tmp",
                "/dev/null",
                "/run",
            ),
            *(
                "/var/run/escaped",
                "/bin/escaped",
                "/etc/link/escaped",
                "/etc/passwd/x",
                "\0",
                "a\nb",
                "\ud800",
                "x" * 5000,
            ),
            *(
                "tmpfs",
                "proc",
                "bind-mount",
                "notify",
                "SIGKILL",
                "SIGRTMIN+99",
                "identity",
                "persistent",
                "size=1",
                "uid=-1",
            ),
        ]
    )
    | st.just([])
    | st.just({})
)


def places(value: t.Any) -> list[tuple[t.Any, ...]]:
    """Return the ways to everything in a value, as tuples of keys and indices."""
    found: list[tuple[t.Any, ...]] = []
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, inner in steps:
        found.append((step,))
        found.extend((step, *way) for way in places(inner))
    return found


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """Return the text of a specification with one to three things changed, removed, renamed or added, or cut off."""
    spec = copy.deepcopy(SPECIFICATION)
    for _change in range(draw(st.integers(1, 3))):
        ways = places(spec)
        if not ways:
            break
        way = draw(st.sampled_from(ways))
        inner: t.Any = spec
        for step in way[:-1]:
            inner = inner[step]
        action = draw(st.sampled_from(["replace", "replace", "remove", "rename", "add"]))
        if action == "replace":
            inner[way[-1]] = draw(LEAVES)
        elif action == "remove":
            del inner[way[-1]]
        elif isinstance(inner, dict):
            key = draw(LEAVES.filter(lambda leaf: isinstance(leaf, str)))
            inner[key] = inner.pop(way[-1]) if action == "rename" else copy.deepcopy(inner[way[-1]])
        else:
            inner.append(draw(LEAVES))
    text = json.dumps(spec, ensure_ascii=draw(st.booleans()))
    return text if draw(st.integers(0, 9)) else text[: draw(st.integers(0, len(text)))]
