r"""A layer in blocks that agree on one penalty: the answer of the whole layer, with its proof.

Epsilon is all that couples the outputs, and at the optimum weights have one price in all of them.
So the blocks solve their penalised programs for a common penalty, which is moved until their
residuals add up to epsilon (`nettrim.layer.blocks.pareto`); what they tell each other is one number a round. The
multipliers :math:`G_b` of the blocks prove together that

.. math:: \sum_b\langle G_b, target_b\rangle - \epsilon\Vert G_{active}\Vert \le optimum,

and at the common penalty this closes. Where an options is too rough to meet epsilon, a mixture of the
answers on either side of it does.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ...base.arrays import frobenius
from ..options import Form, LayerOptions
from ..solution import LayerSolution
from .block import Block, Order, Part, Start, carry_out
from .pareto import Point, next_penalty
from .round import Answer, Round, Target, relative_gap

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...base.limits import Listener
    from ..data import LayerData

    Floats = NDArray[np.floating[Any]]

__all__ = ["Crew", "solve_in_blocks"]

MAX_ROUNDS = 20
SHARPER = 0.3  # tolerance of a block over that of the layer
SHARPEST = 1e-10
# The first guess: a few steps towards each block's answer for its share of epsilon.
ROUGH_TOL, ROUGH_STEPS = 0.4, 40
# Tolerance of a round: at most the first, ten times less in every third round, and the second times
# the square of the penalty's last step.
LOOSE, BESIDE_STEP = 1e-4, 1e-3
SOON = 10.0  # times the error that a proof allows: a square of a step below it is likely the last
# Relative distance of penalties whose answers may be mixed although others may follow.
NARROW = 1e-4
PROMISING = 1e9  # a bound this large, in unit-size weights per output, says that there may be none


class Crew(Protocol):
    """Those who solve blocks."""

    @property
    def data(self) -> LayerData:
        """The layer."""
        ...

    def solve(self, orders: Sequence[Order], options: LayerOptions) -> list[Part]:
        """Carry out orders, here or elsewhere; the parts are in the order of the orders."""
        ...


def solve_in_blocks(
    crew: Crew,
    blocks: Sequence[Block],
    form: Form,
    options: LayerOptions,
    starts: Sequence[Start],
    callback: Listener | None = None,
) -> LayerSolution:
    """Solve a layer in blocks, to the options's tolerance and within its limits for all of them."""
    desk = _Desk(crew, blocks, options, callback)
    if form.epsilon is None:
        return _solve_apart(desk, form, starts)
    target = Target.of(crew.data, blocks)
    if target.zero_is_feasible and target.total <= form.epsilon * (1 + options.tol):
        return _zero(desk, form.epsilon, target, "optimal")
    if form.epsilon == 0 or target.total == 0:
        return _solve_apart(desk, form, starts)
    return _Agreement(desk, form.epsilon, target).solve(starts)


class _Desk:
    """Sends orders out, and keeps the account of time and iterations."""

    def __init__(
        self, crew: Crew, blocks: Sequence[Block], options: LayerOptions, callback: Listener | None
    ) -> None:
        self.crew = crew
        self.blocks = blocks
        self.options = options
        self.callback = callback
        self.began = time.perf_counter()
        self.used = [0] * len(blocks)
        self.interrupted = False  # from then on there is no time left

    @property
    def data(self) -> LayerData:
        return self.crew.data

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.began

    @property
    def iterations(self) -> int:
        return max(self.used)

    def ask(
        self, forms: Sequence[Form], starts: Sequence[Start], most: int | None = None, **terms: Any
    ) -> list[Part]:
        """Have every block solved; ``terms`` are fields of `LayerOptions`."""
        left = 0.0 if self.interrupted else max(self.options.time_limit - self.seconds, 0.0)
        options = replace(self.options, time_limit=left, **terms)
        parts = self.crew.solve(self._orders(forms, starts, most), options)
        self.interrupted |= any(part.solution.status == "interrupted" for part in parts)
        self.used = [
            used + part.solution.iterations for used, part in zip(self.used, parts, strict=True)
        ]
        return parts

    def tell(self, objective: float, bound: float, residual: float, violation: float) -> bool:
        """Report on the whole layer; return whether the listener wants it to stop."""
        if self.callback is None:
            return False
        gap = relative_gap(objective, bound)
        numbers = (self.iterations, objective, bound, gap, residual, violation, self.seconds)
        return bool(self.callback(*numbers))

    def ask_here(self, forms: Sequence[Form], starts: Sequence[Start], **terms: Any) -> list[Part]:
        """Have every block take one step, now."""
        options = replace(self.options, time_limit=0.0, **terms)
        return carry_out(self.data, self._orders(forms, starts, 1), options)

    def _orders(
        self, forms: Sequence[Form], starts: Sequence[Start], most: int | None
    ) -> list[Order]:
        limit = self.options.max_iter
        left = [max(min(most or limit, limit - used), 1) for used in self.used]
        return [Order(*order) for order in zip(self.blocks, forms, starts, left, strict=True)]


