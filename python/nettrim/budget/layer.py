"""One layer at a given sparsity."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from .._arguments import number, one_of, whole
from .._arguments import threads as as_threads
from .._arrays import Array, frobenius
from ..layer import solve_layer
from .admm import support_by_admm
from .data import BudgetData, allowed, double_matrix
from .reweighted import support_by_reweighting
from .solution import BudgetSolution
from .surgery import Elimination, Regularisation, eliminate, fit, tuned

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from ..solution import LayerSolution

__all__ = ["BudgetTrace", "is_dear", "solve_layer_budget", "solved", "trace_budget", "traced"]

METHODS = ("auto", "surgery", "admm", "reweighted")
SWAPS = 5
DEAREST = 2e12  # outputs x features^3 of an elimination that is worth its time: some minutes
NEARBY = np.array([2 / 3, 1, 3 / 2])  # budgets that choose the regularisation for one of them
TYPICAL = np.array([0.5, 0.8, 0.95])  # sparsities that a whole curve is tuned for


@dataclass(frozen=True)
class BudgetTrace:
    """A layer that has given up all its weights one by one: every sparsity from one run.

    Attributes
    ----------
    data : BudgetData
    elimination : Elimination
        In which order the weights went, and how much each of them cost.
    regularisation : Regularisation
    seconds : float
        Wall time of the run.
    n_threads : int
    """

    data: BudgetData = field(repr=False)
    elimination: Elimination = field(repr=False)
    regularisation: Regularisation
    seconds: float
    n_threads: int

    @property
    def losses(self) -> Array:
        """Estimate of the layer's loss with 0, 1, 2, ... weights removed: half of a squared error."""
        return self.elimination.course

    def at(
        self,
        sparsity: float,
        *,
        swaps: int = SWAPS,
        held_out: tuple[ArrayLike, ArrayLike] | None = None,
    ) -> BudgetSolution:
        """Return the layer at a sparsity; see `solve_layer_budget`.

        Examples
        --------
        >>> import numpy as np, nettrim
        >>> rng = np.random.default_rng(0)
        >>> X, W = rng.standard_normal((200, 20)), rng.standard_normal((20, 10))
        >>> trace = nettrim.trace_budget(X, np.maximum(X @ W, 0), weights=W)
        >>> [trace.at(sparsity).nonzeros for sparsity in (0.5, 0.9)]
        [100, 20]
        """
        began = time.perf_counter()
        budget = _budget(self.data, sparsity)
        unseen, rounds = _unseen(self.data, held_out), whole(swaps, "swaps", least=0)
        return _told(self.with_budget(budget, rounds), unseen, began)

    def with_budget(self, budget: int, rounds: int) -> BudgetSolution:
        """Return the layer with a number of weights."""
        if (solution := _trivial(self.data, budget)) is not None:
            return solution
        count = self.data.size - budget
        support = self.elimination.support(self.elimination.removals(count))
        return _fitted(
            self.data, self.regularisation, support, budget, "surgery", rounds, self.n_threads
        )


def trace_budget(
    X: ArrayLike,
    Y: ArrayLike,
    *,
    weights: ArrayLike,
    activation: str = "relu",
    upper: ArrayLike | None = None,
    active: ArrayLike | None = None,
    keep: ArrayLike | None = None,
    pattern: str | None = None,
    pull: float | None = None,
    ridge: float | None = None,
    n_threads: int | None = None,
) -> BudgetTrace:
    """Remove the weights of a layer one by one, for every sparsity at once.

    Parameters
    ----------
    X, Y, weights, activation, upper, active, keep, pattern, pull, ridge, n_threads
        As in `solve_layer_budget`; what is not given of `pull` and `ridge` is chosen for sparsities of
        50, 80 and 95 % together.

    Returns
    -------
    BudgetTrace

    Raises
    ------
    ValueError, TypeError, KeyboardInterrupt
        As `solve_layer_budget`.

    Examples
    --------
    >>> import numpy as np, nettrim
    >>> rng = np.random.default_rng(0)
    >>> X, W = rng.standard_normal((200, 20)), rng.standard_normal((20, 10))
    >>> trace = nettrim.trace_budget(X, np.maximum(X @ W, 0), weights=W)
    >>> len(trace.losses), bool(np.all(np.diff(trace.losses) >= 0))
    (201, True)
    """
    data = BudgetData.of(X, Y, weights, activation, upper, active, keep, pattern)
    return traced(data, TYPICAL, pull, ridge, as_threads(n_threads))


