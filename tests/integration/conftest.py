# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real containers for the tests, each made from a declaration by the collection's own code, and taken away again."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import shutil
import subprocess
import tempfile
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.filter import containerized_operating_system, system_files
from ansible_collections.unshare.container.plugins.module_utils.launcher import seccomp
from ansible_collections.unshare.container.plugins.module_utils.launcher.paths import RUN_DIRECTORY, make_directory
from ansible_collections.unshare.container.plugins.module_utils.life.container import Container
from ansible_collections.unshare.container.plugins.module_utils.life.life_cycle import LifeCycle
from ansible_collections.unshare.container.plugins.module_utils.state import library, volumes
from ansible_collections.unshare.container.plugins.module_utils.state.record import Status
from ansible_collections.unshare.container.plugins.module_utils.state.system_content import SystemContent
from ansible_collections.unshare.container.plugins.module_utils.state.systems import Systems
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout, make_private_directory
from ansible_collections.unshare.container.tests import claims, mountinfo
from ansible_collections.unshare.container.tests.integration import shared_directories
from ansible_collections.unshare.container.tests.integration.eval_commands import ORDINARY, Evaluator
from ansible_collections.unshare.container.tests.integration.fuse_servers import Silent, need_fuse
from ansible_collections.unshare.container.tests.side_by_side import NUMBER

shared_directories.guard()

Mapping = dict[str, t.Any]

PREFIX = "test-"
"""How the name of every container of a test begins."""

IS_NAMED = re.compile(rf"(?:^|[/-]){PREFIX}")
"""Such a name in a path; that of a system follows its hash. Directories of pytest have `test-` in their names, too."""

OF_ANOTHER_PROCESS = re.compile(rf"/run/netns/{PREFIX}n(?!{os.getpid()}-)")
"""The place of a network of tests in another process, which comes and goes (`network_hosts`)."""

DEFAULT_NAME = f"{PREFIX}machine-{os.environ.get(NUMBER, 'alone')}"
"""The container of a test that names none. Several processes of pytest run tests side by side, whole files each."""

INTERPRETER = "/usr/bin/python3"
"""The host's own Python: a container whose store is /usr has it, and so do the scripts on a target."""

contain = containerized_operating_system.FilterModule().filters()["containerized_operating_system"]
files_of = system_files.FilterModule().filters()["system_files"]


def running_file() -> str:
    """Return the path of the file of tests that pytest runs, as pytest gives it; nothing in a benchmark."""
    return os.environ.get("PYTEST_CURRENT_TEST", "").split("::")[0]


class Host:
    """What of this machine a container must leave as it was. Other programs, and other tests, may run beside it.

    Attributes:
        makers: the file of tests that has made the container of a name, for each name of this run.
        directory: of this run's temporary files.
    """

    makers: t.ClassVar[dict[str, str]] = {}
    directory: t.ClassVar[str] = ""

    @classmethod
    def claim(cls, name: str) -> None:
        """Give a container's name to the file of tests that runs: two files may run at once, and the name is one.

        Raises:
            AssertionError: when another file of this run has the name.
        """
        file = running_file()
        if cls.makers.get(name) == file:
            return
        maker = cls.makers.get(name, file)
        if name.startswith(DEFAULT_NAME):  # It is this process's own, and the files of a process follow each other.
            maker = file
        elif claims.DIRECTORY in os.environ:
            maker = claims.claimant(f"container {name}", file)
        assert maker == file, f"{maker} makes a container {name}, too: call this one otherwise"
        cls.makers[name] = file

    @classmethod
    def mounts(cls) -> set[str]:
        """Return the mount points of this mount namespace that are a test's, with what is mounted there."""
        lines = mountinfo.lines()
        mounts = {" ".join(line.split()[3:6]) for line in lines if not OF_ANOTHER_PROCESS.search(line)}
        return {mount for mount in mounts if IS_NAMED.search(mount) or (cls.directory and cls.directory in mount)}

    @classmethod
    def control_groups(cls) -> set[str]:
        """Return the control groups of containers of tests in the unified hierarchy, wherever that is mounted."""
        lines = mountinfo.lines()
        places = {os.path.join(line.split()[4], "unshare") for line in lines if " - cgroup2 " in line}
        return {os.path.join(place, name) for place in places for name in cls.listing(place)}

    @staticmethod
    def listing(path: str) -> set[str]:
        """Return the names in a directory that are a test's (a real container may run beside them)."""
        try:
            return set(filter(IS_NAMED.search, os.listdir(path)))
        except FileNotFoundError:
            return set()

    @staticmethod
    def descriptors() -> dict[str, str]:
        """Return this process's open files."""
        found = {}
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(FileNotFoundError):
                found[name] = os.readlink(f"/proc/self/fd/{name}")
        return found

    @classmethod
    def snapshot(cls) -> Mapping:
        """Return all of it, to be compared, except what only waits for Python to let go of it."""
        gc.collect()
        return {
            "mounts": cls.mounts(),
            "control groups": cls.control_groups(),
            "/run/unshare": cls.listing("/run/unshare"),
            "containers": cls.listing("/var/lib/unshare/containers"),
            "systems": cls.listing("/var/lib/unshare/systems"),
            "descriptors": cls.descriptors(),
            "processes": cls.launcher_processes(),
        }

    @classmethod
    def left(cls, before: Mapping, own: str) -> Mapping:
        """Return what there is more than in an earlier snapshot, of this process and of this run's containers.

        A run that was cut off may have left a container of the same name: this one's tests take that away.

        Args:
            own: a part of the names of containers that this run makes without `write_system`.
        """
        after = cls.snapshot()
        # Another run's container may have a name that begins or ends with one of this run's.
        made = [name for name, file in cls.makers.items() if file == running_file()]
        names = [rf"(?:(?<![\w-])|(?<=[0-9a-f]{{32}}-)){re.escape(name)}(?![\w-])" for name in made]
        ours = re.compile("|".join([re.escape(own), re.escape(cls.directory or own), *names]))
        found: Mapping = {}
        for key in after.keys() - {"descriptors"}:
            found[key] = {entry for entry in after[key] - before[key] if ours.search(entry)}
        found["descriptors"] = set(after["descriptors"].items()) ^ set(before["descriptors"].items())
        return {key: entries for key, entries in found.items() if entries}

    @staticmethod
    def launcher_processes(name: str = PREFIX) -> set[str]:
        """Return the collection's processes on this machine for a container of a test, each with its command."""
        found = set()
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                command = Path("/proc", pid, "cmdline").read_bytes()
            except OSError:
                continue
            if name.encode() in command and (b"run-container" in command or b"enter-container" in command):
                found.add(f"{pid} {command.replace(bytes(1), b' ').decode('utf-8', 'replace')}")
        return found


