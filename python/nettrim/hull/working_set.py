"""BranchHull of very many measurements: a program of few of them, and more where it is wrong.

Fewer measurements ask for less, so the multipliers of some bound the program of all from below; a
point of theirs, grown until it lies in all hulls, does so from above. Measurements that the point
leaves outside join, until the bounds meet: of a dictionary, entries of these are all that is ever
an array. With "l1" few columns matter too; those left out join where the multipliers ask for them.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..base.arrays import Array
from ..base.limits import Limits
from . import compiled
from .certificate import find_depths, grow, prove
from .dictionary import LARGEST_ARRAY, Dictionary, take_rows
from .program import HullProgram, HullRow

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LARGEST_MATRIX", "solve", "suits"]

LARGEST_MATRIX = 6000  # of h and m together: newton factors a matrix of this size
MANY = 10  # measurements for each coefficient that make few of them worth looking for
MANY_OPERATIONS = 1e9  # of one step of newton with all: below, arrays are quicker that way
MAX_ROUNDS = 200
FEWEST = 200  # measurements to begin with
LEAST_GROWTH = 4  # a round adds this share of the set, though fewer are outside
FIRST_TOLERANCE = 3e-2  # of the first program; the set is wrong anyway
TIGHTER = 10**-0.5  # of each tolerance by the one before
OWN_SHARE = 4  # of the tolerance that the last programs, and measurements outside, may take
NEARLY_PAYING = 0.8  # pull of a column, over the price, that makes it join
WIDE = 200  # columns; of fewer all are in use, for they cost little
NEGLIGIBLE = 1e-2  # coefficient, over the largest, that does not keep a column
BLOCK = 4_000_000  # entries of unit vectors that go through an operator at once


def suits(program: HullProgram) -> bool:
    """Tell whether few measurements are worth looking for: there are many, of few coefficients."""
    rows, coefficients = len(program.r), program.A.shape[1] + program.D.shape[1]
    if coefficients > LARGEST_MATRIX or rows < MANY * coefficients:
        return False
    arrays = isinstance(program.A, np.ndarray) and isinstance(program.D, np.ndarray)
    return not arrays or rows * coefficients**2 > MANY_OPERATIONS


def solve(program: HullProgram, tol: float, limits: Limits) -> dict[str, Any]:
    """Return what `compiled.solve` returns; of a contradiction also the measurements, "part"."""
    return _WorkingSet(program, tol, limits).run()


class _Side:
    """One dictionary: its entries in the rows of the set, and the columns in use."""

    def __init__(self, dictionary: Dictionary) -> None:
        self.dictionary = dictionary
        self.size = int(dictionary.shape[1])
        self.entries = np.zeros((0, self.size))
        self.columns = np.arange(self.size)

    def add(self, rows: NDArray[np.intp]) -> None:
        self.entries = np.concatenate([self.entries, take_rows(self.dictionary, rows)])

    def in_use(self) -> Array:
        return np.ascontiguousarray(self.entries[:, self.columns])

    def everywhere(self, coefficients: Array) -> Array:
        full = np.zeros(self.size)
        full[self.columns] = coefficients
        return full

    def use(self, pull: Array, coefficients: Array, afresh: bool) -> bool:
        """Take the columns that pay or nearly do; tell whether any joined."""
        if self.size <= WIDE:
            return False
        size = np.abs(coefficients)
        wanted = (np.abs(pull) >= NEARLY_PAYING) | (size > NEGLIGIBLE * size.max())
        before = np.zeros(self.size, dtype=bool)
        before[self.columns] = True
        self.columns = np.flatnonzero(wanted if afresh else wanted | before)
        return bool((wanted & ~before).any())

    def use_all(self) -> bool:
        """Tell whether any joined."""
        joined = len(self.columns) < self.size
        self.columns = np.arange(self.size)
        return joined


class _WorkingSet:
    def __init__(self, program: HullProgram, tol: float, limits: Limits) -> None:
        self.program, self.tol, self.limits = program, tol, limits
        self.began = time.perf_counter()
        self.h_side, self.m_side = _Side(program.A), _Side(program.D)
        self.rows = np.zeros(0, dtype=np.intp)
        self.own_tol = FIRST_TOLERANCE
        self.point = grow(program, np.zeros(self.h_side.size), np.zeros(self.m_side.size))
        self.lower = 0.0
        self.p, self.q = np.zeros(len(program.r)), np.zeros(len(program.r))
        self.part: HullProgram | None = None

    def run(self) -> dict[str, Any]:
        status, rounds, most = "max_iter", 0, self.limits.max_iter or MAX_ROUNDS
        try:
            self._add(self._first_rows())
            while status == "max_iter" and rounds < most:
                rounds += 1
                status = self._round(rounds)
        except KeyboardInterrupt:
            status = "interrupted"
        return self._fields(status, rounds)

    def _first_rows(self) -> NDArray[np.intp]:
        """Return some rows drawn by chance, and those that ask for an equality."""
        program = self.program
        count = max(FEWEST, (self.h_side.size + self.m_side.size) // 2)
        drawn = np.random.default_rng(0).permutation(len(program.r))[:count]
        return np.union1d(drawn, np.flatnonzero(program.kinds == HullRow.RAY))

    def _add(self, rows: NDArray[np.intp]) -> None:
        """Let rows join, as far as time allows."""
        block = max(1, BLOCK // len(self.program.r))
        for begin in range(0, len(rows), block):
            if self._is_late():
                return
            some = rows[begin : begin + block]
            self.h_side.add(some)
            self.m_side.add(some)
            self.rows = np.concatenate([self.rows, some])

    def _round(self, rounds: int) -> str:
        """Return "max_iter" where another round is worth it."""
        if self._is_late():
            return "time_limit"
        part = self._part()
        limits = replace(
            self.limits,
            max_iter=compiled.OWN_LIMIT,
            time_limit=self.limits.time_limit - self._seconds(),
            callback=None,
        )
        fields = compiled.solve(part, "newton", self.own_tol, limits)
        pulls = self._prove(fields)
        if np.isfinite(fields["objective"]):
            h, m = self.h_side.everywhere(fields["h"]), self.m_side.everywhere(fields["m"])
            point = grow(self.program, h, m)
            if point.objective < self.point.objective or not np.isfinite(self.point.objective):
                self.point = point
        verdict = self._verdict(rounds, fields["status"])
        if verdict is not None:
            return verdict
        if fields["status"] == "optimal":
            return "max_iter" if self._refine(h, m, pulls) else "numerical"
        if self.h_side.use_all() | self.m_side.use_all():
            return "max_iter"
        self.part = part
        return "numerical"

    def _part(self) -> HullProgram:
        """Return the program of the rows and columns in use."""
        program, rows = self.program, self.rows
        penalty = program.slack_penalty
        return replace(
            program,
            A=self.h_side.in_use(),
            D=self.m_side.in_use(),
            r=program.r[rows],
            kinds=program.kinds[rows],
            t=program.t[rows],
            row_signs=program.row_signs[rows],
            slack_penalty=None if penalty is None else penalty[rows],
            kept=program.kept[rows],
        )

    def _prove(self, fields: dict[str, Any]) -> tuple[Array, Array]:
        """Take the bound of a part's multipliers, and return what they pull on all columns."""
        p, q = fields["p"], fields["q"]
        pulls = self.h_side.entries.T @ p, self.m_side.entries.T @ q
        proof = prove(self._part_of_rows(), p, q, *pulls)
        if proof.bound > self.lower:
            self.lower = proof.bound
            self.p, self.q = np.zeros_like(self.p), np.zeros_like(self.q)
            self.p[self.rows], self.q[self.rows] = proof.p, proof.q
        return pulls

    def _part_of_rows(self) -> HullProgram:
        """Return what the proof reads of the program of some rows and all columns."""
        penalty = self.program.slack_penalty
        return replace(
            self.program,
            r=self.program.r[self.rows],
            slack_penalty=None if penalty is None else penalty[self.rows],
        )

    def _verdict(self, rounds: int, status: str) -> str | None:
        if np.isfinite(self.point.objective) and self._gap() <= self.tol:
            return "optimal"
        if status == "interrupted":
            return status
        listener = self.limits.callback
        numbers = rounds, self.point.objective, self.lower, self._gap(), self._seconds()
        if listener and listener(*numbers):
            return "interrupted"
        return "time_limit" if self._is_late() else None

    def _refine(self, h: Array, m: Array, pulls: tuple[Array, Array]) -> bool:
        """Let rows and columns join, and ask for more accuracy; tell whether anything changed."""
        least = self.tol / OWN_SHARE
        depths = find_depths(self.program, h, m)
        depths[self.rows] = np.inf
        outside = int(np.count_nonzero(depths < -least))
        count = len(self.rows)
        most = min(count, max(outside, count // LEAST_GROWTH), len(depths) - count)
        if (count + most) * (self.h_side.size + self.m_side.size) > LARGEST_ARRAY:
            return False
        joined = False
        if self.program.regularizer == "l1":
            afresh = outside >= count
            joined = self.h_side.use(pulls[0], h, afresh) | self.m_side.use(pulls[1], m, afresh)
        if most > 0:
            self._add(np.argpartition(depths, most - 1)[:most])
        exact = self.own_tol <= least
        self.own_tol = max(self.own_tol * TIGHTER, least)
        return joined or outside > 0 or not exact

    def _seconds(self) -> float:
        return time.perf_counter() - self.began

    def _is_late(self) -> bool:
        return self._seconds() > self.limits.time_limit

    def _gap(self) -> float:
        objective = self.point.objective
        if not np.isfinite(objective):
            return 1.0
        return 1 - self.lower / objective if objective > 0 else 0.0

    def _fields(self, status: str, rounds: int) -> dict[str, Any]:
        point = self.point
        return {
            "h": point.h,
            "m": point.m,
            "xi": point.xi,
            "p": self.p,
            "q": self.q,
            "objective": point.objective,
            "dual_bound": self.lower,
            "gap": self._gap(),
            "status": status,
            "iterations": rounds,
            "solver": "working-set",
            "seconds": self._seconds(),
            "part": self.part,
        }
