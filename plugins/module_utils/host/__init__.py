# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container's host: what a container needs of it, and what a container leaves on it.

What is asked of it first, then what is left on it:

    facts        what the host is; `looking` lets a child look, where somebody inside may keep a look waiting
    preflight    what it must have before anything is written; `preflight_mounts` for what the mounts of a container
                 share, `preflight_targets` for where they lie, `id_maps` for the ids in them, `preflight_directories`
                 for what its services keep in them, `preflight_sources` for what is missing, `preflight_devices` for
                 devices, `preflight_credentials` for credentials, `preflight_network` for interfaces,
                 `preflight_machine` for the tree of a machine, `preflight_accounts` for the accounts in it,
                 `preflight_volumes` for where volumes lie, and their sizes; `nested` where it is itself a container
    store        the store as a container will see it; `preflight_programs` for what a system runs first in it,
                 `preflight_units` for other names in its units, `preflight_paths` for what these need,
                 `preflight_hidden` for mappings that they do not see, all by `unit_settings`, `preflight_unread` for
                 files that nothing reads in a container, and `preflight_content` for the time zone, the locale, the
                 rules of sudo and rsyslog's configuration
    health_units   the units that a health names and a system does not have
    claims       what others have already that a container needs for itself: directories that it writes to, and `ports`
    unit_files   what systemd says of a system's units before anything is stopped for them
    system_filter   a system's system-call filter as this host makes it
    distribution    what its distribution calls the packages that messages name
    limits       how much of it a container may take, as it is declared; `held_limits` for one that runs in its unit
    volume_options   how much each of its volumes may hold, as it is declared
    firewall     the rules of its packet filter for containers; `firewall_change` from some to others;
                 `loaded_rules` for those that the kernel has, `foreign_filters` for what others' rules drop; `nft` is
                 the program that loads them
    published    its ports that lead to a container, and the container's name servers, as they are declared
    container_options   options that the modules of one container and of all share
    time_limits  time limits among the options of modules
    readable_results   a module all of whose result is valid UTF-8
    module_log   a module whose arguments the host's log does not have
    module_main  what every module does first and last
    systemd_units   the unit of a container, as text, and the host's systemd
    unit_by_hand   the transient unit of a container that is started by hand
    network_units   the units by which those that run follow their host
    bus          a call over its system bus
    boot         a container's unit and limits, as files that are kept
    reboots      how often a container that reboots itself is started again
"""
