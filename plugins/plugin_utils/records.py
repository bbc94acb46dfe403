# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The records of the data model: typed, frozen, made from plain mappings and turned back into them without loss."""

from __future__ import annotations

import copy
import dataclasses
import ipaddress
import typing as t

from ..module_utils.launcher import contract, file_systems, targets
from . import account_ids, checks, specs
from .errors import DeclarationError, contracted
from .validation import Spec, describe, plain, validate

R = t.TypeVar("R", bound="Record")


@dataclasses.dataclass(frozen=True)
class Record:
    """The base of all records. `given` remembers the keys of the mapping, so that it can be restored as it was."""

    SPEC: t.ClassVar[Spec] = {}
    NESTED: t.ClassVar[dict[str, type[Record]]] = {}

    given: frozenset[str] = dataclasses.field(default=frozenset(), compare=False, repr=False, kw_only=True)

    @classmethod
    def from_mapping(cls: type[R], value: t.Any, path: str) -> R:
        """Return the record for a mapping, checked to its leaves. PATH is its place, for errors (DeclarationError)."""
        value = plain(value, path)
        if isinstance(value, str):
            value = cls._from_text(value, path)
        record = cls._build(validate(value, cls.SPEC, path), value)
        record.verify(path)
        return record

    @classmethod
    def _from_text(cls, value: str, path: str) -> t.Any:
        return value

    @classmethod
    def _build(cls: type[R], checked: dict[str, t.Any], original: dict[str, t.Any]) -> R:
        fields: dict[str, t.Any] = {}
        for key, item in checked.items():
            nested = cls.NESTED.get(key)
            if isinstance(item, list):
                if nested is not None:
                    sources = original.get(key) or []
                    item = [nested._build(entry, source) for entry, source in zip(item, sources, strict=True)]
                item = tuple(item)
            fields[key] = item
        return cls(**fields, given=frozenset(original))

    def to_mapping(self) -> dict[str, t.Any]:
        """Return the plain mapping: the keys that were given, and those that differ from their default."""
        result = {}
        for field in dataclasses.fields(self):
            if field.name == "given":
                continue
            value = getattr(self, field.name)
            default = field.default
            if field.default_factory is not dataclasses.MISSING:
                default = field.default_factory()
            if field.name in self.given or value != default:
                result[field.name] = _plain_field(value)
        return result

    def replacing(self: R, **changes: t.Any) -> R:
        """Return a copy with CHANGES, which count as given."""
        return dataclasses.replace(self, **changes, given=self.given | set(changes))

    def verify(self, path: str) -> None:
        """Check what a specification cannot express. Raise DeclarationError."""


def _plain_field(value: t.Any) -> t.Any:
    if isinstance(value, Record):
        return value.to_mapping()
    if isinstance(value, tuple):
        return [_plain_field(item) for item in value]
    return copy.deepcopy(value)


def check_device(value: t.Any, path: str) -> None:
    """Check a device: a path or a name, {uuid: …} or {label: …}."""
    if isinstance(value, dict):
        known = len(value) == 1 and {"uuid", "label"}.issuperset(value)
        if not known or not isinstance(next(iter(value.values())), str):
            raise DeclarationError(path, "must be a string, {uuid: …} or {label: …}")
        value = next(iter(value.values()))
    elif not isinstance(value, str):
        raise DeclarationError(path, f"must be a string, {{uuid: …}} or {{label: …}}, not {describe(value)}")
    if not value:
        raise DeclarationError(path, "must not be empty")
    checks.line(value, path)


