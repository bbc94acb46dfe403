# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Databases: postgresql and redis."""

from __future__ import annotations

import dataclasses
import re
import shlex
import typing as t

from .. import accounts, checks
from ..debian import DEBIAN
from ..errors import DeclarationError, suggestion
from ..ports import Listener
from ..service_types import Context, ServiceType, always, daemon, needs
from ..units import Unit
from ..validation import Spec, describe, quoting

_POSTGRESQL_SOFTWARE, _REDIS_SOFTWARE = DEBIAN.of("postgresql"), DEBIAN.of("redis")
_POSTGRESQL: Spec = {
    "version": {"type": "str"},
    "data_directory": {"type": "str", "default": "/var/lib/postgresql/data"},
    "port": {"type": "int", "default": 5432},
    "listen_addresses": {"type": "list", "elements": "str", "default": ["localhost"]},
    "locale": {"type": "str", "default": "C.UTF-8"},
    "settings": {"type": "dict", "default": {}},
    "hba": {
        "type": "list",
        "elements": "str",
        "default": [
            "local all all peer",
            "host all all 127.0.0.1/32 scram-sha-256",
            "host all all ::1/128 scram-sha-256",
        ],
    },
}
_REDIS: Spec = {
    "bind": {"type": "list", "elements": "str", "default": ["127.0.0.1"]},
    "port": {"type": "int", "default": 6379},
    "directory": {"type": "str", "default": "/var/lib/redis"},
    "max_memory": {"type": "str"},
    "save": {"type": "list", "elements": "str", "default": ["3600 1", "300 100"]},
    "settings": {"type": "dict", "default": {}},
}
_POSTGRESQL_READ = ("port", "listen_addresses", "data_directory")
"""Settings of PostgreSQL that are read here; it takes the name of a setting in any case."""

_REDIS_PORTS = ("port", "tls-port")
"""Settings of redis that are ports."""

_REDIS_SECRETS = ("requirepass", "masterauth", "masteruser", "tls-key-file-pass", "tls-client-key-file-pass")
"""Settings of redis that are one word, whatever characters it has."""
_QUOTED = "'\" "
_SCRIPT = """#!/bin/sh
# Runs a program of PostgreSQL: of the version asked for, else of the data directory's, else the newest there is.
set -eu
data={data}
version={version}
if [ -z "$version" ] && [ -s "$data/PG_VERSION" ]; then version=$(cat "$data/PG_VERSION"); fi
directory=
if [ -n "$version" ]; then
  directory={home}/$version/bin
else
  newest=0
  for candidate in {home}/*/bin; do
    number=${{candidate#{home}/}}
    number=${{number%%[!0-9]*}}
    if [ -x "$candidate/postgres" ] && [ "${{number:-0}}" -gt "$newest" ]; then
      newest=$number
      directory=$candidate
    fi
  done
fi
if [ ! -x "$directory/postgres" ] && [ -x /usr/bin/postgres ]; then directory=/usr/bin; fi
if [ ! -x "$directory/postgres" ]; then
  echo "no PostgreSQL ${{version:-server}} below {home}" >&2
  exit 1
fi
case $1 in
  prepare)
    if [ ! -s "$data/PG_VERSION" ]; then
      "$directory/initdb" --pgdata="$data" --auth=peer --auth-host=scram-sha-256 --encoding=UTF8 \\
        --locale={locale} --username=postgres
    fi ;;
  run) exec "$directory/postgres" -D "$data" -c config_file=/etc/postgresql/postgresql.conf ;;
esac
"""


