# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is measured: this collection's launcher, and the programs beside it that are installed.

All run the same: a program of the host's /usr, bound read-only, in new user (with ids of its own), pid, network, ipc,
uts, mount and control group namespaces, with a system-call filter: crun and runc have the collection's, systemd-nspawn
its own, bubblewrap none. bubblewrap maps the caller's id only.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import subprocess
import time
import typing as t
from pathlib import Path

from ansible.module_utils import basic
from ansible_collections.unshare.container.plugins.module_utils.launcher import seccomp

INTERPRETER = "/usr/bin/python3"
"""The target's Python, which runs modules and `run-container`."""

FIRST_ID = 0x60000000
COUNT = 65536
DIRECTORIES = ("dev", "etc", "mnt", "proc", "root", "run", "sys", "tmp", "usr", "var")
LINKS = ("bin", "sbin", "lib", "lib64")
NAMESPACES = ("user", "pid", "network", "ipc", "uts", "mount", "cgroup")
EQUAL = ("/etc/passwd", "/etc/group", "/etc/machine-id", "/etc/os-release")
QUIET = ["nosuid", "noexec", "nodev"]


class Subject(t.Protocol):
    """A way to run containers."""

    name: str
    """As in the results."""

    def prepare(self, program: list[str], mounts: list[Path]) -> None:
        """Be ready to run `program` with these directories bound read-only at /mnt/NUMBER."""

    def run(self) -> float:
        """Run the program in a new container to its end; the seconds that this took."""

    def processor(self) -> float:
        """Seconds of a processor that its runs have taken so far, those of its children too."""


class Module:
    """This collection, as the module system_container does it: in a process that runs already."""

    def __init__(self, name: str, system: Path, equal: bool = True) -> None:
        self.name = name
        self.system = system
        self.equal = equal
        words = [INTERPRETER, str(Path(__file__).with_name("module_process.py")), str(Path(__file__).parents[5])]
        words.append(str(Path(basic.__file__).parents[2]))
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True)
        self.taken = 0.0

    def prepare(self, program: list[str], mounts: list[Path]) -> None:
        set_up(self.system, program, mounts, self.equal)

    def run(self) -> float:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{self.system}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError("the module's process has ended")
        seconds, self.taken = (float(word) for word in answer.split())
        return seconds

    def processor(self) -> float:
        return self.taken

    def close(self) -> None:
        self.process.communicate()


class Script:
    """This collection by hand: `run-container` of a system."""

    def __init__(self, name: str, system: Path) -> None:
        self.name = name
        self.system = system

    def prepare(self, program: list[str], mounts: list[Path]) -> None:
        set_up(self.system, program, mounts)

    def run(self) -> float:
        return command([str(self.system / "run-container")])

    def processor(self) -> float:
        return of_children()


class Command:
    """A program with a command line.

    :param name: as in the results: the program, and after a comma what is special.
    """

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.program = name.partition(",")[0]
        self.root = directory / f"{name}-root"
        self.words: list[str] = []
        skeleton(self.root)

    def run(self) -> float:
        return command(self.words)

    def processor(self) -> float:
        return of_children()


class Bubblewrap(Command):
    def prepare(self, program: list[str], mounts: list[Path]) -> None:
        words = [self.program, "--unshare-all", "--tmpfs", "/", "--ro-bind", "/usr", "/usr"]
        words += ["--proc", "/proc", "--dev", "/dev"]
        for link in LINKS:
            words += ["--symlink", f"usr/{link}", f"/{link}"]
        for number, mount in enumerate(mounts):
            words += ["--ro-bind", str(mount), f"/mnt/{number}"]
        self.words = words + program


class Nspawn(Command):
    def prepare(self, program: list[str], mounts: list[Path]) -> None:
        self.words = nspawn(self.root, [f"--bind-ro={mount}:/mnt/{number}" for number, mount in enumerate(mounts)])
        self.words += ["--console=pipe", "--as-pid2", *program]


class Oci(Command):
    """crun or runc, with the same bundle, and the same system-call filter as this collection's containers have."""

    filtered = True

    def __init__(self, name: str, directory: Path) -> None:
        super().__init__(name, directory)
        self.bundle = directory / f"{name}-bundle"
        self.bundle.mkdir()

    def prepare(self, program: list[str], mounts: list[Path]) -> None:
        write_bundle(self.bundle, self.root, program, mounts, self.filtered)
        self.words = [self.program, "run", f"--bundle={self.bundle}", f"bench-{self.program}"]


class Unfiltered(Oci):
    """The same without a filter, which costs them some of their time."""

    filtered = False


PODMAN_RUN = ["run", "--rm", "--network=none", "--pids-limit=0"]
PODMAN_RUN += ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"]
"""It asks for more than root may have on some machines, and for a controller that version 2 may not have."""


