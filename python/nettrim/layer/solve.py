"""One layer: validate, convert once, call the core, return a frozen answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from ..base.arguments import check_integer, check_matrix, check_precision
from ..base.arrays import check_squares, convert
from ..base.limits import Listener, make_listener
from .blocks.block import BlockStart, solve_block, split_outputs
from .blocks.block_solver import PoolSolver, SerialSolver
from .blocks.common_penalty import solve_in_blocks
from .blocks.dispatcher import BlockSolver
from .blocks.workers import Pool, SharedData, Task
from .data import LayerData
from .gram import Gram, pose
from .options import CHECK_EVERY, Form, LayerOptions
from .reweighting import solve_in_rounds
from .solution import LayerProgress, LayerSolution

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike, NDArray

    Floats = NDArray[np.floating[Any]]

__all__ = ["in_sums", "solve_layer", "solve_side_by_side"]

PROGRESS_FIELDS = (
    "iterations",
    "objective",
    "dual_bound",
    "gap",
    "residual",
    "violation",
    "seconds",
)


def solve_layer(
    X: ArrayLike | Gram,
    Y: ArrayLike | None = None,
    *,
    epsilon: float | None = None,
    penalty: float | None = None,
    activation: str | None = None,
    groups: int = 1,
    upper: ArrayLike | None = None,
    active: ArrayLike | None = None,
    solver: str = "auto",
    tol: float = 1e-6,
    max_iter: int | None = None,
    time_limit: float | None = None,
    warm_start: LayerSolution | ArrayLike | None = None,
    n_threads: int | None = None,
    callback: Callable[[LayerProgress], object] | None = None,
    check_every: int = CHECK_EVERY,
    dtype: DTypeLike = np.float64,
    block_outputs: int | None = None,
    executor: Executor | None = None,
    ridge: float = 0.0,
    pull: float = 0.0,
    original: ArrayLike | None = None,
    costs: ArrayLike | None = None,
    reweighted: int = 0,
) -> LayerSolution:
    r"""Find the weights of least :math:`\ell_1` norm that reproduce a layer's outputs.

    With ``active`` the entries where ``Y > 0``, or those given (all of a linear layer), it solves

    .. math:: \min_U \sum|U_{ij}| \quad\text{s.t.}\quad
              \Vert (XU - Y)_{active}\Vert_F \le \epsilon,\quad (XU)_{inactive} \le upper

    or, given `penalty` instead of `epsilon`,
    :math:`\min_U \Vert (XU-Y)_{active}\Vert_F^2 + penalty\sum|U_{ij}|` under the same half-spaces.

    Parameters
    ----------
    X : array_like of shape (n_samples, n_features), or Gram
        Inputs of the layer. Append a column of ones to have a bias; it is a weight like any other.
        With `groups`, of shape (n_samples, groups * n_features): those of each group side by side.
        A `nettrim.Gram` poses a linear layer without its samples.
    Y : array_like of shape (n_samples, n_outputs)
        Outputs to reproduce: after the ReLU, or before the softmax for a linear layer. Left out
        with a `Gram`, which holds it.
    epsilon : float, optional
        Largest Frobenius norm of the error over the active entries, in the units of `Y`. Zero asks
        for equality, met to ``tol * norm(Y)``.
    penalty : float, optional
        Weight of the l1 norm in the penalised form. Exactly one of `epsilon` and `penalty`.
    activation : {"relu", "linear"}, optional
        Default "relu"; "linear" for a `Gram`.
    groups : int, default 1
        As many outputs belong to each group, in order, and see the features of their group alone,
        as in a grouped convolution. `epsilon` is that of all of them together.
    upper : array_like broadcastable to the shape of Y, optional
        Upper bound on ``X @ weights`` where inactive, of any sign; default 0. Not read elsewhere.
    active : array_like of bool, of the shape of Y, optional
        Where the output must be reproduced, and may have any sign; default where Y is positive.
    solver : {"auto", "newton", "admm"}, default "auto"
        "newton": active sets per output and one Newton iteration on their common penalty;
        "admm": alternating directions; "auto": in a linear layer of no more features than samples
        alternating directions on its Gram matrix, elsewhere newton; and each from where the other
        makes no progress.
    tol : float, default 1e-6
        "optimal" means: gap at most `tol`, residual at most ``epsilon * (1 + tol)``, violation at
        most ``tol * max(abs(Y))``; of a block of outputs that are zero, ``tol * max(abs(upper))``.
    max_iter : int, optional
        Default 50,000. An iteration of newton is a round of all outputs, some thirty times the
        work of one of admm.
    time_limit : float, optional
        Seconds; default none.
    warm_start : LayerSolution or array_like of shape (n_features, n_outputs), optional
        An answer to a similar program, or weights alone.
    n_threads : int, optional
        Default: every processor this process may use, and 1 for every task of an `executor`. 1
        means one. A forked child works in one thread, whatever is asked for, for it has none of its
        parent's.
    callback : callable, optional
        Called with a `LayerProgress` at every certificate; a true return stops the solve. An
        exception raised in it stops the solve and is raised again here. A layer in blocks has one
        certificate in every round of all blocks.
    check_every : int, default 25
        Iterations of admm between certificates; newton has one in every round.
    dtype : {numpy.float64, numpy.float32}, default numpy.float64
        Precision of the iterations and of the answer. The certificate is always float64; a `tol`
        below about 1e-5 is out of float32's reach and ends in status "numerical".
    block_outputs : int, optional
        Solve so many outputs at a time. The working arrays, five times the size of `Y`, shrink to
        those of a block; the optimum is the same, at two to three times the work when `epsilon`
        couples the outputs. Default: all at once, or a block for every worker of an `executor`.
    executor : concurrent.futures.Executor, optional
        Solve blocks on its workers: threads, processes, loky, Dask (``client.get_executor()``),
        mpi4py, or `nettrim.execution.RayExecutor`. `X` reaches every worker once. Forked processes
        must have ``n_threads=1``.
    ridge : float, default 0
        Draws all weights to `original`: ``ridge * sum(X**2) / n_features * sum((U - original)**2)``
        is added to the squared error, in the ball or beside the penalty. For few active samples,
        on which weights are sparse without meaning.
    pull : float, default 0
        Draws inactive outputs to what they were: so does ``pull * sum((X @ (U - original))**2)``
        over the inactive entries. Not for a linear layer.
    original : array_like of shape (n_features, n_outputs), optional
        The weights that are drawn to, with `ridge` or `pull`. The layer is then solved whole, by
        newton: an output that is both drawn and bounded has no projection onto the ball in closed
        form, which alternating directions rest on.
    costs : array_like broadcastable to the shape of the weights, optional
        Positive; in place of the sum of absolute weights that of ``costs * abs(weights)`` is the
        least. A weight of infinite cost is zero. Default 1 of all.
    reweighted : int, default 0
        So often the layer is solved again, each time at ``costs`` times about one over the sizes
        that its weights had before (times a number, so that those weights cost as much as before):
        fewer weights are left within the same constraints. Every round proves its own optimum;
        that of all rounds together is a matter of experience. The time limit is for all of them,
        and a round that does not converge leaves the answer before it.

    Returns
    -------
    LayerSolution
        For a `Gram`, `dual` is X'G, of shape (n_features, n_outputs), for multipliers G of the
        samples.

    Raises
    ------
    ValueError
        If an argument has the wrong shape, holds NaN or infinity, is empty or out of range, or if
        both or neither of `epsilon` and `penalty` are given.
    TypeError
        If an argument is not made of real numbers, or `executor` is none or cannot send tasks.

    Warns
    -----
    RuntimeWarning
        If a worker died and took its pool along: the rest is solved in this process.

    Notes
    -----
    Ctrl-C stops the solve; the iterate it had is returned with status "interrupted".

    References
    ----------
    Net-Trim: Convex Pruning of Deep Neural Networks with Performance Guarantee (NIPS 2017),
    program (P) and eq. (S.5). Rounds: Candes, Wakin and Boyd, "Enhancing sparsity by reweighted l1
    minimization" (2008).

    Examples
    --------
    >>> import numpy as np, nettrim
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((120, 20))
    >>> Y = np.maximum(X @ rng.standard_normal((20, 6)), 0)
    >>> s = nettrim.solve_layer(X, Y, epsilon=0.1 * np.linalg.norm(Y))
    >>> s.status, bool(s.gap <= 1e-6)
    ('optimal', True)
    >>> nettrim.solve_layer(X, Y, epsilon=s.epsilon, reweighted=1).nonzeros < s.nonzeros
    True
    """
    on_progress = make_listener(callback, LayerProgress)
    pool = None if executor is None else Pool(executor)
    inputs, outputs, activation = pose(X, Y, activation)
    if isinstance(X, Gram) and isinstance(warm_start, LayerSolution):
        warm_start = warm_start.weights  # its multipliers are of other samples
    data = LayerData.of(
        inputs,
        outputs,
        activation,
        upper,
        active,
        check_precision(dtype),
        groups,
        ridge=ridge,
        pull=pull,
        original=original,
        costs=costs,
    )
    form = Form.of(epsilon, penalty)
    options = LayerOptions.of(
        solver=solver,
        tol=tol,
        max_iter=max_iter,
        time_limit=time_limit,
        check_every=check_every,
        n_threads=1 if pool and n_threads is None else n_threads,
        reweighted=reweighted,
    )
    if data.drawn is not None:
        _check_whole(options.solver, block_outputs)
    n_blocks = 1 if pool is None or data.drawn is not None else pool.n_workers
    job = _Job.of(data, form, options, _block_width(data, block_outputs, n_blocks), warm_start)
    if pool is None:
        answer = _solve(data, job, on_progress)
    else:
        pool.check_threads(options.n_threads)
        answer = _solve_on_pool(data, job, pool, on_progress)
    return in_sums(answer, inputs) if isinstance(X, Gram) else answer


def in_sums(answer: LayerSolution, rows: ArrayLike) -> LayerSolution:
    """Return the answer to a layer posed by sums: multipliers of rows that stand for them."""
    first = None if answer.first is None else in_sums(answer.first, rows)
    return replace(answer, dual=np.asarray(rows).T @ answer.dual, first=first)


def solve_side_by_side(
    programs: Iterable[tuple[LayerData, Form]], options: LayerOptions, pool: Pool
) -> Iterator[tuple[int, LayerSolution]]:
    """Solve whole layers, each by one worker; yield numbers and answers as they finish.

    Parameters
    ----------
    programs : iterable of (LayerData, Form)
    options : LayerOptions
        Threads are those of a worker.
    pool : Pool

    Yields
    ------
    number : int
    solution : LayerSolution
        Without multipliers: ``dual`` is empty.
    """
    pool.check_threads(options.n_threads)
    with ExitStack() as stack:
        tasks = (
            Task(
                stack.enter_context(closing(SharedData(data))),
                _solve_task,
                (_Job.of(data, form, options, data.Y.shape[1]), False),
            )
            for data, form in programs
        )
        yield from pool.as_completed(tasks)


class _Job(NamedTuple):
    """A layer's program, and how it is solved."""

    form: Form
    options: LayerOptions
    width: int
    weights: Floats | None
    dual: Floats | None

    @classmethod
    def of(
        cls,
        data: LayerData,
        form: Form,
        options: LayerOptions,
        width: int,
        warm_start: LayerSolution | ArrayLike | None = None,
    ) -> _Job:
        """Check that the numbers have the squares they will need, and the start its shape."""
        n_outputs = data.Y.shape[1]
        if width < n_outputs:
            check_squares(data.X, "X")
        if width < n_outputs or form.penalty is not None:
            check_squares(data.Y, "Y")
        return cls(form, options, width, *_warm_start(warm_start, data))

    def after(self, answer: LayerSolution | None, data: LayerData) -> _Job:
        """Return the next round, in the time that is left; None stands for the first."""
        if answer is None:
            return self
        left = max(self.options.time_limit - answer.seconds, 0.0)
        options = replace(self.options, time_limit=left)
        start = None if data.prefers_cold_start else answer
        return _Job(self.form, options, self.width, *_warm_start(start, data))


