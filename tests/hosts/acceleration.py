# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""How the processors of machines are had: from the processor of this machine (KVM), or by emulation."""

from __future__ import annotations

import dataclasses
import json
import os
import typing as t
from pathlib import Path

DEVICE = Path("/dev/kvm")
TRIAL_SECONDS = 60.0
"""How long a machine may take to boot with KVM. It takes 5 to 10 seconds, where KVM works."""


@dataclasses.dataclass(frozen=True)
class Accelerator:
    """A way to have processors.

    Attributes:
        name: what it is called.
        options: of QEMU.
        slowness: by which waits are longer.
        processors: the number that a machine has.
    """

    name: str
    options: tuple[str, ...]
    slowness: float
    processors: int


KVM = Accelerator("kvm", ("-accel", "kvm", "-cpu", "host"), 1.0, 2)
EMULATION = Accelerator("emulation", ("-accel", "tcg", "-cpu", "Nehalem"), 10.0, 1)
"""The emulated processor is an old one: on it, programs take no vector instructions that take long to emulate.

A machine has one. Of several, one may execute what another is replacing in the kernel's code; then the machine stands
still, or its kernel says `Oops: int3`.
"""


def accelerator(cache: Path, trial: t.Callable[[Accelerator], str]) -> Accelerator:
    """Return the fastest accelerator with which a machine boots here.

    A device that can be opened is no proof: where this machine is a virtual one itself, a guest may never come further
    than its first instructions. So one machine is booted with KVM, once; the result is kept.

    Args:
        cache: the directory that keeps the result.
        trial: boots a machine with an accelerator within `TRIAL_SECONDS`; returns why that fails, or nothing.
    """
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return EMULATION
    record = cache / "kvm.json"
    here = fingerprint()
    try:
        known = json.loads(record.read_text())
    except (FileNotFoundError, ValueError):
        known = {}
    if known.get("machine") != here or "fails" not in known:
        known = {"machine": here, "fails": trial(KVM)}
        unfinished = record.with_suffix(f".{os.getpid()}")
        unfinished.write_text(json.dumps(known))
        unfinished.rename(record)
    return EMULATION if known["fails"] else KVM


def fingerprint() -> list[str]:
    """Return what decides whether KVM works: the kernel, and the processor."""
    model = [
        line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "name" in line
    ]
    return [os.uname().release, os.uname().version, *sorted(set(model))]
