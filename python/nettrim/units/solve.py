"""Few units by a convex program: check, call the core, return the answer with its proof."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..base.arguments import check_choice, check_number, check_precision
from ..base.dispatch import core
from ..base.limits import Limits
from ..layer.options import CHECK_EVERY, Form
from ..layer.path import sort_descending
from ..layer.solution import LayerProgress
from .program import UnitsProgram
from .solution import UnitsSolution

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike, NDArray

    Floats = NDArray[np.floating[Any]]
    ForEach = Any  # what it says of one reader, or a sequence with one entry for each

__all__ = ["solve_units", "trace_units"]

SOLVERS = ("auto", "admm")


def solve_units(
    X: ForEach,
    Y: ForEach,
    *,
    groups: ForEach,
    epsilon: float | None = None,
    penalty: float | None = None,
    activation: ForEach = "relu",
    prices: ArrayLike | None = None,
    upper: ForEach = None,
    active: ForEach = None,
    solver: str = "auto",
    tol: float = 1e-4,
    max_iter: int | None = None,
    time_limit: float | None = None,
    warm_start: UnitsSolution | ForEach = None,
    n_threads: int | None = None,
    callback: Callable[[LayerProgress], object] | None = None,
    dtype: DTypeLike = np.float64,
) -> UnitsSolution:
    r"""Find weights that read few units of a signal and reproduce the outputs of its readers.

    A unit that no reader looks at can be cut out of the network. With :math:`W_g` the weights of
    all features of unit g, of all outputs together, it solves

    .. math:: \min_W \sum_g prices_g \Vert W_g\Vert_F \quad\text{s.t.}\quad
              \Vert (XW - Y)_{active}\Vert_F \le \epsilon,\quad (XW)_{inactive} \le upper

    or, given `penalty` instead of `epsilon`,
    :math:`\min_W \Vert (XW-Y)_{active}\Vert_F^2 + penalty\sum_g prices_g\Vert W_g\Vert_F` under the
    same half-spaces.

    Several layers may read the signal. Then `X`, `Y`, `groups` and, if they are given,
    `upper` and `active` are sequences with one entry for each; the ball and the norms go over all
    of them together. Readers of the same `X` cost no more than the outputs they have. Those of
    other samples are posed as one block matrix, which suits a few.

    Parameters
    ----------
    X : array_like of shape (n_samples, n_features), or a sequence of them
        Inputs of the reader: the units of the signal, and whatever else it reads, such as a
        column of ones for the bias.
    Y : array_like of shape (n_samples, n_outputs), or a sequence of them
        Outputs to reproduce, as in `nettrim.solve_layer`.
    groups : array_like of int, of shape (n_features,), or a sequence of them
        The unit of each feature, numbered from 0 without gaps; -1 for one that belongs to none and
        costs nothing. Those must not be collinear, or nothing can be proved.
    epsilon : float, optional
        Largest Frobenius norm of the error over the active entries, in the units of `Y`.
    penalty : float, optional
        Weight of the norms in the penalised form. Exactly one of `epsilon` and `penalty`.
    activation : {"relu", "linear"}, or a sequence of them, default "relu"
    prices : array_like of shape (n_units,), optional
        What a unit's norm counts, positive; default 1.
    upper : array_like broadcastable to the shape of Y, or a sequence of them, optional
        Upper bound on ``X @ weights`` where inactive, of any sign; default 0.
    active : array_like of bool, of the shape of Y, or a sequence of them, optional
        Where the output must be reproduced, and may have any sign; default where Y is positive.
    solver : {"auto", "admm"}, default "auto"
        "admm": alternating directions; "auto": the same with Anderson's mixing, in single
        precision as far as that goes.
    tol : float, default 1e-4
        "optimal" means: gap at most `tol`, residual at most ``epsilon * (1 + tol)``, violation at
        most ``tol * max(abs(Y))``.
    max_iter : int, optional
        Default 50,000.
    time_limit : float, optional
        Seconds; default none.
    warm_start : UnitsSolution or array_like of the shape of the weights, or a sequence, optional
        An answer to a similar program, or weights alone.
    n_threads : int, optional
        Default: every processor this process may use.
    callback : callable, optional
        Called with a `nettrim.LayerProgress` at every certificate; a true return stops the solve.
    dtype : {numpy.float64, numpy.float32}, default numpy.float64
        Precision of the iterations and of the answer. The certificate is always float64.

    Returns
    -------
    UnitsSolution

    Raises
    ------
    ValueError
        If an argument has the wrong shape, holds NaN or infinity, is empty or out of range, or if
        both or neither of `epsilon` and `penalty` are given; the message names it, and its reader
        among several.
    TypeError
        If an argument is not made of real numbers, or groups not of whole ones.

    References
    ----------
    M. Yuan, Y. Lin: Model selection and estimation in regression with grouped variables. Journal
    of the Royal Statistical Society B 68(1), 2006: the norm. Net-Trim (NIPS 2017), program (P): the
    constraints.

    Examples
    --------
    >>> import numpy as np, nettrim
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((200, 20))
    >>> Y = np.maximum(X[:, :5] @ rng.standard_normal((5, 8)), 0)
    >>> s = nettrim.solve_units(X, Y, groups=np.arange(20), epsilon=0.1 * np.linalg.norm(Y))
    >>> s.status, s.n_kept
    ('optimal', 5)
    """
    precision = check_precision(dtype)
    program = UnitsProgram.of(X, Y, groups, prices, activation, upper, active, precision)
    form = Form.of(epsilon, penalty)
    weights, dual = _start(warm_start, program)
    fields = core.solve_layer(
        **program.core_arguments(),
        epsilon=form.epsilon,
        penalty=form.penalty,
        solver=check_choice(solver, SOLVERS, "solver"),
        tol=check_number(tol, "tol", above=0.0),
        check_every=CHECK_EVERY,
        start_weights=weights,
        start_dual=dual,
        **vars(Limits.of(max_iter, time_limit, n_threads, callback, LayerProgress)),
    )
    return _solution(program, fields)


def trace_units(
    X: ForEach,
    Y: ForEach,
    *,
    groups: ForEach,
    epsilons: ArrayLike,
    activation: ForEach = "relu",
    prices: ArrayLike | None = None,
    upper: ForEach = None,
    active: ForEach = None,
    tol: float = 1e-4,
    max_iter: int | None = None,
    time_limit: float | None = None,
    n_threads: int | None = None,
    callback: Callable[[LayerProgress], object] | None = None,
    dtype: DTypeLike = np.float64,
) -> tuple[UnitsSolution, ...]:
    """Solve a program of units for several epsilons, each from the answer to the one before.

    Parameters
    ----------
    X, Y, groups, activation, prices, upper, active
        As in `nettrim.solve_units`.
    epsilons : array_like of shape (n_points,)
        Positive Frobenius norms of the error, in the units of `Y` and in any order.
    tol : float, default 1e-4
        As in `nettrim.solve_units`, for every point.
    max_iter : int, optional
        Of every point; default 50,000.
    time_limit : float, optional
        Seconds for all points together; default none.
    n_threads : int, optional
        Default: every processor this process may use.
    callback : callable, optional
        Called with a `nettrim.LayerProgress` at every certificate; a true return stops the trace.
    dtype : {numpy.float64, numpy.float32}, default numpy.float64

    Returns
    -------
    tuple of UnitsSolution
        In ascending order of epsilon. An interrupt or the time limit leaves the points that were
        finished and the one it met, which says so.

    Raises
    ------
    ValueError, TypeError
        As `nettrim.solve_units`, and if `epsilons` is empty, not one-dimensional or not positive.

    References
    ----------
    As of `nettrim.solve_units`, for a family of epsilons.

    Examples
    --------
    >>> import numpy as np, nettrim
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((200, 20))
    >>> W = rng.standard_normal((20, 8)) * 0.8 ** np.arange(20)[:, None]
    >>> Y = np.maximum(X @ W, 0)
    >>> epsilons = np.linalg.norm(Y) * np.array([0.1, 0.3, 0.6])
    >>> curve = nettrim.trace_units(X, Y, groups=np.arange(20), epsilons=epsilons)
    >>> [point.n_kept for point in curve]
    [16, 15, 14]
    """
    precision = check_precision(dtype)
    program = UnitsProgram.of(X, Y, groups, prices, activation, upper, active, precision)
    points = core.trace_layer(
        **program.core_arguments(),
        epsilons=sort_descending(epsilons),
        tol=check_number(tol, "tol", above=0.0),
        **vars(Limits.of(max_iter, time_limit, n_threads, callback, LayerProgress)),
    )
    return tuple(_solution(program, fields) for fields in reversed(points))


def _start(
    given: UnitsSolution | ForEach, program: UnitsProgram
) -> tuple[Floats | None, Floats | None]:
    """Return weights on the live features, and multipliers, to begin from."""
    if given is None:
        return None, None
    answer = given if isinstance(given, UnitsSolution) else None
    weights = program.together(
        given if answer is None else answer.weights, "warm_start", ("features", "outputs")
    )
    weights = np.compress(program.layer.live, weights, axis=0)
    if answer is None:
        return weights, None
    return weights, program.together(answer.dual, "warm_start", ("samples", "outputs"))


def _solution(program: UnitsProgram, fields: Mapping[str, Any]) -> UnitsSolution:
    weights = fields["weights"]
    own = {
        "weights": program.weights_of_readers(weights),
        "dual": program.dual_of_readers(fields["dual"]),
        "norms": program.norms(weights),
    }
    return UnitsSolution(**{**fields, **own})
