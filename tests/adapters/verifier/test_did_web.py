"""did:web: only where it is allowed, and only as carefully as that."""

import http.server
import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from backend.adapters.verifier.did_web import MAX_DOCUMENT_BYTES, WebResolver, place_of
from backend.adapters.verifier.dids import did_key
from backend.adapters.verifier.interface import Reason
from backend.adapters.verifier.issuing import sign_credential_jwt
from backend.adapters.verifier.keys import SigningKey
from backend.adapters.verifier.refusals import Refused
from backend.adapters.verifier.verifier import DocumentVerifier
from tests.adapters.verifier.scene import Scene

HOST, DID = "issuer.example", "did:web:issuer.example"
PUBLIC = "93.184.215.14"


def document_of(key: SigningKey, did: str = DID) -> dict[str, Any]:
    method = {
        "id": f"{did}#key-1",
        "controller": did,
        "type": "JsonWebKey2020",
        "publicKeyJwk": key.public_jwk,
    }
    return {"id": did, "verificationMethod": [method], "assertionMethod": ["#key-1"]}


class Site:
    """A web server on the loopback interface, and what it is asked."""

    def __init__(self) -> None:
        self.status, self.body = 200, b"{}"
        self.headers: dict[str, str] = {}
        self.asked: list[str] = []
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append(self.path)
                self.send_response(site.status)
                for name, value in site.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(site.body)))
                self.end_headers()
                self.wfile.write(site.body)

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def connect(self, _host: str, _address: str) -> socket.socket:
        """Connect to it, whatever host is meant."""
        return socket.create_connection(("127.0.0.1", self.server.server_port))


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.server.shutdown()
    site.server.server_close()


def resolver(site: Site, addresses: Callable[[str], list[str]] | None = None) -> WebResolver:
    return WebResolver((HOST,), addresses=addresses or (lambda _: [PUBLIC]), connect=site.connect)


def reason_of(site: Site, did: str = DID, **options: Any) -> Reason:
    with pytest.raises(Refused) as refused:
        resolver(site, **options).resolve(did, "assertionMethod")
    return refused.value.reason


def test_an_allowed_issuer_is_resolved_once_and_its_credential_accepted(site: Site) -> None:
    scene = Scene()
    site.body = json.dumps(document_of(scene.issuer_key)).encode()
    scene.book.trusted.add(DID)
    verifier = DocumentVerifier(None, resolver(site))
    token = sign_credential_jwt(scene.draft(issuer=DID), scene.issuer_key, method=f"{DID}#key-1")

    verdicts = [
        verifier.verify_credential(token, at=scene.at, registry=scene.book) for _ in range(3)
    ]

    assert [verdict.verified for verdict in verdicts] == [True] * 3
    assert site.asked == ["/.well-known/did.json"]


def test_without_a_resolver_no_host_is_asked(site: Site) -> None:
    scene = Scene()
    scene.book.trusted.add(DID)
    token = sign_credential_jwt(scene.draft(issuer=DID), scene.issuer_key, method=f"{DID}#key-1")

    verdict = DocumentVerifier().verify_credential(token, at=scene.at, registry=scene.book)

    assert verdict.reasons == (Reason.UNSUPPORTED_DID_METHOD,)
    assert site.asked == []


@pytest.mark.parametrize(
    "did", ["did:web:other.example", "did:web:issuer.example.evil.example", "did:web:localhost"]
)
def test_another_host_is_not_asked(site: Site, did: str) -> None:
    assert reason_of(site, did) is Reason.UNSUPPORTED_DID_METHOD
    assert site.asked == []


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["10.0.0.1"], ["169.254.169.254"], ["::1"], [PUBLIC, "192.168.1.1"], []],
)
def test_an_address_inside_is_not_connected_to(site: Site, addresses: list[str]) -> None:
    assert reason_of(site, addresses=lambda _: addresses) is Reason.RESOLUTION_FAILED
    assert site.asked == []


@pytest.mark.parametrize("status", [301, 302, 404, 500])
def test_only_200_is_taken_and_no_redirect_is_followed(site: Site, status: int) -> None:
    site.status, site.headers = status, {"Location": "http://127.0.0.1/"}

    assert reason_of(site) is Reason.RESOLUTION_FAILED
    assert len(site.asked) == 1


def test_a_large_document_and_another_ones_are_refused(site: Site) -> None:
    site.body = b"{" + b" " * MAX_DOCUMENT_BYTES + b"}"
    assert reason_of(site) is Reason.RESOLUTION_FAILED
    site.body = json.dumps(document_of(Scene().issuer_key, did_key(Scene().issuer_key))).encode()
    assert reason_of(site) is Reason.RESOLUTION_FAILED
    site.body = b'{"id": 1, "id": 2}'
    assert reason_of(site) is Reason.DUPLICATE_MEMBER


def test_a_method_of_another_controller_or_purpose_is_left_out(site: Site) -> None:
    document = document_of(Scene().issuer_key)
    document["verificationMethod"][0]["controller"] = "did:web:other.example"
    site.body = json.dumps(document).encode()

    assert resolver(site).resolve(DID, "assertionMethod") == ()
    assert resolver(site).resolve(DID, "authentication") == ()


def test_paths_are_plain() -> None:
    assert place_of("did:web:a.example") == ("a.example", "/.well-known/did.json")
    assert place_of("did:web:a.example:user:1") == ("a.example", "/user/1/did.json")
    for odd in ("did:web:a.example%3A8080", "did:web:a.example:..:x", "did:web:a.example:x%2Fy"):
        with pytest.raises(Refused):
            place_of(odd)
