# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of a container that make its system another one: those that the filters have, too."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation of what the derivation and the rendering are told."""

    # The options of the derivation.
    DERIVED = r"""
options:
  mappings:
    description:
      - Files and directories of the host that the container sees, each a mapping of C(source), C(target), C(writable),
        C(required), C(propagation), C(owner) and C(group), or a text, V(SOURCE) or V(SOURCE=TARGET), which is
        read-only.
      - What belongs to the owner and group of the source on the host belongs to C(owner) and C(group) inside, names or
        numbers of the container's, and the other way round. Without them, ids are inside as they are on the host.
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
