"""Arrays that are mostly zeros, kept without their zeros.

A file holds such an array ``name`` as several, with names of the form ``name@encoding.part``:

``csr``
    ``values`` and ``columns`` of what is not zero, row by row, and ``starts``, where each row
    begins, with the number of values behind: SciPy's ``csr_array((values, columns, starts))``. A
    row is an entry of the first axis, all others count as columns. Indices are of the smallest
    unsigned type that can hold them.
``bitmask``
    ``bits``, one for each entry of the array in C order, eight to a byte, the first one highest,
    and the ``values`` where they are set.

Both have the ``shape`` of the array besides. Nothing is rounded. Bit masks are smaller than CSR
unless nearly all entries are zero: a bit for each entry against some two bytes for each that is
not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["pack", "unpack"]

EXPANDED = 1 << 30  # bytes that any array may become
RATIO = 1000  # times its parts that a larger one may become

AnyArray = NDArray[Any]
Parts = dict[str, AnyArray]


def pack(arrays: Mapping[str, Any], encoding: str) -> dict[str, Any]:
    """Encode every array of floats with two or more axes that becomes smaller by it.

    Parameters
    ----------
    arrays : mapping from str to array_like
    encoding : {"csr", "bitmask"}

    Returns
    -------
    dict
        What `unpack` makes the same arrays of.

    Examples
    --------
    >>> import numpy as np
    >>> packed = pack({"W": np.diag([1.0, 0.0, 2.0])}, "csr")
    >>> sorted(packed)
    ['W@csr.columns', 'W@csr.shape', 'W@csr.starts', 'W@csr.values']
    >>> unpack(packed)["W"]
    array([[1., 0., 0.],
           [0., 0., 0.],
           [0., 0., 2.]])
    """
    encode, _ = _ENCODINGS[encoding]
    packed: dict[str, Any] = {}
    for name, value in arrays.items():
        array = np.asarray(value)
        parts = encode(array) if array.ndim >= 2 and array.dtype.kind == "f" else {}
        if parts and sum(part.nbytes for part in parts.values()) < array.nbytes:
            packed |= {f"{name}@{encoding}.{part}": values for part, values in parts.items()}
        else:
            packed[name] = value
    return packed


def unpack(arrays: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
    """Return the arrays that were given to `pack`; others stay as they are.

    Raises
    ------
    ValueError
        If the parts of an array do not fit each other; the message names it.
    """
    unpacked: dict[str, AnyArray] = {}
    found: dict[tuple[str, str], Parts] = {}
    for key, array in arrays.items():
        name, _, tail = key.rpartition("@")
        encoding, _, part = tail.partition(".")
        if name and encoding in _ENCODINGS:
            found.setdefault((name, encoding), {})[part] = array
        else:
            unpacked[key] = array
    for (name, encoding), parts in found.items():
        unpacked[name] = _decoded(name, encoding, parts)
    return unpacked


def _decoded(name: str, encoding: str, parts: Parts) -> AnyArray:
    _, decode = _ENCODINGS[encoding]
    try:
        _check_size(parts)
        return decode(**parts)
    except (IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise ValueError(f"{name} is no array in {encoding}: {error}") from None


def _csr(array: AnyArray) -> Parts:
    matrix = array.reshape(len(array), -1)
    rows, columns = np.nonzero(matrix)
    starts = np.searchsorted(rows, np.arange(len(matrix) + 1))
    return {
        "values": matrix[rows, columns],
        "columns": columns.astype(np.min_scalar_type(max(matrix.shape[1] - 1, 0))),
        "starts": starts.astype(np.min_scalar_type(len(rows))),
        "shape": np.array(array.shape),
    }


def _from_csr(values: AnyArray, columns: AnyArray, starts: AnyArray, shape: AnyArray) -> AnyArray:
    matrix = np.zeros((shape[0], int(np.prod(shape[1:]))), values.dtype)
    begins = starts.astype(np.intp)
    rows = np.repeat(np.arange(len(matrix)), begins[1:] - begins[:-1])
    _check_count(values, len(rows))
    matrix[rows, columns] = values
    return matrix.reshape(shape)


def _bitmask(array: AnyArray) -> Parts:
    nonzero = array != 0
    return {"values": array[nonzero], "bits": np.packbits(nonzero), "shape": np.array(array.shape)}


def _from_bitmask(values: AnyArray, bits: AnyArray, shape: AnyArray) -> AnyArray:
    array = np.zeros(shape, values.dtype)
    nonzero = np.unpackbits(bits, count=array.size).reshape(shape).astype(bool)
    _check_count(values, int(np.count_nonzero(nonzero)))
    array[nonzero] = values
    return array


def _check_size(parts: Parts) -> None:
    """Refuse a shape whose array would be out of proportion to what is known of it."""
    size = math.prod(parts["shape"].tolist()) * parts["values"].dtype.itemsize
    held = sum(part.nbytes for part in parts.values())
    if size > max(EXPANDED, RATIO * held):
        raise ValueError(f"its {held:,} bytes would become {size:,}, more than any weights do")


def _check_count(values: AnyArray, places: int) -> None:
    if len(values) != places:
        raise ValueError(f"it has {len(values)} values for {places} places")


_ENCODINGS: dict[str, tuple[Callable[[AnyArray], Parts], Callable[..., AnyArray]]] = {
    "csr": (_csr, _from_csr),
    "bitmask": (_bitmask, _from_bitmask),
}
