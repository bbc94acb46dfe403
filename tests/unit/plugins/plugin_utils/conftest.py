# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bare-metal server, declared in full."""

from __future__ import annotations

import typing as t

import pytest


@pytest.fixture
def server() -> dict[str, t.Any]:
    """Return a server with everything that a container does without, and some that it keeps."""
    return {
        "host_name": "web.example.org",
        "timezone": "Europe/Berlin",
        "kernel": "linux",
        "firmware": ["firmware-bnx2"],
        "swap_devices": ["/dev/sda2", {"target": {"uuid": "1234-abcd"}, "priority": 5}],
        "mapped_devices": [{"source": "/dev/sda3", "target": "secret", "type": "luks"}],
        "users": [{"name": "alice", "supplementary_groups": ["sudo"]}],
        "groups": [{"name": "editors"}],
        "file_systems": [
            {"device": "/dev/sda1", "mount_point": "/", "type": "ext4"},
            {"device": {"uuid": "c0ffee"}, "mount_point": "/srv/data", "type": "xfs", "needed_for_boot": True},
            {"device": {"label": "usr"}, "mount_point": "/usr", "type": "ext4"},
            {"device": "/dev/mapper/secret", "mount_point": "/srv/secret", "type": "ext4"},
            {"device": "debugfs", "mount_point": "/sys/kernel/debug", "type": "debugfs"},
            {"device": "hugetlbfs", "mount_point": "/dev/hugepages", "type": "hugetlbfs"},
            {"device": "tmpfs", "mount_point": "/srv/scratch", "type": "tmpfs", "options": "size=1M"},
        ],
        "services": [
            {"type": "agetty"},
            {"type": "mingetty", "value": {"tty": "tty1"}},
            {"type": "console-font"},
            {"type": "openssh", "value": {"authorized_keys": {"alice": ["ssh-ed25519 AAAA alice"]}}},
            {"type": "udev"},
            {"type": "network-manager"},
            {"type": "static-networking", "value": {"addresses": []}},
            {"type": "ntp"},
            {"type": "nscd", "value": {"debug_level": 2}},
            {"type": "simple", "value": {"target": "udev", "value": ["a rule"]}},
            {"type": "static-web-server", "value": {"root": "/srv/www"}},
            {"type": "unit", "value": {"name": "worker", "command": ["/bin/sleep", "9"], "requirement": ["udev"]}},
        ],
    }
