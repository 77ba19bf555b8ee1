"""The embedded engine's participants: what their keys, which this service holds, are good for."""

import shutil
from pathlib import Path

from tests.conftest import house_on
from tests.features.federated_sites import add_sites, experiment, train

PRIVACY = {"clip_norm": 1.0, "noise_multiplier": 1.0, "max_epsilon": 50.0}


def private_models(url: str, folder: Path, names: list[str]) -> list[str]:
    """The model of each private experiment, on a service of its own with the keys in a folder."""
    with house_on(url, folder) as house:
        add_sites(house, 3)
        terms = {"num_rounds": 1, "min_available_clients": 3, "privacy": PRIVACY}
        done = [train(house, experiment_id=name, **terms) for name in names]
        return [str(experiment(house, one)["model_sha256"]) for one in done]


def test_an_experiment_that_is_taken_up_again_has_the_noise_it_had(
    migrated_sqlite: Path, tmp_path: Path
) -> None:
    urls = []
    for name in ("first", "again"):
        shutil.copy(migrated_sqlite, tmp_path / f"{name}.db")
        urls.append(f"sqlite:///{tmp_path / name}.db")

    [once, other] = private_models(urls[0], tmp_path, ["one", "another"])
    [again] = private_models(urls[1], tmp_path, ["one"])

    assert again == once, "the keys are the same, and so is what is made of them"
    assert other != once, "no two experiments share their noise"


def test_with_another_key_of_the_service_its_sites_still_train(
    sqlite_url: str, tmp_path: Path
) -> None:
    terms = {"num_rounds": 1, "min_available_clients": 3, "family": "linear"}
    for key in ("old", "new"):
        (tmp_path / key).mkdir()
        with house_on(sqlite_url, tmp_path / key) as house:
            if key == "old":
                add_sites(house, 3)
            summary = train(house, experiment_id=key, **terms)

    assert (summary["rounds_closed"], summary["participation"]) == (1, 1.0)
