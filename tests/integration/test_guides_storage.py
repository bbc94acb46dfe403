# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The page about storage, followed on a host that has nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from ansible_collections.unshare.container.tests import followed
from ansible_collections.unshare.container.tests.integration.fleet_hosts import Fleet
from ansible_collections.unshare.container.tests.integration.reader import HostReader, furnish

pytestmark = [pytest.mark.root, pytest.mark.long, pytest.mark.timeout(300)]

SHOP = "/run/unshare/shop/system/enter-container"


def changes_data(reader: HostReader, command: str, said: str) -> None:
    """After what was saved, write an order; after what was put back, it is not there.

    What was saved as the rest of an earlier archive has the order that was written between the two.
    """

    def sql(text: str) -> str:
        return reader.run(f"{SHOP} --user=postgres psql --tuples-only --command='{text}' postgres").strip()

    if "state=absent" in command:
        return
    assert "CHANGED" in said
    if "state=" not in command:
        assert sql("insert into orders values (1)") == "INSERT 0 1"
    elif "base=" in command:
        assert sql("select count(*) from orders") == "1"
        assert sql("delete from orders") == "DELETE 1"
    else:
        assert sql("select count(*) from orders") == "0"


def test_v1_v6_the_page_about_storage(tmp_path: Path) -> None:
    with Fleet(1, ranges=4) as fleet, followed.Page("docs/storage.md", __file__) as page:
        furnish(fleet.hosts[0])
        reader = HostReader(fleet.hosts[0], tmp_path)
        for step in page.rest():
            if "restore_container" in step.text:
                (made,) = reader.run("ls backups/one.example.org").split()
                reader.changes[r"shop-\d+T\d+\.tar"] = made
            said = reader.follow([step])
            if "select" in step.text:
                assert "(0 rows)" in said
            elif step.text.startswith("du "):
                assert re.findall(r"volumes/(\w+)$", said, re.MULTILINE) == ["openssh", "postgresql", "uploads"]
                assert reader.run(f"{SHOP} stat -c '%U:%G %a' /srv/uploads").strip() == "alice:users 750"
            elif step.text.startswith("ansible ") and re.search("container_(snapshot|archive) ", step.text):
                changes_data(reader, step.text, said)
            elif "system_container_info" in step.text:
                (found,) = json.loads(said[said.index("{") :])["containers"]
                assert [item["name"] for item in found["volumes"]] == ["openssh", "postgresql", "uploads"]
            elif "state=absent" in step.text:
                left = reader.run("ls /var/lib/unshare/containers/shop/volumes || true")
                assert ("postgresql" in left) == ("remove_volumes" not in step.text) == ("are kept in" in said)
        assert reader.run("ls /var/lib/unshare/containers || true").split("\n")[0] != "shop"
