# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guides say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from ansible_collections.unshare.container.plugins.plugin_utils import specs
from ansible_collections.unshare.container.tests.integration import isolation_record
from ansible_collections.unshare.container.tests.integration.attempts import rows
from ansible_collections.unshare.container.tests.quality import security_table, service_reference

ROOT = Path(__file__).resolve().parents[2]
CERTIFICATION = [
    "Description",
    "Requirements",
    "Installation",
    "Use Cases",
    "Testing",
    "Support",
    "Release Notes and Roadmap",
    "Related Information",
    "License Information",
]
RULES = [f"{letter}{number}" for letter, last in (("C", 14), ("S", 14), ("E", 4)) for number in range(1, last + 1)]
RECORDS = {
    "Fields": specs.OPERATING_SYSTEM,
    "`users`": specs.USER,
    "`groups`": specs.GROUP,
    "`hosts`": specs.HOST,
    "`file_systems`": specs.FILE_SYSTEM,
    "`swap_devices`": specs.SWAP,
    "`mapped_devices`": specs.MAPPED_DEVICE,
    "Mappings": specs.MAPPING,
}


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def section(page: str, heading: str) -> str:
    """Return the text of the section of the second level with HEADING."""
    return page.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


def test_readme_has_the_headings_of_certification() -> None:
    assert re.findall(r"^## (.+)$", read("README.md"), re.MULTILINE) == CERTIFICATION


def test_rules_are_all_described() -> None:
    assert re.findall(r"^\| ([A-Z]\d+) \|", read("docs/containerization.md"), re.MULTILINE) == RULES


def texts(*names: str) -> str:
    """Return what all files of Python in these directories hold."""
    return "\n".join(path.read_text(encoding="utf-8") for name in names for path in sorted((ROOT / name).rglob("*.py")))


def test_every_rule_has_a_test_that_carries_its_id() -> None:
    """By its name, which begins with the ids: `test_s4_s5_namespaces_and_ids`."""
    names = re.findall(r"^def test((?:_[cse]\d+)+)_", texts("tests/unit", "tests/integration"), re.MULTILINE)
    carried = {rule.upper() for name in names for rule in name.split("_")[1:]}
    assert carried == set(RULES)


def test_every_rule_that_is_cited_is_described() -> None:
    pages = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md"))
    cited = set(re.findall(r"\b[CSE]\d{1,2}\b", pages + texts("plugins")))
    assert cited <= set(RULES)


def test_service_reference_is_current() -> None:
    page = read("docs/services.md")
    assert service_reference.updated(page) == page, "run `make docs`"


def test_own_types_reference_lists_exactly_the_fields() -> None:
    text = section(read("docs/services.md"), "Types of your own")
    assert set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == set(specs.SERVICE_TYPE)


@pytest.mark.parametrize("heading", RECORDS)
def test_declaration_reference_lists_exactly_the_fields(heading: str) -> None:
    text = section(read("docs/operating_system.md"), heading)
    first_cells = re.findall(r"^\| (`[^|]+`) \|", text, re.MULTILINE)
    assert {name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)} == set(RECORDS[heading])


@pytest.mark.parametrize("page", sorted(path.name for path in (ROOT / "docs").glob("*.md")) + ["../README.md"])
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", read(f"docs/{page}")):
        assert (ROOT / "docs" / page).parent.joinpath(target).exists(), target


def test_version_has_a_changelog_entry() -> None:
    version = yaml.safe_load(read("galaxy.yml"))["version"]
    assert version in yaml.safe_load(read("changelogs/changelog.yaml"))["releases"]


def test_table_of_what_gets_through_is_current() -> None:
    page = read("docs/security.md")
    assert security_table.updated(page) == page, "run `make docs`"


def test_every_word_of_the_table_is_used() -> None:
    """A row without attempts, a mode that nothing was tried in, a note on a cell where nothing gets through."""
    record = isolation_record.read()
    assert {entry["row"] for entry in record.values()} == set(rows.ROWS)
    assert {mode for entry in record.values() for mode in entry["refused"] + entry["through"]} == set(rows.MODES)
    through = {(entry["row"], mode) for entry in record.values() for mode in entry["through"]}
    assert set(rows.NOTES) <= through
    assert set(rows.HARMLESS) <= {row for row, _mode in through}


def test_security_page_names_tests_that_exist() -> None:
    """Each promise names what shows it: a module of the tests, and tests in it."""
    promises = section(read("docs/security.md"), "Promises")
    promised = [line for line in promises.splitlines() if line.startswith("| ") and not line.startswith("| promise ")]
    assert len(promised) > 10
    for line in promised:
        shown = line.rstrip("| ").rpartition(" | ")[2]
        names = re.findall(r"`(test_\w+)`: ((?:`\w+`(?:, )?)+)", shown)
        assert names, f"names no test: {line}"
        for module, functions in names:
            text = read(f"tests/integration/{module}.py")
            for function in re.findall(r"`(\w+)`", functions):
                assert f"def test_{function}(" in text, f"{module} has no test_{function}"
