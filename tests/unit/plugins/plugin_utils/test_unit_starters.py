# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A unit whose starters are there, and that nothing in a container ever starts, is refused with the way out."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.unshare.container.plugins.plugin_utils.containerized import containerized_operating_system
from ansible_collections.unshare.container.plugins.plugin_utils.errors import DeclarationError
from ansible_collections.unshare.container.plugins.plugin_utils.system_files import system_files

RUN = "[Service]\nExecStart=/bin/a\n"
UNITS = "/etc/systemd/system/"


def unit(name: str = "a", **value: t.Any) -> dict[str, t.Any]:
    if not {"text", "sections"} & value.keys() and name != "only-units":
        value["command"] = "/bin/a"
    return {"type": "unit", "value": {"name": name, **value}}


def installed(line: str) -> dict[str, t.Any]:
    return unit(text=f"{RUN}[Install]\n{line}\n")


def etc(path: str, **entry: str) -> dict[str, t.Any]:
    added = {"target": "etc", "value": {f"systemd/system/{path}": entry}}
    return {"type": "simple", "value": added}


def rendered(*services: dict[str, t.Any], **arguments: t.Any) -> dict[str, t.Any]:
    declared = {"host_name": "web", "services": list(services)}
    return t.cast("dict[str, t.Any]", system_files(containerized_operating_system(declared), **arguments)["files"])


USUAL = "; what starts services in a container is multi-user.target"
NOTHING = "alone ({}), which nothing in a container starts"
NOBODY = "alone ({}), which no service provides"
REFUSED: dict[str, tuple[list[dict[str, t.Any]], str]] = {
    "a typo": (
        [installed("WantedBy=mutli-user.target")],
        f"'mutli-user.target' {NOBODY.format('[Install]')}; did you mean 'multi-user.target'?",
    ),
    "another, in sections": (
        [unit(sections={"Service": {"ExecStart": "/bin/a"}, "Install": {"WantedBy": "multiuser.target"}})],
        f"'multiuser.target' {NOBODY.format('[Install]')}; did you mean 'multi-user.target'?",
    ),
    "a target of machines": (
        [installed("RequiredBy=bluetooth.target")],
        f"'bluetooth.target' {NOBODY.format('[Install]')}{USUAL}",
    ),
    "upheld": (
        [installed("UpheldBy=network-online.target")],
        f"'network-online.target' {NOTHING.format('[Install]')}{USUAL}",
    ),
    "network-online": (
        [installed("WantedBy=network-online.target")],
        f"'network-online.target' {NOTHING.format('[Install]')}{USUAL}",
    ),
    "an instance": (
        [unit("a@", text=f"{RUN}[Install]\nDefaultInstance=x\nWantedBy=getty.target\n")],
        f"'getty.target' {NOTHING.format('[Install]')}",
    ),
    "two": (
        [installed("WantedBy=getty.target nss-lookup.target")],
        f"'getty.target' and 'nss-lookup.target' {NOTHING.format('[Install]')}",
    ),
    **{
        name: ([unit(wanted_by=[name])], f"'{name}' {NOTHING.format('wanted_by')}")
        for name in ("remote-fs.target", "getty.target", "network.target", "nss-lookup.target", "time-sync.target")
    },
    "a target beside it": (
        [unit(wanted_by=["x.target"], units={"x.target": {"Unit": {}}})],
        f"'x.target' {NOTHING.format('wanted_by')}{USUAL}",
    ),
    "by what is left out itself": (
        [unit(wanted_by=["b.service"]), unit("b", wanted_by=["getty.target"])],
        f"'b.service' {NOTHING.format('wanted_by')}{USUAL}",
    ),
}


@pytest.mark.parametrize(("services", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_a_unit_that_nothing_starts_is_refused(services: list[dict[str, t.Any]], said: str) -> None:
    """case 0.1: it was deployed, was never started, and all was green."""
    with pytest.raises(DeclarationError) as raised:
        rendered(*services)
    name = "a@.service" if services[0]["value"]["name"] == "a@" else "a.service"
    assert str(raised.value).startswith(f"operating_system.services[0]: {name} is started by {said}")
    assert rendered(*services, init={"argv": ["/bin/a"]}), "another init has other ways to start them"


NONE: list[str] = []
ACCEPTED: dict[str, list[dict[str, t.Any]]] = {
    "by hand": [unit(wanted_by=NONE)],
    "by hand, said in the unit": [installed("WantedBy=")],
    "on an occasion": [unit(wanted_by=["reboot.target"]), unit("b", wanted_by=["sleep.target"])],
    "one of two": [installed("WantedBy=bluetooth.target multi-user.target")],
    "required": [unit("b", requirement=["a"]), installed("WantedBy=getty.target")],
    "an instance that is required": [unit("b", requirement=["a@x"]), unit("a@")],
    "wanted by a text": [
        unit("b", text=f"[Unit]\nWants=a.service\n{RUN}"),
        installed("WantedBy=network-online.target"),
    ],
    "the target is wanted": [
        unit("b", unit={"Wants": "network-online.target"}),
        unit(wanted_by=["network-online.target"]),
    ],
    "by a timer": [unit(text=f"{RUN}[Install]\nWantedBy=getty.target\n", timer={"OnCalendar": "daily"})],
    "by a socket": [unit(socket={"ListenStream": "/run/a"})],
    "by a message": [unit("only-units", units={"x.service": RUN, "dbus-org.x.service": RUN})],
    "by a service that is started by hand": [unit(wanted_by=["b.service"]), unit("b", wanted_by=NONE)],
    "by a target that is started by hand": [
        unit(wanted_by=["x.target"], units={"x.target": {"Unit": {}, "Install": {"WantedBy": ""}}})
    ],
    "by a target that is started": [
        unit(wanted_by=["x.target"], units={"x.target": {"Install": {"WantedBy": "multi-user.target"}}})
    ],
    "the target has a link of its own": [
        unit(wanted_by=["getty.target"]),
        etc("multi-user.target.wants/getty.target", link="../getty.target"),
    ],
    "the target has a drop-in's": [
        unit(wanted_by=["getty.target"]),
        etc("multi-user.target.d/more.conf", content="[Unit]\nWants=getty.target\n"),
    ],
}


@pytest.mark.parametrize("services", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_a_unit_that_something_may_start_is_accepted(services: list[dict[str, t.Any]]) -> None:
    assert any(path.startswith(f"{UNITS}a") or "dbus-org" in path for path in rendered(*services))


def test_a_unit_is_upheld_by_what_each_systemd_reads() -> None:
    """case 0.1: the links of a directory `.upholds` are read since version 254."""
    files = rendered(installed("UpheldBy=multi-user.target"))
    assert files[f"{UNITS}multi-user.target.d/upholds-a.service.conf"]["content"] == "[Unit]\nUpholds=a.service\n"
    assert not [path for path in files if ".upholds/" in path]


@pytest.mark.parametrize("wanted", ["cryptsetup.target", "graphical.target", "sockts.target"])
def test_the_advice_names_what_starts_something(wanted: str) -> None:
    """case 0.1: it named targets that no container reaches."""
    with pytest.raises(DeclarationError) as raised:
        rendered(unit(wanted_by=[wanted]))
    near = "; did you mean 'sockets.target'?" if wanted == "sockts.target" else USUAL
    assert str(raised.value).endswith(f"is wanted by '{wanted}', which no service provides{near}")
