# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files below /etc that follow from the operating system alone."""

from __future__ import annotations

import base64
import binascii
import typing as t

from ..module_utils.launcher.names import NO_NAME, is_name
from . import checks
from .debian import DEBIAN
from .errors import DeclarationError, suggestion
from .operating_system import PATH as SYSTEM
from .operating_system import OperatingSystem
from .records import FileSystem, Host
from .service_types import Context, Contribution, placed_list
from .validation import Spec, describe, validate

if t.TYPE_CHECKING:
    from .accounts import Accounts

PROFILE = f"""# The shell's profile of every login.
if [ "$(id -u)" -eq 0 ]; then
  PATH={DEBIAN.path}
else
  PATH={DEBIAN.user_path}
fi
export PATH
if [ -z "${{LANG:-}}" ] && [ -r /etc/locale.conf ]; then . /etc/locale.conf; export LANG; fi
umask 022
for script in /etc/profile.d/*.sh; do
  if [ -r "$script" ]; then . "$script"; fi
done
unset script
"""
NSSWITCH = """passwd: files systemd
group: files systemd
shadow: files
gshadow: files
hosts: files dns
networks: files
protocols: files
services: files
ethers: files
rpc: files
"""
_LOGIN_DEFS = """MAIL_DIR /var/mail
UMASK 022
HOME_MODE 0700
PASS_MAX_DAYS 99999
PASS_MIN_DAYS 0
PASS_WARN_AGE 7
UID_MIN 1000
UID_MAX 59999
SYS_UID_MIN 100
SYS_UID_MAX 999
GID_MIN 1000
GID_MAX 59999
SYS_GID_MIN 100
SYS_GID_MAX 999
LOGIN_RETRIES 5
LOGIN_TIMEOUT 60
USERGROUPS_ENAB no
ENCRYPT_METHOD SHA512
"""
_SUDOERS = f"""Defaults env_reset
Defaults secure_path="{DEBIAN.path}"
root ALL=(ALL:ALL) ALL
%{DEBIAN.administrators} ALL=(ALL:ALL) ALL
"""
_ENTRY: Spec = {
    "content": {"type": "str"},
    "encoding": {"type": "str", "choices": ["base64"]},
    "mode": {"type": "str", "default": "0644"},
    "uid": {"type": "int", "default": 0},
    "gid": {"type": "int", "default": 0},
    "owner": {"type": "str"},
    "group": {"type": "str"},
    "secret": {"type": "bool", "default": False},
    "link": {"type": "str"},
    "host": {"type": "bool"},
}
_DIRECTORY: Spec = {
    "path": {"type": "str", "required": True},
    "mode": {"type": "str", "default": "0755"},
    "uid": {"type": "int", "default": 0},
    "gid": {"type": "int", "default": 0},
    "owner": {"type": "str"},
    "group": {"type": "str"},
    "data": {"type": "bool", "default": False},
    "made_once": {"type": "str"},
    "volume": {"type": "str"},
}


def _with_ids(checked: dict[str, t.Any], accounts: Accounts | None, path: str) -> None:
    """Put the ids of `owner` and `group` in their place; without ACCOUNTS, which are not known yet, any will do."""
    for key, name_key, what in (("uid", "owner", "user"), ("gid", "group", "group")):
        name = checked.pop(name_key)
        if name is None:
            checks.identifier(checked[key], f"{path}.{key}")
            continue
        if checked[key]:
            raise DeclarationError(f"{path}.{name_key}", f"is given, and so is `{key}`: one of them says it")
        if accounts is not None:
            known = accounts.uids if key == "uid" else accounts.gids
            if name not in known:
                raise DeclarationError(f"{path}.{name_key}", f"there is no {what} '{name}'" + suggestion(name, known))
            checked[key] = known[name]


