"""From a presentation to a token."""

from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus

from backend.adapters.verifier.keys import SigningKey
from backend.features.credentials import tokens
from backend.features.credentials.audit import note
from backend.features.credentials.presenting import Counter, Presentation, Presented, receive
from backend.features.credentials.service import register_driver
from backend.features.credentials.standing import Standing, standing_of
from backend.features.credentials.tokens import NewToken
from backend.problems import Problem

LOGIN = "login"


class NoStanding(Problem):
    """Nothing that was presented or granted gives a role here."""

    status = HTTPStatus.FORBIDDEN
    fix = "Present a credential of an issuer that this service trusts: GET /api/v1/issuers."


class KeyNotBindable(Problem):
    """A token is bound to a public key, and this DID shows only an account."""

    status = HTTPStatus.CONFLICT
    fix = "Log in with a did:key, did:jwk or registered did:denso; or present inline."


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """A token, whom it is for and what it rests upon."""

    token: NewToken
    presented: Presented
    standing: Standing


def log_in(
    counter: Counter,
    key: SigningKey,
    presentation: Presentation,
    nonce: str,
    *,
    now: datetime,
) -> LoggedIn:
    """Exchange a presentation for a token that is bound to the presenting key.

    Raises:
        ChallengeRefused: If the challenge does not hold.
        PresentationRefused: If the presentation does not verify.
        KeyNotBindable: If its key cannot accompany requests.
        NoStanding: If the holder has no role.
    """
    presented = receive(counter, presentation, nonce, purpose=LOGIN, now=now)
    bound_to = presented.verdict.holder_key_thumbprint
    if bound_to is None:
        raise KeyNotBindable
    with counter.database.transaction() as db:
        standing = standing_of(db, presented.verdict)
        if not standing.roles:
            raise NoStanding
        if "driver" in standing.roles:
            register_driver(db, presented.holder, now=now)
        token = tokens.issue(
            key,
            presented.holder,
            standing,
            address=counter.domain,
            bound_to=bound_to,
            epoch=presented.epoch,
            now=now,
        )
        note(
            db,
            now=now,
            actor=presented.holder,
            action="token.issued",
            object_id=token.token_id,
            facts={"roles": sorted(standing.roles), "expires_at": token.expires_at.isoformat()},
        )
    return LoggedIn(token, presented, standing)
