"""Readers of one signal side by side: the arrays of one program, and each reader's part of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..base.arguments import check_matrix
from ..base.arrays import check_finite
from ..layer.data import LayerData
from ..layer.gram import Gram
from .readers import check_groups, check_numbering, is_of_several, one_each

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.floating[Any]]
    ForEach = Any  # of one reader, or a sequence with one entry for each

__all__ = ["UnitsProgram"]

# An upper bound that asks for nothing, over the largest output of all.
BOUNDLESS = 2.0**20


class Part(NamedTuple):
    """Where a reader is in the arrays of all."""

    samples: slice
    features: slice
    outputs: slice


@dataclass(frozen=True)
class UnitsProgram:
    """Validated arrays of all readers as one layer whose features come in groups.

    Readers of the same samples are side by side as outputs. Those of other samples are further
    rows, features and outputs; nothing is asked of what they have in common with the first.

    Attributes
    ----------
    layer : LayerData
    groups : ndarray of int64, of shape (n_live_features,)
        The unit of each feature that is not always zero; -1 for those of none.
    prices : ndarray of float64, of shape (n_units,)
    parts : tuple of Part
        Of each reader.
    several : bool
        Whether the caller gave a sequence of readers.
    """

    layer: LayerData
    groups: NDArray[np.int64]
    prices: NDArray[np.float64]
    parts: tuple[Part, ...]
    several: bool

    @classmethod
    def of(
        cls,
        X: ForEach,
        Y: ForEach,
        groups: ForEach,
        prices: ArrayLike | None,
        activation: ForEach,
        upper: ForEach,
        active: ForEach,
        precision: np.dtype[Any],
    ) -> UnitsProgram:
        """Check what the caller gave."""
        several = is_of_several(X)
        readers = _readers(X, Y, groups, activation, upper, active, precision, several)
        n_units = check_numbering([unit_of for _, unit_of in readers])
        blocks = _blocks(readers)
        layer, parts = _side_by_side([data for data, _ in readers], blocks)
        unit_of = np.concatenate([readers[block[0]][1] for block in blocks]).astype(np.int64)
        live: NDArray[np.bool_] = np.asarray(layer.X.any(axis=0))
        live[0] |= not live.any()
        layer = replace(layer, X=np.compress(live, layer.X, axis=1), live=live)
        return cls(layer, unit_of[live], _check_prices(prices, n_units), parts, several)

    @property
    def n_units(self) -> int:  # noqa: D102
        return len(self.prices)

    def core_arguments(self) -> dict[str, Any]:
        """Return the arguments of the compiled core that pose the program."""
        return {
            "X": self.layer.X,
            "Y": self.layer.Y,
            "upper": self.layer.upper,
            "active": self.layer.active,
            "relu": self.layer.relu,
            "groups": self.groups,
            "prices": self.prices,
        }

    def norms(self, weights: Floats) -> NDArray[np.float64]:
        """Return the norm of every unit's weights, on the features that are not always zero."""
        squares = (weights.astype(np.float64) ** 2).sum(axis=1)
        of_unit = self.groups >= 0
        sums = np.bincount(self.groups[of_unit], squares[of_unit], self.n_units)
        norms: NDArray[np.float64] = np.sqrt(sums)
        return norms

    def weights_of_readers(self, weights: Floats) -> Floats | tuple[Floats, ...]:
        """Return each reader's weights, on all of its features."""
        full = np.zeros((len(self.layer.live), weights.shape[1]), weights.dtype)
        full[self.layer.live] = weights
        return self._for_each([full[part.features, part.outputs] for part in self.parts])

    def dual_of_readers(self, dual: Floats) -> Floats | tuple[Floats, ...]:
        """Return each reader's multipliers."""
        return self._for_each([dual[part.samples, part.outputs] for part in self.parts])

    def together(self, given: ForEach, name: str, shape: tuple[str, str]) -> Floats:
        """Return arrays of each reader in one of all, ``shape`` says which parts they are.

        Raises
        ------
        ValueError, TypeError
            If one has another shape than its reader's.
        """
        each = one_each(given, len(self.parts), name) if self.several else [given]
        whole = np.zeros(self._size_of(shape), self.layer.X.dtype)
        for part, array in zip(self.parts, each, strict=True):
            place = getattr(part, shape[0]), getattr(part, shape[1])
            checked = check_matrix(array, name, self.layer.X.dtype)
            if checked.shape != whole[place].shape:
                raise ValueError(
                    f"{name} must have shape {whole[place].shape}, got {checked.shape}"
                )
            whole[place] = checked
        return whole

    def _size_of(self, shape: tuple[str, str]) -> tuple[int, ...]:
        return tuple(max(getattr(part, name).stop for part in self.parts) for name in shape)

    def _for_each(self, arrays: list[Floats]) -> Floats | tuple[Floats, ...]:
        each = tuple(np.ascontiguousarray(array) for array in arrays)
        return each if self.several else each[0]


