"""What `trim` needs to know of a model, whatever framework it comes from.

A model view answers three questions: which layers can be pruned, what goes into each of them, and
what the model looks like with other weights. `Network` is its own view; an adapter for another
framework is a class with the same three methods.
"""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..base.arrays import AnyFloat, Array, check_samples
from ..base.decision import Decision
from .picked_rows import PickedRows
from .samples import Data
from .units.unit_map import UnitMap

ACTIVATIONS = ("relu", "linear")
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
BATCH = 1 << 20  # entries of unfolded signals that are held at a time: they fit into caches


class Precision(NamedTuple):
    """A type of numbers.

    Attributes
    ----------
    name : str
    epsilon : float
        The distance from 1 to the next one.
    """

    name: str
    epsilon: float

    @classmethod
    def of(cls, dtype: np.dtype[Any]) -> Precision:
        """Return that of a type of NumPy."""
        return cls(dtype.name, float(np.finfo(dtype).eps))


class Affine(NamedTuple):
    """The map ``x -> x @ weights + bias`` of one layer, on rows of features.

    Attributes
    ----------
    weights : ndarray of shape (n_features, n_outputs)
        Any float precision; the arithmetic is float64.
    bias : ndarray of shape (n_outputs,) or None
        None for a layer without a bias.
    groups : int
        A row holds the features of so many groups side by side, and every group has as many outputs
        as the others, which see the features of their group alone.
    fixed_bias : bool
        Whether the bias stays as it is; otherwise it is a row of the layer program's variable.
    """

    weights: AnyFloat
    bias: AnyFloat | None = None
    groups: int = 1
    fixed_bias: bool = False

    @property
    def precision(self) -> Precision:
        """What the model stores the weights in; an answer is rounded to it."""
        return Precision.of(self.weights.dtype)

    @property
    def stacked(self) -> Array:
        """The program's variable in float64: the weights, and a bias that is not fixed below."""
        if self.bias is None or self.fixed_bias:
            return self.weights.astype(np.float64)
        return np.vstack([self.weights, self.bias]).astype(np.float64)

    @property
    def offset(self) -> Array:
        """What is added to the program's signal: the fixed bias, or zeros."""
        if self.bias is None or not self.fixed_bias:
            return np.zeros(self.weights.shape[1])
        return self.bias.astype(np.float64)

    def inputs(self, rows: AnyFloat) -> Array:
        """Return rows in float64, followed by a column of ones for a bias that is not fixed."""
        values: Array = np.ascontiguousarray(rows, dtype=np.float64)
        if self.bias is None or self.fixed_bias:
            return values
        return np.column_stack([values, np.ones(len(values))])

    def apply(self, rows: AnyFloat) -> Array:
        """Return the image of every row, in float64."""
        inputs, weights = self.inputs(rows), self.stacked
        if self.groups == 1:
            return inputs @ weights + self.offset
        by_group = inputs.reshape(len(inputs), self.groups, -1).swapaxes(0, 1)
        columns = weights.reshape(len(weights), self.groups, -1).swapaxes(0, 1)
        return (by_group @ columns).swapaxes(0, 1).reshape(len(inputs), -1) + self.offset

    def rounded(self, values: Array, stored: AnyFloat) -> AnyFloat:
        """Round numbers as the model would if it stored them in place of weights or bias."""
        with np.errstate(under="ignore"):
            return values.astype(stored.dtype)

    def replaced(self, stacked: Array) -> Affine:
        """Split a program's variable again, rounded to this map's precision.

        A bias below the weights replaces a fixed one too; see `LayerView.bias_can_change`.
        """
        if self.bias is None or len(stacked) == len(self.weights):
            return self._replace(weights=self.rounded(stacked, self.weights))
        weights, bias = stacked[:-1], stacked[-1]
        return self._replace(
            weights=self.rounded(weights, self.weights), bias=self.rounded(bias, self.bias)
        )


def rows_of_features(values: Array) -> Array:
    """Return the last axis as features and all the others as rows."""
    return values.reshape(-1, values.shape[-1])


