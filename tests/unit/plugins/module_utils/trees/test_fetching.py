# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""T3: an archive is fetched by its URL, and held to its checksum before anything of it is read."""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import http.server
import os
import resource
import threading
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout, TargetError
from ansible_collections.unshare.container.plugins.module_utils.state.trees import KEPT_FOR, Trees
from ansible_collections.unshare.container.plugins.module_utils.trees import connections, fetching
from ansible_collections.unshare.container.plugins.module_utils.trees.arriving import Arrival

from .small_trees import archive, directory, left, making, member


class Server(http.server.SimpleHTTPRequestHandler):
    """A server of files. Each answer for a file ends after `most` bytes, whatever it has promised.

    Attributes:
        most: bytes of an answer.
        ranges: whether a part of a file can be asked for.
        begins: where each answer has begun in its file.
        credentials: what each request has said in `Authorization`.
        leads_to: the server to which every request but those that come by that name is led.
        spoiled: what it says in place of an answer, before it hangs up.
    """

    most = 1 << 30
    ranges = True
    spoiled: bytes | None = None
    begins: t.ClassVar[list[int]] = []
    credentials: t.ClassVar[list[str | None]] = []
    leads_to: str | None = None

    def do_GET(self) -> None:
        self.credentials.append(self.headers.get("Authorization"))
        if self.leads_to and self.headers["Host"] not in self.leads_to:
            self.send_response(302)
            self.send_header("Location", self.leads_to + self.path)
            self.end_headers()
            return
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            super().do_GET()
            return
        content, begin = path.read_bytes(), 0
        asked = self.headers.get("Range")
        if self.spoiled is not None:
            self.wfile.write(self.spoiled)
            return
        if asked and self.ranges:
            begin = int(asked.removeprefix("bytes=").removesuffix("-"))
            if begin >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.begins.append(begin)
        self.send_header("Content-Length", str(len(content) - begin))
        self.end_headers()
        self.wfile.write(content[begin:][: self.most])

    def log_message(self, *_words: t.Any) -> None:
        """Say nothing."""


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[str]:
    """Yield the URL of a directory of files."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "served").mkdir()
    monkeypatch.setattr(Server, "begins", [])
    monkeypatch.setattr(Server, "credentials", [])
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
        making(tmp_path / "other", "archive", given).reach("present")


@pytest.mark.parametrize(
    ("name", "said"),
    [("missing", "cannot be fetched: 404"), ("other", "cut off, or was exchanged")],
)
def test_t3_what_cannot_be_fetched_leaves_nothing(tmp_path: Path, url: str, name: str, said: str) -> None:
    (tmp_path / "served/other").write_bytes(b"x" * 100)
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


def served(tmp_path: Path) -> bytes:
    """Serve an archive. Return its bytes."""
    return archive(tmp_path / "served/a.tar", directory("usr"), member("usr/f", b"x" * 50_000)).read_bytes()


def given_for(url: str, content: bytes) -> dict[str, t.Any]:
    """Return the options of a tree of the archive that is served."""
    return {"url": f"{url}/a.tar", "checksum": f"sha256:{hashlib.sha256(content).hexdigest()}"}


def test_t3_a_connection_that_is_lost_on_the_way_is_made_again(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = served(tmp_path)
    most = len(content) // 3 + 1
    monkeypatch.setattr(Server, "most", most)
    assert making(tmp_path / "root", "archive", given_for(url, content)).reach("present")["changed"]
    assert Server.begins == [0, most, 2 * most]


@pytest.mark.parametrize("spoiled", [b"", b"no answer\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 200 + b"\r\n"])
def test_t3_what_answers_in_another_way_is_named_and_keeps_what_is_there(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch, spoiled: bytes
) -> None:
    content = served(tmp_path)
    given = given_for(url, content)
    monkeypatch.setattr(fetching, "ATTEMPTS", 1)
    monkeypatch.setattr(Server, "most", 100)
    with pytest.raises(TargetError, match="100 bytes of it are kept"):
        making(tmp_path / "root", "archive", given).reach("present")
    monkeypatch.setattr(Server, "spoiled", spoiled)
    with pytest.raises(TargetError, match="archive.url: http://.* cannot be fetched: .+; 100 bytes of it are kept"):
        making(tmp_path / "root", "archive", given).reach("present")


def test_t3_the_next_run_fetches_what_an_interrupted_one_lacks(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = served(tmp_path)
    given = given_for(url, content)
    monkeypatch.setattr(Server, "most", 1000)
    with pytest.raises(TargetError, match="after 1000 of .*; 5000 bytes of it are kept, and the next run goes"):
        making(tmp_path / "root", "archive", given).reach("present")
    monkeypatch.setattr(Server, "most", 1 << 30)
    Server.begins.clear()
    made = making(tmp_path / "root", "archive", given).reach("present")
    assert Server.begins == [5000]
    assert left(tmp_path / "root") == sorted([made["content"], "names", f"names/{made['name']}.json"])


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("there", [b"wrong", b"wrong" * 50_000])
def test_t3_what_is_there_and_is_of_another_file_is_fetched_anew(
    tmp_path: Path, url: str, there: bytes, ranges: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that sends no parts, or has another file by now, is believed as little as one that does."""
    content = served(tmp_path)
    given = given_for(url, content)
    monkeypatch.setattr(Server, "ranges", ranges)
    arrival = Arrival(Layout(tmp_path / "root").trees, given["checksum"], 1.0)
    with arrival.held() as file:
        file.write(there)
    assert making(tmp_path / "root", "archive", given).reach("present")["changed"]
    assert Server.begins[-1] == 0


