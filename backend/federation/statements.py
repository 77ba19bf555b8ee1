"""What a participant signs about what it sends: which round, from which model, what, until when.

The statement travels as a compact JWS (RFC 7515) beside the bytes it is about. It binds them to
one round and one parent model, so that nothing can be sent again elsewhere or by another.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from backend.federation.tasks import Answer, MaskAnswer, MaskTask, ScoreAnswer, Task, TrainAnswer
from backend.federation.tree_tasks import ExamAnswer, TreeAnswer
from backend.federation.weights import Weights, content_hash

TYPE = "tasco-federated+jwt"
LIFETIME_S = 600
MAX_CHARACTERS = 4_096
MAX_METRICS, MAX_NAME = 16, 40
MAX_FIGURE = 1e30
Kind = Literal["update", "scores", "letter"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class StatementUnreadable(ValueError):
    """Claims that are no statement."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What is said of an update, of a committee member's scores or of a masked sum's letter.

    Attributes:
        did: Who says it.
        site_id: For which site.
        kind: `update`, `scores` or `letter`.
        round_id: The round it is for.
        parent_hash: The model it starts from.
        content_hash: Of the update's arrays, of the scores, or of the letter.
        num_examples: Examples trained on; 0 for anything else.
        nonce: Another one each time.
        expires_at: Seconds since 1970.
        metrics: What the participant says of its training; at most 16 figures.
    """

    did: str
    site_id: str
    kind: Kind
    round_id: str
    parent_hash: str
    content_hash: str
    num_examples: int
    nonce: str
    expires_at: int
    metrics: Mapping[str, float] = field(default_factory=dict)

    def claims(self) -> dict[str, Any]:
        """As the claims of a JWT."""
        return {
            "iss": self.did,
            "sub": self.site_id,
            "kind": self.kind,
            "round": self.round_id,
            "parent": self.parent_hash,
            "content": self.content_hash,
            "num_examples": self.num_examples,
            "jti": self.nonce,
            "exp": self.expires_at,
            "metrics": dict(self.metrics),
        }


def statement_of(claims: Mapping[str, Any]) -> Statement:
    """Read claims.

    Raises:
        StatementUnreadable: If one is missing or of another type.
    """
    texts = [claims.get(name) for name in ("iss", "sub", "round", "parent", "content", "jti")]
    numbers = [claims.get(name) for name in ("num_examples", "exp")]
    kind = next((one for one in KINDS if one == claims.get("kind")), None)
    if kind is None or not all(isinstance(one, str) for one in texts):
        raise StatementUnreadable("a claim is missing or no text")
    if not all(type(one) is int for one in numbers):
        raise StatementUnreadable("num_examples and exp have to be whole numbers")
    did, site_id, round_id, parent, content, nonce = (str(one) for one in texts)
    examples, expires = (int(one or 0) for one in numbers)
    figures = _figures(claims.get("metrics", {}))
    return Statement(
        did, site_id, kind, round_id, parent, content, examples, nonce, expires, figures
    )


def statement_about(task: Task, answer: Answer, *, did: str, nonce: str) -> Statement:
    """What a participant says of its answer to a task."""
    trained = answer if isinstance(answer, TrainAnswer | TreeAnswer) else None
    return Statement(
        did=did,
        site_id=answer.participant,
        kind=kind_of(answer),
        round_id=task.round_id,
        parent_hash=task.parent_hash,
        content_hash=hash_of_answer(task, answer),
        num_examples=trained.num_examples if trained else 0,
        nonce=nonce,
        expires_at=task.asked_at + LIFETIME_S,
        metrics=trained.metrics if trained else {},
    )


def kind_of(answer: Answer) -> Kind:
    """What kind of statement an answer needs."""
    if isinstance(answer, TrainAnswer | TreeAnswer):
        return "update"
    return "letter" if isinstance(answer, MaskAnswer) else "scores"


def hash_of_answer(task: Task, answer: Answer) -> str:
    """What a statement says of an answer to a task."""
    if isinstance(answer, TrainAnswer):
        return hash_of_update(answer.delta)
    if isinstance(answer, ScoreAnswer):
        return hash_of_scores(answer.gains)
    if isinstance(answer, TreeAnswer):
        return hashlib.sha256(answer.text.encode()).hexdigest()
    if isinstance(answer, ExamAnswer):
        return hash_of_scores(answer.figures)
    return hash_of_letter(_context(task), answer)


def _context(task: Task) -> str:
    if not isinstance(task, MaskTask):
        raise TypeError("a letter answers a step of a masked sum only")
    return task.context


def _figures(said: object) -> dict[str, float]:
    if not isinstance(said, dict) or len(said) > MAX_METRICS:
        raise StatementUnreadable(f"metrics are at most {MAX_METRICS} figures")
    if not all(is_figure(name, value) for name, value in said.items()):
        raise StatementUnreadable("a metric is no finite figure with a short name")
    return {name: float(value) for name, value in said.items()}


def is_figure(name: object, value: object) -> bool:
    """Whether something said is a number that can be stored and added up, under a short name."""
    is_named = isinstance(name, str) and len(name) <= MAX_NAME and is_plain(name)
    # Compared, not converted: JSON has whole numbers that no float can hold.
    return is_named and type(value) in (int, float) and -MAX_FIGURE <= value <= MAX_FIGURE  # type: ignore[operator]


def is_plain(text: str) -> bool:
    """Whether a text is of printable ASCII only; databases refuse NUL and lone surrogates."""
    return text.isascii() and text.isprintable()


def hash_of_update(delta: Weights) -> str:
    """What a statement says of an update."""
    return content_hash(delta)


def hash_of_scores(gains: Mapping[str, float]) -> str:
    """What a statement says of scores: SHA-256 of their JSON with sorted keys, no spaces."""
    text = json.dumps(dict(gains), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def hash_of_letter(context: str, answer: MaskAnswer) -> str:
    """What a statement says of a letter: SHA-256 of JSON of its sum, its stage and its bytes."""
    text = json.dumps([context, answer.stage, answer.letter.hex()])
    return hashlib.sha256(text.encode()).hexdigest()
