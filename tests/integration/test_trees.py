# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""T1, T2: trees made by real programs, from packages of the tests' own; containers that run them, and follow them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tarfile
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout, TargetError
from ansible_collections.unshare.container.plugins.module_utils.trees.kinds_of_sources import TREE_SOURCES
from ansible_collections.unshare.container.plugins.module_utils.trees.making import TreeMaking
from ansible_collections.unshare.container.tests import followed

from .conftest import INTERPRETER
from .playbooks import REPOSITORY

pytestmark = [pytest.mark.root, pytest.mark.timeout(300), pytest.mark.usefixtures("host_unchanged")]

NAME = "test-trees"
TREE = "unshare.container.tree"
PROGRAMS = ("sh", "cat", "sleep", "mkdir", "chmod", "chown", "ln", "rm", "touch")
WAITING = {"argv": ["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"]}
STATUS = "Package: hello\nStatus: install ok installed\nArchitecture: all\nVersion: {version}\n\n"
PACKAGE = """\
Package: hello-of-test
Version: {version}
Architecture: all
Maintainer: nobody <nobody@example.org>
Description: for the tests
"""


def make_bootable(tree: Path, version: str) -> None:
    """Make a directory that holds a tree with a shell, a few programs, and what these are linked with."""
    for name in ("usr/bin", "usr/share/hello", "etc", "var/lib/dpkg"):
        (tree / name).mkdir(parents=True, exist_ok=True)
    for program in PROGRAMS:
        real = Path("/usr/bin", program).resolve()
        shutil.copy2(real, tree / "usr/bin" / program)
        linked = subprocess.run(["ldd", str(real)], capture_output=True, text=True, check=True, timeout=60).stdout
        for library in map(Path, re.findall(r"(/\S+) \(0x", linked)):
            place = tree / "usr" / str(library).removeprefix("/usr").lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(library.resolve(), place)
    for name in ("bin", "sbin", "lib", "lib64"):
        if (tree / "usr" / name).is_dir() and not (tree / name).is_symlink():
            (tree / name).symlink_to(f"usr/{name}")
    (tree / "usr/share/hello/text").write_text(f"version {version}\n")
    (tree / "var/lib/dpkg/status").write_text(STATUS.format(version=version))


def making(root: Path, kind: str | None, given: dict[str, t.Any] | None = None, timeout: float = 60.0) -> TreeMaking:
    """Return what makes the tree NAME on a host below a root."""
    source = None if kind is None else TREE_SOURCES[kind](given or {})
    return TreeMaking(Layout(root), NAME, source, 1 << 30, timeout)


def left(root: Path) -> set[str]:
    """Return what lies where trees are kept, but what names lead to."""
    trees = Layout(root).trees
    return set(os.listdir(trees)) - {"names"} if trees.is_dir() else set()


