# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Declarations that cannot come true, generated: each way of being wrong, with names and values of its own."""

from __future__ import annotations

import random
import types
import typing as t

Services = list[dict[str, t.Any]]

DAEMON = "/bin/sleep 1000"


def unit(name: str, **value: t.Any) -> dict[str, t.Any]:
    """Return a service of the type `unit`."""
    return {"type": "unit", "value": {"name": name, **value}}


class Bad(t.NamedTuple):
    """A declaration, or a part of one, that is wrong.

    Attributes:
        kind: in which way.
        services: its services.
        units: those of its units of which one, at least, must be found out.
        options: what else is declared of the container; where there is something, it can be part of no other.
    """

    kind: str
    services: Services
    units: tuple[str, ...]
    options: t.Mapping[str, t.Any] = types.MappingProxyType({})


def _word(choose: random.Random) -> str:
    return "".join(choose.choices("abcdefghijklmnopqrstuvwxyz", k=7))


def _typo(choose: random.Random, word: str) -> str:
    """Return a word with two of its letters exchanged, or one left out or doubled."""
    place = choose.randrange(1, len(word) - 1)
    way = choose.choice(("swap", "drop", "double"))
    if way == "swap" and word[place] != word[place + 1]:
        return word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    if way == "drop" and word[place] != word[place - 1]:
        return word[:place] + word[place + 1 :]
    return word[:place] + word[place] + word[place:]


# What systemd does not load, or drops: it can be known before anything is started.


def _relative_program(choose: random.Random, name: str) -> Bad:
    program = choose.choice(("bin/true", "./run", "~/run", "sbin/../x"))
    return Bad("no absolute program", [unit(name, sections={"Service": {"ExecStart": program}})], (f"{name}.service",))


def _misspelt_section(choose: random.Random, name: str) -> Bad:
    sections = {_typo(choose, "Service"): {"ExecStart": DAEMON}}
    return Bad("a section misspelt", [unit(name, sections=sections)], (f"{name}.service",))


def _misspelt_directive(choose: random.Random, name: str) -> Bad:
    sections = {"Service": {_typo(choose, "ExecStart"): DAEMON}}
    return Bad("a directive misspelt", [unit(name, sections=sections)], (f"{name}.service",))


def _garbage(choose: random.Random, name: str) -> Bad:
    text = choose.choice(("garbage", "[Service\nExecStart=/bin/true\n", "[Service]\nExecStart\n", "", "[Unit]\n", "{}"))
    return Bad("no text of a unit", [unit(name, text=text)], (f"{name}.service",))


def _bad_value(choose: random.Random, name: str) -> Bad:
    key, value = choose.choice(
        (
            ("Type", _typo(choose, "simple")),
            ("Restart", "alwyas"),
            ("TimeoutStopSec", "soon"),
            ("LimitNOFILE", "many"),
            ("KillMode", "gently"),
            ("MemoryMax", "lots"),
            ("UMask", "9999"),
            ("Environment", "=x"),
            ("WorkingDirectory", "relative"),
            ("StandardOutput", "nowhere"),
            ("StandardError", "file:relative"),
        )
    )
    return Bad(f"{key}={value}", [unit(name, command=DAEMON, service={key: value})], (f"{name}.service",))


def _bad_timer(choose: random.Random, name: str) -> Bad:
    timer = choose.choice(
        ({"OnCalendar": "nonsense"}, {"OnBootSec": "later"}, {"Persistent": True}, {"OnCalendar": "25:61"})
    )
    return Bad("no timer", [unit(name, command="/bin/true", timer=timer)], (f"{name}.timer",))


def _bad_socket(choose: random.Random, name: str) -> Bad:
    address = choose.choice(("nowhere:port", "relative", "127.0.0.1:99999999"))
    return Bad("no address", [unit(name, command=DAEMON, socket={"ListenStream": address})], (f"{name}.socket",))


def _bad_path(choose: random.Random, name: str) -> Bad:
    path = {"Path": {choose.choice(("PathExists", "PathChanged")): "relative"}}
    units = {f"{name}.path": path, f"{name}.service": {"Service": {"ExecStart": DAEMON}}}
    return Bad("no path", [unit(name, units=units)], (f"{name}.path",))


def _cycle(choose: random.Random, name: str) -> Bad:
    length = choose.randrange(2, 5)
    names = [f"{name}{number}" for number in range(length)]
    key = choose.choice(("After", "Before"))
    services = [
        unit(each, command=DAEMON, unit={key: f"{names[(number + 1) % length]}.service"})
        for number, each in enumerate(names)
    ]
    return Bad(f"a circle of {length}", services, tuple(f"{each}.service" for each in names))


def _before_the_boot(choose: random.Random, name: str) -> Bad:
    target = choose.choice(("sysinit.target", "local-fs.target", "basic.target"))
    return Bad(f"before {target}", [unit(name, command=DAEMON, unit={"Before": target})], (), {"alone": True})


# What systemd loads, and what then is not what was declared.


