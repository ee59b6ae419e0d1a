"""What is to be done for every signal of a layer, by blocks of samples that caches hold."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["cut_samples", "map_samples"]

Result = TypeVar("Result")

SIGNALS_AT_ONCE = 2**16


def cut_samples(shape: tuple[int, ...], most: int = SIGNALS_AT_ONCE) -> list[slice]:
    """Return blocks of samples of an array, of so many signals at most."""
    n_samples, n_outputs = shape
    size = max(most // max(n_outputs, 1), 1)
    return [slice(begin, min(begin + size, n_samples)) for begin in range(0, n_samples, size)]


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
    blocks = cut_samples(shape)
    if n_threads == 1 or len(blocks) < 2:
        return [function(block) for block in blocks]
    with ThreadPoolExecutor(n_threads) as threads:
        return list(threads.map(function, blocks))
