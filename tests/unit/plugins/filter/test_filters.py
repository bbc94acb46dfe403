# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters as Ansible sees them: templated data in, plain data out, errors with the place."""

from __future__ import annotations

import importlib
import typing as t
from pathlib import Path

import jinja2
import pytest
import yaml
from ansible.errors import AnsibleError
from ansible_collections.unshare.container.plugins.plugin_utils.filters import as_filter

NAMES = [
    "bind_mount", "container_essential_services", "container_name", "container_record", "containerization_report",
    "containerized_operating_system", "file_system_mapping", "known_variables", "modify_services", "system_files",
]  # fmt: skip


def module(name: str) -> t.Any:
    return importlib.import_module(f"ansible_collections.unshare.container.plugins.filter.{name}")


@pytest.mark.parametrize("name", NAMES)
def test_documentation_and_examples(name: str) -> None:
    documentation = yaml.safe_load(module(name).DOCUMENTATION)
    assert documentation["name"] == name
    assert yaml.safe_load(module(name).RETURN)["_value"]["description"]
    for task in yaml.safe_load(module(name).EXAMPLES):
        assert module(name).FilterModule().filters()[name]
        assert f"unshare.container.{name}" in str(task)


@pytest.mark.parametrize("name", NAMES)
def test_wrong_input_is_an_error_of_ansible(name: str) -> None:
    function = module(name).FilterModule().filters()[name]
    needed: dict[str, list[t.Any]] = {"modify_services": [[]], "known_variables": [[], "", ""]}
    with pytest.raises(AnsibleError):
        function(3, *needed.get(name, []))


def test_bind_mount() -> None:
    mount = module("bind_mount").FilterModule().filters()["bind_mount"]
    assert mount("/a=/b")["flags"] == ["bind-mount", "read-only"]


def test_known_variables() -> None:
    known = module("known_variables").FilterModule().filters()["known_variables"]
    names = ["backup_keep", "backup_server", "keeps"]
    assert known(names, ["keep", "containers"], "backup_", "backup_containers") == names
    said = "backup_container: the playbook backup_containers has no .*; did you mean 'backup_containers'"
    with pytest.raises(AnsibleError, match=said):
        known([*names, "backup_container"], ["keep", "containers"], "backup_", "backup_containers")


def test_file_system_mapping() -> None:
    read = module("file_system_mapping").FilterModule().filters()["file_system_mapping"]
    assert read("/a=/b", writable=True) == {"source": "/a", "target": "/b", "writable": True}
    assert read("/a") == {"source": "/a", "target": "/a", "writable": False}


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({"host_name": "Web01.example.org"}, "web01"),
        ({}, "operating_system: 'host_name' is required"),
        ({"host_name": None}, "operating_system: 'host_name' is required"),
        ({"hostname": "x"}, "operating_system: unknown key 'hostname'; did you mean 'host_name'"),
        ({"host_name": 5}, "operating_system.host_name: must be a string, not a number"),
    ],
)
def test_the_roles_default_name(declared: t.Any, said: str) -> None:
    """It is made before the role's other filters look at the declaration, and is to say as much as they."""
    defaults = Path(__file__).parents[4] / "roles/system_container/defaults/main.yml"
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    for name, function in module("container_name").FilterModule().filters().items():
        environment.filters[f"unshare.container.{name}"] = function
    template = environment.from_string(yaml.safe_load(defaults.read_text())["system_container_name"])
    try:
        found = template.render(system_container_operating_system=declared)
    except AnsibleError as error:
        found = str(error)
    assert said in found


@pytest.mark.parametrize("own", [5, {"a": 1}, [{}]])
def test_a_wrong_list_of_own_variables_is_named_as_the_role_has_it(own: t.Any) -> None:
    check = module("container_record").FilterModule().filters()["container_record"]
    with pytest.raises(AnsibleError, match=r"^system_container_own_variables(\[0\])?: must be "):
        check({}, "system_container_", own_variables=own)


def test_container_record() -> None:
    check = module("container_record").FilterModule().filters()["container_record"]
    assert check({"state": "stopped", "log": "volatile", "store": "/usr"})["keep_generations"] == 5
    for given, said in (
        ({}, "system_container_operating_system: is required"),
        ({"state": "stopped", "log": "persistent"}, "system_container_operating_system: is required"),
        ({"state": "absent", "generation": 3}, "system_container_generation: is used with"),
        ({"state": "absent", "timeout": True}, "system_container_timeout: true is no number of seconds"),
        ({"state": "absent", "limits": {"cpu_quota": 1}}, "system_container_limits.cpu_quota: 1 is not a share"),
        (
            {"state": "absent", "health": {"http": [{"port": 0}]}},
            "system_container_health.http[0].port: 0 is not a port",
        ),
    ):
        with pytest.raises(AnsibleError) as caught:
            check(given, "system_container_")
        assert str(caught.value).startswith(said)


