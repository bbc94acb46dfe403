# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The derivation of a container's operating system from that of a machine: rules C1 to C14."""

from __future__ import annotations

import dataclasses
import re
import typing as t

from ..module_utils.launcher import targets
from . import checks, networks, registry
from .errors import DeclarationError
from .essential_services import (
    NOT_IN_CONTAINERS,
    container_essential_services,
    default_essential_services,
)
from .file_origins import of_essential
from .fold import fold
from .operating_system import PATH, OperatingSystem, operating_system
from .records import FileSystem, FileSystemMapping, Service
from .service_types import ServiceType
from .services import base, networking
from .stores import store_mapping
from .validation import plain, strict
from .without_effect import without_effect

_DERIVED = re.compile(rf"\b{PATH}\.(?:(services|file_systems)\[([0-9]+)\]|essential_services\[([0-9]+)\][^\s,;)]*)")
_ADDED = (base.NSCD, networking.DUMMY)
_HOST_FILE = "the host's file is shared with the network, and hides it; with a network of its own it is there"
_SWAP = "swap belongs to the host"
_KERNEL = "a container runs on the host's kernel; its own is a dummy"


@dataclasses.dataclass
class DerivationReport:
    """The report of a derivation (C14): entries {kind, name, reason}, in the order of the declaration."""

    kept: list[dict[str, str]] = dataclasses.field(default_factory=list)
    dropped: list[dict[str, str]] = dataclasses.field(default_factory=list)
    replaced: list[dict[str, str]] = dataclasses.field(default_factory=list)
    added: list[dict[str, str]] = dataclasses.field(default_factory=list)


def _note(entries: list[dict[str, str]], kind: str, name: str, reason: str) -> None:
    entries.append({"kind": kind, "name": name, "reason": reason})


def _name(device: t.Any) -> str:
    if isinstance(device, dict):
        return next((f"{key}={device[key]}" for key in ("uuid", "label") if key in device), str(device.get("target")))
    return str(device)


