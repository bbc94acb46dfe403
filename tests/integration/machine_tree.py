# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Trees for tests, made once by mmdebstrap and kept by the hash of their recipe.

Each has a repository of packages that can be installed from it, in `/srv/packages`, so that no test asks a mirror.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import tempfile
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host import facts, preflight
from ansible_collections.unshare.container.plugins.module_utils.launcher.specification import read_spec

if t.TYPE_CHECKING:
    from .conftest import Machine, MakeMachine

CACHE = Path(__file__).parents[2] / ".cache" / "trees"
PACKAGES = ("dbus", "python3", "python3-apt", "systemd-sysv")
SUITES = ("bookworm", "trixie")
"""Those that `make` has trees of, beside that of this machine's own distribution."""
EPHEMERAL: t.Any = "machine"
KEPT = {"kind": "machine", "layer": "kept"}
LEFT_OUT = ("doc", "info", "locale", "man")
SECONDS = 600

OFFER = """
set -eu
archives="$1/var/cache/apt/archives" offered="$1/srv/packages"
rm -f "$archives"/*.deb
APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get --yes --quiet --download-only install nginx-light
mkdir "$offered"
find "$archives" -name '*.deb' -exec mv -t "$offered" {} +
cd "$offered"
find . -name '*.deb' | LC_ALL=C sort | while read -r file; do
    dpkg-deb --field "$file"
    digest=$(sha256sum < "$file" | cut -c-64)
    printf 'Filename: %s\\nSize: %s\\nSHA256: %s\\n\\n' "$file" "$(stat -c %s "$file")" "$digest"
done > Packages
rm -rf "$1"/etc/apt/sources.list.d/*
echo 'deb [trusted=yes] file:/srv/packages ./' > "$1/etc/apt/sources.list"
"""
"""Keep nginx-light, with all that it needs beyond the tree, as the tree's one source of packages."""


def recipe(suite: str = "", packages: t.Sequence[str] = PACKAGES) -> list[str]:
    """Return the command that makes a tree, but for the directory. Without a suite it is this machine's own."""
    return [
        "mmdebstrap",
        "--mode=root",
        "--variant=minbase",
        "--format=directory",
        f"--include={','.join(packages)}",
        *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in LEFT_OUT),
        f"--customize-hook={OFFER}",
        suite or platform.freedesktop_os_release()["VERSION_CODENAME"],
    ]


def made(suite: str = "", packages: t.Sequence[str] = PACKAGES) -> Path:
    """Return a tree, which is made if this machine has none of this recipe. Nobody may change it.

    `make` has those of `SUITES` and of this machine's distribution made before the tests, which ask nobody outside.
    """
    command = recipe(suite, packages)
    tree = CACHE / hashlib.sha256("\0".join(command).encode()).hexdigest()[:16]
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not tree.is_dir():
            with tempfile.TemporaryDirectory(dir=CACHE, prefix="making-") as directory:
                subprocess.run([*command, f"{directory}/tree"], check=True, timeout=SECONDS)
                os.rename(f"{directory}/tree", tree)
    return tree


@contextlib.contextmanager
def copied(*without: str) -> t.Iterator[Path]:
    """Give a copy of the tree that a test may change by replacing files: they are the same ones until then.

    Args:
        without: patterns of paths that it does not have.
    """
    tree = made()
    copy = Path(tempfile.mkdtemp(dir=CACHE, prefix="copy-"))
    try:
        subprocess.run(["cp", "--archive", "--link", f"{tree}/.", str(copy)], check=True, timeout=SECONDS)
        for pattern in without:
            for path in copy.glob(pattern):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
        yield copy
    finally:
        shutil.rmtree(copy)


def state(tree: Path) -> dict[str, t.Any]:
    """Return what would show a change of any file of a tree."""
    found: dict[str, t.Any] = {}
    for directory, directories, names in os.walk(tree):
        for name in [*directories, *names]:
            path = os.path.join(directory, name)
            status = os.lstat(path)
            times = (status.st_mtime_ns,) if stat.S_ISDIR(status.st_mode) else (status.st_mtime_ns, status.st_ino)
            found[path] = (status.st_mode, status.st_uid, status.st_gid, status.st_size, *times)
    return found


@contextlib.contextmanager
def unchanged() -> t.Iterator[Path]:
    """Give the tree, which must be the same afterwards."""
    path = made()
    before = state(path)
    yield path
    after = state(path)
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert not changed, changed


@pytest.fixture(scope="module")
def unchanged_tree() -> t.Iterator[Path]:
    """Give the tree, which must be the same after all tests of a file."""
    with unchanged() as path:
        yield path


def machine_of(
    make_machine: MakeMachine, tree: Path, root: t.Any = EPHEMERAL, declared: t.Any = None, **options: t.Any
) -> Machine:
    """Make a container whose root is a tree."""
    return make_machine(declared, **{"store": f"{tree}/usr", "root": root, **options})


def layer_of(machine: Machine) -> Path:
    """Return the directory of its kept layer on the host."""
    return Path(machine.container.directory, "layer")


def problems(machine: Machine) -> list[str]:
    """Return what a deployment would say of this host."""
    return preflight.problems(facts.HostFacts(), read_spec(str(machine.system)))


if __name__ == "__main__":
    for each in ("", *SUITES):
        print(made(each))
