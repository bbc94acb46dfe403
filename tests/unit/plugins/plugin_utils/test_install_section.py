# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What starts a unit: as a user of systemd expects it from the unit's kind, its [Install], and its being a template."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.unshare.container.plugins.plugin_utils.containerized import (
    containerization_report,
    containerized_operating_system,
)
from ansible_collections.unshare.container.plugins.plugin_utils.errors import DeclarationError
from ansible_collections.unshare.container.plugins.plugin_utils.system_files import system_files

DIRECTORY = "/etc/systemd/system/"
RUN = "[Service]\nExecStart=/bin/a\n"


def rendered(*services: dict[str, t.Any], **system: t.Any) -> dict[str, t.Any]:
    declared = {"host_name": "web", "services": list(services), **system}
    files = system_files(containerized_operating_system(declared))["files"]
    return {path.removeprefix(DIRECTORY): entry for path, entry in files.items() if path.startswith(DIRECTORY)}


BASE = rendered()


def added(*services: dict[str, t.Any], **system: t.Any) -> dict[str, t.Any]:
    """Return the files that the services add, a text as None and a link as what it leads to."""
    return {path: entry.get("link") for path, entry in rendered(*services, **system).items() if path not in BASE}


def unit(**value: t.Any) -> dict[str, t.Any]:
    return {"type": "unit", "value": value}


def refusal(*services: dict[str, t.Any], **system: t.Any) -> str:
    with pytest.raises(DeclarationError) as raised:
        rendered(*services, **system)
    return str(raised.value)


@pytest.mark.parametrize(
    ("suffix", "section", "target"),
    [
        pytest.param("path", "Path", "paths.target", id="cases_N6_path"),
        ("socket", "Socket", "sockets.target"),
        ("timer", "Timer", "timers.target"),
    ],
)
def test_a_unit_that_starts_another_is_started_itself(suffix: str, section: str, target: str) -> None:
    name = f"a.{suffix}"
    link = {name: None, f"{target}.wants/{name}": f"../{name}"}
    form = {section: {"X": "y"}}
    beside = unit(name="a", command=["/bin/a"], units={name: form})
    assert added(beside).items() >= link.items()
    assert added(unit(name="a", units={name: form})) == link
    assert added(unit(name="a", units={name: f"[{section}]\nX=y\n"})) == link
    own = {"name": "own", "extensions": {"systemd": [{"name": name, "sections": form}]}}
    assert added({"type": "own"}, service_types=[own]) == {**link, "own." + suffix: name}


@pytest.mark.parametrize(
    ("install", "links"),
    [
        ("WantedBy=timers.target", {"timers.target.wants/a.service": "../a.service"}),
        ("RequiredBy=sysinit.target", {"sysinit.target.requires/a.service": "../a.service"}),
        ("UpheldBy=basic.target", {"basic.target.d/upholds-a.service.conf": None}),
        ("WantedBy=graphical.target", {"multi-user.target.wants/a.service": "../a.service"}),
        ("WantedBy=default.target", {"multi-user.target.wants/a.service": "../a.service"}),
        (
            "WantedBy = timers.target \\\n# between\n  paths.target\nWantedBy=sockets.target",
            {f"{name}.target.wants/a.service": "../a.service" for name in ("timers", "paths", "sockets")},
        ),
        ("WantedBy=timers.target\nWantedBy=\n", {}),
        (
            "Alias=b.service c.service",
            {
                "multi-user.target.wants/a.service": "../a.service",
                "b.service": "a.service",
                "c.service": "a.service",
            },
        ),
        ("; WantedBy=timers.target", {"multi-user.target.wants/a.service": "../a.service"}),
        ("[X]\nWantedBy=timers.target", {"multi-user.target.wants/a.service": "../a.service"}),
    ],
)
def test_the_install_section_is_followed(install: str, links: dict[str, str]) -> None:
    """cases N6: it was ignored."""
    text = f"{RUN}[Install]\n{install}\n"
    assert added(unit(name="a", text=text)) == {"a.service": None, **links}
    assert added(unit(name="x", units={"a.service": text})) == {"a.service": None, **links}


