# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""No process of ours steps into the file tree of a container while it can import modules."""

from __future__ import annotations

import ast
import subprocess
import sys
import types
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import launch, linux, loading, mount_calls

from .forks import in_fork

PLUGINS = Path(__file__).parents[5] / "plugins"

HOME = {
    "launcher/excursion.py": 1,  # the way back of an excursion
    "launcher/records.py": 2,  # the host's mounts, for a mapping to which they propagate, and back to the private ones
    "inside/mending.py": 1,  # back from the container
}
"""How often a file says that a mount namespace is none of a container's."""


def can_import() -> bool:
    try:
        import colorsys  # noqa: F401
    except ImportError:
        return False
    return True


def test_nothing_more_can_be_imported_until_it_is_back() -> None:
    def work() -> None:
        for again in (False, True):
            sys.modules.pop("colorsys", None)
            loading.load_nothing_more()
            if again:
                loading.load_nothing_more()
            assert not can_import()
            loading.load_again()
            assert can_import()
        loading.load_again()
        sys.modules.pop("colorsys")
        assert can_import()

    assert in_fork(work) == 0


class FirstProcessMadeError(Exception):
    """The first process was about to be made."""


@pytest.mark.parametrize("is_machine", [False, True])
def test_no_process_of_a_start_can_import_from_the_moment_on_that_there_are_two(is_machine: bool) -> None:
    def clone(self: launch.Launch, relation: int) -> int:
        assert not can_import()
        raise FirstProcessMadeError

    def work() -> None:
        sys.modules.pop("colorsys", None)
        launch.Launch._clone = clone  # type: ignore[method-assign]
        launch.FirstProcess = t.cast("t.Any", lambda _plan, _noted: None)  # type: ignore[misc]
        plan = types.SimpleNamespace(spec=types.SimpleNamespace(root=types.SimpleNamespace(is_machine=is_machine)))
        with pytest.raises(FirstProcessMadeError):
            launch.Launch(t.cast("t.Any", plan))._build((-1, -1), (-1, -1), 0.0, linux.SIGCHLD)

    assert in_fork(work) == 0


def test_all_functions_of_the_c_library_are_looked_up_at_once() -> None:
    """A first process's pages are its parent's until it writes to them, and a look-up writes to many."""
    used = {
        node.attr
        for path in PLUGINS.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("libc", "linux.libc")
    }
    program = f"from {linux.__name__} import libc; print(*vars(libc))"
    looked_up = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert "sethostname" in used
    assert used - set(looked_up.split()) == set()


STEPS: dict[str, t.Callable[[], object]] = {
    "a mount namespace": lambda: linux.setns(-1, linux.CLONE_NEWNS),
    "several namespaces": lambda: linux.setns(-1, linux.CLONE_NEWNS | linux.CLONE_NEWPID),
    "a root": lambda: mount_calls.pivot_root("/nowhere", "/nowhere"),
}


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS.keys())
@pytest.mark.parametrize("kept", ["meta_path", "path_hooks", "path", ""])
def test_a_step_is_refused_while_modules_can_be_imported(step: t.Callable[[], object], kept: str) -> None:
    def work() -> None:
        value = list(getattr(sys, kept)) if kept else []
        loading.load_nothing_more()
        if kept:
            getattr(sys, kept)[:] = value
        try:
            step()
        except RuntimeError:
            assert kept
        except OSError:
            assert not kept  # the kernel was asked

    assert in_fork(work) == 0


def test_other_namespaces_and_those_of_the_host_may_be_joined() -> None:
    for flags, home in ((linux.CLONE_NEWNET, False), (linux.CLONE_NEWNS, True)):
        with pytest.raises(OSError, match="setns"):
            linux.setns(-1, flags, home=home)


def called(tree: ast.AST) -> t.Iterator[tuple[str, ast.Call]]:
    """Yield each call with the name that is called, without what it is an attribute of."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            yield name, node


def test_there_is_no_other_way_in() -> None:
    """Only the wrappers of the system calls make them, and who says that a namespace is the host's is listed."""
    home: dict[str, int] = {}
    raw = []
    for path in PLUGINS.rglob("*.py"):
        text = path.read_text()
        place = str(path.relative_to(PLUGINS)).replace("module_utils/", "")
        for name, call in called(ast.parse(text)):
            if name == "setns" and any(word.arg == "home" for word in call.keywords):
                home[place] = home.get(place, 0) + 1
            whole = ast.unparse(call.func)
            if (name == "setns" and whole != "linux.setns") or name in ("chroot", "fchroot"):
                raw.append((place, whole))
    assert home == HOME
    # The way back of an excursion ends in the root that the process had.
    assert sorted(raw) == [("launcher/excursion.py", "os.chroot"), ("launcher/linux.py", "libc.setns")]
