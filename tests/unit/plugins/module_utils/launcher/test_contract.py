# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller and the launcher agree on the records between them: no field is lost, unread, or one side's."""

from __future__ import annotations

import ast
import copy
import json
import signal
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import contract, mounts
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.launcher.kinds import ContractError, ContractRecord
from ansible_collections.unshare.container.plugins.module_utils.launcher.specification import read_outline, read_spec
from ansible_collections.unshare.container.plugins.module_utils.launcher.stop_signals import signal_number
from ansible_collections.unshare.container.plugins.module_utils.state.system_content import SystemContent
from ansible_collections.unshare.container.plugins.module_utils.state.target import TargetError
from ansible_collections.unshare.container.plugins.plugin_utils.containerized import containerized_operating_system
from ansible_collections.unshare.container.plugins.plugin_utils.errors import DeclarationError
from ansible_collections.unshare.container.plugins.plugin_utils.system_files import system_files

from ..specifications import SMALL, SPECIFICATION, specification
from ..target_helpers import system

PLUGINS = Path(contract.__file__).parents[2]
RECORDS = [
    record for record in vars(contract).values() if isinstance(record, type) and issubclass(record, ContractRecord)
]
RECORDS.remove(ContractRecord)
FIELDS = [(record, name) for record in RECORDS for name in record.KINDS]
OS = {"host_name": "web"}
FILE_SYSTEM = {"device": "/dev/sdx", "mount_point": "/srv", "type": "ext4"}
# Where each of the records stands in a specification.
PLACES: dict[type[ContractRecord], tuple[str | int, ...]] = {
    contract.Specification: (),
    contract.Store: ("store",),
    contract.Init: ("init",),
    contract.Security: ("security",),
    contract.Root: ("root",),
    contract.Mount: ("file_systems", 0),
    contract.Volume: ("file_systems", 3, "volume"),
    contract.File: ("files", "/etc/passwd"),
    contract.Directory: ("directories", 0),
    contract.Port: ("ports", 0),
    contract.Device: ("devices", 0),
    contract.Credential: ("credentials", 0),
}


def trees(*directories: str) -> t.Iterator[ast.AST]:
    for directory in directories:
        for path in sorted((PLUGINS / directory).rglob("*.py")):
            if path.name not in ("contract.py", "kinds.py"):
                yield ast.parse(path.read_text())


@pytest.fixture(scope="module")
def read_fields() -> set[str]:
    """Return the names that the target reads of anything."""
    nodes = (node for tree in trees("module_utils") for node in ast.walk(tree))
    return {node.attr for node in nodes if isinstance(node, ast.Attribute)}


@pytest.fixture(scope="module")
def sent_fields() -> set[tuple[str, str | None]]:
    """Return the keywords of all calls, with what is called."""
    calls = (node for tree in trees("module_utils", "plugin_utils") for node in ast.walk(tree))
    return {
        (call.func.attr if isinstance(call.func, ast.Attribute) else call.func.id, word.arg)
        for call in calls
        if isinstance(call, ast.Call) and isinstance(call.func, (ast.Attribute, ast.Name))
        for word in call.keywords
    }


# What is not given as a keyword: checked by an argument specification of the same names, or beside the mapping `spec`.
SENT_OTHERWISE = {
    (contract.Init, "*"): "system_files._INIT",
    (contract.Security, "*"): "system_files._SECURITY",
    (contract.Directory, "*"): "what services declare",
    (contract.Specification, "files"): "system_content",
    (contract.Specification, "directories"): "system_content",
    (contract.Specification, "host_files"): "system_content",
    (contract.Specification, "launcher"): "system_content",
    (contract.Specification, "python"): "system_content",
    (contract.Specification, "filter_digest"): "systems",
}


@pytest.mark.parametrize(("record", "name"), FIELDS, ids=[f"{record.__name__}.{name}" for record, name in FIELDS])
def test_every_field_is_sent_and_read(
    record: type[ContractRecord], name: str, read_fields: set[str], sent_fields: set[tuple[str, str | None]]
) -> None:
    read = {"device": "source", "format": None}.get(name, name)
    assert read is None or read in read_fields
    otherwise = {(record, "*"), (record, name)} & SENT_OTHERWISE.keys()
    assert otherwise or (record.__name__, name) in sent_fields


# Who makes the file, and who asks only whether it is there, beside the one who reads it.
NAME_THE_FILE = {"specification.py", "systems.py", "generations.py"}


def test_the_file_is_read_in_one_place() -> None:
    """A reader of its own would know neither a default, which no file has, nor the former format."""
    found = set()
    for path in PLUGINS.rglob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        texts = [node.value for node in nodes if isinstance(node, ast.Expr)]  # what documents
        named = [node for node in nodes if isinstance(node, ast.Constant) and "spec.json" in str(node.value)]
        if any(node not in texts for node in named):
            found.add(path.name)
    assert found == NAME_THE_FILE


def inside(spec: dict[str, t.Any], record: type[ContractRecord]) -> dict[str, t.Any]:
    found: t.Any = spec
    for step in PLACES[record]:
        found = found[step]
    return t.cast("dict[str, t.Any]", found)


