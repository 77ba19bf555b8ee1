"""Status lists: the standard's bit order, indices used once, bits that act at once."""

import gzip
import shutil
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update

from backend.adapters.verifier.interface import Reason, StatusEntry
from backend.database import Database
from backend.features.credentials import status_lists
from backend.features.credentials.bitstrings import (
    SIZE,
    BitstringInvalid,
    decoded,
    encoded,
    is_set,
)
from backend.features.credentials.issuing_models import StatusEntry as Bit
from backend.features.credentials.issuing_models import StatusList

NOON = datetime(2026, 3, 10, 10, 0, tzinfo=UTC)
HERE = "https://tasco.example"
# Example of W3C Bitstring Status List v1.0: 131,072 bits, none of them set.
EMPTY_OF_THE_STANDARD = "uH4sIAAAAAAAAA-3BMQEAAADCoPVPbQwfoAAAAAAAAAAAAAAAAAAAAIC3AYbSVKsAQAAA"


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


def _packed(content: bytes) -> str:
    return "u" + urlsafe_b64encode(gzip.compress(content)).rstrip(b"=").decode()


def test_the_standards_example_is_read() -> None:
    bits = decoded(EMPTY_OF_THE_STANDARD)

    assert len(bits) == SIZE // 8 == 16_384
    assert not any(bits)


