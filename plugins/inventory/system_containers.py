# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt)

"""The inventory plugin that adds the system containers of hosts as inventory hosts of their own."""

from __future__ import annotations

DOCUMENTATION = r"""
name: system_containers
author:
  - The unshare.container authors (@unshare)
short_description: System containers of the hosts of another inventory
version_added: 0.1.0
description:
  - Asks the hosts of another inventory for their system containers, and makes an inventory host of each.
  - Each is reached with P(unshare.container.nsenter#connection), through its host, with that host's own connection
    variables. A become password of the host becomes C(ansible_unshare_host_become_password).
  - With O(connection=ssh), one that runs and has a way for SSH is reached with that instead.
  - Its source is a file whose name is C(unshare.yml) or ends in C(.unshare.yml), or the same with C(.yaml). A key that
    is none of the options is an error.
  - Groups are C(system_containers), and one for each state (C(system_containers_running)), each host
    (C(system_containers_on_web1)) and each name (C(system_containers_named_web)).
  - Variables of each are C(unshare_name), C(unshare_host), C(unshare_state), C(unshare_ready),
    C(unshare_failed_units), C(unshare_system), C(unshare_addresses) and C(unshare_errors).
notes:
  - The hosts are asked as root. For hosts whose login user is not root, set C(ansible_become) in the other inventory.
  - Passwords that Ansible would have to prompt for are not available here.
extends_documentation_fragment:
  - ansible.builtin.constructed
  - ansible.builtin.inventory_cache
options:
  plugin:
    description: Marks the file as one for this plugin.
    type: str
    required: true
    choices: [unshare.container.system_containers]
  inventory:
    description: The other inventory's sources; files and directories are relative to this file.
    type: list
    elements: str
    required: true
  pattern:
    description: The pattern of the hosts to ask.
    type: str
    default: all
  states:
    description: The states of the containers to add.
    type: list
    elements: str
    choices: [running, stopped, unknown]
    default: [running, stopped, unknown]
  connection:
    description:
      - V(nsenter) enters each container on its host. It needs nothing of the container but Python.
      - V(ssh) leads to the container's own sshd, by a port of the host that is published for port 22 inside, or else by
        its address. An address in a zone, or of a routed interface, is reached through the host, with that host's
        variables for SSH but without a password. The user inside is that of C(ansible_user), as for any other host.
      - A container without such a port or address is entered all the same.
    type: str
    choices: [nsenter, ssh]
    default: nsenter
    version_added: 0.2.0
  name_format:
    description: Name of an inventory host. C({name}) is the container's, C({host}) its host's.
    type: str
    default: "{name}@{host}"
  group_prefix:
    description: The group of all containers. The other groups' names begin with it and an underscore.
    type: str
    default: system_containers
  question_timeout:
    description: Seconds that each container may take to answer.
    type: float
    default: 5
  require_hosts:
    description: Whether a host that cannot be asked is an error. It is a warning otherwise.
    type: bool
    default: false
"""

EXAMPLES = r"""
# The file containers.unshare.yml
plugin: unshare.container.system_containers
inventory: [hosts.yml]
pattern: web_hosts
states: [running]
keyed_groups:
  - {key: unshare_system | basename | first, prefix: system}
groups:
  troubled: unshare_failed_units
compose:
  ansible_python_interpreter: "'/usr/bin/python3'"

# Then, a playbook for the container web on every host:
#
#   ansible-playbook -i hosts.yml -i containers.unshare.yml site.yml --limit 'web@*'
"""

import os
import typing as t

from ansible import constants, context
from ansible.errors import AnsibleParserError
from ansible.inventory.manager import InventoryManager
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable
from ansible.plugins.loader import connection_loader
from ansible.template import Templar
from ansible.utils.collection_loader import AnsibleCollectionConfig
from ansible.utils.unsafe_proxy import wrap_var
from ansible.vars.manager import VariableManager
from ansible_collections.unshare.container.plugins.plugin_utils import container_listing
from ansible_collections.unshare.container.plugins.plugin_utils.errors import suggestion
from ansible_collections.unshare.container.plugins.plugin_utils.ssh_ways import ssh_way

