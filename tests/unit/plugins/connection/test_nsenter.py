# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the connection plugin says to a host, and how it reads the answer; without a host."""

from __future__ import annotations

import shlex
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible import constants
from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.playbook.play_context import PlayContext
from ansible.playbook.task import Task
from ansible.plugins.loader import connection_loader
from ansible_collections.unshare.container.plugins.connection import nsenter

PLUGIN = "unshare.container.nsenter"
SILENT = "Timeout (12s) waiting for privilege escalation prompt:"


class Inner:
    """In place of the connection to the host: remembers what it is given, and answers as told."""

    def __init__(self, user: str | None = "root") -> None:
        self.options: dict[str, t.Any] = {"remote_user": user, "host": "host1", "ssh_extra_args": "-v"}
        self.commands: list[tuple[list[str], bytes | None]] = []
        self.answer: t.Callable[[str], tuple[int, bytes, bytes]] = lambda token: (
            0,
            b"out",
            f"\n{token} entered\nerr\n\n{token} exit 3\n".encode(),
        )
        self.become: t.Any = None

    def set_options(self, **_arguments: t.Any) -> None:
        pass

    def set_option(self, name: str, value: t.Any) -> None:
        self.options[name] = value

    def get_option(self, name: str) -> t.Any:
        return self.options[name]

    def exec_command(self, command: str, in_data: bytes | None, sudoable: bool) -> tuple[int, bytes, bytes]:
        words = shlex.split(command)
        self.commands.append((words, in_data))
        token = next(word for word in words if word.startswith("--report=")).partition("=")[2]
        return self.answer(token)


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> t.Callable[..., tuple[nsenter.Connection, Inner]]:
    """Return a function of variables that returns the plugin, and a stand-in for the connection to the host."""
    options = yaml.safe_load(nsenter.DOCUMENTATION)["options"]
    constants.config.initialize_plugin_configuration_definitions("connection", PLUGIN, options)

    def make(user: str | None = "root", **variables: t.Any) -> tuple[nsenter.Connection, Inner]:
        inner = Inner(user)
        connection = nsenter.Connection(PlayContext())
        connection._load_name = PLUGIN

        def get(name: str, *_arguments: t.Any, **_options: t.Any) -> Inner:
            loaded.append(name)
            return inner

        with monkeypatch.context() as patch:
            patch.setattr(connection_loader, "get", get)
            connection.set_options(var_options={"inventory_hostname": "web", **variables})
        return connection, inner

    loaded: list[str] = []
    make.loaded = loaded  # type: ignore[attr-defined]
    return make


Connect = t.Callable[..., tuple[nsenter.Connection, Inner]]


@pytest.mark.parametrize(
    ("variables", "plugins"),
    [
        ({}, []),
        ({"ansible_host": "web"}, []),
        ({"ansible_host": "localhost"}, []),
        ({"ansible_host": "::1"}, []),
        ({"ansible_host": "localhost", "ansible_port": 2222}, ["ansible.builtin.ssh"]),
        ({"ansible_host": "host1"}, ["ansible.builtin.ssh"]),
        ({"ansible_ssh_host": "host1"}, ["ansible.builtin.ssh"]),
        ({"ansible_host": "host1", "ansible_unshare_transport": "local"}, []),
        ({"ansible_unshare_transport": "ssh"}, ["ansible.builtin.ssh"]),
    ],
)
def test_the_way_to_the_host(connect: Connect, variables: dict[str, t.Any], plugins: list[str]) -> None:
    connect(**variables)
    assert connect.loaded == plugins  # type: ignore[attr-defined]


def test_a_command_is_one_argument(connect: Connect) -> None:
    connection, inner = connect(ansible_host="host1", ansible_unshare_user="alice")
    command = "printf '%s' \"$HOME\" `id` ünïcödé \\ \n second"
    assert connection.exec_command(command) == (3, b"out", b"err\n")
    words, data = inner.commands[0]
    assert words[0] == "/run/unshare/web/system/enter-container"
    assert words[2:] == ["--limit=67108864", "--user=alice", "--", "/bin/sh", "-c", command]
    assert data is None


@pytest.mark.parametrize("check", [False, True])
def test_check_mode_starts_nothing(connect: Connect, check: bool) -> None:
    """Whether the task is in check mode is said by the play context, which Ansible makes anew for each task."""
    connection, inner = connect(ansible_host="host1")
    task = Task()
    task.check_mode = check
    connection._play_context = PlayContext().set_task_and_variable_override(task, {}, None)
    connection.exec_command("true")
    words = inner.commands[0][0]
    assert ("--no-start" in words[: words.index("--")]) == check


