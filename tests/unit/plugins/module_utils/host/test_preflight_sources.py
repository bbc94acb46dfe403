# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A source that the host does not have: an error, or in check mode what a run needs; left out where that is allowed."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host import preflight, preflight_directories
from ansible_collections.unshare.container.plugins.module_utils.host.facts import HostFacts
from ansible_collections.unshare.container.plugins.module_utils.launcher import confine, identity, targets
from ansible_collections.unshare.container.plugins.module_utils.launcher.contract import Specification
from ansible_collections.unshare.container.plugins.module_utils.state.target import TargetError

from ..specifications import specification
from .test_preflight import host  # noqa: F401

DATABASE = {"path": "/var/lib/db", "account": "db", "uid": 0, "gid": 0, "data": True}


def bound(source: str, target: str = "/x", *flags: str, **more: t.Any) -> dict[str, t.Any]:
    return {"device": source, "mount_point": target, "type": "none", "flags": ["bind-mount", *flags], **more}


def of(*mounts: dict[str, t.Any], **more: t.Any) -> Specification:
    return specification(file_systems=list(mounts), **more)


MISSING = {
    "directory": of(bound("/srv/db", "/var/lib/db", required=True)),
    "read_only": of(bound("/srv/db", "/var/lib/db", "read-only", required=True)),
    "below_a_missing_one": of(bound("/srv/new/deep/db", "/var/lib/db", required=True)),
    "below_another_mapping": of(bound("/srv/data", "/var"), bound("/srv/db", "/var/lib/db", required=True)),
    "of_a_database": of(bound("/srv/db", "/var/lib/db", required=True), directories=[DATABASE]),
}


@pytest.mark.parametrize("case", MISSING)
def test_an_error_and_in_check_mode_what_a_run_needs(host: HostFacts, case: str) -> None:  # noqa: F811
    given = MISSING[case]
    with pytest.raises(TargetError, match="required mapping to /var/lib/db does not exist: make it before") as refused:
        preflight.check_host(host, given)
    (said,) = preflight.check_host(host, given, check=True)
    assert "ansible.builtin.file" in said
    assert "correct its path" in said
    assert "drop" not in said + str(refused.value)
    assert said.endswith("Without check mode a run is refused while it is missing")
    assert preflight.warnings_of_new(host, given) == []
    for mount in given.file_systems:
        (host.root / mount.source.lstrip("/")).mkdir(parents=True, exist_ok=True)
    assert preflight.check_host(host, given, check=True) == preflight.check_host(host, given) == []


LEFT_OUT = {
    "plain": (of(bound("/srv/gone", "/x")), "/srv/gone: does not exist on the host, so /x is left out"),
    "read_only": (of(bound("/srv/gone", "/x", "read-only")), "/srv/gone: does not exist on the host, so /x is left"),
    "deep": (of(bound("/srv/new/deep", "/x")), "/srv/new/deep: does not exist on the host, so /x is left out"),
    "may_fail": (of(bound("/srv/gone", "/x", mount_may_fail=True)), "/srv/gone: does not exist on the host, so /x is"),
    "required_and_may_fail": (
        of(bound("/srv/gone", "/x", mount_may_fail=True, required=True)),
        "/srv/gone: the source of the mapping to /x does not exist; it is left out, as its declaration allows",
    ),
    "network_file": (
        of(bound("/etc/hosts", "/etc/hosts", "read-only"), shared_network=True),
        "/etc/hosts: does not exist on the host, so it is empty inside until it does",
    ),
    "network_file_elsewhere": (
        of(bound("/etc/hosts", "/srv/hosts", "read-only")),
        "/etc/hosts: does not exist on the host, so /srv/hosts is left out",
    ),
}


@pytest.mark.parametrize("case", LEFT_OUT)
def test_what_is_left_out_is_said_before_the_start(host: HostFacts, case: str) -> None:  # noqa: F811
    given, expected = LEFT_OUT[case]
    assert preflight.check_host(host, given) == preflight.check_host(host, given, check=True) == []
    (said,) = preflight.warnings_of_new(host, given)
    assert said.startswith(expected)
    assert preflight.warnings(host, given) == []
    (host.root / "etc").mkdir()
    source = host.root / given.file_systems[0].source.lstrip("/")
    source.parent.mkdir(parents=True, exist_ok=True)
    source.touch()
    assert preflight.warnings_of_new(host, given) == []


def test_links_are_for_the_start_to_refuse_and_to_network_files_are_followed(host: HostFacts) -> None:  # noqa: F811
    (host.root / "srv/link").symlink_to("nowhere")
    (host.root / "etc").mkdir()
    (host.root / "etc/resolv.conf").symlink_to("../run/resolv.conf")
    given = of(bound("/srv/link", "/x"), bound("/etc/resolv.conf", "/etc/resolv.conf", "read-only"))
    (said,) = preflight.warnings_of_new(host, given)
    assert said.startswith("/etc/resolv.conf: does not exist on the host")
    (host.root / "run").mkdir()
    (host.root / "run/resolv.conf").touch()
    assert preflight.warnings_of_new(host, given) == []


@pytest.mark.parametrize("required", [False, True])
def test_below_a_file_is_no_place_for_a_source(host: HostFacts, required: bool) -> None:  # noqa: F811
    (host.root / "srv/file").touch()
    given = of(bound("/srv/file/x", "/x", required=required))
    for check in (False, True):
        with pytest.raises(TargetError, match="the source /srv/file/x .* lies below a file of the host: correct"):
            preflight.check_host(host, given, check=check)
    preflight.check_host(host, of(bound("/srv/file/x", "/x", mount_may_fail=True)))


def test_data_in_a_mapping_that_is_yet_to_be_made_are_not_lost(host: HostFacts) -> None:  # noqa: F811
    assert preflight_directories.lost_data(host, MISSING["of_a_database"]) == []
    (said,) = preflight_directories.lost_data(host, of(bound("/srv/db", "/var/lib/db"), directories=[DATABASE]))
    assert "lies in memory" in said


def test_the_store_is_another_checks(host: HostFacts, tmp_path: Path) -> None:  # noqa: F811
    (tmp_path / "usr").rename(tmp_path / "gone")
    given = of(bound("/usr", "/usr", "read-only", required=True))
    assert preflight.missing_sources(host, given) == preflight.warnings_of_new(host, given) == []


@pytest.mark.root
@pytest.mark.parametrize("place", [".", "below", "deep/er"])
def test_a_file_of_nobody_is_said_before_the_start(host: HostFacts, place: str) -> None:  # noqa: F811
    path = host.root / "srv/data" / place
    path.mkdir(parents=True, exist_ok=True)
    os.chown(path, 70000, 70000)
    (said,) = preflight.warnings_of_start(host, of(bound("/srv/data")))
    assert said.startswith(f"{'/srv/data' if place == '.' else '/srv/data/' + place}: belongs to 70000:70000, and a ")
    assert preflight.warnings_of_start(host, of(bound("/srv/data", "/x", "read-only"))) == []


def test_what_a_start_says_of_the_host_and_of_ids(host: HostFacts) -> None:  # noqa: F811
    assert preflight.warnings_of_start(host, of(security={"fuse": True})) == [targets.NO_FUSE]
    (host.root / "dev").mkdir()
    (host.root / "dev/fuse").touch()
    assert preflight.warnings_of_start(host, of(security={"fuse": True})) == []
    said = [] if identity.available()[1] else [confine.AS_ROOT]
    assert preflight.warnings_of_start(host, of(private_users="identity")) == said
    assert preflight.warnings_of_start(host, of(private_users=65536)) == []
