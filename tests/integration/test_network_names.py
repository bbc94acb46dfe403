# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The names and the resolver of containers in zones (N6, N7): known at once, without a restart, and from inside."""

from __future__ import annotations

import contextlib
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import network_files, resolver

from . import network_hosts
from .network_guests import Guest, zone

if t.TYPE_CHECKING:
    from .network_hosts import World

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]

NAME = "test-network-names"


@pytest.fixture(scope="module")
def world() -> t.Iterator[World]:
    with network_hosts.world("names") as made:
        yield made


@pytest.fixture
def make(world: World) -> t.Iterator[t.Callable[..., Guest]]:
    with contextlib.ExitStack() as stack:

        def make_one(part: str, *zones: str, **options: t.Any) -> Guest:
            guest = Guest(NAME, world, part, *map(zone, zones), **options)
            stack.callback(guest.destroy)
            return guest

        yield make_one


def found(guest: Guest, name: str) -> str:
    """Return the first address that a name has inside; empty when it has none."""
    words = guest.run("getent", "ahosts", name).stdout.split()
    return words[0] if words else ""


def test_n6_a_container_knows_itself_and_its_zones(make: t.Callable[..., Guest]) -> None:
    web, database, other = make("web", "one"), make("db", "one", "two"), make("other", "three")
    web.start()
    assert found(web, web.name) in web.addresses()
    assert not found(web, database.name)
    database.start()
    other.start()
    for name in (database.name, f"{database.name}.one"):
        assert found(web, name) in database.addresses()
    assert not found(web, f"{database.name}.two")
    assert found(database, f"{web.name}.one") in web.addresses()
    assert not found(web, other.name)
    assert not found(other, web.name)
    assert found(web, "localhost") in ("127.0.0.1", "::1")
    assert web.reaches(database.name)


def test_n6_who_ends_is_forgotten_at_once(make: t.Callable[..., Guest]) -> None:
    web, client = make("web", "one"), make("client", "one")
    web.start()
    client.start()
    assert found(client, web.name)
    web.stop()
    assert web.name not in names_of(client)
    assert not found(client, web.name)
    web.start()
    assert found(client, web.name) in web.addresses()


def test_n6_what_is_declared_comes_first(make: t.Callable[..., Guest]) -> None:
    name = f"{NAME}-web"
    client = make("client", "one", declared={"hosts": [{"address": "10.66.0.1", "canonical_name": name}]})
    web = make("web", "one")
    web.start()
    client.start()
    assert found(client, name) == "10.66.0.1"
    assert found(client, f"{name}.one") in web.addresses()


@pytest.mark.parametrize(
    ("host", "behind", "seen"),
    [
        ("nameserver 192.0.2.53\nsearch example.org\n", "", "nameserver 192.0.2.53\nsearch example.org\n"),
        ("nameserver 127.0.0.53\nsearch a\n", "nameserver 192.0.2.54\nsearch a\n", "nameserver 192.0.2.54\nsearch a\n"),
        ("nameserver ::1\nnameserver fe80::1%eth0\nnameserver 192.0.2.55\n", "", "nameserver 192.0.2.55\n"),
        ("nameserver 127.0.0.1\n", "nameserver 127.0.0.1\n", ""),
        ("nameserver 0.0.0.0\n", "", ""),
        ("search a\n", "", "search a\n"),
    ],
)
def test_n7_the_servers_of_the_host_that_are_reached_from_inside(
    make: t.Callable[..., Guest], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, host: str, behind: str, seen: str
) -> None:
    use_resolver(monkeypatch, tmp_path, host, behind)
    guest = make("web", "one")
    warnings = guest.start().warnings
    assert resolver_of(guest) == seen
    assert warnings == ([] if seen else [resolver.NONE])
    # The host's file is replaced by a rename, as most programs do it, and the next run, or entry, follows.
    (tmp_path / "new").write_text("nameserver 192.0.2.99\n")
    (tmp_path / "new").rename(tmp_path / "resolv.conf")
    network_files.refresh(guest.container.run_directory, guest.name)
    assert resolver_of(guest) == "nameserver 192.0.2.99\n"


def test_n7_servers_that_are_given(make: t.Callable[..., Guest]) -> None:
    guest = make("web", "one", nameservers=["192.0.2.1", "2001:db8::53"])
    guest.start()
    assert guest.output("cat", "/etc/resolv.conf") == "nameserver 192.0.2.1\nnameserver 2001:db8::53\n"


def names_of(guest: Guest) -> str:
    """Return what is in a container's file of names, without an entry."""
    return inside(guest, "/etc/hosts")


def resolver_of(guest: Guest) -> str:
    """Return what is in a container's file of servers, without an entry."""
    return inside(guest, "/etc/resolv.conf")


def inside(guest: Guest, path: str) -> str:
    """Return a file of a container's, without an entry, which would bring it up to date."""
    process = guest.container.process()
    assert process is not None
    process.close()
    return Path(f"/proc/{process.pid}/root{path}").read_text()


def use_resolver(monkeypatch: pytest.MonkeyPatch, directory: Path, host: str, behind: str) -> None:
    """Have other files stand for the host's."""
    paths = {network_files.RESOLVER: directory / "resolv.conf", network_files.WITHOUT_STUB: directory / "behind"}
    paths[network_files.RESOLVER].write_text(host)
    paths[network_files.WITHOUT_STUB].write_text(behind)
    known = network_files._content
    monkeypatch.setattr(network_files, "_content", lambda path: known(str(paths.get(path, path))))
