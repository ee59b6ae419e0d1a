"""The referee: the layer programs through CVXPY and Clarabel, which share no code with nettrim."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import cvxpy as cp
import numpy as np
from scipy import sparse

from problems import Array, Program

PRECISION = {"tol_gap_abs": 1e-10, "tol_gap_rel": 1e-10, "tol_feas": 1e-10}
# Without more refinement the last digits are lost in the linear solves on some programs.
REFINEMENT = {
    "iterative_refinement_reltol": 1e-14,
    "iterative_refinement_abstol": 1e-14,
    "iterative_refinement_max_iter": 30,
}


class ConicSolution(NamedTuple):
    """The optimum and where it is attained."""

    objective: float
    weights: Array


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
    sx = 1 / (float(np.abs(program.X).max()) or 1.0)
    sy = 1 / (float(np.abs(program.Y).max()) or 1.0)
    scaled = replace(
        program,
        X=program.X * sx,
        Y=program.Y * sy,
        upper=None if program.upper is None else program.upper * sy,
        epsilon=None if program.epsilon is None else program.epsilon * sy,
        penalty=None if program.penalty is None else program.penalty * sx * sy,
    )
    return scaled, sx / sy, sx / sy if program.penalty is None else sy**-2


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
