# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services of an ordinary machine: nscd, dbus, login, cron."""

from __future__ import annotations

import typing as t

from .. import accounts, checks, crontab
from ..debian import DEBIAN
from ..errors import DeclarationError
from ..service_types import Context, ServiceType, always, daemon, ready_made
from ..units import Unit
from ..validation import Spec

if t.TYPE_CHECKING:
    from ..folded_system import FoldedSystem

NSCD = "nscd"
CACHE_SIZE = 32 * 2**20
CONTAINER_CACHE_SIZE = 2**18
_NSCD_PROGRAM = DEBIAN.of(NSCD).programs["nscd"]
_CRON_SOFTWARE, _DBUS, _LOGIN = DEBIAN.of("cron"), DEBIAN.of("dbus"), DEBIAN.of("login")

_CACHE: Spec = {
    "database": {"type": "str", "required": True, "choices": ["passwd", "group", "hosts", "services", "netgroup"]},
    "positive_time_to_live": {"type": "int", "default": 3600},
    "negative_time_to_live": {"type": "int", "default": 20},
    "suggested_size": {"type": "int", "default": 211},
    "check_files": {"type": "bool", "default": True},
    "persistent": {"type": "bool", "default": True},
    "shared": {"type": "bool", "default": True},
    "max_database_size": {"type": "int", "default": CACHE_SIZE},
    "auto_propagate": {"type": "bool", "default": True},
}
_NSCD: Spec = {
    "caches": {"type": "list", "elements": "dict", "options": _CACHE},
    "debug_level": {"type": "int", "default": 0},
    "log_file": {"type": "str", "default": "/dev/null"},
}
_JOB: Spec = {
    "name": {"type": "str", "required": True},
    "schedule": {"type": "str", "required": True},
    "user": {"type": "str", "default": "root"},
    "command": {"type": "str", "required": True},
    "environment": {"type": "dict", "default": {}},
}
_CRON: Spec = {"jobs": {"type": "list", "elements": "dict", "options": _JOB, "default": []}}


def default_caches(size: int = CACHE_SIZE) -> list[dict[str, t.Any]]:
    """Return nscd's default caches, each of at most SIZE bytes."""
    return [
        {
            "database": "hosts",
            "positive_time_to_live": 43200,
            "negative_time_to_live": 20,
            "persistent": True,
            "max_database_size": size,
        },
        {
            "database": "services",
            "positive_time_to_live": 86400,
            "negative_time_to_live": 3600,
            "persistent": True,
            "max_database_size": size,
        },
    ]


def container_nscd(value: t.Any) -> dict[str, t.Any]:
    """Return the value of a container's nscd: the settings of the OS, but small default caches (C4)."""
    return {**(value or {}), "caches": default_caches(CONTAINER_CACHE_SIZE)}


def _nscd_conf(value: t.Any) -> str:
    lines = [f"logfile {value['log_file']}", f"debug-level {value['debug_level']}", "paranoia no"]
    directives = (
        ("positive-time-to-live", "positive_time_to_live"),
        ("negative-time-to-live", "negative_time_to_live"),
        ("suggested-size", "suggested_size"),
        ("check-files", "check_files"),
        ("persistent", "persistent"),
        ("shared", "shared"),
        ("max-db-size", "max_database_size"),
        ("auto-propagate", "auto_propagate"),
    )
    given = {cache["database"]: cache for cache in value["caches"] or default_caches()}
    for database in ("passwd", "group", "hosts", "services", "netgroup"):
        lines.append(f"enable-cache {database} {'yes' if database in given else 'no'}")
        defaults = {key: entry.get("default") for key, entry in _CACHE.items()}
        for directive, key in directives if database in given else ():
            if directive == "auto-propagate" and database not in ("passwd", "group"):
                continue
            setting = {**defaults, **given[database]}[key]
            text = ("yes" if setting else "no") if isinstance(setting, bool) else str(setting)
            lines.append(f"{directive} {database} {text}")
    return "\n".join(lines) + "\n"


def _verify_nscd(value: t.Any, path: str) -> None:
    checks.absolute_path(value["log_file"], f"{path}.log_file")
    for index, cache in enumerate(value["caches"] or []):
        for key, item in cache.items():
            if isinstance(item, int) and item < 0:
                raise DeclarationError(f"{path}.caches[{index}].{key}", "must not be negative")


def _nscd_unit(value: t.Any, context: Context) -> list[Unit]:
    return [
        daemon(
            NSCD,
            {
                "Type": "simple",
                "User": "nscd",
                "ExecStart": f"{_NSCD_PROGRAM} --foreground",
                "RuntimeDirectory": "nscd",
                "CacheDirectory": "nscd",
                "NoNewPrivileges": True,
            },
            description="Name service cache",
            unit={"ConditionFileIsExecutable": _NSCD_PROGRAM},
        )
    ]


