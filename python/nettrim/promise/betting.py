r"""Means of bounded losses, by betting against them.

Who bets on losses being less than :math:`\alpha` on average, and who could not gain if they were
not, has gained something that chance does not give. The capital after t of n samples is

.. math:: K_t = \prod_{i \le t} (1 - \nu_i (L_i - \alpha)), \quad
          \nu_i = \min\Bigl(\max\bigl(1, \tfrac{3/4}{1 - \alpha}\bigr),
                           \sqrt{\frac{2 \log(1/\delta)}{n s_{i-1}^2}}\Bigr),

a supermartingale if the mean is at least :math:`\alpha`, as each stake depends on earlier samples
alone; so the chance that it ever reaches :math:`1/\delta` is at most :math:`\delta`.

Source: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", Journal
of the Royal Statistical Society B 86 (2024); docs/mathematics/promise.md#means-of-bounded-losses.
"""

from __future__ import annotations

import math

import numpy as np

from ..base.arrays import Array

__all__ = ["betting_p_value", "mean_limit"]

FINENESS = 1e-7  # of a limit
BOLD = 0.75  # of the stake at which a loss of 1 takes all there is


def betting_p_value(losses: Array, level: float, delta: float, seed: int = 0) -> float:
    """Return how unlikely losses are if their mean is ``level`` or more.

    Parameters
    ----------
    losses : ndarray of shape (n_samples,)
        From 0 to 1.
    level : float
        Between 0 and 1.
    delta : float
        What the bets aim at; the answer holds for any.
    seed : int
        Of the order in which samples are taken.
    """
    losses = _shuffled(losses, seed)
    return _p_value(losses, _stakes(losses, delta), level)


def mean_limit(losses: Array, delta: float, seed: int = 0) -> float:
    """Return what the mean of losses from 0 to 1 exceeds with a chance of at most ``delta``.

    The least level that `betting_p_value` rejects, rounded up.
    """
    losses = _shuffled(losses, seed)
    stakes = _stakes(losses, delta)
    low, high = 0.0, 1.0
    while high - low > FINENESS:
        middle = (low + high) / 2
        if _p_value(losses, stakes, middle) <= delta:
            high = middle
        else:
            low = middle
    return high


def _shuffled(losses: Array, seed: int) -> Array:
    return losses[np.random.default_rng(seed).permutation(len(losses))]


def _stakes(losses: Array, delta: float) -> Array:
    """Return what is staked on each sample if nothing limits it, from those before it."""
    counts = 1.0 + np.arange(1, len(losses) + 1)
    means = (0.5 + np.cumsum(losses)) / counts
    variances = (0.25 + np.cumsum((losses - means) ** 2)) / counts
    before = np.concatenate([[0.25], variances[:-1]])
    stakes: Array = np.sqrt(2 * math.log(1 / delta) / (len(losses) * before))
    return stakes


def _p_value(losses: Array, stakes: Array, level: float) -> float:
    """Return the inverse of the largest capital; the one at the start is 1.

    It falls as ``level`` rises, whatever limits the stakes.
    """
    stakes = np.minimum(stakes, max(1.0, BOLD / (1.0 - level)))
    capital = np.cumsum(np.log1p(-stakes * (losses - level)))
    return math.exp(-max(0.0, float(capital.max())))
