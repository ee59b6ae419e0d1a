r"""A layer in blocks that agree on one penalty: the answer of the whole layer, with its proof.

Epsilon is all that couples the outputs, and at the optimum one penalty holds in all of them.
So the blocks solve their penalised programs for a common penalty, which is moved until their
residuals add up to epsilon (`nettrim.layer.blocks.pareto`); what they exchange is one number a
round. The multipliers :math:`G_b` of the blocks prove together that

.. math:: \sum_b\langle G_b, target_b\rangle - \epsilon\Vert G_{active}\Vert \le optimum,

and at the common penalty this closes. Where the tolerance is too rough to meet epsilon, a mixture
of the answers on either side of it does.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ...base.arrays import frobenius_norm
from ..options import Form, LayerOptions
from ..solution import LayerSolution
from .block import Block, BlockResult, BlockStart, describe_engine
from .dispatcher import BlockSolver, Dispatcher
from .pareto import Point, next_penalty
from .penalty_step import Candidate, PenaltyStep, Target, relative_gap
from .uncoupled import solve_uncoupled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...base.limits import Listener
    from ..data import LayerData

    Floats = NDArray[np.floating[Any]]

__all__ = ["solve_in_blocks"]

# Share of the outputs that rounding does not tell from zero: a smaller epsilon allows no error.
SMALLEST = float(np.finfo(np.float64).eps)

MAX_ROUNDS = 20
SHARPER = 0.3  # tolerance of a block over that of the layer
SHARPEST = 1e-10
# The first guess: a few steps towards each block's answer for its share of epsilon, with as many
# certificates as alternating directions take until they look for a proof that there is none.
ROUGH_TOL, ROUGH_STEPS, ROUGH_CHECK_EVERY = 0.4, 40, 10
# Tolerance of a round: at most the first, ten times less in every third round, and the second times
# the square of the penalty's last step.
LOOSE, BESIDE_STEP = 1e-4, 1e-3
SOON = 10.0  # times the error that a proof allows: a square of a step below it is likely the last
# Relative distance of penalties whose answers may be mixed although others may follow.
NARROW = 1e-4
PROMISING = 1e9  # a bound this large, in unit-size weights per output, says that there may be none
# So does a residual that goes so small a share of its way to epsilon as the penalty falls so far.
STUCK, FALLEN = 0.01, 10.0
MINOR = 1e-3  # share of the residual below which a block has no part in a proof that there are none


def solve_in_blocks(
    solver: BlockSolver,
    blocks: Sequence[Block],
    form: Form,
    options: LayerOptions,
    starts: Sequence[BlockStart],
    callback: Listener | None = None,
) -> LayerSolution:
    """Solve a layer in blocks, to a tolerance and within limits for all of them."""
    dispatcher = Dispatcher(solver, blocks, options, callback)
    if form.epsilon is None:
        return solve_uncoupled(dispatcher, form, starts)
    target = Target.of(solver.data, blocks)
    if target.zero_is_feasible and target.total <= form.epsilon * (1 + options.tol):
        return _zero_solution(dispatcher, form.epsilon, target, "optimal")
    if form.epsilon <= SMALLEST * target.total or target.total == 0:
        return solve_uncoupled(dispatcher, form, starts)
    return _PenaltySearch(dispatcher, form.epsilon, target).solve(starts)


def _zero_solution(
    dispatcher: Dispatcher, epsilon: float, target: Target, status: str
) -> LayerSolution:
    """Answer zero weights: they are optimal, or there was no time for others."""
    data = dispatcher.data
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
        iterations=dispatcher.iterations,
        solver="none",
        reason="the start is optimal" if optimal else "stopped before the first answer",
        seconds=dispatcher.seconds,
        dual=np.zeros(data.Y.shape, data.Y.dtype),
    )


class _PenaltySearch:
    """The search for the penalty at which the residual of all blocks is epsilon."""

    def __init__(self, dispatcher: Dispatcher, epsilon: float, target: Target) -> None:
        self.dispatcher = dispatcher
        self.epsilon = epsilon
        self.target = target
        self.tol = dispatcher.options.tol
        self.points: list[Point] = []
        self.last: PenaltyStep | None = None
        self.below: PenaltyStep | None = None  # of the largest penalty that leaves room
        self.above: PenaltyStep | None = None  # of the smallest one that leaves none
        self.best: Candidate | None = None
        self.stop_requested = False

    def solve(self, starts: Sequence[BlockStart]) -> LayerSolution:
        """Search, and return the best answer with its proof."""
        try:
            status = self._search(starts)
        except KeyboardInterrupt:
            status = "interrupted"
        if self.best is None:
            return _zero_solution(self.dispatcher, self.epsilon, self.target, status)
        return self._conclude(self.best, status)

    def _search(self, starts: Sequence[BlockStart]) -> str:
        rough = self._solve_shares(starts)
        if self._meets_no_half_spaces(rough) or self._no_block_has_its_share(rough):
            return "infeasible"
        penalty, starts = self._first_penalty(rough), self._starts(rough)
        change = math.inf  # of the penalty's logarithm
        while True:
            step = self._step(penalty, starts, change)
            status = self._stop_status(step)
            if any(
                self._is_proved(candidate)
                for candidate in self._candidates(step, last=bool(status))
            ):
                return "optimal"
            if status or self.dispatcher.interrupted:
                return status or "interrupted"
            penalty = next_penalty(self.points, self.epsilon)
            change = abs(math.log(penalty / step.penalty))
            starts = self._starts(step.results)

    def _candidates(self, step: PenaltyStep, *, last: bool) -> Iterator[Candidate]:
        """Yield what may be the answer after a round, the best first."""
        yield Candidate.of(step)
        if (mixture := self._mix(widest=math.inf if last else NARROW)) is not None:
            yield mixture

    def _solve_shares(self, starts: Sequence[BlockStart]) -> list[BlockResult]:
        """Give each block its share of epsilon, by size, and let it take some steps."""
        forms = [Form(epsilon=share) for share in self._shares()]
        often = min(self.dispatcher.options.check_every, ROUGH_CHECK_EVERY)
        terms = {"tol": ROUGH_TOL, "check_every": often, "all_multipliers": False}
        return self.dispatcher.solve(forms, starts, ROUGH_STEPS, **terms)

    def _shares(self) -> list[float]:
        return [self.epsilon * norm / self.target.total for norm in self.target.norms]

    def _first_penalty(self, rough: Sequence[BlockResult]) -> float:
        """Return a first penalty, twice epsilon over the norm of the multipliers."""
        shares = self._shares()  # zero, and so no guide, where all that is asked for is zero
        usable = [
            share > 0 and p.square > 0 and p.solution.status != "infeasible"
            for share, p in zip(shares, rough, strict=True)
        ]
        if not any(usable):
            return 2 * self.epsilon * _longest_feature(self.dispatcher.data)
        share = math.hypot(*itertools.compress(shares, usable))
        return 2 * share / math.sqrt(sum(p.square for p in itertools.compress(rough, usable)))

    def _starts(self, results: Sequence[BlockResult]) -> list[BlockStart]:
        """Begin where the blocks are, unless that is no help or their multipliers ran away."""
        cold = self.dispatcher.data.prefers_cold_start
        return [
            BlockStart() if cold or result.solution.status == "infeasible" else result.start
            for result in results
        ]

    def _step(self, penalty: float, starts: Sequence[BlockStart], change: float) -> PenaltyStep:
        loose = LOOSE * 0.1 ** (len(self.points) // 3)
        tol = max(self._block_tol(), min(loose, BESIDE_STEP * change**2))
        likely_last = change**2 < SOON * self._residual_tol()
        step = self._solve_at(penalty, starts, tol, all_multipliers=likely_last)
        self.last = step
        self.points.append(step.point)
        if step.residual > self.epsilon:
            if self.above is None or penalty < self.above.penalty:
                self.above = step
        elif self.below is None or penalty > self.below.penalty:
            self.below = step
        self._keep_best(Candidate.of(step))
        bound = step.bound(self.epsilon)
        self.stop_requested = self.dispatcher.report(step.l1, bound, step.residual, step.violation)
        return step

    def _solve_at(
        self, penalty: float, starts: Sequence[BlockStart], tol: float, *, all_multipliers: bool
    ) -> PenaltyStep:
        forms = [Form(penalty=penalty)] * len(self.dispatcher.blocks)
        results = self.dispatcher.solve(forms, starts, tol=tol, all_multipliers=all_multipliers)
        return PenaltyStep.of(penalty, tol, results)

    def _block_tol(self) -> float:
        """Tolerance of blocks that proves the layer: weights are only a share of objectives."""
        if self.last is None:
            return SHARPER * self.tol
        paid = self.last.penalty * self.last.l1
        return max(SHARPER * self.tol * paid / (paid + self.last.residual**2), SHARPEST)

    def _residual_tol(self) -> float:
        """How far the residual may be from epsilon, relatively, where the proof still closes."""
        if self.last is None:
            return self.tol
        return self.tol * max(1.0, self.last.penalty * self.last.l1 / (2 * self.epsilon**2))

    def _gap(self, candidate: Candidate) -> float:
        return relative_gap(candidate.l1, candidate.proof.bound(self.epsilon))

    def _merit(self, candidate: Candidate) -> float:
        """Return the largest relative error, of feasibility or proof."""
        errors = (
            candidate.residual / self.epsilon - 1,
            candidate.violation / self.target.largest,
            abs(self._gap(candidate)),
        )
        return float(max(errors)) if all(map(math.isfinite, errors)) else math.inf

    def _keep_best(self, candidate: Candidate) -> None:
        if self.best is None or self._merit(candidate) <= self._merit(self.best):
            self.best = candidate

    def _is_proved(self, candidate: Candidate) -> bool:
        """Tell whether an answer closes, and keep it if it does, with all of its multipliers."""
        if self._merit(candidate) > self.tol:
            return False
        if not candidate.proof.has_all_multipliers:
            before = candidate.proof
            again = self._solve_at(
                before.penalty, self._starts(before.results), before.tol, all_multipliers=True
            )
            candidate = replace(candidate, proof=again)
        if self._merit(candidate) > self.tol:
            self._keep_best(candidate)
            return False
        self.best = candidate  # also beside one that closes further, but without its multipliers
        return True

    def _stop_status(self, step: PenaltyStep) -> str | None:
        """Return the status of a search that ends here."""
        statuses = [result.solution.status for result in step.results]
        if not math.isfinite(step.l1 + step.residual):
            return "numerical"
        if self._meets_no_half_spaces(step.results):
            return "infeasible"
        if self._is_hopeless(step):
            return "infeasible"
        if self.stop_requested or self.dispatcher.interrupted:
            return "interrupted"
        for status in ("time_limit", "max_iter"):
            if status in statuses:
                return status
        return "numerical" if len(self.points) >= MAX_ROUNDS else None

    def _meets_no_half_spaces(self, results: Sequence[BlockResult]) -> bool:
        """Tell whether a block's half-spaces contradict each other, and keep the proof."""
        proof = next((result for result in results if result.meets_no_half_spaces), None)
        if proof is None:
            return False
        shapes = [
            self.dispatcher.data.Y[:, block.outputs].shape for block in self.dispatcher.blocks
        ]
        rays = [
            result.as_ray(shape) if result is proof else result.without_multipliers(shape)
            for result, shape in zip(results, shapes, strict=True)
        ]
        self.best = Candidate.of(PenaltyStep.of(1.0, self.tol, rays))
        return True

    def _no_block_has_its_share(self, rough: Sequence[BlockResult]) -> bool:
        """Tell whether every block proved that in a few steps already, and keep the proof."""
        proved = all(result.solution.status == "infeasible" for result in rough)
        return proved and self._out_of_reach(self._shares())

    def _is_hopeless(self, step: PenaltyStep) -> bool:
        """Tell whether bounds ran away because no weights come within epsilon; keep the proof."""
        unit = self.target.largest / _longest_feature(self.dispatcher.data)
        promising = max(step.l1, PROMISING * unit * self.dispatcher.data.Y.shape[1])
        if step.bound(self.epsilon) <= promising and not self._is_stuck():
            return False
        residuals = [p.solution.residual for p in step.results]
        major = [r if r > MINOR * step.residual else 0.0 for r in residuals]
        return self._out_of_reach([self.epsilon * r / math.hypot(*major) for r in major])

    def _is_stuck(self) -> bool:
        """Tell whether the residual has all but ceased to fall with the penalty, above epsilon."""
        if len(self.points) < 2:
            return False
        before, last = self.points[-2:]
        left = math.log(last.residual / self.epsilon)
        went = math.log(before.residual / last.residual)
        return left > 0 and went < STUCK * left and before.penalty > FALLEN * last.penalty

    def _out_of_reach(self, shares: Sequence[float]) -> bool:
        """Tell whether no weights come within epsilon, and keep the proof.

        It is one if every block that has a share of epsilon proves that it cannot have it: rays as
        long as the shares prove together that the layer cannot have epsilon.
        """
        forms = [Form(epsilon=share) for share in shares]
        results = self.dispatcher.solve(forms, [BlockStart()] * len(forms), all_multipliers=True)
        if self._meets_no_half_spaces(results):
            return True
        lengths = [math.sqrt(result.square) for result in results]
        asked = [share > 0 for share in shares]
        proved = all(
            result.solution.status == "infeasible" and result.square > 0
            for result in itertools.compress(results, asked)
        )
        if not proved or not any(asked):
            return False
        most = min(
            length / share for length, share in zip(lengths, shares, strict=True) if share > 0
        )
        rays = [
            result.scaled(most * share / length)
            if share > 0
            else result.without_multipliers(result.solution.dual.shape)
            for result, length, share in zip(results, lengths, shares, strict=True)
        ]
        self.best = Candidate.of(PenaltyStep.of(1.0, self.tol, rays))
        return True

    def _mix(self, widest: float) -> Candidate | None:
        """Mix the answers on either side of epsilon, so that their residual is not above it."""
        low, high = self.below, self.above
        if low is None or high is None or high.penalty / low.penalty - 1 > widest:
            return None
        share = (high.residual - self.epsilon) / (high.residual - low.residual)
        weights = [
            share * a.solution.weights + (1 - share) * b.solution.weights
            for a, b in zip(low.results, high.results, strict=True)
        ]
        proof = max(low, high, key=lambda one: one.bound(self.epsilon))
        return Candidate(weights, *self._measure(weights), proof)

    def _measure(self, weights: Sequence[Floats]) -> tuple[float, float, float]:
        """Return what is said of weights, in float64: their l1 norm, residual and violation."""
        data = self.dispatcher.data
        residuals, violations = [], [0.0]
        for block, own in zip(self.dispatcher.blocks, weights, strict=True):
            signal = np.matmul(data.inputs(block.group), own, dtype=np.float64)
            active = data.is_active(block.outputs)
            upper = 0.0 if data.upper is None else data.upper[:, block.outputs]
            residuals.append(frobenius_norm((signal - data.Y[:, block.outputs])[active]))
            violations.append(float((signal - upper)[~active].max(initial=0.0)))
        l1 = data.norm(np.hstack(weights))
        return l1, math.hypot(*residuals), max(violations)

    def _conclude(self, candidate: Candidate, status: str) -> LayerSolution:
        """Return an answer to the whole layer; a search that was stopped gets its proof at once."""
        proof = candidate.proof
        if not proof.has_all_multipliers:
            starts, penalty = self._starts(proof.results), proof.penalty
            if status == "infeasible":
                proof = self._solve_at(penalty, starts, proof.tol, all_multipliers=True)
            else:
                forms = [Form(penalty=penalty)] * len(self.dispatcher.blocks)
                results = self.dispatcher.step_here(forms, starts, all_multipliers=True)
                proof = PenaltyStep.of(penalty, proof.tol, results)
        bound = proof.bound(self.epsilon)
        return LayerSolution(
            weights=np.hstack(candidate.weights),
            objective=candidate.l1,
            dual_bound=bound,
            gap=relative_gap(candidate.l1, bound),
            residual=candidate.residual,
            violation=candidate.violation,
            epsilon=self.epsilon,
            penalty=2 * self.epsilon / proof.norm if proof.norm > 0 else np.inf,
            status=status,
            iterations=self.dispatcher.iterations,
            **describe_engine(proof.results),
            seconds=self.dispatcher.seconds,
            dual=_divide_by_penalty(proof),
        )


def _divide_by_penalty(proof: PenaltyStep) -> Floats:
    """Return all multipliers over the penalty, which may be beyond single precision."""
    dual = np.hstack([result.solution.dual for result in proof.results])
    return (dual.astype(np.float64) / proof.penalty).astype(dual.dtype)


def _longest_feature(data: LayerData) -> float:
    return (
        math.sqrt(float(np.einsum("...ij,...ij->...j", data.X, data.X, dtype=np.float64).max()))
        or 1.0
    )
