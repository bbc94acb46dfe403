# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Service types, and how contributions to a type are combined."""

from __future__ import annotations

import copy
import dataclasses
import typing as t
from collections.abc import Callable, Mapping

from ..module_utils.launcher.targets import STORE
from . import base_units
from .distribution import NOTHING, Software
from .errors import DeclarationError
from .operating_system import OperatingSystem
from .ports import Listener
from .units import Unit
from .validation import Spec, describe, plain, validate

if t.TYPE_CHECKING:
    from .accounts import Accounts
    from .folded_system import FoldedSystem


@dataclasses.dataclass(frozen=True)
class Context:
    """The settings that a contribution may depend on, beside its service's value; `accounts` once they are folded.

    `for_clients`: the interfaces that are left to a DHCP client of the declaration.
    """

    operating_system: OperatingSystem
    shared_network: bool = False
    log: str = "volatile"
    oom_score_adj: int = 0
    types: frozenset[str] = frozenset()
    met_by_host: frozenset[str] = frozenset()
    store: str = STORE
    machine: bool = False
    accounts: Accounts | None = None
    for_clients: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Contribution:
    """A value that a service adds to another type, with its place for messages.

    `written`: whether the user wrote the value there, so that each of its entries has a place below it.
    """

    value: t.Any
    path: str
    service: str
    written: bool = True

    def place(self, below: str, item: t.Any) -> str:
        """Return the place of an entry; BELOW is that within the value, as the user would have written it."""
        return item.place if isinstance(item, Placed) else self.path + below * self.written


class Placed(dict[str, t.Any]):
    """An entry of a contribution that says where the user wrote it."""

    def __init__(self, value: Mapping[str, t.Any], place: str) -> None:
        super().__init__(value)
        self.place = place


Contribute = Callable[[t.Any, Context], t.Any]
Combine = Callable[[t.Any, "list[Contribution]", Context, str], t.Any]
Names = Callable[[t.Any], "tuple[str, ...]"]


class _Required:
    """The mark of a type without a default value."""


REQUIRED = _Required()


def placed_list(value: t.Any, contributions: list[Contribution], path: str) -> list[tuple[t.Any, str]]:
    """Return the entries of combined lists, each with its place: the service's own, then those of each contribution.

    :param path: the service's place.
    """
    result = [(item, f"{path}.value[{index}]") for index, item in enumerate(value or [])]
    for contribution in contributions:
        if not isinstance(contribution.value, list):
            raise DeclarationError(contribution.path, f"must be a list, not {describe(contribution.value)}")
        result += [(item, contribution.place(f"[{index}]", item)) for index, item in enumerate(contribution.value)]
    return result


def placed_mapping(value: t.Any, contributions: list[Contribution], path: str) -> dict[str, tuple[t.Any, str]]:
    """Return the values of combined mappings by key, each with its place.

    :param path: the service's place.
    :raises DeclarationError: naming both places, for one key with two different values.
    """
    result = {key: (item, f"{path}.value.{key}") for key, item in (value or {}).items()}
    for contribution in contributions:
        if not isinstance(contribution.value, Mapping):
            raise DeclarationError(contribution.path, f"must be a mapping, not {describe(contribution.value)}")
        for key, item in contribution.value.items():
            own = contribution.place(f".{key}", item)
            former, place = result.get(key, (item, ""))
            if former != item:
                where = own if isinstance(item, Placed) else contribution.path
                raise DeclarationError(where, f"'{key}' is already defined by {place}: leave out one of the two")
            result[key] = (item, own)
    return result


def add_mappings(value: t.Any, contributions: list[Contribution], context: Context, path: str) -> t.Any:
    """Combine mappings; two different values for one key are an error that names both places."""
    return {key: item for key, (item, _place) in placed_mapping(value, contributions, path).items()}


def no_extension(value: t.Any, contributions: list[Contribution], context: Context, path: str) -> t.Any:
    """Return the value alone: the type cannot be extended."""
    if contributions:
        raise DeclarationError(contributions[0].path, f"{path} is of a type that nothing can be added to")
    return value


def ready_made(value: t.Any, contributions: list[Contribution], context: Context, path: str) -> t.Any:
    """Return the value alone: contributions only demand that the service exists."""
    return value


def needs(service: str, programs: t.Iterable[str], packages: t.Sequence[str]) -> dict[str, t.Any]:
    """Return a service's contribution to `system`: the programs to look for, and their packages.

    An error about a missing program names the first package.
    """
    package = packages[0] if packages else None
    return {
        "programs": [{"service": service, "program": program, "package": package} for program in programs],
        "packages": list(packages),
    }


def _no_listeners(value: t.Any) -> list[Listener]:
    return []


