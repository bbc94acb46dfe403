# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A system is looked at before a container is started from it, and before the one that runs is stopped for it."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host import claims, preflight, preflight_network
from ansible_collections.unshare.container.plugins.module_utils.life import examination
from ansible_collections.unshare.container.plugins.module_utils.life import host_containers as subject
from ansible_collections.unshare.container.plugins.module_utils.life.life_cycle import LifeCycle
from ansible_collections.unshare.container.plugins.module_utils.life.one_container import OneContainer
from ansible_collections.unshare.container.plugins.module_utils.state import generations, system_damage
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout, TargetError
from ansible_collections.unshare.container.plugins.modules.containers import options_of

from ..specifications import SMALL
from ..target_helpers import NOTHING_OPEN, FakeContainer


class Life:
    """A container with two systems, of which the first one is current and runs, and a look at each that fails."""

    def __init__(self, root: Path) -> None:
        self.layout = Layout(root)
        self.container = FakeContainer()
        self.systems = [self.layout.systems / f"{digit * 32}-web" for digit in "01"]
        for system in self.systems:
            system.mkdir(parents=True)
            (system / "spec.json").write_text(json.dumps({**SMALL, "launcher": "x"}))
        generations.switch(self.layout, "web", self.systems[1])
        generations.switch(self.layout, "web", self.systems[0])
        self.container.running = str(self.systems[0])
        self.looked: list[Path] = []

    def refuse(self, system: Path) -> None:
        self.looked.append(system)
        raise TargetError("the port is taken")

    def reach(self, state: str, system: Path | None = None, **options: t.Any) -> None:
        LifeCycle(self.layout, "web", self.container, system=system, examine=self.refuse, wait=False, **options).reach(
            state
        )


@pytest.fixture
def life(tmp_path: Path) -> Life:
    return Life(tmp_path)


@pytest.mark.parametrize("roll_back", [False, True])
@pytest.mark.parametrize(
    ("state", "system", "looked"),
    [("started", 1, 1), ("restarted", None, 0), ("restarted", 1, 1), ("rolled_back", None, 1)],
)
def test_what_runs_is_left_alone(life: Life, state: str, system: int | None, looked: int, roll_back: bool) -> None:
    current = life.layout.current_system("web")
    with pytest.raises(TargetError, match="the port is taken"):
        life.reach(state, None if system is None else life.systems[system], roll_back=roll_back)
    assert life.looked == [life.systems[looked]]
    assert life.container.calls == ["lock"]
    assert life.container.running == str(life.systems[0])
    assert life.layout.current_system("web") == current
    assert generations.former_number(life.layout, "web") is None


@pytest.mark.parametrize(("state", "system"), [("started", None), ("started", 0), ("stopped", 1), ("absent", None)])
def test_nothing_is_asked_where_nothing_starts(life: Life, state: str, system: int | None) -> None:
    life.reach(state, None if system is None else life.systems[system])
    assert life.looked == []


def test_a_stopped_one_is_looked_at_too(life: Life) -> None:
    life.container.running = None
    with pytest.raises(TargetError):
        life.reach("started")
    assert life.looked == [life.systems[0]]


