# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The text of nginx's configuration is read as nginx reads it: a server is found where one is, and nowhere else."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.unshare.container.plugins.plugin_utils import nginx_text
from ansible_collections.unshare.container.plugins.plugin_utils.containerized import containerized_operating_system
from ansible_collections.unshare.container.plugins.plugin_utils.errors import DeclarationError
from ansible_collections.unshare.container.plugins.plugin_utils.nginx_text import Directive
from ansible_collections.unshare.container.plugins.plugin_utils.system_files import system_files

System = dict[str, t.Any]


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("", []),
        ("a b;c", [Directive(["a", "b"]), Directive(["c"])]),
        ("a{b c;}d;", [Directive(["a"], [Directive(["b", "c"])]), Directive(["d"])]),
        ("# a { b; }\nc; # d;\ne#f;", [Directive(["c"]), Directive(["e#f"])]),
        ("a \"x { ; # y\" 'z }';", [Directive(["a", "x { ; # y", "z }"])]),
        ("a \"x\\\"y\" 'it\\'s' b'c;", [Directive(["a", 'x"y', "it's", "b'c"])]),
        ("a ${b}c $d; e", [Directive(["a", "${b}c", "$d"]), Directive(["e"])]),
        ("a \\; \\{;", [Directive(["a", "\\;", "\\{"])]),
        ("a b } c;", [Directive(["a", "b"]), Directive(["c"])]),
        ("x { content_by_lua_block { if a then { } end -- don't\n } y; }", [Directive(["x"], [Directive(["y"])])]),
        ("a_by_lua_block { { ", []),
        ('a "open', [Directive(["a", "open"])]),
        ("a \\", [Directive(["a", "\\"])]),
    ],
)
def test_a_text_is_directives(text: str, read: list[Directive]) -> None:
    assert nginx_text.directives(text) == read


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("/etc/nginx/*.conf", "/etc/nginx/a.conf", True),
        ("/etc/nginx/*.conf", "/etc/nginx/a/b.conf", False),
        ("/etc/nginx/*", "/etc/nginx/.a", False),
        ("/etc/nginx/.*", "/etc/nginx/.a", True),
        ("/etc/*/[ab].conf", "/etc/nginx/b.conf", True),
        ("/etc/nginx/a.conf", "/etc/nginx/b.conf", False),
    ],
)
def test_patterns_of_files(pattern: str, path: str, fits: bool) -> None:
    assert nginx_text.matches(pattern, path) is fits


def render(value: System, etc: System | None = None, mappings: t.Any = (), **declared: t.Any) -> System:
    services = [{"type": "nginx", "value": value}]
    services += [{"type": "simple", "value": {"target": "etc", "value": etc}}] if etc else []
    system = {"host_name": "a", "services": services, **declared}
    return system_files(containerized_operating_system(system, mappings=mappings))


