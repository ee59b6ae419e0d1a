"""The caller's measurements as a program without signs: u = A h, v = D m + xi, u v >= r."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator

from .._arguments import number, one_of
from .._arrays import Array, finite_array

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["REGULARIZERS", "ZERO", "HullProgram", "Row"]

REGULARIZERS = ("l1", "l2")
ZERO = ("drop", "quadrant", "equality")
TV_IS_DEGENERATE = (
    "regularizer='tv' has no minimiser: a constant signal has no variation, grows without end and "
    "makes the other term as small as it likes. nettrim.separate_image anchors the signal's mean"
)
LARGEST_DICTIONARY = 200_000_000  # entries of a dense one


class Row(IntEnum):
    """What a measurement asks of its u and v."""

    HULL = 0  # u, v >= 0 and u v >= r
    HALF_PLANE = 1  # u >= 0
    QUADRANT = 2  # u, v >= 0
    RAY = 3  # u >= 0 and v = 0


ZERO_ROWS = dict(zip(ZERO, (Row.HALF_PLANE, Row.QUADRANT, Row.RAY), strict=True))


@dataclass(frozen=True)
class HullProgram:
    """A sign-normalised program (spec branchhull A.1); rows are the `kept` measurements.

    Attributes
    ----------
    B, C : ndarray of shape (n_measurements, K) and (n_measurements, N)
        The caller's dictionaries, the one with the known signs first.
    A, D : ndarray
        Their kept rows, each with its sign, so that the truth has positive u = A h and v = D m.
    r : ndarray
        Absolute measurements.
    kinds : ndarray of uint8
        A `Row` for each.
    turn : ndarray
        Signs of the rows of `D`.
    price : ndarray or None
        Of the slack xi of each row.
    """

    B: Array
    C: Array
    A: Array
    D: Array
    r: Array
    kinds: NDArray[np.uint8]
    turn: Array
    price: Array | None
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
    ) -> HullProgram:
        """Check what the caller gave."""
        one_of(which, ("w", "x"), "which")
        if regularizer == "tv":
            raise ValueError(TV_IS_DEGENERATE)
        one_of(regularizer, REGULARIZERS, "regularizer")
        one_of(zero, ZERO, "zero")
        measured = np.asarray(finite_array(y, "y", ndim=1), dtype=np.float64)
        first, second = dictionary(B, "B", len(measured)), dictionary(C, "C", len(measured))
        if which == "x":
            first, second = second, first
        t = np.sign(_for_each(signs, "signs", len(measured)))
        kept = np.flatnonzero(t)
        if len(kept) == 0:
            raise ValueError("signs are all zero: no measurement says anything")
        s = np.where(measured == 0, 1.0, np.sign(measured))
        turn = (s * t)[kept]
        r = np.abs(measured)[kept]
        return cls(
            B=first,
            C=second,
            A=t[kept, None] * first[kept],
            D=turn[:, None] * second[kept],
            r=r,
            kinds=np.where(r > 0, Row.HULL, ZERO_ROWS[zero]).astype(np.uint8),
            turn=turn,
            price=_price(slack, regularizer, len(measured), kept),
            kept=kept,
            regularizer=regularizer,
        )


def dictionary(value: Any, name: str, rows: int) -> Array:
    """Return a dictionary as a dense array with a row for every measurement."""
    if isinstance(value, LinearOperator):
        _affordable(value.shape, name)
        value = value @ np.eye(value.shape[1])
    elif sparse.issparse(value):
        _affordable(value.shape, name)
        value = value.toarray()
    array = np.ascontiguousarray(finite_array(value, name, ndim=2), dtype=np.float64)
    if len(array) != rows:
        raise ValueError(
            f"{name} must have a row for each of the {rows} entries of y, got shape {array.shape}"
        )
    return array


def _affordable(shape: tuple[int, int], name: str) -> None:
    if shape[0] * shape[1] > LARGEST_DICTIONARY:
        raise ValueError(
            f"{name} of shape {shape} would be made dense, and that is more than "
            f"{LARGEST_DICTIONARY:,} entries"
        )


def _for_each(value: ArrayLike, name: str, rows: int) -> Array:
    """Return one number for every measurement, of one for each or one for all."""
    array = np.asarray(finite_array(value, name), dtype=np.float64)
    try:
        return np.ascontiguousarray(np.broadcast_to(array, (rows,)))
    except ValueError:
        raise ValueError(
            f"{name} must be one number or one for each of the {rows} entries of y, "
            f"got shape {array.shape}"
        ) from None


def _price(
    slack: ArrayLike | None, regularizer: str, rows: int, kept: NDArray[np.intp]
) -> Array | None:
    if slack is None:
        return None
    if regularizer != "l1":
        raise ValueError(f"slack goes with regularizer='l1', got {regularizer!r}")
    price = _for_each(slack, "slack", rows)
    number(float(price.min()), "slack", above=0.0)
    return np.ascontiguousarray(price[kept])
