# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whatever a file or a command line of the launcher says, the answer is a value, or a LauncherError that helps."""

from __future__ import annotations

import copy
import json
import math
import posixpath
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import contract, data, times
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.launcher.names import is_name
from ansible_collections.unshare.container.plugins.module_utils.launcher.process import milliseconds
from ansible_collections.unshare.container.plugins.module_utils.launcher.specification import read_spec
from ansible_collections.unshare.container.plugins.module_utils.life import main
from ansible_collections.unshare.container.plugins.module_utils.life.container import Container
from ansible_collections.unshare.container.plugins.module_utils.state import id_ranges
from ansible_collections.unshare.container.tests.tally import RARELY, Tally, mostly
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ..specifications import SPECIFICATION, mutated

RELAXED = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

TEXTS = st.text(max_size=20) | st.sampled_from(
    ["/", "//", "/a/../b", "/.", "/dev//x", "//proc/x", "/./sys", "=", "\0", "\ud800"]
)


def paths(*parts: str) -> st.SearchStrategy[str]:
    """Absolute paths of such parts."""
    return st.lists(st.sampled_from(parts), min_size=1, max_size=4).map(lambda chosen: "/" + "/".join(chosen))


GOOD_PATHS = paths("srv", "data", "a b", "é")
PATHS = mostly(GOOD_PATHS, paths("srv", ".", "", "..", "dev", "proc") | TEXTS)


def attempt(function: t.Callable[..., t.Any], *arguments: t.Any, tally: Tally | None = None) -> tuple[t.Any, str]:
    """Return a function's result, or None and its error's text. Let any error pass that the function may not raise."""
    try:
        with (tally or Tally()).case(LauncherError, ValueError, again=True):
            return function(*arguments), ""
    except LauncherError as error:
        return None, str(error)
    except ValueError as error:
        if function is not data.parse:
            raise
        return None, str(error)


def test_s11_a_mapping_is_a_record_or_an_error() -> None:
    tally = Tally()

    @given(PATHS, st.just("") | PATHS, st.booleans())
    @example("//proc", "", False)
    @example("/a", "/./dev/x", True)
    @example("/a", "/b/../../c", True)
    def holds(source: str, target: str, writable: bool) -> None:
        text = f"{source}={target}" if target else source
        record, said = attempt(main.mapping_record, text, writable, tally=tally)
        if record is None:
            assert text in said
            return
        point = posixpath.normpath("/" + record.mount_point.lstrip("/"))
        assert point != "/"
        assert point.split("/")[1] not in ("proc", "sys", "dev")
        assert ".." not in record.mount_point.split("/")
        assert record.source.startswith("/")
        assert record.read_only != writable

    holds()
    tally.check(least=0.5)


OPTIONS = [["--share", "/a"], ["--share=/a"], ["--help"], ["--user=x"], ["--user", "--help"]]


def test_any_command_line_is_read_or_refused() -> None:
    tally = Tally()

    @given(st.lists(st.sampled_from(OPTIONS), max_size=4), st.data())
    def holds(options: list[list[str]], data: st.DataObject) -> None:
        words = [word for option in options for word in option]
        words += data.draw(st.sampled_from([[], ["--"], ["--", "--x"], ["command", "--help"]]))
        if data.draw(RARELY):
            words.insert(data.draw(st.integers(0, len(words))), data.draw(st.text(max_size=8) | st.just("--a=")))
        arguments, said = attempt(main.Arguments, words, ("share", "user"), ("help",), "usage", tally=tally)
        assert said if arguments is None else set(arguments.values) <= {"share", "user", "help"}

    holds()
    tally.check()


def test_a_time_limit_is_one_or_refused() -> None:
    tally = Tally()
    seconds_as_text = st.floats(times.LEAST, times.MOST).map(lambda value: f"{value:.3f}")

    @example("")
    @example("nan")
    @example("-1")
    @given(seconds_as_text | st.integers(1, 10**5).map(str) | st.text(max_size=12) | st.floats().map(str))
    def holds(text: str) -> None:
        seconds, said = attempt(times.seconds, text, "--timeout", tally=tally)
        if seconds is None:
            assert said.startswith("--timeout: ")
            return
        assert 0 < seconds <= times.MOST
        assert times.seconds(times.as_text(seconds), "--timeout") == pytest.approx(seconds, abs=0.0005)
        assert set(times.as_text(seconds)) <= set("0123456789.")
        assert 0 < milliseconds(seconds) < 2**31

    holds()
    tally.check(least=0.3)


