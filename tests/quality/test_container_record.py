# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be said about one container is one record: its three spellings agree in every name, type, default and text.

The spellings are the module `system_container`, an entry of `containers`, and the variables of the role. The filters,
which take the half that a system is made from, are a fourth one.
"""

from __future__ import annotations

import copy
import functools
import importlib
import inspect
import json
import re
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.unshare.container.plugins.module_utils.host.container_options import (
    HELD,
    OPTIONS,
    TASK_OPTIONS,
)
from ansible_collections.unshare.container.plugins.module_utils.host.systemd_units import UnitOptions
from ansible_collections.unshare.container.plugins.module_utils.host.time_limits import TimeLimit
from ansible_collections.unshare.container.plugins.module_utils.launcher.stop_signals import UNIT_STOP
from ansible_collections.unshare.container.plugins.modules import system_container
from ansible_collections.unshare.container.plugins.plugin_utils.container_record import (
    DERIVED,
    DERIVING,
    RECORD,
    RENDERING,
)
from ansible_collections.unshare.container.plugins.plugin_utils.declared_containers import (
    DerivedSystems,
    declared_containers,
)
from ansible_collections.unshare.container.tests.quality import container_reference as reference

ROOT = reference.ROOT
ROLE = reference.ROLES / "system_container"
BIN = Path(sys.executable).parent
OWN = {"system_container_name", "system_container_install_packages", "system_container_own_variables"}
"""The role's variables that are not about the container itself, or are its name."""

SYSTEM = {"host_name": "web", "services": [{"type": "static-web-server"}, {"type": "udev"}]}
GIVEN: dict[str, t.Any] = {
    "operating_system": SYSTEM,
    "mappings": [{"source": "/srv/given", "target": "/usr"}],  # refused unless the store is elsewhere
    "volumes": [{"name": "given", "path": "/srv/kept"}],
    "network": {"zone": "given"},
    "extra_file_systems": [{"device": "tmpfs", "mount_point": "/srv/more", "type": "tmpfs", "needed_for_boot": True}],
    "keep_services": ["udev"],
    "private_users": 655360,
    "init": {"argv": ["/usr/bin/given"]},
    "security": {"nesting": True},
    "oom_score_adj": 300,
    "devices": ["/dev/net/tun"],
    "credentials": {"token": {"stored": "token"}},
    "log": "persistent",
    "store": "/srv/tree=/software",
    "state": "restarted",
    "generation": 7,
    "keep_generations": 3,
    "health": {"units": ["given.service"]},
    "roll_back": True,
    "roll_back_state": True,
    "wait": False,
    "timeout": 12.5,
    "remove_volumes": True,
    "allow_failed_units": True,
    "enabled": True,
    "after": ["first"],
    "requires": ["second"],
    "restart": "always",
    "limits": {"tasks_max": 300},
    "ports": ["8080:80"],
    "nameservers": ["192.0.2.53"],
}
"""Another value than the default for every option, but for SHARED, each of which contradicts one of them."""

SHARED = {"shared_network": True, "root": "machine"}
OF_MACHINE = {"store": "/srv/tree/usr", "mappings": ["/srv/given"]}
"""What such a root needs beside it."""

SHOW = """
import json, pathlib
from ansible.plugins.action import ActionBase

class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        pathlib.Path(self._task.args["file"]).write_text(json.dumps(self._task.args["arguments"]))
        return {"changed": False}
"""
"""An action that writes down what it is given."""

Options = dict[str, dict[str, t.Any]]


@functools.cache
def documentation(kind: str) -> dict[str, t.Any]:
    """Return the documentation of the collection's plugins of a kind by their names, with that of their fragments."""
    command = [str(BIN / "ansible-doc"), "--json", "--type", kind]
    listed = subprocess.run([*command, "--list", "unshare.container"], capture_output=True, check=True, cwd=ROOT)
    shown = subprocess.run([*command, *json.loads(listed.stdout)], capture_output=True, check=True, cwd=ROOT)
    return {name.rpartition(".")[2]: entry["doc"] for name, entry in json.loads(shown.stdout).items()}


