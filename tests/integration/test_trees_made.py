# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""T2: trees made on a host by real programs: what is in them, and that nothing is left where they cannot be made."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.state.target import TargetError

from .bootable_trees import left, make_bootable, making

pytestmark = [pytest.mark.root, pytest.mark.timeout(300), pytest.mark.usefixtures("host_unchanged")]

FILL = """\
set -e
mkdir -p "$1/usr" "$1/etc"
test "$TREE" = "$1"
echo kept > "$1/usr/kept"
mount -t tmpfs tmpfs "$1/etc"
echo hidden > "$1/etc/hidden"
exec 3> %s
sleep 1000 &
"""


def test_t2_what_a_command_mounts_and_leaves_running_ends_with_it(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    held = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    given = {"argv": ["sh", "-c", FILL % fifo, "fill"]}
    made = making(tmp_path / "host", "command", given).reach("present")
    tree = Path(made["root"])
    assert (tree / "usr/kept").read_text() == "kept\n"
    assert os.listdir(tree / "etc") == []
    poll = select.poll()
    poll.register(held, select.POLLIN)
    ended = poll.poll(10_000)
    os.close(held)
    assert ended == [(held, select.POLLHUP)]  # it was opened, and nobody has it any more


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["sh", "-c", "echo words; exit 3"], "command: sh: has failed with status 3: words"),
        (["sh", "-c", 'rmdir "$1"; ln -s /etc "$1"', "x"], "command: has removed the directory"),
        (["sh", "-c", 'mkdir "$1/usr"; mknod "$1/usr/disk" b 8 0', "x"], "'usr/disk' is a device"),
        (["sh", "-c", 'mkdir "$1/usr"; mknod "$1/usr/gone" c 0 0', "x"], "'usr/gone' is a device, or a whiteout"),
        (["sh", "-c", 'ln -s /usr "$1/usr"', "x"], "/usr of it is a link"),
        (["sleep", "1d"], "command: sleep: has failed|has not ended after"),
    ],
)
def test_t2_a_command_that_fails_or_makes_no_tree_leaves_nothing(tmp_path: Path, argv: list[str], said: str) -> None:
    with pytest.raises(TargetError, match=said):
        making(tmp_path / "host", "command", {"argv": argv}, timeout=2.0).reach("present")
    assert left(tmp_path / "host") == set()


KILLED = """\
import sys
from pathlib import Path
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout
from ansible_collections.unshare.container.plugins.module_utils.trees.kinds_of_sources import TREE_SOURCES
from ansible_collections.unshare.container.plugins.module_utils.trees.making import TreeMaking
script = 'mkdir "$1/usr"; exec 3> %s; echo started >&3; sleep 1000'
source = TREE_SOURCES["command"]({"argv": ["sh", "-c", script, "x"]})
TreeMaking(Layout(Path(sys.argv[1])), "test-trees", source, 1 << 30, 60.0).reach("latest")
"""


def test_t2_a_run_that_is_killed_leaves_what_the_next_one_removes(tmp_path: Path) -> None:
    """The former tree stays; the program that filled the new one ends at once."""
    root, fifo, source = tmp_path / "host", tmp_path / "fifo", tmp_path / "source"
    make_bootable(source, "1")
    os.mkfifo(fifo)
    former = making(root, "directory", {"path": str(source)}).reach("present")
    command = [sys.executable, "-c", KILLED % fifo, str(root)]
    with subprocess.Popen(command) as process, fifo.open() as program:  # which waits for the program
        assert program.readline() == "started\n"
        assert any(name.startswith(".aside-") for name in left(root))
        process.send_signal(signal.SIGKILL)
        assert program.read() == ""  # which waits for the end of all that has it
    assert Path(former["root"]).is_dir()
    again = making(root, "directory", {"path": str(source)}).reach("present")
    assert not again["changed"]
    assert left(root) == {former["content"]}


def test_t2_a_full_disk_leaves_the_former_tree_and_nothing_else(tmp_path: Path) -> None:
    root, source = tmp_path / "host", tmp_path / "source"
    root.mkdir()
    (source / "usr").mkdir(parents=True)
    (source / "usr/file").write_bytes(os.urandom(100_000))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(root)], check=True, timeout=60)
    try:
        former = making(root, "directory", {"path": str(source)}).reach("present")
        (source / "usr/large").write_bytes(os.urandom(2 << 20))
        with pytest.raises(TargetError, match="No space left on device.*; nothing was changed"):
            making(root, "directory", {"path": str(source)}).reach("latest")
        assert left(root) == {former["content"]}
        (source / "usr/large").unlink()
        (source / "usr/small").write_text("x")
        assert making(root, "directory", {"path": str(source)}).reach("latest")["changed"]
    finally:
        subprocess.run(["umount", str(root)], check=True, timeout=60)


def test_t2_owners_rights_and_capabilities_survive(tmp_path: Path) -> None:
    """By a directory, and by an archive that tar has made of it."""
    source, root = tmp_path / "source", tmp_path / "host"
    make_bootable(source, "1")
    file = source / "usr/bin/cat"
    os.chown(file, 33, 42)
    capability = bytes.fromhex("0100000200040000000000000000000000000000")  # cap_net_bind_service, effective
    with contextlib.suppress(OSError):
        os.setxattr(file, "security.capability", capability)
    file.chmod(0o4755)
    of_directory = making(root, "directory", {"path": str(source)}).reach("present")
    archive = tmp_path / "tree.tar.zst"
    command = [
        "tar",
        "--create",
        "--zstd",
        "--xattrs",
        "--xattrs-include=*",
        f"--file={archive}",
        f"--directory={source}",
    ]
    subprocess.run([*command, "."], check=True, timeout=60)
    of_archive = making(root, "archive", {"path": str(archive)}).reach("present")
    assert of_archive["content"] == of_directory["content"]
    copied = Path(of_archive["root"]) / "usr/bin/cat"
    status = copied.stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (33, 42, 0o4755)
    assert os.listxattr(copied) == os.listxattr(file)


def test_t2_what_is_mounted_in_a_directory_stays_out(tmp_path: Path) -> None:
    source, root = tmp_path / "source", tmp_path / "host"
    make_bootable(source, "1")
    (source / "proc").mkdir()
    subprocess.run(["mount", "-t", "proc", "proc", str(source / "proc")], check=True, timeout=60)
    try:
        made = making(root, "directory", {"path": str(source)}).reach("present")
    finally:
        subprocess.run(["umount", str(source / "proc")], check=True, timeout=60)
    assert os.listdir(Path(made["root"]) / "proc") == []


def test_t2_an_archive_of_a_real_program_is_the_directory_that_it_was_made_of(tmp_path: Path) -> None:
    """Python's own writer, GNU's and POSIX's format."""
    source, root = tmp_path / "source", tmp_path / "host"
    make_bootable(source, "1")
    (source / "usr/share" / ("long" * 40)).mkdir()
    (source / "usr/share" / ("long" * 40) / ("name" * 40)).write_text("x")
    expected = making(root, "directory", {"path": str(source)}).reach("present")["content"]
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        with tarfile.open(tmp_path / "a.tar", "w", format=form) as tar:
            tar.add(source, arcname=".")
        assert making(root, "archive", {"path": str(tmp_path / "a.tar")}).reach("latest")["content"] == expected
