# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A container that can have none inside is named as the reason, whatever is asked of it first."""

from __future__ import annotations

import errno
import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.evaluation import run as evaluation
from ansible_collections.unshare.container.plugins.module_utils.evaluation.request import Request
from ansible_collections.unshare.container.plugins.module_utils.host import nested
from ansible_collections.unshare.container.plugins.module_utils.host.facts import HostFacts
from ansible_collections.unshare.container.plugins.module_utils.host.preflight import problems
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError

from ..evaluation.parameters import parameters
from ..specifications import specification

OURS = "this host is itself a container, without 'nesting', and so can have none inside: declare security: {nesting"


@pytest.fixture(params=[errno.ENOSYS, errno.EPERM])
def refused(request: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a system-call filter's refusal of openat2(2)."""

    def refuse(_directory: int, path: str, *_arguments: t.Any) -> int:
        raise OSError(request.param, os.strerror(request.param), f"openat2({path})")

    monkeypatch.setattr(nested.linux, "openat2", refuse)


def test_where_it_is_not_refused_there_is_no_reason() -> None:
    before = os.listdir("/proc/self/fd")
    assert nested.refusal() is None
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.usefixtures("refused")
@pytest.mark.parametrize(("manager", "said"), [("unshare\n", OURS), ("podman\n", "openat2"), (None, "openat2")])
def test_the_preflight(tmp_path: Path, manager: str | None, said: str) -> None:
    if manager is not None:
        (tmp_path / "run/host").mkdir(parents=True)
        (tmp_path / "run/host/container-manager").write_text(manager)
    host = HostFacts(tmp_path)
    host.user_id, host.system, host.release = 0, "Linux", "6.1.0"
    bind = {"device": "/x", "mount_point": "/x", "type": "none", "flags": ["bind-mount"], "required": True}
    (found,) = problems(host, specification(file_systems=[bind]))
    assert found.startswith(said)
    host.user_id = 1000
    assert len(problems(host, specification())) == 2
    host.release = "5.4.0"
    assert not any(problem.startswith(said) for problem in problems(host, specification()))


@pytest.mark.usefixtures("refused")
def test_the_start_of_a_single_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def touched(*_arguments: t.Any) -> t.Any:
        raise AssertionError("something was begun")

    monkeypatch.setattr(nested, "read_text", lambda path: "unshare\n" if path == nested.MANAGER else "")
    monkeypatch.setattr(evaluation.identity, "choose", touched)
    with pytest.raises(LauncherError, match=f"^{OURS}"):
        evaluation.run(Request(parameters(argv=["/bin/true"])), touched)
