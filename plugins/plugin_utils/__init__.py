# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's side: what an inventory declares becomes a system, by pure functions on plain data.

A declaration, checked:

    operating_system   the record of a whole operating system, of the `records` in it, which `specs` describe; `modify`
                 changes its services, `mappings` makes mappings by themselves
    container_record   the options of one container; `declared_containers` has all that are declared for a host, and
                 `namesakes` refuses two of one name
    stores       a container's store, a directory or a tree
    networks     a container's network; `networks_of_host` refuses two that want the same of their host
    validation   types and keys; `checks` of single values, `errors` with the place that the user wrote

Its derivation, by the rules C1 to C14:

    containerized   what a container keeps of a machine, and the report on that; `without_effect` has the directives
                 that change nothing in a container
    essential_services   the services that every system has
    distribution    the facts that depend on the software; `debian` has those of one family

The folding of its services into one value:

    fold         each service's value goes to those that it adds to, by its `service_types`; the `registry` has these,
                 from `services`
    folded_system   checks that need all services: accounts, cron's jobs, two things at one path; `file_origins` has
                 the service of each file, for their messages
    ports        where services listen

What the system then has:

    system_files    the files, the directories and the specification for the target
    roots        what its `/` is made of, and what a machine's has of the declaration
    devices, credentials   devices of the host, and secrets for its PID 1, that it has
    volumes      what of it lasts; `account_ids` are the users and groups that options name as owners
    mount_conflicts   mounts that would replace or hide any of these
    systemd      the units: `units` writes their texts, `base_units` has those of every system, `install_section` what
                 starts each, and `unit_starters` refuses one that is never started
    etc_files    the files in /etc; of these `accounts` makes users and groups, `pam` the services of PAM, `tmpfs` the
                 options of file systems in memory, and `crontab` and `nginx_text` read the files of two services
    boot_script    the script that runs first inside

The parts of Ansible's plugins:

    filters, hiding_action   what all filters, and all actions, share; `differences` shows each difference once
    unknown_names   variables and keys that nothing reads
    vaulted, secrets   values of the vault, and secret contents: kept out of results and logs
    foreseen_trees   trees that a task would make in check mode, for those after it
    rollout, rollout_page   the journal of a rollout, and its page; `rollout_variables` checks those of the
                 playbook
    kept_code    the code of modules, as hosts keep it
    compiled     the code of all of these, which Ansible would compile in every run
    run_files    files by which the workers of a run share what one of them has made
    shipping     trees on their way to hosts; `tree_archives` knows the archives that they come from, and `taking` takes
                 those from hosts
    container_listing, entering, local_command, ssh_ways   containers as hosts: which there are, tasks in them, and
                 how SSH leads to them
"""

from __future__ import annotations

from .compiled import keep_compiled

keep_compiled(__name__.rpartition(".")[0])