def test_t3_what_is_there_whole_is_not_fetched_again(tmp_path: Path, url: str) -> None:
    """Of a run that was killed while it unpacked."""
    content = served(tmp_path)
    given = given_for(url, content)
    with Arrival(Layout(tmp_path / "root").trees, given["checksum"], 1.0).held() as file:
        file.write(content)
    assert making(tmp_path / "root", "archive", given).reach("present")["changed"]
    assert Server.begins == []


def test_t3_what_nobody_goes_on_with_is_removed_after_days(tmp_path: Path) -> None:
    root = tmp_path / "root"
    old, new, held = (Arrival(Layout(root).trees, "sha256:" + digit * 64, 1.0) for digit in "abc")
    for arrival in (old, new, held):
        with arrival.held() as file:
            file.write(b"x")
    for arrival in (old, held):
        for path in (arrival.directory, arrival.directory / "file"):
            os.utime(path, (time.time() - KEPT_FOR - 60,) * 2)
    with held.held():
        Trees(Layout(root)).collect()
    assert left(root) == sorted([new.directory.name, held.directory.name])


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:secret@example.org/a.tar?token=secret", "https://example.org/a.tar"),
        ("https://user:sec@ret@example.org", "https://example.org"),
        ("https://example.org/a@b", "https://example.org/a@b"),
    ],
)
def test_t3_no_message_has_a_password(url: str, shown: str) -> None:
    assert fetching.without_password(url) == shown


