# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Web servers: nginx, and one that needs nothing installed."""

from __future__ import annotations

import posixpath
import re
import typing as t

from .. import checks, nginx_text, units
from ..debian import DEBIAN
from ..errors import DeclarationError
from ..folded_system import FoldedSystem, content_of
from ..ports import Listener, endpoint
from ..service_types import Context, ServiceType, always, daemon, needs
from ..units import Unit
from ..validation import Spec, describe

_LOCATION: Spec = {
    "uri": {"type": "str", "required": True},
    "body": {"type": "list", "elements": "str", "required": True},
}
_SERVER: Spec = {
    "listen": {"type": "list", "elements": "str", "default": ["80", "[::]:80"]},
    "server_name": {"type": "list", "elements": "str", "default": ["_"]},
    "root": {"type": "str"},
    "index": {"type": "list", "elements": "str", "default": ["index.html"]},
    "locations": {"type": "list", "elements": "dict", "options": _LOCATION, "default": []},
    "directives": {"type": "list", "elements": "str", "default": []},
}
_NGINX_SOFTWARE, _STATIC_SOFTWARE = DEBIAN.of("nginx"), DEBIAN.of("static-web-server")
_NGINX: Spec = {
    "servers": {"type": "list", "elements": "dict", "options": _SERVER, "default": []},
    "worker_processes": {"type": "raw", "default": 1},
    "http_directives": {"type": "list", "elements": "str", "default": []},
    "config": {"type": "str"},
}
_STATIC: Spec = {
    "name": {"type": "str", "default": "static-web-server"},
    "root": {"type": "str", "default": "/srv/www"},
    "port": {"type": "int", "default": 8080},
    "address": {"type": "str", "default": "0.0.0.0"},
    "python": {"type": "str", "default": _STATIC_SOFTWARE.programs["python"]},
}
_TYPES = {
    "text/html": "html htm",
    "text/css": "css",
    "text/plain": "txt",
    "text/xml": "xml",
    "text/javascript": "js mjs",
    "application/json": "json",
    "application/wasm": "wasm",
    "application/pdf": "pdf",
    "application/zip": "zip",
    "image/png": "png",
    "image/jpeg": "jpeg jpg",
    "image/gif": "gif",
    "image/svg+xml": "svg",
    "image/webp": "webp",
    "image/x-icon": "ico",
    "font/woff": "woff",
    "font/woff2": "woff2",
    "audio/mpeg": "mp3",
    "video/mp4": "mp4",
}
_NGINX_PID = "/run/nginx/nginx.pid"
_PID_DIRECTORIES = ("/run", "/run/nginx", "/var/cache/nginx", "/var/lib/nginx", "/var/log/nginx")
"""The directories that are there when nginx starts, in which it can keep its process id."""
_DEEPEST = 10
"""How many files, each included by the one before, are looked into."""
_WORD = re.compile(r"[^\s;{}\"'#\\$\x00-\x1f\x7f]+")


# The service is started once it answers.
_PROBE = (
    "import socket,sys,time;"
    "until=time.monotonic()+15;"
    "s=lambda:socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET);"
    "exec('while s().connect_ex((sys.argv[1],int(sys.argv[2]))):"
    " time.sleep(.01) if time.monotonic()<until else sys.exit(1)')"
)


def _word(text: str, path: str) -> str:
    if not _WORD.fullmatch(text):
        raise DeclarationError(
            path,
            f"{text!r} must be one word of nginx's configuration, without spaces, quotes and any of ; {{ }} # $ \\: "
            "`config` takes any text",
        )
    return text