def test_the_install_section_of_sections() -> None:
    sections = {"Service": {"ExecStart": "/bin/a"}, "Install": {"WantedBy": ["timers.target", "paths.target"]}}
    links = {f"{name}.target.wants/a.service": "../a.service" for name in ("timers", "paths")}
    assert added(unit(name="a", sections=sections)) == {"a.service": None, **links}
    timed = added(unit(name="a", sections=sections, timer={"OnCalendar": "hourly"}))
    assert timed.items() >= links.items()
    assert "multi-user.target.wants/a.service" not in timed


@pytest.mark.parametrize("alias", ["a.service", "a.service b.service"])
def test_an_alias_that_is_the_units_own_name(alias: str) -> None:
    """As `systemctl enable` takes it."""
    made = added(unit(name="a", text=f"{RUN}[Install]\nAlias={alias}\nWantedBy=timers.target\n"))
    assert made["a.service"] is None
    assert set(made) == {"timers.target.wants/a.service", *alias.split()}


def test_what_is_said_beside_the_unit_comes_first() -> None:
    text = f"{RUN}[Install]\nWantedBy=timers.target\n"
    link = {"paths.target.wants/a.service": "../a.service"}
    assert added(unit(name="a", text=text, wanted_by=["paths.target"])) == {"a.service": None, **link}
    assert added(unit(name="a", text=text, wanted_by=[])) == {"a.service": None}


@pytest.mark.parametrize(
    ("install", "said"),
    [
        ("WantedBy=%i.target", "WantedBy=%i.target: specifiers are not replaced here; write the name out"),
        ("Alias=b", "'b' is not a systemd unit's name with its suffix"),
        ("Alias=b.socket", "Alias=b.socket: is not of the kind of a.service"),
        ("Alias=b@.service", "Alias=b@.service: is not of the kind of a.service"),
        ("WantedBy=../x", "'../x' is not a systemd unit's name with its suffix"),
    ],
)
def test_an_install_section_that_cannot_be_followed(install: str, said: str) -> None:
    text = f"{RUN}[Install]\n{install}\n"
    assert refusal(unit(name="a", text=text)) == f"operating_system.services[0].value.text: {said}"
    place = "operating_system.services[0].value.units.a.service"
    assert refusal(unit(name="x", units={"a.service": text})) == f"{place}: {said}"


def test_an_alias_is_no_other_unit() -> None:
    text = f"{RUN}[Install]\nAlias=b.service\n"
    both = (unit(name="b", command="/bin/b"), unit(name="a", text=text))
    assert "is already there, by another unit or its alias" in refusal(*both)
    base = unit(name="a", text=text.replace("b.service", "systemd-journald.service"))
    assert "is already there, by another unit or its alias" in refusal(base)


def test_a_template_is_not_started() -> None:
    """cases N6: `t@` was started as the instance multi-user.target."""
    assert added(unit(name="t@", command=["/bin/t"])) == {"t@.service": None}
    for install in ("WantedBy=", "Alias=u@.service", "WantedBy=timers.target\nWantedBy="):
        assert "t@.service" in added(unit(name="t@.service", text=f"{RUN}[Install]\n{install}\n"))
    assert refusal(unit(name="t@", command="/bin/t", wanted_by=["timers.target"])) == (
        "operating_system.services[0].value.wanted_by: 't@.service' is a template, of which only instances run: name "
        "one with DefaultInstance= in [Install], or require one, such as 't@NAME', in another service"
    )


@pytest.mark.parametrize("install", ["WantedBy=multi-user.target", "RequiredBy=a.target", "UpheldBy=basic.target"])
def test_a_template_whose_install_section_names_no_instance(install: str) -> None:
    """`systemctl enable` refuses it."""
    text = f"{RUN}[Install]\n{install}\n"
    said = "operating_system.services[0]: 't@.service' is a template with [Install], of which only instances run: "
    assert refusal(unit(name="t@", text=text)).startswith(said)
    key, value = install.split("=")
    sections = {"Service": {"ExecStart": "/bin/a"}, "Install": {key: value}}
    assert refusal(unit(name="t@", sections=sections)).startswith(said)