def entry(name: str, value: t.Any, path: str, accounts: Accounts | None = None) -> dict[str, t.Any]:
    """Return the entry of one file below /etc as `system_files` gives it; text alone is its content."""
    checks.absolute_path(f"/{name}", path)
    if name.startswith("/") or not name.strip("/."):
        raise DeclarationError(path, f"'{name}' must be a path relative to /etc")
    plain = checks.absolute_path(f"/{name}", path)[1:]
    if name != plain:
        raise DeclarationError(path, f"'{name}' must be a file's path in its plain form: '{plain}'")
    if isinstance(value, str):
        value = {"content": value}
    if not isinstance(value, dict):
        raise DeclarationError(path, f"must be text or a mapping, not {describe(value)}")
    checked = validate(value, _ENTRY, path)
    kinds = [key for key in ("content", "link", "host") if checked[key] is not None]
    if len(kinds) != 1:
        raise DeclarationError(path, "needs exactly one of `content`, `link` and `host`")
    if kinds == ["link"]:
        if not checked["link"]:
            raise DeclarationError(f"{path}.link", "is empty: name the path that the link leads to")
        return {"link": checks.line(checked["link"], f"{path}.link")}
    if kinds == ["host"]:
        return {"host": True}
    result: dict[str, t.Any] = {"content": checked["content"], "mode": checks.mode(checked["mode"], f"{path}.mode")}
    if checked["encoding"]:
        try:
            base64.b64decode(checked["content"], validate=True)
        except (binascii.Error, ValueError):
            raise DeclarationError(f"{path}.content", "is not base64") from None
        result["encoding"] = checked["encoding"]
    _with_ids(checked, accounts, path)
    for key in ("uid", "gid"):
        if checked[key]:
            result[key] = checked[key]
    if checked["secret"]:
        result["secret"] = True
    return result


def directory(value: dict[str, t.Any], path: str, accounts: Accounts | None) -> dict[str, t.Any]:
    """Return a directory to make at each start, checked."""
    checked = validate(value, _DIRECTORY, path)
    checked["path"] = checks.absolute_path(checked["path"], f"{path}.path")
    if checked["path"] == "/":
        raise DeclarationError(f"{path}.path", "'/' is there already: name a directory below it")
    checked["mode"] = checks.mode(checked["mode"], f"{path}.mode")
    _with_ids(checked, accounts, path)
    if checked["volume"] is not None and not is_name(checked["volume"]):
        raise DeclarationError(f"{path}.volume", NO_NAME % (checked["volume"], "volume"))
    for key in ("data", "made_once", "volume"):
        if not checked[key]:
            del checked[key]
    return checked


def base_etc() -> dict[str, t.Any]:
    """Return the value of the default `etc` service."""
    return {
        "nsswitch.conf": {"content": NSSWITCH},
        "resolv.conf": {"content": "# No name server: the network is the container's own.\n"},
        "services": {"host": True},
        "login.defs": {"content": _LOGIN_DEFS},
        "securetty": {"content": ""},
        "security/pam_env.conf": {"content": "# See /etc/environment.\n"},
        "mtab": {"link": "../proc/self/mounts"},
        "os-release": {"link": "../usr/lib/os-release"},
        "host.conf": {"content": "multi on\n"},
        "networks": {"content": "default 0.0.0.0\nloopback 127.0.0.0\nlink-local 169.254.0.0\n"},
        "skel/.profile": {"content": "umask 022\n"},
    }


def session_files(variables: dict[str, str], context: Context) -> dict[str, t.Any]:
    """Return the files of the variables of every session; of a machine those alone that the declaration says."""
    locale = variables.get("LANG") if context.machine else context.operating_system.locale
    files = {"environment": {"content": environment(variables)}} if variables or not context.machine else {}
    return {**files, **({"default/locale": {"content": f"LANG={locale}\n"}} if locale else {})}


