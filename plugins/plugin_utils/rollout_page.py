# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The summary of a rollout as one page of HTML that needs nothing beside it."""

from __future__ import annotations

import html
import time
import typing as t

from .rollout import BAD, MEANINGS, Record, headline

STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
caption { text-align: left; font-weight: bold; padding: .5rem 0; }
th, td { border: 1px solid GrayText; padding: .4rem .6rem; text-align: left; vertical-align: top; }
thead th { position: sticky; top: 0; background: Canvas; }
tr.bad > th, tr.bad > td { border-left-width: .4rem; }
tr.bad .outcome { font-weight: bold; }
pre { overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere; margin: .3rem 0; }
.verdict { border: .2rem solid; padding: .6rem 1rem; font-size: 1.15rem; }
"""

WAVES = "The hosts of a wave are switched together, and the next wave follows when enough of them are well."
GENERATIONS = "A container's systems are numbered as they become current. The former ones are kept, to go back to."


def page(summary: Record) -> str:
    """Return the page: the verdict, what went wrong, the hosts, and what the words mean."""
    begun, ended = summary["begun"], summary["ended"]
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape('Rollout stopped' if summary['stopped'] else 'Rollout')} {escape(_date(begun))}</title>",
        f"<style>{STYLE}</style></head><body><main>",
        f"<h1>Rollout of {escape(_date(begun))}</h1>",
        f'<p class="verdict">{escape(headline(summary)[:1].upper() + headline(summary)[1:])}.</p>',
        (
            f"<p>It took {ended - begun:.0f} seconds, until {escape(_date(ended))}, "
            f"in {summary['waves']} waves. {WAVES}</p>"
        ),
    ]
    failed = [record for record in summary["hosts"] if record["outcome"] in BAD]
    if failed:
        parts.append("<h2>What went wrong</h2>")
        parts += [_failure(record) for record in failed]
    parts += ["<h2>Hosts</h2>", _table(summary["hosts"]), "<h2>What the words mean</h2>", "<dl>"]
    parts += [f"<dt>{escape(word)}</dt><dd>The host {escape(MEANINGS[word])}.</dd>" for word in summary["counts"]]
    parts += [f"<dt>generation</dt><dd>{GENERATIONS}</dd>", "</dl></main></body></html>"]
    return "\n".join(parts) + "\n"


def _failure(record: Record) -> str:
    summary, _newline, rest = str(record.get("message", "")).partition("\n")
    more = f"<details><summary>All of the message</summary><pre>{escape(rest)}</pre></details>" if rest else ""
    return f"<h3>{escape(record['host'])}: {escape(record['outcome'])}</h3><p>{escape(summary)}</p>{more}"


def _table(records: list[Record]) -> str:
    columns = ("Host", "Wave", "Outcome", "Container", "Generation", "Was", "Boot, s", "Failed units", "System")
    head = "".join(f'<th scope="col">{column}</th>' for column in columns)
    rows = "".join(_rows(record) for record in records)
    return (
        "<table><caption>Every host, in the order of the waves</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    )


def _rows(record: Record) -> str:
    containers: list[Record] = record.get("containers") or [{}]
    span = f' rowspan="{len(containers)}"' if len(containers) > 1 else ""
    bad = ' class="bad"' if record["outcome"] in BAD else ""
    rows = []
    for index, entry in enumerate(containers):
        host = ""
        if index == 0:
            host = (
                f'<th scope="row"{span}>{escape(record["host"])}</th>'
                f"<td{span}>{escape(record.get('wave', 'none'))}</td>"
                f'<td class="outcome"{span}>{escape(record["outcome"])}</td>'
            )
        boot = entry.get("boot_seconds")
        values = (
            entry.get("name", ""),
            entry.get("generation", ""),
            entry.get("former_generation", ""),
            "" if boot is None else f"{boot:.2f}",
            ", ".join(entry.get("failed_units") or []),
            str(entry.get("system") or "").rpartition("/")[2][:12],
        )
        rows.append(f"<tr{bad}>{host}{''.join(f'<td>{escape(value)}</td>' for value in values)}</tr>")
    return "".join(rows)


def escape(value: t.Any) -> str:
    return html.escape("" if value is None else str(value))


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(seconds))
