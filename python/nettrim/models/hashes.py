"""Hashes by which models and data are told apart."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
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
    seen = set(_hash_rows(data))
    return sum(row in seen for row in _hash_rows(held_out))


def _hash_rows(X: Data) -> Iterator[bytes]:
    """Yield what tells samples apart by their numbers, whatever type holds these."""
    arrays = X.arrays if isinstance(X, Samples) else {UNNAMED: X}
    masks = X.masks if isinstance(X, Samples) else ()
    counts = {name: mask.counts for mask in masks for name in mask.inputs}
    for row in range(len(X)):
        digest = hashlib.blake2b(digest_size=16)
        for name, array in arrays.items():
            values = array[row][counts[name][row]] if name in counts else array[row]
            numbers = np.asarray(values, dtype=np.float64) + 0.0  # no zero with a sign
            digest.update(f"{name} {numbers.shape}".encode())
            digest.update(numbers.tobytes())
        yield digest.digest()


def _add(digest: hashlib._Hash, array: NDArray[Any]) -> None:
    digest.update(f"{array.dtype.str} {array.shape}".encode())
    digest.update(np.ascontiguousarray(array).view(np.uint8).data)
