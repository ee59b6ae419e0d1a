"""How long a model takes, before and after."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..base.arguments import check_integer, check_threads
from ..models.model_view import as_view, viewed_model

__all__ = ["Latency", "compare_latency", "time_calls"]

WARM_UP = 3  # calls that are not timed
LONG_ENOUGH = 0.02  # seconds of calls in a row that are timed together
ROUNDS = 15


class Latency(NamedTuple):
    """Seconds that a batch takes, as the framework runs it for its users.

    Attributes
    ----------
    before, after : float
        Of the original and of the trimmed model, medians of rounds in which they take turns.
    n_samples : int
        Of the batch.
    n_threads : int
    """

    before: float
    after: float
    n_samples: int
    n_threads: int

    def __str__(self) -> str:
        """Return it in one line."""
        threads = f"{self.n_threads} thread{'s' * (self.n_threads != 1)}"
        return (
            f"{1000 * self.before:.3g} ms before, {1000 * self.after:.3g} ms after: "
            f"{self.after / self.before:.1%} ({self.n_samples:,} samples at a time, {threads})"
        )


def compare_latency(
    before: Any, after: Any, X: Any, *, batch: int = 64, n_threads: int = 1
) -> Latency:
    """Time two models in turn; see `nettrim.TrimResult.latency`."""
    view = as_view(before)
    data = view.calibration(X, "X")
    samples = data[np.arange(check_integer(batch, "batch")) % len(data)]
    threads = check_threads(n_threads)
    calls = [view.timed_call(model, samples, threads) for model in (viewed_model(before), after)]
    if calls[0] is None or calls[1] is None:
        raise TypeError(f"model: the view of {type(before).__name__} cannot run it to be timed")
    first, second = time_calls([calls[0], calls[1]])
    return Latency(first, second, len(samples), threads)


def time_calls(calls: list[Callable[[], object]], rounds: int = ROUNDS) -> list[float]:
    """Return the median seconds of each of some calls, which take turns."""
    repeats = [_count_repeats(call) for call in calls]
    times = [
        [_time(call, count) / count for call, count in zip(calls, repeats, strict=True)]
        for _ in range(rounds)
    ]
    return [float(median) for median in np.median(times, axis=0)]


def _count_repeats(call: Callable[[], object]) -> int:
    """Return how often a call is made in a row to be timed."""
    for _ in range(WARM_UP):
        call()
    return max(1, round(LONG_ENOUGH / max(_time(call, 1), 1e-7)))


def _time(call: Callable[[], object], count: int) -> float:
    began = time.perf_counter()
    for _ in range(count):
        call()
    return time.perf_counter() - began
