"""Tasks of trees: models and rows as text and file, and what a participant refuses to do."""

import hashlib
import io
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.federation.participant import WrongModel
from backend.federation.statements import statement_about
from backend.federation.tasks import ScoreAnswer
from backend.federation.tree_models import TreeModel, model_text, read_model
from backend.federation.tree_participant import NotWithTheseRows, answer
from backend.federation.tree_rows import PARTS, RowsRefused, from_npz, to_npz
from backend.federation.tree_tasks import GradeTask, GrowTask, TreeAnswer
from backend.federation.tree_text import TreesRefused
from backend.federation.trees import grow, score
from tests.federation.test_tree_rounds import learned, sites
from tests.federation.test_trees import BINARY, drawn

MEMBERS = sites(3)
MODEL = learned(MEMBERS, BINARY)[-1].model
TEXT = model_text(MODEL, BINARY)
OWN = MEMBERS["site0"]
COMMON: dict[str, Any] = {
    "experiment_id": "test",
    "round_number": 4,
    "participant": "site0",
    "target": "plug_availability",
    "settings": BINARY,
    "model": TEXT,
    "parent_hash": MODEL.content_hash(BINARY),
}


def test_a_model_read_from_its_text_answers_and_hashes_as_the_one_that_was_written() -> None:
    model, rows = read_model(TEXT, BINARY), drawn(7, 100).rows

    np.testing.assert_array_equal(model.raw(rows), MODEL.raw(rows))
    assert model.content_hash(BINARY) == MODEL.content_hash(BINARY)
    assert model_text(model, BINARY) == TEXT


def altered(**change: object) -> str:
    """The text with something of its first set changed."""
    bags = json.loads(TEXT)
    bags[0][0].update(change)
    return json.dumps(bags)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no bags"),
        ("[" * 5_000, "no bags"),
        ("7", "no bags"),
        ('{"a": 1}', "no bags"),
        ('[["a"]]', "no bags"),
        (altered(share=0), "no share"),
        (altered(share=True), "no share"),
        (altered(share=0.5), "no share"),
        (altered(share=2**60), "no share"),
        (altered(trees=7), "no share"),
        (altered(trees="trees"), "version 4"),
    ],
)
def test_what_is_no_model_is_refused(text: str, reason: str) -> None:
    with pytest.raises(TreesRefused, match=reason):
        read_model(text, BINARY)


@settings(max_examples=40)
@given(st.integers(0, len(TEXT) - 1), st.characters(max_codepoint=127))
def test_any_altered_character_of_a_model_is_refused_or_still_trees(place: int, other: str) -> None:
    try:
        model = read_model(TEXT[:place] + other + TEXT[place + 1 :], BINARY)
    except TreesRefused:
        return
    assert np.isfinite(model.raw(drawn(2, 20).rows)).all()


def test_growing_and_grading_are_what_the_functions_give() -> None:
    grown = answer(GrowTask(**COMMON), OWN)
    assert isinstance(grown, TreeAnswer)
    trees = read_model(TEXT, BINARY).bags[0].sets[1]
    text = json.loads(TEXT)[0][1]["trees"]
    graded = answer(GradeTask(candidates={"site1": text}, **COMMON), OWN)

    wanted = grow(MODEL, OWN.train.rows, OWN.train.targets, BINARY, participant="site0")
    assert (grown.text, grown.num_examples) == (wanted.text, 400)
    judge = OWN.judge
    assert graded == score(
        MODEL, {"site1": trees}, judge.rows, judge.targets, BINARY, participant="site0"
    )
    assert isinstance(graded, ScoreAnswer)
    assert graded.gains["site1"] != 0


def test_what_is_signed_of_trees_is_the_hash_of_their_text() -> None:
    task = GrowTask(**COMMON, round_id="test-4", asked_at=1_800_000_000)
    grown = answer(task, OWN)
    assert isinstance(grown, TreeAnswer)

    said = statement_about(task, grown, did="did:key:z6Mk", nonce="n")

    assert said.content_hash == hashlib.sha256(grown.text.encode()).hexdigest()
    assert (said.kind, said.num_examples, said.metrics) == ("update", 400, grown.metrics)
    assert (said.round_id, said.parent_hash) == ("test-4", task.parent_hash)


def test_a_model_other_than_the_named_one_is_not_grown_upon() -> None:
    other = {**COMMON, "model": model_text(TreeModel(MODEL.bags[:1]), BINARY)}

    with pytest.raises(WrongModel):
        answer(GrowTask(**other), OWN)


def test_a_site_grows_no_leaves_that_nearly_show_its_rows() -> None:
    small = replace(BINARY, min_data_in_leaf=1)

    with pytest.raises(NotWithTheseRows, match="fewer than 50"):
        answer(GrowTask(**{**COMMON, "settings": small}), OWN)


def test_rows_of_other_features_are_of_no_use() -> None:
    other = replace(BINARY, features=7)

    with pytest.raises(NotWithTheseRows, match="6 features"):
        answer(GrowTask(**{**COMMON, "settings": other}), OWN)


def test_rows_come_out_of_their_file_as_they_went_in() -> None:
    rule = np.linspace(-1, 1, 300)
    rows = {"energy_to_full": OWN, "plug_availability": replace(MEMBERS["site1"], simple=rule)}

    found = from_npz(to_npz(rows))

    assert list(found) == ["energy_to_full", "plug_availability"]
    for target, own in rows.items():
        for name in PARTS:
            wanted, part = getattr(own, name), getattr(found[target], name)
            np.testing.assert_array_equal(part.rows, wanted.rows)
            np.testing.assert_array_equal(part.targets, wanted.targets)
    assert found["energy_to_full"].simple is None
    np.testing.assert_array_equal(found["plug_availability"].simple, rule)


def file_of(**changed: np.ndarray) -> bytes:
    with np.load(io.BytesIO(to_npz({"energy": OWN}))) as file:
        arrays = {name.removeprefix("energy."): file[name] for name in file.files}
    out = io.BytesIO()
    np.savez(out, **{f"energy.{name}": one for name, one in (arrays | changed).items()})
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no npz"),
        (b"timestamp,energy_kwh\n", "no npz"),
        (file_of(**{"train.rows": np.array([{}], dtype=object)}), "no npz"),
        (file_of(**{"train.targets": np.zeros(7)}), "do not fit"),
        (file_of(**{"test.rows": np.zeros((300, 5))}), "do not fit"),
        (file_of(**{"judge.rows": np.zeros((0, 6)), "judge.targets": np.zeros(0)}), "do not fit"),
        (file_of(simple=np.zeros(3)), "do not fit"),
    ],
)
def test_files_without_rows_are_refused(data: bytes, reason: str) -> None:
    with pytest.raises(RowsRefused, match=reason):
        from_npz(data)
