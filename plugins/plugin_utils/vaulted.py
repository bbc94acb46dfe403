# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values of the vault: found in variables, and kept out of what Ansible shows.

A value keeps its mark only while it is a value of its own. Within a text, or in what a filter returns, there is none.
So the variables themselves are searched, and what is made from them is compared with what was found.
"""

from __future__ import annotations

import ast
import base64
import binascii
import dataclasses
import html
import json
import re
import shlex
import typing as t
import urllib.parse
from collections.abc import Mapping

from ansible.errors import AnsibleError

from .errors import DeclarationError

SHORTEST = 4
"""The shortest text, in characters, that is looked for: shorter ones are part of any other."""

LEAST_DIGITS = 6
"""The least digits of a number that is looked for: shorter ones are ports, modes and the like."""

HIDDEN = "********"
_ENCRYPTED = ("AnsibleVaultEncryptedUnicode", "EncryptedString")
_HEADER = b"$ANSIBLE_VAULT;"
_TEMPLATE = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)
_ELSEWHERE = ("hostvars", "vars", "groups")
"""Variables that repeat others, or are those of other hosts."""

READ = (
    "boot_command",
    "failed_units",
    "generation",
    "hash",
    "missing",
    "name",
    "outdated",
    "outdated_units",
    "page",
    "restarted_units",
    "run_container",
    "state",
    "system",
    "unnamed",
)
"""Keys of a result that later tasks read. They name what is on the host, and no secret is made of them."""

_QUOTED = re.compile(r"""(?<!\w)(?:'((?:[^'\\\n]|\\.)+)'|"((?:[^"\\\n]|\\.)+)"|`([^`\n]+)`)(?!\w)""")


def vaulted_texts(*values: t.Any) -> frozenset[str]:
    """Return the texts in VALUES (of any type) that come from the vault: encrypted alone, or in an encrypted file.

    A text that cannot be decrypted is left out: nothing has been made from it. No template in VALUES is resolved.
    """
    found: set[str] = set()
    files: dict[str, bool] = {}
    seen: set[int] = set()
    waiting = [(value, False) for value in values]
    while waiting:
        value, within = waiting.pop()
        if isinstance(value, (str, int, float)) or type(value).__name__ in _ENCRYPTED:
            text = _vaulted(value, files, within)
            if text is not None:
                found.update(_parts(text))
        elif isinstance(value, (Mapping, list, tuple)) and id(value) not in seen:
            seen.add(id(value))
            inside = within or _is_encrypted(_file_of(value), files)
            waiting += [(item, inside) for item in _items(value)]
    return frozenset(found)


def _items(value: t.Any) -> t.Iterator[t.Any]:
    """Return what is in a mapping or a sequence, as it was written."""
    items: t.Iterable[t.Any]
    if isinstance(value, dict):
        items = (item for key, item in dict.items(value) if key not in _ELSEWHERE)
    elif isinstance(value, list):
        items = list.__iter__(value)
    elif isinstance(value, tuple):
        items = tuple.__iter__(value)
    elif isinstance(getattr(value, "maps", None), list):
        items = value.maps  # a ChainMap, of which that of a template resolves what is asked for
    else:
        items = (value[key] for key in value if key not in _ELSEWHERE)
    for item in items:
        yield item.value if type(item).__name__ == "_LazyValue" else item  # of ansible-core 2.19


def _vaulted(value: t.Any, files: dict[str, bool], within: bool) -> str | None:
    """Return the text of VALUE when it comes from the vault, else None.

    :param within: whether what holds it was read from an encrypted file.
    """
    if type(value).__name__ in _ENCRYPTED:
        try:
            return str(value)
        except Exception:
            return None
    tags = {type(tag).__name__ for tag in _tags(value)}
    if not (within or "VaultedValue" in tags or "SourceWasEncrypted" in tags or _is_encrypted(_file_of(value), files)):
        return None
    if isinstance(value, str):
        return str.__str__(value)
    text = str(value)
    return text if sum(map(str.isdigit, text)) >= LEAST_DIGITS else None


def _file_of(value: t.Any) -> t.Any:
    """Return the path of the file that VALUE was read from, where ansible-core has noted it."""
    position = getattr(value, "ansible_pos", None)  # of ansible-core 2.18
    if isinstance(position, tuple) and position:
        return position[0]
    return next((getattr(tag, "path", None) for tag in _tags(value) if type(tag).__name__ == "Origin"), None)


