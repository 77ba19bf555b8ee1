"""How credentials and presentations are judged: what gets through, what it costs, how long.

- Attacks go through the REST API of an application in this process (`/credentials/verify` and
  `/presentations/verify`); good documents go the same way and have to be accepted.
- Mutants are single-leaf changes of good documents, judged by the verifier with both engines.
- CPU time is that of this process and of didkit's workers, all threads. The yardstick is one raw
  Ed25519 verification of the same bytes by `cryptography`, in the same round. Every token is fresh,
  so that nothing is remembered.
- `sockets_opened` counts what Python opens here, and what the workers hold beside their one pipe.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.progress import track
from rich.table import Table

from backend.adapters.verifier.didkit_worker import MOST_DESCRIPTORS
from backend.adapters.verifier.keys import from_base64url
from backend.adapters.verifier.verifier import DocumentVerifier, open_verifier
from benchmarks._nonce import nonce_successes
from benchmarks._revocation import revocation_visible
from tests.adapters.verifier import mutants
from tests.adapters.verifier.attacks import all_attacks
from tests.adapters.verifier.scene import CHALLENGE, DOMAIN, VEHICLE, Scene
from tests.conftest import House, house_on

SUITES = (
    "Ed25519Signature2018",
    "Ed25519Signature2020",
    "JsonWebSignature2020",
    "eddsa-rdfc-2022",
    "eddsa-jcs-2022",
)
NETWORK = ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto")
MODES = ("pure", "both")


@dataclass
class Sockets:
    """Counts what Python code of this process opens; an audit hook cannot be taken off again."""

    opened: int = 0
    is_watching: bool = False

    def __post_init__(self) -> None:
        """Hang the hook."""
        sys.addaudithook(self._hear)

    def _hear(self, event: str, _arguments: object) -> None:
        self.opened += self.is_watching and event.startswith(NETWORK)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Count while this lasts."""
        self.is_watching = True
        yield
        self.is_watching = False


SOCKETS = Sockets()


@dataclass
class Meter:
    """CPU seconds of this process and of the workers."""

    verifier: DocumentVerifier
    workers: list[int] = field(default_factory=list)

    def cpu_s(self) -> float:
        """Seconds used so far."""
        pids = self.verifier.workers.pids if self.verifier.workers else []
        return time.process_time() + sum(map(_thread_s, pids))

    def spent_s(self, work: Callable[[], object]) -> float:
        """Seconds that some work takes."""
        before = self.cpu_s()
        work()
        return self.cpu_s() - before


def _thread_s(pid: int) -> float:
    """CPU seconds of a process, all threads, to the nanosecond."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(one.read_text().split()[0]) for one in tasks) / 1e9


@contextmanager
def opened(mode: Any) -> Iterator[DocumentVerifier]:  # noqa: ANN401 - a literal of the interface
    verifier = open_verifier(mode)
    if verifier.workers is not None:
        verifier.workers.warm_up()
    try:
        yield verifier
    finally:
        verifier.close()


def fresh_tokens(scene: Scene, count: int) -> list[str]:
    return [
        scene.jwt(status=[], claims={**VEHICLE, "batteryCapacityWh": 1 + number})
        for number in range(count)
    ]


def judge_attacks(scene: Scene, house: House) -> dict[str, Any]:
    """Every attack through the REST API, each with a reason code and never a 5xx."""
    attacks = all_attacks(scene)
    refused, slowest_ms, silent = 0, 0.0, []
    for attack in track(attacks, "attacks", console=Console(stderr=True), transient=True):
        began = time.process_time()
        verdict = _ask(house, attack.kind, attack.document)
        slowest_ms = max(slowest_ms, (time.process_time() - began) * 1e3)
        if verdict.get("verified") is False and verdict.get("reasons"):
            refused += 1
        else:
            silent.append(attack.name)
    return {
        "attacks_total": len(attacks),
        "attacks_refused": refused,
        "hostile_rest_ms_max": round(slowest_ms, 2),
        "attacks_through": silent,
    }


def _ask(house: House, kind: str, document: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """The verdict of the API; what no request can carry is refused before the verifier."""
    if isinstance(document, bytes):
        document = document.decode(errors="surrogateescape")
    bound = {"challenge": CHALLENGE, "domain": DOMAIN} if kind == "presentation" else {}
    try:
        body = json.dumps({"document": document, **bound}).encode()
    except RecursionError:
        return {"verified": False, "reasons": ["too_deep"]}
    headers = {"Content-Type": "application/json"}
    answer = house.client.post(f"/api/v1/{kind}s/verify", content=body, headers=headers)
    content: dict[str, Any] = answer.json()
    if 400 <= answer.status_code < 500:  # noqa: PLR2004 - the request itself was refused
        return {"verified": False, "reasons": [content.get("code")]}
    return content


def trust(scene: Scene, house: House) -> None:
    """Make the scene's issuers roots of trust of an application."""
    scene.recovered()  # names the Ethereum account
    for issuer in scene.book.trusted:
        body = {
            "kind": "root",
            "issuer_did": issuer,
            "credential_types": ["VehicleSpecCredential"],
            "wmis": [VEHICLE["wmi"]],
            "valid_from": f"{scene.at - timedelta(days=100):%Y-%m-%dT%H:%M:%SZ}",
            "valid_until": f"{scene.at + timedelta(days=900):%Y-%m-%dT%H:%M:%SZ}",
        }
        answer = house.post("/issuers", body)
        if answer.status_code not in {200, 201}:
            sys.exit(f"the issuer was not taken: {answer.text}")


