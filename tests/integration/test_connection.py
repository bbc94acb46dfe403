# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The connection plugin against one container, on this machine and behind a real sshd: the same tests for both."""

from __future__ import annotations

import json
import os
import re
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible.errors import AnsibleConnectionFailure, AnsibleError, AnsibleFileNotFound
from ansible_collections.unshare.container.plugins.connection import nsenter

from .conftest import Machine, running_machine, write_system
from .connection_hosts import PASSWORD, SshHost, ansible, connect

pytestmark = pytest.mark.root

NAME = "test-connection"
WAYS = ("local", "ssh as root", "ssh as a user who becomes root")
SUITE = Path(__file__).with_name("connection_suite.yml")
BIG = 100 * 1024 * 1024

Variables = dict[str, t.Any]


@pytest.fixture(scope="module")
def machine() -> t.Iterator[Machine]:
    """Yield a container that runs, with a user called alice."""
    with running_machine(NAME, users=[{"name": "alice", "uid": 1000}]) as made:
        yield made


@pytest.fixture(scope="module")
def host(machine: Machine) -> t.Iterator[SshHost]:
    """Yield a host that shows this machine's containers."""
    made = SshHost("test-ssh")
    yield made
    made.close()


@pytest.fixture(params=WAYS)
def variables(request: pytest.FixtureRequest, machine: Machine, host: SshHost) -> Variables:
    """Return the connection variables of the container, for each way to it."""
    return variables_of(request.param, host)


def variables_of(way: str, host: SshHost) -> Variables:
    """Return the connection variables of the container, for one way to it."""
    ways: dict[str, Variables] = {
        "local": {},
        "ssh as root": host.variables(),
        "ssh as a user who becomes root": host.variables("deployer"),
    }
    return {"inventory_hostname": NAME, "ansible_connection": "unshare.container.nsenter", **ways[way]}


@pytest.mark.parametrize("status", [0, 1, 5, 125, 126, 127, 254, 255])
def test_an_exit_status_is_the_commands(variables: Variables, status: int) -> None:
    connection = connect(**variables)
    result = connection.exec_command(f"echo out; echo err >&2; exit {status}")
    assert result == (status, b"out\n", b"err\n")


def test_a_command_that_speaks_like_the_launcher_is_not_believed(variables: Variables) -> None:
    said = "printf '%032d error container x: does not run\\n%032d exit 3\\n' 0 0 >&2; exit 4"
    status, _output, errors = connect(**variables).exec_command(said)
    assert (status, errors.count(b"\n")) == (4, 2)


def test_a_killed_command_is_no_lost_connection(variables: Variables) -> None:
    assert connect(**variables).exec_command("kill -9 $$")[0] == 137


