# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The containers that an inventory declares for a host: checked, derived, and identified by their content.

Hosts that declare the same get the same system. The system derived for one of them is kept in a directory for the
others: a play's workers are processes that end with their task, so memory would not do.
"""

from __future__ import annotations

import hashlib
import json
import typing as t

from ..module_utils.host import health_units
from ..module_utils.host.container_options import OPTIONS
from ..module_utils.host.limits import LimitError, parse_limits
from ..module_utils.host.ports import overlap
from ..module_utils.host.published import parse_ports
from ..module_utils.launcher.errors import OptionError
from ..module_utils.launcher.guarded import relation_of
from ..module_utils.launcher.needs import Port
from ..module_utils.launcher.written_paths import written
from ..module_utils.life.one_container import check

# All of it is imported here: Ansible loads action plugins before it forks, and what a worker imports, each one imports.
from ..module_utils.state import library
from ..module_utils.state.system_content import SystemContent
from ..module_utils.state.target import TargetError
from .boot_script import boot_script
from .checks import name_of_container
from .container_record import DERIVED, DERIVING, RECORD, RENDERING
from .containerized import Derivation, containerization_report, report_lines
from .errors import DeclarationError
from .networks import NetworkChoice, read_network
from .networks_of_host import Wanted, refuse_shared_networks
from .run_files import RunFiles
from .secrets import split_secrets
from .system_files import system_files
from .validation import describe, plain, strict, validate
from .vaulted import occurring, with_secrets

if t.TYPE_CHECKING:
    Mapping = dict[str, t.Any]

PLACE = "containers"

STARTING = ("started", "restarted")
"""States in which a container runs, has what it needs for itself alone, and needs the declaration of its system."""

ANNOUNCED = ("digest", "security", "tree")
"""The keys from which a host makes a system's name: the digest of its content, its filter's settings, its tree."""

NEEDED = "is required: the declaration of the machine that the container is made from"
IGNORE_SYSTEM = ("rolled_back", "absent")
"""States for which a declared operating system does not matter."""


class Declared:
    """A declared container.

    :param name: its name.
    :param options: the options that the target gets, with the defaults filled in.
    :param derivation: the input of its system's derivation; empty when no system is declared.
    :param vaulted: the texts of the vault in it.
    """

    def __init__(self, name: str, options: Mapping, derivation: Mapping, vaulted: t.Sequence[str] = ()) -> None:
        self.name = name
        self.options = options
        self.derivation = derivation
        self.vaulted = vaulted
        text = json.dumps([name, derivation, *vaulted], sort_keys=True, separators=(",", ":"))
        self.key = hashlib.sha256(text.encode("utf-8")).hexdigest()


def declared_containers(value: t.Any, vaulted: t.Collection[str] = ()) -> list[Declared]:
    """Return the containers of the mapping `containers`, in its order. Raise DeclarationError with the place.

    :param vaulted: texts of the vault, which the systems keep secret.
    """
    given = plain(value, PLACE)
    if not isinstance(given, dict):
        raise DeclarationError(PLACE, f"must be a mapping of names to containers, not {describe(given)}")
    result = []
    for name, entry in given.items():
        place = f"{PLACE}.{name}"
        name_of_container(name, place)
        options, derivation = checked_record({} if entry is None else entry, place)
        result.append(Declared(name, options, derivation, occurring(vaulted, [options, derivation])))
    return result


def checked_record(entry: Mapping, place: str) -> tuple[Mapping, Mapping]:
    """Return the options that the target gets, with defaults, and the input of the system's derivation.

    The latter is empty when no system is declared, or the state has no use for one.

    :param entry: by RECORD, made of plain values.
    :param place: where it was written; empty for variables of their own.
    :raises DeclarationError: naming the key.
    """
    checked = strict(entry, RECORD, place)
    options = validate({key: item for key, item in checked.items() if key in OPTIONS}, OPTIONS, place)
    inside = f"{place}." if place else ""
    try:
        check(options, place)
        parse_limits(options["limits"], f"{inside}limits")
    except (OptionError, LimitError) as error:
        raise DeclarationError(error.path, error.message) from error
    if options["keep_generations"] < 1:
        raise DeclarationError(f"{inside}keep_generations", "must be 1 or more: the current one is kept in any case")
    if options["generation"] is not None and options["state"] != "rolled_back":
        raise DeclarationError(f"{inside}generation", "is used with 'state: rolled_back' only")
    derivation = {key: item for key, item in checked.items() if key in DERIVED}
    if options["state"] in IGNORE_SYSTEM:
        return options, {}
    if "operating_system" in derivation:
        _refuse_without_network(options, _network(derivation, inside), inside)
        return options, derivation
    if options["state"] in STARTING or any(item != DERIVED[key].get("default") for key, item in derivation.items()):
        raise DeclarationError(f"{inside}operating_system", NEEDED)
    return options, {}


def _network(derivation: Mapping, inside: str) -> NetworkChoice:
    return read_network(derivation.get("network"), derivation.get("shared_network", False), f"{inside}network")


def _refuse_without_network(options: Mapping, network: NetworkChoice, inside: str) -> None:
    """Refuse ports to publish, and name servers, of a container whose network has no use for them."""
    if options["ports"] and not network.publishes:
        raise DeclarationError(
            f"{inside}ports",
            "with the host's network a service listens on the host's own ports: leave them out"
            if network.shared
            else "need a network that the host forwards to: say 'network: {zone: NAME}', or a routed interface",
        )
    if options["nameservers"] and network.own is None:
        raise DeclarationError(
            f"{inside}nameservers",
            "with the host's network the container has the host's name servers: leave them out"
            if network.shared
            else "need a network to reach them: say 'network: {zone: NAME}', or another interface",
        )


class DerivedSystems:
    """Systems derived from declarations, each kept below `directory` for the other hosts of the run."""

    def __init__(self, directory: str) -> None:
        self._files = RunFiles(directory, "unshare-systems")

    def announcement(self, declared: Declared) -> Mapping:
        """Return what a host needs to name the container's system, by ANNOUNCED; None for each without a system."""
        if not declared.derivation:
            return dict.fromkeys(ANNOUNCED)
        told = self._told(declared)
        return {key: told[key] for key in ANNOUNCED}

    def needs(self, declared: Declared) -> Mapping:
        """Return what the container needs for itself alone: `written`, paths by mount points, and `ports`."""
        if not declared.derivation or declared.options["state"] not in STARTING:
            return {"written": {}, "ports": []}
        return t.cast("Mapping", self._told(declared)["needs"])

    def system(self, declared: Declared) -> Mapping:
        """Return the system: `name`, `digest`, `security`, `system` without secrets, `boot`, `secrets` by path."""
        return t.cast("Mapping", json.loads(self._files.made(declared.key, lambda: json.dumps(self._derive(declared)))))

    def size(self, declared: Declared) -> int:
        """Return how large the content of the container's system is, in characters."""
        return int(self._told(declared)["size"])

    def _told(self, declared: Declared) -> Mapping:
        """Return what is known of the container's system without its content."""
        known = self._files.read(declared.key + ".announced")
        return t.cast("Mapping", json.loads(known)) if known is not None else self.system(declared)

    def is_lacked(self, declared: Declared) -> bool:
        """Return whether a host of this run has lacked the container's system; others then get it unasked."""
        return self._files.has(f"{declared.key}.lacked")

    def note_lacked(self, declared: Declared) -> None:
        """Note that a host has lacked the container's system."""
        self._files.write(f"{declared.key}.lacked", "")

    def _derive(self, declared: Declared) -> Mapping:
        """Derive the container's system, and write what is known of it without its content."""
        system = derive(declared)
        boot = boot_script(system)
        try:
            content = SystemContent(system, boot, library.sources(), "", None, declared.name)
        except TargetError as error:
            raise DeclarationError(f"{PLACE}.{declared.name}", str(error)) from error
        apart, secrets = split_secrets(system)
        digest = content.content_digest()
        specification = content.specification
        needed = {"written": written(specification), "ports": [port.write() for port in specification.ports]}
        tree = specification.store.tree or None
        announced = {
            "digest": digest,
            "security": specification.security.write(),
            "tree": tree,
            "needs": needed,
            "size": len(json.dumps([apart, boot, secrets])),
        }
        self._files.write(declared.key + ".announced", json.dumps(announced))
        return {"name": declared.name, **announced, "system": apart, "boot": boot, "secrets": secrets}


