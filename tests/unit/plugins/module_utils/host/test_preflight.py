# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host lacks is said before anything is written, all at once, with what to do."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host.facts import HostFacts
from ansible_collections.unshare.container.plugins.module_utils.host.preflight import (
    check_host,
    missing_sources,
    problems,
    warnings,
)
from ansible_collections.unshare.container.plugins.module_utils.host.preflight_mounts import Sources, answers, types
from ansible_collections.unshare.container.plugins.module_utils.launcher import mount_table
from ansible_collections.unshare.container.plugins.module_utils.launcher.contract import Specification
from ansible_collections.unshare.container.plugins.module_utils.launcher.store import Store
from ansible_collections.unshare.container.plugins.module_utils.state.target import TargetError

from ..specifications import specification

DATA = {"device": "/srv/data", "mount_point": "/data", "type": "none", "flags": ["bind-mount"], "required": True}
OTHER = {"device": "/srv/other", "mount_point": "/other", "type": "none", "flags": ["bind-mount"]}
SPECIFICATION = specification(file_systems=[DATA, OTHER])


@pytest.fixture
def host(tmp_path: Path) -> HostFacts:
    for directory in ("proc/self/ns", "proc/sys/user", "usr/lib/systemd", "usr/bin", "srv/data"):
        (tmp_path / directory).mkdir(parents=True)
    (tmp_path / "bin").symlink_to("usr/bin")
    (tmp_path / "proc/self/ns/user").touch()
    (tmp_path / "proc/sys/user/max_user_namespaces").write_text("1000\n")
    (tmp_path / "proc/filesystems").write_text("nodev\tsysfs\nnodev\tcgroup\nnodev\tcgroup2\n\text4\n")
    (tmp_path / "usr/lib/systemd/systemd").touch(0o755)
    host = HostFacts(tmp_path)
    host.user_id, host.system, host.release = 0, "Linux", "5.12.0-1-amd64"
    host.python, host.interpreter = (3, 8), "/usr/bin/python3"
    return host


def test_a_good_host(host: HostFacts) -> None:
    assert problems(host, SPECIFICATION) == []
    check_host(host, SPECIFICATION)


def _change(name: str, value: t.Any) -> t.Callable[[HostFacts], object]:
    return lambda host: setattr(host, name, value)


def _write(path: str, text: str) -> t.Callable[[HostFacts], object]:
    return lambda host: (host.root / path).write_text(text)


def _remove(path: str) -> t.Callable[[HostFacts], object]:
    return lambda host: (host.root / path).rename(host.root / "gone")


def _split(host: HostFacts) -> None:
    (host.root / "bin").unlink()
    (host.root / "bin").mkdir()


BREAKAGES: list[tuple[t.Callable[[HostFacts], object], str]] = [
    (_change("user_id", 1000), "set become: true"),
    (_change("system", "FreeBSD"), "the kernel is FreeBSD"),
    (_change("release", "5.11.22"), "the kernel is 5.11.22; Linux 5.12 or newer"),
    (_change("release", "strange"), "the kernel is strange"),
    (_change("python", (3, 7)), "Python is 3.7; 3.8 or newer"),
    (_change("interpreter", "/opt/my python/bin/python"), "cannot stand in the first line of a script"),
    (_change("interpreter", "/" + "x" * 120), "cannot stand in the first line of a script"),
    (_remove("proc/self/ns/user"), "CONFIG_USER_NS"),
    (_write("proc/sys/user/max_user_namespaces", "0\n"), "sysctl user.max_user_namespaces"),
    (_write("proc/filesystems", "nodev\tcgroup\n"), "no cgroup2"),
    (_remove("usr/lib/systemd/systemd"), "install the package systemd"),
    (_remove("usr"), "the store /usr is not a directory"),
    (_split, "install the package usrmerge"),
]


@pytest.mark.parametrize(("breakage", "message"), BREAKAGES)
def test_each_need(host: HostFacts, breakage: t.Callable[[HostFacts], object], message: str) -> None:
    breakage(host)
    (found,) = problems(host, SPECIFICATION)
    assert message in found


def test_all_at_once(host: HostFacts) -> None:
    host.user_id, host.release = 1000, "4.19.0"
    with pytest.raises(TargetError, match=r"nothing was changed\. this needs root.*; the kernel is 4\.19\.0"):
        check_host(host, SPECIFICATION)


SYSTEMD = "usr/lib/systemd/systemd"


@pytest.fixture
def tree(host: HostFacts) -> Path:
    """Make the tree that `TREE` takes its software from, and return its path."""
    tree = host.root / "srv/tree"
    (tree / SYSTEMD).parent.mkdir(parents=True)
    (tree / SYSTEMD).touch(0o755)
    (tree / "bin").symlink_to("/usr/bin")
    return tree


