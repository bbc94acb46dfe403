# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Many machines of one tree (T5), and one whose init is not systemd (T6)."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host import facts, preflight
from ansible_collections.unshare.container.plugins.module_utils.launcher.specification import read_spec

from . import machine_tree
from .lives import rounds

if t.TYPE_CHECKING:
    from .conftest import MakeMachine

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]

NAME = "test-many-machines"
COUNT = rounds(10, 50)
INSTALLING = 10
SOURCE = "deb [trusted=yes] file:/srv/packages ./\n"
DECLARED: dict[str, t.Any] = {
    "services": [{"type": "simple", "value": {"target": "etc", "value": {"apt/sources.list": SOURCE}}}]
}
PROGRAM = "#!/bin/sh\necho version %s\n"

INITTAB = """\
::sysinit:/usr/bin/busybox mkdir -p /run/www
::respawn:/usr/bin/busybox httpd -f -p 127.0.0.1:8080 -h /etc
"""
OTHER_INIT = {"argv": ["/sbin/init"], "stop_signal": "SIGUSR2"}
"""busybox's init switches off at this signal."""


def publish(repository: Path, version: str) -> None:
    """Have a package repository offer a version of a small package, and no other."""
    with tempfile.TemporaryDirectory() as name:
        package = Path(name, "package")
        (package / "DEBIAN").mkdir(parents=True)
        (package / "usr/bin").mkdir(parents=True)
        program = package / "usr/bin/of-the-tests"
        program.write_text(PROGRAM % version)
        program.chmod(0o755)
        control = f"Package: of-the-tests\nVersion: {version}\nArchitecture: all\n"
        control += "Maintainer: Tests <tests@localhost>\nDescription: a program\n"
        (package / "DEBIAN/control").write_text(control)
        archive = repository / f"{version}.deb"
        build = ["dpkg-deb", "--root-owner-group", "--build", str(package), str(archive)]
        subprocess.run(build, check=True, capture_output=True, timeout=60)
    content = archive.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    (repository / "Packages").write_text(
        f"{control}Filename: ./{archive.name}\nSize: {len(content)}\nSHA256: {digest}\n"
    )


def test_t5_many_machines_install_packages_at_once(make_machine: MakeMachine, tmp_path: Path) -> None:
    """Each costs what it writes, and what one of them installs is seen by no other."""
    tree = machine_tree.made()
    before = machine_tree.state(tree)
    publish(tmp_path, "1.0")
    mappings = [{"source": str(tmp_path), "target": "/srv/packages"}]
    options: dict[str, t.Any] = {"store": f"{tree}/usr", "root": "machine", "mappings": mappings}
    machines = [make_machine(DECLARED, name=f"{NAME}-{number}", **options) for number in range(COUNT)]
    for machine in machines:
        machine.start()
    install = "apt-get update && apt-get install --yes of-the-tests && of-the-tests"
    enter = [[str(machine.system / "enter-container"), "sh", "-ec", install] for machine in machines[:INSTALLING]]
    running = [subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for words in enter]
    said = [process.communicate(timeout=200)[0] for process in running]
    assert [text.splitlines()[-1] for text in said] == ["version 1.0"] * INSTALLING, said
    (tmp_path / "1.0.deb").unlink()
    publish(tmp_path, "2.0")
    machines[0].output("sh", "-ec", "apt-get update && apt-get install --yes of-the-tests")
    assert machines[0].output("of-the-tests") == "version 2.0\n"
    assert machines[1].output("of-the-tests") == "version 1.0\n"
    for machine in machines:
        assert machine.output("systemctl", "is-system-running") == "running\n"
    if COUNT > INSTALLING:
        assert machines[-1].run("of-the-tests").returncode != 0
    after = machine_tree.state(tree)
    assert {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)} == set()


def test_t5_a_unit_of_a_package_that_asks_for_a_user_namespace_starts(make_machine: MakeMachine) -> None:
    """As that of Debian's redis does."""
    machine = make_machine({}, name=NAME, store=f"{machine_tree.made()}/usr", root="machine")
    machine.start()
    unit = "/usr/lib/systemd/system/of-the-tests.service"
    text = "[Service]\nExecStart=/usr/bin/sleep infinity\nType=exec\nPrivateUsers=true\nNoNewPrivileges=true\n"
    machine.output("sh", "-ec", f"printf '{text}' > {unit}; systemctl daemon-reload; systemctl start of-the-tests")
    assert machine.output("systemctl", "is-active", "of-the-tests") == "active\n"


@pytest.fixture
def busybox_tree() -> t.Iterator[Path]:
    """Give a tree of busybox alone, which no distribution has made."""
    machine_tree.CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=machine_tree.CACHE, prefix="busybox-") as name:
        tree = Path(name)
        tree.chmod(0o755)
        for directory in ("dev", "etc", "proc", "root", "run", "sys", "tmp", "usr/bin", "usr/sbin", "var"):
            (tree / directory).mkdir(parents=True)
        for link in ("bin", "sbin"):
            (tree / link).symlink_to(f"usr/{link}")
        shutil.copy(shutil.which("busybox") or "busybox", tree / "usr/bin/busybox")
        (tree / "usr/sbin/init").symlink_to("../bin/busybox")
        for program in ("cat", "hostname", "ps", "sh", "true", "wget"):
            (tree / "usr/bin" / program).symlink_to("busybox")
        (tree / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
        (tree / "etc/group").write_text("root:x:0:\n")
        (tree / "etc/inittab").write_text(INITTAB)
        yield tree


def test_t6_an_init_that_is_not_systemd(make_machine: MakeMachine, busybox_tree: Path) -> None:
    """It keeps its processes, and ends when it is stopped."""
    options: dict[str, t.Any] = {"store": f"{busybox_tree}/usr", "root": "machine", "init": OTHER_INIT}
    machine = make_machine({"services": []}, name=NAME, **options)
    assert preflight.problems(facts.HostFacts(), read_spec(str(machine.system))) == []
    machine.start()
    assert machine.output("cat", "/proc/1/comm") == "init\n"
    assert machine.output("hostname") == f"{NAME}\n"
    page = ["sh", "-c", "until wget -q -O - 127.0.0.1:8080/hostname; do :; done"]
    assert machine.output(*page, timeout=30) == f"{NAME}\n"
    machine.output("sh", "-c", "kill $(ps | busybox grep [h]ttpd | busybox cut -c1-5)")
    assert machine.output(*page, timeout=30) == f"{NAME}\n"
    began = time.monotonic()
    assert machine.stop(timeout=20)
    assert time.monotonic() < began + 15, "it was killed"
