"""What a participant remembers of masked sums, in a file of its own that nobody else may read.

A sum's secret lies in it, and which rounds' sums the participant has helped to unmask: that it
helps with no second one of a round rests upon this file.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backend.federation.masking import MaskingState
from backend.federation.masking_messages import MaskingRefused
from backend.files import replace_file


class Memory:
    """The memory of one site, replaced whole (mode 0600).

    Args:
        file: Where it is kept; made with the first sum.
        site_id: Whose it is.
    """

    def __init__(self, file: Path, *, site_id: str) -> None:
        self._file, self._site_id = file, site_id

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes and threads from a step meanwhile.

        Two steps that began from the same memory would hide two vectors with the same masks.
        """
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.with_name(f".{self._file.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def read(self) -> bytes | None:
        """What was written last; None before the first sum.

        Raises:
            MaskingRefused: If the file is no memory, or another site's.
        """
        if not self._file.exists():
            return None
        try:
            data = self._file.read_bytes()
            name = MaskingState.from_bytes(data).name
        except (OSError, ValueError, TypeError, KeyError) as error:
            # Beginning anew would forget what was given out.
            raise MaskingRefused(f"{self._file} is no memory of masked sums") from error
        if name != self._site_id:
            raise MaskingRefused(f"{self._file} is the memory of {name}")
        return data

    def write(self, data: bytes) -> None:
        """Keep what is to be remembered; it is on the disk when this returns."""
        replace_file(self._file, data)
