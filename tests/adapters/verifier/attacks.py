"""Hostile documents, made from good ones: every one has to be refused.

The groups: changed bytes, dates, unsigned types, swapped contexts, dropped terms and ids, ambiguous
values, odd proofs, tokens, status, presentations, and documents that only want to crash or stall.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from backend.adapters.verifier.dids import key_method
from backend.adapters.verifier.interface import StatusEntry
from backend.adapters.verifier.issuing import sign_jwt
from backend.adapters.verifier.keys import base64url, from_base64url, point_of
from backend.adapters.verifier.profiles import TERMS_WITH_STATUS, VOCABULARY
from backend.adapters.verifier.reasons import Reason
from backend.adapters.verifier.suites import SUITES, sign_document
from tests.adapters.verifier.scene import CHALLENGE, DOMAIN, LIST_URL, VEHICLE, Scene, plain

Document = str | bytes | dict[str, Any]
ED25519_ORDER = 2**252 + 27742317777372353535851937790883648493


@dataclass(frozen=True)
class Attack:
    """One hostile document.

    Attributes:
        reason: The reason code it has to be refused with; None where several are right.
    """

    name: str
    kind: Literal["credential", "presentation"]
    document: Document
    reason: str | None = None


def all_attacks(scene: Scene) -> list[Attack]:
    """Every attack, each name once."""
    attacks = [
        *changed_documents(scene),
        *document_texts(scene),
        *signed_by_others(scene),
        *tokens(scene),
        *dates_and_status(scene),
        *presentations(scene),
        *bombs(scene),
    ]
    names = [attack.name for attack in attacks]
    assert len(names) == len(set(names)), "every attack has a name of its own"
    return attacks


Change = Callable[[dict[str, Any]], object]


def _set(path: str, value: Any) -> Change:
    """Set a member at a dotted path."""

    def change(document: dict[str, Any]) -> None:
        *way, last = path.split(".")
        for step in way:
            document = document[step]
        document[last] = value

    return change


def _drop(path: str) -> Change:
    def change(document: dict[str, Any]) -> None:
        *way, last = path.split(".")
        for step in way:
            document = document[step]
        del document[last]

    return change


def _both(*changes: Change) -> Change:
    def change(document: dict[str, Any]) -> None:
        for one in changes:
            one(document)

    return change


def _terms(**terms: Any) -> Change:
    """Add terms to the inline context, or a context of them."""

    def change(document: dict[str, Any]) -> None:
        document["@context"].append(terms)

    return change


def _swap_terms(left: str, right: str) -> Change:
    """Swap two meanings and the two names: the signed statements stay the same."""

    def change(document: dict[str, Any]) -> None:
        own = next((one for one in document["@context"] if isinstance(one, dict)), None)
        own = dict(own or TERMS_WITH_STATUS)
        own[left], own[right] = own[right], own[left]
        document["@context"] = [document["@context"][0], own, *document["@context"][2:]]
        subject = document["credentialSubject"]
        subject[left], subject[right] = subject[right], subject[left]

    return change


def _rename(old: str, new: str) -> Change:
    def change(document: dict[str, Any]) -> None:
        document["@context"].append({new: VOCABULARY + old})
        document["credentialSubject"][new] = document["credentialSubject"].pop(old)

    return change


def _append_type(name: str) -> Change:
    return lambda document: document["type"].append(name)


OTHER = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
CHANGES: dict[str, tuple[Change, str | None]] = {
    "claim changed": (_set("credentialSubject.batteryCapacityWh", 99_000), "signature_invalid"),
    "claim added": (_set("credentialSubject.site", "site_hq"), "claims_not_allowed"),
    "claim removed": (_drop("credentialSubject.wmi"), "claims_not_allowed"),
    "issuer changed": (_set("issuer", OTHER), None),
    "issuer an object": (lambda d: d.update(issuer={"id": d["issuer"]}), "malformed_did"),
    "issuer null": (_set("issuer", None), "malformed_did"),
    "issuer missing": (_drop("issuer"), "member_missing"),
    "subject changed": (_set("credentialSubject.id", OTHER), "signature_invalid"),
    "subject dropped": (_drop("credentialSubject.id"), "malformed_member"),
    "id changed": (
        _set("id", "urn:uuid:00000000-0000-4000-8000-000000000000"),
        "signature_invalid",
    ),
    "id relative": (_set("id", "credential-1"), "malformed_id"),
    "id missing": (_drop("id"), "member_missing"),
    "id a list": (lambda d: d.update(id=[d["id"]]), "malformed_id"),
    "status index changed": (_set("credentialStatus.statusListIndex", "1"), "malformed_member"),
    "status removed": (_drop("credentialStatus"), "signature_invalid"),
    "status of another kind": (_set("credentialStatus.type", "StatusList2021Entry"), None),
    "status purpose changed": (
        _set("credentialStatus.statusPurpose", "suspension"),
        "signature_invalid",
    ),
    "undefined claim": (_set("credentialSubject.isAdmin", value=True), "claims_not_allowed"),
    "undefined member": (_set("isAdmin", value=True), "member_not_allowed"),
    "undefined member of the proof": (
        _set("proof.isAdmin", value=True),
        "proof_member_not_allowed",
    ),
    "created changed": (_set("proof.created", "2020-01-01T00:00:00Z"), "signature_invalid"),
    "created malformed": (_set("proof.created", "yesterday"), "malformed_date"),
    "created missing": (_drop("proof.created"), "proof_member_not_allowed"),
    "purpose changed": (_set("proof.proofPurpose", "authentication"), "proof_purpose_wrong"),
    "challenge added": (_set("proof.challenge", "x"), "proof_member_not_allowed"),
    "domain added": (_set("proof.domain", "x"), "proof_member_not_allowed"),
    "nonce added": (_set("proof.nonce", "x"), "proof_member_not_allowed"),
    "method of another": (_set("proof.verificationMethod", key_method(OTHER)), None),
    "method without fragment": (_set("proof.verificationMethod", OTHER), "method_unknown"),
    "proof removed": (_drop("proof"), "proof_missing"),
    "proof a list": (lambda d: d.update(proof=[d["proof"]]), "proof_not_single"),
    "a foreign proof first": (
        lambda d: d.update(proof=[{**d["proof"], "created": "2020-01-01T00:00:00Z"}, d["proof"]]),
        "proof_not_single",
    ),
    "a foreign proof beside": (
        lambda d: d.update(proof=[d["proof"], {"type": "Ed25519Signature2018", "jws": "a..b"}]),
        "proof_not_single",
    ),
    "a second signature": (_both(_set("proof.jws", "a..b"), _set("proof.proofValue", "z2")), None),
    "undefined type": (_append_type("PrioritySlot"), "type_not_allowed"),
    "another type of ours": (_append_type("PrioritySlotCredential"), "type_not_allowed"),
    "type with a space": (_append_type("Vehicle Spec"), "type_not_allowed"),
    "type exchanged": (
        _set("type", ["VerifiableCredential", "PrioritySlotCredential"]),
        "claims_not_allowed",
    ),
    "types turned round": (lambda d: d["type"].reverse(), "type_not_allowed"),
    "type of the subject": (_set("credentialSubject.type", "Admin"), "claims_not_allowed"),
    "keyword type": (_set("@type", ["Admin"]), "member_not_allowed"),
    "keyword type of the subject": (_set("credentialSubject.@type", "Admin"), "claims_not_allowed"),
    "terms swapped": (_swap_terms("maxAcPowerW", "maxDcPowerW"), "context_not_pinned"),
    "term renamed": (_rename("batteryCapacityWh", "usableWh"), "context_not_pinned"),
    "context in the subject": (
        _set("credentialSubject.@context", {"model": "https://x.example/name"}),
        "claims_not_allowed",
    ),
    "type aliased": (
        _both(
            _terms(Gold=VOCABULARY + "VehicleSpecCredential"),
            _set("type", ["VerifiableCredential", "Gold"]),
        ),
        "context_not_pinned",
    ),
    "claims nested": (
        _both(_terms(box="@nest"), _set("credentialSubject.box", {"model": "X"})),
        "context_not_pinned",
    ),
    "schema.org appended": (
        lambda d: d["@context"].append("https://schema.org"),
        "context_not_pinned",
    ),
    "unknown context": (
        lambda d: d["@context"].append("https://evil.example/v1"),
        "context_not_pinned",
    ),
    "protected term redefined": (_terms(model="https://x.example/m"), "context_not_pinned"),
    "context emptied": (_set("@context", []), "context_not_pinned"),
    "context of 1.1 twice": (
        lambda d: d["@context"].insert(0, d["@context"][0]),
        "context_not_pinned",
    ),
    "term without meaning": (
        _both(_terms(x=None), _set("credentialSubject.x", 1)),
        "context_not_pinned",
    ),
    "term of a blank node": (
        _both(_terms(x="_:b"), _set("credentialSubject.x", 1)),
        "context_not_pinned",
    ),
    "relative reference": (
        _both(
            _terms(x={"@id": "https://x.example/x", "@type": "@id"}),
            _set("credentialSubject.x", "admin"),
        ),
        "context_not_pinned",
    ),
    "undefined vocabulary value": (
        _both(
            _terms(x={"@id": "https://x.example/x", "@type": "@vocab"}),
            _set("credentialSubject.x", "admin"),
        ),
        "context_not_pinned",
    ),
    "reverse property": (
        _both(_terms(x={"@reverse": "https://x.example/x"}), _set("credentialSubject.x", {})),
        "context_not_pinned",
    ),
    "index container": (
        _both(
            _terms(x={"@id": "https://x.example/x", "@container": "@index"}),
            _set("credentialSubject.x", {"a": 1}),
        ),
        "context_not_pinned",
    ),
    "index member": (_set("credentialSubject.@index", "a"), "claims_not_allowed"),
    "included nodes": (_set("@included", [{"id": OTHER}]), "member_not_allowed"),
    "empty graph": (_set("@graph", []), "member_not_allowed"),
    "null claim": (_set("credentialSubject.model", None), "claims_not_allowed"),
    "null optional": (_set("credentialStatus", None), "malformed_member"),
    "empty list claim": (_set("credentialSubject.sites", []), "claims_not_allowed"),
    "subject with a space": (_set("credentialSubject.id", "did:denso:dri ver"), "malformed_did"),
    "issuer with a space": (_set("issuer", "did:key:z6 Mk"), "malformed_did"),
    "whole number as float": (_set("credentialSubject.batteryCapacityWh", 77000.0), None),
    "number as text": (_set("credentialSubject.batteryCapacityWh", "77000"), "claims_not_allowed"),
    "number as truth": (
        _set("credentialSubject.consumptionWhPerKm", value=True),
        "claims_not_allowed",
    ),
    "number too large": (_set("credentialSubject.maxAcPowerW", 2**53 + 1), None),
    "claim in a list": (_set("credentialSubject.model", ["Probe 77"]), "claims_not_allowed"),
    "claim as value object": (
        _set("credentialSubject.model", {"@value": "Probe 77"}),
        "claims_not_allowed",
    ),
    "claim with a language": (
        _set("credentialSubject.model", {"@value": "Probe 77", "@language": "en"}),
        "claims_not_allowed",
    ),
    "two subjects": (
        lambda d: d.update(credentialSubject=[d["credentialSubject"], {"id": OTHER}]),
        "malformed_member",
    ),
    "subject in a list": (
        lambda d: d.update(credentialSubject=[d["credentialSubject"]]),
        "malformed_member",
    ),
    "decomposed text": (_set("credentialSubject.model", "Probe\u0301 77"), "signature_invalid"),
    "lone surrogate": (_set("credentialSubject.model", "\ud800"), "invalid_text"),
    "control character": (_set("credentialSubject.model", "a\u0000b"), "claims_not_allowed"),
    "short did:key": (_set("issuer", "did:key:z6Mk"), None),
    "did:key off the curve": (_set("issuer", "did:key:zDn" + "1" * 45), None),
    "did:web issuer": (_set("issuer", "did:web:localhost"), "unsupported_did_method"),
    "did:web with a port": (_set("issuer", "did:web:127.0.0.1%3A80"), "unsupported_did_method"),
    "did:tz issuer": (
        _set("issuer", "did:tz:tz1VFda3KmzRecjsYptDq5bJh1M1NyAqgBJf"),
        "unsupported_did_method",
    ),
    "did:ion issuer": (_set("issuer", "did:ion:abc"), "unsupported_did_method"),
    "did:ethr issuer": (_set("issuer", "did:ethr:0x" + "0" * 40), "unsupported_did_method"),
    "did:example issuer": (_set("issuer", "did:example:1"), "unsupported_did_method"),
    "unregistered did:denso": (_set("issuer", "did:denso:operator:1"), "method_unknown"),
    "private did:jwk": (
        _set(
            "issuer",
            "did:jwk:" + base64url(b'{"kty":"OKP","crv":"Ed25519","x":"AA","d":"AA"}'),
        ),
        "malformed_did",
    ),
    "symmetric did:jwk": (
        _set("issuer", "did:jwk:" + base64url(b'{"kty":"oct","k":"AA"}')),
        "malformed_did",
    ),
    "CLSignature2019": (_set("proof.type", "CLSignature2019"), "proof_type_not_allowed"),
    "BBS": (_set("proof.type", "BbsBlsSignature2020"), "proof_type_not_allowed"),
    "EIP-712": (
        _both(_set("proof.type", "Eip712Signature2021"), _set("proof.proofValue", "0x00")),
        "proof_type_not_allowed",
    ),
    "personal signature": (
        _both(_set("proof.type", "EthereumPersonalSignature2021"), _set("proof.proofValue", "0x")),
        "proof_type_not_allowed",
    ),
    "Solana": (_set("proof.type", "SolanaSignature2021"), "proof_type_not_allowed"),
    "Tezos": (
        _set("proof.type", "Ed25519BLAKE2BDigestSize20Base58CheckEncodedSignature2021"),
        "proof_type_not_allowed",
    ),
    "no proof type": (_drop("proof.type"), "proof_type_not_allowed"),
    "proof empty": (_set("proof", {}), "proof_type_not_allowed"),
    "proof a text": (_set("proof", "trust me"), "proof_missing"),
}
SIGNED_IN = ("Ed25519Signature2020", "Ed25519Signature2018", "eddsa-jcs-2022")


def changed_documents(scene: Scene) -> Iterator[Attack]:
    """Every change after signing; the important ones of every way to sign."""
    everywhere = {"claim changed", "subject changed", "another type of ours", "terms swapped"}
    for place, suite in enumerate(SIGNED_IN):
        for name, (change, reason) in CHANGES.items():
            if place and name not in everywhere:
                continue
            document = scene.ldp(suite)
            change(document)
            expected = reason if place == 0 or name != "terms swapped" else "context_not_pinned"
            yield Attack(f"{suite}: {name}", "credential", document, expected)
    for name, good in (("recovery", scene.recovered()), ("JWS", scene.ldp("JsonWebSignature2020"))):
        for what in ("claim changed", "subject changed", "created changed"):
            document = plain(good)
            CHANGES[what][0](document)
            yield Attack(f"{name}: {what}", "credential", document, "signature_invalid")
    yield from _lists(scene)
    yield from _signatures(scene)


def _lists(scene: Scene) -> Iterator[Attack]:
    claims = {"employer": "TechCorp", "role": "operator", "sites": ["site_hq", "site_mall"]}
    good: dict[str, Any] = {"credential_type": "EmploymentCredential", "claims": claims}
    for name, sites in (
        ("reordered", ["site_mall", "site_hq"]),
        ("repeated", ["site_hq", "site_hq", "site_mall"]),
        ("extended", ["site_hq", "site_mall", "site_zoo"]),
        ("emptied", []),
    ):
        document = scene.ldp(**good)
        document["credentialSubject"]["sites"] = sites
        reason = "signature_invalid" if name == "extended" else "claims_not_allowed"
        yield Attack(f"list {name}", "credential", document, reason)


def _signatures(scene: Scene) -> Iterator[Attack]:
    good = scene.ldp()
    value = good["proof"]["proofValue"]
    for name, changed in (
        ("cut", value[:-4]),
        ("emptied", ""),
        ("without its multibase letter", value[1:]),
        ("followed by a space", value + " "),
        ("of another document", scene.ldp(claims={**VEHICLE, "model": "B"})["proof"]["proofValue"]),
        ("of zeros", "z" + "1" * 64),
    ):
        document = plain(good)
        document["proof"]["proofValue"] = changed
        yield Attack(f"signature {name}", "credential", document, "signature_invalid")
    detached = scene.ldp("Ed25519Signature2018")
    head, _, signature = detached["proof"]["jws"].split(".")
    for name, header in (
        ("none", {"alg": "none", "crit": ["b64"], "b64": False}),
        ("attached", {"alg": "EdDSA"}),
        ("with its key", {"alg": "EdDSA", "crit": ["b64"], "b64": False, "jwk": {}}),
    ):
        document = plain(detached)
        protected = base64url(json.dumps(header).encode())
        document["proof"]["jws"] = f"{protected}..{signature}"
        yield Attack(f"detached signature {name}", "credential", document, "signature_invalid")
    document = plain(detached)
    document["proof"]["jws"] = f"{head}.e30.{signature}"
    yield Attack("detached signature with a payload", "credential", document, "signature_invalid")


def document_texts(scene: Scene) -> Iterator[Attack]:
    """What only the text of a document shows."""
    good = json.dumps(scene.ldp())
    battery = '"batteryCapacityWh": 77000'
    for name, text, reason in (
        ("duplicate claim", good.replace(battery, f"{battery}, {battery}"), "duplicate_member"),
        (
            "duplicate claim of another value",
            good.replace(battery, f'"batteryCapacityWh": 1, {battery}'),
            "duplicate_member",
        ),
        ("duplicate issuer", '{"issuer": "x", ' + good[1:], "duplicate_member"),
        ("float", good.replace("77000", "77000.0"), "number_not_integer"),
        ("long float", good.replace("77000", "77000.00000000001"), "number_not_integer"),
        ("exponent", good.replace("77000", "77e3"), "number_not_integer"),
        ("NaN", good.replace("77000", "NaN"), "number_out_of_range"),
        ("Infinity", good.replace("77000", "-Infinity"), "number_out_of_range"),
        ("huge integer", good.replace("77000", "9" * 5_000), "malformed_json"),
        ("trailing text", good + "x", "malformed_json"),
        ("two documents", good + good, "malformed_json"),
        ("cut", good[:-9], "malformed_json"),
        ("a list", f"[{good}]", "malformed_jwt"),
        ("escaped surrogate", good.replace("Probe", "\\ud800"), "invalid_text"),
        ("comment", "{/*x*/" + good[1:], "malformed_json"),
        ("single quotes", good.replace('"', "'"), "malformed_json"),
        ("empty", "", "malformed_jwt"),
    ):
        yield Attack(f"text: {name}", "credential", text, reason)
    yield Attack("text: not UTF-8", "credential", good.encode() + b"\xff", "not_utf8")
    yield Attack("text: byte order mark", "credential", "\ufeff" + good, "malformed_jwt")


def signed_by_others(scene: Scene) -> Iterator[Attack]:
    """Genuine signatures of the wrong people."""
    attacker = scene.attacker_key
    yield Attack(
        "attacker signs for the issuer",
        "credential",
        scene.ldp(key=attacker),
        "method_not_of_issuer",
    )
    forged = scene.draft()
    for suite in ("Ed25519Signature2018", "JsonWebSignature2020", "eddsa-jcs-2022"):
        yield Attack(
            f"attacker signs for the issuer with {suite}",
            "credential",
            scene.ldp(suite, key=attacker),
            "method_not_of_issuer",
        )
    proof = {
        "type": "Ed25519Signature2018",
        "created": f"{scene.at:%Y-%m-%dT%H:%M:%SZ}",
        "verificationMethod": key_method(scene.issuer),
        "proofPurpose": "assertionMethod",
    }
    document = sign_document(SUITES["Ed25519Signature2018"], forged, proof, attacker)
    yield Attack("attacker names the issuer's key", "credential", document, "signature_invalid")
    yield Attack(
        "attacker as issuer",
        "credential",
        scene.ldp(key=attacker, issuer=scene.attacker),
        "untrusted_issuer",
    )
    yield Attack(
        "attacker as issuer by token",
        "credential",
        scene.jwt(key=attacker, issuer=scene.attacker),
        "untrusted_issuer",
    )
    yield Attack(
        "holder as issuer",
        "credential",
        scene.jwt(key=scene.holder_key, issuer=scene.holder),
        "untrusted_issuer",
    )
    later = f"{scene.at + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"
    future = sign_document(
        SUITES["Ed25519Signature2018"], forged, proof | {"created": later}, scene.issuer_key
    )
    yield Attack("proof from the future", "credential", future, "proof_in_future")
    wrong = proof | {"proofPurpose": "authentication", "challenge": "x", "domain": "y"}
    document = sign_document(SUITES["Ed25519Signature2018"], forged, wrong, scene.issuer_key)
    yield Attack("a login's proof on a credential", "credential", document, "proof_purpose_wrong")


def _parts(token: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    head, body, signature = token.split(".")
    return json.loads(from_base64url(head)), json.loads(from_base64url(body)), signature


def _join(header: Any, payload: Any, signature: str) -> str:
    parts = (base64url(json.dumps(part).encode()) for part in (header, payload))
    return ".".join([*parts, signature])


def tokens(scene: Scene) -> Iterator[Attack]:
    """Everything that can be wrong with a VC-JWT."""
    good = scene.jwt()
    header, payload, signature = _parts(good)
    yield from _changed_tokens(good)
    yield from _headers(scene, header, payload, signature)
    yield from _resigned(scene, header, payload)


def _changed_tokens(good: str) -> Iterator[Attack]:
    header, payload, signature = _parts(good)
    head, body, _ = good.split(".")
    raw = from_base64url(signature)
    doubled = int.from_bytes(raw[32:], "little") + ED25519_ORDER
    malleable = raw[:32] + doubled.to_bytes(32, "little")
    changed = plain(payload)
    changed["vc"]["credentialSubject"]["batteryCapacityWh"] = 99_000
    battery = '"batteryCapacityWh":77000'
    text = from_base64url(body).decode()
    twice = base64url(text.replace(battery, f"{battery},{battery}").encode())
    for name, token, reason in (
        ("payload changed", _join(header, changed, signature), "signature_invalid"),
        ("signature emptied", f"{head}.{body}.", "signature_invalid"),
        ("signature cut", good[:-8], None),
        ("signature of zeros", f"{head}.{body}.{base64url(bytes(64))}", "signature_invalid"),
        ("signature plus the order", f"{head}.{body}.{base64url(malleable)}", "signature_invalid"),
        ("padded", good + "==", "malformed_jwt"),
        ("padded payload", f"{head}.{body}=.{signature}", "malformed_jwt"),
        ("stray bits", good[:-1] + _neighbour(good[-1]), "malformed_jwt"),
        ("other alphabet", good.replace("_", "/").replace("-", "+") + "/", "malformed_jwt"),
        ("followed by a line", good + "\n", "malformed_jwt"),
        ("after a space", " " + good, "malformed_jwt"),
        ("with a null", good + "\x00", "malformed_jwt"),
        ("four parts", good + ".e30", "malformed_jwt"),
        ("five parts", "a.b.c.d.e", "malformed_jwt"),
        ("two parts", f"{head}.{body}", "malformed_jwt"),
        ("in other letters", good[:-3] + "\u0430\u0430\u0430", "malformed_jwt"),
        ("as JSON serialisation", json.dumps({"payload": body, "signature": signature}), None),
        ("with disclosures", good + "~WyJhIiwiYiIsImMiXQ~", "malformed_jwt"),
        ("duplicate claim", f"{head}.{twice}.{signature}", "duplicate_member"),
    ):
        yield Attack(f"token {name}", "credential", token, reason)


def _neighbour(letter: str) -> str:
    """Another letter whose leading bits are the same."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return letters[letters.index(letter) ^ 1]


