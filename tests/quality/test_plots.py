# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plots of the pages are drawn from the results that lie beside them."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from ansible_collections.unshare.container.tests.benchmarks import documents

ROOT = Path(__file__).parents[2]
PLOTS = ROOT / "docs/plots"
PAGES = [path.read_text("utf-8") for path in (ROOT / "docs").glob("*.md")]
NAMED = {name for page in PAGES for name in re.findall(r"\]\(plots/([^)#]+)\)", page)}
DRAWN = sorted(PLOTS.glob("*.svg"))
RESULTS = sorted(PLOTS.glob("*.json"))
MOST_BYTES = 100_000
SOURCE = "{http://purl.org/dc/elements/1.1/}source"


def source(plot: Path) -> tuple[str, str]:
    """Return the name of the results that a plot was drawn from, and their digest."""
    said = next(iter(ET.parse(plot).iter(SOURCE))).text or ""
    name, _, digest = said.partition(" sha256:")
    return name, digest


def test_pages_name_every_file_of_the_plots_and_no_other() -> None:
    assert {path.name for path in PLOTS.iterdir()} == NAMED
    assert DRAWN


@pytest.mark.parametrize("plot", DRAWN, ids=lambda path: path.name)
def test_a_plot_is_drawn_from_the_results_that_are_there(plot: Path) -> None:
    name, digest = source(plot)
    assert documents.read(PLOTS / name).digest == digest, "run `make benchmark-plots`"


@pytest.mark.parametrize("plot", DRAWN, ids=lambda path: path.name)
def test_a_plot_names_machine_versions_and_who_was_not_measured(plot: Path) -> None:
    document = documents.read(PLOTS / source(plot)[0])
    shown = " ".join(text.strip() for text in ET.parse(plot).getroot().itertext() if text.strip())
    for text in (document.machine(), document.programs(), *document.absent()):
        assert " ".join(text.split()) in " ".join(shown.split())


def test_no_results_lie_there_from_which_nothing_was_drawn() -> None:
    assert {source(plot)[0] for plot in DRAWN} == {path.name for path in RESULTS}


@pytest.mark.parametrize("path", [*DRAWN, *RESULTS], ids=lambda path: path.name)
def test_a_file_is_small(path: Path) -> None:
    assert path.stat().st_size <= MOST_BYTES
