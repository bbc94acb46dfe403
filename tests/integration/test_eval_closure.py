# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a single command sees of the host: its closure, exactly (E2)."""

from __future__ import annotations

import json
import os
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.evaluation.closure import Closure
from ansible_collections.unshare.container.plugins.module_utils.evaluation.request import MANAGED, Manager
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError

from .eval_commands import ORDINARY, PYTHON, Evaluator

pytestmark = pytest.mark.root

MADE = {"/etc/passwd", "/etc/group", "/etc/hosts"}
# Every file and link that can be seen, and the directories that are mounts of their own instead of what is in them.
SEEN = """
import json, os
device = os.lstat("/").st_dev
seen = []
def look(directory):
    for entry in os.scandir(directory):
        if entry.path in ("/proc", "/sys", "/dev", "/tmp"):
            continue
        if entry.is_dir(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_dev == device:
            look(entry.path)
        else:
            seen.append(entry.path)
look("/")
print(json.dumps(seen))
"""


@pytest.fixture(params=[0, ORDINARY], ids=["root", "user"])
def evaluate(request: pytest.FixtureRequest) -> t.Iterator[Evaluator]:
    """Yield a runner of commands as root, or as an ordinary user."""
    evaluator = Evaluator(request.param)
    yield evaluator
    evaluator.close()


def expected(*paths: str) -> Closure:
    closure = Closure({"PATH": "/usr/bin"})
    for path in paths:
        closure.add(path)
    closure.prune(MADE)
    return closure


def test_e2_exactly_the_closure_is_visible(evaluate: Evaluator) -> None:
    outcome = evaluate(expression=SEEN, closure="elf", inputs=["cat"])
    assert outcome.code == 0, outcome.error
    closure = expected(PYTHON, "/usr/bin/cat")
    assert set(json.loads(outcome.output)) == set(closure.paths()) | MADE
    assert set(outcome.closure) == set(closure.paths())
    missing = evaluate("cat", "/usr/bin/env", "/etc/shadow", str(evaluate.workspace), closure="elf")
    assert missing.error.count(b"No such file or directory") == 3


def test_e2_the_store_is_all_of_it(evaluate: Evaluator) -> None:
    names = sorted(os.listdir("/usr"))
    assert evaluate.value("sorted(os.listdir('/usr'))") == names
    merged = [name for name in ("bin", "lib", "lib32", "lib64", "libx32", "sbin") if os.path.exists(f"/{name}")]
    root = ["dev", "etc", "proc", "sys", "tmp", "usr", *merged]
    assert evaluate.value("sorted(os.listdir('/'))") == sorted(root)
    assert evaluate("cat", "/etc/shadow").code == 1
    assert evaluate.text("awk 'BEGIN { print 6 * 7 }'") == "42"  # a link through /etc/alternatives


def test_another_store(evaluate: Evaluator) -> None:
    (evaluate.workspace / "store").mkdir()
    (evaluate.workspace / "store/tool").symlink_to("/usr/bin/env")
    tool = f"{evaluate.workspace}/store/tool"
    outcome = evaluate(tool, "--version", store=f"{evaluate.workspace}/store")
    assert outcome.output.startswith(b"env ")
    assert "/usr" not in outcome.closure
    with pytest.raises(LauncherError, match="store: /missing: No such file"):
        evaluate("/bin/true", store="/missing")


@pytest.mark.parametrize("line", [f"#!{PYTHON} -I", "#!/usr/bin/env python3", "#!/usr/bin/env -S A=b python3 -I"])
def test_scripts_with_their_interpreters(evaluate: Evaluator, line: str) -> None:
    script = evaluate.file("script", f"{line}\nimport json, ssl, sqlite3, zlib\nprint('ran')\n", 0o755)
    outcome = evaluate(str(script), closure="elf")
    assert outcome.output == b"ran\n", outcome.error


@pytest.mark.parametrize("interpreter", ["/etc/shadow", "/proc/self/environ", "{workspace}/secret", "{workspace}/link"])
def test_a_script_names_no_secret_as_its_interpreter(evaluate: Evaluator, interpreter: str) -> None:
    """What is in a file may be somebody else's word: it brings in programs for everybody, or what was named."""
    secret = evaluate.file("secret", "#!/usr/bin/cat\npassword\n", 0o700)
    (evaluate.workspace / "link").symlink_to(secret)
    named = interpreter.format(workspace=evaluate.workspace)
    script = evaluate.file("script", f"#!{named}\n", 0o755)
    for closure in ("elf", "store"):
        with pytest.raises(LauncherError, match=f"^{script}: its interpreter {named} is "):
            evaluate("/usr/bin/cat", named, closure=closure, inputs=[str(script)])
    if "secret" in named:
        assert b"password" in evaluate("/usr/bin/cat", named, closure="elf", inputs=[str(script), named]).output


def test_links_share_no_secret(evaluate: Evaluator) -> None:
    data = evaluate.workspace / "data"
    data.mkdir()
    secret = evaluate.file("secret", "password\n", 0o600)
    (data / "link").symlink_to(secret)
    (data / "shadow").symlink_to("/etc/shadow")
    os.chown(data, evaluate.uid, evaluate.uid)
    outcome = evaluate("/usr/bin/cat", f"{data}/link", f"{data}/shadow", inputs=[str(data)])
    assert outcome.output == b""
    assert outcome.error.count(b"No such file") == 2
    assert [str(secret) in text or "/etc/shadow" in text for text in outcome.warnings] == [True, True]
    with pytest.raises(LauncherError, match="what it leads to is .*/secret, and .* name it in 'inputs'"):
        evaluate("/usr/bin/true", inputs=[f"{data}/link"])
    outcome = evaluate("/usr/bin/cat", f"{data}/link", inputs=[str(data), str(secret)])
    assert outcome.output == b"password\n"


