# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rendering a container's operating system: the files, the directories and the specification for the target."""

from __future__ import annotations

import re
import typing as t

from ..module_utils.host.distribution import DEBIAN_PACKAGES
from ..module_utils.launcher import contract, targets
from ..module_utils.launcher.contract import Init, Mount, Security, Specification, Store
from ..module_utils.launcher.host_files import HOST_FILES
from ..module_utils.launcher.identity import COUNT
from ..module_utils.launcher.memory import SHARED_MEMORY_SIZE
from ..module_utils.launcher.stop_signals import SYSTEMD_STOP, signal_number
from ..module_utils.state.declared_units import UNIT_PLACES
from . import (
    base_units,
    checks,
    credentials,
    devices,
    mount_conflicts,
    networks,
    roots,
    stores,
    tmpfs,
    unit_starters,
    volumes,
)
from .account_ids import AccountIds
from .container_record import DERIVED, RENDERING
from .debian import DEBIAN
from .errors import DeclarationError, contracted
from .fold import fold
from .operating_system import PATH, OperatingSystem, default_name, operating_system
from .records import FileSystem, FileSystemMapping
from .services.networking import clients
from .validation import Spec, validate

_INIT: Spec = {
    "argv": {"type": "list", "elements": "str", "required": True},
    "environment": {"type": "dict", "default": {}},
    "ready": {"type": "str", "choices": ["exec", "notify"], "default": Init.ready},
    "stop_signal": {"type": "str", "default": Init.stop_signal},
    "systemd": {"type": "bool", "default": Init.systemd},
}
_ARGUMENTS: Spec = {"name": {"type": "str"}, **{name: DERIVED[name] for name in RENDERING}}
SYSTEMD = Init(
    argv=[DEBIAN.systemd],
    environment={
        "PATH": DEBIAN.path,
        "SYSTEMD_UNIT_PATH": UNIT_PLACES,
        "SYSTEMD_GENERATOR_PATH": "/etc/systemd/generators",
        "SYSTEMD_ENVIRONMENT_GENERATOR_PATH": "/etc/systemd/generators",
    },
    ready="notify",
    stop_signal=SYSTEMD_STOP,
    systemd=True,
)
# C12: what every system container has beside the OS's file systems.
CONTAINER_FILE_SYSTEMS = (
    Mount(
        device="none",
        mount_point="/dev/pts",
        type="devpts",
        flags=["no-exec", "no-suid"],
        options="newinstance,ptmxmode=0666,mode=620",
    ),
    Mount(
        device="tmpfs",
        mount_point="/dev/shm",
        type="tmpfs",
        flags=["no-exec", "no-suid", "no-dev"],
        options=f"mode=1777,size={SHARED_MEMORY_SIZE}",
    ),
    Mount(device="mqueue", mount_point="/dev/mqueue", type="mqueue", flags=["no-exec", "no-suid", "no-dev"]),
)


