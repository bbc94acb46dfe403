# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is said of a container that is not well: the reason first, then each line of a log once."""

from __future__ import annotations

from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.life import failure_report
from ansible_collections.unshare.container.plugins.module_utils.life.failure_report import FailureReport

from ..target_helpers import FakeContainer

STAMP = "2026-11-26T06:21:46+0000 host "


class Logging(FakeContainer):
    """A container with a log of each unit, and of the whole."""

    def log_tail(self, lines: int, unit: str | None = None) -> str:
        own = unit or "anything"
        said = [f"{STAMP}systemd[1]: {own}: it went wrong", f"{STAMP}p[7]: the same", f"{STAMP}p[8]: the same", STAMP]
        return "\n".join(said) + "\n"


def test_the_reason_comes_first_and_only_what_is_to_blame_is_shown() -> None:
    report = FailureReport("not well: a.service has failed", Logging(["a.service", "b.service"]))
    assert report.units == ["a.service", "b.service"]
    assert report.text().split("\n") == [
        "not well: a.service has failed",
        "The log of a.service:",
        f"{STAMP}systemd[1]: a.service: it went wrong",
        f"{STAMP}p[7]: the same",
    ]


def test_a_line_of_two_logs_is_shown_once() -> None:
    reason = "a.service and b.service"
    lines = FailureReport(reason, Logging(["a.service", "b.service"])).text().split("\n")
    assert len([line for line in lines if line.endswith("the same")]) == 1
    assert [line for line in lines if line.startswith("The log of")] == [
        "The log of a.service:",
        "The log of b.service:",
    ]


def test_units_that_the_reason_does_not_name_are_added_to_it() -> None:
    first = FailureReport("it was not ready", Logging(["a.service"])).text().partition("\n")[0]
    assert first == "it was not ready. Its units: a.service has failed (exit-code)"


def test_where_no_unit_is_to_blame_the_end_of_the_whole_log_is_shown() -> None:
    assert FailureReport("port 80 is silent", Logging()).text().split("\n")[:2] == [
        "port 80 is silent",
        "The end of its log:",
    ]


def test_logs_are_shown_of_a_few_units_and_bounded() -> None:
    names = [f"u{number}.service" for number in range(9)]
    text = FailureReport("; ".join(names), Logging(names)).text()
    assert text.count("The log of") == failure_report.UNITS

    class Long(FakeContainer):
        def log_tail(self, lines: int, unit: str | None = None) -> str:
            return "x" * 1_000_000

    assert len(FailureReport("reason", Long()).text()) <= failure_report.LOG_LIMIT + 40


def test_a_reason_without_a_log_stands_alone() -> None:
    class Silent(FakeContainer):
        def judge(self, timeout: float = 10.0) -> None:  # type: ignore[override]
            raise LauncherError("it does not answer")

        def log_tail(self, lines: int, unit: str | None = None) -> str:
            return ""

    assert FailureReport("reason", Silent()).text() == "reason"
