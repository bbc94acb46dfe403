# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the inventory plugin makes of the answers of hosts: which containers become hosts, and how they are reached."""

from __future__ import annotations

import types
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible import constants
from ansible.errors import AnsibleParserError
from ansible.inventory.data import InventoryData
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.doc_fragments import constructed, inventory_cache
from ansible.plugins.loader import connection_loader
from ansible_collections.unshare.container.plugins.inventory import system_containers
from ansible_collections.unshare.container.plugins.plugin_utils import container_listing

from .. import golden

HOSTS = """
web1: {ansible_host: 192.0.2.1, ansible_user: admin, ansible_port: 2222, ansible_become_password: "{{ 'se' + 'cret' }}"}
web2: {ansible_become_pass: older, ansible_become_exe: /usr/bin/doas, unrelated: 1}
here: {ansible_connection: local, ansible_host: ignored}
windows: {ansible_connection: winrm}
"""
TEMPLATE = "{{ lookup('pipe', 'id') }}"


def container(name: str, state: str = "running", **facts: t.Any) -> dict[str, t.Any]:
    known = {"ready": True, "failed_units": [], "system": "/s", "addresses": [], "errors": []}
    return {"name": name, "state": state, **known, **facts}


class Listing:
    """Reads an inventory file with OPTIONS; `answers` is what the hosts say, `asked` how often they were asked."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.answers: dict[str, t.Any] = {}
        self.asked: list[tuple[t.Any, ...]] = []
        self.warnings: list[str] = []
        self.hosts = directory / "hosts.yml"
        self.hosts.write_text(yaml.safe_dump({"all": {"hosts": yaml.safe_load(HOSTS)}}))

    def ask(self, *asked: t.Any) -> dict[str, t.Any]:
        self.asked.append(asked)
        return self.answers

    def __call__(self, **options: t.Any) -> InventoryData:
        path = self.directory / "unshare.yml"
        given = {"plugin": "unshare.container.system_containers", "inventory": ["hosts.yml"], **options}
        path.write_text(yaml.safe_dump(given))
        plugin: t.Any = system_containers.InventoryModule()
        plugin._load_name = plugin.NAME
        plugin.display = self
        inventory = InventoryData()
        plugin.parse(inventory, DataLoader(), str(path), cache=False)
        return inventory

    def warning(self, message: str) -> None:
        self.warnings.append(message)

    def vvv(self, *_message: t.Any) -> None: ...

    debug = vvvv = vvv


@pytest.fixture
def listing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Listing:
    options: dict[str, t.Any] = {}
    fragments = [part.ModuleDocFragment.DOCUMENTATION for part in (constructed, inventory_cache)]
    for text in (*fragments, system_containers.DOCUMENTATION):
        options.update(yaml.safe_load(text)["options"])
    constants.config.initialize_plugin_configuration_definitions(
        "inventory", "unshare.container.system_containers", options
    )
    made = Listing(tmp_path)
    monkeypatch.setattr(container_listing, "ask", made.ask)
    # Without the collections' finder the built-in plugins have their short names alone.
    ssh = connection_loader.get("ssh", class_only=True)
    loader = types.SimpleNamespace(get=lambda name, class_only: {"ansible.builtin.ssh": ssh}[name])
    monkeypatch.setattr(system_containers, "connection_loader", loader)
    paths = types.SimpleNamespace(collection_paths=["/a", "/b"])
    monkeypatch.setattr(system_containers, "AnsibleCollectionConfig", paths)
    monkeypatch.setattr(system_containers.context, "CLIARGS", {"remote_user": "me"})
    monkeypatch.delenv(container_listing.LISTING, raising=False)
    return made


def variables(inventory: InventoryData, name: str) -> dict[str, t.Any]:
    """Return a container's variables, but those that Ansible gives to every host."""
    every = ("inventory_file", "inventory_dir", "inventory_hostname", "inventory_hostname_short", "group_names")
    return {key: value for key, value in inventory.hosts[name].vars.items() if key not in every}


def test_the_hosts_are_asked_once(listing: Listing) -> None:
    listing(pattern="web*", question_timeout=7)
    ((sources, pattern, seconds, arguments, environment),) = listing.asked
    assert (sources, pattern, seconds) == ([str(listing.hosts)], "web*", 7)
    assert arguments == {"remote_user": "me"}
    assert environment == {"ANSIBLE_COLLECTIONS_PATH": "/a:/b"}


def test_nobody_is_asked_where_there_are_no_hosts(listing: Listing) -> None:
    listing(pattern="nowhere*")
    assert listing.asked == []