def _verify_nginx(value: t.Any, path: str) -> None:
    if value["config"] is not None and (value["servers"] or value["http_directives"]):
        raise DeclarationError(path, "`config` replaces the whole file; it excludes `servers` and `http_directives`")
    workers = value["worker_processes"]
    if workers != "auto" and (not isinstance(workers, int) or isinstance(workers, bool) or workers < 1):
        raise DeclarationError(f"{path}.worker_processes", f"must be a number or 'auto', not {describe(workers)}")
    for index, server in enumerate(value["servers"]):
        place = f"{path}.servers[{index}]"
        if not server["listen"]:
            raise DeclarationError(f"{place}.listen", 'is empty: name a port, such as "80", or leave it out')
        for key in ("listen", "server_name", "index"):
            for item in server[key]:
                for word in item.split(" ") if key == "listen" else [item]:
                    _word(word, f"{place}.{key}")
        if server["root"] is not None:
            _word(checks.absolute_path(server["root"], f"{place}.root"), f"{place}.root")
        for number, location in enumerate(server["locations"]):
            for word in location["uri"].split(" "):
                checks.line(word, f"{place}.locations[{number}].uri")


def _nginx_against(value: t.Any, folded: FoldedSystem, path: str) -> None:
    """Refuse a configuration without a server, its own files included, and a user that the container does not have."""
    known = nginx_text.directives(_nginx_conf(value))
    if value["config"] is not None:
        _refuse_process(known, folded, path)
    unmatched: list[str] = []
    found = _has_server(known, "main", folded, unmatched)
    for context, directive in nginx_text.walk(known):
        if value["config"] is not None and context == "main" and directive.words[:1] == ["user"]:
            names = [*directive.words[1:3], *directive.words[1:2]][:2]  # the group is called as the user by default
            for index, name in enumerate(names):
                folded.refuse_unknown(("user", "group")[index], name, f"{path}.config")
    if found:
        return
    includes = f" (no declared file of /etc and no mapping with a server matches {', '.join(unmatched)})"
    said = "so that nginx would serve nothing" + includes * bool(unmatched)
    if value["config"] is not None:
        raise DeclarationError(
            f"{path}.config",
            f"has no block `server` in `http`, `stream` or `mail`, {said}: write one, or use `servers`",
        )
    raise DeclarationError(f"{path}.servers", f"is empty, {said}: declare one, such as {{root: /srv/www}}")


def _refuse_process(known: list[nginx_text.Directive], folded: FoldedSystem, path: str) -> None:
    """Refuse directives of nginx' own process with which the service would not start."""
    place = f"{path}.config"
    found = nginx_text.process(known)
    for name in nginx_text.PROCESS:
        arguments = [directive.words[1:] for directive in known if directive.words[:1] == [name]]
        if len(arguments) > 1:
            raise DeclarationError(place, f"has `{name}` {len(arguments)} times, which nginx refuses: keep one of them")
        if any(len(words) != 1 for words in arguments):
            raise DeclarationError(place, f"has `{name}` without its one argument, which nginx refuses: leave it out")
    if found.daemon not in ("", "on", "off"):
        raise DeclarationError(place, f"has `daemon {found.daemon}`, which nginx refuses: leave it out")
    if found.pid and posixpath.dirname(found.pid) not in _PID_DIRECTORIES:
        raise DeclarationError(
            place,
            f"has `pid {found.pid}`, which must be a file in one of {', '.join(_PID_DIRECTORIES)}: "
            f"leave it out, or use {_NGINX_PID}",
        )
    for source, directive in _included_in_main(known, folded):
        if directive.words[:1] and directive.words[0] in nginx_text.PROCESS:
            raise DeclarationError(
                place,
                f"includes {source} with `{directive.words[0]}`: leave it out there, or write it in `config` itself",
            )


def _included_in_main(
    known: list[nginx_text.Directive], folded: FoldedSystem, depth: int = 0
) -> t.Iterator[tuple[str, nginx_text.Directive]]:
    """Yield the directives that are included from declared files into the main context, each after its file's path."""
    patterns = [nginx_text.included(directive, "/etc/nginx") for directive in known]
    for path, entry in folded.files.items():
        if depth < _DEEPEST and any(pattern and nginx_text.matches(pattern, path) for pattern in patterns):
            inner = nginx_text.directives(content_of(entry) or "")
            yield from ((path, directive) for directive in inner)
            yield from _included_in_main(inner, folded, depth + 1)


