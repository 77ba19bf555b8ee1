"""What a stranger may try with documents that are not refused at the gate."""

import json
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from backend.adapters.verifier import did_web, keys
from backend.adapters.verifier.dids import DidRefused, resolve_offline, to_multikey
from backend.adapters.verifier.interface import (
    PresentationVerdict,
    Purpose,
    Reason,
    VerificationMethod,
)
from backend.adapters.verifier.issuing import sign_credential_ldp
from backend.adapters.verifier.keys import KeyKind, UnusableKey, base64url, public_from_point
from backend.adapters.verifier.profiles import CREDENTIALS_V1
from backend.adapters.verifier.verifier import DocumentVerifier
from tests.adapters.verifier.scene import CHALLENGE, DOMAIN, Book, Scene, plain

PRIME = 2**255 - 19


@pytest.fixture
def pure() -> DocumentVerifier:
    return DocumentVerifier()


@pytest.fixture
def scene() -> Scene:
    return Scene()


def _presented(pure: DocumentVerifier, scene: Scene, document: Any) -> PresentationVerdict:
    return pure.verify_presentation(
        document, challenge=CHALLENGE, domain=DOMAIN, at=scene.at, registry=scene.book
    )


def test_what_a_stranger_puts_into_a_presentation_is_not_canonicalised(
    pure: DocumentVerifier, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = {"@context": [CREDENTIALS_V1] * 800, "id": "urn:x:1", "type": "VerifiableCredential"}
    document = {**scene.vp_ldp(), "verifiableCredential": [slow]}
    asked: list[object] = []

    def _judge(signed: Sequence[object]) -> list[None]:
        asked.extend(signed)
        return [None for _ in signed]

    monkeypatch.setattr(pure.signatures, "judge", _judge)

    verdict = _presented(pure, scene, document)

    assert verdict.reasons == (Reason.CREDENTIAL_REFUSED, Reason.CONTEXT_NOT_PINNED)
    assert "signature" not in {check.name for check in verdict.checks}
    assert asked == []


def test_an_endless_signature_is_not_decoded(pure: DocumentVerifier, scene: Scene) -> None:
    document = scene.vp_ldp()
    document["proof"]["proofValue"] = "z" + "2" * 120_000
    _presented(pure, scene, scene.vp_ldp())  # loads what is slow to load

    began = time.thread_time()
    verdict = _presented(pure, scene, document)

    assert verdict.reasons == (Reason.SIGNATURE_INVALID,)
    assert time.thread_time() - began < 0.5  # base58 of that length takes ten seconds


def test_the_other_credentials_of_a_refused_presentation_are_judged(
    pure: DocumentVerifier, scene: Scene
) -> None:
    bad = plain(scene.ldp(issuer=scene.attacker, key=scene.attacker_key))

    verdict = _presented(pure, scene, scene.vp_ldp(scene.ldp(), bad))

    assert [one.verified for one in verdict.credentials] == [True, False]
    assert verdict.reasons == (Reason.CREDENTIAL_REFUSED, Reason.UNTRUSTED_ISSUER)


@pytest.mark.parametrize("height", sorted(keys.WEAK_ED25519))
def test_a_key_that_everybody_can_sign_for_is_no_key(height: int) -> None:
    u = (1 + height) * pow(1 - height, -1, PRIME) % PRIME if height != 1 else 0
    with pytest.raises(ValueError, match="shared key"):  # the same point on the other curve
        X25519PrivateKey.generate().exchange(
            X25519PublicKey.from_public_bytes(u.to_bytes(32, "little"))
        )

    with pytest.raises(UnusableKey):
        public_from_point(KeyKind.ED25519, height.to_bytes(32, "little"))


def test_a_key_has_one_spelling(scene: Scene) -> None:
    point = scene.holder_key.public
    assert public_from_point(KeyKind.ED25519, keys.point_of(point)) == point
    assert to_multikey(point)

    with pytest.raises(UnusableKey):
        public_from_point(KeyKind.ED25519, (PRIME + 3).to_bytes(32, "little"))


@pytest.mark.parametrize(
    "members", [{"use": "enc"}, {"alg": "ES256"}, {"alg": []}, {"key_ops": ["encrypt"]}]
)
def test_a_key_for_something_else_does_not_sign(scene: Scene, members: dict[str, Any]) -> None:
    text = json.dumps({**scene.holder_key.public_jwk, **members})

    with pytest.raises(DidRefused, match="malformed_did"):
        resolve_offline(f"did:jwk:{base64url(text.encode())}")


@pytest.mark.parametrize(
    "address",
    [
        "224.0.0.1",  # many hosts
        "ff0e::1",
        "64:ff9b::a00:1",  # 10.0.0.1 behind a translator
        "2002:a00:1::1",  # 10.0.0.1 through a tunnel
        "::ffff:10.0.0.1",
        "::10.0.0.1",
        "fec0::1",  # site-local of old
        "0.0.0.0",  # noqa: S104 - not bound
    ],
)
def test_an_address_in_disguise_is_not_connected_to(address: str) -> None:
    assert not did_web.is_public(address)
    assert did_web.is_public("93.184.215.14")
    assert did_web.is_public("2606:2800:21f:cb07:6820:80da:af6b:8b2c")


class Rotated(Book):
    """A registry in which the issuer's first key ended some days ago."""

    def __init__(self, method: VerificationMethod, ended_at: datetime) -> None:
        super().__init__(trusted={method.controller})
        self._method, self._ended_at = method, ended_at

    def verification_methods(
        self, did: str, *, at: datetime, purpose: Purpose
    ) -> tuple[VerificationMethod, ...]:
        """The key, as long as it was good."""
        is_good = did == self._method.controller and purpose and at < self._ended_at
        return (self._method,) if is_good else ()


@pytest.mark.parametrize(
    ("made_days_ago", "reasons"), [(9, ()), (1, (Reason.METHOD_UNKNOWN,))], ids=["before", "after"]
)
def test_what_a_replaced_key_says_it_signed_afterwards_does_not_count(
    pure: DocumentVerifier, scene: Scene, made_days_ago: int, reasons: tuple[Reason, ...]
) -> None:
    did = "did:denso:operator:hq"
    method = VerificationMethod(f"{did}#key-1", did, scene.issuer_key.public_jwk)
    registry = Rotated(method, scene.at - timedelta(days=5))
    document = sign_credential_ldp(
        scene.draft(issuer=did, ago_days=10),
        scene.issuer_key,
        at=scene.at - timedelta(days=made_days_ago),
        method=method.id,
    )

    verdict = pure.verify_credential(plain(document), at=scene.at, registry=registry)

    assert verdict.reasons == reasons
