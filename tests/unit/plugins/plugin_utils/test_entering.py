# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report of an entered command, a become inside, and a local command that waits for it; without a container."""

from __future__ import annotations

import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.loader import become_loader
from ansible_collections.unshare.container.plugins.plugin_utils import local_command
from ansible_collections.unshare.container.plugins.plugin_utils.entering import Become, Report
from ansible_collections.unshare.container.plugins.plugin_utils.local_command import LocalCommand

TOKEN = "0123456789abcdef" * 2
ENTERED = f"\n{TOKEN} entered\n".encode()
EXIT = f"\n{TOKEN} exit 3\n".encode()


class Shell:
    """What a become plugin wants of a shell."""

    ECHO = "echo"
    COMMAND_SEP = ";"
    executable = "/bin/sh"


def become(method: str, password: str | None, report: Report, timeout: float = 20) -> Become:
    """Return a become that has begun."""
    plugin: t.Any = become_loader.get(method)
    plugin.set_options(direct={"become_pass": password, "become_user": "root"})
    plugin.build_become_command("true", Shell())
    return Become(plugin, report, timeout)


@pytest.mark.parametrize("said", [b"", b"err", b"err\n", b"\n", b"Password: ", b"x" * 3_000_000, bytes(range(256))])
def test_a_report_is_taken_out_and_nothing_else(said: bytes) -> None:
    report = Report(TOKEN)
    assert report.take(ENTERED + said + EXIT) == said
    assert (report.entered, report.status, report.error) == (True, 3, None)


def test_a_report_counts_whose_beginning_is_lost() -> None:
    report = Report(TOKEN)
    assert report.take(b"err" + EXIT) == b"err"
    assert (report.entered, report.status) == (True, 3)


def test_what_another_says_is_no_report() -> None:
    report = Report(TOKEN)
    said = f"{'0' * 32} exit 0\n{TOKEN} exit\n{TOKEN[:-1]} exit 0\n".encode()
    assert report.take(said) == said
    assert not report.entered


def test_only_what_is_said_between_entering_and_success_is_the_becomes() -> None:
    report = Report(TOKEN)
    sudo, su = become("sudo", "x", report), become("su", "x", report)
    wrong, missing, prompt = b"Sorry, try again.\n", b"sudo: a password is required\n", b"Password: \n"
    failures = (sudo.check_incorrect_password, wrong), (sudo.check_missing_password, missing)
    assert not any(check(line) for check, line in failures)
    assert not su.check_password_prompt(prompt)
    assert su.check_password_prompt(b"Password: ")  # it may have overtaken the report on the other stream
    assert not sudo.check_success(ENTERED)
    assert all(check(line) for check, line in failures)
    assert su.check_password_prompt(prompt)
    for one in (sudo, su):
        assert one.check_success(f"{one.success}\n".encode())
    assert not any(check(line) for check, line in failures)
    assert not su.check_password_prompt(prompt)
    assert not su.check_password_prompt(b"Password: ")


@pytest.mark.parametrize("password", [None, ""])
def test_a_prompt_without_a_password_is_a_missing_one(password: str | None) -> None:
    report = Report(TOKEN)
    su = become("su", password, report)
    assert not su.prompt
    report.take(ENTERED)
    assert su.check_missing_password(b"Password: ")


def talk(
    script: str, *, data: bytes | None = None, password: str | None = "x", timeout: int = 20, limit: int = 1 << 30
) -> t.Any:
    """Return the outcome of a local command that is a Python text, in which PROMPT, SUCCESS, … stand for its output."""
    report = Report(TOKEN)
    one = become("sudo", password, report, timeout)
    names = f"ENTERED={ENTERED!r}; EXIT={EXIT!r}; PROMPT={str(one.prompt).encode()!r}; SUCCESS={one.success.encode()!r}"
    begin = f"import os, sys; {names}; out = lambda b: os.write(1, b); err = lambda b: os.write(2, b); err(ENTERED)\n"
    status, output, errors = LocalCommand([sys.executable, "-c", begin + script], data, one, timeout, limit).run()
    return status, output, report.take(errors)


ASK = "err(PROMPT); assert sys.stdin.buffer.raw.readline() == b'x\\n'\n"


def test_a_password_goes_before_the_data() -> None:
    data = b"\0\xff" * 500_000
    script = ASK + "out(b'motd\\n' + SUCCESS + b'\\n'); d = sys.stdin.buffer.read(); sys.stdout.buffer.write(d[::-1])"
    assert talk(script, data=data) == (0, b"motd\n" + data[::-1], b"")


@pytest.mark.parametrize("ask", ["", ASK])
def test_what_follows_a_success_is_the_commands(ask: str) -> None:
    said = b"Sorry, try again.\nsudo: a password is required\n[sudo via ansible, key="
    script = ask + f"out(SUCCESS + b'\\n' + PROMPT + {said!r}); err(PROMPT + {said!r} + EXIT); sys.exit(7)"
    status, output, errors = talk(script)
    assert status == 7
    assert output.endswith(said)
    assert errors.endswith(said)
    assert output == errors


@pytest.mark.parametrize(
    ("script", "password", "message"),
    [
        (ASK + "err(b'Sorry, try again.\\n'); sys.stdin.read()", "x", "Incorrect sudo password"),
        (ASK + "err(PROMPT); sys.stdin.read()", "x", "Incorrect sudo password"),
        ("err(b'sudo: a password is required\\n'); sys.exit(1)", None, "Missing sudo password"),
    ],
)
def test_a_become_that_fails(script: str, password: str | None, message: str) -> None:
    with pytest.raises(AnsibleError, match=message) as raised:
        talk(script, password=password)
    assert not isinstance(raised.value, AnsibleConnectionFailure)


