#!/usr/bin/python
# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt)

"""Run one command in a container of its own."""

from __future__ import annotations

DOCUMENTATION = r"""
module: eval_container
short_description: Run one command in a container of its own
version_added: 0.1.0
description:
  - Runs a program, a shell text or a Python text in new namespaces, and returns what M(ansible.builtin.command) does.
  - The command sees the software that it needs, at the same paths as on the host and read-only, what O(mappings) and
    O(files) add, and nothing else of the host. Its root, C(/tmp), C(/dev), C(/proc) and C(/sys) are its own.
  - When root runs it, the command has an id of the host that nothing else has, and no capability. So it is not root
    outside, and has few rights inside.
  - An ordinary user can run it, too, where the kernel allows users to make namespaces. The command then has that user's
    rights on the mappings, and sees nothing else.
  - Nothing of the command is left when it ends, however it ends.
author:
  - The unshare.container authors (@unshare)
extends_documentation_fragment:
  - unshare.container.attributes
  - unshare.container.view
attributes:
  check_mode:
    support: partial
    details: The command is not run. O(creates) and O(removes) are checked; without them the task is skipped.
  diff_mode:
    support: none
  idempotent:
    support: none
    details: O(creates), O(removes) and C(changed_when) say what the command does.
requirements:
  - Linux 5.12 or newer with user namespaces
options:
  argv:
    description:
      - The program and its arguments.
      - A program without a slash is looked up in the C(PATH) of O(environment).
    type: list
    elements: str
  cmd:
    description: A text for the shell O(executable), as M(ansible.builtin.shell) takes it.
    type: str
  expression:
    description:
      - A text for the Python O(executable).
      - The value of a text that is one expression is printed as JSON, unless it is V(None).
    type: str
  executable:
    description: The program that runs O(cmd), C(/bin/sh) by default, or O(expression), C(python3) by default.
    type: str
  guest_uid:
    description: The command's user id inside.
    type: int
    default: 0
  guest_gid:
    description: The command's group id inside.
    type: int
    default: 0
  ids:
    description:
      - Number of ids that are mapped. Only root can map more than one; they start from 0 inside.
      - With one, it is O(guest_uid) and O(guest_gid). The command can have no other id, and the files of everybody else
        belong to C(nobody).
    type: int
    default: 1
  private_users:
    description:
      - The ids of the host that are mapped.
      - V(auto) takes free ones from a range that systemd does not use. For an ordinary user it is the user's own id.
      - V(identity) takes the ids of the user who runs the module. Run by root, the command is root on the host.
      - A number is the first id of the host.
    type: str
    default: auto
  capabilities:
    description:
      - Capabilities that the command keeps, in its own user namespace, such as V(NET_ADMIN). V(ALL) keeps all.
      - They apply to what the command's namespaces own, not to the host, unless O(namespaces) leaves out V(user).
    type: list
    elements: str
    default: []
  child_is_pid1:
    description:
      - Whether the command itself is the first process of its pid namespace. It then gets only the signals that it
        handles, and must reap orphans.
      - By default the first process is a small one that reaps orphans and passes signals on, and the command is PID 2.
    type: bool
    default: false
  writable_root:
    description: Whether the command may write to its root, which ends with it.
    type: bool
    default: false
  environment:
    description:
      - Variables of the command, besides C(PATH), C(HOME), C(LANG) and C(container). It gets none of the host's.
    type: dict
  chdir:
    description: The command's working directory, as the command sees it.
    type: str
    default: /
  stdin:
    description: Its standard input, empty by default.
    type: str
  stdin_add_newline:
    description: Whether a newline is added to O(stdin).
    type: bool
    default: true
  strip_empty_ends:
    description: Whether empty lines at the end of its output are left out.
    type: bool
    default: true
  timeout:
    description:
      - Seconds after which the command is killed, with all that it started. The task fails, and returns its output.
      - The time to find what the command needs counts, too.
      - Without V(pid) among O(namespaces) only its process group is killed.
      - A number from 0.001 to 1000000. By default there is no limit.
    type: raw
  creates:
    description: A path of the host, or a pattern for one. When it exists, the command is not run.
    type: path
  removes:
    description: A path of the host, or a pattern for one. When it does not exist, the command is not run.
    type: path
seealso:
  - module: ansible.builtin.command
  - module: unshare.container.system_container
"""

