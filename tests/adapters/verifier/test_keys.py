"""Keys and the DIDs made of them, against published values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.adapters.verifier.dids import (
    DidRefused,
    did_jwk,
    did_key,
    did_pkh,
    key_method,
    read_trust,
    resolve_offline,
)
from backend.adapters.verifier.keys import (
    KeyKind,
    UnusableKey,
    base64url,
    from_base64url,
    generate_key,
    key_from_jwk,
    key_from_seed,
    public_from_jwk,
    thumbprint,
    verify,
)
from backend.adapters.verifier.reasons import Reason

# RFC 8037 appendix A: an Ed25519 key, its thumbprint and its signature of a JWS.
RFC_8037 = {
    "kty": "OKP",
    "crv": "Ed25519",
    "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
}
SIGNED = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
SIGNATURE = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"


def test_ed25519_is_that_of_rfc_8037() -> None:
    key = key_from_jwk(RFC_8037)

    assert key.sign(SIGNED.encode()) == from_base64url(SIGNATURE)
    assert verify(key.public, from_base64url(SIGNATURE), SIGNED.encode())
    assert thumbprint(key.public_jwk) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_did_pkh_is_the_account_of_the_key() -> None:
    number_one = {
        "kty": "EC",
        "crv": "secp256k1",
        "d": base64url((1).to_bytes(32)),
        "x": "eb5mfvncu6xVoGKVzocLBwKb_NstzijZWfKBWxb4F5g",
        "y": "SDradyajxGVdpPv8DhEIqP0XtEimhVQZnEfQj_sQ1Lg",
    }

    # The well-known account of the private key 1.
    account = "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf"
    assert did_pkh(key_from_jwk(number_one)) == f"did:pkh:eip155:1:{account}"


@pytest.mark.parametrize("kind", KeyKind)
def test_a_did_resolves_to_the_key_it_was_made_of(kind: KeyKind) -> None:
    key = generate_key(kind)

    for did in (did_key(key), did_jwk(key)):
        (method,) = resolve_offline(did)
        assert method.public_jwk == key.public_jwk
        assert (method.id, method.controller) == (key_method(did), did)


@pytest.mark.parametrize("kind", KeyKind)
@given(message=st.binary(max_size=64), place=st.integers(0, 63))
def test_a_signature_holds_for_its_message_only(kind: KeyKind, message: bytes, place: int) -> None:
    key = key_from_seed(b"seed", kind)
    signature = key.sign(message)
    broken = bytearray(signature)
    broken[place] ^= 1

    assert verify(key.public, signature, message)
    assert not verify(key.public, bytes(broken), message)
    assert not verify(key.public, signature, message + b"x")


@pytest.mark.parametrize(
    "jwk",
    [
        RFC_8037,
        {"kty": "oct", "k": "AA"},
        {"kty": "EC", "crv": "Ed25519", "x": RFC_8037["x"]},
        {"kty": "OKP", "crv": "Ed25519", "x": "AA"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": "RSA", "n": "AA", "e": "AQAB"},
    ],
)
def test_what_is_no_public_key_of_ours_is_refused(jwk: dict[str, str]) -> None:
    with pytest.raises(UnusableKey):
        public_from_jwk(jwk)


@pytest.mark.parametrize("text", ["YQ==", "YR", "Y", "a+b/", "YQ\n", "é"])
def test_base64url_has_one_spelling(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - its subclasses are the library's
        from_base64url(text)


@pytest.mark.parametrize(
    "did",
    [
        "did:key:z6Mk",
        "did:key:m6Mk",
        "did:jwk:e30",
        "did:jwk:W10",
        "did:pkh:eip155:1:0x12",
        "did:pkh:bip122:0:1",
        "did:web:a.example",
        "did:key:" + "z" * 600,
        "x",
        "did:key:z6Mk\n",
    ],
)
def test_a_did_that_names_no_key_is_refused(did: str) -> None:
    with pytest.raises(DidRefused) as refused:
        resolve_offline(did)

    assert refused.value.reason in {Reason.MALFORMED_DID, Reason.UNSUPPORTED_DID_METHOD}


def test_a_trust_list_names_keys_by_url_or_by_object() -> None:
    key = generate_key()
    did = did_key(key)
    method = {"id": "https://x.example/1#k", "controller": "https://x.example/1"}
    multikey = {**method, "publicKeyMultibase": did.removeprefix("did:key:")}
    jwk = {**method, "publicKeyJwk": key.public_jwk}

    trust = read_trust({"a": [did, key_method(did)], "b": [multikey, jwk]})

    keys = [one.public_jwk for methods in trust.values() for one in methods]
    assert keys == [key.public_jwk] * 4
    with pytest.raises(DidRefused):
        read_trust({"a": [f"{did}#other"]})


def test_a_key_shows_nothing_of_itself() -> None:
    key = key_from_jwk(RFC_8037)

    assert RFC_8037["d"] not in repr(key)
    with pytest.raises(UnusableKey):
        key_from_jwk({**RFC_8037, "x": generate_key().public_jwk["x"]})
