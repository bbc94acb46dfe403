# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hosts behind a real sshd, each in namespaces of its own on this machine, and ways to reach containers on them."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import typing as t
from pathlib import Path

import yaml
from ansible_collections.unshare.container.plugins.connection import nsenter
from ansible_collections.unshare.container.plugins.module_utils.launcher.cgroup import ControlGroup

PLUGIN = "unshare.container.nsenter"
PASSWORD = "pass word"
# Of PASSWORD, by crypt(5).
HASH = "$6$testsalt$gw50jj79cHASfeKtI3.x7RpGMqULJ2KXKI8JSRsd6C9E.LD6g/hgLKT0H4qlWzjBd3XvNdFnHWc4AP8xVrx.s/"
COLLECTIONS = Path(__file__).parents[2] / ".collections"

# What a host does before it serves: its users, and, when it is to be another machine, its own containers. The process
# is in a control group of its own, so that equal names on two hosts do not meet.
SETUP = """
set -eu
cd "$1"
mount --bind passwd /etc/passwd
mount --bind shadow /etc/shadow
mount --bind sudoers /etc/sudoers
if test -d state; then
    # This machine removes its own /run/unshare with its last container, and with the directory what is mounted there.
    mount -t tmpfs -o mode=755 tmpfs /run
    mkdir -p /var/lib/unshare /run/unshare
    mount --bind state /var/lib/unshare
    mount --bind run /run/unshare
fi
mkdir -p /run/sshd
exec /usr/sbin/sshd -D -e -f "$1/sshd_config"
"""


