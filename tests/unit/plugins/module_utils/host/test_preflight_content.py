# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Time zones, locales and rules of sudo that are none are errors, and not a container with others."""

from __future__ import annotations

import os
import shutil
import struct
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host import preflight_content
from ansible_collections.unshare.container.plugins.module_utils.host.preflight_content import (
    ARCHIVE_MAGIC,
    RSYSLOGD,
    VISUDO,
    Content,
    check_rsyslog,
    check_sudoers,
    plain_locale,
)
from ansible_collections.unshare.container.plugins.module_utils.host.store import StoreView
from ansible_collections.unshare.container.plugins.module_utils.state.system_content import SystemFile

from ..specifications import specification

STORE = {"device": "/usr", "mount_point": "/usr", "type": "none", "flags": ["bind-mount", "read-only"]}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for directory in ("usr/share/zoneinfo/Europe", "usr/lib/locale/C.utf8", "usr/share/i18n", "usr/share/locale"):
        (tmp_path / directory).mkdir(parents=True)
    for zone in ("Europe/Berlin", "UTC"):
        (tmp_path / "usr/share/zoneinfo" / zone).write_bytes(b"TZif2 and more")
    (tmp_path / "usr/share/zoneinfo/Link").symlink_to("Europe/Berlin")
    (tmp_path / "usr/share/zoneinfo/zone.tab").write_text("# a table\n")
    (tmp_path / "usr/lib/locale/it_IT.utf8").mkdir()
    names = b"de_DE.utf8\0de_DE@euro\0deutsch\0"
    (tmp_path / "usr/lib/locale/locale-archive").write_bytes(
        struct.pack("=8I", ARCHIVE_MAGIC, 1, 56, 1, 2, 32, len(names), len(names)) + names
    )
    (tmp_path / "usr/share/i18n/SUPPORTED").write_text("ab_CD.UTF-8 UTF-8\nef_GH ISO-8859-1\n")
    (tmp_path / "usr/share/locale/locale.alias").write_text("# comment\nnorwegian\tnb_NO.ISO-8859-1\n")
    return tmp_path


def content(root: Path, zone: str = "UTC", locale: str = "C.UTF-8") -> Content:
    entries: dict[str, dict[str, t.Any]] = {
        "/etc/localtime": {"link": f"../usr/share/zoneinfo/{zone}"},
        "/etc/locale.conf": {"content": f"LANG={locale}\n"},
    }
    files = {path: SystemFile(path, entry) for path, entry in entries.items()}
    records = {path: file.record().write() for path, file in files.items()}
    return Content(StoreView(specification(file_systems=[STORE], files=records), root), files)


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Link"])
def test_a_time_zone(root: Path, zone: str) -> None:
    assert content(root, zone).problems() == []
    assert content(root, zone).warnings() == []


@pytest.mark.parametrize("zone", ["Mars/Olympus", "Europe", "zone.tab", "Europe/berlin", "Europe/Berlin/x"])
def test_cases_n2_no_time_zone(root: Path, zone: str) -> None:
    (said,) = content(root, zone).problems()
    assert said.startswith(f"operating_system.timezone: '{zone}' is no time zone")


def test_a_store_without_time_zones(root: Path) -> None:
    (root / "usr/share/zoneinfo").rename(root / "away")
    assert content(root, "Mars/Olympus").problems() == []
    assert "install the package tzdata" in content(root, "Mars/Olympus").warnings()[0]
    assert content(root, "Etc/UTC").warnings() == []


@pytest.mark.parametrize(
    "locale",
    [
        *("C", "POSIX", "C.UTF-8", "C.utf8", "de_DE.UTF-8", "de_DE.utf8", "de_DE@euro", "it_IT.UTF-8", "norwegian"),
        "deutsch",
    ],
)
def test_a_locale(root: Path, locale: str) -> None:
    assert content(root, locale=locale).problems() == []
    assert content(root, locale=locale).warnings() == []


@pytest.mark.parametrize("locale", ["xx_YY", "xx_YY.UTF-8", "C.UTF-9", "utf8", "de-DE", "locale-archive.UTF-8"])
def test_cases_n2_no_locale(root: Path, locale: str) -> None:
    (said,) = content(root, locale=locale).problems()
    assert said.startswith(f"operating_system.locale: '{locale}' is no locale of the store")


@pytest.mark.parametrize("locale", ["ab_CD.UTF-8", "ab_CD.utf8", "ef_GH", "fr_FR.UTF-8", "sv_SE", "ca_ES@valencia"])
def test_a_locale_that_was_not_generated(root: Path, locale: str) -> None:
    assert content(root, locale=locale).problems() == []
    assert "was not generated on this host" in content(root, locale=locale).warnings()[0]


@pytest.mark.parametrize("text", [b"", b"short", b"\0" * 200])
def test_an_archive_that_is_none(root: Path, text: bytes) -> None:
    (root / "usr/lib/locale/locale-archive").write_bytes(text)
    assert "xx_YY" in content(root, locale="xx_YY").problems()[0]
    os.unlink(root / "usr/lib/locale/locale-archive")
    os.mkfifo(root / "usr/lib/locale/locale-archive")
    assert "xx_YY" in content(root, locale="xx_YY").problems()[0]


def test_names_of_character_sets_are_compared_plainly() -> None:
    assert plain_locale("de_DE.UTF-8") == plain_locale("de_DE.utf8") == "de_DE.utf8"
    assert plain_locale("de_DE.ISO-8859-15@euro") == "de_DE.iso885915@euro"
    assert plain_locale("de_DE@euro") == "de_DE@euro"


