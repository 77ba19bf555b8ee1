"""A site's own budget of privacy: kept in its file, enforced before it trains."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from backend.edge.budget import Budget, BudgetRefused
from backend.federation.tasks import TrainSettings, TrainTask
from tests.federation.updates import PARENT, site, train_task

ROWS = site(1).train
PRIVATE = TrainSettings(local_epochs=1, clip_norm=1.0, noise_multiplier=3.0)


def task(number: int, settings: TrainSettings = PRIVATE) -> TrainTask:
    return replace(train_task("site_a", PARENT, settings=settings), round_number=number)


def budget(file: Path, *, site_id: str = "site_a", max_epsilon: float = 2.0) -> Budget:
    return Budget(file, site_id=site_id, max_epsilon=max_epsilon)


def spent(file: Path) -> int:
    """Steps of noised training in the file."""
    spends = json.loads(file.read_text())["ledger"]["spends"]
    return sum(int(steps) for _, _, steps in spends)


def test_what_is_spent_is_still_spent_after_a_restart_until_nothing_is_left(tmp_path: Path) -> None:
    file = tmp_path / "privacy.json"
    steps = -(-len(ROWS) // PRIVATE.batch_size)
    budget(file, max_epsilon=0.8).spend(task(1), ROWS)
    budget(file, max_epsilon=0.8).spend(task(2), ROWS)

    with pytest.raises(BudgetRefused, match="would reach epsilon"):
        budget(file, max_epsilon=0.8).spend(replace(task(1), experiment_id="another"), ROWS)

    assert spent(file) == 2 * steps
    budget(file, max_epsilon=9.0).spend(task(3), ROWS)
    assert spent(file) == 3 * steps


def test_a_task_that_is_asked_again_costs_nothing_more_unless_the_examples_changed(
    tmp_path: Path,
) -> None:
    file = tmp_path / "privacy.json"

    budget(file).spend(task(1), ROWS)
    once = spent(file)
    budget(file).spend(task(1), ROWS)
    again = spent(file)
    budget(file).spend(task(1), ROWS[:-1])

    assert (again, spent(file)) == (once, 2 * once)


@pytest.mark.parametrize(
    "settings",
    [TrainSettings(), replace(PRIVATE, noise_multiplier=0.0), replace(PRIVATE, clip_norm=None)],
)
def test_a_site_with_a_budget_does_not_train_without_noise(
    tmp_path: Path, settings: TrainSettings
) -> None:
    with pytest.raises(BudgetRefused, match="without noise"):
        budget(tmp_path / "privacy.json").spend(task(1, settings), ROWS)

    assert not (tmp_path / "privacy.json").exists()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"ledger": {}, "paid": []}', "\xff"])
def test_a_ledger_that_cannot_be_read_is_not_begun_anew(tmp_path: Path, text: str) -> None:
    file = tmp_path / "privacy.json"
    file.write_text(text, encoding="latin-1")

    with pytest.raises(BudgetRefused, match="no ledger"):
        budget(file).spend(task(1), ROWS)

    assert file.read_text(encoding="latin-1") == text


def test_the_ledger_of_another_site_is_not_spent_from(tmp_path: Path) -> None:
    file = tmp_path / "privacy.json"
    budget(file).spend(task(1), ROWS)

    with pytest.raises(BudgetRefused, match="ledger of site_a"):
        budget(file, site_id="site_b").spend(task(2), ROWS)
