"""What is wanted of a trimmed network: a goal of `nettrim.trim`.

A goal is checked when it is made. It names the method that reaches it, and what a checkpoint and a
recipe have to know of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Literal, TypedDict

from numpy.typing import ArrayLike

from ...base.arguments import show
from .error import Error
from .goal import Goal, PathGoal
from .promise import Promise
from .sparsity import Sparsity
from .units import Units

__all__ = [
    "Error",
    "Goal",
    "GoalOptions",
    "PathGoal",
    "Promise",
    "Sparsity",
    "Units",
    "resolve_goal",
]


class GoalOptions(TypedDict, total=False):
    """What `nettrim.trim` takes besides ``epsilon`` or ``sparsity``, which are short for a goal."""

    network: float | None
    flips: float | None
    misses: float | None
    drop: float | None
    error: float | None
    quantile: float | None
    confidence: float | None
    labels: ArrayLike | None
    path: str | PathGoal | None
    pattern: str | None
    share: Literal["network", "layer"] | None
    min_density: float | None
    gamma: float | None
    slack: Literal["positive", "paper"] | None
    kappa: float | None
    tol: float | None
    solver: Literal["auto", "newton", "admm"] | None
    max_iter: int | None
    size: float | None
    operations: float | None
    min_width: int | None
    then: Sparsity | None
    multiple_of: int | None
    time_limit: float | None
    regularise: Literal["auto"] | tuple[float, float] | None
    reweighted: int | None


GOALS: tuple[type[Goal], ...] = (Error, Sparsity, Units, Promise)


def resolve_goal(goal: Goal | None, options: Mapping[str, Any]) -> Goal:
    """Return the goal a caller gave, or the one that options of `nettrim.trim` are short for.

    Raises
    ------
    TypeError, ValueError
        If there is none or more than one, or an option does not belong to it; the message names it.
    """
    for name in options:
        if not any(name in _options_of(kind) for kind in GOALS):
            raise TypeError(f"trim() got an unexpected keyword argument {name!r}")
    given = {name: value for name, value in options.items() if value is not None}
    if goal is not None:
        return _check_alone(goal, given)
    wanted = [kind for kind in GOALS if not given.keys().isdisjoint(kind.shortcuts)]
    if not wanted:
        raise ValueError(
            "epsilon is needed, the relative error allowed, for example 0.05; or sparsity, "
            "pattern, size, operations or a goal"
        )
    if len(wanted) > 1:
        raise ValueError(
            "epsilon prescribes the error, sparsity and pattern the weights, size and operations "
            "the units, flips what is promised: give one"
        )
    _check_own(given, wanted[0])
    return wanted[0](**given)


def _check_alone(goal: Any, given: Mapping[str, Any]) -> Goal:
    """Return a goal that was given as such; nothing may stand beside it."""
    if not isinstance(goal, Goal):
        kinds = " or ".join(f"nettrim.{kind.__name__}(...)" for kind in GOALS)
        raise TypeError(f"goal must be {kinds}, got {show(goal)}")
    _check_own(given, type(goal))
    for name, value in given.items():
        raise ValueError(
            f"{name} belongs into the goal: "
            f"nettrim.{type(goal).__name__}(..., {name}={show(value)})"
        )
    return goal


def _options_of(kind: type[Goal]) -> set[str]:
    return {field.name for field in fields(kind)}


def _check_own(given: Mapping[str, Any], wanted: type[Goal]) -> None:
    """Refuse options that are those of another goal."""
    used = " or ".join(wanted.shortcuts)
    for name, value in given.items():
        if name not in _options_of(wanted):
            kind = next(kind for kind in GOALS if name in _options_of(kind))
            raise ValueError(
                f"{name} belongs to {kind.shortcuts[0]}, with {used} nothing would use it, "
                f"got {show(value)}"
            )
