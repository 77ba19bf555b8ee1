"""The wallet at a service's door: challenge, presentation, token, and requests with it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from backend.adapters.verifier.keys import SigningKey
from backend.features.credentials.proofs_of_possession import make_proof
from backend.features.credentials.wallet import Wallet, WalletRefused

API = "/api/v1"
TIMEOUT_S = 10.0
MAX_ANSWER_BYTES = 1_000_000
Json = dict[str, Any]


class Service(Protocol):
    """Whatever answers requests."""

    def ask(self, method: str, path: str, body: Json | None, headers: Mapping[str, str]) -> Json:
        """The answer's JSON.

        Raises:
            WalletRefused: If there is none or it is a refusal; the message tells which.
        """
        ...


class _NoRedirects(HTTPRedirectHandler):
    """A token goes to the service it was made for and nowhere else."""

    def redirect_request(self, *_: Any) -> None:  # noqa: ANN401 - as the base class
        return None


@dataclass(frozen=True, slots=True)
class HttpService:
    """A service at an address, such as `http://127.0.0.1:8000`."""

    url: str

    def __post_init__(self) -> None:
        """Refuse what is no web address.

        Raises:
            WalletRefused: If it is none.
        """
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path.strip("/"):
            raise WalletRefused(f"{self.url} is no address such as https://tasco.example")

    def ask(self, method: str, path: str, body: Json | None, headers: Mapping[str, str]) -> Json:
        """Send a request."""
        request = Request(  # noqa: S310 - the scheme was checked
            self.url.rstrip("/") + path,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", **headers},
            method=method,
        )
        try:
            with build_opener(_NoRedirects).open(request, timeout=TIMEOUT_S) as answer:
                read: Json = json.loads(answer.read(MAX_ANSWER_BYTES))
                return read
        except HTTPError as refusal:
            with refusal:
                raise WalletRefused(_told(refusal.code, refusal.read(MAX_ANSWER_BYTES))) from None
        except (URLError, TimeoutError, ValueError) as error:
            raise WalletRefused(f"{self.url} does not answer as it should: {error}") from error


def _told(status: int, content: bytes) -> str:
    """A problem in one line, its reasons included."""
    try:
        problem = json.loads(content)
        reasons = "".join(f"\n  {one['pointer']}: {one['reason']}" for one in problem["errors"])
        return f"{status} {problem['code']}: {problem['detail']} {problem['fix']}{reasons}"
    except (ValueError, TypeError, KeyError):
        return f"The service answered {status}."


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a service wants a presentation made for."""

    nonce: str
    domain: str
    at: datetime


def get_challenge(service: Service, purpose: str) -> Challenge:
    """Ask for a challenge; its time is the service's, whose clock may differ from ours."""
    given = service.ask("POST", f"{API}/auth/challenge", {"purpose": purpose}, {})
    at = datetime.fromisoformat(given["issued_at"])
    return Challenge(given["challenge"], given["domain"], at.astimezone(UTC))


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """A token and the key it is bound to.

    Attributes:
        domain: The service's own address, which proofs name.
        at: The service's time when it was asked.
    """

    answer: Json
    key: SigningKey
    domain: str
    at: datetime

    @property
    def token(self) -> str:
        """The access token."""
        return str(self.answer["access_token"])

    def headers_for(self, method: str, path: str) -> dict[str, str]:
        """Token and a fresh proof that its key is at hand, for one request (RFC 9449)."""
        url = f"{self.domain}{path.partition('?')[0]}"
        proof = make_proof(self.key, method=method, url=url, token=self.token, now=self.at)
        return {"Authorization": f"DPoP {self.token}", "DPoP": proof}


def log_in(
    service: Service, wallet: Wallet, key: SigningKey, *, types: tuple[str, ...] = ()
) -> LoggedIn:
    """Answer a login challenge and get an access token."""
    asked = get_challenge(service, "login")
    shown = wallet.present(
        key, challenge=asked.nonce, domain=asked.domain, at=asked.at, types=types
    )
    body = {"presentation": shown, "challenge": asked.nonce}
    answer = service.ask("POST", f"{API}/auth/token", body, {})
    return LoggedIn(answer, key, asked.domain, asked.at)


def request_credential(
    service: Service,
    credential_type: str,
    subject_did: str,
    claims: Json,
    *,
    by: LoggedIn | None = None,
) -> Json:
    """Have a service issue a credential; gives its answer.

    Args:
        service: Who issues it.
        credential_type: One of `docs/credentials.md`.
        subject_did: Whom it is about.
        claims: What it says.
        by: Who asks; the demonstration lets anybody.
    """
    path = f"{API}/credentials/issue"
    body = {"credential_type": credential_type, "subject_did": subject_did, "claims": claims}
    return service.ask("POST", path, body, by.headers_for("POST", path) if by else {})
