# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A deployment that says ok has brought about what was declared; what was not is an error with systemd's own words."""

from __future__ import annotations

import re
import shutil
import time
import typing as t
from pathlib import Path

import pytest
from ansible.errors import AnsibleError
from ansible_collections.unshare.container.plugins.module_utils.inside import units
from ansible_collections.unshare.container.plugins.module_utils.life import health
from ansible_collections.unshare.container.plugins.module_utils.life.container import Container
from ansible_collections.unshare.container.plugins.module_utils.life.container_information import Information
from ansible_collections.unshare.container.plugins.module_utils.life.life_cycle import LifeCycle
from ansible_collections.unshare.container.plugins.module_utils.life.staging import stage
from ansible_collections.unshare.container.plugins.module_utils.life.unhealthy import UnhealthyError
from ansible_collections.unshare.container.plugins.module_utils.state import generations
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout, TargetError

from . import bad_declarations
from .bad_declarations import DAEMON, Bad, unit
from .conftest import contain, files_of, heard, render_boot, write_system
from .lives import rounds, seeded

if t.TYPE_CHECKING:
    from .conftest import MakeMachine

pytestmark = pytest.mark.root

NAME = "test-success"
GOOD = [
    unit("good", command=DAEMON),
    unit("skipped", command=DAEMON, unit={"ConditionPathExists": "/no/such"}),
    unit("declined", command=DAEMON, service={"ExecCondition": "/bin/false"}),
    unit("done", command="/bin/true", service={"Type": "oneshot", "Restart": "no"}),
    unit("done-not", command="/bin/true", service={"Type": "oneshot", "Restart": "no", "ExecCondition": "/bin/false"}),
    unit("stays", command="/bin/true", service={"Type": "oneshot", "Restart": "no", "RemainAfterExit": True}),
    unit("later", command="/bin/true", timer={"OnBootSec": "1h"}),
    unit("asked", command=DAEMON, socket={"ListenStream": "/run/asked.sock"}),
    unit(
        "seen", units={"seen.path": {"Path": {"PathExists": "/no"}}, "seen.service": {"Service": {"ExecStart": DAEMON}}}
    ),
    unit("periodic", command=["/bin/sleep", "2.5"], service={"Restart": "always", "RestartSec": "1"}),
    unit("upheld", sections={"Service": {"ExecStart": DAEMON}, "Install": {"UpheldBy": "multi-user.target"}}),
    unit("instance@", command=DAEMON),
    unit("needs", command=DAEMON, requirement=["instance@one"]),
    unit("masked", text="", wanted_by=[]),
]


def write(*services: dict[str, t.Any], **options: t.Any) -> Path:
    return write_system({"host_name": NAME, "services": list(services)}, NAME, **options)


def reach(container: Container, state: str = "started", **options: t.Any) -> LifeCycle:
    cycle = LifeCycle(Layout(), NAME, container, **options)
    cycle.reach(state)
    return cycle


def ill(container: Container, **options: t.Any) -> str:
    """Return the error of a run that must not be ok."""
    with pytest.raises(UnhealthyError) as caught:
        reach(container, **options)
    return str(caught.value)


def staged(bad: Bad) -> str | None:
    """Why a declaration is refused before anything is started; None when it is not. Nothing of it is left."""
    options = {key: value for key, value in bad.options.items() if key != "alone"}
    mappings = options.pop("mappings", [])
    try:
        derived = contain({"host_name": NAME, "services": bad.services}, shared_network=False, mappings=mappings)
        system = files_of(derived, name=NAME, **options)
        found = stage(system, render_boot(system), {}, NAME, Path("/"), False, False)
    except (AnsibleError, TargetError) as error:
        return str(error)
    shutil.rmtree(found.path)
    return None