class Derivation:
    """One derivation: `system` is the result, `report` says what was done. The input is not changed."""

    def __init__(
        self,
        declared: t.Any,
        mappings: t.Any = (),
        shared_network: bool = False,
        extra_file_systems: t.Any = (),
        keep_services: t.Any = (),
        store: t.Any = targets.STORE,
        network: t.Any = None,
    ) -> None:
        self.report = DerivationReport()
        self.network = networks.read_network(network, _boolean(shared_network, "shared_network"))
        self.shared_network = self.network.shared
        self.source = operating_system(declared)
        self.types = registry.registry(self.source)
        self.keep = self._keep(keep_services)
        self.store = store_mapping(store).place
        self.network_mappings = 0  # how many of `mappings` are those of a shared network
        self.mappings = self._mappings(mappings)
        self.extra = self._extra(extra_file_systems)
        self.origins: dict[str, list[str]] = {"services": [], "file_systems": []}
        self.system = self._derive()

    def in_declaration(self, text: str) -> str:
        """Return TEXT, a place in `system` or a message that names some, with the places that the user wrote instead.

        What was made anew for a container is at none of them, and is said to be that.
        """

        def declared(found: re.Match[str]) -> str:
            if found[1] is not None:
                return self.origins[found[1]][int(found[2])]
            essential = self.system.essential_services or ()
            return of_essential(essential[int(found[3])].type)

        return _DERIVED.sub(declared, text)

    def without_effect(self) -> list[tuple[str, str]]:
        """Return the directives of units that have no effect in a container; none if the services are refused."""
        try:
            folded = fold(
                self.system,
                self.system.essential_services or (),
                shared_network=self.shared_network,
                store=self.store,
                for_clients=self.network.for_clients,
            )
        except DeclarationError:
            return []  # which is said where the system is made
        return without_effect(folded["files"])

    def _keep(self, names: t.Any) -> frozenset[str]:
        checked = _list(names, "keep_services")
        for index, name in enumerate(checked):
            place = f"keep_services[{index}]"
            registry.find(self.types, _string(name, place), place)
        return frozenset(checked)

    def _mappings(self, values: t.Any) -> list[FileSystemMapping]:
        """Return the mappings; when the network is shared, the four network files first (C11)."""
        mappings = [
            FileSystemMapping.from_mapping(item, f"mappings[{index}]")
            for index, item in enumerate(_list(values, "mappings"))
        ]
        for index, mapping in enumerate(mappings):
            checks.mount_point(mapping.place, f"mappings[{index}].target", self.store)
        _refuse_duplicates([mapping.place for mapping in mappings], "mappings", "target")
        if not self.shared_network:
            return mappings
        own = {mapping.place for mapping in mappings}
        network = [
            FileSystemMapping(source=path, target=path, writable=path == "/etc/resolv.conf")
            for path in targets.NETWORK_FILES
            if path not in own and not (path == "/etc/hosts" and "hosts" in self.keep)
        ]
        self.network_mappings = len(network)
        return network + mappings

    def _extra(self, values: t.Any) -> list[FileSystem]:
        extra = [
            FileSystem.from_mapping(item, f"extra_file_systems[{index}]")
            for index, item in enumerate(_list(values, "extra_file_systems"))
        ]
        _refuse_duplicates([item.place for item in extra], "extra_file_systems", "mount_point")
        taken = {mapping.place for mapping in self.mappings}
        for index, item in enumerate(extra):
            item.verify_in_container(f"extra_file_systems[{index}]", self.store)
            if item.place in taken:
                raise DeclarationError(
                    f"extra_file_systems[{index}].mount_point", f"'{item.place}' is also the target of a mapping"
                )
        return extra

    def _derive(self) -> OperatingSystem:
        source = self.source
        for swap in source.swap_devices:
            target = swap.get("target") if isinstance(swap, dict) else swap
            _note(self.report.dropped, "swap_device", _name(target), _SWAP)
        for device in source.mapped_devices:
            _note(self.report.kept, "mapped_device", device.target, "opened by the host; the container ignores it")
        if source.kernel not in (None, "dummy"):
            _note(self.report.replaced, "kernel", str(source.kernel), _KERNEL)
        return source.replacing(
            kernel="dummy",
            swap_devices=(),
            essential_services=tuple(self._essential()),
            services=tuple(self._services()),
            file_systems=tuple(self._file_systems()),
        )

    def _essential(self) -> list[Service]:
        services = container_essential_services(self.source, shared_network=self.shared_network, keep=self.keep)
        names = {service.type for service in services}
        for service in default_essential_services(self.source):
            if service.type == "system":
                _note(self.report.replaced, "essential_service", "system", "in a container it holds the locale alone")
            elif service.type in names:
                _note(self.report.kept, "essential_service", service.type, "needed in a container too")
            elif service.type in NOT_IN_CONTAINERS:
                reason = self.types[service.type].bare_metal or ""
                _note(self.report.dropped, "essential_service", service.type, reason)
            else:
                _note(self.report.dropped, "essential_service", service.type, networking.HOST_NETWORK)
        return services

    def reason_to_drop(self, kind: ServiceType) -> str | None:
        """Return why services of this type are dropped (C2, C3, C14), or None when they stay."""
        if kind.name in self.keep:
            return None
        if kind.name in _ADDED:
            return "made anew for a container"
        if kind.bare_metal is not None:
            return kind.bare_metal
        if kind.network and self.shared_network:
            return networking.HOST_NETWORK
        if kind.name == networking.STATIC:
            return networking.OWN_NETWORK
        return None

    def _reason(self, service: Service, path: str) -> str | None:
        kind = registry.find(self.types, service.type, f"{path}.type")
        reason = self.reason_to_drop(kind)
        if reason is not None or service.type != "simple" or not isinstance(service.value, dict):
            return reason
        target = service.value.get("target")
        if not isinstance(target, str):
            return None
        goal = registry.find(self.types, target, f"{path}.value.target")
        lost = self.reason_to_drop(goal) if target not in _ADDED else None
        if lost is None and goal.name == "hosts" and self.shared_network and "hosts" not in self.keep:
            lost = networking.HOST_NETWORK
        return None if lost is None else f"it adds to '{target}': {lost}"

    def _services(self) -> list[Service]:
        """Return the services of the OS that stay, in their order, then those added (C6)."""
        result = []
        former: dict[str, Service] = {}
        for index, service in enumerate(self.source.services):
            reason = self._reason(service, f"operating_system.services[{index}]")
            if reason is None:
                result.append(self._without_hidden(service))
                self.origins["services"].append(f"{PATH}.services[{index}]")
                _note(self.report.kept, "service", service.type, self._met(service))
            elif service.type in _ADDED:
                former[service.type] = service
            else:
                _note(self.report.dropped, "service", service.type, reason)
        places = {service.type: f"{PATH}.services[{index}]" for index, service in enumerate(self.source.services)}
        self._refuse_without_client(result)
        for service in self._added(former, result):
            result.append(service)
            self.origins["services"].append(places.get(service.type, f"{PATH} (its added service '{service.type}')"))
            entries = self.report.replaced if service.type in former else self.report.added
            reason = (
                "caches small enough for many containers on one host"
                if service.type == base.NSCD
                else "the network is there before the container starts"
            )
            _note(entries, "service", service.type, reason)
        return result

    def _without_hidden(self, service: Service) -> Service:
        """Return a service without the files of the network that it adds, where the host's or a mapping hides them."""
        value = service.value if service.type == "simple" and isinstance(service.value, dict) else {}
        files = value.get("value") if value.get("target") == "etc" else None
        if not isinstance(files, dict):
            return service
        sources = {item.place: item.source for item in self.mappings if item.place in targets.NETWORK_FILES}
        hidden = {name: sources[f"/etc/{name}"] for name in files if f"/etc/{name}" in sources}
        for name, source in hidden.items():
            reason = _HOST_FILE if source in targets.NETWORK_FILES else f"the mapping of {source} hides it"
            _note(self.report.dropped, "file", f"/etc/{name}", reason)
        kept = {name: item for name, item in files.items() if name not in hidden}
        return service.replacing(value={**value, "value": kept}) if hidden else service

    def _met(self, service: Service) -> str:
        kind = self.types[service.type]
        value = service.value if isinstance(service.value, dict) else {}
        stated = value.get("requirement")
        provided = {service.type for service in self.source.services if service.type in self.keep}
        names = list(() if callable(kind.requirement) else kind.requirement)
        names += [name for name in stated if isinstance(name, str)] if isinstance(stated, list) else []
        by_host = [name for name in names if name in registry.met_by_host(self.types) and name not in provided]
        here = ("loopback", "networking") if self.network.is_up else ("loopback",)
        by_host = [name for name in by_host if name not in here]
        if by_host:
            return f"runs in a container; what it requires is met by the host: {', '.join(by_host)}"
        return "brought back by keep_services" if service.type in self.keep else "runs in a container"

    def _refuse_without_client(self, services: list[Service]) -> None:
        """Refuse an interface that a DHCP client is to configure, without any that stays."""
        place = self.network.place_of_dhcp
        if place is not None and not networking.clients(service.type for service in services):
            known = ", ".join(networking.CLIENTS)
            raise DeclarationError(place, f"needs a client in the container: declare a service of a type of {known}")

    def _added(self, former: dict[str, Service], services: list[Service]) -> list[Service]:
        added = []
        present = {service.type for service in services}
        if networking.DUMMY not in present:
            is_up = self.network.is_up and not networking.clients(present)
            provision = ["loopback", "networking"] if is_up else ["loopback"]
            added.append(_given(networking.DUMMY, {"provision": provision}))
        if base.NSCD not in present:
            value = former[base.NSCD].value if base.NSCD in former else None
            if value is not None and not isinstance(value, dict):
                raise DeclarationError("operating_system.services", "the value of 'nscd' must be a mapping")
            added.append(_given(base.NSCD, base.container_nscd(value)))
        return added

    def reason_to_leave(self, item: FileSystem) -> str | None:
        """Return why a file system of the OS is left out (C9), or None when it stays."""
        place = item.place
        if place == self.store:
            return "the store is shared by the host"
        if place == "/":
            return "the container's root is its own"
        if isinstance(item.device, str) and item.device.startswith("/dev/"):
            return "its device belongs to the host"
        if item.type == "tmpfs" and place == targets.SHARED_MEMORY:
            return None  # every container has one: this says how large
        for top in ("/dev/", "/sys/"):
            if place.startswith(top):
                return f"the container makes its own {top[:-1]}"
        return None

    def _file_systems(self) -> list[FileSystem]:
        """Return the file systems in the order of C8."""
        mounts = [mapping.bind_mount() for mapping in self.mappings]
        places = [f"mappings[{index}]" for index in range(-self.network_mappings, len(mounts) - self.network_mappings)]
        places += [f"extra_file_systems[{index}]" for index in range(len(self.extra))]
        for item in [*mounts, *self.extra]:
            reason = "mapped from the host" if item in mounts else "asked for"
            _note(self.report.added, "file_system", item.place, reason)
        taken = {item.place for item in [*mounts, *self.extra]}
        kept = []
        for index, item in enumerate(self.source.file_systems):
            leaving = self.reason_to_leave(item)
            if leaving is None and item.place in taken:
                _note(self.report.replaced, "file_system", item.place, "a mapping takes its place")
            elif leaving is None:
                if item.mounted_at_start:
                    item.verify_in_container(f"{PATH}.file_systems[{index}]", self.store)
                kept.append(item)
                places.append(f"{PATH}.file_systems[{index}]")
                _note(self.report.kept, "file_system", item.place, _mounting(item))
            elif not (item.place == "/" and item.type == "dummy"):
                _note(self.report.dropped, "file_system", item.place, f"{leaving} ({_name(item.device)})")
        self.origins["file_systems"] = [*places, f"{PATH} (its own root)"]
        root = FileSystem(device="nothing", mount_point="/", type="dummy")
        return [*mounts, *self.extra, *kept, root]


