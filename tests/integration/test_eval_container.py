# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""One command in a container of its own (E1 to E4), run by root and by an ordinary user."""

from __future__ import annotations

import errno
import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.evaluation import processes
from ansible_collections.unshare.container.plugins.module_utils.evaluation.request import NAMESPACES
from ansible_collections.unshare.container.plugins.module_utils.launcher import mounts
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError

from .conftest import Host
from .eval_commands import Evaluator

pytestmark = pytest.mark.root

OWN_NAMESPACES = "{name: os.readlink('/proc/self/ns/' + name) for name in %r}" % (NAMESPACES,)
UNMOUNT = """
import ctypes, os
library = ctypes.CDLL(None, use_errno=True)
result = library.umount2(b"%s", 0)
print(result, os.strerror(ctypes.get_errno()))
"""


@pytest.fixture
def as_root() -> t.Iterator[Evaluator]:
    """Yield a runner of commands as root."""
    evaluator = Evaluator(0)
    yield evaluator
    evaluator.close()


def namespaces() -> dict[str, str]:
    return {name: os.readlink(f"/proc/self/ns/{name}") for name in NAMESPACES}


# Exit codes.


@pytest.mark.parametrize("code", [0, 1, 42, 255])
def test_e1_exit_code(evaluate: Evaluator, code: int) -> None:
    assert evaluate("sh", "-c", f"exit {code}").code == code


@pytest.mark.parametrize("signal", [6, 9, 15])
def test_e1_killed_by_a_signal(evaluate: Evaluator, signal: int) -> None:
    assert evaluate("sh", "-c", f"kill -{signal} $$").code == 128 + signal


def test_e1_output_and_input(evaluate: Evaluator) -> None:
    outcome = evaluate("sh", "-c", "cat; printf 'e\\377' >&2", stdin="hé\nllo", stdin_add_newline=False)
    assert (outcome.output, outcome.error) == ("hé\nllo".encode(), b"e\xff")
    assert evaluate("cat").output == b""
    assert evaluate.text("echo out > /dev/stdout; echo err > /dev/stderr") == "out"


def test_e1_much_output_and_input(evaluate: Evaluator) -> None:
    text = "x" * 3_000_000
    assert evaluate("sh", "-c", "tee /dev/stderr", stdin=text).output == text.encode() + b"\n"
    assert evaluate("true", stdin=text).code == 0


# Namespaces.


@pytest.mark.parametrize("name", sorted(set(NAMESPACES) - {"user"}))
def test_e1_each_namespace_alone(evaluate: Evaluator, name: str) -> None:
    inside = evaluate.value(
        "{n: os.readlink('/proc/self/ns/' + n) for n in %r}" % (NAMESPACES,), namespaces=["user", name]
    )
    outside = namespaces()
    assert {other for other in NAMESPACES if inside[other] != outside[other]} == {"user", name}


def test_e1_user_namespace_alone(evaluate: Evaluator) -> None:
    assert evaluate.value("[os.getuid(), os.getgid(), os.getpid() > 2]", namespaces=["user"]) == [0, 0, True]


def test_e1_all_namespaces(evaluate: Evaluator) -> None:
    inside = evaluate.value(OWN_NAMESPACES)
    assert not set(inside.values()) & set(namespaces().values())


def test_e1_host_name_is_its_own(evaluate: Evaluator) -> None:
    before = os.uname().nodename
    text = "(__import__('socket').sethostname('test-container'), os.uname().nodename)[1]"
    assert evaluate.value(text, namespaces=["user", "uts"], capabilities=["SYS_ADMIN"]) == "test-container"
    assert os.uname().nodename == before


@pytest.mark.parametrize("name", sorted(set(NAMESPACES) - {"user"}))
def test_root_can_do_without_a_user_namespace(as_root: Evaluator, name: str) -> None:
    given: dict[str, t.Any] = {"namespaces": [name], "guest_uid": 42, "guest_gid": 77}
    assert as_root.value("[os.getuid(), os.getgid(), os.getgroups()]", **given) == [42, 77, []]


def test_the_network_is_its_own_or_the_hosts(evaluate: Evaluator) -> None:
    loopback = (
        "(__import__('socket').create_server(('127.0.0.1', 0)).getsockname()[0], sorted(os.listdir('/sys/class/net')))"
    )
    address, own = evaluate.value(loopback)
    assert address == "127.0.0.1"
    assert "lo" in own
    shared = [name for name in NAMESPACES if name != "net"]
    assert evaluate.value("sorted(os.listdir('/sys/class/net'))", namespaces=shared) == sorted(
        os.listdir("/sys/class/net")
    )
    assert evaluate.text("cat /etc/hosts", namespaces=shared) == Path("/etc/hosts").read_text().strip()
    assert evaluate.text("cat /etc/hosts").split() == ["127.0.0.1", "localhost", "::1", "localhost"]


