"""How far the outputs of ONNX models can move with a layer: never further than is promised."""

from __future__ import annotations

import math

import numpy as np
import pytest

from support.networks import trim

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

from onnx import TensorProto

from nettrim.models.adapters import onnx as adapter
from support.onnx_models import Arrays, Node, assert_sound, build, run

COLUMNS = np.array([0.5, -2.0, 1.0, 0.0, 1.5, -0.3], dtype="f4")
NORM6 = {
    "scale": COLUMNS,
    "shift": COLUMNS,
    "mean": COLUMNS,
    "var": np.array([0.5, 1.0, 2.0, 0.1, 3.0, 1.0], dtype="f4"),
}
MAP, LONG = (6, 5, 4), (6, 12)
POOL = {"kernel_shape": [3, 2], "strides": [2, 1]}
GAINS: dict[str, tuple[list[Node], Arrays, tuple[int, ...], float]] = {
    "relu": ([("Relu", "h", "y")], {}, (6,), 1.0),
    "sigmoid": ([("Sigmoid", "h", "y")], {}, (6,), 0.25),
    "tanh": ([("Tanh", "h", "y")], {}, (6,), 1.0),
    "softmax": ([("Softmax", "h", "y")], {}, (6,), 0.5),
    "log softmax": ([("LogSoftmax", "h", "y", {"axis": 1})], {}, (6,), math.sqrt(6)),
    "clip": ([("Clip", "h low high", "y")], {"low": -1.0, "high": 0.5}, (6,), 1.0),
    "leaky": ([("LeakyRelu", "h", "y", {"alpha": 3.0})], {}, (6,), 3.0),
    "elu": ([("Elu", "h", "y", {"alpha": 2.0})], {}, (6,), 2.0),
    "dropout": ([("Dropout", "h", "y")], {}, (6,), 1.0),
    "pad": ([("Pad", "h pads", "y")], {"pads": np.array([0, 1, 0, 2])}, (6,), 1.0),
    "flatten": ([("Flatten", "h", "y")], {}, MAP, 1.0),
    "reshape": ([("Reshape", "h to", "y")], {"to": np.array([0, 2, -1])}, MAP, 1.0),
    "reshape to a computed shape": (
        [
            ("Shape", "h", "s"),
            ("Gather", "s zero", "n", {"axis": 0}),
            ("Concat", "n rest", "to", {"axis": 0}),
            ("Reshape", "h to", "y"),
        ],
        {"zero": np.array([0]), "rest": np.array([-1])},
        MAP,
        1.0,
    ),
    "transpose": ([("Transpose", "h", "y", {"perm": [0, 3, 1, 2]})], {}, MAP, 1.0),
    "unsqueeze": (
        [("Unsqueeze", "h one", "u"), ("Squeeze", "u one", "y")],
        {"one": np.array([1])},
        (6,),
        1.0,
    ),
    "constant": ([("Add", "h c", "y")], {"c": COLUMNS}, (6,), 1.0),
    "twice": ([("Add", "h h", "y")], {}, (6,), 2.0),
    "both ways": ([("Tanh", "h", "t"), ("Sigmoid", "h", "s"), ("Sum", "s t", "y")], {}, (6,), 1.25),
    "difference": ([("Neg", "h", "m"), ("Sub", "h m", "y")], {}, (6,), 2.0),
    "joined": ([("Concat", "h h", "y", {"axis": 1})], {}, (6,), 2.0),
    "repeated": (
        [("ReduceMean", "h", "m", {"axes": [1]}), ("Add", "m wide", "y")],
        {"wide": np.ones((1, 10), dtype="f4")},
        (6,),
        math.sqrt(10 / 6),
    ),
    "factors": ([("Mul", "c h", "y")], {"c": COLUMNS}, (6,), 2.0),
    "zero": (
        [("Mul", "h c", "z"), ("Add", "z h", "y")],
        {"c": np.zeros(6, dtype="f4")},
        (6,),
        1.0,
    ),
    "quotient": ([("Div", "h c", "y")], {"c": np.array([2, -4, 4, 4, 4, 4], "f4")}, (6,), 0.5),
    "average": ([("Tanh", "h", "t"), ("Mean", "h t", "y")], {}, (6,), 1.0),
    "largest": ([("Tanh", "h", "t"), ("Max", "h t", "y")], {}, (6,), 2.0),
    "sum": ([("ReduceSum", "h one", "y")], {"one": np.array([1])}, (6,), math.sqrt(6)),
    "max pool": ([("MaxPool", "h", "y", POOL)], {}, MAP, 2.0),
    "average pool": ([("AveragePool", "h", "y", POOL)], {}, MAP, math.sqrt(4 / 6)),
    "average pool, padded": (
        [("AveragePool", "h", "y", {**POOL, "pads": [1, 0, 1, 0]})],
        {},
        MAP,
        math.sqrt(4 / 2),
    ),
    "average pool, zeros count": (
        [("AveragePool", "h", "y", {**POOL, "pads": [1, 0, 1, 0], "count_include_pad": 1})],
        {},
        MAP,
        math.sqrt(4 / 6),
    ),
    "average pool, half windows": (
        [("AveragePool", "h", "y", {"kernel_shape": [3], "strides": [2], "ceil_mode": 1})],
        {},
        LONG,
        math.sqrt(2),
    ),
    "global average": ([("GlobalAveragePool", "h", "y")], {}, MAP, 1 / math.sqrt(20)),
    "global maximum": ([("GlobalMaxPool", "h", "y")], {}, MAP, 1.0),
    "mean": ([("ReduceMean", "h", "y", {"axes": [2, 3]})], {}, MAP, 1 / math.sqrt(20)),
    "norm": (
        [("BatchNormalization", "h scale shift mean var", "y", {"epsilon": 0.0})],
        NORM6,
        MAP,
        2.0,
    ),
    "split": ([("Split", "h", "y u", {"axis": 1})], {}, (6,), 1.0),
    "slice": ([("Slice", "h from to", "y")], {"from": [0, 1], "to": [99, 3]}, (6,), 1.0),
    "double": (
        [("Cast", "h", "d", {"to": TensorProto.DOUBLE}), ("Cast", "d", "y", {"to": 1})],
        {},
        (6,),
        1.0,
    ),
    "unknown": ([("Erf", "h", "e"), ("Relu", "e", "y")], {}, (6,), math.inf),
    "product of signals": ([("Mul", "h h", "y")], {}, (6,), math.inf),
    "noise": (
        [("Dropout", "h ratio on", "y")],
        {"ratio": np.float32(0.5), "on": np.array(True)},
        (6,),
        math.inf,
    ),
}


