"""Compact JWTs of our own: access tokens and proofs of possession (RFC 7515, 7519)."""

from collections.abc import Mapping
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError, UnsupportedAlgorithmError
from joserfc.jwk import ECKey, OKPKey
from joserfc.jws import JWSRegistry, extract_compact

from backend.adapters.verifier.keys import SigningKey, UnusableKey, public_from_jwk

ALGORITHMS = ("EdDSA", "ES256", "ES256K")
MAX_CHARACTERS = 8_192
UNREADABLE = (JoseError, UnusableKey, ValueError, TypeError, KeyError, RecursionError)


class JwtRefused(ValueError):
    """A JWT is malformed, of another type or not signed by the key it should be signed by."""


class _Registry(JWSRegistry):
    """The three algorithms; wallets write `EdDSA`, the name that RFC 9864 wants replaced."""

    def get_alg(self, name: str) -> Any:  # noqa: ANN401 - a type the library keeps to itself
        if name not in ALGORITHMS:
            raise UnsupportedAlgorithmError(f"{name!r} is not allowed")
        return self.algorithms[name]


_REGISTRY = _Registry(algorithms=list(ALGORITHMS), strict_check_header=False)


def sign_jwt(
    claims: Mapping[str, Any], key: SigningKey, *, typ: str, header: Mapping[str, Any]
) -> str:
    """Sign claims with the algorithm of the key."""
    whole = {"alg": key.algorithm, "typ": typ, **header}
    return jwt.encode(whole, dict(claims), _imported(key.private_jwk()), registry=_REGISTRY)


def read_jwt(token: str, public_jwk: Mapping[str, Any], *, typ: str) -> dict[str, Any]:
    """The claims of a JWT that this key signed.

    Raises:
        JwtRefused: If it is not such a JWT; dates are the caller's to judge.
    """
    if len(token) > MAX_CHARACTERS:
        raise JwtRefused("too long")
    try:
        public_from_jwk(public_jwk)  # stricter than the library: no private parts, exact lengths
        read = jwt.decode(token, _imported(public_jwk), registry=_REGISTRY)
    except UNREADABLE as error:
        raise JwtRefused(type(error).__name__) from error
    if read.header.get("typ") != typ or "crit" in read.header:
        raise JwtRefused(f"not a {typ}")
    return dict(read.claims)


def header_of(token: str) -> dict[str, Any]:
    """The header of a JWT, before anything is verified.

    Raises:
        JwtRefused: If there is none.
    """
    if len(token) > MAX_CHARACTERS:
        raise JwtRefused("too long")
    try:
        return dict(extract_compact(token.encode()).headers())
    except UNREADABLE as error:
        raise JwtRefused(type(error).__name__) from error


def _imported(jwk: Mapping[str, Any]) -> ECKey | OKPKey:
    members = dict(jwk)
    if members.get("kty") == "OKP":
        return OKPKey.import_key(members)
    return ECKey.import_key(members)