class Played:
    """Tasks that run one after the other in one play on this machine."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.tasks: list[dict[str, t.Any]] = []
        self.names: list[str] = []

    def task(self, name: str, module: str, options: dict[str, t.Any], **more: t.Any) -> None:
        self.names.append(name)
        self.tasks.append({"name": name, module: options, "register": name, "ignore_errors": True, **more})

    def tree(self, name: str, **options: t.Any) -> None:
        """Add a task that brings the tree into a state."""
        self.task(name, "unshare.container.tree", {"name": NAME, **options})

    def box(self, name: str, **options: t.Any) -> None:
        """Add a task that brings the container into a state."""
        machine = {"host_name": NAME}
        entry = {"operating_system": machine, "store": {"tree": NAME}, "init": WAITING, **options}
        self.task(name, "unshare.container.containers", {"containers": {NAME: entry}}, diff=True)

    def says(self, name: str) -> None:
        """Add a task that asks the container which version it has."""
        script = f"/var/lib/unshare/containers/{NAME}/current/enter-container"
        self.task(name, "ansible.builtin.command", {"argv": [script, "--", "cat", "/usr/share/hello/text"]})

    def run(self) -> dict[str, t.Any]:
        """Run the tasks. Return their results by their names."""
        out = self.directory / "results.json"
        results = "{{ {%s} | to_json }}" % ", ".join(f"'{name}': {name}" for name in self.names)
        last = {"ansible.builtin.copy": {"dest": str(out), "content": results, "mode": "0600"}}
        play = {
            "hosts": "localhost",
            "connection": "local",
            "gather_facts": False,
            "vars": {"ansible_python_interpreter": INTERPRETER},
            "tasks": [*self.tasks, last],
        }
        (self.directory / "play.json").write_text(json.dumps([play]))
        environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(REPOSITORY / ".collections"),
            "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"),
            "LC_ALL": "C.UTF-8",
        }
        command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "localhost,", "play.json"]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=240, env=environment, cwd=self.directory, check=False
        )
        assert out.exists(), done.stdout + done.stderr
        found: dict[str, t.Any] = json.loads(out.read_text())
        return found


def part(result: dict[str, t.Any], title: str) -> list[dict[str, str]]:
    """Return the parts of a difference with a title."""
    return [each for each in result.get("diff", []) if each.get("before_header") == title]


def test_t1_t2_a_container_follows_its_tree_and_goes_back_with_its_system(tmp_path: Path) -> None:
    """One play: a tree that is missing, made, used, renewed, rolled back, taken away, and nothing of it left."""
    first, second = tmp_path / "first", tmp_path / "second"
    make_bootable(first, "1")
    make_bootable(second, "2")
    play = Played(tmp_path)
    play.box("without")
    play.box("foreseen", state="started")
    play.tasks[-1]["check_mode"] = True
    play.tree("made", directory=str(first))
    play.tree("made_again", directory=str(first))
    play.box("started")
    play.says("one")
    play.box("started_again")
    play.tree("renewed", directory=str(second))
    play.says("still_one")
    play.box("switched")
    play.says("two")
    play.box("back", state="rolled_back")
    play.says("one_again")
    play.task("info", "unshare.container.tree_info", {"name": [NAME]})
    play.task("of_container", "unshare.container.system_container_info", {"name": NAME})
    play.tree("gone", state="absent")
    play.box("without_again")
    play.box("removed", state="absent")
    play.task("nothing", "unshare.container.tree_info", {})
    done = play.run()

    assert "store.tree: this host has no tree 'test-trees'" in done["without"]["msg"]
    assert "nothing was changed" in done["without"]["msg"]
    assert done["foreseen"]["changed"]
    assert any("store.tree: this host has no tree" in said for said in done["foreseen"]["warnings"])
    assert done["made"]["changed"], done["made"]
    assert not done["made_again"]["changed"]
    assert done["started"]["changed"], done["started"]
    assert not done["started_again"]["changed"]
    assert [done[name]["stdout"] for name in ("one", "still_one", "two", "one_again")] == [
        "version 1",
        "version 1",
        "version 2",
        "version 1",
    ]
    contents = [done["made"]["content"], done["renewed"]["content"]]
    assert done["renewed"]["package_changes"] == [{"name": "hello", "before": "1", "after": "2"}]
    texts = [f"{NAME} at {content}\nhello {version}\n" for content, version in zip(contents, "12", strict=True)]
    (shown,) = part(done["switched"], "store")
    assert (shown["before"], shown["after"]) == (texts[0], texts[1])
    assert part(done["switched"], "mounts") == []
    (shown,) = part(done["back"], "store")
    assert (shown["before"], shown["after"]) == (texts[1], texts[0])
    assert done["back"]["containers"][0]["store"]["content"] == contents[0]
    (told,) = done["info"]["trees"]
    assert told["content"] == contents[1]
    assert told["systems"] == [os.path.basename(done["switched"]["containers"][0]["system"])]
    (told,) = [each for each in done["info"]["unnamed"] if each["content"] == contents[0]]
    assert told["systems"] == [os.path.basename(done["started"]["containers"][0]["system"])]
    (told,) = done["of_container"]["containers"]
    assert [each["store"]["content"] for each in told["generations"]] == contents
    assert told["store"] == {"source": f"{done['made']['root']}/usr", "tree": NAME, "content": contents[0]}
    assert done["gone"]["changed"]
    assert any("its content stays" in said for said in done["gone"]["warnings"])
    assert done["without_again"]["failed"]
    assert done["removed"]["changed"]
    for content in contents:
        assert content not in left(Path("/"))
    assert NAME not in [each["name"] for each in done["nothing"]["trees"]]


class PackageSource:
    """A repository of packages, without signatures, in a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "repository").mkdir(parents=True)

    def add(self, version: str) -> None:
        """Make the package of a version, and let the repository offer that one."""
        package, repository = self.directory / "package", self.directory / "repository"
        (package / "DEBIAN").mkdir(parents=True, exist_ok=True)
        (package / "usr/share/hello").mkdir(parents=True, exist_ok=True)
        (package / "DEBIAN/control").write_text(PACKAGE.format(version=version))
        (package / "usr/share/hello/text").write_text(f"version {version}\n")
        file = repository / f"hello-of-test_{version}_all.deb"
        command = ["dpkg-deb", "--root-owner-group", "--build", str(package), str(file)]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        where = f"Filename: ./{file.name}\nSize: {file.stat().st_size}\nSHA256: {digest}\n"
        (repository / "Packages").write_text(PACKAGE.format(version=version) + where + "\n")

    def given(self, **more: t.Any) -> dict[str, t.Any]:
        """Return the options of a tree of this repository. `dpkg` runs outside, for the tree has none."""
        return {
            "suite": "none",
            "packages": ["hello-of-test"],
            "mirrors": [f"deb [trusted=yes] copy://{self.directory}/repository ./"],
            "variant": "custom",
            "options": ["--mode=chrootless"],
            **more,
        }


