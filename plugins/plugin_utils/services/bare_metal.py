# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services of a machine with hardware. None works in a container; each says why, and which units it stands for."""

from __future__ import annotations

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
    units: str,
    *,
    provision: str | None = None,
    packages: str = "",
    description: str = "",
) -> ServiceType:
    provided = name if provision is None else provision
    return ServiceType(
        name,
        description or f"{name} of a bare-metal machine.",
        bare_metal=reason,
        units=tuple(units.split()),
        provision=tuple(provided.split()),
        packages=tuple(packages.split()),
    )


TYPES = (
    # C2
    _type(
        "console-font",
        _TERMINAL,
        "console-setup.service keyboard-setup.service systemd-vconsole-setup.service",
        provision="console-font console-font-tty1",
        packages="console-setup",
    ),
    _type("mingetty", _TERMINAL, "getty@tty1.service", provision="mingetty term-tty1 term-tty2", packages="mingetty"),
    _type(
        "agetty",
        _TERMINAL,
        "getty@tty1.service serial-getty@ttyS0.service console-getty.service",
        provision="agetty term-console term-ttyS0",
    ),
    # C14: terminals
    _type("kmscon", _TERMINAL, "kmsconvt@tty1.service", packages="kmscon"),
    _type("gpm", "a container has no mouse and no virtual terminal", "gpm.service", packages="gpm"),
    _type("virtual-terminal", _TERMINAL, "autovt@.service", provision="virtual-terminal"),
    # devices and the kernel
    _type(
        "udev",
        _DEVICES,
        "systemd-udevd.service systemd-udev-trigger.service systemd-udev-settle.service",
        packages="udev",
    ),
    _type(
        "kernel-module-loader",
        "modules are loaded into the host's kernel, by the host",
        "systemd-modules-load.service kmod-static-nodes.service",
        provision="kernel-module-loader kernel-modules",
    ),
    _type(
        "kernel-modules",
        "modules are loaded into the host's kernel, by the host",
        "systemd-modules-load.service",
        provision="kernel-modules",
    ),
    _type("sysctl", _KERNEL, "systemd-sysctl.service", provision="sysctl", packages="procps"),
    _type("kdump", _KERNEL, "kdump-tools.service kdump.service", packages="kdump-tools"),
    _type("earlyoom", "the host decides what to kill when memory runs out", "earlyoom.service", packages="earlyoom"),
    _type(
        "rngd",
        "the host's kernel gathers entropy",
        "rngd.service rng-tools-debian.service haveged.service",
        provision="rngd trng",
        packages="rng-tools5",
    ),
    _type("urandom-seed", "the host's kernel gathers entropy", "systemd-random-seed.service", provision="urandom-seed"),
    _type(
        "microcode",
        "processors' microcode is loaded by the host's kernel",
        "microcode.service",
        packages="intel-microcode amd64-microcode",
    ),
    _type("irqbalance", "interrupts belong to the host", "irqbalance.service", packages="irqbalance"),
    _type(
        "watchdog",
        "a hardware watchdog guards the host, not a container",
        "watchdog.service wd_keepalive.service",
        packages="watchdog",
    ),
    _type(
        "mcelog",
        "machine checks are reported to the host's kernel",
        "mcelog.service rasdaemon.service",
        packages="rasdaemon",
    ),
    _type("bootloader", _BOOT, "systemd-boot-update.service grub-common.service", packages="grub-common"),
    _type("fwupd", "firmware belongs to the host", "fwupd.service fwupd-refresh.timer", packages="fwupd"),
    _type("kernel-tuning", _KERNEL, "tuned.service", provision="kernel-tuning tuned", packages="tuned"),
    # time
    _type("ntp", _CLOCK, "ntp.service ntpsec.service ntpd.service", provision="ntp ntpd", packages="ntpsec"),
    _type("openntpd", _CLOCK, "openntpd.service", provision="openntpd ntpd", packages="openntpd"),
    _type("chrony", _CLOCK, "chrony.service chronyd.service", provision="chrony chronyd ntpd", packages="chrony"),
    _type(
        "timesyncd",
        _CLOCK,
        "systemd-timesyncd.service systemd-time-wait-sync.service",
        provision="timesyncd ntpd",
        packages="systemd-timesyncd",
    ),
    _type("hwclock", _CLOCK, "hwclock.service", provision="hwclock"),
    _type("gpsd", "a GPS receiver is hardware of the host", "gpsd.service gpsd.socket", packages="gpsd"),
    # disks
    _type("smartd", _DISKS, "smartd.service smartmontools.service", provision="smartd", packages="smartmontools"),
    _type(
        "lvm2-monitor",
        _DISKS,
        "lvm2-monitor.service dm-event.service dm-event.socket lvm2-lvmpolld.socket",
        provision="lvm2-monitor lvm",
        packages="lvm2",
    ),
    _type(
        "mdadm-monitor",
        _DISKS,
        "mdmonitor.service mdadm-shutdown.service mdcheck_start.timer",
        provision="mdadm-monitor mdadm",
        packages="mdadm",
    ),
    _type("multipath", _DISKS, "multipathd.service multipathd.socket", packages="multipath-tools"),
    _type(
        "iscsi",
        "block devices are attached by the host",
        "iscsid.service open-iscsi.service iscsid.socket",
        packages="open-iscsi",
    ),
    _type(
        "nvme",
        "block devices are attached by the host",
        "nvmefc-boot-connections.service nvmf-autoconnect.service",
        packages="nvme-cli",
    ),
    _type(
        "fstrim",
        "blocks are trimmed by the host, on its own file systems",
        "fstrim.service fstrim.timer",
        packages="util-linux",
    ),
    _type(
        "zram",
        "swap belongs to the host",
        "zramswap.service systemd-zram-setup@zram0.service",
        provision="zram zram-device",
        packages="zram-tools",
    ),
    _type("swap", "swap belongs to the host", "dev-disk-by.swap swap.target", provision="swap swaps"),
    _type("udisks", _DISKS, "udisks2.service", packages="udisks2"),
    _type("hdparm", _DISKS, "hdparm.service", packages="hdparm"),
    _type("cryptsetup", _DISKS, "systemd-cryptsetup@.service cryptdisks.service", packages="cryptsetup"),
    _type("quota", "quotas are kept by the host's file systems", "quota.service quotarpc.service", packages="quota"),
    _type("zfs", _DISKS, "zfs-mount.service zfs-zed.service zfs-import-cache.service", packages="zfsutils-linux"),
    _type("btrfs-scrub", _DISKS, "btrfs-scrub.timer btrfs-scrub@.service", packages="btrfsmaintenance"),
    # power and heat
    _type("acpid", _POWER, "acpid.service acpid.socket acpid.path", packages="acpid"),
    _type("thermald", _POWER, "thermald.service", packages="thermald"),
    _type("tlp", _POWER, "tlp.service tlp-sleep.service", packages="tlp"),
    _type("upower", _POWER, "upower.service", packages="upower"),
    _type("cpufreq", _POWER, "cpufrequtils.service cpupower.service loadcpufreq.service", packages="linux-cpupower"),
    _type("powertop", _POWER, "powertop.service", packages="powertop"),
    _type("power-profiles", _POWER, "power-profiles-daemon.service", packages="power-profiles-daemon"),
    _type(
        "lm-sensors", "sensors are hardware of the host", "lm-sensors.service fancontrol.service", packages="lm-sensors"
    ),
    _type("nut", _POWER, "nut-server.service nut-monitor.service nut-driver.service", packages="nut"),
    _type(
        "ipmi", "the management controller belongs to the host", "ipmievd.service openipmi.service", packages="openipmi"
    ),
    # radio and peripherals
    _type("bluetooth", _RADIO, "bluetooth.service", packages="bluez"),
    _type("modem-manager", _RADIO, "ModemManager.service", packages="modemmanager"),
    _type("wpa-supplicant", _RADIO, "wpa_supplicant.service wpa_supplicant@.service", packages="wpasupplicant"),
    _type("iwd", _RADIO, "iwd.service", packages="iwd"),
    _type("rfkill", _RADIO, "systemd-rfkill.service systemd-rfkill.socket", packages="rfkill"),
    _type("usb-modeswitch", _DEVICES, "usb_modeswitch@.service", packages="usb-modeswitch"),
    _type("usbmuxd", _DEVICES, "usbmuxd.service", packages="usbmuxd"),
    _type("pcscd", "a card reader is hardware of the host", "pcscd.service pcscd.socket", packages="pcscd"),
    _type("sane", "a scanner is hardware of the host", "saned.socket saned@.service", packages="sane-utils"),
    _type(
        "alsa", "sound hardware belongs to the host", "alsa-restore.service alsa-state.service", packages="alsa-utils"
    ),
    _type("fingerprint", "a fingerprint reader is hardware of the host", "fprintd.service", packages="fprintd"),
    _type(
        "nvidia",
        "the graphics driver belongs to the host",
        "nvidia-persistenced.service",
        packages="nvidia-persistenced",
    ),
    _type(
        "libvirt",
        "virtual machines are run by the host",
        "libvirtd.service libvirtd.socket virtlogd.service",
        packages="libvirt-daemon-system",
    ),
    _type(
        "qemu-guest-agent",
        "the agent speaks for the host's machine",
        "qemu-guest-agent.service",
        packages="qemu-guest-agent",
    ),
    _type(
        "display-manager",
        "a container has no screen",
        "gdm.service lightdm.service sddm.service",
        provision="display-manager xorg-server",
        packages="lightdm",
    ),
)
