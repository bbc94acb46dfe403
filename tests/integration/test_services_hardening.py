# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Under the filter, and with what PID 1 has given up, services and programs still work as on a host."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.unshare.container.plugins.plugin_utils.containerized import containerization_report

if t.TYPE_CHECKING:
    from .conftest import Machine, MakeMachine

pytestmark = pytest.mark.root

NAME = "test-hardening"
NOTIFY = (
    "import os, socket, signal; "
    "socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'READY=1', os.environ['NOTIFY_SOCKET']); signal.pause()"
)
ACTIVATED = "import socket; socket.socket(fileno=3).accept()[0].sendall(b'activated')"
CONNECT = "import socket; print(socket.create_connection(('127.0.0.1', 7801), 20).recv(100).decode())"
# What each directive promises, tried by the service itself: a shell text that must succeed.
DIRECTIVES: dict[str, tuple[dict[str, t.Any], str]] = {
    "private-tmp": ({"PrivateTmp": True}, "echo mine > /tmp/mine && test ! -e /tmp/of-the-container"),
    "private-devices": ({"PrivateDevices": True}, "test ! -e /dev/fuse && echo > /dev/null && head -c 1 /dev/urandom"),
    "protect-system": (
        {"ProtectSystem": "strict", "StateDirectory": "kept"},
        "echo kept > /var/lib/kept/file && ! touch /etc/refused && ! touch /var/lib/refused",
    ),
    "protect-home": ({"ProtectHome": "tmpfs"}, 'test -z "$(ls /root)"'),
    "dynamic-user": (
        {"DynamicUser": True, "StateDirectory": "dynamic"},
        'test "$(id -u)" -ge 61184 && echo > "$STATE_DIRECTORY/file" && ! touch /etc/refused',
    ),
    "load-credential": ({"LoadCredential": "word:/etc/word"}, 'grep -qx secret "$CREDENTIALS_DIRECTORY/word"'),
    "set-credential": ({"SetCredential": "word:public"}, 'test "$(cat "$CREDENTIALS_DIRECTORY/word")" = public'),
    "protect-kernel-tunables": ({"ProtectKernelTunables": True}, "! echo 1 > /proc/sys/net/ipv4/ip_forward"),
    "protect-control-groups": ({"ProtectControlGroups": True}, "! mkdir /sys/fs/cgroup/refused"),
    "private-network": ({"PrivateNetwork": True}, 'test "$(ls /sys/class/net)" = lo'),
    "private-mounts": ({"PrivateMounts": True}, "mount -t tmpfs none /mnt && touch /mnt/mine"),
    "bind-paths": ({"BindPaths": "/etc/word:/run/word"}, "grep -qx secret /run/word"),
    "temporary-file-system": ({"TemporaryFileSystem": "/var"}, 'test -z "$(ls /var)"'),
    "inaccessible": ({"InaccessiblePaths": "/etc/word"}, "! grep -q secret /etc/word"),
    "no-new-privileges": ({"NoNewPrivileges": True}, "grep -q '^NoNewPrivs:.1' /proc/self/status"),
    "system-call-filter": (
        {
            "SystemCallFilter": "@system-service",
            "SystemCallErrorNumber": "EPERM",
            "SystemCallArchitectures": "native",
            "RestrictSUIDSGID": True,
            "RestrictRealtime": True,
            "RestrictNamespaces": True,
            "LockPersonality": True,
            "RestrictAddressFamilies": "AF_UNIX",
        },
        '! unshare --mount true && test "$(cat /etc/word)" = secret',
    ),
    "capability-bounding-set": (
        {
            "CapabilityBoundingSet": "CAP_NET_BIND_SERVICE",
            "AmbientCapabilities": "CAP_NET_BIND_SERVICE",
            "User": "nobody",
        },
        "grep -q '^CapEff:.0000000000000400' /proc/self/status",
    ),
    "everything-else": (
        {
            "ProtectKernelModules": True,
            "ProtectKernelLogs": True,
            "ProtectClock": True,
            "ProtectHostname": True,
            "MemoryDenyWriteExecute": True,
            "PrivateIPC": True,
            "RemoveIPC": True,
            "DevicePolicy": "closed",
            "TasksMax": 50,
            "OOMScoreAdjust": 500,
            "Nice": 5,
            "LimitNOFILE": 1000,
            "UMask": "0077",
        },
        (
            'test "$(ulimit -n)" = 1000 && test "$(nice)" = 5 && test "$(umask)" = 0077 && ! hostname other && '
            "grep -qx 500 /proc/self/oom_score_adj && "
            'test "$(readlink /proc/self/ns/ipc)" != "$(readlink /proc/1/ns/ipc)" && '
            "! python3 -c 'import mmap; mmap.mmap(-1, 4096, prot=7)'"
        ),
    ),
}
CONNECTS = "python3 -c \"import socket; socket.create_connection(('127.0.0.1', 7802), 20)\""
# What changes nothing in a container, as the declaration's report says: what would fail where they were kept.
WITHOUT_EFFECT: dict[str, tuple[dict[str, t.Any], str]] = {
    "protect-proc": ({"ProtectProc": "invisible", "User": "nobody"}, "test -d /proc/1"),
    "proc-subset": ({"ProcSubset": "pid"}, "test -e /proc/meminfo"),
    "ip-address-deny": ({"IPAddressDeny": "any"}, CONNECTS),
    "socket-bind-deny": (
        {"SocketBindDeny": "any"},
        "python3 -c \"import socket; socket.socket().bind(('127.0.0.1', 7803))\"",
    ),
    "restrict-network-interfaces": ({"RestrictNetworkInterfaces": "~lo"}, CONNECTS),
}