@pytest.mark.parametrize(("word", "said"), [("sh", "entered\nerr\nTOKEN exit 3"), ("nowhere", None)])
def test_a_report_is_no_part_of_a_line_that_is_open(machine: Machine, word: str, said: str | None) -> None:
    """Who waits for a prompt takes the whole line away."""
    command = [str(machine.system / "enter-container"), "--report=TOKEN", "--", word, "-c", "printf err >&2; exit 3"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    assert result.returncode == 0
    assert all(line.startswith("TOKEN ") or line in ("", "err") for line in result.stderr.splitlines())
    assert said is None or result.stderr == f"\nTOKEN {said}\n"


@pytest.mark.parametrize("arguments", ["-t", "-tt", "-o RequestTTY=force"])
def test_a_terminal_is_never_asked_for(arguments: str, machine: Machine, host: SshHost) -> None:
    connection = connect(inventory_hostname=NAME, **host.variables(ansible_ssh_extra_args=arguments))
    for data in (None, b"data"):
        assert connection.exec_command("printf 'a\\n'; test -t 0 || echo none >&2", data) == (0, b"a\n", b"none\n")


def test_a_command_whose_container_ends_is_killed(variables: Variables) -> None:
    name = f"{NAME}-ending"
    ending = Machine(name, write_system({"host_name": name}, name))
    ending.start()
    try:
        connection = connect(**variables, ansible_unshare_container=name)
        status, output, _errors = connection.exec_command("printf begun; systemctl poweroff -ff; exec sleep infinity")
        assert (status, output) == (137, b"begun")
    finally:
        ending.destroy()


@pytest.mark.parametrize("name", ["test-absent", "test-stopped"])
def test_a_container_that_does_not_run_is_unreachable_by_its_name(variables: Variables, name: str) -> None:
    stopped = Machine(name, write_system({"host_name": name}, name)) if name == "test-stopped" else None
    if stopped is not None:
        stopped.start()
        os.kill(int(stopped.container.status().pid or 0), 9)  # as a crash: nothing is cleared up
    try:
        connection = connect(**variables, ansible_unshare_container=name)
        for data in (None, b"x" * 1_000_000):
            with pytest.raises(AnsibleConnectionFailure, match=rf"{name}.*does not run"):
                connection.exec_command("exit 0", in_data=data)
    finally:
        if stopped is not None:
            stopped.destroy()


def test_a_command_gets_what_the_containers_processes_have(variables: Variables, machine: Machine) -> None:
    connection = connect(**variables)
    _status, output, _errors = connection.exec_command(
        "cat /proc/self/status /proc/self/cgroup; echo; env; echo; ls -l /proc/self/fd; readlink /proc/self/ns/*"
    )
    text = output.decode()
    init = machine.output("cat", "/proc/1/status")
    for field in ("CapBnd", "Seccomp", "NoNewPrivs"):
        assert re.findall(rf"^{field}:.*$", text, re.M) == re.findall(rf"^{field}:.*$", init, re.M)
    assert "0::/unshare.entered" in text
    environment = text.split("\n\n")[1]
    names = {line.partition("=")[0] for line in environment.splitlines()}
    assert names <= {"HOME", "USER", "LOGNAME", "SHELL", "PATH", "LANG", "container", "PWD", "SHLVL", "_", "OLDPWD"}
    targets = re.findall(r"(\d+) -> (.*)", text)
    assert {target.split(":")[0] for number, target in targets if int(number) < 3} == {"pipe"}
    assert {target for number, target in targets if int(number) > 2} <= {"/proc/%s/fd" % n for n in _numbers(text)}
    for namespace in ("mnt", "pid", "user", "cgroup"):
        assert os.readlink(f"/proc/{machine.container.status().pid}/ns/{namespace}") in text


def _numbers(text: str) -> list[str]:
    return re.findall(r"/proc/(\d+)/fd", text)


def test_dev_stdout_and_dev_stderr_can_be_opened(variables: Variables) -> None:
    connection = connect(**variables, ansible_unshare_user="alice")
    result = connection.exec_command("id -un >/dev/stdout; pwd >/dev/stderr")
    assert result == (0, b"alice\n", b"/home/alice\n")


def test_input_and_output_at_once_are_no_deadlock(variables: Variables) -> None:
    data = os.urandom(1 << 20)
    status, output, _errors = connect(**variables).exec_command("cat", in_data=data)
    assert (status, output == data) == (0, True)


def test_input_that_nobody_reads_is_no_error(variables: Variables) -> None:
    assert connect(**variables).exec_command("exit 6", in_data=b"x" * (4 << 20))[0] == 6


@pytest.mark.parametrize("size", [0, 1, 65536, 4 << 20, (4 << 20) + 1])
def test_files_come_back_as_they_went(variables: Variables, tmp_path: Path, size: int) -> None:
    connection = connect(**variables)
    (tmp_path / "there").write_bytes(os.urandom(size))
    place = "/tmp/a 'file' of $HOME, \"ünïcödé\" \\ ✓"
    connection.put_file(str(tmp_path / "there"), place)
    connection.fetch_file(place, str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == (tmp_path / "there").read_bytes()
    assert connection.exec_command("ls /tmp | grep ünïcödé")[1].decode() == place[5:] + "\n"


@pytest.mark.parametrize("stream", ["", ">&2"])
def test_a_command_without_end_is_ended(
    variables: Variables, machine: Machine, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes is the limit at most, and that is an error of the command, not of the connection."""
    monkeypatch.setattr(nsenter, "ANSWER_LIMIT", 1 << 20)
    connection = connect(**variables)
    assert len(connection.exec_command("head -c 1048576 /dev/zero")[1]) == 1 << 20
    with pytest.raises(AnsibleError, match="output was longer than the 1048576 bytes") as raised:
        connection.exec_command(f"exec cat /dev/zero {stream}")
    assert not isinstance(raised.value, AnsibleConnectionFailure)
    with pytest.raises(AnsibleError, match="output was longer"):
        connection.exec_command(f"trap '' TERM; cat; cat /dev/zero {stream}", in_data=b"x" * (4 << 20))
    machine.output("sh", "-c", "while pgrep -x cat; do sleep 0.05; done")


ANSWERS = {
    "without end": "exec cat /dev/zero",
    "a byte too many": "exec head -c 4194305 /dev/zero",
    "in its errors": "exec cat /dev/zero >&2",
    "by many": "for _ in 1 2 3 4; do cat /dev/zero & done; wait",
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_hostile_container_fills_nothing_through_copies(
    variables: Variables, machine: Machine, tmp_path: Path, answer: str
) -> None:
    """Root inside puts another program in the place of those that copies are made with."""
    script = f"#!/bin/sh\n{ANSWERS[answer]}\n"
    lay = (
        "cat >/tmp/answer; chmod 755 /tmp/answer; for name in dd cat; do mount --bind /tmp/answer /usr/bin/$name; done"
    )
    if "cat" in ANSWERS[answer]:
        script = script.replace("cat", "/tmp/cat")
        machine.output("cp", "/usr/bin/cat", "/tmp/cat")
    machine.shell(lay, input=script)
    connection = connect(**variables)
    try:
        with pytest.raises(AnsibleError, match="output was longer than the 4194304 bytes"):
            connection.fetch_file("/etc/hostname", str(tmp_path / "fetched"))
        assert not (tmp_path / "fetched").exists()
        (tmp_path / "sent").write_text("x")
        if answer == "in its errors":
            with pytest.raises(AnsibleError, match="output was longer than the 4194304 bytes"):
                connection.put_file(str(tmp_path / "sent"), "/tmp/sent")
    finally:
        machine.output("sh", "-c", "umount /usr/bin/cat /usr/bin/dd; pkill -x cat; rm -f /tmp/cat /tmp/answer")


def test_errors_of_copies_are_said(variables: Variables, tmp_path: Path) -> None:
    connection = connect(**variables)
    source = tmp_path / "source"
    source.write_bytes(b"x" * 5_000_000)
    with pytest.raises(AnsibleError, match="/nowhere/file"):
        connection.put_file(str(source), "/nowhere/file")
    with pytest.raises(AnsibleError, match=r"/dev/full.*No space left"):
        connection.put_file(str(source), "/dev/full")
    with pytest.raises(AnsibleError, match="/nowhere/file"):
        connection.fetch_file("/nowhere/file", str(tmp_path / "back"))
    with pytest.raises(AnsibleFileNotFound, match="absent"):
        connection.put_file(str(tmp_path / "absent"), "/tmp/file")


def test_root_on_the_host_with_a_password(host: SshHost) -> None:
    connection = connect(
        inventory_hostname=NAME, ansible_unshare_host_become_password=PASSWORD, **host.variables("careful")
    )
    assert connection.exec_command("cat", in_data=b"data") == (0, b"data", b"")
    assert connection.exec_command("id -u") == (0, b"0\n", b"")
    # One that is not asked for is not taken for input.
    connection = connect(
        inventory_hostname=NAME, ansible_unshare_host_become_password=PASSWORD, **host.variables("deployer")
    )
    assert connection.exec_command("cat", in_data=b"data") == (0, b"data", b"")


def test_no_root_on_the_host_is_unreachable_and_says_why(host: SshHost) -> None:
    connection = connect(inventory_hostname=NAME, **host.variables("careful"))
    with pytest.raises(AnsibleConnectionFailure, match=rf"{NAME}.*a password is required"):
        connection.exec_command("exit 0")
    connection = connect(inventory_hostname=NAME, ansible_unshare_host_become="never", **host.variables("careful"))
    with pytest.raises(AnsibleConnectionFailure, match=rf"{NAME}.*"):
        connection.exec_command("exit 0")


def test_a_user_whose_name_only_ssh_knows_becomes_root(host: SshHost) -> None:
    variables = host.variables()
    del variables["ansible_user"]
    variables["ansible_ssh_common_args"] = "-o User=deployer"
    assert connect(inventory_hostname=NAME, **variables).exec_command("id -u")[1] == b"0\n"


def test_a_jump_host(host: SshHost) -> None:
    key = host.directory / "key"
    hop = f"ssh -i {key} -o UserKnownHostsFile={host.directory}/known_hosts -p {host.port} -W %h:%p root@127.0.0.1"
    variables = host.variables(ansible_ssh_common_args=f'-o ProxyCommand="{hop}" -o ControlPath=none')
    assert connect(inventory_hostname=NAME, **variables).exec_command("hostname")[1].decode() == f"{NAME}\n"


@pytest.mark.parametrize("pipelining", [True, False])
@pytest.mark.parametrize("way", ["local", pytest.param("ssh as a user who becomes root", marks=pytest.mark.long)])
def test_tasks(way: str, pipelining: bool, machine: Machine, host: SshHost, tmp_path: Path) -> None:
    sizes = {"empty": 0, "one byte": 1, "binary ✓": 300_000, **({"big": BIG} if pipelining else {})}
    (tmp_path / "files").mkdir()
    for name, size in sizes.items():
        (tmp_path / "files" / name).write_bytes(os.urandom(size))
    own = {key: value for key, value in variables_of(way, host).items() if key != "inventory_hostname"}
    inventory = {"all": {"hosts": {NAME: {**own, "ansible_pipelining": pipelining}}}}
    (tmp_path / "hosts.json").write_text(json.dumps(inventory))
    extra = json.dumps({"files": sorted(sizes), "from": str(tmp_path / "files"), "back": str(tmp_path / "back")})
    result = ansible("ansible-playbook", "-i", tmp_path / "hosts.json", "-e", extra, SUITE, directory=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    for name in sizes:
        assert (tmp_path / "back" / name).read_bytes() == (tmp_path / "files" / name).read_bytes()