def solve_layer_budget(
    X: ArrayLike,
    Y: ArrayLike,
    *,
    weights: ArrayLike,
    sparsity: float | None = None,
    activation: str = "relu",
    upper: ArrayLike | None = None,
    active: ArrayLike | None = None,
    keep: ArrayLike | None = None,
    pattern: str | None = None,
    method: str = "auto",
    pull: float | None = None,
    ridge: float | None = None,
    swaps: int = SWAPS,
    held_out: tuple[ArrayLike, ArrayLike] | None = None,
    certify: bool = False,
    n_threads: int | None = None,
) -> BudgetSolution:
    """Make a layer sparse to a given number of weights, at the least error of its outputs.

    At most ``round((1 - sparsity) * size)`` weights are left. Which ones is a question that nobody can
    answer with proof; the answer here comes from removing them one by one on the rows that the ReLU
    lets through (`nettrim.budget.surgery`), fitting the rest to the outputs behind it, and exchanging
    weights while that pays.

    Parameters
    ----------
    X : array_like of shape (n_samples, n_features)
        Inputs of the layer. Append a column of ones to have a bias.
    Y : array_like of shape (n_samples, n_outputs)
        Outputs to reproduce: after the ReLU, or before the softmax for a linear layer.
    weights : array_like of shape (n_features, n_outputs)
        The layer as it is.
    sparsity : float, optional
        Share of the weights to remove, from 0 (the weights as they are) to 1 (zeros). May be left out
        with a `pattern`: then all that it lets go.
    activation : {"relu", "linear"}, default "relu"
    upper, active
        As in `nettrim.solve_layer`.
    keep : array_like of bool, of shape (n_features,), optional
        Features whose weights all stay, like a row of biases; they do not count. Default none.
    pattern : str, optional
        "2:4" leaves at most 2 of every 4 features in a row in each output; so do other numbers. A
        larger `sparsity` removes more.
    method : {"auto", "surgery", "admm", "reweighted"}, default "auto"
        "surgery": removal one by one, whose cost grows with ``n_outputs * n_features**3``; "admm": a
        support by alternating directions on the Gram matrix of all rows, for layers where that is too
        dear; "reweighted": by a few rounds of the convex program, each weight at a price of its own,
        one output at a time, without a `pattern`; slower, and seldom better than the others. "auto": surgery up to some minutes of it.
    pull, ridge : float, optional
        Regularisation (`nettrim.budget.surgery.Regularisation`); default: what serves a quarter of the
        samples best that is set aside for some of the outputs, less a quarter, as all samples need less
        of it than three quarters of them.
    swaps : int, default 5
        Rounds of swaps at most; none with a `pattern`.
    held_out : pair of array_like, optional
        Inputs and outputs that are used for nothing but measuring errors.
    certify : bool, default False
        Solve the convex program for the same error (`nettrim.solve_layer`), for its proof.
    n_threads : int, optional
        Default: every processor this process may use.

    Returns
    -------
    BudgetSolution

    Raises
    ------
    ValueError, TypeError
        If an argument makes no sense; the message names it.
    KeyboardInterrupt
        On Ctrl-C: half of an elimination is no answer.

    References
    ----------
    Hassibi and Stork, Second order derivatives for network pruning, NIPS 1992. Frantar and Alistarh,
    Optimal Brain Compression, NeurIPS 2022. Meng et al., ALPS, NeurIPS 2024, for "admm".

    Examples
    --------
    >>> import numpy as np, nettrim
    >>> rng = np.random.default_rng(0)
    >>> X, W = rng.standard_normal((200, 20)), rng.standard_normal((20, 10))
    >>> s = nettrim.solve_layer_budget(X, np.maximum(X @ W, 0), weights=W, sparsity=0.7)
    >>> s.nonzeros, s.error < 0.6
    (60, True)
    """
    began = time.perf_counter()
    data = BudgetData.of(X, Y, weights, activation, upper, active, keep, pattern)
    one_of(method, METHODS, "method")
    if method == "reweighted" and data.pattern.group:
        raise ValueError("method='reweighted' knows no pattern")
    threads, rounds = as_threads(n_threads), whole(swaps, "swaps", least=0)
    budget, unseen = _budget(data, sparsity), _unseen(data, held_out)
    solution = solved(
        data, budget, method=method, pull=pull, ridge=ridge, rounds=rounds, n_threads=threads
    )
    if certify:
        solution = replace(solution, certificate=_certificate(data, solution.weights, threads))
    return _told(solution, unseen, began)


def is_dear(n_features: int, n_outputs: int) -> bool:
    """Tell whether removing the weights of a layer one by one would take too long."""
    return float(n_features) ** 3 * n_outputs > DEAREST


def solved(
    data: BudgetData,
    budget: int,
    *,
    method: str = "auto",
    pull: float | None = None,
    ridge: float | None = None,
    rounds: int = SWAPS,
    n_threads: int,
) -> BudgetSolution:
    """Make a layer sparse to a number of weights."""
    if (solution := _trivial(data, budget)) is not None:
        return solution
    sparsities = around(data, budget)
    if method == "auto":
        method = "admm" if is_dear(*data.weights.shape) else "surgery"
    if method != "surgery":
        chosen = tuned(data, sparsities, pull, ridge, n_threads)
        if method == "admm":
            support = support_by_admm(data, budget, chosen)
        else:
            support = support_by_reweighting(data, budget, n_threads)
        return _fitted(data, chosen, support, budget, method, rounds, n_threads)
    return traced(data, sparsities, pull, ridge, n_threads).with_budget(budget, rounds)