@pytest.mark.parametrize("kind", GAINS)
def test_gains_bound_what_onnxruntime_computes(rng: np.random.Generator, kind: str) -> None:
    nodes, arrays, shape, gain = GAINS[kind]
    arrays = {
        n: np.float32(v) if isinstance(v, float) else np.asarray(v) for n, v in arrays.items()
    }
    width = shape[-1]
    product = ("MatMul", "x W", "h", {"name": "fc"})
    model = build(
        [product, *nodes], {"W": np.eye(width, dtype="f4"), **arrays}, ["n", *shape], ["y"]
    )
    A, B = rng.standard_normal((2, 40, *shape)).astype("f4")
    _, last = adapter.view(model).signals(A, {})
    assert last.lipschitz.get(0, 0.0) == pytest.approx(gain, rel=1e-6)
    for scale in (1e-2, 1.0, 10.0):
        C = A + np.float32(scale) * B
        moved = np.linalg.norm(run(model, C, "y") - run(model, A, "y"))
        assert moved <= gain * np.linalg.norm(C - A) * (1 + 1e-5) or math.isinf(gain)


def test_gains_of_a_residual_sum(rng: np.random.Generator) -> None:
    nodes = [
        ("MatMul", "x W", "p", {"name": "stem"}),
        ("MatMul", "p V", "z", {"name": "body"}),
        ("Relu", "z", "b"),
        ("Add", "b p", "s"),
        ("MatMul", "s U", "y", {"name": "head"}),
    ]
    arrays = {name: rng.standard_normal((6, 6)).astype("f4") for name in "WVU"}
    model = build(nodes, arrays, ["n", 6])
    X = rng.standard_normal((200, 6)).astype("f4")
    signals = list(adapter.view(model).signals(X, {}))
    assert [signal.lipschitz for signal in signals] == [{}, {0: 1.0}, {0: 1.0, 1: 1.0}, {2: 1.0}]
    for scheme in ("parallel", "cascade"):
        assert_sound(trim(model, X, epsilon=0.2, scheme=scheme), X)
