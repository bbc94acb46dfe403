# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of a container, described once: for the modules, for the filters, and (`make docs`) for the roles."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation of what can be said about one container."""

    # What its host is asked to do with it.
    DOCUMENTATION = r"""
options:
  state:
    description:
      - What the container should do.
      - V(started) means that it runs its current system.
      - V(restarted) stops it first, if it runs.
      - V(stopped) means that it does not run. The services' own stop commands are run.
      - V(rolled_back) makes the system of a former generation the current one, and runs it.
      - V(absent) removes the container, its systems and its log. The data in its mappings is never touched.
    type: str
    choices: [started, stopped, restarted, rolled_back, absent]
    default: started
  generation:
    description:
      - Number of the generation that O(state=rolled_back) goes back to.
      - The default is the last one before the current one that has another system.
    type: int
  keep_generations:
    description: How many generations are kept. One that is in use is kept in any case.
    type: int
    default: 5
  health:
    description:
      - What must be well with the container, and within which time.
      - Connections are made from inside the container's network.
    type: dict
    suboptions:
      timeout:
        description: Seconds until all of it must be well, after the container has become ready.
        type: raw
        default: 30
      steady:
        description:
          - Seconds for which all of it must be well on end after a start or a switch. A service that crashes and comes
            back, again and again, looks well at times.
        type: raw
        default: 1
      running:
        description: Whether systemd must say C(running), with no failed unit, and none that waits to be tried again.
        type: bool
        default: true
      units:
        description: Units that must be active.
        type: list
        elements: str
        default: []
      tcp:
        description: Ports that must take a connection.
        type: list
        elements: dict
        default: []
        suboptions:
          port:
            description: The port, from 1 to 65535.
            type: int
            required: true
          address:
            description: An address of IPv4 or IPv6, as the container knows it.
            type: str
            default: 127.0.0.1
      http:
        description: Requests that must be answered with a status. They are made without TLS.
        type: list
        elements: dict
        default: []
        suboptions:
          port:
            description: The port, from 1 to 65535.
            type: int
            default: 80
          address:
            description: An address of IPv4 or IPv6, as the container knows it.
            type: str
            default: 127.0.0.1
          host:
            description: The name of the server that is asked for.
            type: str
            default: localhost
          path:
            description: The path, with a query perhaps.
            type: str
            default: /
          status:
            description: The status that it must answer.
            type: int
            default: 200
      commands:
        description: Commands, run inside as root, that must end with an exit code.
        type: list
        elements: dict
        default: []
        suboptions:
          argv:
            description: The program and its arguments. No shell is involved.
            type: list
            elements: str
            required: true
          exit_code:
            description: The exit code that it must end with.
            type: int
            default: 0
  roll_back:
    description:
      - Whether a switch to another system is undone when the container cannot be started with it, or is not well.
      - The container then runs its former generation again, and the task fails all the same.
      - A switch that was cut short is on trial still, and is finished or undone by the next run.
    type: bool
    default: false
  wait:
    description:
      - Whether to wait until the container's init says that it is ready, and to look for units that failed.
      - With systemd on the host a start always waits, and V(false) leaves out the look at the units.
    type: bool
    default: true
  timeout:
    description:
      - Seconds to wait for the container to become ready, to stop, and for another run on the same container, each.
      - A container that has not stopped in time is killed.
      - As every time limit it is a number from 0.001 to 1000000; any other is an error.
    type: raw
  allow_failed_units:
    description:
      - Whether a unit that failed inside is no error. It is still returned in RV(failed_units).
      - A container that has a failed unit goes on running, so that one can look inside.
    type: bool
    default: false
  enabled:
    description:
      - Whether the host's boot starts the container.
      - With systemd on the host, every container has a unit, an instance of C(unshare-container@.service), through
        which it is started and stopped, by this collection and by systemd alike. A container that reboots itself comes
        back, one that powers off stays down until it is started. The unit has O(timeout), O(after), O(requires) and
        O(restart).
      - Elsewhere nothing is written, and V(true) gives a warning that says what is to be called at boot. A container
        that reboots itself comes back when it is entered, or started by this collection.
    type: bool
  after:
    description: Names of containers that are started before this one, if they are. Used with systemd on the host.
    type: list
    elements: str
  requires:
    description: Names of containers that are started before this one, and without which it does not run. Used with
      systemd on the host.
    type: list
    elements: str
  restart:
    description:
      - What the host's systemd does when the container ends by itself.
      - V(on-failure) starts it again when it crashed, each time after a longer while. V(always) does so in any case,
        V(no) in none. A reboot from inside always starts it again.
    type: str
    choices: [on-failure, always, 'no']
  limits:
    description:
      - How much of the host the container may take. An empty mapping sets no limit but one on tasks.
      - Other limits are set without a restart.
      - A warning says which of them the host cannot keep.
    type: dict
    suboptions:
      memory_max:
        description: Memory, such as V(512M); past it processes are killed.
        type: raw
      memory_high:
        description: Memory past which processes are slowed down.
        type: raw
      cpu_quota:
        description: Time of CPUs, V(150%) is one and a half.
        type: raw
      cpu_weight:
        description: Share of the CPUs in relation to others, from 1 to 10000. It is 100 by itself.
        type: raw
      tasks_max:
        description: Number of processes and threads, 64 or more. It is 16384 by itself, which no fork bomb can pass.
        type: raw
      io_weight:
        description: Share of the disks in relation to others, from 1 to 10000. It is 100 by itself.
        type: raw
"""

    # The declaration that it is made from; an input of the filters, which call it theirs.
    DECLARED = r"""
options:
  operating_system:
    description: The declaration of the operating system, the one for the real machine. It is required, unless
      O(state) is V(stopped), V(rolled_back) or V(absent).
    type: dict
"""

    # What is taken over from the declaration, and what is added.
    DERIVED = r"""
options:
  mappings:
    description:
      - Files and directories of the host that the container sees, each a mapping of C(source), C(target), C(writable)
        and C(required), or a text, V(SOURCE) or V(SOURCE=TARGET), which is read-only.
      - A target may not be, contain, or lie in what a container needs, such as C(/proc), C(/run) itself, or the store.
      - The source of a writable one may not be, contain, or lie in what the host runs, such as C(/var/lib/unshare).
    type: list
    elements: raw
    default: []
  extra_file_systems:
    description: File systems that the container mounts besides those of the declaration, with the same keys.
    type: list
    elements: dict
    default: []
  keep_services:
    description: Types of services that stay although they are made for real machines.
    type: list
    elements: str
    default: []
"""

    NETWORK = r"""
options:
  shared_network:
    description: Whether the container uses the host's network instead of one of its own.
    type: bool
    default: false
"""

    STORE = r"""
options:
  store:
    description:
      - The directory that holds the container's software, as a path, as V(SOURCE=TARGET) or as a mapping of C(source)
        and C(target). A path that ends with C(/usr) is seen as C(/usr) inside.
      - A file system of the machine that is mounted at its target is dropped.
    type: raw
    default: /usr
"""

    # How the system is rendered.
    RENDERED = r"""
options:
  private_users:
    description:
      - Which ids of the host the container has, V(auto), V(identity) or a number.
      - V(auto) gives it 65,536 user and group ids of its own, and remembers which.
      - V(identity) makes the container's root the host's root. It is no boundary.
      - A number is the first of the 65,536 ids, a multiple of 65,536.
    type: raw
    default: auto
  init:
    description:
      - The container's first process, V(systemd) or another program.
      - Another one is a mapping of C(argv), which is required, C(environment), C(ready) (V(exec) or V(notify)),
        C(stop_signal) and C(systemd).
    type: raw
    default: systemd
  security:
    description: What differs from the usual confinement.
    type: dict
    default: {}
    suboptions:
      no_new_privileges:
        description: Whether C(su) and its like are forbidden inside.
        type: bool
        default: false
      nesting:
        description:
          - Whether the container can run containers of its own. It gives up the masks over parts of C(/proc) and
            C(/sys), so it is refused where V(identity) makes root inside the host's root.
        type: bool
        default: false
  oom_score_adj:
    description:
      - By how much sooner or later the kernel kills a process of the container when the host's memory ends, from
        V(-1000) (never) to V(1000) (first). PID 1 has this value, and what a systemd as PID 1 starts has 100 more, so
        that PID 1 is the last to be killed. The container's services can have values of their own, none below PID 1's.
    type: int
    default: 0
  log:
    description:
      - What becomes of the container's log when it ends.
      - V(volatile) ends with it, and V(persistent) is kept on the host from one start to the next.
    type: str
    choices: [volatile, persistent]
    default: volatile
"""
