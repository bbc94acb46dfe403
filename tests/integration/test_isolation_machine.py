# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a machine's root refuses (T5): layers and trees that somebody hostile has made, hosts that cannot have it."""

from __future__ import annotations

import functools
import os
import shutil
import stat
import typing as t
from pathlib import Path

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.unshare.container.plugins.module_utils.host import facts, preflight
from ansible_collections.unshare.container.plugins.module_utils.launcher import layers
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.launcher.specification import read_spec
from ansible_collections.unshare.container.plugins.module_utils.state import kept_layer

from . import isolation, machine_tree
from .machine_tree import KEPT, layer_of, problems

if t.TYPE_CHECKING:
    from .conftest import MakeMachine

pytestmark = pytest.mark.root

NAME = "test-isolation-machine"
ANN = {"name": "ann", "uid": 1234, "supplementary_groups": ["sudo"]}
SECRET = "of the host\n"
tree = machine_tree.unchanged_tree
machine_of = functools.partial(machine_tree.machine_of, name=NAME)


@pytest.fixture
def victim(tmp_path: Path) -> t.Iterator[Path]:
    """Give a directory of the host that must stay as it is, with files of the names that a start writes."""
    path = tmp_path / "victim"
    (path / "systemd/system").mkdir(parents=True)
    for name in ("passwd", "group", "shadow", "hostname", "machine-id", "systemd/system.conf"):
        (path / name).write_text(SECRET)
    before = machine_tree.state(path)
    yield path
    assert machine_tree.state(path) == before


Change = t.Callable[[Path, Path], None]


def replaced(name: str, make: t.Callable[[Path, Path], None]) -> Change:
    """Return the change that puts something in the place of a path."""

    def change(root: Path, victim: Path) -> None:
        path = root / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        make(path, victim)

    return change


def link_to(target: str) -> t.Callable[[Path, Path], None]:
    """Return what makes a link; `VICTIM` in its text stands for the directory of the host."""
    return lambda path, victim: path.symlink_to(target.replace("VICTIM", str(victim)))


def fifo(path: Path, _victim: Path) -> None:
    """Make a fifo."""
    os.mkfifo(path)


def empty(path: Path, _victim: Path) -> None:
    """Make an empty file."""
    path.touch()


def crowded(path: Path, _victim: Path) -> None:
    """Make a file with more lines than a host would want to read."""
    path.write_text("a\n" * 70_000)


def device(path: Path, _victim: Path) -> None:
    """Make a node of a disk that this machine may have."""
    os.mknod(path, stat.S_IFBLK | 0o666, os.makedev(254, 0))


def filled(path: Path, _victim: Path) -> None:
    """Make a directory that is not empty."""
    (path / "in").mkdir(parents=True)


