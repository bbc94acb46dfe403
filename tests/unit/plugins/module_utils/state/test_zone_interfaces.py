# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a container's interfaces are called on the host, and which addresses they have where that has no IPv6."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import host_settings
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.state import zones

from .zone_hosts import set_up, wire


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return set_up(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("kind", "host_end", "own_mac", "device"),
    [
        ("zone", True, True, zones.bridge_name("one")),
        ("bridge", True, True, "one"),
        ("macvlan", False, True, "one"),
        ("ipvlan", False, False, "one"),
        ("physical", False, False, "one"),
    ],
)
def test_what_each_kind_has_on_the_host(kind: str, host_end: bool, own_mac: bool, device: str) -> None:
    made = wire(kind=kind)
    assert (bool(made.host_name), bool(made.mac), made.device) == (host_end, own_mac, device)
    assert made.other_name == "unshare.web.eth0"
    if own_mac:
        assert wire(kind=kind, mac="02:00:5e:10:00:01").mac == "02:00:5e:10:00:01"


def test_names_on_the_host_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other versions find by them what this one has made; the hardware address is the machine's own."""
    monkeypatch.setattr(zones, "read_text", lambda path: "0123456789abcdef\n" if path == "/etc/machine-id" else "")
    made = wire()
    assert (made.host_name, made.device) == ("u986ae4fcb8af7b", "u9211cb4b249390")
    assert (made.mac, made.host_mac) == ("42:e1:6f:73:f5:ef", "ba:a9:9b:32:2d:6e")
    assert wire(kind="bridge").host_mac == "fe:e5:c6:8a:15:28"


def test_names_on_the_host_are_short_and_no_two_are_equal() -> None:
    """Not even those of long names that begin alike (N10)."""
    names = ["a" * 60 + end for end in ("1", "2", "11")]
    found = [wire(name, parent=zone) for name in names for zone in names]
    assert all(len(name) <= 15 for made in found for name in (made.host_name, made.device))
    assert len({made.host_name for made in found}) == len({made.mac for made in found}) == len(names)
    assert len({made.device for made in found}) == len(names)
    assert all(len(made.other_name) <= 127 for made in found)
    assert not any(int(made.mac[:2], 16) & 1 for made in found)


@pytest.fixture
def without_ipv6(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the directory of settings of a host that has switched IPv6 off."""
    monkeypatch.setattr(host_settings, "SETTINGS", str(tmp_path / "net"))
    (tmp_path / "net/ipv6/conf/default").mkdir(parents=True)
    (tmp_path / "net/ipv6/conf/default/disable_ipv6").write_text("1\n")
    return tmp_path / "net/ipv6"


def test_on_a_host_without_ipv6_a_zone_has_none(without_ipv6: Path) -> None:
    config: dict[str, object] = {"zone.one": "fd00::9/64 10.80.0.9/24"}
    made = wire(config=config)
    assert (made.addresses, made.gateways, made.subnets) == (["10.80.0.9/24"], ["10.80.0.1"], ["10.80.0.0/24"])
    assert config == {"zone.one": "10.80.0.9/24 fd00::9/64"}  # it is to have the same one again


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"subnets": ["fd00::/64"]}, "fd00::/64"),
        ({"addresses": ["10.80.0.5/24", "fd00::5/64"]}, "fd00::5/64"),
        ({"kind": "routed", "parent": "", "addresses": ["2001:db8::5/128"]}, "2001:db8::5/128"),
    ],
)
def test_addresses_that_a_host_without_ipv6_has_a_part_in_are_refused(
    without_ipv6: Path, fields: dict[str, t.Any], named: str
) -> None:
    with pytest.raises(LauncherError, match=f"{named} is of IPv6, which is switched off"):
        wire(**fields)


def test_addresses_on_a_lan_need_ipv6_of_the_kernel_alone(without_ipv6: Path) -> None:
    on_lan: dict[str, t.Any] = {
        "kind": "bridge",
        "parent": "br0",
        "addresses": ["2001:db8::5/64"],
        "gateways": ["2001:db8::1"],
    }
    assert wire(**on_lan).addresses == ["2001:db8::5/64"]
    without_ipv6.rename(without_ipv6.parent / "ipv4")
    with pytest.raises(LauncherError, match="bridge: 2001:db8::5/64 is of IPv6"):
        wire(**on_lan)
    with pytest.raises(LauncherError, match="bridge: fe80::1 is of IPv6"):
        wire(**{**on_lan, "addresses": ["192.0.2.5/24"], "gateways": ["fe80::1"]})
    assert wire(**{**on_lan, "addresses": ["192.0.2.5/24"], "gateways": []}).addresses == ["192.0.2.5/24"]