def unit(name: str, directives: dict[str, t.Any], text: str) -> dict[str, t.Any]:
    service = {"Type": "oneshot", "RemainAfterExit": True, "Restart": "no", **directives}
    return {"type": "unit", "value": {"name": name, "command": ["/bin/sh", "-ec", text], "service": service}}


def test_directives_of_services_hold(make_machine: MakeMachine) -> None:
    services = [unit(name, directives, text) for name, (directives, text) in DIRECTIVES.items()]
    python = ["/usr/bin/python3", "-c"]
    services += [
        {"type": "simple", "value": {"target": "etc", "value": {"word": {"content": "secret\n", "mode": "0644"}}}},
        {"type": "unit", "value": {"name": "notifies", "command": [*python, NOTIFY], "service": {"Type": "notify"}}},
        {
            "type": "unit",
            "value": {
                "name": "activated",
                "command": [*python, ACTIVATED],
                "socket": {"ListenStream": "127.0.0.1:7801"},
            },
        },
    ]
    machine = make_machine({"services": services}, name=NAME)
    machine.start()
    machine.run("systemctl", "is-system-running", "--wait")
    assert machine.container.failed_units() == [], machine.logs()
    names = [f"{name}.service" for name in (*DIRECTIVES, "notifies")]
    assert set(machine.run("systemctl", "is-active", *names).stdout.split()) == {"active"}
    assert machine.run("test", "-e", "/tmp/mine").returncode == 1
    assert machine.run("test", "-e", "/mnt/mine").returncode == 1
    assert machine.output("cat", "/var/lib/kept/file") == "kept\n"
    assert machine.run("systemctl", "is-active", "activated.service").stdout.strip() == "inactive"
    assert machine.output("python3", "-c", CONNECT).strip() == "activated"


def test_directives_without_effect_are_those_that_the_report_names(make_machine: MakeMachine) -> None:
    services = [unit(name, directives, text) for name, (directives, text) in WITHOUT_EFFECT.items()]
    served = {"name": "served", "command": ["/usr/bin/python3", "-c", "import signal; signal.pause()"]}
    services.append({"type": "unit", "value": {**served, "socket": {"ListenStream": "127.0.0.1:7802"}}})
    said = [entry["name"] for entry in containerization_report({"host_name": NAME, "services": services})["dropped"]]
    for name, (directives, _text) in WITHOUT_EFFECT.items():
        key, value = next(iter(directives.items()))
        assert f"{name}.service: {key}={value}" in said
    machine = make_machine({"services": services}, name=NAME)
    machine.start()
    machine.run("systemctl", "is-system-running", "--wait")
    names = [f"{name}.service" for name in WITHOUT_EFFECT]
    assert set(machine.run("systemctl", "is-active", *names).stdout.split()) == {"active"}, machine.logs()


def test_private_users_needs_what_a_container_gives_up(make_machine: MakeMachine) -> None:
    """It maps uid 0 of the container anew, for which a kernel asks CAP_SETFCAP; `nesting` keeps that."""
    services = [unit("private-users", {"PrivateUsers": True}, "true")]
    machine = make_machine({"services": services}, name=NAME)
    machine.start()
    machine.run("systemctl", "is-system-running", "--wait")
    assert machine.container.failed_units() == ["private-users.service"]
    machine.stop()
    machine = make_machine({"services": services}, name=NAME, security={"nesting": True})
    machine.start()
    machine.run("systemctl", "is-system-running", "--wait")
    assert machine.container.failed_units() == [], machine.logs()


@pytest.fixture
def machine(make_machine: MakeMachine) -> Machine:
    alice = {"name": "alice", "supplementary_groups": ["sudo"], "shell": "/bin/sh", "password": "!"}
    made = make_machine({"users": [alice], "services": [{"type": "dbus"}]}, name=NAME)
    made.start()
    return made


def test_programs_that_change_their_user_work(machine: Machine) -> None:
    machine.output("chpasswd", input="alice:a word\nroot:another\n")
    assert machine.output("su", "alice", "-c", "id -un").strip() == "alice"
    # From a user without privileges, by set-user-ID programs of the store.
    assert machine.output("su", "root", "-c", "id -u", user="alice", input="another\n").strip() == "0"
    assert machine.run("su", "root", "-c", "id -u", user="alice", input="wrong\n").returncode != 0
    assert machine.output("sudo", "-S", "id", "-u", user="alice", input="a word\n").strip() == "0"
    assert machine.run("sudo", "-n", "id", "-u", user="nobody").returncode != 0
    changed = machine.run("passwd", user="alice", input="a word\nFive4thWord!\nFive4thWord!\n")
    assert changed.returncode == 0, changed.stderr
    assert machine.output("sudo", "-S", "id", "-u", user="alice", input="Five4thWord!\n").strip() == "0"


def test_ping_works(machine: Machine) -> None:
    for user in ("root", "alice"):
        answer = machine.output("ping", "-c", "1", "-W", "5", "127.0.0.1", user=user)
        assert "1 received" in answer


def test_apt_simulates_with_the_hosts_database(make_machine: MakeMachine) -> None:
    """The store's packages are the host's to install; apt can be asked what it would do."""
    mappings = ["/var/lib/dpkg", "/var/lib/apt", "/etc/apt", "/var/cache/apt"]
    machine = make_machine(name=NAME, mappings=mappings)
    machine.start()
    assert "0 newly installed" in machine.output("apt-get", "--simulate", "install", "coreutils")
    assert "Remv sudo" in machine.output("apt-get", "--simulate", "remove", "sudo")
