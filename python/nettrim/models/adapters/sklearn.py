"""scikit-learn's multilayer perceptrons, on their own or at the end of pipelines and searches."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from sklearn.base import is_classifier
from sklearn.compose import TransformedTargetRegressor
from sklearn.model_selection._search import BaseSearchCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from ...base.arguments import show
from ...base.arrays import Array, as_plain_array, check_samples
from ...base.decision import Decision
from ..layer_view import Affine, LayerView, Signal
from ..model_view import ModelView
from ..network import Dense, Network
from ..samples import Data
from ..units.unit_map import UnitMap

__all__ = ["MlpView", "view"]


def view(model: Any) -> MlpView:
    """Return the view of a fitted `MLPClassifier` or `MLPRegressor` with ReLU units.

    It may be the last step of a `Pipeline`, the best estimator of a search (`GridSearchCV` and its
    kin), the regressor of a `TransformedTargetRegressor`, or any nesting of these.

    Raises
    ------
    TypeError
        If the model is another estimator.
    ValueError
        If its units are no ReLUs, or it is not fitted.
    """
    mlp = _chain(model)[-1]
    if not isinstance(mlp, (MLPClassifier, MLPRegressor)):
        where = "" if mlp is model else f" at the end of its {type(model).__name__}"
        raise TypeError(
            "model must be an MLPClassifier or MLPRegressor of scikit-learn, or a Pipeline or "
            f"search that ends in one, got {type(mlp).__name__}{where}"
        )
    if mlp.activation != "relu":
        raise ValueError(f"model must have activation='relu', got {mlp.activation!r}")
    check_is_fitted(mlp, msg="model is not fitted: %(name)s has no weights yet")
    return MlpView(model)


class MlpView(ModelView):
    """A perceptron as the `Network` it computes, before its softmax or logistic output."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.mlp = _chain(model)[-1]
        weights = [_dense(array) for array in self.mlp.coefs_]
        pairs = list(zip(weights, map(_dense, self.mlp.intercepts_), strict=True))
        hidden = [Dense(*pair) for pair in pairs[:-1]]
        self.network = Network([*hidden, Dense(*pairs[-1], activation="linear")])

    def calibration(self, values: Any, name: str) -> NDArray[Any]:
        """Return the perceptron's data: what the steps in front make of the model's data."""
        if np.ma.isMaskedArray(values):
            values = as_plain_array(values, name)  # the steps would take what is masked for data
        with _blame(name):
            # It knows what it was fitted to: names, numbers of features.
            self.model.predict(values[:1])
            for step in _steps(self.model):
                values = step.transform(values)
        return check_samples(_dense(values), name)

    def decides_by(self) -> Decision:
        """Return "signs" for a single output, and for several labels (see `ModelView`)."""
        if not is_classifier(self.mlp):
            return "nothing"
        return "signs" if self.mlp.out_activation_ == "logistic" else "largest"

    def prunable_layers(self) -> list[LayerView]:
        """Return every layer (see `nettrim.models.model_view.ModelView`)."""
        return self.network.prunable_layers()

    def signals(self, X: Data, weights: Mapping[int, Affine]) -> Iterator[Signal]:
        """Walk data through the layers (see `nettrim.models.model_view.ModelView`)."""
        return self.network.signals(cast(Array, X), weights)

    def with_weights(self, weights: Mapping[int, Affine]) -> Any:
        """Return a copy of the estimator with other weights (see `ModelView`)."""
        trimmed = copy.deepcopy(self.model)
        mlp = _chain(trimmed)[-1]
        for position, affine in weights.items():
            mlp.coefs_[position] = _like(mlp.coefs_[position], affine.weights)
            mlp.intercepts_[position] = np.array(affine.bias)
        return trimmed

    def timed_call(self, model: Any, X: Data, n_threads: int) -> Callable[[], object]:
        """Return what the perceptron predicts with, on the threads that NumPy has."""
        mlp = _chain(model)[-1]
        return lambda: mlp.predict(X)

    def find_units(self, X: Data) -> UnitMap:
        """Return the units that can go (see `ModelView`)."""
        return self.network.find_units(cast(Array, X))

    def keep_units(self, model: Any, units: UnitMap, kept: NDArray[np.bool_]) -> Any:
        """Return a copy of an estimator with fewer units (see `ModelView`)."""
        smaller = copy.deepcopy(model)
        mlp = _chain(smaller)[-1]
        layers = self.network.keep_units(MlpView(model).network, units, kept).prunable_layers()
        for position, layer in enumerate(layers):
            mlp.coefs_[position] = _like(mlp.coefs_[position], layer.affine.weights)
            mlp.intercepts_[position] = np.array(layer.affine.bias)
        mlp.hidden_layer_sizes = tuple(layer.shape[1] for layer in layers[:-1])
        vars(mlp).pop("_optimizer", None)  # of the weights there were; partial_fit makes another
        return smaller

    def score(self, X: Any, labels: ArrayLike) -> float:
        """Return the share of samples whose label the model predicts, by its names of classes."""
        self._check_classifier("accuracy")
        with _blame("X"):
            answers = np.asarray(self.model.predict(X))
        wanted = _as_names(labels)
        if wanted.shape == (len(answers), 1) and answers.ndim == 1:
            wanted = wanted[:, 0]
        if wanted.shape != answers.shape:
            raise ValueError(
                f"labels must be one for each of the {len(answers)} samples, of shape "
                f"{answers.shape}, got shape {wanted.shape}"
            )
        if not np.isin(wanted, list_answers(self.mlp)).any():
            raise ValueError(
                "labels must be among the classes of the model, "
                f"{show(list_answers(self.mlp)[:5])}, got {show(wanted.ravel()[:5])}"
            )
        right = wanted == answers
        return float(np.mean(right if right.ndim == 1 else right.all(axis=1)))

    def number_labels(self, labels: ArrayLike) -> NDArray[np.intp]:
        """Return the numbers of classes from their names (see `ModelView`)."""
        self._check_classifier("what is right")
        if self.mlp._label_binarizer.y_type_.startswith("multilabel"):
            raise ValueError(
                "labels: a classifier of several labels answers more than one thing a sample"
            )
        wanted, classes = _as_names(labels), list_answers(self.mlp)
        number_of = {name: number for number, name in enumerate(classes.tolist())}
        try:
            numbers = [number_of[name] for name in wanted.ravel().tolist()]
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"labels must be among the classes of the model, {show(classes[:5])}, got {error}"
            ) from None
        return np.array(numbers, dtype=np.intp).reshape(wanted.shape)

    def _check_classifier(self, what: str) -> None:
        if not is_classifier(self.mlp):
            raise TypeError(
                f"{what} is of classifiers, model is a {type(self.model).__name__} with an "
                "MLPRegressor: compare model.score before and after"
            )


