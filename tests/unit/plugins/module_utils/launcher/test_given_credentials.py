# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Credentials that the host keeps: where they are looked for, what is refused, and what is said before a start."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host import preflight
from ansible_collections.unshare.container.plugins.module_utils.host.facts import HostFacts
from ansible_collections.unshare.container.plugins.module_utils.launcher import credentials
from ansible_collections.unshare.container.plugins.module_utils.launcher.contract import Specification
from ansible_collections.unshare.container.plugins.module_utils.launcher.kinds import ContractError
from ansible_collections.unshare.container.plugins.module_utils.launcher.needs import Credential

from ..specifications import SMALL

TOOL = """#!/bin/sh
case $1,$2,$3,$4 in
decrypt,--name=broken,-,-) echo some words >&2; echo the reason >&2; exit 1;;
decrypt,--name=large,-,-) head -c 1048577 /dev/zero;;
decrypt,--name=*,-,-) echo -n "${2#--name=} of "; cat;;
*) exit 2;;
esac
"""


@pytest.fixture(autouse=True)
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have a systemd-creds that decrypts by saying so."""
    path = tmp_path / "systemd-creds"
    path.write_text(TOOL)
    path.chmod(0o755)
    monkeypatch.setattr(credentials, "TOOLS", (str(tmp_path / "none"), str(path)))
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "host"
    root.mkdir()
    return root


def put(root: Path, path: str, content: str = "x") -> None:
    place = root / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(content)


@pytest.mark.parametrize("store", credentials.STORES)
@pytest.mark.parametrize("source", ["stored", "encrypted"])
def test_each_store_is_looked_into(root: Path, store: str, source: str) -> None:
    suffix = ".encrypted" if source == "encrypted" else ""
    put(root, f"{store}{suffix}/web", "content")
    found = credentials.of_host(Credential(name="token", source=source, place="web"), str(root))
    assert found == (b"web of content" if suffix else b"content")


def test_the_administrators_store_comes_first(root: Path) -> None:
    for store in credentials.STORES:
        put(root, f"{store}/web", store)
    for store in credentials.STORES:
        assert credentials.of_host(Credential(name="t", source="stored", place="web"), str(root)) == store.encode()
        (root / store.lstrip("/") / "web").unlink()


@pytest.mark.parametrize(
    ("source", "place", "error", "said"),
    [
        ("path", "/etc/none", credentials.MissingCredential, "/etc/none does not exist on this host"),
        ("path", "/etc/file/x", credentials.MissingCredential, "/etc/file/x does not exist on this host"),
        ("path", "/etc/link", credentials.NoCredential, "/etc/link passes through a symbolic link"),
        ("path", "/etc/way/file", credentials.NoCredential, "/etc/way/file passes through a symbolic link"),
        ("path", "/etc", credentials.NoCredential, "/etc is no regular file"),
        ("path", "/etc/pipe", credentials.NoCredential, "/etc/pipe is no regular file"),
        ("path", "/etc/large", credentials.NoCredential, "/etc/large is larger than 1048576 bytes"),
        (
            "stored",
            "none",
            credentials.MissingCredential,
            "this host has no 'none' in /etc/credstore or /run/credstore",
        ),
        ("encrypted", "none", credentials.MissingCredential, "this host has no 'none' in /etc/credstore.encrypted or "),
        ("encrypted", "broken", credentials.NoCredential, "cannot decrypt 'broken' on this host: the reason"),
        ("encrypted", "large", credentials.NoCredential, "is larger than 1048576 bytes"),
    ],
)
def test_what_cannot_be_had(root: Path, source: str, place: str, error: type[Exception], said: str) -> None:
    put(root, "/etc/file")
    put(root, "/etc/large", "x" * (credentials.LARGEST + 1))
    for name in ("broken", "large"):
        put(root, f"/etc/credstore.encrypted/{name}")
    (root / "etc/link").symlink_to("file")
    (root / "etc/way").symlink_to(".")
    os.mkfifo(root / "etc/pipe")
    with pytest.raises(credentials.NoCredential, match=r"^credentials\.token: ") as caught:
        credentials.of_host(Credential(name="token", source=source, place=place), str(root))
    assert said in str(caught.value)
    assert type(caught.value) is error


def test_a_host_without_the_tool(root: Path, tool: Path) -> None:
    put(root, "/etc/credstore.encrypted/web")
    tool.unlink()
    with pytest.raises(credentials.NoCredential, match=r"^credentials.token: this host has no systemd-creds"):
        credentials.of_host(Credential(name="token", source="encrypted", place="web"), str(root))


def test_a_tool_that_does_not_answer(root: Path, tool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(root, "/etc/credstore.encrypted/web")
    monkeypatch.setattr(credentials, "TIMEOUT", 0.05)
    tool.write_text("#!/bin/sh\nread -r line\nexec sleep infinity\n")
    with pytest.raises(credentials.NoCredential, match=r"^credentials.token: systemd-creds: TimeoutExpired$"):
        credentials.of_host(Credential(name="token", source="encrypted", place="web"), str(root))


def specification(*wanted: dict[str, t.Any]) -> Specification:
    return Specification.read({**SMALL, "credentials": list(wanted)})


def test_all_of_a_container(root: Path, tmp_path: Path) -> None:
    put(root, "/srv/file", "of the host")
    put(tmp_path, "system/root/run/host/credentials/own", "of the system")
    wanted = specification({"name": "own"}, {"name": "file", "source": "path", "place": "/srv/file"})
    found = credentials.read_all(wanted, str(tmp_path / "system"), str(root))
    assert found == {"own": b"of the system", "file": b"of the host"}
    put(root, "/srv/file", "x" * (credentials.LARGEST - 12))
    with pytest.raises(credentials.NoCredential, match="credentials: they have 1048577 bytes together, and may have"):
        credentials.read_all(wanted, str(tmp_path / "system"), str(root))


def test_what_a_host_says_before_anything_changes(root: Path) -> None:
    put(root, "/etc/credstore.encrypted/broken")
    wanted = specification(
        {"name": "own"},
        {"name": "file", "source": "path", "place": "/srv/file"},
        {"name": "sealed", "source": "encrypted", "place": "broken"},
    )
    missing = "credentials.file: /srv/file does not exist on this host"
    host = HostFacts(root)
    assert missing in preflight.missing_sources(host, wanted)
    said = [problem for problem in preflight.problems(host, wanted) if problem.startswith("credentials")]
    assert said == ["credentials.sealed: systemd-creds cannot decrypt 'broken' on this host: the reason"]
    put(root, "/srv/file")
    assert missing not in preflight.missing_sources(host, wanted)


@pytest.mark.parametrize(
    ("credential", "said"),
    [
        ({"name": "a/b"}, r"^credentials\[0\]\.name: 'a/b' is no name of a credential"),
        ({"name": "."}, r"^credentials\[0\]\.name: '\.' is no name"),
        ({"name": "a", "source": "tpm"}, r"^credentials\[0\]\.source: is neither 'system' nor"),
        ({"name": "a", "source": "path", "place": "x"}, r"^credentials\[0\]\.place: 'x' is no absolute path"),
        ({"name": "a", "source": "path"}, r"^credentials\[0\]\.place: is empty"),
        ({"name": "a", "source": "stored", "place": "x/y"}, r"^credentials\[0\]\.place: 'x/y' is no name"),
    ],
)
def test_what_is_no_credential(credential: dict[str, t.Any], said: str) -> None:
    with pytest.raises(ContractError, match=said):
        specification(credential)
