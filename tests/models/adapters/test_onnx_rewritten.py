"""ONNX models come back with other weights and nothing else changed, also those of exporters."""

from __future__ import annotations

import io
import math
import warnings

import numpy as np
import pytest

from nettrim.models.model_view import as_view
from support.networks import random_network, trim

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper

from nettrim.models.adapters import onnx as adapter
from support.onnx_models import W, assert_sound, build, chain

# --- what is replaced and what is not ---------------------------------------------------------


def test_all_but_the_weights_stays(rng: np.random.Generator) -> None:
    network = random_network(rng, 6, 8, 3, dtype=np.float32)
    model = chain(network, producer_name="tests", doc_string="a model")
    model.metadata_props.add(key="author", value="us")
    model.graph.initializer[0].doc_string = "the first weights"
    model.graph.initializer.append(numpy_helper.from_array(np.arange(3), "unused"))
    before = model.SerializeToString(deterministic=True)
    X = rng.standard_normal((60, 6)).astype(np.float32)
    result = trim(model, X, epsilon=0.2, layers=["fc1"])
    assert model.SerializeToString(deterministic=True) == before
    restored = onnx.ModelProto()
    restored.CopyFrom(result.model)
    changed = []
    for tensor, original in zip(restored.graph.initializer, model.graph.initializer, strict=True):
        if tensor != original:
            changed.append(tensor.name)
            tensor.raw_data = original.raw_data
    assert changed == ["W1", "b1"]
    assert restored.SerializeToString(deterministic=True) == before


def test_weights_that_are_read_in_two_ways_are_left_alone(rng: np.random.Generator) -> None:
    nodes = [
        ("MatMul", "x W", "a", {"name": "one"}),
        ("Relu", "a", "r"),
        ("Gemm", "r W", "b", {"name": "two", "transB": 1}),
        ("MatMul", "b V", "y", {"name": "three"}),
    ]
    arrays = {"W": rng.standard_normal((6, 6)).astype("f4"), "V": W.astype("f4")}
    model = build(nodes, arrays, ["n", 6])
    X = rng.standard_normal((50, 6)).astype("f4")
    with pytest.warns(UserWarning, match="the weights of one, two are read elsewhere too"):
        result = trim(model, X, epsilon=0.2)
    assert [layer.name for layer in result.layers] == ["three"]
    assert result.discrepancy <= result.bound


def test_a_shared_layer_behind_a_pruned_one_has_its_gain(rng: np.random.Generator) -> None:
    nodes = [
        ("MatMul", "x V", "a", {"name": "first"}),
        ("MatMul", "a W", "b"),
        ("Gemm", "b W", "y", {"transB": 1}),
    ]
    arrays = {name: rng.standard_normal((6, 6)).astype("f4") for name in "VW"}
    with pytest.warns(UserWarning, match="read elsewhere"):
        view = adapter.view(build(nodes, arrays, ["n", 6]))
    *_, last = view.signals(np.ones((3, 6)), {})
    assert last.lipschitz == {0: pytest.approx(np.linalg.norm(arrays["W"], 2) ** 2)}


def test_a_shared_bias_stays(rng: np.random.Generator) -> None:
    nodes = [
        ("Gemm", "x W b", "a", {"name": "one"}),
        ("Relu", "a", "r"),
        ("Gemm", "r V b", "y", {"name": "two"}),
    ]
    arrays = {name: rng.standard_normal((6, 6)).astype("f4") for name in "WV"}
    model = build(nodes, {**arrays, "b": np.linspace(-1, 1, 6, dtype="f4")}, ["n", 6])
    X = rng.standard_normal((100, 6)).astype("f4")
    result = trim(model, X, epsilon=0.2)
    assert_sound(result, X)
    assert all(layer.affine.fixed_bias for layer in as_view(model).prunable_layers())
    assert result.model.graph.initializer[2] == model.graph.initializer[2]
    assert result.sparsity > 0


