# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the controller knows already: a server of nothing, ports, home directories that are the system's, twins."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.contract import Specification
from ansible_collections.unshare.container.plugins.plugin_utils.containerized import (
    containerization_report,
    containerized_operating_system,
)
from ansible_collections.unshare.container.plugins.plugin_utils.declared_containers import (
    DerivedSystems,
    declared_containers,
    refuse_shared,
)
from ansible_collections.unshare.container.plugins.plugin_utils.errors import DeclarationError
from ansible_collections.unshare.container.plugins.plugin_utils.system_files import system_files

System = dict[str, t.Any]


def render(*services: System, shared: bool = True, mappings: t.Any = (), **declared: t.Any) -> System:
    system = {"host_name": "web", "services": list(services), **declared}
    contained = containerized_operating_system(system, mappings=mappings, shared_network=shared)
    return system_files(contained, shared_network=shared)


def nginx(**value: t.Any) -> System:
    return {"type": "nginx", "value": value}


NOTHING_SERVED = {
    "cases_01": ({"type": "nginx"}, "servers: is empty"),
    "cases_U1": (nginx(servers=[]), "servers: is empty"),
    "only_directives": (nginx(http_directives=["gzip on", "map $a $b { x y; }"]), "servers: is empty"),
    "a_directive_of_like_name": (nginx(http_directives=["server_tokens off"]), "servers: is empty"),
    "a_server_without_ports": (nginx(servers=[{}, {"listen": []}]), r"servers\[1\].listen: is empty"),
    "redis": ({"type": "redis", "value": {"bind": []}}, "bind: is empty"),
    "redis_port": ({"type": "redis", "value": {"settings": {"port": 0}}}, "settings.port: lets redis listen nowhere"),
    "redis_bind": ({"type": "redis", "value": {"settings": {"bind": '""'}}}, "settings.bind: lets redis listen nowh"),
    "redis_socket": (
        {"type": "redis", "value": {"settings": {"port": "0", "unixsocket": ""}}},
        "settings.port: lets redis listen nowhere",
    ),
}


@pytest.mark.parametrize("case", NOTHING_SERVED)
def test_a_service_that_serves_nothing(case: str) -> None:
    service, said = NOTHING_SERVED[case]
    for shared in (True, False):
        with pytest.raises(DeclarationError, match=rf"^operating_system\.services\[0\]\.value\.{said}"):
            render(service, shared=shared)
    assert containerization_report({"host_name": "web", "services": [service]})["kept"]


@pytest.mark.parametrize(
    "service",
    [
        nginx(servers=[{}]),
        nginx(config="events {}\nhttp { server { listen 80; } }\n"),
        nginx(http_directives=["server { listen 8080; }"]),
        {"type": "redis", "value": {"bind": [], "settings": {"unixsocket": "/run/redis/redis.sock"}}},
    ],
)
def test_a_service_that_serves_something(service: System) -> None:
    assert render(service)


def unit(**value: t.Any) -> System:
    return {"type": "unit", "value": {"name": "a", "command": "/bin/true", **value}}


