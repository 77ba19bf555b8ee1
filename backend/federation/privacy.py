"""What training with noise has cost a site's examples, and the budget that ends it.

DP-SGD draws each batch by independent coins, clips every example's gradient and adds Gaussian noise
(`training.fit_privately`); its Rényi divergences add up over steps, rounds and experiments. Source:
I. Mironov, K. Talwar, L. Zhang, "Rényi differential privacy of the sampled Gaussian mechanism",
2019. The unit is one example, an hour of one site's history: a charging session touches several
hours and the lags of later ones, so the bound does not hold for a driver. It covers the updates
that are sent, not the opinions of committee members.
"""

import json
import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from backend.federation.tasks import TrainSettings
from backend.federation.training import steps_per_epoch

PRIVACY_UNIT = "example: one hour of one site's history"
DELTA_POWER = -1.1


class BudgetExhausted(Exception):
    """Training once more would cost more privacy than the site allows."""


class LedgerUnreadable(ValueError):
    """A stored ledger is not what it has to be."""


@dataclass(frozen=True, slots=True, order=True)
class Spend:
    """Steps of DP-SGD.

    Attributes:
        sample_share: Chance of each example to be in a batch.
        noise_multiplier: Standard deviation of the noise over the clipping bound.
        steps: How many.
    """

    sample_share: float
    noise_multiplier: float
    steps: int


@dataclass(frozen=True, slots=True)
class PrivacyLedger:
    """What one site has spent on one model.

    Attributes:
        site_id: Whose examples.
        model: Trained for which model; another model has a ledger of its own.
        delta: The chance with which the bound may fail.
        max_epsilon: The budget.
        spends: What was spent, steps of one kind together, in order.
        privacy_unit: What a bound hides.
    """

    site_id: str
    model: str
    delta: float
    max_epsilon: float
    spends: tuple[Spend, ...] = ()
    privacy_unit: str = PRIVACY_UNIT

    def __post_init__(self) -> None:
        if not 0 < self.delta < 1 or not self.max_epsilon > 0:
            raise LedgerUnreadable("delta lies between 0 and 1, and a budget is above 0")

    @property
    def epsilon(self) -> float:
        """What is spent so far; 0 before the first training, infinite without noise."""
        return epsilon(self.spends, self.delta)

    @property
    def remaining(self) -> float:
        """What is left of the budget."""
        return max(0.0, self.max_epsilon - self.epsilon)

    def spend(self, settings: TrainSettings, *, examples: int) -> "PrivacyLedger":
        """The ledger after training once more; to be stored before the update is sent.

        Raises:
            BudgetExhausted: If the budget does not allow it; nothing is spent then.
        """
        after = replace(self, spends=_added(self.spends, cost_of(settings, examples=examples)))
        if after.epsilon > self.max_epsilon:
            raise BudgetExhausted(
                f"{self.site_id} would reach epsilon {after.epsilon:.2f}; {self.max_epsilon:g} is"
                f" allowed for {self.model} ({self.privacy_unit})"
            )
        return after

    def to_json(self) -> str:
        """As JSON; equal ledgers give equal text."""
        spends = [[one.sample_share, one.noise_multiplier, one.steps] for one in self.spends]
        fields = {name: getattr(self, name) for name in _FIELDS}
        return json.dumps({**fields, "spends": spends}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "PrivacyLedger":
        """Read what `to_json` wrote.

        Raises:
            LedgerUnreadable: If it is something else.
        """
        try:
            said = json.loads(text)
            spends = tuple(Spend(float(q), float(z), int(n)) for q, z, n in said["spends"])
            fields = {name: said[name] for name in _FIELDS}
        except (ValueError, TypeError, KeyError) as error:
            raise LedgerUnreadable(f"no ledger: {error!r}") from error
        return cls(**fields, spends=spends)


_FIELDS = ("site_id", "model", "delta", "max_epsilon", "privacy_unit")


def usual_delta(examples: int) -> float:
    """The usual chance of failure for so many examples: n^-1.1."""
    return float(max(examples, 2) ** DELTA_POWER)


def cost_of(settings: TrainSettings, *, examples: int) -> Spend:
    """What training once with these settings costs a site with so many examples."""
    share = min(1.0, settings.batch_size / max(examples, 1))
    steps = settings.local_epochs * steps_per_epoch(examples, settings.batch_size)
    noise = settings.noise_multiplier if settings.clip_norm is not None else 0.0
    return Spend(share, noise, steps)


@lru_cache(maxsize=1_024)
def epsilon(spends: tuple[Spend, ...], delta: float) -> float:
    """The bound that these steps together keep: neighbours differ in one example more or less."""
    if not spends:
        return 0.0
    if any(one.noise_multiplier <= 0 for one in spends):
        return math.inf
    dp, accountant = _accountant()
    for one in spends:
        noise = dp.GaussianDpEvent(one.noise_multiplier)
        accountant.compose(dp.PoissonSampledDpEvent(one.sample_share, noise), one.steps)
    return float(accountant.get_epsilon(delta))


def _added(spends: tuple[Spend, ...], new: Spend) -> tuple[Spend, ...]:
    steps = {(one.sample_share, one.noise_multiplier): one.steps for one in spends}
    kind = (new.sample_share, new.noise_multiplier)
    steps[kind] = steps.get(kind, 0) + new.steps
    return tuple(Spend(*one, steps=count) for one, count in sorted(steps.items()))


def _accountant() -> tuple[Any, Any]:
    import dp_accounting  # noqa: PLC0415  # a second to import, only who trains privately pays it
    from absl import logging  # noqa: PLC0415
    from dp_accounting import rdp  # noqa: PLC0415

    # It warns of every order whose series does not converge; those orders are left out.
    logging.set_verbosity(logging.ERROR)
    return dp_accounting, rdp.RdpAccountant()
