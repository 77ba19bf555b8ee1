"""Every single-leaf change of a document: values changed, members added, removed and renamed."""

import json
import random
from collections.abc import Iterator
from typing import Any

from backend.adapters.verifier.keys import base64url, from_base64url
from backend.adapters.verifier.rdf import rdf_canonical

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
PROBES: tuple[Any, ...] = (None, True, 0, -1, 1.5, "", "x", [], {}, ["x"], {"@value": "x"})


def of_document(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every document that differs from a document in one place of its tree."""
    text = json.dumps(document)
    for path in _paths(document):
        for change in _changes(_at(document, path)):
            mutant = json.loads(text)
            _put(mutant, path, change)
            if mutant != document:
                yield mutant
        for mutant in _structural(text, path):
            if mutant != document:
                yield mutant


def of_token(token: str, *, seed: int, flips: int) -> Iterator[str]:
    """Every change of header and payload under the old signature, and changed letters."""
    head, body, signature = token.split(".")
    for place, segment in enumerate((head, body)):
        for mutant in of_document(json.loads(from_base64url(segment))):
            changed = base64url(json.dumps(mutant, separators=(",", ":")).encode())
            parts = [head, body, signature]
            parts[place] = changed
            yield ".".join(parts)
    rng = random.Random(seed)  # noqa: S311 - repeatable
    for _ in range(flips):
        place = rng.randrange(len(token))
        letter = rng.choice(LETTERS + ".= ")
        kind = rng.randrange(3)
        mutant_ = token[:place] + (letter if kind else "") + token[place + (kind != 1) :]
        if mutant_ != token:
            yield mutant_


def means_the_same(document: Any, mutant: Any) -> bool:
    """Whether an RDF proof cannot tell a mutant from its document: same statements, same proof.

    Such are an unused term taken out of an inline context, and a value put alone into a list.
    """
    if not isinstance(document, dict) or not isinstance(mutant, dict):
        return False
    if document.get("proof") != mutant.get("proof"):
        return False
    bare = [{**one, "proof": {}} for one in (document, mutant)]
    for one in bare:
        del one["proof"]
    return rdf_canonical(bare[0]) == rdf_canonical(bare[1])


def _paths(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    members = value.items() if isinstance(value, dict) else enumerate(value)
    for name, inner in members:
        yield (*way, name)
        if isinstance(inner, dict | list):
            yield from _paths(inner, (*way, name))


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        value = value[step]
    return value


def _put(value: Any, path: tuple[Any, ...], change: Any) -> None:
    _at(value, path[:-1])[path[-1]] = change


def _changes(value: Any) -> Iterator[Any]:
    yield from PROBES
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (value + 1, value - 1, -value, float(value), str(value), value * 10)
    elif isinstance(value, str) and value:
        yield from (value + "x", value[:-1], value.swapcase(), value + " ", "\u0301" + value)
        middle = len(value) // 2
        yield value[:middle] + ("A" if value[middle] != "A" else "B") + value[middle + 1 :]
    yield [value]


def _structural(text: str, path: tuple[Any, ...]) -> Iterator[Any]:
    """The member removed, renamed, doubled, and a stranger beside it."""
    mutant = json.loads(text)
    parent, name = _at(mutant, path[:-1]), path[-1]
    value = parent.pop(name)
    yield mutant
    if isinstance(parent, dict):
        for other in (f"{name}x", f"@{name}", name.swapcase()):
            yield _with(text, path, other, value, drop=True)
        yield _with(text, path, "stranger", value, drop=False)
    else:
        yield _inserted(text, path, value)


def _with(text: str, path: tuple[Any, ...], name: str, value: Any, *, drop: bool) -> Any:
    mutant = json.loads(text)
    parent = _at(mutant, path[:-1])
    if drop:
        del parent[path[-1]]
    parent[name] = value
    return mutant


def _inserted(text: str, path: tuple[Any, ...], value: Any) -> Any:
    mutant = json.loads(text)
    _at(mutant, path[:-1]).insert(path[-1], value)
    return mutant
