# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The documented scenario for a role that installs packages, on machines of two distributions (T5, T6)."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.unshare.container.tests import followed

from . import machine_tree
from .connection_hosts import ansible
from .scenarios import molecule, write

pytestmark = [pytest.mark.root, pytest.mark.long, pytest.mark.usefixtures("host_unchanged"), pytest.mark.timeout(400)]

TREE = "unshare.container.tree"
IN_A_NETWORK_OF_ITS_OWN = ["unshare", "--net", "sh", "-ec", 'ip link set lo up; exec "$@"', "sh"]
"""A zone makes interfaces and rules in the host's network."""


@pytest.fixture
def directory(tmp_path: Path) -> t.Iterator[Path]:
    """Give a directory, and remove the trees that a scenario has made."""
    yield tmp_path
    for suite in machine_tree.SUITES:
        words = ["--module-name", TREE, "--args", f"name=test-{suite} state=absent", "localhost"]
        done = ansible("ansible", *words, directory=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr


def test_t5_t6_a_role_installs_packages_on_two_distributions(directory: Path) -> None:
    """As the page tells, but that the trees come from a directory each, in which the packages are, too."""
    with followed.Page("docs/testing-your-roles.md", __file__) as page:
        test = page.take("molecule test")
        write(page.rest(), directory)
    role = directory / "website"
    create = role / "molecule/default/create.yml"
    (play,) = yaml.safe_load(create.read_text())
    options = play["tasks"][0][TREE]
    assert set(options["mmdebstrap"].pop("packages")) <= set(machine_tree.PACKAGES)
    assert options.pop("mmdebstrap") == {"suite": "{{ item }}"}
    options["directory"] = "{{ {'bookworm': '%s', 'trixie': '%s'}[item] }}" % tuple(
        machine_tree.made(suite).resolve() for suite in machine_tree.SUITES
    )
    create.write_text(yaml.safe_dump([play]))
    said = molecule(*test.text.split()[1:], directory=role, state=directory, before=IN_A_NETWORK_OF_ITS_OWN)
    assert "1 successful" in said
    for name in ("idempotence", "verify"):
        assert f"{name}: Executed: Successful" in said
