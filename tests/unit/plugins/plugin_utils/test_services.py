# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Folding, and what each service type makes."""

from __future__ import annotations

import copy
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.plugin_utils.containerized import containerized_operating_system
from ansible_collections.unshare.container.plugins.plugin_utils.errors import DeclarationError
from ansible_collections.unshare.container.plugins.plugin_utils.registry import BUILT_IN
from ansible_collections.unshare.container.plugins.plugin_utils.system_files import system_files
from ansible_collections.unshare.container.tests.unit.plugins.plugin_utils.good_values import ADDITIONS

Service = dict[str, t.Any]


def render(*services: Service, **more: t.Any) -> dict[str, t.Any]:
    """Return the system of an operating system with these services."""
    derived = containerized_operating_system({"host_name": "a", "services": list(services), **more})
    return system_files(derived)


def unit(name: str, **value: t.Any) -> Service:
    return {"type": "unit", "value": {"name": name, "command": ["/bin/sleep", "1"], **value}}


def content(system: dict[str, t.Any], path: str) -> str:
    return t.cast(str, system["files"][path]["content"])


@pytest.mark.parametrize(
    ("services", "message"),
    [
        ([{"type": "ngnix"}], r"services\[0\].type: 'ngnix' is not a service type; did you mean 'nginx'"),
        ([unit("a", requirement=["b"])], r"services\[0\]: requires 'b', which no service provides"),
        ([unit("a", requirement=["b"]), unit("b", requirement=["a"])], r"circle: a.service → b.service → a.service"),
        ([unit("a", requirement=["a"])], r"circle: a.service → a.service"),
        ([unit("a", provision=["web"]), unit("b", provision=["web"])], r"'web' is provided by b.service and by a.serv"),
        ([unit("a"), unit("a")], r"services\[1\]: the unit 'a.service' is already defined by .*services\[0\]"),
        ([unit("basic.target/../x")], r"services\[0\].value.name"),
        ([{"type": "unit"}], r"services\[0\]: .*needs a value|services\[0\].value: type 'unit' needs a value"),
        ([{"type": "unit", "value": {"name": "a"}}], r"needs exactly one of `command`, `sections` and `text`"),
        ([unit("a", service={"ExecStop": "/bin/x\nUser=root"})], r"ExecStop: .* holds the control character"),
        ([{"type": "simple", "value": {"target": "ect", "value": {}}}], r"'ect' is not a service type; did you mean"),
        (
            [{"type": "simple", "value": {"target": "etc", "value": []}}],
            r"\.value\.value: must be a mapping, not a li",
        ),
        ([{"type": "simple", "value": {"target": "etc", "value": {"../x": "y"}}}], r"must not contain '..'"),
        ([{"type": "redis", "value": {"prot": 1}}], r"services\[0\].value: unknown key 'prot'; did you mean 'port'"),
        ([{"type": "openssh", "value": {"port": 0}}], r"services\[0\].value.port: 0 is not a port"),
        ([{"type": "openssh"}, {"type": "openssh"}], r"already defined|is already"),
        ([{"type": "cron", "value": {"jobs": [{"name": "a", "schedule": "x", "command": "y"}]}}], r"jobs\[0\].sched"),
    ],
)
def test_wrong_services(services: list[Service], message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        render(*services)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("nosuch.target", r"services\[0\]: a\.service is wanted by 'nosuch.target', which no service provides"),
        ("multiuser.target", r"wanted by 'multiuser.target', .*; did you mean 'multi-user.target'"),
        ("graphical.target", "wanted by 'graphical.target'"),
        ("c.service", "wanted by 'c.service'"),
        *[(name, None) for name in ("b.service", "alias.service", "t@x.service", "reboot.target", "suspend.target")],
    ],
)
def test_a_unit_that_nothing_would_start_is_refused(wanted: str, message: str | None) -> None:
    services = [unit("a", wanted_by=[wanted]), unit("b", provision=["alias"]), unit("t@", wanted_by=[])]
    if message is None:
        assert f"/etc/systemd/system/{wanted}.wants/a.service" in render(*services)["files"]
        return
    with pytest.raises(DeclarationError, match=message):
        render(*services)


def test_a_cycle_of_types() -> None:
    types = [{"name": "x", "extensions": {"y": []}}, {"name": "y", "extensions": {"x": []}}]
    with pytest.raises(DeclarationError, match="circle"):
        render({"type": "x"}, service_types=types)


def test_requirements_become_order() -> None:
    text = content(render(unit("a", requirement=["b", "syslogd"]), unit("b")), "/etc/systemd/system/a.service")
    assert "Requires=b.service systemd-journald.service\n" in text
    assert "After=b.service systemd-journald.service\n" in text


def test_a_requirement_of_a_dropped_service_is_met() -> None:
    system = render(unit("a", requirement=["udev", "networking", "ntpd"]), {"type": "udev"})
    assert "Requires" not in content(system, "/etc/systemd/system/a.service")


def test_provisions_become_aliases() -> None:
    system = render(unit("a", provision=["a", "b"]))
    assert system["files"]["/etc/systemd/system/b.service"] == {"link": "a.service"}