def system_files(declared: t.Any, **arguments: t.Any) -> dict[str, t.Any]:
    """Return the `system` mapping of a container's operating system (a result of containerized_operating_system).

    Arguments: name, network, shared_network, private_users (auto, identity or a first host id), store (a path,
    SOURCE=TARGET, or a mapping), root, oom_score_adj, log (volatile or persistent), init, security, devices,
    credentials, volumes. Raise DeclarationError with the place.
    """
    system = operating_system(declared)
    if system.essential_services is None:
        raise DeclarationError(
            f"{PATH}.essential_services", "is missing: derive the system with containerized_operating_system first"
        )
    given = validate({key: item for key, item in arguments.items() if item is not None}, _ARGUMENTS, "")
    private_users = _private_users(given["private_users"])
    if private_users == "identity" and given["security"]["nesting"]:
        raise DeclarationError(
            "security.nesting",
            "not with private_users: identity, for without the masks root inside could reconfigure the host's kernel: "
            "let the container have ids of its own (private_users: auto), or leave nesting out",
        )
    name = container_name(system, given["name"])
    network = networks.read_network(given["network"], given["shared_network"])
    if clients(service.type for service in system.services):
        network = network.left_to_client()
    store = stores.store_record(given["store"])
    root = roots.read_root(given["root"], store)
    init = _init(given["init"], root.is_machine)
    oom_score_adj = _oom_score(given["oom_score_adj"])
    folded = fold(
        system,
        roots.of_machine(system) if root.is_machine else system.essential_services,
        shared_network=network.shared,
        log=given["log"],
        store=store.target,
        machine=root.is_machine,
        oom_score_adj=oom_score_adj,
        for_clients=network.for_clients,
    )
    files = folded["files"]
    if not init.systemd:
        files = {path: item for path, item in files.items() if not path.startswith("/etc/systemd/")}
    else:
        files = base_units.shielded(files)
        unit_starters.refuse_left_out(folded["units"], files)
        unit_starters.refuse_templates(folded["units"], files, "\n".join(folded["activation"]))
        if root.is_machine:
            nesting = given["security"]["nesting"]
            files.update(roots.units_of_tree(files, system.services, network.shared, nesting))
    ids = AccountIds.of_files(files)
    file_systems = _file_systems(system, folded["file_systems"], store, ids, root.is_machine)
    kept = volumes.volumes(given["volumes"], name, folded["directories"], file_systems, ids, store.target)
    file_systems = _in_order([*file_systems, *(item.mount for item in kept)])
    sizes = volumes.sized(given["volumes"], private_users == "identity")
    places = {item.mount.mount_point: item.place for item in kept}
    mounts = mount_conflicts.Mounts(file_systems, system.file_systems, store.target, places)
    mount_conflicts.refuse(files, mounts, given["log"], folded["origins"])
    directories = _directories(folded["directories"], file_systems, files, ids.users)
    given_credentials, secret_files = credentials.credentials(given["credentials"])
    specification = Specification(
        format=contract.FORMAT,
        name=name,
        host_name=system.host_name,
        shared_network=network.shared,
        network=network.own,
        private_users=private_users,
        store=store,
        init=init,
        root=roots.with_accounts(root, system),
        file_systems=file_systems,
        oom_score_adj=oom_score_adj,
        devices=devices.devices(given["devices"], ids),
        credentials=given_credentials,
        log=given["log"],
        security=Security(**given["security"], set_user_id=root.is_machine),
        ports=folded["ports"] if network.shared else [],
    ).write()
    contracted(PATH, lambda: Specification.read(specification))  # as the target does
    return {
        "name": name,
        "files": dict(sorted({**files, **secret_files}.items())),
        "directories": mount_conflicts.kept_directories(directories, mounts, folded["origins"]),
        "host_files": [] if root.is_machine else sorted({*HOST_FILES, *folded["host_files"]} - files.keys()),
        "spec": specification,
        "activation": folded["activation"],
        "programs": folded["programs"],
        "packages": sorted({*folded["packages"], *([DEBIAN_PACKAGES.packet_filter] if network.is_filtered else [])}),
        **({"volumes": sizes} if sizes else {}),
    }


def container_name(system: OperatingSystem, name: str | None) -> str:
    """Return the container's name: the one given, else that of the operating system."""
    if name is None:
        return default_name({"host_name": system.host_name})
    return checks.name_of_container(name, "name")


def _oom_score(value: int) -> int:
    if not -1000 <= value <= 1000:
        raise DeclarationError("oom_score_adj", f"{value} is not from -1000 (never killed) to 1000 (killed first)")
    return value


def _private_users(value: t.Any) -> str | int:
    if value in ("auto", "identity") and isinstance(value, str):
        return value
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 11:
        value = int(value)
    highest = 2**32 - 2 * COUNT
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= highest and value % COUNT == 0:
        return value
    raise DeclarationError("private_users", f"{value!r} is not 'auto', 'identity' or a positive multiple of {COUNT}")


