"""Units of ONNX models that stay, and why."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nettrim.models.model_view import as_view

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

from onnx import helper

from support.onnx_models import parsed
from support.onnx_unit_cases import DENSE, Case, images, rows
from support.onnx_units import assert_units_go, outputs, unread

STAYS = {
    "output": (
        rows("h = MatMul(x, W) y = Relu(h)", [], W=(8, 6)),
        {"W": "they are the model's output"},
    ),
    "softmax": (
        rows("h = MatMul(x, W) p = Softmax(h) y = MatMul(p, V)", [], **DENSE),
        {"W": "Softmax takes all of them together"},
    ),
    "normalised over units": (
        rows("h = MatMul(x, W) n = LayerNormalization(h, s) y = MatMul(n, V)", [], s=(6,), **DENSE),
        {"W": "LayerNormalization takes all of them together"},
    ),
    "mean over units": (
        rows(
            "h = MatMul(x, W) m = ReduceMean(h, one) s = Sub(h, m) y = MatMul(s, V)",
            [],
            one=[1],
            **DENSE,
        ),
        {"W": "ReduceMean takes all of them together"},
    ),
    "added to the input": (
        rows("h = MatMul(x, W) a = Add(h, x) y = MatMul(a, V)", [], W=(8, 8), V=(8, 4)),
        {"W": "it is combined with signals that stay"},
    ),
    "products summed": (
        rows(
            "h = MatMul(x, W) u = Unsqueeze(h, one) t = Transpose<perm=[0,2,1]>(u) "
            "m = MatMul(u, t) s = Squeeze(m, two) a = Mul(h, s) y = MatMul(a, V)",
            [],
            one=[1],
            two=[2],
            **DENSE,
        ),
        {"W": "m adds up products of them"},
    ),
    "unknown": (
        rows("h = MatMul(x, W) c = CumSum(h, one) y = MatMul(c, V)", [], one=[1], **DENSE),
        {"W": "what CumSum does with them is not known"},
    ),
    "custom": (
        rows(
            "h = MatMul(x, W) c = com.microsoft.QuickGelu(h) f = Cast<to=1>(c) "
            "r = Reshape(f, shape) y = MatMul(r, V)",
            [],
            shape=[-1, 6],
            **DENSE,
        ),
        {"W": "what QuickGelu does with them is not known"},
    ),
    "quantised": (
        rows(
            "h = MatMul(x, W) q = QuantizeLinear(h, s, z) d = DequantizeLinear(q, s, z) "
            "y = MatMul(d, V)",
            [],
            s=np.float32(0.1),
            z=np.uint8(9),
            **DENSE,
        ),
        {"W": "what QuantizeLinear does with them is not known"},
    ),
    "in a body": (
        rows(
            "h = MatMul(x, W) s = ReduceMax<keepdims=0>(x) c = Greater(s, zero) "
            "b = If(c) <then_branch = g () => (float[] o) { o = Relu(h) }, "
            "else_branch = f () => (float[] o) { o = Neg(h) }> y = MatMul(b, V)",
            [],
            zero=np.float32(0),
            **DENSE,
        ),
        {"W": "what If does with them is not known"},
    ),
    "a number that is multiplied with": (
        rows(
            "h = MatMul(x, W) s = Shape<start=1>(h) f = Cast<to=1>(s) a = Mul(h, f) "
            "y = MatMul(a, V)",
            [],
            **DENSE,
        ),
        {"W": "the graph needs their number"},
    ),
    "read in groups": (
        images(
            "h = Conv(x, K, b) g = Conv<group=3>(h, G) y = Conv(g, W)",
            [],
            K=(6, 3, 3, 3),
            b=(6,),
            G=(6, 2, 3, 3),
            W=(4, 6, 3, 3),
        ),
        {"K": "G reads them in groups", "G": "they are made in groups"},
    ),
    "transposed convolution": (
        images(
            "h = Conv(x, K, b) y = ConvTranspose(h, T)",
            [],
            K=(6, 3, 3, 3),
            b=(6,),
            T=(6, 5, 2, 2),
        ),
        {"K": "y reads them, which cannot be pruned", "y": "they are the model's output"},
    ),
    "one unit": (
        rows("h = MatMul(x, W) r = Relu(h) y = MatMul(r, V)", [], W=(8, 1), V=(1, 4)),
        {"W": "there is only one"},
    ),
}


@pytest.mark.parametrize(
    ("case", "reasons"), [pytest.param(*value, id=name) for name, value in STAYS.items()]
)
def test_units_stay(case: Case, reasons: dict[str, str], rng: np.random.Generator) -> None:
    units = assert_units_go(case.model(), case.X, rng)
    assert units.n_units == 0
    assert reasons.items() <= units.left_out.items()


def test_only_signals_at_fault_stay(rng: np.random.Generator) -> None:
    case = rows(
        "h = MatMul(x, W) r = Relu(h) g = MatMul(r, U) s = Shape<start=1>(g) f = Cast<to=1>(s) "
        "a = Mul(g, f) k = MatMul(a, B) t = Tanh(k) y = MatMul(t, V)",
        [5, 6],
        W=(8, 6),
        U=(6, 7),
        B=(7, 5),
        V=(5, 4),
    )
    units = assert_units_go(case.model(), case.X, rng)
    assert sorted(len(signal.units) for signal in units.signals) == case.widths
    assert units.left_out == {
        "U": "the graph needs their number",
        "V": "they are the model's output",
    }


def test_outputs_inside_stay(rng: np.random.Generator) -> None:
    case = rows(
        "h = MatMul(x, W) r = Relu(h) g = MatMul(r, U) y = MatMul(g, V)",
        [],
        W=(8, 6),
        U=(6, 5),
        V=(5, 4),
    )
    model = case.model()
    model.graph.output.append(helper.make_tensor_value_info("r", 1, ["n", 6]))
    units = assert_units_go(model, case.X, rng)
    assert [signal.name for signal in units.signals] == ["U"]


SHARED = {
    "scale of two signals": (
        (
            "h = MatMul(x, W) g = MatMul(x, U) a = Mul(h, c) b = Mul(g, c) k = Tanh(b) "
            "d = MatMul(a, V) e = MatMul(k, V2) y = Add(d, e)"
        ),
        {"W": (8, 6), "U": (8, 6), "c": (6,), "V": (6, 4), "V2": (6, 4)},
        [6, 6],
        {},
    ),
    "scale of a signal that stays": (
        (
            "h = MatMul(x, W) a = Mul(h, c) b = Mul(x, c) d = MatMul(a, V) e = MatMul(b, U) "
            "y = Add(d, e)"
        ),
        {"W": (8, 8), "c": (8,), "V": (8, 4), "U": (8, 4)},
        [8],
        {},
    ),
    "scale that is an output": (
        "h = MatMul(x, W) a = Mul(h, c) z = Identity(c) y = MatMul(a, V)",
        {"W": (8, 6), "c": (6,), "V": (6, 4)},
        [6],
        {},
    ),
    "map of a signal that stays": (
        (
            "h = MatMul(x, W) u = Unsqueeze(h, one) a = Mul(u, c) v = Unsqueeze(x, one) "
            "b = Mul(v, c) d = MatMul(a, V) e = MatMul(b, U) y = Add(d, e)"
        ),
        {"W": (8, 8), "c": (3, 8), "V": (8, 4), "U": (8, 4), "one": [1]},
        [],
        {"W": "c is read elsewhere too"},
    ),
    "map of two signals": (
        (
            "h = MatMul(x, W) u = Unsqueeze(h, one) a = Mul(u, c) g = MatMul(x, U) r = Relu(g) "
            "v = Unsqueeze(r, one) b = Mul(v, c) d = MatMul(a, V) e = MatMul(b, V2) y = Add(d, e)"
        ),
        {"W": (8, 6), "c": (3, 6), "V": (6, 4), "V2": (6, 4), "U": (8, 6), "one": [1]},
        [6],
        {},
    ),
    "weights that two layers write with": (
        (
            "u = Tanh(x) h = MatMul(x, W) g = MatMul(u, W) r = Relu(g) a = MatMul(h, V) "
            "b = MatMul(r, U) y = Add(a, b)"
        ),
        {"W": (8, 6), "V": (6, 4), "U": (6, 4)},
        [6],
        {},
    ),
    "weights that two layers read with": (
        "h = MatMul(x, W) r = Relu(h) a = MatMul(h, V) b = MatMul(r, V) y = Add(a, b)",
        {"W": (8, 6), "V": (6, 4)},
        [],
        {"W": "V reads them, which cannot be pruned"},
    ),
}


@pytest.mark.filterwarnings("ignore:.*read elsewhere too:UserWarning")
@pytest.mark.parametrize(
    ("text", "constants", "widths", "reasons"),
    [pytest.param(*value, id=name) for name, value in SHARED.items()],
)
def test_shared_constants_are_cut_once(
    text: str,
    constants: dict[str, Any],
    widths: list[int],
    reasons: dict[str, str],
    rng: np.random.Generator,
) -> None:
    case = rows(text, widths, **constants)
    model = case.model()
    if "z = " in text:
        model.graph.output.append(helper.make_tensor_value_info("z", 1, None))
        model = onnx.shape_inference.infer_shapes(model)
    units = assert_units_go(model, case.X, rng)
    assert [len(signal.units) for signal in units.signals] == widths
    assert reasons.items() <= units.left_out.items()


def test_models_without_layers_have_no_units(rng: np.random.Generator) -> None:
    view = as_view(parsed("y = Relu(x)"))
    units = view.find_units(rng.normal(size=(3, 8)))
    assert units is not None
    assert units.n_units == 0


def test_constants_read_in_a_body_stay(rng: np.random.Generator) -> None:
    case = rows(
        "h = MatMul(x, W) a = Mul(h, c) s = ReduceMax<keepdims=0>(x) p = Greater(s, zero) "
        "b = If(p) <then_branch = g () => (float[] o) { o = ReduceSum(c) }, "
        "else_branch = f () => (float[] o) { o = ReduceMax(c) }> d = MatMul(a, V) y = Add(d, b)",
        [],
        zero=np.float32(0),
        c=(6,),
        **DENSE,
    )
    model = parsed(case.text, case.inputs, **{t.name: t for t in case.model().graph.initializer})
    view = as_view(model)
    units = view.find_units(case.X)
    assert units is not None
    kept = np.arange(units.n_units) > 0
    whole = unread(view, units, kept)
    np.testing.assert_allclose(
        *(outputs(m, case.X)[0] for m in (view.keep_units(whole, units, kept), whole)), rtol=1e-5
    )
