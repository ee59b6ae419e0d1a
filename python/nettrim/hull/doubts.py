"""What an answer tells of itself: whether these need be the signals that were measured.

An optimum is one of its program, and the truth need not be. Two signs of that can be seen without
knowing the truth: products that exceed the measured ones, so that the hulls' relaxation is not
tight; and other signals near by that have the same products.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..base.arrays import Array
from ..base.errors import RecoveryWarning, warn_user
from .program import HullProgram, HullRow

if TYPE_CHECKING:
    from .solution import HullSolution

__all__ = ["measure_misfit", "warn_of_doubts"]

LOOSE = 0.02  # of the measurements: by so much may products exceed them and be called noise
DEPENDENT = 1e-7  # singular values below this share of the largest are none
LARGEST_TESTED = 2e9  # operations; a test that takes longer is not worth it
OTHERS = "see nettrim.is_recoverable and the guide on products"


def measure_misfit(program: HullProgram, products: Array) -> float:
    """Return how far products of the rows are from the measured ones, relative."""
    unit = float(program.r.max())
    if unit == 0 or not np.isfinite(products).all():
        return 0.0
    sizes = np.abs(products) / unit - program.r / unit
    return float(np.linalg.norm(sizes) / np.linalg.norm(program.r / unit))


def warn_of_doubts(solution: HullSolution, program: HullProgram, h: Array, m: Array) -> None:
    """Warn where an optimum is not what was measured, or others were as good."""
    if not solution.converged or solution.objective == 0:
        return
    if program.slack_penalty is None and solution.misfit > LOOSE:
        warn_user(
            f"products of the answer exceed the measured ones by {solution.misfit:.1%}: unless "
            "that is the size of their noise, these are not the signals that were measured. "
            "More measurements, dictionaries of orthonormal columns and regularizer='l2' for "
            f"dense coefficients help; {OTHERS}",
            RecoveryWarning,
        )
    elif not _is_unique(program, h, m):
        warn_user(
            "products do not determine the answer: other signals of these dictionaries have the "
            f"same ones, and no method tells them apart; {OTHERS}",
            RecoveryWarning,
        )


def _is_unique(program: HullProgram, h: Array, m: Array) -> bool:
    """Tell whether products determine coefficients near by, of the columns in use, up to scale.

    The derivative in all coefficients has one null vector, (h, -m). Each snapshot's own are taken
    out first, which leaves a matrix of the size of h.
    """
    if not _is_worth_testing(program, len(h) + len(m) // _count(program)):
        return True
    used = np.flatnonzero(h)
    size, left = np.zeros(len(used)), [np.zeros((0, len(used)))]
    for (where, A, D), own in zip(program.blocks(), m.reshape(_count(program), -1), strict=True):
        hulls = program.kinds[where] == HullRow.HULL
        in_h = (A[:, used] * (D @ own)[:, None])[hulls]
        in_m = (D[:, own != 0] * (A @ h)[:, None])[hulls]
        size = np.hypot(size, np.linalg.norm(in_h, axis=0))
        if in_m.size:
            basis, singular, _ = np.linalg.svd(in_m / _norms(in_m), full_matrices=False)
            if len(singular) < in_m.shape[1] or singular.min() < DEPENDENT * singular.max():
                return False
            in_h -= basis @ (basis.T @ in_h)
        left.append(in_h)
    remaining = np.concatenate(left) / np.where(size > 0, size, 1.0)
    singular = np.linalg.svd(remaining, compute_uv=False)
    return bool((singular > DEPENDENT).sum() >= len(used) - 1)


def _is_worth_testing(program: HullProgram, columns: int) -> bool:
    structure = program.snapshots
    if structure is None or structure.count == 1:
        arrays = [program.A, program.D]
    else:
        arrays = [structure.B, *structure.C]
    dense = all(isinstance(array, np.ndarray) for array in arrays)
    return dense and len(program.r) * columns**2 <= LARGEST_TESTED


def _count(program: HullProgram) -> int:
    return 1 if program.snapshots is None else program.snapshots.count


def _norms(matrix: Array) -> Array:
    norms = np.linalg.norm(matrix, axis=0)
    return np.where(norms > 0, norms, 1.0)