def podman(directory: Path) -> list[str]:
    """Return podman's command, which keeps its records in the benchmark's own directory."""
    words = ["podman", "--runtime=runc", "--cgroup-manager=cgroupfs", "--events-backend=none"]
    return [*words, f"--root={directory}/podman", f"--runroot={directory}/podman-run"]


class Podman(Command):
    def prepare(self, program: list[str], mounts: list[Path]) -> None:
        self.words = [*podman(self.root.parent), *PODMAN_RUN, "--volume=/usr:/usr:ro"]
        self.words += [f"--uidmap=0:{FIRST_ID}:{COUNT}", f"--gidmap=0:{FIRST_ID}:{COUNT}"]
        self.words += [f"--volume={mount}:/mnt/{number}:ro" for number, mount in enumerate(mounts)]
        self.words += ["--rootfs", str(self.root), *program]


class Lxc(Command):
    """LXC's containers without a network, with the system-call filter that its own configurations name."""

    FILTER = Path("/usr/share/lxc/config/common.seccomp")

    def prepare(self, program: list[str], mounts: list[Path]) -> None:
        settings = [
            ("lxc.rootfs.path", f"dir:{self.root}"),
            ("lxc.uts.name", "bench"),
            ("lxc.init.cmd", " ".join(program)),
            ("lxc.idmap", f"u 0 {FIRST_ID} {COUNT}"),
            ("lxc.idmap", f"g 0 {FIRST_ID} {COUNT}"),
            ("lxc.net.0.type", "empty"),
            ("lxc.autodev", "1"),
            ("lxc.mount.auto", "proc:mixed sys:ro cgroup:ro"),
            ("lxc.mount.entry", "/usr usr none rbind,ro 0 0"),
            *(("lxc.mount.entry", f"{path} mnt/{n} none rbind,ro,create=dir 0 0") for n, path in enumerate(mounts)),
            ("lxc.seccomp.profile", str(self.FILTER)),
        ]
        file = self.root.with_name("lxc.conf")
        file.write_text("".join(f"{key} = {value}\n" for key, value in settings))
        self.words = [self.program, "--foreground", "--name=bench-lxc", f"--rcfile={file}"]
        self.words += [f"--lxcpath={self.root.parent}", "--logpriority=ERROR"]


PEERS: dict[str, type[Command]] = {
    "crun": Oci,
    "crun-13": Oci,
    "runc": Oci,
    "crun, no filter": Unfiltered,
    "crun-13, no filter": Unfiltered,
    "runc, no filter": Unfiltered,
    "bwrap": Bubblewrap,
    "systemd-nspawn": Nspawn,
    "lxc-start": Lxc,
    "podman": Podman,
}
PROGRAMS = tuple(dict.fromkeys(name.partition(",")[0] for name in PEERS))


