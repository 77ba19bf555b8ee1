"""Callers with real keys: they present, log in and prove themselves like a wallet does."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from backend.adapters.verifier.dids import did_key
from backend.adapters.verifier.issuing import (
    draft_credential,
    sign_credential_jwt,
    sign_presentation_jwt,
)
from backend.adapters.verifier.keys import SigningKey, generate_key
from backend.features.credentials.grants import bootstrap
from backend.features.credentials.proofs_of_possession import make_proof
from tests.conftest import House


@dataclass
class Caller:
    """A key, the DID it stands for and the credentials it holds."""

    key: SigningKey = field(default_factory=generate_key)
    did: str = ""
    credentials: list[str] = field(default_factory=list)
    token: str = ""
    method: str | None = None

    def __post_init__(self) -> None:
        self.did = self.did or did_key(self.key)

    def present(self, challenge: dict[str, Any], credentials: Sequence[str] | None = None) -> str:
        """A presentation for a challenge as the service gave it."""
        return sign_presentation_jwt(
            self.credentials if credentials is None else credentials,
            self.key,
            holder=self.did,
            challenge=challenge["challenge"],
            domain=challenge["domain"],
            at=datetime.fromisoformat(challenge["issued_at"]),
            method=self.method,
        )

    def answer(self, house: House) -> Any:
        """The service's answer to a presentation."""
        challenge = challenge_for(house)
        body = {"presentation": self.present(challenge), "challenge": challenge["challenge"]}
        return house.post("/auth/token", body)

    def log_in(self, house: House) -> "Caller":
        """Get a token."""
        answer = self.answer(house)
        assert answer.status_code == 200, answer.text
        self.token = answer.json()["access_token"]
        return self

    def headers(self, house: House, method: str, path: str) -> dict[str, str]:
        """Token and fresh proof for one request."""
        url = f"http://testserver/api/v1{path.partition('?')[0]}"
        proof = make_proof(
            self.key, method=method, url=url, token=self.token, now=house.clock.now()
        )
        return {"Authorization": f"DPoP {self.token}", "DPoP": proof}

    def get(self, house: House, path: str) -> Any:
        """GET with token and proof."""
        return house.get(path, headers=self.headers(house, "GET", path))

    def send(self, house: House, method: str, path: str, body: Any = None) -> Any:
        """Any request with token and proof."""
        headers = self.headers(house, method, path)
        return house.client.request(method, f"/api/v1{path}", json=body, headers=headers)

    def post(self, house: House, path: str, body: Any = None) -> Any:
        """POST with token and proof."""
        return self.send(house, "POST", path, body)

    def say(
        self, subject: str, credential_type: str, claims: dict[str, Any], *, now: datetime
    ) -> str:
        """A credential signed by this caller, good for a year."""
        drafted = draft_credential(
            credential_type,
            issuer=self.did,
            subject=subject,
            claims=claims,
            valid_from=now,
            valid_until=now + timedelta(days=365),
        )
        return sign_credential_jwt(drafted, self.key, method=self.method)


def challenge_for(house: House, purpose: str = "login", **values: Any) -> dict[str, Any]:
    """A new challenge."""
    answer = house.post("/auth/challenge", {"purpose": purpose, **values})
    assert answer.status_code == 200, answer.text
    given: dict[str, Any] = answer.json()
    return given


def administrator_of(house: House) -> Caller:
    """The first administrator, logged in."""
    caller = Caller()
    with house.parts.database.transaction() as db:
        bootstrap(db, caller.did, now=house.clock.now())
    return caller.log_in(house)


def trusted_issuer(house: House, administrator: Caller, *types: str, **limits: Any) -> Caller:
    """An issuer that the administrator trusts for these credential types."""
    issuer = Caller()
    root = {
        "kind": "root",
        "issuer_did": issuer.did,
        "credential_types": sorted(types),
        "valid_until": "2030-01-01T00:00:00Z",
        **limits,
    }
    answer = administrator.post(house, "/issuers", root)
    assert answer.status_code == 201, answer.text
    return issuer
