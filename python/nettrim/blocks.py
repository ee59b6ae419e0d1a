r"""A layer whose working arrays would not fit, in blocks of outputs, with the same answer.

Given the penalty, the outputs do not know of each other; and one penalty for all of them gives the
joint optimum at the epsilon it reaches (Lagrange duality). The squared residual grows with the
square of the penalty and is piecewise affine in it, so a safeguarded secant finds the penalty of a
given epsilon in a few rounds, each started from the last.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from .solution import LayerSolution

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]

__all__ = ["Form", "Start", "solve"]

MAX_ROUNDS = 60
SHARPER = 0.1  # tolerance of a block over that of the layer, and of a block asked again
TINY = float(np.finfo(float).tiny)


@dataclass(frozen=True)
class Form:
    """Exactly one of the two."""

    epsilon: float | None = None
    penalty: float | None = None


@dataclass(frozen=True)
class Start:
    """Where a solve begins; C-contiguous, None for a cold start."""

    weights: Floats | None = None
    dual: Floats | None = None

    def on(self, features: NDArray[np.bool_]) -> Start:
        """Return the same for some of the features."""
        if self.weights is None or features.all():
            return self
        return Start(np.ascontiguousarray(self.weights[features]), self.dual)

    def of(self, outputs: slice) -> Start:
        """Return the part of a block."""
        cut = [
            None if array is None else np.ascontiguousarray(array[:, outputs])
            for array in (self.weights, self.dual)
        ]
        return Start(*cut)


class Program(Protocol):
    """What is known of the layer here."""

    @property
    def Y(self) -> Floats: ...
    @property
    def upper(self) -> Floats | None: ...
    @property
    def relu(self) -> bool: ...

    def solve(self, outputs: slice, form: Form, tol: float, start: Start) -> LayerSolution:
        """Solve some of the outputs alone."""


def solve(program: Program, form: Form, tol: float, start: Start, width: int) -> LayerSolution:
    """Solve ``width`` outputs at a time; the arguments are those of `nettrim.solve_layer`."""
    n_outputs = program.Y.shape[1]
    cuts = [slice(k, min(k + width, n_outputs)) for k in range(0, n_outputs, width)]
    if form.penalty is not None:
        parts = [program.solve(cut, form, tol, start.of(cut)) for cut in cuts]
        return _joined(
            parts,
            objective=sum(part.objective for part in parts),
            dual_bound=sum(part.dual_bound for part in parts),
            penalty=form.penalty,
        )
    assert form.epsilon is not None
    return _solve_constrained(program, form.epsilon, tol, start, cuts)


def _solve_constrained(
    program: Program, epsilon: float, tol: float, start: Start, cuts: list[slice]
) -> LayerSolution:
    """Find the common penalty at which the residuals add up to epsilon."""
    parts = _split_budget(program, epsilon, tol, start, cuts)
    seconds, iterations = _effort(parts)
    answer = _certified(program, parts, cuts, epsilon, tol, 1.0)
    penalty = _typical([part.penalty for part in parts])
    search = _Search(goal=(epsilon * (1 - tol / 8)) ** 2)
    sharpness = SHARPER * tol
    for _ in range(MAX_ROUNDS):
        if answer.status in ("optimal", "infeasible") or not np.isfinite(penalty):
            break
        form = Form(penalty=penalty)
        starts = [Start(part.weights, part.dual) for part in parts]
        parts = [
            program.solve(cut, form, sharpness, begin)
            for cut, begin in zip(cuts, starts, strict=True)
        ]
        seconds, iterations = seconds + _effort(parts)[0], iterations + _effort(parts)[1]
        answer = _certified(program, parts, cuts, epsilon, tol, penalty)
        if any(part.status in ("interrupted", "time_limit") for part in parts):
            break
        if abs(answer.residual - epsilon) <= tol / 4 * epsilon:
            sharpness *= SHARPER  # the penalty is right, so what is left is the blocks' own gap
        else:
            penalty = float(np.sqrt(search.next(penalty**2, answer.residual**2)))
    return replace(answer, seconds=seconds, iterations=iterations)


def _split_budget(
    program: Program, epsilon: float, tol: float, start: Start, cuts: list[slice]
) -> list[LayerSolution]:
    """Give each block its share of epsilon: a feasible start with nearly the right penalties."""
    norms = [float(np.linalg.norm(_targets(program, cut)[1])) for cut in cuts]
    total = max(float(np.linalg.norm(norms)), TINY)
    return [
        program.solve(cut, Form(epsilon=epsilon * norm / total), tol, start.of(cut))
        for cut, norm in zip(cuts, norms, strict=True)
    ]


def _targets(program: Program, cut: slice) -> tuple[Floats, Floats]:
    """Return what is asked of every entry of a block, and the same with zero where inactive."""
    Y = program.Y[:, cut]
    if not program.relu:
        return Y, Y
    active = Y > 0
    upper = 0.0 if program.upper is None else program.upper[:, cut]
    return np.where(active, Y, upper), np.where(active, Y, 0.0)


def _typical(penalties: list[float]) -> float:
    finite = [penalty for penalty in penalties if 0 < penalty < np.inf]
    return float(np.median(finite)) if finite else np.inf


class _Search:
    """Secant for an increasing, nearly affine function, kept inside the bracket it has found."""

    def __init__(self, goal: float) -> None:
        self.goal = goal
        self.low, self.high = 0.0, np.inf
        self.last = (0.0, 0.0)

    def next(self, x: float, value: float) -> float:
        """Take the value at x, return where to look next."""
        if value < self.goal:
            self.low = x
        else:
            self.high = x
        slope = (value - self.last[1]) / (x - self.last[0]) if x != self.last[0] else 0.0
        self.last = (x, value)
        step = x + (self.goal - value) / slope if slope > 0 else self.low
        if self.low < step < min(self.high, 100 * x):
            return step
        return 0.5 * (self.low + self.high) if np.isfinite(self.high) else 4 * x


def _certified(
    program: Program,
    parts: list[LayerSolution],
    cuts: list[slice],
    epsilon: float,
    tol: float,
    price: float,
) -> LayerSolution:
    """Join the blocks with the bound that their multipliers, over the price, prove together."""
    linear, square = 0.0, 0.0
    for part, cut in zip(parts, cuts, strict=True):
        target, _ = _targets(program, cut)
        dual = part.dual.astype(np.float64) / price
        linear += float(np.sum(dual * target))
        active = program.Y[:, cut] > 0 if program.relu else np.True_
        square += float(np.sum(np.where(active, dual, 0.0) ** 2))
    joined = _joined(
        parts,
        objective=sum(float(np.abs(part.weights).sum(dtype=np.float64)) for part in parts),
        dual_bound=max(linear - epsilon * float(np.sqrt(square)), 0.0),
        penalty=2 * epsilon / max(float(np.sqrt(square)), TINY),
        price=price,
    )
    largest = float(np.abs(program.Y).max())
    feasible = joined.residual <= epsilon * (1 + tol) and joined.violation <= tol * largest
    status = "optimal" if feasible and abs(joined.gap) <= tol else joined.status
    if status == "optimal" and not (feasible and abs(joined.gap) <= tol):
        status = "numerical"  # each block is solved, the layer is not
    return replace(joined, epsilon=epsilon, status=status)


def _joined(
    parts: list[LayerSolution],
    objective: float,
    dual_bound: float,
    penalty: float,
    price: float = 1.0,
) -> LayerSolution:
    seconds, iterations = _effort(parts)
    residual = float(np.linalg.norm([part.residual for part in parts]))
    unsolved = [part.status for part in parts if not part.converged]
    return LayerSolution(
        weights=np.hstack([part.weights for part in parts]),
        objective=objective,
        dual_bound=dual_bound,
        gap=(objective - dual_bound) / max(abs(objective), TINY)
        if objective != dual_bound
        else 0.0,
        residual=residual,
        violation=max(part.violation for part in parts),
        epsilon=residual,
        penalty=penalty,
        status=unsolved[0] if unsolved else "optimal",
        iterations=iterations,
        solver=f"{parts[0].solver}, {len(parts)} blocks",
        seconds=seconds,
        dual=np.hstack([part.dual for part in parts]) / price,
    )


def _effort(parts: list[LayerSolution]) -> tuple[float, int]:
    return sum(part.seconds for part in parts), sum(part.iterations for part in parts)
