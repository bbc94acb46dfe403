# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Devices for a container: what is found, what none can have, and what is a risk, by a made-up /sys and /proc."""

from __future__ import annotations

import os
import stat
import types
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host import preflight
from ansible_collections.unshare.container.plugins.module_utils.host.facts import HostFacts
from ansible_collections.unshare.container.plugins.module_utils.launcher import devices, mount_table, nodes, targets
from ansible_collections.unshare.container.plugins.module_utils.launcher.contract import Specification
from ansible_collections.unshare.container.plugins.module_utils.launcher.kinds import ContractError
from ansible_collections.unshare.container.plugins.module_utils.launcher.needs import Device

from ..specifications import SMALL

BLOCKS = {"8:0": "sda", "8:1": "sda1", "8:16": "sdb", "8:32": "sdc", "259:0": "nvme0n1"}
RAW = {"21:0": "sda", "21:1": "sdb", "240:0": "nvme0n1"}
"""Character devices by which a disk is written."""


@pytest.fixture(autouse=True)
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have a host whose root is on a partition of one disk, with swap on a second one, and a third one free."""
    for number, name in BLOCKS.items():
        directory = tmp_path / "sys/devices" / name
        if name == "sda1":
            directory = tmp_path / "sys/devices/sda/sda1"
        directory.mkdir(parents=True)
        (directory / "dev").write_text(number + "\n")
        if name == "sda1":
            (directory / "partition").write_text("1\n")
        (tmp_path / "sys/dev/block").mkdir(parents=True, exist_ok=True)
        (tmp_path / "sys/dev/block" / number).symlink_to(directory)
    for number, name in RAW.items():
        place = tmp_path / "sys/dev/char" / number / "device"
        place = place if name.startswith("nvme") else place / "block"
        place.mkdir(parents=True)
        (place / name).symlink_to(tmp_path / "sys/devices" / name)
    root = mount_table.MountTableEntry("30 1 8:1 / / rw - ext4 /dev/sda1 rw")
    memory = mount_table.MountTableEntry("31 30 0:25 / /run rw - tmpfs tmpfs rw")
    paths = {f"/dev/{name}": number for number, name in BLOCKS.items()}
    swaps = "Filename Type Size Used Priority\n/dev/sdb partition 1 0 -2\n"
    consoles = "ttyS0                -W- (EC  p a)    4:64\n"
    texts = {"/proc/swaps": swaps, nodes.IN_USE: consoles}
    read = nodes.read_text
    monkeypatch.setattr(devices, "SYSTEM", str(tmp_path / "sys"))
    monkeypatch.setattr(devices, "block_device", paths.get)
    monkeypatch.setattr(mount_table, "read", lambda: [root, memory])
    monkeypatch.setattr(nodes, "read_text", lambda path: texts[path] if path in texts else read(path))
    return tmp_path


def node(kind: int, major: int, minor: int) -> nodes.Node:
    """Return a node at `/dev/x`."""
    status: t.Any = types.SimpleNamespace(st_mode=kind | 0o7660, st_rdev=os.makedev(major, minor))
    return nodes.Node("/dev/x", "/dev/y", status)


CHARACTER, BLOCK = stat.S_IFCHR, stat.S_IFBLK
REFUSED = {
    (CHARACTER, 1, 1): "it is the host's memory",
    (CHARACTER, 1, 2): "it is the kernel's memory",
    (CHARACTER, 1, 4): "it is every I/O port",
    (CHARACTER, 1, 11): "it is the kernel's log",
    (CHARACTER, 5, 1): "it is the host's console",
    (CHARACTER, 5, 2): "it makes terminals",
    (CHARACTER, 10, 229): "security.fuse: true",
    (CHARACTER, 136, 0): "it is a terminal of the host's",
    (CHARACTER, 143, 255): "it is a terminal of the host's",
    (BLOCK, 8, 0): "the host uses that disk, for what is mounted at /",
    (BLOCK, 8, 1): "the host uses that disk, for what is mounted at /",
    (BLOCK, 8, 16): "the host uses that disk, for swap (/dev/sdb)",
    (CHARACTER, 21, 0): "the host uses that disk, for what is mounted at /",
    (CHARACTER, 21, 1): "the host uses that disk, for swap (/dev/sdb)",
}
RISKS = {
    (BLOCK, 8, 32): nodes.RAW,
    (BLOCK, 1, 1): nodes.RAW,  # a RAM disk, and not the memory
    (CHARACTER, 240, 0): nodes.RAW,
    (CHARACTER, 13, 64): nodes.TYPED,
    (CHARACTER, 4, 0): nodes.TYPED,
    (CHARACTER, 4, 63): nodes.TYPED,
    (CHARACTER, 4, 64): nodes.LOGINS,
    (CHARACTER, 7, 1): nodes.SHOWN,
    (CHARACTER, 10, 130): "resets the host",
    (CHARACTER, 10, 223): "types on",
    (CHARACTER, 10, 237): "loop devices",
}
HARMLESS = [(CHARACTER, 10, 200), (CHARACTER, 10, 232), (CHARACTER, 226, 0), (CHARACTER, 4, 65), (CHARACTER, 135, 0)]


@pytest.mark.parametrize("number", REFUSED)
def test_what_no_container_can_have(number: tuple[int, int, int]) -> None:
    said = nodes.refusal(node(*number))
    assert said is not None
    assert said.startswith("/dev/x cannot be given to a container: ")
    assert REFUSED[number] in said


@pytest.mark.parametrize("number", RISKS)
def test_what_is_a_risk(number: tuple[int, int, int]) -> None:
    assert nodes.refusal(node(*number)) is None
    said = nodes.risk(node(*number))
    assert said is not None
    assert said.startswith("/dev/x: ")
    assert RISKS[number] in said


@pytest.mark.parametrize("number", HARMLESS)
def test_what_is_neither(number: tuple[int, int, int]) -> None:
    assert nodes.refusal(node(*number)) is nodes.risk(node(*number)) is None


def test_permissions_alone_are_a_nodes_mode() -> None:
    assert node(CHARACTER, 10, 200).mode == 0o660


def given(path: str, **more: t.Any) -> Device:
    return Device(path=path, target=path, **more)


def test_what_is_at_a_path() -> None:
    (found,) = nodes.find(given("/dev/null"))
    assert (found.source, found.target, found.number) == ("/dev/null", "/dev/null", "1:3")
    (found,) = nodes.find(Device(path="/dev/null", target="/dev/some/where"))
    assert found.target == "/dev/some/where"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes device nodes")
def test_a_directory_stands_for_all_devices_in_it(tmp_path: Path) -> None:
    top = tmp_path / "dev/dri"
    (top / "by-path/of/too/deep").mkdir(parents=True)
    for place in ("card0", "by-path/card1", "by-path/of/card2", "by-path/of/too/card3", "by-path/of/too/deep/card4"):
        os.mknod(top / place, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    (top / "file").write_text("")
    (top / "link").symlink_to("card0")
    found = nodes.find(Device(path="/dev/dri", target="/dev/mine"), HostFacts(tmp_path).open)
    assert [(item.source, item.target) for item in found] == [
        (f"/dev/dri/{name}", f"/dev/mine/{name}")
        for name in ("by-path/card1", "by-path/of/card2", "by-path/of/too/card3", "card0")
    ]


def test_a_link_of_the_host_is_followed(tmp_path: Path) -> None:
    """As those of udev, `/dev/serial/by-id` for example; one of /proc is not."""
    (tmp_path / "by-id").symlink_to("/dev/null")
    (found,) = nodes.find(given("/dev/by-id"), lambda _path: nodes.lookup.open_on_host(str(tmp_path / "by-id")))
    assert found.number == "1:3"
    with pytest.raises(nodes.RefusedDevice, match="/dev/fd/0 cannot be looked at: "):
        nodes.find(given("/dev/fd/0"))


def test_too_many_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "MOST", 1)
    with pytest.raises(nodes.RefusedDevice, match="holds more than 1 devices: name those that are needed"):
        nodes.find(Device(path="/dev", target="/dev/x"))


@pytest.mark.parametrize("path", ["/dev/none", "/dev/file/x", "/dev/empty"])
def test_what_is_missing(tmp_path: Path, path: str) -> None:
    (tmp_path / "dev/empty").mkdir(parents=True)
    (tmp_path / "dev/file").write_text("")
    host = HostFacts(tmp_path)
    with pytest.raises(FileNotFoundError):
        nodes.find(given(path), host.open)
    specification = Specification(**specification_of("/dev/null", path))
    assert preflight.preflight_devices.absent(host, specification)[-1] == (
        f"devices[1]: this host has no {path}; plug it in, load its module (modprobe), or correct the path"
    )
    assert preflight.preflight_devices.refused(host, specification) == []
    assert preflight.preflight_devices.risks(host, specification) == []


def specification_of(*paths: str) -> dict[str, t.Any]:
    spec = Specification.read({**SMALL, "devices": [{"path": path, "target": path + "-inside"} for path in paths]})
    return {name: getattr(spec, name) for name in spec.KINDS}


def test_what_a_host_says_before_anything_changes(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/file").write_text("")
    host = HostFacts(tmp_path)
    specification = Specification(**specification_of("/dev/file"))
    assert preflight.preflight_devices.refused(host, specification) == [
        "devices[0]: /dev/file is neither a device nor a directory of devices"
    ]
    assert preflight.preflight_devices.absent(host, specification) == []
    assert "devices[0]: /dev/file is neither a device nor a directory of devices" in preflight.problems(
        HostFacts(tmp_path), specification
    )
    missing = preflight.missing_sources(HostFacts(), Specification(**specification_of("/dev/no-such")))
    assert [item for item in missing if item.startswith("devices[0]: this host has no /dev/no-such; ")]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes device nodes")
def test_a_host_names_refused_ones_and_risks(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    for name, number in {"mem": (1, 1), "event0": (13, 64), "null": (1, 3)}.items():
        os.mknod(tmp_path / "dev" / name, 0o600 | stat.S_IFCHR, os.makedev(*number))
    host = HostFacts(tmp_path)
    specification = Specification(**specification_of("/dev/null", "/dev/mem", "/dev/event0"))
    assert preflight.preflight_devices.refused(host, specification) == [
        "devices[1]: /dev/mem cannot be given to a container: it is the host's memory"
    ]
    assert preflight.preflight_devices.risks(host, specification) == [f"devices[2]: /dev/event0: {nodes.TYPED}"]
    assert f"devices[2]: /dev/event0: {nodes.TYPED}" in preflight.warnings(host, specification)


@pytest.mark.parametrize(
    ("field", "path", "said"),
    [
        ("path", "/dev", "'/dev' does not lie in /dev"),
        ("path", "/etc/x", "does not lie in /dev"),
        ("path", "/device/x", "does not lie in /dev"),
        ("target", "/run/x", "does not lie in /dev"),
        ("target", "/dev/null", "'/dev/null', which the container makes itself"),
        ("target", "/dev/fd/x", "which the container makes itself"),
        *[
            (field, f"/dev/{name}", "each container's own")
            for name in targets.OWN_OF_DEV
            for field in ("path", "target")
        ],
        ("target", "/dev/pts/7", "each container's own"),
    ],
)
def test_places_that_no_device_has(field: str, path: str, said: str) -> None:
    device = {"path": "/dev/net/tun", "target": "/dev/net/tun", field: path}
    with pytest.raises(ContractError, match=said) as caught:
        Specification.read({**SMALL, "devices": [device]})
    assert caught.value.place == f"devices[0].{field}"


def mounted(point: str) -> dict[str, t.Any]:
    return {"device": "none", "mount_point": point, "type": "tmpfs"}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"devices": ["/dev/a", "/dev/a"]}, "'/dev/a' is where '/dev/a' is"),
        ({"devices": ["/dev/a/b", "/dev//a"]}, "'/dev/a' is where '/dev/a/b' is"),
        ({"devices": ["/dev/a", "/dev/a/b"]}, "'/dev/a/b' is where '/dev/a' is"),
        ({"devices": ["/dev/c", "/dev/a/b"], "file_systems": [mounted("/dev/a")]}, "hidden by what is mounted at"),
        ({"devices": ["/dev/c", "/dev/a"], "file_systems": [mounted("/dev/a")]}, "hidden by what is mounted at"),
    ],
)
def test_each_device_has_a_place_of_its_own(more: dict[str, t.Any], said: str) -> None:
    wanted = [{"path": "/dev/x", "target": target} for target in more["devices"]]
    with pytest.raises(ContractError, match=said) as caught:
        Specification.read({**SMALL, **more, "devices": wanted})
    assert caught.value.place == "devices[1].target"


def test_devices_beside_each_other() -> None:
    wanted = [{"path": "/dev/x", "target": target} for target in ("/dev/a", "/dev/ab", "/dev/b/a")]
    spec = Specification.read({**SMALL, "devices": wanted, "file_systems": [mounted("/dev/b/c")]})
    assert [device.target for device in spec.devices] == ["/dev/a", "/dev/ab", "/dev/b/a"]
    assert (spec.devices[0].mode, spec.devices[0].uid, spec.devices[0].gid) == ("", 0, 0)
