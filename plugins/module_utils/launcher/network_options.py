# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of a container's network that belong to no system of it, so that a change is no restart.

It is kept beside the container.
"""

from __future__ import annotations

import os

from . import data, kinds
from .addresses import host_address
from .errors import LauncherError
from .kinds import ContractError, ContractRecord
from .network_records import Published
from .paths import NETWORK_FILE, make_directory, read_text, write_atomically


class NetworkOptions(ContractRecord):
    """The options `ports` and `nameservers`.

    Attributes:
        ports: of the host that lead to the container (N5).
        nameservers: the servers that it asks for names; without any, those of the host (N7). One on a loopback is the
            container's own.
    """

    ports: list[Published] = []
    nameservers: list[str] = []

    KINDS = {"ports": kinds.list_of(Published.read), "nameservers": kinds.list_of(host_address)}

    def check(self) -> None:
        for number, port in enumerate(self.ports):
            for earlier, other in enumerate(self.ports[:number]):
                if port.meets(other):
                    self.refuse("ports[%d]" % number, "%s is published by ports[%d] already" % (port, earlier))


def read(directory: str) -> NetworkOptions:
    """Return the options kept for the container whose directory this is."""
    path = os.path.join(directory, NETWORK_FILE)
    text = read_text(path)
    if not text:
        return NetworkOptions()
    try:
        return NetworkOptions.read(data.parse(text, path))
    except (ContractError, ValueError) as error:
        raise LauncherError("%s: %s; declare the container's ports and nameservers again" % (path, error)) from error


def write(directory: str, options: NetworkOptions) -> None:
    """Keep the options, durably."""
    make_directory(directory, 0o700)
    write_atomically(os.path.join(directory, NETWORK_FILE), data.format_nested(options.write()), durable=True)
