"""From units that are kept to an answer: all readers fitted, measured, timed."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..base.arguments import check_integer
from ..base.deadline import partial_deadline
from ..budget import checks
from .budget_solution import UnitsBudgetSolution
from .readers import Reader, Readers
from .refit import UNUSED, Refit, refit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ..budget.data import BudgetData

    Mask = NDArray[np.bool_]

__all__ = ["HeldOut", "check_held_out", "check_n_units", "fit_units", "with_timing"]

HeldOut = tuple[Any, Any]  # matrices, or sequences of them


def fit_units(
    readers: Readers,
    kept: Mask,
    swaps: int,
    pull: float | None,
    ridge: float | None,
    n_threads: int,
    deadline: float | None,
) -> UnitsBudgetSolution:
    """Fit the weights of all readers on the units that are kept; with all of them they stay."""
    if kept.all():
        as_they_are = [Refit(reader.data.weights, UNUSED) for reader in readers.each]
        return _solution(readers, kept, as_they_are, swaps)
    fits = [
        refit(
            reader.data,
            reader.features_of(kept),
            pull,
            ridge,
            n_threads,
            partial_deadline(deadline, 1 / (len(readers.each) - k)),
        )
        for k, reader in enumerate(readers.each)
    ]
    return _solution(readers, kept, fits, swaps)


def check_n_units(readers: Readers, n_units: object) -> int:
    """Return how many units may be left."""
    return check_integer(n_units, "n_units", least=int(readers.keep.sum()), most=readers.n_units)


def check_held_out(readers: Readers, held_out: HeldOut | None) -> list[BudgetData] | None:
    """Return the readers with samples that are used for nothing but measuring errors."""
    if held_out is None:
        return None
    pairs: Any = [held_out]
    if readers.is_sequence:
        try:
            pairs = list(zip(*held_out, strict=True))
        except (TypeError, ValueError):
            pairs = []
        if len(pairs) != len(readers.each):
            raise ValueError(
                "held_out must be a pair of sequences, inputs and outputs of each of the "
                f"{len(readers.each)} readers"
            )
    checked = [
        checks.check_held_out(r.data, pair) for r, pair in zip(readers.each, pairs, strict=True)
    ]
    return [data for data in checked if data is not None]


def with_timing(
    solution: UnitsBudgetSolution,
    readers: Readers,
    held_out: list[BudgetData] | None,
    began: float,
) -> UnitsBudgetSolution:
    """Add what held-out data say, and the time it took."""
    if held_out is not None:
        given = solution.weights if isinstance(solution.weights, tuple) else (solution.weights,)
        errors = tuple(
            data.error(data.in_own_units(weights, "weights"))
            for data, weights in zip(held_out, given, strict=True)
        )
        solution = replace(
            solution, held_out_errors=errors, held_out_error=_mean_error(readers.each, errors)
        )
    return replace(solution, seconds=time.perf_counter() - began)


def _solution(
    readers: Readers, kept: Any, fits: Sequence[Refit], swaps: int
) -> UnitsBudgetSolution:
    data = [reader.data for reader in readers.each]
    own = [one.weights for one in fits]
    weights = tuple(d.in_given_units(w, "weights") for d, w in zip(data, own, strict=True))
    errors = tuple(d.error(w) for d, w in zip(data, own, strict=True))
    return UnitsBudgetSolution(
        weights=weights if readers.is_sequence else weights[0],
        kept=kept,
        error=_mean_error(readers.each, errors),
        held_out_error=None,
        errors=errors,
        preactivation_errors=tuple(
            d.preactivation_error(w) for d, w in zip(data, own, strict=True)
        ),
        held_out_errors=None,
        pulls=tuple(one.regularisation.pull for one in fits),
        ridges=tuple(one.regularisation.ridge for one in fits),
        swaps=swaps,
        seconds=0.0,
    )


def _mean_error(each: Sequence[Reader], errors: Sequence[float]) -> float:
    importance = [reader.importance for reader in each]
    return float(np.sqrt(np.average(np.square(errors), weights=importance)))