def _headers(
    scene: Scene, header: dict[str, Any], payload: dict[str, Any], signature: str
) -> Iterator[Attack]:
    for algorithm in ("none", "None", "HS256", "HS512", "RS256", "PS256", "eddsa", "ES256K-R", ""):
        token = _join({**header, "alg": algorithm}, payload, signature)
        yield Attack(f"token with alg {algorithm!r}", "credential", token, "algorithm_not_allowed")
    for algorithm in ("ES256", "ES256K", "ES384"):
        token = _join({**header, "alg": algorithm}, payload, signature)
        yield Attack(f"token with alg {algorithm}", "credential", token, "algorithm_not_allowed")
    token = _join({**header, "alg": "none"}, payload, "")
    yield Attack("token unsigned", "credential", token, "algorithm_not_allowed")
    unsigned = _join({**header, "alg": "HS256"}, payload, "").rpartition(".")[0]
    mac = hmac.new(point_of(scene.issuer_key.public), unsigned.encode(), hashlib.sha256)
    yield Attack(
        "token signed with the public key as secret",
        "credential",
        f"{unsigned}.{base64url(mac.digest())}",
        "algorithm_not_allowed",
    )
    extras: dict[str, Any] = {
        "crit": ["x"],
        "b64": False,
        "jwk": scene.attacker_key.public_jwk,
        "jku": "https://evil.example/keys",
        "x5u": "https://evil.example/chain",
        "x5c": ["AA"],
        "zip": "DEF",
        "cty": "JWT",
        "kid": 7,
        "typ": "at+jwt",
    }
    for name, value in extras.items():
        token = sign_jwt({**header, name: value}, payload, scene.issuer_key)
        yield Attack(f"token header {name}", "credential", token, "jwt_header_not_allowed")
    kids = {
        "of another": (key_method(OTHER), "method_not_of_issuer"),
        "bare": (scene.issuer.removeprefix("did:key:"), "method_not_of_issuer"),
        "a DID": (scene.issuer, "method_not_of_issuer"),
        "a path": ("../../dev/null", "method_not_of_issuer"),
        "on the web": ("did:web:localhost#key", "method_not_of_issuer"),
    }
    for name, (kid, reason) in kids.items():
        token = sign_jwt({**header, "kid": kid}, payload, scene.issuer_key)
        yield Attack(f"token kid {name}", "credential", token, reason)


