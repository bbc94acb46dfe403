# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""T1, T2: trees made by real programs, from packages of the tests' own; containers that run them, and follow them."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.unshare.container.plugins.module_utils.state.target import TargetError
from ansible_collections.unshare.container.tests import followed

from .bootable_trees import NAME, WAITING, left, make_bootable, making
from .conftest import INTERPRETER
from .playbooks import REPOSITORY, ended

pytestmark = [pytest.mark.root, pytest.mark.timeout(300), pytest.mark.usefixtures("host_unchanged")]

TREE = "unshare.container.tree"
PACKAGE = """\
Package: hello-of-test
Version: {version}
Architecture: all
Maintainer: nobody <nobody@example.org>
Description: for the tests
"""


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
        done = ended(["-i", "localhost,", "play.json"], environment, self.directory)
        assert out.exists(), done.output
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
