"""Whose word counts: chains of accreditations, their limits, and their end."""

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from backend.adapters.events.outbox import OutboxEvent
from backend.adapters.verifier.dids import did_key, resolve_offline
from backend.adapters.verifier.interface import Reason
from backend.adapters.verifier.issuing import (
    draft_credential,
    sign_credential_jwt,
    sign_credential_ldp,
)
from backend.adapters.verifier.keys import (
    from_base64url,
    key_from_seed,
    public_from_jwk,
    verify,
)
from backend.adapters.verifier.profiles import LDP_V1
from backend.adapters.verifier.suites import ED25519_2020
from backend.features.credentials import trust
from backend.features.credentials.issuing_models import Accreditation
from backend.features.credentials.trust_book import (
    ACCREDITATION,
    Book,
    Link,
    Scope,
    accredited_scope,
    scope_of,
)
from tests.conftest import NOON, House

ACCESS = "SiteAccessCredential"
EMPLOYMENT = "EmploymentCredential"
EVER = (datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
HQ = {"site": "site_hq"}


def link(name: str, above: str | None = None, **values: Any) -> Link:
    """A link whose issuer is `did:x:<name>`; without more it may do all and holds for ever."""
    fields: dict[str, Any] = {
        "id": name,
        "issuer_did": f"did:x:{name}",
        "credential_types": frozenset({ACCESS, EMPLOYMENT}),
        "scope": Scope(),
        "may_accredit": True,
        "parent_id": above,
        "valid_from": EVER[0],
        "valid_until": EVER[1],
        "is_revoked": False,
    }
    return Link(**{**fields, **values})


def asked(book: Book, issuer: str = "c", claims: Any = HQ, **values: Any) -> Reason | None:
    question: dict[str, Any] = {
        "credential_type": ACCESS,
        "subject": "did:x:driver",
        "times": (NOON, NOON),
    }
    return book.accredits(f"did:x:{issuer}", claims=claims, **{**question, **values})


def book(*links: Link) -> Book:
    return Book(links, epoch=1)


CHAIN = (link("a"), link("b", "a"), link("c", "b"))


def test_a_chain_of_three_is_trusted() -> None:
    assert [asked(book(*CHAIN), issuer) for issuer in "abc"] == [None, None, None]


def test_a_chain_of_four_is_not() -> None:
    whole = book(*CHAIN, link("d", "c"))

    assert asked(whole, "d") is Reason.ACCREDITATION_CHAIN_BROKEN
    assert asked(whole, "c") is None


def test_strangers_are_not_trusted() -> None:
    assert asked(book(*CHAIN), "z") is Reason.UNTRUSTED_ISSUER
    assert asked(book()) is Reason.UNTRUSTED_ISSUER


@pytest.mark.parametrize(
    "links",
    [
        (link("c", "c"),),
        (link("c", "b"), link("b", "c")),
        (link("c", "b"), link("b", "a"), link("a", "c")),
        (link("c", "gone"),),
    ],
    ids=["itself", "two", "three", "missing"],
)
def test_a_chain_that_reaches_no_root_is_broken(links: tuple[Link, ...]) -> None:
    assert asked(book(*links)) is Reason.ACCREDITATION_CHAIN_BROKEN


def test_an_issuer_cannot_stand_above_itself() -> None:
    twice = book(link("a"), link("b", "a"), link("c", "b", issuer_did="did:x:a"))

    assert twice.chain(link("c", "b", issuer_did="did:x:a")) is None


@pytest.mark.parametrize("revoked", range(3))
def test_a_revoked_link_takes_along_all_below(revoked: int) -> None:
    links = [
        link(one.id, one.parent_id, is_revoked=number == revoked)
        for number, one in enumerate(CHAIN)
    ]

    answers = [asked(book(*links), issuer) for issuer in "abc"]

    assert answers == [None] * revoked + [Reason.ACCREDITATION_REVOKED] * (3 - revoked)


@pytest.mark.parametrize("expired", range(3))
def test_an_expired_link_takes_along_all_below(expired: int) -> None:
    links = [
        link(one.id, one.parent_id, **({"valid_until": NOON} if number == expired else {}))
        for number, one in enumerate(CHAIN)
    ]

    answers = [asked(book(*links), issuer) for issuer in "abc"]

    assert answers == [None] * expired + [Reason.ACCREDITATION_EXPIRED] * (3 - expired)


def test_issuance_and_now_both_have_to_lie_in_the_validity() -> None:
    short = book(link("c", valid_from=NOON - timedelta(days=1), valid_until=NOON))

    times = [
        (NOON - timedelta(hours=2), NOON - timedelta(hours=1)),
        (NOON - timedelta(days=2), NOON - timedelta(hours=1)),
        (NOON - timedelta(hours=1), NOON),
    ]
    answers = [asked(short, times=both) for both in times]

    assert answers == [None, Reason.ACCREDITATION_EXPIRED, Reason.ACCREDITATION_EXPIRED]


def test_nobody_passes_on_what_they_may_not() -> None:
    mute = book(link("a", may_accredit=False), link("c", "a"))
    other_type = book(link("a", credential_types=frozenset({EMPLOYMENT})), link("c", "a"))

    assert asked(mute) is Reason.ACCREDITATION_CHAIN_BROKEN
    assert asked(other_type) is Reason.ACCREDITATION_CHAIN_BROKEN


def test_every_link_limits_what_is_below_it() -> None:
    hq_only = Scope.limited_to(["site_hq"], None, None)
    wide_below_narrow = book(link("a", scope=hq_only), link("c", "a"))

    assert asked(wide_below_narrow, claims=HQ) is None
    assert asked(wide_below_narrow, claims={"site": "site_mall"}) is Reason.OUTSIDE_ACCREDITATION


def test_one_of_several_accreditations_is_enough() -> None:
    two = book(
        link("c1", issuer_did="did:x:c", scope=Scope.limited_to(["site_mall"], None, None)),
        link("c2", issuer_did="did:x:c", scope=Scope.limited_to(["site_hq"], None, None)),
    )

    assert asked(two) is None


def test_nobody_vouches_for_themselves() -> None:
    assert asked(book(link("c")), subject="did:x:c") is Reason.SELF_ISSUED


def _employed(**claims: Any) -> dict[str, Any]:
    return {"employer": "E", **claims}


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        (_employed(role="employee", sites=["site_hq"]), None),
        (_employed(role="operator", sites=["site_hq"]), None),
        (_employed(role="operator", sites=["site_hq", "site_mall"]), Reason.OUTSIDE_ACCREDITATION),
        (_employed(role="operator"), Reason.OUTSIDE_ACCREDITATION),
        (_employed(role="fleet_manager"), Reason.OUTSIDE_ACCREDITATION),
        (_employed(role="fleet_manager", fleets=["vans"]), Reason.OUTSIDE_ACCREDITATION),
        (_employed(role="auditor"), Reason.OUTSIDE_ACCREDITATION),
        (_employed(role="auditor", sites=["site_hq"]), Reason.OUTSIDE_ACCREDITATION),
        (_employed(role="administrator", sites=["site_hq"]), Reason.OUTSIDE_ACCREDITATION),
    ],
    ids=str,
)
def test_an_employer_of_one_site_appoints_for_that_site_only(
    claims: dict[str, Any], reason: Reason | None
) -> None:
    employer = book(link("c", scope=Scope.limited_to(["site_hq"], None, None)))

    assert asked(employer, claims=claims, credential_type=EMPLOYMENT) is reason