def _has_server(
    known: list[nginx_text.Directive], context: str, folded: FoldedSystem, unmatched: list[str], depth: int = 0
) -> bool:
    """Return whether there is a server in directives of a context, or in what they include.

    :param unmatched: gets the patterns of files in which there is none.
    """
    for inside, directive in nginx_text.walk(known, context):
        if nginx_text.is_server(inside, directive):
            return True
        pattern = nginx_text.included(directive, "/etc/nginx")
        if pattern is None or (inside not in nginx_text.SERVING and inside != "main"):
            continue
        if folded.may_be_mounted(pattern):
            return True
        for path, entry in folded.files.items():
            if depth < _DEEPEST and nginx_text.matches(pattern, path):
                content = content_of(entry)
                if content is None or _has_server(nginx_text.directives(content), inside, folded, unmatched, depth + 1):
                    return True  # where a link leads is nginx' to find out
        unmatched.append(pattern)
    return False


def _nginx_listeners(value: t.Any) -> list[Listener]:
    """Return what servers listen on, also in text that is taken as it is; addresses and sockets of their own."""
    written = [
        (f"servers[{index}].listen[{number}]", item)
        for index, server in enumerate(value["servers"])
        for number, item in enumerate(server["listen"])
    ]
    texts = [("config", value["config"] or "")]
    texts += [(f"http_directives[{index}]", text) for index, text in enumerate(value["http_directives"])]
    for index, server in enumerate(value["servers"]):
        texts += [(f"servers[{index}].directives[{number}]", text) for number, text in enumerate(server["directives"])]
    listens = [(key, item.split()) for key, item in written]
    listens += [(key, words) for key, text in texts for words in nginx_text.listens(text)]
    found = []
    for key, words in listens:
        known = endpoint(words[0], 80) if words and not words[0].startswith("unix:") else None
        if known:
            found.append(Listener(key, known[1], known[0], "udp" if "quic" in words else "tcp"))
    return found


def _block(head: str, lines: list[str]) -> list[str]:
    return [f"{head} {{", *(f"  {line}" for line in lines), "}"]


def _directive(text: str) -> str:
    text = text.strip()
    return text if text.endswith((";", "}")) else f"{text};"