def _zero(desk: _Desk, epsilon: float, target: Target, status: str) -> LayerSolution:
    """Answer zero weights: they are optimal, or there was no time for others."""
    data = desk.data
    optimal = status == "optimal"
    return LayerSolution(
        weights=np.zeros((data.X.shape[-1], data.Y.shape[1]), data.Y.dtype),
        objective=0.0,
        dual_bound=0.0,
        gap=0.0,
        residual=target.total,
        violation=target.excess,
        epsilon=epsilon,
        penalty=np.inf,
        status=status,
        iterations=desk.iterations,
        solver="none",
        reason="the start is optimal" if optimal else "stopped before the first answer",
        seconds=desk.seconds,
        dual=np.zeros(data.Y.shape, data.Y.dtype),
    )


def _solve_apart(desk: _Desk, form: Form, starts: Sequence[Start]) -> LayerSolution:
    """Solve blocks that nothing couples: a penalty is given, or no error is allowed or possible."""
    forms = [form] * len(desk.blocks)
    status = None
    try:
        parts = desk.ask(forms, starts, all_multipliers=True)
    except KeyboardInterrupt:
        parts = desk.ask_here(forms, starts, all_multipliers=True)
        status = "interrupted"
    solutions = [part.solution for part in parts]
    unsolved = [s.status for s in solutions if not s.converged]
    residual = math.hypot(*(s.residual for s in solutions))
    answer = LayerSolution(
        weights=np.hstack([s.weights for s in solutions]),
        objective=sum(s.objective for s in solutions),
        dual_bound=sum(s.dual_bound for s in solutions),
        gap=relative_gap(sum(s.objective for s in solutions), sum(s.dual_bound for s in solutions)),
        residual=residual,
        violation=max(s.violation for s in solutions),
        epsilon=residual if form.epsilon is None else form.epsilon,
        penalty=form.penalty or (np.inf if form.epsilon else 0.0),
        status=status or (unsolved[0] if unsolved else "optimal"),
        iterations=desk.iterations,
        **_engine_of(parts),
        seconds=desk.seconds,
        dual=np.hstack([s.dual for s in solutions]),
    )
    desk.tell(answer.objective, answer.dual_bound, answer.residual, answer.violation)
    return answer


def _engine_of(parts: Sequence[Part]) -> dict[str, str]:
    """Tell which options gave the answer; "none" is that of blocks whose start was good enough."""
    solutions = [part.solution for part in parts]
    one = next((s for s in solutions if s.solver != "none"), solutions[0])
    return {"solver": f"{one.solver}, {len(parts)} blocks", "reason": one.reason}


