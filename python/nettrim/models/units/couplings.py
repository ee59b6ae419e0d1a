"""Which units go together: found by following them through a model, call by call.

Every adapter follows units through its own graph and says what happens to them here; what can go
comes out in the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from .unit_map import FIXED, UNREAD, CutTensor, LayerUnits, UnitCount, UnitMap, Units, UnitSignal

__all__ = ["Couplings", "UnitAxis"]

Shape = tuple[int, ...]
COMBINED = "it is combined with signals that stay"
ALONE = "there is but one"
VAGUE = (COMBINED, ALONE)  # reasons that are told where there is no better one


class UnitAxis(NamedTuple):
    """The axis of a tensor along which units lie.

    Attributes
    ----------
    axis : int
        From 0.
    units : ndarray
        The unit at each index.
    """

    axis: int
    units: Units

    def permuted(self, order: Sequence[int]) -> UnitAxis:
        """Return the same when axes have come into another order."""
        return self._replace(axis=[*order].index(self.axis))


class Couplings:
    """What is known of the units met so far."""

    def __init__(self) -> None:
        self._count = 0
        self._made: list[tuple[str, Units]] = []
        self._ties: list[tuple[Units, Units]] = []
        self._fixed: list[tuple[Units, str]] = []
        self._layers: list[LayerUnits] = []
        self._tensors: list[CutTensor] = []
        self._counts: list[UnitCount] = []

    def make(self, count: int, writer: str) -> Units:
        """Return new units, which a layer writes."""
        units = np.arange(self._count, self._count + count)
        self._count += count
        self._made.append((writer, units))
        return units

    def tie(self, one: Units, other: Units) -> None:
        """Say that units go together, pair by pair."""
        self._ties.append((one, other))

    def fix(self, units: Units, reason: str) -> None:
        """Say that units have to stay; the reason completes "its units stay: "."""
        self._fixed.append((units, reason))

    def layer(self, name: str, features: Units, outputs: Units) -> None:
        """Say what units a prunable layer reads and writes, in the order of its affine map."""
        self._layers.append(LayerUnits(name, features, outputs))

    def tensor(self, name: str, shape: Shape, axes: Mapping[int, Units], uses: int = 0) -> None:
        """Say that units lie along axes of a tensor of the model; see `CutTensor`."""
        self._tensors.append(CutTensor(name, shape, axes, uses))

    def count(self, name: str, units: Units) -> None:
        """Say that a number of the model counts units."""
        self._counts.append(UnitCount(name, units))

    # --- what calls do to them --------------------------------------------------------------------

    def reshape(self, given: UnitAxis, before: Shape, after: Shape) -> UnitAxis | None:
        """Follow units through a change of shape; None where they get out of order.

        An axis that is taken apart, like the features of several heads, makes one unit of those
        that share its first part.
        """
        in_front = math.prod(before[: given.axis])
        size, behind = before[given.axis], math.prod(before[given.axis + 1 :])
        for axis, now in enumerate(after):
            if math.prod(after[:axis]) != in_front or (now == 1 and size > 1):
                continue
            if now == size:
                return UnitAxis(axis, given.units)
            if now > size and now % size == 0 and behind % (now // size) == 0:
                return UnitAxis(axis, np.repeat(given.units, now // size))
            if size % now == 0 and math.prod(after[axis:]) == size * behind:
                return UnitAxis(axis, self._gather(given.units.reshape(now, -1)))
        return self._merge_in_front(given, before, after)

    def combine(self, operands: Iterable[tuple[UnitAxis | None, Shape]]) -> UnitAxis | None:
        """Follow units through an operation on entries, of one or more operands of some shapes.

        Units that meet go together. Operands without units must not vary along theirs.
        """
        given = [*operands]
        n_axes = max(len(shape) for _, shape in given)
        known = [
            UnitAxis(at.axis + n_axes - len(shape), at.units)
            for at, shape in given
            if at is not None
        ]
        if not known:
            return None
        first = known[0]
        for other in known[1:]:
            if other.axis != first.axis or len(other.units) != len(first.units):
                self.fix(other.units, "it is combined with other axes of signals")
                self.fix(first.units, "it is combined with other axes of signals")
            else:
                self.tie(first.units, other.units)
        for at, shape in given:
            axis = first.axis - n_axes + len(shape)
            if at is None and axis >= 0 and shape[axis] > 1:
                self.fix(first.units, COMBINED)
        return first

    def join(self, parts: Sequence[tuple[UnitAxis | None, Shape]], axis: int) -> UnitAxis | None:
        """Follow units through a concatenation along an axis."""
        if any(at is not None and at.axis != axis for at, _ in parts):
            return self.combine([(at, _without(shape, axis)) for at, shape in parts])
        if all(at is None for at, _ in parts):
            return None
        return UnitAxis(
            axis,
            np.concatenate(
                [np.full(shape[axis], FIXED) if at is None else at.units for at, shape in parts]
            ),
        )

    def straighten(self, grids: Sequence[NDArray[np.intp]]) -> list[UnitAxis]:
        """Let units that lie along several axes of tensors go in whole slices along one of them.

        Which one shows from what else goes together; where that leaves a choice, it is the one with
        most units.

        Parameters
        ----------
        grids : sequence of ndarray
            The unit at each place.

        Returns
        -------
        list of UnitAxis
            One for each; units that are the only one of theirs have to stay.
        """
        classes = self._classes()
        while None in (axes := [_only_axis(classes[grid]) for grid in grids]):
            self._tie_slices(grids[axes.index(None)], classes)
            classes = self._classes()
        found = [_lie(grid, int(axis or 0)) for grid, axis in zip(grids, axes, strict=True)]
        for at in found:
            if len(np.unique(classes[at.units])) == 1:
                self.fix(at.units, ALONE)
        return found

    def _tie_slices(self, grid: NDArray[np.intp], classes: Units) -> None:
        """Make one unit of each slice along the axis of a grid where most units are left."""
        slices = [
            np.moveaxis(grid, axis, 0).reshape(size, -1) for axis, size in enumerate(grid.shape)
        ]
        best = max(slices, key=lambda rows: _count_apart(classes[rows]))
        self._gather(best)

    def _gather(self, units: NDArray[np.intp]) -> Units:
        """Make one unit of each row."""
        for column in units.T[1:]:
            self.tie(units[:, 0], column)
        return units[:, 0]

    def _merge_in_front(self, given: UnitAxis, before: Shape, after: Shape) -> UnitAxis | None:
        """Follow units whose axis becomes one with those in front of it."""
        behind = math.prod(before[given.axis + 1 :])
        for axis, now in enumerate(after):
            size = len(given.units)
            if math.prod(after[axis + 1 :]) == behind and now > size and now % size == 0:
                return UnitAxis(axis, np.tile(given.units, now // size))
        return None

    # --- what comes out ---------------------------------------------------------------------------

    def finish(self) -> UnitMap:
        """Return the units that can go, and all that goes with them."""
        owner = self._owners()
        reasons = self._reasons(owner)
        free = np.isin(np.arange(owner.max(initial=FIXED) + 1), [*reasons], invert=True)
        number = np.append(np.where(free, np.cumsum(free) - 1, FIXED), FIXED)

        def seen(units: Units) -> Units:
            """Return the numbers that some units have in the end."""
            return np.asarray(number[owner[units]])

        layers = [
            LayerUnits(layer.layer, seen(layer.features), seen(layer.outputs))
            for layer in self._layers
        ]
        return UnitMap(
            n_units=int(free.sum()),
            signals=self._signals(seen, int(free.sum())),
            layers=tuple(u for u in layers if _any(u.features) or _any(u.outputs)),
            tensors=tuple(
                tensor._replace(axes={axis: seen(units) for axis, units in tensor.axes.items()})
                for tensor in self._tensors
            ),
            counts=tuple(UnitCount(name, seen(units)) for name, units in self._counts),
            left_out={
                writer: reasons[int(owner[units[0]])]
                for writer, units in self._made
                if not _any(seen(units))
            },
        )

    def _owners(self) -> Units:
        """Return for every unit the number of those that it goes with, `FIXED` for that itself."""
        pairs = np.concatenate([np.array(tie).T for tie in [*self._ties, _NONE]])
        pairs = pairs[(pairs != FIXED).all(axis=1)]
        shape = (self._count, self._count)
        graph = coo_array((np.ones(len(pairs), dtype=bool), tuple(pairs.T)), shape)
        return np.append(connected_components(graph, directed=False)[1], FIXED).astype(np.intp)

    def _classes(self) -> Units:
        """Return the same, and `FIXED` for those that have to stay, as far as is known."""
        owner = self._owners()
        told = [units for units, _ in [*self._fixed, *self._tied_to_fixed()]]
        stay = np.unique(owner[np.concatenate([_NONE[0], *told])])
        return np.where(np.isin(owner, stay), FIXED, owner)

    def _reasons(self, owner: Units) -> dict[int, str]:
        """Return which of those that go together have to stay, and why."""
        reasons: dict[int, str] = {}
        told = sorted(self._fixed, key=lambda fixed: fixed[1] in VAGUE)
        for units, reason in [*told, *self._tied_to_fixed()]:
            for number in np.unique(owner[units]):
                reasons.setdefault(int(number), reason)
        read = np.concatenate([np.zeros(0, np.intp), *(layer.features for layer in self._layers)])
        for number in np.setdiff1d(owner, owner[read]):
            reasons.setdefault(int(number), UNREAD)
        reasons.pop(FIXED, None)
        return reasons

    def _tied_to_fixed(self) -> Iterable[tuple[Units, str]]:
        for one, other in self._ties:
            yield np.concatenate([one[other == FIXED], other[one == FIXED]]), COMBINED

    def _signals(self, seen: Callable[[Units], Units], n_units: int) -> tuple[UnitSignal, ...]:
        """Return units by the tensors that they lie in side by side."""
        written = [
            (name, np.unique(seen(units)[seen(units) != FIXED])) for name, units in self._made
        ]
        chains = [units for _, units in written if len(units) > 1]
        pairs = np.concatenate([np.array(_NONE).T, *(np.c_[u[:-1], u[1:]] for u in chains)])
        graph = coo_array((np.ones(len(pairs), dtype=bool), tuple(pairs.T)), (n_units, n_units))
        label = connected_components(graph, directed=False)[1] if n_units else _NONE[0]
        names: dict[int, str] = {}
        for name, units in written:
            for unit in units[:1]:
                names.setdefault(int(label[unit]), name)
        return tuple(UnitSignal(name, np.flatnonzero(label == k)) for k, name in names.items())


_NONE = (np.zeros(0, np.intp), np.zeros(0, np.intp))


def _only_axis(classes: NDArray[np.intp]) -> int | None:
    """Return the axis along which alone classes vary; None if they vary along several."""
    axes = [axis for axis in range(classes.ndim) if (classes != classes.take([0], axis)).any()]
    if len(axes) > 1:
        return None
    return axes[0] if axes else int(np.argmax(classes.shape))


def _lie(grid: NDArray[np.intp], axis: int) -> UnitAxis:
    """Return what lies along an axis, at the first index of all others."""
    return UnitAxis(axis, np.moveaxis(grid, axis, 0).reshape(grid.shape[axis], -1)[:, 0])


def _count_apart(rows: NDArray[np.intp]) -> int:
    """Return how many classes are left, none that stays, if those in each row go together."""
    names, places = np.unique(rows, return_inverse=True)
    numbers = np.broadcast_to(np.arange(len(rows))[:, np.newaxis], rows.shape).ravel()
    shape = (len(rows) + len(names), len(rows) + len(names))
    pairs = (numbers, len(rows) + places.ravel())
    graph = coo_array((np.ones(rows.size, dtype=bool), pairs), shape)
    label = connected_components(graph, directed=False)[1]
    stays = label[len(rows) :][names == FIXED]
    return len(np.setdiff1d(label, stays))


def _any(units: Units) -> bool:
    return bool((units != FIXED).any())


def _without(shape: Shape, axis: int) -> Shape:
    """Return a shape that does not vary along an axis."""
    return (*shape[:axis], 1, *shape[axis + 1 :])