def test_a_become_that_is_silent() -> None:
    with pytest.raises(AnsibleConnectionFailure, match="waiting for privilege escalation"):
        talk("sys.stdin.read()", timeout=1)


@pytest.mark.parametrize("script", ["", "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "])
def test_after_an_error_nothing_of_the_command_is_left(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    made: list[t.Any] = []
    make: t.Any = subprocess.Popen

    def popen(*words: t.Any, **options: t.Any) -> t.Any:
        made.append(make(*words, **options))
        return made[-1]

    monkeypatch.setattr(local_command, "GRACE", 0.3)
    monkeypatch.setattr(subprocess, "Popen", popen)
    with pytest.raises(AnsibleError, match="Incorrect sudo password"):
        talk(script + ASK + "err(b'Sorry, try again.\\n'); import time; time.sleep(600)")
    (process,) = made
    assert process.returncode is not None
    assert not Path(f"/proc/{process.pid}").exists()


def test_a_become_that_ends_without_an_answer_is_a_status() -> None:
    assert talk("err(b'sudo: no') ; sys.exit(1)", data=b"x" * 1_000_000) == (1, b"", b"sudo: no")


def test_input_that_nobody_reads_is_no_error() -> None:
    assert LocalCommand(["/bin/true"], b"x" * 1_000_000, None, 20).run() == (0, b"", b"")


def test_a_program_that_is_not_there() -> None:
    assert LocalCommand(["/nowhere/program"], None, None, 20).run() == (
        127,
        b"",
        b"/nowhere/program: No such file or directory\n",
    )


@pytest.mark.parametrize("descriptor", [1, 2])
def test_a_command_without_end_is_ended(monkeypatch: pytest.MonkeyPatch, descriptor: int) -> None:
    """With or without a become."""
    monkeypatch.setattr(local_command, "REPORT_ROOM", 1000)
    flood = f"while True: os.write({descriptor}, b'x' * 65536)"
    words = [sys.executable, "-c", f"import os\n{flood}"]
    with pytest.raises(AnsibleError, match="more than 101000 bytes") as raised:
        LocalCommand(words, None, None, 20, 100_000).run()
    assert not isinstance(raised.value, AnsibleConnectionFailure)
    with pytest.raises(AnsibleError, match="more than 101000 bytes"):
        talk(f"{ASK}out(SUCCESS + b'\\n')\n{flood}", limit=100_000)


@pytest.mark.parametrize("stream", ["out", "err"])
@pytest.mark.parametrize("said", ["b'\\n'", "b'\\r'", "b'x'", "b'x\\n'", "b'sudo: no\\n'", "PROMPT[:9]"])
@pytest.mark.parametrize("ask", ["", ASK])
def test_little_can_be_said_before_a_success(stream: str, said: str, ask: str) -> None:
    """Who becomes another user inside may be root inside's."""
    began = time.process_time()
    with pytest.raises(
        AnsibleError, match="more than 65536 bytes were said before the sudo inside succeeded"
    ) as raised:
        talk(f"{ask}while True: {stream}({said} * 1000)")
    assert not isinstance(raised.value, AnsibleConnectionFailure)
    assert time.process_time() - began < 5


def test_messages_of_a_failure_are_translated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def translate(_domain: str, text: str) -> str:
        asked.append(text)
        return f"<{text}>"

    monkeypatch.setattr("gettext.dgettext", translate)
    monkeypatch.setattr("ansible.plugins.become.dgettext", translate)
    status, output, _errors = talk("out(b'motd\\n' * 5000 + SUCCESS + b'\\n')", password=None)
    assert (status, output) == (0, b"motd\n" * 5000)
    assert len(asked) == len(set(asked))
    with pytest.raises(AnsibleError, match="Missing sudo password"):
        talk("err(b'<sudo: a password is required>\\n'); sys.stdin.read()", password=None)


def test_a_plugin_of_its_own_kind_looks_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    report = Report(TOKEN)
    plugin = type(become("sudo", None, report)._plugin)
    for check in ("check_incorrect_password", "check_missing_password"):
        monkeypatch.setattr(plugin, check, lambda _plugin, line: line == b"no\n", raising=False)
    sudo = become("sudo", None, report)
    report.take(ENTERED)
    for found in (sudo.check_incorrect_password, sudo.check_missing_password):
        assert found(b"no\n")
        assert not found(b"sudo: a password is required\nSorry, try again.\n")


@pytest.mark.parametrize("ask", ["", ASK])
def test_a_become_that_speaks_and_comes_to_nothing(ask: str) -> None:
    began = time.monotonic()
    with pytest.raises(AnsibleConnectionFailure, match="waiting for privilege escalation"):
        talk(f"import time\n{ask}while True: err(b'.\\n'); time.sleep(0.1)", timeout=2)
    assert time.monotonic() - began < 15


def test_the_time_limit_begins_anew_with_the_password() -> None:
    now = 100.0
    one = become("su", "x", report := Report(TOKEN), timeout=10)
    report.take(ENTERED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.monotonic", lambda: now)
        for _time in range(2):
            assert not one.check_success(b"\n")
            now += 9
            assert not one.check_success(b"\n")
            assert one.check_password_prompt(b"Password: ")
        now += 11
        assert not one.check_success(b"\n")
        now += 11
        with pytest.raises(AnsibleConnectionFailure, match=r"Timeout \(10s\) waiting for privilege escalation"):
            one.check_success(b"\n")


def test_as_much_as_is_asked_for_is_taken() -> None:
    words = [sys.executable, "-c", "import os; os.write(1, b'x' * 10_000); os.write(2, b'y' * 10_000)"]
    assert LocalCommand(words, None, None, 20, 10_000).run() == (0, b"x" * 10_000, b"y" * 10_000)