def _tags(value: t.Any) -> t.Iterable[t.Any]:
    """Return what ansible-core (since 2.19) notes about a value."""
    tags = getattr(value, "_ansible_tags_mapping", None)
    return tags.values() if isinstance(tags, Mapping) else ()


def _is_encrypted(path: t.Any, files: dict[str, bool]) -> bool:
    if not isinstance(path, str):
        return False
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
    """Return TEXT as it may stand in a file or in a message.

    That is itself, and with the escapes of systemd, of JSON, of `repr`, of a shell, of HTML, of URLs, and in `base64`.
    """
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    on_line = escaped.replace("\n", "\\n").replace("\t", "\\t")
    doubled = on_line.replace("%", "%%")
    encoded = base64.b64encode(text.encode("utf-8", "surrogatepass")).decode("ascii")
    return {
        text,
        escaped,
        on_line,
        doubled,
        doubled.replace("$", "$$"),
        text.replace("%", "%%"),
        json.dumps(text)[1:-1],
        json.dumps(text, ensure_ascii=False)[1:-1],
        repr(text)[1:-1],
        repr(f"\"{text}'")[2:-3],  # within a text that has both quotes
        shlex.quote(text).strip("'"),
        html.escape(text),
        urllib.parse.quote(text, safe="", errors="replace"),
        encoded,
    }


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
    """Return a task's result with HIDDEN in place of each of TEXTS, but in what later tasks read."""
    texts = list(texts)
    changed: dict[str, t.Any] = {}
    for key, item in result.items():
        if key in READ:
            changed[key] = item
        elif key == "containers" and isinstance(item, list):
            changed[key] = [shown(part, texts) if isinstance(part, dict) else hidden(part, texts) for part in item]
        elif key == "msg" and isinstance(item, str):
            changed[key] = hidden_message(item, texts)
        else:
            changed[key] = hidden(item, texts)
    return changed


def hidden(value: t.Any, texts: t.Iterable[str]) -> t.Any:
    """Return a result (plain data, or what ansible-core notes of errors) with HIDDEN in place of each of TEXTS."""
    wanted = sorted({form for text in texts for form in forms(text)}, key=len, reverse=True)
    if not wanted:
        return value
    pattern = re.compile("|".join(map(re.escape, wanted)))

    def without(item: t.Any) -> t.Any:
        if isinstance(item, str):
            return pattern.sub(HIDDEN, item)
        if isinstance(item, Mapping):
            return {key: without(part) for key, part in item.items()}
        if isinstance(item, list):
            return [without(part) for part in item]
        if isinstance(item, tuple):
            return tuple(without(part) for part in item)
        if dataclasses.is_dataclass(item) and not isinstance(item, type):
            fields = [field.name for field in dataclasses.fields(item) if field.init]
            return dataclasses.replace(item, **{name: without(getattr(item, name)) for name in fields})
        return item

    return without(value)


def hidden_message(message: str, texts: t.Iterable[str]) -> str:
    """Return MESSAGE with HIDDEN in place of each of TEXTS, and of each part of them that it quotes."""
    texts = list(texts)

    def without_part(match: re.Match[str]) -> str:
        inner = next(group for group in match.groups() if group is not None)
        for part in (inner.strip(), _unescaped(inner).strip()):
            if len(part) >= SHORTEST and any(part in text for text in texts):
                return match[0].replace(inner, HIDDEN)
        return match[0]

    return _QUOTED.sub(without_part, str(hidden(message, texts)))


def _unescaped(inner: str) -> str:
    """Return the text that `repr` has quoted as INNER."""
    try:
        return str(ast.literal_eval(f'"""{inner}"""'))
    except (SyntaxError, ValueError):
        return inner


def reveals(error: BaseException, texts: t.Iterable[str]) -> bool:
    """Return whether an error, one that caused it, or one that it came in the way of names one of TEXTS."""
    texts = list(texts)
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        found = waiting.pop()
        if found is None or id(found) in seen:
            continue
        seen.add(id(found))
        message = str(found)
        if hidden_message(message, texts) != message:
            return True
        waiting += [found.__cause__, found.__context__]
    return False


def message_without(error: BaseException, texts: t.Iterable[str]) -> str:
    """Return what an error says, with HIDDEN for TEXTS. One that no plugin of Ansible raises says its class, too."""
    expected = isinstance(error, (DeclarationError, AnsibleError))
    return hidden_message(str(error) if expected else f"{type(error).__name__}: {error}", texts)
