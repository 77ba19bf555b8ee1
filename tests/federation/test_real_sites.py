"""Learning together on twenty recorded sites: worth it, and hard to spoil."""

import pytest

from backend.federation.demand import Examples
from backend.federation.newcomer import compare
from benchmarks import _federated_attacks as attacks
from benchmarks._federated_rounds import FAMILY, SEED, Liars, run, shared_r2
from benchmarks._federated_sites import DATA, Series, read_sites

pytestmark = pytest.mark.skipif(
    not (DATA / "demand").exists(), reason=f"no recorded demand at {DATA}"
)
NEW, LIARS = "caltech", frozenset({"jpl-01", "jpl-04", "jpl-08", "office1", "perth-kinross-pr"})


@pytest.fixture(scope="module")
def series() -> dict[str, Series]:
    return read_sites()


@pytest.fixture(scope="module")
def sites(series: dict[str, Series]) -> dict[str, Examples]:
    return {name: one.examples() for name, one in series.items() if name != NEW}


def test_one_week_with_the_federation_beats_eight_weeks_alone(
    series: dict[str, Series], sites: dict[str, Examples]
) -> None:
    weights = run(sites, strategy="fedavg").weights

    week, weeks = (compare(FAMILY, weights, series[NEW].young(n), seed=SEED) for n in (1, 8))

    assert week.federated_r2 > weeks.alone_r2 + 0.05
    assert week.federated_r2 > week.usual_r2 + 0.02
    assert (week.examples, weeks.examples) == (119, 1118)  # all but the first day and the holdout


def test_a_quarter_of_liars_is_found_out_and_costs_little(sites: dict[str, Examples]) -> None:
    honest = {name: one for name, one in sites.items() if name not in LIARS}
    liars = Liars(LIARS, attacks.ATTACKS["fake_examples"])

    attacked, clean = run(sites, liars=liars), run(honest)

    # Three per cent: twice what these rounds cost, by draws of liars that were not tuned to.
    assert shared_r2(sites, attacked.weights) > 0.97 * shared_r2(sites, clean.weights)
    assert clean.rejected_pct(honest) < 15
    assert attacked.rejected_pct(LIARS) > 2 * attacked.rejected_pct(honest)