def _resigned(scene: Scene, header: dict[str, Any], payload: dict[str, Any]) -> Iterator[Attack]:
    """Contradictions that somebody did sign."""
    evil = {"kid": key_method(scene.attacker), "typ": "JWT"}
    by_attacker: dict[str, tuple[Change, dict[str, Any], str | None]] = {
        "names a victim inside": (
            _both(_set("iss", scene.attacker), _set("vc.issuer", scene.issuer)),
            evil,
            "jwt_claim_mismatch",
        ),
        "names a victim outside": (lambda _: None, evil, "method_not_of_issuer"),
        "uses the victim's kid": (lambda _: None, header, "signature_invalid"),
        "without kid": (lambda _: None, {"typ": "JWT"}, "signature_invalid"),
    }
    for name, (change, head, reason) in by_attacker.items():
        changed = plain(payload)
        change(changed)
        token = sign_jwt(head, changed, scene.attacker_key)
        yield Attack(f"attacker {name}", "credential", token, reason)
    embedded = plain(payload)
    embedded["vc"]["proof"] = scene.ldp()["proof"]
    yield Attack(
        "token with a proof inside",
        "credential",
        sign_jwt(evil, embedded, scene.attacker_key),
        "member_not_allowed",
    )
    wide = _seconds(scene, days=90)
    by_issuer: dict[str, tuple[Change, str]] = {
        "iss missing": (_drop("iss"), "member_missing"),
        "sub missing": (_drop("sub"), "member_missing"),
        "jti missing": (_drop("jti"), "member_missing"),
        "nbf missing": (_drop("nbf"), "member_missing"),
        "exp missing": (_drop("exp"), "member_missing"),
        "vc missing": (_drop("vc"), "member_missing"),
        "vc a text": (_set("vc", "x"), "malformed_member"),
        "iss a list": (_set("iss", [scene.issuer]), "malformed_did"),
        "issuer contradicts": (_set("vc.issuer", OTHER), "jwt_claim_mismatch"),
        "subject contradicts": (_set("vc.credentialSubject.id", OTHER), "jwt_claim_mismatch"),
        "id contradicts": (_set("vc.id", "urn:uuid:0"), "jwt_claim_mismatch"),
        "end contradicts": (
            _set("vc.expirationDate", "2020-01-01T00:00:00Z"),
            "jwt_claim_mismatch",
        ),
        "start contradicts": (
            _set("vc.issuanceDate", "2020-01-01T00:00:00Z"),
            "jwt_claim_mismatch",
        ),
        "only an end inside": (
            _both(_drop("exp"), _set("vc.expirationDate", "2020-01-01T00:00:00Z")),
            "member_missing",
        ),
        "exp a float": (_set("exp", float(wide)), "number_not_integer"),
        "exp a text": (_set("exp", str(wide)), "malformed_date"),
        "exp a truth": (_set("exp", value=True), "malformed_date"),
        "exp negative": (_set("exp", -1), "malformed_date"),
        "exp beyond time": (_set("exp", 10**18), "malformed_date"),
        "iat in the future": (_set("iat", wide), "proof_in_future"),
        "unknown claim": (_set("admin", value=True), "jwt_claim_not_allowed"),
        "audience": (_set("aud", "https://elsewhere.example"), "jwt_claim_not_allowed"),
        "undefined type": (lambda d: d["vc"]["type"].append("Admin"), "type_not_allowed"),
        "context exchanged": (_set("vc.@context", ["https://evil.example"]), "context_not_pinned"),
        "unknown claim of the subject": (
            _set("vc.credentialSubject.isAdmin", value=True),
            "claims_not_allowed",
        ),
        "status of another list": (
            _set("vc.credentialStatus.statusListCredential", "https://evil.example/1"),
            "malformed_member",
        ),
        "status index with a zero": (
            _both(
                _set("vc.credentialStatus.statusListIndex", "07"),
                _set("vc.credentialStatus.id", f"{LIST_URL}#07"),
            ),
            "malformed_member",
        ),
        "status twice": (
            lambda d: d["vc"].update(credentialStatus=[d["vc"]["credentialStatus"]] * 2),
            "malformed_member",
        ),
    }
    for name, (change, reason) in by_issuer.items():
        changed = plain(payload)
        change(changed)
        token = sign_jwt(header, changed, scene.issuer_key)
        yield Attack(f"token: {name}", "credential", token, reason)


