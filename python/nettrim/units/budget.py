"""Layers that read one signal with a given number of its units."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ..base.arguments import check_integer, check_threads, check_time_limit
from ..base.deadline import deadline_after, partial_deadline
from ..budget.checks import check_regularisation
from ..budget.optimal_brain_surgeon import TRACING
from .budget_solution import UnitsBudgetSolution
from .budget_trace import MOST_SWAPS, trace_readers
from .fitted import HeldOut, check_held_out, check_n_units, with_timing
from .readers import Readers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

    from ..layer.gram import Gram

__all__ = ["solve_units_budget"]


def solve_units_budget(
    X: ArrayLike | Gram | Sequence[ArrayLike | Gram],
    Y: ArrayLike | Sequence[ArrayLike] | None = None,
    *,
    weights: ArrayLike | Sequence[ArrayLike],
    groups: ArrayLike | Sequence[ArrayLike],
    n_units: int,
    activation: Any = None,
    upper: Any = None,
    active: Any = None,
    keep: ArrayLike | None = None,
    importance: float | Sequence[float] | None = None,
    pull: float | None = None,
    ridge: float | None = None,
    swaps: int = MOST_SWAPS,
    held_out: HeldOut | None = None,
    time_limit: float | None = None,
    n_threads: int | None = None,
) -> UnitsBudgetSolution:
    """Let the layers that read a signal do with few of its units, at the least error.

    A unit (a neuron, a channel, a head) gives a group of input features; with the unit all weights
    of these features go, in all outputs of all readers together. Which units stay is a question
    that nobody can answer with proof; the answer here comes from removing them one by one, always
    the one without which the squared errors grow least, from exchanging units while that pays, and
    from fitting the weights of the others to the outputs, behind what follows the readers.

    A call is for one signal and one number of its units. `trace_units_budget` has every number of
    one signal from one run; a smaller network, whose signals depend on each other, is
    `nettrim.trim` with `nettrim.Units`.

    Parameters
    ----------
    X : array_like of shape (n_samples, n_features), or Gram
        Inputs of the reader; append a column of ones to have a bias. A `nettrim.Gram` poses a
        linear reader without its samples. A list or tuple of these stands for several readers of
        one signal, and so do `Y`, `weights` and `groups` then, with one entry for each; their
        samples may differ in number and features. Readers that are given the same array share the
        work.
    Y : array_like of shape (n_samples, n_outputs)
        Outputs to reproduce, as in `solve_layer_budget`. Left out with a `Gram`.
    weights : array_like of shape (n_features, n_outputs)
        The reader as it is.
    groups : array_like of int, of shape (n_features,)
        The unit each feature comes from, numbered from 0; -1 for a feature that comes from none and
        stays, as the column of ones does.
    n_units : int
        How many units are left.
    activation, upper, active
        As in `solve_layer_budget`; of several readers one word, pair of functions or number for
        all, or one for each.
    keep : array_like of bool, of one entry for each unit, optional
        Units that have to stay. Default: none.
    importance : float or sequence of float, optional
        What the square of a reader's relative error counts, above 0. Default: 1 for each.
    pull, ridge : float, optional
        As in `solve_layer_budget`, for the fit, and the ridge for the choice of units too. Default:
        0.01 for that choice; for the fit, those that promise the least error on other samples.
    swaps : int, optional
        At most so many pairs of units change places after the elimination. Default 100.
    held_out : pair of array_like, optional
        Inputs and outputs, or a sequence of either, on which to measure errors too.
    time_limit : float, optional
        Seconds. When they have passed the rest is done in the cheapest way, and the status says
        ``"time_limit"``.
    n_threads : int, optional
        Default: every processor this process may use.

    Returns
    -------
    UnitsBudgetSolution

    Raises
    ------
    ValueError, TypeError
        If an argument makes no sense; the message names it, and its reader among several.
    KeyboardInterrupt
        On Ctrl-C.

    References
    ----------
    Hassibi and Stork, Second order derivatives for network pruning, NIPS 5, 1992. Kurtic, Frantar
    and Alistarh, ZipLM, NeurIPS 2023. He, Zhang and Sun, Channel pruning, ICCV 2017, for the fit.

    Examples
    --------
    >>> import numpy as np, nettrim
    >>> rng = np.random.default_rng(0)
    >>> X, W = rng.standard_normal((200, 20)), rng.standard_normal((20, 10))
    >>> units = np.repeat(np.arange(5), 4)
    >>> s = nettrim.solve_units_budget(
    ...     X, np.maximum(X @ W, 0), weights=W, groups=units, n_units=3
    ... )
    >>> s.n_units, s.error < 0.7
    (3, True)
    """
    began, deadline = time.perf_counter(), deadline_after(check_time_limit(time_limit))
    readers = Readers.of(
        X,
        Y,
        weights,
        groups,
        activation=activation,
        upper=upper,
        active=active,
        keep=keep,
        importance=importance,
    )
    count, rounds = check_n_units(readers, n_units), check_integer(swaps, "swaps", least=0)
    others = check_held_out(readers, held_out)
    pull, ridge = check_regularisation(pull, ridge)
    threads = check_threads(n_threads)
    trace = trace_readers(readers, pull, ridge, threads, partial_deadline(deadline, TRACING))
    return with_timing(trace.with_units(count, rounds, deadline), readers, others, began)
