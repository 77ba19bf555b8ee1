"""The shape of foreign documents by the W3C data models 1.1 and 2.0.

Sources: Verifiable Credentials Data Model v1.1 §4 and v2.0 §4.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from backend.adapters.verifier.profiles import CREDENTIALS_V1, CREDENTIALS_V2
from backend.adapters.verifier.reasons import Reason
from backend.adapters.verifier.refusals import Refused
from backend.adapters.verifier.suites import as_list

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\x00-\x20<>\"{}|\\^`]+\Z")
_MOMENT = re.compile(
    r"-?[0-9]{4,}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})\Z"
)
_DATES = {
    "1.1": ("issuanceDate", "expirationDate"),
    "2.0": ("validFrom", "validUntil"),
}
_TYPED = ("credentialStatus", "termsOfUse", "evidence", "refreshService", "credentialSchema")


def model_of(document: Mapping[str, Any]) -> str:
    """The version of the data model that a document's first context names.

    Raises:
        Refused: If its contexts are no list that begins with one.
    """
    context = document.get("@context")
    first = context[0] if isinstance(context, list) and context else None
    models = {CREDENTIALS_V1: "1.1", CREDENTIALS_V2: "2.0"}
    if not isinstance(first, str) or first not in models:
        raise Refused(Reason.CONTEXT_UNKNOWN, "the first context is no data model")
    for one in as_list(context)[1:]:
        if not isinstance(one, dict) and not is_url(one):
            raise Refused(Reason.CONTEXT_UNKNOWN, "neither an address nor an object")
    return models[first]


def is_url(value: object) -> bool:
    """Whether a value is an absolute URL (or DID, or URN)."""
    return isinstance(value, str) and URL.match(value) is not None


def require_credential(document: Mapping[str, Any]) -> str:
    """Refuse a credential that the data model forbids; gives the model.

    Raises:
        Refused: With the first member that is wrong.
    """
    model = model_of(document)
    _require_types(document, "VerifiableCredential")
    _require_url(document, "id")
    issuer_of(document)
    subjects_of(document)
    validity_of(document, model)
    for name in _TYPED:
        if name in document:
            _require_typed(document[name], name, model)
    for name in ("name", "description"):
        if name in document and model == "2.0":
            _require_text(document[name], name)
    if "relatedResource" in document:
        _require_resources(document["relatedResource"])
    return model


def require_presentation(document: Mapping[str, Any]) -> str:
    """Refuse a presentation that the data model forbids; gives the model.

    Raises:
        Refused: With the first member that is wrong.
    """
    model = model_of(document)
    _require_types(document, "VerifiablePresentation")
    _require_url(document, "id")
    return model


def _require_types(document: Mapping[str, Any], needed: str) -> None:
    types = as_list(document.get("type", []))
    is_clean = all(isinstance(one, str) and one and not set(one) & set(" \t\r\n") for one in types)
    if needed not in types or not is_clean or len(set(types)) != len(types):
        raise Refused(Reason.TYPE_NOT_ALLOWED)


def _require_url(document: Mapping[str, Any], name: str) -> None:
    if name in document and not is_url(document[name]):
        raise Refused(Reason.MALFORMED_ID, name)


def issuer_of(document: Mapping[str, Any]) -> str:
    """The issuer's id.

    Raises:
        Refused: If there is none.
    """
    if "issuer" not in document:
        raise Refused(Reason.MEMBER_MISSING, "issuer")
    issuer = document["issuer"]
    identifier = issuer.get("id") if isinstance(issuer, dict) else issuer
    if not is_url(identifier):
        raise Refused(Reason.MALFORMED_ID, "issuer")
    return str(identifier)


def subjects_of(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The subjects, each with at least one member.

    Raises:
        Refused: If there is none, or one is empty or oddly named.
    """
    if "credentialSubject" not in document:
        raise Refused(Reason.MEMBER_MISSING, "credentialSubject")
    subjects = as_list(document["credentialSubject"])
    if not subjects or not all(isinstance(one, dict) and one for one in subjects):
        raise Refused(Reason.MALFORMED_MEMBER, "credentialSubject")
    for one in subjects:
        _require_url(one, "id")
    return subjects


def validity_of(document: Mapping[str, Any], model: str) -> tuple[datetime | None, datetime | None]:
    """From when until when a credential says to be valid.

    Raises:
        Refused: If a date is malformed, the issuance date of 1.1 is missing, or the end is first.
    """
    names = _DATES[model]
    if model == "1.1" and names[0] not in document:
        raise Refused(Reason.MEMBER_MISSING, names[0])
    start, end = (read_moment(document[name], name) if name in document else None for name in names)
    if start and end and start > end:
        raise Refused(Reason.MALFORMED_DATE, "the end is before the start")
    return start, end


def read_moment(value: Any, name: str) -> datetime:  # noqa: ANN401 - JSON
    """An XSD dateTime with its offset.

    Raises:
        Refused: If it is not one.
    """
    if not isinstance(value, str) or not _MOMENT.match(value):
        raise Refused(Reason.MALFORMED_DATE, name)
    try:
        return datetime.fromisoformat(value).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise Refused(Reason.MALFORMED_DATE, name) from error


def _require_typed(value: Any, name: str, model: str) -> None:  # noqa: ANN401 - JSON
    needs_id = name == "credentialSchema" or (
        model == "1.1" and name in {"credentialStatus", "refreshService"}
    )
    entries = as_list(value)
    if not entries:
        raise Refused(Reason.MALFORMED_MEMBER, name)
    for entry in entries:
        if not isinstance(entry, dict) or not entry.get("type"):
            raise Refused(Reason.MALFORMED_MEMBER, f"{name} has no type")
        if not all(isinstance(one, str) and one for one in as_list(entry["type"])):
            raise Refused(Reason.MALFORMED_MEMBER, f"{name} has an odd type")
        if needs_id and "id" not in entry:
            raise Refused(Reason.MEMBER_MISSING, f"{name}.id")
        _require_url(entry, "id")


def _require_text(value: Any, name: str) -> None:  # noqa: ANN401 - JSON
    """A string, or strings with language and direction."""
    for one in as_list(value):
        is_tagged = isinstance(one, dict) and isinstance(one.get("@value"), str)
        is_closed = is_tagged and one.keys() <= {"@value", "@language", "@direction"}
        if not (isinstance(value, str) or is_closed):
            raise Refused(Reason.MALFORMED_MEMBER, name)


def _require_resources(value: Any) -> None:  # noqa: ANN401 - JSON
    entries = as_list(value)
    for one in entries:
        is_entry = isinstance(one, dict) and is_url(one.get("id"))
        if not is_entry or not one.keys() & {"digestSRI", "digestMultibase"}:
            raise Refused(Reason.MALFORMED_MEMBER, "relatedResource")
    if len({one["id"] for one in entries}) != len(entries):
        raise Refused(Reason.MALFORMED_MEMBER, "relatedResource twice")
