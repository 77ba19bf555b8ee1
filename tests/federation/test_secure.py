"""Masked sums: exact, hidden from the coordinator, whole after dropouts, refused when spoiled."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.federation import masking, unmasking
from backend.federation.fixed_point import decode
from backend.federation.masking import MaskingState
from backend.federation.masking_messages import MaskingRefused, coded, names_in
from backend.federation.networks import shapes
from backend.federation.secure import (
    CLIP_NORM,
    STAGES,
    WHOLE,
    GroupSum,
    SecureSums,
    fault_of_mean,
    mean_of,
)
from backend.federation.secure_participant import MOST_EXAMPLES, answer, vector_of
from backend.federation.shamir import PRIME, SharesRefused, join, split
from backend.federation.tasks import (
    MaskAnswer,
    MaskTask,
    ScoreAnswer,
    Stage,
    TrainAnswer,
    TrainSettings,
)
from backend.federation.unmasking import SecureSumFailed
from backend.federation.weights import content_hash
from tests.federation.masked import FAMILY, Crowd, plain_update, sites, train_tasks

SHAPES = shapes(FAMILY)


def sums_of(crowd: Crowd, **values: Any) -> SecureSums:
    """Sums that went through all stages."""
    sums = SecureSums({WHOLE: train_tasks(sorted(crowd.examples))}, SHAPES, **values)
    while sums.stage is not None:
        sums.step(crowd.ask)
    return sums


def run(crowd: Crowd, **values: Any) -> GroupSum:
    return sums_of(crowd, **values).sums()[WHOLE]


def plain_mean(crowd: Crowd, names: Sequence[str], *, clip_norm: float = CLIP_NORM) -> str:
    """The hash of the mean that the survivors' plain vectors have."""
    vectors = [
        vector_of(plain_update(name, crowd.examples[name]), clip_norm=clip_norm) for name in names
    ]
    delta, _ = mean_of(np.sum(vectors, axis=0), SHAPES, members=len(names))
    return content_hash(delta)


# Shares


@settings(max_examples=25)
@given(
    secret=st.binary(min_size=32, max_size=32),
    counts=st.tuples(st.integers(1, 9), st.integers(1, 9)).map(sorted),
    seed=st.integers(0, 2**31),
)
def test_any_shares_up_to_the_threshold_give_the_secret_back(
    secret: bytes, counts: list[int], seed: int
) -> None:
    threshold, shares = counts
    rng = np.random.default_rng(seed)
    made = split(
        secret,
        shares=shares,
        threshold=threshold,
        draw=lambda _: int.from_bytes(rng.bytes(70), "big") % PRIME,
    )
    chosen = {int(x): made[int(x)] for x in rng.permutation(list(made))[:threshold]}

    assert join(chosen, threshold=threshold) == secret


def test_fewer_shares_fit_any_secret() -> None:
    """With two of three needed, one share lies on a line through every possible secret."""
    made = split(b"\x07" * 32, shares=3, threshold=2, draw=lambda _: 123_456_789)
    other = int.from_bytes(b"\x09" * 32, "big")
    slope = (made[1] - other) % PRIME

    forged = {1: made[1], 2: (other + 2 * slope) % PRIME}

    assert join(forged, threshold=2) == b"\x09" * 32
    with pytest.raises(SharesRefused, match="1 shares; 2 are needed"):
        join({1: made[1]}, threshold=2)


# Sums


def test_the_masked_mean_is_the_plain_one_bit_by_bit() -> None:
    crowd = Crowd(sites(5))

    made = run(crowd)

    assert made.members == tuple(sorted(crowd.examples))
    assert made.mean is not None
    assert content_hash(made.mean.delta) == plain_mean(crowd, made.members)
    assert made.mean.num_examples == sum(len(one.train) for one in crowd.examples.values())


@pytest.mark.parametrize("stage", STAGES)
def test_one_of_five_may_drop_out_at_any_stage(stage: Stage) -> None:
    crowd = Crowd(sites(5), silent={"site02": stage})

    made = run(crowd)

    # Who sent its vector and fell silent then is in the sum: the others' shares take its mask off.
    names = [one for one in sorted(crowd.examples) if one != "site02" or stage == "reveal"]
    assert made.members == tuple(names)
    assert made.mean is not None
    assert content_hash(made.mean.delta) == plain_mean(crowd, names)


@pytest.mark.parametrize(
    ("stage", "reason"),
    [
        ("share", "3 shared their seeds; 4 are needed"),
        ("mask", "3 sent a masked vector; 4 are needed"),
        ("reveal", "3 gave their shares; 4 are needed"),
    ],
)
def test_too_few_that_stay_make_no_sum_and_say_why(stage: Stage, reason: str) -> None:
    made = run(Crowd(sites(5), silent={"site01": stage, "site04": stage}))

    assert (made.mean, made.members, made.reason) == (None, (), reason)


