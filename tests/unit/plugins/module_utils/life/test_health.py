# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What each check makes of an answer."""

from __future__ import annotations

import contextlib
import math
import socket
import threading
import time
import types
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import OptionError
from ansible_collections.unshare.container.plugins.module_utils.life import health

from ..target_helpers import FakeContainer, wanted_health


@pytest.mark.parametrize(
    ("state", "failed", "message", "final"),
    [
        ("running", [], None, False),
        ("degraded", [], None, False),
        ("running", ["a.service"], r"^a\.service has failed \(exit-code\)$", True),
        ("degraded", ["a.service", "b.service"], "^a.service has failed .*; b.service has failed ", True),
        ("degraded", [f"u{n}.service" for n in range(10)], "; and 2 more$", True),
        ("starting", [], "^systemd is starting, not running$", False),
        ("maintenance", [], "^systemd is maintenance, not running$", False),
        ("stopping", [], "^it is going down$", True),
        ("stopping", ["a.service"], "^it is going down$", True),
    ],
)
def test_running(state: str, failed: list[str], message: str | None, final: bool) -> None:
    container = FakeContainer(failed, state=state)
    if message is None:
        assert health.check_running(container, 1.0) == math.inf
        return
    with pytest.raises(health.Ill, match=message) as caught:
        health.check_running(container, 1.0)
    assert caught.value.final is final


@pytest.mark.parametrize(
    ("status", "said", "message"),
    [(0, "", None), (3 << 8, "one\nit cannot\n", "ends with 3, not 0, and says: it cannot"), (9, "", "ends with 137")],
)
def test_commands(monkeypatch: pytest.MonkeyPatch, status: int, said: str, message: str | None) -> None:
    monkeypatch.setattr(health.questions, "ask", lambda *_arguments: (status, said))
    probe = health.probes_of(wanted_health(running=False, commands=[{"argv": ["check", "it"], "exit_code": 0}]))[0]
    expected: t.Any = contextlib.nullcontext() if message is None else pytest.raises(health.Ill, match=message)
    with expected:
        probe(FakeContainer(), 1.0)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"HTTP/1.0 200 OK\r\n\r\n", None),
        (b"HTTP/1.1 503 Busy\r\n\r\n", "answers 503, not 200"),
        (b"SSH-2.0-x\r\n", "does not answer in HTTP"),
        (b"", "does not answer in HTTP"),
    ],
)
def test_http(monkeypatch: pytest.MonkeyPatch, answer: bytes, message: str | None) -> None:
    monkeypatch.setattr(health, "_inside", lambda _container, make: make())
    with socket.create_server(("127.0.0.1", 0)) as server:
        asked = []

        def serve() -> None:
            connected, _address = server.accept()
            with connected:
                asked.append(connected.recv(4096))
                connected.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        entry = {"port": server.getsockname()[1], "address": "127.0.0.1", "host": "a", "path": "/x?y", "status": 200}
        probe = health.probes_of(wanted_health(running=False, http=[entry]))[0]
        expected: t.Any = contextlib.nullcontext() if message is None else pytest.raises(health.Ill, match=message)
        with expected:
            probe(types.SimpleNamespace(), 10.0)
        thread.join()
    assert asked[0].startswith(b"GET /x?y HTTP/1.1\r\nHost: a\r\n")


def test_http_that_comes_byte_by_byte_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_inside", lambda _container, make: make())
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connected, _address = server.accept()
            with connected, contextlib.suppress(OSError):
                for _count in range(50):
                    connected.sendall(b"H")
                    if over.wait(0.1):
                        break

        thread = threading.Thread(target=serve)
        thread.start()
        port = server.getsockname()[1]
        entry = {"port": port, "address": "127.0.0.1", "host": "a", "path": "/", "status": 200}
        probe = health.probes_of(wanted_health(running=False, http=[entry]))[0]
        begun = time.monotonic()
        with pytest.raises(OSError, match=rf"port {port} of 127\.0\.0\.1: timed out"):
            probe(FakeContainer(), 0.5)
        assert time.monotonic() - begun < 2
        over.set()
        thread.join()


