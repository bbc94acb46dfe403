# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One start of a system container, with the standard library and the kernel alone; and what all rooms stand on.

The same files run in three places: inside the Ansible module, in the library beside `run-container` in a system's
directory, and under a unit at host boot. They import nothing of the other rooms. The story of a start, in the order of
its modules:

    specification   what is to be started, read from `spec.json`; `contract` has the records in it, which the controller
                 makes, of `kinds`; `store` of the software, `needs` of what no start asks for, `network_records` of a
                 network of its own, with `addresses`; `network_options` of what may change of that
                 without a restart; `stop_signals` is one of the kinds, and says what a launcher heeds
    identity     the ids that a container has on the host
    cgroup       the delegated control group it lives in; `limits` says how much of the host that may take
    plan         all that is known before the first process is made
    own_directories  which of the declared directories the host's root makes
    launch       the processes and namespaces of a start, and how they wait for each other (`handshake`); `excursion` is
                 how the caller gets to where it builds, and back
    source       the store, and the tree that it is in
    root         the file tree that the container sees, built by the host's root: a `declared_root`, of the declaration
                 alone, or a `machine_root`, a whole tree, over which `layers` puts what is written, with the accounts
                 of both (`merged_accounts`); `root_options` says which it is, and `owners` which ids are others than
                 declared; `host_files` of the store's tree, `network_files` of the host's, which `watch` tells of, and
                 `neighbours` of other containers
    records      the mappings and file systems in it; `targets` says where nothing can be mounted, `guarded` what of the
                 host a container cannot write to, `reachable` who else could run what it writes, `ownership` whose
                 it is, and `mapping_ids` whose inside, by a `user_namespace` for its map, or `unmapped`.
                 `file_systems` says which paths of the host are in a record, `written_paths` which of them are
                 written to, and `memory` how large a tmpfs is; `volumes` are what lasts of the container
    mount_units  what a container's systemd is told of them
    network      the kinds of interfaces of a network of its own: `wires`, made by `netlink` (by a `netlink_socket`,
                 with `links`) and `host_settings`, with a `port_guard` at the host's end; `made_interfaces` is what
                 is noted of them, and `resolver` says which servers it asks
    automounts   what of the host is mounted when somebody asks for it
    mapped       what was at the sources of mappings, for who asks later whether that is so still
    kernel       /proc, /sys and /dev of the container, and what is masked of them; `nodes` are the devices that it is
                 given, and which none is; `credentials` are those of its PID 1
    confine      what PID 1 and every entering command give up before they run; `seccomp` compiles their filter
    init         the container's first process, until it runs `boot`
    notification   the socket on which it says that it is ready

What every process of ours goes through that comes near a container:

    attributes   the limits and priorities that it takes; `scheduling` has the system calls of priorities
    loading      whether it can import modules; not in a container
    descriptors  the few descriptors that it keeps
    lookup       the paths that it follows
    program      what it becomes; `elf` reads that
    courier      who carries the bytes of what it shares with the container

And what all of these stand on:

    linux        the system calls that Python lacks, `mount_calls` those about mounts, `quota_calls` those about quotas
    mounts       mounting by descriptor; `mount_table` says what is mounted, `devices` what lies on what
    process      processes that stay the same ones
    trees        directory trees of any depth; `paths` says where ours are
    data, names, times, errors   JSON, names of containers, time limits, and the errors; `printable` is the one way of
                 a message to a person

Imports are chosen for their cost: `typing`, `json`, `contextlib` and what they import take longer than a launch.
"""
