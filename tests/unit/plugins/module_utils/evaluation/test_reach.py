# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What files say may bring into a closure what everybody can read, or what was asked for, and nothing else."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.evaluation import run
from ansible_collections.unshare.container.plugins.module_utils.evaluation.closure import Closure
from ansible_collections.unshare.container.plugins.module_utils.evaluation.request import Request
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.tests.unit.plugins.module_utils.evaluation import elf_files
from ansible_collections.unshare.container.tests.unit.plugins.module_utils.evaluation.parameters import parameters

LIBRARY = "libx.so"
VERSION = "python3.11"


class Host:
    """A few files of a host.

    Attributes:
        public: a directory that everybody can look into.
        private: one that only its owner can, with programs, libraries and texts that everybody could read.
        closed: one that everybody can look into, the files of which only their owner can read.
    """

    def __init__(self, root: Path) -> None:
        self.public, self.private, self.closed = root / "public", root / "private", root / "closed"
        for directory in (self.public, self.private, self.closed):
            program = elf_files.write(directory / "bin/program")
            shutil.copy(program, directory / "bin/python3.11")
            elf_files.write(directory / "lib" / LIBRARY)
            text(directory / "text", "secret\n")
            script(directory / "bin/script", f"#!{program}")
            text(directory / "lib" / VERSION / "site.py", "")
            text(directory / "pyvenv.cfg", f"home = {directory}/bin\n")
        for path in self.closed.rglob("*"):
            if path.is_file():
                path.chmod(0o700)
        for path in self.closed.glob("lib/*"):
            path.chmod(0o700)
        self.private.chmod(0o700)

    def fill(self, given: str) -> str:
        """Return a text with the names of the directories filled in."""
        return given.format(public=self.public, private=self.private, closed=self.closed, up="/.." * 30)


@pytest.fixture
def host() -> t.Iterator[Host]:
    root = Path(os.path.realpath(tempfile.mkdtemp(prefix="test-reach-")))
    root.chmod(0o755)
    yield Host(root)
    shutil.rmtree(root)