def _nginx_conf(value: t.Any) -> str:
    if value["config"] is not None:
        return t.cast(str, value["config"])
    types = [f"{name} {suffixes};" for name, suffixes in _TYPES.items()]
    http = [*_block("types", types), "default_type application/octet-stream;", "sendfile on;", "server_tokens off;"]
    http += ["access_log syslog:server=unix:/dev/log,nohostname combined;"]
    http += [
        f"{kind}_temp_path /var/cache/nginx/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    ]
    http += [_directive(text) for text in value["http_directives"]]
    for server in value["servers"]:
        lines = [f"listen {item};" for item in server["listen"]]
        lines += [f"server_name {' '.join(server['server_name'])};"]
        if server["root"] is not None:
            lines += [f"root {server['root']};", f"index {' '.join(server['index'])};"]
        lines += [_directive(text) for text in server["directives"]]
        for location in server["locations"]:
            lines += _block(f"location {location['uri']}", [_directive(text) for text in location["body"]])
        http += _block("server", lines)
    user = _NGINX_SOFTWARE.user
    head = [
        f"user {user} {DEBIAN.users[user].group};",
        f"worker_processes {value['worker_processes']};",
        f"pid {_NGINX_PID};",
    ]
    head += ["error_log stderr;", *_block("events", ["worker_connections 1024;"])]
    return "\n".join([*head, *_block("http", http)]) + "\n"


def _own_process(value: t.Any) -> nginx_text.NginxProcess:
    """Return what the main context of the configuration says of nginx' own process."""
    return nginx_text.process(nginx_text.directives(_nginx_conf(value)))


def _nginx_unit(value: t.Any, context: Context) -> list[Unit]:
    process = _own_process(value)
    command = f"{_NGINX_SOFTWARE.programs['nginx']} -c /etc/nginx/nginx.conf"
    if not process.pid:  # nginx refuses one that is given twice
        command += f' -g "pid {_NGINX_PID};"'
    forking = {"Type": "forking", "PIDFile": process.pid or _NGINX_PID}
    service = {
        **({"Type": "exec", "ExecStartPre": f"{command} -t -q"} if process.daemon == "off" else forking),
        "ExecStart": command,
        "ExecReload": f"{command} -s reload",
        "KillSignal": "SIGQUIT",
        "KillMode": "mixed",
        "TimeoutStopSec": 10,
        "RuntimeDirectory": "nginx",
        "CacheDirectory": "nginx",
        "LogsDirectory": "nginx",
        "StateDirectory": "nginx",
        "PrivateTmp": True,
    }
    return [daemon("nginx", service, description="nginx", unit={"After": "network.target"})]


def _verify_static(value: t.Any, path: str) -> None:
    checks.unit_name(f"{value['name']}.service", f"{path}.name")
    checks.absolute_path(value["root"], f"{path}.root")
    checks.absolute_path(value["python"], f"{path}.python")
    checks.port(value["port"], f"{path}.port")
    if not re.fullmatch(r"[0-9A-Fa-f.:]+", value["address"]):
        raise DeclarationError(f"{path}.address", f"{value['address']!r} is not an IP address")


def _static_unit(value: t.Any, context: Context) -> list[Unit]:
    words = [value["python"], "-I", "-u", "-m", "http.server", "--bind", value["address"]]
    words += ["--directory", value["root"], str(value["port"])]
    low = value["port"] < 1024
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(value["address"], value["address"])
    probe = [value["python"], "-I", "-S", "-c", _PROBE, reached, str(value["port"])]
    service = {
        "ExecStart": units.command(words, "command"),
        "ExecStartPost": units.command(probe, "command"),
        "TimeoutStartSec": 20,
        "DynamicUser": True,
        "AmbientCapabilities": "CAP_NET_BIND_SERVICE" if low else None,
        "CapabilityBoundingSet": "CAP_NET_BIND_SERVICE" if low else "",
        "NoNewPrivileges": True,
        "PrivateTmp": True,
        "PrivateDevices": True,
        "ProtectSystem": "strict",
        "ProtectHome": True,
        "ProtectControlGroups": True,
        "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX",
        "RestrictNamespaces": True,
        "RestrictSUIDSGID": True,
        "LockPersonality": True,
        "MemoryDenyWriteExecute": True,
        "SystemCallArchitectures": "native",
        "SystemCallFilter": "@system-service",
    }
    unit = {"After": "network.target"}
    return [daemon(value["name"], service, description=f"Files of {value['root']} over HTTP", unit=unit)]


def _static_needs(value: t.Any, context: Context) -> dict[str, t.Any]:
    return needs(value["name"], [value["python"]], _STATIC_SOFTWARE.packages)


TYPES = (
    ServiceType(
        "nginx",
        "The nginx web server. What it serves must be declared: `servers`, or a block `server` in `config`, in"
        " `http_directives` or in a declared or mapped file that these include. The service follows the"
        " directives `pid` and `daemon` of `config`.",
        spec=_NGINX,
        verify=_verify_nginx,
        against=_nginx_against,
        default={},
        provision=("nginx",),
        software=_NGINX_SOFTWARE,
        programs=(_NGINX_SOFTWARE.programs["nginx"],),
        listeners=_nginx_listeners,
        extensions={
            "systemd": _nginx_unit,
            "etc": lambda value, context: {"nginx/nginx.conf": {"content": _nginx_conf(value)}},
            "activation": always([{"path": "/var/www", "mode": "0755"}]),
        },
    ),
    ServiceType(
        "static-web-server",
        "Serves the files of a directory with Python alone.",
        spec=_STATIC,
        default={},
        verify=_verify_static,
        provision=lambda value: ((value or {}).get("name", "static-web-server"),),
        listeners=lambda value: [
            Listener("port", value["port"], "" if value["address"] == "0.0.0.0" else value["address"])
        ],
        extensions={
            "systemd": _static_unit,
            "system": _static_needs,
            "activation": lambda value, context: [{"path": value["root"], "mode": "0755"}],
        },
    ),
)
