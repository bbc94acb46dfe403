# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""How an image is made. It is made anew when anything in this module changes."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import subprocess
from functools import partial
from pathlib import Path

from ansible_collections.unshare.container.plugins.module_utils.launcher import linux
from ansible_collections.unshare.container.tests.hosts.recipes import Recipe

SIZE = "6G"
"""Size of a disk. Its file takes as much room as is used of it."""

ADDRESS, GATEWAY = "10.0.2.15/24", "10.0.2.2"
"""A machine's address in the network that QEMU has for it alone, and QEMU's own."""

READY = b"ready\n"
"""What a machine writes to its second serial line once its sshd listens."""

NOT_WANTED = ("apt-daily.timer", "apt-daily-upgrade.timer")
"""Units of the distribution that would look for a network in the middle of a test."""

MASKED = (
    "e2scrub_reap.service",
    "keyboard-setup.service",
    "console-setup.service",
    "systemd-binfmt.service",
    "systemd-machine-id-commit.service",
    "systemd-pcrphase.service",
    "systemd-pcrphase-sysinit.service",
)
"""Units that are for hardware or for a first boot. Nothing here needs them, and each boot would take seconds longer."""

PROFILES = ("abi", "abstractions", "disable", "force-complain", "local", "lsb_release", "nvidia_modprobe", "tunables")
"""What stays of the profiles of AppArmor. Those of a hundred programs, which the hosts do not have, go: to load them
would take 15 seconds."""

MODULES = ("ext4", "virtio_blk", "virtio_net", "virtio_pci", "virtio_rng")
"""All modules of the initial file system: to mount the disk, and to have the devices early."""

APART = ("unshare", "--mount", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc")
"""The first words of a command whose mounts nobody else sees, and of which nothing stays when it is killed."""

FILES = {
    "etc/fstab": "/dev/vda / ext4 defaults 0 1\n",
    "etc/systemd/network/10-ethernet.network": f"""\
[Match]
Type=ether

[Network]
Address={ADDRESS}
Gateway={GATEWAY}
LinkLocalAddressing=no
IPv6AcceptRA=no
""",
    # Nothing in /usr has changed since the image was made: no boot looks for what is to be done about that.
    "etc/.updated": "",
    "var/.updated": "",
    "etc/systemd/system/tell-ready.service": f"""\
[Unit]
Description=Tell that sshd listens
Requires=ssh.service
Wants=network-online.target
After=ssh.service network-online.target

[Service]
Type=oneshot
ExecStart=/bin/sh -c 'echo {READY.decode().strip()} >/dev/ttyS1'

[Install]
WantedBy=multi-user.target
""",
}
"""The configuration of every host, beside what has its name and its keys."""

ENABLED = ("ssh.service", "systemd-networkd.service", "systemd-networkd-wait-online.service", "tell-ready.service")


class ImageError(Exception):
    """An image cannot be made."""


@dataclasses.dataclass(frozen=True)
class Image:
    """A host's disk as it is before the first boot, and what boots it.

    Attributes:
        recipe: what it was made from.
        directory: where its files are.
    """

    recipe: Recipe
    directory: Path

    @property
    def disk(self) -> Path:
        """Return the disk's raw image. No machine writes to it."""
        return self.directory / "disk.raw"

    @property
    def kernel(self) -> Path:
        """Return the kernel."""
        return self.directory / "kernel"

    @property
    def initrd(self) -> Path:
        """Return the initial file system of the kernel."""
        return self.directory / "initrd"

    @property
    def key(self) -> Path:
        """Return the private key with which root logs in."""
        return self.directory / "root-key"

    @property
    def known_hosts(self) -> Path:
        """Return the file that has the host's public key, under the recipe's name."""
        return self.directory / "known_hosts"


def make_image(recipe: Recipe, directory: Path, scratch: Path) -> None:
    """Make the image of a recipe.

    Args:
        recipe: what it is made from.
        directory: the empty directory that gets its files.
        scratch: an empty directory for what is needed on the way.

    Raises:
        ImageError: something is missing on this machine, or does not succeed.
    """
    image = Image(recipe, directory)
    tree, host_key = scratch / "tree", scratch / "host-key"
    run(recipe, *APART, *bootstrap(recipe, tree))
    for key in (host_key, image.key):
        run(recipe, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", recipe.name, "-f", str(key))
    configure(recipe, tree, host_key, image.key)
    image.known_hosts.write_text(f"{recipe.name} {public(host_key)}")
    copy_boot_files(tree / "boot", image)
    # The oldest kernel and the oldest e2fsck do not know these two features.
    features = "^orphan_file,^metadata_csum_seed"
    # A new file is empty. Without this, each machine would write zeros to its disk after the boot.
    at_once = "lazy_itable_init=0,lazy_journal_init=0"
    options = ("-q", "-t", "ext4", "-L", recipe.name, "-O", features, "-E", at_once)
    run(recipe, "mke2fs", *options, "-d", str(tree), str(image.disk), SIZE)


def bootstrap(recipe: Recipe, tree: Path) -> list[str]:
    """Return the command that makes the tree of a recipe's distribution."""
    pins = "".join(f"Package: linux-*\nPin: release n={suite}\nPin-Priority: -1\n\n" for suite in recipe.no_kernel_from)
    return [
        "mmdebstrap",
        "--mode=root",
        "--variant=apt",
        "--format=directory",
        f"--include={','.join([recipe.kernel, *recipe.packages])}",
        # The lists of a release that is no longer maintained have expired.
        '--aptopt=Acquire::Check-Valid-Until "false"',
        '--aptopt=Acquire::Retries "3"',
        *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "info", "locale", "man")),
        f"--setup-hook=printf %s '{pins}' >\"$1/etc/apt/preferences.d/kernel\"",
        '--setup-hook=mkdir --parents "$1/etc/initramfs-tools/conf.d"',
        '--setup-hook=echo MODULES=list >"$1/etc/initramfs-tools/conf.d/modules"',
        f'--setup-hook=printf "%s\\n" {" ".join(MODULES)} >"$1/etc/initramfs-tools/modules"',
        f'--customize-hook=chroot "$1" systemctl --quiet disable {" ".join([*recipe.services, *NOT_WANTED])}',
        recipe.suite,
        str(tree),
    ]


