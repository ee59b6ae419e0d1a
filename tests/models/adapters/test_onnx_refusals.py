"""What goes into ONNX models and comes out of them, and models and samples that are refused."""

from __future__ import annotations

import re
import sys
from typing import Any

import numpy as np
import pytest

from nettrim.models.model_view import as_view
from support.networks import trim

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper

from nettrim.models.adapters import onnx as adapter
from support.onnx_models import IMAGE, K2, B, W, assert_sound, build, conv, run


def embedding(rng: np.random.Generator) -> onnx.ModelProto:
    nodes = [
        ("Gather", "table x", "e"),
        ("ReduceMean", "e", "m", {"axes": [1], "keepdims": 0}),
        ("Gemm", "m W b", "y"),
    ]
    table = rng.standard_normal((30, 6)).astype("f4")
    arrays = {"table": table, "W": W.astype("f4"), "b": B.astype("f4")}
    return build(nodes, arrays, ["n", 4], dtype=np.int64, result=np.float32)


def test_integers_stay_integers(rng: np.random.Generator) -> None:
    model, ids = embedding(rng), rng.integers(0, 30, (80, 4))
    result = trim(model, ids, epsilon=0.1)
    assert_sound(result, ids)
    with pytest.raises(ValueError, match="X must hold whole numbers for the model's int64 input"):
        trim(model, ids + 0.5, epsilon=0.1)


@pytest.mark.parametrize(
    ("shape", "X", "words"),
    [
        (
            ["n", 6],
            np.ones((5, 7)),
            "X must have samples of shape (6) for the model's input 'x', got (7,)",
        ),
        (
            ["n", 3, 2],
            np.ones((5, 6)),
            "samples of shape (3, 2) for the model's input 'x', got (6,)",
        ),
        (["n", "k", 6], np.ones((5, 6)), "samples of shape (k, 6)"),
    ],
)
def test_samples_of_another_shape(shape: list[Any], X: np.ndarray, words: str) -> None:
    model = build([("MatMul", "x W", "y")], {"W": np.eye(shape[-1], dtype="f4")}, shape)
    with pytest.raises(ValueError, match=re.escape(words)):
        trim(model, X, epsilon=0.1)


def test_held_out_samples_of_another_shape() -> None:
    model = build([("MatMul", "x W", "y")], {"W": W.astype("f4")}, ["n", 6])
    with pytest.raises(ValueError, match="held_out must have samples of shape"):
        trim(model, np.ones((5, 6)), epsilon=0.1, held_out=np.ones((5, 7)))


def test_samples_that_half_precision_cannot_hold() -> None:
    model = build([("MatMul", "x W", "y")], {"W": W.astype("f2")}, ["n", 6], dtype=np.float16)
    with pytest.raises(ValueError, match=r"X must fit the model's input, .* no float16"):
        trim(model, 1e6 * np.ones((5, 6)), epsilon=0.1)


def test_the_output_is_the_first_one_of_floats_that_depends_on_a_layer() -> None:
    nodes = [
        ("Sigmoid", "x", "early"),
        ("MatMul", "x W", "z", {"name": "fc"}),
        ("ArgMax", "z", "label", {"axis": 1}),
        ("Tanh", "z", "t"),
    ]
    X = np.ones((4, 6), dtype="f4")
    model = build(nodes, {"W": W.astype("f4")}, ["n", 6], ["early", "t"])
    *_, last = adapter.view(model).signals(X, {})
    np.testing.assert_allclose(last.values, run(model, X, "t"), atol=1e-7)
    model = build(nodes, {"W": W.astype("f4")}, ["n", 6], ["label"], result=np.int64)
    *_, last = adapter.view(model).signals(X, {})
    np.testing.assert_allclose(last.values, X @ W, rtol=1e-6)
    assert last.lipschitz == {0: 1.0}


def two_inputs() -> onnx.ModelProto:
    model = build([("Relu", "x", "y")], {}, ["n", 6])
    model.graph.input.append(helper.make_tensor_value_info("u", TensorProto.FLOAT, ["n", 6]))
    return model


