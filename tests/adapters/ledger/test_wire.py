"""What comes over the wire from a node, or from whatever stands in its way."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from backend.adapters.ledger.json_rpc import JsonRpcLedger
from backend.adapters.ledger.ledger import LedgerUnavailable
from tests.adapters.ledger.conftest import Bench

Serve = Callable[[int, bytes], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start servers that give one answer to everything; they end with the test."""
    servers: list[HTTPServer] = []

    def _serve(status: int, body: bytes) -> str:
        class Answer(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Location", "http://127.0.0.1:1/elsewhere")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Be quiet."""

        servers.append(HTTPServer(("127.0.0.1", 0), Answer))
        threading.Thread(target=servers[-1].serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}/secret-key"

    yield _serve
    for one in servers:
        one.shutdown()
        one.server_close()


ANSWERS = [
    pytest.param(429, b"slow down", id="too many requests"),
    pytest.param(500, b"{}", id="broken"),
    pytest.param(503, b"", id="away"),
    pytest.param(307, b"", id="sent elsewhere"),
    pytest.param(200, b"", id="empty"),
    pytest.param(200, b"<html>log in</html>", id="a page"),
    pytest.param(200, b"\xff\xfe", id="no text"),
    pytest.param(200, b"null", id="nothing"),
    pytest.param(200, b"[]", id="no answers"),
    pytest.param(200, b"[7, 8]", id="numbers"),
    pytest.param(200, b'[{"id": 0, "result": "0x1"}]', id="one of two"),
    pytest.param(200, b'{"id": 0, "error": {"code": -32005, "message": "limit"}}', id="an error"),
    pytest.param(200, b"[" * 100_000, id="nested without end"),
]


@pytest.mark.parametrize(("status", "body"), ANSWERS)
def test_what_is_no_answer_is_unavailable_and_names_no_address(
    serve: Serve, status: int, body: bytes
) -> None:
    url = serve(status, body)

    with pytest.raises(LedgerUnavailable) as caught:
        JsonRpcLedger(url).chain()

    assert "secret" not in f"{caught.value!r} {caught.value.__cause__!r}"


def test_a_sender_at_a_broken_node_keeps_everything(embedded: Bench, serve: Serve) -> None:
    embedded.add(2)
    sender = embedded.sender(JsonRpcLedger(serve(502, b"bad gateway")))

    assert not sender.step()

    assert sender.status.state == "unavailable"
    assert embedded.rows() == []
