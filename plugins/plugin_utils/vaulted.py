# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values of the vault: found in variables, and kept out of what Ansible shows.

A value keeps its mark only while it is a value of its own. Within a text, or in what a filter returns, there is none.
So the variables themselves are searched, and what is made from them is compared with what was found.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import typing as t
from collections.abc import Mapping

SHORTEST = 4
"""The shortest text, in characters, that is looked for: shorter ones are part of any other."""

HIDDEN = "********"
_ENCRYPTED = ("AnsibleVaultEncryptedUnicode", "EncryptedString")
_HEADER = b"$ANSIBLE_VAULT;"
_TEMPLATE = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)
_ELSEWHERE = ("hostvars", "vars", "groups")
"""Variables that repeat others, or are those of other hosts."""


def vaulted_texts(*values: t.Any) -> frozenset[str]:
    """Return the texts in VALUES (of any type) that come from the vault: encrypted alone, or in an encrypted file.

    A text that cannot be decrypted is left out: nothing has been made from it.
    """
    found: set[str] = set()
    files: dict[str, bool] = {}
    seen: set[int] = set()
    waiting = [*values]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str) or type(value).__name__ in _ENCRYPTED:
            text = _vaulted(value, files)
            if text is not None:
                found.update(_parts(text))
        elif isinstance(value, (Mapping, list, tuple)) and id(value) not in seen:
            seen.add(id(value))
            waiting += [value[key] for key in value if key not in _ELSEWHERE] if isinstance(value, Mapping) else value
    return frozenset(found)


def _vaulted(value: t.Any, files: dict[str, bool]) -> str | None:
    """Return the text of VALUE when it comes from the vault, else None."""
    if type(value).__name__ in _ENCRYPTED:
        try:
            return str(value)
        except Exception:
            return None
    tags = {type(tag).__name__: tag for tag in _tags(value)}
    if "VaultedValue" in tags or "SourceWasEncrypted" in tags:
        return str.__str__(value)
    position = getattr(value, "ansible_pos", None)  # of ansible-core 2.18
    path = position[0] if isinstance(position, tuple) and position else getattr(tags.get("Origin"), "path", None)
    return str.__str__(value) if isinstance(path, str) and _is_encrypted(path, files) else None


def _tags(value: t.Any) -> t.Iterable[t.Any]:
    """Return what ansible-core (since 2.19) notes about a value."""
    tags = getattr(value, "_ansible_tags_mapping", None)
    return tags.values() if isinstance(tags, Mapping) else ()


def _is_encrypted(path: str, files: dict[str, bool]) -> bool:
    if path not in files:
        try:
            with open(path, "rb") as file:
                files[path] = file.read(len(_HEADER)) == _HEADER
        except (OSError, ValueError):
            files[path] = False
    return files[path]


def _parts(text: str) -> set[str]:
    """Return what to look for of a text: what stands around its templates, and the long lines of several."""
    parts = [part.strip() for part in _TEMPLATE.split(text)]
    parts += [line.strip() for part in parts if "\n" in part for line in part.splitlines() if len(line.strip()) > 15]
    return {part for part in parts if len(part) >= SHORTEST}


def forms(text: str) -> set[str]:
    """Return TEXT as it may stand in a file: itself, and with the escapes of systemd, of JSON and of `base64`."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    on_line = escaped.replace("\n", "\\n").replace("\t", "\\t")
    doubled = on_line.replace("%", "%%")
    dumped = json.dumps(text)[1:-1]
    encoded = base64.b64encode(text.encode("utf-8", "surrogatepass")).decode("ascii")
    return {text, escaped, on_line, doubled, doubled.replace("$", "$$"), text.replace("%", "%%"), dumped, encoded}


def occurring(texts: t.Iterable[str], value: t.Any) -> list[str]:
    """Return those of TEXTS that occur in VALUE, plain data, in their order."""
    content = "\0".join(_strings(value))
    return sorted(text for text in texts if any(form in content for form in forms(text)))


def _strings(value: t.Any) -> t.Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _strings(key)
            yield from _strings(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _strings(item)


def with_secrets(system: dict[str, t.Any], texts: t.Iterable[str]) -> dict[str, t.Any]:
    """Return a system (of the filter `system_files`) in which each file that holds one of TEXTS is marked as secret."""
    wanted = {form for text in texts for form in forms(text)}
    files = {
        path: {**entry, "secret": True} if "content" in entry and _holds(entry, wanted) else entry
        for path, entry in system["files"].items()
    }
    return {**system, "files": files}


def _holds(entry: Mapping[str, t.Any], wanted: set[str]) -> bool:
    content = entry["content"]
    if entry.get("encoding") == "base64":
        try:
            content += "\0" + base64.b64decode(content).decode("utf-8", "replace")
        except (binascii.Error, ValueError):
            pass  # which is refused elsewhere
    return any(form in content for form in wanted)


def shown(result: dict[str, t.Any], texts: t.Iterable[str]) -> dict[str, t.Any]:
    """Return a task's result with HIDDEN in place of each of TEXTS, in all that Ansible shows and nothing reads."""
    return {
        key: hidden(item, texts) if key in ("diff", "invocation", "msg", "exception", "warnings") else item
        for key, item in result.items()
    }


def hidden(value: t.Any, texts: t.Iterable[str]) -> t.Any:
    """Return a result (plain data) with HIDDEN in place of each of TEXTS."""
    wanted = sorted({form for text in texts for form in forms(text)}, key=len, reverse=True)
    if not wanted:
        return value
    pattern = re.compile("|".join(map(re.escape, wanted)))

    def without(item: t.Any) -> t.Any:
        if isinstance(item, str):
            return pattern.sub(HIDDEN, item)
        if isinstance(item, Mapping):
            return {key: without(part) for key, part in item.items()}
        if isinstance(item, (list, tuple)):
            return [without(part) for part in item]
        return item

    return without(value)
