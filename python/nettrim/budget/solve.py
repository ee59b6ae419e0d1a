"""One layer at a given sparsity."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..base.arguments import (
    check_choice,
    check_flag,
    check_integer,
    check_number,
    check_share,
    check_threads,
    check_time_limit,
)
from ..base.arrays import LARGEST, Array, check_squares, frobenius_norm
from ..base.deadline import as_time_limit, deadline_after, has_passed, partial_deadline
from ..layer.gram import Gram
from ..layer.solve import solve_layer
from .admm import choose_support, solve_linear
from .behind import solve_behind
from .data import BudgetData, compute_budget, double_matrix
from .optimal_brain_surgeon import (
    TRACING,
    TUNING,
    Elimination,
    Regularisation,
    eliminate,
    fit,
    tune_regularisation,
)
from .reweighted import support_by_reweighting
from .solution import BudgetSolution

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    Function = Callable[[Array], Array]

    from ..layer.solution import LayerSolution

__all__ = [
    "BudgetTrace",
    "is_expensive",
    "solve_budget",
    "solve_layer_budget",
    "trace_budget",
    "trace_elimination",
]

BUDGET, TIME_LIMIT = "budget", "time_limit"  # statuses
METHODS = ("auto", "surgery", "admm", "reweighted")
SWAPS = 3
# Outputs x features^3 of an elimination that is worth its time: some minutes behind a ReLU. In a
# linear layer of more than a few outputs alternating directions find better supports at once.
MOST_EXPENSIVE, MOST_EXPENSIVE_LINEAR = 2e12, 5e8
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
    status : str
        ``"budget"``; ``"time_limit"`` where time was up and the rest of the weights went at once.
    """

    data: BudgetData = field(repr=False)
    elimination: Elimination = field(repr=False)
    regularisation: Regularisation
    seconds: float
    n_threads: int
    status: str = BUDGET

    @property
    def losses(self) -> Array:
        """The layer's loss, half of a squared error, without 0, 1, 2, ... weights: an estimate."""
        return self.data.in_given_units(self.elimination.cumulative_losses, "losses")

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
        budget = _check_budget(self.data, sparsity)
        held_out_data, rounds = (
            _check_held_out(self.data, held_out),
            check_integer(swaps, "swaps", least=0),
        )
        return _with_timing(self.with_budget(budget, rounds), held_out_data, began)

    def with_budget(
        self, budget: int, rounds: int, deadline: float | None = None
    ) -> BudgetSolution:
        """Return the layer with a number of weights."""
        if (solution := _solve_trivial(self.data, budget)) is not None:
            return solution
        count = self.data.size - budget
        support = self.elimination.support(self.elimination.removals(count))
        solution = _fit_support(
            self.data,
            self.regularisation,
            support,
            budget,
            "surgery",
            rounds,
            self.n_threads,
            deadline,
        )
        return solution if self.status == BUDGET else replace(solution, status=self.status)


