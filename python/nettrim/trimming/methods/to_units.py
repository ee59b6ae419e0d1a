"""Networks with fewer units: which ones stay, and layers that make up for those that go.

Each signal loses its units one by one, those first without which the layers that read it come
closest to what they gave. How many each signal loses is a matter of one price over all of them. The
layers are then fitted anew to what they gave, on the signals of the smaller network.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...base.arguments import check_threads
from ...base.arrays import Array, frobenius_norm
from ...budget.data import BudgetData
from ...budget.fitted import BUDGET
from ...budget.optimal_brain_surgeon import Regularisation, fit
from ...models.model_view import Affine, Signal
from ...models.units.unit_map import FIXED, LayerUnits, UnitMap, Units
from ...units.readers import Reader, Readers
from ..solved_layer import SolvedLayer
from ._tmp_surgery import Trace
from .judge import Judge
from .layer_program import LayerProgram
from .method import SOLVING, LayerTask, Run
from .posing import pose, split_groups
from .sensitivity import Sensitivity
from .unit_sizes import SignalCurve, allowed_sizes, choose_units, count_cost

__all__ = ["ToUnits"]

SHARING = "sharing"
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


@dataclass
class ToUnits:
    """A smaller network; see `nettrim.Units`.

    Attributes
    ----------
    run : Run
    cascaded : bool
        Whether layers are fitted on the signals of the smaller network.
    price : {"size", "operations"}
    target : float
        Share of it that is left.
    min_width, multiple_of : int
    units : UnitMap
        What can go.
    kept : ndarray of bool of shape (units.n_units,)
        What does not.
    """

    run: Run
    cascaded: bool
    price: str
    target: float
    min_width: int
    multiple_of: int
    units: UnitMap = field(init=False)
    kept: Mask = field(init=False)

    def prepare(self) -> None:
        """Choose the units that stay."""
        found = self.run.view.find_units(self.run.data[:2])
        if found is None:
            raise TypeError("model: its view cannot tell which of its units could go")
        self.units, self.kept = found, np.ones(found.n_units, dtype=bool)
        with self.run.watch(SHARING):
            self._choose()

    def solve(self, tasks: Iterator[LayerTask]) -> Iterator[tuple[int, SolvedLayer]]:
        """Fit the layers in turn."""
        for task in map(_with_free_bias, tasks):
            self.run.report.start(task.layer.name, task.layer.shape)
            program = pose(self.run, task, cascaded=self.cascaded)
            active_rows = self.run.count_active_rows(task, program)
            with self.run.watch(SOLVING):
                began = time.perf_counter()
                weights = self._fit(task, program)
                seconds = time.perf_counter() - began
            yield (
                task.position,
                SolvedLayer(weights, program.output_norm, active_rows, BUDGET, seconds),
            )

    def details(self, position: int) -> dict[str, Any]:
        """Return what this layer's answer depends on beside the options of the run."""
        return {"removed units": np.flatnonzero(~self.kept).tolist()}

    def prospect(self, position: int) -> None:
        """Nothing is known of a layer's error before it is fitted."""

    def deliver(self, model: Any) -> Any:
        """Return the model without the units that no layer reads any more."""
        return self.run.view.keep_units(model, self.units, self.kept)

    # --- which units stay -------------------------------------------------------------------------

    def _choose(self) -> None:
        whole = count_cost(self.units, self.price, self.kept)
        curves = self._curves()
        kept = choose_units(self.units, curves, self.price, self.target * whole)
        if kept is None:
            least = np.ones(self.units.n_units, dtype=bool)
            for curve in curves:
                least[curve.order[: len(curve.order) - curve.sizes[-1]]] = False
            share = count_cost(self.units, self.price, least) / whole
            raise ValueError(
                f"{self.price} must be at least {share:.3f} for this model: so much is left "
                f"without all units that may go, got {self.target:g}"
            )
        self.kept = kept

    def _curves(self) -> list[SignalCurve]:
        """Return what it costs the network to lose units, signal by signal."""
        curves: list[SignalCurve] = []
        waiting = self._signals_to_shrink()
        judge = Judge.of(self.run, max(1, len(waiting)))
        sensitivity = Sensitivity.of(self.run)
        posed: dict[str, _Posed] = {}
        reading = {layer.layer: layer for layer in self.units.layers}
        for position, signal in enumerate(self.run.view.signals(self.run.data, {})):
            if position >= len(self.run.layers):
                break
            layer = self.run.layers[position]
            if layer.name not in reading:
                continue
            posed[layer.name] = self._pose(position, signal, reading[layer.name], sensitivity)
            for units in [s for s in waiting if self._readers(s) <= posed.keys()]:
                self.run.report.stage("measuring units", len(curves), len(curves) + len(waiting))
                waiting.remove(units)
                readers = [posed[name] for name in posed if name in self._readers(units)]
                curves.append(self._curve(np.array(units), readers, judge))
        return curves

    def _pose(
        self, position: int, signal: Signal, units: LayerUnits, sensitivity: Sensitivity
    ) -> _Posed:
        """Pose a layer so that its errors count as they do for the network, where that is known."""
        task = _with_free_bias(self.run.task(position, signal, signal))
        program = pose(self.run, task, cascaded=False)
        weights = task.layer.affine.stacked
        is_free = not np.isin(units.features, FIXED).all() and program.groups == 1
        root = sensitivity.root(position, task.layer.affine, program.X) if is_free else None
        if root is None:
            (data,) = split_groups(task.layer, program, None)
        else:
            judged = weights @ root
            keep = np.arange(len(weights)) >= len(units.features)
            data = BudgetData.of(
                program.X, program.X @ judged, judged, "linear", None, None, keep, None
            )
        return _Posed(position, _with_bias(units, data), data, root)

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
        trace = Trace(
            Readers(
                tuple(posed.reader(number, k) for k, posed in enumerate(readers)),
                np.zeros(len(units), bool),
            )
        )
        sizes = allowed_sizes(self.units, units, self.min_width, self.multiple_of)
        removed = int(len(units) - sizes[np.argmin(np.abs(sizes - self.target * len(units)))])
        effect = 1.0
        if removed and trace.losses[removed] > 0:
            changed = {
                posed.position: self._affine(posed.position).replaced(posed.weights(weights))
                for posed, weights in zip(readers, trace.weights(removed), strict=True)
            }
            effect = judge.effect(changed) / float(trace.losses[removed])
        return SignalCurve(units[trace.order], max(effect, TINY) * trace.losses, sizes)

    def _affine(self, position: int) -> Affine:
        return self.run.layers[position].affine

    # --- layers fitted anew -----------------------------------------------------------------------

    def _fit(self, task: LayerTask, program: LayerProgram) -> Array:
        """Return the weights of a layer on the units that it still reads, for those it writes."""
        affine = task.layer.affine
        weights = affine.stacked
        if affine.groups > 1:
            return weights
        features, outputs = self._left(task)
        if not (task.place.first and features.all()):
            (data,) = split_groups(task.layer, program, None)
            part = _part(data, features, outputs)
            fitted = _refit(part, check_threads(self.run.n_threads))
            weights[np.ix_(features, outputs)] = fitted
        weights[~features] = 0
        weights[:, ~outputs] = 0
        return weights

    def _left(self, task: LayerTask) -> tuple[Mask, Mask]:
        """Return the features, with the bias, and the outputs of a layer that are left."""
        n_features, n_outputs = task.layer.affine.stacked.shape
        stays = np.append(self.kept, True)
        for layer in self.units.layers:
            if layer.layer == task.layer.name:
                bias = np.ones(n_features - len(layer.features), dtype=bool)
                return np.append(stays[layer.features], bias), stays[layer.outputs]
        return np.ones(n_features, dtype=bool), np.ones(n_outputs, dtype=bool)


def _with_free_bias(task: LayerTask) -> LayerTask:
    """Return the task with a bias to be fitted too: it takes over what units gave on average."""
    if task.layer.affine.groups > 1:
        return task
    return task._replace(layer=task.layer.with_free_bias)


def _with_bias(layer: LayerUnits, data: BudgetData) -> Units:
    """Return the unit of every feature, and of a bias below them."""
    return np.append(layer.features, np.full(data.X.shape[1] - len(layer.features), FIXED))


def _part(data: BudgetData, features: Mask, outputs: Mask) -> BudgetData:
    """Return some features and outputs of a layer."""
    part = data.of_outputs(outputs)
    pattern = replace(data.pattern, keep=data.pattern.keep[features])
    X = np.ascontiguousarray(data.X[:, features])
    return replace(part, X=X, weights=part.weights[features], pattern=pattern)


def _refit(data: BudgetData, n_threads: int) -> Array:
    support = np.ones((data.n_outputs, data.X.shape[1]), dtype=bool)
    return fit(data, Regularisation(0.03, 0.001), support, 0, n_threads)[0]
