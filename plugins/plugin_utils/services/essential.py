# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The essential services, on which all others depend, down to `system`."""

from __future__ import annotations

import dataclasses
import typing as t

from ...module_utils.launcher import targets
from .. import accounts, base_units, checks, etc_files, folded_system, pam, systemd
from ..debian import DEBIAN
from ..errors import DeclarationError
from ..operating_system import PATH
from ..records import UserAccount, UserGroup
from ..service_types import Context, Contribution, Placed, ServiceType, placed_list, placed_mapping
from ..validation import Spec, describe, strict

_PROGRAM: Spec = {
    "service": {"type": "str", "required": True},
    "program": {"type": "str", "required": True},
    "package": {"type": "str"},
}
_ADDITION: Spec = {
    "files": {"type": "dict"},
    "directories": {"type": "list", "elements": "dict"},
    "activation": {"type": "list", "elements": "str"},
    "programs": {"type": "list", "elements": "dict", "options": _PROGRAM},
    "packages": {"type": "list", "elements": "str"},
    "host_files": {"type": "list", "elements": "str"},
}
"""The specification of a contribution to `system`."""
_LISTS = ("activation", "programs", "packages", "host_files", "file_systems")
_NOTHING: dict[str, t.Any] = {"files": {}, "directories": [], **{key: [] for key in _LISTS}}


def _addition(contribution: Contribution, context: Context) -> dict[str, t.Any]:
    """Return a service's contribution, checked: a declaration may add to `system` itself (type `simple`)."""
    path = contribution.path
    if contribution.service == "fstab":
        return {**_NOTHING, **contribution.value}
    added = strict(contribution.value, _ADDITION, path)
    files = added.get("files", {})
    directories = added.get("directories", [])
    if contribution.service not in ("etc", "activation"):  # which have checked their own
        known = context.accounts
        files = {name: _file(name, item, f"{path}.files.{name}", known) for name, item in files.items()}
        directories = [
            Placed(etc_files.directory(item, f"{path}.directories[{index}]", known), f"{path}.directories[{index}]")
            for index, item in enumerate(directories)
        ]
    host_files = added.get("host_files", [])
    for index, name in enumerate(host_files):
        if name != checks.absolute_path(name, f"{path}.host_files[{index}]") or name == "/":
            raise DeclarationError(f"{path}.host_files[{index}]", f"{name!r} is not a file's path in its plain form")
    return {
        **_NOTHING,
        "files": files,
        "directories": directories,
        "activation": added.get("activation", []),
        "programs": [{"package": None, **program} for program in added.get("programs", [])],
        "packages": added.get("packages", []),
        "host_files": host_files,
    }


def _file(name: str, item: t.Any, path: str, known: accounts.Accounts | None) -> dict[str, t.Any]:
    checks.absolute_path(name, path)
    checked = etc_files.entry(name[1:], item, path, known)
    if "host" in checked:
        raise DeclarationError(path, "is a file of the host: name it in `host_files`")
    return Placed(checked, item.place if isinstance(item, Placed) else path)


def _system(value: t.Any, contributions: list[Contribution], context: Context, path: str) -> dict[str, t.Any]:
    """Return the sum of all contributions, and below `places` where the user wrote each file and directory."""
    added = [dataclasses.replace(item, value=_addition(item, context)) for item in contributions]
    part = {key: [dataclasses.replace(item, value=item.value[key]) for item in added] for key in _NOTHING}
    files = placed_mapping({}, part["files"], path)
    placed = placed_list([], part["directories"], path)
    system: dict[str, t.Any] = {
        "files": {name: dict(item) for name, (item, _place) in files.items()},
        "places": {name: place for name, (_item, place) in files.items()},
        "directories": folded_system.directories(placed),
        "locale": (value or {}).get("locale"),
    }
    folded_system.refuse_files_for_directories(placed, system["files"])
    for key in _LISTS:
        found: list[t.Any] = []
        for contribution in added:
            found += [item for item in contribution.value[key] if item not in found]
        system[key] = found
    return system


def _etc(value: t.Any, contributions: list[Contribution], context: Context, path: str) -> dict[str, t.Any]:
    entries = placed_mapping(value, contributions, path)
    return {
        name: Placed(etc_files.entry(name, item, place, context.accounts), place)
        for name, (item, place) in entries.items()
    }


def _etc_to_system(value: t.Any, context: Context) -> dict[str, t.Any]:
    files = {f"/etc/{name}": item for name, item in value.items() if "host" not in item}
    return {"files": files, "host_files": [f"/etc/{name}" for name, item in value.items() if "host" in item]}


def _verify_etc(value: t.Any, path: str) -> None:
    for name, item in (value or {}).items():
        etc_files.entry(name, item, f"{path}.{name}")


