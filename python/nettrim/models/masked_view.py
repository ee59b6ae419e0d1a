"""The view of a model on samples of which some positions count in nothing, like padding."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..base.arrays import AnyFloat, Array
from ..base.decision import Decision
from ..base.errors import warn_user
from .layer_view import Affine, LayerView, Signal, Untouched
from .model_view import ModelView
from .picked_rows import PickedRows
from .samples import Data, Mask, Samples
from .units.unit_map import UnitMap

__all__ = ["MaskedView"]

Number = TypeVar("Number", bound=np.floating[Any])

FEW = 4  # samples that show what a model does with positions
ROUNDING = 1e-7  # by which a signal may differ that padding does not reach


class MaskedView(ModelView):
    """A view whose signals, and outputs, have the positions alone that count.

    A signal of shape (n_samples, n_positions, ...) becomes one of shape (n_counting, ...), so that
    the others are in no program, error or bound. A signal without these positions (behind a
    pooling, or of another sequence) is as it was.

    Which signals have them is seen from a few samples that are made shorter by one position; where
    the model does not take those, from shapes. Other few samples, with other contents where nothing
    counts, show whether these contents reach what counts: then nothing is known of how signals
    depend on each other.

    Parameters
    ----------
    view : ModelView
    data : Samples
        With masks.

    Warns
    -----
    UserWarning
        If contents that count in nothing move what counts; of layers that meet rows which the
        model picks, of which none counts, or it is not known which do.
    """

    def __init__(self, view: ModelView, data: Samples) -> None:
        self._view = view
        self._left_out: dict[int, str] = {}
        few = _most_padded(data)
        reference = [*view.signals(few.inputs, {})]
        self._along = {  # which mask is that of a signal, by number
            number: which
            for which, mask in enumerate(few.masks)
            for number in _find_positions(view, few, mask, reference)
        }
        padded = not all(mask.counts.all() for mask in few.masks)
        self._reached = padded and self._is_reached(few, reference)
        if self._reached:
            warn_user(
                "model: what stands at the positions that the mask leaves out moves what counts, "
                "so results depend on it, and nothing is proved of the network",
            )
        if padded and any(signal.rows is not None for signal in reference):
            self._left_out = dict(self._hindrances(data))
        layers = view.prunable_layers()
        for reason in {*self._left_out.values()}:
            names = [layers[k].name for k, own in self._left_out.items() if own == reason]
            listed = ", ".join(map(repr, names))
            warn_user(f"model: the layers {listed} are not pruned: {reason}")

    def prunable_layers(self) -> Sequence[LayerView]:
        """Return the layers of the view; those that meet nothing that counts are left out."""
        layers = [*self._view.prunable_layers()]
        for number, reason in self._left_out.items():
            layers[number] = replace(layers[number], left_out=reason)
        return layers

    def calibration(self, values: Any, name: str) -> Data:  # noqa: D102
        return self._view.calibration(values, name)

    def decides_by(self) -> Decision:  # noqa: D102
        return self._view.decides_by()

    def outputs(self) -> Sequence[str]:  # noqa: D102
        return self._view.outputs()

    def untouched(self) -> Sequence[Untouched]:  # noqa: D102
        return self._view.untouched()

    def keep(self, position: int, affine: Affine) -> Affine:  # noqa: D102
        return self._view.keep(position, affine)

    def with_weights(self, weights: Mapping[int, Affine]) -> Any:  # noqa: D102
        return self._view.with_weights(weights)

    def to_arrays(self) -> Mapping[str, NDArray[Any]]:  # noqa: D102
        return self._view.to_arrays()

    def score(self, X: Data, labels: Any) -> float | None:  # noqa: D102
        return self._view.score(X, labels)

    def number_labels(self, labels: ArrayLike) -> ArrayLike:  # noqa: D102
        return self._view.number_labels(labels)

    def timed_call(  # noqa: D102
        self, model: Any, X: Data, n_threads: int
    ) -> Callable[[], object] | None:
        return self._view.timed_call(model, _inputs(X), n_threads)

    def find_units(self, X: Data) -> UnitMap | None:  # noqa: D102
        return self._view.find_units(_inputs(X))

    def keep_units(self, model: Any, units: UnitMap, kept: NDArray[np.bool_]) -> Any:  # noqa: D102
        return self._view.keep_units(model, units, kept)

    def view_of(self, model: Any) -> ModelView | None:  # noqa: D102
        return self._view.view_of(model)

    def signals(self, X: Data, weights: Mapping[int, Affine]) -> Iterator[Signal]:
        """Walk data through the model; the positions that count are left of each signal."""
        for number, signal in enumerate(self._view.signals(_inputs(X), weights)):
            unknown = dict.fromkeys(signal.lipschitz, math.inf)
            lipschitz = unknown if self._reached else signal.lipschitz
            yield self._counting_signal(number, signal, X)._replace(lipschitz=lipschitz)

    def _hindrances(self, data: Samples) -> Iterator[tuple[int, str]]:
        """Yield layers that meet rows which the model picks, and cannot be pruned on these data."""
        for number, signal in enumerate(self._view.signals(data.inputs, {})):
            if signal.rows is None or not len(signal.values):
                continue
            if signal.rows.numbers is None:
                yield number, "which of the rows that reach it count is not known"
            elif not len(self._counting_signal(number, signal, data).values):
                yield number, "nothing that counts reaches it"

    def _counting_signal(self, number: int, signal: Signal, X: Data) -> Signal:
        """Return what counts of a signal: some positions, or some rows of those that are picked."""
        if signal.rows is None:
            return signal._replace(values=self._counting(number, signal.values, X))
        if signal.rows.numbers is None and number not in self._left_out and _has_padding(X):
            return signal._replace(values=signal.values[:0])  # for all that is known
        counts = _counts_of_rows(signal.rows, X)
        if counts is None:
            return signal
        places = np.flatnonzero(counts)
        return signal._replace(values=signal.values[places], rows=signal.rows.at(places))

    def output_values(self, X: Data, weights: Mapping[int, Affine]) -> list[Array]:
        """Return the outputs under some weights; the positions that count are left."""
        return self._counting_outputs(self._view.output_values(_inputs(X), weights), X)

    def run(self, model: Any, X: Data) -> Sequence[AnyFloat] | None:
        """Return the outputs as the framework computes them; the positions that count are left."""
        outputs = self._view.run(model, _inputs(X))
        return None if outputs is None else self._counting_outputs(outputs, X)

    def by_sample(self, outputs: Sequence[NDArray[Number]], X: Data) -> list[NDArray[Number]]:
        """Return outputs as `run` has them, a row for each sample; zeros where nothing counts."""
        first = len(self.prunable_layers())
        return [self._with_zeros(number, values, X) for number, values in enumerate(outputs, first)]

    def _with_zeros(self, number: int, values: NDArray[Number], X: Data) -> NDArray[Number]:
        counts = self._counts(number, X)
        if counts is None:
            return values
        whole = np.zeros((*counts.shape, *values.shape[1:]), values.dtype)
        whole[counts] = values
        return whole

    def _counting_outputs(
        self, outputs: Sequence[NDArray[Number]], X: Data
    ) -> list[NDArray[Number]]:
        first = len(self.prunable_layers())
        return [self._counting(number, values, X) for number, values in enumerate(outputs, first)]

    def _counting(self, number: int, values: NDArray[Number], X: Data) -> NDArray[Number]:
        """Return the positions of a signal that count."""
        counts = self._counts(number, X)
        if counts is None:
            return values
        if values.shape[:2] != counts.shape:  # as a framework may have an output inside
            values = values.reshape(*counts.shape, -1)
        return values[counts]

    def _counts(self, number: int, X: Data) -> NDArray[np.bool_] | None:
        """Return which positions of a signal count; None where it has no mask."""
        if not isinstance(X, Samples) or not X.masks or number not in self._along:
            return None
        return X.masks[self._along[number]].counts

    def _is_reached(self, few: Samples, reference: Sequence[Signal]) -> bool:
        """Tell whether what counts is another if the contents of all other positions are."""
        changed = _with_other_padding(few)
        if changed is None:
            return True  # nothing of it can be seen
        for number, signal in enumerate(self._view.signals(changed.inputs, {})):
            if signal.rows is not None and signal.rows.numbers is None:
                continue  # which of its rows count is not known
            before = self._counting_signal(number, reference[number], few).values
            after = self._counting_signal(number, signal, few).values
            if before.shape != after.shape:
                return True
            scale = float(np.abs(before[np.isfinite(before)]).max(initial=0.0))
            if not np.allclose(before, after, ROUNDING, ROUNDING * scale, equal_nan=True):
                return True
        return False


def _has_padding(X: Data) -> bool:
    return isinstance(X, Samples) and not all(mask.counts.all() for mask in X.masks)


def _inputs(X: Data) -> Data:
    return X.inputs if isinstance(X, Samples) else X


def _most_padded(data: Samples) -> Samples:
    """Return a few samples in which something counts, and the least."""
    numbers = np.sum([mask.counts.sum(axis=1) for mask in data.masks], axis=0)
    return data[np.argsort(np.where(numbers, numbers, np.inf), kind="stable")[:FEW]]


def _find_positions(
    view: ModelView, few: Samples, mask: Mask, reference: Sequence[Signal]
) -> frozenset[int]:
    """Return which signals have the positions of the mask as their second axis, by number."""
    n_positions = mask.counts.shape[1]
    whole = {k: signal.values for k, signal in enumerate(reference) if signal.rows is None}
    found = {k for k, x in whole.items() if x.ndim > 1 and x.shape[1] == n_positions}
    shapes = _shapes_without_last(view, few, mask)
    if shapes is None:
        return frozenset(k for k in found if whole[k].ndim > 2)  # else these may be features
    return frozenset(k for k in found if shapes[k][1] == n_positions - 1)


def _counts_of_rows(rows: PickedRows, X: Data) -> NDArray[np.bool_] | None:
    """Return which rows that a model picks count; None where no mask is known to speak of them."""
    masks = X.masks if isinstance(X, Samples) else ()
    counts = [mask.counts.ravel() for mask in masks if mask.counts.size == rows.total]
    if rows.numbers is None or not counts:
        return None
    return np.asarray(np.all(counts, axis=0)[rows.numbers])


def _shapes_without_last(view: ModelView, few: Samples, mask: Mask) -> list[tuple[int, ...]] | None:
    """Return the shapes of signals of samples that lack their last position; None if none pass."""
    if mask.counts.shape[1] == 1:
        return None
    arrays = {name: a[:, :-1] if name in mask.inputs else a for name, a in few.arrays.items()}
    shorter = Samples(arrays, few.shared).inputs
    try:
        return [signal.values.shape for signal in view.signals(shorter, {})]
    except Exception:  # noqa: BLE001 (a model may take samples of one length alone)
        return None


def _with_other_padding(samples: Samples) -> Samples | None:
    """Put contents of positions that count where nothing counts; None where that changes nothing.

    An input that says itself which positions count stays.
    """
    arrays = dict(samples.arrays)
    for mask in samples.masks:
        counts = mask.counts
        for name in mask.inputs:
            if not np.array_equal(arrays[name], counts):
                arrays[name] = _with_cycled(arrays[name], counts)
        same = all(np.array_equal(arrays[name], samples.arrays[name]) for name in mask.inputs)
        if same and not counts.all():
            return None
    return Samples(arrays, samples.shared)


def _with_cycled(array: NDArray[Any], counts: NDArray[np.bool_]) -> NDArray[Any]:
    """Put what counts, as often as it takes, where nothing does; first what was not there."""
    values, padding = array[counts], array[~counts]
    different = [k for k, value in enumerate(values) if (value != padding[:1]).any()]
    order = np.arange(len(padding)) + (different or [0])[0]
    changed = array.copy()
    changed[~counts] = values[order % len(values)]
    return changed
