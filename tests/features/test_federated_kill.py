"""Rounds whose process is killed anywhere come to the same model, and tell of it once."""

from pathlib import Path

from benchmarks._federated_kill import POINTS, drill


def test_rounds_killed_at_any_of_ten_points_come_to_the_same_bytes_and_tell_of_them_once(
    tmp_path: Path,
) -> None:
    outcome = drill(tmp_path)

    assert outcome["points"] == len(POINTS) == 10
    assert outcome["all_died"]
    assert outcome["resume_hashes_equal"], outcome["outcomes"]
    assert outcome["told_once"], outcome["outcomes"]
