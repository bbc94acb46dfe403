# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A running container has what the host has now, or a run says what only a restart can give it."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host import systemd_units
from ansible_collections.unshare.container.plugins.module_utils.host.container_options import OPTIONS
from ansible_collections.unshare.container.plugins.module_utils.inside import questions
from ansible_collections.unshare.container.plugins.module_utils.launcher import network_files
from ansible_collections.unshare.container.plugins.module_utils.life.one_container import OneContainer
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout

from .conftest import heard

if t.TYPE_CHECKING:
    from .conftest import Machine, MakeMachine

pytestmark = pytest.mark.root

NAME = "test-healing"
LEFT = "was left out, and is on the host now"


def bring(machine: Machine, check: bool = False, state: str = "started") -> tuple[dict[str, t.Any], list[str]]:
    """Have the module do what is to be done. Return its result, and its warnings but that of this machine's limits."""
    options = {name: option.get("default") for name, option in OPTIONS.items()}
    options.update(state=state, generation=None, limits=None, enabled=None)
    one = OneContainer(Layout(), machine.container, machine.system, options, False)
    result = one.bring(check, True)
    return result, heard(one.warnings)


def run(*command: object) -> None:
    subprocess.run([str(word) for word in command], check=True, timeout=60, stdin=subprocess.DEVNULL)