@pytest.mark.parametrize("record", RECORDS)
def test_a_field_that_is_unknown_is_refused_on_both_sides(record: type[ContractRecord], tmp_path: Path) -> None:
    spec = copy.deepcopy(SPECIFICATION)
    inside(spec, record)["needed_for_boot"] = True
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    with pytest.raises(LauncherError, match=r"is damaged: .*needed_for_boot: is no field; known are .*stage"):
        read_spec(str(tmp_path))
    made = system()
    made["spec"] = {key: value for key, value in spec.items() if key not in ("files", "directories", "host_files")}
    if record in (contract.File, contract.Directory):
        return  # beside it, with checks of their own
    with pytest.raises(TargetError, match=r"^system\.spec\..*needed_for_boot: is no field"):
        SystemContent(made, "", {}, "/usr/bin/python3")


NEEDED = [(record, name) for record, name in FIELDS if not hasattr(record, name)]


@pytest.mark.parametrize(("record", "name"), NEEDED)
def test_a_field_that_is_missing_is_named(record: type[ContractRecord], name: str) -> None:
    spec = copy.deepcopy(SPECIFICATION)
    del inside(spec, record)[name]
    with pytest.raises(ContractError, match=rf"(^|\.){name}: is missing$"):
        contract.Specification.read(spec)


def test_what_is_needed_is_little() -> None:
    found = {(record.__name__, name) for record, name in NEEDED}
    assert {name for record, name in found if record == "Specification"} == SMALL.keys()
    assert found - {("Specification", name) for name in SMALL} == {
        ("Credential", "name"),
        ("Device", "path"),
        ("Device", "target"),
        ("Store", "source"),
        ("Store", "target"),
        ("Init", "argv"),
        ("Mount", "device"),
        ("Mount", "mount_point"),
        ("Mount", "type"),
        ("Volume", "name"),
        ("Directory", "path"),
        ("Port", "number"),
        ("Port", "place"),
    }


def test_a_record_is_what_was_written_of_it() -> None:
    record = contract.Specification.read(SPECIFICATION)
    assert contract.Specification.read(record.write()) == record
    assert contract.Specification.read(json.loads(json.dumps(record.write()))) == record


def test_a_default_is_not_written() -> None:
    assert specification().write() == SMALL
    assert specification(log="volatile", shared_network=False, security={"nesting": False}).write() == SMALL
    assert specification(log="persistent").write() == {**SMALL, "log": "persistent"}


def test_a_copy_is_another() -> None:
    one = specification()
    other = one.replacing(shared_network=True)
    assert (one.shared_network, other.shared_network) == (False, True)
    assert one != other
    assert other.replacing(shared_network=False) == one


def test_what_the_controller_makes_is_read() -> None:
    server = {**OS, "file_systems": [{**FILE_SYSTEM, "device": {"uuid": "c0ffee"}, "needed_for_boot": True}]}
    declared = containerized_operating_system(server, mappings=["/srv/www", {"source": "/data", "writable": True}])
    spec = system_files(declared, log="persistent", security={"nesting": True}, init=None)["spec"]
    assert contract.Specification.read(spec).write() == spec


@pytest.mark.parametrize("written", [None, 0, 3, "2", 2.0, True])
def test_another_format_is_refused(tmp_path: Path, written: object) -> None:
    (tmp_path / "spec.json").write_text(json.dumps({**SPECIFICATION, "format": written, "network": {}}))
    with pytest.raises(LauncherError, match=r"spec.json: is not of format 2; stage the system again"):
        read_spec(str(tmp_path))


def test_the_former_format_is_read(tmp_path: Path) -> None:
    """A system of its time may run, or be gone back to, while the host gets this one."""
    mount = {
        "device": "/usr",
        "mount_point": "/usr",
        "type": "none",
        "flags": ["bind-mount", "read-only", "shared", "remount"],
        "options": None,
        "check": False,
        "create_mount_point": True,
        "needed_for_boot": True,
        "required": True,
        "mount_may_fail": False,
    }
    empty = {**mount, "device": "none", "mount_point": "/x", "type": "tmpfs", "flags": ["no-dev"], "options": ""}
    (tmp_path / "spec.json").write_text(json.dumps({**SPECIFICATION, "format": 1, "file_systems": [mount, empty]}))
    found, other = read_spec(str(tmp_path)).file_systems
    assert other.options is None
    assert found.write() == {
        "device": "/usr",
        "mount_point": "/usr",
        "type": "none",
        "flags": ["bind-mount", "read-only"],
        "required": True,
    }


# What no former version need have refused, by today's rules.
REFUSED_TODAY: dict[str, t.Any] = {
    "file_systems": [{"device": "/usr", "mount_point": "/proc", "type": "none", "flags": ["bind-mount"]}],
    "store": {"source": "/", "target": "/usr"},
    "files": {"/usr/bin/x": {}},
    "directories": [{"path": "/var/lib/x", "mode": "rwx"}],
    "oom_score_adj": 5000,
    "name": "NAME",
    "a field of its own": True,
}


