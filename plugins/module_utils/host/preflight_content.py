# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check of what a system's files name and the store must know: a time zone, a locale, the rules of sudo,
and rsyslog's configuration.

A container starts with any of them wrong, too: with UTC, without messages and sorting of the language, without sudo,
without a log.
Nobody would be told.
"""

from __future__ import annotations

import codecs
import os
import re
import stat
import struct
import subprocess
from typing import TYPE_CHECKING

from .store import StoreView

if TYPE_CHECKING:
    from ..state.system_content import SystemFile

ZONES = "/usr/share/zoneinfo"
ZONE_LINK, ZONE_MAGIC = "../usr/share/zoneinfo/", b"TZif"
LOCALES, ARCHIVE, SUPPORTED = "/usr/lib/locale", "/usr/lib/locale/locale-archive", "/usr/share/i18n/SUPPORTED"
ARCHIVE_MAGIC = 0xDE020109
"""Of glibc's file of all locales that were generated (locale-gen)."""

ALWAYS = ("C", "POSIX", "C.utf8")
SUDOERS, SUDOERS_DIRECTORY = "/etc/sudoers", "/etc/sudoers.d/"
VISUDO = "/usr/sbin/visudo"
RSYSLOGD, RSYSLOG = "/usr/sbin/rsyslogd", "/etc/rsyslog.conf"
SECONDS = 10
ENVIRONMENT = {"LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
SIZE_LIMIT = 1 << 24  # bytes of a list of names


class Content:
    """The files of a system, beside the store that they are for.

    :param files: by their paths.
    """

    def __init__(self, view: StoreView, files: dict[str, SystemFile]) -> None:
        self.view = view
        self.files = files

    def problems(self) -> list[str]:
        """Return what is wrong."""
        return self._zone()[0] + self._locale()[0] + self._sudoers() + self._rsyslog()

    def warnings(self) -> list[str]:
        """Return what will not be as declared, and is no mistake of the declaration's."""
        return self._zone()[1] + self._locale()[1]

    def _zone(self) -> tuple[list[str], list[str]]:
        """Return what is wrong with the time zone, and what a person should know of it."""
        file = self.files.get("/etc/localtime")
        link = file.link if file is not None else None
        if link is None or not link.startswith(ZONE_LINK):
            return [], []
        name = link[len(ZONE_LINK) :]
        if not stat.S_ISDIR(self.view.mode(ZONES)):
            said = f"time zone {name}: the store has no {ZONES}, so times inside are UTC: install the package tzdata"
            return [], [] if name.rpartition("/")[2] in ("UTC", "UCT", "Zulu", "Universal", "GMT") else [said]
        if self.view.beginning(f"{ZONES}/{name}", 4) == ZONE_MAGIC:
            return [], []
        said = f"{name!r} is no time zone of the store ({ZONES}): use a name such as Europe/Berlin"
        return [f"operating_system.timezone: {said}"], []

    def _locale(self) -> tuple[list[str], list[str]]:
        """Return what is wrong with the locale, and what a person should know of it."""
        file = self.files.get("/etc/locale.conf")
        match = re.match(r"LANG=([\w.@-]+)\n", file.content.decode("utf-8", "replace")) if file is not None else None
        if match is None or not stat.S_ISDIR(self.view.mode(LOCALES)):
            return [], []
        name = match.group(1)
        known = {*ALWAYS, *self.view.names(LOCALES), *self._archived()}
        if plain_locale(name) in {plain_locale(each) for each in known} or self._is_alias(name):
            return [], []
        if self._is_supported(name):
            way = "add it to /etc/locale.gen, and run locale-gen (of the package locales)"
            return [], [f"locale {name}: was not generated on this host, so programs inside use C instead: {way}"]
        return [f"operating_system.locale: {name!r} is no locale of the store: use one that `locale -a` lists"], []

    def _archived(self) -> list[str]:
        """Return the locales in glibc's archive."""
        descriptor = self.view.open_file(ARCHIVE)
        if descriptor is None:
            return []
        try:
            head = os.pread(descriptor, 28, 0)
            if len(head) < 28:
                return []
            magic, _serial, _table, _used, _size, begin, length = struct.unpack("=7I", head)
            text = os.pread(descriptor, min(length, SIZE_LIMIT), begin) if magic == ARCHIVE_MAGIC else b""
        finally:
            os.close(descriptor)
        return [os.fsdecode(name) for name in text.split(b"\0") if name]

    def _is_alias(self, name: str) -> bool:
        """Return whether the C library knows a locale by this other name."""
        lines = self.view.beginning("/usr/share/locale/locale.alias", SIZE_LIMIT).decode("utf-8", "replace").split("\n")
        return name in [line.split()[0] for line in lines if line.split() and not line.startswith("#")]

    def _is_supported(self, name: str) -> bool:
        """Return whether there is such a locale, though not here."""
        listed = self.view.beginning(SUPPORTED, SIZE_LIMIT).decode("utf-8", "replace").split("\n")
        wanted = plain_locale(name)
        if wanted in {plain_locale(line.split()[0]) for line in listed if line.strip()}:
            return True
        import locale

        characters = name.partition(".")[2].partition("@")[0]
        try:
            codecs.lookup(characters or "ascii")
        except LookupError:
            return False
        bare = name.partition(".")[0].partition("@")[0].lower()
        return bare in locale.locale_alias or bare in {key.partition(".")[0] for key in locale.locale_alias}

    def _sudoers(self) -> list[str]:
        """Return what `visudo` says of the rules of sudo; nothing where it is not installed, and sudo neither."""
        if not self._is_of_host(VISUDO):
            return []
        found = []
        for path, file in self.files.items():
            if file.link is None and (path == SUDOERS or path.startswith(SUDOERS_DIRECTORY)):
                said = check_sudoers(file.content)
                if said:
                    where = "operating_system.sudoers" if path == SUDOERS else path
                    found.append(f"{where}: visudo does not take these rules: {said}")
        return found

    def _rsyslog(self) -> list[str]:
        """Return what rsyslogd says of the form of its configuration, where it is installed."""
        file = self.files.get(RSYSLOG)
        if file is None or file.link is not None or not self._is_of_host(RSYSLOGD):
            return []
        said = check_rsyslog(file.content)
        return [f"{RSYSLOG}: rsyslogd does not take this configuration: {said}"] if said else []

    def _is_of_host(self, program: str) -> bool:
        """Return whether the container's program is the host's own: one of another tree is not run on this host."""
        return self.view.source == "/usr" and str(self.view.root) == "/" and os.access(program, os.X_OK)


def plain_locale(name: str) -> str:
    """Return the name of a locale with its character set as glibc writes it: lower case, letters and digits alone."""
    rest, at, modifier = name.partition("@")
    language, dot, characters = rest.partition(".")
    return language + dot + re.sub("[^a-z0-9]", "", characters.lower()) + at + modifier


def check_sudoers(text: bytes) -> str:
    """Return what is wrong with rules of sudo, without the text of any, or nothing.

    What they include lies in the container, and is looked at by itself.
    """
    lines = [b"" if re.match(rb"\s*[@#]include", line) else line for line in text.split(b"\n")]
    status, said = _said([VISUDO, "-c", "-f", "-"], b"\n".join(lines))
    if status == 0:
        return ""
    first = said.split("\n")[0]
    return re.sub(r"^stdin:", "line ", first).strip() or f"it ends with status {status}"


def check_rsyslog(text: bytes) -> str:
    """Return where a configuration of rsyslog has no form that rsyslogd reads, or nothing.

    What it includes, its modules and its accounts are the container's: they are neither loaded nor looked for.
    """
    text = _MODULE.sub(lambda found: b"\n" * found.group().count(b"\n"), text)
    text = _INCLUDE.sub(lambda found: b"continue" + b"\n" * found.group().count(b"\n"), text)
    if _LOADS.search(text):
        return ""  # perhaps in a comment; nothing of a container is loaded on the host
    _status, said = _said([RSYSLOGD, "-N1", "-iNONE", "-f", "/dev/stdin"], text)
    if "could not interpret master config file '/dev/stdin'" not in said:
        return ""
    found = re.search(r"file /dev/stdin, on or before (line \d+): (syntax error)", said)
    return f"{found.group(1)}: {found.group(2)}" if found else ""


_PARENTHESES = rb"\s*\((?:\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|[^()\"'])*\)"
_MODULE = re.compile(rb"(?<![\w$])module" + _PARENTHESES + rb"|^[ \t]*\$ModLoad\b[^\n]*", re.IGNORECASE | re.MULTILINE)
_INCLUDE = re.compile(
    rb"(?<![\w$])include" + _PARENTHESES + rb"|^[ \t]*\$IncludeConfig\b[^\n]*", re.IGNORECASE | re.MULTILINE
)
_LOADS = re.compile(rb"(?<![\w$])(?:module|include)\s*\(|\$(?:ModLoad|ModDir|IncludeConfig)\b", re.IGNORECASE)


def _said(command: list[str], text: bytes) -> tuple[int, str]:
    """Return the status of a program that checks a text, and what it says; nothing when it does not answer."""
    try:
        done = subprocess.run(
            command,
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=ENVIRONMENT,
            timeout=SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0, ""
    return done.returncode, done.stdout.decode("utf-8", "replace")
