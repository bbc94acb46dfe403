# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A container's unit: its text, when it is written, changed and removed, and how it is started through it."""

from __future__ import annotations

import json
import shutil
import subprocess
import types
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host import boot as boot_module
from ansible_collections.unshare.container.plugins.module_utils.host import systemd_units
from ansible_collections.unshare.container.plugins.module_utils.host.boot import Boot
from ansible_collections.unshare.container.plugins.module_utils.launcher import limits as kept
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout, TargetError

from .. import specifications
from ..target_helpers import FakeContainer, FakeSystemd

UNITS = "etc/systemd/system"
READ_ONLY = ("bind-mount", "read-only")


class Container(FakeContainer):
    """One with a control group of some controllers."""

    def __init__(self, controllers: t.Sequence[str] = ("cpu", "io", "memory", "pids")) -> None:
        super().__init__()
        self.cgroup = types.SimpleNamespace(
            controllers=lambda: list(controllers),
            read=lambda file: " ".join(controllers) if file == "cgroup.controllers" else "",
            of_unit=False,
            has=lambda file: file.split(".")[0] in controllers,
            write=lambda file, text: self.calls.append(f"{file}={text}"),
            close=lambda: None,
        )


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    (tmp_path / UNITS).mkdir(parents=True)
    return Layout(tmp_path)


def listing(layout: Layout) -> list[str]:
    """Return the files of units, but for those that come with the template."""
    root = layout.root / UNITS
    paths = sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir() or path.is_symlink())
    found = [path for path in paths if "unshare-network" not in path]
    assert (len(found) < len(paths)) == ("unshare-container@.service" in found)
    return found


ENABLED = [
    "multi-user.target.wants/unshare-container@web.service",
    "unshare-container@.service",
    "unshare-container@web.service.d/unshare-limits.conf",
    "unshare-container@web.service.d/unshare.conf",
]


UNIT = ENABLED[1:]


def four_ways(make: t.Callable[[], Boot], state: str = "started") -> bool:
    """Check, run, check again, run again; whether the first run changed anything."""
    boot = make()
    planned, expected = boot.plan(state), boot.would_change(state)
    before = listing(boot.layout)
    assert make().would_change(state) == expected
    assert listing(boot.layout) == before
    changed = boot.apply(state)
    assert changed == expected
    assert boot.describe() == planned
    assert not make().would_change(state)
    assert not make().apply(state)
    return changed


def test_enabled_and_disabled(layout: Layout) -> None:
    systemd, container = FakeSystemd(), Container()

    def boot(**arguments: t.Any) -> t.Callable[[], Boot]:
        return lambda: Boot(layout, "web", container, systemd=systemd, **arguments)

    assert four_ways(boot())
    assert listing(layout) == UNIT
    assert not four_ways(boot(enabled=False))
    assert listing(layout) == UNIT
    assert four_ways(boot(enabled=True))
    assert listing(layout) == ENABLED
    link = layout.root / UNITS / ENABLED[0]
    assert str(link.readlink()) == "/etc/systemd/system/unshare-container@.service"
    assert not four_ways(boot())  # left as it is
    assert four_ways(boot(enabled=True, after=["database"], restart="always", timeout=90))
    assert not four_ways(boot(), "stopped")  # by hand, without a word on the rest
    text = (layout.root / UNITS / ENABLED[3]).read_text()
    assert "After=unshare-container@database.service" in text
    assert "TimeoutStopSec=105s" in text
    assert "Restart=always" in text
    assert not four_ways(boot(enabled=True))  # which is about the link alone
    assert four_ways(boot(enabled=False))
    assert listing(layout) == UNIT
    assert four_ways(boot(enabled=False, restart="no"))
    assert "Restart=no" in (layout.root / UNITS / ENABLED[3]).read_text()
    assert [order for order in systemd.orders if "network" not in order] == ["daemon-reload"] * 6
    assert four_ways(boot(), "absent")
    assert listing(layout) == []


OPTIONS: dict[str, tuple[t.Any, t.Any]] = {
    "timeout": (5.0, 300.5),
    "restart": ("no", "always"),
    "after": (["database"], []),
    "requires": (["database", "cache"], ["database"]),
}
"""The options of a unit, each with two values."""