TREE = specification(store={"source": "/srv/tree/usr", "target": "/usr"}, host_files=["/etc/alternatives"])


@pytest.mark.parametrize(
    ("link", "target", "real"),
    [
        (SYSTEMD, "/usr/lib/systemd/systemd.real", "usr/lib/systemd/systemd.real"),
        (SYSTEMD, "/etc/alternatives/systemd", "etc/alternatives/systemd"),
        ("usr/lib/systemd", "/usr/libexec/systemd", "usr/libexec/systemd/systemd"),
        ("usr/lib", "/usr/lib64", "usr/lib64/systemd/systemd"),
        ("usr/lib/systemd", "/lib/real", "usr/lib/real/systemd"),
    ],
)
def test_absolute_links_of_a_tree_mean_its_own_root(
    host: HostFacts, tree: Path, link: str, target: str, real: str
) -> None:
    (tree / link).rename(tree / "away")
    (tree / link).symlink_to(target)
    (tree / real).parent.mkdir(parents=True, exist_ok=True)
    (tree / real).touch(0o755)
    assert problems(host, TREE) == []
    (tree / real).unlink()
    assert "has no systemd" in problems(host, TREE)[0]


@pytest.mark.parametrize("up", ["", "../" * 30 + "."])
@pytest.mark.parametrize("link", [SYSTEMD, "usr/lib/systemd", "usr/lib"])
def test_no_link_leads_out_of_a_tree(host: HostFacts, tree: Path, link: str, up: str) -> None:
    real = host.root / "outside" / link
    real.parent.mkdir(parents=True)
    (tree / link).rename(real)
    (tree / link).symlink_to(f"{up}{real}")
    assert (tree / SYSTEMD).exists()
    assert "has no systemd" in problems(host, TREE)[0]


@pytest.mark.parametrize("target", ["/", "/nothing", "bin", "/proc/1/root", "../../../usr/bin"])
def test_the_link_beside_a_store_is_not_followed(host: HostFacts, tree: Path, target: str) -> None:
    (tree / "bin").unlink()
    (tree / "bin").symlink_to(target)
    assert problems(host, TREE) == []


def test_pipes_of_a_tree_are_not_waited_for(host: HostFacts, tree: Path) -> None:
    (tree / SYSTEMD).unlink()
    os.mkfifo(tree / SYSTEMD, 0o777)
    assert problems(host, TREE) == [
        "the store /srv/tree/usr has no systemd (/usr/lib/systemd/systemd): install the package systemd"
    ]
    (tree / "bin").unlink()
    os.mkfifo(tree / "bin")
    (said,) = problems(host, TREE)  # whose systemd is elsewhere until it is merged
    assert said.startswith("beside the store /srv/tree/usr there is a bin that is not a link into it")


def test_t4_a_tree_without_a_shell_is_refused(host: HostFacts, tree: Path) -> None:
    """A container begins with a script of the shell, whatever its init is."""
    store = Store.of_tree("debian", "0" * 32)
    place = host.root / store.source.lstrip("/")
    place.parent.parent.mkdir(parents=True)
    tree.rename(place.parent)
    given = specification(store=store.write())
    (said,) = problems(host, given)
    assert said == "the tree 'debian' has no /bin/sh, which every container begins with: install it in the tree (dash)"
    (place / "bin").mkdir()
    (place / "bin/sh").symlink_to("dash")
    (place / "bin/dash").touch(0o755)
    assert problems(host, given) == []


def test_a_store_that_a_start_would_not_follow(host: HostFacts, tree: Path) -> None:
    tree.rename(tree.with_name("moved"))
    tree.symlink_to("moved")
    assert problems(host, TREE) == ["the store /srv/tree/usr passes through a symbolic link: name the directory itself"]
    tree.unlink()
    os.mkfifo(tree)
    assert problems(host, TREE) == ["the store /srv/tree/usr is not a directory on this host"]


def test_a_store_in_a_tree_of_its_own(host: HostFacts) -> None:
    (host.root / "srv/tree/usr/lib/systemd").mkdir(parents=True)
    (host.root / "srv/tree/usr/lib/systemd/systemd").touch(0o755)
    tree = specification(store={"source": "/srv/tree/usr", "target": "/usr"})
    assert problems(host, tree) == []
    (host.root / "srv/tree/bin").mkdir()
    assert "beside the store /srv/tree/usr" in problems(host, tree)[0]


def with_mounts(*mounts: dict[str, t.Any]) -> Specification:
    store = {"device": "/usr", "mount_point": "/usr", "type": "none", "flags": ["bind-mount", "read-only"]}
    return specification(file_systems=[store, *mounts])


def bind(device: str, point: str = "/x", *flags: str, **more: t.Any) -> dict[str, t.Any]:
    return {"device": device, "mount_point": point, "type": "none", "flags": ["bind-mount", *flags], **more}