def _seconds(scene: Scene, *, days: int) -> int:
    return int((scene.at + timedelta(days=days)).timestamp())


def dates_and_status(scene: Scene) -> Iterator[Attack]:
    """Genuine, but not now, or not any more."""
    makers: dict[str, Callable[..., Document]] = {
        "token": scene.jwt,
        "2020": scene.ldp,
        "2018": lambda **values: scene.ldp("Ed25519Signature2018", **values),
        "JCS": lambda **values: scene.ldp("eddsa-jcs-2022", **values),
    }
    scene.book.standing |= {5: Reason.REVOKED, 6: Reason.SUSPENDED}
    for form, make in makers.items():
        yield Attack(f"{form} expired", "credential", make(ago_days=40), "expired")
        yield Attack(f"{form} not yet valid", "credential", make(ago_days=-2), "not_yet_valid")
        for index, name in ((5, "revoked"), (6, "suspended")):
            entry = StatusEntry(LIST_URL, index, "revocation")
            yield Attack(f"{form} {name}", "credential", make(status=[entry]), name)
        unknown = StatusEntry("https://evil.example/list", 1, "revocation")
        yield Attack(
            f"{form} of an unknown list", "credential", make(status=[unknown]), "status_unknown"
        )


def presentations(scene: Scene) -> Iterator[Attack]:
    """Everything that can be wrong with a presentation."""
    token, document = scene.jwt(), scene.ldp()
    stolen_token, stolen = scene.jwt(subject=OTHER), scene.ldp(subject=OTHER)
    tampered = plain(document)
    tampered["credentialSubject"]["batteryCapacityWh"] = 99_000
    unsigned = {name: value for name, value in document.items() if name != "proof"}
    long_ago = scene.at - timedelta(days=9_000)
    soon = scene.at + timedelta(hours=1)
    made: dict[str, tuple[Document, str | None]] = {
        "VP: tampered credential": (scene.vp_ldp(tampered), "credential_refused"),
        "VP: unsigned credential": (scene.vp_ldp(unsigned), "credential_refused"),
        "VP: expired credential": (scene.vp_ldp(scene.ldp(ago_days=40)), "credential_refused"),
        "VP: stolen credential": (scene.vp_ldp(stolen), "credential_refused"),
        "VP: untrusted credential": (
            scene.vp_ldp(scene.ldp(key=scene.attacker_key, issuer=scene.attacker)),
            "credential_refused",
        ),
        "VP: wrong challenge": (scene.vp_ldp(document, challenge="x"), "challenge_mismatch"),
        "VP: wrong domain": (scene.vp_ldp(document, domain="x"), "domain_mismatch"),
        "VP: of 2001": (scene.vp_ldp(document, at=long_ago), "proof_too_old"),
        "VP: of the future": (scene.vp_ldp(document, at=soon), "proof_in_future"),
        "VP: another's key": (
            scene.vp_ldp(document, key=scene.attacker_key),
            "method_not_of_holder",
        ),
        "VP-JWT: tampered credential": (
            scene.vp_jwt(token[:-8] + "AAAAAAAA"),
            "credential_refused",
        ),
        "VP-JWT: expired credential": (scene.vp_jwt(scene.jwt(ago_days=40)), "credential_refused"),
        "VP-JWT: stolen credential": (scene.vp_jwt(stolen_token), "credential_refused"),
        "VP-JWT: untrusted credential": (
            scene.vp_jwt(scene.jwt(key=scene.attacker_key, issuer=scene.attacker)),
            "credential_refused",
        ),
        "VP-JWT: wrong challenge": (scene.vp_jwt(token, challenge="x"), "challenge_mismatch"),
        "VP-JWT: wrong domain": (scene.vp_jwt(token, domain="x"), "domain_mismatch"),
        "VP-JWT: of 2001": (scene.vp_jwt(token, at=long_ago), "proof_too_old"),
        "VP-JWT: of the future": (scene.vp_jwt(token, at=soon), "proof_in_future"),
        "VP-JWT: another's key": (
            scene.vp_jwt(token, key=scene.attacker_key),
            "method_not_of_holder",
        ),
        "VP-JWT: one good, one bad": (scene.vp_jwt(token, stolen_token), "credential_refused"),
        "VP-JWT: nine": (
            scene.vp_jwt(*[scene.jwt() for _ in range(9)]),
            "too_many_credentials",
        ),
        "VP-JWT: the same twice": (scene.vp_jwt(token, token), "malformed_member"),
        "VP-JWT: a credential instead": (token, None),
        "VP: a credential instead": (document, None),
        "VP: no credential in it": (
            {**scene.vp_ldp(document), "verifiableCredential": []},
            "no_credentials",
        ),
    }
    for name, (document_, reason) in made.items():
        yield Attack(name, "presentation", document_, reason)
    yield Attack("VC: a presentation instead", "credential", scene.vp_ldp(document))
    yield Attack("VC-JWT: a presentation instead", "credential", scene.vp_jwt(token))
    yield from _changed_presentations(scene, token, document)
    yield from _resigned_presentations(scene, token, document)


