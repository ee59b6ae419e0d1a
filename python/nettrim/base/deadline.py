"""Deadlines: readings of `time.perf_counter` at which work ends; None where there is no limit."""

from __future__ import annotations

import math
import time

__all__ = ["as_time_limit", "deadline_after", "has_passed", "partial_deadline", "remaining_seconds"]


def deadline_after(seconds: float | None) -> float | None:
    """Return the deadline that many seconds from now."""
    return None if seconds in (None, math.inf) else time.perf_counter() + seconds


def remaining_seconds(deadline: float | None) -> float:
    """Return the seconds that are left, infinite without a deadline and never below zero."""
    return math.inf if deadline is None else max(deadline - time.perf_counter(), 0.0)


def as_time_limit(deadline: float | None) -> float | None:
    """Return a `time_limit` for `nettrim.solve_layer`, which is positive or None."""
    return None if deadline is None else max(remaining_seconds(deadline), 1e-9)


def has_passed(deadline: float | None) -> bool:
    """Tell whether time is up."""
    return remaining_seconds(deadline) == 0.0


def partial_deadline(deadline: float | None, share: float) -> float | None:
    """Return the deadline of a task that may take a share of the time that is left."""
    return None if deadline is None else deadline_after(share * remaining_seconds(deadline))