@contextlib.contextmanager
def tmpfs(place: Path, shared: bool = False) -> t.Iterator[Path]:
    """Yield a file system of memory, mounted there, which others may see."""
    place.mkdir(parents=True, exist_ok=True)
    run("mount", "-t", "tmpfs", "test-healing", place)
    try:
        if shared:
            run("mount", "--make-shared", place)
        yield place
    finally:
        run("umount", "--recursive", place)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Return a directory whose parent no user of the host can enter."""
    tmp_path.chmod(0o700)
    return tmp_path


def settles(machine: Machine, healed: list[str], warnings: list[str]) -> None:
    """Return a check, a run, a check, and a second run: changed, changed, and twice nothing more."""
    checked, said = bring(machine, check=True)
    assert checked["changed"] == bool(healed), checked
    assert sorted(line.partition(": ")[0] for line in checked.get("healed", [])) == sorted(healed)
    done, also = bring(machine)
    assert done["changed"] == bool(healed)
    assert len(done.get("healed", [])) == len(healed), (done, also)
    for mode in (True, False):
        again, still = bring(machine, check=mode)
        assert not again["changed"], again
        assert "healed" not in again
        assert again["pid"] == done["pid"]
        for found in (said, also, still):
            assert len(found) == len(warnings), found
            assert all(any(word in line for line in found) for word in warnings), found


def test_cases_mappings_are_mended_while_it_runs(make_machine: MakeMachine, base: Path) -> None:
    """Cases 0.4, 0.5: left out, mounted later; and what only a restart mends: replaced, gone, unmounted, exchanged."""
    for name in ("media", "data", "gone", "file"):
        (base / name).mkdir()
    (base / "late file").parent.mkdir(exist_ok=True)
    mappings = [
        {"source": str(base / "late"), "target": "/late", "writable": True},
        {"source": str(base / "late file"), "target": "/etc/late file"},
        {"source": str(base / "media"), "target": "/media"},
        {"source": str(base / "data"), "target": "/data"},
        {"source": str(base / "gone"), "target": "/gone"},
        {"source": str(base / "never"), "target": "/media/never"},
    ]
    first = contextlib.ExitStack()
    first.enter_context(tmpfs(base / "media/first"))
    (base / "media/never").mkdir()
    machine = make_machine(name=NAME, mappings=mappings)
    bring(machine)
    absent = ["so /late is left out", "so /etc/late file is left out", "so /media/never is left out"]
    with first:
        settles(machine, [], absent)

        (base / "late").mkdir()
        (base / "late/there").touch()
        (base / "late file").write_text("text\n")
        with contextlib.ExitStack() as later:
            usb = later.enter_context(tmpfs(base / "media/usb stick"))
            (usb / "there").touch()
            later.enter_context(tmpfs(usb / "inner"))
            (usb / "inner/there").touch()
            settles(machine, ["/late", "/etc/late file", str(usb)], absent[2:])
            machine.output("ls", "/late/there", "/media/usb stick/there", "/media/usb stick/inner/there")
            assert machine.output("cat", "/etc/late file") == "text\n"
            owner = machine.output("stat", "-c", "%U", "/late/there", "/etc/late file", "/media/usb stick/there")
            assert owner.split() == ["root"] * 3
            _root_inside_changes_nothing(machine, base, usb)
        settles(machine, [], ["so /media/never", "unmounted on the host", "unmounted on the host"])

        (base / "data").rename(base / "data.old")
        (base / "data").mkdir()
        (base / "gone").rmdir()
        warned = ["usb stick: has been unmounted", "inner: has been unmounted", "/data is still the former one"]
        warned += ["gone: is not on the host any more", "so /media/never"]
        settles(machine, [], warned)
    first.enter_context(tmpfs(base / "media/first"))
    with first:
        assert any("first: something else is mounted there" in line for line in bring(machine)[1])
        restarted, said = bring(machine, state="restarted")
        assert restarted["changed"]
        assert sorted(line.partition(": ")[0] for line in said) == [str(base / "gone"), str(base / "never")]
        settles(machine, [], ["so /gone is left out", "so /media/never is left out"])


def _root_inside_changes_nothing(machine: Machine, base: Path, usb: Path) -> None:
    """No flag of what was put into the container can be taken off inside, nor those of a copy of it."""
    attempts = """
        for place in "/media/usb stick" "/media/usb stick/inner" "/etc/late file"; do
            for options in rw rw,suid,dev,exec; do
                mount -o "remount,bind,$options" "$place" && echo "changed $place $options"
            done
            copy=$(mktemp -u /tmp/copyXXXXXX)
            if [ -d "$place" ]; then mkdir "$copy"; else touch "$copy"; fi
            mount --rbind "$place" "$copy" || echo "no copy of $place"
            mount -o remount,bind,rw "$copy" && echo "changed a copy of $place"
            umount -l "$copy"
        done
        mount -o remount,bind,dev,suid /late && echo changed flags
        umount "/media/usb stick/inner" && echo unmounted what is inside
        touch "/media/usb stick/new" "/media/usb stick/inner/new" && echo written
        echo more >> "/etc/late file" && echo written
        touch /late/new || echo not writable
        true
    """
    said = machine.shell(attempts)
    assert said.stdout == "", said.stdout + said.stderr
    assert (base / "late/new").exists()
    assert (base / "late file").read_text() == "text\n"
    assert sorted(os.listdir(usb)) == ["inner", "there"]


def test_cases_root_inside_keeps_a_mapping_out_and_it_is_said(make_machine: MakeMachine, base: Path) -> None:
    """Private mounts, a link in the way, a file system that never answers: the host goes on, and changes nothing."""
    (base / "shared").mkdir()
    mappings = [
        {"source": str(base / "shared"), "target": "/shared", "writable": True},
        {"source": str(base / "late"), "target": "/shared/point/late"},
    ]
    machine = make_machine(name=NAME, mappings=mappings)
    bring(machine)
    (base / "late").mkdir()
    machine.output("ln", "-s", "/run/host", "/shared/point")
    done, said = bring(machine)
    assert not done["changed"]
    assert "symbolic link" in said[0]
    machine.output("sh", "-c", "rm /shared/point; mount --make-rprivate /")
    done, said = bring(machine)
    assert not done["changed"]
    assert "taken its mounts out of propagation" in said[0]
    machine.output("mount", "--make-rshared", "/")
    assert bring(machine)[0]["healed"] == ["/shared/point/late: is mounted in the running container"]


def test_cases_later_mounts_come_by_themselves(make_machine: MakeMachine, base: Path) -> None:
    """Case 0.5 with `propagation: slave`: seen without a run, unmounted by the host, and never given back to it."""
    with tmpfs(base / "media", shared=True) as media, tmpfs(base / "other", shared=True) as other:
        media.chmod(0o755)
        for place in (media, other):
            (place / "usb").mkdir()
            (place / "inside").mkdir()
        (base / "alone").mkdir()
        machine = make_machine(
            name=NAME,
            mappings=[
                {"source": str(media), "target": "/media", "propagation": "slave"},
                {"source": str(other), "target": "/other", "writable": True},
                {"source": str(base / "alone"), "target": "/alone", "propagation": "slave"},
            ],
        )
        said = machine.start().warnings
        assert [line.partition(": ")[0] for line in said if "no shared mount" in line] == [str(base / "alone")]
        with tmpfs(media / "usb") as usb, tmpfs(other / "usb"):
            (usb / "there").touch()
            (other / "usb/there").touch()
            machine.output("ls", "/media/usb/there")
            assert machine.shell("ls /other/usb/there").returncode != 0
            machine.output("mount", "-t", "tmpfs", "inside", "/media/inside")
            machine.output("touch", "/media/inside/there")
            assert os.listdir(media / "inside") == []
        assert machine.output("ls", "/media/usb") == ""


@pytest.fixture
def hosts_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Other files than this machine's own, for what a container is told of its network."""
    place = tmp_path / "network"
    place.mkdir()
    known = network_files._content
    monkeypatch.setattr(network_files, "_content", lambda path: known(str(place / os.path.basename(path))))
    for name in ("hosts", "services", "nsswitch.conf"):
        shutil.copy(f"/etc/{name}", place)
    return place


def asked(machine: Machine, *command: str) -> tuple[int, str]:
    """Return the wait status and the output of a command inside, which is entered by this process."""
    return questions.ask(machine.container, list(command), 30)


def inside(machine: Machine, *command: str) -> str:
    """Return the output of a command that must succeed."""
    status, said = asked(machine, *command)
    assert status == 0, said
    return said


