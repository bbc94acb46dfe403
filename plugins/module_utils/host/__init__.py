# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a container is to its host.

What is asked of it first, then what is left on it:

    facts        what the host is
    preflight    what it must have before anything is written; `preflight_mounts` for the mounts of a container,
                 `preflight_directories` for what its services keep in them, `nested` where it is itself a container
    store        the store as a container will see it
    system_filter   a system's system-call filter as this host makes it
    distribution    what its distribution calls the packages that messages name
    limits       how much of it a container may take, as it is declared
    container_options   options that the modules of one container and of all share
    time_limits  time limits among the options of modules
    systemd_units   the unit of a container, as text, and the host's systemd
    boot         a container's unit and limits, as files that are kept
    reboots      how often a container that reboots itself is started again
"""
