# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is noted of a snapshot, and which snapshots are no longer kept."""

from __future__ import annotations

import json
from typing import Any

from ..launcher import data, kinds
from ..launcher.kinds import ContractError, ContractRecord
from ..launcher.names import is_name
from .target import TargetError

FORMAT = 1
"""The number of what is written here. A later one is not understood, and so refused."""

READ_FROZEN, READ_STOPPED, READ_NOT_RUNNING = CONSISTENCIES = ("frozen", "stopped", "was not running")
"""What a container does while its volumes are read, so that their data are of one moment."""

DAY = 86400
DAMAGED = "%s: is damaged: %s; remove the snapshot (state: absent)"
NEWER = (
    "%s: has format %d, and this version of the collection knows %d: a later version has written it; use that one, or "
    "remove the snapshot (state: absent)"
)


def _duration(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e12:
        raise ContractError("is no number of seconds")
    return float(value)


def volume_name(value: object) -> str:
    """Return the name of a volume."""
    if not is_name(value):
        raise ContractError("is no name of a volume")
    return str(value)


def labels_of(value: object) -> dict[str, str]:
    """Return labels: texts by their names."""
    found: dict[str, str] = kinds.mapping_of(kinds.text, kinds.text_or_none)(value)
    return found


class SnapshotRecord(ContractRecord):
    """A snapshot.

    Attributes:
        container: whose it is.
        made: when its data were as they are in it, in seconds since 1970.
        system: name of the directory of the system that the container had then; empty for none.
        labels: texts of the user's.
        consistent: what the container did while its data were read, of `CONSISTENCIES`.
        volumes: the names of those that are in it.
        size: bytes on the disk of what was read.
        files: how many files, directories and others it has.
        seconds: how long it took to make it.
        paused_seconds: for how long of that the container stood still, or did not run.
    """

    container: str
    made: float
    system: str = ""
    labels: dict[str, str] = {}
    consistent: str
    volumes: list[str]
    size: int = 0
    files: int = 0
    seconds: float = 0.0
    paused_seconds: float = 0.0

    KINDS = {
        "container": kinds.container_name,
        "made": _duration,
        "system": kinds.text_or_none,
        "labels": labels_of,
        "consistent": kinds.choice(*CONSISTENCIES),
        "volumes": kinds.list_of(volume_name),
        "size": kinds.count,
        "files": kinds.count,
        "seconds": _duration,
        "paused_seconds": _duration,
    }

    def text(self) -> str:
        """Return the text of its file."""
        return json.dumps({"format": FORMAT, **self.write()}, indent=1, sort_keys=True) + "\n"

    @classmethod
    def parse(cls, text: str, path: str) -> SnapshotRecord:
        """Return the record in the text of the file at `path`.

        Raises:
            TargetError: it is damaged, or of a later format.
        """
        try:
            fields: dict[str, Any] = data.parse(text, path)
        except ValueError:
            raise TargetError(DAMAGED % (path, "it holds no JSON object")) from None
        number = fields.pop("format", None)
        if not isinstance(number, int) or not data.is_integer(number) or number < 1:
            raise TargetError(DAMAGED % (path, "it has no number of its format"))
        if number > FORMAT:
            raise TargetError(NEWER % (path, number, FORMAT))
        try:
            return cls.read(fields)
        except ContractError as error:
            raise TargetError(DAMAGED % (path, error)) from None


def no_longer_kept(
    records: dict[str, SnapshotRecord],
    name: str,
    wanted: dict[str, str],
    keep: int | None,
    max_age: int | None,
    now: float,
) -> list[str]:
    """Return the names of the snapshots that retention removes, the oldest first.

    Args:
        records: all that can be read, by their names.
        name: the snapshot that was just asked for, which stays.
        wanted: the labels that a snapshot has, these and no other, to be counted at all.
        keep: how many are kept, the one that was asked for among them.
        max_age: days that one is kept.
        now: in seconds since 1970.
    """
    others = sorted(
        (record.made, other) for other, record in records.items() if other != name and record.labels == wanted
    )
    too_many = [] if keep is None else others[: max(0, len(others) - (keep - 1))]
    return [
        other
        for made, other in others
        if (made, other) in too_many or (max_age is not None and now - made > max_age * DAY)
    ]
