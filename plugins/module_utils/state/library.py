# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The library of a system: the part of this collection that its `run-container` and `enter-container` use.

The library lies beside them in the system's directory, in the same rooms as here, so that its modules find each other
in the same way.
"""

from __future__ import annotations

import functools
import hashlib
import pkgutil

NAME = "library"
"""The package in a system's directory."""

# The members of the library, so that nothing that merely lies in a directory is taken for one.
MODULES = (
    "host/bus",
    "host/distribution",
    "host/firewall",
    "host/firewall_change",
    "host/foreign_filters",
    "host/loaded_rules",
    "host/nft",
    "host/reboots",
    "host/unit_by_hand",
    "inside/account",
    "inside/enter",
    "inside/outdated",
    "inside/passage",
    "inside/questions",
    "inside/streams",
    "inside/terminal",
    "inside/unit_log",
    "inside/units",
    "launcher/addresses",
    "launcher/attributes",
    "launcher/automounts",
    "launcher/cgroup",
    "launcher/confine",
    "launcher/contract",
    "launcher/courier",
    "launcher/credentials",
    "launcher/data",
    "launcher/declared_root",
    "launcher/descriptors",
    "launcher/devices",
    "launcher/elf",
    "launcher/errors",
    "launcher/excursion",
    "launcher/file_systems",
    "launcher/guarded",
    "launcher/handshake",
    "launcher/host_settings",
    "launcher/identity",
    "launcher/init",
    "launcher/kernel",
    "launcher/kinds",
    "launcher/launch",
    "launcher/layers",
    "launcher/limits",
    "launcher/links",
    "launcher/linux",
    "launcher/loading",
    "launcher/lookup",
    "launcher/machine_root",
    "launcher/made_interfaces",
    "launcher/mapped",
    "launcher/mapping_ids",
    "launcher/memory",
    "launcher/merged_accounts",
    "launcher/mount_calls",
    "launcher/mount_table",
    "launcher/mount_units",
    "launcher/mounts",
    "launcher/names",
    "launcher/needs",
    "launcher/neighbours",
    "launcher/netlink",
    "launcher/netlink_socket",
    "launcher/network",
    "launcher/network_files",
    "launcher/network_options",
    "launcher/network_records",
    "launcher/nodes",
    "launcher/notification",
    "launcher/own_directories",
    "launcher/owners",
    "launcher/ownership",
    "launcher/paths",
    "launcher/plan",
    "launcher/port_guard",
    "launcher/printable",
    "launcher/process",
    "launcher/program",
    "launcher/quota_calls",
    "launcher/reachable",
    "launcher/records",
    "launcher/resolver",
    "launcher/root",
    "launcher/root_options",
    "launcher/scheduling",
    "launcher/source",
    "launcher/specification",
    "launcher/stop_signals",
    "launcher/store",
    "launcher/targets",
    "launcher/times",
    "launcher/trees",
    "launcher/unmapped",
    "launcher/user_namespace",
    "launcher/volumes",
    "launcher/watch",
    "launcher/wires",
    "launcher/written_paths",
    "life/again",
    "life/by_hand",
    "life/commands",
    "life/container",
    "life/follower",
    "life/following",
    "life/foreground",
    "life/fuse",
    "life/host_ways",
    "life/machined",
    "life/main",
    "life/network_healing",
    "life/network_rules",
    "life/network_warnings",
    "life/networking",
    "life/service",
    "life/start",
    "state/btrfs_quotas",
    "state/configs",
    "state/declared_units",
    "state/directory_quota",
    "state/helper",
    "state/holds",
    "state/id_ranges",
    "state/kept_layer",
    "state/locks",
    "state/mounted_sources",
    "state/network_conflicts",
    "state/network_record",
    "state/project_quotas",
    "state/quotas",
    "state/record",
    "state/renaming",
    "state/restoring",
    "state/tree_copy",
    "state/unit_texts",
    "state/volume_sizes",
    "state/volumes",
    "state/writers",
    "state/zone_names",
    "state/zones",
)


@functools.lru_cache(maxsize=None)
def sources() -> dict[str, str]:
    """Return the text of every file of the library by its path, from wherever this was imported (a zip file, too).

    They are read once by a process. Callers change nothing in what they get.

    :raises ImportError: when one cannot be read.
    """
    above = __name__.rpartition(".")[0].rpartition(".")[0]
    rooms = sorted({module.partition("/")[0] for module in MODULES})
    texts = {"__init__.py": ""}
    for module in [room + "/__init__" for room in rooms] + list(MODULES):
        room, _slash, name = module.partition("/")
        data = pkgutil.get_data("%s.%s" % (above, room), name + ".py")
        if data is None:
            raise ImportError("the library's file %s.py cannot be read" % module)
        texts[module + ".py"] = data.decode()
    return texts


def fingerprint(texts: dict[str, str] | None = None) -> str:
    """Return the SHA-256 of a library's files in hexadecimal, by default of this one's. Equal files have equal ones."""
    digest = hashlib.sha256()
    for name, text in sorted((sources() if texts is None else texts).items()):
        digest.update(b"%s\0%d\0" % (name.encode(), len(text.encode())))
        digest.update(text.encode())
    return digest.hexdigest()
