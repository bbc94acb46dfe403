# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A mapping that a service does not see, since its unit has a view of its own, is a warning before the start."""

from __future__ import annotations

import re
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host.preflight_hidden import hidden_mappings
from ansible_collections.unshare.container.plugins.module_utils.host.unit_settings import UnitSettings
from ansible_collections.unshare.container.plugins.module_utils.state.system_content import SystemContent
from ansible_collections.unshare.container.plugins.plugin_utils.containerized import containerized_operating_system
from ansible_collections.unshare.container.plugins.plugin_utils.system_files import system_files

from ..specifications import specification

UNITS = "/etc/systemd/system/"
PRIVATE = "[Service]\nExecStart=/bin/sleep 9\nPrivateTmp=yes\n"


def said(units: dict[str, str], *points: str, links: dict[str, str] | None = None, **mount: t.Any) -> list[str]:
    """Return the warnings for a container with units, of which `a.service` is wanted, and mappings."""
    texts = {UNITS + name: text for name, text in units.items()}
    entries: dict[str, t.Any] = {path: {} for path in texts}
    entries[f"{UNITS}multi-user.target.wants/a.service"] = {"link": "../a.service"}
    entries.update({UNITS + name: {"link": target} for name, target in (links or {}).items()})
    kind = {"type": "none", "flags": ["bind-mount"], **mount}
    mounts = [{"device": "/srv/x", "mount_point": point, **kind} for point in points]
    given = specification(files=entries, file_systems=mounts)
    stored = {"/usr/lib/systemd/system/a.service": PRIVATE.encode()}
    return hidden_mappings(
        given, UnitSettings(given, lambda path: texts[path].encode(), lambda path: stored.get(path, b""))
    )


HIDDEN: dict[str, tuple[dict[str, str], str, str]] = {
    "yes": ({"a.service": PRIVATE}, "/tmp/data", "PrivateTmp=yes: .* or PrivateTmp=no in"),
    "true": ({"a.service": "[Service]\nPrivateTmp=True\n"}, "/var/tmp/data/deep", "PrivateTmp=yes"),
    "disconnected": ({"a.service": "[Service]\nPrivateTmp=disconnected\n"}, "/tmp/x", "PrivateTmp=yes"),
    "drop_in": ({"a.service": "", "a.service.d/x.conf": "[Service]\nPrivateTmp=1\n"}, "/tmp/x", "PrivateTmp=yes"),
    "last_counts": ({"a.service": "[Service]\nPrivateTmp=no\nPrivateTmp=on\n"}, "/tmp/x", "PrivateTmp=yes"),
    "dynamic": ({"a.service": "[Service]\nDynamicUser=yes\n"}, "/tmp/x", "implies PrivateTmp=yes: .*BindPaths=/tmp/x"),
    "other_bind": ({"a.service": PRIVATE + "BindPaths=/tmp/other /srv:/tmp/y\n"}, "/tmp/x", "PrivateTmp=yes"),
    "home": (
        {"a.service": "[Service]\nProtectHome=yes\nWorkingDirectory=/home/app\n"},
        "/home/app",
        "ProtectHome=yes: .* or ProtectHome=no in",
    ),
    "root": ({"a.service": "[Service]\nProtectHome=tmpfs\nExecStart=/root/bin/x\n"}, "/root/bin", "ProtectHome=yes"),
}


@pytest.mark.parametrize("case", HIDDEN)
def test_a_mapping_that_is_hidden(case: str) -> None:
    units, point, pattern = HIDDEN[case]
    (warning,) = said(units, point)
    assert warning.startswith(f"the mapping to {point} is not seen by a.service, of which the unit has ")
    assert "use another target, or " in warning
    assert re.search(pattern, warning)


SEEN: dict[str, tuple[dict[str, str], str]] = {
    "none": ({"a.service": "[Service]\nExecStart=/bin/sleep 9\n"}, "/tmp/x"),
    "no": ({"a.service": "[Service]\nPrivateTmp=no\n"}, "/tmp/x"),
    "switched_off": ({"a.service": PRIVATE, "a.service.d/x.conf": "[Service]\nPrivateTmp=no\n"}, "/tmp/x"),
    "elsewhere": ({"a.service": PRIVATE}, "/srv/x"),
    "beside": ({"a.service": PRIVATE}, "/tmpx"),
    "what_tmp_is_made_of": ({"a.service": PRIVATE}, "/var/tmp"),
    "bound": ({"a.service": PRIVATE + "BindPaths=/tmp/x\n"}, "/tmp/x"),
    "bound_read_only": ({"a.service": PRIVATE + "BindReadOnlyPaths=-/srv:/tmp/x:rbind\n"}, "/tmp/x"),
    "bound_above": ({"a.service": PRIVATE + "BindPaths=/tmp/\n"}, "/tmp/x"),
    "not_started": ({"a.service": "", "b.service": PRIVATE}, "/tmp/x"),
    "of_systemd": ({"a.service": "[Unit]\nWants=systemd-a.service\n", "systemd-a.service": PRIVATE}, "/tmp/x"),
    "a_home_that_is_not_named": ({"a.service": "[Service]\nProtectHome=yes\n"}, "/home/alice"),
    "a_home_read_only": ({"a.service": "[Service]\nProtectHome=read-only\nExecStart=/home/x/a\n"}, "/home/x"),
}


@pytest.mark.parametrize("case", SEEN)
def test_a_mapping_that_is_seen(case: str) -> None:
    assert said(SEEN[case][0], SEEN[case][1]) == []


def test_one_warning_names_all_services_of_a_mapping() -> None:
    units = {"a.service": PRIVATE + "[Unit]\nWants=b.service\n", "b.service": PRIVATE}
    first, second = said(units, "/tmp/x", "/tmp/y")
    assert first.startswith("the mapping to /tmp/x is not seen by a.service, b.service, of which")
    assert second.startswith("the mapping to /tmp/y is not seen by a.service, b.service, of which")


def test_a_unit_of_the_store() -> None:
    (warning,) = said({}, "/tmp/x", links={"a.service": "/usr/lib/systemd/system/a.service"})
    assert "a.service" in warning


def test_memory_is_no_mapping() -> None:
    assert said({"a.service": PRIVATE}, "/tmp/x", type="tmpfs", flags=[]) == []
    assert len(said({"a.service": PRIVATE}, "/tmp/x", type="ext4", flags=[])) == 1


@pytest.mark.parametrize(
    ("service", "unit", "setting"),
    [
        ({"type": "redis"}, "redis.service", "PrivateTmp=yes"),
        ({"type": "nginx", "value": {"servers": [{"root": "/srv/www"}]}}, "nginx.service", "PrivateTmp=yes"),
        ({"type": "static-web-server"}, "static-web-server.service", "DynamicUser=yes"),
    ],
)
def test_the_hardening_that_services_have_by_themselves(service: dict[str, t.Any], unit: str, setting: str) -> None:
    declared = {"host_name": "web", "services": [service]}
    system = system_files(containerized_operating_system(declared, mappings=[{"source": "/srv", "target": "/tmp/x"}]))
    content = SystemContent(system, "", {"main.py": ""}, "/usr/bin/python3")
    texts = UnitSettings(content.specification, lambda path: content.files[path].content)
    (warning,) = hidden_mappings(content.specification, texts)
    assert warning.startswith(f"the mapping to /tmp/x is not seen by {unit}, of which the unit has {setting}")