def _changed_presentations(scene: Scene, token: str, document: dict[str, Any]) -> Iterator[Attack]:
    other = scene.ldp(claims={**VEHICLE, "model": "B"})
    changes: dict[str, tuple[Change, str | None]] = {
        "holder dropped": (_drop("holder"), "holder_missing"),
        "holder changed": (_set("holder", OTHER), None),
        "type added": (_append_type("AdminPresentation"), "type_not_allowed"),
        "id added": (_set("id", "urn:uuid:1"), "member_not_allowed"),
        "credential exchanged": (_set("verifiableCredential", [other]), "signature_invalid"),
        "credential added": (
            lambda d: d["verifiableCredential"].append(other),
            "signature_invalid",
        ),
        "credential removed": (_drop("verifiableCredential"), "signature_invalid"),
        "token put in": (_set("verifiableCredential", [token]), "mixed_formats"),
        "challenge changed": (_set("proof.challenge", "other"), "signature_invalid"),
        "challenge dropped": (_drop("proof.challenge"), "proof_member_not_allowed"),
        "domain dropped": (_drop("proof.domain"), "proof_member_not_allowed"),
        "purpose changed": (_set("proof.proofPurpose", "assertionMethod"), "proof_purpose_wrong"),
        "proof dropped": (_drop("proof"), "proof_missing"),
        "context added": (
            lambda d: d["@context"].append({"x": "https://x.example"}),
            "context_not_pinned",
        ),
        "stranger's proof": (_set("proof.verificationMethod", key_method(OTHER)), None),
        "panic type": (_set("proof.type", "CLSignature2019"), "proof_type_not_allowed"),
    }
    for name, (change, reason) in changes.items():
        changed = scene.vp_ldp(document)
        change(changed)
        yield Attack(f"VP: {name}", "presentation", changed, reason)


