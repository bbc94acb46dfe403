# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""An interpreter of classic BPF, as the kernel runs a system-call filter (linux/filter.h, linux/seccomp.h)."""

from __future__ import annotations

import struct
import typing as t

WORD = 0xFFFFFFFF
LOAD, AND, RETURN = 0x20, 0x54, 0x06  # BPF_LD|BPF_W|BPF_ABS, BPF_ALU|BPF_AND|BPF_K, BPF_RET|BPF_K
JUMP = 0x05  # BPF_JMP|BPF_JA
CONDITIONS: dict[int, t.Callable[[int, int], bool]] = {
    0x15: lambda value, constant: value == constant,
    0x25: lambda value, constant: value > constant,
    0x35: lambda value, constant: value >= constant,
    0x45: lambda value, constant: bool(value & constant),
}
"""BPF_JMP with JEQ, JGT, JGE and JSET, each with a constant."""


def load(program: bytes) -> list[tuple[int, int, int, int]]:
    """Return the instructions: code, jumps if true and if false, constant (`struct sock_filter`)."""
    return list(struct.iter_unpack("=HBBI", program))


def run(instructions: list[tuple[int, int, int, int]], architecture: int, number: int, *arguments: int) -> int:
    """Return what a filter answers to a system call.

    Raises:
        ValueError: it holds an instruction that no filter of ours needs.
    """
    padded = [argument & (1 << 64) - 1 for argument in (*arguments, *[0] * 6)][:6]
    data = struct.pack("=IIQ6Q", number & WORD, architecture, 0, *padded)
    value = place = 0
    while True:
        code, if_true, if_false, constant = instructions[place]
        place += 1
        if code == RETURN:
            return constant
        if code == LOAD:
            (value,) = struct.unpack_from("=I", data, constant)
        elif code == AND:
            value &= constant
        elif code == JUMP:
            place += constant
        elif code in CONDITIONS:
            place += if_true if CONDITIONS[code](value, constant) else if_false
        else:
            raise ValueError(f"instruction {place - 1} has the code {code:#x}")
