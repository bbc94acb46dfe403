# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records that are read from plain data, checked to the leaves, and written as plain data; and the kinds of leaves.

A kind is a function: it returns the value of a field, or raises `ContractError`. `dataclasses` would do the same, and
takes longer to import than a container takes to start.
"""

from __future__ import annotations

import os

from .data import is_integer
from .errors import LauncherError
from .identity import COUNT
from .names import is_name
from .paths import refusal_of_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, ClassVar, TypeVar

    from typing_extensions import dataclass_transform

    Kind = Callable[[object], Any]
    R = TypeVar("R", bound="ContractRecord")
    V = TypeVar("V")
else:

    def dataclass_transform(**_given):
        return lambda kind: kind


PATH_LIMIT = 4095  # bytes; PATH_MAX of Linux
OCTAL = frozenset("01234567")


class ContractError(LauncherError):
    """A value that a record cannot have.

    Attributes:
        place: the keys that lead to it, from the outermost record.
        message: what is wrong, to follow the place.
        refused: whether it was declared so and must be declared otherwise; else the data is damaged.
    """

    def __init__(self, message: str, refused: bool = False) -> None:
        super().__init__(message)
        self.place = ""
        self.message = message
        self.refused = refused

    def within(self, key: str) -> ContractError:
        """Return this error with a key, or the number of an item in brackets, before its place."""
        dot = "." if self.place and not self.place.startswith("[") else ""
        self.place = key + dot + self.place
        return self

    def __str__(self) -> str:
        return "%s: %s" % (self.place, self.message) if self.place else self.message


@dataclass_transform(kw_only_default=True)
class ContractRecord:
    """A mapping of fields that never changes. A class gives each field's type, its kind, and its default, if any."""

    KINDS: ClassVar[dict[str, Kind]] = {}
    REQUIRED: ClassVar[tuple[str, ...]] = ()  # the fields that have no default

    def __init_subclass__(cls) -> None:
        cls.REQUIRED = tuple(name for name in cls.KINDS if not hasattr(cls, name))

    def __init__(self, **given: Any) -> None:
        self.__dict__.update(given)
        unknown = given.keys() - self.KINDS.keys()
        missing = [name for name in self.REQUIRED if name not in given]
        if unknown or missing:
            raise TypeError("%s: unknown %s, missing %s" % (type(self).__name__, sorted(unknown), missing))

    @classmethod
    def read(cls: type[R], value: object) -> R:
        """Return the record that a mapping holds.

        Raises:
            ContractError: a field is unknown, missing or wrong.
        """
        if not isinstance(value, dict):
            raise ContractError("is missing" if value is None else "is not of type dict")
        record = cls.__new__(cls)
        fields, kinds = record.__dict__, cls.KINDS
        name = ""
        try:
            for name, item in value.items():
                if name not in kinds:
                    raise ContractError("is no field; known are %s" % ", ".join(kinds))
                fields[name] = kinds[name](item)
            for name in cls.REQUIRED:
                if name not in fields:
                    raise ContractError("is missing")
        except ContractError as error:
            raise error.within(str(name)) from None
        record.check()
        return record

    def check(self) -> None:
        """Check what concerns several fields. Raise ContractError."""

    def write(self) -> dict[str, Any]:
        """Return the plain mapping: all fields except those that have their default."""
        return {
            name: _plain(self.__dict__[name])
            for name in self.KINDS
            if name in self.__dict__ and not self._is_default(name)
        }

    def replacing(self: R, **changes: Any) -> R:
        """Return a copy with other values."""
        return type(self)(**{**{name: getattr(self, name) for name in self.KINDS}, **changes})

    def _is_default(self, name: str) -> bool:
        missing = object()
        return bool(getattr(type(self), name, missing) == self.__dict__[name])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ContractRecord) and type(self) is type(other) and self.write() == other.write()

    def __hash__(self) -> int:
        raise TypeError("a record is no key")

    def refuse(self, place: str, reason: str | None) -> None:
        """Raise ContractError for a reason against what was declared. A reason of None raises nothing."""
        if reason:
            raise ContractError(reason, refused=True).within(place)

    def at(self, name: str, kind: Kind, value: object) -> None:
        """Check a field's value against one more kind than its own."""
        try:
            kind(value)
        except ContractError as error:
            raise error.within(name) from None


