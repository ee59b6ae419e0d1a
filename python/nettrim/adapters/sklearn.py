"""scikit-learn's multilayer perceptrons."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.utils.validation import check_is_fitted

from .._arrays import Array
from ..network import Dense, Network
from ..view import Affine, LayerView, Signal

__all__ = ["MlpView", "view"]


def view(model: Any) -> MlpView:
    """Return the view of a fitted `MLPClassifier` or `MLPRegressor` with ReLU units.

    Raises
    ------
    TypeError
        If the model is another estimator.
    ValueError
        If its units are no ReLUs, or it is not fitted.
    """
    if not isinstance(model, (MLPClassifier, MLPRegressor)):
        raise TypeError(
            f"model must be an MLPClassifier or MLPRegressor of scikit-learn, "
            f"got {type(model).__name__}"
        )
    if model.activation != "relu":
        raise ValueError(f"model must have activation='relu', got {model.activation!r}")
    check_is_fitted(model, msg="model is not fitted: %(name)s has no weights yet")
    return MlpView(model)


class MlpView:
    """A perceptron as the `Network` it computes, before its softmax or logistic output."""

    def __init__(self, model: MLPClassifier | MLPRegressor) -> None:
        self.model = model
        pairs = list(zip(model.coefs_, model.intercepts_, strict=True))
        hidden = [Dense(weights, bias) for weights, bias in pairs[:-1]]
        self.network = Network([*hidden, Dense(*pairs[-1], activation="linear")])

    def prunable_layers(self) -> list[LayerView]:
        """Return every layer (see `nettrim.view.ModelView`)."""
        return self.network.prunable_layers()

    def signals(self, X: Array, weights: Mapping[int, Affine]) -> Iterator[Signal]:
        """Walk data through the layers (see `nettrim.view.ModelView`)."""
        return self.network.signals(X, weights)

    def with_weights(self, weights: Mapping[int, Affine]) -> MLPClassifier | MLPRegressor:
        """Return a copy of the estimator with other weights (see `nettrim.view.ModelView`)."""
        trimmed = copy.deepcopy(self.model)
        for position, affine in weights.items():
            trimmed.coefs_[position] = np.array(affine.weights)
            trimmed.intercepts_[position] = np.array(affine.bias)
        return trimmed