def _no_such_program(choose: random.Random, name: str) -> Bad:
    program = f"/usr/bin/{_word(choose)}"
    where = choose.choice(("ExecStart", "ExecStartPre"))
    sections = {"Service": {"ExecStart": DAEMON, where: program}}
    return Bad(f"a missing program for {where}", [unit(name, sections=sections)], (f"{name}.service",))


def _exits(choose: random.Random, name: str) -> Bad:
    code = choose.randrange(0, 100)
    kind = choose.choice(("simple", "exec", "forking", "notify"))
    after = choose.choice(("", "sleep 0.2; "))
    service = {"Type": kind, "Restart": "no", "RemainAfterExit": False}
    return Bad(
        f"{kind} ends with {code}",
        [unit(name, command=["/bin/sh", "-c", f"{after}exit {code}"], service=service)],
        (f"{name}.service",),
    )


def _is_killed(choose: random.Random, name: str) -> Bad:
    signal = choose.choice(("KILL", "SEGV", "ABRT"))
    service = {"Restart": choose.choice(("no", "on-failure"))}
    return Bad(
        f"killed by {signal}",
        [unit(name, command=["/bin/sh", "-c", f"kill -{signal} $$"], service=service)],
        (f"{name}.service",),
    )


def _cannot_be_executed(choose: random.Random, name: str) -> Bad:
    key, value = choose.choice(
        (
            ("User", f"no{_word(choose)}"),
            ("Group", f"no{_word(choose)}"),
            ("SupplementaryGroups", f"no{_word(choose)}"),
            ("WorkingDirectory", f"/no/{_word(choose)}"),
            ("RootDirectory", f"/no/{_word(choose)}"),
            ("EnvironmentFile", f"/no/{_word(choose)}"),
            ("StandardInput", f"file:/no/{_word(choose)}"),
            ("LoadCredential", f"x:/no/{_word(choose)}"),
            ("BindPaths", f"/no/{_word(choose)}:/mnt"),
            ("ReadWritePaths", f"/no/{_word(choose)}"),
            ("InaccessiblePaths", f"+/no/{_word(choose)}"),
        )
    )
    service = {key: value, "Restart": choose.choice(("no", "on-failure"))}
    return Bad(f"{key}={value}", [unit(name, command=DAEMON, service=service)], (f"{name}.service",))


def _crash_loop(choose: random.Random, name: str) -> Bad:
    seconds = choose.choice((0.2, 0.5, 0.8))
    service = {"Restart": choose.choice(("always", "on-failure")), "RestartSec": choose.choice(("0", "1", "60"))}
    command = ["/bin/sh", "-c", f"sleep {seconds}; exit 1"]
    services = [unit(name, command=command, service=service, unit={"StartLimitIntervalSec": 0})]
    return Bad(f"ends every {seconds} s", services, (f"{name}.service",))


def _ends_at_once(choose: random.Random, name: str) -> Bad:
    service = {"Restart": choose.choice(("always", "on-success")), "RestartSec": choose.choice(("1", "3", "60"))}
    command = ["/bin/sh", "-c", choose.choice(("exit 0", "sleep 0.3", "setsid sleep 1000 & exit 0"))]
    return Bad("ends well at once", [unit(name, command=command, service=service)], (f"{name}.service",))


def _requires_what_ends(choose: random.Random, name: str) -> Bad:
    first = {"command": "/bin/true", "service": {"Restart": "no"}, "wanted_by": []}
    form, needed = choose.choice(
        ((f"{name}-first", f"{name}-first"), (f"{name}-first@", f"{name}-first@{_word(choose)}"))
    )
    services = [unit(name, command=DAEMON, requirement=[needed]), unit(form, **first)]
    return Bad("requires what ends", services, (f"{needed}.service",))


def _assertion(choose: random.Random, name: str) -> Bad:
    key = choose.choice(("AssertPathExists", "AssertFileNotEmpty", "AssertPathIsMountPoint"))
    return Bad(key, [unit(name, command=DAEMON, unit={key: f"/no/{_word(choose)}"})], (f"{name}.service",))


def _requires_what_fails(choose: random.Random, name: str) -> Bad:
    key = choose.choice(("Requires", "BindsTo"))
    services = [
        unit(name, command=DAEMON, unit={key: f"{name}-first.service", "After": f"{name}-first.service"}),
        unit(f"{name}-first", command="/bin/false", service={"Type": "oneshot", "Restart": "no"}),
    ]
    return Bad(f"{key} what fails", services, (f"{name}.service", f"{name}-first.service"))


def _bound_to_nothing(choose: random.Random, name: str) -> Bad:
    head = {"BindsTo": f"{_word(choose)}.service"}  # Requires= of what is not there is as Wants= to systemd
    return Bad("bound to nothing", [unit(name, command=DAEMON, unit=head)], (f"{name}.service",))


def _conflict(choose: random.Random, name: str) -> Bad:
    other = f"{name}-other"
    services = [unit(name, command=DAEMON, unit={"Conflicts": f"{other}.service"}), unit(other, command=DAEMON)]
    return Bad("two that exclude each other", services, (f"{name}.service", f"{other}.service"))