def of_children() -> float:
    """Seconds of a processor of all processes that were waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def command(words: list[str]) -> float:
    """Run a command that must succeed, as cheaply as a shell does; the seconds that this took."""
    null = [(os.POSIX_SPAWN_OPEN, number, "/dev/null", os.O_RDWR, 0) for number in (0, 1)]
    began = time.perf_counter()
    pid = os.posix_spawnp(words[0], words, os.environ, file_actions=[*null, (os.POSIX_SPAWN_DUP2, 1, 2)])
    status = os.waitpid(pid, 0)[1]
    seconds = time.perf_counter() - began
    if status:
        result = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
        raise RuntimeError(f"{' '.join(words[:6])}: {status}: {result.stderr or result.stdout}")
    return seconds


def skeleton(root: Path) -> None:
    """Make the directories of a root whose software is the host's /usr."""
    for name in DIRECTORIES:
        (root / name).mkdir(parents=True)
    for name in LINKS:
        (root / name).symlink_to(f"usr/{name}")
    (root / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    shutil.copy("/usr/lib/os-release", root / "etc/os-release")  # systemd-nspawn looks for it before it binds /usr
    (root / "etc/group").write_text("root:x:0:\n")
    for path in (root, *root.rglob("*")):
        os.chown(path, FIRST_ID, FIRST_ID, follow_symlinks=False)


def nspawn(root: Path, options: list[str]) -> list[str]:
    words = [
        "systemd-nspawn",
        "--quiet",
        f"--directory={root}",
        "--bind-ro=/usr:/usr:idmap",
        "--register=no",
        "--keep-unit",
    ]
    words += [f"--private-users={FIRST_ID}:{COUNT}", "--private-network", "--link-journal=no"]
    return [*words, *options]


def forget_groups() -> None:
    """Remove the control groups that LXC, and below the caller's `systemd-nspawn --keep-unit`, make and leave empty."""
    own = next(line for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
    for name in ("/lxc.pivot", f"{own[3:]}/payload", f"{own[3:]}/supervisor"):
        for directory, _directories, _files in os.walk(f"/sys/fs/cgroup{name}", topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(directory)


def set_up(system: Path, program: list[str], mounts: list[Path], equal: bool = True) -> None:
    """Let a system run one program, not an init, with further mounts.

    :param equal: leave out the system's own files and directories, which the peers do not have to make.
    """
    spec = json.loads((system / "spec.json").read_text())
    spec["init"].update(ready="exec", stop_signal="SIGKILL")
    spec["file_systems"] = [record for record in spec["file_systems"] if not record["mount_point"].startswith("/mnt/")]
    if equal:
        spec["files"] = {path: spec["files"][path] for path in EQUAL if path in spec["files"]}
        spec.update(host_files=[], directories=[])
    for number, mount in enumerate(mounts):
        record = {"device": str(mount), "mount_point": f"/mnt/{number}", "type": "none"}
        spec["file_systems"].append({**record, "flags": ["bind-mount", "read-only"]})
    (system / "spec.json").write_text(json.dumps(spec))
    text = "#!/bin/sh\nexec " + " ".join(program) + "\n" if len(program) > 1 else f"#!{program[0]}\n"
    (system / "boot").write_text(text)


def write_bundle(bundle: Path, root: Path, program: list[str], mounts: list[Path], filtered: bool) -> None:
    """Write a configuration of the Open Container Initiative, with the customary masks."""
    ids = [{"containerID": 0, "hostID": FIRST_ID, "size": COUNT}]

    def mount(kind: str, target: str, options: list[str], source: str | None = None) -> dict[str, t.Any]:
        return {"destination": target, "type": kind, "source": source or kind, "options": options}

    config = {
        "ociVersion": "1.0.2",
        "hostname": "bench",
        "root": {"path": str(root), "readonly": False},
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": program,
            "env": ["PATH=/usr/bin:/usr/sbin"],
            "cwd": "/",
            "noNewPrivileges": True,
        },
        "mounts": [
            mount("proc", "/proc", QUIET),
            mount("tmpfs", "/dev", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("devpts", "/dev/pts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
            mount("tmpfs", "/dev/shm", [*QUIET, "mode=1777", "size=65536k"]),
            mount("mqueue", "/dev/mqueue", QUIET),
            mount("sysfs", "/sys", [*QUIET, "ro"]),
            mount("cgroup", "/sys/fs/cgroup", [*QUIET, "ro"]),
            mount("bind", "/usr", ["rbind", "ro"], "/usr"),
            *(mount("bind", f"/mnt/{number}", ["rbind", "ro"], str(path)) for number, path in enumerate(mounts)),
        ],
        "linux": {
            "namespaces": [{"type": kind} for kind in NAMESPACES],
            "uidMappings": ids,
            "gidMappings": ids,
            "maskedPaths": [
                "/proc/acpi",
                "/proc/kcore",
                "/proc/keys",
                "/proc/timer_list",
                "/sys/firmware",
                "/proc/scsi",
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    }
    if filtered:
        config["linux"]["seccomp"] = filter_of_calls()  # type: ignore[index]
    (bundle / "config.json").write_text(json.dumps(config))


def filter_of_calls() -> dict[str, t.Any]:
    """Return the collection's own system-call filter, as far as this configuration can express it."""
    refused: list[dict[str, t.Any]] = []

    def refuse(names: t.Iterable[str], error: int, *arguments: tuple[int, int, int]) -> None:
        rule: dict[str, t.Any] = {"names": list(names), "action": "SCMP_ACT_ERRNO", "errnoRet": error}
        rule["args"] = [
            {"index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}
            for index, mask, value in arguments
        ]
        refused.append(rule)

    refuse(seccomp.REFUSED, seccomp.EPERM)
    refuse(seccomp.ABSENT, seccomp.ENOSYS)
    for bit in (seccomp.SET_USER_ID, seccomp.SET_GROUP_ID):
        for name, argument in seccomp.MODES.items():
            refuse([name], seccomp.EPERM, (argument, bit, bit))
        for name, (flags, mode) in seccomp.OPENS.items():
            refuse([name], seccomp.EPERM, (flags, os.O_CREAT, os.O_CREAT), (mode, bit, bit))
    for request in (seccomp.TIOCSTI, seccomp.TIOCLINUX):
        refuse(["ioctl"], seccomp.EPERM, (1, 0xFFFFFFFF, request))
    refuse(["socket"], seccomp.EAFNOSUPPORT, (0, 0xFFFFFFFF, seccomp.VSOCK))
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": refused,
    }


def peers(directory: Path) -> tuple[list[Command], dict[str, str]]:
    """Return those that are installed and run here, and why the others are not among them, by their names."""
    found, unable = [], {}
    for name, kind in PEERS.items():
        if not shutil.which(name.partition(",")[0]):
            unable[name] = "it is not installed"
            continue
        peer = kind(name, directory)
        peer.prepare(["/usr/bin/true"], [])  # type: ignore[attr-defined]
        try:
            peer.run()
        except RuntimeError as error:
            unable[name] = str(error)
            continue
        found.append(peer)
    return found, unable
