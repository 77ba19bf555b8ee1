"""DID documents (W3C DID Core 1.0) of registered DIDs, the same key as did:web too."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from backend.adapters.verifier.dids import to_did_document_method
from backend.adapters.verifier.interface import VerificationMethod
from backend.adapters.verifier.keys import SigningKey, thumbprint
from backend.features.credentials.dids import PREFIX, is_good, method_of, versions_of
from backend.features.credentials.models import DidVersion
from backend.problems import NotFound

CONTEXT = ["https://www.w3.org/ns/did/v1", "https://w3id.org/security/suites/jws-2020/v1"]


def did_web(public_url: str, path: str = "") -> str:
    """The did:web of this service, or of a path below it (did:web §2.5)."""
    host = public_url.partition("://")[2].replace(":", "%3A")
    return ":".join(part for part in (f"did:web:{host}", path.replace("/", ":")) if part)


def did_web_of(did: str, public_url: str) -> str:
    """Under which did:web the key of a `did:denso` is served: `did:web:host:dids:denso:…`."""
    return did_web(public_url, f"dids:denso:{did.removeprefix(PREFIX)}")


def resolve(
    db: Session, did: str, *, public_url: str, at: datetime, version: int | None = None
) -> dict[str, Any]:
    """The DID resolution result of a registered DID at a time, or of one of its versions.

    Raises:
        NotFound: If it was not registered by then, or never had such a version.
    """
    versions = [one for one in versions_of(db, did) if one.valid_from <= at]
    if version is not None:
        versions = [one for one in versions if one.version <= version]
    if not versions or (version is not None and versions[-1].version != version):
        raise NotFound
    good = [one for one in versions[-1:] if version is not None or is_good(one, at=at)]
    return {
        "didDocument": document(did, [method_of(one) for one in good], public_url=public_url),
        "didDocumentMetadata": _metadata(versions, is_deactivated=not good),
        "didResolutionMetadata": {"contentType": "application/did+json"},
    }


def document(
    did: str, methods: Sequence[VerificationMethod], *, public_url: str, as_web: bool = False
) -> dict[str, Any]:
    """A DID document that lists these methods; `as_web` writes it under its did:web."""
    web = did_web_of(did, public_url)
    subject, other = (web, did) if as_web else (did, web)
    shown = [
        to_did_document_method(
            VerificationMethod(
                method.id.replace(method.controller, subject, 1), subject, method.public_jwk
            )
        )
        for method in methods
    ]
    return {"@context": CONTEXT, "id": subject, "alsoKnownAs": [other], **_relations(shown)}


def service_document(key: SigningKey, *, public_url: str) -> dict[str, Any]:
    """The service's own document: the key that signs its access tokens."""
    subject = did_web(public_url)
    name = f"{subject}#{thumbprint(key.public_jwk)}"
    method = to_did_document_method(VerificationMethod(name, subject, key.public_jwk))
    return {"@context": CONTEXT, "id": subject, "alsoKnownAs": [public_url], **_relations([method])}


def _relations(methods: list[dict[str, Any]]) -> dict[str, Any]:
    names = [method["id"] for method in methods]
    return {"verificationMethod": methods, "authentication": names, "assertionMethod": names}


def _metadata(versions: Sequence[DidVersion], *, is_deactivated: bool) -> dict[str, Any]:
    first, last = versions[0], versions[-1]
    return {
        "created": first.valid_from,
        "updated": last.valid_to if is_deactivated and last.valid_to else last.valid_from,
        "versionId": str(last.version),
        "deactivated": is_deactivated,
    }