WRITTEN: dict[str, tuple[Change, str]] = {
    "etc is a link": (replaced("etc", link_to("VICTIM")), "/etc of the machine's root.* is no directory"),
    "etc is a fifo": (replaced("etc", fifo), "/etc of the machine's root.* is no directory"),
    "usr is a link": (replaced("usr", link_to("/etc")), "/usr of the machine's root.* is no directory"),
    "var is a link upward": (replaced("var", link_to("../" * 20 + "VICTIM")), "/var of the machine's root"),
    "dev is a link": (replaced("dev", link_to("VICTIM")), ""),
    "run is a link": (replaced("run", link_to("VICTIM")), ""),
    "tmp is a file": (replaced("tmp", empty), ""),
    "proc is a fifo": (replaced("proc", fifo), ""),
    "sys is a link": (replaced("sys", link_to("/proc/1/root")), ""),
    "passwd has too many lines": (
        replaced("etc/passwd", crowded),
        "/etc/passwd of the machine's root.* has more than",
    ),
    "passwd is a link": (replaced("etc/passwd", link_to("VICTIM/passwd")), ""),
    "group is a fifo": (replaced("etc/group", fifo), ""),
    "shadow is a device": (replaced("etc/shadow", device), ""),
    "new accounts are a link": (replaced("etc/passwd.unshare", link_to("VICTIM/passwd")), ""),
    "new accounts are full": (replaced("etc/passwd.unshare", filled), "/etc/passwd.unshare of the .* is in the place"),
    "hostname is a link": (replaced("etc/hostname", link_to("VICTIM/hostname")), ""),
    "machine-id is a device": (replaced("etc/machine-id", device), ""),
    "hosts is a fifo": (replaced("etc/hosts", fifo), ""),
    "hosts is full": (replaced("etc/hosts", filled), "/etc/hosts of the machine's root.* is in the place of a file"),
    "systemd is a link": (replaced("etc/systemd", link_to("VICTIM/systemd")), "/etc/systemd.* cannot hold"),
    "systemd is a link upward": (replaced("etc/systemd", link_to("../../../VICTIM/systemd")), "/etc/systemd.* cannot"),
    "systemd is a link of proc": (replaced("etc/systemd", link_to("/proc/self/cwd")), "/etc/systemd.* cannot hold"),
    "systemd is a circle": (replaced("etc/systemd", link_to("systemd")), "/etc/systemd.* cannot hold"),
    "home is a link": (replaced("home", link_to("VICTIM")), "/home/ann.*cannot be made|cannot be made as declared"),
}
"""What root inside may have made of its layer, by what is in the place of what, and what the next start says."""


@pytest.mark.parametrize("name", WRITTEN)
def test_a_hostile_layer_writes_nothing_outside(make_machine: MakeMachine, tree: Path, victim: Path, name: str) -> None:
    change, said = WRITTEN[name]
    machine = machine_of(make_machine, tree, KEPT, {"users": [ANN]})
    kept_layer.prepare(machine.container.directory, read_spec(str(machine.system)))
    upper = layer_of(machine) / "upper"
    upper.mkdir()
    change(upper, victim)
    before = isolation.host_state()["/etc"]
    if said:
        with pytest.raises(LauncherError, match=said):
            machine.start()
    else:
        machine.start()
        assert machine.output("cat", "/etc/hostname") == f"{NAME}\n"
        assert SECRET not in machine.output("cat", "/etc/passwd", "/etc/group", "/etc/shadow")
        assert machine.output("id", "-un", user="ann") == "ann\n"
    assert isolation.host_state()["/etc"] == before


ATTRIBUTES = ("opaque", "redirect", "metacopy", "origin", "whiteout")
NOTES = """
import os
for name in {names}:
    for path in ("/", "/etc", "/etc/passwd"):
        os.setxattr(path, "user.overlay." + name, b"/usr")
        try:
            os.setxattr(path, "trusted.overlay." + name, b"/usr")
        except PermissionError:
            print("refused")
try:
    os.mknod("/etc/whiteout", 0o20000, 0)
except PermissionError:
    print("refused")
"""


def test_root_inside_notes_nothing_for_overlayfs(make_machine: MakeMachine, tree: Path) -> None:
    """Neither as the kernel itself does, nor as it would do for a user; so no start reads of it what lies where."""
    machine = machine_of(make_machine, tree, KEPT)
    machine.start()
    said = machine.output("python3", "-c", NOTES.format(names=ATTRIBUTES)).split()
    assert said == ["refused"] * (3 * len(ATTRIBUTES) + 1)
    listed = machine.output("ls", "/etc", "/usr/bin")
    machine.stop()
    upper = layer_of(machine) / "upper"
    kept = {name for path in (upper, upper / "etc", upper / "etc/passwd") for name in os.listxattr(path)}
    assert {f"user.overlay.{name}" for name in ATTRIBUTES} <= kept
    machine.start()
    assert machine.output("ls", "/etc", "/usr/bin") == listed


