# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A link that root inside puts where a mapping leads keeps no other container, and no run on the host, waiting."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host import facts, looking, preflight
from ansible_collections.unshare.container.plugins.module_utils.launcher.excursion import in_child
from ansible_collections.unshare.container.plugins.module_utils.launcher.specification import read_spec

from .fuse_servers import mounting, need_fuse
from .test_healing import bring

if t.TYPE_CHECKING:
    from .conftest import Machine, MakeMachine

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

ATTACKER, VICTIM, NEIGHBOUR = "test-link-from", "test-link-to", "test-link-own"
SECONDS = 60.0

# A server in user space that never says what is below its root. An overlay asks it with the rights of who mounted it,
# so that the host's root is not turned away.
SILENT = f"""{mounting(",allow_other")}
import subprocess
for name in ("empty", "overlay"):
    os.mkdir("/tmp/" + name)
del answers[1]
answers[17] = lambda node: bytes(80)
mounter = None
while True:
    opcode, unique, node = question()
    if opcode in answers:
        reply(unique, answers[opcode](node))
    if mounter is None:
        script = "mount -t overlay -o lowerdir=/tmp/own:/tmp/empty overlay /tmp/overlay && touch /shared/ready"
        mounter = subprocess.Popen(["sh", "-c", script])
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Return a directory whose parent no user of the host can enter, with what the containers share."""
    tmp_path.chmod(0o700)
    for name in ("shared/www/below", "victim"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def mapping(source: Path, target: str, **more: t.Any) -> dict[str, t.Any]:
    return {"source": str(source), "target": target, "writable": True, **more}


@pytest.fixture
def attacker(make_machine: MakeMachine, base: Path) -> Machine:
    """Return a container that runs, and can rename a directory that it has mapped as well."""
    mappings = [mapping(base / "shared", "/shared"), mapping(base / "shared/www", "/www")]
    machine = make_machine(name=ATTACKER, mappings=mappings, security={"fuse": True})
    machine.start()
    return machine


def brought(machine: Machine, state: str = "restarted") -> dict[str, t.Any]:
    """Bring a container into a state, in a process that the test gives up."""

    def work() -> str:
        done, said = bring(machine, state=state)
        return json.dumps([done["changed"], said])

    changed, said = json.loads(in_child(work, SECONDS))
    return {"changed": changed, "warnings": said}


@pytest.mark.parametrize("target", ["/", "../victim", "..", "/proc/self/root"])
def test_a_link_claims_nothing_of_another_container(
    attacker: Machine, make_machine: MakeMachine, base: Path, target: str
) -> None:
    victim = make_machine(name=VICTIM, mappings=[mapping(base / "victim", "/data")])
    attacker.output("sh", "-c", f"mv /shared/www /shared/old && ln -s {target} /shared/www")
    assert brought(victim) == {"changed": True, "warnings": []}
    assert victim.output("sh", "-c", "touch /data/file && ls /data") == "file\n"


def test_a_server_inside_keeps_no_run_waiting(attacker: Machine, make_machine: MakeMachine, base: Path) -> None:
    """Neither one that shares nothing, nor one whose own mapping is where the link is, which is refused."""
    need_fuse()
    victim = make_machine(name=VICTIM, mappings=[mapping(base / "victim", "/data")])
    reading = [mapping(base / "shared/www", "/www", writable=False), mapping(base / "victim", "/www/below")]
    neighbour = make_machine(name=NEIGHBOUR, mappings=reading)
    (base / "shared/server").write_text(SILENT)
    attacker.output("systemd-run", "--unit=server", "python3", "-S", "/shared/server")
    attacker.output("sh", "-c", "timeout 20 sh -c 'until [ -e /shared/ready ]; do sleep 0.05; done'")
    pid = attacker.container.status().pid
    attacker.output("sh", "-c", f"mv /shared/www /shared/old && ln -s /proc/{pid}/root/tmp/overlay/x /shared/www")
    assert brought(victim) == {"changed": True, "warnings": []}

    def look() -> list[str]:
        return preflight.problems(facts.HostFacts(), read_spec(str(neighbour.system)))

    (said,) = looking.in_time(look, SECONDS)
    assert f"{base}/shared/www passes through a symbolic link" in said
