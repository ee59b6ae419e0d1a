"""Channels chosen layer by layer, on the signals of the layers already pruned.

Channel pruning by LASSO (He, Zhang, Sun, "Channel Pruning for Accelerating Very Deep Neural
Networks", ICCV 2017): every channel of a layer's input gets a coefficient, an l1 penalty grows
until few enough are left, and the layer's weights are fitted to its original output by least
squares. ThiNet (Luo, Wu, Lin, ICCV 2017): channels are removed greedily, so that the sum of what
the removed ones add to the layer's output stays smallest, and each channel that is left is scaled
by least squares. Both look at what comes in front of the activation, and use all entries of it
where the papers draw some. All layers lose the same share. No retraining.

As published they leave signals alone that several layers read (the shortcuts of residual networks).
Where the others cannot save so much these lose units as well: chosen in the same way beforehand, on
original signals and for all layers that read them together.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve
from sklearn.linear_model import lars_path_gram

from nettrim.models.units.unit_map import FIXED, LayerUnits, UnitMap
from nettrim.trimming.goals.goal import Goal
from nettrim.trimming.methods.layer_program import LayerProgram
from nettrim.trimming.methods.method import Delivery, LayerTask, Method, Run
from nettrim.trimming.solved_layer import SolvedLayer

from .units_torch_pruning import below

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

DAMP = 0.001  # of the mean diagonal of X'X, towards the original weights


class Layer(NamedTuple):
    """A layer whose input loses channels: its sums over the rows, and the channel of each input."""

    gram: Array  # of the inputs of the pruned network
    moments: Array  # of these and the original output
    weights: Array
    channel: NDArray[np.intp]  # -1 for the column of ones

    def by_channel(self) -> tuple[Array, Array]:
        """Sums over all outputs of what channels add to them: with each other, with the target."""
        count = self.channel.max() + 1
        member = np.equal.outer(np.arange(count), self.channel).astype(float)
        together = member @ (self.gram * (self.weights @ self.weights.T)) @ member.T
        bias = self.gram[:, self.channel < 0] @ self.weights[self.channel < 0]
        with_target = member @ np.sum((self.moments - bias) * self.weights, axis=1)
        return together, with_target

    def fit(self, kept: Mask) -> Array:
        """Least squares on the channels that are left."""
        stays = np.append(kept, True)[self.channel]
        damping = DAMP * np.trace(self.gram) / len(self.gram)
        gram = self.gram[np.ix_(stays, stays)] + damping * np.eye(stays.sum())
        weights = np.zeros_like(self.weights)
        right = self.moments[stays] + damping * self.weights[stays]
        weights[stays] = solve(gram, right, assume_a="pos")
        return weights


def lasso(together: Array, with_target: Array, count: int) -> Mask:
    """He et al.: the last step of the path with few enough channels."""
    size = np.sqrt(together.diagonal().mean()) or 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, _, path = lars_path_gram(
            with_target / size**2, together / size**2, n_samples=1, method="lasso"
        )
    few = [k for k in range(path.shape[1]) if np.count_nonzero(path[:, k]) <= count]
    kept = np.zeros(len(together), dtype=bool)
    # A step of the path may take a channel out again, so that the last one may have fewer.
    order = np.argsort(-np.abs(path[:, few[-1]]), kind="stable")
    kept[order[:count]] = True
    return kept


def thinet(together: Array, with_target: Array, count: int) -> Mask:
    """Luo et al.: greedy removal."""
    kept = np.ones(len(together), dtype=bool)
    cost = together.diagonal().copy()
    for _ in range(len(together) - count):
        gone = int(np.argmin(np.where(kept, cost, np.inf)))
        kept[gone] = False
        cost += 2 * together[gone]
    return kept


def scaled(layer: Layer, kept: Mask) -> Array:
    """Luo et al.: a factor for every channel that is left."""
    together, with_target = layer.by_channel()
    left = together[np.ix_(kept, kept)]
    left = left + DAMP * np.trace(left) / len(left) * np.eye(len(left))
    factors = np.zeros(len(together))
    factors[kept] = solve(left, with_target[kept], assume_a="pos")
    return layer.weights * np.append(factors, 1.0)[layer.channel][:, None]


class Rule(NamedTuple):
    """How channels are chosen, by their sums, and what the layer's weights are then."""

    choose: Callable[[Array, Array, int], Mask]
    fit: Callable[[Layer, Mask], Array]


LASSO, THINET = Rule(lasso, Layer.fit), Rule(thinet, scaled)


