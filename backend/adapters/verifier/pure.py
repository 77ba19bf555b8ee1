"""The engine of well-kept libraries: cryptography for keys, pyld and rfc8785 for the forms."""

from functools import lru_cache

from backend.adapters.verifier.candidates import JwtSignature, ProofSignature, Signature
from backend.adapters.verifier.canonical import NotCanonical, TooMuchWork
from backend.adapters.verifier.contexts import UnknownContext
from backend.adapters.verifier.interface import VerificationMethod
from backend.adapters.verifier.keys import (
    PublicKey,
    UnusableKey,
    algorithm_of,
    kind_of,
    public_from_jwk,
    verify,
)
from backend.adapters.verifier.reasons import Reason
from backend.adapters.verifier.refusals import Refused
from backend.adapters.verifier.suites import verify_document


@lru_cache(maxsize=4096)
def _load(members: tuple[tuple[str, str], ...]) -> tuple[PublicKey, str]:
    key = public_from_jwk(dict(members))
    return key, algorithm_of(kind_of(key))


def require_signature(signature: Signature, method: VerificationMethod) -> None:
    """Accept a signature that the method's key made over exactly these bytes.

    Raises:
        Refused: If it did not, or the bytes cannot be worked out.
    """
    if isinstance(signature, JwtSignature):
        _require_jwt(signature, method)
    else:
        _require_proof(signature, method)


def _require_jwt(signature: JwtSignature, method: VerificationMethod) -> None:
    if method.public_jwk is None:
        raise Refused(Reason.ALGORITHM_NOT_ALLOWED, "an account signs no JWT")
    try:
        key, algorithm = _load(tuple(method.public_jwk.items()))
    except UnusableKey as error:
        raise Refused(Reason.METHOD_UNKNOWN) from error
    if algorithm != signature.algorithm:
        raise Refused(Reason.ALGORITHM_NOT_ALLOWED, "not the algorithm of this key")
    if not verify(key, signature.signature, signature.signing_input):
        raise Refused(Reason.SIGNATURE_INVALID)


def _require_proof(signature: ProofSignature, method: VerificationMethod) -> None:
    try:
        is_good = verify_document(signature.suite, signature.document, signature.proof, method)
    except UnknownContext as error:
        raise Refused(Reason.CONTEXT_UNKNOWN, str(error)[:80]) from error
    except TooMuchWork as error:
        raise Refused(Reason.TOO_MUCH_WORK) from error
    except NotCanonical as error:
        raise Refused(Reason.NOT_FULLY_SIGNED, str(error)[:80]) from error
    except UnusableKey as error:
        raise Refused(Reason.METHOD_UNKNOWN) from error
    if not is_good:
        raise Refused(Reason.SIGNATURE_INVALID)
