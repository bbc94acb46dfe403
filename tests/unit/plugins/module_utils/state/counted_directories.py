# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Directories whose quotas are noted in a mapping, in place of those of a file system."""

from __future__ import annotations

import typing as t

from ansible_collections.unshare.container.plugins.module_utils.state.directory_quota import DirectoryQuota


class Counted:
    """A host's quotas.

    Attributes:
        lack: what the file system lacks, or None.
        limits: of enlisted directories, by their paths.
        holds: how many bytes are in directories, by their paths.
        did: what was done, in order.
        filter: whether a system-call filter is needed.
        broken: the error of what is tried.
    """

    def __init__(self) -> None:
        self.lack: str | None = None
        self.limits: dict[str, int] = {}
        self.holds: dict[str, int] = {}
        self.did: list[tuple[str, t.Any]] = []
        self.filter = False
        self.broken: OSError | None = None

    def quota(self, descriptor: int, path: str) -> DirectoryQuota:
        """Return the quota of a directory."""
        host = self

        class Quota(DirectoryQuota):
            def refusal(self) -> str | None:
                return host.lack

            def needs_filter(self) -> bool:
                return host.filter

            def is_enlisted(self) -> bool:
                return path in host.limits

            def limit(self) -> int:
                return host.limits.get(path, 0)

            def used(self, settled: bool = False) -> int:
                return host.holds.get(path, 0)

            def set_limit(self, size: int) -> None:
                if host.broken:
                    raise host.broken
                assert self.is_enlisted()
                host.did.append(("limit", size))
                host.limits[path] = size

            def enlist(self, aside: str) -> None:
                host.did.append(("enlist", aside))
                host.limits[path] = 0

        return Quota(descriptor, path)
