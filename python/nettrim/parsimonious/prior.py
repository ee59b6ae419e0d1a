r"""The hyper-prior that makes the answer of parsimonious learning a network and not a lottery.

A gate that is open with probability `theta` has a Bernoulli prior whose parameter `pi` is itself
unknown. The density of `pi` that leaves, once the best `pi` is taken, a term *linear* in `theta` is
unique:

.. math:: p(\pi) = \frac{\gamma - 1}{\log\gamma} \cdot \frac{1}{1 + (\gamma - 1)\pi}, \qquad 0 \le
\pi \le 1.

A constant slope neither holds a gate between 0 and 1 nor keeps it away from either; what is left of
the prior in the loss is a price, :math:`\log\gamma` for each unit over all samples. All functions
take :math:`\log\gamma`, for :math:`\gamma` itself overflows where `log_gamma` is 60
(docs/mathematics/parsimonious.md#where-the-price-comes-from).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit, logit, rel_entr

from ..base.arguments import check_number
from ..base.arrays import Array, check_finite

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["best_prior", "flattening_log_prior", "flattening_profile", "gate_divergence"]


def flattening_log_prior(pi: ArrayLike, log_gamma: float) -> Array:
    """Return the logarithm of the flattening density.

    Parameters
    ----------
    pi : array_like
        Prior probabilities that a gate is open, from 0 to 1.
    log_gamma : float
        Greater than 0; the price of a unit over all samples, in nats.

    Returns
    -------
    ndarray of the shape of ``pi``

    Raises
    ------
    ValueError, TypeError
        If an argument is not what it must be.

    References
    ----------
    Guenter and Sideris, Robust Learning of Parsimonious Deep Neural Networks, arXiv 2205.04650; the
    formula as derived in docs/mathematics/parsimonious.md#where-the-price-comes-from.

    Examples
    --------
    >>> from nettrim.parsimonious import flattening_log_prior
    >>> density = flattening_log_prior([0.0, 1.0], log_gamma=60.0)
    >>> round(float(density[0] - density[1]), 9)
    60.0
    """
    pi, L = _probabilities(pi, "pi"), _slope(log_gamma)
    with np.errstate(divide="ignore"):
        return np.asarray(_log_scale(L) - np.logaddexp(np.log1p(-pi), L + np.log(pi)))


def best_prior(theta: ArrayLike, log_gamma: float) -> Array:
    """Return the `pi` that suits a gate best: ``theta / (theta + gamma * (1 - theta))``.

    Parameters
    ----------
    theta : array_like
        Keep probabilities, from 0 to 1.
    log_gamma : float
        As in `flattening_log_prior`.

    Returns
    -------
    ndarray of the shape of ``theta``

    Raises
    ------
    ValueError, TypeError
        If an argument is not what it must be.

    Examples
    --------
    >>> from nettrim.parsimonious import best_prior
    >>> best_prior([0.0, 0.5, 1.0], log_gamma=1.0).round(4).tolist()
    [0.0, 0.2689, 1.0]
    """
    return np.asarray(expit(logit(_probabilities(theta, "theta")) - _slope(log_gamma)))


def flattening_profile(theta: ArrayLike, log_gamma: float) -> Array:
    """Return what a gate costs under its best prior: linear in `theta`, with slope `log_gamma`.

    Parameters
    ----------
    theta, log_gamma
        As in `best_prior`.

    Returns
    -------
    ndarray of the shape of ``theta``
        The least value over `pi` of ``gate_divergence(theta, pi) - flattening_log_prior(pi)``, in
        nats.

    Raises
    ------
    ValueError, TypeError
        If an argument is not what it must be.

    Examples
    --------
    >>> import numpy as np
    >>> from nettrim.parsimonious import flattening_profile
    >>> np.diff(flattening_profile([0.0, 0.5, 1.0], log_gamma=3.0)).tolist()
    [1.5, 1.5]
    """
    L = _slope(log_gamma)
    return np.asarray(L * _probabilities(theta, "theta") - _log_scale(L))


def gate_divergence(theta: ArrayLike, pi: ArrayLike) -> Array:
    """Return the Kullback-Leibler divergence of a gate from its prior, in nats.

    Parameters
    ----------
    theta, pi : array_like
        Probabilities of an open gate: of the gate, and of its prior.

    Returns
    -------
    ndarray
        Infinite where the prior excludes what the gate may do.

    Raises
    ------
    ValueError, TypeError
        If an argument is not what it must be.

    Examples
    --------
    >>> from nettrim.parsimonious import gate_divergence
    >>> float(gate_divergence(0.3, 0.3))
    0.0
    """
    theta, pi = _probabilities(theta, "theta"), _probabilities(pi, "pi")
    return np.asarray(rel_entr(theta, pi) + rel_entr(1 - theta, 1 - pi))


def _log_scale(L: float) -> float:
    """Return ``log((gamma - 1) / log(gamma))`` without forming gamma."""
    return L + float(np.log1p(-np.exp(-L))) - float(np.log(L))


def _slope(log_gamma: float) -> float:
    return check_number(log_gamma, "log_gamma", above=0.0)


def _probabilities(value: ArrayLike, name: str) -> Array:
    array = check_finite(value, name).astype(np.float64)
    if array.min() < 0 or array.max() > 1:
        raise ValueError(f"{name} must be between 0 and 1, got {array.min():g} to {array.max():g}")
    return array
