# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The health of a running container: which checks are made, from where, and for how long.

The checks are made in rounds, until all of them pass for some seconds without a break, or the time limit is over: a
service that crashes and restarts, again and again, passes at times. Connections are made from inside the container's
network: their sockets are opened there and belong to it wherever they are used. No program of the container runs on the
host, and only a few bytes of an answer are read.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import socket
import time
from typing import Any, Callable, Iterator, Optional, TypeVar

from ..host.container_options import HEALTH
from ..inside import questions
from ..inside.units import GOING_DOWN, RUNNING
from ..launcher import linux
from ..launcher.addresses import OF_NO_WIRE, contains, network_of, parse_address
from ..launcher.errors import LauncherError, OptionError
from ..launcher.excursion import NoWayBack, Visit
from ..launcher.kinds import ContractError
from ..launcher.netlink import Netlink

PAUSES = (0.2, 0.2, 0.3, 0.5, 1.0)
"""Seconds between two rounds, the last of them from then on: a check leaves traces in the logs that it looks into."""

LEAST_PAUSE, LONGEST_PAUSE = 0.01, 1.0
"""Seconds between two rounds of checks that all know the past: systemd counts what it starts again in between."""

PATIENCE, SHARE = 5.0, 6
"""Seconds that a single check may take at least, and the part of the time limit, unless that comes first."""

COMPLAINT_LIMIT = 1000
"""Characters of a complaint: what the container says of itself may be of any length."""

MOST_ADDRESSES = 100  # that are looked at: root inside may make any number

OWN = "own"
"""Said in the place of an address: the first one of the container's interfaces, one of IPv4 if there is any."""

DEFAULTS: dict[str, Any] = {name: option["default"] for name, option in HEALTH.items()}
"""The health of a container of which no more is said."""


def check_health(health: dict[str, Any], place: str) -> None:
    """Refuse health options that no container could meet.

    :param health: as `container_options.HEALTH` says, with the defaults filled in, and time limits as floats.
    :param place: where it was written.
    :raises OptionError: naming the key.
    """
    if health["steady"] > health["timeout"]:
        raise OptionError(f"{place}.steady", f"{health['steady']:g} s cannot pass within the timeout beside it")
    for kind in ("tcp", "http"):
        for index, entry in enumerate(health[kind]):
            where = f"{place}.{kind}[{index}]"
            if not 1 <= entry["port"] <= 65535:
                raise OptionError(f"{where}.port", f"{entry['port']} is not a port (1 to 65535)")
            try:
                parse_address("::" if entry["address"] == OWN else entry["address"])
            except ContractError as error:
                said = f"{error.message}; '{OWN}' stands for the container's own one"
                raise OptionError(f"{where}.address", said) from None
            for key in ("path", "host"):
                text = entry.get(key, "/")
                if any(not " " < character <= "~" for character in text) or (key == "path" and text[:1] != "/"):
                    raise OptionError(f"{where}.{key}", f"{text!r} cannot be asked for")


