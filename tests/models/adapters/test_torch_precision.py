"""Weights of half precision: solved in float64, rounded as they are stored, measured as rounded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nettrim
from nettrim.models.model_view import as_view
from support.networks import Array, trim

torch = pytest.importorskip("torch")
nn = torch.nn

from support.libraries import import_transformers
from support.torch_modules import assert_same_state, assert_true, perceptron

HALF = [torch.float16, torch.bfloat16]
GOALS = [{"epsilon": 0.2}, {"sparsity": 0.5}]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(3)


@pytest.fixture
def X(rng: np.random.Generator) -> Array:
    return rng.standard_normal((120, 8))


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("goal", GOALS, ids=str)
@pytest.mark.parametrize("scheme", ["cascade", "parallel"])
def test_half_precision_in_and_out(dtype: Any, goal: Any, scheme: str, X: Array) -> None:
    model = perceptron().to(dtype)
    result = trim(model, X, **goal, scheme=scheme)
    assert {p.dtype for p in result.model.parameters()} == {dtype}
    assert_true(result, X)  # the module that is returned, with its rounded weights, in float64
    assert 0 < result.sparsity < 1
    assert not result.outputs[0].runtime_differs
    assert 0 < result.outputs[0].runtime_error < 0.1
    fresh = perceptron().to(dtype)
    fresh.load_state_dict(result.model.state_dict())
    assert_same_state(fresh, result.model)


def test_what_is_kept_of_a_layer_is_what_the_model_holds(rng: np.random.Generator) -> None:
    view = as_view(perceptron().bfloat16())
    layer = view.prunable_layers()[0]
    assert layer.affine.precision == ("bfloat16", 2.0**-7)
    answer = layer.affine.replaced(rng.standard_normal(layer.affine.stacked.shape))
    assert type(answer) is type(layer.affine)
    module = view.with_weights({0: answer})[0]
    np.testing.assert_array_equal(module.weight.detach().double().T, answer.weights)
    np.testing.assert_array_equal(module.bias.detach().double(), answer.bias)


def test_rounding_is_to_the_nearest_even() -> None:
    layer = as_view(perceptron().bfloat16()).prunable_layers()[0]
    values = np.array([1 + 2.0**-8, 1 + 3 * 2.0**-8, 1 + 2.0**-8 + 2.0**-20, -1e-42])
    rounded = layer.affine.rounded(values, layer.affine.weights)
    expected = torch.tensor(values).bfloat16().double()
    np.testing.assert_array_equal(rounded, expected)
    np.testing.assert_array_equal(rounded[:3], [1.0, 1 + 2.0**-6, 1 + 2.0**-7])


@pytest.mark.parametrize("goal", GOALS, ids=str)
def test_a_run_is_resumed_to_the_same_bits(goal: Any, X: Array, tmp_path: Path) -> None:
    model = perceptron().bfloat16()
    expected = trim(model, X, **goal)
    trim(model, X, **goal, checkpoint=tmp_path)
    max(tmp_path.glob("*.npz")).unlink()
    resumed = trim(model, X, **goal, checkpoint=tmp_path)
    assert_same_state(resumed.model, expected.model)
    assert resumed.discrepancy == expected.discrepancy
    with pytest.raises(ValueError, match="weights of the model"):
        trim(model.float(), X, **goal, checkpoint=tmp_path)


def test_a_normalisation_is_folded_in(X: Array) -> None:
    model = nn.Sequential(nn.Linear(8, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2))
    with torch.no_grad():
        model[1].running_var.uniform_(0.5, 2.0)
        model[1].running_mean.normal_()
    model.bfloat16()
    layer = as_view(model).prunable_layers()[0]
    assert layer.activation == "relu"
    assert layer.affine.precision.name == "bfloat16"
    assert_true(trim(model, X, epsilon=0.2), X)


def test_convolutions(rng: np.random.Generator) -> None:
    model = nn.Sequential(
        *(nn.Conv1d(2, 4, 3, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6, 3))
    )
    X = rng.standard_normal((90, 2, 8))
    result = trim(model.bfloat16(), X, epsilon=0.2)
    assert_true(result, X)
    assert result.model[0].weight.dtype is torch.bfloat16


def test_files_and_pages_hold_bfloat16(X: Array, tmp_path: Path) -> None:
    result = trim(perceptron().bfloat16(), X, epsilon=0.2)
    result.report(tmp_path / "page.html")
    result.export(tmp_path / "files")
    for name in ("sparse.npz", "bitmask.npz"):
        again = nettrim.results.export.load_weights(tmp_path / "files" / name, result.original)
        assert_same_state(again, result.model)
    stored = torch.load(tmp_path / "files" / "model.pt", weights_only=False)
    stored = stored if isinstance(stored, dict) else stored.state_dict()
    assert all(torch.equal(stored[key], value) for key, value in result.model.state_dict().items())


def test_a_transformer_in_bfloat16() -> None:
    transformers = import_transformers()
    config = transformers.LlamaConfig(
        vocab_size=40,
        hidden_size=8,
        intermediate_size=12,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=16,
    )
    model = transformers.LlamaForCausalLM(config).bfloat16()
    ids = np.random.default_rng(0).integers(0, 40, (40, 6))
    result = trim(model, {"input_ids": ids, "attention_mask": np.ones_like(ids)}, sparsity=0.5)
    assert {p.dtype for p in result.model.parameters()} == {torch.bfloat16}
    again = transformers.LlamaForCausalLM(config).bfloat16()
    again.load_state_dict(result.model.state_dict())
    assert_same_state(again, result.model)
