# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Limits where the host has every controller: what is in force is what was declared, at a start and later."""

from __future__ import annotations

import time

import pytest
from ansible_collections.unshare.container.tests.hosts.conftest import HOST
from ansible_collections.unshare.container.tests.hosts.controller import PATIENT, Controller
from ansible_collections.unshare.container.tests.hosts.machine import Machine

pytestmark = [
    pytest.mark.root,
    pytest.mark.fails_on("debian11", "Linux 5.10 has no mount_setattr(2), which a start needs (5.12)"),
]

PLAYBOOK = """
- hosts: all
  gather_facts: false
  tasks:
    - name: Deploy
      ansible.builtin.import_role:
        name: unshare.container.system_container
      vars:
        system_container_name: bound
        system_container_operating_system:
          host_name: bound
          services: []
        system_container_timeout: %(timeout)d
        system_container_health: {timeout: %(timeout)d}
        system_container_limits:
          memory_max: 512M
          swap_max: 64M
          cpuset: "0"
          io_read_bandwidth: {/usr: 4M}
          io_write_iops: {/: 500}
"""
MEBIBYTE = 1 << 20
READ = "/run/unshare/bound/system/enter-container dd if=/usr/unshare-test of=/dev/null bs=1M iflag=direct status=none"


@pytest.mark.shows("limits")
def test_limits_are_in_force(controller: Controller, host: Machine) -> None:
    controller.write("inventory/hosts.ini", f"{HOST}\n")
    controller.write("bound.yml", PLAYBOOK % PATIENT)
    host.succeed("dd if=/dev/urandom of=/usr/unshare-test bs=1M count=24 status=none && sync")
    try:
        assert controller.playbook("bound.yml").counts(HOST)["changed"] > 0
        group = host.succeed("systemctl show --property=ControlGroup --value unshare-container@bound").strip()

        def read(file: str) -> str:
            return host.succeed(f"cat /sys/fs/cgroup{group}/{file}").strip()

        assert read("memory.max") == str(512 * MEBIBYTE)
        assert read("memory.swap.max") == str(64 * MEBIBYTE)
        assert read("cpuset.cpus.effective") == "0"
        disk = host.succeed("lsblk --noheadings --nodeps --output=MAJ:MIN $(findmnt --noheadings --output=SOURCE /)")
        assert read("io.max").split() == [disk.strip(), "rbps=4000000", "wbps=max", "riops=max", "wiops=500"]
        begun = time.monotonic()
        host.succeed(READ)
        assert time.monotonic() - begun > 24 * MEBIBYTE / 4e6 - 2  # the kernel lets a burst through
        assert host.succeed("/run/unshare/bound/system/enter-container nproc").strip() == "1"
        # While it runs: another bound in place of these, and then none.
        for limits, held in (({"io_write_iops": {"/": 300}}, "rbps=max wbps=max riops=max wiops=300"), ({}, "")):
            controller.playbook("bound.yml", system_container_limits=limits)
            assert read("io.max") == f"{disk.strip()} {held}" * bool(held)
    finally:
        host.succeed("rm --force /usr/unshare-test")
        controller.playbook("bound.yml", system_container_state="absent")
