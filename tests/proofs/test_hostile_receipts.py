"""Receipts made to mislead: both verifiers fail them at the same check, and neither breaks."""

import base64
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import base58
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from backend.proofs.canonical import canonical_bytes, has_twins
from backend.proofs.checkpoints import checkpoint
from backend.proofs.receipts import verify
from backend.proofs.signing import did_of, signed
from tests.proofs.test_receipts import KEY, ONE_FILE, SALT, anchored, waiting

Document = dict[str, Any]
FIELD = 2**255 - 19


def first_failure(text: bytes) -> str:
    """The check at which the one-file verifier ends; empty if it passes."""
    try:
        ONE_FILE.verify(text)
    except ONE_FILE.Failed as failed:
        return str(failed).partition(":")[0]
    return ""


def own_first_failure(document: Document) -> str:
    """The first check that fails here; empty if all pass."""
    return next((one.name for one in verify(document) if not one.passed), "")


def written(document: Document) -> bytes:
    """Canonical but for what has no canonical form."""
    members = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return members.encode("utf-8", "surrogatepass")


def signed_anew(document: Document, **changes: Any) -> Document:
    """A receipt with changes that its own signer vouches for."""
    body = {**document, **changes}
    del body["signature"]
    signature = base64.urlsafe_b64encode(KEY.sign(written(body))).decode().rstrip("=")
    return {**body, "signature": signature}


def with_anchor(**changes: Any) -> Document:
    good = anchored()
    return signed_anew(good, anchor={**good["anchor"], **changes})


def without(member: str) -> Document:
    good = anchored()
    kept = {name: value for name, value in good["anchor"].items() if name != member}
    return signed_anew(good, anchor=kept)


def with_seal(kind: str) -> Document:
    anchor = anchored()["anchor"]
    root, count = bytes.fromhex(anchor["root"][2:]), anchor["count"]
    seal = checkpoint(KEY, previous=None, kind=kind, root=root, count=count, at="2026-03-10")
    return with_anchor(checkpoint=seal)


def with_record(record: Any) -> Document:
    digest = hashlib.sha256(SALT + written(record)).hexdigest()
    return signed_anew(waiting(), record=record, item_hash=f"0x{digest}")


def by_anybody(y: int) -> Document:
    """Signed without any key, for a point that everybody can sign for."""
    signer = "did:key:z" + base58.b58encode(b"\xed\x01" + y.to_bytes(32, "little")).decode()
    nobody = base64.urlsafe_b64encode((1).to_bytes(32, "little") + bytes(32)).decode().rstrip("=")
    return {**waiting(), "signer": signer, "signature": nobody}


def nested(levels: int) -> Document:
    inner: Any = 0
    for _ in range(levels):
        inner = [inner]
    return {**waiting(), "record": {"deep": inner}}


