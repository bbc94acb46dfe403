# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks that need all services of a system: accounts that nobody declared, cron's jobs, two things at one path."""

from __future__ import annotations

import base64
import dataclasses
import posixpath
import re
import typing as t
from collections.abc import Mapping

from ..module_utils.launcher import targets
from ..module_utils.state import name_services, unit_texts
from . import base_units, crontab, nginx_text
from .errors import DeclarationError, suggestion

if t.TYPE_CHECKING:
    from .service_types import Context

_USERS = ("User", "SocketUser")
_GROUPS = ("Group", "SocketGroup", "SupplementaryGroups")
_DYNAMIC = "DynamicUser"
_LISTS = ("SupplementaryGroups",)
_WAYS = {"user": "declare it in operating_system.users", "group": "declare it in operating_system.groups"}


@dataclasses.dataclass(frozen=True)
class FoldedSystem:
    """A system whose services are all folded.

    :ivar files: its files by path.
    """

    context: Context
    files: Mapping[str, Mapping[str, t.Any]]

    def refuse_unknown(self, kind: str, name: str, path: str) -> None:
        """Refuse the name of a `user` or `group` that the container does not have."""
        accounts = self.context.accounts
        if accounts is None:
            return
        known = accounts.uids if kind == "user" else accounts.gids
        if name not in known and name not in _dynamic(self.files) and not self._has_other_accounts():
            raise DeclarationError(path, f"there is no {kind} '{name}': {_WAYS[kind]}" + suggestion(name, known))

    def _has_other_accounts(self) -> bool:
        if self.context.machine:
            return True  # the tree's own
        text = content_of(self.files.get(name_services.NAME_SERVICES, {"content": ""}))
        return name_services.has_others(self.files, self.mounted(), text)

    def is_mounted(self, path: str) -> bool:
        """Return whether a path is that of a file system, or lies in one: what is there, only the host knows."""
        return any(targets.is_below(path, point) for point in self.mounted())

    def may_be_mounted(self, pattern: str) -> bool:
        """Return whether a path that matches a pattern of glob(3) may be there by what is mounted."""
        fixed = re.split(r"[*?[]", pattern)[0].rpartition("/")[0] or "/"
        return self.is_mounted(fixed) or any(
            nginx_text.matches(pattern, point) or self._leads(pattern, point) for point in self.mounted()
        )

    def _leads(self, pattern: str, point: str) -> bool:
        parts = pattern.split("/")[: point.count("/") + 1]
        return len(parts) < pattern.count("/") + 1 and nginx_text.matches("/".join(parts), point)

    def mounted(self) -> list[str]:
        """Return where what the host has is mounted: mappings, and file systems with content of their own."""
        return [
            item.place
            for item in self.context.operating_system.file_systems
            if item.mounted_at_start and item.type != "tmpfs" and item.place not in ("/", self.context.store)
        ]

    def check(self, places: Mapping[str, str]) -> None:
        """Refuse files that no container can have, and units and jobs that run as somebody who is not there.

        :param places: where the user wrote each file.
        """
        for path, entry in self.files.items():
            place = places[path]
            reason = targets.refusal_of_file(path, self.context.store)
            if reason:
                raise DeclarationError(place, reason)
            if path.startswith(f"{base_units.DIRECTORY}/") and path.endswith((".service", ".socket", ".conf")):
                _check_unit(self, path.removeprefix(f"{base_units.DIRECTORY}/"), content_of(entry) or "", place)
            if "cron" in self.context.types and path.startswith(f"{crontab.DIRECTORY}/"):
                _check_jobs(self, path, entry, place)


def content_of(entry: Mapping[str, t.Any]) -> str | None:
    """Return the content of a file as text, or None for a link."""
    if entry.get("content") is None:
        return None
    if entry.get("encoding"):
        return base64.b64decode(entry["content"]).decode("utf-8", "replace")
    return t.cast(str, entry["content"])


def _check_unit(folded: FoldedSystem, name: str, content: str, place: str) -> None:
    """Refuse users and groups in the text of a unit, or of a drop-in of it, that the container does not have."""
    unit = name.partition(".d/")[0]
    of_unit = folded.files.get(f"{base_units.DIRECTORY}/{unit}", {})
    if unit != name and content_of(of_unit) is None:
        return  # of a unit of the store, about which nothing is known here
    given = unit_texts.of_unit(unit, content)
    own = unit_texts.of_unit(unit, content_of(of_unit) or "")
    dynamic = unit_texts.is_true(own, _DYNAMIC) or unit_texts.is_true(given, _DYNAMIC)
    for key in (*_USERS, *_GROUPS):
        if dynamic and key in ("User", "Group"):
            continue
        for word in unit_texts.listed(given, key) if key in _LISTS else unit_texts.words(unit_texts.last(given, key)):
            if not word.isdigit() and "%" not in word:
                folded.refuse_unknown("user" if key in _USERS else "group", word, f"{place} ({name}: {key})")


def _check_jobs(folded: FoldedSystem, path: str, entry: Mapping[str, t.Any], place: str) -> None:
    """Refuse a file of jobs that cron would ignore."""
    content = content_of(entry)
    if content is None or posixpath.basename(path).startswith("."):
        return
    crontab.file_name(posixpath.relpath(path, crontab.DIRECTORY), place)
    if int(entry.get("mode", "0644"), 8) & 0o022 or entry.get("uid"):
        raise DeclarationError(
            place, "is not root's alone to write, and cron ignores it: give it the mode 0644, and root"
        )
    for user, line in crontab.users(content, place):
        folded.refuse_unknown("user", user, line)


def _dynamic(files: Mapping[str, Mapping[str, t.Any]]) -> set[str]:
    """Return the names of the users that systemd makes for units while they run; their groups are called the same."""
    names = set()
    for path, entry in files.items():
        if path.startswith(f"{base_units.DIRECTORY}/") and path.endswith(".service"):
            unit = posixpath.basename(path)
            given = unit_texts.of_unit(unit, content_of(entry) or "")
            if unit_texts.is_true(given, _DYNAMIC):
                names |= {unit_texts.last(given, key) or unit.removesuffix(".service") for key in ("User", "Group")}
    return names


def directories(placed: t.Iterable[tuple[dict[str, t.Any], str]]) -> list[dict[str, t.Any]]:
    """Return directories without their places.

    :param placed: directories, each with the place where the user asked for it.
    :raises DeclarationError: one is asked for with two modes or owners.
    """
    found: dict[str, tuple[dict[str, t.Any], str]] = {}
    for item, place in placed:
        former, other = found.setdefault(item["path"], (item, place))
        if former != item:
            raise DeclarationError(
                place,
                f"the directory '{item['path']}' has another mode or owner by {other}: "
                "use another directory for one of them",
            )
    return [dict(item) for item, _place in found.values()]


def refuse_files_for_directories(
    placed: t.Iterable[tuple[Mapping[str, t.Any], str]], files: Mapping[str, Mapping[str, t.Any]]
) -> None:
    """Refuse a directory at, or below, the path of a file.

    :param placed: directories, each with the place where the user asked for it.
    :raises DeclarationError: with that place.
    """
    for item, place in placed:
        path = item["path"]
        file = next((above for above in (path, *targets.parents(path)) if above in files), None)
        if file is not None and "link" not in files[file]:
            raise DeclarationError(
                place, f"the directory '{path}' is asked for, but '{file}' is a file: use another directory"
            )
