# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a unit needs before its program runs is looked for before anything stops; what may be made inside passes."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host.facts import HostFacts
from ansible_collections.unshare.container.plugins.module_utils.host.preflight_paths import UnitPaths
from ansible_collections.unshare.container.plugins.module_utils.host.preflight_programs import Programs

from ..specifications import specification

UNITS = "/etc/systemd/system/"
WANTED = {
    f"{UNITS}multi-user.target.wants/a.service": {"link": "../a.service"},
    f"{UNITS}multi-user.target": {"link": "/usr/lib/systemd/system/multi-user.target"},
    f"{UNITS}default.target": {"link": "multi-user.target"},
}
FILES = {"/etc/app.conf": "x", "/etc/here/file": "x"}


def bind(source: str, point: str, *flags: str) -> dict[str, t.Any]:
    return {"device": source, "mount_point": point, "type": "none", "flags": ["bind-mount", *flags]}


MOUNTS = [
    bind("/usr", "/usr", "read-only"),
    bind("/srv/shared", "/data/shared", "read-only"),
    bind("/srv/written", "/data/written"),
    bind("/srv/nosuch", "/data/left-out", "read-only"),
    {"device": "none", "mount_point": "/data/memory", "type": "tmpfs", "flags": []},
]


@pytest.fixture
def host(tmp_path: Path) -> HostFacts:
    for directory in ("usr/bin", "usr/share/app", "usr/lib/systemd/system", "srv/shared/inner", "srv/written", "etc"):
        (tmp_path / directory).mkdir(parents=True)
    (tmp_path / "srv/shared/file").touch()
    (tmp_path / "srv/shared/link").symlink_to("/data/written/x")
    (tmp_path / "usr/lib/systemd/system/s.service").write_text(
        "[Service]\nStateDirectory=s\nWorkingDirectory=/nosuch\n"
    )
    return HostFacts(tmp_path)


def paths(host: HostFacts, units: dict[str, str], boot: str = "", files: t.Any = None, **more: t.Any) -> UnitPaths:
    """Return what is said of units, of which `a.service` is started at boot."""
    contents = {**FILES, **{UNITS + name: text for name, text in units.items()}}
    entries = {**{path: {} for path in contents}, **WANTED, **(files or {})}
    contents.update({path: more.pop("script") for path, entry in (files or {}).items() if "mode" in entry})
    directories = [{"path": "/srv/made"}, {"path": "/home/alice"}]
    given = specification(file_systems=MOUNTS, files=entries, directories=directories, **more)
    return UnitPaths(Programs(host, given, lambda path: contents[path].encode(), boot))


def service(*lines: str, unit: str = "") -> dict[str, str]:
    return {"a.service": "\n".join(["[Unit]", unit, "[Service]", "ExecStart=/usr/bin/x", *lines]) + "\n"}


