# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mutation testing: changes the sources one place at a time, and counts the changes that the unit tests notice.

Run by `make mutation`. As root it goes into mount and pid namespaces of its own, in which all but its own directory is
read-only: what a mutant deletes, or kills, is nobody's.
"""

from __future__ import annotations

import argparse
import collections
import importlib
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile

from .mutants import Mutant, mutants_of
from .rooms import RoomError, least_scores, modules_of_rooms
from .selection import PACKAGE, Selection, digest_of
from .trial import KILLED, NOT_EXECUTED, SURVIVED, Outcome, Trial, copy_tree, environment

TESTS = "tests/unit"
# What every run needs, imported once.
PRELOADED = ("hypothesis.strategies", "_hypothesis_pytestplugin", "jmespath", "yaml", "ansible.module_utils.basic",
             "ansible.module_utils.common.arg_spec", "ansible.plugins.loader", "ansible.template", "json", "ssl",
             "ansible.plugins.action", "ansible.plugins.inventory", "ansible.plugins.connection")  # fmt: skip
# One test in so many may fail without a mutant.
MANY = 100
REPORT = ".cache/mutation/survivors.txt"
SELECTION = ".cache/mutation/selection.json"
# The variable that names the directory to work in, once this program runs in namespaces of its own.
APART = "MUTATION_APART"
_MOUNT = """
mount --make-rprivate /
cut -d ' ' -f 5 /proc/self/mountinfo | while read -r point; do
    mount -o remount,bind,ro "$point" || echo "stays as it is: $point" >&2
done
mount -t tmpfs -o mode=0755 mutation "$1"
mount -t tmpfs -o mode=1777 mutation /var/tmp
mount --bind "$2" "$2"
mount -o remount,bind,rw "$2"
mount -t proc proc /proc
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
shift 2
exec "$@"
"""


def chosen_mutants(tree: pathlib.Path, options: argparse.Namespace) -> dict[str, list[Mutant]]:
    """Return the mutants of each room, at most as many as a sample has."""
    result = {}
    try:
        of_rooms = modules_of_rooms(tree)
    except RoomError as error:
        sys.exit(str(error))
    for room, modules in of_rooms.items():
        if options.room and room not in options.room:
            continue
        wanted = [path for path in modules if not options.module or any(path.endswith(end) for end in options.module)]
        all_of_them = [mutant for path in wanted for mutant in mutants_of(tree, path)]
        if options.sample and options.sample < len(all_of_them):
            # A seed of its own for each room: one room's changes do not choose another's sample.
            all_of_them = random.Random(f"{options.seed} {room}").sample(all_of_them, options.sample)
        result[room] = all_of_them
    return result


def table(outcomes: dict[str, list[Outcome]]) -> tuple[str, bool]:
    """Return the table of scores, and whether every room has the score that it must have."""
    least = least_scores()
    lines = [f"{'room':<14}{'mutants':>8}{'killed':>8}{'survived':>10}{'not executed':>14}{'score':>8}{'least':>8}"]
    enough = True
    for room, ended in outcomes.items():
        counts = collections.Counter(outcome.result for outcome in ended)
        score = 100 * counts[KILLED] / len(ended) if ended else 100.0
        enough = enough and score >= least[room]
        lines.append(
            f"{room:<14}{len(ended):>8}{counts[KILLED]:>8}{counts[SURVIVED]:>10}{counts[NOT_EXECUTED]:>14}"
            f"{score:>7.1f}%{least[room]:>7}%"
        )
    return "\n".join(lines), enough


def run_apart() -> int:
    """Run this program again in namespaces of its own, in which two directories alone can be written to."""
    report = pathlib.Path(REPORT).parent
    report.mkdir(parents=True, exist_ok=True)
    again = [sys.executable, "-m", f"{PACKAGE}tests.mutation.main", *sys.argv[1:]]
    apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-ec", _MOUNT, "sh"]
    # A run that is ended ends what it has started.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    with tempfile.TemporaryDirectory(prefix="mutation-") as work:
        command = [*apart, work, str(report), *again]
        return subprocess.run(command, env={**os.environ, APART: work}, check=False).returncode


def baseline(tree: pathlib.Path, output: pathlib.Path) -> Selection:
    """Run all tests once in TREE, unless OUTPUT is of the same sources. Those that fail here are left out.

    Ends the program when there are many.
    """
    digest = digest_of(tree)
    selection = Selection.read(output, tree, digest)
    if selection is None:
        _run_all(tree, output, digest)
        selection = Selection.read(output, tree, digest)
    if selection is None or len(selection.failed) * MANY > len(selection.seconds):
        sys.exit("The tests must pass before mutants are tried.")
    for test in selection.failed:
        print(f"left out, as it fails without a mutant here: {test}", file=sys.stderr)
    return selection


def _run_all(tree: pathlib.Path, output: pathlib.Path, digest: str) -> None:
    output.unlink(missing_ok=True)
    command = [sys.executable, "-m", f"{PACKAGE}tests.mutation.selection", TESTS, str(output), digest]
    subprocess.run(command, cwd=tree, env={**os.environ, **environment(tree)}, check=False)


def main() -> int:
    """Try the mutants that the command line names; returns 1 when a room has a lower score than it must have."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sample", type=int, default=0, help="how many mutants of each room; 0 means all")
    parser.add_argument("--seed", type=int, default=1, help="which sample")
    parser.add_argument("--room", action="append", help="this room only")
    parser.add_argument("--module", action="append", help="only modules whose path ends so")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    if os.geteuid() == 0 and APART not in os.environ:
        return run_apart()
    with tempfile.TemporaryDirectory(prefix="m-", dir=os.environ.get(APART)) as made:
        work = pathlib.Path(made)
        work.chmod(0o755)  # Programs that everybody may run lie below it.
        return _try_all(pathlib.Path.cwd(), work.resolve(), options)


