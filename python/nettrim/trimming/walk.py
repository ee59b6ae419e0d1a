"""One walk over a model: each layer posed, solved or taken from the checkpoint, and kept.

The walk knows no framework (see `nettrim.models.model_view`) and no optimisation (see `nettrim.layer.solve`); the layers
behind see what it put in place of those in front.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..base.arrays import Array, frobenius, relative
from ..base.errors import LARGE_ERROR, CalibrationWarning, InfeasibleError, LargeErrorWarning
from ..base.stopwatch import Stopwatch
from ..layer.blocks.workers import Pool
from ..layer.solution import LayerProgress, LayerSolution
from ..layer.solve import solve_layer, solve_side_by_side
from ..models.model_view import Affine, LayerView, ModelView, Signal
from ..models.samples import Data
from .checkpoint import Checkpoint, SolvedLayer
from .plan import Place, Program, Scheme
from .progress import Reporter

__all__ = ["SOLVING", "Draw", "Walk"]

SOLVING = "solving"  # the stage of a run that layers' own seconds tell of
LARGEST = 1 << 23  # entries of the outputs that are solved at a time


class Draw(NamedTuple):
    """Which rows of a layer are solved for."""

    max_patches: int
    seed: int

    def rows(self, layer: LayerView, position: int, values: Array) -> NDArray[np.intp] | None:
        """Return their numbers in order, None for all of them."""
        each = layer.rows_per_sample(values)
        total = each * len(values)
        if each == 1 or total <= self.max_patches:
            return None
        random = np.random.default_rng([self.seed, position])
        return np.sort(random.choice(total, self.max_patches, replace=False))


@dataclass
class Walk:
    """One pass over a model: the layers solved so far and what it takes to solve the next.

    Attributes
    ----------
    view : ModelView
    layers : sequence of LayerView
        Its prunable layers.
    data : ndarray of shape (n_samples, ...), or Samples
    plan : Scheme
    draw : Draw
    chosen : sequence of int
        Positions of the layers to be pruned, in order.
    options : mapping
        Arguments of `nettrim.solve_layer` that all layers have in common.
    pool : Pool or None
    store : Checkpoint or None
    report : Reporter
    counted : sequence of int
        Which of the model's outputs count.
    watch : Stopwatch
    solved : dict of SolvedLayer
        By position.
    weights : dict of Affine
        What is put in place of those layers; signals look it up as the walk goes on.
    active_rows : dict of int
        What their programs stand on, by position (`SolvedLayer.active_rows`).
    warned : set of type
        What has been warned of; once is enough.
    interrupted : bool
    """

    view: ModelView
    layers: Sequence[LayerView]
    data: Data
    plan: Scheme
    draw: Draw
    chosen: Sequence[int]
    options: Mapping[str, Any]
    pool: Pool | None
    store: Checkpoint | None
    report: Reporter
    counted: Sequence[int]
    watch: Stopwatch
    solved: dict[int, SolvedLayer] = field(default_factory=dict, init=False)
    weights: dict[int, Affine] = field(default_factory=dict, init=False)
    active_rows: dict[int, int] = field(default_factory=dict, init=False)
    warned: set[type[Warning]] = field(default_factory=set, init=False)
    interrupted: bool = field(default=False, init=False)

    def run(self) -> None:
        """Solve the chosen layers; Ctrl-C ends it and leaves what is finished."""
        pool = None if self.plan.cascaded else self.pool
        try:
            if pool is not None and len(self.chosen) >= pool.n_workers:
                self._solve_side_by_side(pool)
            else:
                self._solve_in_turn()
        except KeyboardInterrupt:
            self.interrupted = True

    def _solve_in_turn(self) -> None:
        originals = self.view.signals(self.data, {})
        currents = self.view.signals(self.data, self.weights)  # looked up as the walk goes on
        for position, signals in enumerate(zip(originals, currents, strict=True)):
            if position in self.chosen and not self._advance(position, *signals):
                self.interrupted = True
                return
            if position == self.chosen[-1]:
                return

    def _solve_side_by_side(self, pool: Pool) -> None:
        """Give whole layers to workers; those of the parallel scheme see the original signals alone."""
        posed: list[tuple[int, Program]] = []

        def arguments() -> Iterator[dict[str, Any]]:
            for position, signal in enumerate(self.view.signals(self.data, {})):
                if position in self.chosen and not self._resume(position):
                    program = self._program(position, signal, signal)
                    posed.append((position, _without_arrays(program)))
                    yield _arguments_of(program)
                if position == self.chosen[-1]:
                    return

        with self.watch(SOLVING):
            for number, solution in solve_side_by_side(arguments(), pool, **self.options):
                position, program = posed[number]
                if solution.status == "interrupted":
                    self.interrupted = True
                    continue
                layer, rows = self.layers[position], self.active_rows[position]
                self.report.start(layer.name, layer.shape)
                self._finish(position, _accepted(layer, program, rows, solution, []))

    def place(self, position: int) -> Place:
        """Tell where a layer stands among the chosen ones."""
        return Place(first=position == self.chosen[0], last=position == self.chosen[-1])

    def _advance(self, position: int, original: Signal, current: Signal) -> bool:
        """Solve a layer, or take it from the checkpoint; return False if it was interrupted."""
        if self._resume(position):
            return True
        layer = self.layers[position]
        self.report.start(layer.name, layer.shape)
        program = self._program(position, original, current)
        with self.watch(SOLVING):
            solved = self._solve(position, program)
        if solved.status == "interrupted":
            return False
        self._finish(position, solved)
        return True

    def _resume(self, position: int) -> bool:
        """Take a layer from the checkpoint, if it is there."""
        solved = self.store.load(position, self._details(position)) if self.store else None
        if solved is None:
            return False
        self.report.start(self.layers[position].name, self.layers[position].shape)
        self._keep(position, solved)
        self.report.finish(solved, resumed=True)
        return True

    def _program(self, position: int, original: Signal, current: Signal) -> Program:
        layer = self.layers[position]
        chosen = self.draw.rows(layer, position, original.values)
        before = layer.chosen_rows(original.values, chosen)
        now = before if current is original else layer.chosen_rows(current.values, chosen)
        program = self.plan.program(layer, before, now, self.place(position))
        self.active_rows[position] = _active_rows(program, before)
        self._warn(position, program)
        return program

    def _warn(self, position: int, program: Program) -> None:
        """Say before a layer is solved, once, that samples are few or that errors have grown large."""
        layer, active_rows = self.layers[position], self.active_rows[position]
        n_features = layer.shape[0]
        if active_rows < n_features:
            self._warn_once(
                CalibrationWarning,
                f"layer {layer.name!r} has {n_features:,} inputs, and half of its outputs are active on "
                f"at most {active_rows:,} different rows of the calibration data: what is sparse on so "
                "few may be sparse without meaning. Give more samples, and held_out to see",
            )
        radius = relative(program.epsilon, program.output_norm)
        if radius > max(LARGE_ERROR, self.plan.floor(self.place(position))):
            self._warn_once(
                LargeErrorWarning,
                f"layer {layer.name!r} may move by {radius:.0%} of its output, as the errors in front of "
                "it have grown so large: the network may do nothing of what it did. Take a smaller "
                "epsilon or fewer layers",
            )

    def _warn_once(self, kind: type[Warning], text: str) -> None:
        if kind not in self.warned:
            self.warned.add(kind)
            warnings.warn(text, kind, stacklevel=8)

    def _solve(self, position: int, program: Program) -> SolvedLayer:
        history: list[tuple[float, float]] = []

        def certified(progress: LayerProgress) -> None:
            history.append((progress.seconds, progress.gap))
            self.report.update(progress)

        solution = solve_layer(
            **_arguments_of(program),
            callback=certified,
            executor=None if self.pool is None else self.pool.executor,
            block_outputs=_affordable(program) if self.pool is None else None,
            **self.options,
        )
        rows = self.active_rows[position]
        return _accepted(self.layers[position], program, rows, solution, history)

    def _finish(self, position: int, solved: SolvedLayer) -> None:
        """Keep an answer, here and in the checkpoint."""
        self._keep(position, solved)
        if self.store:
            self.store.save(position, self._details(position), solved)
        self.report.finish(solved, resumed=False)

    def _keep(self, position: int, solved: SolvedLayer) -> None:
        self.solved[position] = solved
        self.weights[position] = self.layers[position].affine.replaced(solved.weights)

    def _details(self, position: int) -> dict[str, Any]:
        """Tell what this layer's answer depends on beyond the options of the run."""
        kappa = self.plan.kappa if self.place(position).last else 1.0
        in_front = [self.layers[p].name for p in self.chosen if p < position]
        return {"layer": self.layers[position].name, "pruned in front": in_front, "kappa": kappa}


