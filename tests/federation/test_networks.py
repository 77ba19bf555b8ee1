"""Networks: gradients against differences, first weights, and ONNX that answers the same."""

import numpy as np
import pytest

from backend.federation.networks import (
    FAMILIES,
    INPUTS,
    FloatArray,
    UnknownFamily,
    backward,
    initial_weights,
    predict,
    shapes,
)
from backend.federation.onnx_export import to_onnx

RNG = np.random.default_rng(3)


def some_weights(family: str) -> dict[str, FloatArray]:
    return {
        name: (0.5 * RNG.standard_normal(shape)).astype(np.float32)
        for name, shape in shapes(family).items()
    }


def rows(count: int) -> FloatArray:
    return RNG.standard_normal((count, INPUTS)).astype(np.float32)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_gradients_are_the_slopes_of_the_loss(family: str) -> None:
    weights, x = some_weights(family), rows(40)
    y = RNG.standard_normal(40).astype(np.float32)

    gradient = backward(family, weights, x, y).mean_gradient()

    for name, place in [(name, 0) for name in weights] + [(name, -1) for name in weights]:
        ends = []
        for step in (1e-2, -1e-2):
            moved = {key: array.copy() for key, array in weights.items()}
            moved[name].flat[place] += step
            error = predict(family, moved, x).astype(np.float64) - y
            ends.append(float(np.mean(error**2)))
        slope = (ends[0] - ends[1]) / 2e-2
        assert gradient[name].flat[place] == pytest.approx(slope, rel=0.05, abs=0.02)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_norms_of_examples_are_those_of_their_own_gradients(family: str) -> None:
    weights, x = some_weights(family), rows(5)
    y = RNG.standard_normal(5).astype(np.float32)

    norms = backward(family, weights, x, y).example_norms()

    for place, norm in enumerate(norms):
        one = slice(place, place + 1)
        alone = backward(family, weights, x[one], y[one]).mean_gradient()
        length = np.sqrt(sum(float(np.sum(each**2)) for each in alone.values()))
        assert norm == pytest.approx(length, rel=1e-4)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_an_untrained_network_says_that_all_is_as_usual(family: str) -> None:
    assert not predict(family, initial_weights(family, seed=1), rows(10)).any()


def test_first_weights_follow_from_the_seed() -> None:
    first, again, other = (initial_weights("mlp", seed)["w1"] for seed in (1, 1, 2))

    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1


def test_a_family_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UnknownFamily, match="there are linear, mlp"):
        shapes("transformer")


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_the_exported_model_answers_as_the_network_does(family: str) -> None:
    import onnxruntime  # noqa: PLC0415 - slow to load

    weights, x = some_weights(family), rows(1_000)
    exported = to_onnx(family, weights)

    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    found = session.run(None, {"rows": x})[0][:, 0]

    np.testing.assert_allclose(found, predict(family, weights, x), atol=1e-4)
    assert to_onnx(family, dict(reversed(weights.items()))) == exported
