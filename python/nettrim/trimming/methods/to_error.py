"""Layers within an error: Net-Trim's parallel and cascade schemes, every answer certified."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ...base.arrays import Array, frobenius_norm, relative_to
from ...base.errors import LARGE_ERROR, InfeasibleError, LargeErrorWarning
from ...budget.optimal_brain_surgeon import TUNING, Regularisation
from ...layer.blocks.workers import Pool
from ...layer.data import LayerData
from ...layer.options import Form, LayerOptions
from ...layer.solution import LayerProgress, LayerSolution
from ...layer.solve import solve_layer, solve_side_by_side
from ...models.layer_view import LayerView, activate
from ..bounds import Prospect
from ..solved_layer import Proof, SolvedLayer
from .error_ball import NOTHING, ErrorBall
from .layer_program import LayerProgram
from .method import SOLVING, LayerPosition, LayerTask, Method, Run
from .posing import split_groups
from .regularising import choose_regularisation

__all__ = ["ToError"]

ROWS = 4096  # of large arrays, at a time
MOST_KEPT = 1 << 23  # entries of the multipliers that are kept for the next model on a path
BEYOND_ROUNDING = 1 + 1e-9  # of a radius over the error that was asked for
ASTRAY = 2.0  # radii of its ball, beyond which an answer without proof is worse than none


@dataclass(frozen=True)
class ToError(Method):
    """The least l1 norm within a ball around each layer's output; see `nettrim.Error`.

    Attributes
    ----------
    run : Run
    cascaded : bool
        Whether programs are posed on the trimmed signals.
    epsilon, gamma, kappa, tol : float
    slack : {"positive", "paper"}
    solver : str
    max_iter : int or None
    time_limit : float or None
    regularise : tuple of float or str or None
        Ridge and pull, or "auto" to choose them where few rows are active; None for neither.
    reweighted : int
        Rounds after the first.
    pool : Pool or None
        Workers; None to solve here.
    answers : dict of LayerSolution
        To other programs of the layers, by position, to begin from: those of the last model on a
        path, if there was one. Answers to this one's programs take their place.
    """

    run: Run
    cascaded: bool
    epsilon: float
    gamma: float
    slack: str
    kappa: float
    tol: float
    solver: str
    max_iter: int | None
    time_limit: float | None
    regularise: tuple[float, float] | str | None = None
    reweighted: int = 0
    pool: Pool | None = None
    answers: dict[int, LayerSolution] = field(default_factory=dict)

    def prepare(self) -> None:
        """Nothing comes before the first layer."""

    def solve(self, tasks: Iterator[LayerTask]) -> Iterator[tuple[int, SolvedLayer]]:
        """Solve layers in turn; whole layers at once where there are as many as workers."""
        pool = None if self.cascaded else self.pool
        if pool is not None and len(self.run.chosen) >= pool.n_workers:
            yield from self._solve_side_by_side(tasks, pool)
            return
        for task in tasks:
            self.run.report.start(task.layer.name, task.layer.shape)
            ball = self._pose_task(task)
            with self.run.watch(SOLVING):
                solved = self._solve(task, ball)
            yield task.position, solved
            if solved.status == "interrupted":
                return

    def details(self, position: int) -> dict[str, Any]:
        """Return what this layer's answer depends on beside the options of the run."""
        return {"kappa": self._kappa(last=self.run.is_last(position))}

    def prospect(self, position: int) -> Prospect:
        """Return what is known of a layer's epsilon before the layers in front are solved.

        Factor of Theorem 2 on the change of the original weights' response. Without effect on the
        first pruned layer, whose input does not change. ``kappa`` shrinks the ball, not the upper
        bound on a ReLU layer's inactive entries.
        """
        last, layer = self.run.is_last(position), self.run.layers[position]
        inflation = self._inflation(last=last)
        growth = inflation if layer.activation == "linear" else max(inflation, 1.0)
        floors = [self._floor(LayerPosition(first, last)) for first in (False, True)]
        return Prospect(growth, *floors)

    def pose(
        self, layer: LayerView, original: Array, current: Array, place: LayerPosition
    ) -> ErrorBall:
        """Pose a layer's program.

        Parameters
        ----------
        layer : LayerView
        original, current : ndarray of shape (n_rows, n_features)
            The layer's input in the original and in the trimmed network.
        place : LayerPosition
        """
        Y = activate(layer.affine.apply(original), layer.activation)
        least = self._floor(place) * frobenius_norm(Y)
        if not self.cascaded or place.first:
            program = LayerProgram.of(layer, original, Y)
            return ErrorBall(program, least, self._kappa(last=place.last))
        V = layer.affine.apply(current)
        relu = layer.activation == "relu"
        residual = _error(V, Y, relu)
        epsilon = max(self._inflation(last=place.last) * residual, least)
        if relu and self.slack == "positive":
            np.maximum(V, 0.0, out=V)
        program = LayerProgram.of(layer, current, Y, V if relu else None)
        return ErrorBall(program, epsilon, self._kappa(last=place.last), residual)

    def _pose_task(self, task: LayerTask) -> ErrorBall:
        """Pose a task's program; say before it is solved if errors have grown large."""
        place = task.place
        ball = self.pose(task.layer, task.original, task.current, place)
        if ball.radius > BEYOND_ROUNDING * max(LARGE_ERROR, self._floor(place)):
            self.run.warn_once(
                LargeErrorWarning,
                f"layer {task.layer.name!r} may move by {ball.radius:.0%} of its output, as the "
                "errors in front of it have grown so large: the network may do nothing of what it "
                "did. Take a smaller epsilon or fewer layers",
            )
        ball = replace(ball, active_rows=self.run.count_active_rows(task, ball.program))
        return replace(ball, regularisation=self._regularisation(task.layer, ball))

    def _regularisation(self, layer: LayerView, ball: ErrorBall) -> Regularisation | None:
        """Return what draws a layer's weights; chosen by itself only where few rows speak."""
        program = ball.program
        if self.regularise is None or program.groups > 1:
            return None
        if isinstance(self.regularise, str):
            few = ball.active_rows < layer.shape[0] and ball.radius > 0
            if not few:
                return None
            limit = None if self.time_limit is None else TUNING * self.time_limit
            with self.run.watch(SOLVING):
                (data,) = split_groups(layer, program, None)
                return choose_regularisation(data, ball.radius, self.run.n_threads, limit)
        ridge, pull = self.regularise
        return Regularisation(0.0 if program.activation == "linear" else pull, ridge)

    def _solve(self, task: LayerTask, ball: ErrorBall) -> SolvedLayer:
        history: list[tuple[float, float]] = []

        def certified(progress: LayerProgress) -> None:
            history.append((progress.seconds, progress.gap))
            self.run.report.update(progress, self.tol)

        program = ball.program
        solution = solve_layer(
            program.X,
            program.Y,
            epsilon=ball.epsilon,
            activation=program.activation,
            groups=program.groups,
            upper=program.upper,
            active=program.active,
            solver=self.solver,
            tol=self.tol,
            max_iter=self.max_iter,
            time_limit=self.time_limit,
            warm_start=self._start(task.position, program),
            n_threads=self.run.n_threads,
            callback=certified,
            executor=None if self.pool is None else self.pool.executor,
            block_outputs=ball.affordable_outputs if self.pool is None else None,
            reweighted=self.reweighted,
            **ball.drawing(task.layer),
        )
        if solution.converged and solution.dual.size <= MOST_KEPT:
            self.answers[task.position] = solution.first or solution
        return _accept(task.layer, ball, solution, history)

    def _start(self, position: int, program: LayerProgram) -> LayerSolution | None:
        """Return an answer to begin from, if it is of as many samples: weights alone hold it up."""
        answer = self.answers.get(position)
        return answer if answer is not None and answer.dual.shape == program.Y.shape else None

    def _solve_side_by_side(
        self, tasks: Iterator[LayerTask], pool: Pool
    ) -> Iterator[tuple[int, SolvedLayer]]:
        """Give whole layers to workers; in the parallel scheme they see original signals alone."""
        posed: list[tuple[LayerTask, ErrorBall]] = []

        def programs() -> Iterator[tuple[LayerData, Form]]:
            for task in tasks:
                ball = self._pose_task(task)
                posed.append(
                    (task._replace(original=NOTHING, current=NOTHING), ball.without_arrays)
                )
                yield ball.layer_data(task.layer), Form.of(ball.epsilon, None)

        threads = 1 if self.run.n_threads is None else self.run.n_threads
        options = LayerOptions.of(
            solver=self.solver,
            tol=self.tol,
            max_iter=self.max_iter,
            time_limit=self.time_limit,
            n_threads=threads,
            reweighted=self.reweighted,
        )
        with self.run.watch(SOLVING):
            for number, solution in solve_side_by_side(programs(), options, pool):
                task, ball = posed[number]
                if solution.status != "interrupted":
                    self.run.report.start(task.layer.name, task.layer.shape)
                yield task.position, _accept(task.layer, ball, solution, [])

    def _floor(self, place: LayerPosition) -> float:
        """Epsilon, relative to the layer's output, that does not depend on the layers in front.

        For a layer of the cascade that others reach it is the least one: where nothing changed in
        front, the layer's own error is zero and would leave no room but rounding errors.
        """
        if not self.cascaded:
            return self.epsilon
        least = self.epsilon if place.first else min(self.tol, self.epsilon)
        return self._kappa(last=place.last) * least

    def _inflation(self, *, last: bool) -> float:
        return math.sqrt(self.gamma) * self._kappa(last=last)

    def _kappa(self, *, last: bool) -> float:
        return self.kappa if last else 1.0