@dataclasses.dataclass(frozen=True)
class FileSystem(Record):
    """A file system to mount.

    Ours, of bind mounts: `required`, the source must exist (S3); `propagation`, whether later mounts are seen; `owner`
    and `group`, whose the source's owner's and group's files are inside (V2).
    """

    SPEC: t.ClassVar[Spec] = specs.FILE_SYSTEM

    device: str | dict[str, str]
    mount_point: str
    type: str
    flags: tuple[str, ...] = ()
    options: str | None = None
    mount: bool = True
    mount_may_fail: bool = False
    needed_for_boot: bool = False
    check: bool = True
    create_mount_point: bool = False
    dependencies: tuple[str, ...] = ()
    required: bool = False
    propagation: str = contract.Mount.propagation
    owner: t.Any = None
    group: t.Any = None

    @property
    def place(self) -> str:
        """Return the mount point in its plain form."""
        return checks.absolute_path(self.mount_point, "mount_point")

    @property
    def is_containers_own(self) -> bool:
        """Return whether every container makes its own of this, such as /proc, so that this one is left out."""
        return targets.is_containers_own(self.type, self.place, self.options)

    @property
    def mounted_at_start(self) -> bool:
        """Return whether the launcher mounts it: if needed for boot, or a tmpfs (S2).

        An init would mount a tmpfs over the directories that have been made there for services and users.
        """
        wanted = self.needed_for_boot or (self.type == "tmpfs" and self.place != "/")
        return self.mount and wanted and not self.is_containers_own

    def verify_mount(self, path: str, store: str) -> None:
        """Refuse a place or options that no container can have. STORE is the store's path, PATH the record's."""
        bind = "bind-mount" in self.flags
        if bind or not targets.is_run(self.type, self.place, self.options):
            checks.mount_point(self.mount_point, f"{path}.mount_point", store)
        contracted(path, lambda: contract.Mount.read(self.mount_record().write()))

    def verify_in_container(self, path: str, store: str) -> None:
        """Refuse what no container can mount, or not there. STORE is the store's path, PATH the record's place."""
        self.verify_mount(path, store)
        bind = "bind-mount" in self.flags
        if "remount" in self.flags:
            raise DeclarationError(f"{path}.flags", "'remount' changes what is mounted, and here it is mounted anew")
        if "lazy-time" in self.flags and bind:
            raise DeclarationError(f"{path}.flags", "'lazy-time' is a file system's, and a bind mount cannot change it")
        times = sorted({"no-atime", "strict-atime"} & set(self.flags))
        if len(times) > 1:
            raise DeclarationError(f"{path}.flags", f"'{times[0]}' and '{times[1]}' contradict each other")
        if isinstance(self.device, str) and self.device.startswith("/") and "read-only" not in self.flags:
            # C11 has a writable one, which is mounted read-only.
            checks.writable_source(self.device, f"{path}.device")
        elif isinstance(self.device, str) and "bind-mount" in self.flags:
            checks.source(self.device, f"{path}.device")

    def _options(self) -> tuple[list[str], str]:
        """Return all flags, also those among the options, and the options that the file system itself knows."""
        if "bind-mount" in self.flags:
            return list(self.flags), self.options or ""
        return file_systems.split_options(self.type, list(self.flags), self.options or "")

    def mount_record(self) -> contract.Mount:
        """Return the record for the launcher. A mount is shared with the container's own namespaces in any case."""
        flags, options = self._options()
        return contract.Mount(
            device=self.device,
            mount_point=self.place,
            type="none" if "bind-mount" in self.flags else self.type,
            flags=[flag for flag in flags if flag in contract.FLAGS],
            options=options or None,
            required=self.required,
            mount_may_fail=self.mount_may_fail,
            propagation=self.propagation,
        )

    def verify(self, path: str) -> None:
        check_device(self.device, f"{path}.device")
        checks.absolute_path(self.mount_point, f"{path}.mount_point")
        checks.line(self.type, f"{path}.type")
        if self.options is not None:
            checks.line(self.options, f"{path}.options")
        if self.propagation != contract.Mount.propagation and "bind-mount" not in self.flags:
            raise DeclarationError(f"{path}.propagation", "is for bind mounts, whose source is a directory of the host")
        _verify_owner(self, self.device if "bind-mount" in self.flags else None, path)
        if "bind-mount" in self.flags:
            if not isinstance(self.device, str):
                raise DeclarationError(f"{path}.device", "of a bind mount must be a path")
            checks.absolute_path(self.device, f"{path}.device")
        for index, dependency in enumerate(self.dependencies):
            checks.line(dependency, f"{path}.dependencies[{index}]")


@dataclasses.dataclass(frozen=True)
class FileSystemMapping(Record):
    """A file or directory of the host that the container sees, read-only unless `writable`."""

    SPEC: t.ClassVar[Spec] = specs.MAPPING

    source: str
    target: str | None = None
    writable: bool = False
    required: bool = False
    propagation: str = contract.Mount.propagation
    owner: t.Any = None
    group: t.Any = None

    @classmethod
    def _from_text(cls, value: str, path: str) -> t.Any:
        """Read "SOURCE[=TARGET]"; the first '=' divides, so a source with one needs the mapping form."""
        source, divider, target = value.partition("=")
        return {"source": source, "target": target} if divider else {"source": source, "target": source}

    @property
    def place(self) -> str:
        """Return the target in its plain form; the source when none was given."""
        return checks.absolute_path(self.source if self.target is None else self.target, "target")

    def verify(self, path: str) -> None:
        check = checks.writable_source if self.writable else checks.source
        check(self.source, f"{path}.source")
        checks.mapping_target(self.source if self.target is None else self.target, f"{path}.target")
        _verify_owner(self, self.source, path)

    def bind_mount(self) -> FileSystem:
        """Return the file system that realises this mapping (C10)."""
        return FileSystem(
            device=checks.absolute_path(self.source, "source"),
            mount_point=self.place,
            type="none",
            flags=("bind-mount",) if self.writable else ("bind-mount", "read-only"),
            check=False,
            create_mount_point=True,
            needed_for_boot=True,
            required=self.required,
            propagation=self.propagation,
            owner=self.owner,
            group=self.group,
        )