@pytest.mark.parametrize("written_in", [1, contract.FORMAT])
@pytest.mark.parametrize("name", REFUSED_TODAY)
def test_who_asks_what_runs_does_not_judge_its_declaration(tmp_path: Path, name: str, written_in: int) -> None:
    init = {**SPECIFICATION["init"], "systemd": True}
    given = {**SPECIFICATION, "init": init, "security": {"nesting": True}, "launcher": "one", "format": written_in}
    (tmp_path / "spec.json").write_text(json.dumps({**given, name: REFUSED_TODAY[name]}))
    with pytest.raises(LauncherError, match="spec.json: "):
        read_spec(str(tmp_path))
    found = read_outline(str(tmp_path))
    assert (found.init.systemd, found.security.nesting, found.launcher) == (True, True, "one")


@pytest.mark.parametrize("name", ["init", "security", "launcher"])
def test_what_is_asked_of_what_runs_is_checked(tmp_path: Path, name: str) -> None:
    (tmp_path / "spec.json").write_text(json.dumps({**SPECIFICATION, name: 5}))
    with pytest.raises(LauncherError, match=rf"spec.json: is damaged: {name}: is no.*; stage the system again"):
        read_outline(str(tmp_path))


NAMES = [f"SIG{name}" for name in ("HUP", "INT", "QUIT", "KILL", "USR1", "USR2", "TERM", "CONT", "WINCH", "PWR")]


@pytest.mark.parametrize("name", [*NAMES, "SIGRTMIN+0", "SIGRTMIN+4", "SIGRTMIN+30", "SIGRTMAX-0", "SIGRTMAX-30"])
def test_a_signal_is_accepted_by_both_sides(name: str) -> None:
    base, sign, rest = name.partition("+" if "+" in name else "-")
    number = getattr(signal, base) + int(f"{sign}{rest}" or 0)
    spec = system_files(containerized_operating_system(OS), init={"argv": ["/x"], "stop_signal": name})["spec"]
    assert signal_number(contract.Specification.read(spec).init.stop_signal) == number


@pytest.mark.parametrize(
    "name", ["TERM", "SIGCHLD", "SIGSTOP", "SIGRTMIN", "SIGRTMIN+31", "SIGRTMAX-31", "SIGRTMIN+-1", "SIGRTMIN+²", ""]
)
def test_a_signal_is_refused_by_both_sides(name: str) -> None:
    with pytest.raises(DeclarationError, match=r"^init\.stop_signal: .*use one of SIGHUP"):
        system_files(containerized_operating_system(OS), init={"argv": ["/x"], "stop_signal": name})
    with pytest.raises(ContractError, match=r"^init\.stop_signal: "):
        specification(init={"argv": ["/x"], "stop_signal": name})


@pytest.mark.parametrize("flag", contract.FLAGS)
def test_a_flag_means_something(flag: str) -> None:
    assert flag in ("bind-mount", "lazy-time") or mounts.attributes([flag])


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["remount"], "'remount' changes what is mounted"),
        (["bind-mount", "lazy-time"], "'lazy-time' is a file system's"),
        (["no-atime", "strict-atime"], "'no-atime' and 'strict-atime' contradict each other"),
    ],
)
def test_flags_that_would_become_nothing_are_refused(flags: list[str], said: str) -> None:
    item = {**FILE_SYSTEM, "device": "/srv/x" if "bind-mount" in flags else {"label": "x"}, "flags": flags}
    with pytest.raises(DeclarationError, match=rf"^extra_file_systems\[0\]\.flags: {said}"):
        containerized_operating_system(OS, extra_file_systems=[item])


def test_a_machines_own_flags_are_no_matter_where_nothing_is_mounted() -> None:
    item = {**FILE_SYSTEM, "flags": ["remount", "no-atime", "strict-atime"]}
    assert containerized_operating_system({**OS, "file_systems": [item]})


def test_what_every_container_has_is_not_told() -> None:
    """Mounts are shared among the namespaces of a container without being asked."""
    item = {"device": {"label": "x"}, "mount_point": "/srv", "type": "ext4", "flags": ["shared", "no-exec"]}
    declared = containerized_operating_system(OS, extra_file_systems=[{**item, "needed_for_boot": True}])
    found = contract.Specification.read(system_files(declared)["spec"]).file_systems
    assert [mount.flags for mount in found if mount.mount_point == "/srv"] == [["no-exec"]]


@pytest.mark.parametrize("score", [-1001, 1001, True, "5", 1.0])
def test_the_killers_score_has_bounds_on_both_sides(score: object) -> None:
    with pytest.raises(ContractError, match=r"^oom_score_adj: .*-1000"):
        specification(oom_score_adj=score)
    if not isinstance(score, str):
        with pytest.raises(DeclarationError, match=r"^oom_score_adj: "):
            system_files(containerized_operating_system(OS), oom_score_adj=score)
    spec = system_files(containerized_operating_system(OS), oom_score_adj=-1000)["spec"]
    assert contract.Specification.read(spec).oom_score_adj == -1000