def test_words_of_a_command_are_never_split_or_expanded() -> None:
    system = render(unit("a", command=["/bin/echo", "a b", "$HOME", "100%", 'q"q', "é"]))
    assert 'ExecStart=/bin/echo "a b" $$HOME 100%% "q\\"q" "é"\n' in content(system, "/etc/systemd/system/a.service")


def test_timers_and_sockets() -> None:
    system = render(unit("a", timer={"OnCalendar": "daily"}), unit("b", socket={"ListenStream": 80}))
    files = system["files"]
    assert "/etc/systemd/system/timers.target.wants/a.timer" in files
    assert "/etc/systemd/system/sockets.target.wants/b.socket" in files
    assert "/etc/systemd/system/multi-user.target.wants/a.service" not in files


def test_a_declared_type() -> None:
    declared = {
        "name": "greeter",
        "default": {"port": 1, "word": "hello"},
        "extensions": {
            "systemd": [{"name": "greeter.service", "sections": {"Service": {"ExecStart": "/bin/echo ${word}"}}}],
            "etc": {"greeter-${word}.conf": {"content": "port ${port}\n"}},
            "account": {"users": [{"name": "greeter", "uid": "${port}", "system": True}]},
        },
        "packages": ["greeter"],
        "programs": ["/bin/echo"],
    }
    system = render({"type": "greeter", "value": {"port": 777}}, service_types=[declared])
    assert content(system, "/etc/greeter-hello.conf") == "port 777\n"
    assert "ExecStart=/bin/echo hello\n" in content(system, "/etc/systemd/system/greeter.service")
    assert "greeter:x:777:100:" in content(system, "/etc/passwd")
    assert system["programs"] == [{"service": "greeter", "program": "/bin/echo", "package": "greeter"}]
    with pytest.raises(DeclarationError, match=r"service_types\[0\].*'\$\{wrod\}' is not in the .*did you mean 'word'"):
        render({"type": "g"}, service_types=[{"name": "g", "default": {"word": 1}, "extensions": {"etc": {
            "x": "${wrod}"}}}])  # fmt: skip


def test_simple_adds_to_any_type() -> None:
    added = {"type": "simple", "value": {"target": "session-environment", "value": {"EDITOR": "vi"}}}
    assert 'EDITOR="vi"' in content(render(added), "/etc/environment")


def test_openssh() -> None:
    value = {"authorized_keys": {"root": ["ssh-ed25519 AAAA"]}, "host_keys": {"rsa": "-----BEGIN X PRIVATE KEY-----\n"}}
    system = render({"type": "openssh", "value": value})
    assert content(system, "/etc/ssh/authorized_keys.d/root") == "ssh-ed25519 AAAA\n"
    assert system["files"]["/etc/ssh/ssh_host_rsa_key"]["secret"] is True
    assert any("ssh-keygen" in text for text in system["activation"])
    assert {"service": "openssh", "program": "/usr/sbin/sshd", "package": "openssh-server"} in system["programs"]


@pytest.mark.parametrize("name", ["nginx", "postgresql", "redis", "cron", "syslog", "dbus", "login", "nscd", "openssh",
                                  "static-web-server"])  # fmt: skip
def test_real_types_render_with_their_defaults(name: str) -> None:
    value: t.Any = {"servers": [{}]} if name == "nginx" else None
    added = render({"type": name, "value": value})["files"].keys() - render()["files"].keys()
    assert name == "nscd" or any(path.startswith("/etc/systemd/system/") for path in added)


def test_nscd_is_skipped_where_it_is_missing() -> None:
    system = render()
    assert "ConditionFileIsExecutable=/usr/sbin/nscd" in content(system, "/etc/systemd/system/nscd.service")
    assert "max-db-size hosts 262144" in content(system, "/etc/nscd.conf")
    assert system["programs"] == []


@pytest.mark.parametrize(
    ("types", "form", "other"),
    [
        (["etc", "pam", "session-environment", "special-files", "system"], "a mapping", []),
        (["activation", "boot", "fstab", "hosts", "privileged-programs", "profile", "systemd"], "a list", {}),
    ],
)
def test_a_value_of_a_type_without_fields_has_the_form_of_its_default(
    types: list[str], form: str, other: t.Any
) -> None:
    for name in types:
        with pytest.raises(DeclarationError) as error:
            BUILT_IN[name].read(other, "x")
        assert str(error.value).startswith(f"x: must be {form}, not ")
        assert BUILT_IN[name].read(None, "x") == ({} if form == "a mapping" else [])


@pytest.mark.parametrize("target", sorted(ADDITIONS.keys() - {"system"}))
def test_the_value_of_an_essential_service_counts_as_what_is_added_to_it(target: str) -> None:
    if BUILT_IN[target].default is None:
        with pytest.raises(DeclarationError, match=f"type '{target}' takes no value$"):
            BUILT_IN[target].read(ADDITIONS[target], "x")
        return
    derived = containerized_operating_system({"host_name": "a"})
    own = copy.deepcopy(derived)
    derived["services"].append({"type": "simple", "value": {"target": target, "value": ADDITIONS[target]}})
    (service,) = [item for item in own["essential_services"] if item["type"] == target]
    service["value"] = (
        {**service.get("value", {}), **ADDITIONS[target]}
        if isinstance(ADDITIONS[target], dict)
        else [*service.get("value", []), *ADDITIONS[target]]
    )
    added, without = system_files(derived), render()
    assert system_files(own) == added != without
