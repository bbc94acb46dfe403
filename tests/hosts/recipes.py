# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The hosts that the tests know: which distribution, which kernel, which software."""

from __future__ import annotations

import dataclasses

PACKAGES = (
    # A machine that boots from its disk and is reached over SSH.
    "apparmor",
    "dbus",
    "e2fsprogs",
    "initramfs-tools",
    "iproute2",
    "openssh-server",
    "systemd",
    "systemd-sysv",
    "udev",
    "zstd",
    # What Ansible and the collection need of a host.
    "libseccomp2",
    "python3",
    "python3-apt",
    "sudo",
    # What containers run, and what asks them.
    "curl",
    "nftables",
    "nginx",
    "redis-server",
)
"""What is installed on every host. None of it can be installed later, for a machine reaches no network."""

SERVICES = ("nginx", "redis-server")
"""Those of the packages' services that the host itself does not start: they are for containers."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a host is made. Its image is made anew when anything in it changes.

    Attributes:
        name: what `--hosts` and the tests call it.
        distribution: its name for people.
        suite: what the archive calls the release.
        kernel: package of the kernel.
        linux: version of that kernel, without its patch level.
        systemd: version of its systemd.
        python: version of its Python.
        packages: that are installed, beside those that the distribution calls essential.
        services: of these that the host does not start.
        no_kernel_from: suites whose kernel is not used.
        lacks: what its kernel lacks, if it cannot run containers.
    """

    name: str
    distribution: str
    suite: str
    linux: str
    systemd: str
    python: str
    kernel: str = "linux-image-cloud-amd64"
    packages: tuple[str, ...] = PACKAGES
    services: tuple[str, ...] = SERVICES
    no_kernel_from: tuple[str, ...] = ()
    lacks: str = ""

    @property
    def runs_containers(self) -> bool:
        """Return whether it can run containers."""
        return not self.lacks


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            *("debian11", "Debian 11", "bullseye", "5.10", "247", "3.9"),
            no_kernel_from=("bullseye-security",),
            lacks="mount_setattr(2), which came with Linux 5.12",
        ),
        Recipe("debian12", "Debian 12", "bookworm", "6.1", "252", "3.11"),
        # On this one alone systemd-machined can run, and xfs can be made.
        Recipe(
            *("debian13", "Debian 13", "trixie", "6.12", "257", "3.13"),
            packages=(*PACKAGES, "systemd-container", "xfsprogs"),
        ),
    )
}
"""Every recipe, by its name, the oldest first."""


def chosen(option: str) -> list[Recipe]:
    """Return the recipes that an option names, in their own order.

    Args:
        option: names with commas between them; empty for all.

    Raises:
        ValueError: it names a host that has no recipe.
    """
    names = [name.strip() for name in option.split(",") if name.strip()]
    unknown = sorted(set(names) - RECIPES.keys())
    if unknown:
        raise ValueError(f"--hosts: no recipe has the name {', '.join(unknown)}; there are {', '.join(RECIPES)}")
    return [recipe for name, recipe in RECIPES.items() if not names or name in names]
