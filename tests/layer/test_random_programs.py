"""Random programs against a referee: whatever the data, an answer that says optimal is optimal.

The referee is Clarabel, which is given the cones directly and not believed either: its multipliers
prove a lower bound and its weights an upper one, by the certificate of `nettrim.layer.reference`.
Where the two are far apart it decides nothing.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

import nettrim
from nettrim.layer import reference
from support import problems
from support.conic import solve_cones, solve_conic
from support.problems import Array, Program, Recipe

TOL = 1e-6  # the default of solve_layer
CLOSE = 1e-7  # bounds of the referee that are further apart decide nothing

boundless = np.errstate(all="ignore")  # a program without weights has duals without end

sizes = st.sampled_from([1.0, 1.0, 1e-6, 1e-3, 1e3, 1e6])
levels = st.sampled_from([0.0, 1e-6, 1e-4, 1e-3, 1e-2, 1.0]) | st.floats(0.01, 1.2)
solvers = st.sampled_from(["auto", "auto", "newton", "admm"])


@st.composite
def hard_recipes(draw: st.DrawFn) -> Recipe:
    """Whatever can be wrong with data."""
    n_samples, n_features = draw(st.integers(1, 40)), draw(st.integers(1, 20))
    full = min(n_samples, n_features)
    form = draw(st.sampled_from(["constrained", "constrained", "penalised"]))
    return Recipe(
        seed=draw(st.integers(0, 2**32 - 1)),
        n_samples=n_samples,
        n_features=n_features,
        n_outputs=draw(st.integers(1, 6)),
        rank=draw(st.just(full) | st.integers(1, full)),
        activation=draw(st.sampled_from(["relu", "relu", "linear"])),
        form=form,
        level=draw(levels if form == "constrained" else levels.filter(bool)),
        gamma=draw(st.sampled_from([None, None, None, 1.0, 1.1])),
        slack=draw(st.sampled_from(problems.SLACKS)),
        target=draw(st.sampled_from(["own", *problems.TARGETS])),
        x_size=draw(sizes),
        y_size=draw(sizes),
        spread=draw(st.sampled_from([1.0, 1.0, 10.0, 1e4])),
        copies=draw(st.sampled_from([0, 0, 1, 3])),
        blur=draw(st.sampled_from([0.0, 1e-10, 1e-5])),
        dead_samples=draw(st.sampled_from([0, 0, 1, n_samples // 2])),
        dead_outputs=draw(st.sampled_from([0, 0, 1])),
        density=draw(st.sampled_from([1.0, 0.3])),
    )


@st.composite
def decent_recipes(draw: st.DrawFn) -> Recipe:
    """Layers as they come: more samples than features, outputs that some weights give."""
    n_features, n_outputs = draw(st.integers(2, 20)), draw(st.integers(1, 6))
    n_samples = draw(st.integers(2 * n_features, 60))
    target, slack = draw(
        st.sampled_from([("own", "none"), ("own", "above"), ("shifted", "paper")])
        | st.just(("shifted", "positive"))
    )
    return Recipe(
        seed=draw(st.integers(0, 2**32 - 1)),
        n_samples=n_samples,
        n_features=n_features,
        n_outputs=n_outputs,
        rank=draw(st.just(n_features) | st.integers(1, n_features)),
        activation=draw(st.sampled_from(["relu", "relu", "linear"])),
        form=draw(st.sampled_from(["constrained", "constrained", "penalised"])),
        level=draw(st.sampled_from([1e-4, 1e-3, 1e-2]) | st.floats(0.01, 1.2)),
        gamma=None if target == "own" else draw(st.sampled_from([1.01, 1.1])),
        slack=slack,
        target=target,
        x_size=draw(sizes),
        y_size=draw(sizes),
        spread=draw(st.sampled_from([1.0, 10.0])),
        copies=draw(st.sampled_from([0, 0, 2])),
        dead_samples=draw(st.sampled_from([0, n_samples // 4])),
        dead_outputs=draw(st.sampled_from([0, n_outputs // 2])),
        density=draw(st.sampled_from([1.0, 0.3])),
    )


@dataclass(frozen=True)
class Verdict:
    """What the referee knows: the optimum lies between, and what a tighter constraint costs."""

    known: str  # "feasible", "infeasible" or "undecided"
    lower: float
    upper: float
    price_of_radius: float
    price_of_bounds: float
    grain: float  # an objective this small is zero

    @classmethod
    @boundless
    def on(cls, program: Program) -> Verdict:
        weights, dual = solve_cones(program)
        if weights is None:
            dual = stretched(program, dual)
        c = certificate(
            program, np.zeros_like(program.weights) if weights is None else weights, dual
        )
        on, off = dual[program.active], dual[~program.active]
        prices = float(np.linalg.norm(on)), float(np.abs(off).sum())
        grain = 0.01 * CLOSE * objective_size(program)
        if weights is None:
            return cls("infeasible", 0.9 * c.dual_bound, np.inf, *prices, grain)
        verdict = cls("undecided", c.dual_bound, c.objective, *prices, grain)
        upper = c.objective + verdict.cost(program, c.residual, c.violation)
        close = abs(upper - c.dual_bound) <= CLOSE * abs(upper) + grain
        feasible = close and is_feasible(program, c.residual, c.violation, 1000 * TOL)
        return replace(verdict, upper=upper, known="feasible" if feasible else "undecided")

    def cost(self, program: Program, residual: float, violation: float) -> float:
        """By how much weights that are infeasible by so much may be better than the optimum.

        Weak duality: any weights cost at least the dual's bound less its prices times the excess.
        """
        excess = 0.0 if program.epsilon is None else max(residual - program.epsilon, 0.0)
        return self.price_of_radius * excess + self.price_of_bounds * violation


def is_feasible(program: Program, residual: float, violation: float, tol: float) -> bool:
    """The documented meaning of a tolerance."""
    if violation > tol * float(np.abs(program.Y).max() or np.abs(program.ceiling).max()):
        return False
    if program.epsilon is None:
        return True
    allowed = program.epsilon or float(np.linalg.norm(program.Y[program.active]))
    return residual <= program.epsilon + tol * allowed * (1 + 1e-9)


def stretched(program: Program, ray: Array) -> Array:
    """The ray as far as the dual constraint allows, and rounding can tell."""
    steepest = float(np.abs(program.X.T @ ray).max())
    least = 1e-12 * float(np.abs(program.X).max() * np.abs(ray).max())
    return ray * (program.penalty or 1.0) / (max(steepest, least) or 1.0)


def objective_size(program: Program) -> float:
    size = float(np.linalg.norm(np.where(program.active, program.Y, program.ceiling)))
    longest = float(np.linalg.norm(program.X, axis=0).max())
    if program.epsilon is None or not longest:
        return size**2 or 1.0
    return size / longest or 1.0


@boundless
def certificate(program: Program, weights: Array, dual: Array) -> reference.ReferenceCertificate:
    referenced = reference.ReferenceProgram.of(
        program.X,
        program.Y,
        epsilon=program.epsilon,
        penalty=program.penalty,
        activation=program.activation,
        upper=program.ceiling,
    )
    return reference.certify(referenced, weights, dual)


def assert_report_is_true(program: Program, solution: nettrim.LayerSolution) -> None:
    """Whatever the status: the numbers follow from weights and dual alone."""
    if not np.isfinite([solution.dual_bound, np.abs(solution.dual).max()]).all():
        assert solution.status == "numerical"
        return
    c = certificate(program, solution.weights, solution.dual)
    rounding = 1e-9 * float(np.linalg.norm(program.Y) + np.linalg.norm(program.ceiling)) or 1e-300
    assert solution.objective == pytest.approx(c.objective, rel=1e-9)
    assert solution.residual == pytest.approx(c.residual, rel=1e-6, abs=rounding)
    assert solution.violation == pytest.approx(c.violation, rel=1e-6, abs=rounding)
    unsure = 1e-9 + uncertainty(program, solution.dual)
    if unsure < 0.1:
        assert solution.dual_bound <= c.dual_bound * (1 + unsure) + 1e-9 * c.objective


def uncertainty(program: Program, dual: Array) -> float:
    """Relative error of a bound: the rounding of X'G, which is to be at most 1 or the penalty."""
    terms = np.abs(program.X).T @ np.abs(dual)
    return len(program.X) * np.finfo(float).eps * float(terms.max()) / (program.penalty or 1.0)


