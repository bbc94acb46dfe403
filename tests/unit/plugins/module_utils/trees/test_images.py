# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""T2: images, an OCI layout or what `docker save` writes: layers in order, whiteouts honoured, digests checked."""

from __future__ import annotations

import gzip
import hashlib
import json
import platform
import tarfile
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.state.target import TargetError
from ansible_collections.unshare.container.plugins.module_utils.trees import archives, images
from ansible_collections.unshare.container.plugins.module_utils.trees.images import ARCHITECTURES

from .small_trees import archive, directory, left, make_tree, making, member

Members = t.Sequence[tuple[tarfile.TarInfo, bytes]]

HERE = ARCHITECTURES.get(platform.machine(), platform.machine())
LINK = {"type": tarfile.SYMTYPE}
LOWER = (
    directory("usr"),
    directory("usr/share"),
    member("usr/share/kept", b"lower"),
    member("usr/share/gone", b"lower"),
    member("usr/share/replaced", b"lower"),
    directory("usr/hidden"),
    member("usr/hidden/lower", b"lower"),
    directory("usr/hidden/deep"),
    member("usr/hidden/deep/lower", b"lower"),
    directory("usr/dir"),
    member("usr/dir/file", b"lower"),
    directory("etc"),
)
UPPER = (
    member("usr/share/.wh.gone"),
    member("usr/share/.wh.never"),
    member("usr/share/replaced", b"upper"),
    directory("usr/hidden"),
    directory("usr/hidden/deep"),
    member("usr/hidden/deep/upper", b"upper"),
    member("usr/hidden/.wh..wh..opq"),
    member("usr/.wh.dir"),
    member("usr/new", b"upper"),
)
EXPECTED = {
    "etc": None,
    "usr": None,
    "usr/hidden": None,
    "usr/hidden/deep": None,
    "usr/hidden/deep/upper": b"upper",
    "usr/new": b"upper",
    "usr/share": None,
    "usr/share/kept": b"lower",
    "usr/share/replaced": b"upper",
}


def digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


