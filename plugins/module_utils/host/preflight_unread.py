# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The files of a system that something reads on a machine, and nothing in a container.

The container runs with them as without: nobody would be told. A unit, a job or another file that names what reads them
may let that read them; of such files nothing is said.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, NamedTuple

from ..state import unit_texts
from ..state.declared_units import UNITS_DIRECTORY
from .unit_settings import FROM_FILES

if TYPE_CHECKING:
    from typing import Iterator

    from ..state.system_content import SystemFile
    from .unit_settings import UnitSettings

STARTERS = ("WantedBy", "RequiredBy", "UpheldBy")
"""Settings of [Install] that say what starts a unit."""


class Unread(NamedTuple):
    """A kind of files.

    :ivar paths: a pattern of their paths.
    :ivar reader: a pattern of what reads them, in the path, the link or the content of another file.
    :ivar instead: what to do, or to use in their place.
    """

    paths: str
    reader: str
    instead: str


_JOB = "declare a job of a service of the type cron, or a unit with a timer"
_KERNEL = "the kernel is the host's, and is set up there"
_CLOCK = "the clock is the host's, which keeps the time"
_ADDRESSES = "declare a service of a type for the network"
_SUDO = "write the rules in operating_system.sudoers, or `@includedir /etc/sudoers.d` there"
TABLE = (
    Unread(r"tmpfiles\.d/.+", r"systemd-tmpfiles", "use directories of the type activation, or RuntimeDirectory="),
    Unread(r"sysusers\.d/.+", r"systemd-sysusers", "declare operating_system.users and groups"),
    Unread(r"sysctl\.(?:d/.+|conf)", r"\bsysctl\b(?!\.)", _KERNEL + "; a unit may set those of the own network"),
    Unread(r"modules-load\.d/.+|modprobe\.d/.+|modules", r"\bmodprobe\b(?!\.)", _KERNEL),
    Unread(r"udev/.+", r"\budevd\b", "devices are the host's: declare those that the container is to have"),
    Unread(r"cron\.(?:hourly|daily|weekly|monthly)/.+", r"cron\.(?:hourly|daily|weekly|monthly)|anacron", _JOB),
    Unread(r"crontab|cron\.d/.+", r"cron\w*\.service|/s?bin/\w*cron", _JOB),
    Unread(r"logrotate\.(?:d/.+|conf)", r"\blogrotate\b(?!\.)", "declare a unit with a timer that runs logrotate"),
    Unread(r"rc\.local|rc[0-6S]?\.d/.+|init\.d/.+|init/.+|inittab", r"rc\.local|\binit\.d/", "declare units"),
    Unread(r"systemd/system-generators/.+", r"system-generators", "they are read in /etc/systemd/generators"),
    Unread(r"systemd/(?:network/.+|networkd\.conf.*)", r"systemd-networkd", _ADDRESSES),
    Unread(r"network/.+|netplan/.+", r"\bif(?:up|query)\b|\bnetplan\b|\bnetworking\.service\b", _ADDRESSES),
    Unread(r"systemd/resolved\.conf.*", r"systemd-resolved", "the container's resolv.conf names its servers"),
    Unread(r"systemd/timesyncd\.conf.*|chrony/.+|ntp\.conf", r"timesyncd\.service|\bchronyd\b|\bntpd\b", _CLOCK),
    Unread(r"sudoers\.d/.+", r"[@#]includedir\s+/etc/sudoers\.d", _SUDO),
)
"""Kinds of files below /etc."""


def unread(files: dict[str, SystemFile], texts: UnitSettings, boot: str = "") -> list[str]:
    """Return a warning for each kind of files that nothing reads in a container whose init is systemd.

    :param files: those of the system, by path.
    :param texts: the settings of its units.
    :param boot: the script that runs first inside.
    """
    found = [*_of_table(files, boot), *_rules_left_out(files)]
    return [*found, *_never_started(files, texts, boot), *_drop_ins(files)]


