"""A site in federated rounds over plain HTTP: ask, train or score, sign, send; data stay here."""

import base64
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Literal
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from backend.edge.asking import Ask, Reply, ServiceAway, ask_over_http, told
from backend.edge.budget import Budget, BudgetRefused
from backend.edge.enrolling import enrol
from backend.edge.proofs import Pass
from backend.federation.demand import Examples
from backend.federation.networks import shapes
from backend.federation.participant import errors_kwh, loss, r2, score, train
from backend.federation.signing import did_of, noise_key_of, signed
from backend.federation.statements import LIFETIME_S, Statement, hash_of_scores, hash_of_update
from backend.federation.tasks import ScoreTask, TrainSettings, TrainTask
from backend.federation.weights import Weights, WeightsRefused, content_hash, from_npz, to_npz

API = "/api/v1/federated"
Clock = Callable[[], datetime]


def _now() -> datetime:
    return datetime.now(UTC)


class TaskRefused(Exception):
    """A task that is not for this site, or brings another model than it names."""


@dataclass(slots=True)
class Done:
    """What a site did in a run."""

    trained: int = 0
    scored: int = 0
    refused: list[str] = field(default_factory=list)


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
    ask: Ask = ask_over_http
    clock: Clock = _now

    @property
    def own_did(self) -> str:
        """Who signs."""
        return self.did or did_of(self.key)

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
        """Do what is asked now; False if there is nothing.

        Raises:
            ServiceAway: If the service does not answer.
        """
        task = self._task()
        if task is None:
            return False
        answers = {"train": self._train, "score": self._score, "judge": self._judge}
        sent = answers[task["kind"]](task)
        if sent.status != HTTPStatus.OK:
            done.refused.append(str(sent.json().get("code", sent.status)))
        elif task["kind"] == "train":
            done.trained += 1
        else:
            done.scored += 1
        return True

    def _task(self) -> dict[str, Any] | None:
        place = f"{API}/rounds/current/task"
        reply = self._send("GET", place, None, query=f"?site_id={quote(self.site_id)}")
        if reply.status == HTTPStatus.NO_CONTENT:
            return None
        if reply.status != HTTPStatus.OK:
            raise ServiceAway(told(reply))
        return reply.json()

    def _train(self, task: Mapping[str, Any]) -> Reply:
        mine, noise = train_task_of(task, self.site_id), noise_key_of(self.key)
        if self.budget is not None:
            self.budget.spend(mine, self.examples.train)
        answer = train(mine, self.examples, noise_key=noise)
        content, count = hash_of_update(answer.delta), answer.num_examples
        statement = self._statement(task, "update", content, count, answer.metrics)
        body, kind = to_npz(answer.delta), "application/octet-stream"
        return self._deliver(task, "updates", body, statement=statement, kind=kind)

    def _score(self, task: Mapping[str, Any]) -> Reply:
        answer = score(score_task_of(task, self.site_id), self.examples)
        gains = {name: float(gain) for name, gain in answer.gains.items()}
        statement = self._statement(task, "scores", hash_of_scores(gains), 0, {})
        body = json.dumps({"gains": gains}).encode()
        return self._deliver(task, "scores", body, statement=statement, kind="application/json")

    def _judge(self, task: Mapping[str, Any]) -> Reply:
        if self.budget is not None:
            raise BudgetRefused("a site with a budget says no figures of its own data")
        weights, rows = _model(task, self.site_id), self.examples.holdout
        figures = {
            "loss": loss(task["family"], weights, rows),
            "r2": r2(task["family"], weights, rows),
            **errors_kwh(task["family"], weights, self.examples),
        }
        statement = self._statement(task, "scores", hash_of_scores(figures), 0, {})
        body, kind = json.dumps(figures).encode(), "application/json"
        return self._deliver(task, "judgement", body, statement=statement, kind=kind)

    def _statement(
        self,
        task: Mapping[str, Any],
        kind: Literal["update", "scores"],
        content: str,
        num_examples: int,
        metrics: Mapping[str, float],
    ) -> str:
        statement = Statement(
            did=self.own_did,
            site_id=self.site_id,
            kind=kind,
            round_id=task["round_id"],
            parent_hash=task["parent_sha256"],
            content_hash=content,
            num_examples=num_examples,
            nonce=secrets.token_hex(16),
            expires_at=_seconds(task["asked_at"]) + LIFETIME_S,
            metrics=metrics,
        )
        return signed(statement, self.key)

    def _deliver(
        self, task: Mapping[str, Any], what: str, body: bytes, *, statement: str, kind: str
    ) -> Reply:
        place = f"{API}/rounds/{quote(task['round_id'])}/{what}"
        return self._send(
            "POST", place, body, headers={"Content-Type": kind, "Tasco-Statement": statement}
        )

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
    )


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

    Args:
        gateway: Of the site.
        idle_s: Seconds without a task after which it is enough; 0 goes on for ever.
        poll_s: Seconds between questions.
        told_of: Hears what went wrong.
        sleep: Waits.

    Returns:
        What was done.
    """
    done, last = Done(), time.monotonic()
    while not idle_s or time.monotonic() - last < idle_s:
        try:
            if gateway.step(done):
                last = time.monotonic()
                continue
        except (ServiceAway, TaskRefused, BudgetRefused) as error:
            told_of(str(error))
        sleep(poll_s)
    return done
