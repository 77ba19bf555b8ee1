"""The verifier that `components.py` opens: one engine or two, own types and foreign ones."""

import traceback
from collections.abc import Callable
from datetime import datetime
from typing import Literal, TypeVar

import structlog

from backend.adapters.verifier import foreign, own
from backend.adapters.verifier.did_web import WebResolver
from backend.adapters.verifier.interface import (
    Document,
    PresentationVerdict,
    Registry,
    Trust,
    Verdict,
)
from backend.adapters.verifier.own import Circumstances
from backend.adapters.verifier.reasons import Reason
from backend.adapters.verifier.refusals import Refused
from backend.adapters.verifier.signatures import Signatures
from backend.adapters.verifier.verdicts import refused_credential, refused_presentation
from backend.adapters.verifier.workers import DidkitWorkers

log = structlog.get_logger("tasco")
Engines = Literal["both", "pure"]
V = TypeVar("V", Verdict, PresentationVerdict)


class DocumentVerifier:
    """Judges credentials and presentations; see the interface for what each method promises.

    Args:
        workers: The second engine's processes; None to let the first engine carry the load alone.
        resolver: For did:web; None to refuse it.
    """

    def __init__(
        self, workers: DidkitWorkers | None = None, resolver: WebResolver | None = None
    ) -> None:
        self.workers = workers
        self.signatures = Signatures(workers)
        self._resolver = resolver

    def _circumstances(self, at: datetime, registry: Registry) -> Circumstances:
        return Circumstances(at, registry, self._resolver.resolve if self._resolver else None)

    def verify_credential(
        self,
        document: Document,
        *,
        at: datetime,
        registry: Registry,
        expected_type: str | None = None,
    ) -> Verdict:
        """Judge one credential of our own types."""
        around = self._circumstances(at, registry)
        return _guarded(
            lambda: own.judge_credential(
                document, around, self.signatures, expected_type=expected_type
            ),
            refused_credential,
        )

    def verify_presentation(
        self, document: Document, *, challenge: str, domain: str, at: datetime, registry: Registry
    ) -> PresentationVerdict:
        """Judge a presentation and every credential in it."""
        around = self._circumstances(at, registry)
        return _guarded(
            lambda: own.judge_presentation(
                document, around, self.signatures, challenge=challenge, domain=domain
            ),
            refused_presentation,
        )

    def verify_generic(
        self,
        document: Document,
        *,
        format: str,  # noqa: A002 - the API's word
        trust: Trust,
        at: datetime,
        challenge: str | None = None,  # noqa: ARG002 - only presentations have one
        domain: str | None = None,  # noqa: ARG002
    ) -> Verdict:
        """Judge a foreign credential against an explicit list of issuers."""
        return _guarded(
            lambda: foreign.judge_credential(
                document, self.signatures, format_=format, trust=trust, at=at
            ),
            lambda refused: refused_credential(refused, signature_only=True),
        )

    def verify_generic_presentation(
        self,
        document: Document,
        *,
        format: str,  # noqa: A002 - the API's word
        trust: Trust,
        at: datetime,
        challenge: str | None = None,
        domain: str | None = None,
    ) -> PresentationVerdict:
        """Judge a foreign presentation."""
        binding = foreign.Binding(challenge, domain)
        return _guarded(
            lambda: foreign.judge_presentation(
                document, self.signatures, binding, format_=format, trust=trust, at=at
            ),
            lambda refused: refused_presentation(refused, signature_only=True),
        )

    def close(self) -> None:
        """Stop the worker processes and wait for them."""
        if self.workers is not None:
            self.workers.close()


def _guarded(decide: Callable[[], V], refuse: Callable[[Refused], V]) -> V:
    """A defect of ours refuses the document; it is logged and never lets one through."""
    try:
        return decide()
    except Exception as error:  # noqa: BLE001 - a hostile document must not become a failed request
        place = traceback.extract_tb(error.__traceback__)[-1]
        log.error("verifier.defect", kind=type(error).__name__, file=place.name, line=place.lineno)  # noqa: TRY400 - a traceback could show the document
        return refuse(Refused(Reason.ENGINE_FAILED))


def open_verifier(
    engines: Engines = "both",
    *,
    workers: int = 2,
    timeout_s: float = 2.0,
    web_hosts: tuple[str, ...] = (),
) -> DocumentVerifier:
    """Open a verifier; close it again.

    Args:
        engines: `both`, or `pure` to do without didkit.
        workers: Processes for didkit.
        timeout_s: Longest time didkit may think.
        web_hosts: Hosts whose did:web may be resolved; none by default.
    """
    pool = DidkitWorkers(workers, timeout_s) if engines == "both" else None
    return DocumentVerifier(pool, WebResolver(web_hosts) if web_hosts else None)
