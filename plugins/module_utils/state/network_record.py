# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a running container has of the host's network: `network.json` in its runtime directory.

It is written before anything is made, and removed when all of it is gone. So what a killed launcher left is known.
"""

from __future__ import annotations

import os

from ..launcher import data
from ..launcher.host_settings import has_interface
from ..launcher.kinds import ContractError
from ..launcher.made_interfaces import MadeInterface
from ..launcher.names import is_name
from ..launcher.network_options import NetworkOptions
from ..launcher.network_records import Published
from ..launcher.paths import NETWORK_FILE, RUN_DIRECTORY, read_text, remove_file, write_atomically
from ..launcher.process import Process, start_time
from .record import RecordedContainer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..launcher.contract import Specification
    from ..launcher.wires import Wire


class NetworkRecord:
    """The interfaces of one running container, and what the host publishes for it.

    Attributes:
        container: its name.
        namespace: the number of the network namespace of its host.
        launcher: PID and start time of the process that makes it.
        interfaces: that were made for it.
        ports: that lead to it.
        host_access: whether it reaches the host's services.
        host_name: its own.
        system: the directory of its system.
    """

    def __init__(self, container: str, noted: dict[str, Any]) -> None:
        self.container = container
        self.namespace: int = noted.get("namespace", 0)
        self.launcher: list[int] = noted.get("launcher") or [0, 0]
        self.interfaces = [MadeInterface.noted(item) for item in noted.get("interfaces") or []]
        self.ports: list[Published] = [Published.read(port) for port in noted.get("ports") or []]
        self.host_access: bool = bool(noted.get("host_access"))
        self.host_name: str = noted.get("host_name") or container
        self.system: str = noted.get("system") or ""

    @classmethod
    def make(cls, spec: Specification, system: str, wires: list[Wire], options: NetworkOptions) -> NetworkRecord:
        """Return the record of a container that this process is about to start."""
        noted = {
            "namespace": own_namespace(),
            "launcher": [os.getpid(), start_time(os.getpid()) or 0],
            "interfaces": [wire.describe().note() for wire in wires],
            "ports": [port.write() for port in options.ports],
            "host_access": spec.network is not None and spec.network.host_access,
            "host_name": spec.host_name,
            "system": system,
        }
        return cls(spec.name, noted)

    @classmethod
    def read(cls, container: str) -> NetworkRecord | None:
        """Return the record of a container; None when it has none, or a damaged one."""
        path = os.path.join(RUN_DIRECTORY, container, NETWORK_FILE)
        text = read_text(path)
        try:
            return cls(container, data.parse(text, path)) if text else None
        except (AttributeError, ContractError, TypeError, ValueError):
            return None

    @classmethod
    def all_here(cls) -> list[NetworkRecord]:
        """Return the records of all containers of this network namespace. They are not to be changed."""
        return cls.all_in(own_namespace())

    @classmethod
    def all_in(cls, namespace: int) -> list[NetworkRecord]:
        """Return the records of all containers of a network namespace, by its number. They are not to be changed."""
        try:
            directory = os.open(RUN_DIRECTORY, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return []
        try:
            records = [_read_once(directory, name) for name in sorted(os.listdir(directory))]
        finally:
            os.close(directory)
        return [record for record in records if record is not None and record.namespace == namespace]

    @property
    def directory(self) -> str:
        """Return the container's runtime directory."""
        return os.path.join(RUN_DIRECTORY, self.container)

    def addresses(self) -> list[str]:
        """Return the addresses of its interfaces, without prefix lengths."""
        return [address for interface in self.interfaces for address in interface.plain_addresses()]

    def write(self) -> None:
        """Write the record down."""
        noted = {
            "namespace": self.namespace,
            "launcher": self.launcher,
            "interfaces": [interface.note() for interface in self.interfaces],
            "ports": [port.write() for port in self.ports],
            "host_access": self.host_access,
            "host_name": self.host_name,
            "system": self.system,
        }
        write_atomically(os.path.join(self.directory, NETWORK_FILE), data.format_nested(noted), 0o644)

    def remove(self) -> None:
        """Remove the record."""
        remove_file(os.path.join(self.directory, NETWORK_FILE))

    def is_alive(self, there: set[str] | None = None) -> bool:
        """Return whether the container has an interface on the host, or is just being started.

        One that has none there, such as on a device, lives as long as its first process runs.

        Args:
            there: names of interfaces that the host has, as far as they are known.
        """
        names = [interface.host_name for interface in self.interfaces if interface.host_name]
        if there and not there.isdisjoint(names):
            return True
        process = Process.find(self.launcher[0], self.launcher[1])
        if process is None and not names:
            process = RecordedContainer(self.container).process()
        if process is None:
            return any(map(has_interface, names))  # it may have come before the process ended
        process.close()
        return True


# What this process has read, with the identity of the file, by container: a start looks at all records several times.
_known: dict[str, tuple[tuple[int, int], NetworkRecord | None]] = {}


def _read_once(directory: int, name: str) -> NetworkRecord | None:
    """Return the record of a container, which is read again when its file is another one.

    Args:
        directory: descriptor of the one that has the containers' runtime directories.
        name: of an entry there, which may be no container's.
    """
    try:
        status = os.stat(name + "/" + NETWORK_FILE, dir_fd=directory)
    except OSError:
        return None
    identity = status.st_ino, status.st_mtime_ns
    known = _known.get(name)
    if known is None or known[0] != identity:
        known = _known[name] = identity, NetworkRecord.read(name) if is_name(name) else None
    return known[1]


def own_namespace() -> int:
    """Return the number of this process's network namespace."""
    return os.stat("/proc/self/ns/net").st_ino