@pytest.fixture
def packages(tmp_path: Path) -> PackageSource:
    tmp_path.chmod(0o755)  # apt reads as a user of its own
    return PackageSource(tmp_path / "packages")


def test_t2_a_tree_of_packages_says_which_have_changed(tmp_path: Path, packages: PackageSource) -> None:
    packages.add("1")
    root = tmp_path / "host"
    first = making(root, "mmdebstrap", packages.given()).reach("present")
    tree = Path(first["root"])
    assert (tree / "usr/share/hello/text").read_text() == "version 1\n"
    assert os.listdir(tree / "dev") == [] or all((tree / "dev" / name).is_dir() for name in os.listdir(tree / "dev"))
    assert not (tree / "etc/hostname").exists()
    assert not (tree / "etc/resolv.conf").exists()
    assert not making(root, "mmdebstrap", packages.given()).reach("latest")["changed"]
    packages.add("2")
    assert not making(root, "mmdebstrap", packages.given()).reach("present")["changed"]
    second = making(root, "mmdebstrap", packages.given()).reach("latest")
    assert second["package_changes"] == [{"name": "hello-of-test", "before": "1", "after": "2"}]
    assert left(root) == {second["content"]}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"packages": ["no-such-package"]}, "[0-9]: (?!I: )(.|\n)*Unable to locate package no-such"),
        ({"mirrors": ["deb [trusted=yes] copy:///nowhere/at/all ./"]}, "has failed with (.|\n)*/nowhere/at/all/"),
        ({"options": ["--no-such-option"]}, "no-such-option"),
    ],
)
def test_t2_packages_that_are_not_there_are_refused(
    tmp_path: Path, packages: PackageSource, more: dict[str, t.Any], said: str
) -> None:
    packages.add("1")
    with pytest.raises(TargetError, match=said) as error:
        making(tmp_path / "host", "mmdebstrap", packages.given(**more)).reach("present")
    assert "nothing was changed" in str(error.value)
    assert left(tmp_path / "host") == set()


FILL = """\
set -e
mkdir -p "$1/usr" "$1/etc"
test "$TREE" = "$1"
echo kept > "$1/usr/kept"
mount -t tmpfs tmpfs "$1/etc"
echo hidden > "$1/etc/hidden"
exec 3> %s
sleep 1000 &
"""


