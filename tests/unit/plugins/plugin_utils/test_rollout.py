# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The journal of a rollout: when it stops, and what is said of it."""

from __future__ import annotations

import os
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.plugin_utils import rollout
from ansible_collections.unshare.container.plugins.plugin_utils.rollout_page import page

from .. import golden


@pytest.fixture
def journal(tmp_path: Path) -> rollout.Journal:
    journal = rollout.Journal(str(tmp_path))
    journal.begin()
    return journal


@pytest.mark.parametrize(
    ("limit", "failures", "stops"), [(0, 0, False), (0, 1, True), (25, 1, False), (25, 2, True), (100, 4, False)]
)
def test_it_stops_past_the_limit(journal: rollout.Journal, limit: float, failures: int, stops: bool) -> None:
    for number in range(failures):
        journal.fail(f"host{number}", 1, 4, limit)
        journal.fail(f"host{number}", 1, 4, limit)  # one host fails once
    assert (journal.stopped() is not None) == stops


def test_waves_are_counted_apart(journal: rollout.Journal) -> None:
    for wave in (1, 2, 3):
        journal.fail(f"host{wave}", wave, 10, 10)
    assert journal.stopped() is None
    journal.fail("another", 3, 10, 10)
    assert journal.stopped() == "2 of 10 hosts failed in wave 3; 10 % may"


def test_names_of_hosts_are_no_paths(journal: rollout.Journal, tmp_path: Path) -> None:
    for host in ("../../x", "a/b", "[::1]:22", "münchen"):
        journal.note(host, {"outcome": rollout.SWITCHED})
        assert journal.record(host)["host"] == host
    assert [path.name for path in tmp_path.iterdir()] == ["unshare-rollout"]


@pytest.mark.parametrize(
    ("result", "outcome"),
    [
        ({"changed": True}, rollout.SWITCHED),
        ({"changed": False}, rollout.UNCHANGED),
        (
            {"changed": True, "containers": [{"changed": True, "restarted_units": ["a.service"]}, {"changed": False}]},
            rollout.RESTARTED,
        ),
        (
            {"changed": True, "containers": [{"changed": True, "restarted_units": ["a.service"]}, {"changed": True}]},
            rollout.SWITCHED,
        ),
        (
            {"failed": True, "containers": [{"failed": True}, {"changed": True, "restarted_units": ["a.service"]}]},
            rollout.FAILED,
        ),
        ({"failed": True, "msg": "x"}, rollout.FAILED),
        (
            {"failed": True, "containers": [{"failed": True, "rolled_back_to": 3}, {"changed": True}]},
            rollout.ROLLED_BACK,
        ),
        ({"failed": True, "containers": [{"failed": True, "rolled_back_to": 3}, {"failed": True}]}, rollout.FAILED),
    ],
)
def test_outcomes(result: dict[str, t.Any], outcome: str) -> None:
    assert rollout.outcome_of(result) == outcome


def told(journal: rollout.Journal) -> dict[str, t.Any]:
    journal.open_wave(["b"])
    journal.open_wave(["a", "c"])
    web = {"name": "web", "generation": 4, "former_generation": 3, "boot_seconds": 0.25, "failed_units": []}
    journal.note("b", {"outcome": rollout.SWITCHED, "containers": [web, {**web, "name": "db"}]})
    message = "container 'web' is not well: <script>alert(1)</script>\n" + "\n".join(f"line {n}" for n in range(40))
    journal.note("a", {"outcome": rollout.ROLLED_BACK, "message": message, "containers": [web]})
    journal.fail("a", 2, 2, 0)
    journal.note("c", {"outcome": rollout.HELD_BACK})
    return journal.summary()


def test_text_in_the_order_of_the_waves(journal: rollout.Journal) -> None:
    summary = told(journal)
    assert summary["failed"]
    lines = rollout.text(summary)
    assert lines[0].startswith("rollout stopped: 1 of 2 hosts failed in wave 2; 0 % may. 3 hosts: ")
    assert lines[1] == ("b (wave 1): switched; web generation 4 booted in 0.25 s, db generation 4 booted in 0.25 s")
    assert lines[2].startswith("a (wave 2): rolled back; ")
    assert lines[3].startswith("    container 'web' is not well: ")
    assert lines[-2] == "    line 39"
    assert len(lines) == 3 + rollout.SHOWN + 1
    assert lines[-1] == "c (wave 2): held back"


def test_text_and_page_name_restarted_units(journal: rollout.Journal) -> None:
    journal.open_wave(["a"])
    units = list("bcdefgh")
    web = {"name": "web", "restarted_units": units, "outdated_units": ["session-1.scope"]}
    journal.note("a", {"outcome": rollout.RESTARTED, "containers": [web]})
    summary = journal.summary()
    assert not summary["failed"]
    assert rollout.text(summary) == [
        "rollout completed. 1 host: 1 restarted",
        "a (wave 1): restarted; web restarted b, c, d, e, f and 2 more (still outdated: session-1.scope)",
    ]
    assert all(unit in page(summary) for unit in [*units, "session-1.scope"])


def test_the_page_is_whole_and_escaped(journal: rollout.Journal) -> None:
    text = page(told(journal))
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "line 20" in text
    assert text.count("<tr") == 1 + 4
    assert '<html lang="en">' in text
    assert "<caption>" in text
    assert 'scope="row"' in text


