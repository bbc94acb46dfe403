# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The paths that a unit needs before its program runs: its environment, credentials, directories, what it binds.

systemd says that one is missing only when it starts the unit. The root of a container is new at each start, and what is
in it is known: the files and directories of the system, the store, and what is mapped read-only. Whatever else may be
made inside is not known, and passes.
"""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING, Iterator, NamedTuple

from ..launcher import targets
from ..launcher.declared_root import SKELETON
from ..state import unit_texts
from .preflight_mounts import answers
from .preflight_programs import KEPT
from .preflight_targets import PLACED
from .unit_settings import OTHERWISE, STARTS

if TYPE_CHECKING:
    from ..launcher.contract import Mount
    from .preflight_programs import Programs

MADE = (
    *(targets.RUN, targets.TEMPORARY, "/var/tmp", "/dev", "/proc", "/sys"),
    *("/" + name for name, _target in targets.STANDARD_LINKS),
    *("/var/lib/systemd", "/var/log/journal", "/var/lib/private", "/var/cache/private", "/var/log/private"),
)
"""Where the kernel, systemd and everybody make things, so that nobody knows what is there."""

KEPT_BELOW = {
    "State": "/var/lib",
    "Cache": "/var/cache",
    "Logs": "/var/log",
    "Configuration": "/etc",
    "Runtime": "/run",
}
TMPFILES = re.compile(r"\bsystemd-tmpfiles\b")

OF_THE_LAUNCHER = (*targets.NETWORK_FILES, *PLACED)
ONE, LISTED, BOUND, CREDENTIAL, STREAM = "one", "listed", "bound", "named", "stream"
FORMS = {
    "EnvironmentFile": ONE,
    "LoadCredential": CREDENTIAL,
    "LoadCredentialEncrypted": CREDENTIAL,
    "WorkingDirectory": ONE,
    "RootDirectory": ONE,
    "ReadWritePaths": LISTED,
    "ReadOnlyPaths": LISTED,
    "InaccessiblePaths": LISTED,
    "ExecPaths": LISTED,
    "NoExecPaths": LISTED,
    "BindPaths": BOUND,
    "BindReadOnlyPaths": BOUND,
    "StandardInput": STREAM,
}
"""The directives that name what must be there, each with the form of its values (systemd.exec(5))."""

_OF_A_ROOT = ("WorkingDirectory", *(key for key, form in FORMS.items() if form == LISTED))
OF_THE_ROOT = tuple(key for key in FORMS if key not in _OF_A_ROOT)
"""Those of them whose paths are looked up in the container's root, whatever root the unit has."""

OPTIONAL = ("EnvironmentFile", "WorkingDirectory", *(key for key, form in FORMS.items() if form in (LISTED, BOUND)))
"""Those that take a `-` before the path of what may be missing."""

FILES, DIRECTORIES = ("EnvironmentFile",), ("WorkingDirectory", "RootDirectory")
NOT_THERE = "is not there"


class Needed(NamedTuple):
    """A path that a unit needs.

    :ivar key: the directive that names it.
    :ivar value: a value of that, or a word of a list, as it is written.
    :ivar path: the path, absolute and in its shortest form.
    """

    key: str
    value: str
    path: str


