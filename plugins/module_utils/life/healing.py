# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Healing: what a running container lacks of its declaration since the host has changed, and the mending of that.

The host's network files are copied again, a mapping that was left out is mounted, and so is what the host has mounted
below one since. What a restart alone can mend is only said: a directory that was replaced, for programs that run have
the old one open, and what the host has unmounted, which the container keeps.
"""

from __future__ import annotations

import os
import time

from ..inside import mending
from ..launcher import automounts, mapped, mount_table, mounts, network_files
from ..launcher.errors import LauncherError
from ..launcher.excursion import in_child
from ..launcher.mapped import Mapped
from ..launcher.paths import NETWORK_FILE, STATE_DIRECTORY, read_text, write_atomically
from ..launcher.specification import read_outline
from ..launcher.targets import is_below, plain_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..launcher.contract import Mount
    from ..state.record import RecordedContainer
    from .network_healing import NetworkHealing

SIZE_LIMIT = 16 << 20  # bytes of the note of a start
LOOK_SECONDS = 5.0  # that the file systems of all sources together may take to answer
RESTART = "; restart the container (state: restarted) to have it see what is there now"
REPLACED = "%s: has been replaced on the host, or something was mounted there, and %s is still the former one" + RESTART
GONE = "%s: is not on the host any more, and the container keeps it at %s; restart the container to let go of it"
UNMOUNTED = "%s: has been unmounted on the host, and the container keeps it; restart the container to let go of it"
ANOTHER = "%s: something else is mounted there on the host now, and the container has the former" + RESTART
SILENT = "%s: the file system has not answered in time, so whether the container has what is there is not known"
NOT_DONE = "; restart the container (state: restarted) to mend that"


class Healing:
    """One running container, compared with what the host has now. To be used with its lock held.

    Attributes:
        stale: what it lacks that can be mended while it runs, a line each.
        warnings: what cannot, or was not.
    """

    def __init__(self, container: RecordedContainer) -> None:
        self.container = container
        self.path = os.path.join(container.run_directory, mapped.FILE)
        self.stale: list[str] = []
        self.warnings: list[str] = []
        self._known = mapped.parse(read_text(self.path, SIZE_LIMIT))
        self._missing: list[tuple[Mapped, Mount]] = []
        self._deadline = 0.0
        self._held = False
        self._network: NetworkHealing | None = None

    def look(self) -> None:
        """Find what is stale; nothing is changed."""
        self._deadline = time.monotonic() + LOOK_SECONDS
        try:
            self.stale += ["%s: has changed on the host" % path for path in self._refresh(check=True)]
        except network_files.CopiesHeld as error:
            self._held = True
            self.warnings.append(str(error))
        except (LauncherError, OSError) as error:
            self.warnings.append(str(error))
        self._look_at_network()
        if self._known:
            mounted = mount_table.Mounted(mount_table.read())
            for known in self._known:
                self._look(known, mounted)

    def _look_at_network(self) -> None:
        if os.path.exists(os.path.join(self.container.run_directory, NETWORK_FILE)):
            from .network_healing import NetworkHealing  # few containers have a network of their own

            self._network = NetworkHealing(self.container)
            try:
                self.stale += self._network.look()
            except (LauncherError, OSError) as error:
                self.warnings.append(str(error))

    def _look(self, known: Mapped, mounted: mount_table.Mounted) -> None:
        record = known.record
        source, point = plain_path(record.source), record.mount_point
        try:
            identity = _identity(source, mounted.mounts, self._deadline - time.monotonic())
        except TimeoutError:
            self.warnings.append(SILENT % source)
            return
        except LauncherError as error:
            self.warnings.append("%s: %s" % (point, error))
            return
        if not known.identity:
            if not identity:
                self.warnings.append(mapped.MISSING % (source, point))
                return
            self._lacks(known, record, "%s: was left out, and is on the host now" % point)
        elif identity != known.identity:
            self.warnings.append((REPLACED if identity else GONE) % (source, point))
        else:
            self._look_below(known, mapped.below(mounted, source))

    def _look_below(self, known: Mapped, now: mapped.Below) -> None:
        record = known.record
        source = plain_path(record.source)
        for place in sorted(known.below.keys() - now.keys()):
            self.warnings.append(UNMOUNTED % place)
        for place in sorted(known.below.keys() & now.keys()):
            if known.below[place] != now[place]:
                self.warnings.append(ANOTHER % place)
        if record.propagation == "slave":
            return  # the kernel sees to it
        new: list[str] = []
        for place in sorted(now.keys() - known.below.keys()):
            if any(is_below(place, other) for other in new):
                continue  # it comes with what it is mounted on
            new.append(place)
            inside = plain_path(record.mount_point) + place[len(source) :]
            part = record.replacing(device=place, mount_point=inside, required=True)
            self._lacks(known, part, "%s: was mounted on the host after the start" % place)

    def _lacks(self, known: Mapped, record: Mount, what: str) -> None:
        self.stale.append(what)
        self._missing.append((known, record))

    def heal(self, timeout: float) -> list[str]:
        """Mend what `look` has found, within `timeout` seconds; return what was mended, a line each."""
        healed = []
        try:
            healed += ["%s: is as on the host again" % path for path in self._refresh(check=False)]
        except (LauncherError, OSError) as error:
            self.warnings.append(str(error))
        try:
            healed += self._network.heal() if self._network is not None else []
        except (LauncherError, OSError) as error:
            self.warnings.append(str(error))
        if not self._missing:
            return healed
        try:
            lines, warnings = mending.put(self.container, self._lacking(), timeout)
        except (LauncherError, OSError) as error:
            lines, warnings = [], [str(error)]
        self.warnings += [warning + NOT_DONE for warning in warnings]
        done = {each.record.mount_point: each for each in mapped.parse("\n".join(lines))}
        for known, record in self._missing:
            found = done.get(record.mount_point)
            if found is None:
                continue
            healed.append("%s: is mounted in the running container" % record.mount_point)
            if record is known.record:
                known.identity, known.below, known.disk = found.identity, found.below, found.disk
            else:
                table = mapped.below(mount_table.Mounted(mount_table.read()), known.record.source)
                known.below.update({at: on for at, on in table.items() if is_below(at, record.source)})
        write_atomically(self.path, "".join(known.line() + "\n" for known in self._known))
        return healed

    def _lacking(self) -> list[mending.Lacking]:
        return [(record, known.disk) for known, record in self._missing]

    def _refresh(self, check: bool) -> list[str]:
        """Bring the copies of network files up to date; return which were not."""
        directory = self.container.run_directory
        if self._held or not os.path.isdir(os.path.join(directory, network_files.DIRECTORY)):
            return []
        system = str((self.container.record() or {}).get("system"))
        return network_files.refresh(directory, read_outline(system).host_name, check)


def _identity(source: str, table: list[mount_table.MountTableEntry], seconds: float) -> str:
    """Return which file a path of the host is now; empty when there is none.

    Args:
        seconds: how long its file system may take to answer.

    Raises:
        TimeoutError: its file system does not answer.
        LauncherError: it cannot be opened.
    """

    def ask() -> str:
        try:
            descriptor = mounts.open_source(source, False, STATE_DIRECTORY)
        except FileNotFoundError:
            return ""
        try:
            return mapped.identity_of(os.fstat(descriptor))
        finally:
            os.close(descriptor)

    def wait_and_ask() -> str:
        automounts.touch(source)  # or it has another identity whenever its automounter has unmounted it
        return ask()

    if all(mount.kind in mounts.OWN for mount in mount_table.way(table, source)):
        try:
            return ask()
        except OSError as error:
            raise LauncherError(str(error)) from error
    return in_child(wait_and_ask, max(0.1, seconds), keep=())