SERVER: dict[str, t.Any] = {"host_name": "web", "services": [{"type": "agetty"}, {"type": "udev"}]}
DERIVING: dict[str, tuple[t.Any, t.Any]] = {
    "mappings": ((), ["/srv/www"]),
    "shared_network": (False, True),
    "extra_file_systems": ((), [{"device": "none", "mount_point": "/x", "type": "tmpfs"}]),
    "keep_services": ((), ["udev"]),
}
ARGUMENTS: dict[str, dict[str, tuple[t.Any, t.Any]]] = {
    "containerized_operating_system": DERIVING,
    "containerization_report": DERIVING,
    "container_essential_services": {"shared_network": (False, True)},
    "system_files": {
        "name": (None, "other"),
        "shared_network": (False, True),
        "private_users": ("auto", "identity"),
        "store": ("/usr", {"source": "/srv/tree/usr", "target": "/usr"}),
        "log": ("volatile", "persistent"),
        "init": ("systemd", {"argv": ["/usr/bin/init"]}),
        "security": (None, {"nesting": True}),
        "oom_score_adj": (0, 5),
    },
}
"""What a filter takes beside its input: the default of each argument, and another value."""


@pytest.mark.parametrize(("name", "argument"), [(name, argument) for name in ARGUMENTS for argument in ARGUMENTS[name]])
def test_what_a_filter_is_given_counts(name: str, argument: str) -> None:
    function = module(name).FilterModule().filters()[name]
    default, other = ARGUMENTS[name][argument]
    derived = (
        module("containerized_operating_system").FilterModule().filters()["containerized_operating_system"](SERVER)
    )
    given = derived if name == "system_files" else SERVER
    assert function(given, **{argument: default}) == function(given)
    assert function(given, **{argument: other}) != function(given)


@pytest.mark.parametrize("name", ["containerized_operating_system", "containerization_report"])
def test_a_derivation_knows_the_store(name: str) -> None:
    """A mapping onto it is refused, wherever it is."""
    function = module(name).FilterModule().filters()[name]
    with pytest.raises(AnsibleError, match="/usr"):
        function(SERVER, mappings=["/srv/x=/usr"])
    store = {"source": "/srv/tree", "target": "/gnu"}
    with pytest.raises(AnsibleError, match="/gnu"):
        function(SERVER, mappings=["/srv/x=/gnu"], store=store)


def test_services_are_modified() -> None:
    modify = module("modify_services").FilterModule().filters()["modify_services"]
    services = [{"type": "agetty"}, {"type": "udev"}]
    change = {"select": {"type": "udev"}, "action": "delete"}
    assert modify(services, [change]) == [{"type": "agetty"}]
    assert modify(services, []) == services


class VaultedValue:
    """The tag of ansible-core 2.19 for a value that was encrypted."""


class Vaulted(str):
    """A value of the vault as ansible-core 2.19 has it."""

    _ansible_tags_mapping: t.ClassVar[dict[type, t.Any]] = {VaultedValue: VaultedValue()}


def templated(filters: dict[str, t.Any], template: str, **variables: t.Any) -> str:
    environment = jinja2.Environment()
    environment.filters.update(filters)
    return environment.from_string(template).render(**variables)


@pytest.mark.parametrize(
    ("name", "template", "said"),
    [
        ("bind_mount", "{{ ('a' ~ secret) | bind_mount }}", "source: 'a********' must be"),
        ("container_name", "{{ {'host_name': 'x ' ~ secret} | container_name }}", "'x ********'"),
        ("container_record", "{{ {'state': secret} | container_record }}", "state: '********' is not possible here"),
        (
            "modify_services",
            "{{ [] | modify_services([{'select': {'query': '[' ~ secret}, 'action': 'delete'}]) }}",
            "",
        ),
    ],
)
def test_an_error_names_no_value_of_the_vault(name: str, template: str, said: str) -> None:
    filters = module(name).FilterModule().filters()
    with pytest.raises(AnsibleError) as raised:
        templated(filters, template, secret=Vaulted("open sesame"))
    assert "sesame" not in str(raised.value)
    assert "********" in str(raised.value)
    assert said in str(raised.value)
    assert (raised.value.__cause__, raised.value.__context__) == (None, None)


def test_an_error_that_nobody_expected_names_no_value_of_the_vault() -> None:
    def fails(value: str) -> str:
        raise KeyError(value)

    with pytest.raises(AnsibleError, match=r"^KeyError: 'a \*{8}'$") as raised:
        templated({"f": as_filter(fails)}, "{{ ('a ' ~ secret) | f }}", secret=Vaulted("open sesame"))
    assert (raised.value.__cause__, raised.value.__context__) == (None, None)
    with pytest.raises(KeyError):
        templated({"f": as_filter(fails)}, "{{ 'a' | f }}", secret=Vaulted("open sesame"))


def test_what_people_read_names_no_value_of_the_vault() -> None:
    filters = {"f": as_filter(lambda value: [value], shown=True), "g": as_filter(lambda value: [value])}
    variables = {"secret": Vaulted("open sesame")}
    assert templated(filters, "{{ ('a ' ~ secret) | f }}", **variables) == "['a ********']"
    assert templated(filters, "{{ ('a ' ~ secret) | g }}", **variables) == "['a open sesame']"