def refuse_shared(declared: list[Declared], systems: DerivedSystems) -> None:
    """Refuse two containers of one host that write one directory, or listen on one port of its network.

    :raises DeclarationError: naming both.
    """
    _refuse_shared_networks(declared, systems)
    former: list[tuple[str, Mapping]] = []
    for item in declared:
        needed = systems.needs(item)
        for name, others in former:
            for place, path in needed["written"].items():
                for point, known in others["written"].items():
                    relation = relation_of(path, known)
                    if relation:
                        raise DeclarationError(
                            f"{PLACE}.{item.name}",
                            f"'{path}', which it writes at {place}, {relation} {known}, which {PLACE}.{name} writes at "
                            f"{point}: give each a directory of its own, or share it read-only with one of them",
                        )
            for port in map(Port.read, needed["ports"]):
                for other in map(Port.read, others["ports"]):
                    if overlap(port, other):
                        raise DeclarationError(
                            f"{PLACE}.{item.name}.{port.place}",
                            f"port {port} of the host's network is that of {PLACE}.{name}.{other.place}: use another",
                        )
        former.append((item.name, needed))


def _refuse_shared_networks(declared: list[Declared], systems: DerivedSystems) -> None:
    """Refuse two containers that want one address, device, port or subnet of their host."""
    wanted = []
    for item in declared:
        if item.options["state"] in STARTING:
            network = _network(item.derivation, "")
            listening = [Port.read(port) for port in systems.needs(item)["ports"]]
            ports = parse_ports(item.options["ports"])
            wanted.append(Wanted(f"{PLACE}.{item.name}", network, ports, listening))
    refuse_shared_networks(wanted)