@dataclass(frozen=True)
class LayerView:
    """A prunable layer as `trim` sees it.

    Attributes
    ----------
    name : str
        How the layer is called in tables, messages and the argument ``layers``.
    affine : Affine
        Its weights.
    activation : {"relu", "linear"}
        What follows the affine map.
    lipschitz : callable
        Takes an `Affine` of the same shape and the shape of the layer's input, and returns a
        Lipschitz constant, in the Frobenius norm, of the layer with those weights.
    unfold : callable
        Takes the layer's input for some samples, of shape (n_samples, ...), and returns the rows
        that meet the affine map, equally many for each sample and sample by sample: one row for a
        dense layer, one for each position of a convolution.
    layer_class : type or None
        What the layer is in its framework, by which it can be chosen; None if it has none.
    follower : str or None
        The smooth activation behind a linear layer, as `nettrim.solve_layer_budget` calls it.
        Errors and bounds of the layer speak of what comes in front of it all the same.
    factor : str or None
        The name of a linear layer of the same input by whose output, behind its follower, this
        one's is multiplied, as in gated linear units.
    left_out : str or None
        Why the layer is pruned only where `nettrim.trim` is told its name, in a few words that
        complete "left alone: "; None for layers that are pruned by default.
    bias_can_change : bool
        Whether the model takes another bias along with other weights although that of the affine
        map is fixed, for methods that prove nothing.
    meets_picked_rows : bool
        Whether the model picks what arrives there, and how many rows (see `Signal.rows`).
    unfold_some : callable or None
        As `unfold`, but takes the ascending numbers of some rows as well and returns these alone;
        None where there is no shorter way to them.
    """

    name: str
    affine: Affine
    activation: str
    lipschitz: Callable[[Affine, tuple[int, ...]], float]
    unfold: Callable[[Array], Array] = rows_of_features
    layer_class: type | None = None
    follower: str | None = None
    factor: str | None = None
    left_out: str | None = None
    bias_can_change: bool = False
    meets_picked_rows: bool = False
    unfold_some: Callable[[Array, NDArray[np.intp]], Array] | None = None

    @property
    def with_free_bias(self) -> LayerView:
        """The layer with a bias that is a variable like its weights, if it can be one."""
        if not self.bias_can_change or self.affine.bias is None:
            return self
        return replace(self, affine=self.affine._replace(fixed_bias=False))

    @property
    def shape(self) -> tuple[int, int]:
        """Number of inputs (of a group) and outputs."""
        n_features, n_outputs = self.affine.weights.shape
        return n_features, n_outputs

    def count_rows(self, values: Array) -> int:
        """Return how many rows samples are unfolded into, equally many each."""
        return len(self.unfold(values[:1])) * len(values)

    def apply(self, affine: Affine, values: Array) -> Array:
        """Return the rows of the layer's output before the activation, under given weights."""
        return np.concatenate([affine.apply(rows) for rows in self._unfolded(values)])

    def respond(self, affine: Affine, values: Array) -> Array:
        """Return the rows of the layer's output, under given weights."""
        return activate(self.apply(affine, values), self.activation)

    def chosen_rows(self, values: Array, chosen: NDArray[np.intp] | None) -> Array:
        """Return some of the unfolded rows, by ascending number; None stands for all of them."""
        if chosen is None:
            return self.unfold(values)
        if self.unfold_some is not None:
            return self.unfold_some(values, chosen)
        parts, first = [], 0
        for rows in self._unfolded(values):
            begin, end = np.searchsorted(chosen, [first, first + len(rows)])
            parts.append(rows[chosen[begin:end] - first])
            first += len(rows)
        return np.concatenate(parts)

    def _unfolded(self, values: Array) -> Iterator[Array]:
        """Unfold as many samples at a time as are affordable."""
        size = max(1, BATCH // max(1, self.unfold(values[:1]).size))
        for first in range(0, max(1, len(values)), size):
            yield self.unfold(values[first : first + size])


class Untouched(NamedTuple):
    """A weight of two or more dimensions that is left as it is.

    Attributes
    ----------
    name : str
        What the model calls it.
    shape : tuple of int
    nonzeros : int
        Entries that are not zero; of a quantised weight, those that do not stand for zero.
    reason : str
        Why, in a few words that complete "left alone: ".
    """

    name: str
    shape: tuple[int, ...]
    nonzeros: int
    reason: str

    @property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)


class Signal(NamedTuple):
    """What arrives at a prunable layer, or at an output of the model.

    Attributes
    ----------
    values : ndarray of shape (n_samples, ...)
        float64.
    lipschitz : mapping from int to float
        If the outputs of the prunable layers, by position, move by at most ``d[k]`` each, this
        signal moves by at most ``sum(lipschitz[k] * d[k])`` in the Frobenius norm. Empty for the
        data; infinite where nothing is known of what lies between. The layer itself and later ones
        are among them where their outputs arrive there again, as in a recurrent one.
    rows : PickedRows or None
        Which of all rows these are, along the first axis, where the model picks them: an expert
        meets the tokens that are routed to it. None where what arrives is that of all samples.
    """

    values: NDArray[np.float64]
    lipschitz: Mapping[int, float] = {}
    rows: PickedRows | None = None

    def paired_with(self, current: Signal) -> tuple[Signal, Signal]:
        """Return what arrives here and, under other weights, there as rows that go together.

        Of rows that the model picks all that arrive under the other weights; those that do not
        arrive here, or of which that is not known, stand for both. Where none arrive, those here.
        """
        if self.rows is None and current.rows is None:
            return self, current
        if not len(current.values):
            return self, self
        if self.rows is None or current.rows is None:
            return current, current
        here, there = self.rows.shared_with(current.rows)
        if not len(here):
            return current, current
        values = current.values.copy()
        values[there] = self.values[here]
        return self._replace(values=values, rows=current.rows), current

    def moved(self, distances: Mapping[int, float]) -> float:
        """Return how far the signal can have moved if the layers' outputs moved that far."""
        terms = [constant * distances[position] for position, constant in self.lipschitz.items()]
        return float(sum(0.0 if np.isnan(term) else term for term in terms))  # inf * 0


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


def activate(values: Array, activation: str) -> Array:
    """Apply an activation by name."""
    return np.maximum(values, 0.0) if activation == "relu" else values


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
