"""What `trim` needs to know of a model, whatever framework it comes from.

A model view answers three questions: which layers can be pruned, what goes into each of them, and
what the model looks like with other weights. `Network` is its own view; an adapter for another
framework is a class with the same three methods.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..base.arrays import AnyFloat, Array, check_samples
from ..base.decision import Decision
from .layer_view import Affine, LayerView, Signal, Untouched
from .samples import Data
from .units.unit_map import UnitMap

OPTIONAL = (
    "calibration",
    "outputs",
    "decides_by",
    "untouched",
    "output_values",
    "outputs_under",
    "keep",
    "to_arrays",
    "run",
    "timed_call",
    "score",
    "number_labels",
    "find_units",
    "keep_units",
    "view_of",
)
ADAPTERS = ("sklearn", "torch", "onnx")


@runtime_checkable
class Prunable(Protocol):
    """The three methods `nettrim.trim` cannot do without; `ModelView` has the others."""

    def prunable_layers(self) -> Sequence[LayerView]:
        """Return the layers that can be pruned, in the order data pass them."""
        ...

    def signals(self, X: Data, weights: Mapping[int, Affine]) -> Iterator[Signal]:
        """Walk data through the model once.

        Yields one `Signal` for each prunable layer, in the order of `prunable_layers`, and then one
        for each output of the model. ``weights`` maps positions in that order to replacements and
        is looked up only when the walk goes on *past* a layer: `trim` stops before a layer, prunes
        it, puts the answer into the mapping and lets the walk continue with it.
        """
        ...

    def with_weights(self, weights: Mapping[int, Affine]) -> Any:
        """Return a copy of the model, of its own type, in which these weights are replaced."""
        ...


@runtime_checkable
class ModelView(Prunable, Protocol):
    """All that `nettrim.trim` asks of a model; what has a default here may be left out.

    A subclass defines the three methods of `Prunable`. An object that has them without being a
    subclass is completed by these defaults (`as_view`).
    """

    def calibration(self, values: Any, name: str) -> Data:
        """Take samples as the framework has them, before anything else is asked.

        See `nettrim.models.opened_model`. Returns a finite array of float64, or int64 if they
        are whole numbers; or `nettrim.models.samples.Samples` of several inputs.
        """
        return check_samples(values, name)

    def outputs(self) -> Sequence[str]:
        """Return the names of the model's outputs that count, in the order of their signals."""
        return ["output"]

    def decides_by(self) -> Decision:
        """Return what the first output answers by: its largest entry, each of its signs, nothing.

        Of a single output that is the largest of itself nothing is known.
        """
        return "largest"

    def untouched(self) -> Sequence[Untouched]:
        """Return the weights of two or more dimensions that no prunable layer holds."""
        return []

    def output_values(self, X: Data, weights: Mapping[int, Affine]) -> list[Array]:
        """Return the outputs that count under some weights, as `signals` has them."""
        n_layers = len(self.prunable_layers())
        return [signal.values for signal in islice(self.signals(X, weights), n_layers, None)]

    def outputs_under(self, X: Data) -> Callable[[Mapping[int, Affine]], list[Array]]:
        """Return `output_values` of some samples, for one set of weights after the other.

        A view may hold signals in front of layers, so that only what comes behind the first layer
        that changes is computed again.
        """
        return partial(self.output_values, X)

    def keep(self, position: int, affine: Affine) -> Affine:
        """Take the answer for a layer, and return what stands for it until `with_weights`.

        The same numbers: a view of a model that does not fit into memory has put them elsewhere.
        """
        return affine

    def to_arrays(self) -> Mapping[str, NDArray[Any]]:
        """Return all numbers that signals may depend on, by name, to tell models apart.

        Those of the prunable layers need not be among them.
        """
        return {}

    def run(self, model: Any, X: Data) -> Sequence[AnyFloat] | None:
        """Return the outputs that count as the framework computes them for its users.

        Of this model, or of a copy that `with_weights` made; arrays whose first axis is that of the
        samples. None where nothing is known of the arithmetic of the framework.
        """
        return None

    def timed_call(self, model: Any, X: Data, n_threads: int) -> Callable[[], object] | None:
        """Return what runs samples once through a model as its users do, to be timed.

        Of this model, or of a copy that `with_weights` or `keep_units` made. None where the view
        cannot run it.
        """
        return None

    def score(self, X: Data, labels: Any) -> float | None:
        """Return the share of samples of which the model itself gives the right label.

        None where labels are numbers of the output that ought to be largest.
        """
        return None

    def number_labels(self, labels: ArrayLike) -> ArrayLike:
        """Return right answers as numbers of the output that ought to be largest.

        They are what they are where labels are such numbers.
        """
        return labels

    def find_units(self, X: Data) -> UnitMap | None:
        """Return the units, channels and heads that can go, as some samples show them.

        None where the view cannot tell.
        """
        return None

    def keep_units(self, model: Any, units: UnitMap, kept: NDArray[np.bool_]) -> Any:
        """Return a copy of a model that `with_weights` made without units that are not kept.

        Parameters
        ----------
        model : object
            Readers' weights on what goes are zero there.
        units : UnitMap
            What `find_units` returned.
        kept : ndarray of bool of shape (units.n_units,)
        """
        return model

    def view_of(self, model: Any) -> ModelView | None:
        """Return the view of a copy that `with_weights` made, for reports, exports and accuracy.

        Not asked of views that `as_view` makes itself, and of models that are their own view. None
        where there is none.
        """
        return None


