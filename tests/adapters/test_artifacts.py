"""Artifacts: written whole, read only as they were registered."""

import hashlib
import json
from pathlib import Path

import pytest

from backend.adapters.artifacts.files import ArtifactAltered, ArtifactFiles

FILES = {"mean.txt": "tree=1\n", "p90.txt": "größer\n"}


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    artifacts = ArtifactFiles(tmp_path)

    digest = artifacts.write("mdl_1", FILES, {"kind": "demand"})

    assert artifacts.read("mdl_1", sha256=digest) == FILES


def test_the_manifest_holds_the_hash_of_every_file(tmp_path: Path) -> None:
    digest = ArtifactFiles(tmp_path).write("mdl_1", FILES, {"kind": "demand"})

    manifest = json.loads((tmp_path / "mdl_1" / "manifest.json").read_text())
    expected = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in FILES.items()}
    assert manifest == {"kind": "demand", "sha256": digest, "files": expected}


def test_the_hash_depends_on_content_only(tmp_path: Path) -> None:
    turned = dict(reversed(FILES.items()))

    first = ArtifactFiles(tmp_path).write("a", FILES, {"kind": "demand"})
    second = ArtifactFiles(tmp_path).write("b", turned, {"kind": "other"})
    third = ArtifactFiles(tmp_path).write("c", {**FILES, "mean.txt": "tree=2\n"}, {})

    assert first == second != third


@pytest.mark.parametrize("change", ["tree=2\n", "tree=1\n\n", ""])
def test_an_altered_file_is_refused(tmp_path: Path, change: str) -> None:
    artifacts = ArtifactFiles(tmp_path)
    digest = artifacts.write("mdl_1", FILES, {})
    (tmp_path / "mdl_1" / "mean.txt").write_text(change)

    with pytest.raises(ArtifactAltered):
        artifacts.read("mdl_1", sha256=digest)


def test_moving_text_between_files_is_refused(tmp_path: Path) -> None:
    artifacts = ArtifactFiles(tmp_path)
    digest = artifacts.write("mdl_1", {"a": "12", "b": "3"}, {})
    (tmp_path / "mdl_1" / "a").write_text("1")
    (tmp_path / "mdl_1" / "b").write_text("23")

    with pytest.raises(ArtifactAltered):
        artifacts.read("mdl_1", sha256=digest)


def test_a_file_taken_out_of_the_manifest_is_missed(tmp_path: Path) -> None:
    artifacts = ArtifactFiles(tmp_path)
    digest = artifacts.write("mdl_1", FILES, {})
    manifest = tmp_path / "mdl_1" / "manifest.json"
    known = json.loads(manifest.read_text())
    del known["files"]["p90.txt"]
    manifest.write_text(json.dumps(known))

    with pytest.raises(ArtifactAltered):
        artifacts.read("mdl_1", sha256=digest)


def test_what_was_never_written_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ArtifactFiles(tmp_path).read("mdl_1", sha256="0" * 64)


def test_writing_leaves_no_half_files(tmp_path: Path) -> None:
    ArtifactFiles(tmp_path).write("mdl_1", FILES, {})

    names = sorted(path.name for path in (tmp_path / "mdl_1").iterdir())
    assert names == ["manifest.json", "mean.txt", "p90.txt"]