def _check_whole(solver: str, block_outputs: int | None) -> None:
    """Refuse what a layer whose weights are drawn cannot be solved by."""
    if solver == "admm":
        raise ValueError("solver must be 'auto' or 'newton' with ridge or pull, got 'admm'")
    if block_outputs is not None:
        raise ValueError(
            "block_outputs must be left out with ridge or pull: the layer is solved whole"
        )


def _block_width(data: LayerData, block_outputs: int | None, n_blocks: int) -> int:
    """Return how many outputs a block has at most."""
    if block_outputs is not None:
        return check_integer(block_outputs, "block_outputs")
    return int(-(-data.Y.shape[1] // n_blocks))


def _warm_start(
    start: LayerSolution | ArrayLike | None, data: LayerData
) -> tuple[Floats | None, Floats | None]:
    """Return weights on the live features, and multipliers, to begin from."""
    if start is None:
        return None, None
    given = start.weights if isinstance(start, LayerSolution) else start
    weights = check_matrix(given, "warm_start", data.X.dtype)
    shape = len(data.live), data.Y.shape[1]
    if weights.shape != shape:
        raise ValueError(f"warm_start must have shape {shape}, got {weights.shape}")
    if not data.live.all():
        weights = np.compress(data.live, weights, axis=0)
    if not isinstance(start, LayerSolution) or start.dual.shape != data.Y.shape:
        return weights, None  # multipliers of other samples mean nothing here
    return weights, convert(start.dual, "warm_start", data.Y.dtype)


def _solve(data: LayerData, job: _Job, callback: Listener | None) -> LayerSolution:
    """Solve a layer in this process."""
    return _solve_rounds(_solve_here, data, job, callback)


def _solve_rounds(
    solve: Callable[[LayerData, _Job, Listener | None], LayerSolution],
    data: LayerData,
    job: _Job,
    callback: Listener | None,
) -> LayerSolution:
    """Solve a layer in as many rounds as are asked for."""
    return solve_in_rounds(
        lambda own, before, heard: solve(own, job.after(before, own), heard),
        data,
        job.options.reweighted,
        callback,
    )


def _solve_here(data: LayerData, job: _Job, callback: Listener | None) -> LayerSolution:
    """Solve one round in this process: whole, or in blocks in turn, or small ones at once."""
    blocks = split_outputs(data, job.width)
    if len(blocks) == 1:
        start = job.weights, job.dual
        answer = solve_block(data, blocks[0], job.form, job.options, start, callback)
        return data.with_dead_features(answer)
    n_threads = job.options.n_threads
    if data.groups == 1 or not 1 < n_threads <= len(blocks):
        return _solve_blocks(data, job, SerialSolver(data), callback)
    job = job._replace(options=replace(job.options, n_threads=1))
    with ThreadPoolExecutor(n_threads) as executor:
        return _solve_blocks(data, job, PoolSolver(SharedData(data), Pool(executor)), callback)


def _solve_on_pool(
    data: LayerData, job: _Job, pool: Pool, callback: Listener | None
) -> LayerSolution:
    """Solve a layer on the workers of a pool: blocks on all of them, or the whole on one."""
    if len(split_outputs(data, job.width)) > 1:
        return _solve_rounds(partial(_solve_blocks_on, pool), data, job, callback)
    with closing(SharedData(data)) as arrays:
        try:
            ((_, whole),) = pool.as_completed([Task(arrays, _solve_task, (job, True))])
            answer = cast(LayerSolution, whole)
        except KeyboardInterrupt:
            job = job._replace(options=replace(job.options, max_iter=1))
            answer = replace(_solve(data, job, None), status="interrupted")
    if callback is not None:
        callback(*(getattr(answer, name) for name in PROGRESS_FIELDS))
    return answer


def _solve_task(
    data: LayerData, job: _Job, with_multipliers: bool, stopped: Callable[[], bool] | None = None
) -> LayerSolution:
    """Solve a layer as a task."""
    answer = _solve(data, job, None if stopped is None else lambda *_: stopped())
    return answer if with_multipliers else _without_multipliers(answer)


def _without_multipliers(answer: LayerSolution) -> LayerSolution:
    first = None if answer.first is None else _without_multipliers(answer.first)
    return replace(answer, dual=answer.dual[:0].copy(), first=first)


def _solve_blocks_on(
    pool: Pool, data: LayerData, job: _Job, callback: Listener | None
) -> LayerSolution:
    with closing(SharedData(data)) as arrays:
        return _solve_blocks(data, job, PoolSolver(arrays, pool), callback)


def _solve_blocks(
    data: LayerData, job: _Job, solver: BlockSolver, callback: Listener | None
) -> LayerSolution:
    blocks = split_outputs(data, job.width)
    starts = [BlockStart.of(data, block, job.form, job.weights, job.dual) for block in blocks]
    answer = solve_in_blocks(solver, blocks, job.form, job.options, starts, callback)
    return data.with_dead_features(answer)
