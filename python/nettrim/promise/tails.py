"""Exact statements from counts: binomial tails, limits of a share, limits of most samples."""

from __future__ import annotations

import math
from bisect import bisect_right

__all__ = [
    "binomial_tail",
    "least_rows",
    "most_failures",
    "share_limit",
    "tolerance_rank",
]


def binomial_tail(k: int, n: int, share: float) -> float:
    """Return the chance of at most ``k`` failures among ``n``, each with a chance ``share``."""
    from scipy.special import betainc

    if k >= n:
        return 1.0
    return 0.0 if k < 0 else float(betainc(n - k, k + 1, 1.0 - share))


def share_limit(k: int, n: int, delta: float) -> float:
    """Return what a share exceeds with a chance of at most ``delta``, if ``k`` of ``n`` failed.

    The upper limit of Clopper and Pearson (1934): the share at which `binomial_tail` is delta.
    """
    from scipy.special import betaincinv

    return 1.0 if k >= n else float(betaincinv(k + 1, n - k, 1.0 - delta))


def most_failures(n: int, share: float, delta: float) -> int:
    """Return the largest ``k`` whose `binomial_tail` is at most ``delta``, or -1 if none is.

    So few failures among ``n`` show that their share is not above ``share``.
    """
    return bisect_right(range(n), delta, key=lambda k: binomial_tail(k, n, share)) - 1


def tolerance_rank(n: int, quantile: float, delta: float) -> int:
    """Return which largest of ``n`` values limits a share ``quantile`` of all future ones.

    Confidence is 1 - delta, whatever the distribution (Wilks 1941). The largest has rank 1; 0 if
    there are too few values, see `least_rows`.
    """
    return most_failures(n, 1.0 - quantile, delta) + 1


def least_rows(share: float, delta: float) -> int:
    """Return how many rows without a failure show that their share is not above ``share``."""
    n = max(1, math.ceil(math.log(delta) / math.log1p(-share)) - 1)
    while binomial_tail(0, n, share) > delta:
        n += 1
    return n