def test_met_again_among_its_own_sources_it_asks_nobody(listing: Listing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(container_listing.LISTING, "1")
    assert listing().hosts == {}
    assert listing.asked == []


@pytest.mark.parametrize(
    ("host", "way"),
    [
        (
            "web1",
            {
                "ansible_unshare_transport": "ssh",
                "ansible_host": "192.0.2.1",
                "ansible_user": "admin",
                "ansible_port": 2222,
                "ansible_unshare_host_become_password": "secret",
            },
        ),
        (
            "web2",
            {
                "ansible_unshare_transport": "ssh",
                "ansible_host": "web2",
                "ansible_unshare_host_become_password": "older",
                "ansible_unshare_host_become_exe": "/usr/bin/doas",
            },
        ),
        ("here", {"ansible_unshare_transport": "local"}),
    ],
)
def test_a_container_is_reached_through_its_host(listing: Listing, host: str, way: dict[str, t.Any]) -> None:
    listing.answers = {host: {"containers": [container("db", ready=False, failed_units=["a.service"], errors=["e"])]}}
    assert variables(listing(), f"db@{host}") == {
        "ansible_connection": "unshare.container.nsenter",
        "ansible_unshare_container": "db",
        "unshare_host": host,
        "unshare_name": "db",
        "unshare_state": "running",
        "unshare_ready": False,
        "unshare_failed_units": ["a.service"],
        "unshare_system": "/s",
        "unshare_addresses": [],
        "unshare_errors": ["e"],
        **way,
    }


ZONE = {"kind": "zone", "addresses": ["10.80.0.2/24"]}


def test_n14_a_container_with_an_address_is_reached_with_plain_ssh(listing: Listing) -> None:
    """One that has no address is entered; the variables of the host are not those of the container."""
    known: dict[str, t.Any] = {"interfaces": [ZONE], "addresses": ["10.80.0.2"], "ports": []}
    listing.answers = {"web1": {"containers": [container("db", **known), container("alone")]}}
    found = listing(connection="ssh")
    told = {key: value for key, value in variables(found, "db@web1").items() if not key.startswith("unshare_")}
    assert told == {
        "ansible_connection": "ansible.builtin.ssh",
        "ansible_host": "10.80.0.2",
        "ansible_ssh_common_args": "-o 'ProxyCommand=ssh -W [%h]:%p -p 2222 -l admin -- 192.0.2.1'",
    }
    assert variables(found, "db@web1")["unshare_addresses"] == ["10.80.0.2"]
    assert variables(found, "alone@web1")["ansible_connection"] == "unshare.container.nsenter"
    assert variables(listing(), "db@web1")["ansible_connection"] == "unshare.container.nsenter"


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ({"interfaces": [{"kind": "zone", "addresses": [TEMPLATE]}]}, ".* IPv4 or IPv6 address"),
        ({"interfaces": [{"kind": "zone"}]}, "'addresses'"),
        ({"interfaces": 5}, "'int' object is not iterable"),
        ({"ports": [{"port": 2222}]}, "'target'"),
        ({"ports": [{"port": 2222, "target": "x", "protocol": "tcp"}]}, "invalid literal"),
    ],
)
def test_what_is_no_way_to_a_container_is_an_error(listing: Listing, known: dict[str, t.Any], said: str) -> None:
    listing.answers = {"web1": {"containers": [container("db", **{"interfaces": [], "ports": [], **known})]}}
    with pytest.raises(AnsibleParserError, match=f"host web1: it says of container db: {said}"):
        listing(connection="ssh")


def test_what_a_container_says_is_never_a_template(listing: Listing) -> None:
    listing.answers = {"web1": {"containers": [container("db", system=TEMPLATE, errors=[TEMPLATE])]}}
    found = listing(compose={"told": "unshare_system"})
    assert found.hosts["db@web1"].vars["unshare_system"] == TEMPLATE
    assert found.hosts["db@web1"].vars["told"] == TEMPLATE


def test_groups(listing: Listing) -> None:
    listing.answers = {
        "web1": {"containers": [container("db"), container("a-b", state="stopped")]},
        "web2": {"containers": [container("db2")]},
    }
    found = listing(
        states=["running", "stopped"],
        group_prefix="lxc",
        name_format="{name}",
        groups={"bases": "'db' in inventory_hostname"},
        keyed_groups=[{"key": "unshare_state", "prefix": "is"}],
    )
    groups = {name: {host.name for host in group.hosts} for name, group in found.groups.items() if group.hosts}
    assert groups.pop("ungrouped", set()) == set()
    assert groups == {
        "lxc": {"db", "a-b", "db2"},
        "lxc_running": {"db", "db2"},
        "lxc_stopped": {"a-b"},
        "lxc_on_web1": {"db", "a-b"},
        "lxc_on_web2": {"db2"},
        "lxc_named_db": {"db"},
        "lxc_named_db2": {"db2"},
        "lxc_named_a_b": {"a-b"},
        "bases": {"db", "db2"},
        "is_running": {"db", "db2"},
        "is_stopped": {"a-b"},
    }


