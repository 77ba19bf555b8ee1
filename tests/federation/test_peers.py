"""Participants of masked sums who know each other: no coordinator can hand out its own keys."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from backend.federation import masking
from backend.federation.masking import MaskingState
from backend.federation.masking_messages import MaskingRefused, coded
from backend.federation.networks import shapes
from backend.federation.peers import refuse_strangers
from backend.federation.secure import WHOLE, GroupSum, SecureSums
from backend.federation.signing import Signer
from backend.federation.sites import Site
from backend.federation.tasks import MaskAnswer, MaskTask
from tests.federation.masked import FAMILY, Crowd, sites, train_tasks

NAMES = sorted(sites(5))
Roster = dict[str, dict[str, Any]]


@pytest.fixture
def crowd() -> Crowd:
    """Five who sign and know each other."""
    signers = {name: Signer(Ed25519PrivateKey.generate()) for name in NAMES}
    return Crowd(sites(5), signers=signers)


def run(crowd: Crowd, change: Callable[[bytes], bytes] = lambda roster: roster) -> GroupSum:
    """A sum whose coordinator may change the roster on its way to the participants."""

    def _ask(tasks: Sequence[MaskTask]) -> list[MaskAnswer]:
        told = [
            replace(one, letters={**one.letters, "roster": change(one.letters["roster"])})
            if "roster" in one.letters
            else one
            for one in tasks
        ]
        return crowd.ask(told)

    sums = SecureSums({WHOLE: train_tasks(NAMES)}, shapes(FAMILY))
    while sums.stage is not None:
        sums.step(_ask)
    return sums.sums()[WHOLE]


def swapped(changes: Callable[[Roster], object]) -> Callable[[bytes], bytes]:
    """What makes another roster of one."""

    def _change(roster: bytes) -> bytes:
        said = json.loads(roster)
        changes(said)
        return coded(said)

    return _change


def keys_of_a_stranger() -> dict[str, str]:
    keys: dict[str, str] = json.loads(masking.hello(MaskingState("mallory", "[]", b"m" * 32)))
    return keys


def test_who_knows_the_others_comes_to_the_sum_that_all_have_signed(crowd: Crowd) -> None:
    unsigned = Crowd(sites(5))

    made, plain = run(crowd), run(unsigned)

    assert made.mean is not None
    assert plain.mean is not None
    assert made.members == tuple(NAMES)
    assert len(made.mean.signature.splitlines()) == len(NAMES)
    assert plain.mean.signature == ""
    for name in made.mean.delta:
        assert (made.mean.delta[name] == plain.mean.delta[name]).all()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda said: said["site03"].update(keys_of_a_stranger()), "signed other keys"),
        (lambda said: said["site03"].update(signed=""), "not signed by it"),
        (lambda said: said["site03"].pop("signed"), "not signed by it"),
        (lambda said: said["site03"].update(signed=said["site02"]["signed"]), "not signed by it"),
        (lambda said: said.update(mallory=keys_of_a_stranger()), "mallory is not among"),
    ],
    ids=["keys swapped", "nothing signed", "no statement", "another's statement", "a stranger"],
)
def test_keys_that_their_participant_has_not_signed_are_refused_before_anything_is_shared(
    crowd: Crowd, change: Callable[[Roster], object], reason: str
) -> None:
    made = run(crowd, swapped(change))

    others = {name: said for name, said in crowd.refused.items() if name != "site03"}
    assert made.mean is None
    assert len(others) == len(NAMES) - 1
    assert all(reason in said for said in others.values()), others


def test_a_site_that_sends_masked_updates_only_trains_for_nobody_who_would_see_its_own() -> None:
    [task] = train_tasks(["site01"])
    asked = replace(task, settings=replace(task.settings, local_epochs=0))
    careful = Site("site01", sites(1)["site01"], is_masked_only=True)

    with pytest.raises(MaskingRefused, match="masked sums only"):
        careful.train(task)

    # How a model does it may be asked, and a masked sum is what it is there for.
    assert not any(array.any() for array in careful.train(asked).delta.values())
    assert careful.mask(MaskTask(task, "hello", WHOLE, 2.0), None)[0].letter


def test_a_hello_of_another_round_does_not_count(crowd: Crowd) -> None:
    """An old hello, signed well and kept by the coordinator."""
    kept: dict[str, Any] = {}
    run(crowd, swapped(kept.update))
    later = train_tasks(NAMES, round_number=2)
    task = MaskTask(later[0], "share", WHOLE, 2.0)

    with pytest.raises(MaskingRefused, match="signed other keys"):
        refuse_strangers(task, coded(kept), {n: one.did for n, one in crowd.signers.items()})


def test_a_hello_in_another_spelling_spoils_nobody_elses_sum(crowd: Crowd) -> None:
    """Upper case means the same keys; what the others would see is not what was signed."""
    signer = crowd.signers["site05"]

    def _spoil(one: MaskAnswer) -> MaskAnswer:
        if (one.participant, one.stage) != ("site05", "hello"):
            return one
        loud = {name: key.upper() for name, key in json.loads(one.letter).items()}
        task = MaskTask(train_tasks(["site05"])[0], "hello", WHOLE, 2.0)
        return signer.sign(task, MaskAnswer("site05", "hello", coded(loud)))

    crowd.spoil = _spoil

    made = run(crowd)

    assert made.members == tuple(NAMES[:4])