DID = did_of(KEY)
HOSTILE: dict[str, tuple[Document, str]] = {
    "a float where an integer stood": (with_anchor(chain={"chain_id": 31337.0}), "form"),
    "an integer that readers round": (with_record({"x": 2**60}), "form"),
    "no word about trust": (without("trust"), "form"),
    "no proof": (without("proof"), "form"),
    "unheard-of trust": (with_anchor(trust="\x1b[2Jmainnet"), "form"),
    "trust that is a list": (with_anchor(trust=["node"]), "form"),
    "true for one": (with_anchor(count=True), "form"),
    "a proof that is an object": (with_anchor(proof={}), "form"),
    "an id that is a number": (signed_anew(waiting(), id=5), "form"),
    "a kind with a Cyrillic letter": (signed_anew(waiting(), kind="ѕession_receipt"), "form"),  # noqa: RUF001 - the point
    "half of a surrogate pair": ({**waiting(), "id": "\ud800"}, "form"),
    "nested deep": (nested(700), "form"),
    "a seal of the audit trail": (with_seal("audit"), "checkpoint"),
    "another signed paper for a seal": (
        with_anchor(checkpoint=signed({"root": anchored()["anchor"]["root"], "count": 7}, KEY)),
        "checkpoint",
    ),
    "a signer in another spelling": (
        signed_anew(waiting(), signer=DID.replace("did:key:z", "did:key:z1")),
        "signature",
    ),
    "a signer with a line break": (signed_anew(waiting(), signer=DID + "\n"), "signature"),
    "a signer without end": (signed_anew(waiting(), signer="did:key:z" + "z" * 90), "signature"),
    "a key that is the neutral point": (by_anybody(1), "signature"),
    "the same in another spelling": (by_anybody(FIELD + 1), "signature"),
    "the same with a sign": (by_anybody(1 + 2**255), "signature"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_both_verifiers_fail_it_at_the_same_check(name: str) -> None:
    document, check = HOSTILE[name]

    assert own_first_failure(document) == check
    assert first_failure(written(document)) == check


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=5,
)
PLACES = [(name,) for name in anchored()] + [("anchor", name) for name in anchored()["anchor"]]


@given(st.sampled_from(PLACES), JSON)
def test_whatever_its_signer_writes_they_agree(place: tuple[str, ...], value: object) -> None:
    good = anchored()
    changed = {**good, place[0]: value}
    if len(place) > 1:
        changed[place[0]] = {**good["anchor"], place[1]: value}
    for document in (changed, signed_anew({"signature": "", **changed})):
        text = written(document)

        assert own_first_failure(document) == first_failure(text), text


def test_a_member_named_twice_is_found() -> None:
    text = canonical_bytes(waiting())

    assert not has_twins(text)
    assert has_twins(text.replace(b'"salt":', b'"salt":"0x","salt":'))
    assert has_twins(b'[{"a":{"b":1,"b":1}}]')
    assert first_failure(text.replace(b'"salt":', b'"salt":"0x","salt":')) == "form"


Answer = Callable[[bytes], None]


@pytest.fixture
def node() -> Iterator[tuple[str, Answer]]:
    """A node that says one thing to everything, byte for byte."""
    said: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.wfile.write(said[-1])

        def log_message(self, *_: object) -> None:
            """Be quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", said.append
    server.shutdown()
    server.server_close()


HEAD = b"HTTP/1.0 200 OK\r\n\r\n"
ANSWERS = [
    pytest.param(b"\x00\x01\x02", id="no HTTP"),
    pytest.param(b"HTTP/1.0 200 OK\r\nContent-Length: 99\r\n\r\n{", id="cut off"),
    pytest.param(b"HTTP/1.0 500 No\r\n\r\n", id="broken"),
    pytest.param(HEAD + b"7", id="a number"),
    pytest.param(HEAD + b"[" * 100_000, id="nested without end"),
    pytest.param(HEAD + b'{"result": [1]}', id="a list"),
    pytest.param(HEAD + b'{"result": null}', id="nothing"),
    pytest.param(HEAD + b'{"error": "\\u001b[2J\\nPASS"}', id="control characters"),
    pytest.param(HEAD + b'"' + b"x" * 1_100_000 + b'"', id="without end"),
]


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_node_that_lies_fails_the_chain_and_nothing_breaks(
    node: tuple[str, Answer], answer: bytes
) -> None:
    url, say = node
    say(answer)
    receipt = canonical_bytes(with_anchor(chain={"chain_id": 1, "contract": "0x", "code_hash": ""}))

    with pytest.raises(ONE_FILE.Failed, match=r"^chain: [ -~]*$"):
        ONE_FILE.verify(receipt, None, url)


@pytest.mark.parametrize("url", ["http://a b/", "file:///etc/hostname", "http://[", "x"])
def test_what_is_no_address_of_a_node_fails_the_chain(url: str) -> None:
    receipt = canonical_bytes(with_anchor(chain={"chain_id": 1}))

    with pytest.raises(ONE_FILE.Failed, match=r"^chain: "):
        ONE_FILE.verify(receipt, None, url)


def test_ordinary_keys_are_no_keys_of_small_order() -> None:
    for seed in range(20):
        key = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
        document = signed({"a": seed}, key)

        ONE_FILE.check_signature(document, "signature")
