# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What root inside tries against the size of its volume, as programs that run inside: here, and in virtual machines."""

from __future__ import annotations

MOUNT = 165  # mount(2) on x86_64
DATA, BESIDE = "/srv/data", "/srv/beside"
"""Where two volumes are, which lie on one file system."""

FULL = ("28", "122")
"""ENOSPC, EDQUOT."""

FILL = f"""
written = 0
with open('{DATA}/full', 'ab', buffering=0) as file:
    try:
        while written < 300 << 20:
            written += file.write(bytes(1 << 18))
        print('never', written)
    except OSError as error:
        print(error.errno, written)
"""
"""Writes until the volume is full; prints the error's number, and how many bytes were written."""

EMPTY_FILES = f"""
import os
os.mkdir('{DATA}/many')
count = 0
try:
    while count < 500000:
        os.close(os.open('{DATA}/many/%d' % count, os.O_CREAT | os.O_WRONLY))
        count += 1
    print('never', count)
except OSError as error:
    print(error.errno, count)
"""
"""Makes files in which nothing is until no more can be made; prints the error's number, and how many there are."""

ATTEMPTS = f"""
import ctypes, errno, fcntl, json, os, struct
libc = ctypes.CDLL(None, use_errno=True)
words = {{}}

def attempt(name, act):
    try:
        act()
        words[name] = 'ok'
    except OSError as error:
        words[name] = errno.errorcode.get(error.errno, str(error.errno))

def call(number, *arguments):
    if libc.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), 'syscall')

def request(path, number, data):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, number, bytearray(data), True)
    finally:
        os.close(descriptor)

def attributes(path):
    data = bytearray(28)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, 0x801c581f, data, True)
    except OSError:
        return [0] * 5
    finally:
        os.close(descriptor)
    return list(struct.unpack('5I8x', data))

def leave(path, project=None, inherit=True):
    flags, size, extents, former, copied = attributes(path)
    flags = flags if inherit else flags & ~0x200
    data = struct.pack('5I8x', flags, size, extents, former if project is None else project, copied)
    request(path, 0x401c5820, data)

def without_flag():
    data = bytearray(8)
    descriptor = os.open('{DATA}', os.O_RDONLY)
    fcntl.ioctl(descriptor, 0x80086601, data, True)
    os.close(descriptor)
    request('{DATA}', 0x40086602, struct.pack('Q', struct.unpack('Q', data)[0] & ~0x20000000))

os.chdir('{DATA}')
open('own', 'w').write('own')
os.makedirs('dir', exist_ok=True)
open('{BESIDE}/theirs', 'w').write('theirs')
project = attributes('{DATA}')[3]
if project:
    for path in ('own', 'dir', '{DATA}'):
        attempt('no project for ' + path, lambda: leave(path, 0))
        attempt('another project for ' + path, lambda: leave(path, project + 1))
    attempt('the neighbour\\'s project', lambda: leave('own', attributes('{BESIDE}')[3]))
    for path in ('dir', '{DATA}'):
        attempt('hand no project down from ' + path, lambda: leave(path, inherit=False))
    attempt('hand no project down, by flags', without_flag)
attempt('rename to the neighbour', lambda: os.rename('own', '{BESIDE}/own'))
attempt('link to the neighbour', lambda: os.link('own', '{BESIDE}/own'))
attempt('link from the neighbour', lambda: os.link('{BESIDE}/theirs', 'theirs'))

block = struct.pack('8QI4x', 1 << 40, 1 << 40, 0, 1 << 30, 1 << 30, 0, 0, 0, 63)
for number, name in ((project, 'own'), (0, 'no')):
    command = ctypes.c_uint(0x800008 << 8 | 2)
    data = ctypes.create_string_buffer(block)
    here = os.open('.', os.O_RDONLY)
    attempt('limit of the ' + name + ' project by descriptor', lambda: call(443, here, command, number, data))
    for device in {{line.split(' - ')[1].split()[1] for line in open('/proc/self/mountinfo')}}:
        attempt('limit of the ' + name + ' project of ' + device,
                lambda: call(179, command, device.encode(), number, data))
    os.close(here)

name = b'sub'.ljust(4088, bytes(1))
here = os.open('.', os.O_RDONLY)
old, new = struct.pack('q', here) + name, struct.pack('qQQ', here, 0, 0) + bytes(32) + b'sub'.ljust(4040, bytes(1))
attempt('subvolume', lambda: request('.', 0x5000940e, struct.pack('q', 0) + name))
attempt('subvolume 2', lambda: request('.', 0x50009418, new))
attempt('snapshot', lambda: request('.', 0x50009401, old))
attempt('snapshot 2', lambda: request('.', 0x50009417, new))
attempt('read-only subvolume', lambda: request('.', 0x4008941a, struct.pack('Q', 2)))
attempt('limit of the group', lambda: request('.', 0x8030942b, struct.pack('6Q', 0, 1, 2**64 - 1, 0, 0, 0)))
attempt('no quotas', lambda: request('.', 0xc0109428, struct.pack('QQ', 2, 0)))
attempt('a group above', lambda: request('.', 0x40189429, struct.pack('3Q', 1, 256, 1 << 48)))
attempt('a new group', lambda: request('.', 0x4010942a, struct.pack('QQ', 1, 1 << 48)))
remount = ctypes.c_ulong(32)
attempt('remount', lambda: call({MOUNT}, b'none', b'{DATA}', b'', remount, b'noquota'))
print(json.dumps(words))
"""
"""Tries to leave the limit, or to lift it; prints a word for each attempt: `ok`, or the error's name."""