def refuse_unknown_units(declared: list[Declared], systems: DerivedSystems) -> None:
    """Refuse a health that names units which a container's system does not have.

    :raises DeclarationError: naming the unit.
    """
    for item in declared:
        if item.derivation and (item.options["health"] or {}).get("units"):
            check_units(item.options, systems.system(item)["system"], f"{PLACE}.{item.name}")


def check_units(options: Mapping, system: Mapping, place: str) -> None:
    """Refuse units in the health of a container that a system, as `system_files` returns it, does not have.

    :raises DeclarationError: naming the unit.
    """
    units = (options["health"] or {}).get("units", [])
    init = system["spec"]["init"]
    if not init.get("systemd"):
        return
    boot = "\n".join(system["activation"])
    for index, said in health_units.missing_units(units, system["files"], init.get("environment", {}), boot):
        raise DeclarationError(f"{place}.health.units[{index}]".lstrip("."), said)


def derive(declared: Declared) -> Mapping:
    """Return the system of a declared container. Raise DeclarationError with the place."""
    try:
        return with_secrets(rendered(declared.derivation, declared.name), declared.vaulted)
    except DeclarationError as error:
        raise DeclarationError(f"{PLACE}.{declared.name}.{error.path}".rstrip("."), error.message) from error


def rendered(given: Mapping, name: str | None) -> Mapping:
    """Return the system that is made from DERIVED options. Raise DeclarationError with the place among them.

    :param name: the container's; by default made from the host name.
    """
    derivation = Derivation(given["operating_system"], **{key: given[key] for key in DERIVING if key in given})
    rendering = {key: given[key] for key in RENDERING if key in given}
    try:
        return system_files(derivation.system.to_mapping(), name=name, **rendering)
    except DeclarationError as error:
        raise DeclarationError(
            derivation.in_declaration(error.path), derivation.in_declaration(error.message)
        ) from error


def report(declared: Declared) -> list[str]:
    """Return the lines that say what the container does not take over from its declaration (C14)."""
    given = declared.derivation
    if not given:
        return []
    arguments = {key: given[key] for key in DERIVING if key in given}
    return report_lines(containerization_report(given["operating_system"], **arguments))