class Inside:
    """The addresses of a container's network."""

    addresses_there: t.ClassVar[list[str]] = []

    def __enter__(self) -> Inside:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def addresses(self, most: int) -> list[tuple[int, str]]:
        return [(index, item) for index, item in enumerate(self.addresses_there)][:most]


LINK_LOCAL = ["127.0.0.1/8", "::1/128", "fe80::1/64", "169.254.9.9/16"]


@pytest.mark.parametrize(
    ("there", "asked"),
    [
        ([*LINK_LOCAL, "10.80.0.2/24", "fd00:80::2/64"], "10.80.0.2"),
        ([*LINK_LOCAL, "fd00:80::2/64", "10.80.0.2/24", "192.0.2.5/24"], "10.80.0.2"),
        ([*LINK_LOCAL, "fd00:80::2/64", "fd00:81::2/64"], "fd00:80::2"),
        (LINK_LOCAL, None),
        ([], None),
    ],
)
def test_n14_its_own_address_is_what_others_reach_it_by(
    monkeypatch: pytest.MonkeyPatch, there: list[str], asked: str | None
) -> None:
    """One that a client inside has not got yet is waited for."""
    tried: list[str] = []

    @contextlib.contextmanager
    def connection(_container: t.Any, address: str, _port: int, _timeout: float) -> t.Iterator[t.Any]:
        tried.append(address)
        yield None

    monkeypatch.setattr(health, "_inside", lambda _container, make: make())
    monkeypatch.setattr(health, "Netlink", Inside)
    monkeypatch.setattr(Inside, "addresses_there", there)
    monkeypatch.setattr(health, "connection", connection)
    (probe,) = health.probes_of(wanted_health(running=False, tcp=[{"port": 80, "address": "own"}]))
    if asked is None:
        with pytest.raises(health.Ill, match="^its interfaces have no address$") as error:
            probe(FakeContainer(), 1.0)
        assert not error.value.final
        return
    probe(FakeContainer(), 1.0)
    assert tried == [asked]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "10.80.0.2", "own"])
@pytest.mark.parametrize("kind", ["tcp", "http"])
def test_n14_addresses_that_can_be_asked(kind: str, address: str) -> None:
    health.check_health(wanted_health(**{kind: [{"port": 80, "address": address, "path": "/", "host": "a"}]}), "health")


@pytest.mark.parametrize("address", ["", "localhost", "own.example.org", "10.80.0.2/24", "Own", "10.80.0.256", "[::1]"])
@pytest.mark.parametrize("kind", ["tcp", "http"])
def test_n14_a_name_is_no_address(kind: str, address: str) -> None:
    """The host would look it up, and not the container."""
    entry = {"port": 80, "address": address, "path": "/", "host": "a"}
    with pytest.raises(OptionError, match=rf"health\.{kind}\[0\]\.address: .*is no IPv4 or IPv6 address; 'own' stands"):
        health.check_health(wanted_health(**{kind: [entry]}), "health")


def test_a_port_that_is_closed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_inside", lambda _container, make: make())
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    probe = health.probes_of(wanted_health(running=False, tcp=[{"port": port, "address": "127.0.0.1"}]))[0]
    with pytest.raises(OSError, match=rf"port {port} of 127\.0\.0\.1: Connection refused"):
        probe(FakeContainer(), 5.0)


def test_what_systemd_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def capture(_container: t.Any, command: list[str], _timeout: float) -> str:
        asked.append(" ".join(command))
        return "inactive\n"

    monkeypatch.setattr(health.questions, "capture", capture)
    with pytest.raises(health.Ill, match="^unit -a.service is inactive, not active$"):
        health._unit("-a.service")(FakeContainer(), 1.0)
    assert asked == ["systemctl is-active -- -a.service"]
