# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""PAM services that use only modules of every base system."""

from __future__ import annotations

_UNIX = """account  required  pam_nologin.so
account  required  pam_unix.so
password required  pam_unix.so sha512 shadow
session  required  pam_env.so
session  required  pam_unix.so
"""
_LOGIND = "-session optional pam_systemd.so\n"
_HEAD = "#%PAM-1.0\n"
_PASSWORD = "auth     required  pam_unix.so\n"
_ROOT = "auth     sufficient pam_rootok.so\n"
_ACCOUNT = """account  required  pam_unix.so
session  required  pam_env.so
session  required  pam_unix.so
"""
_OTHER = """auth     required  pam_deny.so
account  required  pam_deny.so
password required  pam_deny.so
session  required  pam_deny.so
"""
_PASSWD = """auth     required  pam_unix.so
account  required  pam_unix.so
password required  pam_unix.so sha512 shadow
"""


def services(*, login: bool) -> dict[str, str]:
    """Return the text of each PAM service; with LOGIN, sessions are registered with logind where its module exists."""
    session = _LOGIND if login else ""
    return {
        "other": _HEAD + _OTHER,
        "login": _HEAD + _PASSWORD + _UNIX + session,
        "sshd": _HEAD + _PASSWORD + _UNIX + session,
        "su": _HEAD + _ROOT + _PASSWORD + _ACCOUNT,
        "su-l": _HEAD + _ROOT + _PASSWORD + _ACCOUNT + session,
        "runuser": _HEAD + _ROOT + "session  required  pam_unix.so\n",
        "runuser-l": _HEAD + _ROOT + "session  required  pam_env.so\nsession  required  pam_unix.so\n" + session,
        "sudo": _HEAD + _PASSWORD + _ACCOUNT,
        "sudo-i": _HEAD + _PASSWORD + _ACCOUNT,
        "passwd": _HEAD + _PASSWD,
        "chpasswd": _HEAD + _PASSWD,
        "chsh": _HEAD + _ROOT + _PASSWD,
        "chfn": _HEAD + _ROOT + _PASSWD,
        "cron": _HEAD + "auth     required  pam_permit.so\n" + _ACCOUNT,
        "systemd-user": _HEAD + "account  required  pam_unix.so\nsession  required  pam_unix.so\n" + session,
    }