@pytest.mark.parametrize(
    ("credential_type", "claims", "scope", "reason"),
    [
        ("VehicleSpecCredential", {"wmi": "TAS"}, Scope(), Reason.OUTSIDE_ACCREDITATION),
        ("VehicleSpecCredential", {"wmi": "TAS"}, Scope.limited_to(None, None, ["TAS"]), None),
        (
            "VehicleSpecCredential",
            {"wmi": "WVW"},
            Scope.limited_to(None, None, ["TAS"]),
            Reason.OUTSIDE_ACCREDITATION,
        ),
        ("ChargerSpecCredential", HQ, Scope(), Reason.OUTSIDE_ACCREDITATION),
        ("ChargerSpecCredential", HQ, Scope.limited_to(["site_hq"], None, None), None),
        (
            "ChargerSpecCredential",
            HQ,
            Scope.limited_to(["site_mall"], None, None),
            Reason.OUTSIDE_ACCREDITATION,
        ),
    ],
)
def test_specifications_come_from_makers_and_operators_only(
    credential_type: str, claims: dict[str, Any], scope: Scope, reason: Reason | None
) -> None:
    issuer = book(link("c", credential_types=frozenset({credential_type}), scope=scope))

    assert asked(issuer, claims=claims, credential_type=credential_type) is reason