class Layout:
    """An OCI layout in a directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "blobs/sha256").mkdir(parents=True)
        (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def blob(self, content: bytes) -> dict[str, t.Any]:
        """Write a blob, and return its descriptor."""
        named = digest(content)
        self.file(named).write_bytes(content)
        return {"digest": named, "size": len(content)}

    def file(self, named: str) -> Path:
        return self.path / "blobs/sha256" / named.partition(":")[2]

    def image(self, *layers: Members, name: str = "latest", architecture: str = HERE) -> dict[str, t.Any]:
        """Write an image of some layers, and return the descriptor of its manifest."""
        found, diffs = [], []
        for number, members in enumerate(layers):
            plain = archive(self.path / "layer", *members).read_bytes()
            (self.path / "layer").unlink()
            diffs.append(digest(plain))
            found.append(self.blob(gzip.compress(plain, mtime=0) if number % 2 == 0 else plain))
        config = self.blob(json.dumps({"rootfs": {"type": "layers", "diff_ids": diffs}}).encode())
        manifest = self.blob(json.dumps({"schemaVersion": 2, "config": config, "layers": found}).encode())
        platform = {"architecture": architecture, "os": "linux"}
        return {**manifest, "annotations": {"org.opencontainers.image.ref.name": name}, "platform": platform}

    def index(self, *manifests: dict[str, t.Any]) -> Layout:
        (self.path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": manifests}))
        return self


def content(root: str) -> dict[str, bytes | None]:
    tree = Path(root)
    return {str(p.relative_to(tree)): None if p.is_dir() else p.read_bytes() for p in sorted(tree.rglob("*"))}


def reached(tmp_path: Path, path: Path, **given: t.Any) -> dict[str, t.Any]:
    return making(tmp_path / "root", "image", {"path": str(path), **given}).reach("present")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "image")


def save(tmp_path: Path, *layers: Members) -> Path:
    """Write an image as `docker save` did for long, and return its file."""
    directory_of = tmp_path / "saved"
    directory_of.mkdir()
    names, diffs = [], []
    for number, members in enumerate(layers):
        (directory_of / str(number)).mkdir()
        path = archive(directory_of / str(number) / "layer.tar", *members)
        names.append(f"{number}/layer.tar")
        diffs.append(digest(path.read_bytes()))
    config = json.dumps({"rootfs": {"diff_ids": diffs}}).encode()
    name = digest(config).partition(":")[2] + ".json"
    (directory_of / name).write_bytes(config)
    entry = {"Config": name, "RepoTags": ["base:1"], "Layers": names}
    (directory_of / "manifest.json").write_text(json.dumps([entry]))
    with tarfile.open(tmp_path / "saved.tar", "w") as tar:
        for each in sorted(directory_of.iterdir()):
            tar.add(each, arcname=each.name)
    return tmp_path / "saved.tar"


def test_t2_layers_are_applied_and_whiteouts_are_honoured(tmp_path: Path, layout: Layout) -> None:
    """An opaque directory keeps what its own layer has, though that comes before the whiteout."""
    layout.index(layout.image(LOWER, UPPER))
    assert content(reached(tmp_path, layout.path)["root"]) == EXPECTED


def test_t2_a_directory_takes_the_place_of_a_link_or_a_file(tmp_path: Path, layout: Layout) -> None:
    """A layer has an opaque whiteout then, of what was below no directory."""
    lower = [*LOWER, member("usr/link", linkname="share", **LINK), member("usr/file", b"lower")]
    upper = [directory("usr/link"), member("usr/link/.wh..wh..opq"), member("usr/link/.wh.kept")]
    upper += [directory("usr/file"), member("usr/file/.wh..wh..opq"), member("usr/file/new", b"upper")]
    layout.index(layout.image(lower, upper))
    found = content(reached(tmp_path, layout.path)["root"])
    below = {name: text for name, text in found.items() if name.startswith(("usr/link", "usr/file"))}
    assert below == {"usr/link": None, "usr/file": None, "usr/file/new": b"upper"}
    assert found["usr/share/kept"] == b"lower"


def test_t2_layers_are_bounded_together(tmp_path: Path, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """One small file may be a thousand layers, each of which unpacks to much, and leaves nothing in the tree."""
    monkeypatch.setattr(archives, "BEYOND", 1 << 20)
    much = (member("usr/.wh.gone", bytes(1 << 19)),)
    layout.index(layout.image(LOWER, *[much] * 10))
    assert reached(tmp_path, layout.path)["changed"]
    layout.index(layout.image(LOWER, *[much] * 40))
    with pytest.raises(TargetError, match=r"its layer .*: it unpacks to more than \d+ bytes"):
        reached(tmp_path, layout.path, reference="latest")


def test_t2_an_archive_of_an_image_is_the_same_tree(tmp_path: Path, layout: Layout) -> None:
    layout.index(layout.image(LOWER, UPPER))
    with tarfile.open(tmp_path / "image.tar.gz", "w:gz") as tar:
        tar.add(layout.path, arcname=".")
    of_directory = reached(tmp_path, layout.path)
    of_archive = reached(tmp_path, tmp_path / "image.tar.gz")
    assert of_archive["content"] == of_directory["content"]
    saved = reached(tmp_path, save(tmp_path, LOWER, UPPER), reference="base:1")
    assert saved["content"] == of_directory["content"]


def test_t2_one_of_several_images_is_chosen(tmp_path: Path, layout: Layout) -> None:
    one, two = layout.image(LOWER, name="one"), layout.image(LOWER, UPPER, name="two")
    other = layout.image(LOWER, UPPER, name="one", architecture="sparc")
    layout.index(one, two, other)
    assert content(reached(tmp_path, layout.path, reference="two")["root"]) == EXPECTED
    assert "usr/new" not in content(reached(tmp_path, layout.path, reference="one")["root"])
    with pytest.raises(TargetError, match="it has several images: name one of one, two"):
        reached(tmp_path, layout.path)
    with pytest.raises(TargetError, match="it has no image 'three' for .*; it has one, two"):
        reached(tmp_path, layout.path, reference="three")


def test_t2_an_index_leads_to_the_image_of_this_machine(tmp_path: Path, layout: Layout) -> None:
    inner = {"manifests": [layout.image(LOWER), layout.image(LOWER, UPPER, architecture="sparc")]}
    layout.index({**layout.blob(json.dumps(inner).encode()), "mediaType": "application/vnd.oci.image.index.v1+json"})
    assert "usr/new" not in content(reached(tmp_path, layout.path)["root"])


BAD: dict[str, tuple[Members, str]] = {
    "of nothing": ([member("usr/.wh.")], "'usr/.wh.' is a whiteout of what no tree has"),
    "of the directory above": ([member("usr/.wh...")], "is a whiteout of what no tree has"),
    "of the directory itself": ([member("usr/.wh..")], "is a whiteout of what no tree has"),
    "of another kind": ([member("usr/.wh..wh.plnk")], "is a whiteout of what no tree has"),
    "that is a directory": ([directory("usr/.wh.share")], "is a whiteout, and a directory"),
    "that is a link": ([member("usr/.wh.share", linkname="/", **LINK)], "is a whiteout, and a link"),
    "with files below": ([member("usr/.wh.share/x")], "lies below '.wh.share', which is a whiteout"),
    "below a link": (
        [member("usr/.wh.dir"), member("usr/dir", linkname="/etc", **LINK), member("usr/dir/.wh.passwd")],
        "",
    ),
    "upward": ([member("../.wh.etc")], "leads upward"),
}


@pytest.mark.parametrize("what", BAD)
def test_t2_a_whiteout_in_the_wrong_place_is_refused(tmp_path: Path, layout: Layout, what: str) -> None:
    members, said = BAD[what]
    if what == "below a link":
        link = [member("usr/dir", linkname="/etc", **LINK)]
        layout.index(layout.image(LOWER, [member("usr/.wh.dir")], link, [member("usr/dir/.wh.passwd")]))
        said = "'usr/dir/.wh.passwd' lies below 'usr/dir', which is a link"
    else:
        layout.index(layout.image(LOWER, members))
    with pytest.raises(TargetError, match=said.replace(".", r"\.")):
        reached(tmp_path, layout.path)
    assert left(tmp_path / "root") == []


@pytest.mark.parametrize("which", ["manifest", "config", "layer", "unpacked", "count", "index", "missing", "no image"])
def test_t2_what_does_not_fit_its_digest_is_refused(tmp_path: Path, layout: Layout, which: str) -> None:
    chosen = layout.image(LOWER, UPPER)
    layout.index(chosen)
    manifest = json.loads(layout.file(chosen["digest"]).read_text())
    expected = "has the checksum"
    if which == "manifest":
        layout.file(chosen["digest"]).write_text("{}")
    elif which == "config":
        layout.file(manifest["config"]["digest"]).write_text("{}")
    elif which == "layer":
        path = layout.file(manifest["layers"][1]["digest"])
        path.write_bytes(path.read_bytes().replace(b"upper", b"UPPER"))
    elif which in ("unpacked", "count"):
        diffs = ["sha256:" + "0" * 64] * (2 if which == "unpacked" else 3)
        manifest["config"] = layout.blob(json.dumps({"rootfs": {"diff_ids": diffs}}).encode())
        layout.index(layout.blob(json.dumps(manifest).encode()))
        expected = "unpacks to sha256:" if which == "unpacked" else "has 2 layers, and its configuration names 3"
    elif which == "index":
        (layout.path / "index.json").write_text("{")
        expected = "'index.json' of the image is no JSON"
    elif which == "missing":
        layout.file(manifest["layers"][0]["digest"]).unlink()
        expected = "of the image cannot be read"
    else:
        layout.index()
        expected = "it has no image None"
    with pytest.raises(TargetError, match=expected):
        reached(tmp_path, layout.path)
    assert left(tmp_path / "root") == []


def test_t2_a_saved_configuration_is_held_to_its_name(tmp_path: Path) -> None:
    path = save(tmp_path, LOWER)
    (config,) = (each for each in (tmp_path / "saved").glob("*.json") if each.name != "manifest.json")
    config.write_text(config.read_text() + " ")
    with tarfile.open(path, "w") as tar:
        for each in sorted((tmp_path / "saved").iterdir()):
            tar.add(each, arcname=each.name)
    with pytest.raises(TargetError, match="has another digest than its name says"):
        reached(tmp_path, path)


def test_t2_documents_that_name_files_outside_get_nothing(tmp_path: Path) -> None:
    """A saved image, whose files are called anything."""
    image = make_tree(tmp_path / "image")
    secret = tmp_path / "secret"
    secret.write_text(json.dumps({"rootfs": {"diff_ids": []}}))
    for config in ("../secret", str(secret)):
        (image / "manifest.json").write_text(json.dumps([{"Config": config, "Layers": []}]))
        with pytest.raises(TargetError, match="leads upward|is an absolute name"):
            reached(tmp_path, image)
    (image / "link").symlink_to(secret)
    (image / "manifest.json").write_text(json.dumps([{"Config": "link", "Layers": []}]))
    with pytest.raises(TargetError, match="'link' of the image cannot be read"):
        reached(tmp_path, image)


@pytest.mark.parametrize("name", ["\ud800", "\x1b[2J", "x" * 100_000])
def test_t1_what_an_image_s_documents_say_is_shown_to_a_person(tmp_path: Path, name: str) -> None:
    """No error of Python's about a name that is no text, and nothing that a terminal would obey, nor fills it."""
    image = tmp_path / "image"
    image.mkdir()
    manifests = [{"annotations": {images.NAME: f"{name}{number}"}} for number in range(100)]
    for document, content in (
        ("manifest.json", [{"Config": name, "Layers": []}]),
        ("manifest.json", [{"Config": "config", "Layers": [name]}]),
        ("index.json", {"manifests": manifests}),
    ):
        (image / "config").write_text(json.dumps({"rootfs": {"diff_ids": ["sha256:0"]}}))
        (image / document).write_text(json.dumps(content))
        with pytest.raises(TargetError) as caught:
            making(tmp_path / "root", "image", {"path": str(image)}).reach("present")
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 5000


def test_t2_a_directory_that_is_no_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="has neither 'index.json', as an OCI layout, nor 'manifest.json', as"):
        reached(tmp_path, make_tree(tmp_path / "image"))
