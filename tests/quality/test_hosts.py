# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tests of hosts stand on, as far as it needs no machine: recipes, images, options, what is counted."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import threading
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.tests.hosts import acceleration, images, making, results
from ansible_collections.unshare.container.tests.hosts.acceleration import EMULATION, KVM, Accelerator
from ansible_collections.unshare.container.tests.hosts.images import Images
from ansible_collections.unshare.container.tests.hosts.making import ImageError
from ansible_collections.unshare.container.tests.hosts.processes import Deadline, plain
from ansible_collections.unshare.container.tests.hosts.qemu import Hardware
from ansible_collections.unshare.container.tests.hosts.recipes import RECIPES, Recipe, chosen
from ansible_collections.unshare.container.tests.integration.playbooks import Run
from ansible_collections.unshare.container.tests.quality import hosts_table

ROOT = Path(__file__).resolve().parents[2]
RECIPE = RECIPES["debian12"]


def maker(log: list[str]) -> images.Maker:
    """Return a maker of small images, which writes down what it makes."""

    def make(recipe: Recipe, directory: Path, scratch: Path) -> None:
        log.append(recipe.name)
        scratch.joinpath("tree").mkdir()
        directory.joinpath("disk.raw").write_text(recipe.suite)

    return make


# Recipes


def test_a_recipes_name_is_one_word() -> None:
    """The names of images begin with it, and those of another recipe do not begin so."""
    assert all(name.isalnum() and recipe.name == name for name, recipe in RECIPES.items())


def test_hosts_are_chosen_by_name_in_their_own_order() -> None:
    assert chosen("") == list(RECIPES.values())
    assert [recipe.name for recipe in chosen("debian13, debian11,")] == ["debian11", "debian13"]
    with pytest.raises(ValueError, match="no recipe has the name debian1, fedora; there are debian11, debian12"):
        chosen("fedora,debian12,debian1")


# Images


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Recipe)])
def test_another_recipe_has_another_image(field: str) -> None:
    value = ("other",) if isinstance(getattr(RECIPE, field), tuple) else "other"
    changed = dataclasses.replace(RECIPE, **t.cast("dict[str, t.Any]", {field: value}))
    assert images.fingerprint(changed) != images.fingerprint(RECIPE) == images.fingerprint(dataclasses.replace(RECIPE))


def test_other_code_makes_another_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = images.fingerprint(RECIPE)
    changed = tmp_path / "making.py"
    changed.write_text(Path(making.__file__).read_text().replace("10.0.2.15", "10.0.2.16"))
    monkeypatch.setattr(making, "__file__", str(changed))
    assert images.fingerprint(RECIPE) != before


def test_an_image_is_made_once(tmp_path: Path) -> None:
    made: list[str] = []
    first = Images(tmp_path / "cache", maker(made))
    assert first.of(RECIPE).disk.read_text() == "bookworm"
    assert first.of(RECIPE) == Images(tmp_path / "cache", maker(made)).of(RECIPE)
    assert first.of(RECIPES["debian13"]).disk.read_text() == "trixie"
    assert made == ["debian12", "debian13"]
    names = {path.name.partition("-")[0] for path in (tmp_path / "cache").iterdir()}
    assert names == {"debian12", "debian12.lock", "debian13", "debian13.lock"}


def test_two_runs_at_the_same_time_make_it_once(tmp_path: Path) -> None:
    begun, goes_on = threading.Event(), threading.Event()
    made: list[str] = []

    def make(recipe: Recipe, directory: Path, scratch: Path) -> None:
        begun.set()
        assert goes_on.wait(10)
        maker(made)(recipe, directory, scratch)

    had: list[making.Image] = []
    runs = [threading.Thread(target=lambda: had.append(Images(tmp_path, make).of(RECIPE))) for _ in range(2)]
    runs[0].start()
    assert begun.wait(10)
    runs[1].start()
    goes_on.set()
    for run in runs:
        run.join(10)
    assert len(had) == 2
    assert had[0] == had[1]
    assert made == ["debian12"]


def test_an_image_that_cannot_be_made_is_not_used(tmp_path: Path) -> None:
    def make(recipe: Recipe, directory: Path, scratch: Path) -> None:
        (directory / "disk.raw").write_text("half")
        raise ImageError("no archive")

    with pytest.raises(ImageError, match="no archive"):
        Images(tmp_path, make).of(RECIPE)
    assert [path.name for path in tmp_path.iterdir()] == ["debian12.lock"]
    assert Images(tmp_path, maker([])).of(RECIPE).disk.read_text() == "bookworm"


KILLED = """
import os, signal, sys
from pathlib import Path
from ansible_collections.unshare.container.tests.hosts import images, recipes

def make(recipe, directory, scratch):
    (directory / "disk.raw").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)

images.Images(Path(sys.argv[1]), make).of(recipes.RECIPES["debian12"])
"""