SERVER = "server { listen 80; }"
INCLUDE = "include /etc/nginx/conf.d/*.conf;"
SERVING: dict[str, tuple[System, System | None, t.Any]] = {
    "config": ({"config": f"events {{}} http {{ {SERVER} }}"}, None, ()),
    "stream": ({"config": "events {}\nstream{server{listen 53; proxy_pass [::1]:53;}}"}, None, ()),
    "mail": ({"config": "events {} mail { server { } }"}, None, ()),
    "directives": ({"http_directives": [SERVER]}, None, ()),
    "quoted_before": ({"http_directives": ["log_format a '# {'", SERVER]}, None, ()),
    "comment_within": ({"http_directives": ["server # }\n{ listen 80; }"]}, None, ()),
    "declared_file": ({"http_directives": [INCLUDE]}, {"nginx/conf.d/a.conf": SERVER}, ()),
    "relative": ({"http_directives": ["include conf.d/a.conf"]}, {"nginx/conf.d/a.conf": SERVER}, ()),
    "in_config": ({"config": f"events {{}} http {{ {INCLUDE} }}"}, {"nginx/conf.d/a.conf": SERVER}, ()),
    "in_main": ({"config": "include a;"}, {"nginx/a": f"events {{}} http {{ {SERVER} }}"}, ()),
    "twice": (
        {"http_directives": [INCLUDE]},
        {"nginx/conf.d/a.conf": "include more/*;", "nginx/more/b": {"content": "c2VydmVyIHt9", "encoding": "base64"}},
        (),
    ),
    "a_link": ({"http_directives": [INCLUDE]}, {"nginx/conf.d/a.conf": {"link": "/srv/a.conf"}}, ()),
    "mapped_directory": ({"http_directives": [INCLUDE]}, None, ["/srv/nginx=/etc/nginx/conf.d"]),
    "mapped_file": ({"http_directives": [INCLUDE]}, None, ["/srv/a.conf=/etc/nginx/conf.d/a.conf"]),
    "mapped_elsewhere": ({"http_directives": ["include /srv/sites/*/nginx.conf"]}, None, ["/srv/b=/srv/sites/b"]),
    "mapped_above": ({"http_directives": ["include /srv/sites/*.conf"]}, None, ["/srv"]),
}  # fmt: skip
NOTHING: dict[str, tuple[System, System | None, t.Any]] = {
    "none": ({}, None, ()),
    "empty_config": ({"config": ""}, None, ()),
    "config": ({"config": "pid /run/nginx/nginx.pid;\nevents {}\nhttp {}\n"}, None, ()),
    "commented_config": ({"config": f"events {{}}\nhttp {{\n# {SERVER}\n}}\n"}, None, ()),
    "commented": ({"http_directives": ["# server {"]}, None, ()),
    "commented_at_the_end": ({"http_directives": ["gzip on; # server { }"]}, None, ()),
    "quoted": ({"http_directives": ["log_format a 'server { }'"]}, None, ()),
    "upstream": ({"http_directives": ["upstream a { server 127.0.0.1:80; }"]}, None, ()),
    "map": ({"http_directives": ["map $a $b { server { } }"]}, None, ()),
    "outside_of_http": ({"config": f"events {{}}\n{SERVER}\nhttp {{}}\n"}, None, ()),
    "include": ({"http_directives": [INCLUDE]}, None, ()),
    "include_in_config": ({"config": f"events {{}} http {{ {INCLUDE} }}"}, None, ()),
    "other_file": ({"http_directives": [INCLUDE]}, {"nginx/conf.d/a.conf.off": SERVER}, ()),
    "hidden_file": ({"http_directives": [INCLUDE]}, {"nginx/conf.d/.a.conf": SERVER}, ()),
    "file_without": ({"http_directives": [INCLUDE]}, {"nginx/conf.d/a.conf": f"# {SERVER}\n"}, ()),
    "commented_include": ({"http_directives": [f"# {INCLUDE}"]}, {"nginx/conf.d/a.conf": SERVER}, ()),
    "of_the_store": ({"http_directives": ["include /usr/share/nginx/mime.types"]}, None, ()),
    "in_a_circle": ({"http_directives": [INCLUDE]}, {"nginx/conf.d/a.conf": INCLUDE}, ()),
    "mapped_beside": ({"http_directives": [INCLUDE]}, None, ["/srv/nginx=/etc/nginx/conf"]),
}


@pytest.mark.parametrize("case", SERVING)
def test_a_server_is_found(case: str) -> None:
    value, etc, mappings = SERVING[case]
    assert render(value, etc, mappings)


@pytest.mark.parametrize("case", NOTHING)
def test_nothing_is_served(case: str) -> None:
    value, etc, mappings = NOTHING[case]
    with pytest.raises(DeclarationError) as caught:
        render(value, etc, mappings)
    key, said = ("config", "has no block `server`") if "config" in value else ("servers", "is empty")
    assert str(caught.value).startswith(f"operating_system.services[0].value.{key}: {said}")
    if "include" in case:
        assert ("matches /etc/nginx/conf.d/*.conf)" in str(caught.value)) == (case != "commented_include")


@pytest.mark.parametrize(
    ("directive", "said"),
    [
        ("user nosuch;", "there is no user 'nosuch'"),
        ("user www-data nosuch;", "there is no group 'nosuch'"),
        ("user nobody;", "there is no group 'nobody'"),
        ("# user nosuch;", None),
        ("user www-data;", None),
        ("user alice users;", None),
    ],
)
def test_the_user_of_a_config(directive: str, said: str | None) -> None:
    value = {"config": f"{directive}\nhttp {{ {SERVER} }}"}
    if said is None:
        assert render(value, users=[{"name": "alice"}])
        return
    with pytest.raises(DeclarationError, match=rf"^operating_system\.services\[0\]\.value\.config: {said}"):
        render(value)