def _setting(value: t.Any, path: str) -> str:
    """Return a setting of postgresql.conf, quoted."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, (int, float)):
        return str(value)
    if not isinstance(value, str):
        raise DeclarationError(path, f"must be a string, a number or a boolean, not {describe(value)}")
    return "'" + checks.line(value, path).replace("\\", "\\\\").replace("'", "''") + "'"


def _verify_postgresql(value: t.Any, path: str) -> None:
    if value["version"] is not None and not re.fullmatch(r"[0-9]{1,2}(\.[0-9]{1,2})?", value["version"]):
        raise DeclarationError(f"{path}.version", f'{value["version"]!r} is not a version such as "15"')
    checks.port(value["port"], f"{path}.port")
    checks.locale(value["locale"], f"{path}.locale")
    for key in ("listen_addresses", "hba"):
        for index, line in enumerate(value[key]):
            checks.line(line, f"{path}.{key}[{index}]")
    _verify_ports(value["settings"], ("port",), path)
    for name, setting in value["settings"].items():
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_.]*", name):
            raise DeclarationError(f"{path}.settings", f"{name!r} is not the name of a setting")
        if name != name.lower() and name.lower() in _POSTGRESQL_READ:
            raise DeclarationError(f"{path}.settings", f"{name!r}: write {name.lower()!r}")
        _setting(setting, f"{path}.settings.{name}")
    _verify_directory(value, "data_directory", "data_directory", path)


def _postgresql_files(value: t.Any, context: Context) -> dict[str, t.Any]:
    settings = {
        "port": value["port"],
        "listen_addresses": ",".join(value["listen_addresses"]),
        "unix_socket_directories": "/run/postgresql",
        "hba_file": "/etc/postgresql/pg_hba.conf",
        "ident_file": "/etc/postgresql/pg_ident.conf",
        "log_destination": "stderr",
        "logging_collector": False,
        **value["settings"],
    }
    config = "".join(f"{name} = {_setting(item, name)}\n" for name, item in settings.items())
    script = _SCRIPT.format(
        home=_POSTGRESQL_SOFTWARE.programs["postgres"].partition("/{version}/")[0],
        data=shlex.quote(_directory(value, "data_directory", "data_directory")),
        version=shlex.quote(value["version"] or ""),
        locale=value["locale"],
    )
    return {
        "postgresql/postgresql.conf": {"content": config},
        "postgresql/pg_hba.conf": {
            "content": "\n".join(value["hba"]) + "\n",
            "mode": "0640",
            "group": "postgres",
        },
        "postgresql/pg_ident.conf": {"content": "# name, system user, database user\n"},
        "postgresql/server": {"content": script, "mode": "0755"},
    }


def _postgresql_unit(value: t.Any, context: Context) -> list[Unit]:
    service = {
        "Type": "notify",
        "User": "postgres",
        "ExecStartPre": "/etc/postgresql/server prepare",
        "ExecStart": "/etc/postgresql/server run",
        "ExecReload": "/bin/kill -HUP $MAINPID",
        "KillMode": "mixed",
        "KillSignal": "SIGINT",
        "TimeoutStartSec": 300,
        "TimeoutStopSec": 60,
        "RuntimeDirectory": "postgresql",
        "Environment": "LANG=C.UTF-8",
        "OOMScoreAdjust": None,
    }
    return [daemon("postgresql", service, description="PostgreSQL", unit={"After": "network.target"})]


def _postgresql_needs(value: t.Any, context: Context) -> dict[str, t.Any]:
    version, found = value["version"], _POSTGRESQL_SOFTWARE
    package = found.versioned.format(version=version) if version else found.packages[0]
    program = found.programs["postgres"].format(version=version or "*")
    return needs("postgresql", [program], [package])


def _verify_redis(value: t.Any, path: str) -> None:
    if value["port"] or not value["settings"].get("unixsocket"):
        checks.port(value["port"], f"{path}.port")
    if not value["bind"] and "unixsocket" not in value["settings"]:
        raise DeclarationError(f"{path}.bind", "is empty, so that redis would listen nowhere: name an address, or '*'")
    for key in ("bind", "save"):
        for index, item in enumerate(value[key]):
            checks.line(item, f"{path}.{key}[{index}]")
    _verify_ports(value["settings"], _REDIS_PORTS, path)
    if not _redis_listeners(value) and not value["settings"].get("unixsocket"):
        key = "port" if str(value["settings"].get("bind", "*")).strip(_QUOTED) else "bind"
        way = "name a port, or a `unixsocket`" if key == "port" else "name an address, or '*'"
        raise DeclarationError(f"{path}.settings.{key}", f"lets redis listen nowhere: {way}")
    for name, setting in value["settings"].items():
        if not re.fullmatch(r"[a-z][a-z0-9-]*", name):
            raise DeclarationError(f"{path}.settings", f"{name!r} is not a setting" + suggestion(name, ()))
        _redis_setting(name, setting, f"{path}.settings.{name}")
    _verify_directory(value, "directory", "dir", path)


def _redis_setting(name: str, value: t.Any, path: str) -> str:
    """Return the value of a setting as redis reads it: a secret is one word, of others the user separates the words."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, (int, str)):
        what = f"{describe(value)}{quoting(value)}" if not isinstance(value, float) else "one with a fraction; quote it"
        raise DeclarationError(path, f"must be a string, a whole number or a boolean, not {what}")
    text = checks.line(str(value), path)
    if name not in _REDIS_SECRETS or _unquoted(text) != text or re.fullmatch(r"[^\s\"']+", text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _redis_conf(value: t.Any) -> str:
    lines = [f"bind {' '.join(value['bind'])}", f"port {value['port']}", f'dir "{value["directory"]}"']
    lines += ["daemonize no", "supervised systemd", "protected-mode yes"]
    lines += [f"save {item}" for item in value["save"]] or ['save ""']
    if value["max_memory"] is not None:
        lines.append(f"maxmemory {value['max_memory']}")
    lines += [f"{name} {_redis_setting(name, item, name)}" for name, item in value["settings"].items()]
    return "\n".join(lines) + "\n"


def _redis_unit(value: t.Any, context: Context) -> list[Unit]:
    service = {
        "Type": "notify",
        "User": "redis",
        "Group": "redis",
        "ExecStart": f"{_REDIS_SOFTWARE.programs['redis-server']} /etc/redis/redis.conf",
        "TimeoutStopSec": 30,
        "RuntimeDirectory": "redis",
        "NoNewPrivileges": True,
        "PrivateTmp": True,
        "ProtectHome": True,
        "UMask": "0077",
        "LimitNOFILE": 65535,
    }
    return [daemon("redis", service, description="Redis", unit={"After": "network.target"})]


def _verify_ports(settings: dict[str, t.Any], names: t.Iterable[str], path: str) -> None:
    """Refuse settings that are to be ports, and are none; with 0 redis has none."""
    for name in names:
        given = settings.get(name, 1)
        number = int(str(given)) if re.fullmatch("[0-9]{1,9}", str(given)) and not isinstance(given, bool) else -1
        if number or names is not _REDIS_PORTS:
            checks.port(number, f"{path}.settings.{name}")


def _postgresql_listeners(value: t.Any) -> list[Listener]:
    """Return what it listens on; `settings` come last in its file, and count."""
    settings = value["settings"]
    addresses = [str(settings["listen_addresses"])] if "listen_addresses" in settings else value["listen_addresses"]
    return _on_each([_port(value)], addresses)


def _redis_listeners(value: t.Any) -> list[Listener]:
    """Return what it listens on; `settings` come last in its file, and count."""
    settings = value["settings"]
    ports = [_port(value), *((f"settings.{name}", int(settings.get(name, 0))) for name in _REDIS_PORTS[1:])]
    return _on_each(ports, [str(settings["bind"])] if "bind" in settings else value["bind"])


def _port(value: t.Any) -> tuple[str, int]:
    """Return the port of a database, with the key that says so."""
    settings = value["settings"]
    return ("settings.port", int(settings["port"])) if "port" in settings else ("port", value["port"])


def _on_each(ports: list[tuple[str, int]], texts: list[str]) -> list[Listener]:
    """Return the listeners of each port but 0 on each address of TEXTS, which spaces or commas separate.

    For redis, a dash before an address says that the host may lack it.
    """
    addresses = [word.strip(_QUOTED).lstrip("-") for text in texts for word in re.split(r"[\s,]+", text)]
    return [
        Listener(key, number, "" if address in ("*", "0.0.0.0") else address)
        for address in addresses
        for key, number in ports
        if number and address
    ]


def _account(name: str, home: str, shell: str = DEBIAN.no_login) -> t.Any:
    user = accounts.service_user(name, home=home, shell=shell)
    return always({"users": [user], "groups": [accounts.service_group(name)]})


def _owned(
    name: str, volume: str, key: str, setting: str, mode: str, keeps: t.Callable[[t.Any], bool] = lambda value: True
) -> t.Any:
    return lambda value, context: [
        {
            "path": _directory(value, key, setting),
            "mode": mode,
            "owner": name,
            "group": name,
            "data": keeps(value),
            **({"volume": volume} if keeps(value) else {}),
        }
    ]


def _directory(value: t.Any, key: str, setting: str) -> str:
    """Return where the data are: the server obeys its own setting before ours."""
    return _unquoted(value["settings"].get(setting, value[key]))


def _verify_directory(value: t.Any, key: str, setting: str, path: str) -> None:
    """Refuse a directory for data that none can be.

    :param key: under which the value has it.
    :param setting: the server's own, which may be among `settings`.
    """
    own = value["settings"].get(setting)
    if own is not None and not isinstance(own, str):
        raise DeclarationError(f"{path}.settings.{setting}", f"must be an absolute path, not {describe(own)}")
    for place, directory in ((f"{path}.{key}", value[key]), (f"{path}.settings.{setting}", own)):
        if directory is not None:
            checks.data_directory(_unquoted(directory), place)


def _unquoted(text: str) -> str:
    """Return a text without the quotes around it, as redis reads its settings."""
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def _redis_keeps(value: t.Any) -> bool:
    """Return whether it writes its data to a file, and is no cache alone."""
    own = value["settings"].get("save")  # adds to ours, unless it is empty
    saves = bool(value["save"]) if own is None else bool(_unquoted(str(own)).strip())
    return saves or str(value["settings"].get("appendonly")).lower() in ("true", "yes")


TYPES = (
    ServiceType(
        "postgresql",
        "The PostgreSQL database.",
        spec=_POSTGRESQL,
        verify=_verify_postgresql,
        default={},
        provision=("postgresql", "postgres"),
        software=dataclasses.replace(_POSTGRESQL_SOFTWARE, packages=()),  # which one, its value says
        listeners=_postgresql_listeners,
        extensions={
            "systemd": _postgresql_unit,
            "etc": _postgresql_files,
            "system": _postgresql_needs,
            "account": _account("postgres", "/var/lib/postgresql", DEBIAN.shell),
            "activation": _owned("postgres", "postgresql", "data_directory", "data_directory", "0700"),
        },
    ),
    ServiceType(
        "redis",
        "The Redis key-value store.",
        spec=_REDIS,
        verify=_verify_redis,
        default={},
        provision=("redis", "redis-server"),
        software=_REDIS_SOFTWARE,
        programs=(_REDIS_SOFTWARE.programs["redis-server"],),
        listeners=_redis_listeners,
        extensions={
            "systemd": _redis_unit,
            "etc": lambda value, context: {
                "redis/redis.conf": {
                    "content": _redis_conf(value),
                    "mode": "0640",
                    "group": "redis",
                    "secret": True,
                }
            },
            "account": _account("redis", "/var/lib/redis"),
            "activation": _owned("redis", "redis", "directory", "dir", "0750", _redis_keeps),
        },
    ),
)