def test_the_command_reads_of_what_was_brought_in_what_everybody_can() -> None:
    """The kernel sees to it, whatever else is in a directory; what was asked for is the command's own."""
    evaluate = Evaluator(0)
    try:
        evaluate.workspace.chmod(0o755)
        real = evaluate.workspace / "real"
        real.mkdir()
        evaluate.file("real/secret", "password\n", 0o600)
        evaluate.file("real/open", "hello\n", 0o644)
        (evaluate.workspace / "link").symlink_to(real)
        command = ["/usr/bin/cat", f"{evaluate.workspace}/link/open", f"{evaluate.workspace}/link/secret"]
        outcome = evaluate(*command, inputs=[f"{evaluate.workspace}/link"])
        assert outcome.output == b"hello\n"
        assert b"Permission denied" in outcome.error
        for closure in ("elf", "store"):
            outcome = evaluate(*command, inputs=[f"{evaluate.workspace}/link", str(real)], closure=closure)
            assert outcome.output == b"hello\npassword\n", outcome.error
    finally:
        evaluate.close()


def test_a_virtual_environment(evaluate: Evaluator) -> None:
    version = os.path.basename(os.path.realpath(PYTHON))
    packages = evaluate.workspace / "venv/lib" / version / "site-packages"
    packages.mkdir(parents=True)
    (packages / "mine.py").write_text("WHAT = 'mine'\n")
    (evaluate.workspace / "venv/bin").mkdir()
    (evaluate.workspace / "venv/bin/python").symlink_to(PYTHON)
    (evaluate.workspace / "venv/pyvenv.cfg").write_text(f"home = {os.path.dirname(PYTHON)}\n")
    text = "print(__import__('mine').WHAT, __import__('sys').prefix)"
    outcome = evaluate(f"{evaluate.workspace}/venv/bin/python", "-c", text, closure="elf")
    assert outcome.output.decode().split() == ["mine", f"{evaluate.workspace}/venv"], outcome.error


def test_name_service_modules_can_be_loaded(evaluate: Evaluator) -> None:
    closure = expected(PYTHON)
    modules = [path for path in closure.paths() if "/libnss_" in path]
    assert any(path.endswith("libnss_files.so.2") for path in modules)
    for module in modules:
        text = f"__import__('ctypes').CDLL('{os.path.basename(module)}') and 'loaded'"
        assert evaluate.value(text, closure="elf") == "loaded"


def test_threads_can_be_cancelled(evaluate: Evaluator) -> None:
    """The C library loads the compiler's own for that."""
    assert evaluate.value("__import__('ctypes').CDLL('libgcc_s.so.1') and 1", closure="elf") == 1


@pytest.mark.parametrize("directory", ["/usr/bin", "/usr/sbin"])
def test_closures_agree_with_the_linker(directory: str) -> None:
    """For some of this host's programs, the closure is what `ldd` says (by running them), and what is loaded later."""
    looked_at = 0
    for path in sorted(Path(directory).iterdir())[::7]:
        if not path.is_file() or path.read_bytes()[:4] != b"\x7fELF":
            continue
        said = subprocess.run(["ldd", str(path)], capture_output=True, text=True, check=False).stdout
        if "not found" in said or "=>" not in said or "python" in os.path.realpath(path):
            continue
        looked_at += 1
        needed = {os.path.realpath(word) for word in said.split() if word.startswith("/")}
        files = expected(str(path)).files
        later = {os.path.realpath(name) for name in expected("/usr/bin/true").files}
        assert needed <= files, path
        assert files - needed - later <= {os.path.realpath(path)}, path
    assert looked_at > 5


@pytest.mark.parametrize("manager", sorted(MANAGED))
def test_guix_and_nix_are_asked(evaluate: Evaluator, manager: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store is made up here; what lies outside of it is found as for any other program."""
    store = evaluate.workspace / "store"
    for item in ("abc-hello", "def-text", "ghi-other"):
        (store / item).mkdir(parents=True)
    program = store / "abc-hello/hello"
    program.write_text(f"#!/usr/bin/sh\nread line < {store}/def-text/text; echo $line; echo {store}/*\n")
    program.chmod(0o755)
    (store / "def-text/text").write_text("said\n")
    (evaluate.workspace / "profile").symlink_to("store/abc-hello")
    monkeypatch.setitem(MANAGED, manager, Manager(str(store), ["unused"]))
    monkeypatch.setattr(evaluate, "requisites", lambda items: [*items, f"{store}/def-text"])
    asked = f"{evaluate.workspace}/profile/hello"
    outcome = evaluate(asked, closure=manager, inputs=["/usr/bin/sh"])
    assert outcome.output.decode().split() == ["said", f"{store}/abc-hello", f"{store}/def-text"], outcome.error
    assert set(outcome.closure) - set(expected("/usr/bin/sh").paths()) == {
        f"{evaluate.workspace}/profile",
        f"{store}/abc-hello",
        f"{store}/def-text",
    }