def _readers(
    X: ForEach,
    Y: ForEach,
    groups: ForEach,
    activation: ForEach,
    upper: ForEach,
    active: ForEach,
    precision: np.dtype[Any],
    several: bool,
) -> list[tuple[LayerData, NDArray[np.int32]]]:
    if not several:
        return [_reader(X, Y, groups, activation, upper, active, precision)]
    count = len(X)
    is_for_all = isinstance(activation, str)
    arguments = zip(
        X,
        one_each(Y, count, "Y"),
        one_each(groups, count, "groups"),
        [activation] * count if is_for_all else one_each(activation, count, "activation"),
        one_each(upper, count, "upper"),
        one_each(active, count, "active"),
        [precision] * count,
        strict=True,
    )
    readers = []
    for k, given in enumerate(arguments):
        try:
            readers.append(_reader(*given))
        except (ValueError, TypeError) as error:
            raise type(error)(f"{error} (of reader {k})") from None
    return readers


def _reader(
    X: ArrayLike,
    Y: ArrayLike,
    groups: ArrayLike,
    activation: str,
    upper: ArrayLike | None,
    active: ArrayLike | None,
    precision: np.dtype[Any],
) -> tuple[LayerData, NDArray[np.int32]]:
    if isinstance(X, Gram):
        raise TypeError("X must be an array of samples, got a Gram")
    inputs = check_matrix(X, "X", precision)
    data = LayerData.of(inputs, Y, activation, upper, active, precision)
    return replace(data, X=inputs), check_groups(groups, inputs.shape[1])


def _check_prices(prices: ArrayLike | None, n_units: int) -> NDArray[np.float64]:
    if prices is None:
        return np.ones(n_units)
    array = check_finite(prices, "prices", ndim=1).astype(np.float64)
    if array.shape != (n_units,):
        raise ValueError(
            f"prices must have one entry for each of the {n_units} units, got shape {array.shape}"
        )
    if not (array > 0).all():
        raise ValueError(f"prices must be positive, got {array.min():g}")
    return np.ascontiguousarray(array)


def _blocks(readers: Sequence[tuple[LayerData, NDArray[np.int32]]]) -> list[list[int]]:
    """Return the numbers of readers that have the same samples and features, for each kind."""
    blocks: list[list[int]] = []
    for k, (data, unit_of) in enumerate(readers):
        for block in blocks:
            first, units = readers[block[0]]
            if np.array_equal(units, unit_of) and _is_same(first.X, data.X):
                block.append(k)
                break
        else:
            blocks.append([k])
    return blocks


def _is_same(one: Floats, other: Floats) -> bool:
    return one is other or np.array_equal(one, other)


def _side_by_side(
    readers: Sequence[LayerData], blocks: Sequence[Sequence[int]]
) -> tuple[LayerData, tuple[Part, ...]]:
    """Return all readers as one layer, and where each of them is in it."""
    if len(readers) == 1:
        (only,) = readers
        whole = Part(slice(0, len(only.X)), slice(0, only.X.shape[1]), slice(0, only.Y.shape[1]))
        return only, (whole,)
    parts: dict[int, Part] = {}
    rows = columns = outputs = 0
    for block in blocks:
        n_rows, n_columns = readers[block[0]].X.shape
        for k in block:
            width = readers[k].Y.shape[1]
            parts[k] = Part(
                slice(rows, rows + n_rows),
                slice(columns, columns + n_columns),
                slice(outputs, outputs + width),
            )
            outputs += width
        rows, columns = rows + n_rows, columns + n_columns
    placed = tuple(parts[k] for k in range(len(readers)))
    return _merged(readers, placed, (rows, columns, outputs)), placed


def _merged(
    readers: Sequence[LayerData], parts: Sequence[Part], sizes: tuple[int, int, int]
) -> LayerData:
    rows, columns, outputs = sizes
    first = readers[0]
    X = np.zeros((rows, columns), first.X.dtype)
    Y = np.zeros((rows, outputs), first.X.dtype)
    active = np.zeros(Y.shape, bool)
    largest = max(float(np.abs(data.Y).max()) for data in readers) or 1.0
    upper = np.full(Y.shape, BOUNDLESS * largest, first.X.dtype)
    for data, part in zip(readers, parts, strict=True):
        place = part.samples, part.outputs
        X[part.samples, part.features] = data.X
        Y[place] = data.Y
        active[place] = data.is_active(slice(None))
        upper[place] = 0.0 if data.upper is None else data.upper
    if active.all():  # linear readers of the same samples
        return replace(first, X=X, Y=Y, upper=None, active=None, relu=False)
    return replace(first, X=X, Y=Y, upper=upper, active=active, relu=True)
