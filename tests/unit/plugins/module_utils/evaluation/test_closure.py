# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Closures of programs, of scripts, of Python, and of links that lead anywhere."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.evaluation import programs
from ansible_collections.unshare.container.plugins.module_utils.evaluation.closure import Closure
from ansible_collections.unshare.container.plugins.module_utils.launcher import paths
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.tests.unit.plugins.module_utils.evaluation import elf_files
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture
def tmp_path() -> t.Iterator[Path]:
    """Yield a directory that everybody on the host can look into, as they can into one with software."""
    directory = Path(os.path.realpath(tempfile.mkdtemp(prefix="test-closure-")))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


def closure_of(*paths: Path, strict: bool = True, items: str | None = None, **environment: str) -> Closure:
    closure = Closure(environment, strict, items)
    for path in paths:
        closure.add(str(path))
    return closure


def test_libraries_of_libraries_interpreter_and_links(tmp_path: Path) -> None:
    lib = tmp_path / "lib"
    linker = elf_files.write(lib / "ld-real.so")
    (lib / "ld.so").symlink_to("ld-real.so")
    elf_files.write(lib / "liba.so.1.2", ["libb.so"], soname="liba.so.1", runpath="$ORIGIN/deep")
    (lib / "liba.so.1").symlink_to("liba.so.1.2")
    elf_files.write(lib / "deep/libb.so")
    program = elf_files.write(
        tmp_path / "bin/real", ["liba.so.1"], interpreter=f"{lib}/ld.so", runpath="$ORIGIN/../lib"
    )
    (tmp_path / "bin/program").symlink_to(program)
    found = closure_of(tmp_path / "bin/program")
    assert found.files == {str(linker), str(lib / "liba.so.1.2"), str(lib / "deep/libb.so"), str(program)}
    assert found.links == {
        str(lib / "ld.so"): "ld-real.so",
        str(lib / "liba.so.1"): "liba.so.1.2",
        str(tmp_path / "bin/program"): str(program),
    }


def test_a_library_that_is_loaded_already_is_not_searched(tmp_path: Path) -> None:
    """A program's runpath is not its libraries', yet what it has loaded satisfies them."""
    elf_files.write(tmp_path / "lib/libprivate.so.1.0", soname="libprivate.so.1")
    (tmp_path / "lib/libfirst.so").symlink_to("libprivate.so.1.0")
    elf_files.write(tmp_path / "lib/libsecond.so", ["libprivate.so.1"])
    program = elf_files.write(tmp_path / "program", ["libfirst.so", "libsecond.so"], runpath="$ORIGIN/lib")
    assert str(tmp_path / "lib/libsecond.so") in closure_of(program).files


GROWTH: dict[str, t.Callable[[Closure, str], None]] = {
    "add": lambda closure, path: closure.add(path),
    "add_if_present": lambda closure, path: closure.add_if_present([path]),
    "add_store": lambda closure, path: closure.add_store(path),
    "add_script": lambda closure, path: closure.add_script("/x", f"#!{path}"),
    "add_requisites": lambda closure, path: closure.add_requisites(lambda _items: [path]),
}


@pytest.mark.parametrize("grow", GROWTH.values(), ids=GROWTH)
def test_nothing_is_looked_at_when_the_time_is_over(grow: t.Callable[[Closure, str], None]) -> None:
    closure = Closure({}, deadline=time.monotonic())
    closure.requested.add("/usr/bin/env")
    with pytest.raises(LauncherError, match="timeout: it was over before all that the command needs was found"):
        grow(closure, "/usr/bin/env")
    assert closure.paths() == []


def test_the_search_itself_ends_in_time(tmp_path: Path) -> None:
    names = [(elf_files.AUXILIARY, f"lib{number}.so") for number in range(320)]
    program = elf_files.write(tmp_path / "program", more=names, runpath=":".join(f"/{n}" for n in range(100)))
    begun = time.monotonic()
    with pytest.raises(LauncherError, match="timeout: it was over"):
        Closure({}, deadline=begun + 0.05).add(str(program))
    assert time.monotonic() - begun < 0.5