REFUSED = {
    "EnvironmentFile=/etc/nosuch": "EnvironmentFile=/etc/nosuch, which is not there: .*EnvironmentFile=-/etc/nosuch",
    "EnvironmentFile=-/x\nEnvironmentFile=/etc/no such": "EnvironmentFile=/etc/no such, which is not there",
    "EnvironmentFile=/etc/%n.env": "EnvironmentFile=/etc/%n.env, and /etc/a.service.env is not there",
    "EnvironmentFile=/etc/here": "EnvironmentFile=/etc/here, which is a directory: name a file$",
    "EnvironmentFile=/etc/app.conf/x": "EnvironmentFile=/etc/app.conf/x, which is not there",
    "LoadCredential=a:/etc/nosuch": "LoadCredential=a:/etc/nosuch, and /etc/nosuch is not there: .*SetCredential=",
    "LoadCredentialEncrypted=a:/etc/nosuch": "LoadCredentialEncrypted=a:/etc/nosuch, and /etc/nosuch is not there",
    "WorkingDirectory=/srv/app": "WorkingDirectory=/srv/app, which is not there: .*WorkingDirectory=-/srv/app",
    "WorkingDirectory=/etc/app.conf": "WorkingDirectory=/etc/app.conf, which is no directory: name one$",
    "WorkingDirectory=-/x\nWorkingDirectory=/srv/app": "WorkingDirectory=/srv/app, which is not there",
    "RootDirectory=/srv/tree": "RootDirectory=/srv/tree, which is not there: .*\\(After=\\)$",
    "StandardInput=file:/etc/nosuch": "StandardInput=file:/etc/nosuch, and /etc/nosuch is not there",
    "ReadOnlyPaths=/etc -/x /nosuch": "ReadOnlyPaths=/nosuch, which is not there: .*ReadOnlyPaths=-/nosuch",
    'ReadWritePaths="/var/lib/app"': "ReadWritePaths=/var/lib/app, which is not there",
    "ReadWritePaths=+/var/lib/app": r"ReadWritePaths=\+/var/lib/app, and /var/lib/app is not there",
    "InaccessiblePaths=/boot": "InaccessiblePaths=/boot, which is not there",
    "ExecPaths=/opt/app": "ExecPaths=/opt/app, which is not there",
    "NoExecPaths=/opt/app": "NoExecPaths=/opt/app, which is not there",
    "BindPaths=/opt/app:/mnt:rbind": "BindPaths=/opt/app:/mnt:rbind, and /opt/app is not there",
    "BindReadOnlyPaths=/opt/app": "BindReadOnlyPaths=/opt/app, which is not there",
    "WorkingDirectory=/srv/app\nExecStartPre=/bin/mkdir /srv/app": "which is not there",
    "RootDirectory=/data/memory/x/../../../opt/x\nWorkingDirectory=/y": "and /opt/x is not there",
    "StateDirectory=app\nWorkingDirectory=/var/lib/apps": "WorkingDirectory=/var/lib/apps, which is not there",
}


@pytest.mark.parametrize("lines", REFUSED)
def test_what_nothing_makes_is_refused(host: HostFacts, lines: str) -> None:
    found = paths(host, service(lines))
    assert (found.missing, found.warnings) == ([], [])
    (said,) = found.refused
    assert said.startswith("the unit a.service has ")
    assert re.search(REFUSED[lines], said)


@pytest.mark.parametrize(
    ("line", "source"),
    [
        ("WorkingDirectory=/usr/share/nosuch", "/usr/share/nosuch"),
        ("WorkingDirectory=/bin/nosuch", "/usr/bin/nosuch"),
        ("EnvironmentFile=/data/shared/nosuch", "/srv/shared/nosuch"),
        ("ReadOnlyPaths=/data/shared/inner/x", "/srv/shared/inner/x"),
    ],
)
def test_what_a_task_of_the_play_may_make_is_told_apart(host: HostFacts, line: str, source: str) -> None:
    found = paths(host, service(line))
    assert (found.refused, found.warnings) == ([], [])
    (said,) = found.missing
    assert f"is not there: make {source} on the host; or write" in said
    assert "After=" not in said


