"""Which of a path of models is the boldest that keeps a promise: a sequence of tests."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..base.arrays import Array
from .target import Target

__all__ = ["FixedSequence", "Trial", "find_boldest"]


@dataclass(frozen=True)
class Trial:
    """A model that was tested.

    Attributes
    ----------
    candidate : object
        What the path calls it.
    losses : ndarray of shape (n_samples,)
        On held-out samples.
    p_value : float
    passed : bool
    """

    candidate: Any
    losses: Array
    p_value: float
    passed: bool


@dataclass(frozen=True)
class FixedSequence:
    """What came of the tests.

    Attributes
    ----------
    target : Target
    trials : tuple of Trial
        In their order; of all but the last it is known that they passed.
    """

    target: Target
    trials: tuple[Trial, ...]

    @property
    def boldest(self) -> Trial | None:
        """The last one that passed; None if none did, so that nothing is promised."""
        passed = [trial for trial in self.trials if trial.passed]
        return passed[-1] if passed else None


def find_boldest(target: Target, path: Iterable[tuple[Any, Array]], seed: int = 0) -> FixedSequence:
    """Test models from the careful end of a path on, until one fails.

    The path must be fixed without a look at the held-out samples; it may be made while it is
    tested, as nothing of it is taken beyond the first that fails. The chance that the boldest model
    that passes breaks the promise is at most ``target.delta``, however long the path: the first
    model on it that would break the promise has to pass for that, and each test errs with no more
    than that chance. Nothing is said of the others that passed, nor of two targets together.

    Parameters
    ----------
    target : Target
    path : iterable of (object, ndarray of shape (n_samples,))
        Models, by whatever name, and their losses on the held-out samples.
    seed : int
        See `Target.p_value`.

    Returns
    -------
    FixedSequence

    Notes
    -----
    Source: Angelopoulos, Bates, Candes, Jordan and Lei, "Learn then Test", arXiv 2110.01052;
    docs/mathematics/promise.md#the-boldest-model-of-a-path.

    Examples
    --------
    >>> import numpy as np
    >>> from nettrim.promise.fixed_sequence import find_boldest
    >>> from nettrim.promise.target import Target
    >>> losses = [np.arange(1000) < flips for flips in (0, 2, 5, 30)]
    >>> found = find_boldest(Target.of(flips=0.01), zip("abcd", losses))
    >>> found.boldest.candidate, len(found.trials)
    ('b', 3)
    """
    trials = []
    for candidate, losses in path:
        p_value = target.p_value(losses, seed)
        trials.append(Trial(candidate, losses, p_value, p_value <= target.delta))
        if not trials[-1].passed:
            break
    return FixedSequence(target, tuple(trials))