def test_what_a_killed_run_has_begun_is_not_used_and_goes_away(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert list(tmp_path.glob("*-unfinished-*"))
    assert Images(tmp_path, maker([])).of(RECIPE).disk.read_text() == "bookworm"
    assert not list(tmp_path.glob("*-unfinished-*"))


def test_a_former_image_goes_when_no_run_uses_it(tmp_path: Path) -> None:
    user, later = Images(tmp_path, maker([])), Images(tmp_path, maker([]))
    former = user.of(RECIPE)
    other = user.of(RECIPES["debian13"])
    later.of(dataclasses.replace(RECIPE, suite="sid"))
    assert former.disk.exists()
    user.close()
    later.close()
    later.of(dataclasses.replace(RECIPE, suite="sid"))
    assert not former.directory.exists()
    assert other.disk.exists()


def test_says_which_program_is_missing_and_what_a_failed_one_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImageError, match="debian12: no-such-program is not installed here; run `make host-packages`"):
        making.run(RECIPE, "no-such-program")
    with pytest.raises(ImageError, match=r"debian12: failed with 3: sh -c .*\nno such suite"):
        making.run(RECIPE, "sh", "-c", "echo no such suite >&2; exit 3")


@pytest.mark.parametrize("kernels", [[], ["5.10", "6.1"]])
def test_an_image_has_one_kernel(tmp_path: Path, kernels: list[str]) -> None:
    for kernel in kernels:
        (tmp_path / f"vmlinuz-{kernel}").touch()
    with pytest.raises(ImageError, match=r"one vmlinuz-\* is expected"):
        making.copy_boot_files(tmp_path, making.Image(RECIPE, tmp_path))


# Accelerators


@pytest.mark.parametrize(("says", "expected"), [("", KVM), ("does not boot", EMULATION)])
def test_kvm_is_tried_once_on_a_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, expected: Accelerator
) -> None:
    tried: list[Accelerator] = []

    def trial(way: Accelerator) -> str:
        tried.append(way)
        return says

    monkeypatch.setattr(acceleration, "DEVICE", tmp_path)
    assert [acceleration.accelerator(tmp_path, trial) for _ in range(3)] == [expected] * 3
    assert tried == [KVM]
    for damaged in ("{", json.dumps({"machine": acceleration.fingerprint()})):
        (tmp_path / "kvm.json").write_text(damaged)
        assert acceleration.accelerator(tmp_path, trial) == expected
    monkeypatch.setattr(acceleration, "fingerprint", lambda: ["another kernel"])
    assert acceleration.accelerator(tmp_path, trial) == expected
    assert tried == [KVM] * 4


def test_kvm_is_not_tried_without_its_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceleration, "DEVICE", tmp_path / "none")
    assert acceleration.accelerator(tmp_path, lambda _way: pytest.fail("tried")) == EMULATION


# QEMU


def test_a_machine_has_one_port_on_the_loopback_and_no_other_way_out() -> None:
    options = Hardware("kernel", "initrd", "quiet", 5, 6, 512, 1, EMULATION.options).options()
    networks = [option for option in options if option.startswith("user,")]
    assert [set(network.split(",")) for network in networks] == [
        {"user", "id=network", "restrict=on", "ipv6=off", "hostfwd=tcp:127.0.0.1:0-:22"}
    ]
    assert "-nodefaults" in options


def test_deadlines_and_consoles() -> None:
    assert Deadline(0).left == 0
    assert 0 < Deadline(60).left <= 60
    assert (
        plain("\x1b[0;32m  OK  \x1b[0m] Started \x1b[0;1;39mssh\x1b[0m.\r\n\x1bc\x1b[?25h>")
        == "  OK  ] Started ssh.\n>"
    )


def test_a_recap_is_read_by_host() -> None:
    recap = "PLAY RECAP ***\none.example.org : ok=3    changed=2    unreachable=0    failed=0\ntwo : ok=1 changed=0\n"
    assert Run(0, recap).counts("one.example.org") == {"ok": 3, "changed": 2, "unreachable": 0, "failed": 0}
    assert Run(0, recap).counts("two") == {"ok": 1, "changed": 0}


# Runs


def collect(*words: str) -> tuple[int, str]:
    """Return the exit status of a run as `make test-hosts` makes it, but without a test; and what it prints."""
    program = [sys.executable, "-m", "ansible_collections.unshare.container.tests.side_by_side", "--processes=1"]
    done = subprocess.run(
        [*program, *words, "tests/hosts"], capture_output=True, text=True, cwd=ROOT, timeout=120, check=False
    )
    return done.returncode, done.stdout


def test_the_option_chooses_the_tests() -> None:
    code, printed = collect("--collect-only", "-q", "--hosts=debian13")
    assert code == 0
    assert "[debian13" in printed
    assert "[debian12" not in printed


def test_a_test_runs_on_each_host_unless_it_is_about_machines() -> None:
    _code, printed = collect("--collect-only", "-q")
    assert printed.count("::test_is_what_its_recipe_says[") == len(RECIPES)
    assert printed.count("::test_commands[") == 1
    assert f"::test_commands[{list(RECIPES)[-1]}]" in printed


