# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs of cron: what cron would ignore is refused, and what it runs is what the declaration says."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.unshare.container.plugins.plugin_utils import crontab
from ansible_collections.unshare.container.plugins.plugin_utils.containerized import containerized_operating_system
from ansible_collections.unshare.container.plugins.plugin_utils.errors import DeclarationError
from ansible_collections.unshare.container.plugins.plugin_utils.system_files import system_files

READ = (
    "* * * * *",
    "*/5 1-3 * jan mon,tue",
    "1-5/2,7,9-11 0-23/2 1,15 * *",
    "0\t4  * *  *",
    "* * * jan-mar MON-Fri",
    "* * * * sun-sat",
    "* * * * 5-7",
    "*/61 * * * *",
    "00 03 01 12 0",
    "0 0 29 2 *",
    "0 0 31 1-2 *",
    "0 0 31 2 mon",
    *crontab.NICKNAMES,
)
"""Schedules that cron reads as they are meant."""

IGNORED = {
    "61 * * * *": "the minute, '61', must be 0 to 59",
    "* 24 * * *": "the hour, '24', must be 0 to 23",
    "* * 0 * *": "the day of the month, '0', must be 1 to 31",
    "* * 32 * *": "must be 1 to 31",
    "* * * 13 *": "the month, '13', must be 1 to 12, or jan to dec",
    "* * * * 8": "the day of the week, '8', must be 0 to 7, or sun to sat",
    "61 99 99 99 99": "the minute, '61'",
    "a b c d e": "the minute, 'a', must be 0 to 59",
    "mon * * * *": "the minute, 'mon', must be 0 to 59",
    "* * * january *": "the month, 'january', must be",
    "* * * mon *": "the month, 'mon', must be",
    "* * * * jan": "the day of the week, 'jan', must be",
    "4294967297 * * * *": "must be 0 to 59",
    "5/10 * * * *": "'5/10', has a step, but no range: write 5-59/10",
    "* * * * mon/2": "has a step, but no range: write mon-7/2",
    "*/0 * * * *": "has a step of 0",
    "7-59/0 * * * *": "has a step of 0",
    "*/ * * * *": "'*/', must be a number",
    "*/a * * * *": "'*/a', must be a number",
    "5-1 * * * *": "ends before it begins: write 5-59,0-1",
    "* 22-6 * * *": "ends before it begins: write 22-23,0-6",
    "* * * * sat-sun": "ends before it begins: write 6-7",
    "* * * * fri-mon": "ends before it begins: write 5-7,0-1",
    "1, * * * *": "'', must be a number",
    "1--5 * * * *": "'1--5', must be",
    "-1 * * * *": "'-1', must be",
    "*-5 * * * *": "'*-5', must be",
    "** * * * *": "'**', must be",
    "1~5 * * * *": "'1~5', must be",
    "* * * * 5#1": "'5#1', must be",
    "* * L * *": "the day of the month, 'L', must be",
    "? * * * *": "'?', must be",
    "* * * * ;": "';', must be",
    "0 0 31 2 *": "never comes: no such month has a day 31",
    "0 0 30,31 feb *": "never comes: no such month has a day 30",
    "0 0 31 4,6,9,11 */2": "never comes",
    "* * * *": "must be five fields",
    "* * * * * *": "must be five fields",
    "": "must be five fields",
    "daily": "must be five fields",
    "@dialy": "is no schedule of cron; did you mean '@daily'?",
    "@Daily": "is no schedule of cron; did you mean '@daily'?",
    "@every_minute": "is no schedule of cron; known: @annually",
    "@x": "is no schedule of cron; known: @annually, @daily",
    "* *\n* * *": "holds the control character",
}


@pytest.mark.parametrize("text", READ)
def test_schedules_that_cron_reads(text: str) -> None:
    assert crontab.schedule(text, "x") == text


@pytest.mark.parametrize("text", IGNORED)
def test_schedules_that_cron_would_ignore(text: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        crontab.schedule(text, "x")
    assert str(caught.value).startswith("x: ")
    assert IGNORED[text] in str(caught.value)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("echo 100%", r"echo 100\%"),
        ("touch /run/c-$(date +%H)", r"touch /run/c-$(date +\%H)"),
        ("%%", r"\%\%"),
        (r"date +\%H", r"date +\%H"),
        (r"printf '\\%s'", r"printf '\\\%s'"),
        (r"printf '\n' a\b", r"printf '\n' a\b"),
        ("  true  ", "true"),
    ],
)
def test_a_percent_sign_is_one(text: str, written: str) -> None:
    assert crontab.command(text, "x") == written


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("  ", "is empty"),
        ("a\nb", "control character"),
        ("x" * 999, "longer than"),
        ("%" * 500, "998"),
    ],
)
def test_commands_that_cron_would_not_run(text: str, said: str) -> None:
    assert crontab.command("x" * 998, "x")
    with pytest.raises(DeclarationError, match=said):
        crontab.command(text, "x")


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a b", "A=a b"),
        ("", 'A=""'),
        (" a", 'A=" a"'),
        ("a ", 'A="a "'),
        ("'a'", "A=\"'a'\""),
        ('"a', "A='\"a'"),
        ('it\'s "x"', 'A=it\'s "x"'),
        ("x=y#z%", "A=x=y#z%"),
    ],
)
def test_a_variable_keeps_its_text(text: str, written: str) -> None:
    assert crontab.variable("A", text, "x") == written


