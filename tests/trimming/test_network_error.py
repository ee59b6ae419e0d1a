"""The error of the network as a target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nettrim
from nettrim import Dense, Error, Network
from nettrim.trimming import network_error
from support.networks import random_network, trim

NEAR = 0.01


@pytest.fixture
def X(rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((150, 12))


@pytest.mark.parametrize("wanted", [0.02, 0.3])
@pytest.mark.parametrize("scheme", ["cascade", "parallel"])
def test_the_network_errs_by_what_was_named(rng, X, scheme: str, wanted: float) -> None:
    network = random_network(rng, 12, 14, 10, 6)
    result = trim(network, X, goal=Error(network=wanted), scheme=scheme)
    before, after = network.predict(X), result.model.predict(X)
    error = np.linalg.norm(after - before) / np.linalg.norm(before)
    assert error == pytest.approx(wanted, rel=NEAR)
    assert result.discrepancy == pytest.approx(error)
    assert result.discrepancy <= result.bound
    assert result.converged


def test_a_deep_cascade_errs_by_no_more(rng: np.random.Generator) -> None:
    """Where every layer amplifies errors, one epsilon for all of them would lose the network."""
    shapes = [(16, 16)] * 12 + [(16, 4)]
    weights = [1.5 * rng.standard_normal(shape) / np.sqrt(shape[0]) for shape in shapes]
    network = Network([*map(Dense, weights[:-1]), Dense(weights[-1], activation="linear")])
    data = rng.standard_normal((400, 16))
    result = trim(network, data, network=0.05)
    assert result.discrepancy == pytest.approx(0.05, rel=NEAR)
    assert result.nonzeros_after < result.nonzeros_before


def test_where_the_curve_has_a_step_the_last_layer_is_given_room(rng, X, monkeypatch) -> None:
    monkeypatch.setattr(network_error, "NARROW", 100.0)  # no epsilon is found
    network = random_network(rng, 12, 14, 10, 6)
    result = trim(network, X, goal=Error(network=0.1))
    assert result.discrepancy == pytest.approx(0.1, rel=NEAR)


def test_a_run_that_is_taken_up_again_gives_the_same_bits(rng, X, tmp_path: Path) -> None:
    network = random_network(rng, 12, 14, 10, 6)
    options: dict[str, Any] = {"network": 0.1, "checkpoint": tmp_path}
    first, again = (trim(network, X, **options) for _ in range(2))
    for a, b in zip(first.model.layers, again.model.layers, strict=True):
        np.testing.assert_array_equal(a.weights, b.weights)
    with pytest.raises(ValueError, match="weights of the model"):
        trim(random_network(rng, 12, 14, 10, 6), X, **options)


@pytest.mark.filterwarnings("ignore::nettrim.LargeErrorWarning")
def test_an_error_that_is_not_found_is_said(rng, X, monkeypatch) -> None:
    monkeypatch.setattr(network_error, "MOST", 1)
    with pytest.warns(nettrim.ConvergenceWarning, match="network: no epsilon was found"):
        trim(random_network(rng, 12, 14, 10, 6), X, goal=Error(network=0.4), scheme="parallel")


@pytest.mark.parametrize("options", [{}, {"epsilon": 0.1, "network": 0.1}, {"network": 1.5}])
def test_one_error_is_named(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="network"):
        Error(**options)


@pytest.mark.filterwarnings("ignore::nettrim.CalibrationWarning")
@pytest.mark.parametrize("scheme", ["cascade", "parallel"])
def test_a_network_that_gives_nothing_is_not_moved_by_any_epsilon(X, scheme: str) -> None:
    network = Network([Dense(np.ones((12, 4))), Dense(np.zeros((4, 3)), activation="linear")])
    with pytest.warns(nettrim.ConvergenceWarning, match=r"^network: no epsilon was found"):
        result = trim(network, X, goal=Error(network=0.1), scheme=scheme)
    assert result.discrepancy == 0
    assert result.nonzeros_after == 0


def test_an_error_of_zero_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"^network must be greater than 0"):
        Error(network=0)
