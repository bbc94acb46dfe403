# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The text of units is read as systemd reads it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.state import unit_texts

TEXTS = {
    "spaces": (" [Unit] \n\tA = b  c \t\nB=\n", [("Unit", "A", "b  c"), ("Unit", "B", "")]),
    "comments": ("[Unit]\n#A=1\n ;B=2\nC=3 # 4\n", [("Unit", "C", "3 # 4")]),
    "a_continued_line": ("[Unit]\nA=1 \\\n  B=2\nC=3\n", [("Unit", "A", "1    B=2"), ("Unit", "C", "3")]),
    "comments_in_a_continued_line": ("[Unit]\nA=1 \\\n # x \\\n;y\n 2\n", [("Unit", "A", "1   2")]),
    "an_empty_line_ends_one": ("[Unit]\nA=1 \\\n\nB=2\n", [("Unit", "A", "1"), ("Unit", "B", "2")]),
    "a_continued_section": ("[Unit]\nA=1 \\\n[Service]\nB=2\n", [("Unit", "A", "1  [Service]"), ("Unit", "B", "2")]),
    "at_the_end": ("[Unit]\nA=1 \\", [("Unit", "A", "1")]),
    "two_backslashes": ("[Unit]\nA=1\\\\\nB=2\n", [("Unit", "A", "1\\\\"), ("Unit", "B", "2")]),
    "three_backslashes": ("[Unit]\nA=1\\\\\\\nB=2\n", [("Unit", "A", "1\\\\ B=2")]),
    "ends_of_lines": (
        "[Unit]\r\nA=1 \\\r\n2\rB=3\0C=4\n",
        [("Unit", "A", "1  2"), ("Unit", "B", "3"), ("Unit", "C", "4")],
    ),
    "a_byte_order_mark": ("\ufeff[Unit]\nA=1\n", [("Unit", "A", "1")]),
    "other_spaces": ("[Unit]\nA=1\x0b\u00a0\nB\u2028C=2\n", [("Unit", "A", "1\x0b\u00a0"), ("Unit", "B\u2028C", "2")]),
    "no_section": ("A=1\n[Unit\nB=2\n", [("", "A", "1"), ("", "B", "2")]),
    "no_assignments": ("[Unit]\nA\n=1\n\n \\\n", []),
    "again": ("[Unit]\nA=1\n[X-Y]\nA=2\n[Unit]\nA=3\n", [("Unit", "A", "1"), ("X-Y", "A", "2"), ("Unit", "A", "3")]),
}


@pytest.mark.parametrize("case", TEXTS)
def test_assignments(case: str) -> None:
    text, expected = TEXTS[case]
    found = unit_texts.assignments(text)
    assert [item for item in found if item[1]] == expected
    assert [item[0] for item in found if not item[1]].count("Unit") == (2 if case == "again" else "[Unit]" in text)


@pytest.mark.parametrize(
    ("unit", "keys"), [("a.service", "UAS"), ("b@c.socket", "UO"), ("service", "UAS"), ("t.target", "U")]
)
def test_the_sections_of_a_type_alone_are_read(unit: str, keys: str) -> None:
    text = "[Unit]\nU=1\n[Service]\nA=\n[Install]\nI=1\n[Socket]\nO=1\n[X-Service]\nX=1\n[Service]\nS=2\n"
    assert "".join(key for _section, key, _value in unit_texts.of_unit(unit, text)) == keys


def test_an_empty_value_forgets() -> None:
    given = unit_texts.assignments("[S]\nA=1 2\nA=\nA=3 '4 5'\nA=6\nB=x\nB=\nC=y\n")
    assert unit_texts.values(given, "A") == ["3 '4 5'", "6"]
    assert unit_texts.listed(given, "A") == ["3", "4 5", "6"]
    assert [unit_texts.last(given, key) for key in "ABCD"] == ["6", "", "y", ""]


@pytest.mark.parametrize(
    ("values", "expected"),
    [(["yes"], True), (["TRUE", "off"], False), (["On", "perhaps", ""], True), (["n", "t"], True), ([], False)],
)
def test_the_last_truth_value_counts(values: list[str], expected: bool) -> None:
    assert unit_texts.is_true([("S", "A", value) for value in values], "A") is expected


COMMANDS = {
    "words": ("/bin/a  b\tc", [["/bin/a", "b", "c"]]),
    "quotes": ("'/bin/a b' \"c 'd'\" e\"f g\"'h'", [["/bin/a b", "c 'd'", "ef gh"]]),
    "an_empty_word": ('/a "" x', [["/a", "", "x"]]),
    "escapes": (r"/a\x20b \101\t\s\u00e9 '\'' \"", [["/a b", "A\t é", "'", '"']]),
    "a_backslash": (r"/a \\x41 \q", [["/a", r"\x41", r"\q"]]),
    "two_commands": ("/a b ; -/c", [["/a", "b"], ["-/c"]]),
    "no_two_commands": (r"/a; \; ';' b;c", [["/a;", ";", ";", "b;c"]]),
    "nothing_after": ("/a ;", [["/a"]]),
    "a_quote_without_its_end": ("/a ; /b 'c", [["/a"]]),
    "a_backslash_at_the_end": ("/a b\\", []),
    "nothing": ("  ", []),
}


@pytest.mark.parametrize("case", COMMANDS)
def test_commands(case: str) -> None:
    value, expected = COMMANDS[case]
    if case == "no_two_commands":
        assert unit_texts.command_lines("';' a") == [[";", "a"]]
    assert unit_texts.command_lines(value) == expected


def test_words_keep_their_escapes() -> None:
    assert unit_texts.words(r"dev-a\x2db.device 'x y'  z") == [r"dev-a\x2db.device", "x y", "z"]