@pytest.mark.parametrize("state", ["started", "stopped"])
@pytest.mark.parametrize("enabled", [None, False, True])
@pytest.mark.parametrize("option", OPTIONS)
def test_what_is_given_is_written_and_the_rest_stays(
    layout: Layout, option: str, enabled: bool | None, state: str
) -> None:
    systemd, container = FakeSystemd(), Container()

    def boot(**arguments: t.Any) -> t.Callable[[], Boot]:
        return lambda: Boot(layout, "web", container, systemd=systemd, **arguments)

    def read() -> dict[str, t.Any]:
        said = systemd_units.UnitOptions.read((layout.root / UNITS / UNIT[2]).read_text())._asdict()
        assert [said.pop(key) for key in ("mounts", "online", "stop_signal")] == [(), False, 38]
        return {key: sorted(value) if isinstance(value, tuple) else value for key, value in said.items()}

    first = {key: values[0] for key, values in OPTIONS.items()}
    kept = {key: sorted(value) if isinstance(value, list) else value for key, value in first.items()}
    assert four_ways(boot(enabled=enabled, **first), state)
    assert read() == kept
    assert not four_ways(boot(), state)
    second = OPTIONS[option][1]
    assert four_ways(boot(enabled=enabled, **{option: second}), state)
    assert read() == {**kept, option: second}
    assert boot()().timeout == read()["timeout"]
    assert (layout.root / UNITS / ENABLED[0]).is_symlink() == bool(enabled)


ODD_PATHS = ["/srv/a b", "/srv/50% %n", "/srv/it's", '/srv/"quoted"', "/srv/back\\slash", "/srv/both '\"", "/srv/ü#;$x"]
ODD = tuple(map(systemd_units.quoted, ODD_PATHS))


def test_cases_b7_its_unit_waits_for_what_is_mapped(layout: Layout) -> None:
    """Sources of mappings, the store of a tree, those of an optional mount not; and what the next system has."""
    systemd, container = FakeSystemd(), Container()
    system = layout.systems / "0-web"
    system.mkdir(parents=True)

    def write(*mounts: dict[str, t.Any]) -> None:
        store = {"source": "/srv/tree/usr", "target": "/usr"}
        bound = [{"type": "none", "flags": ["bind-mount", "read-only"], **item} for item in mounts]
        bound.insert(0, {"device": store["source"], "mount_point": "/usr", "type": "none", "flags": [*READ_ONLY]})
        secrets = [{"name": "own"}, {"name": "web", "source": "stored", "place": "web"}]
        if mounts:
            secrets.append({"name": "key", "source": "path", "place": "/srv/keys/web"})
        written = {**specifications.SMALL, "store": store, "file_systems": bound, "credentials": secrets}
        (system / "spec.json").write_text(json.dumps(written))

    def boot() -> Boot:
        return Boot(layout, "web", container, enabled=True, systemd=systemd, system=system)

    def waited_for() -> list[str]:
        lines = (layout.root / UNITS / UNIT[2]).read_text().splitlines()
        return [line for line in lines if line.startswith("RequiresMountsFor=")]

    write(
        {"device": "/srv/a b//c/", "mount_point": "/data"},
        {"device": "/etc/hosts", "mount_point": "/etc/hosts"},
        {"device": "/srv/optional", "mount_point": "/optional", "mount_may_fail": True},
    )
    assert four_ways(boot)
    paths = ["/srv/a b/c", "/srv/keys/web", "/srv/tree/usr"]
    assert waited_for() == [f'RequiresMountsFor="{path}"' for path in paths]
    assert not four_ways(boot)
    write()
    assert four_ways(boot)
    assert waited_for() == ['RequiresMountsFor="/srv/tree/usr"']
    (system / "spec.json").unlink()  # as in check mode, before the system is written
    assert not four_ways(boot)
    assert len(waited_for()) == 1


