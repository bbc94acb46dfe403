# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Golden outputs: what is made, as text that a person reads, kept below tests/unit/golden/.

`make golden` writes them anew; the difference to what was there is what a change of the code does.
"""

from __future__ import annotations

import difflib
import os
import pathlib
import typing as t

import yaml

DIRECTORY = pathlib.Path(__file__).resolve().parents[1] / "golden"
_LICENCE = "# SPDX-FileCopyrightText: The unshare.container authors\n# SPDX-License-Identifier: GPL-3.0-or-later\n\n"

System = dict[str, t.Any]


def writing() -> bool:
    """Return whether the files are to be written anew."""
    return os.environ.get("GOLDEN") == "write"


def read(name: str) -> t.Any:
    """Return the data that the YAML file NAME holds."""
    return yaml.safe_load((DIRECTORY / name).read_text(encoding="utf-8"))


def check(name: str, text: str) -> None:
    """Assert that TEXT is what the file NAME holds."""
    path = DIRECTORY / name
    text = _LICENCE + text
    if writing():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    former = path.read_text(encoding="utf-8") if path.exists() else ""
    difference = "".join(difflib.unified_diff(former.splitlines(True), text.splitlines(True), name, "now"))
    assert former == text, f"make golden, and look at the difference:\n{difference}"


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as such."""

    def ignore_aliases(self, data: t.Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def dump(value: t.Any) -> str:
    """Return VALUE, plain data, as YAML, its keys in their order."""
    text: str = yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=110, allow_unicode=True
    )
    return text


def _head(path: str, entry: dict[str, t.Any]) -> str:
    if "link" in entry:
        return f"--- {path} -> {entry['link']}"
    told = {key: value for key, value in entry.items() if key not in ("content", "mode", "uid", "gid")}
    more = "".join(f" {key}={value}" for key, value in told.items())
    return f"--- {path} {entry['mode']} {entry.get('uid', 0)}:{entry.get('gid', 0)}{more}"


def file_text(path: str, entry: dict[str, t.Any]) -> str:
    """Return a file of a system: path, mode, owners, then its content."""
    content = entry.get("content", "")
    missing = "\n" if content and not content.endswith("\n") else ""
    return f"{_head(path, entry)}\n{content}{missing}"


def system_text(system: System, base: System | None = None) -> str:
    """Return a system as text; with BASE, only in what it differs from that."""
    parts = []
    for key in ("name", "spec", "packages", "programs", "host_files", "activation"):
        value = system[key]
        if base is not None and isinstance(value, list):
            value = [item for item in value if item not in base[key]]
        if base is None or (value != base[key] and value):
            parts.append(dump({key: value}))
    directories = [item for item in system["directories"] if base is None or item not in base["directories"]]
    parts += [f"{item['mode']} {item['uid']}:{item['gid']} {item['path']}\n" for item in directories]
    for path, entry in system["files"].items():
        former = base["files"].get(path) if base is not None else None
        if former is None:
            parts.append(file_text(path, entry))
        elif former != entry:
            changed = difflib.unified_diff(
                former.get("content", "").splitlines(), entry.get("content", "").splitlines(), n=0, lineterm=""
            )
            lines = [line for line in changed if not line.startswith(("---", "+++", "@@"))]
            parts.append("\n".join([_head(path, entry), *lines]) + "\n")
    if base is not None:
        parts += [f"--- {path} is not there\n" for path in base["files"] if path not in system["files"]]
    return "".join(parts)


def check_refusals(name: str, ask: t.Callable[[dict[str, t.Any]], t.Any], error: type[Exception]) -> None:
    """Assert that ASK of each row of the YAML file NAME raises ERROR with the words that the row `says`."""
    rows = read(name)
    said, taken = [], []
    for row in rows:
        asked = {key: value for key, value in row.items() if key != "says"}
        try:
            ask(asked)
        except error as refusal:
            said.append({**asked, "says": str(refusal)})
        else:
            taken.append(asked)
    assert not taken, f"{name}: these are not refused: {taken}"
    check(name, "\n".join(dump([row]) for row in said))
