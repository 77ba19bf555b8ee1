"""Published test vectors of W3C Data Integrity EdDSA and ECDSA Cryptosuites v1.0, and contexts.

`w3c_vectors.json` holds signed documents of the two specifications, which bind keys to issuers that
exist nowhere, so the trust list says whose they are.
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from backend.adapters.verifier.contexts import UnknownContext, bundled_contexts, load_context
from backend.adapters.verifier.dids import read_trust
from backend.adapters.verifier.interface import Reason, Verdict
from backend.adapters.verifier.rdf import rdf_canonical
from backend.adapters.verifier.verifier import open_verifier

VECTORS: list[dict[str, Any]] = json.loads((Path(__file__).parent / "w3c_vectors.json").read_text())
AT = datetime(2026, 11, 20, tzinfo=UTC)
VERIFIER = open_verifier("pure")


def judge(vector: dict[str, Any], **changes: Any) -> Verdict:
    document = {**vector["document"], **changes}
    trust = read_trust(vector["trust"])
    return VERIFIER.verify_generic(document, format="ldp", trust=trust, at=AT)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_a_published_vector_is_accepted_and_its_change_refused(vector: dict[str, Any]) -> None:
    good = judge(vector)
    bad = judge(vector, name="Changed")

    assert good.verified, good.reasons
    assert bad.reasons == (Reason.SIGNATURE_INVALID,)


def test_a_chain_without_its_first_link_is_refused() -> None:
    chain = next(vector for vector in VECTORS if vector["name"] == "a chain of proofs")

    verdict = judge(chain, proof=chain["document"]["proof"][1:])

    assert verdict.reasons == (Reason.NOT_FULLY_SIGNED,)


@pytest.mark.parametrize("url", sorted(bundled_contexts()))
def test_every_bundled_context_can_be_used(url: str) -> None:
    document = {
        "@context": [url, {"says": "https://x.example/says"}],
        "@id": "urn:x:1",
        "says": "hello",
    }

    assert b'"hello"' in rdf_canonical(document)


def test_no_other_context_is_fetched() -> None:
    with pytest.raises(UnknownContext):
        load_context("https://schema.org")
