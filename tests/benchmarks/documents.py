# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a benchmark wrote (`sessions.Results.document`), read for plots. It needs Python's own library alone."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import statistics
import typing as t
from pathlib import Path

PROCESSOR_TIME = " CPU"
"""What the name of a benchmark ends in whose figures are processor time."""


class Unreadable(Exception):
    """A file that is not the results of a benchmark."""


@dataclasses.dataclass(frozen=True)
class Samples:
    """What was measured of one subject, in the order of the rounds."""

    subject: str
    values: tuple[float, ...]
    unit: str

    @property
    def median(self) -> float:
        """Return the median."""
        return statistics.median(self.values)

    @property
    def least(self) -> float:
        """Return the least."""
        return min(self.values)

    @property
    def quartiles(self) -> tuple[float, float]:
        """Return the first and the third quartile; of one sample, that twice."""
        if len(self.values) == 1:
            return self.values[0], self.values[0]
        first, _second, third = statistics.quantiles(self.values, n=4, method="inclusive")
        return first, third


@dataclasses.dataclass(frozen=True)
class Document:
    """The results of one run.

    Attributes:
        path: of its file.
        digest: SHA-256 of the file.
        host: what the benchmark says about its machine.
        versions: what each program prints as its version.
        not_measured: why a subject was not measured, by its name.
        benchmarks: samples by benchmark and subject.
    """

    path: Path
    digest: str
    host: dict[str, t.Any]
    versions: dict[str, str]
    not_measured: dict[str, str]
    benchmarks: dict[str, dict[str, Samples]]

    def of(self, benchmark: str) -> list[Samples]:
        """Return the samples of all subjects of a benchmark, the fastest first; none when it was not measured."""
        return sorted(self.benchmarks.get(benchmark, {}).values(), key=lambda samples: samples.median)

    def by_number_of_benchmark(self, prefix: str, suffix: str = "") -> dict[str, list[tuple[int, Samples]]]:
        """Return each subject's samples of the benchmarks `PREFIX NUMBER SUFFIX`, by that number."""
        found: dict[str, list[tuple[int, Samples]]] = {}
        for benchmark, subjects in self.benchmarks.items():
            number = re.fullmatch(rf"{re.escape(prefix)} (\d+){re.escape(suffix)}", benchmark)
            if number:
                for subject, samples in subjects.items():
                    found.setdefault(subject, []).append((int(number.group(1)), samples))
        return {subject: sorted(pairs, key=lambda pair: pair[0]) for subject, pairs in found.items()}

    def by_number_of_subject(self, benchmark: str) -> list[tuple[int, Samples]]:
        """Return a benchmark's samples of the subjects `of NUMBER`, by that number."""
        found = []
        for subject, samples in self.benchmarks.get(benchmark, {}).items():
            number = re.fullmatch(r"of (\d+)", subject)
            if number:
                found.append((int(number.group(1)), samples))
        return sorted(found, key=lambda pair: pair[0])

    def machine(self) -> str:
        """Return what the machine is, for people, and how busy it was at the end."""
        host = self.host
        words = [f"{host['distribution']}, Linux {host['kernel']}, Python {host['python']}"]
        words.append(f"{host['processors']} processors ({host['processor']})")
        words.append(f"load average at the end {host['load'][0]:.1f}")
        return "; ".join(words)

    def programs(self) -> str:
        """Return the programs with their versions, for people."""
        return ", ".join(f"{name} {_number(said)}" for name, said in self.versions.items())

    def absent(self) -> list[str]:
        """Return a line for people about each subject that was not measured; of its reason, the last line."""
        return [
            f"{name} was not measured: {why.strip().rpartition(chr(10))[2]}" for name, why in self.not_measured.items()
        ]


def _number(said: str) -> str:
    """Return the version alone of what a program says: `1.0.6` of `nftables v1.0.6 (Lester Gooch #5)`."""
    found = re.search(r"\d+\.\d[\w.+~-]*", said) or re.search(r"\d+", said)
    return found.group() if found else said


def read(path: Path) -> Document:
    """Read the file that a benchmark wrote.

    Raises:
        Unreadable: it is none, or one of an older benchmark, which says less about its machine.
    """
    content = path.read_bytes()
    try:
        document = json.loads(content)
    except ValueError as error:
        raise Unreadable(f"{path}: is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise Unreadable(f"{path}: is not the results of a benchmark")
    host = _part(path, document, "host", dict)
    for key in ("distribution", "kernel", "load", "processor", "processors", "python"):
        if key not in host:
            raise Unreadable(f"{path}: host.{key}: is missing; measure again, and name the file with --output")
    benchmarks: dict[str, dict[str, Samples]] = {}
    for index, result in enumerate(_part(path, document, "results", list)):
        try:
            samples = Samples(result["subject"], tuple(map(float, result["samples"])), result["unit"])
            benchmark = result["benchmark"]
        except (KeyError, TypeError, ValueError) as error:
            raise Unreadable(f"{path}: results[{index}]: is not a subject's samples: {error!r}") from error
        if not samples.values:
            raise Unreadable(f"{path}: results[{index}].samples: is empty")
        benchmarks.setdefault(benchmark, {})[samples.subject] = samples
    return Document(
        path,
        hashlib.sha256(content).hexdigest(),
        host,
        _part(path, document, "versions", dict),
        _part(path, document, "not_measured", dict),
        benchmarks,
    )


def _part(path: Path, document: dict[str, t.Any], key: str, kind: type) -> t.Any:
    part = document.get(key)
    if not isinstance(part, kind):
        raise Unreadable(f"{path}: {key}: is missing; is this what a benchmark wrote with --output?")
    return part
