"""What else could run at the edge: size, time of a row and accuracy, side by side.

The task is the availability of vehicles with real plug-ins, windows as in `_forecast_vehicles.py`.
Every model sees the same rows and is judged on the same ones, live. Missing values are minus one
for the models that know none. Models whose library is not installed are listed with the reason.
"""

import argparse
import csv
import io
import json
import os
import pickle
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import zstandard
from rich.console import Console
from rich.table import Table

from backend.forecasting import availability
from backend.forecasting.availability import LEADS
from backend.forecasting.availability_features import Known, features
from backend.forecasting.edge_export import INPUT, OPSET, export, session_of
from backend.forecasting.history import FloatArray, IntArray
from benchmarks._forecast_vehicles import (
    FIRST,
    LAST,
    TESTED,
    TRAINED_TO,
    _drawn,
    _seconds,
    plug_history,
    row_us,
)

Untyped: TypeAlias = Any  # torch, xgboost and onnxruntime have no types, or are not installed
ROWS, TEST_ROWS = 60_000, 60_000
CALLS = 200


@dataclass(frozen=True)
class Alternative:
    """One model: what it weighs, how long a row takes, how well it does."""

    name: str
    file_kb: float | None = None
    zstd_kb: float | None = None
    row_us_p50: float | None = None
    auc: float | None = None
    brier: float | None = None
    train_cpu_s: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Task:
    """Rows to learn from and to be judged on."""

    rows: FloatArray
    answers: IntArray
    test_rows: FloatArray
    test_answers: IntArray

    @property
    def filled(self) -> tuple[FloatArray, FloatArray]:
        """The rows without missing values, in 32 bits."""
        return tuple(  # type: ignore[return-value]  # two of them
            np.nan_to_num(one, nan=-1.0).astype(np.float32) for one in (self.rows, self.test_rows)
        )


def task_of(data: Path) -> Task:
    """The questions and their features."""
    with (data / "demand" / "jpl_vehicle_sessions.csv").open() as sheet:
        rows = sorted(csv.DictReader(sheet), key=lambda row: _seconds(row["plug_in"]))
    known = Known.of(plug_history(rows, until=LAST), slots_ahead=max(LEADS))
    past = _drawn(known, since=FIRST, until=TRAINED_TO, rows=ROWS, seed=0)
    later = _drawn(known, since=TESTED[0], until=TESTED[1], rows=TEST_ROWS, seed=1)
    return Task(
        features(known, past),
        availability.answers(known, past),
        features(known, later),
        availability.answers(known, later),
    )


def measured(
    name: str,
    task: Task,
    *,
    file: bytes,
    chances: FloatArray,
    p50_us: float,
    cpu_s: float,
    note: str = "",
) -> Alternative:
    """A model's line of the table."""
    return Alternative(
        name,
        len(file) / 1000,
        len(zstandard.ZstdCompressor(level=19).compress(file)) / 1000,
        p50_us,
        availability.auc(task.test_answers, chances),
        float(np.mean((chances - task.test_answers) ** 2)),
        cpu_s,
        note,
    )


def boosted(task: Task) -> list[Alternative]:
    """LightGBM as text and as ONNX."""
    import lightgbm as lgb  # noqa: PLC0415

    began = time.process_time()
    model = lgb.train(
        {**availability._PARAMETERS, **availability.size_for(ROWS), "seed": 0},  # noqa: SLF001
        lgb.Dataset(task.rows, label=task.answers),
        num_boost_round=availability.TREES,
    )
    cpu_s, text = time.process_time() - began, str(model.model_to_string())
    chances = np.asarray(model.predict(task.test_rows, num_threads=1))
    p50_us = timed(lambda row: model.predict(row, num_threads=1), task.test_rows)
    portable = export(text, task.test_rows[:5_000], name="availability")
    onnx_us, _ = row_us(session_of(portable.onnx), task.test_rows)
    quantised = quantised_kb(portable.onnx)
    return [
        measured(
            "LightGBM text",
            task,
            file=text.encode(),
            chances=chances,
            p50_us=p50_us,
            cpu_s=cpu_s,
        ),
        measured(
            "LightGBM ONNX (served at the edge)",
            task,
            file=portable.onnx,
            chances=chances,
            p50_us=onnx_us,
            cpu_s=cpu_s,
            note=f"int8 quantisation: {len(portable.onnx) / 1000:.1f} -> {quantised:.1f} KB",
        ),
    ]


