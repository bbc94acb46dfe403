# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A command of this machine, which may have to become another user before it reads its input.

The plugin ansible.builtin.local is not used for this: its versions differ in which part of the output they drop, in how
they treat a wrong or late password, and in whether standard input is a terminal.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import typing as t

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.module_utils.common.text.converters import to_bytes
from ansible_collections.unshare.container.plugins.plugin_utils.entering import SILENT_BECOME, Become

from ..module_utils.launcher.process import heed_children

CHUNK = 65536  # bytes read or written at once, and more than a prompt has
ANSWER_LIMIT = 64 << 20  # bytes of each stream of its output that are taken
REPORT_ROOM = 1 << 16  # bytes of what may be said on the way to it, beside that
GRACE = 2.0  # seconds that a process which is not wanted any more may take to end


class _Output:
    """One stream of a command's output: the part that was examined, and an unfinished line."""

    def __init__(self, descriptor: int, limit: int) -> None:
        self.limit = limit
        self.size = 0
        self.descriptor = descriptor
        self.over = False
        self.new = b""
        self.seen = bytearray()
        self.open_line = b""
        os.set_blocking(descriptor, False)

    def read(self) -> bool:
        """Read what is there; return True at the end. Raise AnsibleError when it exceeds the limit."""
        self.new = b""
        with contextlib.suppress(BlockingIOError):
            self.new = os.read(self.descriptor, CHUNK)
            self.over = not self.new
        self.size += len(self.new)
        if self.size > self.limit:
            raise AnsibleError(f"the command said more than {self.limit} bytes on one stream, so it was ended")
        return self.over


def _close(process: subprocess.Popen[bytes]) -> None:
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process, and wait for its end.

    A process of another user takes no signal from here. It notices only that its pipes close, and is given up after a
    while.
    """
    _close(process)
    for end in (process.terminate, process.kill):
        with contextlib.suppress(OSError):
            end()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
            return


class LocalCommand:
    """A command of this machine, with pipes.

    Args:
        words: the command.
        data: its input, sent when it has become another user.
        become: what that takes; none when the command reads its input from the beginning.
        timeout: how many seconds the become may be silent.
        limit: how many bytes each stream of its output may have.
    """

    def __init__(
        self, words: list[str], data: bytes | None, become: Become | None, timeout: int, limit: int = ANSWER_LIMIT
    ) -> None:
        self._words = words
        self._data = data or b""
        self._become = become
        self._timeout = timeout
        self._limit = limit + REPORT_ROOM
        self._pending = memoryview(b"" if become else self._data)
        self._password_sent = False

    def run(self) -> tuple[int, bytes, bytes]:
        """Run the command. Return its exit status, and its standard output and error without the become's messages.

        :raises AnsibleConnectionFailure: the become, or the way to it, is silent for too long.
        :raises AnsibleError: its password is wrong or missing, or its output is too long.
        """
        heed_children()
        try:
            process = subprocess.Popen(
                self._words, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        except OSError as error:
            return 127, b"", to_bytes(f"{self._words[0]}: {error.strerror}\n")
        try:
            output, errors = self._talk(process)
            return process.wait(), output, errors
        except BaseException:
            _end(process)
            raise
        finally:
            _close(process)

    def _talk(self, process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise AnsibleError("a process without pipes cannot be talked to")
        output, errors = (_Output(stream.fileno(), self._limit) for stream in (process.stdout, process.stderr))
        os.set_blocking(process.stdin.fileno(), False)
        with selectors.DefaultSelector() as selector:
            selector.register(output.descriptor, selectors.EVENT_READ)
            selector.register(errors.descriptor, selectors.EVENT_READ)
            while not (output.over and errors.over):
                self._watch_input(selector, process.stdin)
                ready = {key.fd for key, _events in selector.select(self._timeout if self._become else None)}
                if not ready:
                    raise AnsibleConnectionFailure(f"Timeout ({self._timeout}s) {SILENT_BECOME}")
                if not process.stdin.closed and process.stdin.fileno() in ready:
                    self._write(process.stdin.fileno())
                # The success is said on standard output: it is read last and looked at first, so that no error which
                # the command itself says thereafter is taken for the become's.
                for stream in (errors, output):
                    if not stream.over and stream.read():
                        selector.unregister(stream.descriptor)
                for stream in (output, errors):
                    self._take(stream)
        return bytes(output.seen) + output.open_line, bytes(errors.seen) + errors.open_line

    def _watch_input(self, selector: selectors.BaseSelector, stream: t.IO[bytes]) -> None:
        """Watch standard input while there is something to write; close it when nothing more will be written."""
        if stream.closed:
            return
        watched = stream.fileno() in selector.get_map()
        if self._pending and not watched:
            selector.register(stream.fileno(), selectors.EVENT_WRITE)
        elif not self._pending:
            if watched:
                selector.unregister(stream.fileno())
            if self._become is None:
                stream.close()

    def _write(self, descriptor: int) -> None:
        try:
            self._pending = self._pending[os.write(descriptor, self._pending[:CHUNK]) :]
        except BlockingIOError:
            pass
        except BrokenPipeError:  # what nobody reads is no error
            self._pending = memoryview(b"")
            self._data = b""

    def _take(self, output: _Output) -> None:
        text = output.open_line + output.new
        output.open_line = output.new = b""
        if self._become is None:
            output.seen += text
        else:
            self._examine(output, text, self._become)

    def _examine(self, output: _Output, text: bytes, become: Become) -> None:
        """Look for the become's messages in some output, and remove them.

        :raises AnsibleError: the password is wrong or missing.
        """
        lines = text.splitlines(True)
        for number, line in enumerate(lines):
            if become.expect_prompt() and become.check_password_prompt(line):
                self._send_password(become)
            elif become.check_success(line) and line.endswith(b"\n"):
                self._become = None
                self._pending = memoryview(bytes(self._pending) + self._data)
                output.seen += b"".join(lines[number + 1 :])
                return
            elif become.check_incorrect_password(line):
                raise AnsibleError(f"Incorrect {become.name} password")
            elif become.check_missing_password(line):
                raise AnsibleError(f"Missing {become.name} password")
            elif line.endswith((b"\n", b"\r")) or len(line) > CHUNK:
                output.seen += line
            else:
                output.open_line = line

    def _send_password(self, become: Become) -> None:
        if self._password_sent:
            raise AnsibleError(f"Incorrect {become.name} password")
        self._password_sent = True
        self._pending = memoryview(to_bytes(become.get_option("become_pass")) + b"\n")
