# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The pages of the documentation, taken apart into what a reader would copy."""

from __future__ import annotations

import re
import textwrap
import typing as t
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = [
    "README.md",
    *sorted(f"docs/{path.name}" for path in (REPOSITORY / "docs").glob("*.md")),
    *sorted(str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "roles").glob("*/README.md")),
    "tests/benchmarks/README.md",
    "tests/mutation/README.md",
]
FENCE = re.compile(r"^```(?P<language>\w*)$")
FILE = re.compile(r"^(?P<added>Added to )?`(?P<path>[^`\s]+)`:?$")
"""The line before the block of a file's content."""
COMMENTED_FILE = re.compile(r"^# (?P<path>[\w./-]+\.(?:yml|yaml))$")
"""The same as the first line of a block."""
INDENT = "    "
PROGRAMS = {
    "ansible",
    "ansible-builder",
    "ansible-galaxy",
    "ansible-inventory",
    "ansible-playbook",
    "ansible-runner",
    "apt-get",
    "curl",
    "df",
    "du",
    "findmnt",
    "enter-container",
    "for",
    "journalctl",
    "ls",
    "rm",
    "make",
    "molecule",
    "mv",
    "run-container",
    "tar",
}
"""The first words of commands, without directories."""
SPOKEN_OF = {
    "ansible-doc",
    "cat",
    "chmod",
    "install",
    "namei",
    "nsenter",
    "readlink",
    "redis-cli",
    "shutdown",
    "sysctl",
    "systemctl",
    "systemd-analyze",
    "systemd-nspawn",
    "unshare",
}
"""The first words of further commands, which stand in sentences only."""
DRAWINGS = [
    ("README.md", "operating_system ──derive──▶"),
    ("docs/architecture.md", "controller                                            target host"),
    ("docs/at-scale.md", "n × c / p"),
]
"""Blocks that nobody can run, by their page and how they begin."""
ANOTHER = re.compile(rf"\n\n(?=# [\w./-]+\.ya?ml\n|(?:{'|'.join(sorted(PROGRAMS, reverse=True))}) )")
"""Where another file, or commands, begin in a block that is indented."""


class Block(t.NamedTuple):
    """A block of a page.

    Attributes:
        page: the page's path in the repository.
        section: the heading above it.
        line: number of its first line.
        language: the word after the fence; empty for a block that is indented.
        file: the file whose content it is, or None.
        added: whether that file has other content before it.
        text: its lines, without the indentation.
    """

    page: str
    section: str
    line: int
    language: str
    file: str | None
    added: bool
    text: str

    @property
    def place(self) -> str:
        """Return where it is, for a message."""
        return f"{self.page}:{self.line}"

    @property
    def is_commands(self) -> bool:
        """Return whether it is what somebody types into a shell."""
        return self.language == "sh" or (not self.language and program(self.text) in PROGRAMS)

    @property
    def is_drawing(self) -> bool:
        """Return whether it is neither a command nor a file, nor what a program prints."""
        return any(page == self.page and self.text.startswith(begin) for page, begin in DRAWINGS)

    def commands(self) -> list[str]:
        """Return its commands: its lines, with those that a backslash continues, or a whole script."""
        if self.language:
            return [self.text]
        return [line for line in self.text.replace("\\\n", "").splitlines() if line.strip()]


def program(command: str) -> str:
    """Return the name of the program that a command begins with."""
    return command.split(maxsplit=1)[0].rpartition("/")[2]


def blocks(page: str) -> list[Block]:
    """Return the blocks of a page, in its order."""
    found: list[Block] = []
    section, before = "", ""
    lines = (REPOSITORY / page).read_text("utf-8").splitlines()
    number = 0
    while number < len(lines):
        line, first = lines[number], number + 1
        fence = FENCE.match(line)
        taken: list[str] = []
        if fence:
            number += 1
            while lines[number] != "```":
                taken.append(lines[number])
                number += 1
            number += 1
        elif line.startswith(INDENT) and not lines[number - 1].strip():
            while number < len(lines) and (lines[number].startswith(INDENT) or not lines[number].strip()):
                taken.append(lines[number])
                number += 1
        else:
            number += 1
        if taken:
            language = fence["language"] if fence else ""
            text = textwrap.dedent("\n".join(taken)).strip("\n")
            for part in [text] if fence else ANOTHER.split(text):
                named = FILE.match(before) or COMMENTED_FILE.match(part.splitlines()[0])
                groups: dict[str, str | None] = named.groupdict() if named else {}
                file, added = groups.get("path"), bool(groups.get("added"))
                found.append(Block(page, section, first, language, file, added, f"{part}\n"))
                first += part.count("\n") + 2
        if line.startswith("#"):
            section = line.lstrip("# ")
        if line.strip():
            before = line
    return found


def spans() -> list[tuple[str, str]]:
    """Return the commands within the sentences of all pages, with the page of each."""
    found = []
    for page in PAGES:
        text = (REPOSITORY / page).read_text("utf-8")
        sentences = "\n".join(line for line in text.splitlines() if not line.startswith(INDENT))
        for span in re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", sentences, flags=re.DOTALL)):
            command = " ".join(span.split())
            if " " in command and program(command) in PROGRAMS | SPOKEN_OF:
                found.append((page, command))
    return found


def all_blocks() -> list[Block]:
    """Return the blocks of all pages."""
    return [block for page in PAGES for block in blocks(page)]