def quantised_kb(onnx: bytes) -> float:
    """Size after onnxruntime's dynamic quantisation, which has no kernel for trees."""
    from onnxruntime.quantization import quantize_dynamic  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder, "a.onnx"), Path(folder, "b.onnx")
        before.write_bytes(onnx)
        quantize_dynamic(before, after)
        return after.stat().st_size / 1000


def forest(task: Task) -> list[Alternative]:
    """scikit-learn's RandomForest, as it is often chosen and small enough to compare."""
    from sklearn.ensemble import RandomForestClassifier  # noqa: PLC0415

    found = []
    train, test = task.filled
    for trees, leaves in ((100, None), (100, 31)):
        began = time.process_time()
        model = RandomForestClassifier(
            trees, max_leaf_nodes=leaves, min_samples_leaf=5, random_state=0, n_jobs=1
        ).fit(train, task.answers)
        cpu_s = time.process_time() - began
        found.append(
            measured(
                f"RandomForest {trees} x {leaves or 'unlimited'} pickle",
                task,
                file=pickle.dumps(model),
                chances=model.predict_proba(test)[:, 1],
                p50_us=timed(model.predict_proba, test, calls=30),
                cpu_s=cpu_s,
                note="pickle runs code when loaded: never shipped",
            )
        )
    return found


def perceptron(task: Task) -> list[Alternative]:
    """A small network as ONNX, with 32-bit and with 8-bit weights."""
    from skl2onnx import to_onnx  # noqa: PLC0415
    from sklearn.neural_network import MLPClassifier  # noqa: PLC0415
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415

    train, test = task.filled
    began = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it stops before it has converged
        model = make_pipeline(
            StandardScaler(), MLPClassifier((64, 32), max_iter=15, random_state=0)
        ).fit(train, task.answers)
    cpu_s = time.process_time() - began
    options = {id(model): {"zipmap": False}}
    whole = to_onnx(model, train[:1], target_opset=OPSET, options=options).SerializeToString()
    return [
        network_line("MLP 64-32 ONNX 32 bits", task, bytes(whole), test, cpu_s),
        network_line("MLP 64-32 ONNX int8", task, quantised(bytes(whole)), test, cpu_s),
    ]


def quantised(onnx: bytes) -> bytes:
    """A network with 8-bit weights."""
    from onnxruntime.quantization import quantize_dynamic  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder, "a.onnx"), Path(folder, "b.onnx")
        before.write_bytes(onnx)
        quantize_dynamic(before, after)
        return after.read_bytes()


def network_line(name: str, task: Task, onnx: bytes, test: FloatArray, cpu_s: float) -> Alternative:
    """The line of a network in ONNX."""
    session = session_of(onnx)
    entry, output = session.get_inputs()[0].name, session.get_outputs()[-1].name

    def _run(rows: FloatArray) -> Untyped:
        return session.run([output], {entry: rows.astype(np.float32)})[0]

    chances = np.asarray(_run(test), dtype=np.float64).reshape(len(test), -1)[:, -1]
    return measured(name, task, file=onnx, chances=chances, p50_us=timed(_run, test), cpu_s=cpu_s)


def xgboost(task: Task) -> list[Alternative]:
    """XGBoost where it is installed."""
    xgb: Untyped = import_module("xgboost")
    began = time.process_time()
    model = xgb.train(
        {"objective": "binary:logistic", "max_leaves": 31, "grow_policy": "lossguide",
         "max_depth": 0, "eta": 0.1, "nthread": 1, "seed": 0},
        xgb.DMatrix(task.rows, task.answers),
        num_boost_round=availability.TREES,
    )  # fmt: skip
    cpu_s = time.process_time() - began
    return [
        measured(
            "XGBoost 100 x 31 json",
            task,
            file=bytes(model.save_raw("json")),
            chances=np.asarray(model.predict(xgb.DMatrix(task.test_rows)), dtype=np.float64),
            p50_us=timed(lambda row: model.predict(xgb.DMatrix(row)), task.test_rows),
            cpu_s=cpu_s,
        )
    ]


