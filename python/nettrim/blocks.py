r"""A layer whose working arrays would not fit, in blocks of outputs, with the same answer.

Epsilon is all that couples the outputs, so blocks are solved alone, each with a share
:math:`\epsilon_b` of it, :math:`\sum\epsilon_b^2 = \epsilon^2`. Their multipliers :math:`G_b`
together bound the joint optimum, and the gap they leave is
:math:`\epsilon\Vert G\Vert - \sum\epsilon_b\Vert G_b\Vert`: zero where all blocks have one
penalty :math:`2\epsilon_b/\Vert G_b\Vert`, and quadratic in the distance from there. Shares are
moved until they do. Blocks of a few outputs that sit between being zero and not can keep this from
closing; the answer is then feasible, carries its gap, and is not called optimal.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from .solution import LayerSolution

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ._arguments import LayerData

    Floats = NDArray[np.floating[Any]]
    Vector = NDArray[np.float64]

__all__ = ["Form", "Start", "solve"]

MAX_ROUNDS = 30
SHARPER = 0.3  # tolerance of a block over that of the layer
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
    def data(self) -> LayerData: ...

    def solve(self, outputs: slice, form: Form, tol: float, start: Start) -> LayerSolution:
        """Solve some of the outputs alone."""


def solve(program: Program, form: Form, tol: float, start: Start, width: int) -> LayerSolution:
    """Solve ``width`` outputs at a time; the arguments are those of `nettrim.solve_layer`."""
    n_outputs = program.data.Y.shape[1]
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
    """Move the shares of epsilon until the blocks have one penalty."""
    sizes = np.array([np.linalg.norm(_target(program, cut, inactive=0.0)) for cut in cuts])
    most = np.full(len(cuts), np.inf)  # residual beyond which a block has no use for its share
    shares = _shares(sizes, epsilon, most)
    starts = [start.of(cut) for cut in cuts]
    elasticity = np.full(len(cuts), 2.0)
    past: tuple[Vector, Vector] | None = None  # logarithms of shares and penalties
    seconds, iterations = 0.0, 0
    for _ in range(MAX_ROUNDS):
        parts = [
            program.solve(cut, Form(epsilon=float(share)), SHARPER * tol, begin)
            for cut, share, begin in zip(cuts, shares, starts, strict=True)
        ]
        for b, part in enumerate(parts):
            most[b] = part.residual if part.penalty == np.inf else most[b]
        parts = _with_multipliers(program, parts, cuts, tol)
        seconds += sum(part.seconds for part in parts)
        iterations += sum(part.iterations for part in parts)
        answer = _certified(program, parts, cuts, epsilon, tol)
        if answer.status != "numerical":
            break
        penalties = np.array([part.penalty for part in parts])
        now = np.log(np.maximum(shares, TINY)), np.log(penalties)
        if past is not None:
            elasticity = _elasticity(past, now, elasticity)
        past = now
        used = np.array([part.residual for part in parts])
        shares = _shares(used * (answer.penalty / penalties) ** (1 / elasticity), epsilon, most)
        starts = [Start(part.weights, part.dual) for part in parts]
    return replace(answer, seconds=seconds, iterations=iterations)


def _shares(wanted: Vector, epsilon: float, most: Vector) -> Vector:
    """Return multiples of what is wanted, none above its most, with squares that add to epsilon's."""
    full = np.zeros(len(wanted), bool)
    while True:
        left = np.sqrt(max(epsilon**2 - float(np.sum(most[full] ** 2)), 0.0))
        scale = left / max(float(np.linalg.norm(wanted[~full])), TINY)
        shares = np.where(full, most, scale * wanted)
        over = ~full & (shares > most)
        if not over.any():
            return np.asarray(shares)
        full |= over


def _elasticity(past: tuple[Vector, Vector], now: tuple[Vector, Vector], known: Vector) -> Vector:
    """Return d log(penalty) / d log(share) of every block; it is 1 or more, by convexity."""
    moved = now[0] - past[0]
    far = np.abs(moved) > 1e-9
    measured = (now[1] - past[1]) / np.where(far, moved, 1.0)
    return np.where(far, np.clip(measured, 1.0, 50.0), known)


def _with_multipliers(
    program: Program, parts: list[LayerSolution], cuts: list[slice], tol: float
) -> list[LayerSolution]:
    """Give blocks with more than they need the multipliers of the penalty of the others.

    Their own answer is zero weights, which needs no multipliers to be proved but shares none.
    """
    finite = [part.penalty for part in parts if 0 < part.penalty < np.inf]
    if not finite:
        return parts
    penalty = float(np.median(finite))
    return [
        part
        if np.isfinite(part.penalty)
        else _in_constrained_units(program.solve(cut, Form(penalty=penalty), tol, Start()))
        for part, cut in zip(parts, cuts, strict=True)
    ]


def _in_constrained_units(part: LayerSolution) -> LayerSolution:
    return replace(
        part,
        objective=float(np.abs(part.weights).sum(dtype=np.float64)),
        dual=part.dual / part.penalty,
    )


def _target(program: Program, cut: slice, inactive: float | None = None) -> Floats:
    """Return Y where active; elsewhere the upper bound, or what is given."""
    Y = program.data.Y[:, cut]
    if not program.data.relu:
        return Y
    upper = 0.0 if program.data.upper is None else program.data.upper[:, cut]
    return np.where(Y > 0, Y, upper if inactive is None else inactive)


def _certified(
    program: Program, parts: list[LayerSolution], cuts: list[slice], epsilon: float, tol: float
) -> LayerSolution:
    """Join the blocks with the bound that their multipliers prove together."""
    linear, square = 0.0, 0.0
    for part, cut in zip(parts, cuts, strict=True):
        dual = part.dual.astype(np.float64)
        linear += float(np.sum(dual * _target(program, cut)))
        active = program.data.Y[:, cut] > 0 if program.data.relu else np.True_
        square += float(np.sum(np.where(active, dual, 0.0) ** 2))
    norm = float(np.sqrt(square))
    joined = _joined(
        parts,
        objective=sum(part.objective for part in parts),
        dual_bound=max(linear - epsilon * norm, 0.0),
        penalty=2 * epsilon / norm if norm > 0 else np.inf,
    )
    if joined.status != "optimal":  # what stopped a block stops the layer
        return replace(joined, epsilon=epsilon)
    allowed = epsilon * (1 + tol) if epsilon > 0 else tol * float(np.linalg.norm(program.data.Y))
    largest = float(np.abs(program.data.Y).max())
    feasible = joined.residual <= allowed and joined.violation <= tol * largest
    solved = feasible and abs(joined.gap) <= tol
    return replace(joined, epsilon=epsilon, status="optimal" if solved else "numerical")


def _joined(
    parts: list[LayerSolution], objective: float, dual_bound: float, penalty: float
) -> LayerSolution:
    residual = float(np.linalg.norm([part.residual for part in parts]))
    unsolved = [part.status for part in parts if not part.converged]
    gap = (objective - dual_bound) / max(abs(objective), TINY)
    return LayerSolution(
        weights=np.hstack([part.weights for part in parts]),
        objective=objective,
        dual_bound=dual_bound,
        gap=gap,
        residual=residual,
        violation=max(part.violation for part in parts),
        epsilon=residual,
        penalty=penalty,
        status=unsolved[0] if unsolved else "optimal",
        iterations=sum(part.iterations for part in parts),
        solver=f"{parts[0].solver}, {len(parts)} blocks",
        reason=parts[0].reason,
        seconds=sum(part.seconds for part in parts),
        dual=np.hstack([part.dual for part in parts]),
    )
