# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hosts for the tests: virtual machines, one for each recipe that `--hosts` names."""

from __future__ import annotations

import contextlib
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.tests import claims
from ansible_collections.unshare.container.tests.hosts import acceleration, results
from ansible_collections.unshare.container.tests.hosts.acceleration import Accelerator
from ansible_collections.unshare.container.tests.hosts.controller import Controller
from ansible_collections.unshare.container.tests.hosts.images import CACHE, Images
from ansible_collections.unshare.container.tests.hosts.machine import CommandFailed, Machine, MachineError
from ansible_collections.unshare.container.tests.hosts.making import Image
from ansible_collections.unshare.container.tests.hosts.recipes import RECIPES, Recipe, chosen

TEST_SECONDS = 7200
"""After which a test is ended. What it waits for has deadlines of its own, which name what did not happen."""

HOST = "one.example.org"
"""The name of a test's one host in the inventory, as in the README."""

MARKERS = (
    "fails_on(host, reason): the test is known to fail on a host; it must not pass there unnoticed",
    "on(host, ...): the test is about what some hosts have, and runs on these alone",
    "shows(row, ...): the test shows what a row of the table in docs/requirements.md says",
    "once: the test is about machines, not about a distribution, and runs on the newest host alone",
)

LEFT = "find /etc/apparmor.d /etc/systemd /run/systemd/system /srv"
"""Lists what the tests make on a host, the collection's units included."""

BootMachine = t.Callable[..., Machine]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the user choose among the hosts."""
    parser.addoption(
        "--hosts",
        default="",
        metavar="NAMES",
        help=f"the hosts to test on, with commas between them: {', '.join(RECIPES)} (default: all)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Check what the user has chosen."""
    config.stash[RESULTS] = results.Results()
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    try:
        chosen(config.getoption("--hosts"))
    except ValueError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test that needs a host one for each host. Those of a host follow each other on one machine."""
    if "recipe" in metafunc.fixturenames:
        recipes = chosen(metafunc.config.getoption("--hosts"))
        if metafunc.definition.get_closest_marker("once"):
            recipes = recipes[-1:]
        for mark in metafunc.definition.iter_markers("on"):
            recipes = [recipe for recipe in recipes if recipe in map(RECIPES.__getitem__, mark.args)]
        metafunc.parametrize("recipe", recipes, ids=[recipe.name for recipe in recipes], scope="session")


def recipe_of(item: pytest.Item) -> t.Any:
    """Return the recipe of the host that a test runs on; something else when it needs none, or has none."""
    return item.callspec.params.get("recipe") if hasattr(item, "callspec") else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests that are not asked for, expect known failures, and give each test the time that it may take."""
    without = [
        item
        for item in items
        if item.path.is_relative_to(Path(__file__).parent)
        and item.get_closest_marker("on")
        and not isinstance(recipe_of(item), Recipe)
    ]
    if without:
        items[:] = [item for item in items if item not in without]
        config.hook.pytest_deselected(items=without)
    ours = [item for item in items if item.path.is_relative_to(Path(__file__).parent)]
    ours.sort(key=lambda item: (list(RECIPES).index(recipe_of(item).name), part_of(item) == "once"))
    items[:] = [item for item in items if item not in ours] + ours
    for item in ours:
        item.stash[claims.PART] = part_of(item)
        item.add_marker(pytest.mark.timeout(TEST_SECONDS))
        for mark in item.iter_markers("fails_on"):
            name, reason = mark.args
            if recipe_of(item) == RECIPES[name]:
                # That the machine does not boot is no failure that is known.
                item.add_marker(pytest.mark.xfail(reason=reason, strict=True, raises=AssertionError))