def test_a_hundred_bad_declarations_are_never_green(make_machine: MakeMachine) -> None:
    """What is not refused runs, all of it in one container, and is found out there in every round."""
    choose = seeded()
    many = rounds(1, 5)
    loads = bad_declarations.generate(choose, 40 * many, *bad_declarations.NOT_LOADED)
    runs = bad_declarations.generate(choose, 52 * many, *bad_declarations.NOT_RUNNING)
    whole = bad_declarations.generate(choose, 18 * many, *bad_declarations.NOT_POSSIBLE)
    green = [bad for bad in loads + whole if staged(bad) is None]
    assert not green, green

    apart = [bad for bad in loads + runs if bad.units and not _refused_by_the_controller(bad)]
    services = GOOD + [service for bad in apart for service in bad.services]
    machine = make_machine({"services": services}, name=NAME)
    machine.start()
    time.sleep(health.DEFAULTS["steady"])
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        judgement = machine.container.judge()
        found = set(judgement.units)
        green = [bad for bad in apart if not found.intersection(bad.units)]
        assert not green, (green, machine.run("systemctl", "status", *[bad.units[0] for bad in green]))
        good = {name.partition(".")[0] for name in found} & {service["value"]["name"] for service in GOOD}
        assert not good, [str(problem) for problem in judgement.problems if problem.unit.partition(".")[0] in good]
    assert len(apart) > 70 * many


def _refused_by_the_controller(bad: Bad) -> bool:
    try:
        files_of(contain({"host_name": NAME, "services": bad.services}), name=NAME)
    except AnsibleError:
        return True
    return False


