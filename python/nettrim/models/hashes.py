"""Hashes by which models and data are told apart."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .model_view import LayerView, ModelView
from .samples import Data, Samples

__all__ = ["hash_data", "hash_model"]


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


def _add(digest: hashlib._Hash, array: NDArray[Any]) -> None:
    digest.update(f"{array.dtype.str} {array.shape}".encode())
    digest.update(np.ascontiguousarray(array).view(np.uint8).data)
