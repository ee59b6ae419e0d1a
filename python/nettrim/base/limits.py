"""How far a solve may go, and who hears of its way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .arguments import check_max_iter, check_threads, check_time_limit, show

__all__ = ["MAX_ITER", "Limits", "Listener", "make_listener"]

Listener = Callable[..., object]
MAX_ITER = 50_000


@dataclass(frozen=True)
class Limits:
    """How far a solve may go, on how many threads, and who hears of it."""

    max_iter: int
    time_limit: float
    n_threads: int
    callback: Listener | None

    @classmethod
    def of(
        cls,
        max_iter: int | None,
        time_limit: float | None,
        n_threads: int | None,
        callback: Callable[[Any], object] | None,
        progress: Callable[..., Any],
        most: int = MAX_ITER,
    ) -> Limits:
        """Check what the caller gave; None is the default of each, `most` that of `max_iter`."""
        return cls(
            check_max_iter(max_iter, most),
            check_time_limit(time_limit),
            check_threads(n_threads),
            make_listener(callback, progress),
        )


def make_listener(
    callback: Callable[[Any], object] | None, progress: Callable[..., Any]
) -> Listener | None:
    """Return what hears the numbers of a certificate, and calls back with them as one thing."""
    if callback is None:
        return None
    if not callable(callback):
        raise TypeError(f"callback must be callable, got {show(callback)}")
    return lambda *numbers: callback(progress(*numbers))
