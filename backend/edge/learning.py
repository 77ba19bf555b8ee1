"""A site in federated rounds over plain HTTP: ask, answer, sign, send; data stay here."""

import base64
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, get_args
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from backend.edge.asking import Ask, Reply, ServiceAway, ask_over_http, told
from backend.edge.budget import Budget, BudgetRefused
from backend.edge.enrolling import enrol
from backend.edge.proofs import Pass
from backend.federation.demand import Examples
from backend.federation.masking_messages import MaskingRefused
from backend.federation.networks import shapes
from backend.federation.participant import forecast_errors, loss, r2
from backend.federation.peers import Peers
from backend.federation.signing import Signer, noise_key_of
from backend.federation.sites import Site
from backend.federation.tasks import (
    MaskTask,
    ScoreAnswer,
    ScoreTask,
    Stage,
    TrainSettings,
    TrainTask,
)
from backend.federation.weights import Weights, WeightsRefused, content_hash, from_npz, to_npz
from backend.masked_sums import Memory

API = "/api/v1/federated"
LONGEST_COMPLAINT = 200
JSON, BYTES = "application/json", "application/octet-stream"
Clock = Callable[[], datetime]


def _now() -> datetime:
    return datetime.now(UTC)


class TaskRefused(Exception):
    """A task that is not for this site, brings another model than it names, or makes no sense."""


@dataclass(slots=True)
class Done:
    """What a site did in a run."""

    trained: int = 0
    scored: int = 0
    masked: int = 0
    refused: list[str] = field(default_factory=list)

    def note(self, kind: str, sent: Reply) -> bool:
        """Count what was sent in answer to a kind of task; False if it was refused."""
        if sent.status != HTTPStatus.OK:
            self.refused.append(str(sent.json().get("code", sent.status)))
            return False
        if kind == "train":
            self.trained += 1
        elif kind == "mask":
            self.masked += 1
        else:
            self.scored += 1
        return True


