"""One layer at a given sparsity."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..base.arguments import (
    check_choice,
    check_flag,
    check_integer,
    check_threads,
    check_time_limit,
)
from ..base.arrays import Array, frobenius_norm
from ..base.deadline import (
    as_time_limit,
    deadline_after,
    has_passed,
    partial_deadline,
    remaining_seconds,
)
from ..layer.blocks.workers import Pool, SharedData, Task
from ..layer.gram import Gram
from ..layer.solve import solve_layer
from .activations import RowWeights
from .admm import choose_support, solve_linear
from .behind import solve_behind
from .checks import check_budget, check_held_out, check_regularisation
from .data import BudgetData
from .fitted import SWAPS, TIME_LIMIT, fit_support, make_solution, solve_trivial, with_timing
from .optimal_brain_surgeon import (
    TRACING,
    TUNING,
    FirstRemovals,
    tune_regularisation,
)
from .reweighted import support_by_reweighting
from .solution import BudgetSolution
from .trace import trace_elimination
from .wide import is_expensive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Executor

    from numpy.typing import ArrayLike, NDArray

    Function = Callable[[Array], Array]

    from ..layer.solution import LayerSolution

__all__ = [
    "BudgetJob",
    "choose_method",
    "nearby_sparsities",
    "solve_budget",
    "solve_layer_budget",
    "solve_side_by_side",
]

METHODS = ("auto", "surgery", "admm", "reweighted")
# Outputs x features^3 of a linear layer's elimination: of more than a few outputs alternating
# directions find better supports at once.
MOST_EXPENSIVE_LINEAR = 5e8
NEARBY = np.array([2 / 3, 1, 3 / 2])  # budgets that choose the regularisation for one of them


def solve_layer_budget(
    X: ArrayLike | Gram,
    Y: ArrayLike | None = None,
    *,
    weights: ArrayLike,
    sparsity: float | None = None,
    activation: str | tuple[Function, Function] | None = None,
    row_weights: ArrayLike | None = None,
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
    executor: Executor | None = None,
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
    row_weights : array_like of shape (n_samples,) or (n_samples, n_outputs), optional
        How much the square of an error counts in a linear layer, at least 0: of a sample, or of
        each of its outputs, as where these are multiplied by something else ("gate times up").
        Default: all alike. `held_out` samples count alike.
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
        Default: every processor this process may use; with an `executor` one for each worker.
    executor : concurrent.futures.Executor, optional
        Solve on its workers (docs/guide/parallel_work.md#executors). Surgery shares the outputs
        out and does the same as here; the other methods choose weights of all outputs together,
        at every step: the whole layer goes to one worker.

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
    data = BudgetData.of(X, Y, weights, activation, upper, active, keep, pattern, row_weights)
    certify = check_flag(certify, "certify")
    if certify and isinstance(data.behind, RowWeights):
        raise ValueError("certify knows no row_weights but those of samples, (n_samples,)")
    check_choice(method, METHODS, "method")
    if method == "reweighted" and data.pattern.group:
        raise ValueError("method='reweighted' knows no pattern")
    if method in ("surgery", "reweighted") and data.behind is not None:
        raise ValueError(
            f"method={method!r} knows no activation but 'relu' and 'linear', and no row_weights of "
            "single outputs"
        )
    pool = None if executor is None else Pool(executor)
    rounds = check_integer(swaps, "swaps", least=0)
    threads = check_threads(1 if pool and n_threads is None else n_threads)
    if pool is not None:
        pool.check_threads(threads)
    budget, held_out_data = check_budget(data, sparsity), check_held_out(data, held_out)
    pull, ridge = check_regularisation(pull, ridge)
    solution = solve_budget(
        data,
        budget,
        method=method,
        pull=pull,
        ridge=ridge,
        rounds=rounds,
        n_threads=threads,
        deadline=deadline,
        pool=pool,
    )
    if certify:
        proof = _certify(data, solution.weights, threads, deadline, executor)
        solution = replace(solution, certificate=proof)
    return with_timing(solution, held_out_data, began)


def choose_method(data: BudgetData) -> str:
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
    pool: Pool | None = None,
    first: FirstRemovals | None = None,
) -> BudgetSolution:
    """Make a layer sparse to a number of weights, here or on workers.

    Surgery begins with ``first``, if it is known what goes first.
    """
    if (solution := solve_trivial(data, budget)) is not None:
        return solution
    sparsities = nearby_sparsities(budget / data.size)
    if method == "auto":
        method = choose_method(data)
    if pool is not None and method != "surgery":
        job = BudgetJob(budget, method, pull, ridge, rounds, n_threads)
        ((_, solution),) = solve_side_by_side([(data, job)], remaining_seconds(deadline), pool)
        return solution
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
        solution = fit_support(data, chosen, support, budget, method, rounds, n_threads, deadline)
        return replace(solution, status=TIME_LIMIT) if is_late else solution
    tracing = partial_deadline(deadline, TRACING)
    trace = trace_elimination(data, sparsities, pull, ridge, n_threads, tracing, pool, first)
    return trace.with_budget(budget, rounds, deadline)


class BudgetJob(NamedTuple):
    """What a worker is told of a layer that it solves whole; see `solve_layer_budget`."""

    budget: int
    method: str
    pull: float | None
    ridge: float | None
    rounds: int
    n_threads: int


def solve_side_by_side(
    jobs: Iterable[tuple[BudgetData, BudgetJob]], limit: float, pool: Pool
) -> Iterator[tuple[int, BudgetSolution]]:
    """Solve whole layers, each by one worker; yield numbers and answers as they finish.

    Parameters
    ----------
    jobs : iterable of (BudgetData, BudgetJob)
    limit : float
        Seconds for each.
    pool : Pool
    """
    with ExitStack() as stack:
        tasks = (
            Task(
                stack.enter_context(closing(SharedData(data))),
                _solve_job,
                (job, limit),
            )
            for data, job in jobs
        )
        yield from pool.as_completed(tasks)


def _solve_job(
    data: BudgetData, job: BudgetJob, limit: float, stopped: Callable[[], bool] | None = None
) -> BudgetSolution:
    """Solve a layer as a task, which is not stopped before its time."""
    began = time.perf_counter()
    solution = solve_budget(
        data,
        job.budget,
        method=job.method,
        pull=job.pull,
        ridge=job.ridge,
        rounds=job.rounds,
        n_threads=job.n_threads,
        deadline=deadline_after(limit),
    )
    return replace(solution, seconds=time.perf_counter() - began)


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
    solution = make_solution(data, weights, budget, "admm", chosen, 0, n_threads)
    return replace(solution, status=TIME_LIMIT) if has_passed(deadline) else solution


def nearby_sparsities(share: float) -> NDArray[np.float64]:
    """Return the sparsities for which is tuned what leaves that share of the weights."""
    return 1 - np.minimum(NEARBY * share, 1)


def _certify(
    data: BudgetData,
    weights: Array,
    n_threads: int,
    deadline: float | None,
    executor: Executor | None,
) -> LayerSolution:
    """Solve for the least l1 norm of weights that fit as well: no worse anywhere than these."""
    X, Y = data.in_given_units(data.X, "X"), data.in_given_units(data.Y, "Y")
    limits: Any = {
        "time_limit": as_time_limit(deadline),
        "n_threads": n_threads,
        "executor": executor,
    }
    signals = data.X @ data.in_own_units(weights, "weights")
    misfit = signals - data.Y
    if data.active is None:
        epsilon = data.in_given_units(frobenius_norm(misfit), "Y")
        return solve_layer(X, Y, epsilon=float(epsilon), activation="linear", **limits)
    bound = np.maximum(signals, 0.0 if data.upper is None else data.upper)
    epsilon = data.in_given_units(frobenius_norm(misfit[data.active]), "Y")
    upper = data.in_given_units(bound, "Y")
    return solve_layer(X, Y, epsilon=float(epsilon), upper=upper, active=data.active, **limits)
