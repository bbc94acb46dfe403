# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What no container may have, said with the user's own key: targets that it needs, sources that the host runs."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.unshare.container.plugins.plugin_utils import mappings
from ansible_collections.unshare.container.plugins.plugin_utils.containerized import (
    containerization_report,
    containerized_operating_system,
)
from ansible_collections.unshare.container.plugins.plugin_utils.declared_containers import declared_containers, derive
from ansible_collections.unshare.container.plugins.plugin_utils.errors import DeclarationError
from ansible_collections.unshare.container.plugins.plugin_utils.system_files import system_files

from ..module_utils.launcher.test_targets import ALLOWED, REFUSED

System = dict[str, t.Any]
OS: System = {"host_name": "a"}
UPWARD = ["/a/../run", "/run/..", "/..", "/usr/../proc"]
ROOTS = ["/", "//", "/."]
SOURCES = [
    *("/var", "/var/", "//var", "/var/lib", "/var/./lib", "/var/lib/unshare", "/var/lib//unshare/"),
    *("/var/lib/unshare/systems/x", "/var/lib/unshare/containers/a/journal", "/run", "/run/", "/run/unshare"),
    *("/run/unshare/a", "/etc", "/etc/systemd", "/etc/systemd/system", "/etc/systemd/system/a.service.d"),
    *("/run/systemd", "/run/systemd/system", "/run/systemd/system/unshare-container@.service"),
]
BESIDE = [
    *("/var/lib/unshared", "/var/lib/data", "/run/user", "/run/systemd/resolve", "/srv", "/var/log", "/etc/nginx"),
    "/var/lib/unshare.d/x",
]


def deployed(system: System, **options: t.Any) -> list[System]:
    """Return the file systems of `spec.json`."""
    store = {"store": options["store"]} if "store" in options else {}
    result = system_files(containerized_operating_system(system, **options), **store)
    return t.cast("list[System]", result["spec"]["file_systems"])


@pytest.mark.parametrize("target", REFUSED + UPWARD)
def test_a_mappings_target(target: str) -> None:
    with pytest.raises(DeclarationError, match=r"^mappings\[1\]\.target: ") as caught:
        containerized_operating_system(OS, mappings=["/a=/b", {"source": "/x", "target": target, "required": True}])
    assert "'" in str(caught.value)


@pytest.mark.parametrize("target", REFUSED + UPWARD)
def test_an_extra_file_systems_mount_point(target: str) -> None:
    extra = {"device": "tmpfs", "mount_point": target, "type": "tmpfs", "needed_for_boot": True}
    with pytest.raises(DeclarationError, match=r"^extra_file_systems\[0\]\.mount_point: "):
        containerized_operating_system(OS, extra_file_systems=[extra])


@pytest.mark.parametrize(
    "target",
    [
        *("/run", "//run", "/run/./host", "/run/systemd", "/run/current-system/", "/usr/lib", "/bin"),
        *("/lib64", "/var/run", "/var/lock/x", "/proc/x", "/proc"),
    ],
)
def test_a_declared_file_systems_mount_point(target: str) -> None:
    item = {"device": {"label": "data"}, "mount_point": target, "type": "ext4", "needed_for_boot": True}
    other = {"device": {"label": "x"}, "mount_point": "/srv", "type": "ext4"}
    with pytest.raises(DeclarationError, match=r"^operating_system\.file_systems\[1\]\.mount_point: "):
        containerized_operating_system({**OS, "file_systems": [other, item]})


@pytest.mark.parametrize(
    "path", ["/bin/sh", "/usr/bin/env", "/lib/x", "/run/host/x", "/proc/x", "/dev/x", "/sys/x", "//usr/x"]
)
def test_a_declared_file(path: str) -> None:
    services = [{"type": "special-files", "value": {path: "/etc/passwd"}}]
    with pytest.raises(DeclarationError, match=r"^operating_system\.(essential_)?services.*" + path):
        deployed({**OS, "services": services})
    added = [{"type": "simple", "value": {"target": "special-files", "value": {path: "/etc/passwd"}}}]
    with pytest.raises(DeclarationError, match=r"^operating_system\.services\[0\].*" + path):
        deployed({**OS, "services": added})