def configure(recipe: Recipe, tree: Path, host_key: Path, root_key: Path) -> None:
    """Write a host's configuration, with its name and its keys, into its tree."""
    for path in (tree / "etc/ssh").glob("ssh_host_*"):
        path.unlink()
    own = {
        "etc/hostname": f"{recipe.name}\n",
        "etc/hosts": f"127.0.0.1 localhost\n127.0.1.1 {recipe.name}\n::1 localhost\n",
        # A machine is told another one (systemd.machine_id=). With none at all, its first boot would ask for settings.
        "etc/machine-id": f"{hashlib.sha256(recipe.name.encode()).hexdigest()[:32]}\n",
        "etc/ssh/ssh_host_ed25519_key": host_key.read_text(),
        "etc/ssh/ssh_host_ed25519_key.pub": public(host_key),
        "root/.ssh/authorized_keys": public(root_key),
    }
    for name, text in {**FILES, **own}.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_text(text)
    for name in ("root/.ssh", "root/.ssh/authorized_keys", "etc/ssh/ssh_host_ed25519_key"):
        (tree / name).chmod(0o700 if (tree / name).is_dir() else 0o600)
    for path in (tree / "etc/apparmor.d").iterdir():
        if path.name not in PROFILES:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    run(recipe, "systemctl", f"--root={tree}", "--quiet", "enable", *ENABLED)
    run(recipe, "systemctl", f"--root={tree}", "--quiet", "mask", *MASKED)


def copy_boot_files(boot: Path, image: Image) -> None:
    """Copy the one kernel that was installed, and its initial file system.

    Raises:
        ImageError: there is none, or more than one.
    """
    for pattern, target in (("vmlinuz-*", image.kernel), ("initrd.img-*", image.initrd)):
        found = sorted(boot.glob(pattern))
        if len(found) != 1:
            names = ", ".join(path.name for path in found) or "none"
            raise ImageError(f"{image.recipe.name}: one {pattern} is expected in /boot, found: {names}")
        shutil.copyfile(found[0], target)


def public(key: Path) -> str:
    """Return the line of a key's public half."""
    return key.with_name(f"{key.name}.pub").read_text()


def run(recipe: Recipe, *command: str) -> None:
    """Run a command for an image.

    Raises:
        ImageError: it is not installed, or has failed.
    """
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"},
            check=False,
            preexec_fn=partial(linux.end_with, os.getpid()),
        )
    except FileNotFoundError as error:
        raise ImageError(f"{recipe.name}: {command[0]} is not installed here; run `make host-packages`") from error
    if done.returncode != 0:
        end = "\n".join(done.stdout.splitlines()[-40:])
        raise ImageError(f"{recipe.name}: failed with {done.returncode}: {' '.join(command)}\n{end}")