@pytest.mark.parametrize(
    "other",
    [
        unit(name="a", command="/bin/a", requirement=["t@one"]),
        unit(name="a", text=f"{RUN}ExecStartPost=systemctl start t@two\n"),
        unit(name="a", text="[Unit]\nWants=t@x.service\n" + RUN),
        {"type": "simple", "value": {"target": "activation", "value": ["echo t@one.service >/run/x"]}},
        {
            "type": "simple",
            "value": {
                "target": "etc",
                "value": {"systemd/system/multi-user.target.wants/t@1.service": {"link": "../t@.service"}},
            },
        },
        unit(name="t@two", text=RUN),
        {"type": "simple", "value": {"target": "etc", "value": {"udev.conf": {"content": "start t@one"}}}},
    ],
)
def test_a_template_with_an_instance_that_another_names(other: dict[str, t.Any]) -> None:
    template = unit(name="t@", text=f"{RUN}[Install]\nWantedBy=multi-user.target\n")
    assert "t@.service" in rendered(template, other)


def test_an_instance_of_a_template_is_started() -> None:
    text = f"{RUN}[Install]\nDefaultInstance=one\n"
    files = {"t@.service": None, "multi-user.target.wants/t@one.service": "../t@.service"}
    assert added(unit(name="t@", text=text)) == files
    files = {"t@.service": None, "timers.target.wants/t@one.service": "../t@.service"}
    assert added(unit(name="t@", text=text, wanted_by=["timers.target"])) == files
    assert added(unit(name="t@one", command="/bin/t")) == {
        "t@one.service": None,
        "multi-user.target.wants/t@one.service": "../t@one.service",
    }


def test_an_instance_can_be_required() -> None:
    template = unit(name="t@", command="/bin/t")
    files = rendered(template, unit(name="a", command="/bin/a", requirement=["t@one", "t@two.service"]))
    for key in ("Requires", "After"):
        assert f"{key}=t@one.service t@two.service\n" in files["a.service"]["content"]
    assert refusal(template, unit(name="a", command="/bin/a", requirement=["t@"])) == (
        "operating_system.services[1]: requires the template 't@': require 't@INSTANCE'"
    )
    assert "requires 'u@one', which no" in refusal(template, unit(name="a", command="/a", requirement=["u@one"]))


@pytest.mark.parametrize("name", ["sk", "sk@", "sk.service", "sk@.service"])
@pytest.mark.parametrize("accept", [True, "yes", "1", ["no", "true"]])
def test_a_socket_with_accept_starts_instances(name: str, accept: t.Any) -> None:
    """cases N6: systemd got no socket, or found no template."""
    files = rendered(
        unit(name=name, command=["/bin/cat"], socket={"ListenStream": "/run/sk", "Accept": accept}),
        unit(name="client", command="/bin/c", requirement=["sk"]),
    )
    own = {path for path in files.keys() - BASE.keys() if "client" not in path}
    assert own == {"sk@.service", "sk.socket", "sockets.target.wants/sk.socket"}
    assert "Restart=" not in files["sk@.service"]["content"]
    assert "Requires=sk.socket\n" in files["client.service"]["content"]


@pytest.mark.parametrize("accept", [{}, {"Accept": False}, {"Accept": "no"}, {"Accept": []}])
def test_a_socket_without_accept_starts_the_service(accept: dict[str, t.Any]) -> None:
    files = added(unit(name="sk", command=["/bin/cat"], socket={"ListenStream": "/run/sk", **accept}))
    assert files == {"sk.service": None, "sk.socket": None, "sockets.target.wants/sk.socket": "../sk.socket"}
    said = refusal(unit(name="sk@", command=["/bin/cat"], socket={"ListenStream": "/run/sk", **accept}))
    assert said == (
        "operating_system.services[0].value.socket: starts a unit, and 'sk@' is a template, of which only instances "
        "run, for each connection one with `Accept: true`"
    )


def test_a_timer_starts_no_template() -> None:
    said = refusal(unit(name="t@", command="/bin/t", timer={"OnCalendar": "hourly"}))
    assert said.startswith("operating_system.services[0].value.timer: starts a unit, and 't@' is a template")


def test_words_and_variables_hold_newlines_and_tabs() -> None:
    """cases N6: they were refused, though systemd can say them."""
    files = rendered(unit(name="a", command=["/bin/sh", "-c", "a\n\tb\r\x01 %"], environment={"A": "b\nc\td"}))
    assert 'ExecStart=/bin/sh -c "a\\n\\tb\\r\\x01 %%"\n' in files["a.service"]["content"]
    assert 'Environment="A=b\\nc\\td"\n' in files["a.service"]["content"]