def test_a_declared_file_depends_on_the_store() -> None:
    services = [{"type": "special-files", "value": {"/bin/sh": "/gnu/store/bash/bin/sh"}}]
    system = containerized_operating_system({**OS, "services": services}, store="/gnu/store")
    assert "/bin/sh" in system_files(system, store="/gnu/store")["files"]


@pytest.mark.parametrize("target", [path for path in ALLOWED if not path.startswith("/dev/")])
def test_other_targets_stay(target: str) -> None:
    assert target in [item["mount_point"] for item in deployed(OS, mappings=[f"/x={target}"])]


@pytest.mark.parametrize("target", ["/dev/shm", "/dev/hugepages"])
def test_file_systems_below_dev_stay(target: str) -> None:
    extra = {"device": "tmpfs", "mount_point": target, "type": "tmpfs", "needed_for_boot": True, "options": "size=1M"}
    found = [item for item in deployed(OS, extra_file_systems=[extra]) if item["mount_point"] == target]
    assert [item["options"] for item in found] == ["size=1M"]


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ({"device": "proc", "mount_point": "/proc", "type": "proc"}, "the container makes its own /proc"),
        ({"device": "sysfs", "mount_point": "/sys", "type": "sysfs"}, "the container makes its own /sys"),
        ({"device": "tmpfs", "mount_point": "/run", "type": "tmpfs"}, "the container makes its own /run"),
        ({"device": "udev", "mount_point": "/dev", "type": "devtmpfs"}, "the container makes its own /dev"),
    ],
)
def test_what_every_machine_has_is_left_to_the_container(item: System, reason: str) -> None:
    system = {**OS, "file_systems": [{**item, "needed_for_boot": True}]}
    assert item["mount_point"] not in [entry["mount_point"] for entry in deployed(system)]
    assert reason in [entry["reason"] for entry in containerization_report(system)["kept"]]


@pytest.mark.parametrize("kind", ["proc", "sysfs", "cgroup2", "cgroup"])
def test_the_kernels_file_systems_are_not_mounted_elsewhere(kind: str) -> None:
    extra = {"device": kind, "mount_point": "/srv/x", "type": kind, "needed_for_boot": True}
    with pytest.raises(DeclarationError, match=rf"^extra_file_systems\[0\]\.type: a container has its own {kind}"):
        containerized_operating_system(OS, extra_file_systems=[extra])


@pytest.mark.parametrize(
    ("store", "refused", "allowed"),
    [
        ("/gnu/store", ["/gnu/store", "/gnu"], ["/usr", "/bin", "/gnu/other"]),
        ("/tree/usr", ["/usr", "/bin"], ["/tree", "/tree/usr"]),
        ("/a=/opt/soft", ["/opt", "/opt/soft"], ["/usr", "/a"]),
        ({"source": "/a", "target": "/b/c"}, ["/b", "/b/c"], ["/usr", "/a"]),
    ],
)
def test_the_store_is_where_it_is_said_to_be(store: t.Any, refused: list[str], allowed: list[str]) -> None:
    for target in refused:
        with pytest.raises(DeclarationError, match=r"^mappings\[0\]\.target"):
            containerized_operating_system(OS, mappings=[f"/x={target}"], store=store)
    for target in allowed:
        places = [item["mount_point"] for item in deployed(OS, mappings=[f"/x={target}"], store=store)]
        assert target in places


@pytest.mark.parametrize("target", ["/run/host", "/proc/x", "/var/run/x", "/run"])
def test_the_stores_own_target(target: str) -> None:
    with pytest.raises(DeclarationError, match=r"^store\.target: "):
        system_files(containerized_operating_system(OS), store=f"/x={target}")


@pytest.mark.parametrize("source", [*ROOTS, *SOURCES])
def test_what_the_host_runs_is_not_writable(source: str) -> None:
    writable = {"source": source, "target": "/x", "writable": True}
    with pytest.raises(DeclarationError, match=r"^mappings\[0\]\.source: .*(is|contains|lies in) /"):
        containerized_operating_system(OS, mappings=[writable])
    with pytest.raises(DeclarationError, match=r"^mapping\.source: "):
        mappings.file_system_mapping(f"{source}=/x", writable=True)
    with pytest.raises(DeclarationError, match=r"^mapping\.source: "):
        mappings.bind_mount(writable)
    bind = {"device": source, "mount_point": "/x", "type": "none", "flags": ["bind-mount"], "needed_for_boot": True}
    with pytest.raises(DeclarationError, match=r"^extra_file_systems\[0\]\.device: "):
        containerized_operating_system(OS, extra_file_systems=[bind])
    with pytest.raises(DeclarationError, match=r"^operating_system\.file_systems\[0\]\.device: "):
        containerized_operating_system({**OS, "file_systems": [bind]})