def _plain(value: Any) -> Any:
    if isinstance(value, ContractRecord):
        return value.write()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def text(value: object) -> str:
    """Return a text that is not empty, has no NUL, and can be encoded as a file's name."""
    if not isinstance(value, str) or "\0" in value:
        raise ContractError("is missing" if value is None else "is no text")
    if not value:
        raise ContractError("is empty")
    if not value.isascii():
        try:
            os.fsencode(value)
        except UnicodeEncodeError:
            raise ContractError("is no valid Unicode") from None
    return value


def text_or_none(value: object) -> str:
    """Return a text that may be empty, such as an argument of a program or the value of a variable."""
    return text(value) if value != "" else ""


def boolean(value: object) -> bool:
    """Return true or false."""
    if not isinstance(value, bool):
        raise ContractError("is not of type bool")
    return value


def identifier(value: object) -> int:
    """Return the number of a user or a group inside."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < COUNT:
        raise ContractError("%s is no id of a container (0 to %d)" % (ascii(value)[:40], COUNT - 1))
    return value


def private_users(value: object) -> str | int:
    """Return `auto`, `identity`, or the first of a container's ids on the host."""
    if value in ("auto", "identity") and isinstance(value, str):
        return value
    if not isinstance(value, int) or not is_integer(value):
        raise ContractError("is neither 'auto' nor 'identity' nor a number")
    return value


def integer(least: int, said: str) -> Callable[[object], int]:
    """Return the kind of a whole number.

    Args:
        least: the smallest that is accepted.
        said: what is wrong with anything else, to follow the place.
    """

    def check(value: object) -> int:
        if not isinstance(value, int) or not is_integer(value) or value < least:
            raise ContractError(said)
        return value

    return check


count = integer(0, "is no count")


def oom_score(value: object) -> int:
    """Return how much sooner or later the kernel kills a process (proc_pid_oom_score_adj(5))."""
    if not isinstance(value, int) or not is_integer(value) or not -1000 <= value <= 1000:
        raise ContractError("%s is no number from -1000 to 1000" % ascii(value)[:40])
    return value


def mode(value: object) -> str:
    """Return permissions in up to four octal digits."""
    if not isinstance(value, str) or not 0 < len(value) <= 4 or not OCTAL.issuperset(value):
        raise ContractError("%s is not up to four octal digits in quotes" % ascii(value)[:40])
    return value


def path(value: object) -> str:
    """Return an absolute path of something below `/`, with no step upward."""
    found = text(value)
    upward = ".." in found and ".." in found.split("/")
    size = len(found) if found.isascii() else len(os.fsencode(found))
    if found[0] != "/" or upward or not found.strip("/.") or size > PATH_LIMIT:
        raise ContractError("%s is no absolute path without '..'" % ascii(found[:200]))
    return found


def source(value: object) -> str:
    """Return the path of something of the host that is shared."""
    reason = refusal_of_root(text(value))
    if reason:
        raise ContractError(reason, refused=True)
    return path(value)


def container_name(value: object) -> str:
    """Return a container's name."""
    if not is_name(value):
        raise ContractError("is no container's name")
    return str(value)


def choice(*words: str) -> Kind:
    """Return the kind that accepts only these words."""

    def check(value: object) -> str:
        if not isinstance(value, str) or value not in words:
            raise ContractError("is neither %s" % " nor ".join(map(repr, words)))
        return value

    return check


def list_of(kind: Callable[[object], V]) -> Callable[[object], list[V]]:
    """Return the kind of a list of items of a kind."""

    def check(value: object) -> list[V]:
        if not isinstance(value, (list, tuple)):
            raise ContractError("is missing" if value is None else "is not of type list")
        found: list[V] = []
        try:
            for item in value:
                found.append(kind(item))
        except ContractError as error:
            raise error.within("[%d]" % len(found)) from None
        return found

    return check


def mapping_of(key: Kind, kind: Callable[[object], V]) -> Callable[[object], dict[str, V]]:
    """Return the kind of a mapping from keys of one kind to items of another."""

    def check(value: object) -> dict[str, V]:
        if not isinstance(value, dict):
            raise ContractError("is missing" if value is None else "is not of type dict")
        name = ""
        try:
            found = {}
            for name, item in value.items():
                found[key(name)] = kind(item)
            return found
        except ContractError as error:
            raise error.within("[%s]" % name) from None

    return check


def variables(value: object) -> dict[str, str]:
    """Return environment variables; their values can be empty."""
    found: dict[str, str] = mapping_of(_variable, text_or_none)(value)
    return found


def _variable(value: object) -> str:
    if "=" in text(value):
        raise ContractError("%r is no variable's name" % value)
    return text(value)