class UnitPaths:
    """The paths that the units of a system need, and that are known to be missing.

    :ivar refused: one sentence for each that is missing in the container's own root.
    :ivar missing: those of the store, and of what is shared read-only: a task of the play may make them on the host.
    :ivar warnings: those of units that are started later, when something may have made them.
    """

    def __init__(self, programs: Programs) -> None:
        self.programs = programs
        self.texts = programs.texts
        self.view = programs.view
        self.specification = programs.specification
        self.refused: list[str] = []
        self.missing: list[str] = []
        self.warnings: list[str] = []
        self._started = self.texts.started()
        own = [name for name in self._started if name.endswith(".service") and self.texts.is_own(name)]
        needing = [name for name in own if any(key in FORMS for _section, key, _value in self.texts.settings(name))]
        if needing:
            self._settings = {name: self.texts.settings(name, stored=True) for name in self._started}
            self._directories = self._known_directories()
            self._kept = self._kept_directories()
            self._look([name for name in needing if not self._may_not_run(name)])

    def _look(self, names: list[str]) -> None:
        every = self._settings.values()
        said = [value for settings in every for _section, key, value in settings if key.startswith("Exec")]
        if any(TMPFILES.search(text) for text in (*said, self.programs.boot)):
            return  # by the rules of the store, too
        at_boot = self.texts.declared.wanted(lambda name: False)
        for name in names:
            for needed in self._needed(name):
                why = self._why(needed)
                if not why or (why == NOT_THERE and self._may_be_made(name, needed)):
                    continue
                subject = "which" if needed.value == needed.path else f"and {needed.path}"
                called = self.texts.called(name, needed.value, needed.key)
                text = f"{called} has {needed.key}={needed.value}, {subject} {why}"
                on_host = self._source(needed.path)
                text += self._way_out(needed, on_host) if why == NOT_THERE else ""
                if name not in at_boot:
                    self.warnings.append(f"{text}; nothing is known to make it before something starts the unit")
                elif on_host:
                    self.missing.append(text)
                else:
                    self.refused.append(text)

    def _may_not_run(self, name: str) -> bool:
        settings = self._settings[name]
        return any(re.match("Condition|Assert|ExecCondition", key) and value for _section, key, value in settings)

    def _needed(self, name: str) -> Iterator[Needed]:
        """Yield what a unit needs, as far as its text says it plainly."""
        settings = self.texts.settings(name)
        every = self._settings[name]
        own_view = any(OTHERWISE.fullmatch(key) and value for _section, key, value in every)
        given = {value.partition(":")[0] for _section, key, value in every if key.startswith("SetCredential")}
        for key, form in FORMS.items():
            if own_view and key not in OF_THE_ROOT:
                continue
            found = unit_texts.values(settings, key)
            if form in (LISTED, BOUND):
                found = unit_texts.listed(settings, key)
            elif key != "EnvironmentFile" and form in (ONE, STREAM):
                found = found[-1:]
            for value in found:
                path = _path(form, unit_texts.expanded(value, name) or "", given)
                if path.startswith("/") and not (set("\\*?[") & set(path)):
                    yield Needed(key, value, os.path.normpath("/" + path.lstrip("/")))

    def _why(self, needed: Needed) -> str:
        """Return what is wrong with a path, to follow its name; nothing when it is right, or who knows."""
        reached = self.view.reached(needed.path)
        mode = self.view.mode(needed.path)
        if reached in self._directories and not mode:
            mode = stat.S_IFDIR
        if stat.S_ISDIR(mode) and needed.key in FILES:
            return "is a directory: name a file"
        if mode and not stat.S_ISDIR(mode) and needed.key in DIRECTORIES:
            return "is no directory: name one"
        return "" if mode or reached is None or not self._is_known(reached) else NOT_THERE

    def _is_known(self, path: str) -> bool:
        """Return whether nothing but what is declared can make a path, unless a unit does so."""
        if any(targets.is_below(path, made) for made in (*MADE, *self._kept)) or path in OF_THE_LAUNCHER:
            return False
        if any(targets.is_below(kept, path) for kept in self._kept):
            return False
        mount = self._mount_of(path)
        if mount is None:
            return not self.specification.root.is_machine  # its tree's units make what they like
        if not mount.is_bind or not mount.read_only or mount.mount_may_fail:
            return False
        rest = path[len(targets.plain_path(mount.mount_point).rstrip("/")) :]
        return answers(self.programs.host, mount.source + rest) and self._is_mounted(mount)

    def _is_mounted(self, mount: Mount) -> bool:
        """Return whether the source of a mapping is there; else the start leaves it out."""
        try:
            os.close(self.programs.host.open(mount.source))
        except OSError:
            return False
        return True

    def _mount_of(self, path: str) -> Mount | None:
        around = [
            mount
            for mount in self.specification.file_systems
            if targets.is_below(path, targets.plain_path(mount.mount_point))
        ]
        return max(around, key=lambda mount: len(mount.mount_point), default=None)

    def _source(self, path: str) -> str:
        """Return where on the host a path of the container would be; nothing for one of its own root."""
        path = self.view.reached(path) or path
        mount = self._mount_of(path)
        if mount is None or not mount.is_bind:
            return ""
        return mount.source.rstrip("/") + path[len(targets.plain_path(mount.mount_point).rstrip("/")) :]

    def _known_directories(self) -> set[str]:
        """Return the directories that a start makes."""
        specification = self.specification
        found = {"/", *("/" + name for name in SKELETON)}
        paths = [*specification.files, *specification.host_files]
        for path in (*paths, *(item.path for item in specification.directories)):
            found.update(targets.parents(targets.plain_path(path)))
        points = [targets.plain_path(mount.mount_point) for mount in specification.file_systems]
        for point in points:
            found.update(targets.parents(point))
        return found.union(targets.plain_path(item.path) for item in specification.directories)

    def _kept_directories(self) -> list[str]:
        """Return the directories that systemd makes for units, by StateDirectory= and the like."""
        found = []
        for name in self._started:
            for _section, key, value in self._settings[name]:
                kept = KEPT.fullmatch(key)
                for word in unit_texts.words(value) if kept else []:
                    plain = word.partition(":")[0]
                    beginning = unit_texts.expanded(plain, name) or plain.partition("%")[0].rpartition("/")[0]
                    found.append(f"{KEPT_BELOW[key[: -len('Directory')]]}/{beginning}".rstrip("/"))
        return found

    def _may_be_made(self, name: str, needed: Needed) -> bool:
        """Return whether something that the system brings may make a path before a unit starts."""
        directory = needed.path.rpartition("/")[0]
        word = needed.path if directory.count("/") < 2 else directory
        mention = re.compile(re.escape(word) + r"(?![\w.-])")
        if mention.search(self.programs.boot) or self._comes_after_others(name):
            return True
        own = self._settings[name] if FORMS[needed.key] == LISTED else []
        if any(key.startswith("ExecStartPre") and "+" in value and mention.search(value) for _s, key, value in own):
            return True  # a command with its privileges does not have these paths yet
        others = [other for other in self._started if other != name]
        texts = [value for other in others for value in self._commands(other)]
        texts += [
            self.programs.read(path).decode("utf-8", "replace")
            for path, file in self.specification.files.items()
            if file.link is None and int(file.mode, 8) & 0o111
        ]
        return any(mention.search(text) for text in texts)

    def _commands(self, name: str) -> list[str]:
        keys = (*STARTS, "ExecStop", "ExecStopPost", "ExecReload", "ExecCondition")
        return [value for _section, key, value in self._settings[name] if key in keys]

    def _comes_after_others(self, name: str) -> bool:
        """Return whether a unit is ordered after another service or mount that the system brings itself."""
        declared = self.texts.declared
        found: set[str] = set()
        pending = self._before(name)
        while pending:
            other = pending.pop()
            if other in found or other == name:
                continue
            found.add(other)
            if declared.is_own(other) and other.endswith((".service", ".mount", ".automount")):
                return True
            pending += self._before(other)
        return False

    def _before(self, name: str) -> list[str]:
        """Return the units after which a unit is ordered, as far as the system's own files say so."""
        found = self.texts.named(name, ("After",))
        if name.endswith(".target"):
            found += self.texts.declared.wants(name)
        elif not self.texts.is_false(name, "DefaultDependencies"):
            found += ["basic.target", "sysinit.target", "local-fs.target"]
        return found + [other for other in self._started if name in self.texts.named(other, ("Before",))]

    def _way_out(self, needed: Needed, on_host: str) -> str:
        key, _value, path = needed
        ways = [f"make {on_host} on the host" if on_host else "declare it, or map it into the container"]
        if not on_host:
            ways.append("order the unit after what makes it (After=)")
        if key in OPTIONAL:
            ways.append(f"write {key}=-{path} where it may be missing")
        elif key.startswith("Load"):
            ways.append("give a value for its absence (SetCredential=)")
        return ": " + "; or ".join(ways)


def _path(form: str, value: str, given: set[str]) -> str:
    """Return the path that must be there by a value of a directive; nothing where there is none."""
    if form == CREDENTIAL:
        identifier, _colon, value = value.partition(":")
        return "" if identifier in given else value
    if form == STREAM:
        return value[len("file:") :] if value.startswith("file:") else ""
    if form in (LISTED, BOUND):
        optional = re.match("[+-]*", value)
        mark = optional.group() if optional else ""
        return "" if "-" in mark else value[len(mark) :].partition(":" if form == BOUND else "\0")[0]
    return value