def recurrent(task: Task) -> list[Alternative]:
    """Small GRU and LSTM over the day before, where torch is installed."""
    torch: Untyped = import_module("torch")
    # The sequence a gateway has at hand: the seven states on days before, oldest first, and the
    # present, each with the question's calendar beside it.
    train, test = task.filled
    steps = [11, 10, 9, 8, 14, 13, 12, 16]
    calendar = [0, 1, 2, 3, 4, 5]

    def _sequence(rows: FloatArray) -> Untyped:
        states = rows[:, steps, None]
        beside = np.repeat(rows[:, None, calendar], len(steps), axis=1)
        return torch.tensor(np.concatenate([states, beside], axis=2))

    found = []
    for name, kind in (("GRU", torch.nn.GRU), ("LSTM", torch.nn.LSTM)):
        torch.manual_seed(0)
        torch.set_num_threads(1)
        cell, head = kind(1 + len(calendar), 32, batch_first=True), torch.nn.Linear(32, 1)
        network = _Recurrent(torch, cell, head)
        began = time.process_time()
        network.learn(_sequence(train), torch.tensor(task.answers, dtype=torch.float32))
        cpu_s = time.process_time() - began
        stored = io.BytesIO()
        torch.onnx.export(network.module, _sequence(test[:1]), stored, opset_version=OPSET,
                          input_names=[INPUT], dynamic_axes={INPUT: {0: "rows"}})  # fmt: skip
        small = quantised(stored.getvalue())
        found.append(_recurrent_line(f"{name} 32 ONNX int8", task, small, _sequence(test), cpu_s))
    return found


class _Recurrent:
    """A recurrent cell with a head, and its training."""

    def __init__(self, torch: Untyped, cell: Untyped, head: Untyped) -> None:
        class _Module(torch.nn.Module):  # type: ignore[misc]  # known at run time only
            def __init__(self) -> None:
                super().__init__()
                self.cell, self.head = cell, head

            def forward(self, rows: Untyped) -> Untyped:
                return torch.sigmoid(self.head(self.cell(rows)[0][:, -1]))[:, 0]

        self._torch, self.module = torch, _Module()

    def learn(self, rows: Untyped, answers: Untyped) -> None:
        """Three passes over the rows."""
        torch = self._torch
        optimiser = torch.optim.Adam(self.module.parameters(), lr=3e-3)
        for _ in range(3):
            for part in torch.randperm(len(rows)).split(512):
                optimiser.zero_grad()
                loss = torch.nn.functional.binary_cross_entropy(
                    self.module(rows[part]), answers[part]
                )
                loss.backward()
                optimiser.step()


def _recurrent_line(name: str, task: Task, onnx: bytes, rows: Untyped, cpu_s: float) -> Alternative:
    session = session_of(onnx)
    output, test = session.get_outputs()[0].name, rows.numpy()
    chances = np.asarray(session.run([output], {INPUT: test})[0], dtype=np.float64)
    p50_us = timed(lambda row: session.run([output], {INPUT: row}), test)
    return measured(name, task, file=onnx, chances=chances, p50_us=p50_us, cpu_s=cpu_s)


def timed(answer: Callable[[Untyped], Untyped], rows: Untyped, *, calls: int = CALLS) -> float:
    """Median time of one row, microseconds."""
    taken = []
    for call in range(calls):
        row = rows[call : call + 1]
        began = time.perf_counter_ns()
        answer(row)
        taken.append((time.perf_counter_ns() - began) / 1000)
    return float(np.median(taken))


OPTIONAL = {"xgboost": xgboost, "torch": recurrent}


def alternatives(data: Path) -> list[Alternative]:
    """Every line of the table."""
    task = task_of(data)
    found = [*boosted(task), *forest(task), *perceptron(task)]
    for library, measure in OPTIONAL.items():
        if find_spec(library) is None:
            found.append(Alternative(library, note="not measured: not installed"))
        else:
            found += measure(task)
    return found


def _shown(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("TASCO_DATA", "../shared/data"))
    )
    chosen = parser.parse_args()
    if not (chosen.data / "demand" / "jpl_vehicle_sessions.csv").exists():
        raise SystemExit(f"There is no demand/jpl_vehicle_sessions.csv in {chosen.data}.")
    lines = alternatives(chosen.data)
    if chosen.json:
        print(json.dumps({"alternatives": [asdict(one) for one in lines]}))
        return
    table = Table("model", "KB", "zstd KB", "row us", "AUC", "Brier", "train CPU s", "note")
    for one in lines:
        table.add_row(
            one.name,
            _shown(one.file_kb, 1),
            _shown(one.zstd_kb, 1),
            _shown(one.row_us_p50, 1),
            _shown(one.auc, 4),
            _shown(one.brier, 4),
            _shown(one.train_cpu_s, 1),
            one.note,
        )
    Console().print(table)


if __name__ == "__main__":
    main()
