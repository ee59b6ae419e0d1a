"""BranchHull of very many measurements: a program of few of them, and more where it is wrong.

Fewer measurements ask for less, so the multipliers of some bound the program of all from below; a
point of theirs, grown until it lies in all hulls, does so from above. Measurements that the point
leaves outside join, until the bounds meet: of a dictionary, entries of these are all that is ever
an array. With "l1" few columns matter too: those join that the multipliers ask for, and those that
do nothing leave.
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
FEWEST = 400  # measurements to begin with, or
FIRST_SHARE = 2  # for each coefficient in use
FIRST_TOLERANCE = 3e-2  # of the first program; the set is wrong anyway
TIGHTER = 10**-0.5  # of each tolerance by the one before
OWN_SHARE = 4  # of the tolerance that the last programs, and measurements outside, may take
NEARLY_PAYING = 0.9  # pull of a column, over the price, that makes it join
WIDE = 200  # columns; of fewer all are in use, for they cost little
NEGLIGIBLE = 1e-2  # coefficient, over the largest, that does not keep a column
AT_ONCE = 100  # measurements that join before time is looked at


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
        self.times_joined = np.zeros(self.size, dtype=int)

    def use_likely(self, measured: Array) -> None:
        """Begin with the columns most like what was measured: the other signal may be even."""
        self.columns = _largest(np.abs(self.dictionary.T @ measured), WIDE)
        self.times_joined[self.columns] = 1

    def add(self, rows: NDArray[np.intp]) -> None:
        self.entries = np.concatenate([self.entries, take_rows(self.dictionary, rows)])

    def in_use(self) -> Array:
        return np.ascontiguousarray(self.entries[:, self.columns])

    def everywhere(self, coefficients: Array) -> Array:
        full = np.zeros(self.size)
        full[self.columns] = coefficients
        return full

    def use_paying(self, pull: Array, coefficients: Array) -> bool:
        """Let columns join that pay most, and leave that do nothing; tell whether any joined.

        One that joined a third time stays, so that there is an end.
        """
        if self.size <= WIDE:
            return False
        pull, size = np.abs(pull), np.abs(coefficients)
        used = np.zeros(self.size, dtype=bool)
        used[self.columns] = True
        paying = pull >= NEARLY_PAYING
        at_work = paying | (size > NEGLIGIBLE * size.max()) | (self.times_joined > 2)
        joining = np.flatnonzero(paying & ~used)
        joining = joining[_largest(pull[joining], max(WIDE, len(self.columns)) // 2)]
        self.times_joined[joining] += 1
        self.columns = np.union1d(np.flatnonzero(used & at_work), joining)
        return len(joining) > 0

    def use_more(self, pull: Array) -> bool:
        """Let as many join as there are, for these have no solution; tell whether any did."""
        others = np.setdiff1d(np.arange(self.size), self.columns)
        joining = others[_largest(np.abs(pull[others]), len(self.columns))]
        self.times_joined[joining] += 1
        self.columns = np.union1d(self.columns, joining)
        return len(joining) > 0


def _largest(values: Array, count: int) -> NDArray[np.intp]:
    """Return the places of so many of the largest values, or of all."""
    if count >= len(values):
        return np.arange(len(values))
    return np.sort(np.argpartition(-values, count)[:count])


class _WorkingSet:
    def __init__(self, program: HullProgram, tol: float, limits: Limits) -> None:
        self.program, self.tol, self.limits = program, tol, limits
        self.began = time.perf_counter()
        self.h_side, self.m_side = _Side(program.A), _Side(program.D)
        self.rows = np.zeros(0, dtype=np.intp)
        self.own_tol = FIRST_TOLERANCE
        if program.regularizer == "l1":
            self.h_side.use_likely(program.r)
            self.m_side.use_likely(program.r)
        h, m, nothing = np.zeros(self.h_side.size), np.zeros(self.m_side.size), 0 * program.r
        self.point = grow(program, h, m, nothing, nothing)
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
        """Return some rows drawn by chance, hulls first, and those that ask for an equality."""
        kinds = self.program.kinds
        count = max(FEWEST, FIRST_SHARE * self._unknowns())
        drawn = np.random.default_rng(0).permutation(len(kinds))
        drawn = drawn[np.argsort(kinds[drawn] != HullRow.HULL, kind="stable")][:count]
        return np.union1d(drawn, np.flatnonzero(kinds == HullRow.RAY))

    def _unknowns(self) -> int:
        return len(self.h_side.columns) + len(self.m_side.columns)

    def _add(self, rows: NDArray[np.intp]) -> None:
        """Let rows join, as far as time allows."""
        for begin in range(0, len(rows), AT_ONCE):
            if self._is_late():
                return
            some = rows[begin : begin + AT_ONCE]
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
            u, v = self.program.A @ h, self.program.D @ m
            point = grow(self.program, h, m, u, v)
            if point.objective < self.point.objective or not np.isfinite(self.point.objective):
                self.point = point
        verdict = self._verdict(rounds, fields["status"])
        if verdict is not None:
            return verdict
        if fields["status"] == "optimal":
            joined = self._let_columns_join(pulls, (h, m)) | self._let_rows_join(u, v)
            return "max_iter" if self._tighten() | joined else "numerical"
        if self.h_side.use_more(pulls[0]) | self.m_side.use_more(pulls[1]):
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

    def _let_columns_join(self, pulls: tuple[Array, Array], at: tuple[Array, Array]) -> bool:
        """Tell whether any joined."""
        if self.program.regularizer != "l1":
            return False
        of_h, of_m = zip(pulls, at, strict=True)
        return self.h_side.use_paying(*of_h) | self.m_side.use_paying(*of_m)

    def _let_rows_join(self, u: Array, v: Array) -> bool:
        """Let the rows farthest outside join, at most as many as there are unknowns."""
        depths = find_depths(self.program, u, v)
        depths[self.rows] = np.inf
        outside = int(np.count_nonzero(depths < -self._least()))
        most = min(outside, self._unknowns())
        size = (len(self.rows) + most) * (self.h_side.size + self.m_side.size)
        if most == 0 or size > LARGEST_ARRAY:
            return False
        self._add(np.argpartition(depths, most - 1)[:most])
        return True

    def _tighten(self) -> bool:
        """Ask for more accuracy; tell whether there is any to ask for."""
        exact = self.own_tol <= self._least()
        self.own_tol = max(self.own_tol * TIGHTER, self._least())
        return not exact

    def _least(self) -> float:
        """Return how exact the last programs are."""
        return self.tol / OWN_SHARE

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
