"""Access tokens: ten minutes, one key, and an end as soon as what they rest upon is taken back."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.adapters.verifier.keys import SigningKey, thumbprint
from backend.database import new_id
from backend.features.credentials.epochs import ended_since
from backend.features.credentials.holder import Holder, Role
from backend.features.credentials.jose import JwtRefused, read_jwt, sign_jwt
from backend.features.credentials.models import FleetVehicle
from backend.features.credentials.rights import Right
from backend.features.credentials.standing import Standing

TYPE = "at+jwt"  # RFC 9068
LIFETIME = timedelta(minutes=10)


class TokenRefused(ValueError):
    """A token is not ours, has expired or has been ended."""


@dataclass(frozen=True, slots=True)
class NewToken:
    """An access token and what it says."""

    token: str
    token_id: str
    issued_at: datetime
    expires_at: datetime


def issue(
    key: SigningKey,
    did: str,
    standing: Standing,
    *,
    address: str,
    bound_to: str,
    epoch: int,
    now: datetime,
) -> NewToken:
    """Sign a token for a caller.

    Args:
        key: The service's signing key.
        did: Who the caller proved to be.
        standing: What they are.
        address: The service's address, issuer and audience in one.
        bound_to: Thumbprint of the key that has to accompany every use.
        epoch: The count of revocations from before the credentials were looked at.
        now: Time of issue.
    """
    expires_at = min(now + LIFETIME, standing.valid_until or datetime.max.replace(tzinfo=UTC))
    token_id = new_id("tok", at=now)
    claims = {
        "iss": address,
        "aud": address,
        "sub": did,
        "iat": int(now.timestamp()),
        "exp": int(expires_at.timestamp()),
        "jti": token_id,
        "cnf": {"jkt": bound_to},
        "roles": sorted(standing.roles),
        "sites": sorted(standing.sites),
        "training_sites": sorted(standing.training_sites),
        "fleets": sorted(standing.fleets),
        "rights": [one.stored() for one in sorted(standing.rights, key=repr)],
        "rests_on": sorted(standing.rests_on),
        "epoch": epoch,
    }
    token = sign_jwt(claims, key, typ=TYPE, header={"kid": thumbprint(key.public_jwk)})
    return NewToken(token, token_id, now, expires_at)


def read(key: SigningKey, token: str, *, address: str, now: datetime) -> dict[str, Any]:
    """The claims of a token that this service signed and that has not expired.

    Raises:
        TokenRefused: If it is another's, for another address, or too old.
    """
    try:
        claims = read_jwt(token, key.public_jwk, typ=TYPE)
    except JwtRefused as error:
        raise TokenRefused(str(error)) from None
    if claims["iss"] != address or claims["aud"] != address:
        raise TokenRefused("for another address")
    if claims["exp"] <= now.timestamp():
        raise TokenRefused("expired")
    return claims


def holder_of(db: Session, claims: dict[str, Any]) -> Holder:
    """The caller a token stands for.

    Raises:
        TokenRefused: If anything it rests upon was taken back since.
    """
    if ended_since(db, claims["rests_on"], epoch=claims["epoch"]):
        raise TokenRefused("ended")
    did, roles = claims["sub"], frozenset(cast("list[Role]", claims["roles"]))
    fleets = frozenset(claims["fleets"])
    return Holder(
        did=did,
        roles=roles,
        assurance="verified",
        sites=frozenset(claims["sites"]),
        training_sites=frozenset(claims["training_sites"]),
        fleets=fleets,
        vehicles=vehicles_of(db, fleets),
        chargers=frozenset({did}) if "charger" in roles else frozenset(),
        rights=frozenset(Right.read(one) for one in claims.get("rights", ())),
        rests_on=frozenset(claims["rests_on"]),
        epoch=claims["epoch"],
        key_thumbprint=claims["cnf"]["jkt"],
        token_id=claims["jti"],
    )


def vehicles_of(db: Session, fleets: frozenset[str]) -> frozenset[str]:
    """The vehicles of some fleets."""
    if not fleets:
        return frozenset()
    query = select(FleetVehicle.vehicle_did).where(FleetVehicle.fleet_id.in_(fleets))
    return frozenset(db.scalars(query))