@pytest.mark.parametrize(
    ("text", "unit", "expected"),
    [
        ("%n %N %p %j%%", "a-b.service", "a-b.service a-b a-b b%"),
        ("%i %I %p %P", "a@c.service", "c c a a"),
        ("%i %j", "a-b@c-d.service", "c-d b"),
        ("%I", "a@c-d.service", None),
        ("%P", "a-b.service", None),
        ("%i", "a.service", None),
        ("%H", "a.service", None),
        ("%", "a.service", None),
    ],
)
def test_specifiers(text: str, unit: str, expected: str | None) -> None:
    assert unit_texts.expanded(text, unit) == expected


@pytest.mark.parametrize(
    ("name", "starter", "expected"),
    [
        ("t@.service", "a.target", "t@a.service"),
        ("t@.service", "a@b-c.service", "t@b-c.service"),
        ("t@.service", r"a\x2db.mount", r"t@a\x2db.service"),
        ("t@x.service", "a.target", "t@x.service"),
        ("t.service", "a@b.target", "t.service"),
    ],
)
def test_which_instance_is_started(name: str, starter: str, expected: str) -> None:
    assert unit_texts.instance_for(name, starter) == expected


def test_names_of_instances() -> None:
    names = ["a.service", "a@.service", "a@b.service", "a@b@c.d.service"]
    assert [unit_texts.template_of(name) for name in names] == ["a.service", "a@.service", "a@.service", "a@.service"]
    assert [unit_texts.is_instance(name) for name in names] == [False, False, True, True]
    assert [unit_texts.is_template(name) for name in names] == [False, True, False, False]


STARTED = {
    "a_socket": ("a.socket", "[Socket]\n", "a.service"),
    "an_instance": ("a@b.socket", "[Socket]\n", "a@b.service"),
    "each_connection": ("a@b.socket", "[Socket]\nAccept=yes\nService=x.service\n", "a@.service"),
    "the_last_of_a_socket": ("a.socket", "[Socket]\nService=b.service\nService=c.service\nService=\n", "c.service"),
    "the_first_of_a_timer": ("a.timer", "[Timer]\nUnit=\nUnit=b.service\nUnit=c.service\n", "b.service"),
    "a_specifier": ("a@b.path", "[Path]\nUnit=x@%i.service\n", "x@b.service"),
    "not_known_here": ("a.path", "[Path]\nUnit=%H.service\n", ""),
    "another_section": ("a.timer", "[Service]\nUnit=b.service\n", "a.service"),
    "an_automount_point": ("srv-a.automount", "[Automount]\nUnit=b.service\nWhere=/srv/a\n", "srv-a.mount"),
    "none": ("a.target", "[Unit]\nUnit=b.service\n", ""),
}


@pytest.mark.parametrize("case", STARTED)
def test_what_a_unit_triggers(case: str) -> None:
    unit, text, expected = STARTED[case]
    assert unit_texts.triggered(unit, unit_texts.of_unit(unit, text)) == expected


def test_dependencies() -> None:
    text = "[Unit]\nWants=a.service 't@.service'\nRequires=%i.target %H.service\nWants=\nWants=b.service\n"
    settings = unit_texts.of_unit("x@y.service", text + "[Service]\nWants=no.service\n")
    assert unit_texts.dependencies("x@y.service", settings, unit_texts.PULLS) == [
        "y.target",
        "a.service",
        "t@y.service",
        "b.service",
    ]


ANALYZE = shutil.which("systemd-analyze")
DROP_INS = [
    *("a-b@c-d.service", "a-b@.service"),
    *("a-@c-d.service", "a-@.service", "a-.service"),
    "service",
]
NO_DROP_INS = ["a-b@c-.service", "a.service", "b@.service"]


def test_directories_of_drop_ins() -> None:
    assert unit_texts.drop_in_directories("a-b@c-d.service") == DROP_INS
    assert unit_texts.drop_in_directories("x-y-z.socket") == ["x-y-z.socket", "x-y-.socket", "x-.socket", "socket"]
    assert unit_texts.drop_in_directories("a.target") == ["a.target", "target"]


@pytest.mark.skipif(ANALYZE is None, reason="this host has no systemd-analyze")
def test_the_hosts_systemd_reads_the_same(tmp_path: Path) -> None:
    """It names each key that it does not know, with its section, and so what it takes for one."""
    readable = [text for case, (text, _expected) in TEXTS.items() if case not in ("no_section", "other_spaces")]
    texts = {f"a-b@.service.d/{number:02}.conf": text for number, text in enumerate(readable)}
    texts["a-b@.service"] = "[Service]\nExecStart=/bin/true\n"
    for directory in (*DROP_INS, *NO_DROP_INS):
        texts[f"{directory}.d/of-{directory}.conf"] = f"[Unit]\nIn_{directory}=1\n"
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, newline="")
    done = subprocess.run(
        [str(ANALYZE), "verify", str(tmp_path / "a-b@c-d.service")],
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    said = re.findall(rf"{tmp_path}/(\S+):\d+: Unknown key (?:name )?'(.+?)' in section '?\[?(\w+)", done.stderr)
    if not said and "Failed to" in done.stderr:
        pytest.skip(f"this host's systemd-analyze reads no units: {done.stderr.splitlines()[0]}")
    read = {
        (file, key, section)
        for file, text in texts.items()
        for section, key, _value in unit_texts.of_unit("a-b@c-d.service", text)
        if section == "Unit" and not file.startswith(tuple(f"{directory}.d/" for directory in NO_DROP_INS))
    }
    assert {item for item in said if item[2] == "Unit"} == read
