# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A machine's root (T5): a whole tree, a layer for what is written, and the declaration on top of both."""

from __future__ import annotations

import contextlib
import functools
import platform
import stat
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.launcher.paths import STATE_DIRECTORY

from . import isolation, isolation_record, machine_tree
from .connection_hosts import ansible
from .machine_tree import EPHEMERAL, KEPT, layer_of, problems
from .playbooks import playbook

if t.TYPE_CHECKING:
    from .conftest import Machine, MakeMachine

pytestmark = pytest.mark.root

NAME = "test-machine-root"
INVENTORY = "examples/inventory"
SLEEPS = {"Service": {"ExecStart": "/usr/bin/sleep infinity", "User": "ann"}}
ANN = {"name": "ann", "uid": 1234, "supplementary_groups": ["sudo"]}
DECLARED = {
    "users": [ANN],
    "services": [
        {"type": "unit", "value": {"name": "sleeps", "sections": SLEEPS}},
        {"type": "simple", "value": {"target": "etc", "value": {"motd": "declared\n"}}},
    ],
}
PACKAGE = """
mkdir -p /root/p/DEBIAN /root/p/usr/bin
printf 'Package: of-the-tests\\nVersion: 1\\nArchitecture: all\\nMaintainer: Tests <tests@localhost>\\n%s\\n' \
    'Description: a set-user-ID program' > /root/p/DEBIAN/control
cp /usr/bin/id /root/p/usr/bin/id-of-root
chmod 4755 /root/p/usr/bin/id-of-root
dpkg-deb --build /root/p /root/of-the-tests.deb
"""
OF_METAL = ("systemd-udevd.service", "getty@tty1.service", "sys-kernel-debug.mount", "fstrim.timer")
tree = machine_tree.unchanged_tree
machine_of = functools.partial(machine_tree.machine_of, name=NAME)


def test_t5_the_declaration_lies_on_top_of_the_tree(make_machine: MakeMachine, tree: Path) -> None:
    machine = machine_of(make_machine, tree, declared=DECLARED)
    assert problems(machine) == []
    assert machine.start().warnings == []
    assert machine.output("systemctl", "is-system-running") == "running\n"
    assert machine.output("hostname") == machine.output("cat", "/etc/hostname") == f"{NAME}\n"
    assert NAME in machine.output("cat", "/etc/hosts")
    assert len(machine.output("cat", "/etc/machine-id")) == 33
    assert machine.output("cat", "/etc/motd") == "declared\n"
    assert machine.output("systemctl", "show", "--property=User", "--value", "sleeps") == "ann\n"
    passwd = machine.output("cat", "/etc/passwd")
    own = (tree / "etc/passwd").read_text()
    assert passwd.startswith(own)
    assert machine.output("id", "ann") == "uid=1234(ann) gid=100(users) groups=100(users),27(sudo)\n"
    assert machine.output("stat", "--format=%U %G %a", "/home/ann") == "ann users 700\n"
    for path in ("nsswitch.conf", "login.defs", "pam.d/common-auth", "profile", "debian_version"):
        assert machine.output("cat", f"/etc/{path}") == (tree / "etc" / path).read_text(), path
    assert machine.output("systemctl", "is-active", "dbus.service", "sleeps.service") == "active\nactive\n"
    states = machine.shell("systemctl is-enabled " + " ".join(OF_METAL)).stdout.split()
    assert states == ["masked"] * len(OF_METAL)
    judgement = machine.container.judge()
    assert judgement.problems == []


def test_t5_packages_and_set_user_id_programs_are_installed(make_machine: MakeMachine, tree: Path) -> None:
    machine = machine_of(make_machine, tree, declared={"users": [ANN]})
    machine.start()
    machine.output("sh", "-ec", PACKAGE)
    machine.output("dpkg", "--install", "/root/of-the-tests.deb")
    assert "euid=0(root)" in machine.output("id-of-root", user="ann")
    machine.output("apt-get", "install", "--yes", "--reinstall", "/root/of-the-tests.deb")
    machine.output("apt-get", "remove", "--yes", "of-the-tests")
    assert machine.run("id-of-root").returncode != 0
    machine.output("sh", "-ec", "cp /usr/bin/id /srv/own; chmod u+s /srv/own")
    assert "euid=0(root)" in machine.output("/srv/own", user="ann")


def test_t5_a_kept_layer_lasts_and_an_ephemeral_one_does_not(make_machine: MakeMachine, tree: Path) -> None:
    for root, lasts in ((EPHEMERAL, False), (KEPT, True)):
        machine = machine_of(make_machine, tree, root)
        machine.start()
        machine.output("sh", "-ec", "echo of-inside > /srv/file; useradd --uid 4000 eve; rm /usr/bin/df")
        machine.stop()
        machine.start()
        assert (machine.run("cat", "/srv/file").returncode == 0) == lasts
        assert (machine.run("id", "eve").returncode == 0) == lasts
        assert (machine.run("test", "-e", "/usr/bin/df").returncode != 0) == lasts
        machine.destroy()
        assert not layer_of(machine).exists()


