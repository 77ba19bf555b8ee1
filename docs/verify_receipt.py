#!/usr/bin/env python3
"""Verify a TASCO receipt without TASCO: PASS, or FAIL with the check that failed.

    pip install pycryptodome
    python3 verify_receipt.py receipt.json [--signer did:key:z…] [--rpc http://127.0.0.1:8545]

Offline it shows that the record is the one that was sealed (hash), that the seal covers it
(inclusion), and that the signer vouched for both (checkpoint, signature). Give --signer: without it
you only learn that some signer did. With --rpc a node of your choice is asked whether the root
stands in the contract that the receipt names. One file, one dependency: keccak.
"""

import argparse
import base64
import hashlib
import json
import sys
import urllib.request
from typing import Any, Callable, Dict, Tuple

try:
    from Crypto.Hash import keccak as _keccak
except ImportError:
    sys.exit("First: pip install pycryptodome")

Document = Dict[str, Any]
Point = Tuple[int, int, int, int]  # extended coordinates

FORMAT = "tasco.receipt.v1"
MEMBERS = {"format", "kind", "id", "record", "salt", "item_hash", "anchor", "signer", "signature"}
KINDS = {
    "session_receipt": 1,
    "credential_issued": 2,
    "credential_revoked": 3,
    "model": 4,
    "federated_round": 5,
    "trust_snapshot": 6,
    "audit_head": 7,
    "ledger_record": 8,
}
SEAL_FORMAT = "tasco.checkpoint.v1"
ANCHOR = {"proof", "root", "count", "checkpoint", "chain", "trust", "finality"}
TRUST = {"signed-only", "embedded-dev", "dev-node", "node"}
FINALITY = {"none", "pending", "final"}
DEEPEST, LARGEST = 64, 2**53 - 1  # levels of a receipt; what every JSON reader takes for an integer
ANSWER_BYTES = 1_000_000  # of a node; a contract's code has less than 25,000


class Failed(Exception):
    """A check did not pass; the message names it, and shows no control characters of others."""

    def __init__(self, message: str) -> None:
        super().__init__("".join(c if " " <= c <= "~" else ascii(c)[1:-1] for c in message))


def require(is_so: object, check: str, why: str) -> None:
    """Go on if it is so, else end with the check and the reason."""
    if not is_so:
        raise Failed(f"{check}: {why}")


def keccak(data: bytes) -> bytes:
    """Keccak-256, as Ethereum uses it."""
    return _keccak.new(digest_bits=256, data=data).digest()


