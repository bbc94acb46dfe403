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
      - V(absent) removes the container, its systems and its log. The data in its mappings is never touched.
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

    # The declaration. The filters take it as their input, under that name.
    DECLARED = r"""
options:
  operating_system:
    description: The declaration of the operating system, the one for the real machine. It is required, unless
      O(state) is V(stopped), V(rolled_back) or V(absent).
    type: dict
"""

    # The options of the derivation.
    DERIVED = r"""
options:
  mappings:
    description:
      - Files and directories of the host that the container sees, each a mapping of C(source), C(target), C(writable),
        C(required) and C(propagation), or a text, V(SOURCE) or V(SOURCE=TARGET), which is read-only.
      - A target may not be, contain, or lie in what a container needs, such as C(/proc), C(/run) itself, or the store.
      - The source of a writable one may not be, contain, or lie in what the host runs, such as C(/var/lib/unshare), nor
        what another container writes that runs, or that the host's boot starts.
    type: list
    elements: raw
    default: []
  extra_file_systems:
    description: File systems that the container mounts besides those of the declaration, with the same keys.
    type: list
    elements: dict
    default: []
  keep_services:
    description: Types of services that stay although they are made for real machines.
    type: list
    elements: str
    default: []
"""

    NETWORK = r"""
options:
  network:
    description:
      - The container's network.
      - V(none) is a loopback alone, which is what a container has that says nothing of it. V(host) is the network of
        the host.
      - A mapping is an interface, and a list holds several. A mapping of C(interfaces), that list, and C(host_access)
        is the long form.
      - An interface has one of C(zone), C(bridge), C(routed), C(macvlan), C(ipvlan) and C(physical), which says to
        what it leads.
      - With V(zone=NAME), to the other containers of this zone on the host, and through the host to the outside. The
        host gives it addresses and keeps them. The zone can be a mapping of C(name) and C(subnets), a list of one
        network of IPv4 and one of IPv6 at most. The containers of a zone say the same subnets, or none.
      - With V(bridge=NAME), to a bridge of the host, which somebody else has made.
      - With V(routed=true), to the host alone, which forwards. It needs C(addresses), each with V(/32) or V(/128).
      - With V(macvlan=DEVICE) or V(ipvlan=DEVICE), to the network of a device of the host. With V(physical=DEVICE) it
        is that device, which the host has back when the container ends.
      - Further keys of an interface are C(addresses), a list of such as V(192.0.2.5/24), C(gateway), one address, or a
        list of one of IPv4 and one of IPv6, C(mac), C(mtu), C(name), the one inside, which is V(eth0), V(eth1) and so
        on by default, and C(dhcp), whether a DHCP client of the declaration configures it. A client also configures
        an interface on a bridge or a device that has no C(addresses).
      - With C(host_access), in the mapping of an interface, too, the container reaches what the host itself serves;
        this is for zones and routed interfaces, and false by default.
    type: raw
  shared_network:
    description: Whether the container uses the host's network instead of one of its own, as with O(network=host).
    type: bool
    default: false
"""

    STORE = r"""
options:
  store:
    description:
      - The directory that holds the container's software, as a path, as V(SOURCE=TARGET) or as a mapping of C(source)
        and C(target). A path that ends with C(/usr) is seen as C(/usr) inside.
      - Or a mapping of C(tree), the name of a tree that M(unshare.container.tree) has made on the host. What the name
        leads to when the container is deployed is part of its system, so that a new tree is a change, and a roll-back
        brings the former software back. A tree that the host does not have is an error before anything changes.
      - A file system of the machine that is mounted at its target is dropped.
    type: raw
    default: /usr
"""

    # The options of the rendering.
    RENDERED = r"""
options:
  private_users:
    description:
      - Which ids of the host the container has, V(auto), V(identity) or a number.
      - V(auto) gives it 65,536 user and group ids of its own, and remembers which.
      - V(identity) makes the container's root the host's root. It is no boundary.
      - A number is the first of the 65,536 ids, a multiple of 65,536. Those from 2143289344 to 2147352575 are for
        the commands of M(unshare.container.eval_container).
    type: raw
    default: auto
  init:
    description:
      - The container's first process, V(systemd) or another program.
      - Another one is a mapping of C(argv), which is required, C(environment), C(ready) (V(exec) or V(notify)),
        C(stop_signal) and C(systemd).
    type: raw
    default: systemd
  security:
    description: Exceptions from the usual confinement.
    type: dict
    default: {}
    suboptions:
      no_new_privileges:
        description: Whether C(su), C(sudo) and other set-user-ID programs are forbidden inside.
        type: bool
        default: false
      nesting:
        description:
          - Whether the container can run containers of its own. It gives up the masks over parts of C(/proc) and
            C(/sys), so it is refused where V(identity) makes root inside the host's root.
        type: bool
        default: false
      fuse:
        description:
          - Whether the container has C(/dev/fuse), for file systems in user space. Root inside can then keep processes
            of the host waiting, in every directory that the container shares with the host, C(/usr) included.
        type: bool
        default: false
  oom_score_adj:
    description:
      - By how much sooner or later the kernel kills a process of the container when the host's memory ends, from
        V(-1000) (never) to V(1000) (first). PID 1 has this value, and what a systemd as PID 1 starts has 100 more, so
        that PID 1 is the last to be killed. The container's services can have values of their own, none below PID 1's.
      - Who starts the container needs C(CAP_SYS_RESOURCE) on the host for that; without it a start warns of what does
        not hold.
    type: int
    default: 0
  devices:
    description:
      - Devices of the host that the container has, each a path below C(/dev), such as V(/dev/net/tun), or a mapping of
        C(path), C(target) (the path inside), C(mode), C(owner) and C(group) (names or numbers inside).
      - The container has a node of its own for the same driver, with the mode of the host's and root as its owner where
        nothing else is said. Nothing inside changes the host's node. A directory, such as V(/dev/dri), stands for all
        devices in it.
      - One that the host does not have is an error. So is one that would take the container's isolation away, such as
        C(/dev/mem), or a disk that the host has mounted.
    type: list
    elements: raw
    default: []
  credentials:
    description:
      - Credentials for the container's PID 1, by their names. With systemd as PID 1 a unit gets one by
        C(LoadCredential=NAME), and C(systemd-creds --system) lists and shows them.
      - Each is a text, or a mapping of C(value) with C(encoding) (V(base64)), or of one of C(path), C(stored) and
        C(encrypted), which the host reads at each start. C(path) is a file of the host, C(stored) a name in its
        C(/etc/credstore), and C(encrypted) a name in its C(/etc/credstore.encrypted), which C(systemd-creds) of the
        host decrypts.
      - Values are secrets, which neither logs nor differences show. They are kept on the host with the system, where
        only root can read them. A changed value is a change of the system.
    type: dict
    default: {}
  root:
    description:
      - What the container's C(/) is, V(declared) or V(machine), or a mapping of C(kind) and C(layer).
      - V(declared) is made of the declaration alone, in memory and anew at each start, with the software read-only.
      - V(machine) is the whole tree that the O(store) is in, with its configuration, its package database and its
        enabled units. What the declaration says is added to that. Root inside can change all of it, install packages,
        and make set-user-ID programs. The tree itself is never changed, and any number of containers can have it.
      - With C(layer) V(ephemeral), the default, what is written lies in memory, and is gone when the container stops.
        With V(kept) it lies in the container's directory on the host, and is there until the container is V(absent).
      - A machine needs Linux 5.19, and a tree of its own, such as V(/srv/trees/web/usr) for O(store).
    type: raw
    default: declared
  log:
    description:
      - What becomes of the container's log when it ends.
      - V(volatile) ends with it, and V(persistent) is kept on the host from one start to the next.
    type: str
    choices: [volatile, persistent]
    default: volatile
"""