@dataclass(frozen=True, repr=False)
class LayerByLayer(Goal):
    """A network whose channels are chosen as it is walked through."""

    rule: Rule
    operations: float
    found: list[Mask] = field(default_factory=list)  # what was kept, when it is done
    shortcuts = ()

    def check(self, scheme: str, pool: Any) -> None:
        """Take anything."""

    def method(self, run: Run, scheme: str, pool: Any) -> _Walk:
        return _Walk(run, self)

    def arguments(self, scheme: str) -> dict[str, Any]:
        return {"scheme": scheme, "operations": self.operations}


@dataclass
class _Walk(Method):
    run: Run
    goal: LayerByLayer
    cascaded: bool = True
    units: UnitMap = field(init=False)
    widths: dict[int, int] = field(init=False)  # by the number of the signal
    kept: Mask = field(init=False)

    def prepare(self) -> None:
        self.units = self.run.view.find_units(self.run.data[:2])
        self.kept = np.ones(self.units.n_units, dtype=bool)
        everything = range(len(self.units.signals))
        alone = [k for k in everything if len(self._readers(k)) == 1]
        whole = self.units.operations(self.kept)
        for signals in (alone, everything):
            first = below(
                lambda ratio, signals=signals: self._first_units(signals, ratio),
                self.units,
                self.goal.operations * whole,
            )
            if self.units.operations(first) <= self.goal.operations * whole:
                break
        self.widths = {k: int(first[self.units.signals[k].units].sum()) for k in signals}
        self._choose_shared([k for k in signals if k not in alone])

    def _first_units(self, signals: Iterable[int], ratio: float) -> Mask:
        kept = np.ones(self.units.n_units, dtype=bool)
        for k in signals:
            units = self.units.signals[k].units
            kept[units[max(1, round((1 - ratio) * len(units))) :]] = False
        return kept

    def _choose_shared(self, signals: list[int]) -> None:
        """Choose units that several layers read, on the original signals."""
        sums = dict.fromkeys(signals, (0.0, 0.0))
        for position, signal in enumerate(self.run.view.signals(self.run.data, {})):
            if not signals or position >= len(self.run.layers):
                break
            task = self.run.task(position, signal, signal)
            for k in signals:
                for reader in self._readers(k):
                    if reader.layer == task.layer.name:
                        layer = self._layer(task, reader, self.units.signals[k].units)
                        pairs = zip(sums[k], layer.by_channel(), strict=True)
                        sums[k] = tuple(a + b for a, b in pairs)
        for k in signals:
            kept = self.goal.rule.choose(*sums[k], self.widths[k])
            self.kept[self.units.signals[k].units[~kept]] = False
            self.widths[k] = 0  # chosen

    def _readers(self, signal: int) -> list[LayerUnits]:
        units = self.units.signals[signal].units
        return [layer for layer in self.units.layers if np.isin(layer.features, units).any()]

    def solve(self, tasks: Iterator[LayerTask]) -> Iterator[tuple[int, SolvedLayer]]:
        for task in tasks:
            program = LayerProgram.of(
                task.layer, task.current, task.layer.affine.apply(task.original)
            )
            self.run.report.start(task.layer.name, task.layer.shape)
            began = time.perf_counter()
            weights = self._prune(task)
            seconds = time.perf_counter() - began
            yield task.position, SolvedLayer(weights, program.output_norm, 0, "budget", seconds)
        self.goal.found.append(self.kept)

    def _prune(self, task: LayerTask) -> Array:
        for signal, width in self.widths.items():
            for reader in self._readers(signal):
                if reader.layer == task.layer.name:
                    units = self.units.signals[signal].units
                    layer = self._layer(task, reader, units)
                    if width:
                        kept = self.goal.rule.choose(*layer.by_channel(), width)
                        self.kept[units[~kept]] = False
                    return self.goal.rule.fit(layer, self.kept[units])
        return task.layer.affine.stacked

    def _layer(self, task: LayerTask, reader: LayerUnits, units: NDArray[np.intp]) -> Layer:
        affine = task.layer.affine
        X, before = affine.inputs(task.current), affine.inputs(task.original)
        number = np.full(self.units.n_units + 1, FIXED)
        number[units] = np.arange(len(units))
        channel = np.append(
            number[reader.features], np.full(X.shape[1] - len(reader.features), FIXED)
        )
        return Layer(X.T @ X, X.T @ (before @ affine.stacked), affine.stacked, channel)

    def deliver(self, model: Any) -> Delivery:
        return Delivery(self.run.view.keep_units(model, self.units, self.kept))
