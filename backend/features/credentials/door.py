"""The doors: production asks for a token and a proof, the demo lets strangers in as simulated."""

import structlog

from backend.components import Parts
from backend.features.credentials import proofs_of_possession, tokens
from backend.features.credentials.holder import DEMO_HOLDER, Holder, Knock, NotAuthenticated
from backend.features.credentials.proofs_of_possession import ProofRefused, check_proof
from backend.features.credentials.service_key import token_key
from backend.features.credentials.tokens import TokenRefused

log = structlog.get_logger("tasco.door")


class TokenNotAccepted(NotAuthenticated):
    """The access token or its proof does not hold."""

    fix = "Get a new token; send a new DPoP proof, made with its key, with every request."


def demo_door(knock: Knock, parts: Parts) -> Holder:
    """Everyone may try everything as `simulated`; who does bring a token is held to it.

    Raises:
        TokenNotAccepted: If there is a token and it does not hold.
    """
    return DEMO_HOLDER if knock.token is None else production_door(knock, parts)


def production_door(knock: Knock, parts: Parts) -> Holder:
    """The caller behind a token that a fresh proof of its key accompanies.

    Raises:
        NotAuthenticated: If there is no token.
        TokenNotAccepted: If token or proof does not hold.
    """
    if knock.token is None:
        raise NotAuthenticated
    try:
        return _holder(knock, knock.token, parts)
    except (TokenRefused, ProofRefused) as refused:
        log.info("door.refused", reason=str(refused))
        raise TokenNotAccepted from None


def _holder(knock: Knock, token: str, parts: Parts) -> Holder:
    now, address = parts.clock.now(), address_of(parts, knock.origin)
    claims = tokens.read(token_key(parts), token, address=address, now=now)
    proof_hash = check_proof(
        knock.proof,
        token=token,
        bound_to=claims["cnf"]["jkt"],
        method=knock.method,
        url=f"{address}{knock.path}",
        now=now,
    )
    with parts.database.transaction() as db:
        proofs_of_possession.use_up(db, proof_hash, now=now)
        return tokens.holder_of(db, claims)


def address_of(parts: Parts, origin: str) -> str:
    """The address callers have to have meant: as set, in the demo as they say."""
    return parts.settings.public_url or origin
