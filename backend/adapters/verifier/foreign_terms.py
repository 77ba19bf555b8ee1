"""What a foreign JSON-LD document may look like so that its RDF proof covers what a reader sees.

A proof over RDF signs meanings, not names. These rules keep the names honest: contexts come from
the bundle or are plain inline definitions whose address ends with the term; keywords, null, empty
and repeated values, which expansion drops or reorders, are refused.
"""

import math
from collections.abc import Mapping
from typing import Any

from backend.adapters.verifier.contexts import bundled_contexts
from backend.adapters.verifier.reasons import Reason
from backend.adapters.verifier.refusals import Refused
from backend.adapters.verifier.strict_json import MAX_DIGITS

_DEFINITION = frozenset({"@id", "@type", "@container", "@protected", "@context"})
_CONTEXT_KEYWORDS = frozenset({"@version", "@protected", "@vocab"})
_CONTAINERS = ("@set", "@list")
_VALUE = frozenset({"@value", "@language", "@direction", "@type"})
_SEPARATORS = ("#", "/", ":", "?")
_ALIASES = {"id": "@id", "type": "@type"}


def require_plain_context(context: Any) -> None:  # noqa: ANN401 - JSON
    """Refuse contexts that are unknown or could give a signed meaning another name.

    Raises:
        Refused: `CONTEXT_UNKNOWN` or `CONTEXT_NOT_PLAIN`.
    """
    contexts = context if isinstance(context, list) else [context]
    if any(one in contexts[:place] for place, one in enumerate(contexts)):
        raise Refused(Reason.CONTEXT_NOT_PLAIN, "twice")
    for one in contexts:
        if isinstance(one, str):
            if one not in bundled_contexts():
                raise Refused(Reason.CONTEXT_UNKNOWN, one[:80])
        elif isinstance(one, dict):
            for term, definition in one.items():
                _require_plain_term(term, definition)
        else:
            raise Refused(Reason.CONTEXT_NOT_PLAIN)


def _require_plain_term(term: str, definition: Any) -> None:  # noqa: ANN401 - JSON
    if term.startswith("@"):
        if term not in _CONTEXT_KEYWORDS or (
            term == "@protected" and not isinstance(definition, bool)
        ):
            raise Refused(Reason.CONTEXT_NOT_PLAIN, term[:80])
        return
    members = definition if isinstance(definition, dict) else {"@id": definition}
    iri = members.get("@id")
    if not members.keys() <= _DEFINITION or members.get("@container", "@set") not in _CONTAINERS:
        raise Refused(Reason.CONTEXT_NOT_PLAIN, term[:80])
    if not isinstance(members.get("@protected", True), bool) or not isinstance(iri, str):
        raise Refused(Reason.CONTEXT_NOT_PLAIN, term[:80])
    if not _is_honest(term, iri):
        raise Refused(Reason.CONTEXT_NOT_PLAIN, term[:80])
    if "@context" in members:
        require_plain_context(members["@context"])


def _is_honest(term: str, iri: str) -> bool:
    """The address ends with the term, or is a prefix; `id` and `type` are what they always are."""
    if term in _ALIASES or iri.startswith("@"):
        return _ALIASES.get(term) == iri
    if iri.startswith("_:"):
        return False
    return iri.endswith(_SEPARATORS) or any(iri.endswith(sep + term) for sep in _SEPARATORS)


def require_covered(value: Mapping[str, Any]) -> None:
    """Refuse members and values that RDF would drop, merge or round.

    Raises:
        Refused: `NOT_FULLY_SIGNED`.
    """
    for name, content in value.items():
        if name in {"@context", "proof"}:
            continue
        if name.startswith("@") and not ("@value" in value and name in _VALUE):
            raise Refused(Reason.NOT_FULLY_SIGNED, name[:80])
        _require_covered_value(content)


def _require_covered_value(value: Any) -> None:  # noqa: ANN401 - JSON
    if isinstance(value, dict):
        if not value or ("@context" in value and not _is_secured(value)):
            raise Refused(Reason.NOT_FULLY_SIGNED, "an empty object or a context inside")
        require_covered(value)
    elif isinstance(value, list):
        if not value or any(one in value[:place] for place, one in enumerate(value)):
            raise Refused(Reason.NOT_FULLY_SIGNED, "an empty list or a value twice")
        for one in value:
            _require_covered_value(one)
    elif value is None or (isinstance(value, float) and not _survives(value)):
        raise Refused(Reason.NOT_FULLY_SIGNED, "null, or a number that would be rounded")


def _is_secured(value: Mapping[str, Any]) -> bool:
    """A credential inside a presentation; it is judged by itself too."""
    return "proof" in value and "credentialSubject" in value


def _survives(number: float) -> bool:
    digits = repr(number).replace(".", "").replace("-", "").split("e", maxsplit=1)[0]
    return math.isfinite(number) and number % 1 != 0 and len(digits.strip("0")) <= MAX_DIGITS
