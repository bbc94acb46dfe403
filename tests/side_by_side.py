# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run pytest in several processes side by side, and end with one line that counts all of their tests."""

from __future__ import annotations

import argparse
import collections
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import typing as t

from ansible_collections.unshare.container.tests.claims import DIRECTORY

NUMBER = "UNSHARE_TEST_PROCESS"
"""The environment variable that tells the processes of a run apart."""

IS_TITLE = re.compile(r"=+ (?P<title>.*) =+\n?$")
"""The line above a part of what pytest prints, and its last line."""

IS_CLOSING = re.compile(r"=+ (?P<counts>\d.*) in \d.* =+\n?$")
IS_COUNT = re.compile(r"(?P<count>\d+) (?P<what>[a-z]+)")
IS_RUNNING = "test session starts"

ORDER = ("failed", "passed", "skipped", "xfailed", "xpassed", "warning", "error")
"""What pytest counts, in its order; what it leaves out by name is the same in every process."""

NOUNS = ("warning", "error")
"""Those that have a plural."""


class Run(threading.Thread):
    """One process of pytest, and the thread that reads what it prints.

    Attributes:
        report: what it has printed after its last test; reports of several processes come one after the other.
        counts: how many of its tests passed, failed and so on.
    """

    def __init__(self, number: int, arguments: t.Sequence[str], claims: str) -> None:
        super().__init__()
        plugin = ["-p", "ansible_collections.unshare.container.tests.claims", "-o", f"cache_dir=.cache/pytest/{number}"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pytest", *plugin, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, DIRECTORY: claims, NUMBER: str(number)},
            process_group=0,  # whoever ends the run tells this program, and each process hears of it once
        )
        self.report: list[str] = []
        self.counts: collections.Counter[str] = collections.Counter()
        self.start()

    def run(self) -> None:
        """Print its progress line by line, and keep its report."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            title = IS_TITLE.match(line)
            if self.report or (title and title["title"] != IS_RUNNING):
                self.report.append(line)
            else:
                sys.stdout.write(line)
                sys.stdout.flush()
        counts = IS_CLOSING.match(self.report[-1] if self.report else "")
        if counts:
            self.counts.update(
                {what.removesuffix("s"): int(count) for count, what in IS_COUNT.findall(counts["counts"])}
            )


def closing_line(counts: t.Mapping[str, int], seconds: float) -> str:
    """Return the line with which pytest would have closed a run that had all of the tests."""
    plural = {what: "s" for what in NOUNS if counts.get(what) != 1}
    words = [f"{counts[what]} {what}{plural.get(what, '')}" for what in ORDER if counts.get(what)]
    return f" {', '.join(words) or 'no tests ran'} in {seconds:.2f}s ".center(80, "=")


def run(number: int, arguments: t.Sequence[str]) -> int:
    """Run the tests in this many processes; return the exit status, 0 when all of them passed."""
    began = time.monotonic()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as claims:
        runs = [Run(index, arguments, claims) for index in range(number)]
        while any(each.is_alive() for each in runs):
            try:
                for each in runs:
                    each.join()
            except KeyboardInterrupt:
                for each in runs:
                    each.process.send_signal(signal.SIGINT)
        statuses = [each.process.wait() for each in runs]
    for each in runs:
        print("".join(each.report), flush=True)
    counts: collections.Counter[str] = sum((each.counts for each in runs), collections.Counter())
    print(closing_line(counts, time.monotonic() - began), flush=True)
    return next((max(status, 1) for status in statuses if status), 0)


def main() -> int:
    """Read the command line, and run the tests."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--processes", type=int, default=min(4, len(os.sched_getaffinity(0)) + 1), metavar="NUMBER")
    options, arguments = parser.parse_known_args()
    return run(options.processes, arguments)


if __name__ == "__main__":
    sys.exit(main())
