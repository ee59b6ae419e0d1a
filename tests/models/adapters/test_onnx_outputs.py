"""ONNX models with several outputs: which count, what they are, how far they can move."""

from __future__ import annotations

import numpy as np
import pytest

from support.networks import trim

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from nettrim.models.adapters.onnx import view
from support.onnx_models import build, run

G = np.random.default_rng(11)
BODY, HEAD, OTHER = (G.standard_normal(s).astype("f4") for s in [(6, 12), (12, 4), (12, 3)])
ARRAYS = {"W": BODY, "V": HEAD, "U": OTHER, "C": G.standard_normal((2, 3)).astype("f4")}
NODES = [
    ("MatMul", "x W", "z"),
    ("Relu", "z", "a"),
    ("MatMul", "a V", "scores"),
    ("MatMul", "a U", "u"),
    ("Tanh", "u", "boxes"),
    ("Softmax", "scores", "shares"),
    ("Sigmoid", "x", "early"),
    ("ArgMax", "scores", "label", {"axis": 1}),
    ("ReduceSum", "boxes", "total", {"keepdims": 0}),
    ("Transpose", "a", "turned"),
    ("Identity", "C", "stored"),
]


def model(*outputs: str, shape: tuple[int | str, ...] = ("n", 6)) -> onnx.ModelProto:
    made = build(NODES, ARRAYS, shape, outputs)
    for output in made.graph.output:
        if output.name == "label":
            output.type.tensor_type.elem_type = onnx.TensorProto.INT64
    return made


@pytest.mark.parametrize(
    ("outputs", "counted"),
    [
        (["scores", "boxes"], ["scores", "boxes"]),
        (["label", "boxes", "shares", "scores"], ["boxes", "shares", "scores"]),
        (["early", "stored", "scores", "total"], ["scores"]),
        (["turned", "a"], ["turned", "a"]),
    ],
)
def test_outputs_of_floats_that_depend_on_a_layer_count(
    rng: np.random.Generator, outputs: list[str], counted: list[str]
) -> None:
    X = rng.standard_normal((20, 6))
    given = model(*outputs)
    own = view(given)
    own.calibration(X, "X")
    assert own.outputs() == counted
    one = list(own.signals(X, {}))[len(own.prunable_layers()) :]
    runs = own.run(given, X)
    assert len(one) == len(runs) == len(counted)
    for name, signal, result in zip(counted, one, runs, strict=True):
        assert result.shape == signal.values.shape
        np.testing.assert_allclose(result, signal.values, atol=1e-5)
        expected = run(given, X.astype("f4"), name)
        expected = expected.T if name == "turned" else expected
        np.testing.assert_allclose(signal.values, expected, atol=1e-5)


def test_outputs_are_told_without_data() -> None:
    assert view(model("scores", "early", "label", "boxes")).outputs() == ["scores", "boxes"]
    assert view(model("label")).outputs() == ["u"]  # what leaves the last layer


def test_every_output_has_gains_of_its_own(rng: np.random.Generator) -> None:
    X = rng.standard_normal((30, 6)).astype("f4")
    own = view(model("boxes", "shares", "scores"))
    names = [layer.name for layer in own.prunable_layers()]
    body, scores, boxes = (names.index(name) for name in ("W", "V", "U"))
    for position in range(3):
        affine = own.prunable_layers()[position].affine
        change = {position: affine._replace(weights=affine.weights + np.float32(0.1))}
        before, after = list(own.signals(X, {})), list(own.signals(X, change))
        moved = {}
        for k, layer in enumerate(own.prunable_layers()):
            one, two = before[k].values, after[k].values
            ways = (
                layer.respond(layer.affine, one),
                layer.respond(change.get(k, layer.affine), two),
            )
            moved[k] = float(np.linalg.norm(ways[0] - ways[1]))
        for output, end in zip(before[3:], after[3:], strict=True):
            assert np.linalg.norm(end.values - output.values) <= output.moved(moved) * (1 + 1e-9)
    assert [signal.lipschitz.keys() for signal in before[3:]] == [{boxes}, {scores}, {scores}]
    assert body == 0


@pytest.mark.parametrize("batch", ["n", 5])
def test_every_output_keeps_weights(rng: np.random.Generator, batch: int | str) -> None:
    X = rng.standard_normal((200, 6))
    result = trim(model("scores", "boxes", shape=(batch, 6)), X, sparsity=0.6)
    assert [output.name for output in result.outputs] == ["scores", "boxes"]
    assert all(layer.nonzeros_after for layer in result.layers)
    for output in result.outputs:
        before, after = (
            np.concatenate(
                [run(m, X[k : k + 5].astype("f4"), output.name) for k in range(0, 200, 5)]
            )
            for m in (result.original, result.model)
        )
        error = np.linalg.norm(after - before) / np.linalg.norm(before)
        assert output.discrepancy == pytest.approx(error, rel=1e-4)
        assert output.runtime_discrepancy == pytest.approx(error, rel=1e-4)
        assert output.discrepancy <= output.bound
