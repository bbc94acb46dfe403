# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt)

"""The connection plugin for tasks in a system container, of this machine or of one reached with SSH."""

from __future__ import annotations

DOCUMENTATION = r"""
name: nsenter
author:
  - The unshare.container authors (@unshare)
short_description: Run tasks in a system container, on this machine or behind SSH
version_added: 0.1.0
description:
  - Runs commands in a container that M(unshare.container.system_container) has started, and copies files into and out
    of it. A command gets the namespaces, the control group, the environment and the limits of the container, and no
    file of the host.
  - The container runs on this machine, or on a host that is reached with P(ansible.builtin.ssh#connection). All options
    of that plugin can be set in all their ways, and apply to the connection to the host.
  - Nothing but the container needs to be on the host.
notes:
  - Files are copied through the standard input and output of a command in the container. How SSH would copy files does
    not matter.
  - A terminal is never asked for.
  - A command whose standard output or error is longer than 64 MiB is ended, and that is an error. Files have no limit.
  - A container that has rebooted itself, and that nothing on its host starts again, is started by the next command. In
    check mode it is not, and is unreachable.
options:
  container:
    description: Name of the container. The default is the name of the inventory host.
    type: str
    vars:
      - name: inventory_hostname
      - name: ansible_unshare_container
  transport:
    description:
      - How the container's host is reached.
      - V(auto) means V(local) when O(host) is not given or is the inventory host's name, and when it is V(localhost),
        V(127.0.0.1) or V(::1) and O(port) is not given; else V(ssh).
    type: str
    choices: [auto, local, ssh]
    default: auto
    vars:
      - name: ansible_unshare_transport
  host:
    description: Name or address of the host on which the container runs.
    type: str
    vars:
      - name: ansible_host
      - name: ansible_ssh_host
  port:
    description: Port of the host's SSH server.
    type: int
    vars:
      - name: ansible_port
      - name: ansible_ssh_port
  remote_user:
    description:
      - User of the container whose commands are run.
      - The user for the login to the host is another one, set with C(ansible_user), as with SSH alone.
    type: str
    default: root
    vars:
      - name: ansible_unshare_user
  host_become:
    description:
      - Whether to become root on the host first, which is needed to enter a container. C(become) is about users inside.
      - V(auto) does so when the user on the host is not root.
    type: str
    choices: [auto, always, never]
    default: auto
    vars:
      - name: ansible_unshare_host_become
  host_become_exe:
    description: Program that runs another one as root.
    type: str
    default: sudo
    vars:
      - name: ansible_unshare_host_become_exe
  host_become_flags:
    description: Its options. They are followed by V(--) and the command.
    type: str
    default: -n
    vars:
      - name: ansible_unshare_host_become_flags
  host_become_password:
    description:
      - Password for sudo on the host. It is sent on standard input, and O(host_become_flags) is not used.
      - It cannot be used together with a C(become) inside that asks for a password.
    type: str
    vars:
      - name: ansible_unshare_host_become_password
  facts:
    description:
      - The facts that the container reports about itself. Do not set this option.
      - Ansible makes variables of facts. If one of them configured this plugin, the container could decide how it is
        reached, and which programs run on the way there. So such facts are an error.
    type: raw
    vars:
      - name: ansible_facts
  pipelining:
    description: Send modules through standard input instead of copying them first.
    type: bool
    default: true
    env:
      - name: ANSIBLE_PIPELINING
    ini:
      - section: defaults
        key: pipelining
      - section: connection
        key: pipelining
    vars:
      - name: ansible_pipelining
      - name: ansible_unshare_pipelining
"""

import os
import secrets
import shlex
import typing as t

from ansible import constants
from ansible.errors import AnsibleConnectionFailure, AnsibleError, AnsibleFileNotFound
from ansible.module_utils.common.text.converters import to_bytes, to_native, to_text
from ansible.plugins.connection import ConnectionBase
from ansible.plugins.loader import connection_loader
from ansible.utils.display import Display
from ansible_collections.unshare.container.plugins.module_utils.launcher.printable import printable
from ansible_collections.unshare.container.plugins.plugin_utils.checks import CONTAINER_NAME
from ansible_collections.unshare.container.plugins.plugin_utils.entering import SILENT_BECOME, Become, Report
from ansible_collections.unshare.container.plugins.plugin_utils.local_command import ANSWER_LIMIT, LocalCommand

