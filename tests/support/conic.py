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
    on, off = rows(program, program.active), rows(program, ~program.active)
    y, v = program.Y.T[program.active.T], program.ceiling.T[~program.active.T]
    misfit = on @ u - y
    constraints = [off @ u <= v] if v.size else []
    if program.penalty is not None:
        return cp.Minimize(cp.sum_squares(misfit) + program.penalty * cp.norm1(u)), constraints
    constraints.append(misfit == 0 if program.epsilon == 0 else cp.norm2(misfit) <= program.epsilon)
    return cp.Minimize(cp.norm1(u)), constraints


def rows(program: Program, chosen: np.ndarray) -> sparse.csr_array:
    """The rows of X that meet the chosen entries of each output, as one block-diagonal matrix."""
    return sparse.csr_array(sparse.block_diag([program.X[c] for c in chosen.T]))


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
    one, misfit = sparse.eye_array(n), sparse.eye_array(len(y))
    curvature, price = (0.0, 1.0) if program.penalty is None else (2.0, program.penalty)
    within, radius, ball = misfit_cone(program, len(y))
    A = sparse.block_array(
        [
            [on, None, -misfit],
            [off, None, None],
            [one, -one, None],
            [-one, -one, None],
            [None, None, within],
        ],
        format="csc",
    )
    b = np.concatenate([y, v, np.zeros(2 * n), radius])
    P = sparse.diags_array(np.repeat([0.0, curvature], [2 * n, len(y)]), format="csc")
    q = np.repeat([0.0, price, 0.0], [n, n, len(y)])
    cones = [clarabel.ZeroConeT(len(y)), clarabel.NonnegativeConeT(len(v) + 2 * n), *ball]
    settings = clarabel.DefaultSettings()
    for name, value in {**PRECISION, **REFINEMENT, "verbose": False, "max_threads": 1}.items():
        setattr(settings, name, value)
    return clarabel.DefaultSolver(
        sparse.csc_matrix(P), q, sparse.csc_matrix(A), b, cones, settings
    ).solve()


def misfit_cone(program: Program, size: int) -> tuple[sparse.sparray, Array, list[Any]]:
    """Rows, right-hand side and cone that hold the misfit within epsilon."""
    misfit = sparse.eye_array(size)
    if program.penalty is not None:
        return sparse.csr_array((0, size)), np.zeros(0), []
    if program.epsilon == 0:
        return misfit, np.zeros(size), [clarabel.ZeroConeT(size)]
    head = sparse.csr_array((1, size))
    radius = np.append(program.epsilon, np.zeros(size))
    return sparse.vstack([head, misfit]), radius, [clarabel.SecondOrderConeT(1 + size)]
