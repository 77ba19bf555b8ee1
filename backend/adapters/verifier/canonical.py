"""JSON Canonicalization (RFC 8785); `rdf.py` has the other canonical form."""

from collections.abc import Mapping
from typing import Any

import rfc8785


class NotCanonical(ValueError):
    """A document has no canonical form that covers all of it."""


class TooMuchWork(NotCanonical):
    """Its blank nodes would take too long."""


def json_canonical(document: Mapping[str, Any]) -> bytes:
    """RFC 8785 form.

    Raises:
        NotCanonical: If a number is out of range or a string is not Unicode.
    """
    try:
        return rfc8785.dumps(dict(document))
    except (rfc8785.CanonicalizationError, ValueError, RecursionError) as error:
        raise NotCanonical("no canonical JSON") from error
