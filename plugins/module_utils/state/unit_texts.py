# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one reader of units: the text of their files, the commands in it, and what units' names stand for.

It reads as systemd does: files by systemd.syntax(7), commands by systemd.service(5), names and specifiers by
systemd.unit(5). What systemd ignores for its form is left out.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterable, List, Match, Tuple

    Settings = List[Tuple[str, str, str]]  # section, key and value of each assignment, in their order

UPHOLDS = "Upholds"
PULLS = ("Requires", "Wants", "BindsTo", UPHOLDS)
"""Dependencies that are started with a unit."""

ON_OCCASION = ("OnFailure", "OnSuccess")
"""Dependencies that are started when a unit has ended."""

TRIGGERS = {"automount": "", "path": "Unit", "socket": "Service", "timer": "Unit"}
"""The types of units that start another one, with the setting that names that; empty where there is none."""

PREFIXES = "@-:+!|"
"""Characters before the program of a command, which say how it is run."""

YES, NO = ("1", "yes", "y", "true", "t", "on"), ("0", "no", "n", "false", "f", "off")

_SPACE = " \t\n\r"
_LINE_END = re.compile("\r\n|\n\r|[\n\r\0]")
_LAST_BACKSLASHES = re.compile(r"\\*$")
_QUOTED = r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'"
_WORD = re.compile(r"[ \t\n\r]*((?:[^ \t\n\r\"'\\]|\\.|%s)+)(?=[ \t\n\r]|$)" % _QUOTED, re.DOTALL)
_PART = re.compile(r"(?P<quoted>%s)|(?:[^\"'\\]|\\.)+" % _QUOTED, re.DOTALL)
_ESCAPE = re.compile(
    r"\\(?:(?P<letter>[abfnrtvs\\\"'])|x(?P<byte>[0-9a-fA-F]{2})|(?P<octal>[0-3][0-7]{2})"
    r"|u(?P<short>[0-9a-fA-F]{4})|U(?P<long>[0-9a-fA-F]{8}))"
)
_LETTERS = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "s": " "}
_INSTANCE = re.compile(r"@(?P<instance>.*)(?=[.][a-z]+$)")
_SPECIFIER = re.compile("%(.?)")


def assignments(text: str) -> Settings:
    """Return section, key and value of each assignment in a text; each section begins with two empty words.

    The section is empty where systemd reads no section, as behind a header without its end.
    """
    found: Settings = []
    section = begun = ""
    for line in _LINE_END.split(text[1:] if text.startswith("\ufeff") else text):
        if line.lstrip(_SPACE).startswith(("#", ";")):  # also between the parts of a continued line
            continue
        line = begun + line
        begun = ""
        if len(_LAST_BACKSLASHES.findall(line)[0]) % 2:
            begun = line[:-1] + " "
        else:
            section = _read_line(line.strip(_SPACE), section, found)
    if begun:
        _read_line(begun.strip(_SPACE), section, found)
    return found


def _read_line(line: str, section: str, found: Settings) -> str:
    """Add the assignment, or the beginning of a section, in a line; return the section that the next line is in."""
    if line.startswith("["):
        section = line[1:-1] if line.endswith("]") else ""
        found.append((section, "", ""))
        return section
    key, equals, value = line.partition("=")
    if equals and key.strip(_SPACE):
        found.append((section, key.strip(_SPACE), value.strip(_SPACE)))
    return section


def of_unit(name: str, text: str) -> Settings:
    """Return the assignments in a text that systemd reads for a unit: those of `[Unit]`, and of its type's section."""
    sections = ("Unit", name.rpartition(".")[2].capitalize())
    return [(section, key, value) for section, key, value in assignments(text) if key and section in sections]


def values(settings: Settings, key: str) -> list[str]:
    """Return the values of a setting, of which an empty one forgets those before."""
    found: list[str] = []
    for _section, other, value in settings:
        if other == key:
            found = [*found, value] if value else []
    return found


def last(settings: Settings, key: str) -> str:
    """Return the value of a setting that has one: the last; empty when there is none."""
    return ([""] + values(settings, key))[-1]


def listed(settings: Settings, key: str) -> list[str]:
    """Return the words of a setting that takes a list, of which an empty value forgets those before."""
    return [word for value in values(settings, key) for word in words(value)]


def is_true(settings: Settings, key: str) -> bool:
    """Return whether a setting is true, by its last value that is a truth value."""
    known = [value.lower() in YES for _section, found, value in settings if found == key and value.lower() in YES + NO]
    return bool(known) and known[-1]


def words(value: str) -> list[str]:
    """Return the words of a value without their quotes, up to one whose quote does not end; escapes are left in."""
    return [_without_quotes(text) for text in _raw_words(value)[0]]


