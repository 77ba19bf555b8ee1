"""Receipts: the service's own check and the one-file verifier see the same: every change."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from backend.proofs.canonical import NotCanonical, canonical_bytes, item_hash, item_id
from backend.proofs.checkpoints import checkpoint, first_broken
from backend.proofs.merkle import Kind, build, leaf_of
from backend.proofs.receipts import receipt, verify
from backend.proofs.signing import did_of, is_signed, public_key_of, signed

SCRIPT = Path(__file__).resolve().parents[2] / "docs" / "verify_receipt.py"
KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
SALT = b"s" * 32
NAME = "ses_01ABC"
RECORD = {
    "session": NAME,
    "meter_start_wh": 1_000,
    "meter_stop_wh": 26_500,
    "cost": {"amount": "8.93", "currency": "EUR"},
    "stopped_at": "2026-03-10T14:00:00Z",
    "steps": [1, None, True, "ä\u2028"],
}


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("verify_receipt", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ONE_FILE = _load()


def anchored(*, others: int = 6) -> dict[str, Any]:
    """A receipt whose item was sealed with others."""
    leaf = leaf_of(Kind.SESSION_RECEIPT, item_id(NAME), item_hash(RECORD, SALT))
    strangers = [leaf_of(Kind.MODEL, item_id(str(i)), SALT) for i in range(others)]
    tree = build([leaf, *strangers])
    count = others + 1
    seal = checkpoint(
        KEY, previous=None, kind="batch", root=tree.root, count=count, at="2026-03-10T14:01:00Z"
    )
    anchor = {
        "proof": ["0x" + one.hex() for one in tree.proof(leaf)],
        "root": "0x" + tree.root.hex(),
        "count": count,
        "checkpoint": seal,
        "chain": None,
        "trust": "embedded-dev",
        "finality": "none",
    }
    return receipt(
        KEY, kind=Kind.SESSION_RECEIPT, name=NAME, record=RECORD, salt=SALT, anchor=anchor
    )


def waiting() -> dict[str, Any]:
    """A receipt whose item waits for its batch."""
    return receipt(KEY, kind=Kind.SESSION_RECEIPT, name=NAME, record=RECORD, salt=SALT, anchor=None)


def passes(text: bytes, signer: str | None = None) -> bool:
    """What the one-file verifier says."""
    try:
        ONE_FILE.verify(text, signer)
    except ONE_FILE.Failed:
        return False
    return True


@pytest.mark.parametrize("good", [anchored(), anchored(others=0), waiting()])
def test_a_good_receipt_passes_both_verifiers(good: dict[str, Any]) -> None:
    assert all(check.passed for check in verify(good, signer=did_of(KEY)))
    assert passes(canonical_bytes(good), did_of(KEY))
    assert passes(canonical_bytes(good) + b"\n")


def test_another_signer_does_not_pass() -> None:
    stranger = did_of(Ed25519PrivateKey.generate())

    failed = [one.name for one in verify(anchored(), signer=stranger) if not one.passed]

    assert failed == ["signature"]
    assert not passes(canonical_bytes(anchored()), stranger)


def test_any_changed_byte_fails() -> None:
    text = canonical_bytes(anchored())

    survivors = [i for i in range(len(text)) if passes(_flipped(text, i))]

    assert survivors == []


def _flipped(text: bytes, place: int) -> bytes:
    return text[:place] + bytes([text[place] ^ 1]) + text[place + 1 :]


@given(st.data())
def test_any_inserted_deleted_or_replaced_bytes_fail(data: st.DataObject) -> None:
    text = canonical_bytes(anchored())
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start, min(start + 40, len(text))))
    changed = text[:start] + data.draw(st.binary(max_size=40)) + text[end:]

    assert passes(changed) == (changed in {text, text + b"\n"})


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [one for name in value for one in _leaves(value[name], (*path, name))]
    if isinstance(value, list):
        return [one for i in range(len(value)) for one in _leaves(value[i], (*path, i))]
    return [path]


@pytest.mark.parametrize("other", ["x", 7, None, [], {}, "0x00", True])
def test_both_verifiers_refuse_every_other_value(other: object) -> None:
    good = anchored()
    for path in _leaves(good):
        changed = json.loads(json.dumps(good))
        inner = changed
        for step in path[:-1]:
            inner = inner[step]
        if inner[path[-1]] == other and type(inner[path[-1]]) is type(other):
            continue
        inner[path[-1]] = other

        assert not all(check.passed for check in verify(changed)), path
        assert not passes(canonical_bytes(changed)), path


def test_a_receipt_signed_anew_with_a_changed_record_fails_at_its_hash() -> None:
    body = {name: value for name, value in anchored().items() if name != "signature"}
    body["record"] = {**RECORD, "meter_stop_wh": 26_501}
    forged = signed(body, KEY)

    failed = [check.name for check in verify(forged) if not check.passed]

    assert failed == ["hash"]
    with pytest.raises(ONE_FILE.Failed, match="hash"):
        ONE_FILE.verify(canonical_bytes(forged))


def test_the_script_says_pass_or_the_failed_check(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_bytes(canonical_bytes(anchored()))
    bad.write_bytes(canonical_bytes({**anchored(), "salt": "0x" + "00" * 32}))

    runs = [
        subprocess.run(  # noqa: S603 - our own script
            [sys.executable, SCRIPT, one], capture_output=True, text=True, check=False
        )
        for one in (good, bad)
    ]

    assert [run.returncode for run in runs] == [0, 1]
    assert runs[0].stdout.startswith("PASS form, hash, inclusion, checkpoint, signature")
    assert "embedded-dev" in runs[0].stdout
    assert runs[1].stdout == "FAIL hash: the record is another one\n"


def test_signatures_agree_with_a_library() -> None:
    # Keys and messages of RFC 8032 §7.1 would fit one case; the library makes many.
    for i in range(20):
        key = Ed25519PrivateKey.from_private_bytes(bytes([i]) * 32)
        public, message = key.public_key().public_bytes_raw(), bytes(range(i))
        signature = key.sign(message)

        assert ONE_FILE.is_ed25519(public, message, signature)
        assert not ONE_FILE.is_ed25519(public, message + b"x", signature)
        assert ONE_FILE.public_key(did_of(key)) == public
        assert public_key_of(did_of(key)).public_bytes_raw() == public


def test_a_signature_in_another_spelling_is_no_signature() -> None:
    document = signed({"a": 1}, KEY)
    last = document["signature"][-1]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    twin = alphabet[alphabet.index(last) ^ 1]  # the same bytes, other unused bits

    assert is_signed(document)
    assert not is_signed({**document, "signature": document["signature"][:-1] + twin})
    assert not is_signed({**document, "signature": document["signature"] + "=="})


@pytest.mark.parametrize("record", [{"x": 1.5}, {"x": [{"y": float("nan")}]}, {"x": 2**53}])
def test_a_record_that_others_may_write_differently_is_refused(record: dict[str, Any]) -> None:
    with pytest.raises(NotCanonical):
        item_hash(record, SALT)


def test_without_its_salt_a_record_cannot_be_recognised() -> None:
    assert item_hash(RECORD, SALT) != item_hash(RECORD, b"t" * 32)
    with pytest.raises(ValueError, match="32 bytes"):
        item_hash(RECORD, b"")


def _chain(length: int) -> list[dict[str, Any]]:
    chain: list[dict[str, Any]] = []
    for i in range(length):
        root, at = bytes([i]) * 32, f"2026-03-10T14:0{i}:00Z"
        previous = chain[-1] if chain else None
        chain.append(checkpoint(KEY, previous=previous, kind="audit", root=root, count=i, at=at))
    return chain


def test_a_chain_of_checkpoints_holds() -> None:
    chain = _chain(5)

    assert first_broken(chain, signer=did_of(KEY)) is None
    assert first_broken(chain[2:], signer=did_of(KEY)) is None
    assert [one["sequence"] for one in chain] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("break_it", "where"),
    [
        (lambda chain: chain[:2] + chain[3:], 2),  # one is taken out
        (lambda chain: [chain[0], chain[2], chain[1], *chain[3:]], 1),  # two change places
        (lambda chain: [*chain[:3], chain[2], *chain[3:]], 3),  # one comes twice
        (lambda chain: [*chain[:2], {**chain[2], "count": 9}, *chain[3:]], 2),  # one is changed
        (lambda chain: [*chain[:4], _chain(6)[5]], 4),  # one is skipped
    ],
)
def test_a_broken_chain_is_found(break_it: Any, where: int) -> None:
    assert first_broken(break_it(_chain(5)), signer=did_of(KEY)) == where


def test_a_checkpoint_rewritten_by_another_signer_is_found() -> None:
    chain = _chain(3)
    body = {k: v for k, v in chain[2].items() if k not in {"signer", "signature"}}
    forged = [*chain[:2], signed(body, Ed25519PrivateKey.generate())]

    assert first_broken(forged, signer=did_of(KEY)) == 2
