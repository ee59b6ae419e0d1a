"""Results to export that no trim has made, and that networks come back bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nettrim import Network, TrimResult


def sparse(rng: np.random.Generator, *shape: int, share: float = 0.3) -> NDArray[np.float32]:
    """Weights of which a share is not zero."""
    scale = np.sqrt(share * max(np.prod(shape) / max(shape[0], shape[-1]), 1))
    kept = rng.random(shape) < share
    return (rng.standard_normal(shape) * kept / scale).astype(np.float32)


def bias(rng: np.random.Generator, n: int) -> NDArray[np.float32]:
    return rng.standard_normal(n).astype(np.float32)


def result_of(model: Any, original: Any = None, **fields: Any) -> TrimResult[Any]:
    """The result of a trim that was not run."""
    numbers = {"layers": (), "scheme": "parallel", "n_samples": 1, "discrepancy": 0.0, "bound": 0.0}
    return TrimResult(model=model, original=original or model, **{**numbers, **fields})


def assert_equal_bits(one: Network, other: Network) -> None:
    assert repr(one) == repr(other)
    for a, b in zip(one.prunable_layers(), other.prunable_layers(), strict=True):
        np.testing.assert_array_equal(a.affine.weights, b.affine.weights, strict=True)
        np.testing.assert_array_equal(a.affine.bias, b.affine.bias, strict=True)  # type: ignore[arg-type]
