"""What a caller asks of a layer with a budget, checked."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..base.arguments import check_number, check_share
from ..base.arrays import LARGEST, check_squares
from .activations import RowWeights
from .data import BudgetData, compute_budget, double_matrix

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["check_budget", "check_held_out", "check_regularisation"]


def check_held_out(
    data: BudgetData, held_out: tuple[ArrayLike, ArrayLike] | None
) -> BudgetData | None:
    """Return the same layer with samples that are used for nothing but measuring errors."""
    if held_out is None:
        return None
    try:
        inputs, outputs = held_out
    except (TypeError, ValueError):
        raise ValueError("held_out must be a pair, inputs and outputs") from None
    X, Y = double_matrix(inputs, "held_out"), double_matrix(outputs, "held_out")
    if X.shape[1] != data.X.shape[1] or Y.shape != (len(X), data.Y.shape[1]):
        raise ValueError(
            f"held_out must hold inputs and outputs like X and Y, got shapes {X.shape} and "
            f"{Y.shape}"
        )
    active = None if data.active is None else Y > 0
    X = check_squares(data.in_own_units(X, "X"), "held_out")
    Y = check_squares(data.in_own_units(Y, "Y"), "held_out")
    behind = None if isinstance(data.behind, RowWeights) else data.behind
    return replace(data, X=X, Y=Y, upper=None, active=active, behind=behind)


def check_budget(data: BudgetData, sparsity: float | None) -> int:
    """Return how many weights may be left."""
    if sparsity is None and data.pattern.group == 0:
        raise ValueError("sparsity is needed: the share of weights to remove, for example 0.9")
    if sparsity is not None:
        sparsity = check_share(sparsity, "sparsity")
    return compute_budget(sparsity, data.size, data.demanded)


def check_regularisation(
    pull: float | None, ridge: float | None
) -> tuple[float | None, float | None]:
    """Check what is given of it."""
    return (
        None if pull is None else check_number(pull, "pull", least=0.0, most=LARGEST),
        None if ridge is None else check_number(ridge, "ridge", above=0.0, most=LARGEST),
    )
