# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remote access: openssh."""

from __future__ import annotations

import re
import shlex
import typing as t

from .. import accounts, checks
from ..debian import DEBIAN
from ..errors import DeclarationError, suggestion
from ..ports import Listener, endpoint
from ..service_types import Context, ServiceType, always, daemon
from ..units import Unit
from ..validation import Spec, describe

if t.TYPE_CHECKING:
    from ..folded_system import FoldedSystem

_SOFTWARE = DEBIAN.of("openssh")
_KINDS = ("ed25519", "rsa", "ecdsa")
_OPENSSH: Spec = {
    "port": {"type": "int", "default": 22},
    "listen_addresses": {"type": "list", "elements": "str", "default": []},
    "permit_root_login": {"type": "str", "choices": ["yes", "no", "prohibit-password"], "default": "prohibit-password"},
    "password_authentication": {"type": "bool", "default": False},
    "authorized_keys": {"type": "dict", "default": {}},
    "host_key_types": {"type": "list", "elements": "str", "choices": list(_KINDS), "default": ["ed25519"]},
    "host_key_directory": {"type": "str", "default": "/var/lib/sshd"},
    "host_keys": {"type": "dict", "default": {}, "no_log": True},
    "extra_config": {"type": "str", "default": ""},
}


_PORT = re.compile(r"^\s*Port[\s=]+([0-9]+)\s*$", re.MULTILINE | re.IGNORECASE)
_LISTEN_ADDRESS = re.compile(r"^\s*ListenAddress[\s=]+([^\s#]+)", re.MULTILINE | re.IGNORECASE)


def _verify(value: t.Any, path: str) -> None:
    checks.port(value["port"], f"{path}.port")
    checks.absolute_path(value["host_key_directory"], f"{path}.host_key_directory")
    if re.search(r"[\s\"'#%]", value["host_key_directory"]):
        raise DeclarationError(f"{path}.host_key_directory", "must not contain spaces, quotes, '#' or '%'")
    for index, address in enumerate(value["listen_addresses"]):
        if not re.fullmatch(r"[0-9A-Za-z.:%\[\]-]+", address):
            raise DeclarationError(f"{path}.listen_addresses[{index}]", f"{address!r} is not an address")
    for user, keys in value["authorized_keys"].items():
        place = f"{path}.authorized_keys.{user}"
        checks.account_name(user, place)
        if not isinstance(keys, list):
            raise DeclarationError(place, f"must be a list of keys, not {describe(keys)}")
        for index, key in enumerate(keys):
            if not isinstance(key, str) or not key.strip():
                raise DeclarationError(f"{place}[{index}]", "must be a public key")
            checks.line(key, f"{place}[{index}]")
            if "PRIVATE KEY" in key:
                raise DeclarationError(f"{place}[{index}]", "is a private key; give the public one")
    for kind, key in value["host_keys"].items():
        if kind not in _KINDS:
            raise DeclarationError(f"{path}.host_keys", f"'{kind}' is not a key type" + suggestion(kind, _KINDS))
        if not isinstance(key, str) or "PRIVATE KEY" not in key:
            raise DeclarationError(f"{path}.host_keys.{kind}", "must be the text of a private key")


def _key_owners(value: t.Any, folded: FoldedSystem, path: str) -> None:
    for user in value["authorized_keys"]:
        folded.refuse_unknown("user", user, f"{path}.authorized_keys.{user}")


def _given_path(kind: str) -> str:
    return f"ssh/ssh_host_{kind}_key"


def _key_paths(value: t.Any) -> list[str]:
    kept = value["host_key_directory"].rstrip("/")
    made = [f"{kept}/ssh_host_{kind}_key" for kind in value["host_key_types"] if kind not in value["host_keys"]]
    return [f"/etc/{_given_path(kind)}" for kind in value["host_keys"]] + made