WAYS_IN = [
    "/var/lib/unshare",
    "/var/lib/unshare/systems/one",
    "/var/lib",
    "/var",
    "/var//lib/./",
    "/link",
    "/link/lib",
]


@pytest.mark.parametrize("source", WAYS_IN)
def test_what_the_host_runs_is_not_writable(host: HostFacts, source: str) -> None:
    (host.root / "var/lib/unshare/systems/one").mkdir(parents=True)
    (host.root / "link").symlink_to("var")
    (said,) = problems(host, with_mounts(bind(source)))
    assert said.startswith(f"{source}: ")
    assert "/var/lib/unshare" in said
    read = problems(host, with_mounts(bind(source, "/x", "read-only")))
    assert ["a symbolic link" in said for said in read] == [True] * source.startswith("/link")
    (warned,) = warnings(host, with_mounts(bind(source, "/x", "read-only")))
    assert "can read the secrets" in warned
    with pytest.raises(TargetError, match="nothing was changed"):
        check_host(host, with_mounts(bind(source, "/x", mount_may_fail=True)))


@pytest.mark.parametrize("source", ["/run", "/run/unshare", "/etc", "/etc/systemd/system"])
def test_what_is_not_made_yet_is_not_writable_either(host: HostFacts, source: str) -> None:
    (host.root / source[1:]).mkdir(parents=True)
    (said,) = problems(host, with_mounts(bind(source)))
    assert said.startswith(f"{source}: ")


def test_the_interpreter_is_not_writable() -> None:
    """On this host itself: what was named, and the library of this Python."""
    host = HostFacts()
    host.interpreter = "/srv/python/bin/python3"
    found = problems(host, with_mounts(bind(os.path.dirname(os.__file__))))
    assert any("the Python by which this host runs" in said for said in found)


def test_other_sources_are_no_matter(host: HostFacts) -> None:
    (host.root / "var/lib/unshare").mkdir(parents=True)
    (host.root / "var/lib/data").mkdir()
    mounts = with_mounts(bind("/srv/data"), bind("/var/lib/data", "/y"), bind("/missing", "/z"))
    assert problems(host, mounts) == []
    assert warnings(host, mounts) == []


ROOT = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"
NETWORK = "52 {0} 0:50 / {1} rw - nfs4 nas:/ rw\n"
MEMORY = "53 {0} 0:51 / {1} rw - tmpfs tmpfs rw\n"
TABLES = {
    "nothing is mounted there": ("", True),
    "a server's": (NETWORK.format(1, "/srv"), False),
    "a server's over memory": (MEMORY.format(1, "/srv") + NETWORK.format(53, "/srv"), False),
    "memory over a server's": (NETWORK.format(1, "/srv") + MEMORY.format(52, "/srv"), True),
    "memory below a server's": (NETWORK.format(1, "/srv") + MEMORY.format(52, "/srv/data"), False),
    "memory hidden by a server's": (MEMORY.format(1, "/srv/data") + NETWORK.format(1, "/srv"), False),
    "a server's beside it": (NETWORK.format(1, "/srv/database"), True),
}


