"""Sums of shards of data from workers: merged, they pose the layer of all samples."""

from __future__ import annotations

import functools
import operator
import sys

import numpy as np
import pytest

import nettrim
from nettrim import execution
from support.executors import FakeRay

SHARDS, ROWS, FEATURES, OUTPUTS = 6, 400, 12, 7


def weights():
    return np.random.default_rng(99).standard_normal((FEATURES, OUTPUTS))


def shard(number):
    """What a worker would read from its part of the data."""
    rng = np.random.default_rng(number)
    return rng.standard_normal((ROWS, FEATURES)) * np.arange(1, FEATURES + 1)


def sums_of(number):
    """What it sends back: as many numbers whatever the number of samples."""
    X = shard(number)
    return nettrim.Gram.of(X, X @ weights())


@pytest.fixture
def ray(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", FakeRay())
    with execution.RayExecutor() as executor:
        yield executor


@pytest.mark.parametrize("kind", ["threads", "processes", "dask", "ray"])
def test_shards_of_workers_make_the_layer_of_all_samples(kind, request):
    executor = request.getfixturevalue(kind)
    merged = functools.reduce(operator.add, executor.map(sums_of, range(SHARDS)))
    X = np.concatenate([shard(k) for k in range(SHARDS)])
    assert merged.n_samples == len(X)
    np.testing.assert_allclose(merged.XX, X.T @ X, rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(merged.XY, X.T @ (X @ weights()), rtol=1e-12, atol=1e-9)
    for method in ("surgery", "admm"):
        options = {"weights": weights(), "sparsity": 0.6, "method": method}
        few = nettrim.solve_layer_budget(merged, **options)
        whole = nettrim.solve_layer_budget(X, X @ weights(), activation="linear", **options)
        assert np.array_equal(few.weights != 0, whole.weights != 0)
        np.testing.assert_allclose(few.weights, whole.weights, rtol=1e-6, atol=1e-9)
    epsilon = 0.05 * float(np.linalg.norm(X @ weights()))
    few = nettrim.solve_layer(merged, epsilon=epsilon)
    whole = nettrim.solve_layer(X, X @ weights(), activation="linear", epsilon=epsilon)
    assert few.objective == pytest.approx(whole.objective, rel=1e-5)


def test_a_merged_layer_is_solved_on_workers(processes):
    merged = sum(processes.map(sums_of, range(SHARDS)), nettrim.Gram(FEATURES, OUTPUTS))
    options = {"weights": weights(), "sparsity": 0.6, "method": "surgery"}
    there = nettrim.solve_layer_budget(merged, executor=processes, **options)
    here = nettrim.solve_layer_budget(merged, n_threads=1, **options)
    assert np.array_equal(here.weights, there.weights)