def around(data: BudgetData, budget: int) -> NDArray[np.float64]:
    """Return the sparsities near a budget, for which its regularisation is tuned."""
    return 1 - np.minimum(NEARBY * budget / data.size, 1)


def traced(
    data: BudgetData,
    sparsities: NDArray[np.float64],
    pull: float | None,
    ridge: float | None,
    n_threads: int,
) -> BudgetTrace:
    """Remove the weights of a layer one by one, regularised for some sparsities."""
    began = time.perf_counter()
    chosen = tuned(data, sparsities, pull, ridge, n_threads)
    elimination = eliminate(data, chosen, n_threads)
    return BudgetTrace(data, elimination, chosen, time.perf_counter() - began, n_threads)


def _fitted(
    data: BudgetData,
    chosen: Regularisation,
    support: NDArray[np.bool_],
    budget: int,
    method: str,
    rounds: int,
    n_threads: int,
) -> BudgetSolution:
    """Fit the weights of a support; a pattern leaves no room for swaps."""
    weights, swaps = fit(data, chosen, support, 0 if data.pattern.group else rounds, n_threads)
    return _measured(data, weights, budget, method, chosen, swaps)


def is_trivial(data: BudgetData, budget: int) -> bool:
    """Tell whether a budget needs no thought: all weights may stay, or none."""
    return budget == data.size or (budget == 0 and not data.pattern.keep.any())


def _trivial(data: BudgetData, budget: int) -> BudgetSolution | None:
    if not is_trivial(data, budget):
        return None
    weights = data.weights if budget else np.zeros_like(data.weights)
    return _measured(data, weights, budget, "none", Regularisation(0.0, 0.0), 0)


def _measured(
    data: BudgetData,
    weights: Array,
    budget: int,
    method: str,
    chosen: Regularisation,
    swaps: int,
) -> BudgetSolution:
    return BudgetSolution(
        weights=weights,
        budget=budget,
        nonzeros=int(np.count_nonzero(weights[~data.pattern.keep])),
        error=data.error(weights),
        preactivation_error=data.preactivation_error(weights),
        held_out_error=None,
        held_out_preactivation_error=None,
        pull=chosen.pull,
        ridge=chosen.ridge,
        swaps=swaps,
        method=method,
        seconds=0.0,
    )


def _told(solution: BudgetSolution, unseen: BudgetData | None, began: float) -> BudgetSolution:
    """Add what held-out data say, and the time it took."""
    if unseen is not None:
        solution = replace(
            solution,
            held_out_error=unseen.error(solution.weights),
            held_out_preactivation_error=unseen.preactivation_error(solution.weights),
        )
    return replace(solution, seconds=time.perf_counter() - began)


def _certificate(data: BudgetData, weights: Array, n_threads: int) -> LayerSolution:
    """Solve for the least l1 norm of weights that fit as well: no worse anywhere than these."""
    signals = data.X @ weights
    if data.active is None:
        return solve_layer(
            data.X,
            data.Y,
            epsilon=frobenius(signals - data.Y),
            activation="linear",
            n_threads=n_threads,
        )
    bound = np.maximum(signals, 0.0 if data.upper is None else data.upper)
    epsilon = frobenius((signals - data.Y)[data.active])
    return solve_layer(
        data.X, data.Y, epsilon=epsilon, upper=bound, active=data.active, n_threads=n_threads
    )


def _unseen(data: BudgetData, held_out: tuple[ArrayLike, ArrayLike] | None) -> BudgetData | None:
    if held_out is None:
        return None
    try:
        inputs, outputs = held_out
    except (TypeError, ValueError):
        raise ValueError("held_out must be a pair, inputs and outputs") from None
    X, Y = double_matrix(inputs, "held_out"), double_matrix(outputs, "held_out")
    if X.shape[1] != data.X.shape[1] or Y.shape != (len(X), data.Y.shape[1]):
        raise ValueError(
            f"held_out must hold inputs and outputs like X and Y, got shapes {X.shape} and {Y.shape}"
        )
    return replace(data, X=X, Y=Y, upper=None, active=None if data.active is None else Y > 0)


def _budget(data: BudgetData, sparsity: float | None) -> int:
    """Return how many weights may be left."""
    if sparsity is None and data.pattern.group == 0:
        raise ValueError("sparsity is needed: the share of weights to remove, for example 0.9")
    if sparsity is not None:
        sparsity = number(sparsity, "sparsity", least=0, most=1)
    return allowed(sparsity, data.size, data.demanded)
