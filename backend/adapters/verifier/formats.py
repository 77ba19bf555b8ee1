"""What callers call the two ways in which documents are secured."""

from collections.abc import Mapping
from typing import Any, Literal, get_args

from backend.adapters.verifier.interface import DocumentFormat
from backend.adapters.verifier.reasons import Reason
from backend.adapters.verifier.refusals import Refused

AUTO = "auto"
JwtName = Literal[
    "jwt",
    "jwt_vc",
    "jwt_vp",
    "jwt_vc_json",
    "jwt_vp_json",
    "vc-jwt",
    "vp-jwt",
    "vc+jwt",
    "vp+jwt",
    "application/vc+jwt",
    "application/vp+jwt",
]
LdpName = Literal[
    "ldp",
    "ldp_vc",
    "ldp_vp",
    "di",
    "di_vc",
    "di_vp",
    "data-integrity",
    "data_integrity",
    "json-ld",
    "application/vc",
    "application/vp",
]
FORMATS: Mapping[str, DocumentFormat] = {
    **dict.fromkeys(get_args(JwtName), DocumentFormat.JWT),
    **dict.fromkeys(get_args(LdpName), DocumentFormat.LDP),
}


def format_of(document: str | Mapping[str, Any]) -> DocumentFormat:
    """How a document looks to be secured, before it is read."""
    is_object = not isinstance(document, str) or document.lstrip().startswith("{")
    return DocumentFormat.LDP if is_object else DocumentFormat.JWT


def require_format(found: DocumentFormat, named: str) -> None:
    """Refuse a document of another format than the caller names; `auto` or nothing takes either.

    Raises:
        Refused: `UNKNOWN_FORMAT`.
    """
    if named not in {"", AUTO} and FORMATS.get(named.lower()) is not found:
        raise Refused(Reason.UNKNOWN_FORMAT, named[:40])