def test_scopes_cover_what_lies_inside_them() -> None:
    everything, hq = Scope(), Scope.limited_to(["site_hq"], None, None)

    assert everything.covers(hq)
    assert everything.covers(everything)
    assert not hq.covers(everything)
    assert hq.covers(scope_of(ACCESS, HQ))
    assert not hq.covers(scope_of("ChargingContractCredential", {"provider": "P"}))
    assert hq.covers(accredited_scope({"sites": ["site_hq"]}))
    assert not hq.covers(accredited_scope({"fleets": ["vans"]}))


# Over HTTP


KEYS = {name: key_from_seed(name.encode()) for name in "abcde"}


def did(name: str) -> str:
    return did_key(KEYS[name])


def root(house: House, issuer: str, **values: Any) -> Any:
    body = {
        "kind": "root",
        "issuer_did": issuer,
        "credential_types": [ACCESS, EMPLOYMENT],
        "valid_from": "2026-01-01T00:00:00Z",
        "valid_until": "2030-01-01T00:00:00Z",
    }
    return house.post("/issuers", {**body, **values})


def accreditation(signer: str, subject: str, **claims: Any) -> dict[str, str]:
    said = {"credentialTypes": [ACCESS], "mayAccredit": True, **claims}
    draft = draft_credential(
        ACCREDITATION,
        issuer=did(signer),
        subject=did(subject),
        claims=said,
        valid_from=NOON - timedelta(days=1),
        valid_until=NOON + timedelta(days=100),
    )
    return {"kind": "accreditation", "credential": sign_credential_jwt(draft, KEYS[signer])}


def _judge(house: House, issuer: str, claims: Any = HQ, subject: str = "did:x:s") -> Reason | None:
    now = house.clock.now()
    with house.parts.database.reading() as db:
        return trust.accredits(
            db, house.parts.shared, issuer, ACCESS, claims, subject=subject, issued_at=now, at=now
        )


@pytest.fixture
def chained(house: House) -> list[str]:
    """Ids of a root's accreditation and of two below it."""
    made = [root(house, did("a"))]
    made += [house.post("/issuers", accreditation(*pair)) for pair in ("ab", "bc")]
    assert [one.status_code for one in made] == [201, 201, 201], [one.text for one in made]
    return [one.json()["accreditation_id"] for one in made]


def test_accreditations_are_handed_in_and_chained(house: House, chained: list[str]) -> None:
    rows = {one["accreditation_id"]: one for one in house.get("/issuers").json()["data"]}

    assert [rows[one]["parent_id"] for one in chained] == [None, chained[0], chained[1]]
    assert [rows[one]["holds"] for one in chained] == [True, True, True]
    assert rows[chained[2]]["accredited_by"] == did("b")
    assert rows[chained[2]]["valid_until"] == "2026-06-18T10:00:00Z"
    assert _judge(house, did("c")) is None


def test_revoking_one_refuses_its_dependants_at_once(house: House, chained: list[str]) -> None:
    before = _judge(house, did("c"))
    answer = house.client.delete(f"/api/v1/issuers/{chained[1]}")

    rows = {one["accreditation_id"]: one for one in house.get("/issuers").json()["data"]}
    assert before is None
    assert answer.status_code == 200
    assert answer.json()["revoked_at"] == "2026-03-10T10:00:00Z"
    assert _judge(house, did("a")) is None
    assert _judge(house, did("b")) is Reason.ACCREDITATION_REVOKED
    assert _judge(house, did("c")) is Reason.ACCREDITATION_REVOKED
    assert [rows[one]["reason"] for one in chained] == [
        None,
        "accreditation_revoked",
        "accreditation_revoked",
    ]


def test_another_worker_sees_the_change_with_its_next_question(
    house: House, chained: list[str]
) -> None:
    kept: dict[str, Any] = {}  # what another process holds

    def _elsewhere() -> Reason | None:
        with house.parts.database.reading() as db:
            return trust.book_of(db, kept).why_not(chained[2], at=NOON)

    before = _elsewhere()
    house.client.delete(f"/api/v1/issuers/{chained[0]}")

    assert before is None
    assert _elsewhere() is Reason.ACCREDITATION_REVOKED


def test_a_fourth_link_is_refused(house: House, chained: list[str]) -> None:
    answer = house.post("/issuers", accreditation("c", "d"))

    assert (answer.status_code, answer.json()["code"]) == (409, "accreditation_refused")
    assert "accreditation_chain_broken" in answer.json()["detail"]
    assert len(house.get("/issuers").json()["data"]) == len(chained)


def test_a_circle_is_refused(house: House, chained: list[str]) -> None:
    answer = house.post("/issuers", accreditation("b", "a"))

    assert (answer.status_code, answer.json()["code"]) == (409, "accreditation_refused")
    assert "lead back" in answer.json()["detail"]
    assert _judge(house, did("c")) is None, chained