def test_only_the_states_that_were_asked_for(listing: Listing) -> None:
    listing.answers = {"web1": {"containers": [container("db"), container("off", state="stopped")]}}
    assert set(listing(states=["stopped"]).hosts) == {"off@web1"}


@pytest.mark.parametrize(
    ("answers", "why"), [({"web1": {"msg": "no such host"}}, "no such host"), ({}, "it was not asked")]
)
def test_a_host_that_does_not_answer(listing: Listing, answers: dict[str, t.Any], why: str) -> None:
    listing.answers = answers
    why = f"its containers could not be listed: {why}"
    assert listing(pattern="web1").hosts == {}
    assert listing.warnings == [f"host web1 is left out: {why}"]
    with pytest.raises(AnsibleParserError) as error:
        listing(pattern="web1", require_hosts=True)
    assert f"host web1: {why}" in str(error.value)


def test_a_host_that_is_reached_in_another_way_is_left_out(listing: Listing) -> None:
    listing.answers = {"windows": {"containers": [container("db")]}}
    assert listing(pattern="windows").hosts == {}
    assert listing.warnings == ["host windows is left out: it is reached neither locally nor with SSH"]


@pytest.mark.parametrize(
    ("name_format", "message"),
    [
        ("{name}", "db: two hosts have this name; let name_format hold {name} and {host}"),
        ("{nmae}", "name_format: KeyError('nmae'): only {name} and {host} are known"),
        ("{0}", "name_format: IndexError("),
        ("{", "name_format: ValueError("),
    ],
)
def test_names_that_cannot_be(listing: Listing, name_format: str, message: str) -> None:
    listing.answers = {name: {"containers": [container("db")]} for name in ("web1", "web2")}
    with pytest.raises(AnsibleParserError) as error:
        listing(name_format=name_format)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("options", "names"),
    [({}, {"db@web1", "db@web2"}), ({"name_format": "{host}-{name}"}, {"web1-db", "web2-db"})],
)
def test_names_of_hosts_and_containers(listing: Listing, options: dict[str, t.Any], names: set[str]) -> None:
    listing.answers = {name: {"containers": [container("db")]} for name in ("web1", "web2")}
    assert set(listing(**options).hosts) == names


def test_no_answer_at_all_names_the_file(listing: Listing, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(*_asked: t.Any) -> t.Any:
        raise container_listing.ListingError("they are all down")

    monkeypatch.setattr(container_listing, "ask", ask)
    with pytest.raises(AnsibleParserError, match=r"unshare\.yml: they are all down"):
        listing()


def test_the_golden_playbook_that_asks() -> None:
    golden.check("listing.yml", golden.dump(container_listing.PLAYBOOK))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"patern": "web"}, "unknown key 'patern'; did you mean 'pattern'?"),
        ({"state": ["running"]}, "unknown key 'state'; did you mean 'states'?"),
        ({"keyed_group": []}, "unknown key 'keyed_group'; did you mean 'keyed_groups'?"),
        ({"cache_timout": 5}, "unknown key 'cache_timout'; did you mean 'cache_timeout'?"),
        ({"hosts": "all"}, "unknown key 'hosts'"),
        (
            {"keyed_groups": [{"key": "unshare_name"}, {"key": "x", "prefx": "y"}]},
            "keyed_groups[1]: unknown key 'prefx'",
        ),
    ],
)
def test_a_key_that_no_option_has_is_refused(listing: Listing, options: dict[str, t.Any], said: str) -> None:
    with pytest.raises(AnsibleParserError) as error:
        listing(**options)
    assert str(error.value).startswith(f"{listing.directory}/unshare.yml: {said}")
    assert listing.asked == []


def test_a_misspelled_key_that_is_required_is_named(listing: Listing) -> None:
    plugin: t.Any = system_containers.InventoryModule()
    plugin._load_name = plugin.NAME
    path = listing.directory / "unshare.yml"
    path.write_text(f"plugin: {plugin.NAME}\ninventroy: [hosts.yml]\n")
    with pytest.raises(AnsibleParserError, match="unknown key 'inventroy'; did you mean 'inventory'"):
        plugin.parse(InventoryData(), DataLoader(), str(path), cache=False)


def test_every_option_is_taken(listing: Listing) -> None:
    given: dict[str, t.Any] = {"cache": False, "cache_timeout": 5, "strict": True, "compose": {"x": "unshare_name"}}
    keyed = {"key": "unshare_name", "prefix": "named", "separator": "-", "parent_group": "all", "default_value": "none"}
    listing.answers = {}
    given["connection"] = "ssh"
    listing(**given, groups={"a": "true"}, keyed_groups=[keyed], leading_separator=False, use_extra_vars=False)
    assert len(listing.asked) == 1
