# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""T3: an archive is fetched by its URL, and held to its checksum before anything of it is read."""

from __future__ import annotations

import functools
import hashlib
import http.server
import threading
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.state.target import TargetError
from ansible_collections.unshare.container.plugins.module_utils.trees import fetching

from .small_trees import archive, directory, left, making, member


class Server(http.server.SimpleHTTPRequestHandler):
    """A server of files; it cuts off what is called so."""

    def do_GET(self) -> None:
        if self.path != "/cut":
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Length", "100000")
        self.end_headers()
        self.wfile.write(b"x" * 100)

    def log_message(self, *_words: t.Any) -> None:
        """Say nothing."""


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[str]:
    """Yield the URL of a directory of files."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "served").mkdir()
    handler = functools.partial(Server, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_t3_a_tree_is_fetched_and_held_to_its_checksum(tmp_path: Path, url: str) -> None:
    path = archive(tmp_path / "served/a.tar.xz", directory("usr"), member("usr/f", b"x"), mode="w:xz")
    digest = hashlib.sha512(path.read_bytes()).hexdigest()
    given = {"url": f"{url}/a.tar.xz", "checksum": f"sha512:{digest.upper()}"}
    made = making(tmp_path / "root", "archive", given).reach("present")
    assert (Path(made["root"]) / "usr/f").read_text() == "x"
    assert not making(tmp_path / "root", "archive", given).reach("present")["changed"]
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(TargetError, match="has the checksum sha512:.* or was exchanged; nothing was changed"):
        making(tmp_path / "root", "archive", given).reach("latest")


@pytest.mark.parametrize(
    ("name", "said"),
    [("missing", "cannot be fetched: 404"), ("cut", "cannot be fetched|cut off, or was exchanged")],
)
def test_t3_what_cannot_be_fetched_leaves_nothing(tmp_path: Path, url: str, name: str, said: str) -> None:
    given = {"url": f"{url}/{name}", "checksum": "sha256:" + "0" * 64}
    with pytest.raises(TargetError, match=said):
        making(tmp_path / "root", "archive", given).reach("present")
    assert left(tmp_path / "root") == []


def test_t3_a_file_without_an_end_is_refused(tmp_path: Path, url: str) -> None:
    (tmp_path / "served/a").write_bytes(bytes(1 << 20))
    given = {"url": f"{url}/a", "checksum": "sha256:" + "0" * 64}
    with pytest.raises(TargetError, match="is larger than 1000 bytes: set size_limit"):
        making(tmp_path / "root", "archive", given, limit=1000).reach("present")
    assert left(tmp_path / "root") == []


def test_t3_nobody_there_is_said(tmp_path: Path, url: str) -> None:
    given = {"url": "http://127.0.0.1:9/a", "checksum": "sha256:" + "0" * 64}
    with pytest.raises(TargetError, match="archive.url: http://127.0.0.1:9/a cannot be fetched: "):
        making(tmp_path / "root", "archive", given).reach("present")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:secret@example.org/a.tar?token=secret", "https://example.org/a.tar"),
        ("https://example.org/a@b", "https://example.org/a@b"),
    ],
)
def test_t3_no_message_has_a_password(url: str, shown: str) -> None:
    assert fetching.without_password(url) == shown


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://", "data:,x", "http://a b/", "http://[x/"])
def test_t3_a_url_of_no_use_is_refused(url: str) -> None:
    with pytest.raises(TargetError, match=r"archive\.url: .* is no URL"):
        fetching.check_url(url, "archive.url")