def locale_files(system: OperatingSystem, machine: bool = False) -> dict[str, t.Any]:
    """Return the files of locale, time zone, issue and sudo; of a machine those alone that the declaration says."""
    files: dict[str, t.Any] = {
        "locale.conf": {"content": f"LANG={system.locale}\n"},
        "timezone": {"content": system.timezone + "\n"},
        "localtime": {"link": f"../usr/share/zoneinfo/{system.timezone}"},
        "sudoers": {"content": system.sudoers if system.sudoers is not None else _SUDOERS, "mode": "0440"},
    }
    if system.issue is not None:
        files["issue"] = {"content": system.issue}
    if machine:
        fields = {"locale.conf": "locale", "sudoers": "sudoers", "issue": "issue"}
        files = {name: item for name, item in files.items() if fields.get(name, "timezone") in system.given}
    return files


def root_directories() -> list[dict[str, t.Any]]:
    """Return the directories that a fresh root has beside those of accounts and services."""
    plain = [*checks.ROOT_DIRECTORIES, "/etc/systemd/generators"]
    made = [{"path": path, "mode": "0755", "uid": 0, "gid": 0} for path in plain]
    return made + [{"path": path, "mode": "1777", "uid": 0, "gid": 0} for path in checks.STICKY_DIRECTORIES]


def shells(accounts: Accounts) -> str:
    """Return /etc/shells: the usual ones and those of the users who may log in."""
    names = ["/bin/sh", "/bin/bash", "/usr/bin/sh", "/usr/bin/bash"]
    for user in accounts.users:
        if user.shell not in names and not user.shell.endswith(("/nologin", "/false")):
            names.append(user.shell)
    return "".join(f"{name}\n" for name in names)


def environment(variables: dict[str, str]) -> str:
    """Return /etc/environment as pam_env reads it."""
    return "".join(f'{name}="{value}"\n' for name, value in variables.items())


def combine_hosts(value: t.Any, contributions: list[Contribution], context: Context, path: str) -> str:
    """Return /etc/hosts: localhost, the host's own name (S12), the OS's hosts, then what services add."""
    name = context.operating_system.host_name
    own = [name] if "." not in name else [name, name.split(".")[0]]
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
    if name != "localhost":
        lines.append("127.0.1.1 " + " ".join(own))
    hosts = list(context.operating_system.hosts)
    hosts += [Host.from_mapping(item, place) for item, place in placed_list(value, contributions, path)]
    lines.extend(" ".join([host.address, host.canonical_name, *host.aliases]) for host in hosts)
    return "\n".join(lines) + "\n"


def combine_fstab(value: t.Any, contributions: list[Contribution], context: Context, path: str) -> list[FileSystem]:
    """Return each tmpfs of a container. What else it has is the host's, and no business of its own fstab's."""
    systems = [item for item in context.operating_system.file_systems if item.type == "tmpfs" and item.mounted_at_start]
    for item, place in placed_list(value, contributions, path):
        added = FileSystem.from_mapping(item, place)
        if added.type != "tmpfs" or not added.mounted_at_start:
            raise DeclarationError(
                place,
                f"a container mounts nothing of its fstab but a tmpfs: declare it in {SYSTEM}.file_systems, or use a "
                "mapping",
            )
        added.verify_mount(place, context.store)
        systems.append(added)
    return systems


def fstab(systems: list[FileSystem]) -> str:
    """Return /etc/fstab."""
    return "".join(_fstab_line(system) for system in systems)


_OPTIONS = {
    "read-only": "ro",
    "no-suid": "nosuid",
    "no-dev": "nodev",
    "no-exec": "noexec",
    "no-atime": "noatime",
    "no-diratime": "nodiratime",
    "strict-atime": "strictatime",
    "lazy-time": "lazytime",
    "bind-mount": "bind",
    "remount": "remount",
    "shared": "shared",
}


def _options(system: FileSystem) -> str:
    options = [_OPTIONS[flag] for flag in system.flags]
    if system.options:
        options.append(system.options)
    return ",".join(options) or "defaults"


def _fstab_line(system: FileSystem) -> str:
    fields = (system.type, system.place, system.type, _options(system))
    return " ".join(_octal(field) for field in fields) + " 0 0\n"


def _octal(field: str) -> str:
    """Escape a field of fstab."""
    for character in "\\ \t#":
        field = field.replace(character, f"\\{ord(character):03o}")
    return field
