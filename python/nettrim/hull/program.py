"""The caller's measurements as a program without signs: u = A h, v = D m + xi, u v >= r."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from ..base.arguments import check_choice, check_number
from ..base.arrays import Array, check_finite, check_squares
from .dictionary import Dictionary, check_dictionary, select_signed_rows

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["REGULARIZERS", "ZERO", "HullProgram", "HullRow"]

REGULARIZERS = ("l1", "l2")
ZERO = ("drop", "quadrant", "equality")
TV_IS_DEGENERATE = (
    "regularizer='tv' has no minimiser: a constant signal has no variation, grows without end and "
    "makes the other term as small as it likes. nettrim.separate_image anchors the signal's mean, "
    "and its method='early-stopped' gives what publications show"
)


class HullRow(IntEnum):
    """What a measurement asks of its u and v."""

    HULL = 0  # u, v >= 0 and u v >= r
    HALF_PLANE = 1  # u >= 0
    QUADRANT = 2  # u, v >= 0
    RAY = 3  # u >= 0 and v = 0


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
    row_signs : ndarray
        Signs of the rows of `D`.
    slack_penalty : ndarray or None
        Of the slack xi of each row.
    """

    B: Dictionary
    C: Dictionary
    A: Dictionary
    D: Dictionary
    r: Array
    kinds: NDArray[np.uint8]
    row_signs: Array
    slack_penalty: Array | None
    kept: NDArray[np.intp]
    regularizer: str

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
        measured = np.asarray(check_finite(y, "y", ndim=1), dtype=np.float64)
        first = check_dictionary(B, "B", len(measured), arrays_up_to)
        second = check_dictionary(C, "C", len(measured), arrays_up_to)
        if which == "x":
            first, second = second, first
        t = np.sign(_broadcast(signs, "signs", len(measured)))
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
            row_signs=row_signs,
            slack_penalty=_slack_penalty(slack, regularizer, len(measured), kept),
            kept=kept,
            regularizer=regularizer,
        )


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


def _slack_penalty(
    slack: ArrayLike | None, regularizer: str, rows: int, kept: NDArray[np.intp]
) -> Array | None:
    if slack is None:
        return None
    if regularizer != "l1":
        raise ValueError(f"slack goes with regularizer='l1', got {regularizer!r}")
    penalty = _broadcast(slack, "slack", rows)
    check_squares(penalty, "slack")
    check_number(float(penalty.min()), "slack", above=0.0)
    return np.ascontiguousarray(penalty[kept])
