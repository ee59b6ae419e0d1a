"""Every general solver on the same output of a layer, in one run, at equal certified accuracy.

    python -m bench.layer.compare_rivals --data DIR [--network mnist_lenet300] [--layers 1 2 3]
        [--epsilon 0.1] [--samples 2000] [--outputs 3] [--threads 1] [--cap 30]

The rule. nettrim solves the layer in the epsilon form and names the penalty of the same optimum;
with it the outputs separate, and a QP solver can be given one of them. Every answer goes through
our certificate, on all samples: its error is the larger of its relative duality gap and its
infeasibility (relative to the largest target). A solver climbs the ladder of its own tolerances
until its error is 1e-6, and the time of that solve counts: from the arrays to the answer, forms and
set-up included. A solve under a second is repeated and the median taken. CVXPY gets the constrained
form with the output's own share of epsilon.

What rivals are spared: data are brought to unit size and features without signal are removed off
the clock; each output of a linear layer is charged its share only of the Gram matrix, which they
have in common; where a solver has several forms or factorisations, the fastest on the middle output
is used for the layer; of two dual candidates, the solver's own and the one its weights give, the
better counts. The published ADMM gets the constrained form too, is measured by its distance to the
optimum, having no dual to offer, and does not pay for being watched.

nettrim stands in the table as the whole layer in one solve, its time divided by the number of
outputs, and as one output alone. Few outputs are measured, at even steps in the order of active
samples; the time of a layer is extrapolated from their median, except for the whole-layer solve.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, TypeVar

import numpy as np

import nettrim
from bench.common import machine
from bench.common.programs import chosen_layers
from bench.common.tables import RESULTS, Row, Table
from bench.common.timing import timed
from bench.layer import plot_rivals
from bench.rivals import (
    cone_cvxpy,
    published_admm,
    qp_clarabel,
    qp_highs,
    qp_highs_active_set,
    qp_osqp,
    qp_piqp,
    qp_proxqp,
    qp_scs,
)
from bench.rivals.case import Case, Layer
from bench.rivals.column import Answer, Array
from nettrim.layer.reference import certify

SOLVERS: dict[str, ModuleType] = {
    "PIQP": qp_piqp,
    "OSQP": qp_osqp,
    "SCS": qp_scs,
    "ProxQP": qp_proxqp,
    "Clarabel": qp_clarabel,
    "HiGHS interior point": qp_highs,
    "HiGHS active set": qp_highs_active_set,
    "CVXPY + Clarabel": cone_cvxpy,
}
PACKAGES = ("piqp", "osqp", "scs", "proxsuite", "clarabel", "highspy", "cvxpy")
WHOLE, ALONE, PUBLISHED = "nettrim, whole layer", "nettrim, one output", "published ADMM"
TRACES = {"nettrim newton": "newton", "nettrim admm": "admm"}
LADDER = [10.0**-k for k in range(2, 13)]
OUR_LADDER = LADDER[4:]  # from the default tolerance on
GOAL = 1e-6
TRIAL_TOL, TRIAL_LIMIT, TRIAL_ERROR = 1e-5, 10.0, 1e-2  # of the solve that chooses a variant
THINNING = 1.5  # a point of a trace is kept when it is so much better than the last one
ABOUT = ["network", "layer", "samples", "epsilon"]

T = TypeVar("T")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--network", default="mnist_lenet300")
    parser.add_argument("--layers", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--epsilon", type=float, default=0.1, help="relative to the layer's output")
    parser.add_argument("--outputs", type=int, default=3, help="how many of a layer to measure")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cap", type=float, default=30.0, help="seconds that end a ladder")
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


class Point(NamedTuple):
    """What was proved after how many seconds."""

    seconds: float
    error: float


# --- ladders: one solve per tolerance -------------------------------------------------------------


def climb(
    ladder: list[float], solve: Callable[[float], T], error: Callable[[T], float], cap: float
) -> list[Point]:
    """One point per tolerance, until the goal is certified or a solve took longer than ``cap``."""
    points = []
    for tol in ladder:
        answer, seconds = timed(lambda tol=tol: solve(tol))
        reached = error(answer) <= GOAL
        if reached and seconds < 1:
            again = [timed(lambda tol=tol: solve(tol))[1] for _ in range(2)]
            seconds = statistics.median([seconds, *again])
        points.append(Point(seconds, error(answer)))
        if reached or seconds > cap:
            break
    return points


def rival_points(case: Case, rival: ModuleType, variant: str, cap: float) -> list[Point]:
    constrained = rival is cone_cvxpy

    def solve(tol: float) -> Answer:
        return rival.solve(case.fresh(), variant, tol, cap)

    shared = case.shared_seconds()
    points = climb(LADDER, solve, lambda answer: case.error_of(answer, constrained), cap)
    return [Point(point.seconds + shared, point.error) for point in points]


def best_variant(case: Case, rival: ModuleType) -> str:
    """The variant that is fastest at one tolerance, of those that answer at all."""
    if len(rival.VARIANTS) == 1:
        return str(rival.VARIANTS[0])
    return str(min(rival.VARIANTS, key=lambda variant: trial(case, rival, variant)))


def trial(case: Case, rival: ModuleType, variant: str) -> tuple[bool, float]:
    """Whether a variant fails, and its seconds; a short solve is repeated: the first loads code."""

    def attempt() -> Answer:
        return rival.solve(case.fresh(), variant, TRIAL_TOL, TRIAL_LIMIT)

    answer, seconds = timed(attempt)
    if seconds < 1:
        seconds = timed(attempt)[1]
    return case.error_of(answer, constrained=False) > TRIAL_ERROR, seconds


def alone_points(case: Case, cap: float) -> list[Point]:
    return climb(
        OUR_LADDER,
        lambda tol: case.layer.solve(case.y, tol=tol),
        lambda s: case.error(case.penalised, s.weights, [s.dual]),
        cap,
    )


def whole_points(case: Case, cap: float) -> list[Point]:
    """The whole layer in one solve, per output; the error is that of this output alone."""
    column = [case.output]
    points = climb(
        OUR_LADDER,
        lambda tol: case.layer.solve(case.layer.Y, tol=tol),
        lambda s: case.error(case.penalised, s.weights[:, column], [s.dual[:, column]]),
        cap,
    )
    return [Point(point.seconds / case.layer.Y.shape[1], point.error) for point in points]


# --- traces: one solve, watched -------------------------------------------------------------------


class Trace:
    """The best error so far, thinned; says when the goal and two digits more are reached."""

    def __init__(self, cap: float) -> None:
        self.cap, self.points = cap, [Point(0.0, np.inf)]

    def add(self, seconds: float, error: float) -> bool:
        last = self.points[-1].error
        if error < last / THINNING or error <= GOAL < last:
            self.points.append(Point(seconds, error))
        return error <= GOAL / 100 or seconds > self.cap


def our_trace(case: Case, solver: str, cap: float) -> list[Point]:
    trace = Trace(cap)

    def look(now: nettrim.LayerProgress) -> bool:
        return trace.add(now.seconds, max(abs(now.gap), now.violation / case.size))

    case.layer.solve(case.y, solver=solver, tol=1e-12, callback=look, check_every=10)
    return trace.points[1:]


class Enough(Exception):
    """Raised by an observer to end a run."""


def published_trace(case: Case, cap: float) -> list[Point]:
    """The published method on the constrained form, measured by its distance to the optimum."""
    trace, program = Trace(cap), case.constrained
    best = case.layer.solve(case.y, tol=1e-9)
    optimum = float(np.abs(best.weights).sum())

    def look(iteration: int, seconds: float, weights: Array) -> None:
        if iteration % 10 == 0:
            found = certify(program, weights, np.zeros_like(program.target))
            excess = max(found.residual / program.epsilon - 1, found.violation / case.size)
            if trace.add(seconds, max(abs(found.objective / optimum - 1), excess)):
                raise Enough

    X, linear = case.layer.X, case.layer.linear
    with contextlib.suppress(Enough):
        published_admm.solve(X.T, case.y.T, program.epsilon, linear=linear, observer=look)
    return trace.points[1:]


# --- the tables -----------------------------------------------------------------------------------


def measure(case: Case, solver: str, variant: str, cap: float) -> list[Point]:
    if solver == WHOLE:
        return whole_points(case, cap)
    if solver == ALONE:
        return alone_points(case, cap)
    if solver == PUBLISHED:
        return published_trace(case, cap)
    if solver in TRACES:
        return our_trace(case, TRACES[solver], cap)
    return rival_points(case, SOLVERS[solver], variant, cap)


def row(about: Row, case: Case, solver: str, variant: str, points: list[Point]) -> Row:
    return {
        **about,
        "output": case.output,
        "solver": solver,
        "variant": variant,
        "active": len(case.column.y),
        "seconds to 1e-6": next((p.seconds for p in points if p.error <= GOAL), None),
        "least error": min((p.error for p in points), default=None),
        "load": os.getloadavg()[0],
        "seconds": [p.seconds for p in points],
        "errors": [p.error for p in points],
    }


def compare_layer(layer: Layer, about: Row, table: Table, count: int, cap: float) -> None:
    cases = [Case.of(layer, output) for output in layer.outputs(count)]
    middle = cases[len(cases) // 2]
    for solver in (WHOLE, ALONE, *TRACES, *SOLVERS, PUBLISHED):
        variant = next(
            (r["variant"] for r in about_rows(table, about) if r["solver"] == solver), ""
        )
        for case in cases:
            if table.has(**about, output=case.output, solver=solver):
                continue
            if solver in SOLVERS:
                variant = variant or best_variant(middle, SOLVERS[solver])
            points = measure(case, solver, variant, cap)
            table.add(row(about, case, solver, variant, points))


def about_rows(table: Table, about: Row) -> list[Row]:
    return [entry for entry in table.rows if all(entry[key] == about[key] for key in ABOUT)]


def summarise(rows: list[Row], about: Row, n_outputs: int, summary: Table) -> None:
    """One row per solver: medians over the outputs, and a whole layer at that pace."""
    by_solver: dict[str, list[Row]] = {}
    for entry in rows:
        by_solver.setdefault(entry["solver"], []).append(entry)
    ours = typical(by_solver[WHOLE])
    for solver, entries in by_solver.items():
        median = typical(entries)
        if summary.has(**about, solver=solver):
            continue
        summary.add(
            {
                **about,
                "solver": solver,
                "variant": entries[0]["variant"],
                "certified": f"{sum(e['seconds to 1e-6'] is not None for e in entries)} "
                f"of {len(entries)}",
                "s per output": median,
                "s per layer (extrapolated)": median and median * n_outputs,
                "times nettrim": median / ours if median and ours else None,
                "least error": max(entry["least error"] for entry in entries),
            }
        )


def typical(entries: list[Row]) -> float | None:
    """The median time; none if it is "never"."""
    median = statistics.median(entry["seconds to 1e-6"] or np.inf for entry in entries)
    return median if np.isfinite(median) else None


def main() -> None:
    options = arguments()
    machine.use_threads(options.threads)
    header = machine.header() | {package: version(package) for package in PACKAGES}
    path, title = options.output / "compare_rivals", "nettrim against general solvers"
    summary = Table(path, f"{title}: time to a certified 1e-6", [*ABOUT, "solver"], header)
    outputs = Table(
        Path(f"{path}_outputs"), f"{title}: every output", [*ABOUT, "output", "solver"], header
    )
    for about, X, Y, activation in chosen_layers(options):
        layer = Layer.of(X, Y, activation, options.epsilon * float(np.linalg.norm(Y)))
        compare_layer(layer, about, outputs, options.outputs, options.cap)
        summarise(about_rows(outputs, about), about, Y.shape[1], summary)
    plot_rivals.draw(Path(f"{path}_outputs.json"), path.with_suffix(".png"))


if __name__ == "__main__":
    main()
