"""Good documents are accepted in every form, with the facts that were signed."""

import json
from collections.abc import Iterator
from datetime import timedelta
from itertools import islice
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.adapters.verifier.dids import did_jwk, did_key, key_method, read_trust
from backend.adapters.verifier.interface import Reason, StatusEntry, VerificationMethod
from backend.adapters.verifier.issuing import sign_credential_jwt, sign_jwt
from backend.adapters.verifier.keys import KeyKind, from_base64url, key_from_seed, thumbprint
from backend.adapters.verifier.profiles import PROFILES
from backend.adapters.verifier.verifier import DocumentVerifier, open_verifier
from tests.adapters.verifier import mutants
from tests.adapters.verifier.scene import CHALLENGE, DOMAIN, LIST_URL, VEHICLE, Scene

SUITES = (
    "Ed25519Signature2018",
    "Ed25519Signature2020",
    "JsonWebSignature2020",
    "eddsa-rdfc-2022",
    "eddsa-jcs-2022",
)
CLAIMS: dict[str, dict[str, Any]] = {
    "EmploymentCredential": {"employer": "TechCorp", "role": "operator", "sites": ["a", "b"]},
    "FleetDriverCredential": {"fleet": "north", "vehicles": ["did:denso:vehicle:1"]},
    "SiteAccessCredential": {"site": "site_hq"},
    "VehicleSpecCredential": VEHICLE,
    "BatteryBirthCertificateCredential": {
        "batteryCapacityWh": 77_000,
        "lifecycleStatus": "IN USE",
        "manufacturedAt": "2024-05-01T00:00:00Z",
        "chemistry": "nmc",
    },
    "ChargerSpecCredential": {"site": "site_hq", "maxPowerW": 150_000, "connector": "ccs2"},
    "PrioritySlotCredential": {
        "site": "site_hq",
        "slotFrom": "2026-11-20T08:00:00Z",
        "slotUntil": "2026-11-20T10:00:00Z",
        "tier": 1,
    },
    "ChargingContractCredential": {"provider": "Power Co", "contractHash": "a" * 64},
    "IssuerAccreditationCredential": {
        "credentialTypes": ["SiteAccessCredential"],
        "mayAccredit": False,
    },
    "FederatedParticipantCredential": {"site": "site_hq", "federation": "demand"},
}


@pytest.fixture(scope="module", params=["pure", "both"])
def verifier(request: pytest.FixtureRequest) -> Iterator[DocumentVerifier]:
    opened = open_verifier(request.param)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def pure() -> DocumentVerifier:
    return open_verifier("pure")


@pytest.fixture
def scene() -> Scene:
    return Scene()


def forms(scene: Scene, **values: Any) -> dict[str, Any]:
    """One credential in every form."""
    documents: dict[str, Any] = {suite: scene.ldp(suite, **values) for suite in SUITES}
    return documents | {
        "VC-JWT": scene.jwt(**values),
        "VC-JWT 2.0": scene.jwt(model="2.0", **values),
    }


@pytest.mark.parametrize("form", [*SUITES, "VC-JWT", "VC-JWT 2.0"])
def test_a_good_credential_is_accepted_with_the_facts_that_were_signed(
    verifier: DocumentVerifier, scene: Scene, form: str
) -> None:
    document = forms(scene)[form]

    verdict = verifier.verify_credential(document, at=scene.at, registry=scene.book)

    assert verdict.verified, verdict.reasons
    assert verdict.claims == VEHICLE
    assert (verdict.issuer, verdict.subject) == (scene.issuer, scene.holder)
    assert verdict.credential_type == "VehicleSpecCredential"
    assert verdict.status_entries == (StatusEntry(LIST_URL, 94_567, "revocation"),)
    assert verdict.valid_until == scene.at + timedelta(days=29)
    assert all(check.passed for check in verdict.checks)
    assert verdict.assurance == "verified"


@pytest.mark.parametrize("name", PROFILES)
def test_every_type_is_accepted_in_every_form(
    pure: DocumentVerifier, scene: Scene, name: str
) -> None:
    for form, document in forms(scene, credential_type=name, claims=CLAIMS[name]).items():
        sent = document if isinstance(document, str) else json.dumps(document)
        verdict = pure.verify_credential(sent, at=scene.at, registry=scene.book, expected_type=name)
        assert verdict.verified, (form, verdict.reasons, verdict.checks[-1])