@dataclass(frozen=True, slots=True, repr=False)
class Gateway:
    """A site's gateway.

    Attributes:
        url: Address of the service, as it calls itself.
        site_id: The site it trains for.
        key: Its own key; the DID is the key's `did:key` unless one is given.
        examples: Its data.
        holder: Gives token and proof of each request; None where nobody asks for them.
        did: Another DID whose key this is.
        budget: The privacy that the site has left; None leaves it to the service's ledger.
        peers: With whom it sums masked updates; without any it takes part in no masked sum.
        is_masked_only: Whether it sends its updates in masked sums alone.
        memory: Of masked sums; without one it takes part in none either.
        ask: How requests are sent.
        clock: Tells the time of a request.
    """

    url: str
    site_id: str
    key: Ed25519PrivateKey
    examples: Examples
    holder: Callable[[], Pass] | None = None
    did: str | None = None
    budget: Budget | None = None
    peers: Peers = field(default_factory=dict)
    is_masked_only: bool = False
    memory: Memory | None = None
    ask: Ask = ask_over_http
    clock: Clock = _now

    @property
    def own_did(self) -> str:
        """Who signs."""
        return self._signer.did

    @property
    def _signer(self) -> Signer:
        return Signer(self.key, self.did)

    @property
    def _site(self) -> Site:
        noise = noise_key_of(self.key)
        return Site(
            self.site_id,
            self.examples,
            noise,
            self._signer,
            self.peers,
            is_masked_only=self.is_masked_only,
        )

    def enrol(self) -> None:
        """Take part from now on.

        Raises:
            ServiceAway: If the service does not let this site take part.
        """
        now = self.clock()
        enrol(
            self.url,
            self.site_id,
            did=self.own_did,
            engine="edge",
            holder=self.holder,
            ask=self.ask,
            now=now,
        )

    def step(self, done: Done) -> bool:
        """Do what is asked now; False if that is nothing, or what was sent was refused.

        Raises:
            ServiceAway: If the service does not answer.
            TaskRefused: If the task is not for this site, brings another model than it names, or
                makes no sense.
            BudgetRefused: If the task would tell more than the site allows.
            MaskingRefused: If the step of a masked sum would give something away.
        """
        task = self._task()
        if task is None:
            return False
        answers = {
            "train": self._train,
            "score": self._score,
            "judge": self._judge,
            "mask": self._mask,
        }
        try:
            return done.note(task["kind"], answers[task["kind"]](task))
        except MaskingRefused:
            raise
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            # The page of a proxy, a newer service, a hostile one: it may make sense later.
            raise TaskRefused(f"the task makes no sense: {error!r}"[:LONGEST_COMPLAINT]) from error

    def _task(self) -> dict[str, Any] | None:
        place = f"{API}/rounds/current/task"
        reply = self._send("GET", place, None, query=f"?site_id={quote(self.site_id)}")
        if reply.status == HTTPStatus.NO_CONTENT:
            return None
        if reply.status != HTTPStatus.OK:
            raise ServiceAway(told(reply))
        return reply.json()

    def _train(self, task: Mapping[str, Any]) -> Reply:
        mine = train_task_of(task, self.site_id)
        if self.budget is not None:
            self.budget.spend(mine, self.examples.train)
        said = self._site.train(mine)
        return self._deliver(task, "updates", to_npz(said.delta), said.signature, kind=BYTES)

    def _score(self, task: Mapping[str, Any]) -> Reply:
        said = self._site.score(score_task_of(task, self.site_id))
        body = json.dumps({"gains": said.gains}).encode()
        return self._deliver(task, "scores", body, said.signature, kind=JSON)

    def _judge(self, task: Mapping[str, Any]) -> Reply:
        if self.budget is not None:
            raise BudgetRefused("a site with a budget says no figures of its own data")
        mine = score_task_of(task, self.site_id)  # without candidates: the model itself is judged
        figures = {
            "loss": loss(mine.family, mine.weights, self.examples.holdout),
            "r2": r2(mine.family, mine.weights, self.examples.holdout),
            **forecast_errors(mine.family, mine.weights, self.examples),
        }
        said = self._signer.sign(mine, ScoreAnswer(self.site_id, figures))
        body = json.dumps(figures).encode()
        return self._deliver(task, "judgement", body, said.signature, kind=JSON)

    def _mask(self, task: Mapping[str, Any]) -> Reply:
        """Take a step of a masked sum; what to remember is kept before anybody hears of it."""
        if not self.peers or self.memory is None:
            raise MaskingRefused("masked sums need the DIDs of the other sites and a memory")
        mine = mask_task_of(task, self.site_id)
        if self.budget is not None:
            self.budget.spend(mine.train, self.examples.train)
        with self.memory.held():
            said, memory = self._site.mask(mine, self.memory.read())
            self.memory.write(memory)
        stage = f"?stage={mine.stage}"
        return self._deliver(task, "letters", said.letter, said.signature, kind=BYTES, query=stage)

    def _deliver(
        self,
        task: Mapping[str, Any],
        what: str,
        body: bytes,
        statement: str,
        *,
        kind: str,
        query: str = "",
    ) -> Reply:
        place = f"{API}/rounds/{quote(task['round_id'])}/{what}"
        headers = {"Content-Type": kind, "Tasco-Statement": statement}
        return self._send("POST", place, body, query=query, headers=headers)

    def _send(
        self,
        method: str,
        place: str,
        body: bytes | None,
        *,
        query: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        address = self.url.rstrip("/") + place
        proof = (
            self.holder().headers(method=method, url=address, now=self.clock())
            if self.holder
            else {}
        )
        whole = {"Content-Type": "application/json", **(headers or {}), **proof}
        return self.ask(method, address + query, body, whole)


def _seconds(moment: str) -> int:
    """Seconds since 1970 of the service's own clock: ours may go wrong."""
    return int(datetime.fromisoformat(moment).timestamp())


def train_task_of(said: Mapping[str, Any], site_id: str) -> TrainTask:
    """A task as the service sent it, once its model is the one it names.

    Raises:
        TaskRefused: If it is not, or for another site.
    """
    weights = _model(said, site_id)
    return TrainTask(
        experiment_id=said["experiment_id"],
        round_number=said["round_number"],
        participant=site_id,
        family=said["family"],
        weights=weights,
        parent_hash=said["parent_sha256"],
        settings=TrainSettings(**said["settings"]),
        round_id=said["round_id"],
        asked_at=_seconds(said["asked_at"]),
    )


def score_task_of(said: Mapping[str, Any], site_id: str) -> ScoreTask:
    """The same for a task to score."""
    weights, shape = _model(said, site_id), shapes(said["family"])
    try:
        candidates = {
            name: from_npz(base64.b64decode(one), shape) for name, one in said["candidates"].items()
        }
    except (WeightsRefused, ValueError) as error:
        raise TaskRefused(str(error)) from error
    return ScoreTask(
        experiment_id=said["experiment_id"],
        round_number=said["round_number"],
        participant=site_id,
        family=said["family"],
        weights=weights,
        parent_hash=said["parent_sha256"],
        candidates=candidates,
        round_id=said["round_id"],
        asked_at=_seconds(said["asked_at"]),
    )


def mask_task_of(said: Mapping[str, Any], site_id: str) -> MaskTask:
    """The same for a step of a masked sum."""
    train = train_task_of(said, site_id)
    if said["stage"] not in get_args(Stage):
        raise TaskRefused("there is no such stage of a masked sum")
    try:
        letters = {name: base64.b64decode(one) for name, one in said["letters"].items()}
    except ValueError as error:
        raise TaskRefused(str(error)) from error
    return MaskTask(train, said["stage"], said["group"], said["clip_norm"], letters)


def _model(said: Mapping[str, Any], site_id: str) -> Weights:
    if said["participant"] != site_id:
        raise TaskRefused(f"the task is for {said['participant']}")
    try:
        weights = from_npz(base64.b64decode(said["weights"]), shapes(said["family"]))
    except (WeightsRefused, ValueError) as error:
        raise TaskRefused(str(error)) from error
    if content_hash(weights) != said["parent_sha256"]:
        raise TaskRefused("the model is not the one whose hash the task names")
    return weights


def take_part(
    gateway: Gateway,
    *,
    idle_s: float,
    poll_s: float,
    told_of: Callable[[str], None] = lambda _text: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Done:
    """Do what is asked until nothing was for a while; a service that is away is waited for.

    After a refusal, too, there is a pause: the task stays, and would else be answered without end.

    Args:
        gateway: Of the site.
        idle_s: Seconds without a task after which it is enough; 0 goes on for ever.
        poll_s: Seconds between questions.
        told_of: Hears what went wrong, once while it stays the same.
        sleep: Waits.

    Returns:
        What was done.
    """
    done, last, complaint = Done(), time.monotonic(), ""
    while not idle_s or time.monotonic() - last < idle_s:
        try:
            if gateway.step(done):
                last, complaint = time.monotonic(), ""
                continue
        except (ServiceAway, TaskRefused, BudgetRefused, MaskingRefused) as error:
            if str(error) != complaint:
                told_of(str(error))
            complaint = str(error)
        sleep(poll_s)
    return done
