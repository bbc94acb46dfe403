# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How plain SSH leads to a container's own sshd: by a published port, by its address, or through its host (N14)."""

from __future__ import annotations

import ipaddress
import shlex
import typing as t

from ..module_utils.launcher.network_records import FOR_DHCP

Variables = dict[str, t.Any]

SSH_PORT = 22


def ssh_way(host: t.Mapping[str, t.Any], facts: t.Mapping[str, t.Any]) -> Variables | None:
    """Return the connection variables that lead to a container's sshd with SSH; None where no way is known.

    A published port is taken first, then an address in a network of the host's, and then one of a zone or a routed
    interface, which others reach through the host.

    :param host: the variables that lead to its host, with `ansible_unshare_transport`, `local` or `ssh`.
    :param facts: what the module `system_container_info` says of it.
    """
    is_here = host["ansible_unshare_transport"] == "local"
    at = "127.0.0.1" if is_here else str(host.get("ansible_host") or host.get("ansible_ssh_host"))
    for port in facts.get("ports") or []:
        if (int(port["target"]), port["protocol"]) == (SSH_PORT, "tcp"):
            address = _address(port["address"]) if port["address"] else None
            if address is None or is_here or not address.is_loopback:
                return _ssh(str(address or at), int(port["port"]))
    interfaces = facts.get("interfaces") or []
    for interface in sorted(interfaces, key=lambda interface: interface["kind"] not in FOR_DHCP):
        for text in interface["addresses"]:
            way = _ssh(str(_address(text)))
            if not is_here and interface["kind"] not in FOR_DHCP:
                way["ansible_ssh_common_args"] = shlex.join(["-o", f"ProxyCommand={_jump(at, host)}"])
            return way
    return None


def _ssh(address: str, port: int | None = None) -> Variables:
    way: Variables = {"ansible_connection": "ansible.builtin.ssh", "ansible_host": address}
    return way if port is None else {**way, "ansible_port": port}


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(text.partition("/")[0])


def _jump(at: str, host: t.Mapping[str, t.Any]) -> str:
    """Return the command that leads through the host, as ssh_config(5) has it: a percent sign is written twice."""
    words = []
    for option, names in (
        ("-p", ("ansible_port", "ansible_ssh_port")),
        ("-l", ("ansible_user", "ansible_ssh_user")),
        ("-i", ("ansible_private_key_file", "ansible_ssh_private_key_file")),
    ):
        given = [host[name] for name in names if host.get(name)]
        words += [option, str(given[0])] if given else []
    for name in ("ansible_ssh_common_args", "ansible_ssh_extra_args"):
        words += shlex.split(str(host.get(name) or ""))
    return f"ssh -W [%h]:%p {shlex.join([*words, '--', at]).replace('%', '%%')}"
