"""Wall time of a call, and of the product that all times are compared with."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from bench.common.data import Array

PRODUCTS = 21
REST = 0.2  # seconds after which the threads of another library have stopped waiting actively

T = TypeVar("T")


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """What the work returns, and the seconds it took."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def product_seconds(X: Array, Y: Array) -> float:
    """Of one X @ W whose result has the shape of Y: the median of 21, between two rests."""
    W = np.ones((X.shape[1], Y.shape[1]))
    time.sleep(REST)
    X @ W  # wakes the threads
    median = statistics.median(timed(lambda: X @ W)[1] for _ in range(PRODUCTS))
    time.sleep(REST)
    return median