def test_t2_what_a_command_mounts_and_leaves_running_ends_with_it(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    held = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    given = {"argv": ["sh", "-c", FILL % fifo, "fill"]}
    made = making(tmp_path / "host", "command", given).reach("present")
    tree = Path(made["root"])
    assert (tree / "usr/kept").read_text() == "kept\n"
    assert os.listdir(tree / "etc") == []
    poll = select.poll()
    poll.register(held, select.POLLIN)
    ended = poll.poll(10_000)
    os.close(held)
    assert ended == [(held, select.POLLHUP)]  # it was opened, and nobody has it any more


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["sh", "-c", "echo words; exit 3"], "command: sh: has failed with status 3: words"),
        (["sh", "-c", 'rmdir "$1"; ln -s /etc "$1"', "x"], "command: has removed the directory"),
        (["sh", "-c", 'mkdir "$1/usr"; mknod "$1/usr/disk" b 8 0', "x"], "'usr/disk' is a device"),
        (["sh", "-c", 'mkdir "$1/usr"; mknod "$1/usr/gone" c 0 0', "x"], "'usr/gone' is a device, or a whiteout"),
        (["sh", "-c", 'ln -s /usr "$1/usr"', "x"], "/usr of it is a link"),
        (["sleep", "1d"], "command: sleep: has failed|has not ended after"),
    ],
)
def test_t2_a_command_that_fails_or_makes_no_tree_leaves_nothing(tmp_path: Path, argv: list[str], said: str) -> None:
    with pytest.raises(TargetError, match=said):
        making(tmp_path / "host", "command", {"argv": argv}, timeout=2.0).reach("present")
    assert left(tmp_path / "host") == set()


KILLED = """\
import sys
from pathlib import Path
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout
from ansible_collections.unshare.container.plugins.module_utils.trees.kinds_of_sources import TREE_SOURCES
from ansible_collections.unshare.container.plugins.module_utils.trees.making import TreeMaking
script = 'mkdir "$1/usr"; exec 3> %s; echo started >&3; sleep 1000'
source = TREE_SOURCES["command"]({"argv": ["sh", "-c", script, "x"]})
TreeMaking(Layout(Path(sys.argv[1])), "test-trees", source, 1 << 30, 60.0).reach("latest")
"""


def test_t2_a_run_that_is_killed_leaves_what_the_next_one_removes(tmp_path: Path) -> None:
    """The former tree stays; the program that filled the new one ends at once."""
    root, fifo, source = tmp_path / "host", tmp_path / "fifo", tmp_path / "source"
    make_bootable(source, "1")
    os.mkfifo(fifo)
    former = making(root, "directory", {"path": str(source)}).reach("present")
    command = [sys.executable, "-c", KILLED % fifo, str(root)]
    with subprocess.Popen(command) as process, fifo.open() as program:  # which waits for the program
        assert program.readline() == "started\n"
        assert any(name.startswith(".aside-") for name in left(root))
        process.send_signal(signal.SIGKILL)
        assert program.read() == ""  # which waits for the end of all that has it
    assert Path(former["root"]).is_dir()
    again = making(root, "directory", {"path": str(source)}).reach("present")
    assert not again["changed"]
    assert left(root) == {former["content"]}


def test_t2_a_full_disk_leaves_the_former_tree_and_nothing_else(tmp_path: Path) -> None:
    root, source = tmp_path / "host", tmp_path / "source"
    root.mkdir()
    (source / "usr").mkdir(parents=True)
    (source / "usr/file").write_bytes(os.urandom(100_000))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(root)], check=True, timeout=60)
    try:
        former = making(root, "directory", {"path": str(source)}).reach("present")
        (source / "usr/large").write_bytes(os.urandom(2 << 20))
        with pytest.raises(TargetError, match="No space left on device.*; nothing was changed"):
            making(root, "directory", {"path": str(source)}).reach("latest")
        assert left(root) == {former["content"]}
        (source / "usr/large").unlink()
        (source / "usr/small").write_text("x")
        assert making(root, "directory", {"path": str(source)}).reach("latest")["changed"]
    finally:
        subprocess.run(["umount", str(root)], check=True, timeout=60)


