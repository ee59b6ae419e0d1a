"""Whole networks at a given sparsity: exact to one weight, shared among layers; bounds hold."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

import nettrim
from nettrim.budget.data import BudgetData
from nettrim.budget.optimal_brain_surgeon import eliminate
from nettrim.budget.wide import WIDE_REGULARISATION, choose_first, surgery_budget
from nettrim.trimming.methods.removal_curves import split_removals
from support.networks import random_network, trim

# Random networks give up much at any sparsity, and small ones stand on few samples.
pytestmark = [
    pytest.mark.filterwarnings("ignore::nettrim.LargeErrorWarning"),
    pytest.mark.filterwarnings("ignore::nettrim.CalibrationWarning"),
]


@pytest.fixture(scope="module")
def network():
    return random_network(np.random.default_rng(3), 20, 30, 15, 5)


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(4).standard_normal((300, 20))


def weights_left(model, positions=None):
    layers = model.prunable_layers()
    chosen = range(len(layers)) if positions is None else positions
    return sum(int(np.count_nonzero(layers[p].affine.weights)) for p in chosen)


@pytest.mark.parametrize("scheme", ["cascade", "parallel"])
@pytest.mark.parametrize("share", ["network", "layer"])
def test_the_sparsity_is_met_to_one_weight(network, X, scheme, share):
    size = weights_left(network)
    for sparsity in (0.3, 0.777, 0.95):
        result = trim(network, X, sparsity=sparsity, scheme=scheme, share=share)
        left = weights_left(result.model)
        assert left == result.nonzeros_after
        wanted = round((1 - sparsity) * size)
        assert left == wanted if share == "network" else abs(left - wanted) <= len(result.layers)
        assert result.discrepancy <= result.bound * (1 + 1e-9)
        assert result.converged
        assert all(layer.status == "budget" and layer.gap is None for layer in result.layers)
        assert "budget" in str(result)


def test_the_ends(network, X):
    assert weights_left(trim(network, X, sparsity=1.0).model) == 0
    whole = trim(network, X, sparsity=0.0)
    for before, after in zip(network.layers, whole.model.layers, strict=True):
        assert np.array_equal(before.weights, after.weights)
    assert whole.discrepancy == 0


def test_a_shared_budget_serves_the_network_better(network, X):
    errors = {
        share: trim(network, X, sparsity=0.8, share=share).discrepancy
        for share in ("network", "layer")
    }
    assert errors["network"] < errors["layer"]


def test_a_cascade_repairs_what_the_layers_in_front_did(network, X):
    errors = {
        scheme: trim(network, X, sparsity=0.6, share="layer", scheme=scheme).discrepancy
        for scheme in ("cascade", "parallel")
    }
    assert errors["cascade"] < errors["parallel"]


def test_layers_can_be_left_out_and_have_floors(network, X):
    result = trim(network, X, sparsity=0.8, layers=[0, 1])
    assert weights_left(result.model, [2]) == weights_left(network, [2])
    assert weights_left(result.model, [0, 1]) == round(0.2 * weights_left(network, [0, 1]))
    result = trim(network, X, sparsity=0.8, min_density=0.15)
    for before, after in zip(network.layers, result.model.layers, strict=True):
        assert np.count_nonzero(after.weights) >= 0.15 * before.weights.size
    with pytest.raises(ValueError, match=r"^sparsity: .* min_density"):
        trim(network, X, sparsity=0.8, min_density=0.5)


@pytest.mark.parametrize("share", ["network", "layer"])
@pytest.mark.parametrize("sparsity", [None, 0.8])
def test_patterns(network, X, sparsity, share):
    shared = {} if sparsity is None else {"sparsity": sparsity, "share": share}
    result = trim(network, X, pattern="2:4", **shared)
    for layer in result.model.layers:
        for first in range(0, len(layer.weights), 4):
            counts = np.count_nonzero(layer.weights[first : first + 4], axis=0)
            assert (counts <= 2).all()
            assert sparsity is not None or (counts == min(2, len(layer.weights) - first)).all()
    if sparsity is not None:
        assert abs(result.sparsity - sparsity) < 2 / weights_left(network)


def test_convolutions_and_groups():
    rng = np.random.default_rng(0)
    network = nettrim.Network(
        [
            nettrim.Conv2D(rng.standard_normal((6, 2, 3, 3)), rng.standard_normal(6), padding=1),
            nettrim.Conv2D(rng.standard_normal((6, 1, 3, 3)), rng.standard_normal(6), groups=6),
            nettrim.Flatten(),
            nettrim.Dense(rng.standard_normal((6 * 16, 4)), activation="linear"),
        ]
    )
    X = rng.standard_normal((60, 2, 6, 6))
    for scheme in ("cascade", "parallel"):
        result = trim(network, X, sparsity=0.5, scheme=scheme)
        assert weights_left(result.model) == round(0.5 * weights_left(network))
        assert result.discrepancy <= result.bound * (1 + 1e-9)


def test_a_checkpoint_resumes(network, X, tmp_path: Path):
    first = trim(network, X, sparsity=0.7, checkpoint=tmp_path)
    again = trim(network, X, sparsity=0.7, checkpoint=tmp_path)
    for one, other in zip(first.model.layers, again.model.layers, strict=True):
        assert np.array_equal(one.weights, other.weights)
    with pytest.raises(ValueError, match=r"^checkpoint"):
        trim(network, X, sparsity=0.71, checkpoint=tmp_path)


def test_page_and_recipe(network, X, tmp_path: Path):
    result = trim(network, X, sparsity=0.7, held_out=X[:50] + 0.1)
    result.report(tmp_path / "page.html")
    assert "to the number of weights they may keep" in (tmp_path / "page.html").read_text()
    arguments = json.loads(json.dumps(result.recipe))["arguments"]
    again = nettrim.trim(network, X, progress=False, **arguments)
    for one, other in zip(result.model.layers, again.model.layers, strict=True):
        assert np.array_equal(one.weights, other.weights)


def test_a_pattern_is_kept_as_it_is_commonly_written():
    assert nettrim.Sparsity(pattern="02:04") == nettrim.Sparsity(pattern="2:4")


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"sparsity": 1.5}, "sparsity"),
        ({"sparsity": "most"}, "sparsity"),
        ({"sparsity": 0.5, "epsilon": 0.1}, "epsilon"),
        ({"sparsity": 0.5, "share": "equal"}, "share"),
        ({"sparsity": 0.5, "min_density": 2}, "min_density"),
        ({"sparsity": 0.5, "pattern": "2/4"}, "pattern"),
        ({"sparsity": 0.5, "scheme": "serial"}, "scheme"),
        ({"sparsity": 0.3, "pattern": "2:4"}, "sparsity"),
        ({}, "epsilon"),
    ],
)
def test_errors_name_the_argument(network, X, change, name):
    with pytest.raises((ValueError, TypeError), match=f"^{name}"):
        trim(network, X, **change)


def test_the_cheapest_are_taken_wherever_they_are():
    prices = [np.array([1.0, 4.0, 9.0]), np.array([2.0, 3.0]), np.array([])]
    assert list(split_removals(prices, 3)) == [1, 2, 0]
    assert list(split_removals(prices, 0)) == [0, 0, 0]
    assert list(split_removals(prices, 5)) == [3, 2, 0]


def make_expensive(monkeypatch, begun):
    """Take every layer for too wide for surgery, or for one that begins with some weights left."""
    for module in ("budget.wide", "budget.solve", "trimming.methods.posing"):
        monkeypatch.setattr(f"nettrim.{module}.is_expensive", lambda *shape, **limits: True)
    monkeypatch.setattr("nettrim.budget.wide.BEGUN", begun)


@pytest.mark.parametrize("begun", [0.0, 5e4])
@pytest.mark.parametrize("pattern", [None, "2:4"])
def test_relu_layers_that_are_too_wide_for_surgery(network, X, monkeypatch, pattern, begun):
    options = {"pattern": pattern, "sparsity": 0.6, "share": "layer"}
    with_surgery = trim(network, X, **options)
    make_expensive(monkeypatch, begun)
    result = trim(network, X, **options)
    assert [layer.nonzeros_after for layer in result.layers] == [
        layer.nonzeros_after for layer in with_surgery.layers
    ]
    assert result.discrepancy <= min(result.bound, 1.2 * with_surgery.discrepancy)
    assert result.converged


@pytest.mark.parametrize("scheme", ["cascade", "parallel"])
def test_wide_layers_share_a_budget_from_where_surgery_begins(network, X, monkeypatch, scheme):
    """Alternating directions leave 13 to 18 weights of each output; surgery goes on."""
    options = {"sparsity": 0.7, "scheme": scheme}
    with_surgery = trim(network, X, **options)
    make_expensive(monkeypatch, 9e4)
    result = trim(network, X, **options)
    assert result.nonzeros_after == with_surgery.nonzeros_after
    assert len({layer.nonzeros_after / math.prod(layer.shape) for layer in result.layers}) > 1
    assert result.discrepancy <= min(result.bound, 1.2 * with_surgery.discrepancy)
    assert result.converged


def test_what_surgery_begins_with(rng):
    X, W = rng.standard_normal((300, 20)), rng.standard_normal((20, 10))
    keep = np.arange(20) == 19
    data = BudgetData.of(X, np.maximum(X @ W, 0), W, "relu", None, None, keep, None)
    first = choose_first(data, 1, None)
    assert np.array_equal(first.left, np.ones((10, 20)))  # small enough to begin with all
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nettrim.budget.wide.BEGUN", 10 * 6.001**3)
        first = choose_first(data, 1, None)
        assert surgery_budget(20, 10) == 60
    assert first.left[:, 19].all()
    assert np.count_nonzero(first.left[:, :19]) == 60
    sizes = np.abs(W.T) * np.linalg.norm(X, axis=0)
    assert sizes[:, :19][~first.left[:, :19]].mean() < sizes[:, :19][first.left[:, :19]].mean()
    trace = eliminate(data, WIDE_REGULARISATION, 1, first=first)
    assert np.array_equal(trace.support(first.removals), first.left)
    assert trace.most == 190


@pytest.mark.parametrize("pattern", ["2:4", "1:4", "3:8"])
@pytest.mark.parametrize("begun", [0.0, 200.0])
def test_what_surgery_begins_with_keeps_the_pattern(rng, monkeypatch, pattern, begun):
    """Of a budget, too, that leaves more: a group of channels may have a larger share."""
    monkeypatch.setattr("nettrim.budget.wide.BEGUN", begun)
    X, W = rng.standard_normal((60, 13)), rng.standard_normal((13, 14))
    keep = np.arange(13) == 5
    data = BudgetData.of(X, np.maximum(X @ W, 0), W, "relu", None, None, keep, pattern)
    elimination = eliminate(data, WIDE_REGULARISATION, 1, first=choose_first(data, 1, None))
    for budget in (0, 10, 20, 30, data.size - data.demanded):
        left = elimination.support(elimination.removals(data.size - budget)).T
        assert data.pattern.admits(left)
        assert data.pattern.count(left) == budget


@pytest.mark.parametrize("share", ["network", "layer"])
def test_a_time_limit_gives_the_best_answer_so_far(network, X, share):
    """Every layer keeps the number of weights it may, whatever time there was, and says so."""
    with pytest.warns(nettrim.ConvergenceWarning, match="time_limit"):
        result = trim(network, X, sparsity=0.7, share=share, time_limit=1e-6)
    assert weights_left(result.model) == pytest.approx(0.3 * weights_left(network), abs=3)
    assert {layer.status for layer in result.layers} == {"time_limit"}
    assert "time_limit!" in str(result)
    assert result.discrepancy <= result.bound
    assert trim(network, X, sparsity=0.7, share=share, time_limit=1e3).converged


@pytest.mark.parametrize(
    "goal", [nettrim.Sparsity(0.5), nettrim.Sparsity(pattern="1:2"), nettrim.Units(0.9)]
)
@pytest.mark.parametrize("size", [2.0**-20, 2.0**8, 2.0**50])
def test_the_unit_of_the_samples_makes_no_difference(goal, size):
    """Nor do layers that are computed in other units than they are given in."""
    rng = np.random.default_rng(0)
    X, W, V = (
        rng.standard_normal((80, 6)),
        rng.standard_normal((6, 10)),
        rng.standard_normal((10, 3)),
    )
    b, c = rng.standard_normal(10), rng.standard_normal(3)
    errors, left = [], []
    for unit in (2.0**20, size):
        network = nettrim.Network(
            [nettrim.Dense(W, unit * b), nettrim.Dense(V, unit * c, activation="linear")]
        )
        result = nettrim.trim(network, unit * X, goal, progress=False)
        errors.append(result.discrepancy)
        left.append([report.nonzeros_after for report in result.layers])
    assert left[0] == left[1]
    assert errors[0] == pytest.approx(errors[1], rel=1e-3)
