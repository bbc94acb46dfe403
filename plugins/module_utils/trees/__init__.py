# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Making trees: software for containers that is not the host's own.

In the order in which they stand on each other:

    entries      what goes into a tree, one record each, and how much of it may
    writer       writes entries, each below the tree's root
    archives     reads an archive as entries
    copying      reads a directory as entries
    packages     which packages and which distribution a tree has
    content      what is taken out of a tree that was made, and the digest of the rest, which names it
    connections  to servers that may be hostile, bounded in time and memory
    fetching     files of the host, or fetched by a URL, held to their checksums
    arriving     files that come in pieces, what of them is there kept for the next run
    tools        runs a program that fills a tree, apart
    sources      what a tree can be made from, a class each; `images`, from layers, `sent`, from the controller;
                 `kinds_of_sources` has the table
    archiving    a stored tree as an archive, to be taken away
    making       the verbs: present, latest, absent
    listing      what is told of the trees of a host
"""
