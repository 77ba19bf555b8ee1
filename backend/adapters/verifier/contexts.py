"""The JSON-LD contexts that are known. An unknown address is refused: nothing is ever fetched."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from backend.adapters.verifier.profiles import SERVED_CONTEXTS

FOLDER = Path(__file__).parent / "contexts"


class UnknownContext(ValueError):
    """A context's address is not in the bundle."""


@cache
def bundled_contexts() -> Mapping[str, Mapping[str, Any]]:
    """Every known context document by its address."""
    index: dict[str, str] = json.loads((FOLDER / "index.json").read_text())
    files = {url: json.loads((FOLDER / name).read_text()) for url, name in index.items()}
    return {**files, **SERVED_CONTEXTS}


def load_context(url: str, _options: object = None) -> dict[str, Any]:
    """A pyld document loader that knows the bundle only.

    Raises:
        UnknownContext: If the address is another.
    """
    document = bundled_contexts().get(url)
    if document is None:
        raise UnknownContext(url)
    return {
        "contentType": "application/ld+json",
        "contextUrl": None,
        "documentUrl": url,
        "document": document,
        "tag": "static",
    }
