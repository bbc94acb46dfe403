# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs are looked for where the container will see them."""

from __future__ import annotations

import os
import socket
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host import store
from ansible_collections.unshare.container.plugins.module_utils.host.store import StoreView, check_programs
from ansible_collections.unshare.container.plugins.module_utils.state.target import TargetError

from ..specifications import specification


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return an unpacked root tree, whose links lead to places that the host does not have."""
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


def view(tree: Path, target: str = "/usr") -> StoreView:
    return StoreView(
        specification(
            store={"source": str(tree / "usr"), "target": target},
            file_systems=[
                {"device": str(tree / "srv/app"), "mount_point": "/opt/app", "type": "none", "flags": ["bind-mount"]},
                {"device": {"uuid": "1-2"}, "mount_point": "/data", "type": "ext4"},
            ],
            files={
                "/etc/init.sh": {"mode": "0755"},
                "/etc/text": {"mode": "0644"},
                "/etc/link": {"link": "/usr/sbin/nginx"},
                "/run/opt": {"link": "/opt/app"},
            },
            host_files=["/etc/alternatives"],
        )
    )


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


def program(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/true\n")
    path.chmod(0o755)


def turn_into_link(path: Path, target: object) -> None:
    """Have a link in a tree, in the place of what is there."""
    if path.exists() and not path.is_symlink():
        path.rename(path.with_name(path.name + ".was"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(str(target))


HONEST: list[tuple[str, str, str]] = [
    ("etc/alternatives", "/etc/alternatives.was", "/etc/alternatives/awk"),
    ("etc/alternatives", "../etc/alternatives.was", "awk"),
    ("etc/alternatives", "/../../etc/alternatives.was", "awk"),
    ("etc", "/etc.was", "/etc/alternatives/awk"),
    ("etc", "etc.was", "/usr/bin/awk"),
    ("usr/bin", "/usr/bin.was", "/usr/bin/mawk"),
    ("usr/bin", "/usr/sbin", "/bin/nginx"),
    ("usr/lib/postgresql", "/usr/share/postgresql", "/usr/lib/postgresql/*/bin/postgres"),
    ("usr/lib/postgresql", "/lib/../share/postgresql", "/lib/postgresql/1*/bin/postgres"),
    ("usr/lib/systemd/systemd", "/usr/sbin/nginx", "/lib/systemd/systemd"),
]


@pytest.mark.parametrize(("link", "target", "wanted"), HONEST)
def test_absolute_links_of_a_tree_mean_its_own_root(tree: Path, link: str, target: str, wanted: str) -> None:
    program(tree / "usr/share/postgresql/15/bin/postgres")
    turn_into_link(tree / link, target)
    assert view(tree).find(wanted)


# `{outside}` is a directory beside the tree, and `{up}` leads from anywhere to the root.
HOSTILE: list[tuple[str, str, str]] = [
    ("etc/alternatives", "{outside}", "/etc/alternatives/tool"),
    ("etc/alternatives", "{up}{outside}", "/etc/alternatives/tool"),
    ("etc/alternatives", "/proc/self/root{outside}", "/etc/alternatives/tool"),
    ("etc/alternatives", "{outside}", "/etc/alternatives/t*l"),
    ("etc", "{outside}/etc", "/etc/alternatives/tool"),
    ("etc", "{up}{outside}/etc", "/etc/alternatives/*"),
    ("usr/lib/postgresql", "{outside}", "/usr/lib/postgresql/*/bin/postgres"),
    ("usr/lib/postgresql", "{up}{outside}", "/lib/postgresql/*/bin/postgres"),
    ("usr/bin", "{up}{outside}", "/usr/bin/tool"),
    ("usr/bin/tool", "{outside}/tool", "tool"),
    ("usr/bin/tool", "/etc/alternatives/../..{outside}/tool", "tool"),
    ("etc/alternatives", "alternatives", "/etc/alternatives/awk"),
    ("usr/lib/postgresql", "/usr/lib/postgresql", "/usr/lib/postgresql/*/bin/postgres"),
]


@pytest.mark.parametrize(("link", "target", "wanted"), HOSTILE)
def test_no_link_leads_out_of_a_tree(tmp_path: Path, tree: Path, link: str, target: str, wanted: str) -> None:
    inner, outside = tmp_path / "tree", tmp_path / "outside"
    inner.mkdir()
    for name in ("usr", "etc", "srv"):
        (tree / name).rename(inner / name)
    for path in ("tool", "15/bin/postgres", "etc/alternatives/tool"):
        program(outside / path)
    turn_into_link(inner / link, target.format(outside=outside, up="../" * 30 + "."))
    assert not view(inner).find(wanted)


def test_what_would_wait_is_not_opened(tree: Path) -> None:
    for place in ("usr/bin/pipe", "usr/lib/pipe", "etc/alternatives/pipe"):
        (tree / place).parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(tree / place, 0o777)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tree / "usr/bin/socket"))
        for wanted in ("pipe", "socket", "/usr/lib/pipe/*/x", "/usr/lib/p*/x", "/etc/alternatives/pipe"):
            assert not view(tree).find(wanted)


def test_patterns_read_a_bounded_number_of_names(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "NAMES_READ", 50)
    (tree / "usr/lib").mkdir()
    for number in range(20):
        (tree / f"usr/lib/{number}").mkdir()
    few = view(tree)
    assert not few.find("/usr/lib/*/x")
    assert not few.find("/usr/lib/*/y")
    with pytest.raises(TargetError, match=r"/usr/lib/\* of the store .*: more than 50 names"):
        few.find("/usr/lib/*/z")
    for name in ("a", "b", "c"):
        (tree / f"usr/lib/1/{name}").symlink_to(".")
    with pytest.raises(TargetError, match="name the programs themselves"):
        view(tree).find("/usr/lib/1/*/*/*/*/x")


def test_the_source_of_a_mapping_is_not_followed(tree: Path) -> None:
    """A start does not either."""
    turn_into_link(tree / "srv/app", tree / "srv/app.was")
    assert not view(tree).find("/opt/app/run")


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


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("/usr/share/web/index.html", "which may not be executed (its mode is 0644): make it executable on the host"),
        ("/usr/share/web", "which is no file: name the program itself"),
        ("/usr/bin/dangling", "which is not there: install the package p"),
        ("/usr/sbin/nothing", "which is not there: install the package p"),
        ("/etc/x.sh", 'which may not be executed (its mode is 0644): declare it with the mode "0755"'),
    ],
)
def test_the_error_says_why_a_program_cannot_run(tree: Path, program: str, said: str) -> None:
    (tree / "usr/share/web/index.html").chmod(0o644)
    files = {"/etc/x.sh": {"mode": "0644"}}
    seen = StoreView(specification(store={"source": str(tree / "usr"), "target": "/usr"}, files=files))
    with pytest.raises(TargetError) as caught:
        check_programs(seen, [{"service": "a", "program": program, "package": "p"}])
    assert f"service a runs {program}, {said}" in str(caught.value)
