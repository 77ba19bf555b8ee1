"""Files that are replaced whole, and stay replaced."""

import os
import stat
from pathlib import Path

import pytest

from backend.files import replace_file


def test_content_and_then_the_name_are_on_the_disk_before_anybody_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, flushed, flush = tmp_path / "kept.json", list[tuple[bool, bytes]](), os.fsync

    def _noted(handle: int) -> None:
        flush(handle)
        flushed.append((stat.S_ISDIR(os.fstat(handle).st_mode), file.read_bytes()))

    file.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", _noted)

    replace_file(file, b"new")

    assert flushed == [(False, b"old"), (True, b"new")]
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"new", 0o600)
    assert [one.name for one in tmp_path.iterdir()] == ["kept.json"]