def _accounts(value: t.Any, contributions: list[Contribution], context: Context, path: str) -> accounts.Accounts:
    places = accounts.Places()
    users = {user.name: user for user in accounts.base_users()}
    groups = {group.name: group for group in accounts.base_groups()}
    for contribution in contributions:
        if not isinstance(contribution.value, dict) or not {"users", "groups"}.issuperset(contribution.value):
            raise DeclarationError(contribution.path, "must be a mapping of `users` and `groups`")
        added_users = _records(contribution, "users", UserAccount)
        added_groups = _records(contribution, "groups", UserGroup)
        if contribution.written:
            places.note(added_users, added_groups, contribution.path)
        accounts.merge(users, added_users, contribution.path, override=False)
        accounts.merge(groups, added_groups, contribution.path, override=False)
    accounts.merge(users, context.operating_system.users, f"{PATH}.users", override=True)
    accounts.merge(groups, context.operating_system.groups, f"{PATH}.groups", override=True)
    places.note(context.operating_system.users, context.operating_system.groups, PATH)
    for index, user in enumerate(context.operating_system.users):
        home = users[user.name].home
        if users[user.name].create_home_directory and _nearest_mount(home, context) == context.store:
            raise DeclarationError(
                f"{PATH}.users[{index}].home_directory",
                f"'{home}' lies in the store, which is read-only: use another, or create_home_directory: false",
            )
    return accounts.Accounts(list(users.values()), list(groups.values()), PATH, places)


def _nearest_mount(path: str, context: Context) -> str:
    """Return where the file system is mounted that a path of the container lies in."""
    points = [system.place for system in context.operating_system.file_systems if system.mounted_at_start]
    around = [point for point in ["/", context.store, *points] if targets.is_below(path, point)]
    return max(around, key=len)


def _records(contribution: Contribution, key: str, kind: t.Any) -> list[t.Any]:
    items = contribution.value.get(key, [])
    path = f"{contribution.path}.{key}"
    if not isinstance(items, list):
        raise DeclarationError(path, f"must be a list, not {describe(items)}")
    return [
        item if isinstance(item, kind) else kind.from_mapping(item, f"{path}[{index}]")
        for index, item in enumerate(items)
    ]


def _accounts_of(value: accounts.Accounts, context: Context) -> accounts.Accounts:
    """Return the accounts that the system brings; a machine has the tree's own."""
    system = context.operating_system
    return value.without_base(system.users, system.groups) if context.machine else value


def _account_files(value: accounts.Accounts, context: Context) -> dict[str, t.Any]:
    shadow = DEBIAN.groups["shadow"]
    value = _accounts_of(value, context)
    shells = {} if context.machine else {"shells": {"content": etc_files.shells(value)}}
    return {
        "passwd": {"content": value.passwd()},
        "group": {"content": value.group()},
        "shadow": {"content": value.shadow(), "mode": "0640", "gid": shadow, "secret": True},
        "gshadow": {"content": value.gshadow(), "mode": "0640", "gid": shadow, "secret": True},
        **shells,
    }


def _activation(value: t.Any, contributions: list[Contribution], context: Context, path: str) -> dict[str, t.Any]:
    result: dict[str, t.Any] = {"activation": [], "directories": []}
    made: dict[str, tuple[dict[str, t.Any], str]] = {}
    for item, place in placed_list(value, contributions, path):
        if isinstance(item, str):
            result["activation"].append(item)
        elif isinstance(item, dict) and isinstance(item.get("path"), str):
            directory = etc_files.directory(item, place, context.accounts)
            former, other = made.setdefault(directory["path"], (directory, place))
            if former != directory:
                raise DeclarationError(
                    place,
                    f"the directory '{directory['path']}' has another mode or owner by {other}: "
                    "use another directory for one of them",
                )
            result["directories"].append(Placed(directory, place))
        else:
            raise DeclarationError(place, "what is added must be shell text, or a directory {path, mode, uid, gid}")
    return result


def _pam(value: t.Any, contributions: list[Contribution], context: Context, path: str) -> dict[str, t.Any]:
    base = {} if context.machine else pam.services(login="login" in context.types)
    added = placed_mapping(value, contributions, path)
    for name, (text, place) in added.items():
        if not isinstance(text, str) or "/" in name:
            raise DeclarationError(place, "must be the text of a PAM service")
    return {**base, **{name: text for name, (text, _place) in added.items()}}


def _environment(value: t.Any, contributions: list[Contribution], context: Context, path: str) -> dict[str, t.Any]:
    system = context.operating_system
    variables = {"LANG": system.locale} if not context.machine or "locale" in system.given else {}
    variables.update({} if context.machine else {"PATH": DEBIAN.path})
    for name, (text, place) in placed_mapping(value, contributions, path).items():
        checks.environment_name(name, place)
        variables[name] = checks.line(checks.text(text, place), place)
    return variables


def _special_files(value: t.Any, contributions: list[Contribution], context: Context, path: str) -> dict[str, t.Any]:
    links = placed_mapping(value, contributions, path)
    for name, (target, place) in links.items():
        reason = targets.refusal_of_file(checks.absolute_path(name, place), context.store)
        if reason:
            raise DeclarationError(place, reason)
        if not isinstance(target, str):
            raise DeclarationError(place, "must be the target of a link")
        checks.line(target, place)
    return {name: Placed({"link": target}, place) for name, (target, place) in links.items()}