@given(st.floats(allow_nan=False))
def test_any_time_can_be_waited_for(seconds: float) -> None:
    assert 0 <= milliseconds(seconds) < 2**31
    assert seconds <= 0 or not math.isfinite(seconds) or milliseconds(seconds) > 0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=5))
def test_json_is_read_as_the_package_reads_it(value: dict[str, t.Any]) -> None:
    assert data.parse(json.dumps(value), "x") == value
    flat = {key: entry for key, entry in value.items() if not isinstance(entry, (list, dict))}
    assert json.loads(data.format_flat(flat)) == flat


@given(
    st.text(max_size=30) | st.sampled_from(["[" * 100000, '{"a":' * 100000, "1" * 5000, "{}{}", "null", "[1]", "{,}"])
)
def test_what_is_no_json_object_is_a_value_error_that_names_the_file(text: str) -> None:
    value, said = attempt(data.parse, text, "the file")
    assert said.startswith("the file: is damaged") if value is None else isinstance(value, dict)


@RELAXED
@given(mutated(), st.booleans())
def test_a_specification_is_whole_or_refused_by_name(tmp_path: Path, text: str, former: bool) -> None:
    text = text.replace(f'"format": {contract.FORMAT}', '"format": 1') if former else text
    (tmp_path / "spec.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    spec, said = attempt(read_spec, str(tmp_path))
    if spec is None:
        assert str(tmp_path) in said
        assert "stage the system again" in said
        assert said.encode()
        return
    assert is_name(spec.name)
    for path, entry in spec.files.items():
        assert posixpath.isabs(path)
        assert ".." not in path.split("/")
        assert entry.link is not None or 0 <= int(entry.mode, 8) <= 0o7777
    for record in spec.file_systems:
        assert ".." not in record.mount_point.split("/")


def test_the_specification_that_is_mutated_is_a_good_one(tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text(json.dumps(SPECIFICATION))
    assert read_spec(str(tmp_path)) == contract.Specification.read(SPECIFICATION)


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("files", "/etc/../../x"), {"link": "a"}, r"files\[/etc/../../x\]"),
        (("files", "/proc/x"), {"link": "a"}, "is the kernel's own"),
        (("files", "/etc/x"), {"mode": "0644", "uid": 65536, "gid": 0}, "uid: 65536 is no id of a container"),
        (("files", "/etc/x"), {"mode": "0o64", "uid": 0, "gid": 0}, "mode: '0o64' is not up to four octal digits"),
        (("name",), "../x", "name: is no container's name"),
        (("init", "stop_signal"), "SIGCHLD", "'SIGCHLD' is no signal"),
        (("init", "environment"), {"A=B": "c"}, "is no variable's name"),
        (("private_users",), True, "private_users: is neither"),
        (("file_systems", 0, "mount_point"), "/./proc/sys", "is the kernel's own"),
        (("file_systems", 0, "device"), {"label": "../../sda"}, "neither a UUID nor a label"),
        (("file_systems", 0, "flags"), ["readonly"], "'readonly' is no flag"),
        (("store",), None, "store: is missing"),
    ],
)
def test_a_damaged_place_is_named(tmp_path: Path, place: tuple[t.Any, ...], value: t.Any, said: str) -> None:
    spec = copy.deepcopy(SPECIFICATION)
    inner: t.Any = spec
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    with pytest.raises(LauncherError, match=said):
        read_spec(str(tmp_path))


@RELAXED
@given(st.binary(max_size=40) | JSON.map(lambda value: json.dumps(value).encode()))
def test_a_damaged_note_is_none(tmp_path: Path, content: bytes) -> None:
    container = Container("x")
    container.run_directory = str(tmp_path)
    (tmp_path / "state.json").write_bytes(content)
    assert container.record() is None
    assert container.status().state == "stopped"


@RELAXED
@given(JSON)
def test_ids_are_never_taken_from_a_damaged_file(value: t.Any) -> None:
    config = {"uid_base": value}
    ids, said = attempt(id_ranges.identity_for, "x", "auto", config)
    assert (
        "config.json is damaged" in said if ids is None else ids.nested or id_ranges.FIRST <= ids.base <= id_ranges.LAST
    )