def _active_rows(program: Program, original: Array) -> int:
    """Return on how many different rows an output is active, the median over all outputs."""
    first = {hash(row.tobytes()): number for number, row in enumerate(original)}
    different = np.fromiter(first.values(), np.intp)
    if program.activation == "linear":
        return len(different)
    active = program.Y > 0 if program.active is None else program.active
    return int(np.median(np.count_nonzero(active[different], axis=0)))


def _arguments_of(program: Program) -> dict[str, Any]:
    """Return the program's part of the arguments of `nettrim.solve_layer`."""
    own = ("X", "Y", "epsilon", "upper", "active", "activation", "groups")
    return {name: getattr(program, name) for name in own}


def _without_arrays(program: Program) -> Program:
    """Return the numbers of a program; `_excuse` wants no more of the parallel scheme."""
    nothing = np.empty((0, 0))
    return program._replace(X=nothing, Y=nothing, upper=None, active=None)


def _affordable(program: Program) -> int | None:
    """Return how many outputs at a time keep a solver's arrays small; None for all of them."""
    if program.groups > 1 or program.Y.size <= LARGEST:
        return None
    return max(1, LARGEST // len(program.Y))


def _accepted(
    layer: LayerView,
    program: Program,
    active_rows: int,
    solution: LayerSolution,
    history: list[tuple[float, float]],
) -> SolvedLayer:
    """Return what is kept of an answer."""
    if solution.status == "infeasible":
        raise InfeasibleError(_excuse(layer, program))
    # An engine that broke down may return anything; the original weights are at least a model.
    broken = not np.isfinite(solution.weights).all()
    return SolvedLayer(
        weights=layer.affine.stacked if broken else np.asarray(solution.weights, dtype=np.float64),
        epsilon=program.epsilon,
        output_norm=program.output_norm,
        active_rows=active_rows,
        residual=relative(solution.residual, program.output_norm),
        violation=relative(solution.violation, program.largest),
        gap=solution.gap,
        status=solution.status,
        solver=solution.solver,
        iterations=solution.iterations,
        seconds=solution.seconds,
        history=np.array(history).reshape(-1, 2),
    )


def _excuse(layer: LayerView, program: Program) -> str:
    """Say what can be done about a layer without feasible weights, as precisely as is known."""
    if program.kappa == 1:
        return (
            f"layer {layer.name!r}: the solver finds no feasible weights, although the original ones "
            "are feasible up to rounding; a larger epsilon or gamma gives it room"
        )
    least = 0.0
    if program.activation == "linear":
        nearest = np.linalg.lstsq(program.X, program.Y)[0]
        distance = frobenius(program.X @ nearest - program.Y)
        least = program.kappa * distance / program.epsilon
    known = f" (feasible from {least:.3g} on)" if program.kappa < least <= 1 else ""
    return f"layer {layer.name!r}: no weights meet kappa={program.kappa:g}; choose a larger kappa{known}"