@pytest.mark.parametrize(("hosts", "expected"), [("debian11,debian13", 1), ("debian13", 0)])
def test_a_test_that_is_about_some_hosts_runs_on_these_alone(hosts: str, expected: int) -> None:
    code, printed = collect("--collect-only", "-q", f"--hosts={hosts}")
    assert code == 0
    assert printed.count("::test_is_refused_by_a_kernel_that_is_too_old[") == expected
    assert "NOTSET" not in printed


def test_long_tests_run_alone_and_only_if_they_are_asked_for() -> None:
    _code, usual = collect("--collect-only", "-q", "--hosts=debian13", "-m", "not long")
    _code, long = collect("--collect-only", "-q", "--hosts=debian13", "-m", "long")
    usual_tests, long_tests = ({line for line in text.splitlines() if "::" in line} for text in (usual, long))
    assert any("::test_power_cuts_at_random_moments[" in line for line in long_tests)
    assert not usual_tests & long_tests


def test_a_run_that_has_no_test_counts_none_and_fails() -> None:
    code, printed = collect("-k", "no_test_has_this_name")
    assert code == 5
    assert " no tests ran in " in printed.splitlines()[-1]


def test_a_host_without_a_recipe_is_an_error_before_all() -> None:
    code, printed = collect("--hosts=debian10")
    assert code == 4
    assert "--hosts: no recipe has the name debian10; there are " in printed


# Results


def rows_of(marks: list[results.Mark]) -> set[str]:
    """Return the rows that a test with these marks shows."""
    return {row for mark in marks if mark.name == "shows" for row in mark.words}


def test_each_row_of_the_table_is_shown_by_a_test() -> None:
    assert {row for _name, marks in results.tests() for row in rows_of(marks)} == set(results.ROWS)


def test_each_test_of_a_host_that_runs_containers_counts_for_a_row() -> None:
    """Those of the machines count for none."""
    unable = {name for name, recipe in RECIPES.items() if not recipe.runs_containers}
    of_containers = {name: marks for name, marks in results.tests() if not name.startswith("test_machines::")}
    assert len(of_containers) > 20
    for name, marks in of_containers.items():
        assert rows_of(marks) or any(mark.name == "on" and unable >= mark.words for mark in marks), name


def test_the_table_is_made_of_the_record() -> None:
    assert hosts_table.updated(hosts_table.PAGE.read_text("utf-8")) == hosts_table.PAGE.read_text("utf-8")


def test_the_record_has_tests_and_hosts_that_there_are() -> None:
    able = {name for name, recipe in RECIPES.items() if recipe.runs_containers}
    known = {name: marks for name, marks in results.tests() if rows_of(marks)}
    for name, words in results.read().items():
        assert name in known
        assert words.keys() <= able
        assert set(words.values()) <= {results.PASSED, results.FAILED}


def test_a_test_has_passed_where_all_its_parts_have() -> None:
    run = results.Results()
    for host, passed in [("debian12", True), ("debian12", False), ("debian12", True), ("debian13", True)]:
        run.note("test_boots::test_one", [host], passed)
    assert run.found == {"test_boots::test_one": {"debian12": results.FAILED, "debian13": results.PASSED}}


def test_the_record_keeps_what_a_run_has_not_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "RECORD", tmp_path / "results.json")
    assert results.read() == {}
    results.keep({"b": {"debian13": "failed", "debian12": "passed"}, "a": {"debian12": "passed"}})
    results.keep({"b": {"debian13": "passed"}})
    assert results.read() == {"a": {"debian12": "passed"}, "b": {"debian12": "passed", "debian13": "passed"}}
    assert list(results.read()) == ["a", "b"]


def test_a_row_holds_where_all_tests_that_show_it_have_passed() -> None:
    """What one test shows counts for nothing that another one shows as well, and has not, or not yet, here."""
    first, second = results.showing("apparmor", "debian12")
    expected = {
        (): results.UNTRIED,
        ("passed",): results.IN_PART,
        ("passed", "passed"): results.PASSED,
        ("passed", "failed"): results.FAILED,
        ("failed",): results.FAILED,
    }
    for words, said in expected.items():
        record = {name: {"debian12": word} for name, word in zip((first, second), words, strict=False)}
        assert results.word(record, "apparmor", "debian12") == said, words
        assert results.word(record, "apparmor", "debian13") == results.UNTRIED


def test_a_row_of_a_host_is_shown_by_the_tests_that_run_there() -> None:
    assert not results.showing("machined", "debian12")
    assert len(results.showing("machined", "debian13")) > 1
    assert len(results.showing("by hand", "debian12")) < len(results.showing("by hand", "debian13"))


def test_the_cells_of_the_table() -> None:
    (boot,), (one, _other) = (results.showing(row, "debian12") for row in ("boot", "apparmor"))
    record = {boot: {"debian12": "failed", "debian13": "passed"}, one: {"debian13": "passed"}}
    rows = ("boot", "apparmor", "eval")
    cells = [[hosts_table.cell(record, row, recipe) for recipe in RECIPES.values()] for row in rows]
    assert cells == [["no", "**no**", "yes"], ["no", "–", "in part"], ["no", "–", "–"]]