def free_port() -> int:
    """Return a port of the loopback that nobody listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class SshHost:
    """A host that answers at a port of the loopback.

    Its users are root, `deployer` (sudo without a password) and `careful` (sudo with PASSWORD); all have the same key.

    Args:
        name: to tell hosts apart.
        separate: it has containers of its own; else it shows those of this machine.
    """

    def __init__(self, name: str, separate: bool = False) -> None:
        self.name = name
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix=f"{name}-", dir="/tmp"))  # sockets' paths must be short
        self.directory.chmod(0o755)
        self.cgroup = ControlGroup(name)
        self._write_files()
        if separate:
            for part in ("state", "run"):
                (self.directory / part).mkdir()
        self.server = self._start(separate)

    def _write_files(self) -> None:
        here = self.directory
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", here / "key"], check=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", here / "host_key"], check=True)
        (here / "key.pub").rename(here / "authorized_keys")
        accounts = [("deployer", 7001, "*"), ("careful", 7002, HASH)]
        passwd = "".join(f"{name}:x:{uid}:{uid}::{here}/{name}:/bin/sh\n" for name, uid, _hash in accounts)
        # Its root has an empty home and the plainest shell: what this machine's root runs at a login is not waited for.
        (here / "root").mkdir()
        others = [line for line in Path("/etc/passwd").read_text().splitlines(True) if not line.startswith("root:")]
        (here / "passwd").write_text(f"root:x:0:0:root:{here}/root:/bin/sh\n" + "".join(others) + passwd)
        shadow = "".join(f"{name}:{hash_}:20000:0:99999:7:::\n" for name, _uid, hash_ in accounts)
        (here / "shadow").write_text(Path("/etc/shadow").read_text() + shadow)
        (here / "shadow").chmod(0o600)
        (here / "sudoers").write_text(
            "root ALL=(ALL) ALL\ndeployer ALL=(ALL) NOPASSWD: ALL\ncareful ALL=(ALL) ALL\nDefaults lecture=never\n"
        )
        (here / "sudoers").chmod(0o440)
        for name, uid, _hash in accounts:
            (here / name).mkdir()
            os.chown(here / name, uid, uid)
        (here / "sshd_config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {here}/host_key\nPidFile none\nUsePAM no\n"
            f"StrictModes no\nAuthorizedKeysFile {here}/authorized_keys\nPasswordAuthentication no\n"
            "PermitRootLogin prohibit-password\nSubsystem sftp internal-sftp\nLogLevel INFO\nMaxStartups 100\n"
        )
        public = (here / "host_key.pub").read_text().split()
        (here / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {public[0]} {public[1]}\n")

    def _start(self, separate: bool) -> subprocess.Popen[str]:
        group = self.cgroup.create(0)
        try:
            words = ["/bin/sh", "-c", SETUP, "sh", str(self.directory)]
            cgroups = ["--cgroup"] if separate else []
            server = subprocess.Popen(
                ["unshare", "--mount", *cgroups, "--propagation", "private", "--", *words],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                preexec_fn=lambda: _enter_group(group),
            )
        finally:
            os.close(group)
        assert server.stderr is not None
        said = ""
        for line in server.stderr:
            said += line
            if "Server listening" in line:
                return server
        raise AssertionError(f"sshd does not start: {said}")

    def variables(self, user: str = "root", **further: t.Any) -> dict[str, t.Any]:
        """Return the connection variables that reach this host."""
        options = f"-o UserKnownHostsFile={self.directory}/known_hosts -o ControlMaster=auto -o ControlPersist=60s"
        return {
            "ansible_host": "127.0.0.1",
            "ansible_port": self.port,
            "ansible_user": user,
            "ansible_ssh_private_key_file": str(self.directory / "key"),
            "ansible_ssh_args": options,
            "ansible_control_path_dir": str(self.directory / "control"),
            **further,
        }

    def close(self) -> None:
        """End the connections that SSH keeps, the server, and all that ran below it."""
        control = self.directory / "control"
        for path in control.iterdir() if control.is_dir() else []:
            subprocess.run(["ssh", "-q", "-O", "exit", "-S", str(path), "127.0.0.1"], capture_output=True, check=False)
        self.cgroup.kill(10)
        self.server.wait(10)
        assert self.server.stderr is not None
        self.server.stderr.close()
        self.cgroup.remove()
        self.cgroup.close()
        shutil.rmtree(self.directory)


def _enter_group(group: int) -> None:
    descriptor = os.open("cgroup.procs", os.O_WRONLY, dir_fd=group)
    os.write(descriptor, b"0")
    os.close(descriptor)


@contextlib.contextmanager
def ansible_finds_collections() -> t.Iterator[None]:
    """Have Ansible's own finder of collections in this process, which looks up the plugins, for as long as this lasts.

    Python's imports are its affair as well while it is there, and it refuses those of a collection that Python itself
    had begun to import, as every other test does.
    """
    from ansible.plugins.loader import init_plugin_loader
    from ansible.utils.collection_loader import AnsibleCollectionConfig

    init_plugin_loader([str(COLLECTIONS)])
    try:
        yield
    finally:
        AnsibleCollectionConfig.collection_finder._remove()


def connect(**variables: t.Any) -> nsenter.Connection:
    """Return the connection plugin with these variables, as a task has it."""
    from ansible import constants
    from ansible.playbook.play_context import PlayContext

    options = yaml.safe_load(nsenter.DOCUMENTATION)["options"]
    constants.config.initialize_plugin_configuration_definitions("connection", PLUGIN, options)
    extras = {name: value for name, value in variables.items() if name.startswith("ansible_ssh_")}
    with ansible_finds_collections():
        connection = nsenter.Connection(PlayContext())
        connection._load_name = PLUGIN
        connection.set_options(var_options={**variables, "_extras": extras})
        inner = connection.ssh_type_conn
        if inner is not None:
            inner.set_options(var_options=variables)  # as the executor does
    return connection


def ansible(
    program: str | Path, *arguments: t.Any, directory: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run one of Ansible's programs, of this ansible-core's or by its path, with nothing of this user's configuration.

    Nothing of this repository's is used, either.
    """
    configuration = directory / "ansible.cfg"
    if not configuration.exists():
        configuration.write_text(
            "[defaults]\nhost_key_checking = True\nforks = 10\nretry_files_enabled = False\nfact_caching = memory\n"
            "interpreter_python = /usr/bin/python3\nlocalhost_warning = False\nnocows = True\n"
            "[inventory]\nenable_plugins = unshare.container.system_containers, yaml, host_list\n"
        )
    words = [str(Path(sys.executable).parent / program), *map(str, arguments)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PYTHON"))}
    variables = {
        **clean,
        "ANSIBLE_CONFIG": str(configuration),
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
        "ANSIBLE_HOME": str(directory / "home"),
        "ANSIBLE_NOCOLOR": "1",
        "LC_ALL": "C.UTF-8",
        **environment,
    }
    return subprocess.run(words, env=variables, capture_output=True, text=True, timeout=240, stdin=subprocess.DEVNULL)
