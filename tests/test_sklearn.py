"""scikit-learn's perceptrons: the same answers as the network they compute, and the same type back."""

from __future__ import annotations

import numpy as np
import pytest

import nettrim

pytest.importorskip("sklearn")
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer")


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    return data.data / 16.0, data.target


@pytest.fixture(scope="module")
def classifier(digits):
    return MLPClassifier([24, 16], max_iter=60, random_state=0).fit(*digits)


def as_network(model) -> nettrim.Network:
    pairs = list(zip(model.coefs_, model.intercepts_, strict=True))
    return nettrim.Network(
        [*(nettrim.Dense(*pair) for pair in pairs[:-1]), nettrim.Dense(*pairs[-1], "linear")]
    )


@pytest.mark.parametrize("scheme", ["cascade", "parallel"])
def test_a_classifier_gets_the_weights_of_its_network(classifier, digits, scheme) -> None:
    X = digits[0][:300]
    options = {"epsilon": 0.1, "scheme": scheme, "progress": False}
    result = nettrim.trim(classifier, X, **options)
    expected = nettrim.trim(as_network(classifier), X, **options)
    assert type(result.model) is MLPClassifier
    for ours, layer in zip(result.model.coefs_, expected.model.layers, strict=True):
        np.testing.assert_array_equal(ours, layer.weights)
    assert result.discrepancy == expected.discrepancy <= result.bound
    assert result.sparsity > 0.3


def test_a_trimmed_classifier_still_classifies(classifier, digits) -> None:
    X, labels = digits
    before = [c.copy() for c in classifier.coefs_]
    model = nettrim.trim(classifier, X[:600], epsilon=0.05, progress=False).model
    assert model.score(X, labels) > classifier.score(X, labels) - 0.02
    assert model.get_params() == classifier.get_params()
    for kept, original in zip(classifier.coefs_, before, strict=True):
        np.testing.assert_array_equal(kept, original)


def test_a_regressor(rng) -> None:
    X = rng.standard_normal((400, 6)).astype(np.float32)
    y = np.sin(X[:, 0]) + X[:, 1] * X[:, 2]
    model = MLPRegressor(hidden_layer_sizes=[20], max_iter=100, random_state=0).fit(X, y)
    result = nettrim.trim(model, X, epsilon=0.05, progress=False)
    assert type(result.model) is MLPRegressor
    assert result.model.coefs_[0].dtype == model.coefs_[0].dtype
    change = np.linalg.norm(result.model.predict(X) - model.predict(X))
    assert change / np.linalg.norm(model.predict(X)) <= result.bound * (1 + 1e-5)


def test_what_is_no_fitted_perceptron_of_relus_is_refused() -> None:
    X = np.ones((3, 2))
    for model, error, message in (
        (LogisticRegression(), TypeError, "^model must be an MLPClassifier"),
        (MLPClassifier(activation="tanh"), ValueError, "^model must have activation='relu'"),
        (MLPClassifier(), ValueError, "^model is not fitted"),
    ):
        with pytest.raises(error, match=message):
            nettrim.trim(model, X, epsilon=0.1, progress=False)
