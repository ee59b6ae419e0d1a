"""Units of ONNX graphs of other kinds: older operators, precisions, shapes and inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nettrim.models.model_view import as_view

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

from onnx import helper

from support.onnx_models import build, parsed
from support.onnx_unit_cases import HEAD, Case, rows
from support.onnx_units import assert_units_go, unread

SHAPES_OF_TWO = {
    "constant": "a = Reshape(h, shape) r = Relu(a) g = MatMul(r, U) b = Reshape(g, shape)",
    "computed": (
        "n = Shape<start=0, end=1>(x) s = Concat<axis=0>(n, six) a = Reshape(h, s) r = Relu(a) "
        "g = MatMul(r, U) b = Reshape(g, s)"
    ),
}


@pytest.mark.parametrize("shapes", SHAPES_OF_TWO.values(), ids=[*SHAPES_OF_TWO])
def test_shapes_that_two_nodes_read(shapes: str, rng: np.random.Generator) -> None:
    case = rows(
        f"h = MatMul(x, W) {shapes} k = Tanh(b) y = MatMul(k, V)",
        [6, 6],
        W=(8, 6),
        U=(6, 6),
        V=(6, 4),
        shape=[-1, 6],
        six=[6],
    )
    units = assert_units_go(case.model(), case.X, rng)
    assert [len(signal.units) for signal in units.signals] == case.widths


OLDER = {
    "split": (
        [
            ("Conv", "x K", "h"),
            ("Split", "h", "a b", {"axis": 1, "split": [4, 2]}),
            ("Relu", "a", "r"),
            ("Conv", "r A", "c"),
            ("Conv", "b B", "d"),
            ("Add", "c d", "y"),
        ],
        {"K": (6, 3, 3, 3), "A": (5, 4, 3, 3), "B": (5, 2, 3, 3)},
        11,
    ),
    "equal parts": (
        [
            ("Conv", "x K", "h"),
            ("Split", "h", "a b", {"axis": 1}),
            ("Relu", "a", "r"),
            ("Conv", "r A", "c"),
            ("Conv", "b B", "d"),
            ("Add", "c d", "y"),
        ],
        {"K": (6, 3, 3, 3), "A": (5, 3, 3, 3), "B": (5, 3, 3, 3)},
        17,
    ),
    "slice": (
        [
            ("Conv", "x K", "h"),
            ("Slice", "h", "a", {"axes": [1, 2], "starts": [2, 1], "ends": [5, 4]}),
            ("Conv", "a A", "y"),
        ],
        {"K": (6, 3, 3, 3), "A": (5, 3, 3, 3)},
        9,
    ),
    "squeezed": (
        [
            ("Conv", "x K", "h"),
            ("ReduceMean", "h", "m", {"axes": [2, -1]}),
            ("Squeeze", "m", "s", {"axes": [2, 3]}),
            ("Unsqueeze", "s", "u", {"axes": [1]}),
            ("ReduceMean", "u", "t", {"axes": [1], "keepdims": 0}),
            ("MatMul", "t V", "y"),
        ],
        {"K": (6, 3, 3, 3), "V": (6, 4)},
        11,
    ),
    "softmax of the last": (
        [
            ("Conv", "x K", "h"),
            ("Softmax", "h", "p", {"axis": 2}),
            ("Conv", "p A", "y"),
        ],
        {"K": (6, 3, 3, 3), "A": (5, 6, 3, 3)},
        11,
    ),
    "upsampled": (
        [("Conv", "x K", "h"), ("Upsample", "h scales", "u"), ("Conv", "u A", "y")],
        {"K": (6, 3, 3, 3), "A": (5, 6, 3, 3), "scales": [1, 1, 2, 2]},
        9,
    ),
}


@pytest.mark.parametrize(
    ("nodes", "shapes", "opset"), [pytest.param(*value, id=name) for name, value in OLDER.items()]
)
def test_older_operators(
    nodes: list[Any], shapes: dict[str, Any], opset: int, rng: np.random.Generator
) -> None:
    arrays = {
        name: np.float32(given) if isinstance(given, list) else np.float32(rng.normal(size=given))
        for name, given in shapes.items()
    }
    options = {"opset_imports": [helper.make_opsetid("", opset)]}
    model = build(nodes, arrays, ["n", 3, 8, 8], ["y"], **options)
    units = assert_units_go(model, rng.normal(size=(3, 3, 8, 8)).astype(np.float32), rng)
    assert sum(len(signal.units) for signal in units.signals) in (3, 6)


@pytest.mark.parametrize("dtype", [np.float64, np.float16])
def test_other_precisions(dtype: type, rng: np.random.Generator) -> None:
    nodes = [("MatMul", "x W", "h"), ("Relu", "h", "r"), ("MatMul", "r V", "y")]
    arrays = {
        "W": rng.normal(size=(8, 6)).astype(dtype),
        "V": rng.normal(size=(6, 4)).astype(dtype),
    }
    model = build(nodes, arrays, ["n", 8], ["y"], dtype)
    X = rng.normal(size=(3, 8)).astype(dtype)
    units = assert_units_go(model, X, rng, {np.float64: 1e-14, np.float16: 1e-2}[dtype])
    assert units.n_units == 6


@pytest.mark.parametrize("batch", [1, 4])
def test_heads_beside_samples(batch: int, rng: np.random.Generator) -> None:
    case = Case(
        "q = MatMul(x, Q) k = MatMul(x, K) v = MatMul(x, V) qm = Reshape(q, merged) "
        "km = Reshape(k, merged) vm = Reshape(v, merged) qt = Transpose<perm=[1,0,2]>(qm) "
        "kt = Transpose<perm=[1,2,0]>(km) vt = Transpose<perm=[1,0,2]>(vm) s = MatMul(qt, kt) "
        "p = Softmax(s) a = MatMul(p, vt) b = Reshape(a, apart) t = Transpose<perm=[2,0,1,3]>(b) "
        "j = Reshape(t, together) y = MatMul(j, O)",
        f"float[5,{batch},8] x",
        [3],
        {
            **HEAD,
            "merged": [5, 3 * batch, 4],
            "apart": [batch, 3, 5, 4],
            "together": [5, batch, 12],
        },
    )
    X = rng.normal(size=(5, batch, 8)).astype(np.float32)
    units = assert_units_go(case.model(), X, rng)
    assert [len(signal.units) for signal in units.signals] == case.widths


def test_units_merged_with_all_that_lies_around(rng: np.random.Generator) -> None:
    case = Case(
        "h = MatMul(x, W) u = Unsqueeze(h, last) e = Expand(u, twice) f = Reshape(e, flat) "
        "b = Reshape(f, back) y = MatMul(b, V)",
        "float[4,5,8] x",
        [6],
        {
            "W": (8, 6),
            "V": (12, 3),
            "last": [3],
            "twice": [1, 1, 1, 2],
            "flat": [240],
            "back": [4, 5, 12],
        },
    )
    units = assert_units_go(case.model(), rng.normal(size=(4, 5, 8)).astype(np.float32), rng)
    assert [len(signal.units) for signal in units.signals] == case.widths


def test_models_of_several_inputs(rng: np.random.Generator) -> None:
    arrays = {"W": (8, 6), "U": (4, 6), "V": (6, 3)}
    model = parsed(
        "h = MatMul(x, W) g = MatMul(z, U) a = Add(h, g) r = Relu(a) y = MatMul(r, V)",
        "float[n,8] x, float[n,4] z",
        **{name: rng.normal(size=shape).astype(np.float32) for name, shape in arrays.items()},
    )
    feed = {
        name: rng.normal(size=(3, size)).astype(np.float32) for name, size in (("x", 8), ("z", 4))
    }
    view = as_view(model)
    units = view.find_units(view.calibration(feed, "X"))
    assert units is not None
    kept = np.arange(6) != 4
    whole = unread(view, units, kept)
    smaller = view.keep_units(whole, units, kept)
    assert [tuple(t.dims) for t in smaller.graph.initializer] == [(8, 5), (4, 5), (5, 3)]
    one, other = (
        ort.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"]).run(
            None, feed
        )[0]
        for m in (smaller, whole)
    )
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-6 * np.abs(other).max())
