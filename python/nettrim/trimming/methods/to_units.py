"""Networks with fewer units: which ones stay, and layers that make up for those that go.

Each signal loses its units one by one, those first without which the layers that read it come
closest to what they gave. How many each signal loses is a matter of one price over all of them. The
layers are then fitted anew to what they gave, on the signals of the smaller network.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...base.arguments import check_threads
from ...base.arrays import Array, frobenius_norm, relative_to
from ...budget.data import BudgetData
from ...budget.fitted import BUDGET
from ...models.model_view import Affine, Signal
from ...models.units.unit_map import FIXED, LayerUnits, UnitMap, Units
from ...results.latency import time_calls
from ...results.widths import Count, SignalWidth, Widths
from ...units.budget_trace import trace_readers
from ...units.readers import Reader, Readers
from ...units.refit import refit
from ..bounds import walk_side_by_side
from ..solved_layer import SolvedLayer
from .judge import Judge
from .layer_program import LayerProgram
from .method import SOLVING, Delivery, LayerTask, Method, Run
from .posing import pose, split_groups
from .sensitivity import Sensitivity
from .unit_sizes import PRICES, SignalCurve, allowed_sizes, choose_units, count_cost

__all__ = ["ToUnits"]

SHARING = "sharing"
TYPICAL_SHARE = 0.5  # of the units that are left, where an error is asked for
SEARCH_STEPS = 6  # of a bisection, for what is not known before it is measured
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
class ToUnits(Method):
    """A smaller network; see `nettrim.Units`.

    Attributes
    ----------
    run : Run
    cascaded : bool
        Whether layers are fitted on the signals of the smaller network.
    price : {"size", "operations", "seconds", "error"}
    target : float
        Share of it that is left; the error of the network's output.
    min_width, multiple_of : int
    batch : int
        Samples that are timed together.
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
    batch: int
    units: UnitMap = field(init=False)
    kept: Mask = field(init=False)

    @property
    def n_threads(self) -> int:
        """How many threads the core may use."""
        return check_threads(self.run.n_threads)

    def prepare(self) -> None:
        """Choose the units that stay."""
        found = self.run.view.find_units(self.run.data[:2])
        if found is None:
            raise TypeError("model: its view cannot tell which of its units could go")
        if not found.signals:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in found.left_out.items())
            raise ValueError(f"model: no unit of the model can go ({reasons})")
        self.units, self.kept = found, np.ones(found.n_units, dtype=bool)
        with self.run.watch(SHARING):
            self.kept = self._choose()

    def solve(self, tasks: Iterator[LayerTask]) -> Iterator[tuple[int, SolvedLayer]]:
        """Fit the layers in turn."""
        for task in tasks:
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

    def outputs_left(self, position: int) -> Mask:
        """Return the outputs that a layer still writes."""
        layer = self.run.layers[position]
        return self._left(layer.name, *layer.shape)[1]

    def deliver(self, model: Any) -> Delivery:
        """Return the model without the units that no layer reads any more."""
        return Delivery(self.run.view.keep_units(model, self.units, self.kept), self._widths())

    def _widths(self) -> Widths:
        whole = np.ones(self.units.n_units, dtype=bool)
        signals = [
            SignalWidth(name, Count(len(units), int(self.kept[units].sum())))
            for name, units in self.units.signals
        ]
        return Widths(
            tuple(signals),
            Count(self.units.parameters(whole), self.units.parameters(self.kept)),
            Count(self.units.operations(whole), self.units.operations(self.kept)),
            self.units.left_out,
        )

    # --- which units stay -------------------------------------------------------------------------

    def _choose(self) -> Mask:
        curves = self._curves()
        if self.price in PRICES:
            return self._keep_share(curves, self.price, self.target)
        price = "operations" if self.price == "seconds" else "size"
        least = self._least_share(curves, price)
        fits = self._is_fast_enough if self.price == "seconds" else self._is_close_enough
        ends = (least, 1.0) if self.price == "seconds" else (1.0, least)
        tried = {share: self._keep_share(curves, price, share) for share in ends}
        if not fits(tried[ends[0]]):
            raise ValueError(
                f"{self.price} is out of reach for this model: not even {ends[0]:.1%} of its "
                f"{price} do, got {self.target:g}"
            )
        good, bad = ends
        for _ in range(SEARCH_STEPS):
            middle = (good + bad) / 2
            kept = self._keep_share(curves, price, middle)
            good, bad = (middle, bad) if fits(kept) else (good, middle)
        return self._keep_share(curves, price, good)

    def _keep_share(self, curves: Sequence[SignalCurve], price: str, share: float) -> Mask:
        """Return the units that stay so that a share of the model's cost is left."""
        whole = count_cost(self.units, price, np.ones(self.units.n_units, dtype=bool))
        kept = choose_units(self.units, curves, price, share * whole)
        if kept is None:
            raise ValueError(
                f"{price} must be at least {self._least_share(curves, price):.3f} for this model: "
                f"so much is left without all units that may go, got {share:g}"
            )
        return kept

    def _least_share(self, curves: Sequence[SignalCurve], price: str) -> float:
        """Return what is left of the model's cost without all units that may go."""
        kept = np.ones(self.units.n_units, dtype=bool)
        whole = count_cost(self.units, price, kept)
        for curve in curves:
            kept[curve.order[: curve.sizes[0] - curve.sizes[-1]]] = False
        return count_cost(self.units, price, kept) / whole

    def _is_fast_enough(self, kept: Mask) -> bool:
        """Tell whether the model without some units takes a small enough share of its time."""
        view, samples = self.run.view, self.run.data[: self.batch]
        whole = view.with_weights({})
        models = [whole, view.keep_units(whole, self.units, kept)]
        calls = [view.timed_call(model, samples, self.n_threads) for model in models]
        if calls[0] is None or calls[1] is None:
            raise TypeError("seconds: the view of this model cannot run it to be timed")
        before, after = time_calls([calls[0], calls[1]])
        return after <= self.target * before

    def _is_close_enough(self, kept: Mask) -> bool:
        """Tell whether the network without some units errs little enough, layers fitted anew."""
        self.kept = kept
        weights: dict[int, Affine] = {}
        changes: list[float] = []
        with walk_side_by_side(self.run.view, self.run.data, weights) as walks:
            for position, (original, current) in enumerate(walks):
                if position in self.run.chosen:
                    first = np.array_equal(original.values, current.values)
                    task = self.run.task(position, original, current, first=first)
                    program = pose(self.run, task, cascaded=self.cascaded)
                    weights[position] = self._affine(position).replaced(self._fit(task, program))
                elif position - len(self.run.layers) in self.run.counted:
                    moved = frobenius_norm(current.values - original.values)
                    changes.append(relative_to(moved, frobenius_norm(original.values)))
        return float(np.sqrt(np.mean(np.square(changes)))) <= self.target

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
        task = self.run.task(position, signal, signal)
        program = pose(self.run, task, cascaded=False)
        weights = task.layer.affine.stacked
        is_free = not np.isin(units.features, FIXED).all() and program.groups == 1
        root = sensitivity.root(position, program.X) if is_free else None
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
        each = tuple(posed.reader(number, k) for k, posed in enumerate(readers))
        keep = self._must_stay(units)
        trace = trace_readers(Readers(each, keep, True), None, None, self.n_threads, None)
        sizes = allowed_sizes(self.units, units, self.min_width, self.multiple_of)
        sizes = sizes[sizes >= keep.sum()]
        share = TYPICAL_SHARE if self.price == "error" else self.target
        removed = int(len(units) - sizes[np.argmin(np.abs(sizes - share * len(units)))])
        effect = 1.0
        if removed and trace.losses[removed] > 0:
            fitted = trace.with_units(len(units) - removed, 0).weights
            changed = {
                posed.position: self._affine(posed.position).replaced(posed.weights(weights))
                for posed, weights in zip(readers, fitted, strict=True)
            }
            effect = judge.effect(changed) / float(trace.losses[removed])
        return SignalCurve(units[trace.order], max(effect, TINY) * trace.losses, sizes)

    def _must_stay(self, units: Units) -> Mask:
        """Mark units so that each layer that writes some of a signal still writes one."""
        stays = np.zeros(len(units), dtype=bool)
        for layer in self.units.layers:
            written = np.isin(units, layer.outputs)
            if written.any() and not written.all() and not (layer.outputs == FIXED).any():
                stays[np.flatnonzero(written)[0]] = True
        return stays

    def _affine(self, position: int) -> Affine:
        return self.run.layers[position].affine

    # --- layers fitted anew -----------------------------------------------------------------------

    def _fit(self, task: LayerTask, program: LayerProgram) -> Array:
        """Return the weights of a layer on the units that it still reads, for those it writes."""
        affine = task.layer.affine
        weights = affine.stacked
        if affine.groups > 1:
            return weights
        features, outputs = self._left(task.layer.name, *weights.shape)
        if not (task.place.first and features.all()):
            (data,) = split_groups(task.layer, program, None)
            part = data.of_outputs(outputs)
            weights[:, outputs] = refit(part, features, None, None, self.n_threads, None).weights
        weights[~features] = 0
        return weights

    def _left(self, name: str, n_features: int, n_outputs: int) -> tuple[Mask, Mask]:
        """Return the features, with those that are no units, and outputs of a layer that stay."""
        stays = np.append(self.kept, True)
        for layer in self.units.layers:
            if layer.layer == name:
                more = np.ones(n_features - len(layer.features), dtype=bool)
                return np.append(stays[layer.features], more), stays[layer.outputs]
        return np.ones(n_features, dtype=bool), np.ones(n_outputs, dtype=bool)


def _with_bias(layer: LayerUnits, data: BudgetData) -> Units:
    """Return the unit of every feature, and of a bias below them."""
    return np.append(layer.features, np.full(data.X.shape[1] - len(layer.features), FIXED))
