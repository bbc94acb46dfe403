# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The sizes of a container's volumes, which the host keeps beside the container's systems (V3).

A change of that is no reason to restart: it is the host's file system that counts. A volume that was made without a
size gets its first one at a start, for nothing may be written there meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..host import preflight_volumes
from ..host.system_filter import refuses_subvolumes
from ..host.volume_options import GivenSizes, parse_sizes
from ..launcher.errors import LauncherError
from ..state import quotas, volume_sizes
from ..state.directory_quota import size_text
from ..state.target import Layout, TargetError

if TYPE_CHECKING:
    from pathlib import Path

    from ..launcher.contract import Specification
    from ..state.volume_sizes import VolumeSize

AT_START = (
    "volume %s: has been made without a size, and is kept to %s from the next start on (state: restarted), for nothing "
    "may be written to it while it is prepared for that"
)


class KeptSizes:
    """The sizes of one container's volumes.

    :param container: the launcher's view of it.
    :param declared: the option `volumes`; None leaves the sizes as they are.
    :raises OptionError: naming the option.
    """

    def __init__(self, layout: Layout, name: str, container: Any, declared: Any) -> None:
        self.name = name
        self.container = container
        self.directory = str(layout.container(name))
        self.given: GivenSizes | None = None if declared is None else parse_sizes(declared)
        self.warnings: list[str] = []
        self._left_open: list[str] = []

    def describe(self) -> dict[str, Any]:
        """Return the sizes in the form that a diff shows."""
        return _shown(self._kept())

    def plan(self, state: str) -> dict[str, Any]:
        """Return what `describe` will return after `apply(state)`."""
        return {} if state == "absent" else _shown(self.wanted())

    def would_change(self, state: str) -> bool:
        """Return whether `apply(state)` would change anything."""
        if state == "absent":
            return False
        wanted = self.wanted()
        return wanted != self._kept() or bool(quotas.differing(self.directory, wanted))

    def apply(self, state: str) -> bool:
        """Keep the sizes, and set the limits of the volumes that have one. Return whether anything changed.

        :raises OSError: a limit cannot be set.
        """
        changed = self.would_change(state)
        if changed:
            wanted = self.wanted()
            volume_sizes.write(self.directory, wanted)
            quotas.set_limits(self.directory, wanted)
        return changed

    def wanted(self) -> dict[str, VolumeSize]:
        """Return the sizes that are kept for the container from now on."""
        if self.given is None:
            return self._kept()
        return {name: given.size for name, given in self.given.items()}

    def examine(self, specification: Specification | None, system: Path | None) -> None:
        """Refuse sizes that this host cannot keep, or that volumes are over already; collect warnings of the others.

        :param specification: of the system that is to run; None where it is not known.
        :param system: that system, on the host; None for one that is to be written, with a filter of today.
        :raises TargetError: naming the options.
        """
        given = preflight_volumes.as_given(self._kept()) if self.given is None else self.given
        identity = specification is not None and specification.private_users == "identity"
        filtered = not given or specification is None or system is None or refuses_subvolumes(system)
        found = preflight_volumes.examine_sizes(self.directory, given, self._kept(), identity, filtered)
        self.warnings += [said for said in found.warnings if said not in self.warnings]
        self._left_open = found.left_open
        if found.problems:
            raise TargetError(f"container {self.name!r} is left as it is: {'; '.join(found.problems)}")

    def explain(self) -> None:
        """Collect a warning for each volume that gets its size only when the container is started again."""
        wanted = self.wanted()
        if not wanted or self.container.status().state != "running":
            return
        for name in quotas.not_enlisted(self.directory, wanted):
            if name in self._left_open:
                continue  # that was said
            self.warnings.append(AT_START % (name, size_text(wanted[name].size)))

    def _kept(self) -> dict[str, VolumeSize]:
        """Return the sizes that are kept; none of what cannot be read, and is to be written anew.

        :raises LauncherError: they cannot be read, and no others are given.
        """
        try:
            return volume_sizes.read(self.directory)
        except LauncherError:
            if self.given is None:
                raise
            return {}


def _shown(sizes: dict[str, VolumeSize]) -> dict[str, Any]:
    return {"volume_sizes": {name: size_text(size.size) for name, size in sorted(sizes.items())}} if sizes else {}
