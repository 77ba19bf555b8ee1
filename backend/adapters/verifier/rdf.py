"""RDF Dataset Canonicalization of JSON-LD with pyld, which takes long to import.

Source: W3C RDF Dataset Canonicalization 1.0 (RDFC-1.0, formerly URDNA2015).

Expansion is strict. Whatever a signature would not cover is refused: undefined properties and
types, relative identifiers, null, empty lists, indices. The work that blank nodes cause is counted,
because canonicalising a few of them can take longer than anybody waits.
"""

import hashlib
import math
import re
import threading
from collections.abc import Mapping
from typing import Any

from cachetools import LRUCache
from pyld.canon import URDNA2015
from pyld.context_resolver import ContextResolver
from pyld.jsonld import JsonLdError, JsonLdProcessor

from backend.adapters.verifier.canonical import NotCanonical, TooMuchWork
from backend.adapters.verifier.contexts import UnknownContext, load_context

MAX_WORK = 5_000  # permutations of blank nodes; honest documents need a handful
_IRI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\x00-\x20<>\"{}|\\^`]*\Z")
_BLANK = "_:"


class _Bounded(URDNA2015):  # type: ignore[misc]  # pyld has no types
    """The algorithm with a limit on the permutations it tries."""

    def __init__(self, *, wide: bool) -> None:
        super().__init__()
        self.work = 0
        self._digest = hashlib.sha384 if wide else hashlib.sha256

    def create_hash(self) -> Any:  # noqa: ANN401 - a hash object of the standard library
        """The hash that orders blank nodes."""
        return self._digest()

    def create_hash_to_related(self, id_: str, issuer: object) -> dict[str, list[str]]:
        related: dict[str, list[str]] = super().create_hash_to_related(id_, issuer)
        self.work += sum(math.factorial(min(len(nodes), 12)) for nodes in related.values())
        if self.work > MAX_WORK:
            raise TooMuchWork("too many alike blank nodes")
        return related


class _Strict:
    """Expands and serialises documents; one at a time, for pyld's caches know no threads."""

    def __init__(self) -> None:
        self._contexts: LRUCache[str, Any] = LRUCache(maxsize=64)
        self._lock = threading.Lock()

    def quads(self, document: Mapping[str, Any], *, wide: bool) -> str:
        """Canonical N-Quads."""
        with self._lock:
            options = {
                "documentLoader": load_context,
                "contextResolver": ContextResolver(self._contexts, load_context),
                "processingMode": "json-ld-1.1",
                "extractAllScripts": False,
                "produceGeneralizedRdf": False,
                "base": "",
            }
            processor = JsonLdProcessor(on_property_dropped=_refuse_dropped)
            expanded = processor.expand(document, options)
            _refuse_uncovered(expanded)
            dataset = processor.to_rdf(expanded, options)
            return str(_Bounded(wide=wide).main(dataset, {"format": "application/n-quads"}))


_STRICT = _Strict()


def rdf_canonical(document: Mapping[str, Any], *, wide: bool = False) -> bytes:
    """Canonical N-Quads of a JSON-LD document, its blank nodes ordered by SHA-384 if `wide`.

    Raises:
        UnknownContext: If a context is not in the bundle.
        TooMuchWork: If its blank nodes are a bomb.
        NotCanonical: If it is not JSON-LD, or a part of it would not be covered.
    """
    try:
        return _STRICT.quads(document, wide=wide).encode()
    except JsonLdError as error:
        unknown = _cause_of(error, UnknownContext)
        if unknown is not None:
            raise unknown from error
        raise NotCanonical("not valid JSON-LD") from error
    except (UnknownContext, NotCanonical):
        raise
    except (TypeError, ValueError, KeyError, AttributeError, RecursionError) as error:
        raise NotCanonical("not valid JSON-LD") from error  # pyld stumbles over odd shapes


def _cause_of(error: BaseException, kind: type[UnknownContext]) -> UnknownContext | None:
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, kind):
        seen = seen.__cause__ or seen.__context__ or getattr(seen, "cause", None)
    return seen


def _refuse_dropped(name: str | None) -> None:
    raise NotCanonical(f"undefined property {name!r}")


def _refuse_uncovered(value: object) -> None:
    """Refuse what expansion leaves but RDF drops."""
    if isinstance(value, list):
        for one in value:
            _refuse_uncovered(one)
    elif isinstance(value, dict):
        for name, content in value.items():
            _refuse_member(name, content)


def _refuse_member(name: str, content: Any) -> None:  # noqa: ANN401 - JSON
    if name in {"@value", "@language", "@direction"}:
        return
    if name == "@index":
        raise NotCanonical("an index is not signed")
    if name in {"@id", "@type"}:
        for iri in content if isinstance(content, list) else [content]:
            if iri != "@json" and not _IRI.match(str(iri)) and not str(iri).startswith(_BLANK):
                raise NotCanonical("a relative or malformed identifier")
    elif content == []:
        raise NotCanonical("an empty list is not signed")
    else:
        _refuse_uncovered(content)
