# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The time limits among modules' options: declared as such, and checked before anything is touched."""

from __future__ import annotations

from typing import Any, Dict, Mapping

from ..launcher import times


class TimeLimit(Dict[str, Any]):
    """A module's option that is a number of seconds, in an argument specification.

    Its type is `raw`: Ansible's `float` would take a boolean, "nan" and "inf".

    :param default: seconds; without it the option may be left out, and there is no limit then.
    :param least: the smallest that is of use.
    """

    def __init__(self, default: float | None = None, least: float = times.LEAST) -> None:
        super().__init__(type="raw")
        if default is not None:
            self["default"] = default
        self.least = least


def check_time_limits(parameters: dict[str, Any], spec: Mapping[str, Mapping[str, Any]], place: str = "") -> None:
    """Turn the time limits among validated parameters into floats.

    :param spec: the argument specification that validated the parameters.
    :param place: the place of the parameters, for the error; empty for a module's own options.
    :raises times.TimeLimitError: naming the option.
    """
    for name, option in spec.items():
        value = parameters.get(name)
        path = f"{place}.{name}" if place else name
        if value is None:
            continue
        if isinstance(option, TimeLimit):
            parameters[name] = times.seconds(value, path, option.least)
        elif "options" in option:
            if isinstance(value, dict):
                check_time_limits(value, option["options"], path)
            else:
                for index, entry in enumerate(value):
                    check_time_limits(entry, option["options"], f"{path}[{index}]")