def command_lines(value: str) -> list[list[str]]:
    """Return the words of each command in a value of ExecStart= and the like.

    Quotes are taken off, escapes are resolved. PREFIXES and specifiers are left in. A command with a quote that does
    not end is left out.
    """
    found: list[list[str]] = [[]]
    raw, is_whole = _raw_words(value)
    for text in raw:
        if text == ";" and found[-1]:
            found.append([])
        else:
            found[-1].append(";" if text == r"\;" else _ESCAPE.sub(_unescaped, _without_quotes(text)))
    return [command for command in (found if is_whole else found[:-1]) if command]


def _raw_words(value: str) -> tuple[list[str], bool]:
    """Return the words of a value as they are written, and whether these are all."""
    found, position = [], 0
    match = _WORD.match(value)
    while match is not None:
        found.append(match.group(1))
        position = match.end()
        match = _WORD.match(value, position)
    return found, not value[position:].strip(_SPACE)


def _without_quotes(text: str) -> str:
    return "".join(part.group()[1:-1] if part.group("quoted") else part.group() for part in _PART.finditer(text))


def _unescaped(found: Match[str]) -> str:
    letter = found.group("letter")
    if letter:
        return _LETTERS.get(letter, letter)
    octal = found.group("octal")
    code = int(octal, 8) if octal else int(found.group("byte") or found.group("short") or found.group("long"), 16)
    return chr(code) if code <= 0x10FFFF else found.group()


def expanded(text: str, name: str) -> str | None:
    """Return a text of a unit of this name with its specifiers replaced; None when only the container knows one."""
    stem = name.rpartition(".")[0]
    prefix, _at, instance = stem.partition("@")
    known = {"%": "%", "n": name, "N": stem, "p": prefix, "j": prefix.rpartition("-")[2]}
    known.update({"i": instance} if instance else {})
    for specifier, plain in (("P", prefix), ("J", known["j"]), ("I", instance)):
        if plain and not set("-\\") & set(plain):  # those characters are escapes of others
            known[specifier] = plain
    if any(found not in known for found in _SPECIFIER.findall(text)):
        return None
    return _SPECIFIER.sub(lambda found: known[found.group(1)], text)


def template_of(name: str) -> str:
    """Return the template of an instance; the name itself of any other unit."""
    return _INSTANCE.sub("@", name)


def is_instance(name: str) -> bool:
    """Return whether a unit is an instance of a template."""
    return "@" in name and not is_template(name)


def is_template(name: str) -> bool:
    """Return whether a unit is a template, of which instances alone run."""
    return name.rpartition(".")[0].endswith("@")


def instance_for(name: str, starter: str) -> str:
    """Return the unit that is started when a unit starts another by a name: of a template, the instance for that one.

    That has the instance of the starter, or its name when it is none.
    """
    before, _at, instance = starter.rpartition(".")[0].partition("@")
    return _INSTANCE.sub("@" + (instance or before).replace("\\", r"\\"), name) if is_template(name) else name


def drop_in_directories(name: str) -> list[str]:
    """Return the directories with drop-ins for a unit, without their `.d`, the one that is before others first."""
    stem, _dot, kind = name.rpartition(".")
    before, _at, _instance = stem.partition("@")
    forms = [_INSTANCE.search(each) for each in (name, template_of(name))]
    ends = [found.group() + "." + kind for found in forms if found] + ["." + kind]
    parts = before.split("-")
    prefixes = ["-".join(parts[:count]) + "-" for count in range(len(parts) - 1, 0, -1)]
    return [*dict.fromkeys([name, template_of(name), *(prefix + end for prefix in prefixes for end in ends), kind])]


def dependencies(name: str, settings: Settings, keys: Iterable[str]) -> list[str]:
    """Return the units that these settings of a unit name, each with its instance; the settings in their order."""
    found = [
        expanded(word, name)
        for wanted in keys
        for section, key, value in settings
        if (section, key) == ("Unit", wanted)
        for word in words(value)
    ]
    return [instance_for(word, name) for word in found if word]


def triggered(name: str, settings: Settings) -> str:
    """Return the unit that a socket, a timer, a path or an automount point starts; empty for other units.

    It is empty as well when only the container knows its name.
    """
    stem, _dot, kind = name.rpartition(".")
    if kind not in TRIGGERS:
        return ""
    if kind == "socket" and is_true(settings, "Accept"):
        return stem.partition("@")[0] + "@.service"
    named = [value for _section, key, value in settings if value and key == TRIGGERS[kind]]
    if named:
        return expanded(named[-1 if kind == "socket" else 0], name) or ""
    return stem + (".mount" if kind == "automount" else ".service")
