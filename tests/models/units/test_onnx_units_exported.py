"""Units of ONNX models as exporters write them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from support.onnx_units import assert_units_go


@pytest.mark.parametrize(
    "dynamo",
    [
        pytest.param(False, id="script"),
        pytest.param(True, marks=pytest.mark.slow, id="dynamo"),
    ],
)
@pytest.mark.parametrize(
    ("model", "shape", "widths", "reasons"),
    [
        pytest.param("Residual", (3, 8, 8), [6, 8], {"they are the model's output"}, id="residual"),
        pytest.param("Mobile", (3, 8, 8), [4, 8, 12], {"they are the model's output"}, id="mobile"),
        pytest.param(
            "Encoder",
            (5, 24),
            [4, 30],
            {"it is combined with signals that stay"},
            id="encoder",
        ),
        pytest.param(
            "Grouped", (5, 24), [3, 20], {"it is combined with signals that stay"}, id="grouped"
        ),
    ],
)
def test_pytorch(
    model: str,
    shape: tuple[int, ...],
    widths: list[int],
    reasons: set[str],
    dynamo: bool,
    rng: np.random.Generator,
) -> None:
    torch = pytest.importorskip("torch")
    from support import onnx_exports

    torch.manual_seed(3)
    build: Callable[[], Any] = getattr(onnx_exports, model)
    exported = onnx_exports.export(onnx_exports.settle(build()), shape, dynamo)
    X = rng.normal(size=(4, *shape)).astype(np.float32)
    units = assert_units_go(exported, X, rng)
    assert sorted(len(signal.units) for signal in units.signals) == widths
    assert set(units.left_out.values()) == reasons


def test_scikit_learn(rng: np.random.Generator) -> None:
    skl2onnx = pytest.importorskip("skl2onnx")
    from sklearn.neural_network import MLPClassifier

    X = rng.normal(size=(40, 5)).astype(np.float32)
    labels = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)
    mlp = MLPClassifier((7, 6), max_iter=30, random_state=0)
    with pytest.warns(UserWarning, match="converge"):
        mlp.fit(X, labels)
    units = assert_units_go(skl2onnx.to_onnx(mlp, X[:1]), X, rng)
    assert [len(signal.units) for signal in units.signals] == [7, 6]