def _error(V: Array, Y: Array, relu: bool) -> float:
    """Return the distance from V to Y, of a ReLU layer where Y is active; arrays may be large."""
    square = 0.0
    for first in range(0, len(Y), ROWS):
        v, y = V[first : first + ROWS], Y[first : first + ROWS]
        square += frobenius_norm(np.where(y > 0, v - y, 0.0) if relu else v - y) ** 2
    return math.sqrt(square)


def _accept(
    layer: LayerView,
    ball: ErrorBall,
    solution: LayerSolution,
    history: list[tuple[float, float]],
) -> SolvedLayer:
    """Return what is kept of an answer."""
    if solution.status == "infeasible":
        raise InfeasibleError(_infeasibility_message(layer, ball))
    if _is_astray(ball, solution):
        solution = _with_original_weights(layer, ball, solution)
    program = ball.program
    return SolvedLayer(
        weights=np.asarray(solution.weights, dtype=np.float64),
        output_norm=program.output_norm,
        active_rows=ball.active_rows,
        status=solution.status,
        seconds=solution.seconds,
        proof=Proof(
            epsilon=ball.epsilon,
            residual=relative_to(solution.residual, program.output_norm),
            violation=relative_to(solution.violation, program.largest),
            gap=solution.gap,
            l1_gap=_l1_gap(solution),
            iterations=solution.iterations,
            solver=solution.solver,
            history=np.array(history).reshape(-1, 2),
        ),
    )


