"""A shared network as ONNX, for gateways that run onnxruntime: the same answers within 1e-4."""

from typing import Any

import numpy as np

from backend.federation.networks import INPUTS, shapes
from backend.federation.weights import Weights, checked

OPSET, IR_VERSION = 17, 8
ROWS, ANSWER = "rows", "answer"


def to_onnx(family: str, weights: Weights) -> bytes:
    """The network as an ONNX model: input `rows` (n, 26), output `answer` (n, 1), float32.

    Equal weights give equal bytes.

    Raises:
        UnknownFamily: If no network has this name.
        WeightsRefused: If the weights do not fit the family.
    """
    from onnx import TensorProto, helper, numpy_helper  # noqa: PLC0415 - slow to load

    sound = checked(weights, shapes(family))
    constants = [numpy_helper.from_array(np.ascontiguousarray(sound[n]), n) for n in sorted(sound)]
    graph = helper.make_graph(
        _nodes(family),
        f"tasco_{family}",
        [helper.make_tensor_value_info(ROWS, TensorProto.FLOAT, ["n", INPUTS])],
        [helper.make_tensor_value_info(ANSWER, TensorProto.FLOAT, ["n", 1])],
        initializer=constants,
    )
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, producer_name="tasco")
    model.ir_version = IR_VERSION
    return bytes(model.SerializeToString(deterministic=True))


def _nodes(family: str) -> list[Any]:
    from onnx import helper  # noqa: PLC0415 - slow to load

    if family == "linear":
        return [helper.make_node("Gemm", [ROWS, "w", "b"], [ANSWER])]
    return [
        helper.make_node("Gemm", [ROWS, "w1", "b1"], ["before"]),
        helper.make_node("Relu", ["before"], ["hidden"]),
        helper.make_node("Gemm", ["hidden", "w2", "b2"], [ANSWER]),
    ]
