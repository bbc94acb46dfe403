# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""When the name of a container is that of its host name, as the role makes it."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleError
from ansible_collections.unshare.container.plugins.action import container_script, containers
from ansible_collections.unshare.container.plugins.filter import container_record
from ansible_collections.unshare.container.plugins.module_utils.life.staging import refuse_namesake
from ansible_collections.unshare.container.plugins.module_utils.state.target import TargetError

from ..module_utils.specifications import specification
from .conftest import Run

ROLE = Path(__file__).parents[4] / "roles/system_container"
check = container_record.FilterModule().filters()["container_record"]


def test_the_default_of_the_role_is_known() -> None:
    default = yaml.safe_load((ROLE / "defaults/main.yml").read_text())["system_container_name"]
    assert container_script._is_derived(default)


@pytest.mark.parametrize("name", ["web", "{{ inventory_hostname_short }}", None, 5])
def test_another_name_is_meant(name: t.Any) -> None:
    assert not container_script._is_derived(name)


@pytest.fixture
def current(tmp_path: Path) -> t.Callable[[str], None]:
    """Make the current system of the container `web` one with a host name."""

    def make(host_name: str) -> None:
        system = tmp_path / "var/lib/unshare/systems/x-web"
        system.mkdir(parents=True)
        written = specification(name="web", host_name=host_name).write()
        (system / "spec.json").write_text(__import__("json").dumps(written))
        generation = tmp_path / "var/lib/unshare/containers/web"
        generation.mkdir(parents=True)
        (generation / "current").symlink_to(system)

    return make


@pytest.mark.parametrize(
    ("known", "new"),
    [
        pytest.param("web.prod.example.com", "web.test.example.com", id="cases_N1_h1_h2"),
        pytest.param("web", "web.example.com", id="cases_N1_without_domain"),
        pytest.param("web.example.com", "web", id="cases_N1_without_domain_now"),
        pytest.param("WEB.a", "Web.b", id="cases_N1_upper_case"),
        pytest.param("db.example.com", "web.example.com", id="the_known_one_was_named"),
        pytest.param("db", "web", id="the_known_one_was_named_without_domain"),
    ],
)
def test_two_declarations_of_one_name(tmp_path: Path, current: t.Callable[[str], None], known: str, new: str) -> None:
    current(known)
    with pytest.raises(TargetError) as error:
        refuse_namesake({"name": "web", "spec": {"host_name": new}}, None, tmp_path)
    for word in (repr(known), repr(new), "'web'", "system_container_name"):
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("known", "new"),
    [
        pytest.param("web.example.com", "WEB.example.com", id="case"),
        pytest.param("web", "web", id="same"),
    ],
)
def test_one_declaration(tmp_path: Path, current: t.Callable[[str], None], known: str, new: str) -> None:
    current(known)
    refuse_namesake({"name": "web", "spec": {"host_name": new}}, None, tmp_path)


def script(name: str, host_name: str) -> dict[str, t.Any]:
    return {"name": name, "system": {"name": name, "files": {}, "spec": {"host_name": host_name}}}


def container(name: str, host_name: str) -> dict[str, t.Any]:
    return {"containers": {name: {"operating_system": {"host_name": host_name}}}}


TASKS: dict[str, tuple[t.Any, t.Any]] = {
    "script": (container_script.ActionModule, script),
    "containers": (containers.ActionModule, container),
}


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("second", TASKS)
@pytest.mark.parametrize("first", TASKS)
def test_two_declarations_of_one_run(run: Run, first: str, second: str, check: bool) -> None:
    """Neither is on the host, and whether their names were given or made does not matter."""
    (kind, make), (other, makes) = TASKS[first], TASKS[second]
    run(kind, make("web", "web.prod.example.org"), check=check)
    sent = len(run.sent)
    with pytest.raises(AnsibleError) as error:
        run(other, makes("web", "web.test.example.org"), check=check)
    for word in ("'web'", "'web.prod.example.org'", "'web.test.example.org'", "system_container_name"):
        assert word in str(error.value)
    assert len(run.sent) == sent


@pytest.mark.parametrize(
    ("name", "host_name", "host"),
    [
        pytest.param("web", "web.a", "web1", id="the_same_again"),
        pytest.param("web", "WEB.A", "web1", id="case"),
        pytest.param("other", "web.b", "web1", id="another_name"),
        pytest.param("web", "web.b", "web2", id="another_host"),
    ],
)
@pytest.mark.parametrize("kind", TASKS)
def test_declarations_that_are_apart(run: Run, kind: str, name: str, host_name: str, host: str) -> None:
    action, make = TASKS[kind]
    run(action, make("web", "web.a"))
    run(action, make(name, host_name), host=host)
    assert len(run.sent) == 2


def test_a_damaged_or_missing_system_is_nobodys(tmp_path: Path, current: t.Callable[[str], None]) -> None:
    refuse_namesake({"name": "web", "spec": {"host_name": "web.b"}}, None, tmp_path)
    current("web.a")
    (tmp_path / "var/lib/unshare/systems/x-web/spec.json").write_text("{")
    refuse_namesake({"name": "web", "spec": {"host_name": "web.b"}}, "web", tmp_path)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        pytest.param("Bug-01", "'Bug-01' is not a container's name", id="cases_0.3"),
        pytest.param(12345, "must be a string, not a number; quote it", id="cases_N1_number"),
        pytest.param(True, "must be a string, not a boolean", id="cases_N1_yes"),
        pytest.param("a" * 64, "is not a container's name", id="long"),
        pytest.param("a.b", "is not a container's name", id="dot"),
        pytest.param("", "is not a container's name", id="empty"),
    ],
)
def test_a_wrong_name_is_named_as_it_was_written(name: t.Any, said: str) -> None:
    with pytest.raises(AnsibleError, match=rf"^system_container_name: .*{said}"):
        check({"state": "absent"}, "system_container_", name=name)
