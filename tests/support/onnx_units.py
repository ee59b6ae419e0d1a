"""Units of ONNX models go, and what is left computes what it ought to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nettrim.models.model_view import ModelView, as_view
from nettrim.models.units.unit_map import UnitMap

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

from nettrim.models.adapters.onnx.graph import FLOATS, constants


def assert_units_go(
    model: onnx.ModelProto, X: np.ndarray, rng: np.random.Generator, tolerance: float = 1e-6
) -> UnitMap:
    """Random units go; the smaller model is the whole one whose layers do not read them."""
    view = as_view(model)
    units = view.find_units(view.calibration(X, "X"))
    assert units is not None
    for _ in range(2):
        kept = draw_kept(units, rng)
        whole = unread(view, units, kept)
        smaller = view.keep_units(whole, units, kept)
        onnx.checker.check_model(smaller, full_check=True)
        assert_same_outputs(smaller, whole, X, tolerance)
        left = {tensor.name: tensor.count(kept) for tensor in units.tensors}
        before, after = sizes(model), sizes(smaller)
        assert {name: left.get(name, size) for name, size in before.items()} == {
            name: after.get(name) for name in before
        }
        assert (after != before) == (not kept.all())
    return units


def draw_kept(units: UnitMap, rng: np.random.Generator) -> np.ndarray:
    """Random units, at least one of each signal and one of each layer's inputs and outputs."""
    kept = rng.random(units.n_units) < 0.5
    needed = [signal.units for signal in units.signals]
    needed += [u for layer in units.layers for u in (layer.features, layer.outputs)]
    needed += [count.units for count in units.counts]
    for some in needed:
        if not np.append(kept, True)[some].any():
            kept[rng.choice(some)] = True
    return kept


def unread(view: ModelView, units: UnitMap, kept: np.ndarray) -> Any:
    """The model without the weights that meet units that are not kept."""
    layers = {layer.name: (k, layer.affine) for k, layer in enumerate(view.prunable_layers())}
    weights = {}
    for name, features, _ in units.layers:
        position, affine = layers[name]
        is_read = np.append(kept, True)[features][:, None]
        weights[position] = affine._replace(weights=np.where(is_read, affine.weights, 0))
    return view.with_weights(weights)


def assert_same_outputs(
    one: onnx.ModelProto, other: onnx.ModelProto, X: np.ndarray, tolerance: float
) -> None:
    for a, b in zip(outputs(one, X), outputs(other, X), strict=True):
        if isinstance(b, np.ndarray) and b.dtype.kind == "f":
            np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max())


def outputs(model: onnx.ModelProto, X: np.ndarray) -> list[Any]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(None, {session.get_inputs()[0].name: X}))


def sizes(model: onnx.ModelProto) -> dict[str, int]:
    """Entries of all constants of floats that are stored with the model."""
    return {
        name: int(np.prod(tuple(tensor.dims)))
        for name, tensor in constants(model.graph).items()
        if tensor.data_type in FLOATS
    }
