"""Which key may have made a signature: DIDs to methods, and the one that a document names."""

from collections.abc import Callable, Sequence
from datetime import datetime

from backend.adapters.verifier.dids import OFFLINE, DidRefused, did_method, resolve_offline
from backend.adapters.verifier.interface import Purpose, Registry, VerificationMethod
from backend.adapters.verifier.keys import KeyKind, algorithm_of
from backend.adapters.verifier.reasons import Reason
from backend.adapters.verifier.refusals import Refused

ResolveWeb = Callable[[str, Purpose], tuple[VerificationMethod, ...]]


def methods_of(
    did: str,
    *,
    at: datetime,
    purpose: Purpose,
    registry: Registry,
    resolve_web: ResolveWeb | None,
) -> tuple[VerificationMethod, ...]:
    """The methods that may sign for a DID, without a network except for an allowed did:web.

    Raises:
        Refused: If the DID is of a method that is not allowed, or has no method at that time.
    """
    try:
        method = did_method(did)
        if method in OFFLINE:
            return resolve_offline(did)
    except DidRefused as refused:
        raise Refused(refused.reason) from refused
    if method not in {"denso", "web"}:
        raise Refused(Reason.UNSUPPORTED_DID_METHOD, method)
    known = registry.verification_methods(did, at=at, purpose=purpose)
    if known:
        return known
    if method == "web" and resolve_web is not None:
        return resolve_web(did, purpose)
    raise Refused(Reason.METHOD_UNKNOWN if method == "denso" else Reason.UNSUPPORTED_DID_METHOD)


def choose(
    methods: Sequence[VerificationMethod],
    named: str | None,
    *,
    algorithm: str | None,
    otherwise: Reason,
) -> VerificationMethod:
    """The method a document names, or the only one of its algorithm when it names none.

    Raises:
        Refused: With `otherwise` if it names another, `METHOD_UNKNOWN` if there is no single one.
    """
    if named is not None:
        for method in methods:
            if method.id == named:
                return method
        raise Refused(otherwise)
    fitting = [method for method in methods if _algorithm(method) == algorithm]
    if len(fitting) != 1:
        raise Refused(Reason.METHOD_UNKNOWN)
    return fitting[0]


def _algorithm(method: VerificationMethod) -> str | None:
    return algorithm_of(KeyKind(method.public_jwk["crv"])) if method.public_jwk else None