def documented_options(kind: str, name: str) -> Options:
    return dict(documentation(kind)[name]["options"])


def differences(spelt: Options, record: t.Mapping[str, t.Any], texts: Options, within: str, way: str = "") -> list[str]:
    """Say how the options of a spelling differ from the record and from the fragment's texts, a line each.

    :param within: the key under which the spelling has the options within an option.
    """
    found = [f"{way}{name}: only one has it" for name in sorted(set(spelt) ^ set(record) | set(texts) ^ set(record))]
    for name in set(spelt) & set(record) & set(texts):
        place, option, said, text = f"{way}{name}", record[name], spelt[name], texts[name]
        for key in ("type", "elements", "choices", "default", "required"):
            if said.get(key) != option.get(key):
                found.append(f"{place}: {key} is {said.get(key)!r} and {option.get(key)!r}")
        if said.get("description") != text["description"]:
            found.append(f"{place}: description")
        inner = option.get("options", {})
        found += differences(said.get(within, {}), inner, text.get("suboptions", {}), within, f"{place}.")
    return found


def referring(texts: Options) -> Options:
    """Return the fragment's texts as the role has them."""
    plain = json.loads(json.dumps(texts))
    for option in plain.values():
        said = option["description"]
        option["description"] = reference.in_role(said) if isinstance(said, str) else list(map(reference.in_role, said))
        option["suboptions"] = referring(option.get("suboptions", {}))
    return t.cast(Options, plain)


