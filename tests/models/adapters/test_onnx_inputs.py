"""What ONNX models take: several inputs, batches of any kind, any length; all can be looked at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nettrim.models.samples import Samples
from support.networks import trim

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper

from nettrim.models.adapters.onnx import view
from support.onnx_models import build, parsed

G = np.random.default_rng(5)
W, U, V = (G.standard_normal(s).astype("f4") for s in [(8, 6), (3, 6), (6, 2)])
WEIGHTS = {"W": W, "U": U, "V": V}
BODY = "a = MatMul(x, W) b = MatMul(s, U) z = Add(a, b) h = Relu(z)"


def expected(model: onnx.ModelProto, feed: dict[str, np.ndarray]) -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feed)[0]


def two(x: str = "float[n,8] x", s: str = "float[n,3] s") -> onnx.ModelProto:
    return parsed(f"{BODY} y = MatMul(h, V)", f"{x}, {s}", **WEIGHTS)


def data(rng: np.random.Generator, n_samples: int = 40) -> dict[str, np.ndarray]:
    return {
        name: rng.standard_normal((n_samples, k)).astype("f4") for name, k in [("x", 8), ("s", 3)]
    }


# --- several inputs -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "batch", [("n", "n"), ("n", "m"), ("", ""), (-1, -1), (0, 0), (4, 4), (7, 7), (1, 1)]
)
def test_several_inputs_by_name(rng: np.random.Generator, batch: tuple[Any, Any]) -> None:
    model = two()
    feed = data(rng)
    y = expected(model, feed)
    for value, length in zip(model.graph.input, batch, strict=True):
        dim = value.type.tensor_type.shape.dim[0]
        dim.Clear()
        setattr(dim, "dim_param" if isinstance(length, str) else "dim_value", length)
    own = view(model)
    given = own.calibration(dict(reversed(feed.items())), "X")
    assert isinstance(given, Samples)
    assert len(given) == 40
    *_, left = own.signals(given, {})
    np.testing.assert_allclose(left.values, y, atol=1e-5)
    np.testing.assert_allclose(own.run(model, given)[0], y, atol=1e-5)


def test_what_has_no_samples_goes_along_with_every_batch(rng: np.random.Generator) -> None:
    """A state that has its samples in the middle, a rate, a table with axes of its own."""
    model = parsed(
        """f = Cast<to=1>(rate) k = Mul(x, f) a = MatMul(k, W) p = Transpose<perm=[1, 0, 2]>(state)
           q = Reshape(p, flat) b = MatMul(q, U) t = ReduceSum<keepdims=0>(table)
           c = Add(a, b) z = Add(c, t) h = Relu(z) y = MatMul(h, V)""",
        "int64 rate, float[n,8] x, float[3,n,1] state, float[1,k] table",
        flat=np.array([-1, 3]),
        **WEIGHTS,
    )
    feed = {"rate": np.array(2), "x": data(rng)["x"], "table": np.ones((1, 9), "f4")}
    feed["state"] = rng.standard_normal((3, 40, 1)).astype("f4")
    own = view(model)
    given = own.calibration(feed, "X")
    assert sorted(given.arrays) == ["state", "x"]
    assert sorted(given.shared) == ["rate", "table"]
    assert given.arrays["state"].shape == (40, 3, 1)
    *_, left = own.signals(given[10:25], {})
    np.testing.assert_allclose(left.values, expected(model, feed)[10:25], atol=1e-5)


def test_all_of_it_is_trimmed(rng: np.random.Generator) -> None:
    model, feed = two(), data(rng, 200)
    result = trim(model, feed, epsilon=0.2, held_out=data(rng, 30))
    before, after = (expected(m, feed) for m in (model, result.model))
    error = np.linalg.norm(after - before) / np.linalg.norm(before)
    assert result.discrepancy == pytest.approx(error, rel=1e-5)
    assert result.discrepancy <= result.bound
    assert result.sparsity > 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"s": None}, r"X must be a mapping that gives each input of the model, it lacks \['s'\]"),
        ({"t": np.ones(3)}, r"X gives 't', which is no input of the model; .* \['x', 's'\]"),
        ({"s": np.ones((39, 3))}, r"X\['s'\] must hold as many samples as X\['x'\], 40, got 39"),
        ({"s": np.ones((40, 2))}, r"X\['s'\] must have samples of shape \(3\) .*, got \(2,\)"),
        ({"s": np.full((40, 3), np.nan)}, r"X\['s'\] holds NaN"),
        ({"s": np.float32(1)}, r"X\['s'\] must hold samples along axis 0, got shape \(\)"),
    ],
)
def test_inputs_that_do_not_fit(
    rng: np.random.Generator, changes: dict[str, Any], words: str
) -> None:
    feed = {k: v for k, v in {**data(rng), **changes}.items() if v is not None}
    with pytest.raises(ValueError, match=words):
        trim(two(), feed, epsilon=0.1)


def test_an_array_is_not_enough_for_two_inputs(rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match=r"X must be a mapping from the names .* \['x', 's'\]"):
        trim(two(), data(rng)["x"], epsilon=0.1)


def test_inputs_with_a_value_in_the_model_need_not_be_given(rng: np.random.Generator) -> None:
    model = two()
    model.graph.initializer.append(numpy_helper.from_array(np.ones((1, 3), "f4"), "s"))
    model.graph.input[1].type.tensor_type.shape.dim[0].dim_value = 1
    feed = data(rng)
    *_, left = view(model).signals(feed["x"], {})
    np.testing.assert_allclose(left.values, expected(model, {"x": feed["x"]}), atol=1e-5)
    with pytest.raises(ValueError, match="X must not give 's': its value is stored in the model"):
        trim(model, feed, epsilon=0.1)


# --- batches ------------------------------------------------------------------------------------


def batches(rng: np.random.Generator, kind: str) -> tuple[Any, Any]:
    """Data in batches of 10, and as a whole."""
    feed = data(rng)
    parts = [{k: v[first : first + 10] for k, v in feed.items()} for first in range(0, 40, 10)]
    labels = np.arange(10)
    if kind == "feeds":
        return parts, feed
    if kind == "pairs of a feed and labels":
        return [(part, labels) for part in parts], feed
    if kind == "tuples":
        return iter([tuple(part.values()) for part in parts]), feed
    if kind == "tuples with labels":
        return [[*part.values(), labels] for part in parts], feed
    if kind == "feeds with labels":
        return [{**part, "labels": labels} for part in parts], feed
    if kind == "tuple":
        return tuple(feed.values()), feed
    torch = pytest.importorskip("torch")
    sets = torch.utils.data.TensorDataset(*map(torch.tensor, feed.values()))
    return sets if kind == "data set" else torch.utils.data.DataLoader(sets, batch_size=7), feed


@pytest.mark.parametrize(
    "kind",
    [
        "feeds",
        "feeds with labels",
        "pairs of a feed and labels",
        "tuples",
        "tuples with labels",
        "tuple",
        "loader",
        "data set",
    ],
)
def test_batches_of_several_inputs(rng: np.random.Generator, kind: str) -> None:
    given, feed = batches(rng, kind)
    read = view(two()).calibration(given, "X")
    assert read.arrays.keys() == feed.keys()
    for name, values in feed.items():
        np.testing.assert_array_equal(read.arrays[name], values)


@pytest.mark.parametrize(
    "kind", ["arrays", "pairs", "lists", "feed", "generator", "loader", "rows"]
)
def test_batches_of_one_input(rng: np.random.Generator, kind: str) -> None:
    model = build([("MatMul", "x W", "y")], {"W": W}, ["n", 8])
    X = data(rng)["x"]
    parts, labels = np.split(X, 4), np.arange(10)
    if kind in ("loader", "data set", "tensor"):
        torch = pytest.importorskip("torch")
        sets = torch.utils.data.TensorDataset(torch.tensor(X), torch.arange(40))
        loader = torch.utils.data.DataLoader(sets, batch_size=9)
        tensor = torch.tensor(X, requires_grad=True)
        given: Any = {"loader": loader, "data set": sets, "tensor": tensor}[kind]
    else:
        given = {
            "arrays": parts,
            "pairs": [(part, labels) for part in parts],
            "lists": X.tolist(),
            "feed": {"x": X},
            "generator": (part for part in parts),
            "rows": list(X),
        }[kind]
    np.testing.assert_array_equal(view(model).calibration(given, "X"), X)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "X is empty"),
        (iter([]), "X is empty: there are no batches"),
        ([np.ones((3, 8)), np.ones((3, 7))], r"X\['x'\] has batches that do not fit each other"),
        ([{"x": np.ones((3, 8))}, {"u": np.ones((3, 8))}], "X has batches that lack 'x'"),
    ],
)
def test_batches_that_do_not_fit(given: Any, words: str) -> None:
    model = build([("MatMul", "x W", "y")], {"W": W}, ["n", 8])
    with pytest.raises(ValueError, match=words):
        trim(model, given, epsilon=0.1)


# --- any length, any type -----------------------------------------------------------------------


def test_an_input_without_a_shape(rng: np.random.Generator) -> None:
    model = build([("MatMul", "x W", "y")], {"W": W}, ["n", 8])
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.ClearField("shape")
    X = data(rng)["x"]
    *_, left = view(model).signals(X, {})
    np.testing.assert_allclose(left.values, X.astype(float) @ W, rtol=1e-6)


TYPES = {
    "sequence": helper.make_sequence_type_proto(
        helper.make_tensor_type_proto(TensorProto.FLOAT, None)
    ),
    "optional": helper.make_optional_type_proto(
        helper.make_tensor_type_proto(TensorProto.FLOAT, [2])
    ),
    "map": helper.make_map_type_proto(
        TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    ),
    "text": helper.make_tensor_type_proto(TensorProto.STRING, ["n"]),
    "complex": helper.make_tensor_type_proto(TensorProto.COMPLEX64, ["n"]),
    "bfloat16": helper.make_tensor_type_proto(TensorProto.BFLOAT16, ["n"]),
}


@pytest.mark.parametrize("kind", TYPES)
def test_layers_are_told_whatever_the_inputs(rng: np.random.Generator, kind: str) -> None:
    model = two()
    model.graph.input.append(helper.make_value_info("other", TYPES[kind]))
    own = view(model)
    assert [layer.name for layer in own.prunable_layers()] == ["W", "U", "V"]
    assert own.outputs() == ["y"]
    with pytest.raises(ValueError, match="model must take a tensor of numbers, its input 'other'"):
        own.calibration({**data(rng), "other": np.ones(40)}, "X")


def test_bfloat16_is_refused_with_what_helps() -> None:
    model = build([("MatMul", "x W", "y")], {"W": W}, ["n", 8])
    model.graph.initializer[0].CopyFrom(
        helper.make_tensor("W", TensorProto.BFLOAT16, [8, 6], W.ravel())
    )
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.elem_type = TensorProto.BFLOAT16
    own = view(model)
    assert [(weight.name, weight.reason) for weight in own.untouched()] == [("W", "bfloat16")]
    with pytest.raises(ValueError, match=r"bfloat16.*give the model in float32 or float16"):
        trim(model, np.ones((4, 8)), epsilon=0.1)


def test_a_convolution_along_the_samples_is_told_of(rng: np.random.Generator) -> None:
    K = rng.standard_normal((4, 6, 1)).astype("f4")
    text = "a = MatMul(x, W) b = Relu(a) c = Transpose(b) d = Unsqueeze(c, zero) y = Conv(d, K)"
    model = parsed(text, W=W, K=K, zero=np.array([0]))
    with pytest.raises(ValueError, match=r"^model: its samples run along the positions"):
        trim(model, rng.standard_normal((20, 8)), epsilon=0.1)
