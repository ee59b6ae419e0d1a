"""Layers to be trimmed to a given sparsity."""

from __future__ import annotations

import numpy as np

from nettrim.budget.data import BudgetData
from support.problems import relu


def layer(n_samples=150, n_features=20, n_outputs=8, seed=0):
    """Correlated inputs, so that removing a weight moves others."""
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((n_features, n_features)) + np.eye(n_features)
    X = np.column_stack([rng.standard_normal((n_samples, n_features)) @ mixing, np.ones(n_samples)])
    W = rng.standard_normal((n_features + 1, n_outputs)) / np.sqrt(n_features)
    return X, W, relu(X @ W)


def data_of(X, Y, W, activation="relu", **options):
    names = ("upper", "active", "keep", "pattern")
    return BudgetData.of(X, Y, W, activation, *(options.get(name) for name in names))