def _of_table(files: dict[str, SystemFile], boot: str) -> Iterator[str]:
    for kind in TABLE:
        found = [path for path in sorted(files) if re.fullmatch(f"/etc/(?:{kind.paths})", path)]
        if found and not _is_named(files, kind, found, boot):
            verb = "is read" if len(found) == 1 else "are read"
            yield f"{', '.join(found)} {verb} by nothing in this container: {kind.instead}"


def _is_named(files: dict[str, SystemFile], kind: Unread, found: list[str], boot: str) -> bool:
    """Return whether another file of the system names what reads these."""
    reader = re.compile(kind.reader)
    return reader.search(boot) is not None or any(
        reader.search(text)
        for path, file in files.items()
        if path not in found
        for text in (path, file.link or "", file.content.decode("utf-8", "replace"))
    )


def _rules_left_out(files: dict[str, SystemFile]) -> Iterator[str]:
    """Yield a warning for each file of rules whose name sudo leaves out (sudoers(5))."""
    for path in sorted(files):
        directory, _slash, name = path.rpartition("/")
        if directory == "/etc/sudoers.d" and ("." in name or name.endswith("~")):
            yield f"{path}: sudo reads no file whose name has a dot, or ends in '~': give it another name"


def _never_started(files: dict[str, SystemFile], texts: UnitSettings, boot: str) -> Iterator[str]:
    """Yield a warning for each unit whose [Install] says what starts it, where nothing does."""
    started = _started(texts)
    for name in texts.declared.own:
        path = UNITS_DIRECTORY + name
        install = [item for item in unit_texts.assignments(_text(files[path])) if item[0] == "Install"]
        named = [(key, unit_texts.last(install, key)) for key in STARTERS if unit_texts.last(install, key)]
        if not named or name in started or "@" in name:
            continue
        stem = re.escape(name.rpartition(".")[0])
        order = re.compile(rf"(?<![\w@.-]){re.escape(name)}(?![\w@-])|systemctl\b.*\s{stem}(?![\w@.-])")
        if not any(order.search(text) for text in (boot, *(_text(files[each]) for each in files if each != path))):
            key, value = named[0]
            yield (
                f"{path} has {key}={value} in [Install], and nothing starts it: declare the unit as a service of the "
                "type unit, without `wanted_by`, which follows [Install]; or leave [Install] out where it is started "
                "by hand"
            )


def _started(texts: UnitSettings) -> set[str]:
    """Return the units that the boot starts, and what these may start later, by their own names."""
    found: set[str] = set()
    pending = [*texts.declared.wanted(lambda name: True)]
    while pending:
        name = texts.declared.followed(pending.pop())
        if name and name not in found:
            found.add(name)
            pending += [*texts.named(name, (*unit_texts.PULLS, *unit_texts.ON_OCCASION)), texts.triggered(name)]
    return found


def _drop_ins(files: dict[str, SystemFile]) -> Iterator[str]:
    """Yield a warning for each drop-in of a unit that is not there."""
    there = {path[len(UNITS_DIRECTORY) :] for path in files if path.startswith(UNITS_DIRECTORY)}
    there = {name for name in there if "/" not in name}
    for path in sorted(files):
        directory, _slash, file = path[len(UNITS_DIRECTORY) :].partition("/")
        name = directory[: -len(".d")]
        stem, _dot, kind = name.rpartition(".")
        is_one = path.startswith(UNITS_DIRECTORY) and directory.endswith(".d") and file.endswith(".conf")
        if not is_one or kind not in FROM_FILES or not stem or stem.endswith("-"):
            continue
        if not there.intersection((name, unit_texts.template_of(name))):
            near = difflib.get_close_matches(
                stem, [each.rpartition(".")[0] for each in there if each.endswith(kind)], 1
            )
            way = f"did you mean {near[0]}.{kind}?" if near else "name a unit that the container has"
            yield f"{path} changes the unit {name}, which is not there: {way}"


def _text(file: SystemFile) -> str:
    return file.content.decode("utf-8", "replace")