def test_t5_a_kept_layer_is_for_the_hosts_root_alone(make_machine: MakeMachine, tree: Path) -> None:
    """What is in it has the ids that the container has inside, and no user of the host can come there."""
    machine = machine_of(make_machine, tree, KEPT, {"users": [ANN]})
    machine.start()
    machine.output("sh", "-ec", "cp /usr/bin/id /srv/own; chown 1234 /srv/own; chmod 4755 /srv/own")
    own = layer_of(machine) / "upper/srv/own"
    assert (own.stat().st_uid, stat.S_IMODE(own.stat().st_mode)) == (1234, 0o4755)
    assert stat.S_IMODE(layer_of(machine).stat().st_mode) == 0o700
    with pytest.raises(PermissionError):
        subprocess.run([str(own)], user=65534, group=65534, extra_groups=[], check=False)


def test_t5_what_is_no_longer_declared_is_gone_from_a_kept_layer(make_machine: MakeMachine, tree: Path) -> None:
    """The tree's own file is there again, and what root inside made stays."""
    machine = machine_of(make_machine, tree, KEPT, DECLARED)
    machine.start()
    machine.output("sh", "-ec", "echo mine > /etc/mine; echo changed >> /etc/motd")
    machine.stop()
    machine = machine_of(make_machine, tree, KEPT)
    machine.start()
    assert machine.output("cat", "/etc/motd") == (tree / "etc/motd").read_text()
    assert machine.output("cat", "/etc/mine") == "mine\n"
    assert machine.output("systemctl", "show", "--property=LoadState", "--value", "sleeps") == "not-found\n"


def test_t5_an_account_of_the_tree_keeps_its_id(make_machine: MakeMachine, tree: Path) -> None:
    """What the declaration gives to it by the declared id is given to that."""
    declared = {
        "groups": [{"name": "messagebus"}, {"name": "new", "system": True}],
        "users": [{"name": "messagebus", "group": "messagebus", "home_directory": "/srv/bus", "system": True}],
        "services": [
            {
                "type": "simple",
                "value": {
                    "target": "etc",
                    "value": {"owned": {"content": "x", "owner": "messagebus", "group": "messagebus"}},
                },
            }
        ],
    }
    own = {line.split(":")[0]: line.split(":") for line in (tree / "etc/passwd").read_text().splitlines()}
    machine = machine_of(make_machine, tree, declared=declared)
    machine.start()
    for path in ("/srv/bus", "/etc/owned"):
        assert machine.output("stat", "--format=%u %g", path).split() == own["messagebus"][2:4], path
    assert machine.output("id", "--user", "messagebus") == own["messagebus"][2] + "\n"
    declared["users"] = [{"name": "messagebus", "uid": 777, "system": True}]
    with pytest.raises(LauncherError, match="'messagebus' has the id .* in the tree .* says 777: leave the id out"):
        machine_of(make_machine, tree, declared=declared, name=f"{NAME}-2").start()


def test_t5_two_containers_on_one_tree_do_not_see_each_other(make_machine: MakeMachine, tree: Path) -> None:
    first = machine_of(make_machine, tree)
    second = machine_of(make_machine, tree, KEPT, name=f"{NAME}-2")
    for machine in (first, second):
        machine.start()
        machine.output("sh", "-ec", f"echo {machine.name} > /etc/who; rm /usr/bin/df; echo x >> /usr/bin/dpkg")
    for machine in (first, second):
        assert machine.output("cat", "/etc/who") == f"{machine.name}\n"
    assert (tree / "usr/bin/df").exists()


def test_t5_another_tree_below_a_kept_layer_is_refused(make_machine: MakeMachine, tree: Path) -> None:
    machine = machine_of(make_machine, tree, KEPT)
    machine.start()
    machine.stop()
    with machine_tree.copied() as other:
        moved = machine_of(make_machine, other, KEPT)
        (said,) = problems(moved)
        assert said.startswith(f"the kept layer of container {NAME} belongs over the tree {tree}")
        with pytest.raises(LauncherError, match="belongs over the tree"):
            moved.start()
        ephemeral = machine_of(make_machine, other)  # which does not touch it
        ephemeral.start()
        ephemeral.stop()


@pytest.mark.parametrize(
    "options",
    [
        {"private_users": "identity"},
        {"private_users": 1610612736},
        {"security": {"nesting": True}},
        {"security": {"no_new_privileges": True}},
        {"shared_network": True},
        {"log": "persistent"},
    ],
    ids=lambda options: " ".join(options),
)
def test_t5_it_boots_as_other_containers_do(make_machine: MakeMachine, tree: Path, options: dict[str, t.Any]) -> None:
    machine = machine_of(make_machine, tree, KEPT if "private_users" in options else EPHEMERAL, **options)
    assert problems(machine) == []
    for _time in range(2 if "private_users" in options else 1):
        machine.start()
        assert machine.output("systemctl", "is-system-running") == "running\n"
        assert machine.output("stat", "--format=%u", "/", "/etc", "/usr/bin/su") == "0\n0\n0\n"
        machine.stop()