def test_a_directory_of_any_depth(tmp_path: Path) -> None:
    deepest, levels = str(tmp_path / "top"), (os.pathconf(tmp_path, "PC_PATH_MAX") - 200 - len(str(tmp_path))) // 2
    for _level in range(levels):
        os.mkdir(deepest)
        deepest += "/d"
    (tmp_path / "library").write_text("")
    os.symlink(tmp_path / "library", deepest)
    assert levels > 1000
    try:
        assert str(tmp_path / "library") in closure_of(tmp_path / "top").files
    finally:
        paths.remove_tree(str(tmp_path / "top"))


def test_a_missing_library(tmp_path: Path) -> None:
    program = elf_files.write(tmp_path / "program", ["libmissing.so.7"])
    with pytest.raises(LauncherError, match=r"program: needs the library libmissing.so.7, which is not on this host"):
        closure_of(program)
    assert closure_of(program, strict=False).files == {str(program)}
    filtering = elf_files.write(tmp_path / "filter", filtered="libmissing.so.7")
    assert closure_of(filtering).files == {str(filtering)}


def test_libraries_of_the_environment(tmp_path: Path) -> None:
    library = elf_files.write(tmp_path / "lib/libneeded.so")
    preloaded = elf_files.write(tmp_path / "preloaded.so")
    program = elf_files.write(tmp_path / "program", ["libneeded.so"])
    found = closure_of(program, LD_LIBRARY_PATH=str(tmp_path / "lib"), LD_PRELOAD=str(preloaded))
    assert found.files == {str(program), str(library), str(preloaded)}


@pytest.mark.parametrize(
    "line", ["#!{path}", "#! {path} -e", "#!{directory}/env interpreter", "#!{directory}/env -S A=b interpreter -u"]
)
def test_a_script_needs_its_interpreter(tmp_path: Path, line: str) -> None:
    directory = tmp_path / "bin"
    interpreter = elf_files.write(directory / "interpreter")
    env = elf_files.write(directory / "env")
    script = tmp_path / "script"
    script.write_text(line.format(path=interpreter, directory=directory) + "\n")
    wanted = {str(script), str(interpreter)} | ({str(env)} if "env" in line else set())
    assert closure_of(script, PATH=str(directory)).files == wanted


def test_scripts_of_scripts_end(tmp_path: Path) -> None:
    for number in range(8):
        (tmp_path / f"s{number}").write_text(f"#!{tmp_path}/s{number + 1}\n")
        (tmp_path / f"s{number}").chmod(0o755)
    with pytest.raises(LauncherError, match="its interpreter is a script"):
        closure_of(tmp_path / "s0")
    (tmp_path / "self").write_text(f"#!{tmp_path}/self\n")
    (tmp_path / "self").chmod(0o755)
    assert closure_of(tmp_path / "self").files == {str(tmp_path / "self")}


def test_a_script_whose_interpreter_is_missing(tmp_path: Path) -> None:
    (tmp_path / "script").write_text("#!/does/not/exist\n")
    with pytest.raises(LauncherError, match="/does/not/exist: No such file or directory"):
        closure_of(tmp_path / "script")


def test_python_and_its_virtual_environment(tmp_path: Path) -> None:
    base, venv = tmp_path / "base", tmp_path / "venv"
    elf_files.write(base / "lib/libused.so")
    interpreter = elf_files.write(base / "bin/python3.11", runpath="$ORIGIN/../lib")
    module = elf_files.write(base / "lib/python3.11/lib-dynload/_used.so", ["libused.so", "libabsent.so"])
    (base / "etc").mkdir()
    (base / "etc/site.py").write_text("")
    (base / "lib/python3.11/site.py").symlink_to("../../etc/site.py")
    (base / "lib/python3.11/all").symlink_to("/")
    (base / "lib/python3.9").mkdir()
    (venv / "bin").mkdir(parents=True)
    (venv / "lib/python3.11/site-packages").mkdir(parents=True)
    (venv / "bin/python").symlink_to(interpreter)
    (venv / "pyvenv.cfg").write_text(f"home = {base}/bin\n")
    found = closure_of(venv / "bin/python")
    assert found.directories == {str(base / "lib/python3.11"), str(venv / "lib/python3.11")}
    # Its extension modules are loaded by it, but the runpath of the program is its own.
    assert found.files == {str(interpreter), str(base / "etc/site.py"), str(venv / "pyvenv.cfg")}
    module.write_bytes(elf_files.elf(["libused.so", "libabsent.so"], runpath="$ORIGIN/../.."))
    assert str(base / "lib/libused.so") in {os.path.realpath(path) for path in closure_of(venv / "bin/python").files}