def judge_good(scene: Scene, house: House, verifier: DocumentVerifier, count: int) -> int:
    """How many of so many good documents are refused; a part of them by the REST API."""
    documents: list[Any] = [*fresh_tokens(scene, count - len(SUITES) * 20)]
    documents += [scene.ldp(suite, status=[]) for suite in SUITES for _ in range(20)]
    refused = 0
    for place, document in enumerate(documents):
        if place % 10 == 0:
            refused += _ask(house, "credential", document).get("verified") is not True
        else:
            verdict = verifier.verify_credential(document, at=scene.at, registry=scene.book)
            refused += not verdict.verified
    return refused


def every_mutant(scene: Scene, least: int) -> Iterator[Any]:
    """At least so many mutants, of every form."""
    count = 0
    for suite in SUITES:
        for mutant in mutants.of_document(scene.ldp(suite)):
            count += 1
            yield mutant
    seed = 0
    while count < least:
        seed += 1
        model: Any = ("1.1", "2.0")[seed % 2]
        for token in mutants.of_token(scene.jwt(model=model), seed=seed, flips=1_500):
            count += 1
            yield token


def judge_mutants(scene: Scene, verifier: DocumentVerifier, least: int) -> dict[str, int]:
    count = accepted = 0
    console = Console(stderr=True)
    total = every_mutant(scene, least)
    for mutant in track(total, "mutants", total=least, console=console, transient=True):
        count += 1
        verdict = verifier.verify_credential(mutant, at=scene.at, registry=scene.book)
        accepted += verdict.verified
    return {"mutants": count, "false_accepts": accepted}


def hostile_ms(scene: Scene, verifier: DocumentVerifier) -> list[float]:
    """CPU time of each attack, in the verifier alone, workers included."""
    meter, spent = Meter(verifier), []
    for attack in all_attacks(scene):

        def ask(attack: Any = attack) -> None:  # noqa: ANN401 - bound now, called at once
            if attack.kind == "credential":
                verifier.verify_credential(attack.document, at=scene.at, registry=scene.book)
            else:
                verifier.verify_presentation(
                    attack.document,
                    challenge=CHALLENGE,
                    domain=DOMAIN,
                    at=scene.at,
                    registry=scene.book,
                )

        spent.append(meter.spent_s(ask) * 1e3)
    return spent


def against_raw(scene: Scene, verifier: DocumentVerifier, *, rounds: int, count: int) -> float:
    """Raw verification over whole decision, median of rounds."""
    meter, key, ratios = Meter(verifier), scene.issuer_key.public, []
    for round_ in range(rounds + 1):
        tokens = fresh_tokens(scene, count)
        parts = [token.rpartition(".") for token in tokens]
        raw = [(from_base64url(one[2]), one[0].encode()) for one in parts]

        def decide(tokens: list[str] = tokens) -> None:
            for token in tokens:
                verdict = verifier.verify_credential(token, at=scene.at, registry=scene.book)
                if not verdict.verified:
                    sys.exit(f"a good token was refused: {verdict.reasons}")

        def verify(raw: list[tuple[bytes, bytes]] = raw) -> None:
            for signature, message in raw:
                key.verify(signature, message)  # type: ignore[call-arg]  # Ed25519 has two

        spent_s = meter.spent_s(decide)
        raw_s = meter.spent_s(verify)
        scene.at += timedelta(seconds=1)  # so that the next round's tokens are new
        if round_:
            ratios.append(raw_s / spent_s)
    return statistics.median(ratios)


