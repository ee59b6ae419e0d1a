"""What is to be done for every signal of a layer, by blocks of samples that caches hold."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["map_samples"]

Result = TypeVar("Result")

SIGNALS_AT_ONCE = 2**16


def map_samples(
    function: Callable[[slice], Result], shape: tuple[int, int], n_threads: int
) -> list[Result]:
    """Return what a function gives for each block of samples of an array of signals.

    Parameters
    ----------
    function : callable
        Of a slice of samples.
    shape : tuple of int
        (n_samples, n_outputs)
    n_threads : int
    """
    n_samples, n_outputs = shape
    size = max(SIGNALS_AT_ONCE // max(n_outputs, 1), 1)
    blocks = [slice(begin, begin + size) for begin in range(0, n_samples, size)]
    if n_threads == 1 or len(blocks) < 2:
        return [function(block) for block in blocks]
    with ThreadPoolExecutor(n_threads) as threads:
        return list(threads.map(function, blocks))
