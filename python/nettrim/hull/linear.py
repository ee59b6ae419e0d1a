"""l1-BranchHull by linear programs: hulls are replaced by their tangents, more in every round.

Every tangent ``theta u + v / theta >= 2 sqrt(r)`` holds all over its hull, so each program's
optimum is a lower bound by itself; its point, grown until it lies in the hulls, is an upper one.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import scipy

from ..base.arrays import Array
from ..base.limits import Limits
from .dictionary import as_array
from .program import HullProgram, HullRow
from .signs import find_conflict

__all__ = ["solve"]

FIRST_TANGENTS = (0.25, 1.0, 4.0)
STEEPEST = 1e4
PATIENCE = 20  # rounds without a point in the hulls, until signs are asked whether there is one
SHORTEST = 1e-3  # seconds of a linear program that has none left
INSIDE = 1e-9  # share of r by which a point may miss its hull
HIGHS = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}


def solve(
    program: HullProgram, tol: float, limits: Limits, tangent_ratio: float = 0.0
) -> dict[str, Any]:
    """Return what `nettrim._core.solve_branch_hull` returns; a ratio asks for tangents alone."""
    if program.regularizer != "l1":
        raise ValueError("solver='lp' goes with regularizer='l1': the other is no linear program")
    if tangent_ratio:
        return _CuttingPlanes(program, _grid(tangent_ratio), limits).run_once(tol)
    return _CuttingPlanes(program, FIRST_TANGENTS, limits).run(tol)


def _grid(ratio: float) -> tuple[float, ...]:
    last = int(np.ceil(np.log(STEEPEST) / np.log(ratio)))
    return tuple(ratio ** np.arange(-last, last + 1.0))


class _CuttingPlanes:
    """Variables are the positive and negative parts of h, m and, with slack, xi."""

    def __init__(self, program: HullProgram, tangents: tuple[float, ...], limits: Limits) -> None:
        self.program, self.limits, self.began = program, limits, time.perf_counter()
        self.hulls = np.flatnonzero(program.kinds == HullRow.HULL)
        self.root = np.sqrt(program.r[self.hulls])
        A, D = as_array(program.A, "B"), as_array(program.D, "C")
        slack = np.eye(len(D)) if program.slack_penalty is not None else np.zeros((len(D), 0))
        none_h, none_m = np.zeros_like(A), np.zeros((len(A), D.shape[1] + slack.shape[1]))
        self.u = np.hstack([A, none_m])
        self.v = np.hstack([none_h, D, slack])
        slack_penalty = np.zeros(0) if program.slack_penalty is None else program.slack_penalty
        self.cost = np.concatenate([np.ones(A.shape[1] + D.shape[1]), slack_penalty])
        self.row = np.repeat(np.arange(len(self.hulls)), len(tangents))
        self.theta = np.tile(tangents, len(self.hulls))
        self.best = np.zeros(len(self.cost))
        self.upper, self.lower = np.inf, 0.0
        self.p = self.q = np.zeros(len(A))

    def run(self, tol: float) -> dict[str, Any]:
        limits, rounds, status = self.limits, 0, "max_iter"
        if len(self.hulls) == 0:
            self.upper, status = 0.0, "optimal"
        while status == "max_iter" and rounds < limits.max_iter:
            rounds += 1
            x = self._optimum()
            if x is None:
                status = self._failure()
                break
            self._grow(x)
            if self._is_proved(tol):
                status = "optimal"
            elif limits.callback and limits.callback(
                rounds, self.upper, self.lower, self._gap(), self._seconds()
            ):
                status = "interrupted"
            elif self._seconds() > limits.time_limit:
                status = "time_limit"
            elif not self._refine(x) or self._is_hopeless(rounds):
                status = "numerical"
        return self._fields(status, rounds)

    def run_once(self, tol: float) -> dict[str, Any]:
        """Solve the program of the present tangents: its optimum is all there is to know."""
        x = self._optimum() if len(self.hulls) else self.best
        if x is None:
            return self._fields(self._failure(), 1)
        self.best, self.upper = x, float(self.cost @ np.abs(x))
        return self._fields("optimal" if self._is_proved(tol) else "numerical", 1)

    def _seconds(self) -> float:
        return time.perf_counter() - self.began

    def _failure(self) -> str:
        """Tell why a linear program has no answer."""
        return "time_limit" if self._seconds() > self.limits.time_limit else "numerical"

    def _fields(self, status: str, rounds: int) -> dict[str, Any]:
        K, N = self.program.A.shape[1], self.program.D.shape[1]
        xi = self.best[K + N :] if self.program.slack_penalty is not None else np.zeros(len(self.p))
        return {
            "h": self.best[:K],
            "m": self.best[K : K + N],
            "xi": xi,
            "p": self.p,
            "q": self.q,
            "objective": self.upper,
            "dual_bound": self.lower,
            "gap": self._gap(),
            "status": status,
            "iterations": rounds,
            "solver": "lp",
            "seconds": self._seconds(),
        }

    def _is_hopeless(self, rounds: int) -> bool:
        """Whether signs contradict each other, which is looked at once, and late: it is rare."""
        if rounds != PATIENCE or np.isfinite(self.upper):
            return False
        return find_conflict(self.program) is not None

    def _is_proved(self, tol: float) -> bool:
        """Whether there is an answer of a gap small enough; a tolerance of 1 asks for no bound."""
        return bool(np.isfinite(self.upper)) and self._gap() <= tol

    def _gap(self) -> float:
        if not np.isfinite(self.upper):
            return 1.0
        return 1 - self.lower / self.upper if self.upper > 0 else 0.0

    def _tangents(self) -> Array:
        """Rows of ``tangents @ x >= 1``: scaled, for HiGHS's tolerances are absolute."""
        l = self.hulls[self.row]
        sums = self.theta[:, None] * self.u[l] + self.v[l] / self.theta[:, None]
        result: Array = sums / (2 * self.root[self.row])[:, None]
        return result

    def _optimum(self) -> Array | None:
        kinds = self.program.kinds
        tangents = self._tangents()
        above = np.vstack([self.u[kinds != HullRow.HULL], self.v[kinds == HullRow.QUADRANT]])
        also = np.vstack([self.u[self.hulls], self.v[self.hulls], above])
        ray = self.v[kinds == HullRow.RAY]
        unequal = np.vstack([tangents, also])
        least = np.concatenate([np.ones(len(tangents)), np.zeros(len(also))])
        left = max(self.limits.time_limit - self._seconds(), SHORTEST)
        result = scipy.optimize.linprog(
            np.concatenate([self.cost, self.cost]),
            A_ub=-np.hstack([unequal, -unequal]),
            b_ub=-least,
            A_eq=np.hstack([ray, -ray]) if len(ray) else None,
            b_eq=np.zeros(len(ray)) if len(ray) else None,
            method="highs",
            options=HIGHS if np.isinf(left) else {**HIGHS, "time_limit": left},
        )
        if result.status != 0:
            return None
        self._keep_multipliers(np.maximum(-result.ineqlin.marginals, 0), -result.eqlin.marginals)
        n = len(self.cost)
        return np.asarray(result.x[:n] - result.x[n:])

    def _keep_multipliers(self, unequal: Array, equal: Array) -> None:
        """Keep the best ones, by measurement: of its tangents, and of the signs of its u and v."""
        kinds, hulls = self.program.kinds, self.hulls
        parts = np.cumsum([len(self.row), len(hulls), len(hulls), np.sum(kinds != HullRow.HULL)])
        tangents, u, v, other_u, other_v = np.split(unequal, parts)
        weight = tangents / (2 * self.root[self.row])
        p, q = np.zeros(len(kinds)), np.zeros(len(kinds))
        np.add.at(p, hulls[self.row], weight * self.theta)
        np.add.at(q, hulls[self.row], weight / self.theta)
        p[hulls] += u
        q[hulls] += v
        p[kinds != HullRow.HULL] = other_u
        q[kinds == HullRow.QUADRANT] = other_v
        q[kinds == HullRow.RAY] = equal
        excess = max(1.0, float((np.abs(p @ self.u + q @ self.v) / self.cost).max()))
        bound = float(tangents.sum()) / excess  # HiGHS meets the dual program to a tolerance only
        if bound > self.lower:
            self.lower, self.p, self.q = bound, p / excess, q / excess

    def _grow(self, x: Array) -> None:
        """Bring a point into the hulls, by one factor, and balance it."""
        r = self.program.r[self.hulls]
        u, v = self.u[self.hulls] @ x, self.v[self.hulls] @ x
        if (u <= 0).any() or (v <= 0).any():
            return
        share = float((u * v / r).min())
        K = self.program.A.shape[1]
        sizes = np.abs(x[:K]).sum(), float(self.cost[K:] @ np.abs(x[K:]))
        objective = 2 * float(np.sqrt(sizes[0] * sizes[1] / share))
        if objective < self.upper:
            balance = np.sqrt(sizes[1] / sizes[0])
            grown = np.concatenate([x[:K] * balance, x[K:] / balance]) / np.sqrt(share)
            self.best, self.upper = grown, objective

    def _refine(self, x: Array) -> bool:
        """Add the tangents of the hulls that the point has left, where it left them."""
        u, v = self.u[self.hulls] @ x, self.v[self.hulls] @ x
        out = np.flatnonzero(u * v < self.root**2 * (1 - INSIDE))
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = np.sqrt(np.maximum(v[out], 0) / np.maximum(u[out], 0))
        slope = np.nan_to_num(slope, nan=1.0, posinf=STEEPEST)
        self.row = np.append(self.row, out)
        self.theta = np.append(self.theta, np.clip(slope, 1 / STEEPEST, STEEPEST))
        return len(out) > 0
