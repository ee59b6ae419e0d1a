"""The caller's measurements as a program without signs: u = A h, v = D m + xi, u v >= r."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from ..base.arguments import check_choice, check_number
from ..base.arrays import Array, check_finite, check_squares
from .dictionary import Dictionary, as_array, check_dictionary, select_signed_rows
from .snapshots import Snapshots, check_dictionaries, count_dimensions, flatten

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray

__all__ = ["REGULARIZERS", "ZERO", "HullProgram", "HullRow"]

REGULARIZERS = ("l1", "l2")
ZERO = ("drop", "quadrant", "equality")
TV_IS_DEGENERATE = (
    "regularizer='tv' has no minimiser: a constant signal has no variation, grows without end and "
    "makes the other term as small as it likes. nettrim.separate_image anchors the signal's mean, "
    "and its method='early-stopped' gives what publications show"
)

WHICH_OF_SNAPSHOTS = (
    "which='x' goes with one snapshot; of several, give the signs of w: sign(y) times those of x"
)


class HullRow(IntEnum):
    """What a measurement asks of its u and v."""

    HULL = 0  # u, v >= 0 and u v >= r
    HALF_PLANE = 1  # u >= 0
    QUADRANT = 2  # u, v >= 0
    RAY = 3  # u >= 0 and v = 0
    MISSING = 4  # nothing


ZERO_ROWS = dict(zip(ZERO, (HullRow.HALF_PLANE, HullRow.QUADRANT, HullRow.RAY), strict=True))


@dataclass(frozen=True)
class HullProgram:
    """A sign-normalised program; rows are the `kept` measurements.

    The signs: docs/mathematics/branch_hull.md#the-problem.

    Attributes
    ----------
    B, C : ndarray or LinearOperator, of shape (n_measurements, K) and (n_measurements, N)
        The caller's dictionaries, the one with the known signs first.
    A, D : ndarray or LinearOperator
        Their kept rows, each with its sign, so that the truth has positive u = A h and v = D m.
    r : ndarray
        Absolute measurements.
    kinds : ndarray of uint8
        A `HullRow` for each.
    t, row_signs : ndarray
        Signs of the rows of `A` and of `D`.
    slack_penalty : ndarray or None
        Of the slack xi of each row.
    snapshots : Snapshots or None
        Where measurements are of several snapshots: they lie one after the other, and `B`, `C`, `A`
        and `D` are those of all.
    """

    B: Dictionary
    C: Dictionary
    A: Dictionary
    D: Dictionary
    r: Array
    kinds: NDArray[np.uint8]
    t: Array
    row_signs: Array
    slack_penalty: Array | None
    kept: NDArray[np.intp]
    regularizer: str
    snapshots: Snapshots | None = None

    @classmethod
    def of(
        cls,
        y: ArrayLike,
        B: Any,
        C: Any,
        signs: ArrayLike,
        *,
        which: str = "w",
        regularizer: str = "l1",
        slack: ArrayLike | None = None,
        zero: str = "drop",
        arrays_up_to: float = np.inf,
    ) -> HullProgram:
        """Check what the caller gave; operators with fewer entries than that become arrays."""
        check_choice(which, ("w", "x"), "which")
        if isinstance(regularizer, str) and regularizer == "tv":
            raise ValueError(TV_IS_DEGENERATE)
        check_choice(regularizer, REGULARIZERS, "regularizer")
        check_choice(zero, ZERO, "zero")
        if count_dimensions(y) == 2:
            return cls._of_snapshots(y, B, C, signs, which, regularizer, slack, zero, arrays_up_to)
        if count_dimensions(y) > 2:
            raise ValueError(
                "y must have one dimension, or two for several snapshots, got "
                f"{count_dimensions(y)}"
            )
        measured = np.asarray(check_finite(y, "y", ndim=1), dtype=np.float64)
        rows = len(measured)
        first = check_dictionary(B, "B", rows, arrays_up_to)
        second = check_dictionary(C, "C", rows, arrays_up_to)
        if which == "x":
            first, second = second, first
        t = np.sign(_broadcast(signs, "signs", rows))
        penalty = None if slack is None else _broadcast(slack, "slack", rows)
        _check_slack(penalty, regularizer)
        return cls._of_flat(measured, first, second, t, regularizer, penalty, zero)

    @classmethod
    def _of_snapshots(
        cls,
        y: ArrayLike,
        B: Any,
        C: Any,
        signs: ArrayLike,
        which: str,
        regularizer: str,
        slack: ArrayLike | None,
        zero: str,
        arrays_up_to: float,
    ) -> HullProgram:
        """Lay the measurements of snapshots one after the other."""
        measured = np.asarray(check_finite(y, "y", ndim=2), dtype=np.float64)
        rows, count = shape = measured.shape
        if measured.size == 0:
            raise ValueError(f"y must have measurements, got shape {shape}")
        if which == "x" and count > 1:
            raise ValueError(WHICH_OF_SNAPSHOTS)
        snapshots = Snapshots(
            check_dictionary(B, "B", rows, arrays_up_to),
            check_dictionaries(C, "C", rows, count, arrays_up_to),
            count,
        )
        first, second = snapshots.joint_B(), snapshots.joint_C()
        if which == "x":
            first, second = second, first
        t = np.sign(flatten(signs, "signs", shape))
        penalty = None if slack is None else flatten(slack, "slack", shape)
        _check_slack(penalty, regularizer)
        flat = flatten(measured, "y", shape)
        program = cls._of_flat(flat, first, second, t, regularizer, penalty, zero)
        return replace(program, snapshots=snapshots)

    @classmethod
    def _of_flat(
        cls,
        measured: Array,
        first: Dictionary,
        second: Dictionary,
        t: Array,
        regularizer: str,
        penalty: Array | None,
        zero: str,
    ) -> HullProgram:
        """Take the signs away, and what they say nothing of."""
        kept = np.flatnonzero(t)
        if len(kept) == 0:
            raise ValueError("signs are all zero: no measurement says anything")
        s = np.where(measured == 0, 1.0, np.sign(measured))
        row_signs = (s * t)[kept]
        r = np.abs(measured)[kept]
        return cls(
            B=first,
            C=second,
            A=select_signed_rows(first, kept, t[kept]),
            D=select_signed_rows(second, kept, row_signs),
            r=r,
            kinds=np.where(r > 0, HullRow.HULL, ZERO_ROWS[zero]).astype(np.uint8),
            t=t[kept],
            row_signs=row_signs,
            slack_penalty=None if penalty is None else np.ascontiguousarray(penalty[kept]),
            kept=kept,
            regularizer=regularizer,
        )

    def blocks(self) -> Iterator[tuple[NDArray[np.intp], Array, Array]]:
        """Return the rows of every snapshot, and those of `A` and `D` as arrays of its own."""
        structure, everything = self.snapshots, np.arange(len(self.r))
        if structure is None or structure.count == 1:
            yield everything, as_array(self.A, "B"), as_array(self.D, "C")
            return
        snapshot, sensor = np.divmod(self.kept, structure.n_sensors)
        B = as_array(structure.B, "B")
        for j, C in enumerate(structure.each_C()):
            rows = everything[snapshot == j]
            own, signs = sensor[rows], (self.t[rows, None], self.row_signs[rows, None])
            yield rows, signs[0] * B[own], signs[1] * as_array(C, "C")[own]

    def places(self, rows: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return where in y rows come from: its entries, or their rows and columns."""
        measurements = self.kept[rows]
        if self.snapshots is None:
            return measurements
        return np.column_stack(np.divmod(measurements, self.snapshots.n_sensors)[::-1])

    def everywhere(self, values: NDArray[Any], elsewhere: float = 0.0) -> NDArray[Any]:
        """Return what is of the rows as of all measurements."""
        full = np.full(self.B.shape[0], elsewhere, dtype=values.dtype)
        full[self.kept] = values
        return full


def _broadcast(value: ArrayLike, name: str, rows: int) -> Array:
    """Return one number for every measurement, of one for each or one for all."""
    array = np.asarray(check_finite(value, name), dtype=np.float64)
    try:
        return np.ascontiguousarray(np.broadcast_to(array, (rows,)))
    except ValueError:
        raise ValueError(
            f"{name} must be one number or one for each of the {rows} entries of y, "
            f"got shape {array.shape}"
        ) from None


def _check_slack(penalty: Array | None, regularizer: str) -> None:
    if penalty is None:
        return
    if regularizer != "l1":
        raise ValueError(f"slack goes with regularizer='l1', got {regularizer!r}")
    check_squares(penalty, "slack")
    check_number(float(penalty.min()), "slack", above=0.0)