@pytest.mark.parametrize(
    ("user", "variables", "prefix"),
    [
        ("root", {}, []),
        ("admin", {}, ["sudo", "-n", "--"]),
        ("admin", {"ansible_unshare_host_become": "never"}, []),
        ("root", {"ansible_unshare_host_become": "always"}, ["sudo", "-n", "--"]),
        ("admin", {"ansible_unshare_host_become_exe": "doas"}, ["doas", "-n", "--"]),
        ("admin", {"ansible_unshare_host_become_flags": "-n -H"}, ["sudo", "-n", "-H", "--"]),
        ("admin", {"ansible_unshare_host_become_password": "x"}, ["sudo", "-S", "-p", "", "--"]),
    ],
)
def test_root_on_the_host(connect: Connect, user: str, variables: dict[str, t.Any], prefix: list[str]) -> None:
    connection, inner = connect(user, ansible_host="host1", **variables)
    connection.exec_command("true")
    words = inner.commands[0][0]
    assert words[: words.index("/run/unshare/web/system/enter-container")] == prefix


def test_a_user_who_is_not_known_is_asked_for_on_the_host(connect: Connect) -> None:
    connection, inner = connect(None, ansible_host="host1")
    connection.exec_command("true")
    assert inner.commands[0][0][:2] == ["/bin/sh", "-c"]
    assert "id -u" in inner.commands[0][0][2]


def test_a_password_is_on_standard_input_only(connect: Connect) -> None:
    connection, inner = connect("admin", ansible_host="host1", ansible_unshare_host_become_password="pass word")
    connection.exec_command("cat", in_data=b"data")
    words, data = inner.commands[0]
    token = words[words.index("--") + 2].partition("=")[2]
    assert data == f"pass word\n{token}\ndata".encode()
    assert "--skip" in words
    assert not any("pass word" in word for word in words)


@pytest.mark.parametrize(
    ("errors", "message"),
    [
        ("sudo: a password is required\n", "container web: cannot be entered on host1: sudo: a password is required"),
        ("sh: /run/unshare/web/system/enter-container: not found\n", "container web: it does not run on host1"),
        ("{token} error container web: does not run; start it first\n", "container web: does not run"),
        ("{token} entered\n", "container web: the connection to host1 ended before the command in it did"),
        ("{other} entered\n{other} exit 0\n", "container web: cannot be entered on host1"),
        ("", "container web: cannot be entered on host1: exit status 0"),
        ("a\x1b[2Jb\u202e\n", "container web: cannot be entered on host1: a\\x1b[2Jb\\u202e"),
        ("{token} error a\x1b[2Jb\n", "a\\x1b[2Jb (on host1)"),
    ],
)
def test_unreachable(connect: Connect, errors: str, message: str) -> None:
    connection, inner = connect(ansible_host="host1")
    inner.answer = lambda token: (0, b"", errors.format(token=token, other="0" * 32).encode())
    with pytest.raises(AnsibleConnectionFailure) as raised:
        connection.exec_command("true")
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("raised", "report", "expected", "message"),
    [
        (AnsibleError("Incorrect sudo password"), "", AnsibleError, "Incorrect sudo password"),
        (AnsibleConnectionFailure(SILENT), "entered", AnsibleError, SILENT),
        (AnsibleConnectionFailure(SILENT), "", None, SILENT),
        (AnsibleConnectionFailure("Failed to connect"), "", None, "Failed to connect"),
        (AnsibleConnectionFailure("Failed to connect"), "entered", None, "ended before the command in it did: Failed"),
        (AnsibleError("closed"), "error container web: does not run", None, "container web: does not run (on host1)"),
        (AnsibleConnectionFailure("a\x1b[2Jb"), "", None, "a\\x1b[2Jb"),
        (AnsibleConnectionFailure("a\x1b[2Jb"), "entered", None, ": a\\x1b[2Jb"),
        (AnsibleError("a\x1b[2Jb"), "", AnsibleError, "a\\x1b[2Jb"),
    ],
)
def test_what_ssh_raises(
    connect: Connect, raised: AnsibleError, report: str, expected: type[AnsibleError] | None, message: str
) -> None:
    """Only a connection that is lost, or not made, makes a container unreachable."""
    connection, inner = connect(ansible_host="host1")

    def fail(token: str) -> tuple[int, bytes, bytes]:
        raise type(raised)(f"{raised}\n{token} {report}" if report else str(raised))

    inner.answer = fail
    with pytest.raises(AnsibleError) as caught:
        connection.exec_command("true")
    assert type(caught.value) is (expected or AnsibleConnectionFailure)
    assert message in str(caught.value)
    assert " entered" not in str(caught.value)


