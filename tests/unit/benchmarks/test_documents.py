# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the benchmarks write is what the program that draws plots reads."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.tests.benchmarks import documents, sessions, subjects

HOST = {
    "distribution": "Debian GNU/Linux 12 (bookworm)",
    "kernel": "6.1.0",
    "load": [3.14, 2, 1],
    "processor": "Some Processor",
    "processors": 2,
    "python": "3.11.2",
}
VERSIONS = {
    "crun": "crun version 1.8.1",
    "systemd-nspawn": "systemd 252 (252.39-1~deb12u2)",
    "lxc-start": "5.0.2",
    "nft": "nftables v1.0.6 (Lester Gooch #5)",
    "zstd": "*** Zstandard CLI (64-bit) v1.5.4, by Yann Collet ***",
    "other": "other 7",
}


def result(benchmark: str, subject: str, *samples: float) -> dict[str, t.Any]:
    return {"benchmark": benchmark, "subject": subject, "unit": "ms", "samples": samples}


def written(directory: Path, *results: dict[str, t.Any], **parts: t.Any) -> Path:
    """Write a file of results, some of whose parts are others."""
    path = directory / "benchmark.json"
    document = {"host": HOST, "versions": VERSIONS, "not_measured": {}, "compared": [], "results": results, **parts}
    path.write_text(json.dumps({key: part for key, part in document.items() if part is not None}))
    return path


def test_all_that_a_session_writes_is_read(tmp_path: Path) -> None:
    results = sessions.Results()
    for value in (3, 1, 2):
        results.add("launch", "module", value)
    document = results.document(["sh-that-is-not-there"])
    read = documents.read(written(tmp_path, **document))
    assert read.of("launch") == [documents.Samples("module", (3.0, 1.0, 2.0), "ms")]
    assert f"Linux {document['host']['kernel']}" in read.machine()
    assert read.versions == {}


def test_the_fastest_is_first_and_a_benchmark_that_was_not_measured_has_none(tmp_path: Path) -> None:
    read = documents.read(written(tmp_path, result("launch", "runc", 9, 9, 3), result("launch", "crun", 4)))
    assert [samples.subject for samples in read.of("launch")] == ["crun", "runc"]
    assert read.of("ready") == []


def test_figures_of_samples() -> None:
    samples = documents.Samples("crun", (4.0, 1.0, 2.0, 3.0, 5.0), "ms")
    assert (samples.median, samples.least, samples.quartiles) == (3.0, 1.0, (2.0, 4.0))
    assert documents.Samples("crun", (4.0,), "ms").quartiles == (4.0, 4.0)


def test_a_subject_may_be_missing_with_some_numbers(tmp_path: Path) -> None:
    measured = [result("mounts 100", "crun", 3), result("mounts 10", "crun", 2), result("mounts 100", "bwrap", 1)]
    read = documents.read(written(tmp_path, *measured, result("mounts 10 CPU", "crun", 7), result("launch", "crun", 5)))
    found = read.by_number_of_benchmark("mounts")
    assert {subject: [number for number, _samples in pairs] for subject, pairs in found.items()} == {
        "crun": [10, 100],
        "bwrap": [100],
    }
    assert [samples.values for _number, samples in found["crun"]] == [(2.0,), (3.0,)]
    assert list(read.by_number_of_benchmark("mounts", documents.PROCESSOR_TIME)) == ["crun"]


def test_numbers_of_subjects_are_in_order(tmp_path: Path) -> None:
    measured = [result("alone, stop", f"of {count}", count) for count in (100, 1000, 10)]
    read = documents.read(written(tmp_path, *measured, result("alone, stop", "module", 1)))
    assert [number for number, _samples in read.by_number_of_subject("alone, stop")] == [10, 100, 1000]
    assert read.by_number_of_subject("alone, start") == []


def test_a_peer_that_did_not_run_is_named_with_the_last_line_of_its_reason(tmp_path: Path) -> None:
    why = {"podman": "podman run: 32256: warning: one\nError: may not\n", "crun-13": "it is not installed"}
    read = documents.read(written(tmp_path, not_measured=why))
    assert read.absent() == ["podman was not measured: Error: may not", "crun-13 was not measured: it is not installed"]


def test_machine_and_versions_for_people(tmp_path: Path) -> None:
    read = documents.read(written(tmp_path))
    assert read.machine() == (
        "Debian GNU/Linux 12 (bookworm), Linux 6.1.0, Python 3.11.2; 2 processors (Some Processor); "
        "load average at the end 3.1"
    )
    assert read.programs() == (
        "crun 1.8.1, systemd-nspawn 252.39-1~deb12u2, lxc-start 5.0.2, nft 1.0.6, zstd 1.5.4, other 7"
    )


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"host": {**HOST, "load": None}, "results": None}, "results: is missing"),
        ({"host": {key: HOST[key] for key in HOST if key != "python"}}, r"host.python: is missing; measure again"),
        ({"not_measured": None}, "not_measured: is missing"),
        ({"results": [{"benchmark": "launch"}]}, r"results\[0\]: is not a subject's samples"),
        ({"results": [result("launch", "crun")]}, r"results\[0\].samples: is empty"),
    ],
)
def test_what_is_no_result_is_refused_with_its_place(tmp_path: Path, parts: dict[str, t.Any], said: str) -> None:
    with pytest.raises(documents.Unreadable, match=f"benchmark.json: {said}"):
        documents.read(written(tmp_path, **parts))


@pytest.mark.parametrize(("content", "said"), [("{", "is not JSON"), ("[]", "is not the results")])
def test_another_file_is_refused(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(documents.Unreadable, match=f"other.json: {said}"):
        documents.read(path)


def test_a_peer_that_is_not_installed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert subjects.peers(tmp_path) == ([], dict.fromkeys(subjects.PEERS, "it is not installed"))


@pytest.mark.root
def test_a_peer_that_fails_is_said_with_what_it_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "crun"
    program.write_text("#!/bin/sh\necho may not >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found, unable = subjects.peers(tmp_path)
    assert found == []
    assert unable["crun"].endswith("may not\n")