def not_loaded() -> onnx.ModelProto:
    model = build([("MatMul", "x W", "y")], {"W": W.astype("f4")}, ["n", 6])
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], "elsewhere")
    return model


def with_nan() -> onnx.ModelProto:
    return build([("MatMul", "x W", "y")], {"W": np.full((6, 5), np.nan, "f4")}, ["n", 6])


def unknown_type() -> onnx.ModelProto:
    model = build([("Identity", "x", "y")], {}, ["n"])
    model.graph.input[0].type.tensor_type.elem_type = 97
    return model


def strings() -> onnx.ModelProto:
    model = build([("Identity", "x", "y")], {}, ["n"])
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.elem_type = TensorProto.STRING
    return model


@pytest.mark.parametrize(
    ("model", "error", "words"),
    [
        (
            two_inputs(),
            ValueError,
            "X must be a mapping from the names of the model's inputs ['x', 'u'] to arrays",
        ),
        (not_loaded(), ValueError, "model has external data that is not loaded"),
        (with_nan(), ValueError, "model: MatMul 'y': weights holds NaN or infinity"),
        (
            unknown_type(),
            ValueError,
            "model must take a tensor of numbers, its input 'x' is none",
        ),
        (strings(), ValueError, "model must take a tensor of numbers, its input 'x' is none"),
        (onnx.ModelProto(), ValueError, "model is not valid: "),
        (onnx.GraphProto(), TypeError, "model must be an onnx.ModelProto, got GraphProto"),
        (
            build([("Relu", "x", "y")], {}, ["n"], opset_imports=[helper.make_opsetid("", 6)]),
            ValueError,
            (
                "model has operators of version 6, at least 7 is wanted; "
                "onnx.version_converter.convert_version(model, 7) converts it"
            ),
        ),
    ],
)
def test_models_that_are_refused(model: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        trim(model, np.ones((3, 6)), epsilon=0.1)
    assert str(caught.value).startswith(words)


def test_what_is_not_valid_is_told_in_one_line() -> None:
    model = build([("MatMul", "x W", "y")], {}, ["n", 6])
    with pytest.raises(ValueError, match=r"model is not valid: .*'W'") as caught:
        trim(model, np.ones((3, 6)), epsilon=0.1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("place", ["in front", "behind"])
def test_random_numbers_are_refused(place: str, rng: np.random.Generator) -> None:
    source, layer_input, out = ("x", "s", "y") if place == "in front" else ("z", "x", "z")
    noise = [("RandomNormalLike", source, "r"), ("Add", f"{source} r", "s" if out == "y" else "y")]
    layer = [("MatMul", f"{layer_input} W", out)]
    nodes = noise + layer if place == "in front" else layer + noise
    model = build(nodes, {"W": W.astype("f4")}, ["n", 6])
    with pytest.raises(ValueError, match=r"compute the same twice, and tensor '[sy]' does not"):
        trim(model, rng.standard_normal((30, 6)), epsilon=0.1)


def test_a_model_onnxruntime_cannot_run(rng: np.random.Generator) -> None:
    nodes, arrays = conv(K2)
    model = build(nodes, arrays, ["n", *IMAGE], dtype=np.float64)
    with pytest.raises(ValueError, match=r"model: onnxruntime refuses it: .*Conv"):
        trim(model, rng.standard_normal((4, *IMAGE)), epsilon=0.1)


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build([("MatMul", "x W", "y")], {"W": W.astype("f4")}, ["n", 6])
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "onnxruntime", None)
        with pytest.raises(ImportError, match=r"onnxruntime is missing.*nettrim\[onnx\]"):
            trim(model, np.ones((3, 6)), epsilon=0.1)
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.delitem(sys.modules, "nettrim.models.adapters.onnx")
    with pytest.raises(ImportError, match=r"onnx is missing.*nettrim\[onnx\]"):
        as_view(model)