def _mounting(item: FileSystem) -> str:
    if item.is_containers_own:
        return f"the container makes its own {item.place}"
    if item.mounted_at_start:
        return "mounted before the container starts"
    return "declared, but not needed for boot: a container does not mount it; use a mapping"


def _given(kind: str, value: t.Any) -> Service:
    return Service(type=kind, value=value, given=frozenset({"type", "value"}))


def _refuse_duplicates(places: list[str], path: str, key: str) -> None:
    seen: dict[str, int] = {}
    for index, place in enumerate(places):
        if place in seen:
            raise DeclarationError(f"{path}[{index}].{key}", f"'{place}' is already that of {path}[{seen[place]}]")
        seen[place] = index


def _list(value: t.Any, path: str) -> list[t.Any]:
    result = plain(list(value) if isinstance(value, tuple) else value, path)
    return t.cast("list[t.Any]", strict({path: result}, {path: {"type": "list"}}, "").get(path, []))


def _string(value: t.Any, path: str) -> str:
    if not isinstance(value, str):
        raise DeclarationError(path, "must be a string")
    return plain(value, path)


def _boolean(value: t.Any, path: str) -> bool:
    return t.cast(bool, strict({path: plain(value, path)}, {path: {"type": "bool"}}, "").get(path, False))


def containerized_operating_system(declared: t.Any, **arguments: t.Any) -> dict[str, t.Any]:
    """Return the container's operating system as a plain mapping; the arguments are those of Derivation."""
    return Derivation(declared, **arguments).system.to_mapping()