@pytest.mark.parametrize("name", ["etc", "usr", "dev", "var", "proc"])
@pytest.mark.parametrize("target", ["/etc", "VICTIM", "../../../../../etc"])
def test_a_hostile_tree_is_refused_before_anything_changes(
    make_machine: MakeMachine, tmp_path: Path, victim: Path, name: str, target: str
) -> None:
    hostile = tmp_path / "tree"
    for directory in ("usr/lib/systemd", "etc", "var", "dev", "proc"):
        (hostile / directory).mkdir(parents=True)
    replaced(name, link_to(target))(hostile, victim)
    machine = machine_of(make_machine, hostile)
    assert any(f"{hostile}/{name} is a symbolic link" in said for said in problems(machine)) or name == "usr"
    assert problems(machine)
    if name in ("etc", "usr", "var"):
        with pytest.raises(LauncherError, match="symbolic link|no directory|Not a directory"):
            machine.start()


def test_a_tree_without_a_shell_or_an_init_is_refused(make_machine: MakeMachine, tmp_path: Path) -> None:
    hostile = tmp_path / "tree"
    for directory in ("usr/lib/systemd", "usr/bin", "etc", "var"):
        (hostile / directory).mkdir(parents=True)
    (said,) = problems(machine_of(make_machine, hostile))
    assert said.startswith(f"the tree {hostile} has no /bin/sh, which every container begins with")
    (hostile / "bin").symlink_to("usr/bin")
    (hostile / "usr/bin/sh").touch(0o755)
    (said,) = problems(machine_of(make_machine, hostile))
    assert said.startswith(f"the tree {hostile} has no /usr/lib/systemd/systemd, systemd of the container")
    init = {"argv": ["/sbin/init"]}
    (said,) = problems(machine_of(make_machine, hostile, name=f"{NAME}-2", init=init))
    assert "has no /sbin/init, the init of the container" in said


def test_a_kernel_that_cannot_is_refused_before_anything_changes(
    make_machine: MakeMachine, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = machine_of(make_machine, tree)
    host = facts.HostFacts()
    host.release = "5.15.0-generic"
    (said,) = preflight.problems(host, read_spec(str(machine.system)))
    assert said.startswith("the kernel is 5.15.0-generic; root: machine needs Linux 5.19 or newer")
    with isolation.make_overlay(tmp_path, str(tree)) as merged:  # whose ids no kernel maps
        other = machine_of(make_machine, merged, name=f"{NAME}-2")
        (said,) = problems(other)
        assert f"{merged}: cannot be the root of a machine: its file system cannot map ids" in said
        with pytest.raises(LauncherError, match="cannot map ids"):
            other.start()
    monkeypatch.setattr(layers, "OPTIONS", (("no_such_option", "x"),))
    (said,) = problems(machine)
    assert "the kernel mounts no overlay over it" in said
    with pytest.raises(LauncherError, match="the kernel mounts no overlay over it"):
        machine.start()


def test_an_overlay_that_can_only_be_read_is_noticed(
    make_machine: MakeMachine, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the kernel makes it, without an error, where it cannot write to the layer."""
    machine = machine_of(make_machine, tree)
    monkeypatch.setattr(layers, "OPTIONS", (*layers.OPTIONS, ("ro", None)))
    with pytest.raises(LauncherError, match="can only be read"):
        machine.start()


def test_what_users_of_the_host_can_reach_is_not_writable(make_machine: MakeMachine, tree: Path) -> None:
    """A machine makes set-user-ID programs, and in a mapping they would be those of the host's root."""
    open_directory = Path("/srv") / f"{NAME}-open"
    open_directory.mkdir()
    try:
        machine = machine_of(make_machine, tree, mappings=[isolation.writable(open_directory)])
        (said,) = problems(machine)
        assert f"{open_directory}: with root: machine it cannot be writable at /data" in said
        with pytest.raises(LauncherError, match="with root: machine it cannot be writable"):
            machine.start()
    finally:
        shutil.rmtree(open_directory)


def test_a_machine_needs_a_tree_of_its_own(make_machine: MakeMachine) -> None:
    with pytest.raises(AnsibleFilterError, match="store: '/usr' is not the `usr` of a tree"):
        make_machine(root="machine")
    with pytest.raises(AnsibleFilterError, match="root.layer: is for the kind 'machine'"):
        make_machine(root={"kind": "declared", "layer": "kept"})
