"""What it costs a network to lose units, signal by signal.

Each signal loses its units one by one, those first without which the layers that read it come
closest to what they gave; how much that is for the network is measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...base.arrays import Array, frobenius_norm
from ...budget.data import BudgetData
from ...models.model_view import Signal
from ...models.units.unit_map import FIXED, LayerUnits, UnitMap, Units
from ...units.budget_trace import trace_readers
from ...units.readers import Reader, Readers
from .judge import Judge
from .method import Run
from .posing import pose, split_groups, with_free_bias
from .sensitivity import Sensitivity
from .unit_sizes import SignalCurve, allowed_sizes

__all__ = ["UnitCurves"]

TINY = float(np.finfo(float).tiny)

Mask = NDArray[np.bool_]


class _Posed(NamedTuple):
    """A layer that reads units, on the original signals.

    Attributes
    ----------
    position : int
    features : ndarray
        The unit of each of its features, `FIXED` for a bias.
    data : BudgetData
    root : ndarray of shape (n_outputs, n_outputs) or None
        What its signals are multiplied by, so that they count as they do for the network.
    """

    position: int
    features: Units
    data: BudgetData
    root: Array | None

    def reader(self, number: Units, source: int) -> Reader:
        """Return the layer as surgery takes it, given the number that each unit has there."""
        importance = 1.0
        if self.root is not None:
            importance = max(frobenius_norm(self.data.outputs(self.data.Y)) ** 2, TINY)
        return Reader(self.data, number[self.features].astype(np.int32), importance, source)

    def weights(self, found: Array) -> Array:
        """Return weights of the layer for those that surgery found."""
        if self.root is None:
            return found
        return np.asarray(np.linalg.solve(self.root, found.T).T, dtype=np.float64)


@dataclass(frozen=True)
class UnitCurves:
    """Measures what it costs a network to lose units.

    Attributes
    ----------
    run : Run
    units : UnitMap
    min_width, multiple_of : int
    share : float
        Of its units that a signal is left with where its losses are compared with the network's.
    n_threads : int
    """

    run: Run
    units: UnitMap
    min_width: int
    multiple_of: int
    share: float
    n_threads: int

    def measure(self) -> list[SignalCurve]:
        """Return a curve for every signal that may shrink."""
        curves: list[SignalCurve] = []
        waiting = self._signals_to_shrink()
        judge = Judge.of(self.run, max(1, len(waiting)))
        sensitivity = Sensitivity.of(self.run)
        posed: dict[str, list[_Posed]] = {}
        reading = {layer.layer: layer for layer in self.units.layers}
        for position, signal in enumerate(self.run.view.signals(self.run.data, {})):
            if position >= len(self.run.layers):
                break
            layer = self.run.layers[position]
            if layer.name not in reading:
                continue
            posed[layer.name] = [*self._pose(position, signal, reading[layer.name], sensitivity)]
            for units in [s for s in waiting if self._readers(s) <= posed.keys()]:
                self.run.report.stage("measuring units", len(curves), len(curves) + len(waiting))
                waiting.remove(units)
                reading_them = self._readers(units)
                readers = [one for name in posed if name in reading_them for one in posed[name]]
                curves.append(self._curve(np.array(units), readers, judge))
        return curves

    def _pose(
        self, position: int, signal: Signal, units: LayerUnits, sensitivity: Sensitivity
    ) -> Iterator[_Posed]:
        """Pose a layer so that its errors count as they do for the network, where that is known.

        One of several groups, that read the same units in their own places, group by group.
        """
        task = with_free_bias(self.run.task(position, signal, signal))
        program = pose(self.run, task, cascaded=False)
        weights = task.layer.affine.stacked
        is_free = not np.isin(units.features, FIXED).all() and program.groups == 1
        root = sensitivity.root(position, task.layer.affine, program.X) if is_free else None
        if root is None:
            for data in split_groups(task.layer, program, None):
                yield _Posed(position, _with_bias(units, data), data, None)
            return
        judged = weights @ root
        keep = np.arange(len(weights)) >= len(units.features)
        data = BudgetData.of(
            program.X, program.X @ judged, judged, "linear", None, None, keep, None
        )
        yield _Posed(position, _with_bias(units, data), data, root)

    def _signals_to_shrink(self) -> list[tuple[int, ...]]:
        """Return the signals that only layers write and read that may change."""
        chosen = {self.run.layers[position].name for position in self.run.chosen}
        signals = [tuple(signal.units.tolist()) for signal in self.units.signals]
        return [units for units in signals if self._touching(units) <= chosen]

    def _touching(self, units: Sequence[int]) -> set[str]:
        return {
            layer.layer
            for layer in self.units.layers
            if np.isin(layer.features, units).any() or np.isin(layer.outputs, units).any()
        }

    def _readers(self, units: Sequence[int]) -> set[str]:
        return {u.layer for u in self.units.layers if np.isin(u.features, units).any()}

    def _curve(self, units: Units, readers: Sequence[_Posed], judge: Judge) -> SignalCurve:
        """Return what it costs the network to lose units of a signal."""
        number = np.full(self.units.n_units + 1, FIXED)
        number[units] = np.arange(len(units))
        each = tuple(posed.reader(number, k) for k, posed in enumerate(readers))
        keep = self._must_stay(units)
        trace = trace_readers(Readers(each, keep, True), None, None, self.n_threads, None)
        sizes = allowed_sizes(self.units, units, self.min_width, self.multiple_of)
        sizes = sizes[sizes >= keep.sum()]
        removed = int(len(units) - sizes[np.argmin(np.abs(sizes - self.share * len(units)))])
        effect = 1.0
        if removed and trace.losses[removed] > 0:
            fitted = trace.with_units(len(units) - removed, 0).weights
            changed: dict[int, list[Array]] = {}
            for posed, weights in zip(readers, fitted, strict=True):
                changed.setdefault(posed.position, []).append(posed.weights(weights))
            affines = {
                k: self.run.layers[k].affine.replaced(np.hstack(w)) for k, w in changed.items()
            }
            effect = judge.effect(affines) / float(trace.losses[removed])
        return SignalCurve(units[trace.order], max(effect, TINY) * trace.losses, sizes)

    def _must_stay(self, units: Units) -> Mask:
        """Mark units so that each layer that writes some of a signal still writes one."""
        stays = np.zeros(len(units), dtype=bool)
        for layer in self.units.layers:
            written = np.isin(units, layer.outputs)
            if written.any() and not written.all() and not (layer.outputs == FIXED).any():
                stays[np.flatnonzero(written)[0]] = True
        return stays


def _with_bias(layer: LayerUnits, data: BudgetData) -> Units:
    """Return the unit of every feature, and of a bias below them."""
    return np.append(layer.features, np.full(data.X.shape[1] - len(layer.features), FIXED))
