# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command lines of `run-container` and `enter-container` (S9, S10, S11)."""

from __future__ import annotations

import _signal
import os
import sys

from ..launcher import network_files, times
from ..launcher.contract import Mount
from ..launcher.errors import LauncherError
from ..launcher.names import container_of
from ..launcher.paths import RUNTIME_UNIT_DIRECTORY, refusal_of_root, write_atomically
from ..launcher.printable import print_error, print_warning
from ..launcher.process import KILL, heed_children
from ..launcher.specification import read_spec
from ..launcher.stop_signals import HEEDED, SCOPE_STOP, UNIT_STOP, signal_number
from ..launcher.targets import is_below, plain_path, refusal_of_place
from ..state.record import Status
from .container import Container, start_and_leave

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from ..launcher.contract import Specification

_asked = 0  # the signal that has asked this process to end

RUN_FLAGS = ("detach", "service", "again", "stop", "clear", "refresh", "refresh-all", "help")

RUN_USAGE = """\
Usage: run-container [OPTION]...
Run the system of this directory as a container. In the foreground the exit status is the container's, 0 when it powers
itself off; a reboot from inside runs it again; SIGINT, SIGTERM and SIGHUP stop it.

  --share=SOURCE[=TARGET]   also share a directory or file of the host, writable
  --expose=SOURCE[=TARGET]  the same, read-only
  --pid-file=FILE           write the host's PID of the container's first process to FILE
  --detach                  return when the container is ready, and leave it running
  --service                 the same for a unit of systemd (Type=notify): its main process is the container's
  --by-hand=FILE            with --service: the unit is that of a start by hand, which reads FILE
  --again                   start it as it was, if it was left running, has rebooted itself, and nothing has started it
  --refresh                 copy the host's network files again for the running container, and mend what others have
                            taken of its network: rules of the packet filter, a bridge
  --refresh-all             the same for all running containers of this host
  --stop                    stop the container
  --clear                   remove what a container that has ended by itself left in memory
  --timeout=SECONDS         how long it may take to become ready (30), and to stop (30)
  --help                    print this
"""

ENTER_USAGE = """\
Usage: enter-container [OPTION]... [--] [COMMAND [ARGUMENT]...]
Run a command in the running container of this system, or a login shell. The exit status is the command's.

  --user=NAME               as this user of the container (root)
  --no-start                do not start a container again that has rebooted itself: that is an error then
  --report=TOKEN            for programs: exit with 0, and say on standard error, in lines that begin with TOKEN,
                            whether the container was entered, and how the command ended
  --discard                 with --report: read standard input to its end in any case
  --limit=BYTES             with --report: end the command when its standard output or error is longer
  --skip                    with --report: leave out standard input up to a line that is TOKEN
  --help                    print this
"""


class Arguments:
    """The options of a command line, each `--name=value` or `--name value`, and the words after them."""

    def __init__(self, words: list[str], valued: tuple[str, ...], flags: tuple[str, ...], usage: str) -> None:
        self.values: dict[str, list[str]] = {}
        self.rest: list[str] = []
        words = list(words)
        while words:
            word = words.pop(0)
            if word == "--":
                self.rest = words
                return
            if not word.startswith("--"):
                self.rest = [word] + words
                return
            name, equals, value = word[2:].partition("=")
            if name in flags and not equals:
                value = ""
            elif name not in valued:
                raise LauncherError("%s: is no option here\n%s" % (word, usage))
            elif not equals:
                if not words:
                    raise LauncherError("%s: needs a value" % word)
                value = words.pop(0)
            self.values.setdefault(name, []).append(value)

    def last(self, name: str, default: str) -> str:
        return self.values.get(name, [default])[-1]


def mapping_record(text: str, writable: bool, spec: Specification | None = None) -> Mount:
    """Return the mount of SOURCE[=TARGET] (C10), for the container that `spec` describes, or for any."""
    from ..launcher.guarded import refusal_of_words

    source, _separator, target = text.partition("=")
    target = target or source
    if not source.startswith("/") or not target.startswith("/") or ".." in target.split("/"):
        raise LauncherError("%s: SOURCE and TARGET are absolute paths without '..'" % text)
    point = plain_path(target)
    reason = refusal_of_place(point, spec.store.target if spec else None)
    if not reason and spec:
        reason = spec.hidden_file(point)
    if not reason and is_below(point, "/dev"):
        reason = "'%s' lies in /dev, which the container makes itself" % point
    if not reason:
        reason = (writable and refusal_of_words(source)) or refusal_of_root(source)
    if reason:
        raise LauncherError("--%s=%s: %s" % ("share" if writable else "expose", text, reason))
    flags = ["bind-mount"] if writable else ["bind-mount", "read-only"]
    return Mount(device=source, mount_point=point, type="none", flags=flags, required=True)