def canonical(value: object) -> str:
    """Canonical JSON (RFC 8785) of values without floats and large integers."""
    if isinstance(value, dict):
        members = sorted(value.items(), key=lambda member: member[0].encode("utf-16-be"))
        return "{" + ",".join(canonical(k) + ":" + canonical(v) for k, v in members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(canonical(one) for one in value) + "]"
    require(not isinstance(value, float), "form", "a receipt holds no floats")
    is_small = not isinstance(value, int) or abs(value) <= LARGEST
    require(is_small, "form", "a receipt holds no integers of 2^53 and more")
    return json.dumps(value, ensure_ascii=False)


def depth(value: object, level: int = 1) -> int:
    """How many levels a value has, as far as one more than a receipt may have."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return (
        max((depth(one, level + 1) for one in inner), default=level) if level <= DEEPEST else level
    )


def raw(text: str) -> bytes:
    """Bytes of 0x and lower-case hexadecimal digits, and of nothing else."""
    data = bytes.fromhex(text[2:])
    if text != "0x" + data.hex():
        raise ValueError("hexadecimal text in another spelling")
    return data


# Ed25519 verification, from RFC 8032 §5.1.7: slow and short, as one signature needs it.
P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
BASE_Y = 4 * pow(5, P - 2, P) % P


def x_of(y: int, sign: int) -> "int | None":
    """The x of a point on the curve, None if there is none."""
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    return P - x if x % 2 != sign else x


def add(one: Point, other: Point) -> Point:
    """The sum of two points in extended coordinates."""
    (x1, y1, z1, t1), (x2, y2, z2, t2) = one, other
    a, b = (y1 - x1) * (y2 - x2) % P, (y1 + x1) * (y2 + x2) % P
    c, d = 2 * t1 * t2 * D % P, 2 * z1 * z2 % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def times(scalar: int, point: Point) -> Point:
    """A multiple of a point."""
    result = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point, scalar = add(point, point), scalar >> 1
    return result


def point_from(data: bytes) -> "Point | None":
    """The point that 32 bytes stand for, None if they stand for none."""
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (2**255 - 1)
    x = x_of(y, sign) if y < P else None
    return None if x is None else (x, y, 1, x * y % P)


BASE = point_from(BASE_Y.to_bytes(32, "little")) or (0, 0, 0, 0)


def is_ed25519(public: bytes, message: bytes, signature: bytes) -> bool:
    """Tell whether the signature is the key's over the message."""
    key, commitment = point_from(public), point_from(signature[:32])
    scalar = int.from_bytes(signature[32:], "little")
    if key is None or commitment is None or scalar >= L:
        return False
    if times(8, key)[0] % P == 0:
        return False  # a key of small order: everybody can sign for it
    digest = hashlib.sha512(signature[:32] + public + message).digest()
    left = times(scalar, BASE)
    right = add(commitment, times(int.from_bytes(digest, "little") % L, key))
    same_x = (left[0] * right[2] - right[0] * left[2]) % P == 0
    return same_x and (left[1] * right[2] - right[1] * left[2]) % P == 0


def public_key(did: str) -> bytes:
    """The 32 bytes of the Ed25519 key that a did:key names."""
    alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
    # The mark of such a key and 32 bytes are 47 digits, in one spelling only.
    is_one = did.startswith("did:key:z6Mk") and len(did) == 56
    number = 0
    for letter in did[9:] if is_one else "":
        number = number * 58 + alphabet.index(letter)
    data = number.to_bytes(34, "big")
    if data[:2] != b"\xed\x01":
        raise ValueError("the signer is no did:key of an Ed25519 key")
    return data[2:]


def check_signature(document: Document, check: str) -> None:
    """The signer's signature covers every other member of the document."""
    body = canonical({k: v for k, v in document.items() if k != "signature"}).encode()
    signature = base64.urlsafe_b64decode(document["signature"] + "==")
    spelling = base64.urlsafe_b64encode(signature).decode().rstrip("=")
    is_written_so = spelling == document["signature"] and len(signature) == 64
    is_good = is_written_so and is_ed25519(public_key(document["signer"]), body, signature)
    require(is_good, check, "the signature does not fit")


def check_form(text: bytes) -> Document:
    """The file holds a receipt, written in the one canonical way."""
    document: Document = json.loads(text.decode())
    is_receipt = isinstance(document, dict) and set(document) == MEMBERS
    require(is_receipt and depth(document) <= DEEPEST, "form", "not the members of a receipt")
    require(document["format"] == FORMAT and document["kind"] in KINDS, "form", "unknown format")
    require(isinstance(document["id"], str), "form", "an id is a text")
    exact = canonical(document).encode()
    require(text in {exact, exact + b"\n"}, "form", "not written as canonical JSON")
    if document["anchor"] is not None:
        check_anchor(document["anchor"])
    return document


def check_anchor(anchor: Document) -> None:
    """What is said of the batch and its place has all its members."""
    require(isinstance(anchor, dict) and set(anchor) >= ANCHOR, "form", "not those of an anchor")
    is_known = anchor["trust"] in TRUST and anchor["finality"] in FINALITY
    require(is_known, "form", "unknown trust or finality")
    is_listed = isinstance(anchor["proof"], list) and type(anchor["count"]) is int
    require(is_listed, "form", "the proof is a list and the count a number")


def check_hash(document: Document) -> None:
    """The record and its salt lead to the item's hash."""
    salt = raw(document["salt"])
    require(len(salt) == 32, "hash", "a salt has 32 bytes")
    found = hashlib.sha256(salt + canonical(document["record"]).encode()).digest()
    require(found == raw(document["item_hash"]), "hash", "the record is another one")


def check_inclusion(document: Document) -> None:
    """The item is a leaf of the tree with the anchored root."""
    anchor, kind = document["anchor"], KINDS[document["kind"]]
    name = hashlib.sha256(document["id"].encode()).digest()
    words = keccak(b"tasco.anchor.v1") + kind.to_bytes(32, "big") + name
    node = keccak(keccak(words + raw(document["item_hash"])))
    proof = [raw(one) for one in anchor["proof"]]
    count = anchor["count"]
    is_short = len(proof) <= (count - 1).bit_length() and count > 0
    require(is_short, "inclusion", "the proof is longer than the tree is high")
    for sibling in proof:
        require(len(sibling) == 32, "inclusion", "a node has 32 bytes")
        node = keccak(min(node, sibling) + max(node, sibling))
    require(node == raw(anchor["root"]), "inclusion", "the proof leads to another root")


def check_checkpoint(document: Document) -> None:
    """The signer sealed this very root."""
    anchor = document["anchor"]
    seal = anchor["checkpoint"]
    is_seal = seal["format"] == SEAL_FORMAT and seal["kind"] in {"batch", "block"}
    require(is_seal, "checkpoint", "it is none of a batch or block")
    is_same = seal["root"] == anchor["root"] and seal["count"] == anchor["count"]
    require(is_same, "checkpoint", "it seals another root")
    require(seal["signer"] == document["signer"], "checkpoint", "it is signed by another")
    check_signature(seal, "checkpoint")


def check_chain(document: Document, url: str) -> None:
    """The contract that the receipt names holds the root."""
    chain: Any = (document["anchor"] or {}).get("chain")
    require(chain, "chain", "the receipt names no place on a chain")
    require(int(ask(url, "eth_chainId"), 16) == chain["chain_id"], "chain", "another chain")
    genesis = ask(url, "eth_getBlockByNumber", "0x0", False)  # noqa: FBT003 - no bodies
    require(genesis["hash"] == chain["genesis_hash"], "chain", "another chain of this number")
    code = raw(ask(url, "eth_getCode", chain["contract"], "latest"))
    is_known = "0x" + keccak(code).hex() == chain["code_hash"]
    require(is_known, "chain", "other code at the contract's address")
    call = "0x" + keccak(b"isAnchored(bytes32)")[:4].hex() + document["anchor"]["root"][2:]
    answer = ask(url, "eth_call", {"to": chain["contract"], "data": call}, "latest")
    require(int(answer, 16) == 1, "chain", "the contract does not hold this root")


def ask(url: str, method: str, *parameters: object) -> Any:  # noqa: ANN401 - any JSON
    """One JSON-RPC call."""
    require(url.startswith(("http://", "https://")), "chain", "a node's URL begins with http")
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)  # noqa: S310
    with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - the caller's node
        content = answer.read(ANSWER_BYTES + 1)
    require(len(content) <= ANSWER_BYTES, "chain", "the node answers without end")
    result = json.loads(content)
    require("result" in result, "chain", f"the node says {str(result.get('error'))[:200]}")
    return result["result"]