def test_a_circle_made_in_the_database_is_refused(house: House, chained: list[str]) -> None:
    with house.parts.database.transaction() as db:
        looped = update(Accreditation).where(Accreditation.id == chained[0])
        db.execute(looped.values(parent_id=chained[2]))
        trust.begin_change(db)

    answers = {_judge(house, did(name)) for name in "abc"}

    assert answers == {Reason.ACCREDITATION_CHAIN_BROKEN}


@pytest.mark.parametrize(
    ("signer", "claims", "reason"),
    [
        ("e", {}, "untrusted_issuer"),
        ("b", {"credentialTypes": [EMPLOYMENT]}, "untrusted_issuer"),
    ],
)
def test_what_the_signer_may_not_accredit_is_refused(
    house: House,
    chained: list[str],
    signer: str,
    claims: dict[str, Any],
    reason: str,
) -> None:
    answer = house.post("/issuers", accreditation(signer, "d", **claims))

    assert (answer.status_code, answer.json()["code"]) == (409, "accreditation_refused"), chained
    assert reason in answer.json()["detail"]


def test_an_altered_accreditation_is_refused(house: House) -> None:
    root(house, did("a"))
    token = accreditation("a", "b")["credential"]
    other = accreditation("a", "c")["credential"]
    mixed = ".".join([*other.split(".")[:2], token.split(".")[2]])

    answer = house.post("/issuers", {"kind": "accreditation", "credential": mixed})

    assert (answer.status_code, answer.json()["code"]) == (409, "accreditation_refused")
    assert "signature_invalid" in answer.json()["detail"]


def test_a_revoked_accreditation_cannot_be_handed_in_again(house: House) -> None:
    root(house, did("a"))
    body = accreditation("a", "b")
    first = house.post("/issuers", body)
    house.client.delete(f"/api/v1/issuers/{first.json()['accreditation_id']}")

    again = house.post("/issuers", body)

    assert first.status_code == 201
    assert (again.status_code, again.json()["code"]) == (409, "accreditation_known")
    assert _judge(house, did("b")) is Reason.ACCREDITATION_REVOKED


def test_a_revoked_accreditation_does_not_come_back_in_another_spelling(house: House) -> None:
    root(house, did("a"))
    body = accreditation("a", "b")
    twin = sign_credential_ldp(
        draft_of(body["credential"]), KEYS["a"], suite="Ed25519Signature2020", at=NOON
    )
    other = {**twin, "@context": LDP_V1, "proof": {"@context": [ED25519_2020], **twin["proof"]}}
    first = house.post("/issuers", {"kind": "accreditation", "credential": twin})
    house.client.delete(f"/api/v1/issuers/{first.json()['accreditation_id']}")

    again = house.post("/issuers", {"kind": "accreditation", "credential": other})
    judged = house.post("/credentials/verify", {"document": other}).json()

    assert first.status_code == 201, first.text
    assert judged["verified"], judged  # the same signature, another hash
    assert judged["credential_hash"] != first.json()["credential_hash"]
    assert (again.status_code, again.json()["code"]) == (409, "accreditation_known")
    assert _judge(house, did("b")) is Reason.ACCREDITATION_REVOKED


def draft_of(token: str) -> dict[str, Any]:
    """What a VC-JWT says, for another form of it."""
    payload = json.loads(from_base64url(token.split(".")[1]))
    return draft_credential(
        ACCREDITATION,
        issuer=payload["iss"],
        subject=payload["sub"],
        claims={n: v for n, v in payload["vc"]["credentialSubject"].items() if n != "id"},
        valid_from=datetime.fromtimestamp(payload["nbf"], UTC),
        valid_until=datetime.fromtimestamp(payload["exp"], UTC),
        credential_id=payload["jti"],
    )


