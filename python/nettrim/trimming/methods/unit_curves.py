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
from ...models.layer_view import Signal
from ...models.units.unit_map import FIXED, LayerUnits, UnitMap, Units
from ...units.budget_trace import trace_readers
from ...units.readers import Reader, Readers
from .judge import Judge
from .method import Run
from .posing import pose, split_groups, with_free_bias
from .sensitivity import Sensitivity
from .unit_limits import FreeSignal
from .unit_sizes import SignalCurve

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
    signals : sequence of FreeSignal
    share : float
        Of its units that a signal is left with where its losses are compared with the network's.
    n_threads : int
    """

    run: Run
    units: UnitMap
    signals: Sequence[FreeSignal]
    share: float
    n_threads: int

    def measure(self) -> list[SignalCurve]:
        """Return a curve for every signal."""
        curves: list[SignalCurve] = []
        waiting = [*self.signals]
        judge = Judge.of(self.run, len(waiting))
        sensitivity = Sensitivity.of(self.run)
        posed: dict[str, list[_Posed]] = {}
        reading_any = set[str]().union(*map(self._readers, self.signals))
        reading = {u.layer: u for u in self.units.layers if u.layer in reading_any}
        for position, signal in enumerate(self.run.view.signals(self.run.data, {})):
            if position >= len(self.run.layers):
                break
            layer = self.run.layers[position]
            if layer.name not in reading:
                continue
            posed[layer.name] = [*self._pose(position, signal, reading[layer.name], sensitivity)]
            ready = [free for free in waiting if self._readers(free) <= posed.keys()]
            waiting = [free for free in waiting if not self._readers(free) <= posed.keys()]
            for free in ready:
                self.run.report.stage("measuring units", len(curves), len(self.signals))
                reading_them = self._readers(free)
                readers = [one for name in posed if name in reading_them for one in posed[name]]
                curves.append(self._curve(free, readers, judge))
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

    def _readers(self, free: FreeSignal) -> set[str]:
        return {u.layer for u in self.units.layers if np.isin(u.features, free.units).any()}

    def _curve(self, free: FreeSignal, readers: Sequence[_Posed], judge: Judge) -> SignalCurve:
        """Return what it costs the network to lose units of a signal."""
        units, sizes = free.units, free.sizes
        number = np.full(self.units.n_units + 1, FIXED)
        number[units] = np.arange(len(units))
        each = tuple(posed.reader(number, k) for k, posed in enumerate(readers))
        trace = trace_readers(Readers(each, free.stays, True), None, None, self.n_threads, None)
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


def _with_bias(layer: LayerUnits, data: BudgetData) -> Units:
    """Return the unit of every feature, and of a bias below them."""
    return np.append(layer.features, np.full(data.X.shape[1] - len(layer.features), FIXED))