def test_t3_a_name_and_password_are_for_that_server_alone(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = given_for(url, served(tmp_path))
    monkeypatch.setattr(Server, "leads_to", url.replace("127.0.0.1", "localhost"))
    given["url"] = given["url"].replace("//", "//user:p%40ss@")
    assert making(tmp_path / "root", "archive", given).reach("present")["changed"]
    assert Server.credentials == ["Basic " + base64.b64encode(b"user:p@ss").decode(), None]


@pytest.mark.parametrize("state", ["present", "latest"])
def test_t3_a_file_that_the_host_has_unpacked_is_not_fetched_from_elsewhere(
    tmp_path: Path, url: str, state: str
) -> None:
    """Its checksum says what it is; a URL may have a token that is another in each run."""
    given = given_for(url, served(tmp_path))
    making(tmp_path / "root", "archive", given).reach("present")
    Server.begins.clear()
    again = {**given, "url": given["url"] + "?token=2", "checksum": given["checksum"].upper().replace("SHA", "sha")}
    assert not making(tmp_path / "root", "archive", again).reach(state)["changed"]
    assert not making(tmp_path / "root", "archive", again, check=True).reach(state)["changed"]
    assert Server.begins == []


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://", "data:,x", "http://a b/", "http://[x/"])
def test_t3_a_url_of_no_use_is_refused(url: str) -> None:
    with pytest.raises(TargetError, match=r"archive\.url: .* is no URL"):
        fetching.check_url(url, "archive.url")


def answering(monkeypatch: pytest.MonkeyPatch, *parts: bytes) -> None:
    """Let the server answer with these bytes, the last of them again and again, until the client has gone."""

    def answer(self: Server) -> None:
        for part in parts:
            self.wfile.write(part)
        with contextlib.suppress(OSError):
            while parts[-1]:
                self.wfile.write(parts[-1])

    monkeypatch.setattr(Server, "do_GET", answer)


OK = b"HTTP/1.1 200 OK\r\n"
ELSEWHERE = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: "
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
ZEROS = bytes(1 << 16)


@pytest.mark.parametrize(
    "parts",
    [
        (OK + b"Content-Length: \xb2\r\n\r\nx", b""),
        (OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\nx", b""),
        (ELSEWHERE + b"http://[\r\n\r\n", b""),
        (ELSEWHERE + b"http://a..b/\r\n\r\n", b""),
        (ELSEWHERE + b"http://127.0.0.1:99999/\r\n\r\n", b""),
        (ELSEWHERE + b"file:///etc/passwd\r\n\r\n", b""),
        (b"HTTP/1.1 404 \x1b[2J\r\n\r\n", b""),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\n\r\n", ZEROS),
        (CHUNKED + b"-1\r\n", ZEROS),
        (CHUNKED + b"-5\r\n", ZEROS),
        (CHUNKED + b"1\r\nx\r\n0\r\n", b"A: b\r\n" * 1000),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 1000,),
    ],
)
def test_t3_no_answer_costs_more_than_an_error(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch, parts: tuple[bytes, ...]
) -> None:
    """None ends in an error of Python's, lasts for ever, or is held in memory whole."""
    answering(monkeypatch, *parts)
    given = {"url": f"{url}/a", "checksum": "sha256:" + "0" * 64}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(TargetError) as caught:
        making(tmp_path / "root", "archive", given, limit=1 << 30).reach("present")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB
    assert str(caught.value).isprintable()


def test_t3_a_server_that_is_all_too_slow_is_given_up(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A byte now and then would keep the run, and all that wait for it, for as long as the server likes."""
    monkeypatch.setattr(connections, "SILENCE", 0.5)
    for beginning in (OK + b"Content-Length: 100000\r\n\r\n", OK + b"X: "):
        came = threading.Event()

        def answer(self: Server, beginning: bytes = beginning, came: threading.Event = came) -> None:
            self.wfile.write(beginning)
            with contextlib.suppress(OSError):
                while not came.wait(0.1):
                    self.wfile.write(b"x")

        monkeypatch.setattr(Server, "do_GET", answer)
        given = {"url": f"{url}/a", "checksum": "sha256:" + "0" * 64}
        with pytest.raises(TargetError, match="which is too slow"):
            making(tmp_path / "root", "archive", given).reach("present")
        came.set()


@pytest.mark.parametrize(("given", "expected"), [("user:p%40ss", "user:p@ss"), ("user:a@b", "user:a@b"), ("", None)])
def test_t3_a_url_s_name_and_password_are_for_its_server_alone(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch, given: str, expected: str | None
) -> None:
    content = served(tmp_path)
    found: list[str | None] = []

    def answer(self: Server) -> None:
        found.append(self.headers.get("Authorization"))
        if self.path == "/first":
            self.send_response(302)
            self.send_header("Location", f"{url}/a.tar")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    monkeypatch.setattr(Server, "do_GET", answer)
    place = f"{url}/first".replace("//", f"//{given}@" if given else "//")
    assert making(tmp_path / "root", "archive", {**given_for(url, content), "url": place}).reach("present")["changed"]
    said = None if expected is None else "Basic " + base64.b64encode(expected.encode()).decode()
    assert found == [said, None]


@pytest.mark.parametrize(
    "url",
    [
        "http://user:topsecret@127.0.0.1:9/x",
        "http://user:top@topsecret@127.0.0.1:9/x",
        "http://user:topsecret@a..b/x",
        "http://user:topsecret@[::1/x",
        "http://user:topsecret@ho\u2100st/x",
        "http://127.0.0.1:9/x?a=\ntopsecret",
        "http://127.0.0.1:9/x?a=\x7ftopsecret",
    ],
)
def test_t3_no_error_of_a_url_has_its_password(tmp_path: Path, url: str) -> None:
    with pytest.raises(TargetError) as caught:
        making(tmp_path, "archive", {"url": url, "checksum": "sha256:" + "0" * 64}).reach("present")
    assert "topsecret" not in str(caught.value)