@pytest.mark.parametrize(
    ("address", "online"),
    [
        ("192.0.2.1", True),
        ("2001:db8::1", True),
        ("fe80::1%eth0", True),
        ("web.example.org", True),
        ("", False),
        ("0.0.0.0", False),
        ("::", False),
        ("0::0", False),
        ("127.0.0.53", False),
        ("::1", False),
        ("localhost", False),
    ],
)
def test_its_unit_waits_for_the_addresses_on_which_it_listens(layout: Layout, address: str, online: bool) -> None:
    """P3: where nobody can listen before the host has them; and no longer when the next system does not."""
    systemd, container = FakeSystemd(), Container()
    system = layout.systems / "0-web"
    system.mkdir(parents=True)

    def write(address: str) -> None:
        port = {"number": 8080, "place": "x", **({"address": address} if address else {})}
        (system / "spec.json").write_text(
            json.dumps({**specifications.SMALL, "shared_network": True, "ports": [{"number": 1, "place": "y"}, port]})
        )

    def boot() -> Boot:
        return Boot(layout, "web", container, enabled=True, systemd=systemd, system=system)

    def waits() -> bool:
        text = (layout.root / UNITS / UNIT[2]).read_text()
        assert text.count("network-online.target") == 2 * text.count("Wants=network-online.target\n")
        return "\nAfter=network-online.target\n" in text

    write(address)
    assert four_ways(boot)
    assert waits() is online
    assert not four_ways(boot)
    (system / "spec.json").unlink()
    assert not four_ways(boot)
    write("")
    assert four_ways(boot) is online
    assert not waits()


def test_a_drop_in_that_nobody_could_have_meant() -> None:
    text = "[Unit]\nAfter=network.target\nRequires=unshare-container@../x.service\n[Service]\n"
    text += "Environment=UNSHARE_TIMEOUT=soon\nRestart=sometimes\n"
    assert systemd_units.UnitOptions.read(text) == systemd_units.UnitOptions.read("") == systemd_units.UnitOptions()


def test_a_host_whose_etc_cannot_be_written_to(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boot_module.os, "access", lambda path, mode: not str(path).endswith(UNITS))

    def boot() -> Boot:
        return Boot(layout, "web", Container(), enabled=False, systemd=FakeSystemd())

    assert four_ways(boot)
    runtime = layout.root / "run/systemd/system"
    assert listing(layout) == []
    assert sorted(
        path.name for path in runtime.iterdir() if path.suffix != ".wants" and "network" not in path.name
    ) == [
        "unshare-container@.service",
        "unshare-container@web.service.d",
    ]
    assert four_ways(boot, "absent")
    assert list(runtime.iterdir()) == []


def test_absent_takes_the_unit_along_and_leaves_those_of_others(layout: Layout) -> None:
    systemd, container = FakeSystemd(), Container()
    for name in ("web", "database"):
        Boot(layout, name, container, enabled=True, systemd=systemd).apply("started")
    assert four_ways(lambda: Boot(layout, "web", container, systemd=systemd), "absent")
    assert [path for path in listing(layout) if "web" in path] == []
    assert "unshare-container@.service" in listing(layout)
    assert four_ways(lambda: Boot(layout, "database", container, systemd=systemd), "absent")
    assert listing(layout) == []


def test_the_template_stays_while_a_container_runs_by_it(layout: Layout) -> None:
    systemd, container = FakeSystemd(), Container()
    Boot(layout, "web", container, enabled=True, systemd=systemd).apply("started")
    systemd.active.add("unshare-container@other.service")  # an administrator's, without files of its own
    Boot(layout, "web", container, systemd=systemd).apply("absent")
    assert listing(layout) == ["unshare-container@.service"]
    systemd.active.clear()
    assert Boot(layout, "web", container, systemd=systemd).apply("absent")
    assert listing(layout) == []


@pytest.mark.parametrize("left", [name for name in ENABLED if "@web" in name])
def test_absent_takes_along_whichever_file_is_left(layout: Layout, left: str) -> None:
    """An interrupted removal leaves some; the template stays with the other container."""
    systemd, container = FakeSystemd(), Container()
    for name in ("web", "database"):
        Boot(layout, name, container, enabled=True, systemd=systemd).apply("started")
    for name in {*ENABLED} - {left, "unshare-container@.service"}:
        (layout.root / UNITS / name).unlink()
    assert four_ways(lambda: Boot(layout, "web", container, systemd=systemd), "absent")
    assert not [path for path in listing(layout) if "web" in path]
    assert not Boot(layout, "web", container, systemd=systemd).would_change("absent")


def test_drop_ins_of_an_administrator_stay(layout: Layout) -> None:
    systemd, container = FakeSystemd(), Container()
    Boot(layout, "web", container, enabled=True, systemd=systemd).apply("started")
    own = layout.root / UNITS / "unshare-container@web.service.d/own.conf"
    own.write_text("[Service]\nNice=5\n")
    assert four_ways(lambda: Boot(layout, "web", container, systemd=systemd), "absent")
    assert listing(layout) == ["unshare-container@web.service.d/own.conf"]


