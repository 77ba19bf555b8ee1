"""Statements survive their way as claims, and what is none is refused."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.federation.statements import (
    Statement,
    StatementUnreadable,
    hash_of_scores,
    statement_of,
)

TEXTS = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1, max_size=30)
NAMES = st.from_regex(r"\A[a-z][a-z0-9_]{0,20}\Z")
STATEMENTS = st.builds(
    Statement,
    did=TEXTS,
    site_id=TEXTS,
    kind=st.sampled_from(["update", "scores"]),
    round_id=TEXTS,
    parent_hash=TEXTS,
    content_hash=TEXTS,
    num_examples=st.integers(0, 10**9),
    nonce=TEXTS,
    expires_at=st.integers(0, 2**40),
    metrics=st.dictionaries(NAMES, st.floats(-1e6, 1e6), max_size=4),
)
GOOD = Statement("did:x:a", "site_a", "update", "frd_1", "p", "c", 10, "n", 100).claims()


@settings(max_examples=30)
@given(STATEMENTS)
def test_a_statement_is_read_as_it_was_made(statement: Statement) -> None:
    assert statement_of(statement.claims()) == statement


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": None},
        {"kind": "praise"},
        {"round": 7},
        {"num_examples": True},
        {"num_examples": "many"},
        {"exp": 1.5},
        {"metrics": {"loss": float("nan")}},
        {"metrics": {"loss": "low"}},
        {"metrics": {"x" * 80: 1.0}},
        {"metrics": {f"m{n}": 1.0 for n in range(50)}},
    ],
)
def test_what_is_no_statement_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(StatementUnreadable):
        statement_of({**GOOD, **changes})


def test_scores_have_one_hash_whatever_their_order_and_another_for_another_gain() -> None:
    one, same, other = {"a": 0.5, "b": -0.25}, {"b": -0.25, "a": 0.5}, {"a": 0.5, "b": -0.2}

    assert hash_of_scores(one) == hash_of_scores(same) != hash_of_scores(other)
