"""When does BranchHull recover the truth? The law of random dictionaries, and a test of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy

from ..base.arguments import check_choice, check_integer
from ..base.arrays import Array, check_finite
from .dictionary import as_array, check_dictionary
from .program import REGULARIZERS

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["is_recoverable", "recovery_odds"]

STRICTLY = 1e-7  # below one: off the support, multipliers must leave room


def recovery_odds(L: int, K: int, N: int) -> float:
    """Return the probability that BranchHull (l2) recovers two signals from L measurements.

    Exact for dictionaries of independent normal entries, whatever the signals:
    ``P(Bin(L - 1, 1/2) >= K + N - 2)``; one half at ``L = 2 (K + N - 2)``.

    Parameters
    ----------
    L : int
        Number of measurements.
    K, N : int
        Numbers of coefficients of the two signals.

    Returns
    -------
    float

    Raises
    ------
    ValueError, TypeError
        If a number is not a positive whole one.

    References
    ----------
    The truth is optimal if and only if L sign-symmetric vectors of dimension K + N - 2 lie in no
    open half-space: Wendel (1962), Cover (1965).

    Examples
    --------
    >>> import nettrim
    >>> round(nettrim.recovery_odds(16, 5, 5), 3)
    0.5
    """
    L, K, N = check_integer(L, "L"), check_integer(K, "K"), check_integer(N, "N")
    return float(scipy.stats.binom.sf(float(K + N - 3), float(L - 1), 0.5))


def is_recoverable(h: ArrayLike, m: ArrayLike, B: Any, C: Any, *, regularizer: str = "l1") -> bool:
    """Tell whether BranchHull recovers these signals from their noiseless product.

    It does if there are multipliers that make the truth optimal; a linear program looks for them.

    Parameters
    ----------
    h, m : array_like of shape (K,) and (N,)
        The true coefficients, at any scale.
    B, C
        Dictionaries as in `nettrim.branch_hull`.
    regularizer : {"l1", "l2"}, default "l1"

    Returns
    -------
    bool
        For "l1", whether the truth is the only solution, for dictionaries in general position.

    Raises
    ------
    ValueError, TypeError
        If a shape does not fit, or an entry is no finite real number.

    Examples
    --------
    >>> import numpy as np, nettrim
    >>> rng = np.random.default_rng(0)
    >>> B, C = rng.standard_normal((60, 20)), rng.standard_normal((60, 20))
    >>> nettrim.is_recoverable(np.eye(20)[0], np.eye(20)[1], B, C)
    True
    """
    check_choice(regularizer, REGULARIZERS, "regularizer")
    h = np.asarray(check_finite(h, "h", ndim=1), dtype=np.float64)
    m = np.asarray(check_finite(m, "m", ndim=1), dtype=np.float64)
    B = as_array(check_dictionary(B, "B"), "B")
    C = as_array(check_dictionary(C, "C", len(B)), "C")
    for coefficients, columns, name in ((h, B, "h"), (m, C, "m")):
        if columns.shape[1] != len(coefficients):
            raise ValueError(
                f"{name} must have {columns.shape[1]} entries, got {len(coefficients)}"
            )
    h, m, B, C = map(_normalise, (h, m, B, C))
    order = 1 if regularizer == "l1" else 2
    sizes = np.linalg.norm(h, order), np.linalg.norm(m, order)
    if min(sizes) == 0:
        return False
    balance = np.sqrt(sizes[1] / sizes[0])
    h, m = h * balance, m / balance
    w, x = B @ h, C @ m
    measured = w * x != 0
    if not measured.any():
        return False
    normals = np.vstack([(B * x[:, None])[measured].T, (C * w[:, None])[measured].T])
    normals *= np.sign(w * x)[measured]
    truth = np.concatenate([h, m])
    return (
        _has_l2_certificate(normals, truth)
        if regularizer == "l2"
        else _has_l1_certificate(normals, truth)
    )


def _normalise(array: Array) -> Array:
    """Return an array whose largest entry is one: neither signals nor dictionaries need units."""
    return array / (np.abs(array).max() or 1.0)


def _has_l2_certificate(normals: Array, truth: Array) -> bool:
    """Whether some multipliers mu >= 0 have ``pulls @ mu = 2 truth``."""
    scale = np.abs(truth).max()
    result = scipy.optimize.linprog(
        np.zeros(normals.shape[1]), A_eq=normals, b_eq=2 * truth / scale, method="highs"
    )
    return bool(result.status == 0)


def _has_l1_certificate(normals: Array, truth: Array) -> bool:
    """Whether some mu >= 0 pull with the sign on the support and with less than one elsewhere."""
    on = truth != 0
    off = normals[~on]
    n = normals.shape[1]
    limits = -np.ones((2 * len(off), 1))
    result = scipy.optimize.linprog(
        np.append(np.zeros(n), 1.0),
        A_ub=np.hstack([np.vstack([off, -off]), limits]),
        b_ub=np.zeros(2 * len(off)),
        A_eq=np.hstack([normals[on], np.zeros((int(on.sum()), 1))]),
        b_eq=np.sign(truth[on]),
        method="highs",
    )
    return bool(result.status == 0 and result.fun < 1 - STRICTLY)