def _l1_gap(solution: LayerSolution) -> float:
    """Return how far the l1 norm is from the least, which the first round bounds."""
    l1 = float(np.abs(solution.weights).sum())
    return solution.gap if solution.first is None else 1 - solution.first.dual_bound / l1


def _is_astray(ball: ErrorBall, solution: LayerSolution) -> bool:
    """Tell whether an answer is of no use: it stopped early and far off, or an engine broke down.

    The original weights lie in the ball that there is at ``kappa=1``.
    """
    if solution.converged:
        return False
    farthest = ASTRAY * ball.epsilon / ball.kappa
    is_near = solution.residual <= farthest and solution.violation <= farthest  # neither is NaN
    return not (is_near and np.isfinite(solution.weights).all())


def _with_original_weights(
    layer: LayerView, ball: ErrorBall, solution: LayerSolution
) -> LayerSolution:
    """Return the layer as it was, as an answer to its program."""
    weights = layer.affine.stacked
    l1 = float(np.abs(weights).sum())
    return replace(
        solution,
        weights=weights,
        objective=l1,
        gap=1 - max(0.0, solution.dual_bound) / l1 if l1 else 0.0,
        residual=ball.residual,
        violation=0.0,
    )


def _infeasibility_message(layer: LayerView, ball: ErrorBall) -> str:
    """Say what can be done about a layer without feasible weights, as precisely as is known."""
    if ball.kappa == 1:
        return (
            f"layer {layer.name!r}: the solver finds no feasible weights, although the original "
            "ones are feasible up to rounding; a larger epsilon or gamma gives it room"
        )
    least, program = 0.0, ball.program
    if program.activation == "linear":
        nearest = np.linalg.lstsq(program.X, program.Y)[0]
        distance = frobenius_norm(program.X @ nearest - program.Y)
        least = ball.kappa * distance / ball.epsilon
    known = f" (feasible from {least:.3g} on)" if ball.kappa < least <= 1 else ""
    return (
        f"layer {layer.name!r}: no weights meet kappa={ball.kappa:g}; choose a larger kappa{known}"
    )
