"""The referees, which share no code with nettrim: CVXPY with Clarabel, and Clarabel alone.

The first poses a program as it is written in the papers. The second writes the cones itself, which
takes milliseconds, and also returns multipliers.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import clarabel
import cvxpy as cp
import numpy as np
from scipy import sparse

from support.problems import Array, Program

PRECISION = {"tol_gap_abs": 1e-10, "tol_gap_rel": 1e-10, "tol_feas": 1e-10}
# Without more refinement the last digits are lost in the linear solves on some programs.
REFINEMENT = {
    "iterative_refinement_reltol": 1e-14,
    "iterative_refinement_abstol": 1e-14,
    "iterative_refinement_max_iter": 30,
}
INFEASIBLE = (
    clarabel.SolverStatus.PrimalInfeasible,
    clarabel.SolverStatus.AlmostPrimalInfeasible,
)


class ConicSolution(NamedTuple):
    """The optimum and where it is attained."""

    objective: float
    weights: Array


class ConicPair(NamedTuple):
    """Weights and multipliers, as `nettrim.layer.reference.certify` takes them.

    Without weights the program is infeasible, and the multipliers are a ray of ever better bounds.
    """

    weights: Array | None
    dual: Array


def solve_conic(program: Program) -> ConicSolution:
    """Solve a layer program of either form to ten digits.

    The data are brought to unit size first: with absolute tolerances an interior-point method
    answers nonsense on the tiny signals of a link-normalised network.
    """
    scaled, weight_scale, objective_scale = unit_size(program)
    U = cp.Variable(program.weights.shape)
    problem = cp.Problem(*model(scaled, U))
    problem.solve(solver=cp.CLARABEL, **PRECISION, **REFINEMENT)
    if problem.status == cp.INFEASIBLE:
        raise ValueError("the program is infeasible")
    if problem.status != cp.OPTIMAL:
        raise RuntimeError(f"the referee could not decide: {problem.status}")
    return ConicSolution(float(problem.value) * objective_scale, np.asarray(U.value) * weight_scale)


def unit_size(program: Program) -> tuple[Program, float, float]:
    """The program with inputs and outputs of unit size, and how to read its answer."""
    sx, sy = 1 / (float(np.abs(program.X).max()) or 1.0), signal_scale(program)
    scaled = replace(
        program,
        X=program.X * sx,
        Y=program.Y * sy,
        upper=None if program.upper is None else program.upper * sy,
        epsilon=None if program.epsilon is None else program.epsilon * sy,
        penalty=None if program.penalty is None else program.penalty * sx * sy,
    )
    return scaled, sx / sy, sx / sy if program.penalty is None else sy**-2


def signal_scale(program: Program) -> float:
    targets = np.where(program.active, program.Y, program.ceiling)
    return 1 / (float(np.abs(targets).max()) or 1.0)


def model(program: Program, U: cp.Variable) -> tuple[cp.Minimize, list[cp.Constraint]]:
    """Objective and constraints, one sparse block of rows per output."""
    u = cp.vec(U, order="F")
    on, off = (rows(program, c).tocsr() for c in (program.active, ~program.active))
    y, v = program.Y.T[program.active.T], program.ceiling.T[~program.active.T]
    misfit = on @ u - y
    constraints = [off @ u <= v] if v.size else []
    if program.penalty is not None:
        return cp.Minimize(cp.sum_squares(misfit) + program.penalty * cp.norm1(u)), constraints
    constraints.append(misfit == 0 if program.epsilon == 0 else cp.norm2(misfit) <= program.epsilon)
    return cp.Minimize(cp.norm1(u)), constraints


def rows(program: Program, chosen: np.ndarray) -> sparse.coo_array:
    """The rows of X that meet the chosen entries of each output, as one block-diagonal matrix."""
    output, sample = np.nonzero(chosen.T)
    values, n_features = program.X[sample], program.X.shape[1]
    row, feature = np.nonzero(values)
    column = output[row] * n_features + feature
    shape = len(sample), chosen.shape[1] * n_features
    return sparse.coo_array((values[row, feature], (row, column)), shape=shape)


def solve_cones(program: Program) -> ConicPair:
    """Solve a layer program by Clarabel alone.

    What comes back is as good as rounding allows, which may be less than ten digits: it is for a
    certificate to judge.
    """
    scaled, weight_scale, objective_scale = unit_size(program)
    answer = solve_standard_form(scaled)
    n_features, n_outputs = program.weights.shape
    weights = np.array(answer.x[: n_features * n_outputs]).reshape(n_outputs, n_features).T
    on = scaled.active.T
    multipliers, dual = -np.array(answer.z[: on.size]), np.zeros(program.Y.shape)
    dual.T[on], dual.T[~on] = multipliers[: on.sum()], multipliers[on.sum() :]
    # <dual, signal> counts like the objective.
    dual *= objective_scale * signal_scale(program)
    return ConicPair(None if answer.status in INFEASIBLE else weights * weight_scale, dual)


def solve_standard_form(program: Program) -> clarabel.DefaultSolution:
    """Minimise x'Px / 2 + q'x with b - Ax in a product of cones, where x = (u, |u|, misfit)."""
    on, off = rows(program, program.active), rows(program, ~program.active)
    y, v = program.Y.T[program.active.T], program.ceiling.T[~program.active.T]
    n = on.shape[1]
    one, misfit = np.arange(n), np.arange(len(y))
    curvature, price = (0.0, 1.0) if program.penalty is None else (2.0, program.penalty)
    head, radius, ball = misfit_cone(program, len(y))
    least = len(y) + len(v)  # the first row of those of |u|
    entries = [
        (on.coords[0], on.coords[1], on.data),
        (misfit, 2 * n + misfit, -1.0),
        (len(y) + off.coords[0], off.coords[1], off.data),
        *((least + one, one, 1.0), (least + one, n + one, -1.0)),
        *((least + n + one, one, -1.0), (least + n + one, n + one, -1.0)),
    ]
    if len(radius):
        entries.append((least + 2 * n + head + misfit, 2 * n + misfit, 1.0))
    A = matrix(entries, (least + 2 * n + len(radius), 2 * n + len(y)))
    b = np.concatenate([y, v, np.zeros(2 * n), radius])
    curved = misfit[: len(y) if curvature else 0]
    P = matrix([(2 * n + curved, 2 * n + curved, curvature)], (A.shape[1], A.shape[1]))
    q = np.repeat([0.0, price, 0.0], [n, n, len(y)])
    cones = [clarabel.ZeroConeT(len(y)), clarabel.NonnegativeConeT(len(v) + 2 * n), *ball]
    settings = clarabel.DefaultSettings()
    for name, value in {**PRECISION, **REFINEMENT, "verbose": False, "max_threads": 1}.items():
        setattr(settings, name, value)
    return clarabel.DefaultSolver(P, q, A, b, cones, settings).solve()


def matrix(entries: list[tuple[Any, Any, Any]], shape: tuple[int, int]) -> sparse.csc_matrix:
    """A matrix of rows, columns and values; of thousands, so not by adding blocks up."""
    row, column, value = zip(*(np.broadcast_arrays(*part) for part in entries), strict=True)
    place = np.concatenate(row), np.concatenate(column)
    return sparse.csc_matrix((np.concatenate(value), place), shape=shape)


def misfit_cone(program: Program, size: int) -> tuple[int, Array, list[Any]]:
    """Rows without entries, right-hand side and cone, that hold the misfit within epsilon."""
    if program.penalty is not None:
        return 0, np.zeros(0), []
    if program.epsilon == 0:
        return 0, np.zeros(size), [clarabel.ZeroConeT(size)]
    radius = np.append(program.epsilon, np.zeros(size))
    return 1, radius, [clarabel.SecondOrderConeT(1 + size)]