NEEDS_VISUDO = pytest.mark.skipif(not os.access(VISUDO, os.X_OK), reason="sudo is not installed")


@NEEDS_VISUDO
@pytest.mark.parametrize(
    "text", ["garbage line", "root ALL=(ALL", "Defaults env_rest=!", "root ALL=(ALL:ALL) ALL\n%x y z secret"]
)
def test_cases_n2_no_rules_of_sudo(text: str) -> None:
    said = check_sudoers(text.encode())
    assert said.startswith("line ") or "unknown" in said
    assert "secret" not in said


@NEEDS_VISUDO
@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing",
        "root ALL=(ALL:ALL) ALL\n",
        "@include /etc/nosuch\n@includedir /etc/nosuch.d\nroot ALL=(ALL) ALL\n",
    ],
)
def test_rules_of_sudo(text: str) -> None:
    assert check_sudoers(text.encode()) == ""


def test_only_the_hosts_own_visudo_is_run(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_arguments: object, **_options: object) -> t.NoReturn:
        raise AssertionError("a program was run")

    monkeypatch.setattr(preflight_content.subprocess, "run", run)
    paths = ("/etc/sudoers", "/etc/rsyslog.conf")
    files = {path: SystemFile(path, {"content": "garbage { line"}) for path in paths}
    view = StoreView(specification(store={"source": "/srv/tree/usr", "target": "/usr"}))
    assert Content(view, files).problems() == []
    assert Content(StoreView(specification(), root), files).problems() == []


@NEEDS_VISUDO
def test_every_file_of_rules_is_looked_at() -> None:
    assert shutil.which("visudo")
    files = {
        path: SystemFile(path, {"content": "garbage line"}) for path in ("/etc/sudoers", "/etc/sudoers.d/x", "/etc/x")
    }
    said = Content(StoreView(specification()), files).problems()
    assert [text.partition(":")[0] for text in said] == ["operating_system.sudoers", "/etc/sudoers.d/x"]


NEEDS_RSYSLOG = pytest.mark.skipif(not os.access(RSYSLOGD, os.X_OK), reason="rsyslog is not installed")
HEAD = 'module(load="imuxsock" SysSock.Use="on") # ) (\nglobal(workDirectory="/nosuch")\n'


@NEEDS_RSYSLOG
@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("nosuch { syntax\n", 1),
        ("*.* /x\n}\n", 2),
        (HEAD + "if then x\n", 3),
        (HEAD + '*.* action(type="omfile" file="/x"\n', 4),
        ('module(\n  load="im)x"\n)\n$IncludeConfig /etc/x/*\ninclude(\nfile="/x")\nnosuch {\n', 7),
    ],
)
def test_no_configuration_of_rsyslog(text: str, line: int) -> None:
    assert check_rsyslog(text.encode()) == f"line {line}: syntax error"


@NEEDS_RSYSLOG
@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n",
        HEAD + "*.*;auth,authpriv.none -/var/log/syslog\n",
        "*.* @nosuchhost:514\n*.* @@(o)h:1\n",
        "$IncludeConfig /etc/nosuch.d/*.conf\n$ModLoad imtcp\n$InputTCPServerRun 514\n*.* /x\n",
        'include(file="/etc/nosuch.conf")\nif $msg contains "x" then { include(file="/nosuch") }\n*.* /x\n',
        'module(load="imtcp")\ninput(type="imtcp" port="514" ruleset="r")\nruleset(name="r") {\n*.* /x\n}\n',
        '*.* action(type="omfile" file="/nosuch/x" fileOwner="nosuchuser")\n$FileOwner nosuch\n',
        '*.* action(type="omprog" binary="/bin/false")\n:msg, contains, "error" /x\n& stop\n',
        'template(name="t" type="list") { property(name="msg") constant(value="(\\n") }\n*.* /x;t\n',
        'lookup_table(name="x" file="/nosuch")\nset $.y = lookup("x", $msg);\n',
    ],
)
def test_a_configuration_of_rsyslog(text: str) -> None:
    """Its modules, its accounts and the files that it names are the container's."""
    assert check_rsyslog(text.encode()) == ""


@pytest.mark.parametrize(
    "text", ['module(load="/srv/x.so")', "$ModLoad /srv/x.so", "$modload x", 'MODULE (\nload="/srv/x.so" a="\\")")']
)
@pytest.mark.parametrize("rest", ["", "\nx {\n", '\n"module(load=/srv/x.so'])
def test_no_module_of_a_container_is_loaded(text: str, rest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[bytes] = []

    def said(_command: list[str], text: bytes) -> tuple[int, str]:
        given.append(text)
        return 0, ""

    monkeypatch.setattr(preflight_content, "_said", said)
    check_rsyslog((text + rest).encode())
    assert b"/srv/x.so" not in b"".join(given)
    assert not any(b"load" in each.lower() for each in given)


@NEEDS_RSYSLOG
def test_the_configuration_of_rsyslog_in_a_system() -> None:
    files = {path: SystemFile(path, {"content": "x {\n"}) for path in ("/etc/rsyslog.conf", "/etc/rsyslog.d/x")}
    said = Content(StoreView(specification()), files).problems()
    assert said == ["/etc/rsyslog.conf: rsyslogd does not take this configuration: line 1: syntax error"]