class Ill(Exception):
    """A check that did not find what it wanted; the message says what it found.

    :param final: whether waiting will not mend that.
    """

    def __init__(self, message: str, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


Answer = TypeVar("Answer")

Probe = Callable[[Any, float], Optional[float]]
"""A check of a container (a `life.container.Container`) within so many seconds; raises Ill or OSError.

It may return for how many seconds what it looks at has been well by now.
"""

GONE = "it has ended"


def await_health(container: Any, health: dict[str, Any], probes: list[Probe] | None = None) -> list[str]:
    """Wait until `container` is well; return its complaints at the end of the time limit, an empty list if none.

    A round that the time limit cuts short counts for less: the complaints of the round before are returned. What no
    waiting can mend is not waited for. Checks that know the past are made again when enough of it has passed; others
    are made at shorter intervals, too.

    :param health: as `container_options.HEALTH` says, with the defaults filled in.
    :param probes: the checks, by default those that `health` asks for.
    """
    deadline = time.monotonic() + health["timeout"]
    patience = max(PATIENCE, health["timeout"] / SHARE)
    probes = probes_of(health) if probes is None else probes
    well_since = None
    pauses = iter(PAUSES)
    complaints: list[str] = []
    while True:
        begun = time.monotonic()
        former, complaints = complaints, []
        final = False
        knows = True
        before = steady = health["steady"]
        for probe in probes:
            left = min(patience, deadline - time.monotonic())
            if left <= 0:
                complaints.append("the time limit was over before all was asked")
                break
            try:
                past = probe(container, left)
                knows = knows and past is not None
                before = min(before, past or 0.0)
            except (Ill, OSError, LauncherError) as error:
                complaints.append(str(error)[:COMPLAINT_LIMIT])
                final = final or (isinstance(error, Ill) and error.final)
        if final:
            return complaints
        well_since = None if complaints else well_since or begun - before
        remaining = math.inf if well_since is None else well_since + steady - time.monotonic()
        if remaining <= 0:
            return [] if container.status().state == "running" else [GONE]
        if complaints and time.monotonic() >= deadline:
            return former or complaints
        pause = LONGEST_PAUSE if knows and not complaints else next(pauses, PAUSES[-1])
        pause = min(pause, max(remaining, LEAST_PAUSE))
        if time.monotonic() + pause > deadline:
            return complaints or ["it was well for too short a time"]
        if container.status().state != "running":
            return [GONE]
        _pause(container, pause)


def _pause(container: Any, seconds: float) -> None:
    """Wait for so many seconds, or until the container's init has ended."""
    process = container.process()
    if process is not None:
        try:
            process.wait(seconds)
        finally:
            process.close()


def probes_of(health: dict[str, Any]) -> list[Probe]:
    """Return the checks that `health` asks for."""
    probes: list[Probe] = []
    if health["running"]:
        probes.append(check_running)
    probes += [_unit(name) for name in health["units"]]
    probes += [_tcp(entry) for entry in health["tcp"]]
    probes += [_http(entry) for entry in health["http"]]
    probes += [_command(entry) for entry in health["commands"]]
    return probes or [check_lives]


def check_lives(container: Any, timeout: float) -> float:
    """Check that the container is there; return for how many seconds it has been, as far as is known.

    :raises Ill: it is not.
    """
    status = container.status()
    if status.state != "running":
        raise Ill(GONE, final=True)
    return max(0.0, time.time() - status.started) if status.started is not None else 0.0


def check_running(container: Any, timeout: float) -> float:
    """Check that all runs that was declared; return for how many seconds it has.

    :raises Ill: naming the units that do not, and why.
    """
    judgement = container.judge(timeout)
    if judgement.state == GOING_DOWN:
        raise Ill("it is going down", final=True)
    if judgement.problems:
        raise Ill(judgement.summary(), judgement.final)
    if judgement.state not in RUNNING:
        raise Ill(f"systemd is {judgement.state}, not running")
    return math.inf if judgement.lives is None else float(judgement.lives)


def _unit(name: str) -> Probe:
    def probe(container: Any, timeout: float) -> None:
        answer = questions.capture(container, ["systemctl", "is-active", "--", name], timeout).strip()
        if answer != "active":
            raise Ill(f"unit {name} is {answer or 'silent'}, not active")

    return probe


def _tcp(entry: dict[str, Any]) -> Probe:
    def probe(container: Any, timeout: float) -> None:
        with connection(container, address_of(container, entry["address"]), entry["port"], timeout):
            pass

    return probe


def _http(entry: dict[str, Any]) -> Probe:
    request = f"GET {entry['path']} HTTP/1.1\r\nHost: {entry['host']}\r\nConnection: close\r\n\r\n"

    def probe(container: Any, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        address = address_of(container, entry["address"])
        where = f"http://{f'[{address}]' if ':' in address else address}:{entry['port']}{entry['path']}"
        with connection(container, address, entry["port"], timeout) as connected:
            connected.settimeout(_left(deadline))
            connected.sendall(request.encode("ascii", "replace"))
            said = b""
            while b"\n" not in said and len(said) < 4096:
                connected.settimeout(_left(deadline))  # which is for one call, and a server may answer byte by byte
                data = connected.recv(4096)
                if not data:
                    break
                said += data
        status = re.match(rb"HTTP/\d(?:\.\d)? (\d{3})", said)
        if status is None:
            raise Ill(f"{where} does not answer in HTTP")
        if int(status.group(1)) != entry["status"]:
            raise Ill(f"{where} answers {int(status.group(1))}, not {entry['status']}")

    return probe


def _command(entry: dict[str, Any]) -> Probe:
    def probe(container: Any, timeout: float) -> None:
        status, said = questions.ask(container, list(entry["argv"]), timeout)
        code = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        if code != entry["exit_code"]:
            last = said.strip().splitlines()[-1:]
            raise Ill(
                f"{' '.join(entry['argv'])} ends with {code}, not {entry['exit_code']}"
                + (f", and says: {last[0][:200]}" if last else "")
            )

    return probe


def _left(deadline: float) -> float:
    """Return the seconds until a check's deadline. Raise TimeoutError when there are none."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


@contextlib.contextmanager
def connection(container: Any, address: str, port: int, timeout: float) -> Iterator[socket.socket]:
    """Open a TCP connection to `address` from inside the container's network. Raise OSError naming both."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with _inside(container, lambda: socket.socket(family, socket.SOCK_STREAM)) as made:
        made.settimeout(timeout)
        try:
            made.connect((address, port))
            yield made
        except OSError as error:
            raise OSError(f"port {port} of {address}: {error.strerror or error}") from error


def address_of(container: Any, given: str) -> str:
    """Return the address that a check is to ask. Raise Ill when it is the container's own, and it has none yet."""
    if given != OWN:
        return given
    with _inside(container, Netlink) as made:
        there = [address for _index, address in made.addresses(MOST_ADDRESSES)]
    found = [address for address in there if not any(contains(net, address) for net in _NOT_OWN)]
    if not found:
        raise Ill("its interfaces have no address")
    return sorted(found, key=lambda address: ":" in address)[0].partition("/")[0]


_NOT_OWN = [network_of(item) for item in OF_NO_WIRE]


def _inside(container: Any, make: Callable[[], Answer]) -> Answer:
    """Make a socket in the container's network namespace. This thread is in it for so long."""
    process = container.process()
    if process is None:
        raise Ill("it has ended")
    try:
        if os.path.samefile("/proc/self/ns/net", "/proc/%d/ns/net" % process.pid):
            return make()
        with Visit(process.descriptor, linux.CLONE_NEWNET):
            return make()
    except (NoWayBack, FileNotFoundError) as error:
        raise Ill("its network cannot be asked from here: %s" % error) from error
    finally:
        process.close()
