"""The credential types in words, from their profiles: the heart of `docs/credentials.md`."""

from collections.abc import Iterator, Mapping
from typing import Any

from backend.adapters.verifier.profiles import PROFILES, Profile


def reference() -> str:
    """Every credential type with its claims, as Markdown."""
    return "\n".join(line for profile in PROFILES.values() for line in _lines(profile))


def _lines(profile: Profile) -> Iterator[str]:
    schema = profile.claims_schema()
    required = set(schema.get("required", ()))
    yield f"### {profile.name}"
    yield ""
    yield profile.title
    yield ""
    yield "| claim | value | | |"
    yield "| --- | --- | --- | --- |"
    for name, claim in schema["properties"].items():
        needed = "required" if name in required else "optional"
        yield f"| `{name}` | {_form(claim)} | {needed} | {claim.get('description', '')} |"
    yield ""


def _form(claim: Mapping[str, Any]) -> str:
    """The form of a value in a few words."""
    kinds = [kind for kind in claim.get("anyOf", [claim]) if kind.get("type") != "null"]
    kind = kinds[0]
    if "enum" in kind:
        return "one of " + ", ".join(f"`{value}`" for value in kind["enum"])
    if kind["type"] == "array":
        return f"sorted list of: {_form(kind['items'])}"
    if kind["type"] == "integer":
        return f"integer {kind['minimum']:,} to {kind['maximum']:,}"
    return _text_form(kind) if kind["type"] == "string" else str(kind["type"])


def _text_form(kind: Mapping[str, Any]) -> str:
    pattern = kind.get("pattern", "")
    if pattern.startswith("^did:"):
        return "DID"
    if pattern.startswith("^[0-9]{4}-"):
        return "time such as `2026-11-20T18:00:00Z`"
    if "maxLength" in kind:
        return f"text, at most {kind['maxLength']} characters"
    return f"text `{pattern}`"
