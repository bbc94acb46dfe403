# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""System logs beside the journal, which is always there."""

from __future__ import annotations

import typing as t

from ..debian import DEBIAN
from ..service_types import Context, ServiceType, always, daemon
from ..units import Unit
from ..validation import Spec

_SOFTWARE = DEBIAN.of("syslog")
_SYSLOG: Spec = {
    "rules": {
        "type": "list",
        "elements": "str",
        "default": ["*.*;auth,authpriv.none -/var/log/syslog", "auth,authpriv.* /var/log/auth.log"],
    },
    "config": {"type": "str"},
}
_HEAD = """module(load="imuxsock" SysSock.Use="on")
global(workDirectory="/var/spool/rsyslog")
module(load="builtin:omfile" fileOwner="root" fileGroup="adm" fileCreateMode="0640" dirCreateMode="0755")
"""


def _config(value: t.Any, context: Context) -> dict[str, t.Any]:
    text = value["config"] if value["config"] is not None else _HEAD + "\n".join(value["rules"]) + "\n"
    return {"rsyslog.conf": {"content": text}}


def _units(value: t.Any, context: Context) -> list[Unit]:
    service = {
        "Type": "notify",
        "ExecStart": f"{_SOFTWARE.programs['rsyslogd']} -n -iNONE",
        "StandardOutput": "null",
        "Sockets": "syslog.socket",
    }
    unit = {"Requires": "syslog.socket", "After": "syslog.socket"}
    socket = {"ListenDatagram": "/run/systemd/journal/syslog", "SocketMode": "0666", "ReceiveBuffer": "8M"}
    head = {
        "Description": "Socket for what the journal passes on",
        "DefaultDependencies": False,
        "Before": "sockets.target",
    }
    socket["Service"] = "rsyslog.service"
    return [
        daemon("rsyslog", service, description="System log", unit=unit, provision=("rsyslog", "syslogd")),
        Unit("syslog.socket", {"Unit": head, "Socket": socket}, wanted_by=("sockets.target",)),
    ]


TYPES = (
    ServiceType(
        "syslog",
        "rsyslog, fed by the journal.",
        spec=_SYSLOG,
        provision=("rsyslog", "syslogd"),
        software=_SOFTWARE,
        programs=(_SOFTWARE.programs["rsyslogd"],),
        extensions={
            "systemd": _units,
            "etc": _config,
            "activation": always([{"path": "/var/spool/rsyslog", "mode": "0700"}]),
        },
    ),
)