def _init(value: t.Any, machine: bool) -> Init:
    # A machine has its tree's own units and generators beside the declared ones.
    systemd = SYSTEMD.replacing(environment={"PATH": DEBIAN.path}) if machine else SYSTEMD
    if value is None or value == "systemd":
        return systemd
    if not isinstance(value, dict):
        raise DeclarationError("init", "must be 'systemd' or a mapping with `argv`")
    checked = validate(value, _INIT, "init")
    if not checked["argv"]:
        raise DeclarationError("init.argv", "must name a program")
    checks.absolute_path(checked["argv"][0], "init.argv[0]")
    for index, word in enumerate(checked["argv"]):
        if "\0" in word:
            raise DeclarationError(f"init.argv[{index}]", "holds a NUL")
    for name, text in checked["environment"].items():
        checks.environment_name(name, "init.environment")
        if not isinstance(text, str) or "\0" in text:
            raise DeclarationError(f"init.environment.{name}", "must be a string without NUL")
    contracted("init.stop_signal", lambda: signal_number(checked["stop_signal"]))
    base = systemd.environment if checked["systemd"] else {"PATH": DEBIAN.path}
    return Init(**{**checked, "environment": {**base, **checked["environment"]}})


def _file_systems(
    system: OperatingSystem,
    of_services: list[FileSystem],
    store: Store,
    ids: AccountIds,
    machine: bool,
) -> list[Mount]:
    """Return what the script mounts (S1, S2): the store first, parents before what lies in them, otherwise in order.

    A machine's store is in its root already.
    """
    first = FileSystemMapping(source=store.source, target=store.target, required=True).bind_mount()
    mounted = []
    for index, item in enumerate([*system.file_systems, *of_services]):
        if index >= len(system.file_systems) and item in system.file_systems:
            continue
        if item.mounted_at_start and (item.place != store.target or "bind-mount" in item.flags):
            path = f"{PATH}.file_systems[{index}]"
            if index < len(system.file_systems):
                item.verify_in_container(path, store.target)
            record = item.mount_record()
            if record.is_tmpfs:
                record = record.replacing(options=tmpfs.with_ids(record.options, ids, f"{path}.options"))
            record = record.replacing(**ids.of_mapping(item.owner, item.group, path))
            mounted.append(record)
    places = {item.mount_point for item in mounted}
    extra = [item for item in CONTAINER_FILE_SYSTEMS if item.mount_point not in places]
    stores = [] if machine else [first.mount_record()]
    return _in_order([*stores, *mounted, *extra])


def _in_order(mounts: list[Mount]) -> list[Mount]:
    """Return mounts so that none hides another: those at shorter paths first."""
    return sorted(mounts, key=lambda item: item.mount_point.count("/"))


def _directories(
    items: list[dict[str, t.Any]], file_systems: list[Mount], files: dict[str, t.Any], users: t.Mapping[str, int]
) -> list[dict[str, t.Any]]:
    """Return the directories, parents first; one path asked for differently twice is an error, and so is a file there.

    What a tmpfs says of itself counts more than what is asked for.
    """
    found: dict[str, dict[str, t.Any]] = {}
    for item in ({key: value for key, value in each.items() if key != "volume"} for each in items):
        former = found.setdefault(item["path"], item)
        if former != item:
            raise DeclarationError(PATH, f"the directory '{item['path']}' is asked for with two modes or owners")
        file = next((path for path in (item["path"], *targets.parents(item["path"])) if path in files), None)
        if file is not None and "link" not in files[file]:
            raise DeclarationError(PATH, f"the directory '{item['path']}' is asked for, but '{file}' is a file")
    for mount in file_systems:
        if mount.is_tmpfs and mount.mount_point in found:
            found[mount.mount_point] = {**found[mount.mount_point], **_said_by_tmpfs(mount)}
    names = {number: name for name, number in users.items() if number}
    paths = sorted(found, key=lambda path: (path.count("/"), path))
    ordered = [found[path] for path in paths]
    return [{**item, "account": names[item["uid"]]} if item["uid"] in names else item for item in ordered]


def _said_by_tmpfs(mount: Mount) -> dict[str, t.Any]:
    """Return mode and owner as far as its options have them; of wrong ones the host says that they are wrong."""
    said = tmpfs.parts(mount.options)
    result: dict[str, t.Any] = {key: int(said[key]) for key in ("uid", "gid") if said.get(key, "").isdigit()}
    return {**result, "mode": said["mode"].zfill(4)} if re.fullmatch("[0-7]{1,4}", said.get("mode", "")) else result