def _resigned_presentations(scene: Scene, token: str, document: dict[str, Any]) -> Iterator[Attack]:
    header, payload, _ = _parts(scene.vp_jwt(token))
    changes: dict[str, tuple[Change, str | None]] = {
        "without audience": (_drop("aud"), "member_missing"),
        "without nonce": (_drop("nonce"), "member_missing"),
        "without holder": (_both(_drop("iss"), _drop("vp.holder")), "holder_missing"),
        "of two holders": (_set("vp.holder", OTHER), "jwt_claim_mismatch"),
        "of several audiences": (_set("aud", [DOMAIN, "https://x.example"]), "malformed_member"),
        "nonce in a list": (_set("nonce", [CHALLENGE]), "malformed_member"),
        "expired": (_both(_set("exp", _seconds(scene, days=-1))), "proof_too_old"),
        "with a document": (_set("vp.verifiableCredential", [document]), "mixed_formats"),
        "with no credential": (_set("vp.verifiableCredential", []), "no_credentials"),
        "with credentials as text": (_set("vp.verifiableCredential", token), "no_credentials"),
        "of another type": (_set("vp.type", ["VerifiableCredential"]), "type_not_allowed"),
        "with more types": (
            lambda d: d["vp"]["type"].append("Admin"),
            "type_not_allowed",
        ),
        "with a claim": (_set("admin", value=True), "jwt_claim_not_allowed"),
        "with a proof": (_set("vp.proof", {}), "member_not_allowed"),
    }
    for name, (change, reason) in changes.items():
        changed = plain(payload)
        change(changed)
        token_ = sign_jwt(header, changed, scene.holder_key)
        yield Attack(f"VP-JWT: {name}", "presentation", token_, reason)