def test_all_is_asked_of_the_system_on_the_host(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    system = life.systems[0]
    spec = {**SMALL, "init": {"argv": ["/usr/bin/nosuchinit"]}}
    (system / "spec.json").write_text(json.dumps(spec))
    monkeypatch.setattr(preflight, "problems", lambda host, specification: [])
    monkeypatch.setattr(claims, "conflicts", lambda *arguments: [f"conflict of {arguments[2]} without {arguments[4]}"])
    monkeypatch.setattr(
        preflight_network, "conflicts", lambda name, _spec, without: [f"no bridge for {name} without {without}"]
    )
    found = examination.examine(life.layout, "web", system, ["other"])
    assert "nosuchinit" in found.problems[0]
    assert found.conflicts == ["conflict of web without ['other']", "no bridge for web without ['other']"]
    with pytest.raises(
        TargetError, match=r"'web' cannot be started, and is left as it is: .*nosuchinit.*; conflict of"
    ):
        found.refuse("web")
    monkeypatch.setattr(preflight, "problems", lambda host, specification: ["no kernel"])
    assert examination.examine(life.layout, "web", system) == examination.Examined(["no kernel"], [])
    (system / "spec.json").write_text("{")
    (said,) = examination.examine(life.layout, "web", system).problems
    assert "spec.json: is damaged: " in said


DAMAGES: dict[str, t.Callable[[Path], object]] = {
    "spec.json": lambda system: (system / "spec.json").write_text("{"),
    "root/etc/passwd": lambda system: (system / "root/etc/passwd").write_text("root"),
    "root/etc/hostname": lambda system: (system / "root/etc/hostname").unlink(),
    "root/etc/more": lambda system: (system / "root/etc/more").write_text(""),
    "run-container": lambda system: (system / "run-container").chmod(0o600),
    "manifest.json": lambda system: (system / "manifest.json").write_text("{"),
}


def whole(life: Life) -> Path:
    """Return a system with the list of its files."""
    system = life.systems[1]
    (system / "root/etc").mkdir(parents=True)
    for path in ("root/etc/passwd", "root/etc/hostname", "run-container"):
        (system / path).write_text("root:x:0:0::/:")
    (system / "manifest.json").write_text("")
    (system / "manifest.json").chmod(0o600)
    (system / "manifest.json").write_text(system_damage.manifest(system, system.name))
    return system


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_system_is_not_started_for_what_runs(
    life: Life, monkeypatch: pytest.MonkeyPatch, damage: str, check: bool
) -> None:
    monkeypatch.setattr(preflight, "problems", lambda host, specification: [])
    system = whole(life)
    assert examination.examine(life.layout, "web", system) == examination.Examined([], [])
    DAMAGES[damage](system)
    one = OneContainer(life.layout, life.container, None, options_of({"state": "rolled_back"}, "web"), False)
    with pytest.raises(TargetError, match=f"left as it is: the system .* is damaged: {damage} .*another generation$"):
        one.bring(check, False)
    assert life.container.running == str(life.systems[0])
    assert life.layout.current_system("web") == life.systems[0]


def test_a_whole_system_that_only_its_own_launcher_can_read_is_left_to_that(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    (life.systems[1] / "spec.json").write_text(json.dumps({"format": 99}))
    assert examination.examine(life.layout, "web", whole(life)) == examination.Examined([], [])


BOUND = {"mount_point": "/data", "type": "none", "flags": ["bind-mount"]}


@pytest.mark.parametrize(
    ("state", "number"), [("restarted", 0), ("rolled_back", 1), ("started", 0)], ids=["restart", "back", "start"]
)
@pytest.mark.parametrize("required", [True, False])
def test_a_source_that_an_earlier_task_may_make(
    life: Life, monkeypatch: pytest.MonkeyPatch, state: str, number: int, required: bool
) -> None:
    """The system is on the host already: what the start would lack is said all the same."""
    source = life.layout.root / "srv/data"
    spec = {**SMALL, "launcher": "x", "file_systems": [{**BOUND, "device": "/srv/data", "required": required}]}
    (life.systems[number] / "spec.json").write_text(json.dumps(spec))
    monkeypatch.setattr(preflight, "problems", lambda host, specification: [])
    if state == "started":
        life.container.running = None

    def one() -> OneContainer:
        options = options_of({"state": state, "wait": False}, "web")
        return OneContainer(life.layout, life.container, None, options, False)

    planned = one()
    assert planned.bring(True, False)["changed"]
    expected = (
        "the source /srv/data of the required mapping to /data does not exist: make it before (a directory by a task "
        "ansible.builtin.file with state: directory), or correct its path in the declaration. Without check mode a run "
        "is refused while it is missing"
        if required
        else "/srv/data: does not exist on the host, so /data is left out"
    )
    assert planned.warnings[:1] == [expected]
    assert life.container.calls == []
    if required:
        with pytest.raises(TargetError, match="left as it is: the source /srv/data of the required mapping"):
            one().bring(False, False)
    source.mkdir(parents=True)
    planned = one()
    planned.bring(True, False)
    assert not any("/srv/data" in said for said in planned.warnings)


def test_a_units_program_is_found_in_the_system(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    system, unit = life.systems[0], "/etc/systemd/system/a.service"
    files = {unit: {}, "/etc/systemd/system/x.target.wants/a.service": {"link": "../a.service"}}
    (system / "spec.json").write_text(json.dumps({**SMALL, "files": files}))
    (system / f"root{unit}").parent.mkdir(parents=True)
    (system / f"root{unit}").write_text("[Service]\nExecStart=/usr/bin/nosuch\n")
    monkeypatch.setattr(preflight, "problems", lambda host, specification: [])
    (said,) = examination.examine(life.layout, "web", system).problems
    assert "/usr/bin/nosuch" in said


def test_what_ends_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has may be meant for the others; results come in the order of the declaration all the same."""
    order: list[tuple[str, list[str]]] = []

    class One:
        container = NOTHING_OPEN
        warnings: t.ClassVar[list[str]] = []

        def __init__(self, _layout: t.Any, container: str, *_more: t.Any) -> None:
            self.name = container
            self.without: list[str] = []
            self.would_end = self.stays = False

        def bring(self, _check: bool, _diff: bool) -> dict[str, t.Any]:
            order.append((self.name, list(self.without)))
            return {"changed": False, "name": self.name}

    monkeypatch.setattr(subject, "OneContainer", One)
    states = {"new": "started", "old": "absent", "other": "restarted", "rest": "stopped"}
    declared = {name: options_of({"state": state}, name) for name, state in states.items()}
    for check in (False, True):
        order.clear()
        host = subject.HostContainers(tmp_path, declared, {}, {}, lambda name: name, check=check)
        assert [result["name"] for result in host.bring(False)] == list(states)
        assert [name for name, _without in order] == ["old", "rest", "new", "other"]
        for name, without in order:
            before = {"new": ["old", "rest"], "other": ["old", "rest", "new"]}
            assert without == (before.get(name, []) if check else [])