display = Display()

PREFIX = "ansible_"
OWN_VARIABLES = ("ansible_unshare_", "inventory_hostname")
"""Prefix of the names of variables that configure this plugin and no other."""

THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
CHUNK = 4 << 20
"""Bytes of a file that are copied with one command."""

BECOME_ROOT = 'if test "$(id -u)" = 0; then exec "$@"; fi; exec {become} "$@"'
"""Shell text for a host whose login user is not known before; its arguments are a command."""

NO_TERMINAL = " -T"
"""The last of SSH's arguments, and so more than any that asks for a terminal, here or in a configuration file."""

CommandResult = tuple[int, bytes, bytes]


class Connection(ConnectionBase):
    """A connection to a container: commands go to its host, and there through `enter-container`."""

    transport = "unshare.container.nsenter"
    has_pipelining = True
    has_tty = False
    # All of ansible_ssh_* is known where only this plugin's options are asked for, as in `meta: reset_connection`.
    allow_extras = True
    extras_prefix = "ssh"

    def __init__(self, play_context: t.Any, *args: t.Any, **kwargs: t.Any) -> None:
        super().__init__(play_context, *args, **kwargs)
        # The connection to a host behind SSH. Ansible gives an attribute of this name the options of its own plugin.
        self.ssh_type_conn: t.Any = None
        self._inventory_name: str | None = None
        self._unknown: set[str] = set()  # options that the host's enter-container refuses

    def set_options(self, task_keys: t.Any = None, var_options: t.Any = None, direct: t.Any = None) -> None:
        """Set the options; they decide how the host is reached."""
        super().set_options(task_keys=task_keys, var_options=var_options, direct=direct)
        self._refuse_facts()
        self._inventory_name = (var_options or {}).get("inventory_hostname")
        if self._is_local():
            self.ssh_type_conn = None
            return
        self.ssh_type_conn = connection_loader.get("ansible.builtin.ssh", self._play_context, shell=self._shell)
        variables = {**(var_options or {}), **(var_options or {}).get("_extras", {})}
        self.ssh_type_conn.set_options(task_keys=task_keys, var_options=variables)

    def _refuse_facts(self) -> None:
        """Raise AnsibleError when the container itself has set one of this plugin's variables.

        Facts come before the inventory's variables. Ansible keeps those out that configure its own plugins alone.
        """
        facts = self.get_option("facts")
        if not constants.config.get_config_value("INJECT_FACTS_AS_VARS") or not isinstance(facts, dict):
            return
        names = constants.config.get_plugin_vars("connection", self._load_name)
        own = [
            name for name in names if name.startswith(OWN_VARIABLES) and {name, name.removeprefix(PREFIX)} & set(facts)
        ]
        if own:
            raise AnsibleError(
                f"{', '.join(sorted(own))}: set by facts of the container {self.get_option('container')}, and how a "
                "container is reached is not for it to say. Look at what runs as root there; take the facts back with "
                "'meta: clear_facts', and with a set_fact that is not cacheable"
            )

    def _is_local(self) -> bool:
        transport, host = self.get_option("transport"), self.get_option("host")
        if transport != "auto":
            return bool(transport == "local")
        if host == self._inventory_name:  # what a task that is delegated has when nothing is given
            return True
        return not host or (host in THIS_MACHINE and not self.get_option("port"))

    @property
    def _name(self) -> str:
        name = str(self.get_option("container"))
        if not CONTAINER_NAME.fullmatch(name):
            raise AnsibleError(f"{name!r} is not a name of a container; set ansible_unshare_container")
        return name

    @property
    def _where(self) -> str:
        return "this machine" if self._is_local() else str(self.ssh_type_conn.get_option("host"))

    def _connect(self) -> Connection:
        self._connected = True
        return self

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> CommandResult:
        """Run a shell command in the container; return its exit status, standard output and standard error.

        :raises AnsibleConnectionFailure: the command was not run, or its end is not known.
        :raises AnsibleError: one of its streams exceeds `ANSWER_LIMIT`, so that it was ended.
        """
        return self._execute(cmd, in_data, sudoable, ANSWER_LIMIT)

    def _execute(self, cmd: str, data: bytes | None, sudoable: bool, limit: int) -> CommandResult:
        self._connect()
        display.vvv(f"ENTER CONTAINER {self._name} ON {self._where}", host=self._play_context.remote_addr)
        token = secrets.token_hex(16)
        report = Report(token)
        become = self._become_of(cmd, report) if sudoable else None
        in_data = data
        if self._password is not None:
            if become is not None and become.expect_prompt():
                raise AnsibleError(
                    "host_become_password cannot be used with a become inside that asks for a password: let sudo on the"
                    " host run without one, or log in to the host as root, or set ansible_unshare_user to the user"
                    " inside instead of become"
                )
            # It comes first on standard input, so input is sent before the become inside has succeeded.
            in_data = to_bytes(f"{self._password}\n{token}\n") + (in_data or b"")
            become = None
        flags = [f"--limit={limit}", *(["--skip"] if self._password is not None else [])]
        if getattr(self._play_context, "check_mode", False):  # of the task, since each task gives its own play context
            flags.append("--no-start")
        if in_data and become is None and not self._is_local():
            # SSH calls it a lost connection when what it sends is not read. With a become, nothing is sent before that
            # has succeeded.
            flags.append("--discard")
        flags = [flag for flag in flags if flag.partition("=")[0] not in self._unknown]
        words = self._enter(["/bin/sh", "-c", to_text(cmd, errors="surrogate_or_strict")], token, flags)
        try:
            if self._is_local():
                outcome = LocalCommand(words, in_data, become, self._play_context.timeout, limit).run()
            else:
                outcome = self._run_behind_ssh(words, in_data, become)
        except AnsibleError as error:
            raise self._failure(error, report) from None
        unknown = report.unknown_option(outcome[2])
        if unknown:
            self._unknown.add(unknown)
            return self._execute(cmd, data, sudoable, limit)
        return self._outcome(outcome, report)

    def _become_of(self, command: str, report: Report) -> Become | None:
        """Return the become that a command begins with, if any."""
        plugin: t.Any = self.become
        if not (plugin and plugin.success and plugin.success in to_text(command)):
            return None
        return Become(plugin, report, self._play_context.timeout)

    @property
    def _password(self) -> str | None:
        if self.get_option("host_become") == "never":
            return None
        password: str | None = self.get_option("host_become_password")
        return password

    def _enter(self, command: list[str], token: str, flags: list[str]) -> list[str]:
        """Return the host's command that runs `command` in the container."""
        words = [f"/run/unshare/{self._name}/system/enter-container", f"--report={token}", *flags]
        words += [f"--user={self.get_option('remote_user')}", "--", *command]
        return self._host_prefix() + words

    def _host_prefix(self) -> list[str]:
        """Return the words that make the host's root run the command after them."""
        mode = self.get_option("host_become")
        if mode == "never":
            return []
        flags = self.get_option("host_become_flags") if self._password is None else "-S -p ''"
        become = [self.get_option("host_become_exe"), *shlex.split(flags), "--"]
        if mode == "always" or self._password is not None:
            return become
        if self._is_local():
            return [] if os.geteuid() == 0 else become
        user = self.ssh_type_conn.get_option("remote_user")
        if user:
            return [] if user == "root" else become
        return ["/bin/sh", "-c", BECOME_ROOT.format(become=shlex.join(become)), "sh"]

    def _run_behind_ssh(self, words: list[str], in_data: bytes | None, become: Become | None) -> CommandResult:
        host = self.ssh_type_conn
        host.set_option("use_tty", False)
        extra = host.get_option("ssh_extra_args") or ""
        if not extra.endswith(NO_TERMINAL):
            host.set_option("ssh_extra_args", extra + NO_TERMINAL)
        host.become = become
        outcome: CommandResult = host.exec_command(shlex.join(words), in_data=in_data, sudoable=become is not None)
        return outcome

    def _failure(self, error: AnsibleError, report: Report) -> AnsibleError:
        """Return the error to raise for one that happened on the way to the container.

        A become inside that fails is no lost connection; but SSH's plugin reports a silent one as such.
        """
        said = str(error)
        message = printable(to_text(report.take(to_bytes(f"{said}\n"))).rstrip("\n"))
        self._check(report)
        if not isinstance(error, AnsibleConnectionFailure):
            return error if message == said else AnsibleError(message)
        if not report.entered:
            return error if printable(said) == said else AnsibleConnectionFailure(printable(said))
        if SILENT_BECOME in message:
            return AnsibleError(message)
        return AnsibleConnectionFailure(f"{self._cut_off()}: {message}")

    def _outcome(self, outcome: CommandResult, report: Report) -> CommandResult:
        """Return the result of the command in the container, taken from that of the command on the host."""
        status, output, errors = outcome
        errors = report.take(errors)
        self._check(report)
        if not report.entered:
            said = printable(to_native(errors or output).strip()) or f"exit status {status}"
            absent = "enter-container" in said and ("not found" in said or "No such file" in said)
            why = "it does not run" if absent else "cannot be entered"
            raise AnsibleConnectionFailure(f"container {self._name}: {why} on {self._where}: {said}")
        if report.status is None:
            raise AnsibleConnectionFailure(self._cut_off())
        return report.status, output, errors

    def _check(self, report: Report) -> None:
        if report.error is not None:
            raise AnsibleConnectionFailure(f"{report.error} (on {self._where})")
        if report.ended is not None:
            raise AnsibleError(f"container {self._name}: {report.ended}")

    def _cut_off(self) -> str:
        return f"container {self._name}: the connection to {self._where} ended before the command in it did"

    def put_file(self, in_path: str, out_path: str) -> None:
        """Copy a file into the container. Raises AnsibleError when it cannot be read or written."""
        display.vvv(f"PUT {in_path} TO {out_path}", host=self._play_context.remote_addr)
        place = shlex.quote(out_path)
        try:
            with open(to_bytes(in_path, errors="surrogate_or_strict"), "rb") as file:
                data = file.read(CHUNK)
                self._copy(f"cat >{place}" if data else f": >{place}", data, out_path)
                while data := file.read(CHUNK):
                    self._copy(f"cat >>{place}", data, out_path)
        except FileNotFoundError as error:
            raise AnsibleFileNotFound(f"file or module does not exist: {to_native(in_path)}") from error

    def fetch_file(self, in_path: str, out_path: str) -> None:
        """Copy a file out of the container. Raises AnsibleError when it cannot be read or written."""
        display.vvv(f"FETCH {in_path} TO {out_path}", host=self._play_context.remote_addr)
        command = f"dd if={shlex.quote(in_path)} bs={CHUNK} count=1 iflag=fullblock status=none skip="
        number = 0
        data = self._copy(f"{command}0", b"", in_path)
        with open(to_bytes(out_path, errors="surrogate_or_strict"), "wb") as file:
            file.write(data)
            while len(data) == CHUNK:
                number += 1
                data = self._copy(f"{command}{number}", b"", in_path)
                file.write(data)

    def _copy(self, command: str, data: bytes, path: str) -> bytes:
        status, output, errors = self._execute(command, data or None, False, CHUNK)
        if status != 0:
            said = printable(f"{to_native(path)}: {to_native(errors).strip()}")
            raise AnsibleError(f"container {self._name}: cannot copy {said}")
        return output

    def reset(self) -> None:
        """Close the connection to the host that SSH keeps open."""
        if self.ssh_type_conn is not None:
            self.ssh_type_conn.reset()
        self.close()

    def close(self) -> None:
        """Close the connection to the host."""
        if self.ssh_type_conn is not None:
            self.ssh_type_conn.close()
        self._connected = False
