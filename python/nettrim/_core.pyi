"""The compiled core; every instruction set's module has these functions."""

from collections.abc import Callable
from typing import Any, TypeAlias, TypedDict, TypeVar

import numpy as np
from numpy.typing import NDArray

_Real = TypeVar("_Real", np.float32, np.float64)

Product: TypeAlias = Callable[[NDArray[np.float64]], NDArray[np.float64]]

class DrawnFields(TypedDict, total=False):
    slopes: NDArray[np.float64]  # where weights are drawn

class LayerFields(DrawnFields):
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

# From now on everything takes one thread, as it does in a process forked from one with this module.
def may_start_threads() -> bool: ...
def work_alone() -> None: ...

# Arrays are C-contiguous and all of one type, float64 or float32. Exactly one of epsilon and
# penalty.
# ridge is absolute: that of a weight's squared change.
def solve_layer(
    X: NDArray[np.floating[Any]],
    Y: NDArray[np.floating[Any]],
    *,
    upper: NDArray[np.floating[Any]] | None,
    active: NDArray[np.bool_] | None,
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
    groups: NDArray[np.int64] | None = None,
    prices: NDArray[np.float64] | None = None,
    ridge: float = 0.0,
    pull: float = 0.0,
    original: NDArray[np.floating[Any]] | None = None,
    costs: NDArray[np.float64] | None = None,
) -> LayerFields: ...

# epsilons in descending order; an interrupt or the time limit leaves fewer answers than that.
def trace_layer(
    X: NDArray[np.floating[Any]],
    Y: NDArray[np.floating[Any]],
    *,
    upper: NDArray[np.floating[Any]] | None,
    active: NDArray[np.bool_] | None,
    relu: bool,
    epsilons: list[float],
    tol: float,
    max_iter: int,
    time_limit: float,
    n_threads: int,
    callback: Callable[[int, float, float, float, float, float, float], object] | None,
    groups: NDArray[np.int64] | None = None,
    prices: NDArray[np.float64] | None = None,
    ridge: float = 0.0,
    pull: float = 0.0,
    original: NDArray[np.floating[Any]] | None = None,
    costs: NDArray[np.float64] | None = None,
) -> list[LayerFields]: ...

class BranchHullFields(TypedDict):
    h: NDArray[np.float64]
    m: NDArray[np.float64]
    xi: NDArray[np.float64]
    p: NDArray[np.float64]
    q: NDArray[np.float64]
    objective: float
    dual_bound: float
    gap: float
    status: str
    iterations: int
    solver: str
    seconds: float

# Arrays are C-contiguous; kinds as in nettrim.hull.program.HullRow.
# A dictionary is an array or its products with coefficients and with signals.
def solve_branch_hull(
    A: NDArray[np.float64] | tuple[Product, Product],
    D: NDArray[np.float64] | tuple[Product, Product],
    r: NDArray[np.float64],
    kinds: NDArray[np.uint8],
    *,
    slack_penalty: NDArray[np.float64] | None,
    v_signs: NDArray[np.float64] | None,
    h_size: int,
    m_size: int,
    snapshots: int,
    own_dictionaries: bool,
    l1: bool,
    tangent_ratio: float,
    solver: str,
    tol: float,
    max_iter: int,
    time_limit: float,
    n_threads: int,
    callback: Callable[[int, float, float, float, float], object] | None,
) -> BranchHullFields: ...

class AnchoredTvFields(TypedDict):
    w: NDArray[np.float64]
    x: NDArray[np.float64]
    xi: NDArray[np.float64]
    objective: float
    dual_bound: float
    gap: float
    status: str
    iterations: int
    seconds: float

# The columns of basis are orthonormal.
def solve_anchored_tv(
    image: NDArray[np.float64],
    basis: NDArray[np.float64],
    *,
    mu: float,
    slack: float,
    tol: float,
    max_iter: int,
    time_limit: float,
    n_threads: int,
    callback: Callable[[int, float, float, float, float], object] | None,
) -> AnchoredTvFields: ...

# In place.
def project_onto_branch_hulls(
    r: NDArray[np.float64], u: NDArray[np.float64], v: NDArray[np.float64]
) -> None: ...

class EliminationFields(TypedDict):
    order: NDArray[np.int32]
    losses: NDArray[np.float64]
    complete: bool

