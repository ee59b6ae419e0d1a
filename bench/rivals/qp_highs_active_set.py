"""HiGHS by its active-set method for QPs ("qpasm"), in the dual or the split form.

The Hessian of the split form is singular, and on ReLU layers the method goes round in circles on
it.
"""

from __future__ import annotations

from . import qp_highs
from .column import Answer, Column

VARIANTS = qp_highs.VARIANTS


def solve(column: Column, variant: str, tol: float, limit: float) -> Answer:
    return qp_highs.solve(column, variant, tol, limit, method="qpasm")
