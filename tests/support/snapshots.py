"""Products of several snapshots, and the same program spelled out for a referee."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

import nettrim
from support.hulls import Product

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Scenes:
    """Gains w = B h of sensors, and what they said of several scenes: y = w (C_j m_j)."""

    B: Array
    C: list[Array]  # one for each snapshot
    common: bool
    h: Array
    m: Array
    y: Array
    signs: Array

    def solve(self, **options: Any) -> nettrim.HullSolution:
        options.setdefault("n_threads", 1)
        C = self.C[0] if self.common else self.C
        return nettrim.branch_hull(self.y, self.B, C, signs=self.signs, **options)

    def spelled_out(self) -> Product:
        """The program of one snapshot with Kronecker's products, of the measurements with signs."""
        count = self.y.shape[1]
        B, C = np.tile(self.B, (count, 1)), scipy.linalg.block_diag(*self.C)
        signs = np.broadcast_to(self.signs.reshape(len(self.B), -1), self.y.shape).T.ravel()
        kept = signs != 0
        y = self.y.T.ravel()[kept]
        return Product(B[kept], C[kept], self.h, self.m.T.ravel(), y, np.sign(signs[kept]))


def random_scenes(
    L: int,
    J: int,
    K: int,
    N: int,
    *,
    common: bool = True,
    noise: float = 0.0,
    missing: float = 0.0,
    seed: int = 0,
) -> Scenes:
    """Everything is normal; a share of the measurements has no sign."""
    rng = np.random.default_rng(seed)
    B, h, m = rng.standard_normal((L, K)), rng.standard_normal(K), rng.standard_normal((N, J))
    C = [rng.standard_normal((L, N)) for _ in range(1 if common else J)] * (J if common else 1)
    w = B @ h
    y = w[:, None] * np.stack([D @ m[:, j] for j, D in enumerate(C)], axis=1)
    y *= np.exp(noise * rng.standard_normal(y.shape))
    signs = np.sign(w)
    if missing:
        signs = signs[:, None] * (rng.random(y.shape) >= missing)
        signs[0] = np.sign(w[0])  # some must be left
    return Scenes(B, C, common, h, m, y, signs)


def joint_error(solution: nettrim.HullSolution, scenes: Scenes) -> float:
    """Distance of the outer products of h and all m at unit size: no scale enters."""
    found, truth = np.outer(solution.h, solution.m), np.outer(scenes.h, scenes.m)
    return float(np.linalg.norm(found / np.linalg.norm(found) - truth / np.linalg.norm(truth)))
