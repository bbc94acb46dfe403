# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state that a host keeps of its containers.

In the order in which they stand on each other:

    target       where all of it is; the error of the target's side
    locks        who may change it at a time
    renaming     one directory in the place of another
    configs      what containers keep for life
    id_ranges    which range of ids each container has for life
    record       what was noted of a start, and whether that runs still; `network_record` what a container has of the
                 host's network meanwhile
    zones        which addresses each container has in its zones for life, and what its interfaces are called;
                 `zone_names` what all know of each other; `network_conflicts` what others have already
    kept_layer   where what is written to a machine's root lasts, and over which tree
    holds        which of them move between two hosts, and are not started meanwhile
    volumes      what lasts of a container, until somebody asks for its removal
    helper       a second process that does parts of what follows
    tree_copy    a copy of such a directory, byte for byte; `snapshots` are such copies on the disk, `snapshot_record`
                 is what is noted of one, and `restoring` the step by which one takes the place of what there is
    volume_archives   one file of them; `packing` reads a volume for it (most files: `plain_files`), `unpacking` writes
                 one (its files: `file_writing`), and `increments` says what an earlier one has already;
                 `tar_members` is its format, `tar_reading` reads that, `archive_streams` has its bytes on their way,
                 and `archive_files` has it on the disk
    quotas       how much a volume may hold (`volume_sizes`): a `directory_quota`, of a project (`project_quotas`) or
                 of a subvolume (`btrfs_quotas`)
    mounted_sources   where containers write on the host: what was mounted at their start
    writers      who of those that run writes to one directory with another
    system_content, system_diff   a system before it is on the disk, and how two differ
    library      the part of this code that a system brings along
    unit_texts   the one reader of the text of units, on the controller as well
    name_services   whether a container has users and groups that its own files do not name, on the controller as well
    declared_units  which units a system declares, and what starts them
    system_damage   whether a system on the disk is what was written
    systems      systems on the disk
    trees        software for containers that is not the host's own, on the disk; `tree_records` is what is noted of it
    generations  which of them were current, and which one is
"""