def test_two_participants_are_too_few_to_hide_each_other() -> None:
    assert run(Crowd(sites(2))).reason == "2 said hello; 3 are needed"


def test_long_updates_are_clipped_and_claims_of_examples_capped_by_their_own_sender() -> None:
    update = plain_update("site01", sites(1)["site01"])
    loud = replace(
        update,
        delta={name: one * np.float32(1_000) for name, one in update.delta.items()},
        num_examples=10**9,
    )

    vector = vector_of(loud, clip_norm=0.5)

    assert vector[-1] == MOST_EXAMPLES
    clipped = decode(vector[:-1] // MOST_EXAMPLES, SHAPES)
    norm = np.sqrt(sum(float((one.astype(np.float64) ** 2).sum()) for one in clipped.values()))
    assert norm == pytest.approx(0.5, rel=1e-5)


# What the coordinator holds


@contextmanager
def watched(module: Any) -> Iterator[list[bytes]]:
    """Every array and text of bytes that any line of a module's functions holds."""
    seen: list[bytes] = []

    def _look(frame: FrameType, _event: str, _argument: object) -> Any:
        if frame.f_code.co_filename != module.__file__:
            return None
        for value in frame.f_locals.values():
            one = value.values() if isinstance(value, dict) else [value]
            seen.extend(
                np.ascontiguousarray(each).tobytes() if isinstance(each, np.ndarray) else each
                for each in one
                if isinstance(each, np.ndarray | bytes)
            )
        return _look

    sys.settrace(_look)
    try:
        yield seen
    finally:
        sys.settrace(None)


@pytest.mark.parametrize("silent", [{}, {"site03": "mask"}])
def test_no_line_of_the_coordinator_ever_holds_a_single_plain_update(
    silent: dict[str, Stage],
) -> None:
    crowd = Crowd(sites(4) if not silent else sites(5), silent=silent)
    sums = sums_of(crowd)

    with watched(unmasking) as seen:
        made = sums.sums()[WHOLE]

    plain = {
        name: vector_of(plain_update(name, one), clip_norm=CLIP_NORM)
        for name, one in crowd.examples.items()
    }
    whole = np.sum([plain[name] for name in made.members], axis=0)
    held = set(seen)
    assert whole.tobytes() in held  # the watch does see what is there
    for name, vector in plain.items():
        assert vector.tobytes() not in held, name
        assert (whole - vector).tobytes() not in held, name  # all but one gives that one away


def test_one_masked_vector_looks_like_noise() -> None:
    crowd = Crowd(sites(4))

    letters = sums_of(crowd).letters["mask"][WHOLE]

    words = np.frombuffer(bytes.fromhex(letters["site01"]), "<u8")
    vector = vector_of(plain_update("site01", crowd.examples["site01"]), clip_norm=CLIP_NORM)
    assert np.abs(vector).max() < 2**40  # plain numbers are small, masked ones anywhere
    assert np.median(words >> np.uint64(62)) >= 1
    assert len(np.unique(words)) == len(words)


# Interruptions


@pytest.mark.parametrize("stop", range(1, 5))
def test_kept_letters_take_an_interrupted_round_to_the_same_mean(stop: int) -> None:
    crowd = Crowd(sites(4), keys={name: name.encode() for name in sites(4)})
    whole = run(Crowd(crowd.examples))
    sums = SecureSums({WHOLE: train_tasks(sorted(crowd.examples))}, SHAPES)
    for _ in range(stop):
        sums.step(crowd.ask)
    crowd.memories.clear()  # the participants were in the process that was killed

    kept = json.loads(json.dumps(sums.letters))
    made = run(crowd, letters=kept)

    assert made.mean is not None
    assert whole.mean is not None
    assert content_hash(made.mean.delta) == content_hash(whole.mean.delta)


# Participants refuse what would give them away


def asked(
    crowd: Crowd, sums: SecureSums, stage: Stage, name: str = "site01", **letters: bytes
) -> MaskAnswer:
    """Ask one participant for a stage, with letters that may be others than it should get."""
    task = next(one for one in sums._tasks(WHOLE, stage) if one.participant == name)  # noqa: SLF001 - what a hostile coordinator would build on
    changed = replace(task, letters={**task.letters, **letters})
    return answer(changed, crowd.examples[name], crowd.memories[name])[0]


def test_the_same_letters_get_the_same_answer_and_others_none() -> None:
    crowd = Crowd(sites(5), silent={"site05": "mask"})
    sums = sums_of(crowd)
    said = bytes.fromhex(sums.letters["reveal"][WHOLE]["site01"])

    assert asked(crowd, sums, "reveal").letter == said
    others = coded(["site01", "site02", "site03", "site05"])
    with pytest.raises(MaskingRefused, match="another survivors than before"):
        asked(crowd, sums, "reveal", survivors=others)


def test_of_nobody_both_seeds_are_given_out() -> None:
    crowd = Crowd(sites(5), silent={"site05": "mask"})

    reveals = sums_of(crowd).letters["reveal"][WHOLE]

    for letter in reveals.values():
        given_out = json.loads(bytes.fromhex(letter))
        assert set(given_out["own"]) == {"site01", "site02", "site03", "site04"}
        assert set(given_out["pair"]) == {"site05"}


def test_few_survivors_are_given_no_shares() -> None:
    crowd = Crowd(sites(5), silent=dict.fromkeys(sites(5), "reveal"))
    sums = sums_of(crowd)

    with pytest.raises(MaskingRefused, match="too few survived"):
        asked(crowd, sums, "reveal", survivors=coded(["site01", "site02", "site03"]))


def test_a_participant_masks_one_vector_with_its_masks_and_no_second() -> None:
    state = MaskingState("a", "context", b"\x01" * 32)
    others = [MaskingState(name, "context", name.encode() * 32) for name in "bc"]
    roster = unmasking.roster_of({one.name: masking.hello(one) for one in (state, *others)}, {})
    shared = {one.name: masking.share(one, roster) for one in (state, *others)}
    parcels = unmasking.parcels_for(roster, {name: one[1] for name, one in shared.items()})["a"]
    numbers = np.arange(5, dtype=np.int64)
    masked, letter = masking.mask(shared["a"][0], roster, parcels, numbers)

    assert masking.mask(masked, roster, parcels, numbers)[1] == letter
    with pytest.raises(MaskingRefused, match="another vector than before"):
        masking.mask(masked, roster, parcels, numbers + 1)


def test_after_one_sum_of_a_round_there_is_no_second_one_without_somebody() -> None:
    crowd = Crowd(sites(5))
    run(crowd)
    four = {"left": train_tasks(["site01", "site02", "site03", "site04"])}
    again = SecureSums(four, SHAPES)

    again.step(crowd.ask)

    assert again.sums()["left"].reason == "0 said hello; 3 are needed"
    assert set(crowd.refused.values()) == {"seeds were shared in another sum of this round already"}


def test_who_was_led_to_another_sum_does_not_mask_another_vector_in_the_first() -> None:
    """Its long-lived key gives the same masks again: the difference would be its update."""
    names = sorted(sites(5))
    crowd = Crowd(sites(5), keys={name: name.encode() * 8 for name in names})
    sums = SecureSums({WHOLE: train_tasks(names)}, SHAPES)
    sums.step(crowd.ask)
    sums.step(crowd.ask)
    task = next(one for one in sums.tasks() if one.participant == "site01")
    untrained = replace(task, train=replace(task.train, settings=TrainSettings(local_epochs=0)))
    elsewhere = replace(task.train, round_number=2)

    assert len(crowd.ask([untrained])) == 1
    assert len(crowd.ask([MaskTask(elsewhere, "hello", WHOLE, CLIP_NORM)])) == 1
    assert crowd.ask([task]) == []
    assert crowd.refused == {"site01": "seeds were shared in another sum of this round already"}


def test_parcels_of_who_was_told_another_roster_are_not_opened() -> None:
    """Three shares give the seeds of one who was told of three: the others must not have any."""
    states = [MaskingState(name, "context", name.encode() * 32) for name in "abcde"]
    hellos = {one.name: masking.hello(one) for one in states}
    large = unmasking.roster_of(hellos, {})
    small = unmasking.roster_of({name: hellos[name] for name in "abc"}, {})
    told = {one.name: small if one.name == "a" else large for one in states}
    shared = {one.name: masking.share(one, told[one.name]) for one in states}
    parcels = coded({name: json.loads(said)["b"] for name, (_, said) in shared.items()})

    with pytest.raises(MaskingRefused, match="the parcel of a cannot be opened"):
        masking.reveal(shared["b"][0], large, parcels, coded("abcde"))


def test_a_roster_with_another_key_for_oneself_is_refused() -> None:
    crowd = Crowd(sites(4))
    sums = SecureSums({WHOLE: train_tasks(sorted(crowd.examples))}, SHAPES)
    sums.step(crowd.ask)
    members = json.loads(next(sums._tasks(WHOLE, "share")).letters["roster"])  # noqa: SLF001 - as above
    stranger = json.loads(masking.hello(MaskingState("site01", "context", bytes(32))))

    with pytest.raises(MaskingRefused, match="another key for this participant"):
        asked(crowd, sums, "share", roster=coded({**members, "site01": stranger}))


# Liars among the participants


def test_false_shares_are_found_and_make_no_wrong_sum() -> None:
    def _spoil(one: MaskAnswer) -> MaskAnswer:
        if one.stage != "reveal" or one.participant != "site02":
            return one
        said = json.loads(one.letter)
        said["own"] = {name: f"{int(share, 16) ^ 1:x}" for name, share in said["own"].items()}
        return replace(one, letter=json.dumps(said).encode())

    made = run(Crowd(sites(4), spoil=_spoil))

    assert made.mean is None
    assert "site01: the shares" in made.reason or "the shares of site01" in made.reason


@pytest.mark.parametrize(
    "letter", [b"", b"{", b"[]", b"[" * 200_000, b"\xff" * 40, b'{"own": 1, "pair": []}']
)
@pytest.mark.parametrize("stage", STAGES)
def test_who_answers_nonsense_has_dropped_out(stage: Stage, letter: bytes) -> None:
    def _spoil(one: MaskAnswer) -> MaskAnswer:
        is_liar = one.participant == "site03" and one.stage == stage
        return replace(one, letter=letter) if is_liar else one

    crowd = Crowd(sites(5), spoil=_spoil)

    made = run(crowd)

    names = [one for one in sorted(crowd.examples) if one != "site03" or stage == "reveal"]
    assert made.mean is not None, made.reason
    assert content_hash(made.mean.delta) == plain_mean(crowd, names)


READERS: list[Callable[[bytes], object]] = [
    lambda noise: masking.share(MaskingState("a", "c", bytes(32)), noise),
    lambda noise: unmasking.roster_of(dict.fromkeys("abc", noise), {}),
    lambda noise: masking.reveal(MaskingState("a", "c", bytes(32)), noise, noise, noise),
    lambda noise: names_in(noise + b"}"),
]


@settings(max_examples=60)
@given(noise=st.binary(max_size=80), read=st.sampled_from(READERS))
def test_noise_in_place_of_letters_is_refused_by_name(
    noise: bytes, read: Callable[[bytes], object]
) -> None:
    with pytest.raises((MaskingRefused, SecureSumFailed)):
        read(noise)


# The whole is judged


def mean(norm: float) -> TrainAnswer:
    delta = {"b": np.zeros(1, np.float32), "w": np.zeros((26, 1), np.float32)}
    delta["w"][0] = norm
    return TrainAnswer(WHOLE, delta, 500)


def opinions(*gains: float) -> list[ScoreAnswer]:
    return [ScoreAnswer(f"site{place}", {WHOLE: gain}) for place, gain in enumerate(gains)]


def test_a_mean_that_helps_the_median_member_becomes_the_model() -> None:
    assert fault_of_mean(mean(1.0), opinions(0.1, 0.05, -1.0)) == ""


@pytest.mark.parametrize(
    ("norm", "gains", "reason"),
    [
        (CLIP_NORM * 1.1, (0.5, 0.5, 0.5), "clipped updates have 2 at most"),
        (float("nan"), (0.5, 0.5, 0.5), "clipped updates have 2 at most"),
        (1.0, (-0.5, -0.4, 0.9), "loss rises by 40.0%"),
        (1.0, (float("nan"),), "no committee member"),
        (1.0, (), "no committee member"),
    ],
)
def test_a_mean_that_was_spoiled_is_refused_with_a_reason(
    norm: float, gains: tuple[float, ...], reason: str
) -> None:
    assert reason in fault_of_mean(mean(norm), opinions(*gains))


def test_a_sum_that_no_honest_members_can_have_sent_has_no_mean() -> None:
    values = int(sum(np.prod(one) for one in SHAPES.values()))
    with pytest.raises(SecureSumFailed, match="examples of 3 participants"):
        mean_of(np.append(np.zeros(values, np.int64), -5), SHAPES, members=3)
    with pytest.raises(SecureSumFailed, match="beyond every update's"):
        mean_of(np.append(np.full(values, 2**60), 3), SHAPES, members=3)


def test_a_task_without_its_letters_is_refused() -> None:
    task = MaskTask(train_tasks(["site01"])[0], "share", WHOLE, CLIP_NORM)

    with pytest.raises(MaskingRefused, match="there is no roster"):
        answer(task, sites(1)["site01"], None)
