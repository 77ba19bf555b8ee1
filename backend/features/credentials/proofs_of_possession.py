"""Proofs of possession: a token is worth nothing without a fresh signature by its key."""

import hashlib
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import unquote

from sqlalchemy import delete
from sqlalchemy.orm import Session

from backend.adapters.verifier.keys import SigningKey, base64url, thumbprint
from backend.database import insert_missing
from backend.features.credentials.jose import JwtRefused, header_of, read_jwt, sign_jwt
from backend.features.credentials.models import SeenProof

TYPE = "dpop+jwt"
MAX_AGE = timedelta(seconds=60)
MAX_AHEAD = timedelta(seconds=10)  # clocks differ


class ProofRefused(ValueError):
    """A proof of possession is missing, stale, seen before or made for something else."""


def make_proof(key: SigningKey, *, method: str, url: str, token: str, now: datetime) -> str:
    """A proof for one request with a token (RFC 9449); what a wallet sends in the `DPoP` header.

    Args:
        key: The holder's key, to which the token is bound.
        method: The request's HTTP method.
        url: The request's URL without query.
        token: The access token it accompanies.
        now: Time of the request, by the service's clock.
    """
    claims = {
        "htm": method,
        "htu": url,
        "iat": int(now.timestamp()),
        "jti": secrets.token_urlsafe(16),
        "ath": _hash_of(token),
    }
    return sign_jwt(claims, key, typ=TYPE, header={"jwk": key.public_jwk})


def check_proof(
    proof: str | None, *, token: str, bound_to: str, method: str, url: str, now: datetime
) -> str:
    """Check a proof's form, key, request and time; gives a hash by which it is known again.

    Args:
        proof: The `DPoP` header.
        token: The access token it came with.
        bound_to: Thumbprint of the token's key.
        method: The request's HTTP method.
        url: The request's URL without query, decoded.
        now: Time of the request.

    Raises:
        ProofRefused: If anything does not fit.
    """
    claims = _claims_of(proof or "", bound_to)
    if claims.get("htm") != method or unquote(str(claims.get("htu"))) != url:
        raise ProofRefused("made for another request")
    if claims.get("ath") != _hash_of(token):
        raise ProofRefused("made for another token")
    made, unique = claims.get("iat"), claims.get("jti")
    if type(made) is not int or not isinstance(unique, str) or not 8 <= len(unique) <= 128:  # noqa: PLR2004
        raise ProofRefused("iat or jti is missing")
    age = now.timestamp() - made
    if not -MAX_AHEAD.total_seconds() <= age <= MAX_AGE.total_seconds():
        raise ProofRefused("stale")
    return hashlib.sha256(f"{bound_to} {unique}".encode()).hexdigest()


def _claims_of(proof: str, bound_to: str) -> dict[str, Any]:
    try:
        jwk = header_of(proof).get("jwk")
        if not isinstance(jwk, Mapping):
            raise ProofRefused("names no key")
        claims = read_jwt(proof, jwk, typ=TYPE)
    except JwtRefused as error:
        raise ProofRefused(str(error)) from None
    if thumbprint(jwk) != bound_to:
        raise ProofRefused("made with another key")
    return claims


def use_up(db: Session, proof_hash: str, *, now: datetime) -> None:
    """Note that a proof was used.

    Raises:
        ProofRefused: If it was used before.
    """
    row = {"proof_hash": proof_hash, "expires_at": now + MAX_AGE + MAX_AHEAD}
    if insert_missing(db, SeenProof, row) == 0:
        raise ProofRefused("seen before")


def forget_stale(db: Session, *, now: datetime) -> None:
    """Delete the proofs that are refused for their age anyway."""
    db.execute(delete(SeenProof).where(SeenProof.expires_at < now))


def _hash_of(token: str) -> str:
    return base64url(hashlib.sha256(token.encode()).digest())
