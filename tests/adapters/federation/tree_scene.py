"""Small sites with rows for trees, and a run of them as the engines' tests need it."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from backend.adapters.federation.exchange import Exchange
from backend.federation.tasks import Answer
from backend.federation.tree_models import TreeModel
from backend.federation.tree_rounds import Ask, TreeRun, advance, examine
from backend.federation.tree_rows import Part, SiteRows
from backend.federation.tree_tasks import TreeSettings, TreeTask

TARGET, FEATURES = "plug_availability", 6
SETTINGS = TreeSettings("binary", FEATURES, trees=2)
ROUNDS = 2


def rows_of(number: int) -> SiteRows:
    """A made-up site's rows, which hang on three features and in part on which site it is."""
    rng = np.random.default_rng(number)

    def part(count: int) -> Part:
        rows = rng.normal(0, 1, (count, FEATURES))
        odds = 2 * rows[:, 0] - 1.5 * (rows[:, 1] > 0.1 * number) + rows[:, 2]
        rows[rng.random(rows.shape) < 0.05] = np.nan
        return Part(rows, (rng.random(count) < 1 / (1 + np.exp(-odds))).astype(np.float64))

    return SiteRows(part(400), part(150), part(200), np.zeros(200))


def asking(exchange: Exchange, timeout_s: float) -> Ask:
    """Asks over an exchange; everybody has to answer."""

    def ask(tasks: Sequence[TreeTask]) -> list[Answer]:
        answers = exchange.ask(tasks, timeout_s=timeout_s)
        assert len(answers) == len(tasks), exchange.missing()
        return answers

    return ask


def learned(names: Sequence[str], ask: Ask) -> tuple[str, dict[str, Mapping[str, float]]]:
    """The hash of the model after all rounds, and what the sites say of it."""
    run, model = TreeRun("test", TARGET, SETTINGS), TreeModel()
    for number in range(1, ROUNDS + 1):
        model = advance(model, names, run, ask, number=number).model
    said = examine(model, names, run, ask, number=ROUNDS + 1, alone=1)
    return model.content_hash(SETTINGS), said


def conduct(exchange: Exchange, settings: Mapping[str, str]) -> None:
    """What the ServerApp calls: the run, then the model's hash and the figures into a file."""
    names, timeout_s = settings["names"].split(","), float(settings["timeout-s"])
    until = time.monotonic() + timeout_s
    while not set(names) <= set(exchange.participants()) and time.monotonic() < until:
        time.sleep(1)
    Path(settings["out"]).write_text(json.dumps(learned(names, asking(exchange, timeout_s))))
