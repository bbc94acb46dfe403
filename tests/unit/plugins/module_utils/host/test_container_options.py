# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What can be asked of a container, and what is meant by what is not: an inventory relies on both."""

from __future__ import annotations

import copy
import typing as t

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.unshare.container.plugins.module_utils.host import container_options
from ansible_collections.unshare.container.plugins.module_utils.host.time_limits import TimeLimit

LIMITS = (
    *("memory_max", "memory_high", "swap_max", "cpu_quota", "cpu_weight", "cpuset", "tasks_max", "io_weight"),
    *("io_read_bandwidth", "io_write_bandwidth", "io_read_iops", "io_write_iops"),
)
DEFAULTS: dict[str, t.Any] = {
    "state": "started",
    "keep_generations": 5,
    "roll_back": False,
    "roll_back_state": False,
    "wait": True,
    "timeout": 30,
    "allow_failed_units": False,
    "remove_volumes": False,
    "enabled": False,
    "after": [],
    "requires": [],
    "restart": "on-failure",
    "limits": dict.fromkeys(LIMITS),
    "ports": [],
    "nameservers": [],
}
HEALTH: dict[str, t.Any] = {
    "timeout": 30,
    "steady": 1,
    "running": True,
    "units": [],
    "tcp": [],
    "http": [],
    "commands": [],
}
HELD = ("timeout", "enabled", "after", "requires", "restart", "limits", "ports", "nameservers")


def validated(spec: container_options.Options, **given: t.Any) -> dict[str, t.Any]:
    """Return what Ansible makes of some options, without those that are none."""
    result = ArgumentSpecValidator(copy.deepcopy(spec)).validate(given)  # it fills in defaults in defaults
    assert result.error_messages == []
    return {name: value for name, value in result.validated_parameters.items() if value is not None}


def errors(spec: container_options.Options, **given: t.Any) -> list[str]:
    return list(ArgumentSpecValidator(copy.deepcopy(spec)).validate(given).error_messages)


def test_an_inventory_that_says_nothing() -> None:
    assert validated(container_options.OPTIONS) == DEFAULTS


def test_a_task_that_says_nothing_leaves_what_the_host_holds() -> None:
    assert validated(container_options.TASK_OPTIONS) == {
        name: value for name, value in DEFAULTS.items() if name not in HELD
    }
    kinds = {name: type(option) for name, option in container_options.OPTIONS.items()}
    assert kinds == {name: type(option) for name, option in container_options.TASK_OPTIONS.items()}


def test_health_that_says_nothing() -> None:
    assert validated(container_options.OPTIONS, health={})["health"] == HEALTH


@pytest.mark.parametrize(
    ("check", "given", "found"),
    [
        ("tcp", {"port": "22"}, {"port": 22, "address": "127.0.0.1"}),
        ("http", {}, {"port": 80, "address": "127.0.0.1", "host": "localhost", "path": "/", "status": 200}),
        (
            "http",
            {"status": "204"},
            {"port": 80, "address": "127.0.0.1", "host": "localhost", "path": "/", "status": 204},
        ),
        ("commands", {"argv": ["/x"]}, {"argv": ["/x"], "exit_code": 0}),
    ],
)
def test_a_check_that_says_little(check: str, given: dict[str, t.Any], found: dict[str, t.Any]) -> None:
    assert validated(container_options.OPTIONS, health={check: [given]})["health"][check] == [found]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"health": {"tcp": [{}]}}, "missing required arguments: port found in health -> tcp"),
        ({"health": {"commands": [{}]}}, "missing required arguments: argv found in health -> commands"),
        ({"health": {"commands": [{"argv": {}}]}}, "'argv' is of type"),
        (
            {"health": {"pings": []}},
            "health.pings. Supported parameters include: commands, http, running, steady, tcp, ",
        ),
        ({"state": "paused"}, "must be one of: started, stopped, restarted, rolled_back, absent, got: paused"),
        ({"restart": "never"}, "must be one of: on-failure, always, no, got: never"),
        (
            {"limits": {"memory": 1}},
            "limits.memory. Supported parameters include: cpu_quota, cpu_weight, cpuset, io_read_bandwidth, ",
        ),
        ({"generation": "last"}, "'generation' is of type"),
    ],
)
def test_what_is_refused(given: dict[str, t.Any], said: str) -> None:
    (found,) = errors(container_options.OPTIONS, **given)
    assert said in found


def test_time_limits_and_their_least() -> None:
    spec = {"": container_options.OPTIONS["timeout"], **container_options.HEALTH}
    found = {name: option.least for name, option in spec.items() if isinstance(option, TimeLimit)}
    assert found == {"": 0.001, "timeout": 0.001, "steady": 0}


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_may_be_a_number_or_a_text(name: str) -> None:
    for value in (7, "7"):
        assert validated(container_options.OPTIONS, limits={name: value})["limits"][name] == value
