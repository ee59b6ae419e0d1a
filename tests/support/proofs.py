"""Proofs of layer programs, computed again from weights and multipliers alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import nettrim
from nettrim.layer import reference
from support.conic import solve_cones
from support.problems import Array, Program

TOL = 1e-6


def certificate(
    program: Program, solution: nettrim.LayerSolution
) -> reference.ReferenceCertificate:
    """What weights and dual say by themselves, in NumPy."""
    return proof(program, solution.weights, solution.dual)


def proof(program: Program, weights: Array, dual: Array) -> reference.ReferenceCertificate:
    asked = {"epsilon": program.epsilon, "penalty": program.penalty}
    kind = {"activation": program.activation, "upper": program.ceiling}
    return reference.certify(
        reference.ReferenceProgram.of(program.X, program.Y, **asked, **kind), weights, dual
    )


def assert_certified(program: Program, **options: Any) -> nettrim.LayerSolution:
    """Optimal, by a proof that is computed again here."""
    solution = program.solve(**options)
    assert solution.status == "optimal", str(solution)
    c = certificate(program, solution)
    assert abs(c.gap) <= 1.1 * TOL or c.objective == 0
    assert c.violation <= TOL * np.abs(np.where(program.active, program.Y, program.ceiling)).max()
    if program.epsilon is not None:
        allowed = program.epsilon or float(np.linalg.norm(program.Y))
        assert c.residual <= program.epsilon + TOL * allowed
    return solution


def assert_solved(program: Program, **options: Any) -> nettrim.LayerSolution:
    """Certified, and no worse than what the referee finds."""
    solution = assert_certified(program, **options)
    weights, dual = solve_cones(program)
    c = proof(program, weights, dual)
    rounding = 1e-9 * float(np.abs(program.weights).sum())
    assert c.objective - c.dual_bound <= 1e-7 * c.objective + rounding
    assert solution.objective == pytest.approx(c.objective, rel=2 * TOL, abs=rounding)
    return solution


def assert_honest(program: Program, solution: nettrim.LayerSolution) -> None:
    """Not solved, and nothing in the report that weights and dual do not say."""
    assert not solution.converged
    c = certificate(program, solution)
    assert solution.objective == pytest.approx(c.objective, rel=1e-9)
    assert solution.dual_bound <= c.dual_bound * (1 + 1e-6)