def test_ports_in_comments_are_none() -> None:
    text = "http { # listen 81;\n server { listen 82 ssl; } }"
    assert nginx_text.listens(text) == [["82", "ssl"]]


PLAIN = "events {}\nhttp { server { listen 80; } }\n"
GIVEN = ' -g "pid /run/nginx/nginx.pid;"'
PROCESSES = {
    "neither": ("", "forking", "/run/nginx/nginx.pid", GIVEN),
    "that_of_debian": (
        "user www-data;\nworker_processes auto;\npid /run/nginx.pid;\n",
        "forking",
        "/run/nginx.pid",
        "",
    ),
    "our_own": ("pid /run/nginx/nginx.pid;\n", "forking", "/run/nginx/nginx.pid", ""),
    "through_the_link": ("pid '/var/run/nginx.pid';\n", "forking", "/run/nginx.pid", ""),
    "unplain": ("pid /run//nginx/./a.pid;\n", "forking", "/run/nginx/a.pid", ""),
    "a_comment": ("# pid /run/nginx.pid; daemon off;\n", "forking", "/run/nginx/nginx.pid", GIVEN),
    "daemon_on": ("daemon on;\n", "forking", "/run/nginx/nginx.pid", GIVEN),
    "daemon_off": ("daemon OFF;\n", "exec", None, GIVEN),
    "daemon_off_with_a_pid": ("pid /run/nginx.pid; daemon off;\n", "exec", None, ""),
}


@pytest.mark.parametrize("case", PROCESSES)
def test_the_service_starts_as_the_configuration_says(case: str) -> None:
    head, kind, pid, given = PROCESSES[case]
    text = render({"config": head + PLAIN})["files"]["/etc/systemd/system/nginx.service"]["content"]
    lines = text.split("\n")
    assert f"Type={kind}" in lines
    assert [line for line in lines if line.startswith("PIDFile=")] == ([f"PIDFile={pid}"] if pid else [])
    command = f"/usr/sbin/nginx -c /etc/nginx/nginx.conf{given}"
    assert f"ExecStart={command}" in lines
    assert f"ExecReload={command} -s reload" in lines
    assert (f"ExecStartPre={command} -t -q" in lines) is (kind == "exec")


IN_MAIN = {"nginx/own/a.conf": {"content": "worker_rlimit_nofile 9;\ninclude own/b.inc;\n"}}


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("pid logs/nginx.pid;", "has `pid logs/nginx.pid`, which must be a file in one of /run, "),
        ("pid /srv/nginx.pid;", "has `pid /srv/nginx.pid`, .*: leave it out, or use /run/nginx/nginx.pid"),
        ("pid /run/other/nginx.pid;", "has `pid /run/other/nginx.pid`"),
        ("pid /run/a; pid /run/b;", "has `pid` 2 times, which nginx refuses"),
        ("daemon on; daemon off;", "has `daemon` 2 times"),
        ("pid;", "has `pid` without its one argument"),
        ("daemon no;", "has `daemon no`, which nginx refuses"),
        ("include own/*.conf;", "includes /etc/nginx/own/b.inc with `pid`: leave it out there"),
    ],
)
def test_a_process_that_the_service_cannot_be_is_refused(head: str, said: str) -> None:
    etc = {**IN_MAIN, "nginx/own/b.inc": {"content": "pid /run/nginx.pid;\n"}}
    with pytest.raises(DeclarationError, match=r"^operating_system\.services\[0\]\.value\.config: " + said):
        render({"config": f"{head}\n{PLAIN}"}, etc)


def test_what_others_include_is_no_process() -> None:
    etc = {**IN_MAIN, "nginx/own/b.inc": {"content": "env A;\n"}, "nginx/own/c.inc": {"content": "daemon off;\n"}}
    assert render({"config": f"include own/*.conf;\n{PLAIN}"}, etc)