def presentation_ms(scene: Scene, verifier: DocumentVerifier, count: int) -> list[float]:
    """Wall-clock time of presentations with five fresh tokens."""
    times = []
    for _ in range(count + 20):
        scene.at += timedelta(seconds=1)
        document = scene.vp_jwt(*fresh_tokens(scene, 5))
        began = time.perf_counter()
        verdict = verifier.verify_presentation(
            document, challenge=CHALLENGE, domain=DOMAIN, at=scene.at, registry=scene.book
        )
        times.append((time.perf_counter() - began) * 1e3)
        if not verdict.verified:
            sys.exit(f"a good presentation was refused: {verdict.reasons}")
    return times[20:]


def rss_growth_mb(scene: Scene, verifier: DocumentVerifier, count: int) -> float:
    """Growth of this process and the workers over so many decisions, after a tenth to warm up."""
    before = 0.0
    batch = 1_000
    steps = count * 11 // 10 // batch
    for step in track(range(steps), "memory", console=Console(stderr=True), transient=True):
        if step * batch >= count // 10 and not before:
            before = _rss_mb(verifier)
        scene.at += timedelta(seconds=1)
        for token in fresh_tokens(scene, batch):
            verifier.verify_credential(token, at=scene.at, registry=scene.book)
    return _rss_mb(verifier) - before


def _rss_mb(verifier: DocumentVerifier) -> float:
    pids = verifier.workers.pids if verifier.workers else []
    processes = [psutil.Process(), *map(psutil.Process, pids)]
    return float(sum(process.memory_info().rss for process in processes)) / 1e6


def doors_of_workers(verifier: DocumentVerifier) -> int:
    """Network sockets of the workers, and descriptors that are left to open one."""
    pids = verifier.workers.pids if verifier.workers else []
    held = [psutil.Process(pid) for pid in pids]
    open_ = sum(len(one.net_connections(kind="inet")) for one in held)
    return open_ + sum(MOST_DESCRIPTORS - int(one.num_fds()) for one in held)


def run(*, quick: bool) -> dict[str, Any]:
    """Measure everything."""
    scene = Scene()
    figures: dict[str, Any] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        both, pure = (stack.enter_context(opened(mode)) for mode in ("both", "pure"))
        house = stack.enter_context(_house(folder, scene))
        with SOCKETS.watching():
            figures |= judge_attacks(scene, house)
            figures |= judge_mutants(scene, both, 2_000 if quick else 20_000)
            figures["false_rejects"] = judge_good(scene, house, both, 200 if quick else 1_000)
        figures["sockets_opened"] = SOCKETS.opened + doors_of_workers(both)
        spent = sorted(hostile_ms(scene, both))
        figures["hostile_ms_p99"] = round(spent[int(len(spent) * 0.99)], 2)
        figures["hostile_ms_max"] = round(spent[-1], 2)
        scene = Scene()
        for name, verifier in (("jwt_x_raw_ed25519", both), ("jwt_pure_x_raw_ed25519", pure)):
            ratio = against_raw(scene, verifier, rounds=3 if quick else 9, count=300)
            figures[name] = round(ratio, 3)
        figures |= _percentiles("presentation_5vc", presentation_ms(scene, both, 200))
        figures["rss_growth_mb"] = round(rss_growth_mb(scene, both, 5_000 if quick else 100_000), 2)
        for measure in OF_THE_ROOM:
            figures |= measure(house)
    return figures


# What the credentials room measures through its own routes: each function gives figures by name.
OF_THE_ROOM: tuple[Callable[[House], dict[str, Any]], ...] = (
    nonce_successes,
    revocation_visible,
)


@contextmanager
def _house(folder: Path, scene: Scene) -> Iterator[House]:
    from backend.components import migrate  # noqa: PLC0415 - starts logging

    url = f"sqlite:///{folder}/bench.db"
    migrate(url)
    with house_on(url, folder, verifier="both") as house:
        house.clock.shown = scene.at
        trust(scene, house)
        yield house


def _percentiles(name: str, times: list[float]) -> dict[str, float]:
    percentiles = statistics.quantiles(times, n=100, method="inclusive")
    return {
        f"{name}_p50_ms": round(percentiles[49], 2),
        f"{name}_p99_ms": round(percentiles[98], 2),
    }


def main() -> None:
    """Read the options, run, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="a tenth of everything")
    options = parser.parse_args()
    figures = run(quick=options.quick)
    if options.json:
        print(json.dumps(figures))
    else:
        table = Table("figure", "value", title="Judging credentials")
        for name, value in figures.items():
            table.add_row(name, str(value))
        Console().print(table)
    is_tight = figures["attacks_refused"] == figures["attacks_total"]
    sys.exit(0 if is_tight and not figures["false_accepts"] + figures["false_rejects"] else 1)


if __name__ == "__main__":
    main()
