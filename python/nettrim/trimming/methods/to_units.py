"""Networks with fewer units: which ones stay, and layers that make up for those that go.

Each signal loses its units one by one, those first without which the layers that read it come
closest to what they gave. How many each signal loses is a matter of one price over all of them. The
layers are then fitted anew to what they gave, on the signals of the smaller network.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...base.arguments import check_threads
from ...base.arrays import Array, frobenius_norm, relative_to
from ...budget.fitted import BUDGET
from ...models.layer_view import Affine
from ...models.units.unit_map import UnitMap, Units
from ...models.units.unread import without_reading
from ...results.latency import time_calls
from ...results.widths import Count, SignalWidth, Widths
from ...units.refit import refit
from ..bounds import walk_side_by_side
from ..solved_layer import SolvedLayer
from .layer_program import LayerProgram
from .method import SOLVING, Delivery, LayerTask, Method, Run
from .posing import pose, split_groups, with_free_bias
from .unit_choice import Target, UnitChoice
from .unit_curves import UnitCurves
from .unit_limits import free_signals
from .unit_sizes import PRICES

__all__ = ["ToUnits"]

SHARING = "sharing"
ORDERED = "without some of them the model computes something else"
TRIED, ROUNDING = 4, 1e-3  # samples, and by how much frameworks may round in another way
TYPICAL_SHARE = 0.5  # of the units that are left, where an error is asked for

Mask = NDArray[np.bool_]


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
        self.units, self.kept = found, np.ones(found.n_units, dtype=bool)
        with self.run.watch(SHARING):
            self.kept = self._choose()
            while len(wrong := self._find_wrong()):
                self.units = self.units.without(wrong, ORDERED)
                self.kept = self._choose()

    def solve(self, tasks: Iterator[LayerTask]) -> Iterator[tuple[int, SolvedLayer]]:
        """Fit the layers in turn."""
        for task in map(with_free_bias, tasks):
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
        return self.entries_left(position)[1]

    def entries_left(self, position: int) -> tuple[Mask, Mask]:
        """Return the features and the outputs of a layer that are left."""
        layer = self.run.layers[position]
        return self._left(layer.name, *layer.affine.weights.shape)

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

    def _find_wrong(self) -> Units:
        """Return the units of signals without which the model computes something else."""
        signals = [units for _, units in self.units.signals if not self.kept[units].all()]
        if self._computes_the_same(signals):
            return np.zeros(0, np.intp)
        alone = [units for units in signals if not self._computes_the_same([units])]
        return np.concatenate(alone or signals)

    def _computes_the_same(self, signals: Sequence[Units]) -> bool:
        """Tell whether a model without what goes of some signals is one that does not read it."""
        kept = np.ones(self.units.n_units, dtype=bool)
        for units in signals:
            kept[units] = self.kept[units]
        view, few = self.run.view, self.run.data[:TRIED]
        layers = {layer.name: layer.affine for layer in self.run.layers}
        whole = view.with_weights(without_reading(self.units, kept, layers))
        models = [whole, view.keep_units(whole, self.units, kept)]
        runs = [view.run(model, few) for model in models]
        if runs[0] is None or runs[1] is None:
            return True  # nothing is known of the framework's arithmetic, and nothing went by it
        return all(
            np.allclose(a, b, rtol=ROUNDING, atol=ROUNDING * float(np.abs(a).max()))
            for a, b in zip(*runs, strict=True)
        )

    def _choose(self) -> Mask:
        if not self.units.signals:
            reasons = "; ".join(f"{name}: {why}" for name, why in self.units.left_out.items())
            raise ValueError(f"model: no unit of the model can go ({reasons})")
        chosen = {self.run.layers[position].name for position in self.run.chosen}
        free = free_signals(self.units, chosen, self.min_width, self.multiple_of)
        share = TYPICAL_SHARE if self.price == "error" else self.target
        curves = UnitCurves(self.run, self.units, free, share, self.n_threads).measure()
        choice = UnitChoice(self.units, curves)
        if self.price in PRICES:
            return choice.at_share(self.price, self.target)
        if self.price == "seconds":
            least = choice.least_share("operations")
            target = Target("seconds", self._share_of_time, self.target)
            return choice.search("operations", target, good=least, bad=1.0)
        least = choice.least_share("size")
        target = Target("error", self._error_without, self.target)
        return choice.search("size", target, good=1.0, bad=least)

    def _share_of_time(self, kept: Mask) -> float:
        """Return the share of its time that the model takes without some units."""
        view, samples = self.run.view, self.run.data[: self.batch]
        whole = view.with_weights({})
        models = [whole, view.keep_units(whole, self.units, kept)]
        calls = [view.timed_call(model, samples, self.n_threads) for model in models]
        if calls[0] is None or calls[1] is None:
            raise TypeError("seconds: the view of this model cannot run it to be timed")
        before, after = time_calls([calls[0], calls[1]])
        return after / before

    def _error_without(self, kept: Mask) -> float:
        """Return the error of the network without some units, layers fitted anew."""
        self.kept = kept
        weights: dict[int, Affine] = {}
        changes: list[float] = []
        with walk_side_by_side(self.run.view, self.run.data, weights) as walks:
            for position, (original, current) in enumerate(walks):
                if position in self.run.chosen:
                    first = np.array_equal(original.values, current.values)
                    task = with_free_bias(self.run.task(position, original, current, first=first))
                    program = pose(self.run, task, cascaded=self.cascaded)
                    weights[position] = task.layer.affine.replaced(self._fit(task, program))
                elif position - len(self.run.layers) in self.run.counted:
                    moved = frobenius_norm(current.values - original.values)
                    changes.append(relative_to(moved, frobenius_norm(original.values)))
        return float(np.sqrt(np.mean(np.square(changes))))

    # --- layers fitted anew -----------------------------------------------------------------------

    def _fit(self, task: LayerTask, program: LayerProgram) -> Array:
        """Return the weights of a layer on the units that it still reads, for those it writes."""
        weights = task.layer.affine.stacked
        features, outputs = self._left(task.layer.name, *weights.shape)
        if not (features.all() and task.place.first):
            parts = split_groups(task.layer, program, None)
            numbers = np.split(np.arange(len(outputs)), len(parts))
            for data, own in zip(parts, numbers, strict=True):
                if not outputs[own].any():
                    continue
                part = data.of_outputs(outputs[own])
                found = refit(part, features, None, None, self.n_threads, None)
                weights[:, own[outputs[own]]] = part.in_given_units(found.weights, "weights")
        weights[~features] = 0
        return weights

    def _left(self, name: str, n_features: int, n_outputs: int) -> tuple[Mask, Mask]:
        """Return the features, with those that are no units, and outputs of a layer that stay."""
        for layer in self.units.layers:
            if layer.layer == name:
                more = np.ones(n_features - len(layer.features), dtype=bool)
                return np.append(layer.reads(self.kept), more), layer.writes(self.kept)
        return np.ones(n_features, dtype=bool), np.ones(n_outputs, dtype=bool)