def _try_all(top: pathlib.Path, work: pathlib.Path, options: argparse.Namespace) -> int:
    os.environ["CI"] = "true"  # Hypothesis then tries the same examples each time.
    (top / REPORT).parent.mkdir(parents=True, exist_ok=True)
    for name, place in (("HOME", "home"), ("TMPDIR", "t")):
        os.environ[name] = str(work / place)
        (work / place).mkdir()
    tempfile.tempdir = None
    original = work / "original"
    copy_tree(top, original)
    selection = baseline(original, pathlib.Path(SELECTION).resolve())
    mutants = chosen_mutants(original, options)
    copies = [work / f"copy{number}" for number in range(options.workers)]
    for copy in copies:
        # With what is compiled by now, and its time stamps.
        subprocess.run(["cp", "-a", str(original), str(copy)], check=True)
    for name in PRELOADED:
        importlib.import_module(name)
    sys.dont_write_bytecode = True
    room_of = {id(mutant): room for room, of_room in mutants.items() for mutant in of_room}
    outcomes: dict[str, list[Outcome]] = {room: [] for room in mutants}
    trial = Trial(original, copies, selection)
    everything = [mutant for of_room in mutants.values() for mutant in of_room]
    report = top / REPORT
    with report.open("w", encoding="utf-8") as stream:
        for count, outcome in enumerate(trial.outcomes(everything), 1):
            outcomes[room_of[id(outcome.mutant)]].append(outcome)
            if outcome.result != KILLED:
                print(f"{outcome.result}: {outcome.mutant}", file=stream, flush=True)
            if count % 100 == 0:
                print(f"{count} of {len(everything)}", file=sys.stderr, flush=True)
    text, enough = table(outcomes)
    print(f"At most {options.sample} mutants of each room, seed {options.seed}" if options.sample else "All mutants")
    print(f"{text}\nThose not killed are listed in {REPORT}.")
    return 0 if enough else 1


if __name__ == "__main__":
    sys.exit(main())
