"""Compact JWTs, read strictly: header, payload and signature, each with one spelling only."""

from binascii import Error as BadBase64
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from backend.adapters.verifier.candidates import JwtSignature
from backend.adapters.verifier.keys import from_base64url
from backend.adapters.verifier.reasons import Reason
from backend.adapters.verifier.refusals import Refused
from backend.adapters.verifier.strict_json import read_object

ALGORITHMS = frozenset({"EdDSA", "ES256", "ES256K", "ES384"})
TYPES_V1 = frozenset({None, "JWT", "jwt"})
HEADER_MEMBERS = frozenset({"alg", "kid", "typ"})
FOREIGN_HEADER_MEMBERS = HEADER_MEMBERS | {"cty", "iss"}
MAX_HEADER_CHARACTERS = 2_048
PARTS = 3


@dataclass(frozen=True, slots=True)
class Header:
    """What a JOSE header says."""

    algorithm: str
    kid: str | None
    typ: str | None
    has_foreign_members: bool = False


@dataclass(frozen=True, slots=True)
class Jwt:
    """A token whose signature is not verified yet."""

    header: Header
    payload: dict[str, Any]
    signature: JwtSignature


@lru_cache(maxsize=1024)
def _read_header(segment: str) -> Header:
    """The header; issuers repeat theirs, so it is remembered."""
    if len(segment) > MAX_HEADER_CHARACTERS:
        raise Refused(Reason.TOO_LARGE, "header")
    members = read_object(_decode(segment))
    if not members.keys() <= FOREIGN_HEADER_MEMBERS:
        raise Refused(Reason.JWT_HEADER_NOT_ALLOWED)
    if not all(isinstance(value, str) for value in members.values()):
        raise Refused(Reason.JWT_HEADER_NOT_ALLOWED)
    algorithm = members.get("alg", "")
    if algorithm not in ALGORITHMS:
        raise Refused(Reason.ALGORITHM_NOT_ALLOWED)
    foreign = not members.keys() <= HEADER_MEMBERS
    return Header(algorithm, members.get("kid"), members.get("typ"), foreign)


def _decode(segment: str) -> bytes:
    try:
        return from_base64url(segment)
    except (BadBase64, ValueError) as error:
        raise Refused(Reason.MALFORMED_JWT) from error


def read_jwt(token: str, *, max_characters: int, floats: bool = False) -> Jwt:
    """Read a compact JWS.

    Args:
        token: Three base64url segments.
        max_characters: Longest token that is read.
        floats: Whether numbers may have fractions, as some libraries write their dates.

    Raises:
        Refused: If it is not one, or not in the one canonical spelling.
    """
    if len(token) > max_characters:
        raise Refused(Reason.TOO_LARGE)
    segments = token.split(".")
    if len(segments) != PARTS or not token.isascii():
        raise Refused(Reason.MALFORMED_JWT)
    header = _read_header(segments[0])
    payload = read_object(_decode(segments[1]), floats=floats)
    signing_input = token[: token.rindex(".")].encode()
    signature = JwtSignature(token, header.algorithm, signing_input, _decode(segments[2]))
    return Jwt(header, payload, signature)
