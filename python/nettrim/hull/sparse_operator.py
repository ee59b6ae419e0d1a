"""A sparse matrix as what it does, with its rows at hand: imported where there is one."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator

from ..base.arrays import Array

__all__ = ["SparseOperator"]


class SparseOperator(LinearOperator):  # type: ignore[misc]
    """A sparse matrix, whose rows are at hand.

    Parameters
    ----------
    matrix : csr_array of float64
    """

    def __init__(self, matrix: Any) -> None:
        super().__init__(np.float64, matrix.shape)
        self.matrix = matrix

    def _matvec(self, x: Array) -> Array:
        return np.asarray(self.matrix @ x)

    def _rmatvec(self, x: Array) -> Array:
        return np.asarray(self.matrix.T @ x)

    _matmat, _rmatmat = _matvec, _rmatvec
