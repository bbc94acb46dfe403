# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Paths of the host in the record of a file system: which there are, and that each is absolute."""

from __future__ import annotations

import re

import pytest
from ansible.errors import AnsibleError
from ansible_collections.unshare.container.plugins.filter import containerized_operating_system
from ansible_collections.unshare.container.plugins.module_utils.launcher import file_systems
from ansible_collections.unshare.container.plugins.module_utils.launcher.kinds import ContractError

from ..specifications import mount

contain = containerized_operating_system.FilterModule().filters()["containerized_operating_system"]

RELATIVE = {
    "an upper layer": ("overlay", "overlay", "lowerdir=/a,upperdir=srv/b,workdir=/c", "srv/b"),
    "a working directory": ("overlay", "overlay", "lowerdir=/a,upperdir=/b,workdir=./c", "./c"),
    "the only layer": ("overlay", "overlay", "lowerdir=a", "a"),
    "one of several layers": ("overlay", "overlay", "lowerdir=/a:/b:../c", "../c"),
    "a layer of data": ("overlay", "overlay", "lowerdir=/a::data", "data"),
    "a layer by itself": ("overlay", "overlay", "lowerdir+=/a,lowerdir+=b", "b"),
    "a layer of data by itself": ("overlay", "overlay", "lowerdir+=/a,datadir+=b", "b"),
    "a layer behind a backslash": ("overlay", "overlay", "lowerdir=/a,upperdir=\\/b,workdir=/c", "\\/b"),
    "a device": ("ext4", "dev/sda1", "", "dev/sda1"),
    "a name": ("xfs", "data", "", "data"),
    "a device upward": ("btrfs", "../dev/sda1", "", "../dev/sda1"),
    "one of several devices": ("bcachefs", "/dev/sda:dev/sdb", "", "dev/sdb"),
    "a directory": ("ecryptfs", "srv/kept", "", "srv/kept"),
    "a further device": ("btrfs", "/dev/sda", "subvol=x,device=sdb", "sdb"),
    "a journal": ("ext4", "/dev/sda", "journal_path=data/journal", "data/journal"),
    "a log": ("xfs", "/dev/sda", "logdev=log", "log"),
    "a device for real time": ("xfs", "/dev/sda", "noatime,rtdev=real", "real"),
}
ABSOLUTE = {
    "layers": ("overlay", "overlay", "lowerdir=/a:/b::/c,upperdir=/d,workdir=/e"),
    "a colon in a name": ("overlay", "overlay", "lowerdir=/a\\:b:/c"),
    "a layer that is added": ("overlay", "overlay", "lowerdir=/a,lowerdir=:/b"),
    "names of subvolumes": ("btrfs", "/dev/sda", "subvol=home,device=/dev/sdb"),
    "a tmpfs": ("tmpfs", "none", "size=1m"),
    "a share": ("nfs", "nas:srv", "device=x"),
    "a data set": ("zfs", "tank/data", ""),
}


@pytest.mark.parametrize("case", RELATIVE)
def test_what_is_relative_is_refused_on_both_sides(case: str) -> None:
    """The kernel takes it from the launcher's directory, which holds what root inside has written."""
    kind, device, options, path = RELATIVE[case]
    key = "options" if options and path in options else "device"
    with pytest.raises(ContractError, match=f"^{key}: '{re.escape(path)}' must begin with '/'"):
        mount(type=kind, device=device, options=options or None)
    item = {"device": device, "mount_point": "/data", "type": kind, **({"options": options} if options else {})}
    with pytest.raises(AnsibleError, match=rf"_file_systems\[0\].{key}: '{re.escape(path)}' must begin with '/'"):
        contain({"host_name": "x"}, extra_file_systems=[item])


@pytest.mark.parametrize("case", ABSOLUTE)
def test_what_is_absolute_or_no_path_is_not(case: str) -> None:
    kind, device, options = ABSOLUTE[case]
    mount(type=kind, device=device, options=options or None)


@pytest.mark.parametrize("option", file_systems.DEVICE_OPTIONS)
def test_each_option_that_names_a_device(option: str) -> None:
    assert file_systems.paths_of("xfs", "/dev/y", f"a,{option}=/dev/x") == (
        ["/dev/y", "/dev/x"],
        [],
    )
    with pytest.raises(ContractError, match="must begin"):
        mount(type="xfs", options=f"{option}=x")


def test_each_of_several_devices() -> None:
    assert file_systems.paths_of("bcachefs", "/dev/x:/dev/y", None) == (["/dev/x", "/dev/y"], [])
    assert file_systems.paths_of("ext4", "/dev/x:/dev/y", None) == (["/dev/x:/dev/y"], [])