def _verify_owner(record: FileSystem | FileSystemMapping, source: t.Any, path: str) -> None:
    """Check the owner and group of a bind mount's source; none of another mount.

    :param source: its source; None for what is no bind mount.
    """
    for key, kind in (("owner", "user"), ("group", "group")):
        value = getattr(record, key)
        if value is None:
            continue
        if source is None:
            raise DeclarationError(f"{path}.{key}", "is for bind mounts, whose source is a directory of the host")
        account_ids.check_account(value, kind, f"{path}.{key}")
        if targets.plain_path(str(source)) in targets.NETWORK_FILES:
            raise DeclarationError(
                f"{path}.{key}", f"not for {source}, which belongs to root inside, too: leave it out"
            )


@dataclasses.dataclass(frozen=True)
class Service(Record):
    """A service: the name of its type, and a value that only the type can read."""

    SPEC: t.ClassVar[Spec] = specs.SERVICE

    type: str
    value: t.Any = None

    def verify(self, path: str) -> None:
        checks.line(self.type, f"{path}.type")


@dataclasses.dataclass(frozen=True)
class UserAccount(Record):
    """A user. Without `uid` one is derived from the name; without `password` the account is locked."""

    SPEC: t.ClassVar[Spec] = specs.USER

    name: str
    uid: int | None = None
    group: str = "users"
    supplementary_groups: tuple[str, ...] = ()
    comment: str = ""
    home_directory: str | None = None
    create_home_directory: bool = True
    shell: str = "/bin/bash"
    password: str | None = dataclasses.field(default=None, repr=False)
    system: bool = False

    @property
    def home(self) -> str:
        """Return the home directory, /home/NAME when none is given."""
        return self.home_directory or f"/home/{self.name}"

    def verify(self, path: str) -> None:
        checks.account_name(self.name, f"{path}.name")
        checks.account_name(self.group, f"{path}.group")
        for index, group in enumerate(self.supplementary_groups):
            checks.account_name(group, f"{path}.supplementary_groups[{index}]")
        checks.account_field(self.comment, f"{path}.comment")
        checks.account_field(checks.absolute_path(self.home, f"{path}.home_directory"), f"{path}.home_directory")
        checks.account_field(checks.absolute_path(self.shell, f"{path}.shell"), f"{path}.shell")
        if self.create_home_directory and (self.name, self.home) != ("root", "/root"):
            checks.home_directory(self.home, f"{path}.home_directory")
        if self.uid is not None:
            checks.identifier(self.uid, f"{path}.uid")
        if self.password is not None:
            checks.password(self.password, f"{path}.password")


@dataclasses.dataclass(frozen=True)
class UserGroup(Record):
    """A group. Without `gid` one is derived from the name."""

    SPEC: t.ClassVar[Spec] = specs.GROUP

    name: str
    gid: int | None = None
    system: bool = False

    def verify(self, path: str) -> None:
        checks.account_name(self.name, f"{path}.name")
        if self.gid is not None:
            checks.identifier(self.gid, f"{path}.gid")


@dataclasses.dataclass(frozen=True)
class Host(Record):
    """A line of /etc/hosts."""

    SPEC: t.ClassVar[Spec] = specs.HOST

    address: str
    canonical_name: str
    aliases: tuple[str, ...] = ()

    def verify(self, path: str) -> None:
        try:
            ipaddress.ip_address(self.address)
        except ValueError:
            raise DeclarationError(f"{path}.address", f"{self.address!r} is not an IP address") from None
        checks.host_name(self.canonical_name, f"{path}.canonical_name")
        for index, alias in enumerate(self.aliases):
            checks.host_name(alias, f"{path}.aliases[{index}]")


@dataclasses.dataclass(frozen=True)
class SwapDevice(Record):
    """A swap device or file; text alone is its target."""

    SPEC: t.ClassVar[Spec] = specs.SWAP

    target: str | dict[str, str]
    dependencies: tuple[str, ...] = ()
    priority: int | None = None
    discard: bool = False

    @classmethod
    def _from_text(cls, value: str, path: str) -> t.Any:
        return {"target": value}

    def verify(self, path: str) -> None:
        check_device(self.target, f"{path}.target")


@dataclasses.dataclass(frozen=True)
class MappedDevice(Record):
    """A device made from others (LUKS, RAID, LVM)."""

    SPEC: t.ClassVar[Spec] = specs.MAPPED_DEVICE

    source: str | dict[str, str] | list[t.Any]
    target: str
    type: str
    arguments: dict[str, t.Any] = dataclasses.field(default_factory=dict)

    def verify(self, path: str) -> None:
        for source in self.source if isinstance(self.source, list) else [self.source]:
            check_device(source, f"{path}.source")
        checks.line(self.target, f"{path}.target")
