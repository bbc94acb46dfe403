#!/usr/bin/python
# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt)

"""One step of the move of a container to another host, on one of the two hosts."""

from __future__ import annotations

DOCUMENTATION = r"""
module: container_move
short_description: One step of the move of a container to another host
version_added: 0.2.0
description:
  - Does what one of two hosts does for a container that moves between them. The playbook
    C(unshare.container.move_container) has the steps in their order; use it, or build another one of them.
  - Each step notes on its host where the move is, in a file of the container's directory. Nobody starts a container
    for which that says that it may run on the other host, neither a play nor the host's boot. So a move can be
    interrupted anywhere, and run again.
author:
  - The unshare.container authors (@unshare)
extends_documentation_fragment:
  - unshare.container.attributes
attributes:
  diff_mode:
    support: none
  idempotent:
    support: partial
    details: With O(state=held) the move gets another name each time, and with O(state=expected) what has come of the
      data is removed.
options:
  name:
    description: Name of the container.
    type: str
    required: true
  peer:
    description: The other host of the move, as the inventory calls it.
    type: str
    required: true
  state:
    description:
      - V(examined) changes nothing and returns what this host has of the container, RV(place). With O(other), on the
        host to which it comes, it also returns what is to be done first, RV(step), and refuses what cannot be done.
      - V(held), on the host that it leaves. It is stopped, and nobody starts it there. Containers that require it stop
        with it.
      - V(given), there. From then on the other host decides.
      - V(released), there. Nothing holds it any more, and it is started if it ran, and after it what stopped with it.
        Until all of that was started, it stays noted. So when the run is killed, or the container does not start, run
        it again. A unit that requires the container and does not start is a warning. One that was given is released
        only with the O(withdrawn) of the other host; RV(released) says whether it was.
      - V(expected), on the host to which it comes. Nobody starts it there before all has come. What an interrupted
        move has brought is removed.
      - V(admitted), there. It may be started; its first start ends the move on this host.
      - V(withdrawn), there. Nobody starts it any more, unless it was started before; RV(withdrawn) says which. A step
        of the same move that comes later is refused.
    type: str
    choices: [examined, held, given, released, expected, admitted, withdrawn]
    default: examined
  move:
    description: The name of the move, as O(state=held) has returned it. Needed for V(given), V(expected) and
      V(admitted) of O(state). With V(withdrawn) the default is that of the move that is noted.
    type: str
  volumes:
    description: The names of the volumes that must have come, for O(state=admitted). Without one of them the container
      must not be started, for what the other host has of it is removed afterwards.
    type: list
    elements: str
    default: []
  withdrawn:
    description: The name of the move that the other host has withdrawn, for O(state=released), and for O(state=held) of
      one that was given.
    type: str
  other:
    description: The RV(place) of the host that the container leaves, for O(state=examined).
    type: dict
  here:
    description: What the inventory calls this host. Needed with O(other).
    type: str
  keep:
    description: Whether the host that it leaves keeps what it has, with O(other).
    type: bool
    default: false
  timeout:
    description: Seconds for the stop and for the start of the container, each, and to wait for another run. The default
      is the container's own timeout.
    type: raw
seealso:
  - module: unshare.container.container_archive
  - module: unshare.container.containers
"""

EXAMPLES = r"""
- name: Stop the shop for its move, and have nobody start it here
  unshare.container.container_move:
    name: shop
    state: held
    peer: two.example.org
  register: held

- name: Take the hold away, and start it again
  unshare.container.container_move:
    name: shop
    state: released
    peer: two.example.org
"""

RETURN = r"""
name:
  description: Name of the container.
  returned: success
  type: str
  sample: shop
place:
  description: What this host has of the container, for O(other).
  returned: with O(state=examined)
  type: dict
  sample:
    place: 5f0c2d0e-9c3a-4c0d-8d0a-0b6f3d1f1c11 2049 131073
    path: /var/lib/unshare/containers/shop
    container: true
    runs: true
    volumes: [postgresql]
    filled: [postgresql]
    snapshots: []
    layer: false
    holds_not: []
    hold: {}
    size: 41943040
    free: 107374182400
step:
  description:
    - What is to be done first.
    - V(copy), the data are to be copied. V(admit), they are there, and the other host has given the container.
      V(deploy), it was started here, and only remains to be seen to be well.
  returned: with O(other)
  type: str
  sample: copy
move:
  description: The name of the move.
  returned: when there is one
  type: str
  sample: 9f86d081884c7d65
volumes:
  description: The names of the volumes that the container has on this host, now that nobody starts it.
  returned: with O(state=held)
  type: list
  elements: str
  sample: [postgresql]
stopped_with:
  description:
    - The units that require it, such as those of containers, and that were stopped with it, also by earlier runs that
      have not gone back to the end. V(released) starts them.
  returned: with O(state=held)
  type: list
  elements: str
  sample: [unshare-container@web.service]
withdrawn:
  description: Whether the container was never started here, and never will be.
  returned: with O(state=withdrawn)
  type: bool
  sample: true
released:
  description: Whether nothing holds the container on this host.
  returned: with O(state=released)
  type: bool
  sample: true
"""

