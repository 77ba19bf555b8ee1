"""Status lists as others read them: signed, in the data model 2.0, made anew when a bit changes.

Source: W3C Bitstring Status List v1.0. Every id is absolute: a relative one would not be signed.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from backend.adapters.verifier.issuing import sign_credential_ldp, sign_jwt, zulu
from backend.adapters.verifier.profiles import CREDENTIALS_V2
from backend.features.credentials.bitstrings import encoded
from backend.features.credentials.issuer import Signer
from backend.features.credentials.issuing_models import StatusList
from backend.features.credentials.signing import Secured
from backend.features.credentials.status_lists import positions_set, require_list
from backend.paging import etag_of

KEPT = "status_documents"
RENEWED = timedelta(hours=1)  # the same list is signed anew, so that its end stays ahead
TTL_S = 15


@dataclass(frozen=True, slots=True)
class StatusDocument:
    """A signed list and the ETag of its state."""

    etag: str
    content: Secured


def status_document(
    db: Session, list_id: str, *, as_jwt: bool, signer: Signer, now: datetime, kept: dict[str, Any]
) -> StatusDocument:
    """The list as it stands, from this process's copy if nothing changed.

    Raises:
        StatusListNotFound: If there is none.
    """
    found = require_list(db, list_id)
    began_at = now.replace(minute=0, second=0, microsecond=0)
    etag = etag_of(found.id, found.version, began_at, as_jwt, signer.did)
    copies: dict[tuple[str, bool], StatusDocument] = kept.setdefault(KEPT, {})
    copy = copies.get((list_id, as_jwt))
    if copy is None or copy.etag != etag:
        plain = _plain(found, positions_set(db, list_id), signer=signer, began_at=began_at)
        copy = StatusDocument(etag, _signed(plain, signer, as_jwt=as_jwt, at=began_at))
        copies[list_id, as_jwt] = copy
    return copy


def _plain(
    found: StatusList, positions: list[int], *, signer: Signer, began_at: datetime
) -> dict[str, Any]:
    return {
        "@context": [CREDENTIALS_V2],
        "id": found.url,
        "type": ["VerifiableCredential", "BitstringStatusListCredential"],
        "issuer": signer.did,
        "validFrom": zulu(began_at),
        "validUntil": zulu(began_at + 2 * RENEWED),
        "credentialSubject": {
            "id": f"{found.url}#list",
            "type": "BitstringStatusList",
            "statusPurpose": found.purpose,
            "encodedList": encoded(positions),
            "ttl": TTL_S * 1_000,
        },
    }


def _signed(plain: dict[str, Any], signer: Signer, *, as_jwt: bool, at: datetime) -> Secured:
    if as_jwt:
        return sign_jwt({"kid": signer.method, "typ": "vc+jwt"}, plain, signer.key)
    return sign_credential_ldp(plain, signer.key, suite="eddsa-jcs-2022", at=at)