def text(path: Path, content: str, mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    path.chmod(mode)
    return path


def script(path: Path, line: str, mode: int = 0o755) -> Path:
    return text(path, line + "\n", mode)


def closure_of(*paths: Path, strict: bool = True, named: t.Sequence[Path] = (), **environment: str) -> Closure:
    closure = Closure(environment, strict)
    closure.name(str(path) for path in named)
    for path in paths:
        closure.add(str(path))
    return closure


INTERPRETERS = [
    "{private}/bin/program",
    "{closed}/bin/program",
    "{private}/bin/script",
    "{closed}/bin/script",
    "{public}/bin{up}{private}/bin/program",
    "{public}/bin/../../private/bin/program",
    "{public}/link",
    "{public}/directory/program",
    "{private}/out",
    "/proc/self/root{private}/bin/program",
    "{public}/text",
    "{public}/bin",
    "{public}/pipe",
    "/etc/shadow",
    "/etc/passwd",
    "/proc/self/environ",
    "/dev/null",
    "/dev/zero",
    "/proc/self/exe",
]


@pytest.fixture
def hostile(host: Host) -> Host:
    """With links and a pipe that somebody has made."""
    (host.public / "link").symlink_to(host.private / "bin/program")
    (host.public / "directory").symlink_to("../private/bin")
    (host.private / "out").symlink_to(host.public / "bin/program")
    os.mkfifo(host.public / "pipe", 0o777)
    return host


@pytest.mark.parametrize("line", ["#!{}", "#! {} -x", "#!{public}/env {}", "#!{public}/env -S A=b {} -u"])
@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_the_first_line_of_a_script(hostile: Host, interpreter: str, line: str) -> None:
    elf_files.write(hostile.public / "env")
    path = hostile.fill(interpreter)
    asked = script(hostile.public / "script", hostile.fill(line.replace("{}", "<>")).replace("<>", path))
    with pytest.raises(LauncherError, match=f"^{re.escape(str(asked))}: its interpreter {re.escape(path)}"):
        closure_of(asked)


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_the_interpreter_of_a_program(hostile: Host, interpreter: str) -> None:
    path = hostile.fill(interpreter)
    asked = elf_files.write(hostile.public / "asked", interpreter=path)
    with pytest.raises(LauncherError, match=f"^{re.escape(str(asked))}: its interpreter {re.escape(path)}"):
        closure_of(asked)


@pytest.mark.parametrize(
    ("interpreter", "named"),
    [
        ("{private}/bin/program", "{private}/bin/program"),
        ("{private}/bin/program", "{private}"),
        ("{closed}/bin/script", "{closed}/bin"),
        ("{public}/link", "{private}/bin/program"),
        ("{public}/directory/script", "{private}"),
        ("{public}/bin/program", "{public}/text"),
        ("/bin/sh", "{public}/text"),
    ],
)
def test_what_was_asked_for_or_is_for_everybody_may_come(hostile: Host, interpreter: str, named: str) -> None:
    path = hostile.fill(interpreter)
    asked = script(hostile.public / "script", f"#!{path}")
    found = closure_of(asked, named=[Path(hostile.fill(named))])
    real = os.path.realpath(path)
    assert real in found.files
    assert (real in found.brought) == (not real.startswith(hostile.fill(named)))


LIBRARIES: list[tuple[list[str], dict[str, str]]] = [
    ([LIBRARY], {"runpath": "{private}/lib"}),
    ([LIBRARY], {"rpath": "{private}/lib"}),
    ([LIBRARY], {"runpath": "{closed}/lib"}),
    ([LIBRARY], {"runpath": "$ORIGIN/../private/lib"}),
    ([LIBRARY], {"rpath": "$ORIGIN{up}{private}/lib"}),
    ([LIBRARY], {"runpath": "{public}/libraries"}),
    (["{private}/lib/libx.so"], {}),
    (["$ORIGIN/../closed/lib/libx.so"], {}),
    (["../private/lib/libx.so"], {"runpath": "{public}"}),
    (["{public}/one"], {}),
]


@pytest.mark.parametrize(("needed", "paths"), LIBRARIES)
def test_libraries(host: Host, needed: list[str], paths: dict[str, str]) -> None:
    (host.public / "libraries").symlink_to(host.private / "lib")
    (host.public / "one").symlink_to(host.closed / "lib/libx.so")
    filled = {name: host.fill(path) for name, path in paths.items()}
    asked = elf_files.write(host.public / "asked", [host.fill(name) for name in needed], **filled)
    with pytest.raises(LauncherError, match="libx.so"):
        closure_of(asked)
    found = closure_of(asked, strict=False)
    assert found.files == {str(asked)}
    assert len(found.warnings) == ("../" not in needed[0][:3])  # a path that is relative is looked for nowhere
    if found.warnings:
        assert f"{asked}: needs a library, and " in found.warnings[0]
        directories = [host.private / "lib", host.closed / "lib"]
        named = closure_of(asked, named=directories)
        assert {path.parent for path in map(Path, named.files)} & {*directories}
        assert not named.brought


def test_a_library_for_everybody_is_taken_instead(host: Host) -> None:
    asked = elf_files.write(host.public / "asked", [LIBRARY], runpath=f"{host.private}/lib:{host.public}/lib")
    found = closure_of(asked)
    assert found.files == {str(asked), f"{host.public}/lib/{LIBRARY}"}
    assert found.brought == {f"{host.public}/lib/{LIBRARY}"}
    assert found.warnings == []


@pytest.mark.parametrize("name", ["LD_LIBRARY_PATH", "LD_PRELOAD"])
def test_libraries_of_the_environment_were_asked_for(host: Host, name: str) -> None:
    (host.private / "lib" / LIBRARY).rename(host.private / "lib/libx.so.1")
    (host.private / "lib" / LIBRARY).symlink_to("libx.so.1")
    value = {"LD_LIBRARY_PATH": f"{host.private}/lib/", "LD_PRELOAD": f"{host.private}/lib/libx.so.1"}[name]
    asked = elf_files.write(host.public / "asked", [LIBRARY] if name == "LD_LIBRARY_PATH" else [])
    closure = Closure({name: value})
    closure.add(str(asked))
    assert closure.files == {str(asked), f"{host.private}/lib/libx.so.1"}


def test_programs_of_the_path_were_asked_for(host: Host) -> None:
    elf_files.write(host.public / "env")
    asked = script(host.public / "script", f"#!{host.public}/env program")
    assert f"{host.private}/bin/program" in closure_of(asked, PATH=f"{host.private}/bin").files
    (host.private / "bin/program").rename(host.private / "other")
    (host.private / "bin/program").symlink_to("../other")
    with pytest.raises(LauncherError, match="its interpreter .*/bin/program is .*/other"):
        closure_of(asked, PATH=f"{host.private}/bin")


@pytest.mark.parametrize(
    "target", ["{private}/text", "{closed}/text", "../private/text", "/etc/shadow", "/proc/version"]
)
def test_links_that_were_asked_for(host: Host, target: str) -> None:
    """Whoever made a link decides where it leads: naming it is not naming that."""
    link = host.public / "asked"
    link.symlink_to(host.fill(target))
    with pytest.raises(LauncherError, match="what it leads to is .* name it in 'inputs'"):
        closure_of(link)
    closure = Closure({})
    with pytest.raises(LauncherError, match="store: .*: what it leads to"):
        closure.add_store(str(link))


def test_links_in_the_way_of_what_was_asked_for(host: Host) -> None:
    (host.private / "link").symlink_to(host.public)
    assert closure_of(host.private / "link/text").files == {f"{host.public}/text"}
    (host.public / "back").symlink_to(host.private)
    with pytest.raises(LauncherError, match="what it leads to is .*/private/text"):
        closure_of(host.public / "back/text")


def test_links_in_a_directory_that_was_asked_for(host: Host) -> None:
    targets = [
        "{private}/text",
        "../../private/text",
        "{closed}/text",
        "/etc/shadow",
        "/proc/1/environ",
        "/proc/version",
    ]
    for number, target in enumerate(targets):
        path = host.public / "data" / str(number)
        path.parent.mkdir(exist_ok=True)
        path.symlink_to(host.fill(target))
    (host.public / "data/good").symlink_to("../text")
    (host.public / "data/pipe").symlink_to("../pipe")
    os.mkfifo(host.public / "pipe")
    found = closure_of(host.public / "data")
    assert found.files == {f"{host.public}/text"}
    left_out = [path for path in targets if os.path.exists(os.path.join(host.public, "data", host.fill(path)))]
    assert len(found.warnings) == len(left_out) >= 4
    assert all("is left out" in warning for warning in found.warnings)
    assert f"{host.private}/text" in closure_of(host.public / "data", named=[host.private]).files


def test_warnings_are_few_and_can_be_shown(host: Host) -> None:
    data = host.public / "data"
    data.mkdir()
    for number in range(100):
        (data / f"\x1b[2J\n{number}").symlink_to(host.private / "text")
    found = closure_of(data)
    assert len(found.warnings) == 21
    assert found.warnings[-1] == "more is left out for the same reasons"
    assert all(warning.isprintable() for warning in found.warnings)


def environment_of(host: Host) -> Path:
    """Make a virtual environment, its interpreter a copy that everybody can run, and return its path."""
    place = host.public / "environment"
    elf_files.write(place / "bin/python3.11")
    (place / "lib").mkdir()
    return place


@pytest.mark.parametrize("target", ["{private}", "{private}/lib/python3.11", "/etc", "/", "{closed}/lib/python3.11"])
@pytest.mark.parametrize("link", ["lib/python3.11", "lib", "lib64"])
def test_a_library_of_python(host: Host, link: str, target: str) -> None:
    place = environment_of(host)
    filled = host.fill(target)
    if "/" not in link:
        (host.public / "way").mkdir()
        (host.public / "way" / VERSION).symlink_to(filled)
        filled = f"{host.public}/way"
    if link == "lib":
        (place / "lib").rmdir()
    (place / link).symlink_to(filled)
    with pytest.raises(LauncherError, match=f"its library {place}/{link.partition('/')[0]}/python3.11 is "):
        closure_of(place / "bin/python3.11")


@pytest.mark.parametrize("home", ["{private}/bin", "{public}/link", "{public}/base/bin"])
def test_the_home_of_an_environment(host: Host, home: str) -> None:
    place = environment_of(host)
    (host.public / "link").symlink_to(host.private / "bin")
    (host.public / "base/bin").mkdir(parents=True)
    (host.public / "base/lib").symlink_to(host.private / "lib")
    text(place / "pyvenv.cfg", f"home = {host.fill(home)}\n")
    with pytest.raises(LauncherError, match=r"is .*/private"):
        closure_of(place / "bin/python3.11")


@pytest.mark.parametrize("target", ["{private}/text", "{closed}/pyvenv.cfg", "/etc/shadow"])
def test_the_configuration_of_an_environment(host: Host, target: str) -> None:
    place = environment_of(host)
    (place / "pyvenv.cfg").symlink_to(host.fill(target))
    with pytest.raises(LauncherError, match="its configuration .*/pyvenv.cfg is "):
        closure_of(place / "bin/python3.11")


def test_a_program_of_an_environment_stands_for_all_of_it(host: Host) -> None:
    asked = script(host.private / "bin/tool", f"#!{host.private}/bin/python3.11")
    found = closure_of(asked)
    assert found.files == {str(asked), f"{host.private}/bin/python3.11", f"{host.private}/pyvenv.cfg"}
    assert found.directories == {f"{host.private}/lib/{VERSION}"}
    assert not found.brought


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another user")
def test_another_users_mark_makes_no_environment(host: Host) -> None:
    asked = script(host.private / "bin/tool", f"#!{host.private}/bin/python3.11")
    os.chown(host.private / "pyvenv.cfg", 23456, 23456)
    with pytest.raises(LauncherError, match="its interpreter .* name it in 'inputs'"):
        closure_of(asked)


@pytest.mark.parametrize("item", ["link", "chain"])
def test_links_of_a_managed_store(host: Host, item: str) -> None:
    """What they lead to is the store's, or it is not shared."""
    store = host.public / "store"
    text(store / "abc/text", "")
    (store / "link").symlink_to(host.private)
    (store / "chain").symlink_to(store / "link")
    (store / "inner").symlink_to("abc")
    (store / "abc/out").symlink_to(host.private / "bin/program")
    closure = Closure({}, items=str(store))
    closure.add(str(store / "abc/text"))
    closure.add_requisites(lambda items: [*items, str(store / item), str(store / "inner")])
    assert closure.directories == {str(store / "abc")}
    assert not closure.files
    with pytest.raises(LauncherError, match=r"abc/out: what it leads to is .*/private/bin/program"):
        closure.add(str(store / "abc/out"))


def test_inputs_and_mappings_are_asked_for(host: Host) -> None:
    asked = script(host.public / "script", f"#!{host.private}/bin/program")
    for given in ({"inputs": [f"{host.private}/bin/program"]}, {"mappings": [f"{host.private}=/elsewhere"]}):
        found = run.find_closure(Request(parameters(argv=[str(asked)], closure="elf", **given)), lambda items: items)
        assert f"{host.private}/bin/program" in found.files
    with pytest.raises(LauncherError, match="script: its interpreter .* is not for everybody"):
        run.find_closure(Request(parameters(argv=[str(asked)], closure="elf")), lambda items: items)
    files = {"/made": {"content": f"#!{host.private}/bin/program\n", "mode": "0755"}}
    with pytest.raises(LauncherError, match="/made: its interpreter"):
        run.find_closure(Request(parameters(argv=["/made"], files=files)), lambda items: items)


def test_a_brought_directory_does_not_hide_what_was_asked_for() -> None:
    closure = Closure({})
    closure.directories = {"/usr/lib/python3", "/usr/lib/python3/inner", "/opt/tool"}
    closure.files = {"/usr/lib/python3/asked", "/usr/lib/python3/brought", "/opt/tool/brought"}
    closure.brought = {"/usr/lib/python3", "/usr/lib/python3/brought", "/opt/tool/brought"}
    closure.prune()
    assert closure.directories == {"/usr/lib/python3", "/usr/lib/python3/inner", "/opt/tool"}
    assert closure.files == {"/usr/lib/python3/asked"}
    assert closure.brought == {"/usr/lib/python3"}


def test_linkers_of_linkers_end(host: Host) -> None:
    """The kernel asks for the first only."""
    for number in range(2000):
        elf_files.write(host.public / f"chain/{number}", interpreter=f"{host.public}/chain/{number + 1}")
    found = closure_of(host.public / "chain/0")
    assert found.files == {f"{host.public}/chain/{number}" for number in (0, 1)}