def test_subgraphs_are_left_alone(rng: np.random.Generator) -> None:
    """Weights that a branch reads are shared; a product inside a branch is no layer."""
    branch = {
        key: helper.make_graph(
            [helper.make_node(op, ["h", "V"], [f"{key}_out"])],
            key,
            [],
            [helper.make_tensor_value_info(f"{key}_out", TensorProto.FLOAT, None)],
        )
        for key, op in {"then_branch": "MatMul", "else_branch": "Add"}.items()
    }
    nodes = [
        ("MatMul", "x W", "h", {"name": "fc"}),
        ("If", "on", "c", branch),
        ("MatMul", "c V", "y", {"name": "last"}),
    ]
    arrays = {name: rng.standard_normal((6, 6)).astype("f4") for name in "WV"}
    model = build(nodes, {**arrays, "on": np.array(True)}, ["n", 6])
    with pytest.warns(UserWarning, match="the weights of last are read elsewhere"):
        result = trim(model, rng.standard_normal((50, 6)), epsilon=0.2)
    assert [layer.name for layer in result.layers] == ["fc"]
    assert result.bound == math.inf
    assert result.model.graph.node[1] == model.graph.node[1]


def test_weights_that_are_inputs_as_in_old_versions(rng: np.random.Generator) -> None:
    network = random_network(rng, 6, 8, 3, dtype=np.float32)
    model = chain(network, opset_imports=[helper.make_opsetid("", 8)])
    model.ir_version = 3
    for tensor in model.graph.initializer:
        model.graph.input.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        )
    X = rng.standard_normal((50, 6)).astype(np.float32)
    result = trim(model, X, epsilon=0.2)
    assert_sound(result, X)
    assert result.model.graph.input == model.graph.input


# --- what exporters write ---------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::nettrim.CalibrationWarning")  # what is computed counts
@pytest.mark.parametrize("dynamo", [False, True])
def test_torch_export(rng: np.random.Generator, dynamo: bool) -> None:
    torch = pytest.importorskip("torch")
    if dynamo:
        pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    nn = torch.nn
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, stride=2, bias=False),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 8),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(8, 3),
    ).eval()
    X = rng.standard_normal((40, 1, 8, 8)).astype(np.float32)
    example = torch.from_numpy(X[:2])
    file = io.BytesIO()
    shapes = (
        {"dynamic_shapes": ({0: torch.export.Dim("n")},)}
        if dynamo
        else {
            "input_names": ["x"],
            "dynamic_axes": {"x": {0: "n"}},
        }
    )
    with warnings.catch_warnings():  # the exporters use what torch itself calls out of date
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        torch.onnx.export(module, (example,), file, dynamo=dynamo, verbose=False, **shapes)
    model = onnx.load_model_from_string(file.getvalue())
    view = adapter.view(model)
    assert [layer.shape for layer in view.prunable_layers()] == [(9, 4), (36, 6), (6, 8), (8, 3)]
    assert [layer.activation for layer in view.prunable_layers()] == ["relu"] * 3 + ["linear"]
    *_, last = view.signals(X, {})
    with torch.no_grad():
        np.testing.assert_allclose(last.values, module(torch.from_numpy(X)).numpy(), atol=1e-5)
    for scheme in ("parallel", "cascade"):
        result = trim(model, X, epsilon=0.1, scheme=scheme)
        assert_sound(result, X)
        assert 0 < result.bound < math.inf
        assert result.sparsity > 0.1


@pytest.mark.parametrize("zipmap", [True, False])
def test_scikit_learn_export(zipmap: bool) -> None:
    skl2onnx = pytest.importorskip("skl2onnx")
    datasets = pytest.importorskip("sklearn.datasets")
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    X, labels = datasets.load_digits(return_X_y=True)
    X = (X[:300] / 16).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = MLPClassifier((24, 16), max_iter=20, random_state=0).fit(X, labels[:300])
    model = skl2onnx.to_onnx(fitted, X[:1], options={"zipmap": zipmap})
    view = adapter.view(model)
    assert [layer.shape for layer in view.prunable_layers()] == [(64, 24), (24, 16), (16, 10)]
    assert [layer.activation for layer in view.prunable_layers()] == ["relu", "relu", "linear"]
    *_, last = view.signals(X, {})
    assert last.lipschitz == {2: 0.5}
    np.testing.assert_allclose(last.values, fitted.predict_proba(X), atol=1e-5)
    result = trim(model, X, epsilon=0.1)
    # Maps of classes to probabilities say the same as the tensor that they are made of.
    name = "output_probability" if zipmap else "probabilities"
    assert view.outputs() == [output.name for output in result.outputs] == [name]
    assert result.accuracy(X, labels[:300]).before == fitted.score(X, labels[:300])
    assert_sound(result, X)
    assert result.sparsity > 0.2