ON = "operating_system.services[0].value"
LISTENING: dict[str, tuple[System, list[tuple[str, str, int, str]]]] = {
    "nginx_by_default": (
        nginx(servers=[{}]),
        [(f"{ON}.servers[0].listen[0]", "", 80, "tcp"), (f"{ON}.servers[0].listen[1]", "::", 80, "tcp")],
    ),
    "nginx": (
        nginx(servers=[{"listen": ["127.0.0.1:8080 ssl", "443 quic", "10.0.0.1", "unix:/run/x", "*:81"]}]),
        [
            (f"{ON}.servers[0].listen[0]", "127.0.0.1", 8080, "tcp"),
            (f"{ON}.servers[0].listen[1]", "", 443, "udp"),
            (f"{ON}.servers[0].listen[2]", "10.0.0.1", 80, "tcp"),
            (f"{ON}.servers[0].listen[4]", "", 81, "tcp"),
        ],
    ),
    "nginx_as_text": (
        nginx(config="http {\n  server { listen 8080; listen [::1]:8081 ssl; }\n}\n# listening 1;\n"),
        [(f"{ON}.config", "", 8080, "tcp"), (f"{ON}.config", "::1", 8081, "tcp")],
    ),
    "nginx_directives": (
        nginx(servers=[{"listen": ["82"], "directives": ["listen 83"]}], http_directives=["server { listen 84; }"]),
        [
            (f"{ON}.servers[0].listen[0]", "", 82, "tcp"),
            (f"{ON}.http_directives[0]", "", 84, "tcp"),
            (f"{ON}.servers[0].directives[0]", "", 83, "tcp"),
        ],
    ),
    "openssh_by_default": ({"type": "openssh"}, [(f"{ON}.port", "", 22, "tcp")]),
    "openssh": (
        {"type": "openssh", "value": {"port": 23, "listen_addresses": ["::1", "10.0.0.1:24", "[::]:25", "h"]}},
        [
            (f"{ON}.port", "::1", 23, "tcp"),
            (f"{ON}.listen_addresses[1]", "10.0.0.1", 24, "tcp"),
            (f"{ON}.listen_addresses[2]", "::", 25, "tcp"),
            (f"{ON}.port", "h", 23, "tcp"),
        ],
    ),
    "openssh_as_text": (
        {"type": "openssh", "value": {"port": 2222, "extra_config": "LogLevel DEBUG\nPort 22\n"}},
        [(f"{ON}.port", "", 2222, "tcp"), (f"{ON}.extra_config", "", 22, "tcp")],
    ),
    "postgresql": ({"type": "postgresql"}, [(f"{ON}.port", "localhost", 5432, "tcp")]),
    "postgresql_everywhere": (
        {"type": "postgresql", "value": {"listen_addresses": ["*"]}},
        [(f"{ON}.port", "", 5432, "tcp")],
    ),
    "postgresql_nowhere": ({"type": "postgresql", "value": {"listen_addresses": []}}, []),
    "redis": ({"type": "redis"}, [(f"{ON}.port", "127.0.0.1", 6379, "tcp")]),
    "redis_settings": (
        {"type": "redis", "value": {"port": 7000, "settings": {"port": 80, "bind": "-::1 *", "tls-port": "443"}}},
        [
            (f"{ON}.settings.port", "::1", 80, "tcp"),
            (f"{ON}.settings.tls-port", "::1", 443, "tcp"),
            (f"{ON}.settings.port", "", 80, "tcp"),
            (f"{ON}.settings.tls-port", "", 443, "tcp"),
        ],
    ),
    "redis_without_a_port": (
        {"type": "redis", "value": {"settings": {"port": 0, "unixsocket": "/run/redis/redis.sock"}}},
        [],
    ),
    "postgresql_settings": (
        {"type": "postgresql", "value": {"settings": {"port": "80", "listen_addresses": "localhost, 0.0.0.0"}}},
        [(f"{ON}.settings.port", "localhost", 80, "tcp"), (f"{ON}.settings.port", "", 80, "tcp")],
    ),
    "postgresql_settings_without_addresses": (
        {"type": "postgresql", "value": {"settings": {"port": 80, "listen_addresses": ""}}},
        [],
    ),
    "openssh_addresses_as_text": (
        {"type": "openssh", "value": {"port": 2222, "extra_config": "ListenAddress 10.0.0.1:22 # x\n"}},
        [(f"{ON}.extra_config", "10.0.0.1", 22, "tcp")],
    ),
    "nginx_in_a_comment": (
        nginx(config="# server { listen 81; }\nhttp { server { listen 82; } }\n"),
        [(f"{ON}.config", "", 82, "tcp")],
    ),
    "static": ({"type": "static-web-server", "value": {"port": 80}}, [(f"{ON}.port", "", 80, "tcp")]),
    "a_socket": (
        unit(socket={"ListenStream": [80, "/run/x", "[::1]:81", "@name"], "ListenDatagram": "53"}),
        [
            (f"{ON} (a.socket: ListenStream)", "", 80, "tcp"),
            (f"{ON} (a.socket: ListenStream)", "::1", 81, "tcp"),
            (f"{ON} (a.socket: ListenDatagram)", "", 53, "udp"),
        ],
    ),
    "a_socket_as_text": (
        unit(units={"b.socket": "[Socket]\nListenStream=80\nListenFIFO=\nListenStream = \\\n127.0.0.1:79\n"}),
        [(f"{ON} (b.socket: ListenStream)", "127.0.0.1", 79, "tcp")],
    ),
    "a_socket_that_forgets": (
        unit(units={"b.socket": "[Socket]\nListenStream=80\nListenDatagram=\nService=a.service\n"}),
        [],
    ),
    "no_section_of_sockets": (unit(units={"b.socket": "[Service]\nListenStream=80\n"}), []),
    "added_to_systemd": (
        {
            "type": "simple",
            "value": {
                "target": "systemd",
                "value": [{"name": "c.socket", "sections": {"Socket": {"ListenStream": 7}}}],
            },
        },
        [(f"{ON}.value[0].value (c.socket: ListenStream)", "", 7, "tcp")],
    ),
}