class FitFields(TypedDict):
    weights: NDArray[np.float64]
    loss: float
    swaps: int
    complete: bool

# Results by outputs, of shape (n_outputs, n_features). group = 0: no pattern.
def eliminate(
    X: NDArray[np.float64],
    target: NDArray[np.float64],
    *,
    gram: NDArray[np.float64] | None = ...,
    upper: NDArray[np.float64] | None,
    active: NDArray[np.bool_] | None,
    prior: NDArray[np.float64],
    pull: float,
    ridge: float,
    keep: NDArray[np.bool_] | None,
    group: int,
    most: int,
    left: NDArray[np.bool_] | None = ...,
    rough: int = ...,
    time_limit: float = ...,
    n_threads: int,
) -> EliminationFields: ...

# The support by outputs as well.
def fit_support(
    X: NDArray[np.float64],
    target: NDArray[np.float64],
    *,
    gram: NDArray[np.float64] | None = ...,
    upper: NDArray[np.float64] | None,
    active: NDArray[np.bool_] | None,
    prior: NDArray[np.float64],
    pull: float,
    ridge: float,
    keep: NDArray[np.bool_] | None,
    support: NDArray[np.bool_],
    rounds: int,
    time_limit: float = ...,
    n_threads: int,
) -> FitFields: ...

class SupportFields(TypedDict):
    support: NDArray[np.bool_]
    complete: bool

class QuadraticFields(TypedDict):
    weights: NDArray[np.float64]
    iterations: int
    complete: bool

# From here on results are of shape (n_features, n_outputs).
def choose_support(
    X: NDArray[np.float64],
    target: NDArray[np.float64],
    *,
    upper: NDArray[np.float64] | None,
    active: NDArray[np.bool_] | None,
    prior: NDArray[np.float64],
    pull: float,
    ridge: float,
    keep: NDArray[np.bool_] | None,
    group: int,
    most: int,
    budget: int,
    time_limit: float = ...,
    n_threads: int,
) -> SupportFields: ...
def gelu(z: NDArray[_Real]) -> NDArray[_Real]: ...
def gelu_and_slope(z: NDArray[_Real]) -> tuple[NDArray[_Real], NDArray[_Real]]: ...

# grams of shape (n_forms, n_features, n_features); ridge in units of their mean diagonals.
def solve_quadratic(
    grams: NDArray[np.float64],
    *,
    form_of: NDArray[np.int32] | None,
    correlations: NDArray[np.float64],
    prior: NDArray[np.float64],
    ridge: float,
    rough: bool = ...,
    keep: NDArray[np.bool_] | None,
    group: int,
    most: int,
    budget: int,
    time_limit: float = ...,
    n_threads: int,
) -> QuadraticFields: ...

# From the prior on the support, of shape (n_features, n_outputs).
def fit_quadratic(
    grams: NDArray[np.float64],
    *,
    form_of: NDArray[np.int32] | None,
    correlations: NDArray[np.float64],
    prior: NDArray[np.float64],
    ridge: float,
    rough: bool = ...,
    support: NDArray[np.bool_],
    time_limit: float = ...,
    n_threads: int,
) -> QuadraticFields: ...

class UnitsEliminationFields(TypedDict):
    order: list[int]
    losses: list[float]
    complete: bool

class UnitsExchangeFields(TypedDict):
    kept: list[bool]
    swaps: int
    gain: float
    complete: bool

# One Gram matrix with its ridge, correlations of shape (n_features, n_outputs) and the unit of each
# feature, negative for none, for every form.
def eliminate_units(
    grams: list[NDArray[np.float64]],
    correlations: list[NDArray[np.float64]],
    unit_of: list[NDArray[np.int32]],
    *,
    keep: NDArray[np.bool_],
    time_limit: float = ...,
    n_threads: int,
) -> UnitsEliminationFields: ...
def exchange_units(
    grams: list[NDArray[np.float64]],
    correlations: list[NDArray[np.float64]],
    unit_of: list[NDArray[np.int32]],
    *,
    keep: NDArray[np.bool_],
    kept: NDArray[np.bool_],
    most: int,
    worthwhile: float,
    time_limit: float = ...,
    n_threads: int,
) -> UnitsExchangeFields: ...
