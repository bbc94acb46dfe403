# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A store that lies in a tree which nobody vouches for: its links beside the store mean the tree, never the host."""

from __future__ import annotations

import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host_files import HOST_FILES
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError

from . import isolation_record
from .isolation import MODES, make_hostile

if t.TYPE_CHECKING:
    from .conftest import MakeMachine

pytestmark = pytest.mark.root

NAME = "test-isolation-trees"
SECRET = "secret of the host"
SHOW = 'for path; do [ -d "$path" ] && cat "$path"/secret; [ -f "$path" ] && head -c 200 "$path"; done'


@pytest.fixture
def tree(tmp_path: Path) -> t.Iterator[Path]:
    """A tree whose `usr` is the host's, so that it boots."""
    path = tmp_path / "tree"
    for name in ("usr", "etc"):
        (path / name).mkdir(parents=True)
    subprocess.run(["mount", "--bind", "/usr", str(path / "usr")], check=True, timeout=60)
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path / "usr")], check=True, timeout=60)


def place(tree: Path, path: str, target: str) -> None:
    """Put a link in the tree in place of what was there."""
    link = tree / path.lstrip("/")
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to("../" * (len(link.relative_to(tree).parts) - 2) + target if target == "chain/secret" else target)


@pytest.mark.parametrize("mode", MODES)
def test_links_beside_a_store_mean_its_tree(make_machine: MakeMachine, tmp_path: Path, tree: Path, mode: str) -> None:
    """Every file that is taken from there, as a link to each secret: none is readable inside, and no start breaks."""
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0o700)
    (hidden / "secret").write_text(SECRET)
    (hidden / "secret").chmod(0o600)
    (tree / "etc" / "real").write_text("of the tree\n")
    (tree / "etc" / "chain").symlink_to("../" * 9 + str(hidden).lstrip("/"))
    links = {
        "a secret file": str(hidden / "secret"),
        "a secret directory": str(hidden),
        "a path upward": "../" * 40 + str(hidden / "secret").lstrip("/"),
        "a chain of links": "chain/secret",
        "/proc/self/environ": "/proc/self/environ",
        "/proc/self/root": f"/proc/self/root{hidden}/secret",
        "/proc/kallsyms": "/proc/kallsyms",
        "a descriptor": "/proc/self/fd/3",
        "the tree's own": "/etc/real",
    }
    machine = make_hostile(make_machine, mode, NAME, tmp_path / "data", store=f"{tree / 'usr'}=/usr")
    words: dict[str, str] = {}
    for names in (list(links)[:7], ["a descriptor"], ["the tree's own"]):
        files = {path: names[number % len(names)] for number, path in enumerate(sorted(HOST_FILES))}
        for path, name in files.items():
            place(tree, path, links[name])
        try:
            machine.start(timeout=20)
        except LauncherError:
            words |= {name: "does not start" if name == "the tree's own" else "refused" for name in names}
            continue
        for name in names:
            own = [path for path in files if files[path] == name]
            seen = machine.run("sh", "-c", SHOW, "sh", *own).stdout.replace("of the tree\n", "")
            words[name] = "ok" if seen else "refused"
        if names == ["the tree's own"]:
            whole = machine.run("cat", *files).stdout.count("of the tree\n") == len(files)
            words["the tree's own"] = "inside" if whole else "not the tree's"
        machine.stop(10)
    words = {f"a link beside the store to {name}": word for name, word in words.items()}
    isolation_record.check(mode, "trees", "tree", words)