def test_a_store_item_is_asked_for_as_a_whole(tmp_path: Path) -> None:
    store = tmp_path / "store"
    elf_files.write(store / "abc-hello/bin/hello", ["libnot-looked-for.so"])
    (tmp_path / "profile").symlink_to(store / "abc-hello")
    found = closure_of(tmp_path / "profile/bin/hello", items=str(store))
    assert found.requested == {str(store / "abc-hello")}
    (store / "def-libc").mkdir()
    (store / "ghi-file").write_text("")
    found.add_requisites(lambda items: [*items, str(store / "def-libc"), str(store / "ghi-file")])
    assert found.directories == {str(store / "abc-hello"), str(store / "def-libc")}
    assert found.files == {str(store / "ghi-file")}
    assert found.links == {str(tmp_path / "profile"): str(store / "abc-hello")}


def test_prune_leaves_out_what_is_there_anyway(tmp_path: Path) -> None:
    closure = Closure({})
    closure.directories = {"/usr", "/usr/lib/python3", "/opt/tool"}
    closure.files = {"/usr/bin/env", "/etc/passwd", "/etc/hosts"}
    closure.links = {"/bin": "usr/bin", "/usr/bin/sh": "dash"}
    closure.prune(["/etc/passwd", "/opt"])
    assert (closure.directories, closure.files, closure.links) == ({"/usr"}, {"/etc/hosts"}, {"/bin": "usr/bin"})


def test_special_files_and_the_root_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LauncherError, match="neither a file nor a directory"):
        closure_of(Path("/dev/null"))
    (tmp_path / "everything").symlink_to("/")
    with pytest.raises(LauncherError, match="is the root directory"):
        closure_of(tmp_path / "everything")


def test_the_switch_names_modules(tmp_path: Path) -> None:
    path = tmp_path / "nsswitch.conf"
    path.write_text(
        "# comment: nis\npasswd: files systemd # ldap\nhosts: files [!UNAVAIL=return] mdns4_minimal dns\n\nx\n"
    )
    names = ["files", "systemd", "mdns4_minimal", "dns"]
    assert programs.switch_modules(str(path)) == [f"libnss_{name}.so.2" for name in names]
    assert programs.switch_modules(str(tmp_path / "missing")) == ["libnss_files.so.2", "libnss_dns.so.2"]


def test_programs_are_found_in_the_path(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "one/tool").write_text("")
    elf_files.write(tmp_path / "two/tool")
    path = f".::{tmp_path}/one:{tmp_path}/two"
    assert programs.find_program("tool", path) == str(tmp_path / "two/tool")
    with pytest.raises(LauncherError, match="other: no such program in"):
        programs.find_program("other", path)


NAMES = st.sampled_from(["a", "b", "c", "d"])
TARGETS = st.lists(st.sampled_from(["a", "b", "c", "d", "..", ".", "", "sub"]), min_size=1, max_size=4).map("/".join)


@given(st.dictionaries(NAMES, TARGETS, max_size=4), st.booleans(), TARGETS)
def test_links_are_followed_as_the_kernel_does(links: dict[str, str], absolute: bool, path: str) -> None:
    """Also those that lead in circles: they are an error, and end."""
    directory = os.path.realpath(tempfile.mkdtemp(prefix="test-closure-"))
    try:
        os.chmod(directory, 0o755)
        os.mkdir(f"{directory}/sub")
        Path(directory, "sub/a").write_text("")
        for name, target in links.items():
            if target:
                os.symlink(f"{directory}/{target}" if absolute else target, f"{directory}/{name}")
        for name in {"a", "b"} - set(links):
            Path(directory, name).write_text("")
        asked = f"{directory}/{path}"
        closure = Closure({})
        try:
            real = os.path.realpath(asked, strict=True)
            os.stat(asked)
        except OSError:
            with pytest.raises(LauncherError):
                closure.add(asked)
            return
        if not real.startswith(directory):
            return  # the directory of all temporary files
        closure.add(asked)
        assert real in closure.files | closure.directories
        for place, target in closure.links.items():
            assert os.readlink(place) == target
    finally:
        shutil.rmtree(directory)
