"""The compiled core; every instruction set's module has these functions."""

from collections.abc import Callable
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

class LayerFields(TypedDict):
    weights: NDArray[np.floating[Any]]
    objective: float
    dual_bound: float
    gap: float
    residual: float
    violation: float
    epsilon: float
    penalty: float
    status: str
    iterations: int
    solver: str
    reason: str
    seconds: float
    dual: NDArray[np.floating[Any]]

def build_info() -> dict[str, object]: ...

# Arrays are C-contiguous and all of one type, float64 or float32. Exactly one of epsilon and penalty.
def solve_layer(
    X: NDArray[np.floating[Any]],
    Y: NDArray[np.floating[Any]],
    *,
    upper: NDArray[np.floating[Any]] | None,
    relu: bool,
    epsilon: float | None,
    penalty: float | None,
    solver: str,
    tol: float,
    max_iter: int,
    time_limit: float,
    check_every: int,
    n_threads: int,
    start_weights: NDArray[np.floating[Any]] | None,
    start_dual: NDArray[np.floating[Any]] | None,
    callback: Callable[[int, float, float, float, float, float, float], object] | None,
) -> LayerFields: ...

# epsilons in descending order; an interrupt or the time limit leaves fewer answers than that.
def trace_layer(
    X: NDArray[np.floating[Any]],
    Y: NDArray[np.floating[Any]],
    *,
    upper: NDArray[np.floating[Any]] | None,
    relu: bool,
    epsilons: list[float],
    tol: float,
    max_iter: int,
    time_limit: float,
    n_threads: int,
    callback: Callable[[int, float, float, float, float, float, float], object] | None,
) -> list[LayerFields]: ...