@pytest.mark.parametrize("kind", [KeyKind.ED25519, KeyKind.P256, KeyKind.SECP256K1])
@pytest.mark.parametrize("name_of", [did_key, did_jwk])
def test_every_kind_of_key_signs_tokens(
    verifier: DocumentVerifier, kind: KeyKind, name_of: Any
) -> None:
    key = key_from_seed(b"other", kind)
    scene = Scene()
    issuer = name_of(key)
    scene.book.trusted.add(issuer)
    token = sign_credential_jwt(scene.draft(issuer=issuer), key, method=key_method(issuer))

    verdict = verifier.verify_credential(token, at=scene.at, registry=scene.book)

    assert verdict.verified, verdict.reasons


def test_an_ethereum_account_signs_documents(verifier: DocumentVerifier, scene: Scene) -> None:
    verdict = verifier.verify_credential(scene.recovered(), at=scene.at, registry=scene.book)

    assert verdict.verified, verdict.reasons


@pytest.mark.parametrize("suite", ["ecdsa-rdfc-2019", "ecdsa-jcs-2019"])
@pytest.mark.parametrize("kind", [KeyKind.P256, KeyKind.P384])
def test_ecdsa_signs_documents_of_the_second_data_model(
    pure: DocumentVerifier, suite: str, kind: KeyKind
) -> None:
    scene = Scene(issuer_key=key_from_seed(b"issuer", kind))

    verdict = pure.verify_credential(scene.ldp(suite), at=scene.at, registry=scene.book)

    assert verdict.verified, verdict.reasons


def test_a_token_without_kid_is_judged_by_the_only_key_of_its_issuer(
    verifier: DocumentVerifier, scene: Scene
) -> None:
    payload = json.loads(from_base64url(scene.jwt().split(".")[1]))
    token = sign_jwt({"typ": "JWT"}, payload, scene.issuer_key)

    verdict = verifier.verify_credential(token, at=scene.at, registry=scene.book)

    assert verdict.verified, verdict.reasons


def test_an_issuer_of_the_registry_signs_with_the_key_bound_to_it(
    verifier: DocumentVerifier, scene: Scene
) -> None:
    issuer, method_id = "did:denso:operator:hq", key_method(scene.issuer)
    scene.book.trusted.add(issuer)
    bound = VerificationMethod(method_id, issuer, public_jwk=scene.issuer_key.public_jwk)
    scene.book.bound[issuer] = (bound,)
    token = sign_credential_jwt(scene.draft(issuer=issuer), scene.issuer_key)
    forged = sign_credential_jwt(scene.draft(issuer=issuer), scene.attacker_key)

    good = verifier.verify_credential(token, at=scene.at, registry=scene.book)
    bad = verifier.verify_credential(forged, at=scene.at, registry=scene.book)

    assert good.verified, good.reasons
    assert bad.reasons == (Reason.METHOD_NOT_OF_ISSUER,)


def test_a_presentation_names_its_holder_and_their_key(
    verifier: DocumentVerifier, scene: Scene
) -> None:
    tokens = [scene.jwt(claims={**VEHICLE, "model": str(number)}) for number in range(5)]

    verdict = verifier.verify_presentation(
        scene.vp_jwt(*tokens),
        challenge=CHALLENGE,
        domain=DOMAIN,
        at=scene.at,
        registry=scene.book,
    )

    assert verdict.verified, verdict.reasons
    assert verdict.holder == scene.holder
    assert verdict.holder_key_thumbprint == thumbprint(scene.holder_key.public_jwk)
    assert [one.claims["model"] for one in verdict.credentials] == list("01234")


@pytest.mark.parametrize("suite", SUITES)
def test_a_presentation_with_a_proof_inside_is_accepted(
    verifier: DocumentVerifier, scene: Scene, suite: str
) -> None:
    presentation = scene.vp_ldp(scene.ldp(suite), suite=suite)

    verdict = verifier.verify_presentation(
        presentation, challenge=CHALLENGE, domain=DOMAIN, at=scene.at, registry=scene.book
    )

    assert verdict.verified, verdict.reasons