def test_limits_of_a_container_without_a_unit(layout: Layout) -> None:
    container = Container()
    container.running = "/system"
    systemd = FakeSystemd(present=False)

    def boot(limits: dict[str, int] | None) -> t.Callable[[], Boot]:
        return lambda: Boot(layout, "web", container, limits=limits, systemd=systemd)

    assert not four_ways(boot({}))
    assert four_ways(boot({"memory_max": 1 << 30}))
    assert f"memory.max={1 << 30}" in container.calls
    assert "stop" not in container.calls
    assert not four_ways(boot(None))
    assert kept.read(str(layout.container("web"))) == {"memory_max": 1 << 30}
    assert four_ways(boot({}))
    assert container.calls.count("memory.max=max") == 1


def test_limits_of_a_container_with_a_unit_are_the_units(layout: Layout) -> None:
    systemd, container = FakeSystemd(), Container()
    container.cgroup.of_unit = True
    container.running = "/system"
    Boot(layout, "web", container, enabled=True, systemd=systemd).apply("started")
    assert four_ways(lambda: Boot(layout, "web", container, limits={"cpu_quota": 50}, systemd=systemd))
    assert "CPUQuota=50%" in (layout.root / UNITS / ENABLED[2]).read_text()
    assert container.calls == []
    assert [order for order in systemd.orders if "network" not in order] == ["daemon-reload"] * 3


def test_warnings(layout: Layout) -> None:
    container = Container(controllers=("hugetlb",))
    boot = Boot(
        layout, "web", container, enabled=True, limits={"memory_max": 1 << 30}, systemd=FakeSystemd(present=False)
    )
    boot.explain("started")
    limit, start = boot.warnings
    assert limit.startswith("limits.memory_max: cannot be kept")
    assert "/containers/web/current/run-container --detach" in start
    (layout.root / "run/openrc").mkdir(parents=True)
    openrc = Boot(layout, "web", container, enabled=True, systemd=FakeSystemd(present=False))
    openrc.explain("started")
    assert "/etc/local.d/unshare-web.start" in openrc.warnings[0]
    container.running = "/system"
    outside = Boot(layout, "web", container, enabled=True, systemd=FakeSystemd())
    outside.explain("started")
    assert "runs outside of its unit until its next start" in outside.warnings[0]


@pytest.mark.parametrize("arguments", [{"after": ["Web"]}, {"requires": ["../x"]}, {"after": ["web"]}])
def test_bad_names(layout: Layout, arguments: t.Any) -> None:
    with pytest.raises(TargetError):
        Boot(layout, "web", Container(), enabled=True, systemd=FakeSystemd(), **arguments)


def test_the_back_off_grows_where_systemd_can() -> None:
    assert "RestartSteps" not in systemd_units.template(252)
    assert "RestartSteps=6" in systemd_units.template(254)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    own = int(subprocess.run(["systemd-analyze", "--version"], capture_output=True, text=True).stdout.split()[1])
    # The program is not on this machine.
    template = systemd_units.template(own).replace("/var/lib/unshare/containers/%i/current/run-container", "/bin/true")
    (tmp_path / "unshare-container@.service").write_text(template)
    directory = tmp_path / "unshare-container@web.service.d"
    directory.mkdir()
    (directory / "boot.conf").write_text(systemd_units.UnitOptions(requires=("database",), mounts=ODD).text())
    (directory / "limits.conf").write_text(systemd_units.limits_drop_in({"memory_max": 1 << 30, "cpu_quota": 150}))

    def said() -> str:
        command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", "unshare-container@web.service"]
        environment = {"SYSTEMD_UNIT_PATH": f"{tmp_path}:", "PATH": "/usr/bin:/bin"}
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=60)
        return "\n".join(line for line in done.stderr.splitlines() if "unshare" in line or "limits.conf" in line)

    assert said() == ""
    (directory / "limits.conf").write_text("[Service]\nMemoryMacks=1\n")
    assert "MemoryMacks" in said()


def test_the_units_files_are_for_all_to_read(layout: Layout) -> None:
    Boot(layout, "web", Container(), systemd=FakeSystemd()).apply("started")
    files = [path for path in (layout.root / UNITS).rglob("*") if path.is_file()]
    assert {oct(path.stat().st_mode & 0o777) for path in files} == {"0o644"}
    assert not [path for path in files if path.name.startswith(".")]