@pytest.mark.parametrize("case", LISTENING)
def test_what_services_listen_on_is_known(case: str) -> None:
    service, expected = LISTENING[case]
    found = Specification.read({**render(service)["spec"]}).ports
    assert [(port.place, port.address, port.number, port.protocol) for port in found] == expected
    assert "ports" not in render(service, shared=False)["spec"]  # a network of its own is all the container's


@pytest.mark.parametrize("kind", ["redis", "postgresql"])
@pytest.mark.parametrize("port", [-1, 65536, "x", True, "80 # x", "", 1.5])
def test_settings_that_are_no_port(kind: str, port: t.Any) -> None:
    place = r"^operating_system\.services\[0\]\.value\.settings\.port: "
    with pytest.raises(DeclarationError, match=place):
        render({"type": kind, "value": {"settings": {"port": port}}})


def test_the_port_of_postgresql_is_not_0() -> None:
    with pytest.raises(DeclarationError, match=r"settings\.port: 0 is not a port"):
        render({"type": "postgresql", "value": {"settings": {"port": 0}}})


def test_two_services_on_one_port() -> None:
    web, other = nginx(servers=[{"listen": ["8080"]}]), {"type": "static-web-server", "value": {"name": "b"}}
    said = r"^operating_system\.services\[1\]\.value\.port: .*8080 .* operating_system\.services\[0\]\.value\.servers"
    for shared in (True, False):
        with pytest.raises(DeclarationError, match=said):
            render(web, other, shared=shared)
    assert render(web, {**other, "value": {"name": "b", "port": 8081}})
    assert render(nginx(servers=[{"listen": ["8080"]}, {"listen": ["8080"], "server_name": ["b"]}]))


@pytest.mark.parametrize(
    "home",
    ["/", "//", "/etc", "/etc/", "/usr", "/usr/local", "/var/lib", "/home", "/tmp", "/run", "/bin", "/proc/x", "/dev"],
)
def test_cases_n3_homes_that_are_the_systems(home: str) -> None:
    users = [{"name": "a"}, {"name": "u1", "home_directory": home}]
    with pytest.raises(DeclarationError, match=r"^operating_system\.users\[1\]\.home_directory: .*of the user's own"):
        render(users=users)
    users[1]["create_home_directory"] = False  # type: ignore[assignment]
    assert render(users=users)