def verify(text: bytes, signer: "str | None" = None, rpc: "str | None" = None) -> "list[str]":
    """Check a receipt's bytes; gives the names of the checks that were made.

    Raises:
        Failed: With the first check that failed, and why.
    """
    document = named("form", check_form, text)
    made = ["form", "hash", *(["inclusion", "checkpoint"] if document["anchor"] else [])]
    for check in made[1:]:
        named(check, CHECKS[check], document)
    named("signature", check_signature, document, "signature")
    is_by = signer is None or document["signer"] == signer
    require(is_by, "signature", "it is signed by another")
    if rpc:
        named("chain", check_chain, document, rpc)
    return [*made, "signature", *(["chain"] if rpc else [])]


CHECKS = {"hash": check_hash, "inclusion": check_inclusion, "checkpoint": check_checkpoint}


def named(check: str, look: Callable[..., Any], *arguments: object) -> Any:  # noqa: ANN401 - its own
    """Make a check; what it cannot read failed it too."""
    try:
        return look(*arguments)
    except Failed:
        raise
    except Exception as error:
        raise Failed(f"{check}: it cannot be read: {error}") from error


def main() -> int:
    """Say PASS or FAIL; the exit status is 0 for PASS and 1 for FAIL."""
    about = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("receipt", type=argparse.FileType("rb"))
    parser.add_argument("--signer", help="the did:key that must have signed")
    parser.add_argument("--rpc", help="URL of an Ethereum node to ask for the root")
    chosen = parser.parse_args()
    text = chosen.receipt.read()
    try:
        made = verify(text, chosen.signer, chosen.rpc)
    except Failed as failed:
        print(f"FAIL {failed}")
        return 1
    document = json.loads(text)
    anchor = document["anchor"]
    print(f"PASS {', '.join(made)}; signed by {document['signer']}")
    trust = f"trust: {anchor['trust']}" if anchor else "not anchored yet: only the signer vouches"
    print(trust)
    return 0


if __name__ == "__main__":
    sys.exit(main())
