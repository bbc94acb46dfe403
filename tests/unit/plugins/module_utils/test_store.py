# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs are looked for where the container will see them."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.store import View, check_programs
from ansible_collections.unshare.container.plugins.module_utils.target import TargetError


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """An unpacked root tree, whose links lead to places that the host does not have."""
    for directory in ("usr/bin", "usr/sbin", "usr/share/web", "etc/alternatives", "srv/app"):
        (tmp_path / directory).mkdir(parents=True)
    for program in ("usr/sbin/nginx", "usr/bin/mawk", "srv/app/run"):
        (tmp_path / program).write_text("#!/bin/true\n")
        (tmp_path / program).chmod(0o755)
    (tmp_path / "usr/share/web/index.html").write_text("")
    (tmp_path / "usr/bin/awk").symlink_to("/etc/alternatives/awk")
    (tmp_path / "etc/alternatives/awk").symlink_to("/usr/bin/mawk")
    (tmp_path / "usr/bin/relative").symlink_to("../sbin/./nginx")
    (tmp_path / "usr/bin/loop").symlink_to("loop")
    (tmp_path / "usr/bin/dangling").symlink_to("/usr/bin/nothing")
    (tmp_path / "usr/bin/outside").symlink_to("/../../../../bin/sh")
    return tmp_path


def view(tree: Path, target: str = "/usr") -> View:
    specification: dict[str, t.Any] = {
        "store": {"source": str(tree / "usr"), "target": target},
        "file_systems": [
            {"device": str(tree / "srv/app"), "mount_point": "/opt/app", "type": "none", "flags": ["bind-mount"]},
            {"device": {"uuid": "1-2"}, "mount_point": "/data", "type": "ext4", "flags": []},
        ],
    }
    files = {
        "/etc/init.sh": {"content": "", "mode": "0755"},
        "/etc/text": {"content": "", "mode": "0644"},
        "/etc/link": {"link": "/usr/sbin/nginx"},
        "/run/opt": {"link": "/opt/app"},
    }
    return View(specification, files, ["/etc/alternatives"])


@pytest.mark.parametrize(
    "program",
    [
        "/usr/sbin/nginx",
        "/sbin/nginx",
        "nginx",
        "awk",
        "/usr/bin/awk",
        "/bin/relative",
        "/opt/app/run",
        "/etc/init.sh",
        "/etc/link",
        "/run/opt/run",
        "/usr/bin/../sbin/nginx",
        "/usr/*/nginx",
        "/usr/s*n/n*x",
    ],
)
def test_present(tree: Path, program: str) -> None:
    assert view(tree).find(program)


@pytest.mark.parametrize(
    "program",
    [
        "/usr/bin/nginx",
        "apache2",
        "/bin/loop",
        "/usr/bin/dangling",
        "outside",
        "/etc/text",
        "/usr/share/web/index.html",
        "/usr/bin",
        "/usr/*/apache2",
        "/usr/b*/nginx",
        "/*/x",
        "/data/x",
        "/srv/app/run",
        "bin/awk",
        "",
        "/",
    ],
)
def test_missing(tree: Path, program: str) -> None:
    assert not view(tree).find(program)


def test_a_store_elsewhere(tree: Path) -> None:
    assert view(tree, "/gnu/store").find("/gnu/store/sbin/nginx")
    assert view(tree, "/gnu/store").find("nginx")
    assert not view(tree, "/gnu/store").find("/sbin/nginx")


def test_the_error_names_service_program_and_package(tree: Path) -> None:
    programs: list[dict[str, t.Any]] = [
        {"service": "nginx", "program": "/usr/sbin/nginx", "package": "nginx"},
        {"service": "web", "program": "/usr/sbin/apache2", "package": "apache2"},
        {"service": "own", "program": "mine", "package": None},
    ]
    check_programs(view(tree), programs[:1])
    with pytest.raises(TargetError) as caught:
        check_programs(view(tree), programs)
    message = str(caught.value)
    assert "service web runs /usr/sbin/apache2, which is not there: install the package apache2" in message
    assert "service own runs mine, which is not there: install it, or map it" in message
    assert "nginx" not in message
