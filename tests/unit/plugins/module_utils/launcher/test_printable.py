# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Messages for a terminal: what a container has put into them is shown, and obeyed by no terminal."""

from __future__ import annotations

import unicodedata

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import printable as subject
from ansible_collections.unshare.container.plugins.module_utils.launcher.printable import one_line, printable
from hypothesis import given
from hypothesis import strategies as st

BIDIRECTIONAL = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
MARKS = ("LEFT-TO-RIGHT MARK", "RIGHT-TO-LEFT MARK", "ARABIC LETTER MARK")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("a\rb\x08c\x00", r"a\x0db\x08c\x00"),
        ("\x7f\x9b31m\x85", r"\x7f\x9b31m\x85"),
        ("a\u202egpj.exe\u2069\u200f\u061c", r"a\u202egpj.exe\u2069\u200f\u061c"),
        ("a\u2028b\u2029c", r"a\u2028b\u2029c"),
        ("a\tb\nc\r\nd", "a\tb\nc\r\nd"),
        ("ünïcødé, 漢字, עברית, العربية, 🙂", "ünïcødé, 漢字, עברית, العربية, 🙂"),
        (r"C:\x1b", r"C:\x1b"),
        ("", ""),
    ],
)
def test_what_a_terminal_would_obey_is_an_escape(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_no_control_character_of_unicode_is_left() -> None:
    for code in range(0x110000):
        character = chr(code)
        directs = unicodedata.bidirectional(character) in BIDIRECTIONAL or unicodedata.name(character, "") in MARKS
        if directs or (unicodedata.category(character) == "Cc" and character not in "\t\n"):
            assert printable(f"a{character}b") != f"a{character}b", hex(code)


@given(st.text())
def test_nothing_else_is_changed(text: str) -> None:
    shown = printable(text)
    assert printable(shown) == shown
    if text.isprintable():
        assert shown == text
    assert not [character for character in one_line(text) if character in "\n\x1b\x07\u202e"]


def test_a_name_begins_no_line_of_its_own() -> None:
    assert one_line("no such file: a\nrun-container: warning: b\r\nc") == (
        "no such file: a run-container: warning: b c"
    )


def test_messages_of_programs(capfd: pytest.CaptureFixture[str]) -> None:
    subject.print_error("run-container", "the log ends:\n\x1b[2J\udcff é")
    subject.print_warning("run-container", "a\nb\x07")
    assert capfd.readouterr().err == (
        "run-container: the log ends:\n\\x1b[2J\\udcff é\nrun-container: warning: a b\\x07\n"
    )
