# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The messages while a container is entered: those of `enter-container`, and those of a become inside."""

from __future__ import annotations

import gettext
import re
import time
import typing as t

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.module_utils.common.text.converters import to_bytes, to_text
from ansible.plugins.become import BecomeBase

from ..module_utils.launcher.printable import printable

SILENT_BECOME = "waiting for privilege escalation prompt"
"""The words, also of SSH's plugin, about a become that neither asks for a password nor succeeds nor fails."""

SAID_LIMIT = 1 << 16  # bytes that may be said before the become has succeeded

UNKNOWN_OPTION = re.compile(rb"^enter-container: (--no-start|--limit)\S*: is no option here", re.MULTILINE)
"""The message about an unknown option, in a container that a former version has started."""


class Report:
    """The report of `enter-container` on standard error, in lines that begin with a token nobody else knows.

    A newline goes before each line, so the line stands alone, even when the command's last line was not ended. The last
    report line counts. Readers that wait for a prompt may drop the beginning of standard error, but never the last
    line.

    Args:
        token: the token of one call.

    Attributes:
        entered: the command was begun.
        status: the command's exit status, when it has ended.
        error: why it was not run.
        ended: why it was ended.
    """

    def __init__(self, token: str) -> None:
        self._line = re.compile(rb"%s (?:entered|exit (\d+)|error ([^\r\n]*)|ended ([^\r\n]*))\r?\n" % token.encode())
        self.entered = False
        self.status: int | None = None
        self.error: str | None = None
        self.ended: str | None = None

    def take(self, stream: bytes) -> bytes:
        """Read the report out of a stream. Return the rest of the stream."""
        kept = []
        position = 0
        for line in self._line.finditer(stream):
            self._note(line)
            begin = line.start()
            if begin > position and stream[begin - 1] == ord("\n"):
                begin -= 1
            kept.append(stream[position:begin])
            position = line.end()
        return b"".join([*kept, stream[position:]])

    def unknown_option(self, errors: bytes) -> str | None:
        """Return the option that the host's older `enter-container` refuses, or None. It ran nothing then."""
        self.take(errors)
        found = None if self.entered else UNKNOWN_OPTION.search(errors)
        return found and to_text(found.group(1))

    def _note(self, line: re.Match[bytes]) -> None:
        status, error, ended = line.groups()
        if error is not None:
            self.error = printable(to_text(error))
            return
        self.entered = True
        if ended is not None:
            self.ended = printable(to_text(ended))
        if status is not None:
            self.status = int(status)


class Become:
    """A become plugin as seen by the code that waits for its prompt and its success, on the way to the container.

    That code also reads what the host prints before the container is entered, and what the command prints after the
    become has succeeded. Neither is an answer of the become, with one exception: an unfinished line from the host may
    be a prompt that has overtaken the report on the other stream.

    What says that inside is root inside's. So it is bounded in size and in time, and each line costs little to check.

    Args:
        plugin: the become plugin of the task.
        report: gets the report lines of `enter-container` among the lines that are checked here.
        timeout: how many seconds it may take inside to ask for the password, and then to succeed, whatever it says.
    """

    def __init__(self, plugin: t.Any, report: Report, timeout: float) -> None:
        self._plugin = plugin
        self._report = report
        self._timeout = timeout
        self._succeeded = False
        self._said = 0
        self._since: float | None = None
        self._incorrect = _Messages(plugin, "check_incorrect_password", "fail")
        self._missing = _Messages(plugin, "check_missing_password", "missing")

    def __getattr__(self, name: str) -> t.Any:
        return getattr(self._plugin, name)

    @property
    def prompt(self) -> t.Any:
        """Return the plugin's password prompt; "" without a password, when a prompt is an error."""
        return self._plugin.prompt if self._plugin.expect_prompt() else ""

    def check_password_prompt(self, line: bytes) -> bool:
        """Return whether a line asks for the password."""
        heard = self._hears(line) or not (self._succeeded or line.endswith(b"\n"))
        asked = heard and bool(self._plugin.check_password_prompt(line))
        if asked:
            self._since = None
        return asked

    def check_success(self, line: bytes) -> bool:
        """Return whether a line says that the become has succeeded.

        :raises AnsibleError: too much was said before that.
        :raises AnsibleConnectionFailure: it takes too long.
        """
        heard = self._hears(line)
        success = bool(self._plugin.check_success(line))
        self._succeeded = self._succeeded or success
        if heard and not success:
            self._bound(line)
        return success

    def _bound(self, line: bytes) -> None:
        self._said += len(line)
        if self._said > SAID_LIMIT:
            message = f"more than {SAID_LIMIT} bytes were said before the {self._plugin.name} inside succeeded"
            raise AnsibleError(f"{message}, so it was ended")
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        if now - self._since > self._timeout:
            raise AnsibleConnectionFailure(f"Timeout ({self._timeout}s) {SILENT_BECOME}")

    def check_incorrect_password(self, line: bytes) -> bool:
        """Return whether a line says that the password is wrong."""
        return self._hears(line) and self._incorrect.are_in(line)

    def check_missing_password(self, line: bytes) -> bool:
        """Return whether a line says that a password is needed, or asks for one when none is given."""
        if not self._hears(line):
            return False
        missing = self._missing.are_in(line)
        return missing or bool(not self._plugin.expect_prompt() and self._plugin.check_password_prompt(line))

    def _hears(self, line: bytes) -> bool:
        """Return whether a line comes from the become."""
        self._report.take(line)
        return self._report.entered and not self._succeeded


class _Messages:
    """The messages by which a become plugin knows a failure, in the language of the controller.

    The plugin looks for a catalogue of translations at each line, this once for all.

    Args:
        plugin: the plugin.
        check: the name of its method that looks for the messages; one that is its own is called.
        attribute: where it has them.
    """

    def __init__(self, plugin: t.Any, check: str, attribute: str) -> None:
        self._check: t.Callable[[bytes], t.Any] | None = None
        self._messages: list[bytes] = []
        if getattr(type(plugin), check, None) is not getattr(BecomeBase, check):
            self._check = getattr(plugin, check)
        else:
            texts = [to_bytes(gettext.dgettext(plugin.name, text)) for text in getattr(plugin, attribute)]
            self._messages = [text for text in texts if text]

    def are_in(self, line: bytes) -> bool:
        """Return whether one of the messages is in a line."""
        if self._check is not None:
            return bool(self._check(line))
        return any(message in line for message in self._messages)
