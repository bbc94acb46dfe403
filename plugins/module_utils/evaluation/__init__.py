# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One command in a container of its own (rules E1 to E4), on the launcher's primitives.

The story of a run, in the order of its modules:

    request      what was asked, checked: a program and its arguments, the namespaces, the mappings, the files
    closure      the files that the program needs, by the store, by guix or nix, or by following its dependencies:
                 `elf` reads a program, `libraries` searches as the dynamic linker does, `reach` says what the
                 content of files may bring in, `programs` how programs and files are found
    identity     which id of the host the program has
    view         the file tree that it sees
    confinement  the capabilities that it keeps
    processes    the processes and namespaces of the run
    run          its output, its time limit, its end
"""

from __future__ import annotations
