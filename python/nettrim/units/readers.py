"""The layers that read one signal, checked: which of their features each of its units gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from ..base.arguments import check_booleans, check_number, show
from ..base.arrays import Array, as_plain_array, frobenius_norm
from ..budget.data import BudgetData, double_matrix
from ..layer.gram import Gram

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Mask = NDArray[np.bool_]
    UnitNumbers = NDArray[np.int32]

__all__ = ["Reader", "Readers", "check_groups", "check_numbering", "is_of_several", "one_each"]

ForEach = Any  # what `Readers.of` says of it, or a sequence of these

ALWAYS = -1  # the unit of features that belong to none


@dataclass(frozen=True)
class Reader:
    """A layer that reads a signal, and the unit that each of its features comes from.

    Attributes
    ----------
    data : BudgetData
    unit_of : ndarray of int32, of shape (n_features,)
        -1 for features that belong to no unit and always stay.
    importance : float
        What the square of its relative error counts.
    source : int
        The first of all readers with the same samples: those who share them have the same.
    """

    data: BudgetData
    unit_of: UnitNumbers
    importance: float
    source: int

    @cached_property
    def factor(self) -> float:
        """What a squared error of its outputs counts, in the units that are computed with."""
        length = frobenius_norm(self.data.outputs(self.data.Y))
        return self.importance / (length**2 if length > 0 else 1.0)

    def features_of(self, units: Mask) -> Mask:
        """Mark the features that are left with some units."""
        left: Mask = (self.unit_of == ALWAYS) | units[self.unit_of]
        return left


@dataclass(frozen=True)
class Readers:
    """All layers that read one signal: a unit that is removed is removed from each of them.

    Attributes
    ----------
    each : tuple of Reader
    keep : ndarray of bool, of shape (n_units,)
        Units that must stay.
    is_sequence : bool
        Whether these were given as a sequence, as answers are then.
    """

    each: tuple[Reader, ...]
    keep: Mask
    is_sequence: bool

    @property
    def n_units(self) -> int:  # noqa: D102
        return len(self.keep)

    @classmethod
    def of(
        cls,
        X: ForEach,
        Y: ForEach,
        weights: ForEach,
        groups: ForEach,
        *,
        activation: ForEach = None,
        upper: ForEach = None,
        active: ForEach = None,
        keep: ArrayLike | None = None,
        importance: ForEach = None,
    ) -> Readers:
        """Check what the caller gave: of one reader, or sequences with one entry for each.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_features), or Gram
        Y : array_like of shape (n_samples, n_outputs)
        weights : array_like of shape (n_features, n_outputs) or None
            None where a solver does without: zeros.
        groups : array_like of int, of shape (n_features,)
            The unit of each feature, from 0; -1 for a feature of none.
        activation, upper, active
            As in `solve_layer_budget`; a word, a pair of functions or a number is for all readers.
        keep : array_like of bool, of shape (n_units,), optional
        importance : float or sequence of float, optional
            Default 1.

        Raises
        ------
        ValueError, TypeError
            If an argument makes no sense; the message names it, and its reader among several.
        """
        if not is_of_several(X):
            reader = _reader(X, Y, weights, groups, activation, upper, active, importance)
            return cls._with_units((reader,), keep, False)
        count = len(X)
        samples = _shared_samples(X)
        is_for_all = isinstance(activation, (str, tuple))
        arguments = zip(
            samples,
            one_each(Y, count, "Y"),
            one_each(weights, count, "weights"),
            one_each(groups, count, "groups"),
            [activation] * count if is_for_all else one_each(activation, count, "activation"),
            one_each(upper, count, "upper"),
            one_each(active, count, "active"),
            one_each(importance, count, "importance"),
            strict=True,
        )
        each = []
        for k, given in enumerate(arguments):
            source = next(i for i in range(k + 1) if samples[i] is samples[k])
            try:
                each.append(_reader(*given, source=source))
            except (ValueError, TypeError) as error:
                raise type(error)(f"{error} (of reader {k})") from None
        return cls._with_units(tuple(each), keep, True)

    @classmethod
    def _with_units(
        cls, each: tuple[Reader, ...], keep: ArrayLike | None, is_sequence: bool
    ) -> Readers:
        n_units = check_numbering([reader.unit_of for reader in each])
        mask = np.zeros(n_units, bool) if keep is None else check_booleans(keep, "keep")
        if mask.shape != (n_units,):
            raise ValueError(f"keep must have one entry for each of the {n_units} units")
        return cls(each, mask, is_sequence)


def _reader(
    X: ArrayLike | Gram,
    Y: ArrayLike | None,
    weights: ArrayLike | None,
    groups: ArrayLike,
    activation: Any,
    upper: ArrayLike | None,
    active: ArrayLike | None,
    importance: float | None,
    *,
    source: int = 0,
) -> Reader:
    start = _zeros(X, Y) if weights is None else weights
    data = BudgetData.of(X, Y, start, activation, upper, active, None, None)
    counts = 1.0 if importance is None else check_number(importance, "importance", above=0.0)
    return Reader(data, check_groups(groups, data.X.shape[1]), counts, source)


def check_numbering(unit_of: Sequence[UnitNumbers]) -> int:
    """Return how many units there are in the groups of all readers.

    Raises
    ------
    ValueError
        If there is none, or a number without a feature.
    """
    found = np.unique(np.concatenate(unit_of))
    found = found[found != ALWAYS]
    n_units = len(found)
    if n_units == 0:
        raise ValueError("groups must hold at least one unit that may be removed: all are -1")
    if found[-1] != n_units - 1:
        missing = int(np.setdiff1d(np.arange(n_units), found)[0])
        raise ValueError(
            f"groups must number the units from 0 without gaps: no feature is of unit {missing}"
        )
    return n_units


def check_groups(groups: ArrayLike, n_features: int) -> UnitNumbers:
    """Return the unit of each feature, from 0, or -1 for none."""
    array = as_plain_array(groups, "groups")
    if array.dtype.kind not in "iu":
        raise TypeError(f"groups must hold whole numbers, got {array.dtype}")
    if array.shape != (n_features,):
        raise ValueError(
            f"groups must have one entry for each of the {n_features} features, got shape "
            f"{array.shape}"
        )
    if array.min() < ALWAYS:
        raise ValueError(f"groups must be units from 0, or -1 for none, got {array.min()}")
    if array.max() > np.iinfo(np.int32).max:
        raise ValueError(f"groups must number the units without gaps, got {array.max()}")
    return np.ascontiguousarray(array, dtype=np.int32)


def _zeros(X: ArrayLike | Gram, Y: ArrayLike | None) -> Array:
    if isinstance(X, Gram):
        if X.n_outputs is None:
            raise ValueError("weights are needed: this Gram has no outputs")
        return np.zeros((X.n_features, X.n_outputs))
    if Y is None:
        raise ValueError("Y is needed: the outputs to reproduce, one row for each of X")
    return np.zeros((double_matrix(X, "X").shape[1], double_matrix(Y, "Y").shape[1]))


def is_of_several(X: Any) -> bool:
    """Tell a sequence of matrices from a matrix, which may be a sequence of rows."""
    return isinstance(X, (list, tuple)) and len(X) > 0 and all(map(_is_matrix, X))


def _is_matrix(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return len(value) > 0 and isinstance(value[0], (list, tuple, np.ndarray))
    return isinstance(value, Gram) or len(getattr(value, "shape", ())) == 2


def _shared_samples(X: Sequence[Any]) -> list[Array | Gram]:
    """Return the samples of every reader, those that are one object converted once."""
    converted: dict[int, Array | Gram] = {}
    for k, samples in enumerate(X):
        if id(samples) not in converted:
            is_gram = isinstance(samples, Gram)
            converted[id(samples)] = samples if is_gram else double_matrix(samples, f"X[{k}]")
    return [converted[id(samples)] for samples in X]


def one_each(value: Any, count: int, name: str) -> Sequence[Any]:
    """Return what is given for each reader; nothing, or a number, is for all of them."""
    if value is None or isinstance(value, Real):
        return [value] * count
    if not isinstance(value, (list, tuple)) or len(value) != count:
        raise ValueError(
            f"{name} must be a sequence with one entry for each of the {count} readers, "
            f"got {show(value)}"
        )
    return value