@pytest.mark.parametrize("home", ["/usr/local/u1", "/usr/u1", "/usr/share/x/y"])
def test_cases_n3_homes_in_the_store(home: str) -> None:
    users = [{"name": "u1", "home_directory": home}]
    with pytest.raises(DeclarationError, match=r"^operating_system\.users\[0\]\.home_directory: .*lies in the store"):
        render(users=users)
    above = home.rpartition("/")[0]
    if above != "/usr":
        mapping = {"source": "/srv/local", "target": above, "writable": True}
        assert home in [item["path"] for item in render(users=users, mappings=[mapping])["directories"]]


@pytest.mark.parametrize("home", ["/home/u1", "/srv/u1", "/var/lib/u1", "/opt/u1", "/root/u1", "/run/u1"])
def test_other_homes(home: str) -> None:
    assert home in [item["path"] for item in render(users=[{"name": "u1", "home_directory": home}])["directories"]]
    assert render(users=[{"name": "root", "home_directory": "/root"}])


@pytest.mark.parametrize("home", ["/etc/hostname", "/etc/hostname/x", "/etc/passwd"])
def test_a_directory_where_a_file_is(home: str) -> None:
    with pytest.raises(DeclarationError, match=f"the directory '{home}' is asked for, but '/etc/[a-z]+' is a file"):
        render(users=[{"name": "u1", "home_directory": home}])


def entry(*services: System, **more: t.Any) -> System:
    mappings = [{"source": path, "target": "/data", "writable": True} for path in more.pop("writes", [])]
    return {
        "operating_system": {"host_name": "x", "services": list(services)},
        "mappings": mappings,
        "shared_network": True,
        **more,
    }


TWINS = {
    "cases_U9": (entry(writes=["/srv/data"]), entry(writes=["/srv/data/"]), "'/srv/data'.* is /srv/data, which"),
    "below": (entry(writes=["/srv"]), entry(writes=["/srv/data"]), "'/srv/data'.* lies in /srv, which"),
    "above": (entry(writes=["/srv/data"]), entry(writes=["/srv"]), "'/srv'.* contains /srv/data, which"),
    "a_port": (
        entry(nginx(servers=[{"listen": ["8080"]}])),
        entry({"type": "static-web-server"}),
        r"operating_system\.services\[0\]\.value\.port: .*containers\.a\.operating_system\.services\[0\]\.value\.serv",
    ),
    "an_address": (
        entry({"type": "redis"}),
        entry({"type": "redis", "value": {"bind": ["::1", "0.0.0.0"]}}),
        r"operating_system\.services\[0\]\.value\.port: port 6379",
    ),
}


@pytest.mark.parametrize("case", TWINS)
def test_two_containers_of_one_host(tmp_path: Path, case: str) -> None:
    one, other, said = TWINS[case]
    systems = DerivedSystems(str(tmp_path))
    for _time in range(2):  # the second time it is known from the first
        with pytest.raises(DeclarationError) as refused:
            refuse_shared(declared_containers({"a": one, "b": other}), systems)
        assert str(refused.value).startswith("containers.b")
        assert "containers.a" in str(refused.value)
        assert re.search(said, str(refused.value))
    for state in ("stopped", "absent"):
        refuse_shared(declared_containers({"a": one, "b": {**other, "state": state}}), systems)
        refuse_shared(declared_containers({"a": {**one, "state": state}, "b": other}), systems)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (entry(writes=["/srv/data"]), entry(writes=["/srv/database"])),
        (entry(writes=["/srv/data"]), entry(mappings=["/srv/data"])),
        (entry(writes=["/run/x/mysqld.sock"]), entry(writes=["/run/x/mysqld.sock"])),
        (entry({"type": "redis"}), entry({"type": "redis", "value": {"bind": ["127.0.0.2"]}})),
        (entry({"type": "redis"}), entry({"type": "redis"}, shared_network=False)),
    ],
)
def test_what_two_containers_may_have_both(tmp_path: Path, one: System, other: System) -> None:
    refuse_shared(declared_containers({"a": one, "b": other}), DerivedSystems(str(tmp_path)))