def test_cases_network_files_follow_the_hosts(
    make_machine: MakeMachine, hosts_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cases 0.6, B1, B2, B15: renamed, written in place, a link to nothing, longer, shorter; and its own name."""
    hosts, resolver = hosts_files / "hosts", hosts_files / "resolv.conf"
    resolver.symlink_to(hosts_files / "run/resolv.conf")
    machine = make_machine(name=NAME, shared_network=True)
    _result, said = bring(machine)
    assert [line for line in said if "resolv.conf: does not exist" in line]
    assert inside(machine, "getent", "hosts", NAME).split()[0] == "127.0.1.1"
    assert inside(machine, "cat", "/etc/resolv.conf") == ""
    settles(machine, [], [])

    (hosts_files / "run").mkdir()
    (hosts_files / "run/resolv.conf").write_text("nameserver 192.0.2.53\n")
    new = hosts_files / ".hosts"
    new.write_text(hosts.read_text() + "192.0.2.7 late.example.com\n" + "# long\n" * 1000)
    new.rename(hosts)
    settles(machine, ["/etc/resolv.conf", "/etc/hosts"], [])
    assert inside(machine, "cat", "/etc/resolv.conf") == "nameserver 192.0.2.53\n"
    assert inside(machine, "getent", "hosts", "late.example.com").split()[0] == "192.0.2.7"

    hosts.write_text(f"127.0.0.1 localhost\n192.0.2.9 {NAME}.example.com {NAME} # its own\n")
    resolver.unlink()
    settles(machine, ["/etc/hosts"], [])
    assert inside(machine, "cat", "/etc/hosts") == hosts.read_text()
    assert inside(machine, "cat", "/etc/resolv.conf") == "nameserver 192.0.2.53\n"
    for command in ("echo >> /etc/hosts", "mv /etc/hosts /etc/moved", "mount -o remount,bind,rw /etc/hosts"):
        assert asked(machine, "sh", "-c", command)[0] != 0

    copy = Path("/run/unshare", NAME, network_files.DIRECTORY, "hosts")
    copy.write_text("127.0.0.1 another\n")
    monkeypatch.undo()
    assert machine.output("cat", "/etc/hosts").startswith(Path("/etc/hosts").read_text())
    copy.write_text("127.0.0.1 another\n")
    run(machine.system / "run-container", "--refresh")
    assert inside(machine, "cat", "/etc/hosts").startswith(Path("/etc/hosts").read_text())


def _words_of_a_unit(machine: Machine) -> None:
    """Case B7: paths of any name are what systemd waits for, as the container's own systemd reads them."""
    paths = [
        "/srv/a b",
        "/srv/50% %n",
        "/srv/it's",
        '/srv/"quoted"',
        "/srv/back\\slash\\",
        "/srv/both '\"",
        "/srv/ü#;x",
    ]
    lines = [systemd_units.MOUNTS_FOR + systemd_units.quoted(path) for path in paths]
    text = "\n".join(["[Unit]", *lines, "[Service]", "ExecStart=/bin/true", ""])
    script = "cat > /etc/systemd/system/words.service && systemctl daemon-reload"
    assert machine.shell(script, input=text).returncode == 0
    said = machine.output("systemctl", "show", "--property=RequiresMountsFor", "--value", "words.service")
    assert sorted(shlex.split(said)) == sorted(paths)


OUTDATED = Path("/usr/local/lib/unshare-test-outdated")


def test_cases_outdated_software_is_told(make_machine: MakeMachine, base: Path) -> None:
    """Case B18: a program and a library that the host replaced; a group of any name, a file that is no store's."""
    commands = {name: [f"{OUTDATED}/{name}", "600"] for name in ("replaced", "kept")}
    services = [{"type": "unit", "value": {"name": name, "command": words}} for name, words in commands.items()]
    OUTDATED.mkdir()
    try:
        for name in ("replaced", "kept"):
            shutil.copy("/usr/bin/sleep", OUTDATED / name)
        machine = make_machine({"services": services}, name=NAME)
        bring(machine)
        result, said = bring(machine)
        assert (result["outdated_units"], said) == ([], [])
        shutil.copy("/usr/bin/sleep", OUTDATED / "new")
        (OUTDATED / "new").rename(OUTDATED / "replaced")
        hostile = """
            mkdir -p "/sys/fs/cgroup/a\033[31m b%s\\x" && cp /usr/bin/sleep /tmp/own
            /tmp/own 600 & echo $! > "/sys/fs/cgroup/a\033[31m b%s\\x/cgroup.procs"; rm /tmp/own
        """
        machine.shell(hostile)
        result, said = bring(machine, check=True)
        assert result["outdated_units"] == ["replaced.service"]
        assert "replaced.service" in said[0]
        _words_of_a_unit(machine)
        machine.output("systemctl", "restart", "replaced.service")
        assert bring(machine)[0]["outdated_units"] == []
    finally:
        shutil.rmtree(OUTDATED)
