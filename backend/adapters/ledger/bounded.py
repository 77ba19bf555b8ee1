"""HTTP answers that end: whoever answers, not more than so much, and not longer than so long."""

import io
import time
from typing import Any

from requests import Response, Session

MOST_BYTES = 32_000_000  # receipts of a whole window are less than one
LONGEST_S = 60.0
PIECE_BYTES = 65_536


class AnswerTooLong(Exception):
    """The answer has no end, or comes too slowly."""


class BoundedSession(Session):
    """A session that reads an answer piece by piece and gives up on one that does not end.

    A timeout counts the silence between two bytes alone, so a slow trickle would go on for ever.
    """

    def __init__(self) -> None:
        super().__init__()
        self.headers["Accept-Encoding"] = "identity"  # packed, a little text may be without end

    def send(self, request: Any, **options: Any) -> Response:  # noqa: ANN401 - the library's own
        """Send a request and read its answer.

        Raises:
            AnswerTooLong: If it does not end in time or size.
        """
        until = time.monotonic() + LONGEST_S
        response = super().send(request, **{**options, "stream": True})
        try:
            content = _read(response.raw, until)
        except BaseException:
            response.close()  # what is left of it must not be taken for the next answer
            raise
        response.raw = io.BytesIO(content)
        return response


def _read(raw: Any, until: float) -> bytes:  # noqa: ANN401 - the library's own
    content = bytearray()
    while piece := raw.read1(PIECE_BYTES, decode_content=False):
        content += piece
        if len(content) > MOST_BYTES or time.monotonic() > until:
            raise AnswerTooLong
    return bytes(content)
