"""Dictionaries of signals: arrays, or linear operators that are known by their products."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import scipy

from ..base.arrays import Array, check_finite, check_squares

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse.linalg import LinearOperator

__all__ = [
    "Dictionary",
    "as_array",
    "as_products",
    "check_dictionary",
    "select_signed_rows",
    "take_rows",
]

Dictionary: TypeAlias = "Array | LinearOperator"
Product: TypeAlias = Callable[[Array], Array]

LARGEST_ARRAY = 200_000_000  # entries of an operator that is made one
ADJOINT = 1e-6  # of a product: how far an adjoint may be from it


def check_dictionary(
    value: Any, name: str, rows: int | None = None, arrays_up_to: float = np.inf
) -> Dictionary:
    """Check that a dictionary has a row for every measurement.

    A sparse matrix or operator is made an array if it has at most `arrays_up_to` entries.
    """
    if scipy.sparse.issparse(value):
        value = _sparse_operator(value, name)
    operator = isinstance(value, scipy.sparse.linalg.LinearOperator)
    if not operator:
        value = np.ascontiguousarray(check_finite(value, name, ndim=2), dtype=np.float64)
    if 0 in value.shape or (rows is not None and value.shape[0] != rows):
        measured = "measurement" if rows is None else f"of the {rows} entries of y"
        raise ValueError(f"{name} must have a row for each {measured}, got shape {value.shape}")
    if operator:
        _check_products(value, name)
        if value.shape[0] * value.shape[1] <= arrays_up_to:
            return as_array(value, name)
    return value


def _sparse_operator(matrix: Any, name: str) -> LinearOperator:
    """Return a finite sparse matrix as what it does."""
    from .sparse_operator import SparseOperator

    if matrix.ndim != 2:
        raise ValueError(f"{name} must have 2 dimensions, got shape {matrix.shape}")
    compressed = scipy.sparse.csr_array(matrix)
    if compressed.nnz > 0:
        compressed = compressed.astype(check_finite(compressed.data, name).dtype)
    return SparseOperator(compressed.astype(np.float64))


def _stored(value: LinearOperator) -> Any:
    """Return the sparse matrix that an operator stands for, None if there is none."""
    from .sparse_operator import SparseOperator

    return value.matrix if isinstance(value, SparseOperator) else None


def _check_products(operator: LinearOperator, name: str) -> None:
    rng = np.random.default_rng(0)
    x, y = (rng.choice([-1.0, 1.0], size) for size in reversed(operator.shape))
    image = check_squares(check_finite(operator.matvec(x), name), name)
    try:
        adjoint = check_finite(operator.rmatvec(y), name)
    except NotImplementedError:
        raise ValueError(f"{name} is a LinearOperator without rmatvec, its adjoint") from None
    difference = abs(float(y @ image) - float(adjoint @ x))
    if difference > ADJOINT * np.linalg.norm(image) * np.linalg.norm(y):
        raise ValueError(
            f"{name} is a LinearOperator whose rmatvec is not the adjoint of its matvec"
        )


def as_array(value: Dictionary, name: str) -> Array:
    """Return all the entries of a dictionary."""
    if isinstance(value, np.ndarray):
        return value
    if value.shape[0] * value.shape[1] > LARGEST_ARRAY:
        raise ValueError(
            f"{name} of shape {value.shape} would be made an array, and that is more than "
            f"{LARGEST_ARRAY:,} entries; branch_hull's 'working-set' and 'admm' take it as it is"
        )
    return np.ascontiguousarray(value @ np.eye(value.shape[1]), dtype=np.float64)


def select_signed_rows(value: Dictionary, rows: NDArray[np.intp], signs: Array) -> Dictionary:
    """Return some rows of a dictionary, each times its sign."""
    if isinstance(value, np.ndarray):
        return signs[:, None] * value[rows]
    if (matrix := _stored(value)) is not None:
        return type(value)(matrix[rows].multiply(signs[:, None]).tocsr())

    def signal(coefficients: Array) -> Array:
        return np.asarray(signs * value.matvec(coefficients.ravel())[rows])

    def spread(kept: Array) -> Array:
        everywhere = np.zeros((value.shape[0], *kept.shape[1:]))
        everywhere[rows] = (signs * kept.T).T
        return everywhere

    return scipy.sparse.linalg.LinearOperator(
        (len(rows), value.shape[1]),
        matvec=signal,
        rmatvec=lambda kept: np.asarray(value.rmatvec(spread(kept.ravel()))),
        rmatmat=lambda kept: np.asarray(value.rmatmat(spread(kept))),
        dtype=np.float64,
    )


def take_rows(value: Dictionary, rows: NDArray[np.intp]) -> Array:
    """Return the entries of some rows, of an operator by as few products as there can be."""
    if isinstance(value, np.ndarray):
        return value[rows]
    if (matrix := _stored(value)) is not None:
        return np.asarray(matrix[rows].toarray())
    height, width = value.shape
    if width < len(rows):
        columns = _images_of_units(value.matvec, width, range(width))
        return np.stack([column[rows] for column in columns], axis=1)
    return np.stack(list(_images_of_units(value.rmatvec, height, rows)))


def _images_of_units(product: Product, size: int, places: Iterable[Any]) -> Iterator[Array]:
    """Give the columns of what a product multiplies by; it may return what it is given."""
    unit = np.zeros(size)
    for place in places:
        unit[place] = 1
        yield np.array(product(unit), dtype=np.float64)
        unit[place] = 0


def as_products(value: Dictionary) -> Array | tuple[Product, Product]:
    """Return a dictionary as the compiled core takes it."""
    if isinstance(value, np.ndarray):
        return value
    return _as_float64(value.matvec), _as_float64(value.rmatvec)


def _as_float64(product: Product) -> Product:
    return lambda x: np.ascontiguousarray(product(x), dtype=np.float64)