# Ids and processes.


def test_e3_ids(evaluate: Evaluator) -> None:
    given: dict[str, t.Any] = {"guest_uid": 42, "guest_gid": 77}
    assert evaluate.value("[os.getresuid(), os.getresgid()]", **given) == [[42] * 3, [77] * 3]
    assert evaluate.text("id", **given) == "uid=42(guest) gid=77(guest) groups=77(guest)"
    assert evaluate.text("stat -c %u:%g / /etc/passwd /tmp", **given).split() == ["42:77"] * 3


def test_e3_one_id_is_mapped_and_never_root_of_the_host(evaluate: Evaluator) -> None:
    inside, outside, count = map(int, evaluate.text("cat /proc/self/uid_map").split())
    assert (inside, count) == (0, 1)
    assert outside == evaluate.uid if evaluate.uid else outside >= 0x70000000


def test_e3_more_ids_for_root(as_root: Evaluator) -> None:
    given: dict[str, t.Any] = {"ids": 65536, "guest_uid": 5, "guest_gid": 6}
    inside, outside, count = map(int, as_root.text("cat /proc/self/uid_map", **given).split())
    assert (inside, count, outside % 65536) == (0, 65536, 0)
    assert as_root.value("[os.getuid(), os.getgid(), os.stat('/usr').st_uid]", **given) == [5, 6, 0]
    switch = "(os.setuid(33), os.getuid())[1]"
    assert as_root.value(switch, ids=65536, capabilities=["SETUID"]) == 33


def test_identity_only_when_asked_for(as_root: Evaluator) -> None:
    assert as_root.text("cat /proc/self/uid_map", private_users="identity").split() == ["0", "0", "1"]
    assert as_root.text("cat /proc/self/uid_map", private_users="123456").split() == ["0", "123456", "1"]