@dataclasses.dataclass(frozen=True)
class ServiceType:
    """One kind of service, declared in one place.

    `extensions`: what it contributes, by target type. `combine`: how contributions to it are folded into its value.
    `spec`: the argument specification of its value (a mapping); without one the value is of the default's type.
    `provision` and `requirement`: names as in the Shepherd. `bare_metal`: the reason why it goes in a container;
    `network`: it configures the network (C3). `contributed_at`: where the user wrote what it contributes, of the
    service's place and the target type, if not as the service itself. `software`: what it stands for in the
    distribution. `programs`: which of that it cannot do without; a list of paths. `listeners`: the ports on which a
    service with a value listens.
    """

    name: str
    description: str
    extensions: Mapping[str, Contribute] | Callable[[t.Any], Mapping[str, Contribute]] = dataclasses.field(
        default_factory=dict
    )
    combine: Combine = no_extension
    default: t.Any = None
    spec: Spec | None = None
    verify: Callable[[t.Any, str], None] | None = None
    provision: tuple[str, ...] | Names = ()
    requirement: tuple[str, ...] | Names = ()
    essential: bool = False
    bare_metal: str | None = None
    network: bool = False
    contributed_at: t.Callable[[str, str], str] | None = None
    software: Software = NOTHING
    programs: tuple[str, ...] = ()
    listeners: Callable[[t.Any], list[Listener]] = _no_listeners
    against: Callable[[t.Any, FoldedSystem, str], None] | None = None

    @property
    def units(self) -> tuple[str, ...]:
        """Return the distribution's units that the type stands for."""
        return self.software.units

    @property
    def packages(self) -> tuple[str, ...]:
        """Return the packages needed to run it."""
        return self.software.packages

    def read(self, value: t.Any, path: str) -> t.Any:
        """Return a value of this type, checked and with defaults. Raise DeclarationError otherwise."""
        if value is None:
            if isinstance(self.default, _Required):
                raise DeclarationError(path, f"type '{self.name}' needs a value")
            value = copy.deepcopy(self.default)
            if value is None and self.spec is None:
                return None
        if self.bare_metal is not None or self.network:
            return plain(value, path)
        if self.spec is not None:
            value = validate({} if value is None else value, self.spec, path)
        else:
            value = plain(value, path)
            self._check_form(value, path)
        if self.verify is not None:
            self.verify(value, path)
        return value

    def _check_form(self, value: t.Any, path: str) -> None:
        if self.default is None:
            raise DeclarationError(path, f"type '{self.name}' takes no value")
        if not isinstance(value, type(self.default)):
            raise DeclarationError(path, f"must be {describe(self.default)}, not {describe(value)}")

    def targets(self, value: t.Any) -> Mapping[str, Contribute]:
        """Return the contributions of a service of this type with VALUE, by target type."""
        if self.bare_metal is not None and not self.extensions:
            return {"etc": always(_linked(self.units))}
        return self.extensions(value) if callable(self.extensions) else self.extensions

    def place(self, path: str, target: str) -> str:
        """Return where the user wrote what a service at PATH contributes to TARGET."""
        return path if self.contributed_at is None else self.contributed_at(path, target)

    def provides(self, value: t.Any) -> tuple[str, ...]:
        """Return the names that a service of this type with VALUE provides."""
        return self.provision(value) if callable(self.provision) else self.provision

    def requires(self, value: t.Any) -> tuple[str, ...]:
        """Return the names that a service of this type with VALUE requires."""
        return self.requirement(value) if callable(self.requirement) else self.requirement


def always(value: t.Any) -> Contribute:
    """Return a contribution that does not depend on the service's value."""
    return lambda _value, _context: copy.deepcopy(value)


def _linked(units: tuple[str, ...]) -> dict[str, t.Any]:
    """Return links to the distribution's own units: the contribution of a bare-metal service that the user keeps."""
    files: dict[str, t.Any] = {}
    starters = {".socket": "sockets.target", ".timer": "timers.target"}
    for unit in units:
        if unit in base_units.UNITS:
            continue
        stem, suffix = unit.rsplit(".", 1)
        template = f"{stem.split('@')[0]}@.{suffix}" if "@" in stem else unit
        files[f"systemd/system/{template}"] = base_units.store_link(template)
        if unit != template or "@" not in stem:
            target = starters.get(f".{suffix}", "multi-user.target")
            files[f"systemd/system/{target}.wants/{unit}"] = base_units.link(f"../{template}")
    return files


def daemon(
    name: str,
    service: dict[str, t.Any],
    *,
    description: str,
    unit: dict[str, t.Any] | None = None,
    provision: tuple[str, ...] = (),
    requirement: tuple[str, ...] = (),
) -> Unit:
    """Return the unit of a long-running program, restarted when it fails. Without PROVISION it has its type's names."""
    directives = {"Restart": "on-failure", **service}
    return Unit(
        name=f"{name}.service",
        sections={"Unit": {"Description": description, **(unit or {})}, "Service": directives},
        provision=provision,
        requirement=requirement,
    )
