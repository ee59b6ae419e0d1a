"""Calibration data of every kind, and data and modules that are refused by name."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest

from nettrim.models.model_view import as_view
from support.networks import trim

torch = pytest.importorskip("torch")
nn = torch.nn

from torch.utils.data import DataLoader, TensorDataset

from support.torch_modules import Step, assert_same_state, assert_true, encoder, outputs, perceptron


class Tokens(nn.Module):
    """A transformer over tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.encoder = nn.Embedding(11, 8), encoder()
        self.head = nn.Linear(8, 3)

    def forward(self, x: Any) -> Any:
        return self.head(self.encoder(self.embedding(x)).mean(1))


def test_calibration_data_of_every_kind(rng: np.random.Generator) -> None:
    X = rng.standard_normal((10, 8)).astype(np.float32)
    labels = torch.zeros(10)
    view = as_view(perceptron())
    kinds = [
        X,
        X.tolist(),
        torch.tensor(X),
        torch.tensor(X, requires_grad=True),
        DataLoader(torch.tensor(X), batch_size=4),
        DataLoader(TensorDataset(torch.tensor(X), labels), batch_size=4),
    ]
    for values in kinds:
        array = view.calibration(values, "X")
        assert array.dtype == np.float64
        np.testing.assert_allclose(array, X, rtol=1e-7)


def test_a_loader_is_as_good_as_an_array(rng: np.random.Generator) -> None:
    X, seen = rng.standard_normal((2, 40, 8)).astype(np.float32)
    model, options = perceptron(), {"epsilon": 0.2, "scheme": "parallel"}
    loaders = [DataLoader(TensorDataset(torch.tensor(v)), batch_size=16) for v in (X, seen)]
    result = trim(model, loaders[0], held_out=loaders[1], **options)
    expected = trim(model, X, held_out=seen, **options)
    assert result.held_out_discrepancy == expected.held_out_discrepancy
    assert_same_state(result.model, expected.model)


def test_a_model_of_tokens_is_trimmed(rng: np.random.Generator) -> None:
    model, ids = Tokens(), rng.integers(0, 11, (40, 6))
    result = trim(model, ids, held_out=rng.integers(0, 11, (5, 6)), epsilon=0.1)
    assert_true(result, ids)
    assert result.converged
    assert result.layers[-1].name == "head"
    assert torch.equal(result.model.embedding.weight, model.embedding.weight)


def test_tokens_stay_whole(rng: np.random.Generator) -> None:
    ids = torch.tensor(rng.integers(0, 11, (9, 6)), dtype=torch.int32)
    view = as_view(Tokens().eval())
    X = view.calibration(ids, "X")
    assert X.dtype == np.int64
    signals = list(view.signals(X, {}))
    assert [signal.values.shape for signal in signals] == [
        *[*[(9, 6, 8)] * 5, (9, 6, 12)] * 2,  # four projections of attention, and two layers
        *[(9, 8), (9, 3)],
    ]
    np.testing.assert_allclose(signals[-1].values, outputs(view.model, X), atol=1e-12)


@pytest.mark.parametrize(
    ("X", "error", "words"),
    [
        (np.zeros((5, 7)), ValueError, ["X does not pass through the model", "5x7"]),
        (np.array([["a", "b"]]), TypeError, ["X must hold real numbers"]),
        (np.full((5, 8), np.nan), ValueError, ["X holds NaN"]),
        (np.zeros((0, 8)), ValueError, ["X is empty"]),
        (3.0, ValueError, ["X must hold samples"]),
        (torch.zeros(5, 8, dtype=torch.complex64), TypeError, ["X must hold real numbers"]),
        (DataLoader([{"x": torch.zeros(8)}]), ValueError, ["X has none", "(input)", "it has x"]),
        (DataLoader(torch.zeros(0, 8)), ValueError, ["X is empty"]),
        (
            DataLoader([torch.zeros(8), torch.zeros(7)]),  # type: ignore[arg-type]
            ValueError,
            ["X has batches that do not fit each other"],
        ),
    ],
)
def test_bad_data_are_named(X: Any, error: type[Exception], words: list[str]) -> None:
    with pytest.raises(error) as caught:
        as_view(perceptron()).calibration(X, "X")
    message = str(caught.value)
    assert message.startswith("X")
    assert all(word.replace("5x7", "") in message for word in words), message


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (nn.Linear(8, 2), "model is a single layer"),
        (nn.Sequential(nn.LazyLinear(3)), "model: the weight of layer '0' does not exist yet"),
        (
            nn.Sequential(nn.Linear(8, 2)).to(torch.float8_e4m3fn),
            "model: the weight of layer '0' must be float16, bfloat16",
        ),
        (nn.Sequential(nn.ReLU()), "model has no prunable layer"),
        (nn.Sequential(nn.Linear(8, 2), Step(torch.mean)), "model must return one result for each"),
        (
            nn.Sequential(nn.Linear(8, 2), Step(lambda x: "text")),
            "model must return one result for each sample",
        ),
    ],
)
def test_bad_models_are_named(rng: np.random.Generator, model: Any, words: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(words)}"):
        trim(model, rng.standard_normal((9, 8)), epsilon=0.1)


def test_weights_that_are_no_numbers(rng: np.random.Generator) -> None:
    model = perceptron()
    model[3].weight.data[0, 0] = math.nan
    with pytest.raises(ValueError, match=r"^model: the weight of layer '3' holds NaN"):
        as_view(model)