def test_a_holder_presents_for_a_subject_that_the_registry_binds(
    pure: DocumentVerifier, scene: Scene
) -> None:
    vehicle = "did:denso:vehicle:1"
    presentation = scene.vp_jwt(scene.jwt(subject=vehicle))

    def judge() -> tuple[Reason, ...]:
        return pure.verify_presentation(
            presentation, challenge=CHALLENGE, domain=DOMAIN, at=scene.at, registry=scene.book
        ).reasons

    assert judge() == (Reason.CREDENTIAL_REFUSED, Reason.HOLDER_NOT_SUBJECT)
    scene.book.accompanies.add((scene.holder, vehicle))
    assert judge() == ()


def test_an_empty_presentation_proves_a_key_only(pure: DocumentVerifier, scene: Scene) -> None:
    presentation = scene.vp_jwt()

    verdict = pure.verify_presentation(
        presentation, challenge=CHALLENGE, domain=DOMAIN, at=scene.at, registry=scene.book
    )

    assert verdict.verified, verdict.reasons
    assert verdict.credentials == ()


def test_a_remembered_signature_does_not_outlive_date_status_or_trust(
    pure: DocumentVerifier, scene: Scene
) -> None:
    token = scene.jwt()

    def judge(**when: float) -> tuple[Reason, ...]:
        at = scene.at + timedelta(**when)
        return pure.verify_credential(token, at=at, registry=scene.book).reasons

    assert judge() == ()
    assert judge(days=29) == (Reason.EXPIRED,)
    scene.book.standing[94_567] = Reason.REVOKED
    assert judge() == (Reason.REVOKED,)
    scene.book.trusted.clear()
    assert judge() == (Reason.UNTRUSTED_ISSUER,)


@pytest.mark.parametrize("form", [*SUITES, "VC-JWT", "VC-JWT 2.0"])
def test_a_foreign_document_is_judged_by_an_explicit_list(
    pure: DocumentVerifier, scene: Scene, form: str
) -> None:
    document = forms(scene)[form]
    trust = read_trust({scene.issuer: [key_method(scene.issuer)]})
    other = read_trust({scene.attacker: [key_method(scene.attacker)]})

    good = pure.verify_generic(document, format="auto", trust=trust, at=scene.at)
    bad = pure.verify_generic(document, format="auto", trust=other, at=scene.at)

    assert good.verified, good.reasons
    assert good.signature_only
    assert good.assurance is None
    assert bad.reasons == (Reason.UNTRUSTED_ISSUER,)


def sample(scene: Scene) -> Iterator[tuple[Any, Any]]:
    """A spread of mutants of each form, each with the good document."""
    for document in forms(scene).values():
        if isinstance(document, str):
            spread: Iterator[Any] = islice(
                mutants.of_token(document, seed=7, flips=300), 0, None, 3
            )
        else:
            spread = islice(mutants.of_document(document), 0, None, 9)
        for mutant in spread:
            yield document, mutant


def test_no_mutant_gets_through(pure: DocumentVerifier, scene: Scene) -> None:
    trust = read_trust({scene.issuer: [key_method(scene.issuer)]})

    through = [
        mutant
        for _, mutant in sample(scene)
        if pure.verify_credential(mutant, at=scene.at, registry=scene.book).verified
    ]
    foreign = [
        mutant
        for document, mutant in islice(sample(scene), 0, None, 4)
        if pure.verify_generic(mutant, format="auto", trust=trust, at=scene.at).verified
        and not mutants.means_the_same(document, mutant)
    ]

    assert through == []
    assert foreign == []


@settings(max_examples=150, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_anything_at_all_gets_an_answer(value: Any) -> None:
    scene, verifier = Scene(), open_verifier("pure")
    document = {**scene.ldp("eddsa-jcs-2022"), "credentialSubject": value}

    verdicts = [
        verifier.verify_credential(document, at=scene.at, registry=scene.book),
        verifier.verify_generic(document, format="ldp", trust={scene.issuer: ()}, at=scene.at),
        verifier.verify_credential(json.dumps(value), at=scene.at, registry=scene.book),
    ]

    assert not any(verdict.verified for verdict in verdicts)
    assert not any(Reason.ENGINE_FAILED in verdict.reasons for verdict in verdicts)
