# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of a start: all that is known before the first process is made (S4)."""

from __future__ import annotations

from . import confine, linux, network_files, own_directories
from .attributes import Attributes
from .memory import Memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .contract import Mount, Specification
    from .identity import Identity
    from .wires import Wire

# The namespaces of a container (S4): those that a process gets at its birth only, and those that the init makes, while
# the caller builds; its mount namespace it makes when there is something to copy.
CLONED = linux.CLONE_NEWUSER | linux.CLONE_NEWPID
MADE = linux.CLONE_NEWIPC | linux.CLONE_NEWUTS | linux.CLONE_NEWCGROUP


class Plan:
    """The settings of one start, beside the system. The processes of the start do not change them.

    Args:
        system: directory of the system on the host.
        spec: its `spec.json`.
        identity: the container's ids.
        cgroup: descriptor of its delegated control group.
        staging: a directory of the host over which the tree is mounted, invisibly to the host.
        machine_id: 32 hexadecimal digits.
        notify_path: socket for the init's notification, or none.
        console: path of a pty for `/dev/console`, or none.
        output: descriptor that becomes PID 1's standard output and error (and input, when `console` is given);
            by default a file of the container's own, `targets.OUTPUT_LOG`, which lasts as long as the container.
        extra_file_systems: further mount records (S11).
        tasks: how many tasks it may have, where its control group has no controller that counts them.
        host_mounts: descriptor of the host's mount namespace, when a mapping is to see what is mounted there later.
        memory_limit: how many bytes of memory it may have, or none.
        credentials: by their names.
        wires: the interfaces of its own network.
        layer: directory of the host that has the kept layer of a machine, or none.

    Attributes:
        filter_program: the compiled system-call filter, or none.
        shared_network: whether it has the host's network.
        memory: how much of that its file systems may take.
        made: the namespaces that the init makes, as flags of clone(2).
        nesting: whether containers are to be possible inside.
        attributes: the limits and the scheduling of its first process.
        copies: the directory that has the copies of the host's network files, or none.
        built, left: the directories that the builder of the root tree makes, and those that the first process makes.
    """

    def __init__(
        self,
        system: str,
        spec: Specification,
        identity: Identity,
        cgroup: int,
        staging: str,
        machine_id: str,
        notify_path: str | None,
        console: str | None,
        output: int | None,
        extra_file_systems: list[Mount],
        tasks: int | None = None,
        host_mounts: int | None = None,
        memory_limit: int | None = None,
        credentials: dict[str, bytes] | None = None,
        wires: list[Wire] | None = None,
        layer: str | None = None,
    ) -> None:
        self.system = system
        self.spec = spec
        self.identity = identity
        self.cgroup = cgroup
        self.staging = staging
        self.machine_id = machine_id
        self.notify_path = notify_path
        self.console = console
        self.output = output
        self.extra_file_systems = extra_file_systems
        self.tasks = tasks
        self.host_mounts = host_mounts
        self.memory = Memory(memory_limit)
        self.credentials = credentials or {}
        self.wires = wires or []
        self.layer = layer
        self.filter_program = confine.read_filter(system, spec.filter_digest)
        self.shared_network = spec.shared_network
        self.made = MADE if self.shared_network else MADE | linux.CLONE_NEWNET
        self.nesting = spec.security.nesting
        self.attributes = Attributes.standard()
        records = spec.file_systems + extra_file_systems
        self.copies = network_files.directory_of(staging, records)
        self.built, self.left = own_directories.divide(spec, records)
