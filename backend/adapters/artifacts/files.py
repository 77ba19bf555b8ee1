"""Artifacts in a folder: written whole or not at all, read only when the hash fits."""

import hashlib
import json
from pathlib import Path
from typing import Any

from backend.files import replace_file


class ArtifactAltered(Exception):
    """The files are not the ones that were registered."""


class ArtifactFiles:
    """Each artifact is a folder `NAME/` of text files with `manifest.json` beside them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, name: str, files: dict[str, str], manifest: dict[str, Any]) -> str:
        """Store an artifact.

        Args:
            name: Folder name, such as a model id.
            files: Content by file name.
            manifest: What is known about the artifact; the files' hashes are added.

        Returns:
            SHA-256 over all files, hexadecimal.
        """
        target = self._folder / name
        target.mkdir(parents=True, exist_ok=True)
        for file_name, content in files.items():
            replace_file(target / file_name, content.encode())
        digest = _digest(files)
        hashes = {n: hashlib.sha256(c.encode()).hexdigest() for n, c in sorted(files.items())}
        whole = {**manifest, "sha256": digest, "files": hashes}
        text = json.dumps(whole, indent=2, sort_keys=True)
        replace_file(target / "manifest.json", text.encode())
        return digest

    def read(self, name: str, *, sha256: str) -> dict[str, str]:
        """The files of an artifact by name.

        Raises:
            FileNotFoundError: If it was never stored here.
            ArtifactAltered: If a file differs from what was stored.
        """
        folder = self._folder / name
        try:
            names = json.loads((folder / "manifest.json").read_text())["files"]
            files = {one: (folder / one).read_text() for one in names}
        except (ValueError, KeyError, TypeError) as error:  # no JSON, no UTF-8, no list of files
            raise ArtifactAltered(name) from error
        if _digest(files) != sha256:
            raise ArtifactAltered(name)
        return files


def _digest(files: dict[str, str]) -> str:
    whole = hashlib.sha256()
    for name, content in sorted(files.items()):
        whole.update(f"{name}\0{len(content)}\0{content}".encode())
    return whole.hexdigest()