@pytest.mark.parametrize("case", TABLES)
def test_what_may_not_answer_is_known_by_the_table_of_mounts(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    """The topmost mount counts, and what leads to it."""
    table, expected = TABLES[case]
    mounts = mount_table.parse((ROOT + table).encode())
    monkeypatch.setattr(mount_table, "read", lambda: mounts)
    assert answers(HostFacts(), "/srv/data/x") is expected


@pytest.mark.parametrize(
    "record",
    [
        {"device": "/srv/silent/image", "type": "ext4"},
        {"device": "overlay", "type": "overlay", "options": "lowerdir=/usr:/srv/silent,upperdir=/a,workdir=/b"},
        {"device": "overlay", "type": "overlay", "options": "lowerdir=/usr,upperdir=/srv/silent/a,workdir=/b"},
        {"device": "/dev/sdb1", "type": "xfs", "options": "logdev=/srv/silent/log"},
    ],
)
@pytest.mark.parametrize("flags", [[], ["read-only"]])
def test_a_path_that_may_not_answer_is_not_opened(
    host: HostFacts, monkeypatch: pytest.MonkeyPatch, record: dict[str, t.Any], flags: list[str]
) -> None:
    table = ROOT + NETWORK.format(1, host.root / "srv/silent")
    mounts = mount_table.parse(table.encode())
    monkeypatch.setattr(mount_table, "read", lambda: mounts)
    looked: list[str] = []

    def note(path: str, *_rest: object, **_more: object) -> t.NoReturn:
        looked.append(path)
        raise FileNotFoundError(path)

    sources = Sources(host, with_mounts({**record, "mount_point": "/data", "flags": flags}))
    monkeypatch.setattr(os, "open", note)
    monkeypatch.setattr(os, "stat", note)
    assert sources.refusals() + sources.warnings() == []
    monkeypatch.undo()
    assert looked == []


@pytest.mark.parametrize(
    ("mounts", "said"),
    [
        ([bind("/srv/data", "/usr/local")], "/usr is shared read-only, and has no local: make /usr/local on the host"),
        ([bind("/srv/data", "/usr/share/foo")], "/usr is shared read-only, and has no share/foo"),
        ([bind("/srv/data", "/usr/lib//x/")], "nothing can be mounted at /usr/lib/x: "),
        ([bind("/srv", "/a", "read-only"), bind("/srv/data", "/a/b")], "make /srv/b on the host"),
        ([{**bind("x", "/usr/tmp"), "type": "tmpfs", "flags": []}], "and has no tmp"),
    ],
)
def test_a_mount_point_that_nobody_can_make(host: HostFacts, mounts: list[dict[str, t.Any]], said: str) -> None:
    (found,) = problems(host, with_mounts(*mounts))
    assert said in found


@pytest.mark.parametrize(
    "mounts",
    [
        [bind("/srv/data", "/usr/share/doc")],
        [bind("/srv/data", "/usr/linked")],
        [bind("/srv/missing", "/usr/local")],
        [bind("/srv/data", "/usr/local", mount_may_fail=True)],
        [bind("/srv", "/a"), bind("/srv/data", "/a/b")],
        [bind("/srv", "/a", "read-only"), bind("/srv/data", "/a/data")],
        [bind("/srv", "/a", "read-only"), bind("/srv/data", "/ab")],
        [bind("/srv", "/usr/share"), bind("/srv/data", "/usr/share/new")],
    ],
)
def test_a_mount_point_that_is_there_or_can_be_made(host: HostFacts, mounts: list[dict[str, t.Any]]) -> None:
    (host.root / "usr/linked").symlink_to("share")
    (host.root / "usr/share/doc").mkdir(parents=True)
    assert problems(host, with_mounts(*mounts)) == []


def test_a_missing_source_of_what_may_fail_is_no_problem(host: HostFacts) -> None:
    assert missing_sources(host, with_mounts(bind("/missing", required=True, mount_may_fail=True))) == []
    assert len(missing_sources(host, with_mounts(bind("/missing", required=True)))) == 1


def test_a_missing_store_is_said_as_that(host: HostFacts) -> None:
    (host.root / "usr").rename(host.root / "gone")
    store = bind("/usr", "/usr", "read-only", required=True)
    given = specification(file_systems=[store, bind("/missing", required=True)])
    assert problems(host, given) == ["the store /usr is not a directory on this host"]
    (about_mapping,) = missing_sources(host, given)
    assert "/missing" in about_mapping


@pytest.mark.parametrize("kind", ["nosuchfs", "zfs", "nfs", "ext", "cgroup3"])
@pytest.mark.parametrize("real", [False, True])
def test_a_type_that_the_kernel_does_not_have(host: HostFacts, kind: str, real: bool) -> None:
    if real:
        host, kind = HostFacts(), f"unshare{kind}"
    given = specification(file_systems=[{"device": "x", "mount_point": "/srv", "type": kind}])
    (said,) = types(host, given)
    assert said.startswith(f"the file system at /srv: the kernel of this host has no type '{kind}': correct the name")
    (left_out,) = given.file_systems
    assert types(host, given.replacing(file_systems=[left_out.replacing(mount_may_fail=True)])) == []


@pytest.mark.parametrize("kind", ["fuse", "fuse.sshfs", "fuseblk"])
def test_a_type_that_a_program_of_its_own_serves(host: HostFacts, kind: str) -> None:
    (host.root / "proc/filesystems").write_text("nodev\tfuse\n\tfuseblk\n")
    (said,) = types(host, specification(file_systems=[{"device": "x", "mount_point": "/srv", "type": kind}]))
    assert "mount it on the host, and use a mapping" in said


@pytest.mark.parametrize("kind", ["ext4", "tmpfs", "btrfs"])
def test_a_type_that_the_kernel_has_or_loads(host: HostFacts, kind: str) -> None:
    modules = host.root / "lib/modules" / host.release
    modules.mkdir(parents=True)
    (modules / "modules.alias").write_text("# x\nalias fs-btrfs btrfs\nalias fs-zfs2 zfs\n")
    mount = {"device": "/dev/x", "mount_point": "/srv", "type": kind}
    assert types(host, specification(file_systems=[mount])) == []
    assert types(host, SPECIFICATION) == []
    (said,) = types(host, specification(file_systems=[{**mount, "type": "zfs"}]))
    assert "'zfs'" in said