EXAMPLES = r"""
- name: Look at an untrusted archive without network, rights, or anything to write to
  unshare.container.eval_container:
    argv: [tar, --list, --file, /upload.tar]
    mappings:
      - /srv/uploads/today.tar=/upload.tar
  changed_when: false

- name: Install from a makefile, with that directory and the programs named visible
  unshare.container.eval_container:
    cmd: make -C /source install DESTDIR=/result
    closure: elf
    inputs: [make, install]
    mappings:
      - /srv/source=/source
      - {source: /srv/result, target: /result, writable: true}
    timeout: 600

- name: Ask Python
  unshare.container.eval_container:
    expression: "[n for n in range(2, 100) if all(n % d for d in range(2, n))]"
  register: primes
  changed_when: false

- name: Run a program as user 42 with a configuration of its own
  unshare.container.eval_container:
    argv: [/usr/sbin/nginx, -t, -e, stderr, -c, /etc/nginx/nginx.conf]
    guest_uid: 42
    guest_gid: 77
    files:
      /etc/nginx/nginx.conf: "pid /run/nginx.pid; events {}\n"
    file_systems:
      - mount_point: /run
      - mount_point: /var/lib/nginx
  changed_when: false
"""

RETURN = r"""
cmd:
  description: The command.
  returned: always
  type: raw
  sample: [id, -u]
rc:
  description: Its exit code, or 128 and the number of the signal that killed it. There is none when it was not started.
  returned: when it was run
  type: int
  sample: 0
stdout:
  description: The first 16 MiB of its standard output. Bytes that are no UTF-8 are replaced.
  returned: when it was run
  type: str
  sample: "0"
stdout_lines:
  description: The same in lines.
  returned: when it was run
  type: list
  elements: str
  sample: ["0"]
stderr:
  description: The first 16 MiB of its standard error. Bytes that are no UTF-8 are replaced.
  returned: when it was run
  type: str
  sample: ""
stderr_lines:
  description: The same in lines.
  returned: when it was run
  type: list
  elements: str
  sample: []
start:
  description: When it started.
  returned: when it was run
  type: str
  sample: "2026-05-04 03:02:01.123456"
end:
  description: When it ended.
  returned: when it was run
  type: str
  sample: "2026-05-04 03:02:01.173456"
delta:
  description: How long it took.
  returned: when it was run
  type: str
  sample: "0:00:00.050000"
msg:
  description: Why it was not run, or what failed.
  returned: always
  type: str
  sample: non-zero return code
timed_out:
  description: Whether it was killed because of O(timeout).
  returned: when it was run
  type: bool
  sample: false
truncated:
  description: Whether its output was longer than RV(stdout) and RV(stderr).
  returned: when it was run
  type: bool
  sample: false
closure:
  description: The paths of the host that it saw besides its mappings, including symbolic links on the way.
  returned: when it was run
  type: list
  elements: str
  sample: [/bin, /lib, /lib64, /sbin, /usr]
"""

import datetime
import glob
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.evaluation import run as evaluation
from ..module_utils.evaluation.request import MANAGED, NAMESPACES, Request
from ..module_utils.host.module_log import Unlogged
from ..module_utils.host.time_limits import TimeLimit, check_time_limits
from ..module_utils.launcher.errors import LauncherError
from ..module_utils.launcher.process import heed_children
from ..module_utils.state.target import explain

