# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""One command in a container of its own, on each host."""

from __future__ import annotations

import pytest
from ansible_collections.unshare.container.tests.hosts.conftest import HOST
from ansible_collections.unshare.container.tests.hosts.controller import Controller
from ansible_collections.unshare.container.tests.hosts.fleet import hosts, left
from ansible_collections.unshare.container.tests.hosts.machine import Machine

pytestmark = pytest.mark.root

COMMANDS = """
- hosts: all
  gather_facts: false
  tasks:
    - name: Use the whole store, and a mapping
      unshare.container.eval_container:
        cmd: id --user; cat /given; test ! -e /root && echo nothing else
        mappings: [/etc/hostname=/given]
      register: store
    - name: Use a program and its libraries
      unshare.container.eval_container:
        argv: [/usr/bin/curl, --version]
        closure: elf
      register: elf
    - ansible.builtin.debug:
        msg: "{{ store.stdout_lines | join(', ') }}; {{ elf.stdout.split() | first }}"
"""


@pytest.mark.on("debian12", "debian13")
@pytest.mark.shows("eval")
def test_runs_a_command(controller: Controller, host: Machine) -> None:
    before = left(host)
    controller.write("inventory/hosts.yml", hosts([HOST]))
    controller.write("eval.yml", COMMANDS)
    name = host.succeed("cat /etc/hostname").strip()
    assert f"0, {name}, nothing else; curl" in controller.playbook("eval.yml").output
    assert left(host) == before
