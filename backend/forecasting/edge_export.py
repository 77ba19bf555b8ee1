"""Models made small and portable: LightGBM text to ONNX, checked row by row.

ONNX compares in 32 bits. A threshold rounded to the nearest such number sends the rows between it
and the true one down the other branch; rounded down, every 32-bit value takes the branch it took.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backend.forecasting.history import FloatArray

PARITY_MAX = 2e-5
FEWEST_ROWS = 1_000
OPSET = 15
INPUT = "features"


class ParityLost(ValueError):
    """The portable model answers differently from the one it was made of."""


@dataclass(frozen=True, slots=True)
class PortableModel:
    """A model as ONNX.

    Attributes:
        onnx: The file's bytes.
        nan_is_zero: Positions of the features for which a missing value counts as 0, because none
            was missing in training.
        parity_max: Largest difference from LightGBM's answers over the rows it was checked on.
        rows_checked: How many rows these were.
    """

    onnx: bytes
    nan_is_zero: tuple[int, ...]
    parity_max: float
    rows_checked: int


def export(text: str, rows: FloatArray, *, name: str) -> PortableModel:
    """Convert a model and compare it with itself.

    Args:
        text: LightGBM text.
        rows: Feature rows to compare on, at least 1,000, shape (rows, features).
        name: Name inside the file; the same model and name give the same bytes.

    Raises:
        ParityLost: If an answer differs by more than 2e-5 of the largest one, but at least of 1.
        ValueError: If there are too few rows to tell.
    """
    if len(rows) < FEWEST_ROWS:
        raise ValueError(f"parity needs {FEWEST_ROWS} rows, there are {len(rows)}")
    onnx = _converted(text, name)
    zeros = nan_is_zero(text)
    expected = native_answers(text, rows)
    found = portable_answers(session_of(onnx), rows, zeros)
    parity = float(np.abs(found - expected).max() / max(1.0, np.abs(expected).max()))
    if parity > PARITY_MAX:
        raise ParityLost(f"{name} differs by {parity:.1e} after conversion")
    return PortableModel(onnx, zeros, parity, len(rows))


def sample_rows(text: str, *, seed: int = 0, count: int = FEWEST_ROWS) -> FloatArray:
    """Rows that visit every split of a model, for when none of its training are at hand.

    Each value is drawn at or beside one of the feature's thresholds, or missing, shape (count,
    features).
    """
    rng = np.random.default_rng(seed)
    thresholds = _thresholds_by_feature(text)
    rows = np.full((count, len(thresholds)), np.nan)
    for feature, edges in enumerate(thresholds):
        if len(edges) == 0:
            rows[:, feature] = rng.normal(size=count)
            continue
        picked = rng.choice(edges, count) + rng.choice([0.0, -1e-3, 1e-3, -1.0, 1.0], count)
        rows[:, feature] = np.where(rng.random(count) < 0.1, np.nan, picked)  # noqa: PLR2004
    rows[np.abs(rows) < 1e-30] = 0.0  # noqa: PLR2004  # LightGBM takes what is as small for 0
    return rows.astype(np.float32).astype(np.float64)


def rounded_down(text: str) -> str:
    """The model with every threshold rounded down to 32 bits."""
    without_sizes = re.sub(r"^tree_sizes=.*\n", "", text, flags=re.MULTILINE)  # they change
    return re.sub(
        r"^threshold=(.*)$",
        lambda line: "threshold=" + " ".join(map(_floor32, line[1].split())),
        without_sizes,
        flags=re.MULTILINE,
    )


def _floor32(number: str) -> str:
    exact = float(number)
    near = np.float32(exact)
    if float(near) > exact:
        near = np.nextafter(near, np.float32(-np.inf))
    return repr(float(near))


def nan_is_zero(text: str) -> tuple[int, ...]:
    """Features of which LightGBM takes a missing value for 0, as none was missing in training."""
    knows_missing: dict[int, bool] = {}
    splits = re.findall(r"^split_feature=(.*)$", text, re.MULTILINE)
    kinds = re.findall(r"^decision_type=(.*)$", text, re.MULTILINE)
    for split, kind in zip(splits, kinds, strict=True):
        for feature, decision in zip(split.split(), kind.split(), strict=True):
            knows_missing[int(feature)] = int(decision) >> 2 & 3 == 2  # noqa: PLR2004  # NaN
    return tuple(sorted(one for one, knows in knows_missing.items() if not knows))


def _thresholds_by_feature(text: str) -> list[FloatArray]:
    names = re.search(r"^feature_names=(.*)$", text, re.MULTILINE)
    edges: list[list[float]] = [[] for _ in (names[1].split() if names else [])]
    splits = re.findall(r"^split_feature=(.*)$", text, re.MULTILINE)
    values = re.findall(r"^threshold=(.*)$", text, re.MULTILINE)
    for split, value in zip(splits, values, strict=True):
        for feature, threshold in zip(split.split(), value.split(), strict=True):
            edges[int(feature)].append(float(threshold))
    return [np.array(one) for one in edges]


def _converted(text: str, name: str) -> bytes:
    import lightgbm as lgb  # noqa: PLC0415  # heavy, only workers export
    from onnxmltools import convert_lightgbm  # noqa: PLC0415
    from onnxmltools.convert.common.data_types import FloatTensorType  # noqa: PLC0415

    model = lgb.Booster(model_str=rounded_down(text))
    kind = [(INPUT, FloatTensorType([None, model.num_feature()]))]
    options: Mapping[str, Any] = {"target_opset": OPSET, "zipmap": False, "name": name}
    return bytes(convert_lightgbm(model, initial_types=kind, **options).SerializeToString())


def session_of(onnx: bytes) -> Any:  # noqa: ANN401 - onnxruntime has no types
    """A model ready to answer, on one thread."""
    import onnxruntime  # noqa: PLC0415  # heavy, only where models run

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # it warns of the shape of a label that nobody reads
    return onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])


def portable_answers(
    session: Any,  # noqa: ANN401
    rows: FloatArray,
    nan_is_zero: Sequence[int],
) -> FloatArray:
    """What a session answers: a probability for classifiers, shape (rows,)."""
    output = session.get_outputs()[-1].name
    ready = rows.astype(np.float32)
    zeros = list(nan_is_zero)
    ready[:, zeros] = np.nan_to_num(ready[:, zeros])
    answers = session.run([output], {INPUT: ready})[0]
    return np.asarray(answers, dtype=np.float64).reshape(len(rows), -1)[:, -1]


def native_answers(text: str, rows: FloatArray) -> FloatArray:
    """What LightGBM answers to the same rows in 32 bits, shape (rows,)."""
    import lightgbm as lgb  # noqa: PLC0415  # heavy, only workers export

    exact = rows.astype(np.float32).astype(np.float64)
    return np.asarray(lgb.Booster(model_str=text).predict(exact, num_threads=1))