def test_an_accreditation_that_is_revoked_while_it_is_handed_in_does_not_count(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = house.get("/issuers/snapshot").json()["signer"]
    root(house, own, credential_types=[ACCESS, ACCREDITATION])
    said = {
        "credential_type": ACCREDITATION,
        "subject_did": did("b"),
        "claims": {"credentialTypes": [ACCESS], "mayAccredit": False, "sites": ["site_hq"]},
    }
    made = house.post("/credentials/issue", said).json()
    verifier = house.parts.verifier
    judge = verifier.verify_credential

    def _judge_then_revoke(document: Any, **values: Any) -> Any:
        verdict = judge(document, **values)
        house.post("/credentials/revoke", {"credential_id": made["credential_id"]})
        return verdict

    monkeypatch.setattr(verifier, "verify_credential", _judge_then_revoke)

    answer = house.post("/issuers", {"kind": "accreditation", "credential": made["credential"]})

    assert (answer.status_code, answer.json()["code"]) == (409, "accreditation_refused")
    assert "revoked" in answer.json()["detail"]
    assert _judge(house, did("b")) is Reason.UNTRUSTED_ISSUER


def test_revoking_the_credential_revokes_the_accreditation(house: House) -> None:
    own = house.get("/issuers/snapshot").json()["signer"]
    root(house, own, credential_types=[ACCESS, ACCREDITATION])
    subject = did_key(key_from_seed(b"issuer"))
    said = {
        "credential_type": ACCREDITATION,
        "subject_did": subject,
        "claims": {"credentialTypes": [ACCESS], "mayAccredit": False, "sites": ["site_hq"]},
    }
    made = house.post("/credentials/issue", said).json()
    added = house.post("/issuers", {"kind": "accreditation", "credential": made["credential"]})
    before = _judge(house, subject)

    suspended = house.post("/credentials/suspend", {"credential_id": made["credential_id"]})
    house.post("/credentials/revoke", {"credential_id": made["credential_id"]})

    assert added.status_code == 201, added.text
    assert before is None
    assert (suspended.status_code, suspended.json()["code"]) == (409, "not_suspendable")
    assert _judge(house, subject) is Reason.ACCREDITATION_REVOKED


def test_a_registered_charger_is_specified_for_its_own_site_only(house: House) -> None:
    house.site("site_hq", chargers=1)
    spec, issuer = "ChargerSpecCredential", did("a")
    root(house, issuer, credential_types=[spec], sites=["site_hq", "site_mall"])
    now = house.clock.now()

    def _asked(site: str, charger: str) -> Reason | None:
        with house.parts.database.reading() as db:
            return trust.accredits(
                db, {}, issuer, spec, {"site": site}, subject=charger, issued_at=now, at=now
            )

    own = "did:denso:charger:site_hq_chr01"
    assert _asked("site_hq", own) is None
    assert _asked("site_mall", own) is Reason.OUTSIDE_ACCREDITATION
    assert _asked("site_mall", "did:denso:charger:not_here") is None


@pytest.mark.parametrize(
    "times",
    [
        {"valid_until": "2026-03-10T10:00:00Z"},
        {"valid_from": "2027-01-01T00:00:00Z", "valid_until": "2026-12-01T00:00:00Z"},
    ],
)
def test_a_root_that_would_never_hold_is_refused(house: House, times: dict[str, str]) -> None:
    answer = root(house, did("a"), **times)

    assert (answer.status_code, answer.json()["code"]) == (409, "validity_impossible")


def test_the_snapshot_is_signed_and_its_hash_was_told(house: House, chained: list[str]) -> None:
    answer = house.get("/issuers/snapshot").json()

    header, content, signature = answer["jws"].split(".")
    payload = from_base64url(content)
    [method] = resolve_offline(answer["signer"])
    public = public_from_jwk(method.public_jwk or {})
    with house.parts.database.reading() as db:
        query = select(OutboxEvent).where(OutboxEvent.type == "issuers.changed")
        told = db.scalars(query.order_by(OutboxEvent.id)).all()
    assert verify(public, from_base64url(signature), f"{header}.{content}".encode())
    assert hashlib.sha256(payload).hexdigest() == answer["sha256"]
    assert [one.data["epoch"] for one in told] == [1, 2, 3]
    assert told[-1].data["snapshot_sha256"] == answer["sha256"]
    assert len({one.data["snapshot_sha256"] for one in told}) == 3
    assert [one["id"] for one in json.loads(payload)["accreditations"]] == chained
    assert did("c") in payload.decode()


def test_an_unknown_accreditation_is_not_found(house: House) -> None:
    answers = [house.get("/issuers/acc_x"), house.client.delete("/api/v1/issuers/acc_x")]

    assert [one.status_code for one in answers] == [404, 404]
    assert {one.json()["code"] for one in answers} == {"accreditation_not_found"}


@pytest.mark.parametrize(
    "change",
    [
        {"credential_types": ["DriversLicence"]},
        {"credential_types": []},
        {"issuer_did": "someone"},
        {"kind": "friend"},
        {"trusted": True},
    ],
)
def test_a_malformed_root_is_refused(house: House, change: dict[str, Any]) -> None:
    assert root(house, did("a"), **change).status_code == 422
