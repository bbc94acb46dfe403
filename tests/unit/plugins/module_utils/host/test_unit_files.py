# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What systemd says of units before anything is started, and what of that is an error."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host import unit_files
from ansible_collections.unshare.container.plugins.module_utils.host.unit_files import UnitFiles
from ansible_collections.unshare.container.plugins.module_utils.state.declared_units import UNITS_DIRECTORY
from ansible_collections.unshare.container.plugins.module_utils.state.system_content import SystemContent
from ansible_collections.unshare.container.plugins.module_utils.state.target import TargetError

from ..specifications import SMALL

SPECIFICATION = {
    **SMALL,
    "store": {"source": "/usr", "target": "/usr"},
    "init": {"argv": ["/usr/lib/systemd/systemd"], "systemd": True},
}


def content(spec: dict[str, t.Any] | None = None, **units: dict[str, t.Any]) -> SystemContent:
    """Return a system with units, by their names without a suffix."""
    files = {f"{UNITS_DIRECTORY}{name}.service": entry for name, entry in units.items()}
    files[UNITS_DIRECTORY + "default.target"] = {"link": "multi-user.target"}
    files[UNITS_DIRECTORY + "multi-user.target.wants/a.service"] = {"link": "../a.service"}
    files.setdefault(UNITS_DIRECTORY + "a.service", {"content": "[Service]\n"})
    return SystemContent({"name": "web", "spec": {**SPECIFICATION, **(spec or {})}, "files": files}, "", {}, "/p")


def analyze(tmp_path: Path, *lines: str, before: str = "") -> str:
    """Return a program in place of systemd-analyze that says these lines; in them `@` is the directory of the units."""
    program = tmp_path / "analyze"
    said = "\n".join(lines)
    program.write_text(
        f"#!/bin/sh\n{before}\nsed \"s,@/,$SYSTEMD_UNIT_PATH/,\" >&2 <<'END'\n{said}\nEND\n"
        f'echo "$@" "$SYSTEMD_UNIT_PATH" >{tmp_path}/asked\nls "$SYSTEMD_UNIT_PATH" >{tmp_path}/listed\n'
    )
    program.chmod(0o755)
    return str(program)


ERRORS = {
    "cases_N6_bad_setting": "a.service: Service has no ExecStart=, ExecStop=, or SuccessAction=. Refusing.",
    "no absolute program": "@/a.service:5: Neither a valid executable name nor an absolute path: bin/true",
    "fatal": "a.service: Unit configuration has fatal error, unit will not be started.",
    "cases_N6_type_simpel": "@/a.service:7: Failed to parse service type, ignoring: simpel",
    "of a drop-in": "@/a.service.d/b.conf:7: Failed to parse service type, ignoring: simpel",
    "text that is none": "@/a.service:1: Assignment outside of section. Ignoring.",
    "no section": "@/a.service:1: Invalid section header '[Service'",
    "not loaded": "Unit a.service has a bad unit file setting.",
    "not loaded at all": "Unit a.service failed to load properly, please adjust/correct and reload: Bad message",
    "masked": "Unit a.service is masked.",
    "of a template's file": "@/t@.service:6: Failed to parse service type, ignoring: simpel",
    "of a drop-in for a unit of the store": "@/systemd-journald.service.d/x.conf:2: Invalid size, ignoring: x",
    "of a drop-in for all services": "@/service.d/x.conf:2: Invalid size, ignoring: x",
    "without that word": "@/a.service:3: StandardError= path is not absolute: relative",
    "of processors": "@/a.service:3: Failed to parse CPU affinity 'x'",
    "a socket without its service": "a.socket: service a.service not loaded, socket cannot be started.",
    "as newer ones say": "a.socket: Service a.service not loaded, socket cannot be started.",
    "of a template": "t@i.service: Service has no ExecStart=, ExecStop=, or SuccessAction=. Refusing.",
}
FINE = (
    "nscd.service: Command /usr/sbin/nscd is not executable: No such file or directory",
    "/usr/lib/systemd/system/b.service:7: Failed to parse service type, ignoring: simpel",
    "user.slice: symlinks are not allowed for units of this type, rejecting.",
    "Unit other.service has a bad unit file setting.",
    "Unit idle.service is masked.",
    "a.service: Failed to create a.service/start: Unit nosuch.service not found.",
    "@/a.service:9: PIDFile= references a path below legacy directory /var/run/, updating /var/run/a → /run/a; please",
    "Configuration file @/a.service is marked executable. Please remove executable permission bits. Proceeding anyway.",
    "@/a.service:3: Standard output type syslog is obsolete, automatically updating to journal.",
    "@/a.service:9: Unknown key 'UpheldBy' in section [Install], ignoring.",
    "@/a.service:3: Special user nobody configured, this is not safe!",
    "@/a.service:3: Unit uses MemoryLimit=; use MemoryMax= instead. Support for MemoryLimit= will be removed soon.",
    "@/a.service:3: PIDFile= references a path below legacy directory /var/run/, updating /var/run/a to /run/a.",
    "a.service: Cannot add dependency job, ignoring: Unit b.service not found.",
    "other.service: Found ordering cycle on another.service/start",
    "other.service: Job another.service/start deleted to break ordering cycle starting with other.service/start",
)