def nested(levels: int) -> dict[str, Any]:
    """Objects in objects."""
    inner: dict[str, Any] = {}
    for _ in range(levels):
        inner = {"a": inner}
    return inner


def clique(size: int) -> list[dict[str, Any]]:
    """Blank nodes that all know each other."""
    return [
        {"id": f"_:{one}", "knows": [{"id": f"_:{other}"} for other in range(size) if other != one]}
        for one in range(size)
    ]


def bombs(scene: Scene) -> Iterator[Attack]:
    """Documents that want to crash, stall or fill."""
    for levels in (10, 20, 110, 500, 900):
        document = scene.ldp()
        document["credentialSubject"]["a"] = nested(levels)
        yield Attack(f"nested {levels} deep", "credential", document)
    for levels in (55, 200):
        document = scene.ldp()
        document["@context"].append({"x": {"@id": "https://x.example", "@context": nested(levels)}})
        yield Attack(f"contexts {levels} deep", "credential", document, "too_deep")
    for size in (4, 7, 8, 9, 20, 40):
        document = scene.ldp()
        document["credentialSubject"]["knows"] = clique(size)
        yield Attack(f"clique of {size}", "credential", document)
    for name, value in (
        ("a list of 10,000 objects", [{"a": 1}] * 10_000),
        ("a megabyte of text", "x" * 1_000_000),
        ("10,000 members", {f"a{number}": 1 for number in range(10_000)}),
    ):
        document = scene.ldp()
        document["credentialSubject"]["model"] = value
        yield Attack(name, "credential", document)
    yield Attack("100,000 brackets", "credential", '{"a":' + "[" * 100_000, None)
    yield Attack("100,000 braces", "credential", '{"a":' * 100_000, None)
    yield Attack("a megabyte of token", "credential", "A" * 1_000_000, "too_large")
    yield Attack("a token of dots", "credential", "." * 30_000, "malformed_jwt")
    body = base64.urlsafe_b64encode(("[" * 20_000).encode()).decode().rstrip("=")
    yield Attack("brackets in a token", "credential", f"e30.{body}.AA", None)
    document = scene.ldp()
    document["issuer"] = "did:web:" + "a" * 100_000
    yield Attack("a long did:web", "credential", document)
    document = scene.ldp()
    document["issuer"] = "did:key:z" + "1" * 30_000
    yield Attack("a long did:key", "credential", document)
    for levels in (10, 110, 1_000):
        text = json.dumps(scene.vp_ldp(scene.ldp()))
        bomb = '{"a":' * levels + "1" + "}" * levels
        yield Attack(
            f"presentation nested {levels} deep",
            "presentation",
            text.replace('"holder"', f'"x": {bomb}, "holder"', 1),
        )
    yield Attack(
        "a presentation of 200 kB", "presentation", scene.vp_jwt("x" * 200_000), "too_large"
    )