def trace_budget(
    X: ArrayLike | Gram,
    Y: ArrayLike | None = None,
    *,
    weights: ArrayLike,
    activation: str | None = None,
    upper: ArrayLike | None = None,
    active: ArrayLike | None = None,
    keep: ArrayLike | None = None,
    pattern: str | None = None,
    pull: float | None = None,
    ridge: float | None = None,
    time_limit: float | None = None,
    n_threads: int | None = None,
) -> BudgetTrace:
    """Remove the weights of a layer one by one, for every sparsity at once.

    Parameters
    ----------
    X, Y, weights, activation, upper, active, keep, pattern, pull, ridge, time_limit, n_threads
        As in `solve_layer_budget`; what is not given of `pull` and `ridge` is chosen for sparsities
        of 50, 80 and 95 % together.

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
    deadline = deadline_after(check_time_limit(time_limit))
    data = BudgetData.of(X, Y, weights, activation, upper, active, keep, pattern)
    if data.behind is not None:
        raise ValueError("activation must be 'relu' or 'linear' where weights go one by one")
    given = _check_regularisation(pull, ridge)
    return trace_elimination(data, TYPICAL, *given, check_threads(n_threads), deadline)


def solve_layer_budget(
    X: ArrayLike | Gram,
    Y: ArrayLike | None = None,
    *,
    weights: ArrayLike,
    sparsity: float | None = None,
    activation: str | tuple[Function, Function] | None = None,
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
    time_limit: float | None = None,
    n_threads: int | None = None,
) -> BudgetSolution:
    """Make a layer sparse to a given number of weights, at the least error of its outputs.

    At most ``round((1 - sparsity) * size)`` weights are left. Which ones is a question that nobody
    can answer with proof; the answer here comes from removing them one by one on the rows that the
    ReLU lets through (docs/mathematics/budget.md), fitting the rest to the outputs behind it, and
    exchanging weights while that pays.

    Parameters
    ----------
    X : array_like of shape (n_samples, n_features), or Gram
        Inputs of the layer. Append a column of ones to have a bias. A `nettrim.Gram` poses a linear
        layer without its samples.
    Y : array_like of shape (n_samples, n_outputs)
        Outputs to reproduce: after the ReLU, or before the softmax for a linear layer; in front of
        any other activation. Left out with a `Gram`, which holds it, or wants what `weights` give.
    weights : array_like of shape (n_features, n_outputs)
        The layer as it is.
    sparsity : float, optional
        Share of the weights to remove, from 0 (the weights as they are) to 1 (zeros). May be left
        out with a `pattern`: then all that it lets go.
    activation : {"relu", "linear", "gelu", "gelu_tanh", "silu", "hardswish", "relu6", "tanh", \
            "sigmoid"} or pair of callables, optional
        What follows the layer; a pair is a function of arrays and its derivative. Default "relu";
        "linear" for a `Gram`. Behind a smooth one a row counts with the square of its slope, and
        `error` is measured there (docs/mathematics/budget.md#smooth-activations).
    upper, active
        As in `nettrim.solve_layer`.
    keep : array_like of bool, of shape (n_features,), optional
        Features whose weights all stay, like a row of biases; they do not count. Default none.
    pattern : str, optional
        "2:4" leaves at most 2 of every 4 features in a row in each output; so do other numbers. A
        larger `sparsity` removes more.
    method : {"auto", "surgery", "admm", "reweighted"}, default "auto"
        "surgery": removal one by one, whose cost grows with ``n_outputs * n_features**3``; "admm":
        alternating directions on the Gram matrix of all rows, all outputs at once in single
        precision; "reweighted": by a few rounds of the convex program, each weight with its own
        penalty, one output at a time, without a `pattern`; slower, and seldom better than the
        others. "auto": behind a ReLU surgery up to some minutes of it; in a linear layer surgery
        for few outputs without a pattern, else admm.
    pull, ridge : float, optional
        Regularisation (docs/mathematics/budget.md#the-loss); default: behind a ReLU the first
        of a few, with more and more pull, that serves a quarter of the samples, set aside for some
        of the outputs, better than the next one; less a quarter, as all samples need less of it
        than three quarters of them; elsewhere a `ridge` by generalised cross-validation, at most
        .03 times the share of weights to remove in a linear layer.
    swaps : int, default 3
        Rounds of swaps at most; none with a `pattern`, or in a linear layer by admm.
    held_out : pair of array_like, optional
        Inputs and outputs that are used for nothing but measuring errors.
    certify : bool, default False
        Solve the convex program for the same error (`nettrim.solve_layer`), for its proof.
    time_limit : float, optional
        Seconds; default none. When they are over, what is left to be done is done in the cheapest
        way: the budget is kept, and the status says ``"time_limit"``.
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
    Hassibi and Stork, Second order derivatives for network pruning, NIPS 5, 1992. Frantar and
    Alistarh, Optimal Brain Compression, NeurIPS 2022. Meng et al., ALPS, NeurIPS 2024, for "admm".

    Examples
    --------
    >>> import numpy as np, nettrim
    >>> rng = np.random.default_rng(0)
    >>> X, W = rng.standard_normal((200, 20)), rng.standard_normal((20, 10))
    >>> s = nettrim.solve_layer_budget(X, np.maximum(X @ W, 0), weights=W, sparsity=0.7)
    >>> s.nonzeros, s.error < 0.6
    (60, True)
    """
    began, deadline = time.perf_counter(), deadline_after(check_time_limit(time_limit))
    data = BudgetData.of(X, Y, weights, activation, upper, active, keep, pattern)
    certify = check_flag(certify, "certify")
    check_choice(method, METHODS, "method")
    if method == "reweighted" and data.pattern.group:
        raise ValueError("method='reweighted' knows no pattern")
    if method in ("surgery", "reweighted") and data.behind is not None:
        raise ValueError(f"method={method!r} knows no activation but 'relu' and 'linear'")
    threads, rounds = check_threads(n_threads), check_integer(swaps, "swaps", least=0)
    budget, held_out_data = _check_budget(data, sparsity), _check_held_out(data, held_out)
    pull, ridge = _check_regularisation(pull, ridge)
    solution = solve_budget(
        data,
        budget,
        method=method,
        pull=pull,
        ridge=ridge,
        rounds=rounds,
        n_threads=threads,
        deadline=deadline,
    )
    if certify:
        proof = _certify(data, solution.weights, threads, deadline)
        solution = replace(solution, certificate=proof)
    return _with_timing(solution, held_out_data, began)


def is_expensive(n_features: int, n_outputs: int, most: float = MOST_EXPENSIVE) -> bool:
    """Tell whether removing the weights of a layer one by one would take too long."""
    return float(n_features) ** 3 * n_outputs > most


def _choose_method(data: BudgetData) -> str:
    """Return the engine that was measured best for a layer of its kind, shape and pattern."""
    if data.active is not None:
        return "admm" if is_expensive(*data.weights.shape) else "surgery"
    n_features, n_outputs = data.weights.shape
    if data.behind is not None:
        return "admm"
    is_wide = is_expensive(n_features, n_outputs, MOST_EXPENSIVE_LINEAR)
    return "admm" if is_wide or data.pattern.group else "surgery"


def solve_budget(
    data: BudgetData,
    budget: int,
    *,
    method: str = "auto",
    pull: float | None = None,
    ridge: float | None = None,
    rounds: int = SWAPS,
    n_threads: int,
    deadline: float | None = None,
) -> BudgetSolution:
    """Make a layer sparse to a number of weights."""
    if (solution := _solve_trivial(data, budget)) is not None:
        return solution
    sparsities = nearby_sparsities(data, budget)
    if method == "auto":
        method = _choose_method(data)
    if method == "admm" and data.active is None:
        return _solve_on_grams(data, sparsities, budget, pull, ridge, n_threads, deadline)
    if method != "surgery":
        tuning = partial_deadline(deadline, TUNING)
        chosen = tune_regularisation(data, sparsities, pull, ridge, n_threads, tuning)
        is_late, choosing = has_passed(tuning), partial_deadline(deadline, TRACING)
        if method == "admm":
            support = choose_support(data, budget, chosen, n_threads, choosing)
        else:
            support = support_by_reweighting(data, budget, n_threads, choosing)
        is_late |= has_passed(choosing)
        solution = _fit_support(data, chosen, support, budget, method, rounds, n_threads, deadline)
        return replace(solution, status=TIME_LIMIT) if is_late else solution
    trace = trace_elimination(
        data, sparsities, pull, ridge, n_threads, partial_deadline(deadline, TRACING)
    )
    return trace.with_budget(budget, rounds, deadline)


def _solve_on_grams(
    data: BudgetData,
    sparsities: NDArray[np.float64],
    budget: int,
    pull: float | None,
    ridge: float | None,
    n_threads: int,
    deadline: float | None,
) -> BudgetSolution:
    """Solve for few weights where no row ever ceases to count."""
    chosen = tune_regularisation(data, sparsities, pull, ridge, n_threads, deadline)
    if data.behind is None:
        weights = solve_linear(data, budget, chosen.ridge, n_threads, deadline)
    else:
        weights = solve_behind(data, data.behind, budget, chosen.ridge, n_threads, deadline)
    solution = _make_solution(data, weights, budget, "admm", chosen, 0)
    return replace(solution, status=TIME_LIMIT) if has_passed(deadline) else solution


def nearby_sparsities(data: BudgetData, budget: int) -> NDArray[np.float64]:
    """Return the sparsities near a budget, for which its regularisation is tuned."""
    return 1 - np.minimum(NEARBY * budget / data.size, 1)


def trace_elimination(
    data: BudgetData,
    sparsities: NDArray[np.float64],
    pull: float | None,
    ridge: float | None,
    n_threads: int,
    deadline: float | None = None,
) -> BudgetTrace:
    """Remove the weights of a layer one by one, regularised for some sparsities."""
    began = time.perf_counter()
    tuning = partial_deadline(deadline, TUNING)
    chosen = tune_regularisation(data, sparsities, pull, ridge, n_threads, tuning)
    is_late = has_passed(tuning)
    elimination = eliminate(data, chosen, n_threads, deadline)
    is_late |= has_passed(deadline)
    seconds = time.perf_counter() - began
    status = TIME_LIMIT if is_late else BUDGET
    return BudgetTrace(data, elimination, chosen, seconds, n_threads, status)


def _fit_support(
    data: BudgetData,
    chosen: Regularisation,
    support: NDArray[np.bool_],
    budget: int,
    method: str,
    rounds: int,
    n_threads: int,
    deadline: float | None,
) -> BudgetSolution:
    """Fit the weights of a support; a pattern leaves no room for swaps."""
    rounds = 0 if data.pattern.group else rounds
    weights, swaps = fit(data, chosen, support, rounds, n_threads, deadline)
    solution = _make_solution(data, weights, budget, method, chosen, swaps)
    return replace(solution, status=TIME_LIMIT) if has_passed(deadline) else solution


def is_trivial(data: BudgetData, budget: int) -> bool:
    """Tell whether a budget needs no thought: all weights may stay, or none."""
    return budget == data.size or (budget == 0 and not data.pattern.keep.any())


def _solve_trivial(data: BudgetData, budget: int) -> BudgetSolution | None:
    if not is_trivial(data, budget):
        return None
    weights = data.weights if budget else np.zeros_like(data.weights)
    return _make_solution(data, weights, budget, "none", Regularisation(0.0, 0.0), 0)


def _make_solution(
    data: BudgetData,
    weights: Array,
    budget: int,
    method: str,
    chosen: Regularisation,
    swaps: int,
) -> BudgetSolution:
    given = data.in_given_units(weights, "weights")
    return BudgetSolution(
        weights=given,
        budget=budget,
        nonzeros=int(np.count_nonzero(given[~data.pattern.keep])),
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


def _with_timing(
    solution: BudgetSolution, held_out_data: BudgetData | None, began: float
) -> BudgetSolution:
    """Add what held-out data say, and the time it took."""
    if held_out_data is not None:
        weights = held_out_data.in_own_units(solution.weights, "weights")
        solution = replace(
            solution,
            held_out_error=held_out_data.error(weights),
            held_out_preactivation_error=held_out_data.preactivation_error(weights),
        )
    return replace(solution, seconds=time.perf_counter() - began)


def _certify(
    data: BudgetData, weights: Array, n_threads: int, deadline: float | None
) -> LayerSolution:
    """Solve for the least l1 norm of weights that fit as well: no worse anywhere than these."""
    X, Y = data.in_given_units(data.X, "X"), data.in_given_units(data.Y, "Y")
    limits: Any = {"time_limit": as_time_limit(deadline), "n_threads": n_threads}
    signals = data.X @ data.in_own_units(weights, "weights")
    misfit = signals - data.Y
    if data.active is None:
        epsilon = data.in_given_units(frobenius_norm(misfit), "Y")
        return solve_layer(X, Y, epsilon=float(epsilon), activation="linear", **limits)
    bound = np.maximum(signals, 0.0 if data.upper is None else data.upper)
    epsilon = data.in_given_units(frobenius_norm(misfit[data.active]), "Y")
    upper = data.in_given_units(bound, "Y")
    return solve_layer(X, Y, epsilon=float(epsilon), upper=upper, active=data.active, **limits)


def _check_held_out(
    data: BudgetData, held_out: tuple[ArrayLike, ArrayLike] | None
) -> BudgetData | None:
    if held_out is None:
        return None
    try:
        inputs, outputs = held_out
    except (TypeError, ValueError):
        raise ValueError("held_out must be a pair, inputs and outputs") from None
    X, Y = double_matrix(inputs, "held_out"), double_matrix(outputs, "held_out")
    if X.shape[1] != data.X.shape[1] or Y.shape != (len(X), data.Y.shape[1]):
        raise ValueError(
            f"held_out must hold inputs and outputs like X and Y, got shapes {X.shape} and "
            f"{Y.shape}"
        )
    active = None if data.active is None else Y > 0
    X = check_squares(data.in_own_units(X, "X"), "held_out")
    Y = check_squares(data.in_own_units(Y, "Y"), "held_out")
    return replace(data, X=X, Y=Y, upper=None, active=active)


def _check_budget(data: BudgetData, sparsity: float | None) -> int:
    """Return how many weights may be left."""
    if sparsity is None and data.pattern.group == 0:
        raise ValueError("sparsity is needed: the share of weights to remove, for example 0.9")
    if sparsity is not None:
        sparsity = check_share(sparsity, "sparsity")
    return compute_budget(sparsity, data.size, data.demanded)


def _check_regularisation(
    pull: float | None, ridge: float | None
) -> tuple[float | None, float | None]:
    """Check what is given of it."""
    return (
        None if pull is None else check_number(pull, "pull", least=0.0, most=LARGEST),
        None if ridge is None else check_number(ridge, "ridge", above=0.0, most=LARGEST),
    )