@pytest.mark.parametrize("line", ERRORS.values(), ids=ERRORS.keys())
def test_what_is_not_what_was_declared_is_an_error_in_systemds_words(tmp_path: Path, line: str) -> None:
    system = content(a={"content": "[Service]\n"}, idle={"content": ""}, **{"t@": {"content": "[Service]\n"}})
    found = UnitFiles(system, analyze=analyze(tmp_path, FINE[0], line, line, *FINE[1:]))
    assert found.errors == [line.replace("@/", UNITS_DIRECTORY)]
    assert found.warnings == []
    with pytest.raises(TargetError, match="nothing was changed. ") as caught:
        found.check()
    assert str(caught.value).endswith(found.errors[0])


def test_what_is_fine_is_no_error_and_nothing_is_left(tmp_path: Path) -> None:
    before = set(os.listdir("/run")) | set(os.listdir("/tmp"))
    found = UnitFiles(content(idle={"content": ""}), analyze=analyze(tmp_path, *FINE))
    found.check()
    assert (found.errors, found.warnings) == ([], [])
    *arguments, directory = (tmp_path / "asked").read_text().split()
    assert arguments == ["verify", "--man=no", "--generators=no", "--"] + [
        f"{directory}/{name}" for name in ("default.target", "a.service", "idle.service")
    ]
    assert (tmp_path / "listed").read_text().split() == [
        "a.service",
        "default.target",
        "idle.service",
        "multi-user.target.wants",
    ]
    assert not os.path.exists(directory)
    left = (set(os.listdir("/run")) | set(os.listdir("/tmp"))) - before
    assert not {name for name in left if name.startswith("unshare-units-")} & {os.path.basename(directory)}


def test_a_name_that_is_not_known_is_a_warning_and_with_an_error_its_reason(tmp_path: Path) -> None:
    """cases_U8: a directive that is misspelt may be one of a newer systemd."""
    unknown = "@/a.service:7: Unknown key 'ExecStrat' in section [Service], ignoring."
    found = UnitFiles(content(), analyze=analyze(tmp_path, unknown))
    found.check()
    told = unknown.replace("@/", UNITS_DIRECTORY)
    assert found.warnings == [f"systemd of this host ignores a part of a unit: {told}"]
    found = UnitFiles(content(), analyze=analyze(tmp_path, unknown, ERRORS["cases_N6_bad_setting"]))
    assert (found.errors, found.warnings) == ([told, ERRORS["cases_N6_bad_setting"]], [])


@pytest.mark.parametrize(
    "line",
    [
        "a.service: Something that nobody knows yet",
        "t@i.service: Something",
    ],
)
def test_what_else_is_said_of_a_declared_unit_is_not_lost(tmp_path: Path, line: str) -> None:
    system = content(**{"t@": {"content": "[Service]\n"}})
    found = UnitFiles(system, analyze=analyze(tmp_path, *FINE, line))
    assert found.errors == []
    assert found.warnings == [f"systemd of this host says of a unit: {line.replace('@/', UNITS_DIRECTORY)}"]


def test_commands_that_the_host_does_not_have_are_for_others_to_judge(tmp_path: Path) -> None:
    lines = [
        f"{unit}: Command /usr/bin/no such is not executable: No such file" for unit in ("a.service", "t@i.service")
    ]
    system = content(**{"t@": {"content": "[Service]\n"}})
    found = UnitFiles(system, analyze=analyze(tmp_path, *FINE, *lines))
    assert found.commands == [("a.service", "/usr/bin/no such"), ("t@i.service", "/usr/bin/no such")]
    assert (found.errors, found.warnings) == ([], [])


@pytest.mark.parametrize("own", ["a.service", "basic.target"])
def test_cases_n6_cycle_is_told_once_whichever_unit_is_dropped(tmp_path: Path, own: str) -> None:
    circle = [
        f"{own}: Found ordering cycle on sysinit.target/start",
        "basic.target: Found dependency on a.service/start",
        "basic.target: Job local-fs.target/start deleted to break ordering cycle starting with basic.target/start",
    ]
    again = [line.replace("basic", "sysinit") for line in circle]
    found = UnitFiles(content(), analyze=analyze(tmp_path, *FINE[-2:], *circle, *again))
    assert found.errors == circle


