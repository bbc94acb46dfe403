# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the roles say about the options of a container, made from its record and from the documentation fragments.

Run as a program, it brings the files up to date.
"""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import yaml
from ansible_collections.unshare.container.plugins.doc_fragments import container, system
from ansible_collections.unshare.container.plugins.plugin_utils.container_record import RECORD

Options = dict[str, dict[str, t.Any]]

ROOT = Path(__file__).resolve().parents[2]
ROLES = ROOT / "roles"
PREFIX = "system_container_"
RESULT = "system_container_result"
"""The variable in which the role leaves what the module has returned."""

BEGIN = "made from the record of a container: begin"
END = "made from the record of a container: end"
WIDTH = 80
"""The column from which on PyYAML breaks a line at the next blank."""


class _Inline(list[t.Any]):
    """A list that is written within a line."""


class _Dumper(yaml.SafeDumper):
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Indent the items of lists, too."""
        return super().increase_indent(flow, False)


_Dumper.add_representer(
    _Inline, lambda dumper, data: dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=True)
)


def documented() -> Options:
    """Return the options of all sections of the fragments, each of which must stand in one of them."""
    found: Options = {}
    for name, text in [*vars(container.ModuleDocFragment).items(), *vars(system.ModuleDocFragment).items()]:
        if name.isupper():
            for option, entry in yaml.safe_load(text)["options"].items():
                assert option not in found, f"{option} is described twice"
                found[option] = entry
    return found


def in_role(text: str) -> str:
    """Return a text of the fragment with its references to options and values as the role has them."""
    text = re.sub(r"\bO\((?=\w)", f"O({PREFIX}", text)
    return re.sub(r"\bRV\((\w)", rf"C({RESULT}.\1", text)


def specification() -> Options:
    """Return what `meta/argument_specs.yml` of the role `system_container` says of the options of a container."""
    texts = documented()
    return {PREFIX + name: _specified(option, texts[name]) for name, option in RECORD.items()}


def _specified(option: dict[str, t.Any], text: dict[str, t.Any]) -> dict[str, t.Any]:
    said = text["description"]
    lines = [in_role(line) for line in said] if isinstance(said, list) else in_role(said)
    result: dict[str, t.Any] = {"description": lines}
    for key in ("type", "elements", "required", "choices", "default"):
        if key in option:
            result[key] = _Inline(option[key]) if isinstance(option[key], list) else option[key]
    if "options" in option:
        within = text["suboptions"]
        result["options"] = {name: _specified(inner, within[name]) for name, inner in option["options"].items()}
    return result


def specification_text() -> str:
    """Return them as YAML, indented as the file has them."""
    dumped = _dump({"argument_specs": {"main": {"options": specification()}}})
    return dumped.split("\n", 3)[3]


def defaults_text() -> str:
    """Return the defaults of the role's variables as YAML."""
    return _dump({PREFIX + name: option["default"] for name, option in RECORD.items() if "default" in option})


def _dump(value: t.Any) -> str:
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=WIDTH, allow_unicode=True)


def table(prefix: str) -> str:
    """Return a table of the options in Markdown: name, default, and the first sentence of what is said of each."""
    texts = documented()
    rows = ["| option | default | meaning |", "|---|---|---|"]
    for name, option in RECORD.items():
        said = texts[name]["description"]
        first = re.split(r"(?<=[.])\s", said if isinstance(said, str) else said[0], maxsplit=1)[0].rstrip(".")
        meaning = re.sub(r"\b[A-Z]+\(([^)#]*)[^)]*\)", r"`\1`", re.sub(r"\bO\(", f"O({prefix}", first))
        if "options" in option:
            meaning += ": " + ", ".join(f"`{inner}`" for inner in option["options"])
        elif "choices" in option:
            meaning += ": " + ", ".join(f"`{choice}`" for choice in option["choices"])
        default = _dump(_Inline([option["default"]])).strip()[1:-1] if "default" in option else ""
        rows.append(f"| `{prefix}{name}` | {f'`{default}`' if default else ''} | {meaning} |")
    return "\n".join(rows) + "\n"


PAGES: dict[Path, t.Callable[[], str]] = {
    ROLES / "system_container/meta/argument_specs.yml": specification_text,
    ROLES / "system_container/defaults/main.yml": defaults_text,
    ROLES / "system_container/README.md": lambda: table(PREFIX),
    ROLES / "containers/README.md": lambda: table(""),
}
"""The files that have a generated part, and what makes it."""


def updated(path: Path) -> str:
    """Return the text of a file with its generated part made anew; ValueError without the two marks."""
    text = path.read_text(encoding="utf-8")
    made = PAGES[path]()
    markdown = path.suffix == ".md"
    blank = "\n" if markdown else ""
    result, count = re.subn(
        f"(?m)^(.*{BEGIN}.*\n)(?:.*\n)*?(.*{END}.*)$",
        lambda match: f"{match[1]}{blank}{made}{blank}{match[2]}",
        text,
    )
    if count != 1:
        raise ValueError(f"{path} must have a line with {BEGIN!r}, then one with {END!r}, once")
    return result


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(updated(page), encoding="utf-8")