PASSED = {
    "may be missing": "EnvironmentFile=-/etc/x\nWorkingDirectory=-/x\nReadOnlyPaths=-/x -+/y +-/z\nBindPaths=-/x:/y",
    "files": "EnvironmentFile=/etc/app.conf\nLoadCredential=a:/etc/here/file\nStandardInput=file:/etc/app.conf",
    "directories": "WorkingDirectory=/srv/made\nReadWritePaths=/home/alice /etc/here /srv /var /root /data\n",
    "of the launcher": "BindReadOnlyPaths=/etc/machine-id /etc/resolv.conf /etc/hosts",
    "of the store": "WorkingDirectory=/usr/share/app\nReadOnlyPaths=/usr /bin",
    "mapped": "WorkingDirectory=/data/shared/inner\nEnvironmentFile=/data/shared/file\nReadWritePaths=/data/written",
    "by a link": "EnvironmentFile=/data/shared/link",
    "written": "WorkingDirectory=/data/written/x\nEnvironmentFile=/data/written/y",
    "in memory": "ReadWritePaths=/data/memory/x",
    "left out": "WorkingDirectory=/data/left-out/x",
    "of everybody": "EnvironmentFile=/run/x\nBindPaths=/tmp/x /var/tmp/x /dev/x /proc/x /sys/x /var/run/x /var/lock/x",
    "of systemd": "ReadWritePaths=/var/log/journal /var/lib/systemd /var/lib/private/x",
    "kept": "StateDirectory=a/b:c\nCacheDirectory=a\nLogsDirectory=a\nConfigurationDirectory=a\n"
    "WorkingDirectory=/var/lib/a/b/x\nReadWritePaths=/var/lib/a /var/cache/a /var/log/a /etc/a",
    "kept under a name that is not known": "StateDirectory=a-%H\nWorkingDirectory=/var/lib/a-web",
    "specifiers": "EnvironmentFile=/etc/%H.env\nWorkingDirectory=%h/x\nReadOnlyPaths=/srv/%m",
    "home": "WorkingDirectory=~",
    "patterns": "EnvironmentFile=/etc/app.d/*.env",
    "escapes": r"ReadOnlyPaths=/srv/a\x20b",
    "another root": "RootDirectory=/usr\nWorkingDirectory=/x\nReadOnlyPaths=+/x /y",
    "a view of its own": "TemporaryFileSystem=/x\nWorkingDirectory=/x/y\nReadWritePaths=/x/y",
    "what is bound": "BindPaths=/usr:/x\nWorkingDirectory=/x",
    "a default": "LoadCredential=a:/etc/nosuch\nSetCredential=a:b",
    "of the host's credentials": "LoadCredential=a\nLoadCredential=b:nosuch",
    "no file": "StandardInput=socket",
    "forgotten": "EnvironmentFile=/x\nEnvironmentFile=\nReadOnlyPaths=/x\nReadOnlyPaths=\nBindPaths=/x\nBindPaths=",
    "the last one": "WorkingDirectory=/nosuch\nWorkingDirectory=/srv",
    "another section": "[Install]\nWorkingDirectory=/nosuch",
    "declined": "ExecCondition=/bin/false\nWorkingDirectory=/nosuch",
    "a command with its privileges": "ReadWritePaths=/srv/app\nExecStartPre=+/bin/mkdir /srv/app",
    "tmpfiles": "EnvironmentFile=/etc/nosuch\nExecStartPre=-/usr/bin/systemd-tmpfiles --create",
    "output": "StandardOutput=file:/etc/nosuch",
}


@pytest.mark.parametrize("case", PASSED)
def test_what_is_there_or_may_be_made_passes(host: HostFacts, case: str) -> None:
    found = paths(host, service(*PASSED[case].split("\n")))
    assert (found.refused, found.missing, found.warnings) == ([], [], [])


NEEDS = "EnvironmentFile=/etc/nosuch"
OTHER = "[Service]\nExecStart=/usr/bin/b\n"
ORDERED: dict[str, tuple[dict[str, str], dict[str, t.Any]]] = {
    "after": ({**service(NEEDS, unit="After=b.service"), "b.service": OTHER}, {}),
    "before": ({**service(NEEDS), "b.service": "[Unit]\nBefore=a.service\n" + OTHER}, {"b.service": "multi-user"}),
    "in turn": (
        {**service(NEEDS, unit="After=c.target"), "b.service": "[Unit]\nBefore=c.target\n" + OTHER, "c.target": ""},
        {"b.service": "multi-user"},
    ),
    "after a mount": ({**service(NEEDS, unit="After=etc-x.mount"), "etc-x.mount": "[Mount]\n"}, {}),
    "after an instance": ({**service(NEEDS, unit="After=t@x.service"), "t@.service": OTHER}, {}),
    "of the early boot": (
        {**service(NEEDS), "b.service": "[Unit]\nDefaultDependencies=no\n" + OTHER},
        {"b.service": "basic"},
    ),
    "named by a command": (
        {**service(NEEDS), "b.service": OTHER + "ExecStartPre=/bin/sh -c 'x >/etc/nosuch'"},
        {"b.service": "multi-user"},
    ),
    "below what a command names": (
        {**service("WorkingDirectory=/srv/app/x"), "b.service": OTHER + "ExecStartPre=/bin/mkdir -p /srv/app"},
        {"b.service": "multi-user"},
    ),
}