SUMMARY: dict[str, t.Any] = {
    "hosts": [
        {
            "host": "b",
            "wave": 1,
            "outcome": rollout.SWITCHED,
            "containers": [
                {
                    "name": "web",
                    "generation": 4,
                    "former_generation": 3,
                    "boot_seconds": 0.25,
                    "failed_units": [],
                    "system": "/var/lib/unshare/systems/0f343b0931126a20f133d67c2b018a3b-web",
                },
                {
                    "name": "db",
                    "generation": 1,
                    "boot_seconds": None,
                    "failed_units": ["a.service", "b.service"],
                    "system": None,
                },
            ],
        },
        {
            "host": "<a>",
            "wave": 2,
            "outcome": rollout.ROLLED_BACK,
            "message": "container 'web' is \"not\" well: <script>alert(1)</script>\nline 1\nline & 2",
            "containers": [{"name": "web", "generation": 0}],
        },
        {"host": "d", "wave": 2, "outcome": rollout.FAILED, "message": "one line"},
        {"host": "c", "outcome": rollout.HELD_BACK},
    ],
    "waves": 2,
    "counts": {rollout.SWITCHED: 1, rollout.ROLLED_BACK: 1, rollout.FAILED: 1, rollout.HELD_BACK: 1},
    "stopped": "2 of 2 hosts failed in wave 2; 0 % may",
    "begun": 0.0,
    "ended": 61.6,
    "check": False,
    "failed": True,
}


def test_the_golden_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    try:
        golden.check("rollout-page.html.txt", page(SUMMARY))
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_good_rollout(journal: rollout.Journal) -> None:
    journal.open_wave(["a"])
    journal.note("a", {"outcome": rollout.SWITCHED})
    summary = journal.summary()
    assert not summary["failed"]
    assert rollout.headline(summary) == "rollout completed. 1 host: 1 switched"
    assert "What went wrong" not in page(summary)
    assert "nothing was changed" in rollout.headline(journal.summary(check=True))


def test_a_host_of_which_nothing_more_is_known_is_staged(journal: rollout.Journal) -> None:
    journal.open_wave(["b", "a"])
    journal.note("a", {"outcome": rollout.UNCHANGED})
    for host in ("c", "b"):
        journal.note(host, {})
    summary = journal.summary()
    assert [(record["host"], record.get("wave"), record["outcome"]) for record in summary["hosts"]] == [
        ("b", 1, "staged"),
        ("a", 1, "unchanged"),
        ("c", None, "staged"),
    ]
    assert (summary["waves"], summary["counts"]) == (1, {"staged": 2, "unchanged": 1})
    assert (summary["stopped"], summary["failed"], summary["check"]) == (None, False, False)
    assert rollout.headline(summary) == "rollout completed. 3 hosts: 2 staged, 1 unchanged"
    assert rollout.text(summary)[3] == "c (no wave): staged"


def test_the_golden_words_for_an_outcome() -> None:
    assert set(rollout.BAD) < set(rollout.MEANINGS)
    golden.check("outcomes.yml", golden.dump(rollout.MEANINGS))


def test_hosts_are_in_the_order_of_their_waves_and_then_of_their_names(journal: rollout.Journal) -> None:
    for host in ("d", "c", "b", "a", "e"):
        journal.note(host, {"outcome": rollout.SWITCHED})
    assert journal.open_wave(["e", "b"]) == 1
    assert journal.open_wave(["a"]) == 2
    (journal.directory / "waves/3").write_text("{}")  # of which nothing is known
    summary = journal.summary()
    assert [(record["host"], record.get("wave")) for record in summary["hosts"]] == [
        ("e", 1),
        ("b", 1),
        ("a", 2),
        ("c", None),
        ("d", None),
    ]
    assert (summary["waves"], summary["counts"]) == (3, {rollout.SWITCHED: 5})


def test_what_is_being_written_is_no_host(journal: rollout.Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is written beside the directories, each file of which is a host's, and takes its place in one step."""
    asides: list[tuple[str, str]] = []
    write = rollout.write_atomically

    def noted(path: str, text: str, aside: str) -> None:
        asides.append((path, aside))
        write(path, text, aside=aside)

    monkeypatch.setattr(rollout, "write_atomically", noted)
    journal.note("a/b", {"outcome": rollout.SWITCHED})
    journal.stop("why")
    journal.open_wave(["a/b"])
    aside = f"{journal.directory}/.{os.getpid()}"
    assert asides == [(f"{journal.directory}/{name}", aside) for name in ("hosts/a%2Fb", "stopped", "waves/1")]
    assert journal.record("a/b") == {"host": "a/b", "outcome": rollout.SWITCHED}
    assert journal.record("other") == {"host": "other"}
    assert journal.stopped() == "why"


def test_a_rollout_stops_for_its_first_reason(journal: rollout.Journal) -> None:
    journal.fail("a", 0, 3, 0)
    journal.fail("b", 2, 3, 0)
    assert journal.stopped() == "1 of 3 hosts failed in staging; 0 % may"


def test_when_it_began_is_noted(journal: rollout.Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    journal.begin()
    monkeypatch.setattr(time, "time", lambda: 1060.0)
    assert (journal.summary()["begun"], journal.summary()["ended"]) == (1000.0, 1060.0)
    (journal.directory / "begun").unlink()
    assert journal.summary()["begun"] == 1060.0


def test_what_containers_say_drives_no_terminal_and_no_browser(journal: rollout.Journal) -> None:
    hostile, shown = "a\x1b[2J\u202eb\x07", r"a\x1b[2J\u202eb\x07"
    containers = [{"name": "web", "failed_units": [hostile]}]
    journal.note("host1", {"outcome": rollout.FAILED, "message": f"{hostile}\nsecond", "containers": containers})
    summary = journal.summary()
    texts = ["\n".join(rollout.text(summary)), page(summary)]
    for text in texts:
        assert shown in text
        assert not {"\x1b", "\u202e", "\x07"}.intersection(text)
    assert "second" in texts[0].split("\n")[-1]
