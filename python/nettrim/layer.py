"""One layer: validate, convert once, call the core, return a frozen answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from . import blocks
from ._arguments import LayerData, Limits, matrix, number, one_of, precision_of, whole
from ._dispatch import core
from .solution import LayerProgress, LayerSolution

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike, NDArray

    Floats = NDArray[np.floating[Any]]

__all__ = ["solve_layer"]

SOLVERS = ("auto", "newton", "admm")


def solve_layer(
    X: ArrayLike,
    Y: ArrayLike,
    *,
    epsilon: float | None = None,
    penalty: float | None = None,
    activation: str = "relu",
    upper: ArrayLike | None = None,
    active: ArrayLike | None = None,
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

    With ``active`` the entries where ``Y > 0``, or those given (all of a linear layer), it solves

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
    active : array_like of bool, of the shape of Y, optional
        Where the output must be reproduced, and may have any sign; default where Y is positive.
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
    precision = precision_of(dtype)
    data = LayerData.of(X, Y, activation, upper, active, precision)
    one_of(solver, SOLVERS, "solver")
    form = _form(epsilon, penalty)
    program = _Program(
        data,
        Limits.of(max_iter, time_limit, n_threads, callback),
        solver=solver,
        check_every=whole(check_every, "check_every"),
    )
    tol = number(tol, "tol", above=0.0)
    n_outputs = data.Y.shape[1]
    start = _warm_start(warm_start, (len(data.live), n_outputs), data.Y.shape, precision)
    start = start.on(data.live)
    width = n_outputs if block_outputs is None else whole(block_outputs, "block_outputs")
    if width < n_outputs:
        return data.with_dead_features(blocks.solve(program, form, tol, start, width))
    return data.with_dead_features(program.solve(slice(None), form, tol, start))


@dataclass(frozen=True)
class _Program:
    """Validated arrays and limits of a layer; solves all of its outputs or some of them."""

    data: LayerData
    limits: Limits
    solver: str
    check_every: int

    def solve(
        self, outputs: slice, form: blocks.Form, tol: float, start: blocks.Start
    ) -> LayerSolution:
        upper, active = self.data.upper, self.data.active
        fields = core.solve_layer(
            self.data.X,
            np.ascontiguousarray(self.data.Y[:, outputs]),
            upper=None if upper is None else np.ascontiguousarray(upper[:, outputs]),
            active=None if active is None else np.ascontiguousarray(active[:, outputs]),
            relu=self.data.relu,
            epsilon=form.epsilon,
            penalty=form.penalty,
            solver=self.solver,
            tol=tol,
            check_every=self.check_every,
            start_weights=start.weights,
            start_dual=start.dual,
            **vars(self.limits),
        )
        return LayerSolution(**fields)


def _form(epsilon: float | None, penalty: float | None) -> blocks.Form:
    if (epsilon is None) == (penalty is None):
        raise ValueError(f"give exactly one of epsilon and penalty, got {epsilon=} and {penalty=}")
    if epsilon is not None:
        return blocks.Form(epsilon=number(epsilon, "epsilon", least=0.0))
    return blocks.Form(penalty=number(penalty, "penalty", above=0.0))


def _warm_start(
    start: LayerSolution | ArrayLike | None,
    shape: tuple[int, int],
    dual_shape: tuple[int, ...],
    precision: np.dtype[Any],
) -> blocks.Start:
    if start is None:
        return blocks.Start()
    given = start.weights if isinstance(start, LayerSolution) else start
    weights = matrix(given, "warm_start", precision)
    if weights.shape != shape:
        raise ValueError(f"warm_start must have shape {shape}, got {weights.shape}")
    if not isinstance(start, LayerSolution) or start.dual.shape != dual_shape:
        return blocks.Start(weights)  # multipliers of other samples mean nothing here
    return blocks.Start(weights, np.ascontiguousarray(start.dual, dtype=precision))
