"""The compiled engines: programs as they take them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..base.dispatch import core
from ..base.limits import Limits
from .dictionary import as_products
from .program import HullProgram, HullRow
from .snapshots import Snapshots, signs_of_sensors

__all__ = ["OWN_LIMIT", "solve", "solve_snapshots"]

OWN_LIMIT = 0  # iterations, of what the engines take for their own limit


def solve(
    program: HullProgram, solver: str, tol: float, limits: Limits, ratio: float = 0.0
) -> dict[str, Any]:
    """Return what an engine says of a program; a ratio asks for tangents."""
    fields: Any = core.solve_branch_hull(
        as_products(program.A),
        as_products(program.D),
        program.r,
        program.kinds,
        h_size=program.A.shape[1],
        m_size=program.D.shape[1],
        snapshots=1,
        own_dictionaries=False,
        v_signs=None,
        slack_penalty=program.slack_penalty,
        l1=program.regularizer == "l1",
        tangent_ratio=ratio,
        solver=solver,
        tol=tol,
        **vars(limits),
    )
    return _with_point(fields)


def solve_snapshots(
    program: HullProgram, snapshots: Snapshots, tol: float, limits: Limits
) -> dict[str, Any]:
    """Return what newton says of several snapshots, which it takes as they are."""
    B, C = snapshots.arrays()
    signs = signs_of_sensors(program.everywhere(program.t), snapshots.count)
    penalty = program.slack_penalty
    fields: Any = core.solve_branch_hull(
        np.where(signs < 0, -1.0, 1.0)[:, None] * B,
        C,
        program.everywhere(program.r),
        program.everywhere(program.kinds, HullRow.MISSING),
        h_size=B.shape[1],
        m_size=C.shape[1],
        snapshots=snapshots.count,
        own_dictionaries=len(snapshots.C) > 1,
        v_signs=program.everywhere(program.row_signs, 1.0),
        slack_penalty=None if penalty is None else program.everywhere(penalty, 1.0),
        l1=program.regularizer == "l1",
        tangent_ratio=0.0,
        solver="newton",
        tol=tol,
        **vars(limits),
    )
    for name in ("xi", "p", "q"):
        fields[name] = fields[name][program.kept]
    return _with_point(fields)


def _with_point(fields: dict[str, Any]) -> dict[str, Any]:
    """Let nothing be optimal that has no point: a tolerance above one asks for none."""
    if fields["status"] == "optimal" and not np.isfinite(fields["objective"]):
        fields["status"] = "numerical"
    return fields
