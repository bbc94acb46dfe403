# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of a container, described once: for the modules, for the filters, and (`make docs`) for the roles."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation of what can be said about one container."""

    # What the host does with the container.
    DOCUMENTATION = r"""
options:
  state:
    description:
      - What the container should do.
      - V(started) means that it runs its current system.
      - V(restarted) stops it first, if it runs.
      - V(stopped) means that it does not run. The services' own stop commands are run. A name that no container of the
        host has is an error, for it may be misspelled, unless a system is declared or named with it.
      - V(rolled_back) makes the system of a former generation the current one, and runs it.
      - V(absent) removes the container, its systems and its log. Its volumes stay, unless O(remove_volumes) says
        otherwise, and a container of the same name finds their data. The data in its mappings is never touched.
    type: str
    choices: [started, stopped, restarted, rolled_back, absent]
    default: started
  generation:
    description:
      - Number of the generation that O(state=rolled_back) goes back to.
      - The default is the last one before the current one that has another system.
    type: int
  keep_generations:
    description: How many generations are kept. One that is in use is kept in any case.
    type: int
    default: 5
  remove_volumes:
    description:
      - Whether its volumes, with all that is in them, go with a container whose O(state) is V(absent).
      - In any other state nothing is removed, also of volumes that are no longer declared.
    type: bool
    default: false
  health:
    description:
      - The checks that the container must pass, and their time limit.
      - Connections are made from inside the container's network.
    type: dict
    suboptions:
      timeout:
        description:
          - Seconds within which all checks must pass, after the container has become ready. A single one may take a
            sixth of them, and 5 seconds at least.
        type: raw
        default: 30
      steady:
        description:
          - Seconds for which all checks must pass without a break after a start or a switch. A service that crashes
            and restarts, again and again, passes at times.
        type: raw
        default: 1
      running:
        description: Whether systemd must say C(running), with no failed unit, and none that waits for a restart.
        type: bool
        default: true
      units:
        description: Units that must be active. One that the container does not have is an error before anything
          changes.
        type: list
        elements: str
        default: []
      tcp:
        description: Ports that must take a connection.
        type: list
        elements: dict
        default: []
        suboptions:
          port:
            description: The port, from 1 to 65535.
            type: int
            required: true
          address:
            description: An address of IPv4 or IPv6, as the container knows it, or V(own) for the first one of its
              interfaces, by which others reach it.
            type: str
            default: 127.0.0.1
      http:
        description: Requests that must be answered with a status. They are made without TLS.
        type: list
        elements: dict
        default: []
        suboptions:
          port:
            description: The port, from 1 to 65535.
            type: int
            default: 80
          address:
            description: An address of IPv4 or IPv6, as the container knows it, or V(own) for the first one of its
              interfaces, by which others reach it.
            type: str
            default: 127.0.0.1
          host:
            description: The server's name in the request.
            type: str
            default: localhost
          path:
            description: The path, which may include a query.
            type: str
            default: /
          status:
            description: The status that the answer must have.
            type: int
            default: 200
      commands:
        description: Commands, run inside as root, that must end with an exit code.
        type: list
        elements: dict
        default: []
        suboptions:
          argv:
            description: The program and its arguments. No shell is involved.
            type: list
            elements: str
            required: true
          exit_code:
            description: The exit code that it must end with.
            type: int
            default: 0
  roll_back:
    description:
      - Whether a switch to another system is undone when the container cannot be started with it, or fails its checks.
      - The container then runs its former generation again, and the task fails all the same.
      - The next run finishes or undoes a switch that was interrupted.
    type: bool
    default: false
  roll_back_state:
    description:
      - With O(roll_back), whether the volumes of the container go back as well. They are saved after the former system
        has stopped and before the new one starts, and removed when the new one is well. What the new one wrote is lost
        when the switch is undone.
      - While they are copied, the container does not run. That takes no time to speak of where the file system of
        C(/var/lib/unshare) shares the data of copies (btrfs, XFS); elsewhere it takes time, and space, for all data.
    type: bool
    default: false
  wait:
    description:
      - Whether to wait until the container's init says that it is ready, and to check for units that failed.
      - With systemd on the host a start always waits, and V(false) only skips the check of the units.
    type: bool
    default: true
  timeout:
    description:
      - Seconds to wait for the container to become ready, to stop, and for another run on the same container, each.
      - A container that has not stopped in time is killed.
      - Like every time limit, it is a number from 0.001 to 1000000; any other value is an error.
    type: raw
  allow_failed_units:
    description:
      - Whether a unit that does not do what was declared is no error. It is still returned in RV(failed_units), and a
        warning says why.
      - A container with a failed unit goes on running, so that it can be inspected.
    type: bool
    default: false
  enabled:
    description:
      - Whether the host's boot starts the container.
      - With systemd on the host, every container has a unit, an instance of C(unshare-container@.service), through
        which it is started and stopped, by this collection and by systemd alike. A container that reboots itself comes
        back, one that powers off stays down until it is started. The unit has O(timeout), O(after), O(requires) and
        O(restart).
      - On other hosts no unit is written, and with V(true) a warning gives the command to call at boot. A container
        that reboots itself comes back when somebody enters it, or this collection starts it.
    type: bool
  after:
    description: Names of containers that start before this one, if they start at all. Used with systemd on the host.
    type: list
    elements: str
  requires:
    description: Names of containers that start before this one, and without which this one does not run. Used with
      systemd on the host.
    type: list
    elements: str
  restart:
    description:
      - What the host's systemd does when the container ends by itself.
      - V(on-failure) starts it again after a crash, each time after a longer pause. V(always) also starts it again
        after a power-off, V(no) after neither. After a reboot from inside it is always started again.
    type: str
    choices: [on-failure, always, 'no']
  limits:
    description:
      - How much of the host the container may take. An empty mapping sets no limit except the default one on tasks.
      - Changed limits take effect without a restart.
      - A warning names the limits that the host cannot enforce.
    type: dict
    suboptions:
      memory_max:
        description: Memory, such as V(512M), beyond which processes are killed.
        type: raw
      memory_high:
        description: Memory beyond which processes are slowed down.
        type: raw
      swap_max:
        description: How much of its memory the kernel may move to the host's swap; V(0) is none.
        type: raw
      cpu_quota:
        description: CPU time; V(150%) is one and a half CPUs.
        type: raw
      cpu_weight:
        description: Share of the CPUs in relation to others, from 1 to 10000. The default is 100.
        type: raw
      cpuset:
        description: The processors that it may use, such as V(0-3,6).
        type: raw
      tasks_max:
        description: Number of processes and threads, 64 or more. The default is 16384, which stops a fork bomb.
        type: raw
      io_weight:
        description: Share of the disks in relation to others, from 1 to 10000. The default is 100.
        type: raw
      io_read_bandwidth:
        description:
          - Bytes a second that it reads from a disk, a mapping from the path of the disk, or of a file on it, to a
            number such as V(20M). K, M, G and T count in 1000s.
        type: raw
      io_write_bandwidth:
        description: Bytes a second that it writes, by path.
        type: raw
      io_read_iops:
        description: Reads a second, by path.
        type: raw
      io_write_iops:
        description: Writes a second, by path.
        type: raw
  ports:
    description:
      - Ports of the host that lead to ports of the container, whose network has a zone or a routed interface.
      - Each is a text, V(PORT:TARGET), V(ADDRESS:PORT:TARGET) or V([IPV6]:PORT:TARGET), perhaps with V(/udp) at its
        end, or a mapping of C(listen), which is V(PORT) or V(ADDRESS:PORT), C(target), and C(protocol), V(tcp) or
        V(udp). Quote the text, for YAML makes a number of V(22:22).
      - A port without an address is that of all addresses of the host, its loopback included.
      - Changed ports take effect without a restart.
    type: list
    elements: raw
  nameservers:
    description:
      - Addresses of up to three servers that the container asks for names. They must be such that it can reach.
      - An empty list stands for those of the host, other than one on the host's own loopback.
      - Changed servers take effect without a restart.
    type: list
    elements: str
"""

    # What lasts: it makes a part of a system, and a part of what the host keeps beside that.
    VOLUMES = r"""
options:
  volumes:
    description:
      - What of the container lasts, in directories of its own on the host, below
        C(/var/lib/unshare/containers/NAME/volumes), which no user of the host can enter.
      - V(true) keeps all that the declared services say is to last, such as the data of C(postgresql), C(redis), the
        host keys of C(openssh), and the tables of C(cron) that users write; but what a mapping keeps already.
      - Or a list, each the name of such a volume of a service (C(postgresql), C(redis), C(openssh), C(cron)), or a
        mapping of C(name), C(path) (the directory inside), C(owner) and C(group) (names or numbers inside), C(mode),
        C(size) and C(size_may_fail). Of a service's volume all but C(name) may be left out.
      - Owner, group and mode are those of a new volume; without a group it is the primary one of the owner. What is in
        a volume keeps its numbers inside, whatever ids the container has on a host.
      - A volume that is no longer declared stays on the host, and is found when it is declared again.
      - C(size), such as V(5G), is how much the volume may hold (K, M, G, T count in 1024s), in whole 64K.
        Where the host cannot keep to it, which an error explains, nothing is changed, unless C(size_may_fail) is true.
        A changed size takes effect without a restart; the first one of a volume that has none does so at the next
        start.
    type: raw
"""

    # The declaration. The filters take it as their input, under that name.
    DECLARED = r"""
options:
  operating_system:
    description: The declaration of the operating system, the one for the real machine. It is required, unless
      O(state) is V(stopped), V(rolled_back) or V(absent).
    type: dict
"""
