# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values that the software takes are taken, and what is refused is said in the user's words."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.unshare.container.plugins.plugin_utils import nginx_text
from ansible_collections.unshare.container.plugins.plugin_utils.containerized import containerized_operating_system
from ansible_collections.unshare.container.plugins.plugin_utils.errors import DeclarationError
from ansible_collections.unshare.container.plugins.plugin_utils.system_files import system_files

PLACE = "operating_system.services[0].value"


def rendered(kind: str, value: dict[str, t.Any], **system: t.Any) -> dict[str, t.Any]:
    services = [{"type": kind, "value": value}]
    declared = containerized_operating_system({"host_name": "web", "services": services, **system})
    return t.cast("dict[str, t.Any]", system_files(declared)["files"])


def refusal(kind: str, value: t.Any, **system: t.Any) -> str:
    with pytest.raises(DeclarationError) as raised:
        rendered(kind, value, **system)
    return str(raised.value)


def redis(**value: t.Any) -> list[str]:
    return t.cast(str, rendered("redis", value)["/etc/redis/redis.conf"]["content"]).split("\n")


@pytest.mark.parametrize("port", [0, "0"])
def test_redis_on_a_socket_alone(port: t.Any) -> None:
    assert "port 0" in redis(port=port, settings={"unixsocket": "/run/redis/redis.sock"})


@pytest.mark.parametrize("settings", [{}, {"unixsocket": ""}, {"bind": "127.0.0.1"}, {"tls-port": 0}])
def test_redis_that_listens_nowhere(settings: dict[str, t.Any]) -> None:
    assert refusal("redis", {"port": 0, "settings": settings}) == f"{PLACE}.port: 0 is not a port (1 to 65535)"


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("plain", "plain"),
        ("a#b\\c", "a#b\\c"),
        ("two words", '"two words"'),
        ("a#b'c\"d", '"a#b\'c\\"d"'),
        ('x" \\', '"x\\" \\\\"'),
        ("", '""'),
        ('"two words"', '"two words"'),
        ("'two words'", "'two words'"),
        (1234, "1234"),
    ],
)
@pytest.mark.parametrize("name", ["requirepass", "masterauth"])
def test_a_secret_of_redis_is_one_word(name: str, given: t.Any, written: str) -> None:
    assert f"{name} {written}" in redis(settings={name: given})


def test_other_settings_of_redis_are_words() -> None:
    assert "rename-command FLUSHALL ''" in redis(settings={"rename-command": "FLUSHALL ''"})
    assert "client-output-buffer-limit pubsub 32mb 8mb 60" in redis(
        settings={"client-output-buffer-limit": "pubsub 32mb 8mb 60"}
    )


def test_a_fraction_of_redis() -> None:
    said = f"{PLACE}.settings.x: must be a string, a whole number or a boolean, not one with a fraction; quote it"
    assert refusal("redis", {"settings": {"x": 0.5}}) == said
    assert refusal("redis", {"settings": {"x": []}}).endswith("a whole number or a boolean, not a list")


def test_names_of_postgresql() -> None:
    settings = {"TimeZone": "UTC", "DateStyle": "iso, dmy", "IntervalStyle": "iso_8601", "log_timezone": "UTC"}
    text = rendered("postgresql", {"settings": settings})["/etc/postgresql/postgresql.conf"]["content"]
    for name, value in settings.items():
        assert f"{name} = '{value}'\n" in text


@pytest.mark.parametrize("name", ["Port", "LISTEN_ADDRESSES", "Data_Directory"])
def test_names_of_postgresql_that_are_read_here(name: str) -> None:
    assert refusal("postgresql", {"settings": {name: "x"}}) == f"{PLACE}.settings: '{name}': write '{name.lower()}'"


@pytest.mark.parametrize(
    "lua",
    [
        'ngx.say("{")',
        "ngx.say('}')",
        "-- {",
        "--[[ { \n { ]] x()",
        "local a = [==[ {{ ]] { ]==]",
        'ngx.say("\\"{", "it\'s }}")',
        'local a = {b = "{", c = {}}',
    ],
)
def test_a_brace_in_lua(lua: str) -> None:
    text = f"http {{ init_by_lua_block {{ {lua}\n }} server {{ listen 8080; }} }}"
    assert nginx_text.listens(text) == [["8080"]]
    found = list(nginx_text.walk(nginx_text.directives(text)))
    assert [nginx_text.is_server(*each) for each in found].count(True) == 1


@pytest.mark.parametrize("context", ["http", "stream", "mail", "rtmp"])
def test_the_servers_of_nginx(context: str) -> None:
    text = f"pid /run/nginx/nginx.pid;\nevents {{}}\n{context} {{ server {{ listen 1935; }} }}\n"
    assert "/etc/nginx/nginx.conf" in rendered("nginx", {"config": text})
    assert "server" in refusal("nginx", {"config": text.replace(context, "other")})


@pytest.mark.parametrize("server", [{"server_name": ["~^www\\d+\\.x$"]}, {"root": "/srv/$host"}, {"root": "/a b"}])
def test_words_of_nginx(server: dict[str, t.Any]) -> None:
    said = refusal("nginx", {"servers": [{"root": "/srv/x", **server}]})
    assert "any of ; { } # $ \\: `config` takes any text" in said


@pytest.mark.parametrize("kind", ["automount", "device", "scope", "swap"])
def test_a_unit_of_another_kind(kind: str) -> None:
    said = refusal("unit", {"name": "a", "units": {f"x.{kind}": "[Unit]\n"}})
    assert f"'x.{kind}' is a unit of a kind that no container declares" in said
    assert "is not a systemd unit's name" in refusal("unit", {"name": "a", "units": {"x.nosuch": "[Unit]\n"}})


@pytest.mark.parametrize(("name", "plain"), [("x/", "x"), ("a//b", "a/b"), ("./a", "a"), ("a/./b/", "a/b")])
def test_the_path_of_a_file(name: str, plain: str) -> None:
    said = refusal("simple", {"target": "etc", "value": {name: "x"}})
    assert said == f"{PLACE}.value.{name}: '{name}' must be a file's path in its plain form: '{plain}'"


def test_a_link_to_nothing() -> None:
    said = refusal("simple", {"target": "etc", "value": {"x": {"link": ""}}})
    assert said == f"{PLACE}.value.x.link: is empty: name the path that the link leads to"


@pytest.mark.parametrize("path", ["/", "//", "/./"])
def test_the_root_directory(path: str) -> None:
    said = refusal("simple", {"target": "activation", "value": [{"path": path}]})
    assert said == f"{PLACE}.value[0].path: '/' is there already: name a directory below it"
    said = refusal("simple", {"target": "system", "value": {"host_files": [path]}})
    assert said == f"{PLACE}.value.host_files[0]: '{path}' is not a file's path in its plain form"
