"""One walk over a model: each layer posed, solved or taken from the checkpoint, and kept.

The walk knows no framework (see `nettrim.view`) and no optimisation (see `nettrim.layer`); the layers
behind see what it put in place of those in front.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._arrays import Array, frobenius, relative
from .checkpoint import Checkpoint, SolvedLayer
from .errors import InfeasibleError
from .execution import Pool
from .layer import solve_layer, solve_side_by_side
from .plan import Place, Program, Scheme
from .progress import Reporter
from .solution import LayerProgress, LayerSolution
from .view import Affine, LayerView, ModelView, Signal

__all__ = ["Draw", "Walk"]

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
    data : ndarray of shape (n_samples, ...)
    plan : Scheme
    draw : Draw
    chosen : sequence of int
        Positions of the layers to be pruned, in order.
    options : mapping
        Arguments of `nettrim.solve_layer` that all layers have in common.
    pool : Pool or None
    store : Checkpoint or None
    report : Reporter
    solved : dict of SolvedLayer
        By position.
    weights : dict of Affine
        What is put in place of those layers; signals look it up as the walk goes on.
    interrupted : bool
    """

    view: ModelView
    layers: Sequence[LayerView]
    data: Array
    plan: Scheme
    draw: Draw
    chosen: Sequence[int]
    options: Mapping[str, Any]
    pool: Pool | None
    store: Checkpoint | None
    report: Reporter
    solved: dict[int, SolvedLayer] = field(default_factory=dict, init=False)
    weights: dict[int, Affine] = field(default_factory=dict, init=False)
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

        for number, solution in solve_side_by_side(arguments(), pool, **self.options):
            position, program = posed[number]
            if solution.status == "interrupted":
                self.interrupted = True
                continue
            layer = self.layers[position]
            self.report.start(layer.name, layer.shape)
            self._finish(position, _accepted(layer, program, solution, []))

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
        return self.plan.program(layer, before, now, self.place(position))

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
        return _accepted(self.layers[position], program, solution, history)

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