def variables(options: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {reference.PREFIX + name: option for name, option in options.items()}


def role_specification() -> Options:
    """Return the role's specification, without the options that are its own."""
    whole = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    assert set(whole) >= OWN
    return {name: option for name, option in whole.items() if name not in OWN}


def role_defaults() -> dict[str, t.Any]:
    defaults = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
    return {name: value for name, value in defaults.items() if name not in OWN}


def texts_of(options: t.Iterable[str]) -> Options:
    texts = reference.documented()
    return {name: texts[name] for name in options}


@pytest.mark.parametrize("path", reference.PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_made_from_the_record_is_current(path: Path) -> None:
    assert reference.updated(path) == path.read_text(), "run `make docs`"


def test_the_module_has_the_record() -> None:
    documented = documented_options("module", "system_container")
    for own in ("name", "system"):
        del documented[own]
    assert differences(documented, TASK_OPTIONS, texts_of(OPTIONS), "suboptions") == []
    given = {name: option for name, option in system_container.ARGUMENT_SPEC.items() if name not in ("name", "system")}
    assert given == TASK_OPTIONS


def test_the_module_leaves_out_the_defaults_of_what_the_host_holds() -> None:
    assert set(TASK_OPTIONS) == set(OPTIONS)
    for name, option in OPTIONS.items():
        rest = {key: value for key, value in option.items() if key != "default" or name not in HELD}
        assert TASK_OPTIONS[name] == rest
        assert isinstance(TASK_OPTIONS[name], TimeLimit) == isinstance(option, TimeLimit)
    unit = {name: list(value) if isinstance(value, tuple) else value for name, value in UnitOptions()._asdict().items()}
    assert [unit.pop(key) for key in ("mounts", "online", "stop_signal")] == [[], False, UNIT_STOP]  # of the system
    assert unit == {name: OPTIONS[name]["default"] for name in unit}


def test_the_role_has_the_record() -> None:
    texts = referring(texts_of(RECORD))
    assert differences(role_specification(), variables(RECORD), variables(texts), "options") == []
    defaults = {name: option["default"] for name, option in RECORD.items() if "default" in option}
    assert role_defaults() == variables(defaults)


def test_the_filters_have_the_record() -> None:
    """Documentation, names and defaults; an empty default of a function cannot be a list or a mapping."""
    for name, options, own in (
        ("containerized_operating_system", DERIVING, {"_input"}),
        ("containerization_report", DERIVING, {"_input"}),
        ("system_files", RENDERING, {"_input", "name"}),
        ("container_essential_services", ["network", "shared_network"], {"_input"}),
    ):
        documented = documented_options("filter", name)
        rest = {key: option for key, option in documented.items() if key not in own}
        # Of what a task can leave out, the text is the task's.
        record = {key: TASK_OPTIONS[key] if key in HELD else DERIVED[key] for key in options}
        assert differences(rest, record, texts_of(options), "suboptions") == [], name
        module = importlib.import_module(f"ansible_collections.unshare.container.plugins.filter.{name}")
        parameters = inspect.signature(getattr(module, name)).parameters
        defaults = {key: parameter.default or None for key, parameter in parameters.items() if key not in own}
        del defaults["operating_system"]
        assert defaults == {key: record[key].get("default") or None for key in options}, name
    assert {"operating_system", *DERIVING, *RENDERING} == set(DERIVED)


def test_an_entry_has_the_record(tmp_path: Path) -> None:
    """Every option is taken, none beside them, and one that is left out is as its default."""
    (full,) = declared_containers({"web": {**GIVEN, "state": "rolled_back"}})
    assert full.options["generation"] == GIVEN["generation"]
    given = {name: value for name, value in GIVEN.items() if name != "generation"}
    (full,) = declared_containers({"web": given})
    assert set(full.options) | set(full.derivation) | set(SHARED) == set(RECORD)
    assert full.derivation == {name: GIVEN[name] for name in DERIVED.keys() - SHARED}
    for name in OPTIONS.keys() - {"generation", "health", "limits"}:
        assert full.options[name] == GIVEN[name]
    assert full.options["health"]["units"] == ["given.service"]
    assert full.options["limits"]["tasks_max"] == 300
    with pytest.raises(ValueError, match=r"^containers\.web: unknown key 'name'"):
        declared_containers({"web": {**given, "name": "web"}})

    (bare,) = declared_containers({"web": {"operating_system": SYSTEM}})
    defaults = {name: option["default"] for name, option in RECORD.items() if "default" in option}
    (spelt,) = declared_containers({"web": {"operating_system": SYSTEM, **defaults}})
    assert bare.options == spelt.options
    derivation = DerivedSystems(str(tmp_path))
    assert derivation.announcement(bare) == derivation.announcement(spelt)
    for name in sorted(DERIVED.keys() - {"operating_system"}, key="root".__eq__):
        value = {**GIVEN, **SHARED}[name]
        given = {"store": GIVEN["store"], name: value} if name == "mappings" else {name: value}
        given = {**OF_MACHINE, **given} if name == "root" else given
        if name == "root":
            (bare,) = declared_containers({"web": {"operating_system": SYSTEM, **OF_MACHINE}})
        (other,) = declared_containers({"web": {"operating_system": SYSTEM, **given}})
        assert derivation.announcement(other) != derivation.announcement(bare), f"{name} decides nothing"


def test_the_module_of_all_containers_names_every_option() -> None:
    described = documented_options("module", "containers")["containers"]["description"]
    (entry,) = [line for line in described if line.startswith("Each is a mapping")]
    assert re.findall(r"C\((\w+)\)", entry) == list(RECORD)


@pytest.mark.parametrize("key", ["name", "type", "elements", "choices", "default", "required", "description", "within"])
def test_a_difference_is_seen(key: str) -> None:
    """For a change of every kind to any option of the role, at any depth, the comparison has a line."""
    texts, record = variables(referring(texts_of(RECORD))), variables(RECORD)
    spelt = role_specification()
    changed = 0
    for way in ways(spelt):
        other = copy.deepcopy(spelt)
        *above, last = way
        options = other
        for name in above:
            options = options[name]["options"]
        if key == "name":
            options[f"{last}s"] = options.pop(last)
        elif key == "within":
            options[last].setdefault("options", {})["more"] = {"type": "str", "description": "More."}
        elif key in ("elements", "choices", "default") and key not in options[last]:
            options[last][key] = "str"
        else:
            options[last][key] = f"another {options[last].get(key)}"
        assert differences(other, record, texts, "options") != [], way
        changed += 1
    assert changed > 40


def ways(options: Options, above: tuple[str, ...] = ()) -> t.Iterator[tuple[str, ...]]:
    for name, option in options.items():
        yield (*above, name)
        yield from ways(option.get("options", {}), (*above, name))


def test_what_the_role_is_told_arrives(tmp_path: Path) -> None:
    """Each variable reaches the check, and the derivation or the module: the role's own tasks show what they give.

    Another action stands in the place of the modules that need a host.
    """
    for name, option in RECORD.items():
        assert {**GIVEN, **SHARED}[name] != option.get("default"), name
    tasks = yaml.safe_load((ROLE / "tasks/main.yml").read_text())
    shown = set()
    for task in tasks:
        for module in ("unshare.container.container_script", "unshare.container.system_container"):
            if module in task:
                short = module.rpartition(".")[2]
                shown.add(short)
                file = f"{tmp_path}/{short}-{{{{ system_container_state }}}}.json"
                task["show"] = {"file": file, "arguments": task.pop(module)}
    assert shown == {"container_script", "system_container"}
    (tmp_path / "action_plugins").mkdir()
    (tmp_path / "action_plugins/show.py").write_text(SHOW)
    role = tmp_path / "roles" / "told"
    for part in ("defaults", "vars", "templates"):
        role.mkdir(parents=True, exist_ok=True)
        (role / part).symlink_to(ROLE / part)
    (role / "tasks").mkdir()
    (role / "tasks/main.yml").write_text(yaml.safe_dump(tasks))
    shared = {
        **without(GIVEN, "generation", "network", "ports", "nameservers"),
        **SHARED,
        **OF_MACHINE,
        "state": "started",
    }
    given_back = {**GIVEN, "state": "rolled_back"}
    states = {"restarted": without(GIVEN, "generation"), "started": shared, "rolled_back": given_back}
    plays = [
        {
            "hosts": "localhost",
            "connection": "local",
            "gather_facts": False,
            "roles": ["told"],
            "vars": {**variables(given), "system_container_name": "given-name"},
        }
        for given in (*states.values(), {**given_back, "timeout": True})
    ]
    (tmp_path / "playbook.yml").write_text(json.dumps(plays))
    command = [str(BIN / "ansible-playbook"), "-v", "-i", "localhost,", str(tmp_path / "playbook.yml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert f"{reference.PREFIX}timeout: true is no number of seconds" in done.stdout, done.stdout + done.stderr

    def told(module: str, state: str) -> dict[str, t.Any]:
        arguments = json.loads((tmp_path / f"{module}-{state}.json").read_text())
        assert arguments.pop("name") == "given-name"
        return dict(arguments)

    for state, given in states.items():
        found = without(told("system_container", state), "system", *(OPTIONS.keys() - given))
        expected = {name: given[name] for name in OPTIONS.keys() & given}
        # As texts, which ansible-core 2.18 makes of numbers.
        assert {name: str(value) for name, value in found.items()} == {name: str(expected[name]) for name in expected}
    assert not (tmp_path / "container_script-rolled_back.json").exists()
    for state in ("restarted", "started"):
        (declared,) = declared_containers({"given-name": states[state]})
        system = DerivedSystems(str(tmp_path)).system(declared)
        written = told("container_script", state)
        assert written["system"] == {**system["system"], "files": written["system"]["files"]}
        assert set(written["system"]["files"]) == set(system["system"]["files"])
        assert "boot" not in written  # the action makes it, for the role and for `containers` alike


def test_the_role_checks_the_whole_record() -> None:
    text = yaml.safe_load((ROLE / "vars/main.yml").read_text())["__system_container_record"]
    checked = dict(re.findall(r"'(\w+)': ([^,]+),", text))
    expected = {
        name: f"{reference.PREFIX}{name}{'' if 'default' in option else ' | default(none)'}"
        for name, option in RECORD.items()
    }
    assert checked == expected


def without(mapping: dict[str, t.Any], *keys: str) -> dict[str, t.Any]:
    return {name: value for name, value in mapping.items() if name not in keys}
