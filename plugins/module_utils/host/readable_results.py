# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A module all of whose result is valid UTF-8, and harmless to a terminal, whatever a container's words in it are.

Names of files, types of file systems and the like are bytes. Python keeps those that are no UTF-8 as lone surrogates,
which no text may hold: Ansible refuses a result in which it finds one, all of it. Control characters are shown as
escapes (`launcher/printable`), but in what a command has written, and in differences of files.
"""

from __future__ import annotations

import re
from typing import Any, Callable, Mapping, NoReturn

from ..launcher.printable import one_line, printable

_SURROGATES = re.compile("[\ud800-\udfff]")
REPLACEMENT = "\ufffd"
DATA = ("stdout", "stdout_lines", "stderr", "stderr_lines", "diff", "invocation")
"""Keys of results below which text is what somebody has asked for, and is not changed."""


def readable(value: Any) -> Any:
    """Return a value of those that JSON has with all text in it, keys as well, made valid: other bytes replaced."""
    if isinstance(value, str):
        return _SURROGATES.sub(REPLACEMENT, value) if _SURROGATES.search(value) else value
    if isinstance(value, Mapping):
        return {readable(key): readable(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [readable(each) for each in value]
    return value


def harmless(value: Any) -> Any:
    """Return a value of those that JSON has with the control characters in its text, but for DATA, as escapes."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return {key: each if key in DATA else harmless(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [harmless(each) for each in value]
    return value


class ReadableResults:
    """Base of each class of modules, before AnsibleModule. It makes results, errors and warnings valid and harmless."""

    params: Any

    def exit_json(self, **result: Any) -> NoReturn:
        """End as AnsibleModule does, with a result that is valid text and harmless."""
        end: Callable[..., NoReturn] = super().exit_json  # type: ignore[misc]
        end(**self._readable(result))

    def fail_json(self, *message: Any, **result: Any) -> NoReturn:
        """End as AnsibleModule does, with an error that is valid text and harmless."""
        end: Callable[..., NoReturn] = super().fail_json  # type: ignore[misc]
        end(*harmless(readable(message)), **self._readable(result))

    def add_path_info(self, result: dict[str, Any]) -> dict[str, Any]:
        """Return a result as it is: AnsibleModule would have `path` decide `size`, `state`, `owner` and others."""
        return result

    def warn(self, warning: str, **more: Any) -> None:
        """Warn as AnsibleModule does, in one line of valid and harmless text."""
        super().warn(one_line(readable(warning)), **more)  # type: ignore[misc]

    def _readable(self, result: dict[str, Any]) -> dict[str, Any]:
        result.setdefault("invocation", {"module_args": self.params})  # as AnsibleModule does
        valid: dict[str, Any] = harmless(readable(result))
        return valid
