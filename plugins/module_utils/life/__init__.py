# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The life cycle of a container: start, stop, health.

By hand, by a unit, or by the module, a container is started and stopped by the same code:

    container    start, stop and removal; `fuse` ends the file systems on which killed processes wait
    start        the caller's side of a start: the record, the wait for readiness
    main         the command lines of `run-container` and `enter-container`
    foreground   a container with a person in front of it; `commands` the same for a command in one
    service      a start as a unit of systemd; `machined` registers it
    by_hand      a start as a transient unit, which is left running
    networking   a container's part of the host's network; `network_rules` the packet
                 filter's; `host_ways` the settings by which that lets packets through;
                 `network_healing` what a running one has lost of it;
                 `network_warnings` where it does not lead
    following    what follows the host in all that run; `follower` for one in the foreground
    again        a start of a container that has rebooted itself
    frozen       a container that stands still while its data are read

For the modules:

    staging      have a system on the host
    examination  what keeps a container from starting from a system, before another is stopped for it
    starting     start a system with the launcher that it brings
    software     which tree a container's software is of, and when that goes
    life_cycle   what a state that is asked for takes, the way back included; `unhealthy` is what it says of one that
                 is not well
    saved_state  the volumes as they were before a switch, which go back with it
    strangers    what an error says of a name that no container of the host has
    check_mode   what check mode says of one that goes on running
    at_rest      a container, frozen or stopped, while its volumes are read or replaced
    archiving_volumes   the volumes of one as a file, and back
    moving       what one of two hosts does for a container that moves between them; `move_steps` in which order, and
                 where a run goes on that finds a move begun
    health       whether a container is well
    failure_report   what an error says of one that is not
    healing      what a running container lacks since the host has changed, and the mending of that
    kept_network   the ports that the host publishes for one, and its name servers
    kept_sizes   how much each of its volumes may hold
    refreshing   units that run software which the host has replaced, and their restart
    one_container, host_containers   what the modules of one container and of all do
    snapshotting   the snapshots of a container's volumes: present, absent, restored, as a `snapshot_request` asks
    container_information   what is known of a container
"""
