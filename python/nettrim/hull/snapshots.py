"""Several snapshots behind the same gains: one program, and the structure that newton uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import scipy

from ..base.arrays import Array, check_finite
from ..base.errors import InfeasibleError
from .dictionary import Dictionary, as_array, check_dictionary

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from scipy.sparse.linalg import LinearOperator

__all__ = [
    "Snapshots",
    "check_dictionaries",
    "count_dimensions",
    "flatten",
    "signs_of_sensors",
    "unflatten",
]

LARGEST_BLOCK = 6000  # of h and one m together: newton factors a matrix of this size


@dataclass(frozen=True)
class Snapshots:
    """Dictionaries of measurements ``y_ij = (B h)_i (C_j m_j)_i``.

    Attributes
    ----------
    B : ndarray or LinearOperator of shape (n_sensors, K)
    C : tuple of ndarray or LinearOperator, each of shape (n_sensors, N)
        One for all snapshots, or one for each.
    count : int
        Number of snapshots.
    """

    B: Dictionary
    C: tuple[Dictionary, ...]
    count: int

    @property
    def n_sensors(self) -> int:
        """Number of rows of y."""
        return int(self.B.shape[0])

    def each_C(self) -> tuple[Dictionary, ...]:
        """Return a dictionary for each snapshot."""
        return self.C * (self.count // len(self.C))

    def suit_newton(self) -> bool:
        """Whether all are arrays, and of a size that newton factors."""
        arrays = all(isinstance(D, np.ndarray) for D in (self.B, *self.C))
        return arrays and self.B.shape[1] + self.C[0].shape[1] <= LARGEST_BLOCK

    def joint_B(self) -> Dictionary:
        """Return the dictionary of w in every measurement, snapshot after snapshot."""
        if self.count == 1:
            return self.B
        B, shape = self.B, (self.count, self.n_sensors)
        return _operator(
            (self.count * self.n_sensors, B.shape[1]),
            lambda h: np.tile(B @ h, self.count),
            lambda p: B.T @ p.reshape(shape).sum(axis=0),
        )

    def joint_C(self) -> Dictionary:
        """Return the dictionary of x in every measurement: a block for each snapshot."""
        if self.count == 1:
            return self.C[0]
        C, N = self.C, self.C[0].shape[1]
        if len(C) == 1 and isinstance(C[0], np.ndarray):
            common = C[0]
            return _operator(
                (self.count * self.n_sensors, self.count * N),
                lambda m: (m.reshape(-1, N) @ common.T).ravel(),
                lambda q: (q.reshape(-1, self.n_sensors) @ common).ravel(),
            )
        each = self.each_C()
        return _operator(
            (self.count * self.n_sensors, self.count * N),
            lambda m: np.concatenate(
                [D @ own for D, own in zip(each, m.reshape(-1, N), strict=True)]
            ),
            lambda q: np.concatenate(
                [D.T @ own for D, own in zip(each, q.reshape(-1, self.n_sensors), strict=True)]
            ),
        )

    def arrays(self) -> tuple[Array, Array]:
        """Return B, and C with the rows of all dictionaries, as arrays."""
        C = [as_array(D, "C") for D in self.C]
        return as_array(self.B, "B"), np.ascontiguousarray(np.concatenate(C))

    def split(self, m: Array) -> Array:
        """Return the coefficients of every snapshot as a column."""
        return np.ascontiguousarray(m.reshape(self.count, -1).T)


def _operator(shape: tuple[int, int], signal: Any, correlations: Any) -> LinearOperator:
    return scipy.sparse.linalg.LinearOperator(
        shape,
        matvec=lambda x: signal(x.ravel()),
        rmatvec=lambda x: correlations(x.ravel()),
        dtype=np.float64,
    )


def check_dictionaries(
    value: Any, name: str, rows: int, count: int, arrays_up_to: float = np.inf
) -> tuple[Dictionary, ...]:
    """Check one dictionary for all snapshots, or a sequence of one for each."""
    if not _is_sequence(value):
        return (check_dictionary(value, name, rows, arrays_up_to),)
    if len(value) != count:
        raise ValueError(
            f"{name} must be one dictionary or one for each of the {count} columns of y, "
            f"got {len(value)}"
        )
    each = tuple(
        check_dictionary(D, f"{name}[{j}]", rows, arrays_up_to) for j, D in enumerate(value)
    )
    sizes = sorted({D.shape[1] for D in each})
    if len(sizes) > 1:
        raise ValueError(f"{name} must be dictionaries of equally many columns, got {sizes}")
    return each


def _is_sequence(value: Any) -> bool:
    """Tell whether there are several dictionaries: a list of them, or an array in three dimensions.

    Lists of lists of numbers are one dictionary.
    """
    if isinstance(value, (list, tuple)):
        return len(value) > 0 and count_dimensions(value[0]) == 2
    return getattr(value, "ndim", 2) == 3


def count_dimensions(value: Any) -> int:
    """Return the number of dimensions, of lists that of their first entries; nothing is checked."""
    if isinstance(value, (list, tuple)):
        return 1 + (count_dimensions(value[0]) if value else 0)
    return int(getattr(value, "ndim", 0))


def flatten(value: ArrayLike, name: str, shape: tuple[int, int]) -> Array:
    """Return a number for every measurement, snapshot after snapshot.

    There is one of each, one for each sensor, or one for all.
    """
    array = np.asarray(check_finite(value, name), dtype=np.float64)
    if array.ndim == 1 and len(array) == shape[0]:
        array = array[:, None]
    if array.ndim != 0 and array.shape not in (shape, (shape[0], 1)):
        raise ValueError(
            f"{name} must be one number, one for each of the {shape[0]} rows of y or one for each "
            f"of its entries, got shape {array.shape}"
        )
    return np.ascontiguousarray(np.broadcast_to(array, shape).T).ravel()


def unflatten(values: Array, count: int) -> Array:
    """Return what is of every measurement in the shape of y."""
    return np.ascontiguousarray(values.reshape(count, -1).T)


def signs_of_sensors(signs: Array, count: int) -> Array:
    """Return the sign of every sensor, 0 where no snapshot tells it."""
    each = np.sign(signs).reshape(count, -1)
    highest, lowest = each.max(axis=0), each.min(axis=0)
    both = np.flatnonzero(highest * lowest < 0)
    if len(both):
        raise InfeasibleError(
            f"signs: w has one sign for all snapshots, and rows {_list(both)} have both"
        )
    return cast("Array", np.sign(highest + lowest))


def _list(indices: NDArray[np.intp], most: int = 10) -> str:
    return ", ".join(map(str, indices[:most])) + (", ..." if len(indices) > most else "")
