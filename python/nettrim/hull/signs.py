"""Is there a pair of signals with the signs that were given? A linear program tells."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy

from ..base.arrays import Array
from .dictionary import Dictionary, as_array
from .program import HullProgram, HullRow
from .snapshots import Snapshots

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["SignCheck", "check_signs", "find_conflict"]

NO_ROOM = 1e-9  # a margin that rounding alone can make
LARGEST_CHECKED = 20_000_000  # entries of a dictionary, when a solve has failed
NAMED = 10  # measurements that a message lists


@dataclass(frozen=True)
class SignCheck:
    """Whether signals of the given signs exist.

    Attributes
    ----------
    feasible : bool
    margin : float
        The largest ``min(sign * signal / norm of the dictionary's row)`` over the measurements, of
        coefficients between -1 and 1; the smaller of the two signals'. Zero where infeasible.
    signal : str
        The signal, "w" or "x", that has this margin.
    worst : ndarray of int
        Measurements that keep the margin from being larger, the heaviest first. Where infeasible,
        they contradict each other. Of several snapshots, a row and a column of `y` for each.
    """

    feasible: bool
    margin: float
    signal: str
    worst: NDArray[np.intp]

    def message(self, which: str) -> str:
        """Return a sentence for an error."""
        named = ", ".join(str(place) for place in self.worst[:NAMED].tolist())
        named += ", ..." if len(self.worst) > NAMED else ""
        known = "the signs" if self.signal == which else "the signs and the measurements"
        return (
            f"signs: no coefficients give {self.signal} the signs that {known} ask for; "
            f"measurements {named} contradict each other"
        )


def check_signs(y: ArrayLike, B: Any, C: Any, signs: ArrayLike, *, which: str = "w") -> SignCheck:
    """Tell whether two signals of these signs exist, and how far inside they can be.

    BranchHull without slack has a solution if and only if they do.

    Parameters
    ----------
    y, B, C, signs, which
        As in `nettrim.branch_hull`.

    Returns
    -------
    SignCheck

    Raises
    ------
    ValueError, TypeError
        As `nettrim.branch_hull`.

    Examples
    --------
    >>> import numpy as np, nettrim
    >>> B = np.array([[1.0], [1.0], [2.0]])
    >>> nettrim.check_signs([1.0, 1.0, 1.0], B, B, [1, -1, 1]).feasible
    False
    """
    program = HullProgram.of(y, B, C, signs, which=which)
    checks = [_maximise_margin(side, program) for side in _sides(program)]
    return _rename_signal(min(checks, key=lambda check: check.margin), which)


def find_conflict(program: HullProgram) -> SignCheck | None:
    """Return the check that fails, of the first signal or, unless slack mends it, the second.

    A linear program of a large operator would take longer than any answer is worth: it is not
    asked.
    """
    for side in _sides(program):
        if math.prod(side.dictionary.shape) > LARGEST_CHECKED:
            return None
        if side.signal == "x" and program.slack_penalty is not None:
            return None
        check = _maximise_margin(side, program)
        if not check.feasible:
            return check
    return None


class _Side(NamedTuple):
    """Rows of a program, and what gives one signal its values there."""

    signal: str
    dictionary: Dictionary
    rows: NDArray[np.intp]


def _sides(program: HullProgram) -> Iterator[_Side]:
    """Return the parts of a program that have a margin of their own: w, and x of each snapshot."""
    snapshots = program.snapshots
    if snapshots is None or snapshots.count == 1:
        yield _Side("w", program.A, np.arange(len(program.r)))
    else:
        once = _once_for_each_sensor(program, snapshots)
        B = as_array(snapshots.B, "B")[program.kept[once] % snapshots.n_sensors]
        yield _Side("w", program.t[once, None] * B, once)
    for rows, _, D in program.blocks():
        yield _Side("x", D, rows)


def _once_for_each_sensor(program: HullProgram, snapshots: Snapshots) -> NDArray[np.intp]:
    """Return rows that ask all of w that any do: of every sensor and sign one, if any a hull."""
    sensor = program.kept % snapshots.n_sensors
    order = np.lexsort((program.kinds != HullRow.HULL, program.t, sensor))
    asked = np.stack([sensor, program.t])[:, order]
    return np.asarray(order[np.unique(asked, axis=1, return_index=True)[1]])


def _rename_signal(check: SignCheck, which: str) -> SignCheck:
    if which == "w":
        return check
    return replace(check, signal="x" if check.signal == "w" else "w")


def _maximise_margin(side: _Side, program: HullProgram) -> SignCheck:
    """Maximise the margin of one signal; the multipliers say what holds it."""
    signal, kinds = side.signal, program.kinds[side.rows]
    dictionary = as_array(side.dictionary, signal)
    asked = np.flatnonzero((signal == "w") | (kinds != HullRow.HALF_PLANE))
    equal = (signal == "x") & (kinds[asked] == HullRow.RAY)
    rows = _normalise_rows(dictionary[asked])
    strict = (kinds[asked] == HullRow.HULL).astype(float)
    if not strict.any():
        return SignCheck(True, 1.0, signal, np.array([], dtype=np.intp))
    n, margins = rows.shape[1], np.column_stack([-rows, strict])
    result = scipy.optimize.linprog(
        np.append(np.zeros(n), -1.0),
        A_ub=margins[~equal],
        b_ub=np.zeros(int((~equal).sum())),
        A_eq=margins[equal] if equal.any() else None,
        b_eq=np.zeros(int(equal.sum())) if equal.any() else None,
        bounds=[(-1, 1)] * n + [(0, 1)],
        method="highs",
    )
    weight = np.zeros(len(asked))
    weight[~equal] = np.abs(result.ineqlin.marginals)
    weight[equal] = np.abs(result.eqlin.marginals)
    order = np.argsort(-weight, kind="stable")[: int(np.count_nonzero(weight > NO_ROOM))]
    margin = max(float(result.x[-1]), 0.0)
    return SignCheck(margin > NO_ROOM, margin, signal, program.places(side.rows[asked[order]]))


def _normalise_rows(rows: Array) -> Array:
    """Return rows of norm one, and zeros as they are; their squares may be no doubles."""
    for order in (np.inf, 2):
        norms = np.linalg.norm(rows, order, axis=1)
        rows = rows / np.where(norms > 0, norms, 1)[:, None]
    return rows