@pytest.mark.parametrize("text", ["a\rb", "a\0b", "\x7f"])
def test_a_variable_holds_no_other_control_character(text: str) -> None:
    said = refusal(unit(name="a", command="/bin/a", environment={"A": text}))
    assert said.startswith("operating_system.services[0].value.environment.A: ")
    assert "holds the control character" in said


@pytest.mark.parametrize(
    ("declared", "made"),
    [
        pytest.param("run $${port}", "run ${port}", id="cases_0.9"),
        ("$${port}", "${port}"),
        ("$${UNKNOWN} ${port}", "${UNKNOWN} 80"),
        ("$$${port}", "$${port}"),
        ("$$ $PORT ${port}", "$$ $PORT 80"),
        ("$${a.b}", "${a.b}"),
    ],
)
def test_a_variable_of_systemd_within_a_declared_type(declared: str, made: str) -> None:
    sections = {"Service": {"ExecStart": f"/bin/a {declared}"}}
    own = {
        "name": "own",
        "default": {"port": 80},
        "extensions": {"systemd": [{"name": "a.service", "sections": sections}]},
    }
    files = rendered({"type": "own"}, service_types=[own])
    assert f"ExecStart=/bin/a {made}\n" in files["a.service"]["content"]


@pytest.mark.parametrize(
    ("directive", "value", "reported"),
    [
        ("ProtectProc", "invisible", True),
        ("ProtectProc", "default", False),
        ("IPAddressDeny", "any", True),
        ("SocketBindDeny", "tcp:80", True),
        ("RestrictNetworkInterfaces", "~lo", True),
        ("ProcSubset", "pid", True),
        ("ProcSubset", "all", False),
        ("Nice", -5, True),
        ("Nice", 5, False),
        ("OOMScoreAdjust", "-500", True),
        ("OOMScoreAdjust", 500, False),
        ("OOMScoreAdjust", "-0", False),
    ],
)
def test_directives_without_effect_are_reported(directive: str, value: t.Any, reported: bool) -> None:
    """cases B13: they were silently without effect."""
    text = f"{RUN}{directive} = {value}\n"
    for service in (
        unit(name="a", command="/bin/a", service={directive: value}),
        unit(name="a", text=text),
        {"type": "simple", "value": {"target": "systemd", "value": [{"name": "a.service", "text": text}]}},
    ):
        report = containerization_report({"host_name": "web", "services": [service]})["dropped"]
        found = [entry for entry in report if entry["kind"] == "directive"]
        assert [entry["name"] for entry in found] == ([f"a.service: {directive}={value}"] if reported else [])
        assert all(entry["reason"] for entry in found)


@pytest.mark.parametrize(
    ("lines", "reported"),
    [
        ("Nice=-5\nNice=0", []),
        ("Nice=0\nNice=-5", ["Nice=-5"]),
        ("IPAddressDeny=any\nIPAddressDeny=", []),
        ("IPAddressDeny=any\nIPAddressDeny=\nIPAddressDeny=10.0.0.0/8\nIPAddressDeny=::1", ["10.0.0.0/8", "::1"]),
        ("ExecStartPost=/bin/a \\\nNice=-5", []),
        ("Nice=\\\n# of the host\n-5", ["Nice=-5"]),
        ("[X-Mine]\nNice=-5", []),
    ],
)
def test_of_directives_without_effect_those_that_count_are_reported(lines: str, reported: list[str]) -> None:
    service = unit(name="a", text=RUN + lines + "\n")
    report = containerization_report({"host_name": "web", "services": [service]})["dropped"]
    named = [entry["name"] for entry in report if entry["kind"] == "directive"]
    assert named == [f"a.service: {'' if '=' in said else 'IPAddressDeny='}{said}" for said in reported]


def test_the_collection_uses_no_directive_without_effect() -> None:
    services = [
        {"type": kind} for kind in ("nscd", "cron", "dbus", "login", "postgresql", "redis", "syslog", "openssh")
    ]
    report = containerization_report({"host_name": "web", "services": services})["dropped"]
    assert [entry for entry in report if entry["kind"] == "directive"] == []


def test_a_report_of_services_that_are_refused() -> None:
    """The filter that makes the system says what is wrong."""
    wrong = unit(name="a", command="/bin/a", requirement=["b"], service={"Nice": -1})
    report = containerization_report({"host_name": "web", "services": [wrong]})["dropped"]
    assert [entry for entry in report if entry["kind"] == "directive"] == []