@pytest.mark.parametrize("refused", [[], ["--limit=67108864"], ["--no-start"], ["--no-start", "--limit=67108864"]])
def test_a_container_that_a_former_version_has_started(connect: Connect, refused: list[str]) -> None:
    """Its `enter-container` refuses the options that it does not know; without them it can be entered."""
    connection, inner = connect(ansible_host="host1")
    connection._play_context.check_mode = True
    entered = inner.answer

    def answer(token: str) -> tuple[int, bytes, bytes]:
        words = inner.commands[-1][0]
        unknown = next((word for word in words[: words.index("--")] if word in refused), None)
        text = f"warning of ssh\nenter-container: {unknown}: is no option here\nUsage: enter-container\n"
        return (125, b"", text.encode()) if unknown else entered(token)

    inner.answer = answer
    for tries in (len(refused) + 1, 1):
        inner.commands.clear()
        assert connection.exec_command("true", in_data=b"data")[0] == 3
        assert len(inner.commands) == tries
        assert {data for _words, data in inner.commands} == {b"data"}
    words = inner.commands[0][0]
    assert {"--no-start", "--limit=67108864", "--discard"} - set(words) == set(refused)


def test_an_option_that_cannot_be_done_without(connect: Connect) -> None:
    connection, inner = connect(ansible_host="host1")
    inner.answer = lambda _token: (125, b"", b"enter-container: --discard: is no option here\n")
    with pytest.raises(AnsibleConnectionFailure, match="cannot be entered on host1: enter-container: --discard"):
        connection.exec_command("true", in_data=b"data")
    assert len(inner.commands) == 1


def test_no_command_takes_an_option_away(connect: Connect) -> None:
    """What it says is no answer of the host's."""
    connection, inner = connect(ansible_host="host1")
    said = "enter-container: --limit=1: is no option here\n"
    inner.answer = lambda token: (0, b"", f"\n{token} entered\n{said}\n{token} exit 125\n".encode())
    assert connection.exec_command("true") == (125, b"", said.encode())
    assert len(inner.commands) == 1


@pytest.mark.parametrize("copy", [True, False])
def test_a_command_that_said_too_much(connect: Connect, copy: bool, tmp_path: Path) -> None:
    """It fails, and the container is not unreachable; of a file no more is asked for than a part of it."""
    connection, inner = connect(ansible_host="host1")
    inner.answer = lambda token: (0, b"out", f"\n{token} entered\nerr\n{token} ended it was longer\n".encode())
    act = (
        (lambda: connection.fetch_file("/x", str(tmp_path / "x"))) if copy else lambda: connection.exec_command("true")
    )
    with pytest.raises(AnsibleError, match="^container web: it was longer$") as raised:
        act()
    assert not isinstance(raised.value, AnsibleConnectionFailure)
    assert f"--limit={4 << 20 if copy else 64 << 20}" in inner.commands[0][0]


@pytest.mark.parametrize("extra", [None, "-t", "-v -T"])
def test_ssh_asks_for_no_terminal(connect: Connect, extra: str | None) -> None:
    connection, inner = connect(ansible_host="host1")
    inner.options["ssh_extra_args"] = extra
    for _turn in range(2):
        connection.exec_command("true")
    assert shlex.split(inner.options["ssh_extra_args"]) == shlex.split((extra or "").removesuffix("-T")) + ["-T"]


@pytest.mark.parametrize("name", ["", "Web", "../web", "a b", "-web", "a" * 64])
def test_a_name_that_no_container_has(connect: Connect, name: str) -> None:
    connection, inner = connect(ansible_unshare_container=name)
    with pytest.raises(AnsibleError, match="not a name of a container"):
        connection.exec_command("true")
    assert inner.commands == []


def test_every_variable_of_ssh_reaches_it() -> None:
    """Those that begin with ansible_ssh_ where only this plugin's own are asked for; all of them in tasks."""
    assert nsenter.Connection.allow_extras
    assert nsenter.Connection.extras_prefix == "ssh"
    # The executor gives an attribute of this name the options of its own plugin.
    from ansible.executor import task_executor

    with open(task_executor.__file__, encoding="utf-8") as file:
        assert "ssh_type_conn" in file.read()