def test_t2_owners_rights_and_capabilities_survive(tmp_path: Path) -> None:
    """By a directory, and by an archive that tar has made of it."""
    source, root = tmp_path / "source", tmp_path / "host"
    make_bootable(source, "1")
    file = source / "usr/bin/cat"
    os.chown(file, 33, 42)
    capability = bytes.fromhex("0100000200040000000000000000000000000000")  # cap_net_bind_service, effective
    with contextlib.suppress(OSError):
        os.setxattr(file, "security.capability", capability)
    file.chmod(0o4755)
    of_directory = making(root, "directory", {"path": str(source)}).reach("present")
    archive = tmp_path / "tree.tar.zst"
    command = [
        "tar",
        "--create",
        "--zstd",
        "--xattrs",
        "--xattrs-include=*",
        f"--file={archive}",
        f"--directory={source}",
    ]
    subprocess.run([*command, "."], check=True, timeout=60)
    of_archive = making(root, "archive", {"path": str(archive)}).reach("present")
    assert of_archive["content"] == of_directory["content"]
    copied = Path(of_archive["root"]) / "usr/bin/cat"
    status = copied.stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (33, 42, 0o4755)
    assert os.listxattr(copied) == os.listxattr(file)


def test_t2_what_is_mounted_in_a_directory_stays_out(tmp_path: Path) -> None:
    source, root = tmp_path / "source", tmp_path / "host"
    make_bootable(source, "1")
    (source / "proc").mkdir()
    subprocess.run(["mount", "-t", "proc", "proc", str(source / "proc")], check=True, timeout=60)
    try:
        made = making(root, "directory", {"path": str(source)}).reach("present")
    finally:
        subprocess.run(["umount", str(source / "proc")], check=True, timeout=60)
    assert os.listdir(Path(made["root"]) / "proc") == []


def test_t2_an_archive_of_a_real_program_is_the_directory_that_it_was_made_of(tmp_path: Path) -> None:
    """Python's own writer, GNU's and POSIX's format."""
    source, root = tmp_path / "source", tmp_path / "host"
    make_bootable(source, "1")
    (source / "usr/share" / ("long" * 40)).mkdir()
    (source / "usr/share" / ("long" * 40) / ("name" * 40)).write_text("x")
    expected = making(root, "directory", {"path": str(source)}).reach("present")["content"]
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        with tarfile.open(tmp_path / "a.tar", "w", format=form) as tar:
            tar.add(source, arcname=".")
        assert making(root, "archive", {"path": str(tmp_path / "a.tar")}).reach("latest")["content"] == expected


def test_the_page_of_trees(tmp_path: Path, packages: PackageSource) -> None:
    """Its tasks as they stand, with packages of the tests' own; the container is looked at before there is a tree."""
    packages.add("1")
    with followed.Page("docs/trees.md", __file__) as page:
        (make,) = yaml.safe_load(page.take("- name: Make a tree").text)
        entry = yaml.safe_load(page.take("containers:").text)["containers"]["web"]
        renew, show = yaml.safe_load(page.take("- name: Renew").text)
    assert entry["store"] == {"tree": make[TREE]["name"]}
    play = Played(tmp_path)
    look = {"containers": {NAME: {**entry, "store": {"tree": NAME}}}}
    play.task("looked", "unshare.container.containers", look, check_mode=True)
    for name, task in (("made", make), ("renewed", renew)):
        play.task(name, TREE, {**task[TREE], "name": NAME, "mmdebstrap": packages.given()})
    assert renew["register"] == "renewed"
    play.task("shown", "ansible.builtin.debug", show["ansible.builtin.debug"])
    play.tree("gone", state="absent")
    done = play.run()
    assert done["looked"]["changed"], done["looked"]
    assert done["made"]["changed"], done["made"]
    assert (done["renewed"]["changed"], done["shown"]["renewed.package_changes"]) == (False, [])
    assert done["gone"]["changed"]