def _config(value: t.Any) -> str:
    lines = [f"Port {value['port']}"]
    lines += [f"ListenAddress {address}" for address in value["listen_addresses"]]
    lines += [f"HostKey {path}" for path in _key_paths(value)]
    yes = "yes" if value["password_authentication"] else "no"
    lines += [
        f"PermitRootLogin {value['permit_root_login']}",
        f"PasswordAuthentication {yes}",
        f"KbdInteractiveAuthentication {yes}",
        "PubkeyAuthentication yes",
        "AuthorizedKeysFile /etc/ssh/authorized_keys.d/%u .ssh/authorized_keys",
        "UsePAM yes",
        "UseDNS no",
        "PrintMotd no",
        "PidFile /run/sshd/sshd.pid",
        "AcceptEnv LANG LC_*",
        "Subsystem sftp internal-sftp",
    ]
    return "\n".join(lines) + "\n" + value["extra_config"].rstrip("\n") + "\n" * bool(value["extra_config"])


def _files(value: t.Any, context: Context) -> dict[str, t.Any]:
    files: dict[str, t.Any] = {"ssh/sshd_config": {"content": _config(value)}}
    for user, keys in value["authorized_keys"].items():
        files[f"ssh/authorized_keys.d/{user}"] = {"content": "".join(key.strip() + "\n" for key in keys)}
    for kind, key in value["host_keys"].items():
        files[_given_path(kind)] = {"content": key.rstrip("\n") + "\n", "mode": "0600", "secret": True}
    return files


def _activation(value: t.Any, context: Context) -> list[t.Any]:
    directory = value["host_key_directory"]
    made = [kind for kind in value["host_key_types"] if kind not in value["host_keys"]]
    keys = {"path": directory, "mode": "0755"}
    if made:
        keys["volume"] = "openssh"
        keys["made_once"] = "the host keys of sshd, by which clients know it (`host_keys` can give it others)"
    steps: list[t.Any] = [keys, {"path": "/run/sshd", "mode": "0755"}]
    for kind in made:
        key = shlex.quote(f"{directory.rstrip('/')}/ssh_host_{kind}_key")
        steps.append(f"[ -s {key} ] || {_SOFTWARE.programs['ssh-keygen']} -q -t {kind} -N '' -C '' -f {key}\n")
    return steps


def _listeners(value: t.Any) -> list[Listener]:
    ports = [("port", value["port"])]
    ports += [("extra_config", int(number)) for number in _PORT.findall(value["extra_config"])]
    written = [(f"listen_addresses[{index}]", text) for index, text in enumerate(value["listen_addresses"])]
    written += [("extra_config", text) for text in _LISTEN_ADDRESS.findall(value["extra_config"])]
    if not written:
        return [Listener(key, number) for key, number in ports if number]
    found = []
    for place, text in written:
        own = endpoint(text)  # sshd takes `::` and the like as an address
        if own and (":" not in own[0] or text.startswith("[")) and ":" in text:
            found.append(Listener(place, own[1], own[0]))
        else:
            found += [Listener(key, number, text.strip("[]")) for key, number in ports]
    return found


def _unit(value: t.Any, context: Context) -> list[Unit]:
    service = {
        "Type": "notify",
        "ExecStart": f"{_SOFTWARE.programs['sshd']} -D -e",
        "ExecReload": "/bin/kill -HUP $MAINPID",
        "KillMode": "process",
        "RuntimeDirectory": "sshd",
        "RuntimeDirectoryMode": "0755",
        "RuntimeDirectoryPreserve": True,
    }
    return [daemon("sshd", service, description="OpenSSH server", unit={"After": "network.target"})]


TYPES = (
    ServiceType(
        "openssh",
        "The OpenSSH server.",
        spec=_OPENSSH,
        verify=_verify,
        against=_key_owners,
        default={},
        provision=("sshd", "ssh-daemon", "openssh"),
        software=_SOFTWARE,
        programs=(_SOFTWARE.programs["sshd"], _SOFTWARE.programs["ssh-keygen"]),
        listeners=_listeners,
        extensions={
            "systemd": _unit,
            "etc": _files,
            "activation": _activation,
            "account": always({"users": [accounts.service_user("sshd", home="/run/sshd", group="nogroup")]}),
        },
    ),
)