def _no_socket(choose: random.Random, name: str) -> Bad:
    socket = choose.choice(
        (
            {"ListenStream": f"/run/{name}.sock", "ExecStartPre": "/bin/false"},
            {"ListenStream": f"/proc/{name}.sock"},
            {"ListenStream": f"192.0.2.77:{choose.randrange(1024, 65536)}"},
        )
    )
    return Bad("a socket that cannot be made", [unit(name, command=DAEMON, socket=socket)], (f"{name}.socket",))


def _bad_mount(choose: random.Random, name: str) -> Bad:
    kind = choose.choice(("ext4", "nosuchfs", "tmpfs"))
    options = "nosuchoption=1" if kind == "tmpfs" else "defaults"
    mount = {"Mount": {"What": f"/dev/{_word(choose)}", "Where": f"/mnt/{name}", "Type": kind, "Options": options}}
    place = f"mnt-{name}.mount"
    item = {"name": place, "sections": mount, "wanted_by": ["multi-user.target"]}
    return Bad(
        f"a mount of {kind}",
        [{"type": "simple", "value": {"name": name, "target": "systemd", "value": [item]}}],
        (place,),
    )


# What is of the whole container.


def _clashing_mappings(choose: random.Random, name: str) -> Bad:
    place = f"/srv/{name}"
    second = choose.choice(
        (place, f"/srv/./{name}", f"/srv/{name}/../{name}", "/proc", "/sys", "/dev", "/etc", "/etc/systemd", "relative")
    )
    mappings = [{"source": "/srv", "target": place}, {"source": "/opt", "target": second}]
    return Bad(f"mappings to {place} and {second}", [], (), {"mappings": mappings})


def _missing_required(choose: random.Random, name: str) -> Bad:
    mapping = {"source": f"/no/{_word(choose)}", "target": f"/srv/{name}", "required": True}
    return Bad("a required mapping of nothing", [], (), {"mappings": [mapping]})


def _missing_init(choose: random.Random, name: str) -> Bad:
    return Bad("an init that does not exist", [], (), {"init": {"argv": [f"/usr/bin/{_word(choose)}"]}})


def _circle_of_requirements(choose: random.Random, name: str) -> Bad:
    services = [unit(f"{name}{n}", command=DAEMON, requirement=[f"{name}{(n + 1) % 3}"]) for n in range(3)]
    return Bad("services that require each other", services, (), {"alone": True})


def _unknown_requirement(choose: random.Random, name: str) -> Bad:
    return Bad(
        "a requirement of nothing", [unit(name, command=DAEMON, requirement=[_word(choose)])], (), {"alone": True}
    )


def _missing_command(choose: random.Random, name: str) -> Bad:
    return Bad("a missing command", [unit(name, command=[f"/usr/sbin/{_word(choose)}"])], (), {"alone": True})


def _twice(choose: random.Random, name: str) -> Bad:
    return Bad("a unit declared twice", [unit(name, command=DAEMON), unit(name, command=DAEMON)], (), {"alone": True})


def _started_by_nothing(choose: random.Random, name: str) -> Bad:
    services = [unit(name, command=DAEMON, wanted_by=[f"{_word(choose)}.target"])]
    return Bad("started by what is not there", services, (), {"alone": True})


def _started_by_what_is_not_started(choose: random.Random, name: str) -> Bad:
    target = choose.choice(("network-online.target", "getty.target", "remote-fs.target", "mutli-user.target"))
    key = choose.choice(("WantedBy", "RequiredBy", "UpheldBy"))
    sections = {"Service": {"ExecStart": DAEMON}, "Install": {key: target}}
    return Bad(f"{key}={target}", [unit(name, sections=sections)], (), {"alone": True})


NOT_LOADED = (
    _relative_program,
    _misspelt_section,
    _misspelt_directive,
    _garbage,
    _bad_value,
    _bad_timer,
    _bad_socket,
    _bad_path,
    _cycle,
    _before_the_boot,
)
NOT_RUNNING = (
    _no_such_program,
    _exits,
    _is_killed,
    _cannot_be_executed,
    _crash_loop,
    _ends_at_once,
    _requires_what_ends,
    _assertion,
    _requires_what_fails,
    _bound_to_nothing,
    _conflict,
    _no_socket,
    _bad_mount,
)
NOT_POSSIBLE = (
    _clashing_mappings,
    _missing_required,
    _missing_init,
    _circle_of_requirements,
    _unknown_requirement,
    _missing_command,
    _twice,
    _started_by_nothing,
    _started_by_what_is_not_started,
)


def generate(choose: random.Random, count: int, *kinds: t.Callable[[random.Random, str], Bad]) -> list[Bad]:
    """So many declarations, of each kind as many as of another; no two have a name in common."""
    return [kinds[number % len(kinds)](choose, f"{_word(choose)}{number}") for number in range(count)]
