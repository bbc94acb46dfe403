# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text of nginx's configuration, read as nginx does: directives of words, with blocks of further ones."""

from __future__ import annotations

import fnmatch
import posixpath
import re
import typing as t

SERVING = ("http", "stream", "mail", "rtmp")
"""The contexts in which a block `server` is a server."""

PROCESS = ("pid", "daemon")
"""The directives of nginx' own process, on which it depends how the service starts."""

_TOKEN = re.compile(
    r"\s+|\#[^\n]*"
    r"|(?P<mark>[;{}])"
    r"|\"(?P<double>(?:\\.|[^\"\\])*)(?:\"|$)|'(?P<single>(?:\\.|[^'\\])*)(?:'|$)"
    r"|(?P<word>(?:\\.|\$\{|[^\s;{}\\])(?:\\.|\$\{|[^\s;{\\])*|\\$)",
    re.DOTALL,
)
_LUA = re.compile(
    r"(?:--)?\[(?P<level>=*)\[.*?\](?P=level)\]|--[^\n]*"
    r"|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'|[{}]",
    re.DOTALL,
)
_ESCAPED = re.compile(r"\\([\"'\\])")


class Directive(t.NamedTuple):
    """A directive: its words, the directive's name first, and what stands in its block; None without one."""

    words: list[str]
    block: list[Directive] | None = None


class NginxProcess(t.NamedTuple):
    """What a configuration says of nginx' own process: the file of its id, and `daemon`; empty where it says nothing.

    What is named below /var/run, a link, is named below /run here, as systemd wants it.
    """

    pid: str
    daemon: str


def directives(text: str) -> list[Directive]:
    """Return the directives of a text, comments left out. What nginx would refuse for its form is read somehow."""
    open_blocks: list[list[Directive]] = [[]]
    words: list[str] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            break
        position = match.end()
        mark = match["mark"]
        if mark is None:
            found = next((match[kind] for kind in ("double", "single", "word") if match[kind] is not None), None)
            if found is not None:
                words.append(_ESCAPED.sub(r"\1", found))
        elif mark == "{" and words and words[0].endswith("_by_lua_block"):
            position = _after_block(text, position)
            words = []
        elif mark == "{":
            inner: list[Directive] = []
            open_blocks[-1].append(Directive(words, inner))
            open_blocks.append(inner)
            words = []
        else:
            if words:
                open_blocks[-1].append(Directive(words))
            words = []
            if mark == "}" and len(open_blocks) > 1:
                open_blocks.pop()
    if words:
        open_blocks[-1].append(Directive(words))
    return open_blocks[0]


def _after_block(text: str, position: int) -> int:
    """Return where a block of Lua ends, by its braces outside strings and comments."""
    depth = 1
    for match in _LUA.finditer(text, position):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        if not depth:
            return match.end()
    return len(text)


def walk(known: t.Iterable[Directive], context: str = "main") -> t.Iterator[tuple[str, Directive]]:
    """Yield each directive with the name of the block that it stands in."""
    for directive in known:
        yield context, directive
        if directive.block is not None:
            yield from walk(directive.block, directive.words[0] if directive.words else "")


def process(known: t.Iterable[Directive]) -> NginxProcess:
    """Return what the directives of the main context say of nginx' own process."""
    found = {directive.words[0]: directive.words[1] for directive in known if len(directive.words) == 2}
    pid = found.get("pid", "")
    if pid.startswith("/"):
        pid = "/" + posixpath.normpath(pid).lstrip("/")
    return NginxProcess(re.sub(r"^/var/run/", "/run/", pid), found.get("daemon", "").lower())


def listens(text: str) -> list[list[str]]:
    """Return the arguments of each `listen` in a text."""
    return [found.words[1:] for _context, found in walk(directives(text)) if found.words[:1] == ["listen"]]


def is_server(context: str, directive: Directive) -> bool:
    """Return whether a directive of a context is a server."""
    return context in SERVING and directive.words == ["server"] and directive.block is not None


def included(directive: Directive, directory: str) -> str | None:
    """Return the absolute pattern of the files that an `include` names, or None for another directive."""
    if directive.words[:1] != ["include"] or len(directive.words) != 2:
        return None
    return posixpath.normpath(posixpath.join(directory, directive.words[1]))


def matches(pattern: str, path: str) -> bool:
    """Return whether a path matches a pattern of glob(3), part by part."""
    parts, names = pattern.split("/"), path.split("/")
    return len(parts) == len(names) and all(
        fnmatch.fnmatchcase(name, part) and (part[:1] == "." or name[:1] != ".")
        for part, name in zip(parts, names, strict=True)
    )