def _as_names(labels: ArrayLike) -> NDArray[Any]:
    wanted = as_plain_array(labels, "labels")
    if wanted.dtype.kind == "V":
        raise TypeError(f"labels must be names of classes, got dtype {wanted.dtype}")
    return wanted


@contextmanager
def _blame(name: str) -> Iterator[None]:
    """Name the argument to which the steps of a model object."""
    try:
        yield
    except Exception as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        reason = str(error).partition("\n")[0]
        raise kind(f"{name} must be data that model.predict takes, which says: {reason}") from error


def list_answers(mlp: MLPClassifier) -> NDArray[Any]:
    """Return what a classifier can answer for a sample, or for each label of several."""
    multilabel = mlp._label_binarizer.y_type_.startswith("multilabel")
    return np.array([0, 1]) if multilabel else np.asarray(mlp.classes_)


def _chain(model: Any) -> list[Any]:
    """Return an estimator, the one inside that answers for it, and so on to the last."""
    chain = [model]
    while (inner := _inner(chain[-1])) is not None:
        chain.append(inner)
    return chain


def _inner(model: Any) -> Any:
    """Return the estimator that answers for one of several; None for one that does it itself."""
    if isinstance(model, Pipeline):
        return model.steps[-1][1]
    for kind, attribute in (
        (BaseSearchCV, "best_estimator_"),
        (TransformedTargetRegressor, "regressor_"),
    ):
        if isinstance(model, kind):
            if not hasattr(model, attribute):
                raise ValueError(
                    f"model is not fitted: {type(model).__name__} has no {attribute} (a search "
                    "keeps one with refit=True)"
                )
            return getattr(model, attribute)
    return None


def _steps(model: Any) -> list[Any]:
    """Return the transformers that data pass before the perceptron."""
    pipelines: Sequence[Any] = [part for part in _chain(model) if isinstance(part, Pipeline)]
    steps = [step for pipeline in pipelines for _, step in pipeline.steps[:-1]]
    return [step for step in steps if step is not None and not isinstance(step, str)]


def _dense(values: Any) -> Any:
    return values.toarray() if issparse(values) else values


def _like(old: Any, new: NDArray[Any]) -> Any:
    """Return weights as they were held: in an array, or in a sparse one."""
    return type(old)(new) if issparse(old) else np.array(new)
