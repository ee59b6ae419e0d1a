"""One layer: validate, convert once, call the core, return a frozen answer."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np

from . import blocks
from ._arrays import finite_array
from ._dispatch import core
from .solution import LayerProgress, LayerSolution

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike, NDArray

    Floats = NDArray[np.floating[Any]]

__all__ = ["solve_layer"]

ACTIVATIONS = ("relu", "linear")
SOLVERS = ("auto", "newton", "admm")


def solve_layer(
    X: ArrayLike,
    Y: ArrayLike,
    *,
    epsilon: float | None = None,
    penalty: float | None = None,
    activation: str = "relu",
    upper: ArrayLike | None = None,
    solver: str = "auto",
    tol: float = 1e-6,
    max_iter: int | None = None,
    time_limit: float | None = None,
    warm_start: LayerSolution | ArrayLike | None = None,
    n_threads: int | None = None,
    callback: Callable[[LayerProgress], object] | None = None,
    check_every: int = 25,
    dtype: DTypeLike = np.float64,
    block_outputs: int | None = None,
) -> LayerSolution:
    r"""Find the weights of least :math:`\ell_1` norm that reproduce a layer's outputs.

    With ``active`` the entries where ``Y > 0`` (all entries of a linear layer) it solves

    .. math:: \min_U \sum|U_{ij}| \quad\text{s.t.}\quad
              \Vert (XU - Y)_{active}\Vert_F \le \epsilon,\quad (XU)_{inactive} \le upper

    or, given `penalty` instead of `epsilon`,
    :math:`\min_U \Vert (XU-Y)_{active}\Vert_F^2 + penalty\sum|U_{ij}|` under the same half-spaces.

    Parameters
    ----------
    X : array_like of shape (n_samples, n_features)
        Inputs of the layer. Append a column of ones to have a bias; it is a weight like any other.
    Y : array_like of shape (n_samples, n_outputs)
        Outputs to reproduce: after the ReLU, or before the softmax for a linear layer.
    epsilon : float, optional
        Largest Frobenius norm of the error over the active entries, in the units of `Y`. Zero asks
        for equality, met to ``tol * norm(Y)``.
    penalty : float, optional
        Price of the weights in the penalised form. Exactly one of `epsilon` and `penalty`.
    activation : {"relu", "linear"}, default "relu"
    upper : array_like broadcastable to the shape of Y, optional
        Upper bound on ``X @ weights`` where inactive, of any sign; default 0. Not read elsewhere.
    solver : {"auto", "newton", "admm"}, default "auto"
        "newton": active sets per output and one Newton iteration on the common price of weights;
        "admm": alternating directions; "auto": newton, and admm from where it makes no progress.
    tol : float, default 1e-6
        "optimal" means: gap at most `tol`, residual at most ``epsilon * (1 + tol)``, violation at
        most ``tol * max(abs(Y))``.
    max_iter : int, optional
        Default 50,000. An iteration of newton is a round of all outputs, some thirty times the
        work of one of admm.
    time_limit : float, optional
        Seconds; default none.
    warm_start : LayerSolution or array_like of shape (n_features, n_outputs), optional
        An answer to a similar program, or weights alone.
    n_threads : int, optional
        Default: every processor this process may use. 1 means one.
    callback : callable, optional
        Called with a `LayerProgress` at every certificate; a true return stops the solve. An
        exception raised in it stops the solve and is raised again here.
    check_every : int, default 25
        Iterations of admm between certificates; newton has one in every round.
    dtype : {numpy.float64, numpy.float32}, default numpy.float64
        Precision of the iterations and of the answer. The certificate is always float64; a `tol`
        below about 1e-5 is out of float32's reach and ends in status "numerical".
    block_outputs : int, optional
        Solve so many outputs at a time. The working arrays, five times the size of `Y`, shrink to
        those of a block; the optimum is the same, at several times the work when `epsilon` couples
        the outputs. Default: all at once.

    Returns
    -------
    LayerSolution

    Raises
    ------
    ValueError
        If an argument has the wrong shape, holds NaN or infinity, is empty or out of range, or if
        both or neither of `epsilon` and `penalty` are given.
    TypeError
        If an argument is not made of real numbers.

    Notes
    -----
    Ctrl-C stops the solve; the iterate it had is returned with status "interrupted".

    References
    ----------
    Net-Trim: Convex Pruning of Deep Neural Networks with Performance Guarantee (NIPS 2017),
    program (P) and eq. (S.5).

    Examples
    --------
    >>> import numpy as np, nettrim
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((120, 20))
    >>> Y = np.maximum(X @ rng.standard_normal((20, 6)), 0)
    >>> s = nettrim.solve_layer(X, Y, epsilon=0.1 * np.linalg.norm(Y))
    >>> s.status, bool(s.gap <= 1e-6)
    ('optimal', True)
    """
    precision = _precision(dtype)
    X = _matrix(X, "X", precision)
    Y = _matrix(Y, "Y", precision)
    if len(X) != len(Y):
        raise ValueError(f"X and Y must have the same number of rows, got {len(X)} and {len(Y)}")
    _one_of(activation, ACTIVATIONS, "activation")
    _one_of(solver, SOLVERS, "solver")
    form = _form(epsilon, penalty)
    live: NDArray[np.bool_] = np.asarray(
        X.any(axis=0)
    )  # a feature that is always zero costs time and has weight zero
    live[0] |= not live.any()
    program = _Program(
        X if live.all() else np.ascontiguousarray(X[:, live]),
        Y,
        _upper(upper, Y.shape, activation, precision),
        relu=activation == "relu",
        solver=solver,
        max_iter=50_000 if max_iter is None else _whole(max_iter, "max_iter"),
        time_limit=np.inf if time_limit is None else _number(time_limit, "time_limit", above=0.0),
        check_every=_whole(check_every, "check_every"),
        n_threads=_available() if n_threads is None else _whole(n_threads, "n_threads"),
        callback=_listener(callback),
    )
    tol = _number(tol, "tol", above=0.0)
    start = _warm_start(warm_start, (X.shape[1], Y.shape[1]), Y.shape, precision).on(live)
    width = Y.shape[1] if block_outputs is None else _whole(block_outputs, "block_outputs")
    if width < Y.shape[1]:
        solution = blocks.solve(program, form, tol, start, width)
    else:
        solution = program.solve(slice(None), form, tol, start)
    return solution if live.all() else _with_dead_features(solution, live)


@dataclass(frozen=True)
class _Program:
    """Validated arrays and limits of a layer; solves all of its outputs or some of them."""

    X: Floats
    Y: Floats
    upper: Floats | None
    relu: bool
    solver: str
    max_iter: int
    time_limit: float
    check_every: int
    n_threads: int
    callback: Callable[[int, float, float, float, float, float, float], object] | None

    def solve(
        self, outputs: slice, form: blocks.Form, tol: float, start: blocks.Start
    ) -> LayerSolution:
        fields = core.solve_layer(
            self.X,
            np.ascontiguousarray(self.Y[:, outputs]),
            upper=None if self.upper is None else np.ascontiguousarray(self.upper[:, outputs]),
            relu=self.relu,
            epsilon=form.epsilon,
            penalty=form.penalty,
            solver=self.solver,
            tol=tol,
            max_iter=self.max_iter,
            time_limit=self.time_limit,
            check_every=self.check_every,
            n_threads=self.n_threads,
            start_weights=start.weights,
            start_dual=start.dual,
            callback=self.callback,
        )
        return LayerSolution(**fields)


def _with_dead_features(solution: LayerSolution, live: NDArray[np.bool_]) -> LayerSolution:
    weights = np.zeros((len(live), solution.weights.shape[1]), solution.weights.dtype)
    weights[live] = solution.weights
    return replace(solution, weights=weights)


def _precision(dtype: DTypeLike) -> np.dtype[Any]:
    try:
        precision = np.dtype(dtype)
    except TypeError:
        raise TypeError(f"dtype must be float64 or float32, got {dtype!r}") from None
    if precision not in (np.dtype(np.float64), np.dtype(np.float32)):
        raise ValueError(f"dtype must be float64 or float32, got {precision}")
    return precision


def _matrix(value: ArrayLike, name: str, precision: np.dtype[Any]) -> Floats:
    """Refuse what is no finite matrix; copy only what has another type or layout."""
    array = finite_array(value, name, ndim=2)
    with np.errstate(over="ignore"):
        converted = np.ascontiguousarray(array, dtype=precision)
    if converted is not array and not np.isfinite(converted).all():
        raise ValueError(
            f"{name} does not fit {precision}: its largest entry is {np.abs(array).max():g}"
        )
    return converted


def _upper(
    upper: ArrayLike | None, shape: tuple[int, ...], activation: str, precision: np.dtype[Any]
) -> Floats | None:
    if upper is None:
        return None
    if activation == "linear":
        raise ValueError("upper bounds inactive outputs, and a linear layer has none: leave it out")
    array = finite_array(upper, "upper")
    try:
        return np.ascontiguousarray(np.broadcast_to(array, shape), dtype=precision)
    except ValueError:
        raise ValueError(
            f"upper must broadcast to the shape of Y {shape}, got {array.shape}"
        ) from None


def _form(epsilon: float | None, penalty: float | None) -> blocks.Form:
    if (epsilon is None) == (penalty is None):
        raise ValueError(f"give exactly one of epsilon and penalty, got {epsilon=} and {penalty=}")
    if epsilon is not None:
        return blocks.Form(epsilon=_number(epsilon, "epsilon", least=0.0))
    return blocks.Form(penalty=_number(penalty, "penalty", above=0.0))


def _warm_start(
    start: LayerSolution | ArrayLike | None,
    shape: tuple[int, int],
    dual_shape: tuple[int, ...],
    precision: np.dtype[Any],
) -> blocks.Start:
    if start is None:
        return blocks.Start()
    given = start.weights if isinstance(start, LayerSolution) else start
    weights = _matrix(given, "warm_start", precision)
    if weights.shape != shape:
        raise ValueError(f"warm_start must have shape {shape}, got {weights.shape}")
    if not isinstance(start, LayerSolution) or start.dual.shape != dual_shape:
        return blocks.Start(weights)  # multipliers of other samples mean nothing here
    return blocks.Start(weights, np.ascontiguousarray(start.dual, dtype=precision))


def _one_of(value: str, choices: tuple[str, ...], name: str) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def _number(value: object, name: str, *, least: float = -np.inf, above: float = -np.inf) -> float:
    if isinstance(value, bool) or not isinstance(value, (Real, np.number)):
        raise TypeError(f"{name} must be a real number, got {value!r}")
    number = float(value)
    if not np.isfinite(number) or number < least or number <= above:
        wanted = f"at least {least:g}" if above == -np.inf else f"greater than {above:g}"
        raise ValueError(f"{name} must be finite and {wanted}, got {value!r}")
    return number


def _whole(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (Integral, np.integer)):
        raise TypeError(f"{name} must be a whole number, got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value!r}")
    return int(value)


def _listener(
    callback: Callable[[LayerProgress], object] | None,
) -> Callable[[int, float, float, float, float, float, float], object] | None:
    if callback is None:
        return None
    if not callable(callback):
        raise TypeError(f"callback must be callable, got {callback!r}")
    return lambda *numbers: callback(LayerProgress(*numbers))


def _available() -> int:
    """Count the processors this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1