class CompletedView(ModelView):
    """A model that has the three methods, with the defaults of `ModelView` for those it has not."""

    def __init__(self, model: Prunable) -> None:
        self._model = model
        for name in OPTIONAL:
            if hasattr(model, name):
                setattr(self, name, getattr(model, name))

    def prunable_layers(self) -> Sequence[LayerView]:
        """Return the model's."""
        return self._model.prunable_layers()

    def signals(self, X: Data, weights: Mapping[int, Affine]) -> Iterator[Signal]:
        """Return the model's."""
        return self._model.signals(X, weights)

    def with_weights(self, weights: Mapping[int, Affine]) -> Any:
        """Return the model's."""
        return self._model.with_weights(weights)


def as_view(model: Any) -> ModelView:
    """Return the view of a model.

    Raises
    ------
    TypeError
        If the model is of no known kind.
    """
    if isinstance(model, ModelView):
        return model
    if isinstance(model, Prunable) and not isinstance(model, type):
        return CompletedView(model)
    for origin in type(model).__mro__:
        framework = origin.__module__.partition(".")[0]
        if framework in ADAPTERS:
            view: ModelView = importlib.import_module(f".adapters.{framework}", __package__).view(
                model
            )
            return view
    raise TypeError(
        "model must be a nettrim.Network, a scikit-learn MLP (or what ends in one), a "
        "torch.nn.Module, an onnx.ModelProto or have the three methods of "
        f"nettrim.models.model_view.ModelView, got {type(model).__name__}"
    )


def viewed_model(model: Any) -> Any:
    """Return the model of a view that was given in its place, if the view has it; else itself."""
    return getattr(model, "model", model) if isinstance(model, ModelView) else model


def view_both(original: Any, trimmed: Any) -> tuple[ModelView, ModelView]:
    """Return the views of a model and of what trimming made of it, without the warnings of then.

    Raises
    ------
    TypeError
        If the model was given as a view that has none of its copies.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        view = as_view(original)
        if not isinstance(original, Prunable) or isinstance(trimmed, Prunable):
            return view, as_view(trimmed)
        of_trimmed = view.view_of(trimmed)
    if of_trimmed is None:
        raise TypeError(
            f"model: {type(original).__name__} has no view_of(model), by which nettrim would see "
            f"the trimmed {type(trimmed).__name__} (docs/developers/add_an_adapter.md)"
        )
    return view, of_trimmed


def find_layers(view: ModelView, names: Iterable[str]) -> list[LayerView]:
    """Return some layers of a trimmed model; a new view may list others in another order."""
    listed = {layer.name: layer for layer in view.prunable_layers()}
    return [listed[name] for name in names]