@pytest.mark.parametrize(("text", "said"), [('"it\'s"', "both kinds of quotes"), ("a\n", "control character")])
def test_a_variable_that_cron_cannot_hold(text: str, said: str) -> None:
    with pytest.raises(DeclarationError, match=said):
        crontab.variable("A", text, "x")


def jobs(*given: dict[str, t.Any], **declared: t.Any) -> dict[str, t.Any]:
    defaults = {"schedule": "@daily", "command": "true"}
    listed = [{"name": f"job{index}", **defaults, **job} for index, job in enumerate(given)]
    system = {"host_name": "a", "services": [{"type": "cron", "value": {"jobs": listed}}], **declared}
    return t.cast("dict[str, t.Any]", system_files(containerized_operating_system(system))["files"])


def test_a_file_of_a_job() -> None:
    files = jobs({"command": "date +%H", "user": "alice", "environment": {"A": "", "B": 5}}, users=[{"name": "alice"}])
    assert files["/etc/cron.d/job0"]["content"] == 'A=""\nB=5\n@daily alice date +\\%H\n'


@pytest.mark.parametrize(
    ("job", "said"),
    [
        ({"schedule": "61 * * * *"}, "schedule: '61 * * * *': the minute"),
        ({"schedule": "@dialy"}, "schedule: '@dialy' is no schedule"),
        ({"command": " "}, "command: is empty"),
        ({"environment": {"A": "\"'"}}, "environment.A: begins or ends with"),
        ({"user": "nosuch"}, "user: there is no user 'nosuch': declare it in operating_system.users"),
        ({"user": "alcie"}, "user: there is no user 'alcie'"),
        ({"user": "users"}, "user: there is no user 'users'"),
    ],
)
def test_the_place_of_a_job_is_exact(job: dict[str, t.Any], said: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        jobs({}, job, users=[{"name": "alice"}])
    assert str(caught.value).startswith(f"operating_system.services[0].value.jobs[1].{said}")


def written(entry: t.Any, name: str = "own", *, cron: bool = True) -> dict[str, t.Any]:
    added = {"type": "simple", "value": {"target": "etc", "value": {f"cron.d/{name}": entry}}}
    system = {"host_name": "a", "services": [added, *([{"type": "cron"}] if cron else [])]}
    return t.cast("dict[str, t.Any]", system_files(containerized_operating_system(system))["files"])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n\n",
        "A=b\nB = 'x y'\n\t*/5 * * * *\troot\tdate +\\%H\n",
        "@daily games A=b true\n0 0 * * sun root x\n",
    ],
)
def test_a_file_that_cron_reads(text: str) -> None:
    assert written(text)
    assert written("61 * * * * x", ".placeholder")
    assert written("61 * * * * x", cron=False)
    assert written({"link": "/srv/x"})


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("@daily root true", ": does not end with a newline"),
        ("A=b\n61 * * * * root true\n", " (line 2): '61 * * * *': the minute, '61', must be"),
        ("* * * * root true\n", " (line 1): '* * * * root': the day of the week, 'root', must be"),
        ("* * * * * root\n", " (line 1): '* * * * * root' must be a schedule, a user and a command"),
        ("@dialy root true\n", " (line 1): '@dialy' is no schedule"),
        ("@daily true\n", " (line 1): '@daily true' must be"),
        ("* * * * * nosuch true\n", " (line 1): there is no user 'nosuch'"),
        ({"content": "@daily root x\n", "mode": "0664"}, ": is not root's alone to write"),
        ({"content": "@daily root x\n", "owner": "games"}, ": is not root's alone to write"),
    ],
)
def test_a_file_that_cron_would_ignore(entry: t.Any, said: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        written(entry)
    assert str(caught.value).startswith(f"operating_system.services[0].value.value.cron.d/own{said}")
    with pytest.raises(DeclarationError, match="'own.conf' must be letters"):
        written("@daily root x\n", "own.conf")
