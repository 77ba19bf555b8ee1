"""How long after a revocation another worker still accepts what was revoked."""

import tempfile
import time
from pathlib import Path
from typing import Any

from tests.conftest import House, house_on

ROUNDS = 20
SUBJECT = "did:denso:driver:driver001"
SITE_ACCESS = "SiteAccessCredential"


def revocation_visible(house: House) -> dict[str, float]:
    """Longest time in s from asking one worker to revoke until another refuses.

    The other worker is an application of its own on the same database, warmed up so that whatever
    it keeps of the credential and of the trust registry is kept. Credentials and accreditations
    are revoked in turn.
    """
    signer = house.get("/issuers/snapshot").json()["signer"]
    folder, url = tempfile.TemporaryDirectory(), house.settings.database_url
    with folder as path, house_on(url, Path(path), verifier="both") as other:
        other.clock.shown = house.clock.shown
        waits = [_revoked_after_s(house, other, signer, number) for number in range(ROUNDS)]
    return {"revocation_visible_s": round(max(waits), 4)}


def _revoked_after_s(house: House, other: House, signer: str, number: int) -> float:
    accredited = _accredited(house, signer)
    body = {
        "credential_type": SITE_ACCESS,
        "subject_did": SUBJECT,
        "claims": {"site": "site_hq"},
    }
    made = house.post("/credentials/issue", body).json()
    for worker in (house, other):
        if not _is_verified(worker, made["credential"]):
            raise SystemExit("a good credential was refused")
    began = time.perf_counter()
    if number % 2:
        house.client.delete(f"/api/v1/issuers/{accredited}")
    else:
        house.post("/credentials/revoke", {"credential_id": made["credential_id"]})
    while _is_verified(other, made["credential"]):
        pass
    waited_s = time.perf_counter() - began
    if not number % 2:
        house.client.delete(f"/api/v1/issuers/{accredited}")  # the next round has its own
    return waited_s


def _accredited(house: House, signer: str) -> str:
    root = {
        "kind": "root",
        "issuer_did": signer,
        "credential_types": [SITE_ACCESS],
        "valid_until": "2090-01-01T00:00:00Z",
    }
    accreditation_id: str = house.post("/issuers", root).json()["accreditation_id"]
    return accreditation_id


def _is_verified(house: House, credential: Any) -> bool:  # noqa: ANN401 - JSON
    answer = house.post("/credentials/verify", {"document": credential})
    return bool(answer.json()["verified"])
