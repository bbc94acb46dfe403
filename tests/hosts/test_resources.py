# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a container has of its host: limits where that has every controller, and attributes whoever starts it."""

from __future__ import annotations

import time

import pytest
from ansible_collections.unshare.container.tests.hosts.conftest import HOST
from ansible_collections.unshare.container.tests.hosts.controller import Controller
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
        system_container_limits:
          memory_max: 512M
          swap_max: 64M
          cpuset: "0"
          io_read_bandwidth: {/usr: 4M}
          io_write_iops: {/: 500}
"""
ATTRIBUTES = """
pid=$(systemctl show --property=MainPID --value unshare-container@bound)
test "$pid" != 0 || pid=$(sed 's/.*"pid": \\([0-9]*\\).*/\\1/' /run/unshare/bound/state.json)
cat /proc/$pid/limits /proc/$pid/oom_score_adj /proc/$pid/coredump_filter
grep -E '^(Cpus_allowed_list|Mems_allowed_list|THP_enabled|SigBlk|SigIgn|NoNewPrivs|CapBnd|Seccomp):' /proc/$pid/status
cut --delimiter=' ' --fields=18,19,40,41 /proc/$pid/stat
ionice --pid $pid
"""
"""A command that shows what PID 1 inside inherits."""

DROP_IN = """
mkdir --parents /etc/systemd/system/unshare-container@bound.service.d
cat >/etc/systemd/system/unshare-container@bound.service.d/odd.conf <<END
[Service]
Nice=10
OOMScoreAdjust=400
LimitNOFILE=128:256
LimitSTACK=1M:4M
LimitCORE=0
CPUSchedulingPolicy=batch
IOSchedulingClass=idle
CoredumpFilter=all
IgnoreSIGPIPE=yes
UMask=0077
END
systemctl daemon-reload
"""
"""A command that gives the container's unit settings which processes inherit."""

ODD_SHELL = (
    "ulimit -n 100 -s 2048 -c 0 && echo 0x7f >/proc/self/coredump_filter && echo 500 >/proc/self/oom_score_adj && "
    "exec nice -n 15 ionice --class 3 chrt --batch 0 "
    "/var/lib/unshare/containers/bound/current/run-container --detach"
)
RUN_CONTAINER = "/var/lib/unshare/containers/bound/current/run-container"
MEBIBYTE = 1 << 20
READ = "/run/unshare/bound/system/enter-container dd if=/usr/unshare-test of=/dev/null bs=1M iflag=direct status=none"


def test_limits_are_in_force_at_a_start(controller: Controller, host: Machine) -> None:
    controller.write("inventory/hosts.ini", f"{HOST}\n")
    controller.write("bound.yml", PLAYBOOK)
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


def test_attributes_are_the_same_whoever_starts_the_container(controller: Controller, host: Machine) -> None:
    """A module over SSH, a unit with settings of the administrator's, and an odd shell of his."""
    controller.write("inventory/hosts.ini", f"{HOST}\n")
    controller.write("bound.yml", PLAYBOOK)
    try:
        controller.playbook("bound.yml", system_container_limits={})
        by_module = host.succeed(ATTRIBUTES)
        assert "Max open files            1024                 524288" in by_module
        host.succeed(f"systemctl stop unshare-container@bound && {DROP_IN} systemctl start unshare-container@bound")
        assert host.succeed(ATTRIBUTES) == by_module
        host.succeed("systemctl stop unshare-container@bound")
        host.succeed(f"bash -c '{ODD_SHELL}'")
        assert host.succeed(ATTRIBUTES) == by_module
        host.succeed(f"{RUN_CONTAINER} --stop")
    finally:
        host.succeed(
            "rm --force /etc/systemd/system/unshare-container@bound.service.d/odd.conf; systemctl daemon-reload"
        )
        controller.playbook("bound.yml", system_container_state="absent")