def _texts(value: t.Any, contributions: list[Contribution], context: Context, path: str) -> list[str]:
    return [checks.text(item, place) for item, place in placed_list(value, contributions, path)]


def _packages(value: t.Any, contributions: list[Contribution], context: Context, path: str) -> list[str]:
    return _texts([*(value or []), *context.operating_system.packages], contributions, context, path)


def _programs(value: t.Any, context: Context) -> dict[str, t.Any]:
    programs = [{"service": "privileged-programs", "program": item, "package": None} for item in value or []]
    return {"programs": programs}


TYPES = (
    ServiceType(
        "system",
        "The type that all others are folded into; its value holds the locale.",
        combine=_system,
        essential=True,
        default={},
    ),
    ServiceType(
        "linux-bare-metal",
        "The kernel, its modules and the boot files.",
        essential=True,
        bare_metal="the host's kernel runs the container",
        provision=("kernel-modules",),
        software=DEBIAN.of("linux-bare-metal"),
    ),
    ServiceType(
        "firmware",
        "Firmware that the kernel may load.",
        essential=True,
        combine=_texts,
        bare_metal="the host's kernel loads firmware for the host's devices",
        default=[],
    ),
    ServiceType(
        "boot",
        "The steps before the init.",
        essential=True,
        combine=_texts,
        default=[],
        extensions={"system": lambda value, context: {"activation": value or []}},
    ),
    ServiceType(
        "activation",
        "Shell text and directories made at each start, before the init.",
        essential=True,
        combine=_activation,
        default=[],
        extensions={"system": lambda value, context: value},
    ),
    ServiceType(
        "cleanup",
        "The directories that a fresh root has.",
        essential=True,
        extensions={"activation": lambda value, context: [] if context.machine else etc_files.root_directories()},
    ),
    ServiceType(
        "etc",
        "Files below /etc, by name: text, {content, mode, uid, gid, secret}, {link} or {host: true}.",
        essential=True,
        combine=_etc,
        verify=_verify_etc,
        default={},
        extensions={"system": _etc_to_system},
    ),
    ServiceType(
        "account",
        "Users and groups.",
        essential=True,
        combine=_accounts,
        extensions={"etc": _account_files, "activation": lambda value, context: _accounts_of(value, context).homes()},
    ),
    ServiceType(
        "pam",
        "PAM services, by name.",
        essential=True,
        combine=_pam,
        default={},
        extensions={"etc": lambda value, context: {f"pam.d/{k}": {"content": v} for k, v in value.items()}},
    ),
    ServiceType(
        "hosts",
        "Names in /etc/hosts.",
        essential=True,
        combine=etc_files.combine_hosts,
        default=[],
        extensions={"etc": lambda value, context: {"hosts": {"content": value}}},
    ),
    ServiceType(
        "host-name",
        "The host's name.",
        essential=True,
        provision=("host-name",),
        extensions={"etc": lambda value, context: {"hostname": {"content": context.operating_system.host_name + "\n"}}},
    ),
    ServiceType(
        "fstab",
        "Entries of /etc/fstab.",
        essential=True,
        combine=etc_files.combine_fstab,
        default=[],
        extensions={
            "etc": lambda value, context: {"fstab": {"content": etc_files.fstab(value)}},
            "system": lambda value, context: {"file_systems": value},
        },
    ),
    ServiceType(
        "profile",
        "Packages, and the shell's profile.",
        essential=True,
        combine=_packages,
        default=[],
        extensions={
            "system": lambda value, context: {"packages": value},
            "etc": lambda value, context: {} if context.machine else {"profile": {"content": etc_files.PROFILE}},
        },
    ),
    ServiceType(
        "session-environment",
        "Variables of every session.",
        essential=True,
        combine=_environment,
        default={},
        extensions={"etc": etc_files.session_files},
    ),
    ServiceType(
        "locale",
        "Language and time zone.",
        essential=True,
        extensions={"etc": lambda value, context: etc_files.locale_files(context.operating_system, context.machine)},
    ),
    ServiceType(
        "privileged-programs",
        "Programs that run with their owner's rights (the store holds them so).",
        essential=True,
        combine=_texts,
        default=[],
        extensions={"system": _programs},
    ),
    ServiceType(
        "special-files",
        "Links outside /etc, by path.",
        essential=True,
        combine=_special_files,
        default={},
        extensions={"system": lambda value, context: {"files": value}},
    ),
    ServiceType(
        "user-processes", "The point after which services start.", essential=True, provision=("user-processes",)
    ),
    ServiceType(
        "file-systems",
        "The file systems that were mounted before the init.",
        essential=True,
        provision=("file-systems", "root-file-system", "user-file-systems"),
    ),
    ServiceType(
        "systemd",
        "Units, folded into /etc/systemd/system.",
        essential=True,
        combine=systemd.combine,
        default=[],
        provision=tuple(sorted(base_units.TARGETS)),
        extensions={"etc": systemd.files},
    ),
)
