# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services of a machine with hardware. None works in a container; each gives the reason, and its units."""

from __future__ import annotations

from ..debian import DEBIAN
from ..service_types import ServiceType

_TERMINAL = "a container has no virtual terminal; use a shell through nsenter"
_DEVICES = "devices belong to the host, whose udev manages them"
_CLOCK = "the clock belongs to the host, which keeps the time"
_DISKS = "disks belong to the host, which watches and assembles them"
_POWER = "power and heat are the host's to manage"
_RADIO = "radio hardware belongs to the host"
_KERNEL = "the kernel belongs to the host and is set up there"
_BOOT = "a container is started by its host and has no boot loader"


def _type(
    name: str,
    reason: str,
    *,
    provision: str | None = None,
    description: str = "",
) -> ServiceType:
    provided = name if provision is None else provision
    return ServiceType(
        name,
        description or f"{name} of a bare-metal machine.",
        bare_metal=reason,
        software=DEBIAN.of(name),
        provision=tuple(provided.split()),
    )


TYPES = (
    # C2
    _type("console-font", _TERMINAL, provision="console-font console-font-tty1"),
    _type("mingetty", _TERMINAL, provision="mingetty term-tty1 term-tty2"),
    _type("agetty", _TERMINAL, provision="agetty term-console term-ttyS0"),
    # C14: terminals
    _type("kmscon", _TERMINAL),
    _type("gpm", "a container has no mouse and no virtual terminal"),
    _type("virtual-terminal", _TERMINAL, provision="virtual-terminal"),
    # devices and the kernel
    _type("udev", _DEVICES),
    _type(
        "kernel-module-loader",
        "modules are loaded into the host's kernel, by the host",
        provision="kernel-module-loader kernel-modules",
    ),
    _type("kernel-modules", "modules are loaded into the host's kernel, by the host", provision="kernel-modules"),
    _type("sysctl", _KERNEL, provision="sysctl"),
    _type("kdump", _KERNEL),
    _type("earlyoom", "the host decides what to kill when memory runs out"),
    _type("rngd", "the host's kernel gathers entropy", provision="rngd trng"),
    _type("urandom-seed", "the host's kernel gathers entropy", provision="urandom-seed"),
    _type("microcode", "processors' microcode is loaded by the host's kernel"),
    _type("irqbalance", "interrupts belong to the host"),
    _type("watchdog", "a hardware watchdog guards the host, not a container"),
    _type("mcelog", "machine checks are reported to the host's kernel"),
    _type("bootloader", _BOOT),
    _type("fwupd", "firmware belongs to the host"),
    _type("kernel-tuning", _KERNEL, provision="kernel-tuning tuned"),
    # time
    _type("ntp", _CLOCK, provision="ntp ntpd"),
    _type("openntpd", _CLOCK, provision="openntpd ntpd"),
    _type("chrony", _CLOCK, provision="chrony chronyd ntpd"),
    _type("timesyncd", _CLOCK, provision="timesyncd ntpd"),
    _type("hwclock", _CLOCK, provision="hwclock"),
    _type("gpsd", "a GPS receiver is hardware of the host"),
    # disks
    _type("smartd", _DISKS, provision="smartd"),
    _type("lvm2-monitor", _DISKS, provision="lvm2-monitor lvm"),
    _type("mdadm-monitor", _DISKS, provision="mdadm-monitor mdadm"),
    _type("multipath", _DISKS),
    _type("iscsi", "block devices are attached by the host"),
    _type("nvme", "block devices are attached by the host"),
    _type("fstrim", "blocks are trimmed by the host, on its own file systems"),
    _type("zram", "swap belongs to the host", provision="zram zram-device"),
    _type("swap", "swap belongs to the host", provision="swap swaps"),
    _type("udisks", _DISKS),
    _type("hdparm", _DISKS),
    _type("cryptsetup", _DISKS),
    _type("quota", "quotas are kept by the host's file systems"),
    _type("zfs", _DISKS),
    _type("btrfs-scrub", _DISKS),
    # power and heat
    _type("acpid", _POWER),
    _type("thermald", _POWER),
    _type("tlp", _POWER),
    _type("upower", _POWER),
    _type("cpufreq", _POWER),
    _type("powertop", _POWER),
    _type("power-profiles", _POWER),
    _type("lm-sensors", "sensors are hardware of the host"),
    _type("nut", _POWER),
    _type("ipmi", "the management controller belongs to the host"),
    # radio and peripherals
    _type("bluetooth", _RADIO),
    _type("modem-manager", _RADIO),
    _type("wpa-supplicant", _RADIO),
    _type("iwd", _RADIO),
    _type("rfkill", _RADIO),
    _type("usb-modeswitch", _DEVICES),
    _type("usbmuxd", _DEVICES),
    _type("pcscd", "a card reader is hardware of the host"),
    _type("sane", "a scanner is hardware of the host"),
    _type("alsa", "sound hardware belongs to the host"),
    _type("fingerprint", "a fingerprint reader is hardware of the host"),
    _type("nvidia", "the graphics driver belongs to the host"),
    _type("libvirt", "virtual machines are run by the host"),
    _type("qemu-guest-agent", "the agent speaks for the host's machine"),
    _type("display-manager", "a container has no screen", provision="display-manager xorg-server"),
)
