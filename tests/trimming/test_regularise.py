"""Layers with few active rows: weights drawn to the original ones carry over to other samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nettrim
from nettrim import Dense, Error, Network, solve_layer
from nettrim.budget.data import BudgetData
from nettrim.trimming.methods.regularising import choose_regularisation
from support.networks import Array, assert_bounded, random_network, trim


def shy_layer(seed: int = 0, n_features: int = 60, n_outputs: int = 40) -> Network:
    """A layer whose outputs are active on about one sample in ten, and a linear one behind it."""
    rng = np.random.default_rng(seed)
    W = rng.standard_normal((n_features, n_outputs)) / np.sqrt(n_features)
    V = rng.standard_normal((n_outputs, 5)) / np.sqrt(n_outputs)
    return Network(
        [
            Dense(W, np.full(n_outputs, -1.3), activation="relu"),
            Dense(V, np.zeros(5), activation="linear"),
        ]
    )


@pytest.fixture
def network() -> Network:
    return shy_layer()


@pytest.fixture
def X(rng: np.random.Generator) -> Array:
    return rng.standard_normal((300, 60))


@pytest.fixture
def unseen(rng: np.random.Generator) -> Array:
    return rng.standard_normal((1000, 60))


def first_layer(network: Network, X: Array, unseen: Array, **options: Any) -> tuple[int, float]:
    """Weights left in the first layer, and its error on samples that were not used."""
    result = trim(network, X, goal=Error(**options), layers=[0], scheme="parallel")
    wanted, given = (n.layers[0].forward(unseen) for n in (network, result.model))
    error = float(np.linalg.norm(given - wanted) / np.linalg.norm(wanted))
    return result.layers[0].nonzeros_after, error


@pytest.mark.filterwarnings("ignore::nettrim.CalibrationWarning")
def test_fewer_errors_on_other_samples_at_as_many_weights(
    network: Network, X: Array, unseen: Array
) -> None:
    kept, error = first_layer(network, X, unseen, epsilon=0.05, regularise="auto")
    plain = [first_layer(network, X, unseen, epsilon=e) for e in (0.001, 0.01, 0.05)]
    assert all(weights <= kept for weights, _ in plain)  # few rows allow no more
    assert error < 0.6 * min(other for _, other in plain)


@pytest.mark.filterwarnings("ignore::nettrim.CalibrationWarning")
@pytest.mark.parametrize("scheme", ["parallel", "cascade"])
@pytest.mark.parametrize("regularise", ["auto", (0.01, 0.1)])
def test_what_is_proved_holds(network: Network, X: Array, scheme: str, regularise: Any) -> None:
    result = trim(network, X, goal=Error(0.05, regularise=regularise), scheme=scheme)
    assert result.converged
    assert_bounded(result, X)


def test_layers_with_many_active_rows_stay_as_they_are(rng: np.random.Generator) -> None:
    network, X = random_network(rng, 12, 10, 8, 6), rng.standard_normal((200, 12))
    plain = trim(network, X, goal=Error(0.05))
    auto = trim(network, X, goal=Error(0.05, regularise="auto"))
    for one, other in zip(plain.model.prunable_layers(), auto.model.prunable_layers(), strict=True):
        assert np.array_equal(one.affine.stacked, other.affine.stacked)


@pytest.mark.filterwarnings("ignore::nettrim.CalibrationWarning")
def test_a_pair_is_what_solve_layer_takes(network: Network, X: Array) -> None:
    result = trim(
        network, X, goal=Error(0.05, regularise=(0.02, 0.3)), layers=[0], scheme="parallel"
    )
    rows, weights = np.column_stack([X, np.ones(len(X))]), network.layers[0].affine.stacked
    Y = np.maximum(rows @ weights, 0)
    alone = solve_layer(
        rows,
        Y,
        epsilon=0.05 * float(np.linalg.norm(Y)),
        tol=1e-4,
        ridge=0.02,
        pull=0.3,
        original=weights,
    )
    np.testing.assert_allclose(result.model.layers[0].affine.stacked, alone.weights, atol=1e-9)


@pytest.mark.filterwarnings("ignore::nettrim.CalibrationWarning")
def test_a_checkpoint_knows_how_weights_were_drawn(
    network: Network, X: Array, tmp_path: Path
) -> None:
    goal = Error(0.05, regularise=(0.02, 0.3))
    first = trim(network, X, goal=goal, checkpoint=tmp_path)
    again = trim(network, X, goal=goal, checkpoint=tmp_path)
    drawn, same = (r.model.layers[0].affine.stacked for r in (first, again))
    assert np.array_equal(drawn, same)
    with pytest.raises(ValueError, match="a different regularise"):
        trim(network, X, goal=Error(0.05), checkpoint=tmp_path)


def test_no_choice_is_made_where_nothing_is_gained() -> None:
    rng = np.random.default_rng(3)
    X = rng.standard_normal((40, 30))
    W = np.zeros((30, 8))
    W[:2] = rng.standard_normal((2, 8))  # the sparsest weights are the right ones
    data = BudgetData.of(X, np.maximum(X @ W, 0), W, "relu", None, None, None, None)
    assert choose_regularisation(data, 0.01, 1) is None


@pytest.mark.parametrize("value", ["always", (0.1,), (0.1, -1.0), (0.1, "a"), 0.1, (np.nan, 0.1)])
def test_what_makes_no_sense_is_refused(value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="regularise"):
        Error(0.05, regularise=value)


def test_an_engine_that_cannot_is_refused() -> None:
    with pytest.raises(ValueError, match="solver must be 'auto' or 'newton'"):
        Error(0.05, regularise="auto", solver="admm")
    assert nettrim.Error(0.05, regularise=(1, 0)).regularise == (1.0, 0.0)