def part_of(item: pytest.Item) -> str:
    """Return the part of a run that a test is in: each host is one, and what is about no distribution is another."""
    return "once" if item.get_closest_marker("once") else t.cast("Recipe", recipe_of(item)).name


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> t.Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note what a test shows, and add the consoles of the machines to its report, unless its message has one."""
    report = yield
    if item.get_closest_marker("shows") and (report.when == "call" or report.failed):
        tested = chosen(item.config.getoption("--hosts")) if part_of(item) == "once" else [recipe_of(item)]
        names = [recipe.name for recipe in tested if recipe.runs_containers]
        test = t.cast("pytest.Function", item)
        name = results.name_of(test.module.__name__, test.originalname)
        item.config.stash[RESULTS].note(name, names, report.passed)
    if report.failed and call.excinfo and not call.excinfo.errisinstance((MachineError, CommandFailed)):
        machines = item.config.stash.get(MACHINES, [])
        report.sections += [(f"console of {machine.name}", machine.console_end()) for machine in machines]
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Keep what was found, if that is asked for."""
    if results.WRITES:
        results.keep(session.config.stash[RESULTS].found)


RESULTS = pytest.StashKey[results.Results]()
"""What this run has found."""

MACHINES = pytest.StashKey[list[Machine]]()
"""The machines that there are at a moment."""


@pytest.fixture(scope="session")
def images() -> t.Iterator[Images]:
    """Return the images on this machine."""
    images = Images()
    yield images
    images.close()


@pytest.fixture(scope="session")
def image(images: Images, recipe: Recipe) -> Image:
    """Return the image of the host that is tested. The first run makes it, which takes minutes."""
    return images.of(recipe)


@pytest.fixture(scope="session")
def accelerator(image: Image) -> Accelerator:
    """Return how machines have their processors here."""

    def trial(accelerator: Accelerator) -> str:
        with Machine(image, accelerator) as machine:
            try:
                machine.start(acceleration.TRIAL_SECONDS)
            except MachineError as error:
                return str(error)
            return ""

    return acceleration.accelerator(CACHE, trial)


@contextlib.contextmanager
def booting(config: pytest.Config, image: Image, accelerator: Accelerator) -> t.Iterator[BootMachine]:
    """Yield a function that boots a machine, with the arguments of `Machine`; take its machines away at the end."""
    machines = config.stash.setdefault(MACHINES, [])
    made: list[Machine] = []

    def boot(image: Image = image, **arguments: t.Any) -> Machine:
        machine = Machine(image, accelerator, **arguments)
        made.append(machine)
        machines.append(machine)
        machine.start()
        machine.wait_until_booted()
        return machine

    try:
        yield boot
    finally:
        for machine in made:
            machines.remove(machine)
            machine.close()


@pytest.fixture(scope="module")
def boot(request: pytest.FixtureRequest, image: Image, accelerator: Accelerator) -> t.Iterator[BootMachine]:
    """Yield a function that boots another machine, of the tested host unless it is given another image."""
    with booting(request.config, image, accelerator) as boot:
        yield boot


@pytest.fixture(scope="session")
def shared(request: pytest.FixtureRequest, image: Image, accelerator: Accelerator) -> t.Iterator[Machine]:
    """Yield the machine that all tests of a host share."""
    with booting(request.config, image, accelerator) as boot:
        yield boot()


@pytest.fixture(scope="module")
def nothing_left(shared: Machine) -> t.Iterator[None]:
    """Fail when the tests of a module leave a unit, a profile or data on the machine, for other tests to find.

    A fixture of a module that makes something there takes this one, too: so it is torn down before.
    """
    before = set(switched_on(shared).succeed(LEFT).splitlines())
    yield
    left = set(switched_on(shared).succeed(LEFT).splitlines()) - before
    assert not left, sorted(left)


@pytest.fixture
def host(shared: Machine, nothing_left: None) -> Machine:
    """Return a machine of the tested host, which all tests share: it is on, and each leaves it as it was."""
    return switched_on(shared)


def switched_on(machine: Machine) -> Machine:
    """Return a machine after it has booted, if it was off."""
    if not machine.is_on:
        machine.start()
        machine.wait_until_booted()
    return machine


@pytest.fixture
def controller(host: Machine, tmp_path: Path) -> Controller:
    """Return a controller whose one host is the machine."""
    return Controller(tmp_path, {HOST: host})
