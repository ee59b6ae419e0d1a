"""Layers solved in rounds: fewer weights within the same errors, which are proved as without."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nettrim
from nettrim import Error, Network, solve_layer
from nettrim.trimming.methods.to_error import ToError
from support.networks import Array, assert_bounded, random_network, trim


@pytest.fixture
def network() -> Network:
    return random_network(np.random.default_rng(0), 20, 16, 12, 5)


@pytest.fixture
def X(rng: np.random.Generator) -> Array:
    return rng.standard_normal((300, 20))


@pytest.mark.parametrize("scheme", ["cascade", "parallel"])
@pytest.mark.parametrize("regularise", [None, (0.001, 0.1)])
def test_fewer_weights_are_left_within_the_same_errors(
    network: Network, X: Array, scheme: str, regularise: Any
) -> None:
    plain = trim(network, X, goal=Error(0.1, regularise=regularise), scheme=scheme)
    result = trim(network, X, goal=Error(0.1, regularise=regularise, reweighted=1), scheme=scheme)
    assert result.converged
    assert result.nonzeros_after < plain.nonzeros_after
    assert_bounded(result, X)
    for layer in result.layers:
        assert layer.residual <= layer.epsilon * (1 + 1e-4)


def test_a_layer_tells_how_far_it_is_from_the_least_norm(network: Network, X: Array) -> None:
    plain = trim(network, X, goal=Error(0.1), layers=[0], scheme="parallel").layers[0]
    layer = trim(network, X, goal=Error(0.1, reweighted=2), layers=[0], scheme="parallel").layers[0]
    assert plain.l1_gap == plain.gap
    least = plain.l1_after * (1 - plain.gap)
    assert layer.l1_gap == pytest.approx(1 - least / layer.l1_after, abs=1e-6)
    assert layer.l1_gap > layer.gap


def test_rounds_are_those_of_solve_layer(network: Network, X: Array) -> None:
    result = trim(network, X, goal=Error(0.1, reweighted=2), layers=[0], scheme="parallel")
    rows = np.column_stack([X, np.ones(len(X))])
    Y = np.maximum(rows @ network.layers[0].affine.stacked, 0)
    epsilon = 0.1 * float(np.linalg.norm(Y))
    alone = solve_layer(rows, Y, epsilon=epsilon, tol=1e-4, reweighted=2)
    np.testing.assert_allclose(result.model.layers[0].affine.stacked, alone.weights, atol=1e-9)


def test_workers_solve_layers_in_rounds(network: Network, X: Array) -> None:
    goal = Error(0.1, reweighted=1)
    here = trim(network, X, goal=goal, scheme="parallel")
    with ThreadPoolExecutor(2) as executor:
        there = trim(network, X, goal=goal, scheme="parallel", executor=executor)
        blocks = trim(network, X, goal=goal, executor=executor)
    assert [la.nonzeros_after for la in there.layers] == [la.nonzeros_after for la in here.layers]
    assert [la.l1_gap for la in there.layers] == pytest.approx([la.l1_gap for la in here.layers])
    assert blocks.converged
    assert_bounded(blocks, X)


def test_the_error_of_the_network_is_met(network: Network, X: Array) -> None:
    plain = trim(network, X, goal=Error(network=0.1))
    result = trim(network, X, goal=Error(network=0.1, reweighted=1))
    assert result.discrepancy == pytest.approx(0.1, rel=0.011)
    assert result.nonzeros_after < plain.nonzeros_after


def test_a_checkpoint_knows_the_rounds(network: Network, X: Array, tmp_path: Path) -> None:
    goal = Error(0.1, reweighted=1)
    first = trim(network, X, goal=goal, checkpoint=tmp_path)
    again = trim(network, X, goal=goal, checkpoint=tmp_path)
    for one, other in zip(first.layers, again.layers, strict=True):
        assert (one.gap, one.l1_gap, one.nonzeros_after) == (
            other.gap,
            other.l1_gap,
            other.nonzeros_after,
        )
    with pytest.raises(ValueError, match="a different reweighted"):
        trim(network, X, goal=Error(0.1), checkpoint=tmp_path)


def test_models_of_a_path_begin_at_each_others_first_rounds(
    network: Network, X: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one's first round is at plain costs again."""
    seen: list[nettrim.LayerSolution | None] = []
    start = ToError._start

    def spy(self: ToError, position: int, program: Any) -> Any:
        seen.append(start(self, position, program))
        return seen[-1]

    monkeypatch.setattr(ToError, "_start", spy)
    trim(network, X, goal=Error(network=0.1, reweighted=1))
    begun = [answer for answer in seen if answer is not None]
    assert begun
    assert all(answer.costs is None for answer in begun)


def test_the_page_tells_of_the_least_norm(network: Network, X: Array, tmp_path: Path) -> None:
    for name, goal in (("plain", Error(0.1)), ("rounds", Error(0.1, reweighted=1))):
        trim(network, X, goal=goal).report(tmp_path / f"{name}.html")
    plain, rounds = ((tmp_path / f"{name}.html").read_text() for name in ("plain", "rounds"))
    assert "above the least" in rounds
    assert "above the least" not in plain


@pytest.mark.parametrize("value", [-1, 0.5, True, "once"])
def test_what_makes_no_sense_is_refused(value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="reweighted"):
        Error(0.05, reweighted=value)


def test_a_sparsity_has_no_rounds(network: Network, X: Array) -> None:
    with pytest.raises(ValueError, match="reweighted"):
        trim(network, X, sparsity=0.5, reweighted=1)
