# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions and commands that the host's root has for a running container.

Each for one part of that:

    enter        a further process in it: the caller's side
    passage      the processes that enter, until one of them executes the command
    account      whose user that runs as, by the container's own files
    streams      pipes, or a pty, for its standard streams
    terminal     a pty between the person at the host and a process inside
    questions    what its programs are asked, and its log
    unit_log     what systemd says of units in its early log
    units        whether all that was declared runs: the one judgement
    mending      mappings that it lacks
    outdated     software that the host has replaced, and it still runs
    restarting   a restart of the units that run it
"""