import os
import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host.module_main import run_to_its_end, said_of
from ..module_utils.host.readable_results import ReadableResults
from ..module_utils.host.time_limits import TimeLimit, check_time_limits
from ..module_utils.launcher.kinds import ContractError
from ..module_utils.launcher.names import NO_NAME, is_name
from ..module_utils.life import main as _library_main  # noqa: F401  all of it is sent, to be compared
from ..module_utils.life.move_steps import Move, MovePlace
from ..module_utils.life.moving import Moving
from ..module_utils.state.target import Layout, TargetError

ROOT = Path("/")

ARGUMENT_SPEC: dict[str, t.Any] = {
    "name": {"type": "str", "required": True},
    "peer": {"type": "str", "required": True},
    "state": {
        "type": "str",
        "choices": ["examined", "held", "given", "released", "expected", "admitted", "withdrawn"],
        "default": "examined",
    },
    "move": {"type": "str"},
    "volumes": {"type": "list", "elements": "str", "default": []},
    "withdrawn": {"type": "str"},
    "other": {"type": "dict"},
    "here": {"type": "str"},
    "keep": {"type": "bool", "default": False},
    "timeout": TimeLimit(),
}
NEEDED = {"given": "move", "expected": "move", "admitted": "move"}
"""The option that a state needs."""


def run(module: AnsibleModule, layout: Layout) -> dict[str, t.Any]:
    """Return the module's result. Raise TargetError, LauncherError, OSError."""
    given = module.params
    check_time_limits(given, ARGUMENT_SPEC)
    if not is_name(given["name"]):
        raise TargetError("name: " + NO_NAME % (given["name"], "container"))
    state = given["state"]
    needed = NEEDED.get(state, "here" if given["other"] is not None else "name")
    if not given[needed]:
        raise TargetError(f"{needed}: is needed for state: {state}")
    moving = Moving(layout, given["name"], given["peer"], given["timeout"])
    result = {"name": given["name"], "changed": False, **STATES[state](moving, given, module.check_mode)}
    for warning in moving.warnings:
        module.warn(warning)
    return result


def _examined(moving: Moving, given: dict[str, t.Any], _check: bool) -> dict[str, t.Any]:
    place = moving.look()
    result: dict[str, t.Any] = {"place": {**place.write(), "hold": place.hold}}
    if given["other"] is not None:
        try:
            other = MovePlace.read(given["other"])
        except ContractError as error:
            raise TargetError(f"other: {error}") from error
        step = Move(given["name"], given["peer"], given["here"], given["keep"]).first_step(other, place)
        result["step"] = step
        move = other.hold.get("move")
        if move is not None:
            result["move"] = move
    return result


def _held(moving: Moving, given: dict[str, t.Any], check: bool) -> dict[str, t.Any]:
    changed, hold = moving.hold(os.urandom(8).hex(), given["withdrawn"], check)
    found = {"changed": changed, "move": hold.move, "volumes": moving.volumes()}
    return {**found, "stopped_with": hold.stopped_with}


def _given(moving: Moving, given: dict[str, t.Any], check: bool) -> dict[str, t.Any]:
    return {"changed": moving.give(given["move"], check), "move": given["move"]}


def _released(moving: Moving, given: dict[str, t.Any], check: bool) -> dict[str, t.Any]:
    changed, released = moving.release(given["withdrawn"], check)
    return {"changed": changed, "released": released}


def _expected(moving: Moving, given: dict[str, t.Any], check: bool) -> dict[str, t.Any]:
    return {"changed": moving.expect(given["move"], check), "move": given["move"]}


def _admitted(moving: Moving, given: dict[str, t.Any], check: bool) -> dict[str, t.Any]:
    return {"changed": moving.admit(given["move"], given["volumes"], check), "move": given["move"]}


def _withdrawn(moving: Moving, given: dict[str, t.Any], check: bool) -> dict[str, t.Any]:
    changed, withdrawn, move = moving.withdraw(given["move"], check)
    return {"changed": changed, "withdrawn": withdrawn, **({"move": move} if move else {})}


STATES: dict[str, t.Callable[[Moving, dict[str, t.Any], bool], dict[str, t.Any]]] = {
    "examined": _examined,
    "held": _held,
    "given": _given,
    "released": _released,
    "expected": _expected,
    "admitted": _admitted,
    "withdrawn": _withdrawn,
}
"""What each state does, and returns."""


class ContainerMoveModule(ReadableResults, AnsibleModule):
    """The module, whose result is valid text."""


def main() -> t.NoReturn:
    """Run as a module."""
    run_to_its_end(
        ContainerMoveModule,
        ARGUMENT_SPEC,
        lambda module: run(module, Layout(ROOT)),
        lambda given, error: said_of(f"container {given['name']!r}", error),
    )


if __name__ == "__main__":
    main()