@pytest.mark.parametrize("source", [*SOURCES, *BESIDE])
def test_it_may_be_read(source: str) -> None:
    found = deployed(OS, mappings=[{"source": source, "target": "/x"}])
    assert [item["flags"] for item in found if item["mount_point"] == "/x"] == [["bind-mount", "read-only"]]


@pytest.mark.parametrize("source", ROOTS)
def test_the_whole_host_is_not_shared(source: str) -> None:
    said = r"'/' is the whole host, .*: name the directories"
    with pytest.raises(DeclarationError, match=rf"^mappings\[0\]\.source: {said}"):
        containerized_operating_system(OS, mappings=[f"{source}=/x"])
    with pytest.raises(DeclarationError, match=rf"^mapping\.source: {said}"):
        mappings.file_system_mapping(f"{source}=/x")
    bind = {"device": source, "mount_point": "/x", "type": "none", "flags": ["bind-mount", "read-only"]}
    with pytest.raises(DeclarationError, match=rf"^extra_file_systems\[0\]\.device: {said}"):
        containerized_operating_system(OS, extra_file_systems=[bind])
    with pytest.raises(DeclarationError, match=rf"^operating_system\.file_systems\[0\]\.device: {said}"):
        containerized_operating_system({**OS, "file_systems": [{**bind, "needed_for_boot": True}]})
    with pytest.raises(DeclarationError, match=rf"^store\.source: {said}"):
        containerized_operating_system(OS, store=f"{source}=/usr")
    (container,) = declared_containers({"web": {"operating_system": OS, "mappings": [f"{source}=/x"]}})
    with pytest.raises(DeclarationError, match=rf"^containers\.web\.mappings\[0\]\.source: {said}"):
        derive(container)


@pytest.mark.parametrize("source", BESIDE)
def test_what_is_beside_it_may_be_written_to(source: str) -> None:
    found = deployed(OS, mappings=[{"source": source, "target": "/x", "writable": True}])
    assert ["bind-mount"] in [item["flags"] for item in found]


def test_a_declared_containers_key_is_named() -> None:
    for mapping, key in (("/x=/run", "target"), ({"source": "/var", "target": "/x", "writable": True}, "source")):
        (container,) = declared_containers({"web": {"operating_system": OS, "mappings": [mapping]}})
        with pytest.raises(DeclarationError, match=rf"^containers\.web\.mappings\[0\]\.{key}: "):
            derive(container)


@pytest.mark.parametrize("may_fail", [True, False])
def test_whether_a_mount_may_fail_reaches_the_target(may_fail: bool) -> None:
    item = {"device": {"label": "x"}, "mount_point": "/srv", "type": "ext4", "mount_may_fail": may_fail}
    item["needed_for_boot"] = True
    declared = deployed({**OS, "file_systems": [item]})
    added = deployed(OS, extra_file_systems=[item])
    for found in (declared, added):
        assert [entry.get("mount_may_fail", False) for entry in found if entry["mount_point"] == "/srv"] == [may_fail]


@pytest.mark.parametrize("may_fail", [False, True])
def test_every_tmpfs_is_the_launchers(may_fail: bool) -> None:
    """An init would mount it over the directories that services have there."""
    item = {"device": "tmpfs", "mount_point": "/srv", "type": "tmpfs", "mount_may_fail": may_fail}
    added = [{"type": "simple", "value": {"target": "fstab", "value": [item]}}]
    for system in ({**OS, "file_systems": [item]}, {**OS, "services": added}):
        result = system_files(containerized_operating_system(system))
        assert [entry["mount_point"] for entry in result["spec"]["file_systems"]].count("/srv") == 1
        assert not [path for path in result["files"] if path.endswith(".mount")]
        assert "tmpfs /srv tmpfs defaults 0 0\n" in result["files"]["/etc/fstab"]["content"]
