"""Small things shared by the modules that handle whole networks: array checks, norms."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
AnyFloat = NDArray[np.floating[Any]]
FloatArray = TypeVar("FloatArray", bound=AnyFloat)


LARGEST = 1e140  # entries beyond this, or all below its inverse, have squares that are no doubles


def as_plain_array(value: object, name: str) -> NDArray[Any]:
    """Return ``value`` as an array, where nothing is lost by that.

    Raises
    ------
    TypeError
        If it is sparse, or an object that cannot be made an array.
    ValueError
        If it is no rectangle, or has masked entries. The message starts with ``name``.
    """
    if hasattr(value, "toarray"):
        raise TypeError(
            f"{name} must be a dense array, got a sparse {type(value).__name__}: give its toarray()"
        )
    if _has_mask(value):
        raise ValueError(f"{name} has masked entries, which have no value: fill or drop them")
    try:
        return np.asarray(value)
    except ValueError as error:  # rows of different lengths
        raise ValueError(f"{name} is no rectangular array: {error}") from None
    except OverflowError:
        raise ValueError(f"{name} holds numbers that do not fit float64") from None
    except (TypeError, RuntimeError) as error:  # objects of other libraries
        raise TypeError(f"{name} cannot be read as an array: {error}") from None


def _has_mask(value: object) -> bool:
    """Tell whether an array, or one in a list, has masked entries, which NumPy takes for data."""
    if isinstance(value, (list, tuple)):
        return any(map(_has_mask, value))
    return bool(np.ma.is_masked(value))


def convert(array: NDArray[Any], name: str, dtype: np.dtype[Any]) -> AnyFloat:
    """Return a finite array C-contiguous and of a type, itself if it is; refuse what overflows."""
    with np.errstate(over="ignore"):
        result: AnyFloat = np.ascontiguousarray(array, dtype=dtype)
    if array.dtype.itemsize > dtype.itemsize and not np.isfinite(result).all():
        largest = np.format_float_scientific(np.abs(array).max(), precision=3)
        raise ValueError(f"{name} does not fit {dtype}: its largest entry is {largest}")
    return result


def check_finite(value: ArrayLike, name: str, *, ndim: int | None = None) -> AnyFloat:
    """Return ``value`` as a finite, non-empty array of floats; up to float64 they keep their type.

    Raises
    ------
    TypeError
        If the entries are not real numbers.
    ValueError
        If the array is empty, has another number of dimensions than ``ndim``, or holds NaN,
        infinity, numbers beyond float64 or masked entries. The message starts with ``name``.
    """
    array = as_plain_array(value, name)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold real numbers, got dtype {array.dtype}")
    if ndim is not None and array.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} dimensions, got shape {array.shape}")
    if array.size == 0:
        raise ValueError(f"{name} is empty: shape {array.shape}")
    if array.dtype.kind != "f":
        return array.astype(np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds NaN or infinity")
    return array if array.dtype.itemsize <= 8 else convert(array, name, np.dtype(np.float64))


def check_squares(array: FloatArray, name: str) -> FloatArray:
    """Refuse an array whose norm float64 cannot hold: entries too large, or all too small."""
    largest = float(np.abs(array).max())
    if largest > LARGEST or 0 < largest < 1 / LARGEST:
        size = "large" if largest > 1 else "small"
        raise ValueError(
            f"{name} is too {size}: its largest entry is {largest:g}, whose square does not fit "
            f"float64; give it in other units"
        )
    return array


def check_samples(value: ArrayLike, name: str) -> NDArray[Any]:
    """Return samples along the first axis: float64, or int64 if they are whole numbers (tokens).

    Raises
    ------
    TypeError, ValueError
        Like `check_finite` and `check_squares`, and if it is a single number.
    """
    plain = as_plain_array(value, name)
    array = check_finite(plain, name)
    if array.ndim == 0:
        raise ValueError(f"{name} must hold samples along its first axis, got a number")
    if plain.dtype.kind not in "iu":
        return np.ascontiguousarray(check_squares(array, name), dtype=np.float64)
    if plain.max() > np.iinfo(np.int64).max:
        raise ValueError(f"{name} holds whole numbers beyond int64: {plain.max()}")
    return np.ascontiguousarray(plain, dtype=np.int64)


def frobenius_norm(array: AnyFloat) -> float:
    """Return the square root of the sum of the squares of all entries, of any size."""
    with np.errstate(over="ignore", under="ignore"):
        norm = float(np.linalg.norm(array))
    if 1 / LARGEST < norm < LARGEST or array.size == 0:
        return norm
    largest = float(np.abs(array).max())
    return largest * float(np.linalg.norm(array / largest)) if 0 < largest < np.inf else norm


def spectral_norm(matrix: AnyFloat) -> float:
    """Return the largest singular value."""
    largest = float(np.abs(matrix).max())
    if largest == 0:
        return 0.0
    unit = matrix.astype(np.float64, copy=False) / largest  # its Gram matrix does not overflow
    gram = unit @ unit.T if len(unit) < unit.shape[1] else unit.T @ unit
    return largest * float(np.sqrt(np.linalg.eigvalsh(gram)[-1]))


def relative_to(value: float, scale: float) -> float:
    """Return ``value / scale``; a signal that is zero throughout has no scale but 1."""
    return value / scale if scale > 0 else value
