"""Networks as ONNX answer as they do here, in the same bytes each time."""

import numpy as np
import onnxruntime
import pytest

from backend.federation.networks import INPUTS, predict, shapes
from backend.federation.onnx_export import to_onnx
from backend.federation.weights import WeightsRefused

ROWS = np.random.default_rng(3).normal(size=(200, INPUTS)).astype(np.float32)


def _weights(family: str) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    rng = np.random.default_rng(4)
    return {n: rng.normal(size=one).astype(np.float32) for n, one in shapes(family).items()}


@pytest.mark.parametrize("family", ["linear", "mlp"])
def test_onnx_answers_within_a_ten_thousandth_and_in_equal_bytes(family: str) -> None:
    weights = _weights(family)

    data = to_onnx(family, weights)

    (answers,) = onnxruntime.InferenceSession(data).run(None, {"rows": ROWS})
    np.testing.assert_allclose(answers[:, 0], predict(family, weights, ROWS), atol=1e-4)
    assert to_onnx(family, dict(reversed(weights.items()))) == data
    assert len(data) < 10_000


def test_weights_of_another_family_are_refused() -> None:
    with pytest.raises(WeightsRefused):
        to_onnx("linear", _weights("mlp"))
