# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The variables of the playbook `rollout`, checked before anything is changed."""

from __future__ import annotations

import json
import math
import os
import re
import tempfile
import typing as t

from .errors import DeclarationError
from .unknown_names import refuse_alike
from .validation import plain, strict

PREFIX = "rollout_"
HOOKS = ("before", "after")
KNOWN = ("waves", "max_fail_percentage", "on_stop", *HOOKS, "page", "restart_outdated")
REGISTERED = ("opened", "staged", "switched")
"""The variables in which the playbook keeps what its steps return."""

ON_STOP = ("keep", "roll_back")
SWITCHES = ("containers_purge", PREFIX + "restart_outdated")
_SIZE = re.compile(r"0*(?P<number>[1-9][0-9]{0,8})(?P<percent>%?)")


def check_variables(variables: t.Any, names: t.Iterable[str] = ()) -> None:
    """Check the values of variables, by their whole names; one that is missing or null was not given.

    :param names: of all variables; one that looks like one of the rollout, misspelled, is refused.
    :raises DeclarationError: naming the variable and the value.
    """
    names = list(names)
    refuse_alike(names, {*KNOWN, *REGISTERED}, PREFIX, "the playbook rollout")
    refuse_alike(
        names,
        ("purge", "restart_outdated", "roll_back", "stage", "trees", "result"),
        "containers_",
        "the playbook rollout",
    )
    given = {key: plain(item, key) for key, item in dict(variables).items()}
    if PREFIX + "waves" in given:
        waves(given[PREFIX + "waves"])
    percentage(given.get(PREFIX + "max_fail_percentage", 0), PREFIX + "max_fail_percentage")
    place, on_stop = PREFIX + "on_stop", given.get(PREFIX + "on_stop", ON_STOP[0])
    if on_stop not in ON_STOP:
        raise DeclarationError(place, f"{_shown(on_stop)} is not possible here; use {' or '.join(ON_STOP)}")
    for hook in HOOKS:
        _hook(given.get(PREFIX + hook), PREFIX + hook)
    _page(given.get(PREFIX + "page"), PREFIX + "page")
    strict({name: given.get(name) for name in SWITCHES}, {name: {"type": "bool"} for name in SWITCHES}, "")


def waves(value: t.Any) -> None:
    """Check sizes of waves, which are those of `serial` in a play, without those that stand for all hosts at once.

    :raises DeclarationError: naming the size.
    """
    place = PREFIX + "waves"
    if value is None or value == []:
        raise DeclarationError(place, f"{_shown(value)} names no wave; use a list such as [1, '10%', '100%']")
    for index, item in enumerate(value if isinstance(value, list) else [value]):
        where = f"{place}[{index}]" if isinstance(value, list) else place
        right = isinstance(item, (int, str)) and not isinstance(item, bool)
        match = _SIZE.fullmatch(str(item)) if right else None
        if match is None or (match["percent"] and int(match["number"]) > 100):
            listed = isinstance(item, str) and not isinstance(value, list) and ("," in item or "[" in item)
            way = """; a list on the command line is -e '{"rollout_waves": [1, "10%"]}'""" if listed else ""
            said = "is no size of a wave; use a number of hosts from 1 on, or a percentage from '1%' to '100%'"
            raise DeclarationError(where, f"{_shown(item)} {said}{way}")


def percentage(value: t.Any, place: str) -> float:
    """Return how many percent may fail. Raise DeclarationError at PLACE."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 <= number <= 100:
        raise DeclarationError(
            place, f"{_shown(value)} is no percentage from 0 to 100; write the number alone, such as 10"
        )
    return number


def _hook(value: t.Any, place: str) -> None:
    if value in (None, ""):
        return
    if not isinstance(value, str) or not os.path.isabs(value) or not os.path.isfile(value):
        raise DeclarationError(place, f"{_shown(value)} is no file on the controller by an absolute path")
    if not os.access(value, os.R_OK):
        raise DeclarationError(place, f"{_shown(value)} cannot be read here")


def _page(value: t.Any, place: str) -> None:
    """Check that a file can be written, as far as that is known before."""
    if value in (None, ""):
        return
    if not isinstance(value, str) or "\0" in value:
        raise DeclarationError(place, f"{_shown(value)} is no path of a file on the controller")
    path = os.path.abspath(os.path.expanduser(os.path.expandvars(value)))
    above = os.path.dirname(path)
    if os.path.isdir(path):
        raise DeclarationError(place, f"{_shown(value)} is a directory; name a file in it")
    if not os.path.isdir(above):
        raise DeclarationError(place, f"{_shown(value)} cannot be written: there is no directory {above}; make it")
    try:
        with tempfile.TemporaryFile(dir=above):  # of which nothing is left
            pass
    except OSError as error:
        said = f"cannot be written: {above} takes no new file: {error.strerror}"
        raise DeclarationError(place, f"{_shown(value)} {said}") from error


def _shown(value: t.Any) -> str:
    """Return a value as somebody writes it on the command line."""
    return f"'{value}'" if isinstance(value, str) else f"'{json.dumps(value)}'"