@pytest.mark.parametrize(
    ("position", "byte", "value"),
    [(0, 0, 0x80), (1, 0, 0x40), (7, 0, 0x01), (8, 1, 0x80), (SIZE - 1, SIZE // 8 - 1, 0x01)],
)
def test_index_zero_is_the_left_most_bit(position: int, byte: int, value: int) -> None:
    bits = decoded(encoded([position]))

    assert bits[byte] == value
    assert sum(bits) == value


@given(st.sets(st.integers(0, SIZE - 1), max_size=40), st.integers(0, SIZE - 1))
@settings(max_examples=40, deadline=None)
def test_what_is_written_is_read(positions: set[int], other: int) -> None:
    bits = decoded(encoded(positions))

    assert all(is_set(bits, position) for position in positions)
    assert is_set(bits, other) == (other in positions)


def test_the_same_bits_give_the_same_text() -> None:
    assert encoded([3, 70_000]) == encoded([70_000, 3])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "zH4sI",
        "u!!!!",
        "uAAAA",
        EMPTY_OF_THE_STANDARD[:-12],
        _packed(b"\x00" * (SIZE // 8 - 1)),
        _packed(b"\x00" * 1_000_001),
        _packed(b"\x00" * 50_000_000),
        "u" + "A" * 1_000_000,
    ],
    ids=["empty", "base", "alphabet", "no gzip", "cut", "short", "long", "bomb", "text"],
)
def test_a_malformed_list_is_refused(text: str) -> None:
    with pytest.raises(BitstringInvalid):
        decoded(text)


@pytest.mark.parametrize("position", [-1, SIZE])
def test_an_index_outside_the_list_is_refused(position: int) -> None:
    with pytest.raises(BitstringInvalid):
        is_set(decoded(EMPTY_OF_THE_STANDARD), position)


def _assign(database: Database, number: int, purpose: str = "revocation") -> StatusEntry:
    with database.transaction() as db:
        return status_lists.assign(
            db, f"urn:uuid:{number}", purpose=purpose, public_url=HERE, now=NOON
        )


def _status(database: Database, entry: StatusEntry) -> Reason | None:
    with database.reading() as db:
        return status_lists.status_of(db, entry)


def _set(database: Database, number: int, purpose: str, *, value: bool) -> None:
    with database.transaction() as db:
        status_lists.set_bit(db, f"urn:uuid:{number}", purpose=purpose, value=value, now=NOON)


def test_an_index_is_never_given_twice_even_if_chance_repeats_itself(database: Database) -> None:
    draws = iter([5, 5, 5, 6, 5, 6, 7])
    with database.transaction() as db:
        entries = [
            status_lists.assign(
                db,
                f"urn:uuid:{number}",
                purpose="revocation",
                public_url=HERE,
                now=NOON,
                draw=lambda _size: next(draws),
            )
            for number in range(3)
        ]

    assert [entry.index for entry in entries] == [5, 6, 7]


@given(st.lists(st.integers(0, 30), min_size=1, max_size=60))
@settings(max_examples=15, deadline=None)
def test_any_sequence_of_draws_gives_each_index_once(
    migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory, drawn: list[int]
) -> None:
    path = tmp_path_factory.mktemp("draws") / "tasco.db"
    shutil.copy(migrated_sqlite, path)
    database = Database(f"sqlite:///{path}")
    draws, wanted = iter(drawn), len(set(drawn))
    with database.transaction() as db:
        given_away = [
            status_lists.assign(
                db,
                f"urn:uuid:{number}",
                purpose="revocation",
                public_url=HERE,
                now=NOON,
                draw=lambda _size: next(draws),
            ).index
            for number in range(wanted)
        ]
    database.close()

    assert given_away == list(dict.fromkeys(drawn))


def test_when_no_index_is_found_nothing_is_issued(database: Database) -> None:
    _assign(database, 1)
    with database.reading() as db:
        taken = db.scalar(select(Bit.position)) or 0

    with pytest.raises(status_lists.StatusListCrowded), database.transaction() as db:
        status_lists.assign(
            db,
            "urn:uuid:2",
            purpose="revocation",
            public_url=HERE,
            now=NOON,
            draw=lambda _size: taken,
        )

    with database.reading() as db:
        assert len(db.scalars(select(Bit)).all()) == 1


def test_indices_are_spread_over_the_list(database: Database) -> None:
    indices = sorted(_assign(database, number).index for number in range(40))

    assert indices != list(range(indices[0], indices[0] + 40))
    assert indices[0] < SIZE // 3
    assert indices[-1] > SIZE * 2 // 3


def test_revocation_and_suspension_have_lists_of_their_own(database: Database) -> None:
    revocation, suspension = _assign(database, 1), _assign(database, 1, "suspension")
    _set(database, 1, "suspension", value=True)

    assert revocation.list_url == f"{HERE}/api/v1/credentials/status/revocation-1"
    assert suspension.list_url == f"{HERE}/api/v1/credentials/status/suspension-1"
    assert _status(database, revocation) is None
    assert _status(database, suspension) is Reason.SUSPENDED


def test_a_bit_acts_at_once_and_a_suspension_can_be_lifted(database: Database) -> None:
    revocation, suspension = _assign(database, 1), _assign(database, 1, "suspension")
    neighbour = _assign(database, 2)

    before = _status(database, revocation), _status(database, suspension)
    _set(database, 1, "revocation", value=True)
    _set(database, 1, "suspension", value=True)
    after = _status(database, revocation), _status(database, suspension)
    _set(database, 1, "suspension", value=False)

    assert before == (None, None)
    assert after == (Reason.REVOKED, Reason.SUSPENDED)
    assert _status(database, suspension) is None
    assert _status(database, neighbour) is None


@pytest.mark.parametrize(
    "change",
    [
        {"list_url": "https://elsewhere.example/api/v1/credentials/status/revocation-1"},
        {"list_url": f"{HERE}/api/v1/credentials/status/revocation-2"},
        {"purpose": "suspension"},
        {"index": 1_000_000},
        {"index": -1},
    ],
    ids=str,
)
def test_an_unknown_place_is_no_good_place(database: Database, change: dict[str, object]) -> None:
    entry = _assign(database, 1)
    known = {"list_url": entry.list_url, "index": entry.index, "purpose": entry.purpose}

    assert _status(database, StatusEntry(**{**known, **change})) is Reason.STATUS_UNKNOWN  # type: ignore[arg-type]


def test_an_index_that_was_never_given_away_is_unknown(database: Database) -> None:
    entry = _assign(database, 1)
    other = StatusEntry(entry.list_url, (entry.index + 1) % SIZE, entry.purpose)

    assert _status(database, other) is Reason.STATUS_UNKNOWN


def test_a_second_list_opens_when_the_first_is_four_fifths_full(database: Database) -> None:
    first = _assign(database, 1)
    with database.transaction() as db:
        db.execute(update(StatusList).values(assigned=SIZE * 8 // 10 - 1))

    last, next_one = _assign(database, 2), _assign(database, 3)
    _set(database, 1, "revocation", value=True)

    assert last.list_url == first.list_url
    assert next_one.list_url == f"{HERE}/api/v1/credentials/status/revocation-2"
    assert _status(database, first) is Reason.REVOKED
    assert _status(database, next_one) is None


def test_many_who_issue_at_once_get_different_indices(database: Database) -> None:
    with ThreadPoolExecutor(8) as pool:
        entries = list(pool.map(lambda number: _assign(database, number), range(48)))

    assert len({(entry.list_url, entry.index) for entry in entries}) == 48
    with database.reading() as db:
        [only] = db.scalars(select(StatusList)).all()
    assert only.assigned == 48


def test_two_who_open_the_first_list_at_once_open_one(database: Database) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: _assign(database, number), range(4)))

    with database.reading() as db:
        assert [one.id for one in db.scalars(select(StatusList))] == ["revocation-1"]