SILENT = {"argv": ["/usr/bin/nosuchinit"]}
CASES: dict[str, tuple[list[dict[str, t.Any]], str]] = {
    "cases_N6_bad_setting": (
        [unit("bad", sections={"Service": {"ExecStart": "bin/true"}})],
        r"bad\.service is not loaded \(bad-setting\): .*bad\.service:5: Neither a valid executable name .*: bin/true",
    ),
    "cases_N6_cycle": (
        [unit(f"b{n}", command=DAEMON, unit={"After": f"b{3 - n}.service"}) for n in (1, 2)],
        r"b\d\.service was never started: .*ordering cycle",
    ),
    "cases_N6_before_the_boot": (
        [unit("a1", command=DAEMON, unit={"Before": "sysinit.target"})],
        r"was never started: .*ordering cycle",
    ),
    "cases_N6_type_simpel": (
        [unit("s", command=DAEMON, service={"Type": "simpel"})],
        r"s\.service has values that systemd ignores: .*s\.service:\d+: Failed to parse service type.* simpel",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_cases_n6_systemds_own_words_before_its_journal_are_the_reason(container: Container, case: str) -> None:
    """A container whose software the host's systemd does not judge is judged by its own, the same way."""
    services, message = CASES[case]
    with pytest.raises(UnhealthyError, match=message) as caught:
        reach(container, system=write(*services))
    assert str(caught.value).startswith(f"container '{NAME}' is not well: ")
    with pytest.raises(UnhealthyError, match=message):
        reach(container)  # it goes on being wrong
    facts = Information(Layout(), NAME, container).gather()
    assert facts["failed_units"] == caught.value.failed_units
    assert facts["problems"]


def test_cases_u6_u8_a_first_deployment_says_what_dies_at_once(container: Container) -> None:
    services = [
        unit("nobody", command=DAEMON, service={"User": "nosuch%p"}),
        unit(
            "half",
            command=["/bin/sh", "-c", "echo a word; sleep 0.5; echo the last word; exit 3"],
            service={"Restart": "no"},
        ),
        unit("good", command=DAEMON),
        unit("noisy", command=["/bin/sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do echo line $i; done; sleep 1000"]),
    ]
    said = ill(container, system=write(*services))
    first, *log = said.split("\n")
    # It is started again, time after time, and may be looked at just when it begins.
    begins = r"nobody\.service (has been started again|is activating) .*status=217/USER"
    assert "nobody.service has failed (exit-code, status 217)" in first or re.search(begins, first)
    if "half.service" in first:  # which lives for a while, but not for long enough
        assert "half.service has failed (exit-code, status 3)" in first
    assert not {word for word in ("good.service", "noisy", "line 1") if word in said}
    assert any("Failed to determine user credentials" in line for line in log)
    without_time = [line.split(" ", 2)[-1] for line in log]
    assert len(without_time) == len(set(without_time)) < 20


def test_cases_u6_what_dies_within_the_steady_time_is_an_error(container: Container) -> None:
    command = ["/bin/sh", "-c", "sleep 0.6; echo the last word; exit 3"]
    began = time.monotonic()
    said = ill(container, system=write(unit("half", command=command, service={"Restart": "no"})))
    assert said.startswith(
        f"container '{NAME}' is not well: half.service has failed (exit-code, status 3)\nThe log of half"
    )
    assert "the last word" in said
    assert time.monotonic() - began < 10, "what no waiting mends is not waited for"


def test_cases_u7_a_crash_loop_is_an_error_whenever_one_looks(container: Container) -> None:
    loop = unit(
        "loop",
        command=["/bin/sh", "-c", "sleep 0.8; exit 1"],
        service={"Restart": "always", "RestartSec": "0"},
        unit={"StartLimitIntervalSec": 0},
    )
    patient = {**health.DEFAULTS, "timeout": 3.0}
    again = unit(
        "again", command=["/bin/sh", "-c", "test -e /run/second || { touch /run/second; exit 1; }; exec sleep 1000"]
    )
    with pytest.raises(UnhealthyError, match=r"loop\.service has "):
        reach(container, system=write(loop, again), health=patient)
    for _run in range(3):
        said = ill(container, health=patient)
        assert "loop.service has " in said
    reach(container, "stopped")
    assert reach(container, system=write(again), health={**health.DEFAULTS, "timeout": 20.0}).failed_units == []


def test_cases_u12_a_container_that_is_never_ready_says_what_it_waits_for(container: Container) -> None:
    services = [
        unit("slow", command=DAEMON, service={"Type": "notify"}),
        unit("after", command=DAEMON, unit={"After": "slow.service"}),
    ]
    said = ill(container, system=write(*services), timeout=3.0)
    assert "was not ready within 3 s" in said
    assert "slow.service is activating (start)" in said.partition("\n")[0]
    assert "after.service" not in said.partition("\n")[0]


def test_cases_u14_an_init_that_does_not_exist(container: Container) -> None:
    said = ill(container, system=write(init=SILENT))
    assert said == f"container '{NAME}' is not well: it has ended"
    refused = staged(Bad("", [], (), {"init": SILENT}))
    assert refused is not None
    assert "init.argv[0]: /usr/bin/nosuchinit is not there" in refused
    ends = {"argv": ["/bin/sh", "-c", "sleep 0.5"]}
    assert staged(Bad("", [], (), {"init": ends})) is None
    assert ill(container, system=write(init=ends)).endswith("is not well: it has ended")
    stays = {"argv": ["/bin/sh", "-c", "trap exit TERM; sleep 1000 & wait"]}
    assert reach(container, system=write(init=stays), timeout=3.0).changed


@pytest.mark.parametrize(("command", "wait"), [("reboot", True), ("poweroff", False)])
def test_cases_b17b_what_is_going_down_is_awaited_and_started_again(
    container: Container, command: str, wait: bool
) -> None:
    long = unit("long", command=DAEMON, service={"ExecStop": "/bin/sh -c 'sleep 3; echo stopped > /srv/word'"})
    reach(container, system=write(long))
    former = container.status().pid
    units.capture(container, ["systemctl", command], 10)
    cycle = reach(container, wait=wait)
    status = container.status()
    assert (cycle.changed, status.state) == (True, "running")
    assert status.pid != former
    assert cycle.describe()["state"] == "running"
    with container.lock(10):
        assert container.await_ready(20)
    assert container.judge().state == "running"


def test_cases_u3_nothing_goes_back_to_what_was_never_well(container: Container) -> None:
    never = unit("never", command="/bin/false", service={"Restart": "no"})
    first = write(never)
    assert "Not rolled back" not in ill(container, system=first, roll_back=True), "there is nothing before the first"
    said = ill(container, system=write(never, unit("one", command=DAEMON)), roll_back=True)
    assert said.endswith("\nNot rolled back: no generation before 2 has ever been well")
    assert generations.current_number(Layout(), NAME) == 2
    good = write(unit("one", command=DAEMON))
    assert reach(container, system=good, roll_back=True).facts()["generation"] == 3
    ill(container, system=write(never, unit("two", command=DAEMON)))
    with pytest.raises(UnhealthyError, match="Rolled back: generation 3 runs again") as caught:
        reach(container, system=write(never, unit("three", command=DAEMON)), roll_back=True)
    assert caught.value.rolled_back_to == 3
    assert container.status().system == str(good)


def test_an_option_that_allows_failures_says_them_still(container: Container) -> None:
    services = [unit("never", command="/bin/false", service={"Restart": "no"}), unit("good", command=DAEMON)]
    cycle = reach(container, system=write(*services), allow_failed_units=True)
    assert cycle.failed_units == ["never.service"]
    assert heard(cycle.warnings) == [f"container '{NAME}' is not well: never.service has failed (exit-code, status 1)"]