def _verify_cron(value: t.Any, path: str) -> None:
    names = set()
    for index, job in enumerate(value["jobs"]):
        place = f"{path}.jobs[{index}]"
        crontab.file_name(job["name"], f"{place}.name")
        if job["name"] in names:
            raise DeclarationError(f"{place}.name", f"'{job['name']}' is declared twice")
        names.add(job["name"])
        crontab.schedule(job["schedule"], f"{place}.schedule")
        checks.account_name(job["user"], f"{place}.user")
        crontab.command(job["command"], f"{place}.command")
        for name, text in job["environment"].items():
            checks.environment_name(name, f"{place}.environment")
            crontab.variable(name, str(text), f"{place}.environment.{name}")


def _cron_users(value: t.Any, folded: FoldedSystem, path: str) -> None:
    for index, job in enumerate(value["jobs"]):
        folded.refuse_unknown("user", job["user"], f"{path}.jobs[{index}].user")


def _cron_files(value: t.Any, context: Context) -> dict[str, t.Any]:
    files = {"crontab": {"content": "SHELL=/bin/sh\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin\n"}}
    for job in value["jobs"]:
        lines = [crontab.variable(name, str(text), name) for name, text in job["environment"].items()]
        lines.append(f"{job['schedule']} {job['user']} {crontab.command(job['command'], job['name'])}")
        files[f"cron.d/{job['name']}"] = {"content": "".join(f"{line}\n" for line in lines)}
    return files


def _cron_unit(value: t.Any, context: Context) -> list[Unit]:
    service = {"ExecStart": f"{_CRON_SOFTWARE.programs['cron']} -f", "KillMode": "process", "Restart": "on-failure"}
    return [daemon("cron", service, description="Regular jobs")]


def _dbus_units(value: t.Any, context: Context) -> list[Unit]:
    service = {
        "Type": "notify",
        "NotifyAccess": "main",
        "ExecStart": f"{_DBUS.programs['dbus-daemon']} --system --address=systemd:"
        " --nofork --nopidfile --systemd-activation --syslog-only",
        "ExecReload": f"{_DBUS.programs['dbus-send']} --print-reply --system --type=method_call"
        " --dest=org.freedesktop.DBus / org.freedesktop.DBus.ReloadConfig",
    }
    head = {"Description": "System message bus", "Requires": "dbus.socket", "After": "dbus.socket"}
    return [
        Unit("dbus.service", {"Unit": head, "Service": service}, provision=("dbus", "dbus-system"), wanted_by=()),
        Unit(
            "dbus.socket",
            {
                "Unit": {"Description": "Socket of the system message bus"},
                "Socket": {"ListenStream": "/run/dbus/system_bus_socket"},
            },
            wanted_by=("sockets.target",),
        ),
    ]


def _login_files(value: t.Any, context: Context) -> dict[str, t.Any]:
    linked = ("systemd-logind.service", "user@.service", "user-runtime-dir@.service")
    files: dict[str, t.Any] = {f"systemd/system/{name}": {"link": f"{DEBIAN.unit_directory}/{name}"} for name in linked}
    files["systemd/system/dbus-org.freedesktop.login1.service"] = {"link": "systemd-logind.service"}
    files["systemd/system/multi-user.target.wants/systemd-logind.service"] = {"link": "../systemd-logind.service"}
    files["systemd/logind.conf"] = {"content": "[Login]\nNAutoVTs=0\nReserveVT=0\n"}
    return files


TYPES = (
    ServiceType(
        NSCD,
        "Caches of names.",
        spec=_NSCD,
        verify=_verify_nscd,
        provision=("nscd",),
        software=DEBIAN.of(NSCD),
        extensions={
            "systemd": _nscd_unit,
            "etc": lambda value, context: {"nscd.conf": {"content": _nscd_conf(value)}},
            "account": always(
                {"users": [accounts.service_user("nscd", home="/run/nscd")], "groups": [accounts.service_group("nscd")]}
            ),
        },
    ),
    ServiceType(
        "cron",
        "Jobs at given times: {name, schedule, user, command}. A schedule is that of cron(5). A `%` of a command is the"
        " character itself, with or without a backslash before it.",
        spec=_CRON,
        verify=_verify_cron,
        against=_cron_users,
        provision=("cron",),
        software=_CRON_SOFTWARE,
        programs=(_CRON_SOFTWARE.programs["cron"],),
        extensions={
            "systemd": _cron_unit,
            "etc": _cron_files,
            "activation": always(
                [
                    {"path": "/var/spool/cron", "mode": "0755"},
                    {"path": "/var/spool/cron/crontabs", "mode": "1730", "volume": "cron"},
                ]
            ),
        },
    ),
    ServiceType(
        "dbus",
        "The system message bus.",
        combine=ready_made,
        provision=("dbus", "dbus-system"),
        software=_DBUS,
        programs=(_DBUS.programs["dbus-daemon"],),
        extensions={
            "systemd": _dbus_units,
            "activation": always([{"path": "/run/dbus", "mode": "0755"}]),
            "account": always(
                {"users": [accounts.service_user("messagebus")], "groups": [accounts.service_group("messagebus")]}
            ),
        },
    ),
    ServiceType(
        "login",
        "systemd-logind: sessions and user managers.",
        provision=("login", "elogind"),
        software=_LOGIN,
        programs=(_LOGIN.programs["systemd-logind"],),
        extensions={"etc": _login_files, "dbus": always(None)},
    ),
)