def containerization_report(declared: t.Any, **arguments: t.Any) -> dict[str, t.Any]:
    """Return what the derivation keeps, drops, replaces and adds, each entry with its kind, name and reason."""
    derivation = Derivation(declared, **arguments)
    for directive, reason in derivation.without_effect():
        _note(derivation.report.dropped, "directive", directive, reason)
    return dataclasses.asdict(derivation.report)


def report_lines(report: t.Mapping[str, t.Any]) -> list[str]:
    """Return what a report says is not taken over as declared, with the reason, one line each (C14).

    What becomes of a file system or mapped device that stays is said, too: most of them nobody mounts.
    """
    return [
        f"{verb} {entry['kind']} {entry['name']}" + (f": {entry['reason']}" if entry["reason"] else "")
        for verb in ("dropped", "replaced", "added", "kept")
        for entry in report[verb]
        if verb != "kept" or entry["kind"] in ("file_system", "mapped_device")
    ]


def essential_services(declared: t.Any, shared_network: t.Any = False, network: t.Any = None) -> list[dict[str, t.Any]]:
    """Return the essential services of an operating system in a container, as plain mappings (C1)."""
    choice = networks.read_network(network, _boolean(shared_network, "shared_network"))
    services = container_essential_services(operating_system(declared), shared_network=choice.shared)
    return [service.to_mapping() for service in services]