@pytest.mark.parametrize("old_kernel", [False, True])
@pytest.mark.parametrize("first", [False, True])
def test_e3_pids(evaluate: Evaluator, first: bool, old_kernel: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command is PID 2 below a process that reaps, or PID 1; its own first child is the next in both cases."""
    if old_kernel:
        known = mounts.filesystem

        def refuse(kind: str, options: list[tuple[str, str | None]], attributes: int = 0, nodes: bool = False) -> int:
            if any(name == "pidns" for name, _value in options):
                raise OSError(errno.EINVAL, "as before Linux 6.17")
            return known(kind, options, attributes, nodes)

        monkeypatch.setattr(mounts, "filesystem", refuse)
    children = "(lambda p: [os.getpid(), p, os.waitpid(p, 0)[1]] if p else os._exit(0))(os.fork())"
    pid = 1 if first else 2
    assert evaluate.value(children, child_is_pid1=first) == [pid, pid + 1, 0]
    assert evaluate.value("sorted(int(n) for n in os.listdir('/proc') if n.isdigit())", child_is_pid1=first) == (
        [1] if first else [1, 2]
    )


def test_e3_the_first_process_reaps_and_passes_signals_on(evaluate: Evaluator) -> None:
    # Whoever is left by its parent becomes the child of PID 1; once reaped, it is in /proc no more.
    orphan = "sh -c 'true & echo $!' > /tmp/orphan; while [ -e /proc/$(cat /tmp/orphan) ]; do :; done; echo reaped"
    assert evaluate.text(orphan, timeout=20) == "reaped"
    outcome = evaluate("sh", "-c", "trap 'exit 5' TERM; kill -TERM 1; while :; do :; done", timeout=20)
    assert (outcome.code, outcome.expired) == (5, False)


def test_no_capability_is_left(evaluate: Evaluator) -> None:
    status = evaluate.text("grep -E '^(Cap|NoNewPrivs)' /proc/self/status").split()
    assert set(status[1:10:2]) == {"0" * 16}
    assert status[-1] == "1"
    for uid in (0, 42):
        kept = evaluate.text(
            "grep Cap /proc/self/status", capabilities=["NET_ADMIN", "cap_chown"], guest_uid=uid
        ).split()
        assert {int(mask, 16) for mask in kept[1::2]} == {1 << 12 | 1 << 0}


def test_nothing_of_the_host_is_inherited(evaluate: Evaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "of the host")
    variables = evaluate.value("dict(os.environ)", environment={"A": "b c", "N": 5})
    assert {name: value for name, value in variables.items() if name != "LC_CTYPE"} == {
        "A": "b c",
        "N": "5",
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/",
        "LANG": "C.UTF-8",
        "container": "unshare",
    }
    assert evaluate.text("ls /proc/self/fd").split() == ["0", "1", "2", "3"]  # 3 is the directory that ls reads
    assert evaluate.value("[os.getsid(0) != 0, os.umask(0), os.getcwd()]", chdir="/usr/bin") == [True, 0o22, "/usr/bin"]
    with pytest.raises(LauncherError, match=r"chdir: /missing: ENOENT"):
        evaluate("true", chdir="/missing")


@pytest.mark.parametrize("pid", ["environ", "mem", "maps", "root", "cwd", "exe", "fd"])
def test_the_first_process_shows_nothing_of_the_host(evaluate: Evaluator, pid: str) -> None:
    outcome = evaluate("sh", "-c", f"cat /proc/1/{pid} || ls /proc/1/{pid}/", capabilities=["ALL"])
    assert outcome.output == b""
    assert b"Permission denied" in outcome.error


# Time.


def test_at_its_time_limit_everything_is_killed(evaluate: Evaluator) -> None:
    mark = evaluate.file("mark").stat()
    mapping = {"source": str(evaluate.workspace), "target": "/work", "writable": True}
    text = "exec 9</work/mark; (trap '' TERM; setsid sleep 300) & echo started; sleep 300"
    outcome = evaluate("sh", "-c", text, mappings=[mapping], timeout=3)
    assert (outcome.expired, outcome.code, outcome.output) == (True, 137, b"started\n")
    assert (mark.st_dev, mark.st_ino) not in set(open_files())


def test_a_process_left_behind_does_not_delay_the_end(evaluate: Evaluator) -> None:
    assert evaluate("sh", "-c", "sleep 300 & echo done", timeout=60).output == b"done\n"
    shared = ["user", "net"]
    outcome = evaluate("sh", "-c", "sleep 300 & echo $!", timeout=60, namespaces=shared)
    os.kill(int(outcome.output), 9)
    assert not outcome.expired


def open_files() -> t.Iterator[tuple[int, int]]:
    """Yield the device and inode of each file that any process has open."""
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            for name in os.listdir(f"/proc/{process}/fd"):
                status = os.stat(f"/proc/{process}/fd/{name}")
                yield status.st_dev, status.st_ino
        except OSError:
            continue


# Mounts.


def test_a_tmpfs(evaluate: Evaluator) -> None:
    given: dict[str, t.Any] = {"file_systems": [{"mount_point": "/testing/a b", "options": "mode=0700,size=64k"}]}
    text = "stat -f -c %T '/testing/a b'; stat -c %a '/testing/a b'; echo x > '/testing/a b/file' && echo written"
    assert evaluate.text(text, **given).split() == ["tmpfs", "700", "written"]
    read_only = [{"mount_point": "/testing", "flags": ["read-only"]}]
    assert b"Read-only file system" in evaluate("touch", "/testing/x", file_systems=read_only).error
    with pytest.raises(LauncherError, match=r"/t: cannot mount a tmpfs: EINVAL .*bogus"):
        evaluate("true", file_systems=[{"mount_point": "/t", "options": "bogus=1"}])


@pytest.mark.parametrize("place", ["/tmp", "/usr", "/proc", "/mapped", "/dev"])
def test_s13_mounts_are_locked(evaluate: Evaluator, place: str) -> None:
    given: dict[str, t.Any] = {"mappings": [f"{evaluate.workspace}=/mapped"], "capabilities": ["ALL"]}
    unmounted = evaluate(expression=UNMOUNT % place, **given).output.decode()
    assert unmounted == f"-1 {os.strerror(errno.EINVAL)}\n"
    remount = evaluate("mount", "-o", f"remount,bind,rw,suid,dev {place}", **given)
    assert remount.code != 0


@pytest.mark.parametrize("target", ["/foo", "/foo/bar/baz"])
def test_s14_a_wrong_mapping_is_an_error_with_its_name(evaluate: Evaluator, target: str) -> None:
    message = rf"mapping: cannot bind /does-not-exist at {target}: ENOENT \(No such file or directory\)"
    with pytest.raises(LauncherError, match=message):
        evaluate("true", mappings=[f"/does-not-exist={target}"])


def test_s14_a_file_over_a_directory(evaluate: Evaluator) -> None:
    path = evaluate.file("file")
    with pytest.raises(LauncherError, match="a file cannot be mounted over a directory"):
        evaluate("true", mappings=[f"{path}=/tmp"])
    (evaluate.workspace / "link").symlink_to(path)
    with pytest.raises(LauncherError, match="passes through a symbolic link"):
        evaluate("true", mappings=[f"{evaluate.workspace}/link=/x"])


def test_e4_root_is_0755_and_read_only_unless_asked(evaluate: Evaluator) -> None:
    assert evaluate.value("os.stat('/').st_mode & 0o7777") == 0o755
    assert b"Read-only file system" in evaluate("mkdir", "/new").error
    assert evaluate.text("mkdir /new && touch /new/file && ls /new", writable_root=True) == "file"
    assert b"Read-only file system" in evaluate("touch", "/usr/new", writable_root=True).error
    assert evaluate.text("touch /tmp/new && ls /tmp") == "new"


def test_mappings(evaluate: Evaluator) -> None:
    evaluate.file("text", "said\n")
    secret = evaluate.file("secret", "own\n", 0o600)
    writable = {"source": str(evaluate.workspace), "target": "/work", "writable": True}
    given: dict[str, t.Any] = {"mappings": [writable, f"{evaluate.workspace}=/only", str(secret)], "guest_uid": 42}
    assert evaluate.text(f"cat /only/text {secret}; echo new > /work/new; stat -c %u /work/new", **given).split() == [
        "said",
        "own",
        "42",
    ]
    made = evaluate.workspace / "new"
    assert (made.read_text(), made.stat().st_uid) == ("new\n", evaluate.uid)
    assert b"Read-only file system" in evaluate("touch", "/only/new", **given).error
    assert b"Operation not permitted" in evaluate("chmod", "4755", "/work/new", **given).error


def test_e4_files(evaluate: Evaluator) -> None:
    files = {
        "/etc/motd": "hello\n",
        "/run/me": {"content": "#!/bin/sh\nid -un; cat /etc/motd\n", "mode": "0755"},
        "/etc/passwd": "tester:x:0:0::/:/bin/sh\n",
        "/link": {"link": "/etc/motd"},
    }
    for closure in ("store", "elf"):
        outcome = evaluate("/run/me", files=files, closure=closure, inputs=["id", "cat"])
        assert outcome.output == b"tester\nhello\n", outcome.error
    assert evaluate.text("cat /link", files=files) == "hello"
    assert b"Read-only" in evaluate("sh", "-c", "echo x >> /etc/motd", files=files).error
    with pytest.raises(LauncherError, match="files: /usr/bin/mine: lies in /usr, which is shared read-only"):
        evaluate("true", files={"/usr/bin/mine": ""})


def test_a_program_of_a_mapping(evaluate: Evaluator) -> None:
    evaluate.file("run", "#!/bin/sh\necho ran $0\n", 0o755)
    for closure in ("store", "elf"):
        given: dict[str, t.Any] = {"mappings": [f"{evaluate.workspace}=/opt/tool"], "closure": closure}
        assert evaluate("/opt/tool/run", **given).output == b"ran /opt/tool/run\n"


def test_what_cannot_be_executed(evaluate: Evaluator) -> None:
    plain = evaluate.file("plain", "no program")
    with pytest.raises(LauncherError, match=rf"{plain}: cannot be executed: EACCES"):
        evaluate(str(plain))
    plain.chmod(0o755)
    with pytest.raises(LauncherError, match=rf"{plain}: cannot be executed: ENOEXEC"):
        evaluate(str(plain))
    with pytest.raises(LauncherError, match=r"/missing: No such file or directory"):
        evaluate("/missing")


def test_exit_codes_of_processes() -> None:
    assert processes.exit_code(0x0300) == 3
    assert processes.exit_code(9) == 137


def test_many_in_a_row_leave_nothing(as_root: Evaluator) -> None:
    def state() -> tuple[t.Any, ...]:
        return Host.mounts(), Host.descriptors(), children(), sorted(os.listdir(as_root.workspace))

    before = state()
    for _number in range(30):
        assert as_root("/bin/true", closure="elf").code == 0
    assert state() == before


def children() -> list[str]:
    """Return the processes whose parent is this one."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            text = Path("/proc", pid, "stat").read_text()
        except OSError:
            continue
        if int(text[text.rindex(")") + 2 :].split()[1]) == os.getpid():
            found.append(pid)
    return found