from ..module_utils.launcher import times
from ..module_utils.launcher.printable import printable

SUFFIXES = tuple(f"unshare.{ending}" for ending in ("yml", "yaml"))
LOCAL = ("local", "ansible.builtin.local")
SSH = ("ssh", "ansible.builtin.ssh", "smart")
# The host's way to become root, under the names of the connection plugin.
BECOME = {
    "ansible_become_password": "ansible_unshare_host_become_password",
    "ansible_become_pass": "ansible_unshare_host_become_password",
    "ansible_become_exe": "ansible_unshare_host_become_exe",
}
# Of the host, and not of its containers.
NOT_TAKEN = ("inventory_hostname", "ansible_become_password", "ansible_become_pass", "ansible_become_exe")

Facts = dict[str, t.Any]


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    """The plugin as Ansible loads it."""

    NAME = "unshare.container.system_containers"
    _listing = False

    def verify_file(self, path: str) -> bool:
        """Return whether the file is one for this plugin."""
        name = os.path.basename(path)
        return bool(super().verify_file(path)) and (name in SUFFIXES or name.endswith(tuple(f".{s}" for s in SUFFIXES)))

    def parse(self, inventory: t.Any, loader: t.Any, path: str, cache: bool = True) -> None:
        """Add the containers to the inventory. Raises AnsibleParserError."""
        super().parse(inventory, loader, path, cache)
        if InventoryModule._listing or container_listing.LISTING in os.environ:
            return  # met among the sources of the other inventory, which is being read
        self._refuse_unknown(path, loader)
        self._read_config_data(path)
        hosts = self._read_hosts(path)
        answers = self._cached_answers(path, cache, hosts)
        for name, host in hosts.items():
            self._add_host(name, host, answers.get(name, {}))

    def _refuse_unknown(self, path: str, loader: t.Any) -> None:
        """Refuse keys of the file that no option has: Ansible would leave them out without a word.

        What is no mapping, or a file of another plugin, is Ansible's to refuse.
        """
        config = loader.load_from_file(path, cache="none")
        if not isinstance(config, dict) or config.get("plugin") not in (self.NAME, None):
            return
        options: dict[str, Facts] = self.option_definitions
        self._refuse_keys(path, "", config, {"plugin", *options})
        for name, option in options.items():
            inner: Facts = option.get("suboptions") or {}
            items = config.get(name)
            for number, item in enumerate(items if inner and isinstance(items, list) else []):
                if isinstance(item, dict):
                    self._refuse_keys(path, f"{name}[{number}]: ", item, inner)

    @staticmethod
    def _refuse_keys(path: str, place: str, given: Facts, known: t.Collection[str]) -> None:
        for key in given:
            if key not in known:
                raise AnsibleParserError(f"{path}: {place}unknown key '{key}'{suggestion(str(key), known)}")

    def _read_hosts(self, path: str) -> dict[str, Facts]:
        """Return the variables of the hosts to ask, by host name."""
        InventoryModule._listing = True
        try:
            manager = InventoryManager(loader=self.loader, sources=self._sources(path))
            variables = VariableManager(loader=self.loader, inventory=manager)
            found = manager.get_hosts(self.get_option("pattern"))
            return {host.name: variables.get_vars(host=host, include_hostvars=True) for host in found}
        finally:
            InventoryModule._listing = False

    def _sources(self, path: str) -> list[str]:
        directory = os.path.dirname(os.path.abspath(path))
        sources = self.get_option("inventory")
        return [source if "," in source else os.path.join(directory, os.path.expanduser(source)) for source in sources]

    def _cached_answers(self, path: str, cache: bool, hosts: dict[str, Facts]) -> Facts:
        use = cache and self.get_option("cache")
        key = self.get_cache_key(path)
        if use:
            try:
                cached: Facts = self._cache[key]
                return cached
            except KeyError:
                pass
        answers = self._ask(path) if hosts else {}
        if self.get_option("cache"):
            self._cache[key] = answers
        return answers

    def _ask(self, path: str) -> Facts:
        paths = os.pathsep.join(str(each) for each in AnsibleCollectionConfig.collection_paths)
        try:
            return container_listing.ask(
                self._sources(path),
                self.get_option("pattern"),
                times.seconds(self.get_option("question_timeout"), "question_timeout"),
                context.CLIARGS,
                {"ANSIBLE_COLLECTIONS_PATH": paths},
            )
        except (container_listing.ListingError, times.TimeLimitError) as error:
            raise AnsibleParserError(f"{path}: {error}") from error

    def _add_host(self, host: str, variables: Facts, answer: Facts) -> None:
        if "containers" not in answer:
            why = printable(str(answer.get("msg", "it was not asked")))
            if self.get_option("require_hosts"):
                raise AnsibleParserError(f"host {host}: its containers could not be listed: {why}")
            self.display.warning(f"host {host} is left out: its containers could not be listed: {why}")
            return
        way = self._way(host, variables)
        if way is None:
            self.display.warning(f"host {host} is left out: it is reached neither locally nor with SSH")
            return
        for facts in answer["containers"]:
            if facts["state"] in self.get_option("states"):
                self._add_container(host, way, facts)

    def _way(self, host: str, variables: Facts) -> Facts | None:
        """Return the connection variables that lead to a host, or None when neither this machine nor SSH does."""
        template = Templar(loader=self.loader, variables=variables).template
        connection = template(variables.get("ansible_connection", "ssh"))
        if connection in LOCAL:
            return {"ansible_unshare_transport": "local"}
        if connection not in SSH:
            return None
        plugin = connection_loader.get("ansible.builtin.ssh", class_only=True)
        names = set(constants.config.get_plugin_vars("connection", plugin._load_name))
        taken = {name: template(variables[name]) for name in names - set(NOT_TAKEN) if name in variables}
        for name, ours in BECOME.items():
            if name in variables:
                taken[ours] = template(variables[name])
        address = {} if taken.keys() & {"ansible_host", "ansible_ssh_host"} else {"ansible_host": host}
        return {"ansible_unshare_transport": "ssh", **address, **taken}

    def _add_container(self, host: str, way: Facts, facts: Facts) -> None:
        inventory: t.Any = self.inventory
        try:
            name = self.get_option("name_format").format(name=facts["name"], host=host)
        except (KeyError, IndexError, ValueError) as error:
            raise AnsibleParserError(f"name_format: {error!r}: only {{name}} and {{host}} are known") from error
        if name in inventory.hosts:
            raise AnsibleParserError(f"{name}: two hosts have this name; let name_format hold {{name}} and {{host}}")
        entering = {
            "ansible_connection": "unshare.container.nsenter",
            "ansible_unshare_container": facts["name"],
            **way,
        }
        try:
            with_ssh = ssh_way(way, facts) if self.get_option("connection") == "ssh" else None
        except (ValueError, KeyError, TypeError) as error:
            raise AnsibleParserError(f"host {host}: it says of container {facts['name']}: {error}") from error
        variables = {**(with_ssh or entering), "unshare_host": host}
        for key in ("name", "state", "ready", "failed_units", "system", "addresses", "errors"):
            variables[f"unshare_{key}"] = wrap_var(facts.get(key))  # a container's words are never a template
        inventory.add_host(name)
        for key, value in variables.items():
            inventory.set_variable(name, key, value)
        prefix = self.get_option("group_prefix")
        for group in ("", f"_{facts['state']}", f"_on_{host}", f"_named_{facts['name']}"):
            safe = self._sanitize_group_name(prefix + group)
            inventory.add_group(safe)
            inventory.add_child(safe, name)
        strict = self.get_option("strict")
        self._set_composite_vars(self.get_option("compose"), variables, name, strict=strict)
        known = inventory.get_host(name).get_vars()
        self._add_host_to_composed_groups(self.get_option("groups"), known, name, strict=strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), known, name, strict=strict)
