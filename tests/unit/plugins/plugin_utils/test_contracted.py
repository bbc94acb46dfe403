# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller accepts what the target accepts, and refuses the rest with the place that the user wrote."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.contract import Specification
from ansible_collections.unshare.container.plugins.plugin_utils.containerized import containerized_operating_system
from ansible_collections.unshare.container.plugins.plugin_utils.errors import DeclarationError
from ansible_collections.unshare.container.plugins.plugin_utils.system_files import system_files

TMPFS = {"device": "tmpfs", "mount_point": "/x", "type": "tmpfs", "needed_for_boot": True}
DISK = {**TMPFS, "type": "ext4"}
ACCEPTED: dict[str, tuple[list[dict[str, t.Any]], dict[str, t.Any]]] = {
    "no options": ([{**TMPFS, "options": ""}], {}),
    "an empty argument": ([], {"init": {"argv": ["/bin/x", ""]}}),
    "an empty variable": ([], {"init": {"argv": ["/bin/x"], "environment": {"A": ""}}}),
    "a label with a blank": ([{**DISK, "device": {"label": "my disk"}}], {}),
}
REFUSED = {
    "a label that is a path": ({**DISK, "device": {"label": "a/b"}}, "device: .* is neither a UUID nor a label"),
    "a UUID that is a path": ({**DISK, "device": {"uuid": "../sda"}}, "device: .* is neither a UUID nor a label"),
    "a type of the kernel's own": ({**TMPFS, "type": "proc"}, "type: "),
    "an option that is no text": ({**TMPFS, "options": "size=1m\0"}, "options: "),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_what_is_accepted_is_read(case: str) -> None:
    file_systems, options = ACCEPTED[case]
    spec = system_files(containerized_operating_system({"host_name": "a", "file_systems": file_systems}), **options)[
        "spec"
    ]
    assert Specification.read(spec).write() == spec


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("kind", ["declared", "extra"])
def test_what_is_not_read_is_refused_with_its_place(case: str, kind: str) -> None:
    record, message = REFUSED[case]
    operating_system: dict[str, t.Any] = {"host_name": "a"}
    options = {"extra_file_systems": [record]} if kind == "extra" else {}
    if kind == "declared":
        operating_system["file_systems"] = [record]
    with pytest.raises(DeclarationError, match=rf"(?:^|\.|extra_)file_systems\[0\]\.{message}"):
        system_files(containerized_operating_system(operating_system, **options))
