# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A module all of whose result is valid UTF-8, whatever names and words of a container come into it.

Names of files, types of file systems and the like are bytes. Python keeps those that are no UTF-8 as lone surrogates,
which no text may hold: Ansible refuses a result in which it finds one, all of it.
"""

from __future__ import annotations

import re
from typing import Any, Callable, Mapping, NoReturn

_SURROGATES = re.compile("[\ud800-\udfff]")
REPLACEMENT = "\ufffd"


def readable(value: Any) -> Any:
    """Return a value of those that JSON has with all text in it, keys as well, made valid: other bytes replaced."""
    if isinstance(value, str):
        return _SURROGATES.sub(REPLACEMENT, value) if _SURROGATES.search(value) else value
    if isinstance(value, Mapping):
        return {readable(key): readable(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [readable(each) for each in value]
    return value


class ReadableResults:
    """Base of each class of modules, before AnsibleModule. It makes the text of results, errors and warnings valid."""

    params: Any

    def exit_json(self, **result: Any) -> NoReturn:
        """End as AnsibleModule does, with a result that is valid text."""
        end: Callable[..., NoReturn] = super().exit_json  # type: ignore[misc]
        end(**self._readable(result))

    def fail_json(self, *message: Any, **result: Any) -> NoReturn:
        """End as AnsibleModule does, with an error that is valid text."""
        end: Callable[..., NoReturn] = super().fail_json  # type: ignore[misc]
        end(*readable(message), **self._readable(result))

    def warn(self, warning: str, **more: Any) -> None:
        """Warn as AnsibleModule does, in valid text."""
        super().warn(readable(warning), **more)  # type: ignore[misc]

    def _readable(self, result: dict[str, Any]) -> dict[str, Any]:
        result.setdefault("invocation", {"module_args": self.params})  # as AnsibleModule does
        valid: dict[str, Any] = readable(result)
        return valid
