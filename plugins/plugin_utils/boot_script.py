# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The script that runs first inside a container, from the role's template, without a templar for each host."""

from __future__ import annotations

import functools
import shlex
import typing as t
from pathlib import Path

TEMPLATE = Path(__file__).resolve().parents[2] / "roles/system_container/templates/boot.sh.j2"


@functools.cache
def _template() -> t.Any:
    import jinja2

    # As Ansible sets it for templates, so that both ways give the same script, byte for byte.
    environment = jinja2.Environment(
        trim_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined, autoescape=False
    )
    environment.filters["quote"] = shlex.quote
    return environment.from_string(TEMPLATE.read_text("utf-8"))


def boot_script(system: dict[str, t.Any]) -> str:
    """Return the text of `boot` for what system_files returns."""
    return str(_template().render(__system_container_system=system))
