"""Branch hull problems, and Clarabel as their referee: the cones written directly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import clarabel
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

import nettrim

Array = NDArray[np.float64]

PRECISION = 1e-10


@dataclass(frozen=True)
class Product:
    """Two signals, known through their product and the signs of the first."""

    B: Array
    C: Array
    h: Array
    m: Array
    y: Array
    signs: Array

    def solve(self, **options: Any) -> nettrim.HullSolution:
        options.setdefault("n_threads", 1)
        return nettrim.branch_hull(self.y, self.B, self.C, signs=self.signs, **options)

    @property
    def A(self) -> Array:
        return self.signs[:, None] * self.B

    @property
    def D(self) -> Array:
        return (np.sign(self.y) * self.signs)[:, None] * self.C


def random_product(
    L: int,
    K: int,
    N: int,
    *,
    support: int | None = None,
    noise: float = 0.0,
    seed: int = 0,
    unit_columns: bool = False,
) -> Product:
    """Normal dictionaries; coefficients are normal, or +-1 on a random support."""
    rng = np.random.default_rng(seed)
    scale = 1 / np.sqrt(L) if unit_columns else 1.0
    B, C = scale * rng.standard_normal((L, K)), scale * rng.standard_normal((L, N))
    h, m = (coefficients(rng, size, support) for size in (K, N))
    w, x = B @ h, C @ m
    y = w * x * (1 + noise * rng.standard_normal(L))
    return Product(B, C, h, m, y, np.sign(w))


def coefficients(rng: np.random.Generator, size: int, support: int | None) -> Array:
    if support is None:
        return rng.standard_normal(size)
    values = np.zeros(size)
    values[rng.choice(size, support, replace=False)] = rng.choice([-1.0, 1.0], support)
    return values


def rank_one_error(solution: nettrim.HullSolution, product: Product) -> float:
    """Distance of the outer products at unit size: no scale enters."""
    found, truth = np.outer(solution.h, solution.m), np.outer(product.h, product.m)
    return float(np.linalg.norm(found / np.linalg.norm(found) - truth / np.linalg.norm(truth)))


def referee(product: Product, regularizer: str, slack: float | Array | None = None) -> float:
    """The optimum by Clarabel: u v >= r is the cone |(u - v, 2 sqrt r)| <= u + v."""
    A, D, r = product.A, product.D, np.abs(product.y)
    L, K, N = len(r), A.shape[1], D.shape[1]
    extra = L if slack is not None else 0
    n = K + N + extra
    u = np.hstack([A, np.zeros((L, N + extra))])
    v = np.hstack([np.zeros((L, K)), D, *([np.eye(L)] if extra else [])])
    cones = np.stack([-(u + v), -(u - v), np.zeros((L, n))], axis=1).reshape(3 * L, n)
    offsets = np.column_stack([np.zeros((L, 2)), 2 * np.sqrt(r)]).ravel()
    if regularizer == "l2":
        return interior(np.eye(n) * 2, np.zeros(n), cones, offsets, [], L)
    price = np.full(extra, 0.0 if slack is None else slack)
    cost = np.concatenate([np.zeros(n), np.ones(K + N), price])
    identity = np.eye(n)
    bounds = np.vstack([np.hstack([identity, -identity]), np.hstack([-identity, -identity])])
    rows = np.vstack([bounds, np.hstack([cones, np.zeros_like(cones)])])
    right = np.concatenate([np.zeros(2 * n), offsets])
    first = [clarabel.NonnegativeConeT(2 * n)]
    return interior(np.zeros((2 * n, 2 * n)), cost, rows, right, first, L)


def interior(P: Array, q: Array, A: Array, b: Array, first: list[Any], hulls: int) -> float:
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = PRECISION
    cones = [*first, *[clarabel.SecondOrderConeT(3)] * hulls]
    solver = clarabel.DefaultSolver(
        sparse.csc_matrix(P), q, sparse.csc_matrix(A), b, cones, settings
    )
    solution = solver.solve()
    assert "Solved" in str(solution.status), solution.status
    return float(solution.obj_val)


def proved_bound(
    product: Product, solution: nettrim.HullSolution, slack: float | None = None
) -> float:
    """The lower bound of weak duality, from the multipliers alone."""
    r = np.abs(product.y)
    weight = float(np.sqrt(r * solution.p * solution.q).sum()) ** 2
    Ap, Dq = product.A.T @ solution.p, product.D.T @ solution.q
    if solution.regularizer == "l2":
        return 2 * weight / float(np.linalg.norm(Ap) * np.linalg.norm(Dq))
    steepest = float(np.abs(Dq).max())
    if slack is not None:
        steepest = max(steepest, float(solution.q.max()) / slack)
    return 2 * float(np.sqrt(weight / (np.abs(Ap).max() * steepest)))
