# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text for a person's terminal, with what root inside has put into it.

Names of units and files, lines of logs and what a status says are the container's own word. A terminal obeys the
control characters in it: it can be made to show another text than the one that is written, or to type. So they are
shown as escapes in each message of this collection, and so are the controls of writing direction. What a command that
was entered writes, or the console, is not a message, and is left as it is.

Regular expressions are not used here: their import would take longer than a launch.
"""

from __future__ import annotations

import os

_KEPT = "\t\n"
_LINE_END = "\r\n"
_CONTROLS = [code for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in _KEPT]
# Marks, embeddings, overrides and isolates of Unicode's bidirectional algorithm, and its separators of lines.
_CONTROLS += [0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x2070)]
_TABLE = {code: ("\\x%02x" if code < 0x100 else "\\u%04x") % code for code in _CONTROLS}


def printable(text: str) -> str:
    """Return a text with escapes (`\\x1b`) in place of control characters; tabs and ends of lines stay as they are."""
    return text if text.isprintable() else _LINE_END.join(part.translate(_TABLE) for part in text.split(_LINE_END))


def one_line(text: str) -> str:
    """Return a text as `printable` does, in one line: a newline in a name begins no message of its own."""
    return printable(text).replace(_LINE_END, " ").replace("\n", " ")


def print_error(program: str, text: str) -> None:
    """Write a message of a program to standard error."""
    os.write(2, ("%s: %s\n" % (program, printable(text))).encode("utf-8", "backslashreplace"))


def print_warning(program: str, text: str) -> None:
    """Write a warning of a program to standard error, in one line."""
    print_error(program, "warning: " + one_line(text))
