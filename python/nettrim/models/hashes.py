"""Hashes by which models and data are told apart."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .layer_view import LayerView
from .model_view import ModelView
from .samples import UNNAMED, Data, Samples

__all__ = ["count_copies", "hash_data", "hash_model"]


def hash_model(view: ModelView, layers: Sequence[LayerView]) -> str:
    """Return the SHA-256 of a model's prunable layers, and of all else that its view tells."""
    digest = hashlib.sha256()
    for layer in layers:
        digest.update(f"{layer.name} {layer.activation}".encode())
        _add(digest, layer.affine.weights)
        if layer.affine.bias is not None:
            _add(digest, layer.affine.bias)
    for name, array in view.to_arrays().items():
        digest.update(name.encode())
        _add(digest, array)
    return digest.hexdigest()


def hash_data(X: Data) -> str:
    """Return the SHA-256 of samples."""
    digest = hashlib.sha256()
    if isinstance(X, Samples):
        for name, array in [*X.arrays.items(), *X.shared.items()]:
            digest.update(name.encode())
            _add(digest, array)
        for mask in X.masks:
            digest.update(b" mask")
            _add(digest, mask.counts)
    else:
        _add(digest, X)
    return digest.hexdigest()


def count_copies(data: Data, held_out: Data) -> int:
    """Return how many of the held-out samples are among the others, but for what counts not."""
    others = _arrays_of(held_out)
    types = {
        name: _coarser(array.dtype, others[name].dtype)
        for name, array in sorted(_arrays_of(data).items())
    }
    seen = set(_hash_rows(data, types))
    return sum(row in seen for row in _hash_rows(held_out, types))


def _arrays_of(X: Data) -> Mapping[str, NDArray[Any]]:
    return X.arrays if isinstance(X, Samples) else {UNNAMED: X}


def _coarser(first: np.dtype[Any], second: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type to which both are rounded alike; that of doubles unless both are floats."""
    if first.kind != "f" or second.kind != "f":
        return np.dtype(np.float64)
    return min(first, second, key=lambda one: one.itemsize)


def _hash_rows(X: Data, types: Mapping[str, np.dtype[Any]]) -> Iterator[bytes]:
    """Yield what tells samples apart by their numbers, rounded to types that both sides share."""
    arrays = _arrays_of(X)
    masks = X.masks if isinstance(X, Samples) else ()
    counts = {name: mask.counts for mask in masks for name in mask.inputs}
    for row in range(len(X)):
        digest = hashlib.blake2b(digest_size=16)
        for name, shared in types.items():
            values = arrays[name][row]
            values = values[counts[name][row]] if name in counts else values
            numbers = np.asarray(values).astype(shared) + 0.0  # no zero with a sign
            digest.update(f"{name} {numbers.shape}".encode())
            digest.update(numbers.tobytes())
        yield digest.digest()


def _add(digest: hashlib._Hash, array: NDArray[Any]) -> None:
    digest.update(f"{array.dtype.str} {array.shape}".encode())
    digest.update(np.ascontiguousarray(array).view(np.uint8).data)
