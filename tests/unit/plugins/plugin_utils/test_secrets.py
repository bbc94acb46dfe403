# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Secrets leave the system before it leaves the controller."""

from __future__ import annotations

import copy
import typing as t

from ansible_collections.unshare.container.plugins.plugin_utils.secrets import split_secrets


def test_splits_the_content_of_secret_files_only() -> None:
    system: dict[str, t.Any] = {
        "name": "web",
        "files": {
            "/etc/shadow": {"content": "root:!", "mode": "0640", "secret": True},
            "/etc/key": {"content": "AAAA", "encoding": "base64", "secret": True},
            "/etc/hostname": {"content": "web", "secret": False},
            "/etc/link": {"link": "x"},
        },
    }
    original = copy.deepcopy(system)
    stripped, secrets = split_secrets(system)
    assert system == original
    assert secrets == {"/etc/shadow": "root:!", "/etc/key": "AAAA"}
    assert stripped["files"] == {
        "/etc/shadow": {"mode": "0640", "secret": True},
        "/etc/key": {"encoding": "base64", "secret": True},
        "/etc/hostname": {"content": "web", "secret": False},
        "/etc/link": {"link": "x"},
    }
    assert stripped["name"] == "web"
