"""Nothing hostile gets through, whichever engines judge."""

from collections.abc import Iterator

import pytest

from backend.adapters.verifier.interface import PresentationVerdict, Verdict
from backend.adapters.verifier.verifier import DocumentVerifier, open_verifier
from tests.adapters.verifier.attacks import Attack, all_attacks
from tests.adapters.verifier.scene import CHALLENGE, DOMAIN, Scene

SCENE = Scene()
ATTACKS = all_attacks(SCENE)


@pytest.fixture(scope="module", params=["pure", "both"])
def verifier(request: pytest.FixtureRequest) -> Iterator[DocumentVerifier]:
    opened = open_verifier(request.param)
    yield opened
    opened.close()


def judge(verifier: DocumentVerifier, attack: Attack) -> Verdict | PresentationVerdict:
    if attack.kind == "credential":
        return verifier.verify_credential(attack.document, at=SCENE.at, registry=SCENE.book)
    return verifier.verify_presentation(
        attack.document, challenge=CHALLENGE, domain=DOMAIN, at=SCENE.at, registry=SCENE.book
    )


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_a_hostile_document_is_refused_with_its_reason(
    verifier: DocumentVerifier, attack: Attack
) -> None:
    verdict = judge(verifier, attack)

    assert not verdict.verified
    assert verdict.reasons
    assert "engine_failed" not in verdict.reasons
    if attack.reason is not None:
        assert verdict.reasons[0] == attack.reason


def test_there_are_as_many_attacks_as_were_found_against_didkit() -> None:
    assert len(ATTACKS) >= 194
