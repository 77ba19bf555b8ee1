"""A participant's steps in a masked sum of updates: train, clip, hide, and give out shares once."""

import hmac
import json
import math
import secrets
from collections.abc import Mapping
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from backend.federation import masking
from backend.federation.checking import norm_of, scaled
from backend.federation.demand import Examples
from backend.federation.fixed_point import encode
from backend.federation.masking import MaskingState
from backend.federation.masking_messages import MaskingRefused
from backend.federation.participant import train
from backend.federation.peers import Peers, refuse_strangers
from backend.federation.tasks import MaskAnswer, MaskTask, TrainAnswer

MOST_EXAMPLES = 10_000
"""Examples beyond do not count; the sum of a thousand updates of this weight fits into 64 bits."""

MOST_ROUNDS = 100_000
"""None is forgotten to make place for another: whoever asks could have it forgotten."""


def answer(
    task: MaskTask,
    examples: Examples,
    memory: bytes | None,
    *,
    key: bytes | None = None,
    peers: Peers | None = None,
) -> tuple[MaskAnswer, bytes]:
    """A participant's step: its message, and what it has to remember until the next.

    Args:
        task: Which step.
        examples: One's own.
        memory: What the last step of any round gave; None at the very first.
        key: Long-lived secret of the participant, so that it can take up a sum after its memory
            was lost; without one, the secret of a sum lies in the memory alone.
        peers: The DIDs of those with whom it sums; a roster with keys that one of them has not
            signed is refused. None takes the coordinator's word for everybody.

    Raises:
        MaskingRefused: If the step would give something away, or the letters are not of this sum.
    """
    state = _state_of(task, memory, key)
    letters = task.letters
    if peers is not None and task.stage != "hello" and not state.roster_hash:
        refuse_strangers(task, _letter(letters, "roster"), peers)
    if task.stage == "hello":
        letter = masking.hello(state)
    elif task.stage == "share":
        state, letter = masking.share(state, _letter(letters, "roster"))
    elif task.stage == "mask":
        trained = train(task.train, examples, noise_key=key)
        numbers = vector_of(trained, clip_norm=task.clip_norm)
        state, letter = masking.mask(
            state, _letter(letters, "roster"), _letter(letters, "parcels"), numbers
        )
    else:
        named = (_letter(letters, one) for one in ("roster", "parcels", "survivors"))
        state, letter = masking.reveal(state, *named)
    return MaskAnswer(task.participant, task.stage, letter), state.to_bytes()


def _state_of(task: MaskTask, memory: bytes | None, key: bytes | None) -> MaskingState:
    """The memory of this sum, or a new one.

    A second sum of the same round could leave one participant out and show its update as the
    difference; so once seeds were shared in one there is no other. Nor is there a way back to a sum
    after another was begun: from a long-lived key come the same seeds and masks, but what was done
    with them once only is not known any more.
    """
    context = task.context
    known = None if memory is None else MaskingState.from_bytes(memory)
    if known is not None and known.context == context:
        return known
    given = () if known is None else known.given
    if known is not None and known.roster_hash:
        given = (*given, round_of(known.context))
    if round_of(context) in given:
        raise MaskingRefused("seeds were shared in another sum of this round already")
    if len(given) > MOST_ROUNDS:
        raise MaskingRefused(f"no more than {MOST_ROUNDS} rounds can be remembered")
    secret = secrets.token_bytes(32) if key is None else _secret(key, context)
    return MaskingState(task.participant, context, secret, given)


def round_of(context: str) -> str:
    """Experiment and number alone."""
    return json.dumps(json.loads(context)[:2])


def _secret(key: bytes, context: str) -> bytes:
    return hmac.new(key, b"masked sum\x00" + context.encode(), sha256).digest()


def _letter(letters: Mapping[str, bytes], name: str) -> bytes:
    if name not in letters:
        raise MaskingRefused(f"there is no {name}")
    return letters[name]


def vector_of(trained: TrainAnswer, *, clip_norm: float) -> NDArray[np.int64]:
    """A clipped update times its examples in fixed point, and the examples behind it."""
    norm = norm_of(trained.delta)
    if not math.isfinite(norm):
        raise MaskingRefused("the update is not finite")
    clipped = scaled(trained.delta, min(1.0, clip_norm / norm) if norm > 0 else 1.0)
    count = min(max(int(trained.num_examples), 1), MOST_EXAMPLES)
    return np.append(encode(clipped) * count, count)
