# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rounds of checks, and what each check makes of an answer."""

from __future__ import annotations

import contextlib
import math
import socket
import subprocess
import threading
import time
import types
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError, OptionError
from ansible_collections.unshare.container.plugins.module_utils.launcher.process import Process
from ansible_collections.unshare.container.plugins.module_utils.life import health

from ..target_helpers import FakeContainer


class Clock:
    """Time that passes by sleeping only."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(health, "time", clock)
    monkeypatch.setattr(health, "_pause", lambda _container, seconds: clock.sleep(seconds))
    return clock


def wanted(**changes: t.Any) -> dict[str, t.Any]:
    return {**health.DEFAULTS, "timeout": 5.0, "steady": 0.0, **changes}


def ends(answers: t.Sequence[bool], clock: Clock, **changes: t.Any) -> tuple[list[str], float]:
    """Return the complaints at the end, and the seconds until then, for these answers of a check, the last for ever."""
    left = list(answers)

    def probe(_container: t.Any, _timeout: float) -> None:
        if not (left.pop(0) if len(left) > 1 else left[0]):
            raise health.Ill("it is not")

    container = FakeContainer()
    container.running = "/system"
    begun = clock.now
    return health.await_health(container, wanted(**changes), [probe]), clock.now - begun


def test_well_at_once(clock: Clock) -> None:
    assert ends([True], clock) == ([], 0.0)


def test_well_in_time(clock: Clock) -> None:
    complaints, after = ends([False, False, True], clock)
    assert complaints == []
    assert after == pytest.approx(0.4)


def test_never_well(clock: Clock) -> None:
    complaints, after = ends([False], clock)
    assert complaints == ["it is not"]
    assert 3.5 <= after <= 5.0


def test_well_now_and_then_is_not_well(clock: Clock) -> None:
    complaints, after = ends([True, False, True, True], clock, steady=1.0)
    assert complaints == []
    assert after >= 0.4 + 1.0
    assert ends([True, False] * 50, clock, steady=1.0)[0] != []


@pytest.mark.parametrize("timeout", [0.3, 5.0, 12.0])
def test_all_checks_together_end_in_the_time_limit(clock: Clock, timeout: float) -> None:
    """However many there are, and however long each may take."""

    def probe(_container: t.Any, seconds: float) -> None:
        assert seconds > 0
        clock.sleep(seconds)
        raise health.Ill("too late")

    container = FakeContainer()
    container.running = "/system"
    complaints = health.await_health(container, wanted(timeout=timeout), [probe] * 20)
    assert complaints == ["too late"] * (len(complaints) - 1) + ["the time limit was over before all was asked"]
    assert clock.now - 100.0 <= timeout + 0.001


@pytest.mark.parametrize(("timeout", "longest"), [(2.0, 2.0), (5.0, 5.0), (30.0, 5.0), (31.0, 31 / 6), (300.0, 50.0)])
def test_a_single_check_has_its_share_of_the_time_limit(clock: Clock, timeout: float, longest: float) -> None:
    """A host that is slow, and is given more time, is given it for each answer, too."""
    given: list[float] = []

    def probe(_container: t.Any, seconds: float) -> None:
        given.append(seconds)

    container = FakeContainer()
    container.running = "/system"
    assert health.await_health(container, wanted(timeout=timeout), [probe]) == []
    assert given == [longest]


def test_a_round_that_was_cut_short_does_not_hide_what_was_wrong_before(clock: Clock) -> None:
    answers = iter(["it is ill"])

    def probe(_container: t.Any, seconds: float) -> None:
        said = next(answers, None)
        if said is None:
            clock.sleep(seconds)
        raise health.Ill(said or "timed out")

    container = FakeContainer()
    container.running = "/system"
    assert health.await_health(container, wanted(timeout=3.0), [probe]) == ["it is ill"]


def test_a_complaint_is_bounded(clock: Clock) -> None:
    def probe(_container: t.Any, _timeout: float) -> None:
        raise health.Ill("x" * 1_000_000)

    container = FakeContainer()
    container.running = "/system"
    (complaint,) = health.await_health(container, wanted(), [probe])
    assert len(complaint) == health.COMPLAINT_LIMIT


def test_what_has_ended_is_not_waited_for(clock: Clock) -> None:
    def probe(_container: t.Any, _timeout: float) -> None:
        raise LauncherError("it does not run")

    assert health.await_health(FakeContainer(), wanted(), [probe]) == ["it has ended"]
    assert clock.now == 100.0


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


def test_what_has_run_well_long_enough_by_now_is_not_waited_for(clock: Clock) -> None:
    container = FakeContainer()
    container.running = "/system"
    for lives, seconds in ((None, 0.0), (5.0, 0.0), (0.4, 0.6)):
        container.lives = lives
        begun = clock.now
        assert health.await_health(container, wanted(steady=1.0)) == []
        assert clock.now - begun == pytest.approx(seconds)
    begun = clock.now
    asked = wanted(steady=1.0)
    assert health.await_health(container, asked, [health.check_running, lambda *_arguments: None]) == []
    assert clock.now - begun >= 1.0, "of another check nobody knows"


@pytest.mark.parametrize(("steady", "rounds"), [(0.0, 1), (1.0, 2), (2.0, 3), (4.4, 6)])
def test_checks_that_know_the_past_are_made_again_when_enough_of_it_has_passed(
    clock: Clock, steady: float, rounds: int
) -> None:
    """A round costs the container some processes: what has happened in between, systemd still knows in the next one."""
    begun, asked = clock.now, []

    def probe(_container: t.Any, _timeout: float) -> float:
        asked.append(clock.now)
        return clock.now - begun

    container = FakeContainer()
    container.running = "/system"
    assert health.await_health(container, wanted(steady=steady), [probe]) == []
    assert (clock.now - begun, len(asked)) == (pytest.approx(steady, abs=0.02), rounds)


def test_the_end_of_a_container_is_not_slept_through() -> None:
    """Its init ends in the first second of a pause of a minute."""
    with subprocess.Popen(["sleep", "0.2"]) as child:
        container = types.SimpleNamespace(process=lambda: Process.pin(child.pid))
        begun = time.monotonic()
        health._pause(container, 60.0)
        assert time.monotonic() - begun < 30
    health._pause(types.SimpleNamespace(process=lambda: None), 60.0)


def test_what_no_waiting_mends_is_not_waited_for(clock: Clock) -> None:
    container = FakeContainer(["a.service"])
    container.running = "/system"
    assert health.await_health(container, wanted()) == ["a.service has failed (exit-code)"]
    assert clock.now == 100.0
    assert health.await_health(FakeContainer(state="stopping"), wanted()) == ["it is going down"]
    assert clock.now == 100.0


def test_what_ends_in_the_last_round_has_ended(clock: Clock) -> None:
    container = FakeContainer()
    container.running = "/system"

    def probe(_container: t.Any, _timeout: float) -> None:
        container.running = None

    assert health.await_health(container, wanted(), [probe]) == ["it has ended"]


def test_an_init_of_which_nothing_is_asked_must_be_there_for_a_while(clock: Clock) -> None:
    """cases_U14: it may not be a program at all."""
    (probe,) = health.probes_of(wanted(running=False))
    container = FakeContainer()
    container.running = "/system"
    container.age = 0.2
    assert health.await_health(container, wanted(running=False, steady=1.0)) == []
    assert clock.now >= 100.8
    container.running = None
    with pytest.raises(health.Ill, match="it has ended"):
        probe(container, 1.0)


@pytest.mark.parametrize(
    ("status", "said", "message"),
    [(0, "", None), (3 << 8, "one\nit cannot\n", "ends with 3, not 0, and says: it cannot"), (9, "", "ends with 137")],
)
def test_commands(monkeypatch: pytest.MonkeyPatch, status: int, said: str, message: str | None) -> None:
    monkeypatch.setattr(health.questions, "ask", lambda *_arguments: (status, said))
    probe = health.probes_of(wanted(running=False, commands=[{"argv": ["check", "it"], "exit_code": 0}]))[0]
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
        probe = health.probes_of(wanted(running=False, http=[entry]))[0]
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
        probe = health.probes_of(wanted(running=False, http=[entry]))[0]
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
    (probe,) = health.probes_of(wanted(running=False, tcp=[{"port": 80, "address": "own"}]))
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
    health.check_health(wanted(**{kind: [{"port": 80, "address": address, "path": "/", "host": "a"}]}), "health")


@pytest.mark.parametrize("address", ["", "localhost", "own.example.org", "10.80.0.2/24", "Own", "10.80.0.256", "[::1]"])
@pytest.mark.parametrize("kind", ["tcp", "http"])
def test_n14_a_name_is_no_address(kind: str, address: str) -> None:
    """The host would look it up, and not the container."""
    entry = {"port": 80, "address": address, "path": "/", "host": "a"}
    with pytest.raises(OptionError, match=rf"health\.{kind}\[0\]\.address: .*is no IPv4 or IPv6 address; 'own' stands"):
        health.check_health(wanted(**{kind: [entry]}), "health")


def test_a_port_that_is_closed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_inside", lambda _container, make: make())
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    probe = health.probes_of(wanted(running=False, tcp=[{"port": port, "address": "127.0.0.1"}]))[0]
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