def test_a_secret_is_not_quoted(tmp_path: Path) -> None:
    line = "@/s.service:7: Invalid environment assignment, ignoring: hunter2"
    found = UnitFiles(content(s={"content": "x", "secret": True}), analyze=analyze(tmp_path, line))
    assert found.errors == [f"{UNITS_DIRECTORY}s.service:7: a value that cannot be read, ignoring"]


def test_an_error_is_bounded(tmp_path: Path) -> None:
    lines = [f"@/a.service:{number}: Failed to parse it, ignoring: x" for number in range(50)]
    with pytest.raises(TargetError, match="; and 40 more$"):
        UnitFiles(content(), analyze=analyze(tmp_path, *lines)).check()


@pytest.mark.parametrize(
    "spec",
    [{"store": {"source": "/srv/tree/usr", "target": "/usr"}}, {"init": {"argv": ["/usr/bin/init"]}}],
    ids=["another store", "another init"],
)
def test_only_the_systemd_that_will_run_them_judges_units(tmp_path: Path, spec: dict[str, t.Any]) -> None:
    program = analyze(tmp_path, ERRORS["masked"])
    assert UnitFiles(content(spec), analyze=program).errors == []
    assert UnitFiles(content(), tmp_path, program).errors == []
    assert UnitFiles(content(), analyze=str(tmp_path / "none")).errors == []
    assert not (tmp_path / "asked").exists()


def test_one_that_does_not_answer_keeps_nobody_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit_files, "SECONDS", 0.2)
    program = analyze(tmp_path, ERRORS["masked"], before="exec sleep 60")
    assert UnitFiles(content(), analyze=program).errors == []


def with_shared(tmp_path: Path, *names: str) -> tuple[SystemContent, str]:
    """Return a system with drop-ins for all services, and a program that complains of a unit when it gets all."""
    system = content(a={"content": "[Service]\n"}, **{"t@": {"content": "[Service]\n"}})
    files = {UNITS_DIRECTORY + "service.d/" + name: {"content": "[Service]\nRestart=always\n"} for name in names}
    every = {**{path: {"content": file.content.decode()} for path, file in system.files.items()}, **files}
    links = {path: {"link": file.link} for path, file in system.files.items() if file.link is not None}
    given = {"name": "web", "spec": SPECIFICATION, "files": {**every, **links}}
    wanted = " && ".join(f'test -e "$SYSTEMD_UNIT_PATH/service.d/{name}"' for name in names)
    program = analyze(tmp_path, ERRORS["fatal"], ERRORS["no absolute program"], before=f"{wanted} || exit 0")
    text = Path(program).read_text().replace("|| exit 0", f"|| {{ echo '{FINE[0]}' >&2; exit 0; }}")
    Path(program).write_text(text)
    return SystemContent(given, "", {}, "/p"), program


@pytest.mark.parametrize("names", [("x.conf",), ("x.conf", "y.conf")])
def test_the_drop_in_for_a_type_that_breaks_a_unit_is_named(tmp_path: Path, names: tuple[str, ...]) -> None:
    system, program = with_shared(tmp_path, *names)
    found = UnitFiles(system, analyze=program)
    cause, *errors = found.errors
    path = f"{UNITS_DIRECTORY}service.d/x.conf"
    assert cause.startswith(f"{path}, which each unit of the type reads, is the cause of what follows: ")
    assert "in NAME.service.d" in cause
    assert errors == [ERRORS["fatal"], ERRORS["no absolute program"].replace("@/", UNITS_DIRECTORY)]


def test_several_drop_ins_that_break_a_unit_each_are_named_together(tmp_path: Path) -> None:
    system, program = with_shared(tmp_path, "x.conf", "y.conf")
    Path(program).write_text(Path(program).read_text().replace(" && ", " || "))
    first, *_errors = UnitFiles(system, analyze=program).errors
    paths = " with ".join(f"{UNITS_DIRECTORY}service.d/{name}" for name in ("x.conf", "y.conf"))
    assert first.startswith(f"{paths}, which each unit")


def test_a_unit_that_is_wrong_by_itself_is_not_blamed_on_others(tmp_path: Path) -> None:
    system, program = with_shared(tmp_path, "x.conf")
    Path(program).write_text(Path(program).read_text().replace("exit 0", "true"))
    assert UnitFiles(system, analyze=program).errors[0] == ERRORS["fatal"]


def test_a_drop_in_for_a_type_is_not_blamed_for_what_systemd_says_of_itself(tmp_path: Path) -> None:
    line = ERRORS["of a drop-in for all services"]
    system, _program = with_shared(tmp_path, "x.conf")
    program = analyze(tmp_path, line, before='test -e "$SYSTEMD_UNIT_PATH/service.d/x.conf" || exec echo x >&2')
    assert UnitFiles(system, analyze=program).errors == [line.replace("@/", UNITS_DIRECTORY)]
