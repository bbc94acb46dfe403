# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Credentials of a container (P6): by systemd's own means inside, and by nobody else's."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import stat
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import credentials
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError

from .isolation import MODES, make_hostile
from .playbooks import playbook

if t.TYPE_CHECKING:
    from ansible_collections.unshare.container.plugins.module_utils.life.container import Container

    from .conftest import MakeMachine

pytestmark = pytest.mark.root

NAME = "test-credentials"
BINARY = bytes(range(256))
SYSTEM = {
    "host_name": NAME,
    "services": [
        {
            "type": "unit",
            "value": {
                "name": "reader",
                "command": ["/usr/bin/sh", "-c", 'cat "$CREDENTIALS_DIRECTORY/token" >"$RUNTIME_DIRECTORY/read"'],
                "service": {
                    "Type": "oneshot",
                    "RemainAfterExit": True,
                    "LoadCredential": ["token"],
                    "DynamicUser": True,
                    "RuntimeDirectory": "reader",
                },
            },
        }
    ],
}
DIRECTORY = "/run/host/credentials"


def test_units_and_systemd_creds_have_them(make_machine: MakeMachine) -> None:
    binary = {"value": base64.b64encode(BINARY).decode(), "encoding": "base64"}
    machine = make_machine(SYSTEM, name=NAME, credentials={"token": "of-the-token", "binary": binary})
    machine.start()
    assert machine.output("cat", "/run/reader/read") == "of-the-token"
    listed = machine.output("systemd-creds", "--system", "--no-legend", "list")
    assert sorted(line.split()[0] for line in listed.splitlines()) == ["binary", "token"]
    assert machine.output("systemd-creds", "--system", "cat", "token").strip() == "of-the-token"
    hexadecimal = machine.output("systemd-creds", "--system", "--transcode=hex", "cat", "binary")
    assert bytes.fromhex(hexadecimal.strip()) == BINARY


@pytest.mark.parametrize("mode", MODES)
def test_only_root_inside_reads_them_and_nobody_changes_them(
    make_machine: MakeMachine, tmp_path: Path, mode: str
) -> None:
    machine = make_hostile(make_machine, mode, NAME, tmp_path / "data", SYSTEM, credentials={"token": "of-the-token"})
    machine.start()
    assert machine.output("stat", "-c", "%a %u %g", DIRECTORY, DIRECTORY + "/token").split("\n")[:2] == [
        "500 0 0",
        "400 0 0",
    ]
    assert machine.output("stat", "-f", "-c", "%T", DIRECTORY).strip() == "ramfs"  # never in the swap
    assert machine.run("cat", DIRECTORY + "/token", user="nobody").returncode != 0
    for attempt in (
        f"echo other >{DIRECTORY}/token",
        f"rm {DIRECTORY}/token",
        f"touch {DIRECTORY}/more",
        f"chmod 444 {DIRECTORY}/token",
        f"mount -o remount,rw {DIRECTORY}",
        f"mount -o remount,bind,rw {DIRECTORY}",
        f"umount {DIRECTORY}",
    ):
        assert machine.shell(attempt).returncode != 0, attempt
    assert machine.output("cat", DIRECTORY + "/token") == "of-the-token"
    assert stat.S_IMODE((machine.system / "root/run/host/credentials/token").stat().st_mode) == 0o600
    assert stat.S_IMODE(machine.system.stat().st_mode) == 0o700


def test_another_value_is_another_system(make_machine: MakeMachine) -> None:
    one = make_machine(SYSTEM, name=NAME, credentials={"token": "one"})
    other = make_machine(SYSTEM, name=NAME, credentials={"token": "two"})
    assert one.system != other.system
    other.start()
    assert other.output("cat", "/run/reader/read") == "two"
    assert other.run("printenv", "CREDENTIALS_DIRECTORY").returncode != 0  # of PID 1 alone


def test_a_file_of_the_host_is_read_at_each_start(make_machine: MakeMachine, tmp_path: Path) -> None:
    file = tmp_path / "token"
    machine = make_machine(SYSTEM, name=NAME, credentials={"token": {"path": str(file)}})
    with pytest.raises(LauncherError, match=rf"credentials.token: {file} does not exist on this host"):
        machine.start()
    for text in ("first", "second"):
        file.write_text(text)
        machine.start()
        assert machine.output("cat", "/run/reader/read") == text
        machine.stop()
    file.unlink()
    file.symlink_to("/etc/shadow")
    with pytest.raises(LauncherError, match="credentials.token: .* passes through a symbolic link"):
        machine.start()


