"""Files that hold what must not be forgotten."""

import os
import tempfile
from pathlib import Path


def replace_file(file: Path, data: bytes) -> None:
    """Put new content in place of the old as a whole, for its owner alone (mode 0600).

    It is on the disk when this returns: whoever is killed meanwhile finds the one or the other.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}")
    with os.fdopen(handle, "wb") as opened:
        opened.write(data)
        opened.flush()
        os.fsync(opened.fileno())
    Path(temporary).replace(file)
    _flush_names(file.parent)


def _flush_names(folder: Path) -> None:
    """Let it survive a power cut that the new content goes by the old name."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