class _Agreement:
    """The search for the penalty at which the residual of all blocks is epsilon."""

    def __init__(self, desk: _Desk, epsilon: float, target: Target) -> None:
        self.desk = desk
        self.epsilon = epsilon
        self.target = target
        self.tol = desk.options.tol
        self.points: list[Point] = []
        self.last: Round | None = None
        self.below: Round | None = None  # of the largest penalty that leaves room
        self.above: Round | None = None  # of the smallest one that leaves none
        self.best: Answer | None = None
        self.told_to_stop = False

    def solve(self, starts: Sequence[Start]) -> LayerSolution:
        """Search, and return the best answer with its proof."""
        try:
            status = self._search(starts)
        except KeyboardInterrupt:
            status = "interrupted"
        if self.best is None:
            return _zero(self.desk, self.epsilon, self.target, status)
        return self._concluded(self.best, status)

    def _search(self, starts: Sequence[Start]) -> str:
        rough = self._share_out(starts)
        if self._meets_no_half_spaces(rough):
            return "infeasible"
        penalty, starts = self._first_penalty(rough), self._starts(rough)
        step = math.inf  # of the penalty's logarithm
        while True:
            taken = self._take_round(penalty, starts, step)
            status = self._stopped_by(taken)
            if any(self._is_proved(answer) for answer in self._answers(taken, last=bool(status))):
                return "optimal"
            if status or self.desk.interrupted:
                return status or "interrupted"
            penalty = next_penalty(self.points, self.epsilon)
            step = abs(math.log(penalty / taken.penalty))
            starts = self._starts(taken.parts)

    def _answers(self, taken: Round, *, last: bool) -> Iterator[Answer]:
        """Yield what may be the answer after a round, the best first."""
        yield Answer.of(taken)
        if (mixture := self._mixture(widest=math.inf if last else NARROW)) is not None:
            yield mixture

    def _share_out(self, starts: Sequence[Start]) -> list[Part]:
        """Give each block its share of epsilon, by size, and let it take some steps."""
        forms = [Form(epsilon=share) for share in self._shares()]
        terms = {"tol": ROUGH_TOL, "all_multipliers": False}
        return self.desk.ask(forms, starts, ROUGH_STEPS, **terms)

    def _shares(self) -> list[float]:
        return [self.epsilon * norm / self.target.total for norm in self.target.norms]

    def _first_penalty(self, rough: Sequence[Part]) -> float:
        """Return the price of weights, twice epsilon over the norm of the multipliers."""
        usable = [p.square > 0 and p.solution.status != "infeasible" for p in rough]
        if not any(usable):
            return 2 * self.epsilon * _longest_feature(self.desk.data)
        share = math.hypot(*itertools.compress(self._shares(), usable))
        return 2 * share / math.sqrt(sum(p.square for p in itertools.compress(rough, usable)))

    def _starts(self, parts: Sequence[Part]) -> list[Start]:
        """Begin where the blocks are; a linear layer with many samples is faster from nothing."""
        data = self.desk.data
        cold = not data.relu and data.X.shape[-2] > data.X.shape[-1]
        return [Start() if cold else part.start for part in parts]

    def _take_round(self, penalty: float, starts: Sequence[Start], step: float) -> Round:
        loose = LOOSE * 0.1 ** (len(self.points) // 3)
        tol = max(self._sharp(), min(loose, BESIDE_STEP * step**2))
        likely_last = step**2 < SOON * self._room()
        taken = self._ask(penalty, starts, tol, all_multipliers=likely_last)
        self.last = taken
        self.points.append(taken.point)
        if taken.residual > self.epsilon:
            if self.above is None or penalty < self.above.penalty:
                self.above = taken
        elif self.below is None or penalty > self.below.penalty:
            self.below = taken
        self._keep(Answer.of(taken))
        bound = taken.bound(self.epsilon)
        self.told_to_stop = self.desk.tell(taken.l1, bound, taken.residual, taken.violation)
        return taken

    def _ask(
        self, penalty: float, starts: Sequence[Start], tol: float, *, all_multipliers: bool
    ) -> Round:
        forms = [Form(penalty=penalty)] * len(self.desk.blocks)
        parts = self.desk.ask(forms, starts, tol=tol, all_multipliers=all_multipliers)
        return Round.of(penalty, tol, parts)

    def _sharp(self) -> float:
        """Tolerance of blocks that proves the layer: weights are but a share of their objectives."""
        if self.last is None:
            return SHARPER * self.tol
        paid = self.last.penalty * self.last.l1
        return max(SHARPER * self.tol * paid / (paid + self.last.residual**2), SHARPEST)

    def _room(self) -> float:
        """How far the residual may be from epsilon, relatively, where the proof still closes."""
        if self.last is None:
            return self.tol
        return self.tol * max(1.0, self.last.penalty * self.last.l1 / (2 * self.epsilon**2))

    def _gap(self, answer: Answer) -> float:
        return relative_gap(answer.l1, answer.proof.bound(self.epsilon))

    def _merit(self, answer: Answer) -> float:
        """Return the largest relative error, of feasibility or proof."""
        errors = (
            answer.residual / self.epsilon - 1,
            answer.violation / self.target.largest,
            abs(self._gap(answer)),
        )
        return float(max(errors)) if all(map(math.isfinite, errors)) else math.inf

    def _keep(self, answer: Answer) -> None:
        if self.best is None or self._merit(answer) <= self._merit(self.best):
            self.best = answer

    def _is_proved(self, answer: Answer) -> bool:
        """Tell whether an answer closes, and keep it if it does, with all of its multipliers."""
        if self._merit(answer) > self.tol:
            return False
        if not answer.proof.has_all_multipliers:
            before = answer.proof
            again = self._ask(
                before.penalty, self._starts(before.parts), before.tol, all_multipliers=True
            )
            answer = replace(answer, proof=again)
        if self._merit(answer) > self.tol:
            self._keep(answer)
            return False
        self.best = answer  # also beside one that closes further, but without its multipliers
        return True

    def _stopped_by(self, taken: Round) -> str | None:
        """Return the status of a search that ends here."""
        statuses = [part.solution.status for part in taken.parts]
        if not math.isfinite(taken.l1 + taken.residual):
            return "numerical"
        if self._meets_no_half_spaces(taken.parts):
            return "infeasible"
        if self._is_hopeless(taken):
            return "infeasible"
        if self.told_to_stop or self.desk.interrupted:
            return "interrupted"
        for status in ("time_limit", "max_iter"):
            if status in statuses:
                return status
        return "numerical" if len(self.points) >= MAX_ROUNDS else None

    def _meets_no_half_spaces(self, parts: Sequence[Part]) -> bool:
        """Tell whether a block's half-spaces contradict each other, and keep the proof."""
        proof = next(
            (p for p in parts if p.solution.status == "infeasible" and p.square == 0), None
        )
        if proof is None:
            return False
        shapes = [self.desk.data.Y[:, block.outputs].shape for block in self.desk.blocks]
        rays = [
            part.as_ray(shape) if part is proof else part.without_multipliers(shape)
            for part, shape in zip(parts, shapes, strict=True)
        ]
        self.best = Answer.of(Round.of(1.0, self.tol, rays))
        return True

    def _is_hopeless(self, taken: Round) -> bool:
        """Tell whether no weights come within epsilon, and keep the proof.

        It is one if every block proves that it cannot have its share of epsilon, by its residual:
        rays as long as the shares prove together that the layer cannot have epsilon.
        """
        unit = self.target.largest / _longest_feature(self.desk.data)
        promising = max(taken.l1, PROMISING * unit * self.desk.data.Y.shape[1])
        if taken.bound(self.epsilon) <= promising:
            return False
        shares = [self.epsilon * p.solution.residual / taken.residual for p in taken.parts]
        forms = [Form(epsilon=share) for share in shares]
        parts = self.desk.ask(forms, [Start()] * len(forms), all_multipliers=True)
        if self._meets_no_half_spaces(parts):
            return True
        lengths = [math.sqrt(part.square) for part in parts]
        if any(p.solution.status != "infeasible" for p in parts) or not all(lengths):
            return False
        most = min(length / share for length, share in zip(lengths, shares, strict=True))
        rays = [
            part.scaled(most * share / length)
            for part, length, share in zip(parts, lengths, shares, strict=True)
        ]
        self.best = Answer.of(Round.of(1.0, self.tol, rays))
        return True

    def _mixture(self, widest: float) -> Answer | None:
        """Mix the answers on either side of epsilon, so that their residual is not above it."""
        low, high = self.below, self.above
        if low is None or high is None or high.penalty / low.penalty - 1 > widest:
            return None
        share = (high.residual - self.epsilon) / (high.residual - low.residual)
        weights = [
            share * a.solution.weights + (1 - share) * b.solution.weights
            for a, b in zip(low.parts, high.parts, strict=True)
        ]
        proof = max(low, high, key=lambda one: one.bound(self.epsilon))
        return Answer(weights, *self._measured(weights), proof)

    def _measured(self, weights: Sequence[Floats]) -> tuple[float, float, float]:
        """Return what is said of weights, in float64: their l1 norm, residual and violation."""
        data = self.desk.data
        residuals, violations = [], [0.0]
        for block, own in zip(self.desk.blocks, weights, strict=True):
            signal = np.matmul(data.inputs(block.group), own, dtype=np.float64)
            active = data.is_active(block.outputs)
            upper = 0.0 if data.upper is None else data.upper[:, block.outputs]
            residuals.append(frobenius((signal - data.Y[:, block.outputs])[active]))
            violations.append(float((signal - upper)[~active].max(initial=0.0)))
        l1 = sum(float(np.abs(w).sum(dtype=np.float64)) for w in weights)
        return l1, math.hypot(*residuals), max(violations)

    def _concluded(self, answer: Answer, status: str) -> LayerSolution:
        """Return an answer to the whole layer; a search that was stopped gets its proof at once."""
        proof = answer.proof
        if not proof.has_all_multipliers:
            starts, penalty = self._starts(proof.parts), proof.penalty
            if status == "infeasible":
                proof = self._ask(penalty, starts, proof.tol, all_multipliers=True)
            else:
                forms = [Form(penalty=penalty)] * len(self.desk.blocks)
                parts = self.desk.ask_here(forms, starts, all_multipliers=True)
                proof = Round.of(penalty, proof.tol, parts)
        bound = proof.bound(self.epsilon)
        return LayerSolution(
            weights=np.hstack(answer.weights),
            objective=answer.l1,
            dual_bound=bound,
            gap=relative_gap(answer.l1, bound),
            residual=answer.residual,
            violation=answer.violation,
            epsilon=self.epsilon,
            penalty=2 * self.epsilon / proof.norm if proof.norm > 0 else np.inf,
            status=status,
            iterations=self.desk.iterations,
            **_engine_of(proof.parts),
            seconds=self.desk.seconds,
            dual=np.hstack([part.solution.dual for part in proof.parts]) / proof.penalty,
        )


def _longest_feature(data: LayerData) -> float:
    return math.sqrt(float(np.einsum("...ij,...ij->...j", data.X, data.X).max())) or 1.0