@pytest.mark.parametrize("case", ORDERED)
def test_what_another_unit_may_make_passes(host: HostFacts, case: str) -> None:
    units, wanted = ORDERED[case]
    links = {f"{UNITS}{by}.target.wants/{name}": {"link": f"../{name}"} for name, by in wanted.items()}
    found = paths(host, units, files=links)
    assert (found.refused, found.missing, found.warnings) == ([], [], [])


@pytest.mark.parametrize(
    "units",
    [
        {"b.service": OTHER},
        {"b.service": OTHER + "ExecStartPre=/bin/touch /etc/nosuch.d /etc/nosuch-too /etc/nosuchx"},
        {"b.service": "[Unit]\nAfter=a.service\n" + OTHER},
        {"b.service": OTHER.replace("ExecStart", "Environment") + "ExecStart=/bin/x"},
    ],
)
def test_what_another_unit_has_nothing_to_do_with_does_not(host: HostFacts, units: dict[str, str]) -> None:
    links = {f"{UNITS}multi-user.target.wants/b.service": {"link": "../b.service"}}
    assert len(paths(host, {**service(NEEDS), **units}, files=links).refused) == 1


def test_what_the_activation_or_a_script_names_passes(host: HostFacts) -> None:
    assert paths(host, service(NEEDS), boot="touch /etc/nosuch\n").refused == []
    assert len(paths(host, service(NEEDS), boot="touch /etc/nosuch.d\n").refused) == 1
    files = {"/etc/script": {"mode": "0755"}}
    assert paths(host, service(NEEDS), files=files, script="x >/etc/nosuch").refused == []
    files = {"/etc/words": {"mode": "0644"}}
    assert len(paths(host, service(NEEDS), files=files, script="x >/etc/nosuch").refused) == 1


@pytest.mark.parametrize("condition", ["ConditionPathExists=/x", "AssertPathExists=/x"])
def test_a_unit_that_may_not_run_passes(host: HostFacts, condition: str) -> None:
    assert paths(host, service(NEEDS, unit=condition)).refused == []
    assert len(paths(host, service(NEEDS, unit=condition.partition("=")[0] + "=")).refused) == 1


@pytest.mark.parametrize(
    "starter", [{"b.timer": "[Timer]\nUnit=b.service\n"}, {"b.path": "[Path]\n"}, {"b.socket": "[Socket]\n"}]
)
def test_a_unit_that_something_starts_later_is_a_warning(host: HostFacts, starter: dict[str, str]) -> None:
    units = {**service(), "b.service": f"[Service]\n{NEEDS}\n", **starter}
    found = paths(host, units)
    assert (found.refused, found.missing) == ([], [])
    (said,) = found.warnings
    assert said.startswith("the unit b.service has EnvironmentFile=/etc/nosuch, which is not there: ")
    assert said.endswith("; nothing is known to make it before something starts the unit")


def test_what_nothing_starts_is_not_looked_at(host: HostFacts) -> None:
    found = paths(host, {**service(), "b.service": f"[Service]\n{NEEDS}\n"})
    assert (found.refused, found.missing, found.warnings) == ([], [], [])


def test_a_drop_in_counts_and_the_file_of_the_store_does_not(host: HostFacts) -> None:
    link = {
        f"{UNITS}s.service": {"link": "/usr/lib/systemd/system/s.service"},
        f"{UNITS}multi-user.target.wants/s.service": {"link": "../s.service"},
    }
    drop_in = {"s.service.d/x.conf": "[Service]\nReadWritePaths=/var/lib/s /nosuch\n"}
    found = paths(host, drop_in, files=link)
    assert [said.partition(":")[0] for said in found.refused] == [
        "the unit s.service has ReadWritePaths=/nosuch, which is not there"
    ]
    shared = {"service.d/x.conf": f"[Service]\n{NEEDS}\n"}
    (said,) = paths(host, {**service(), **shared}).refused
    assert said.startswith(f"the unit a.service (by {UNITS}service.d/x.conf) has EnvironmentFile=/etc/nosuch, which")