@pytest.fixture(autouse=True, scope="session")
def own_directory(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Say where this run's temporary files are."""
    Host.directory = str(tmp_path_factory.getbasetemp())


@pytest.fixture(autouse=True, scope="session")
def shared_state() -> t.Iterator[None]:
    """Have the directories of all containers as the collection makes them, before a test makes them in another way.

    They stay, though the collection removes them with the last container: tests mount something there in mount
    namespaces of their own, and that would be gone with them.
    """
    if os.geteuid() != 0:
        yield
        return
    with contextlib.ExitStack() as stack:
        for path, make in ((Layout().state, make_private_directory), (Path(RUN_DIRECTORY), make_directory)):
            stack.enter_context(held_directory(path, make))
        yield


@contextlib.contextmanager
def held_directory(path: Path, make: t.Callable[[t.Any], None]) -> t.Iterator[None]:
    """Make a directory, and have an entry in it, so that nobody removes it as an empty one."""
    while True:
        make(path)
        with contextlib.suppress(FileNotFoundError):  # the end of another run's last container removed it meanwhile
            entry = tempfile.TemporaryDirectory(prefix=".tests-", dir=path)
            break
    with entry:
        yield


@pytest.fixture
def host_unchanged(request: pytest.FixtureRequest) -> t.Iterator[None]:
    """Fail when the test leaves a mount, control group, process, descriptor or file of the collection behind."""
    before = Host.snapshot()
    yield
    left = Host.left(before, getattr(request.module, "NAME", DEFAULT_NAME))
    assert not left, left


@pytest.fixture(params=[0, ORDINARY], ids=["root", "user"])
def evaluate(request: pytest.FixtureRequest) -> t.Iterator[Evaluator]:
    """Yield a runner of commands as root, or as an ordinary user; the commands leave nothing behind."""
    evaluator = Evaluator(request.param)
    mounts_before, descriptors_before = Host.mounts(), Host.descriptors()
    yield evaluator
    assert Host.mounts() == mounts_before
    assert Host.descriptors() == descriptors_before
    evaluator.close()


def heard(warnings: t.Iterable[str]) -> list[str]:
    """Return warnings but the one of what root of this machine may not raise, which depends on the machine alone."""
    return [line for line in warnings if not line.startswith("resource limits: ")]


class Machine:
    """A container under test.

    Attributes:
        name: its name.
        system: directory of its system on the host.
        container: the launcher's view of it.
    """

    def __init__(self, name: str, system: Path) -> None:
        self.name = name
        self.system = system
        self.container = Container(name)

    def start(self, **arguments: t.Any) -> Status:
        """Start it, and wait until it is ready."""
        with self.container.lock(30):
            status = self.container.start(str(self.system), **{"timeout": 60.0, **arguments})
        # It is of the machine, and tests of what it says start the container themselves.
        status.warnings = heard(status.warnings)
        return status

    def stop(self, timeout: float = 30.0) -> bool:
        """Stop it; whether it ran."""
        with self.container.lock(30):
            return self.container.stop(timeout)

    def run(self, *command: str, user: str = "root", **arguments: t.Any) -> subprocess.CompletedProcess[str]:
        """Run a command inside through `enter-container`, as an administrator would."""
        options = {"capture_output": True, "text": True, "timeout": 60, "stdin": subprocess.DEVNULL, **arguments}
        if "input" in options:
            del options["stdin"]
        return subprocess.run([str(self.system / "enter-container"), f"--user={user}", "--", *command], **options)

    def output(self, *command: str, **arguments: t.Any) -> str:
        """Return the standard output of a command inside that must succeed."""
        result = self.run(*command, **arguments)
        assert result.returncode == 0, f"{command}: {result.returncode}\n{result.stdout}\n{result.stderr}"
        return result.stdout

    def shell(self, text: str, **arguments: t.Any) -> subprocess.CompletedProcess[str]:
        """Run a shell text inside."""
        return self.run("sh", "-c", text, **arguments)

    def logs(self) -> str:
        """Return the end of the journal, for an assertion's message."""
        return self.container.log_tail(60)

    def destroy(self) -> None:
        """Take away all that is its own."""
        with self.container.lock(30):
            self.container.stop(5)
            self.container.remove()
        volumes.part_with(self.name, self.container.directory, True)
        shutil.rmtree(self.system, ignore_errors=True)


MakeMachine = t.Callable[..., Machine]


@pytest.fixture
def container(request: pytest.FixtureRequest, host_unchanged: None) -> t.Iterator[Container]:
    """Yield the container of the module's NAME, for a life cycle; it and its systems are gone after the test."""
    name = request.module.NAME
    container = Container(name)
    try:
        yield container
    finally:
        LifeCycle(Layout(), name, container, remove_volumes=True).reach("absent")


def write_system(operating_system: Mapping, name: str, filtered: bool = True, **options: t.Any) -> Path:
    """Derive, render and store a system as the role does; its directory.

    Args:
        filtered: whether this is a host with libseccomp, if it has that.
    """
    containing = {
        key: options.pop(key) for key in ("mappings", "extra_file_systems", "keep_services") if key in options
    }
    shared_network, network = options.pop("shared_network", False), options.pop("network", None)
    Host.claim(name)
    derived = contain(operating_system, shared_network=shared_network, network=network, **containing)
    security = dict(options.pop("security", {}))
    # What the controller refuses comes to the target behind its back, for the launcher refuses it as well.
    unasked = security.pop("nesting", False) if options.get("private_users") == "identity" else False
    system = files_of(derived, name=name, shared_network=shared_network, network=network, security=security, **options)
    if unasked:
        system["spec"].setdefault("security", {})["nesting"] = True
    content = SystemContent(system, render_boot(system), library.sources(), INTERPRETER, {}, name)
    filter_program = seccomp.compile_filter(content.specification.security) if filtered else None
    return Systems(Layout()).write(content, filter_program)


def render_boot(system: Mapping) -> str:
    """Render the role's template of `boot` with Ansible, and return the text."""
    from ansible.parsing.dataloader import DataLoader
    from ansible.template import Templar, trust_as_template

    template = Path(__file__).parents[2] / "roles/system_container/templates/boot.sh.j2"
    templar = Templar(DataLoader(), variables={"__system_container_system": system})
    return str(templar.template(trust_as_template(template.read_text())))


@contextlib.contextmanager
def running_machine(name: str, **declared: t.Any) -> t.Iterator[Machine]:
    """Give a container that runs for all tests of a file; afterwards it is gone, with all that is called by its name.

    :param declared: further fields of its operating system.
    """
    machine = Machine(name, write_system({"host_name": name, **declared}, name))
    machine.start()
    try:
        yield machine
    finally:
        machine.destroy()
    left = Host.snapshot()
    assert {key for key in left for entry in left[key] if name in entry} == set()


@pytest.fixture
def make_machine(host_unchanged: None) -> t.Iterator[MakeMachine]:
    """Yield a function that makes containers from declarations; they and their systems are removed after the test."""
    machines: list[Machine] = []

    def make(operating_system: Mapping | None = None, name: str = DEFAULT_NAME, **options: t.Any) -> Machine:
        declared = {"host_name": name, **(operating_system or {})}
        assert name.startswith(PREFIX)
        machine = Machine(name, write_system(declared, name, **options))
        machines.append(machine)
        return machine

    try:
        yield make
    finally:
        for machine in machines:
            machine.destroy()


@pytest.fixture
def silent(tmp_path: Path) -> t.Iterator[Silent]:
    """Yield a file system of the host in user space, whose server is this process."""
    need_fuse()
    found = Silent(tmp_path / "silent")
    yield found
    found.close()
