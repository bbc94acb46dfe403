# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The summary of a rollout as one page of HTML that needs nothing beside it, from the template beside this file."""

from __future__ import annotations

import functools
import time
import typing as t
from pathlib import Path

from .rollout import BAD, MEANINGS, JournalRecord, headline

TEMPLATE = Path(__file__).with_suffix(".html.j2")


@functools.cache
def _template() -> t.Any:
    import jinja2

    environment = jinja2.Environment(trim_blocks=True, keep_trailing_newline=True, autoescape=True)
    environment.filters.update(date=_date, text=_text)
    return environment.from_string(TEMPLATE.read_text("utf-8"))


def page(summary: JournalRecord) -> str:
    """Return the page: the verdict, the failures, the hosts, and a glossary."""
    return str(_template().render(summary=summary, headline=headline(summary), bad=BAD, meanings=MEANINGS))


def _date(seconds: float) -> str:
    """Return a time, in seconds since the epoch, in the controller's time zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(seconds))


def _text(value: t.Any) -> str:
    """Return the text of a value, or "" when the record lacks it."""
    return "" if value is None else str(value)