def assert_optimal(program: Program, solution: nettrim.LayerSolution, verdict: Verdict) -> None:
    assert abs(solution.gap) <= TOL
    assert is_feasible(program, solution.residual, solution.violation, TOL)
    if verdict.known == "undecided":
        return
    assert solution.objective <= verdict.upper * (1 + 2 * TOL) + verdict.grain
    less = 1.001 * verdict.cost(program, solution.residual, solution.violation)
    assert solution.objective >= verdict.lower * (1 - 2 * TOL) - less - verdict.grain


def check(recipe: Recipe, solver: str, n_threads: int) -> tuple[str, str]:
    """Solve and judge; the status, and what the referee knows."""
    program = recipe.program()
    verdict = Verdict.on(program)
    solution = program.solve(solver=solver, n_threads=n_threads, time_limit=30.0)
    assert_report_is_true(program, solution)
    if verdict.known == "feasible":
        assert not solution.dual_bound > verdict.upper * (1 + CLOSE) + verdict.grain
        assert solution.status != "infeasible"
    if solution.status == "optimal":
        assert_optimal(program, solution, verdict)
    return solution.status, verdict.known


@pytest.mark.parametrize("program", problems.random_programs()[::3], ids=problems.describe)
def test_the_two_referees_agree(program: Program) -> None:
    verdict = Verdict.on(program)
    assert verdict.known == "feasible"
    assert verdict.upper == pytest.approx(solve_conic(program).objective, rel=1e-8)


def test_the_referee_knows_the_impossible() -> None:
    """Two equal samples, of which one must be 1 and the other below -1: no bound is too large."""
    X, Y, upper = np.ones((2, 1)), np.array([[1.0], [0.0]]), -np.ones((2, 1))
    verdict = Verdict.on(Program(X, Y, np.zeros((1, 1)), upper=upper, epsilon=0.5))
    assert verdict.known == "infeasible"
    assert verdict.lower > 1e6


def test_no_wrong_optimum() -> None:
    """A thousand programs, most of them hard. With -rP, a count of how they end."""
    endings: Counter[tuple[str, str, str]] = Counter()

    @settings(max_examples=1000)
    @given(hard_recipes(), solvers, st.sampled_from([1, 2]))
    def run(recipe: Recipe, solver: str, n_threads: int) -> None:
        endings[(solver, *check(recipe, solver, n_threads))] += 1

    run()
    for key, count in sorted(endings.items()):
        print(*key, count)
    solved, feasible = endings["auto", "optimal", "feasible"], 0
    for (solver, _, known), count in endings.items():
        feasible += count * (solver == "auto" and known == "feasible")
    assert solved >= 0.97 * feasible


@settings(max_examples=300)
@given(decent_recipes())
def test_decent_programs_are_solved(recipe: Recipe) -> None:
    """Where the data are in order there is no ending but the optimum."""
    status, known = check(recipe, "auto", 1)
    event(f"{status}, {known}")
    assert status == "optimal"