@pytest.fixture
def store(request: pytest.FixtureRequest) -> t.Iterator[Path]:
    """Return a credential store of the host's, and leave none where none was."""
    directory = Path(request.param)
    made = not directory.exists()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    yield directory
    if made:
        shutil.rmtree(directory)


@pytest.mark.parametrize("store", ["/run/credstore"], indirect=True)
def test_a_credential_of_the_hosts_store(make_machine: MakeMachine, store: Path) -> None:
    name = "unshare-test-token"
    (store / name).write_text("stored")
    try:
        machine = make_machine(SYSTEM, name=NAME, credentials={"token": {"stored": name}})
        machine.start()
        assert machine.output("cat", "/run/reader/read") == "stored"
    finally:
        (store / name).unlink()


@pytest.mark.skipif(not shutil.which("systemd-creds"), reason="this machine has no systemd-creds")
@pytest.mark.parametrize("store", ["/run/credstore.encrypted"], indirect=True)
def test_an_encrypted_credential_of_the_host(make_machine: MakeMachine, store: Path) -> None:
    key = Path("/var/lib/systemd/credential.secret")
    made = not key.exists()
    name = "unshare-test-token"
    encrypt = ["systemd-creds", "encrypt", "--with-key=host", f"--name={name}", "-", str(store / name)]
    try:
        subprocess.run(encrypt, input=b"decrypted", check=True, capture_output=True)
        machine = make_machine(SYSTEM, name=NAME, credentials={"token": {"encrypted": name}})
        machine.start()
        assert machine.output("cat", "/run/reader/read") == "decrypted"
        machine.stop()
        (store / name).write_text("bm90aGluZw==\n")
        with pytest.raises(LauncherError, match="credentials.token: systemd-creds cannot decrypt 'unshare-test-token'"):
            machine.start()
    finally:
        (store / name).unlink(missing_ok=True)
        if made:
            key.unlink(missing_ok=True)


def test_a_host_without_systemd_creds_says_so(
    make_machine: MakeMachine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(credentials, "TOOLS", ())
    monkeypatch.setattr(credentials, "STORES", (str(tmp_path),))
    os.mkdir(f"{tmp_path}.encrypted")
    Path(f"{tmp_path}.encrypted/token").write_text("x")
    machine = make_machine(SYSTEM, name=NAME, credentials={"token": {"encrypted": "token"}})
    with pytest.raises(LauncherError, match="credentials.token: this host has no systemd-creds"):
        machine.start()


PLAY = """
- hosts: localhost
  gather_facts: false
  tasks:
    - name: By the role
      ansible.builtin.include_role:
        name: unshare.container.system_container
      vars:
        system_container_name: test-credentials
        system_container_operating_system: {host_name: test-credentials}
        system_container_credentials: {token: "{{ word }}"}
    - name: By the module of all
      unshare.container.containers:
        containers:
          test-credentials:
            operating_system: {host_name: test-credentials}
            credentials: {token: "{{ word }}-too"}
    - name: Its value
      ansible.builtin.command:
        cmd: /run/unshare/test-credentials/system/enter-container sha256sum /run/host/credentials/token
      changed_when: false
"""


def test_no_value_is_shown(container: Container, tmp_path: Path) -> None:
    """Also one that is not of the vault: neither by a difference nor with any verbosity."""
    (tmp_path / "play.yml").write_text(PLAY)
    word = "swordfish-of-the-test"
    file = tmp_path / "word.yml"
    for number in (1, 2):
        file.write_text(f"word: {word}{number}\n")
        run = playbook(str(tmp_path / "play.yml"), "examples/inventory", "-vvv", "--diff", f"--extra-vars=@{file}")
        assert run.succeeded().changed() > 0
        assert word not in run.output
        assert "secret" in run.output  # the difference says that one has changed
        assert hashlib.sha256(f"{word}{number}-too".encode()).hexdigest() in run.output
