"""When does BranchHull recover the truth? The law of random dictionaries, and a test of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy

from ..base.arguments import check_choice, check_integer
from ..base.arrays import Array, check_finite
from .dictionary import as_array, check_dictionary
from .program import REGULARIZERS
from .snapshots import check_dictionaries, count_dimensions

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
        The true coefficients, at any scale; `m` of shape (N, n_snapshots) for several snapshots.
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
    of_w = np.asarray(check_finite(h, "h", ndim=1), dtype=np.float64)
    many = count_dimensions(m) == 2
    of_x = np.asarray(check_finite(m, "m", ndim=2 if many else 1), dtype=np.float64)
    of_x = of_x.reshape(len(of_x), -1)
    first = as_array(check_dictionary(B, "B"), "B")
    second = [as_array(D, "C") for D in check_dictionaries(C, "C", len(first), of_x.shape[1])]
    for coefficients, columns, name in ((of_w, first, "h"), (of_x, second[0], "m")):
        if columns.shape[1] != len(coefficients):
            raise ValueError(
                f"{name} must have {columns.shape[1]} entries, got {len(coefficients)}"
            )
    order = 1 if regularizer == "l1" else 2
    sizes = [np.linalg.norm(_normalise(part).ravel(), order) for part in (of_w, of_x)]
    if min(sizes) == 0:
        return False
    balance = np.sqrt(sizes[1] / sizes[0])
    of_w, of_x = _normalise(of_w) * balance, _normalise(of_x) / balance
    normals = _normals(of_w, of_x, _normalise(first), _normalise(np.stack(second)))
    if normals.shape[1] == 0:
        return False
    truth = np.concatenate([of_w, of_x.T.ravel()])
    return (
        _has_l2_certificate(normals, truth)
        if regularizer == "l2"
        else _has_l1_certificate(normals, truth)
    )


def _normalise(array: Array) -> Array:
    """Return an array whose largest entry is one: neither signals nor dictionaries need units."""
    return array / (np.abs(array).max() or 1.0)


def _normals(h: Array, m: Array, B: Array, C: Array) -> Any:
    """Return the derivative of every ``|w x|`` in h and all m as a column, zeros left out."""
    C = np.broadcast_to(C, (m.shape[1], *C.shape[1:]))
    w, x = B @ h, np.stack([D @ own for D, own in zip(C, m.T, strict=True)])
    signs = np.sign(w * x)
    in_h = np.concatenate([B * (s * row)[:, None] for s, row in zip(signs, x, strict=True)]).T
    in_m = scipy.sparse.block_diag(
        [(D * (s * w)[:, None]).T for s, D in zip(signs, C, strict=True)]
    )
    normals = scipy.sparse.vstack([scipy.sparse.csr_array(in_h), in_m], format="csc")
    return normals[:, np.flatnonzero(signs.ravel())].tocsr()


def _has_l2_certificate(normals: Any, truth: Array) -> bool:
    """Whether some multipliers mu >= 0 have ``pulls @ mu = 2 truth``."""
    scale = np.abs(truth).max()
    result = scipy.optimize.linprog(
        np.zeros(normals.shape[1]), A_eq=normals, b_eq=2 * truth / scale, method="highs"
    )
    return bool(result.status == 0)


def _has_l1_certificate(normals: Any, truth: Array) -> bool:
    """Whether some mu >= 0 pull with the sign on the support and with less than one elsewhere."""
    on = truth != 0
    off, at = normals[np.flatnonzero(~on)], normals[np.flatnonzero(on)]
    n = normals.shape[1]
    limits = -np.ones((2 * off.shape[0], 1))
    result = scipy.optimize.linprog(
        np.append(np.zeros(n), 1.0),
        A_ub=_beside(scipy.sparse.vstack([off, -off]), limits),
        b_ub=np.zeros(len(limits)),
        A_eq=_beside(at, np.zeros((at.shape[0], 1))),
        b_eq=np.sign(truth[on]),
        method="highs",
    )
    return bool(result.status == 0 and result.fun < 1 - STRICTLY)


def _beside(left: Any, right: Array) -> Any:
    return scipy.sparse.hstack([left, scipy.sparse.csr_array(right)], format="csr")