ARGUMENT_SPEC: dict[str, t.Any] = {
    "argv": {"type": "list", "elements": "str"},
    "cmd": {"type": "str"},
    "expression": {"type": "str"},
    "executable": {"type": "str"},
    "namespaces": {"type": "list", "elements": "str", "choices": list(NAMESPACES), "default": list(NAMESPACES)},
    "mappings": {"type": "list", "elements": "raw"},
    "file_systems": {
        "type": "list",
        "elements": "dict",
        "options": {
            "mount_point": {"type": "str", "required": True},
            "type": {"type": "str", "choices": ["tmpfs"], "default": "tmpfs"},
            "options": {"type": "str"},
            "flags": {"type": "list", "elements": "str"},
        },
    },
    "files": {"type": "dict"},
    "closure": {"type": "str", "choices": ["store", "elf", "guix", "nix"], "default": "store"},
    "store": {"type": "str", "default": "/usr"},
    "inputs": {"type": "list", "elements": "str"},
    "guest_uid": {"type": "int", "default": 0},
    "guest_gid": {"type": "int", "default": 0},
    "ids": {"type": "int", "default": 1},
    "private_users": {"type": "str", "default": "auto"},
    "capabilities": {"type": "list", "elements": "str", "default": []},
    "child_is_pid1": {"type": "bool", "default": False},
    "writable_root": {"type": "bool", "default": False},
    "environment": {"type": "dict"},
    "chdir": {"type": "str", "default": "/"},
    "stdin": {"type": "str"},
    "stdin_add_newline": {"type": "bool", "default": True},
    "strip_empty_ends": {"type": "bool", "default": True},
    "timeout": TimeLimit(),
    "creates": {"type": "path"},
    "removes": {"type": "path"},
}
COMMANDS = ("argv", "cmd", "expression")


def reason_to_skip(parameters: dict[str, t.Any]) -> str | None:
    """Return why `creates` and `removes` leave the command nothing to do, or None."""
    creates, removes = parameters["creates"], parameters["removes"]
    if creates and glob.glob(creates):
        return f"not run, since '{creates}' exists"
    if removes and not glob.glob(removes):
        return f"not run, since '{removes}' does not exist"
    return None


def ask_manager(module: AnsibleModule, items: list[str]) -> list[str]:
    """Return what members of the package manager's store refer to, according to the manager."""
    command = MANAGED[module.params["closure"]].command
    code, output, error = module.run_command([module.get_bin_path(command[0], required=True)] + command[1:] + items)
    if code != 0:
        raise LauncherError(f"closure: {command[0]} does not know what {items[0]} refers to: {error.strip()}")
    return output.split()


def text_of(data: bytes, strip: bool) -> str:
    """Return output as text, whatever bytes it holds."""
    text = data.decode("utf-8", "replace")
    return text.rstrip("\r\n") if strip else text


class EvalContainerModule(Unlogged, AnsibleModule):
    """The module, whose arguments the host's log does not have."""


def main() -> t.NoReturn:
    """Run as a module."""
    heed_children()
    module = EvalContainerModule(
        argument_spec=ARGUMENT_SPEC,
        required_one_of=[COMMANDS],
        mutually_exclusive=[COMMANDS],
        supports_check_mode=True,
    )
    parameters = module.params
    result: dict[str, t.Any] = {"cmd": next(parameters[name] for name in COMMANDS if parameters[name] is not None)}
    try:
        check_time_limits(parameters, ARGUMENT_SPEC)
    except LauncherError as error:
        module.fail_json(msg=str(error), **result)
    reason = reason_to_skip(parameters)
    if reason is not None:
        module.exit_json(changed=False, rc=0, stdout="", stderr="", msg=reason, **result)
    if module.check_mode:
        decided = parameters["creates"] is not None or parameters["removes"] is not None
        module.exit_json(changed=decided, skipped=not decided, msg="would have run, were this not check mode", **result)
    try:
        request = Request(parameters)
        start = datetime.datetime.now()
        outcome = evaluation.run(request, lambda items: ask_manager(module, items))
    except LauncherError as error:
        module.fail_json(msg=str(error), **result)
    except OSError as error:
        module.fail_json(msg=f"the container of this command: {explain(error)}", **result)
    end = datetime.datetime.now()
    for warning in outcome.warnings:
        module.warn(warning)
    strip = parameters["strip_empty_ends"]
    result.update(
        changed=True,
        rc=outcome.code,
        stdout=text_of(outcome.output, strip),
        stderr=text_of(outcome.error, strip),
        start=str(start),
        end=str(end),
        delta=str(end - start),
        timed_out=outcome.expired,
        truncated=outcome.truncated,
        closure=outcome.closure,
        msg="",
    )
    if outcome.expired:
        result["msg"] = f"killed after {parameters['timeout']:g} s"
    elif outcome.code != 0:
        result["msg"] = "non-zero return code"
    if result["msg"]:
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