def test_t5_a_machine_is_deployed_and_ansible_works_in_it(tree: Path, tmp_path: Path) -> None:
    """Once, with health; what would be done again is nothing; and a task inside makes what lasts."""
    variables = {
        "system_container_name": NAME,
        "operating_system": {"host_name": NAME, **DECLARED},
        "system_container_store": f"{tree}/usr",
        "system_container_root": KEPT,
        "system_container_mappings": [],
        "system_container_health": {"units": ["sleeps.service", "dbus.service"], "commands": [{"argv": ["/bin/true"]}]},
    }
    try:
        assert playbook("deploy-container.yml", INVENTORY, variables=variables).succeeded().changed() == 2
        assert playbook("deploy-container.yml", INVENTORY, "--check", variables=variables).succeeded().changed() == 0
        plugin = ["--connection", "unshare.container.nsenter", "--inventory", f"{NAME},"]
        task = ["--module-name", "ansible.builtin.user", "--args", "name=eve uid=4001"]
        done = ansible("ansible", "all", *plugin, *task, directory=tmp_path)
        assert "CHANGED" in done.stdout, done.stdout + done.stderr
        assert "eve:x:4001:" in Path(STATE_DIRECTORY, "containers", NAME, "layer/upper/etc/passwd").read_text()
    finally:
        playbook("destroy-container.yml", INVENTORY, variables=variables).succeeded()
    assert not Path(STATE_DIRECTORY, "containers", NAME).exists()


def entered(machine: Machine) -> list[str]:
    """Return the terminal and the user of a command in a machine that is entered from a terminal."""
    entering = [str(machine.system / "enter-container"), "--", "sh", "-c", "tty; id -u"]
    words = ["script", "--quiet", "--return", "--command", " ".join(map(repr, entering)), "/dev/null"]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout.split()


def test_t7_entering_needs_no_python_inside(make_machine: MakeMachine, tree: Path) -> None:
    with machine_tree.copied("usr/bin/python*", "usr/lib/python*", "usr/share/python*", "etc/python*") as bare:
        machine = machine_of(make_machine, bare, declared={"users": [ANN]})
        machine.start()
        assert machine.shell("ls /usr/bin/python* /usr/lib/python*").stdout == ""
        assert machine.output("id", "-un", user="ann") == "ann\n"
        assert entered(machine) == ["/dev/pts/0", "0"]
        assert machine.container.judge().problems == []
        machine.stop()


def test_t7_entering_works_where_another_python_is_inside(make_machine: MakeMachine) -> None:
    """One of the suites has another one than this host, whose own runs what enters."""
    versions = [platform.python_version()]
    for suite in machine_tree.SUITES:
        machine = machine_of(make_machine, machine_tree.made(suite), declared={"users": [ANN]})
        machine.start()
        versions.append(machine.output("python3", "-c", "import platform; print(platform.python_version())").strip())
        assert machine.output("id", "-un", user="ann") == "ann\n"
        assert entered(machine) == ["/dev/pts/0", "0"]
        assert machine.container.judge().problems == []
        machine.stop()
    minor = {version.rpartition(".")[0] for version in versions}
    assert len(minor) > 1


ALLOWED = ("software", "set-user-ID")
"""Rows of the table that a machine's root lets through: it changes its own layer, which nobody else has."""

OWN_USR = {"clear read-only on a detached copy of /usr"}
"""The attempt of another row that has nothing to clear, for `/usr` is the machine's own to write."""


@pytest.mark.parametrize("root", [EPHEMERAL, KEPT], ids=["ephemeral", "kept"])
def test_root_inside_a_machine_is_refused_as_elsewhere(
    make_machine: MakeMachine, tree: Path, tmp_path: Path, root: t.Any
) -> None:
    before = isolation.host_state()
    (tmp_path / "data").mkdir()
    with contextlib.ExitStack() as stack:
        planted = isolation.Planted(tmp_path, stack)
        mappings = [isolation.writable(tmp_path / "data")]
        machine = machine_of(make_machine, tree, root, mappings=mappings)
        bound = isolation.limit_tasks(machine)
        machine.start()
        process = stack.enter_context(subprocess.Popen(["/usr/bin/env", f"MARKER={isolation.MARKER}", "sleep", "600"]))
        try:
            found = isolation.probe(machine, {**planted.words, **bound, "pid": process.pid})
        finally:
            process.kill()
    missing = isolation.absent(found)
    words = {name: word for name, word in found["attempts"].items() if name not in missing}
    assert len(words) > 100
    unexpected = isolation_record.unexpected_of("auto", found["rows"], words)
    assert {name for name in unexpected if found["rows"][name] not in ALLOWED} == OWN_USR
    assert unexpected["set-user-ID by chmod"] == "ok"
    assert isolation.differences(before) == {}
