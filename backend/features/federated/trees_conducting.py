"""Takes a run of trees through its rounds over an exchange, whatever engine that is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from backend.adapters.federation.exchange import Exchange
from backend.clock import Clock
from backend.features.jobs.service import Report
from backend.federation.tasks import Answer
from backend.federation.tree_models import TreeModel
from backend.federation.tree_rounds import TreeRound, TreeRun, advance, examine
from backend.federation.tree_tasks import TreeTask

ROUND_TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True, eq=False)
class Conducted:
    """What came of all rounds.

    Attributes:
        rounds: As they ended.
        said: What each participant says of the last model, by name.
        missing: Why those never answered who did not, by name.
    """

    rounds: tuple[TreeRound, ...]
    said: Mapping[str, Mapping[str, float]]
    missing: Mapping[str, str]

    @property
    def model(self) -> TreeModel:
        """The last one."""
        return self.rounds[-1].model


@dataclass(slots=True)
class _Table:
    """Asks the participants, and keeps who answered and why the others did not."""

    exchange: Exchange
    heard: set[str] = field(default_factory=set)
    missing: dict[str, str] = field(default_factory=dict)

    def ask(self, tasks: Sequence[TreeTask]) -> Sequence[Answer]:
        """Bring the tasks; see `Exchange`."""
        answers = self.exchange.ask(tasks, timeout_s=ROUND_TIMEOUT_S)
        self.heard |= {one.participant for one in answers}
        self.missing |= {name: _plain(why) for name, why in self.exchange.missing().items()}
        return answers


def _plain(why: str) -> str:
    """What a node says of its failure, as databases can keep it."""
    return "".join(one if one.isprintable() else " " for one in why)


def conduct(
    exchange: Exchange,
    names: Sequence[str],
    run: TreeRun,
    *,
    rounds: int,
    alone: int,
    clock: Clock,
    report: Report,
) -> Conducted:
    """Grow trees round by round and ask how the model does.

    Args:
        exchange: Carries the tasks.
        names: Who is asked; one that does not answer may answer in the next round.
        run: Which run.
        rounds: How many.
        alone: Rounds of trees that each grows alone in the end, to compare with.
        clock: Dates the tasks.
        report: Told of every round.
    """
    table, done = _Table(exchange), list[TreeRound]()
    model = TreeModel()
    for number in range(1, rounds + 1):
        report(0.2 + 0.6 * (number - 1) / rounds, f"round {number} of {rounds}")
        now = int(clock.now().timestamp())
        done.append(advance(model, names, run, table.ask, number=number, asked_at=now))
        model = done[-1].model
    report(0.8, "asking how the model does")
    now = int(clock.now().timestamp())
    said = examine(model, names, run, table.ask, number=rounds + 1, alone=alone, asked_at=now)
    missing = {name: why for name, why in table.missing.items() if name not in table.heard}
    return Conducted(tuple(done), said, missing)