def open_standard_streams() -> None:
    """Open the null device for each standard stream that the caller has closed.

    Otherwise a descriptor of the launcher's own would take its number, and programs would write to it.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open("/dev/null", os.O_RDWR)  # the lowest that is free: this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


def run_container_main() -> int:
    """Run `run-container`, of the system in whose directory the script is. Return the exit status."""
    open_standard_streams()
    directory = os.path.dirname(os.path.realpath(sys.argv[0]))
    try:
        valued = ("share", "expose", "pid-file", "by-hand", "timeout")
        arguments = Arguments(sys.argv[1:], valued, RUN_FLAGS, RUN_USAGE)
        if "help" in arguments.values:
            sys.stdout.write(RUN_USAGE)
            return 0
        if arguments.rest:
            raise LauncherError("%s: run-container takes options only\n%s" % (arguments.rest[0], RUN_USAGE))
        if os.geteuid() != 0:
            raise LauncherError("run-container: must be run as root")
        return _run(directory, arguments)
    except (LauncherError, OSError) as error:
        print_error("run-container", str(error))
        return 125


def _run(directory: str, arguments: Arguments) -> int:
    spec = read_spec(directory)
    container = Container(spec.name)
    extra = [mapping_record(text, True, spec) for text in arguments.values.get("share", [])]
    extra += [mapping_record(text, False, spec) for text in arguments.values.get("expose", [])]
    timeout = times.seconds(arguments.last("timeout", "30"), "--timeout")
    heed_children()
    # A unit has the signal of the init, which its main process gets, also while that is this process.
    of_unit = {UNIT_STOP, signal_number(spec.init.stop_signal)} - {KILL}
    for number in (_signal.SIGHUP, _signal.SIGINT, _signal.SIGTERM, *of_unit):
        _signal.signal(number, _interrupt)

    def explain(status: Status) -> None:
        _explain(status, directory, arguments)

    if "detach" in arguments.values:
        if os.path.isdir(RUNTIME_UNIT_DIRECTORY):
            from . import by_hand

            by_hand.start(container, directory, extra, _shares(arguments), timeout, explain)
        else:
            start_and_leave(container, directory, extra, timeout, explain)
        return 0
    if "refresh" in arguments.values:
        network_files.refresh(container.run_directory, spec.host_name)
        if spec.network is not None:
            from . import network_healing

            with container.lock(timeout):
                network_healing.mend(container)
        return 0
    if "refresh-all" in arguments.values:
        from . import following

        complaints = following.refresh_all(timeout)
        for complaint in complaints:
            print_error("run-container", complaint)
        return 1 if complaints else 0
    if "stop" in arguments.values:
        with container.lock(timeout):
            container.stop(timeout)
        return 0
    if "again" in arguments.values:
        from . import again

        return again.start_again(container, directory, timeout, explain)
    if "service" in arguments.values or "clear" in arguments.values:
        from . import service

        if "clear" in arguments.values:
            return service.clear(container, timeout)
        return service.start_in_unit(
            container,
            directory,
            timeout,
            explain,
            extra,
            arguments.last("by-hand", ""),
        )
    from .foreground import run_in_foreground

    if os.path.isdir(RUNTIME_UNIT_DIRECTORY):
        from . import by_hand

        by_hand.enter_scope(container, directory, extra, timeout)
        _signal.signal(SCOPE_STOP, _interrupt)
    return run_in_foreground(container, directory, extra, timeout, explain)


def _shares(arguments: Arguments) -> list[str]:
    """Return the options for further mounts, as they were given."""
    return ["--%s=%s" % (name, text) for name in ("share", "expose") for text in arguments.values.get(name, [])]


def _interrupt(number: int, _frame: object) -> NoReturn:
    """Raise an exception that ends this process, so that an unfinished start undoes itself.

    Python drops one that is raised in a callback, and imports have such: at the end of a start, `_explain` raises it
    again. Further signals ask for nothing new, and keep it from nothing.
    """
    global _asked
    _asked = number
    for each in (*HEEDED, number):
        _signal.signal(each, lambda *_arguments: None)
    raise SystemExit(128 + number)


def _explain(status: Status, directory: str, arguments: Arguments) -> None:
    """Print the PID on the host, and how to get a shell (S9). Raise `SystemExit` for one whose end was asked for."""
    if _asked:
        raise SystemExit(128 + _asked)
    pid_file = arguments.last("pid-file", "")
    if pid_file:
        write_atomically(os.path.abspath(pid_file), "%d\n" % (status.pid or 0), 0o644)
    for warning in status.warnings:
        print_warning("run-container", warning)
    sys.stderr.write(
        "system container is running as PID %s\n"
        "Run '%s/enter-container' to get a shell in it.\n" % (status.pid, directory)
    )
    sys.stderr.flush()


def enter_container_main() -> int:
    """Run `enter-container`, for the running container of the system in whose directory the script is.

    Return the exit status.
    """
    open_standard_streams()
    directory = os.path.dirname(os.path.realpath(sys.argv[0]))
    try:
        flags = ("no-start", "discard", "skip", "help")
        arguments = Arguments(sys.argv[1:], ("user", "report", "limit"), flags, ENTER_USAGE)
        if "help" in arguments.values:
            sys.stdout.write(ENTER_USAGE)
            return 0
        if os.geteuid() != 0:
            raise LauncherError("enter-container: must be run as root")
        from . import commands

        name = container_of(os.path.basename(directory))
        if name is None:
            raise LauncherError("%s: is no directory of a system" % directory)
        container = Container(name)
        heed_children()
        user = arguments.last("user", "root")
        start = "no-start" not in arguments.values
        if "report" in arguments.values:
            discard, skip = "discard" in arguments.values, "skip" in arguments.values
            token = arguments.last("report", "")
            limit = arguments.last("limit", "")
            if limit and not (limit.isascii() and limit.isdigit()):
                raise LauncherError("--limit=%s: must be a number of bytes" % limit)
            return commands.enter_for_program(
                container, arguments.rest, user, token, discard, skip, start, int(limit) if limit else None
            )
        return commands.enter(container, arguments.rest or None, user, start)
    except (LauncherError, OSError) as error:
        print_error("enter-container", str(error))
        return 125
