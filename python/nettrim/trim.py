"""Trim a whole network: one walk over a model view, one convex program for each layer.

What was asked for is checked and becomes a plan, the walk (see `nettrim.walk`) carries it out, and what
came of it is measured and bounded (see `nettrim.audit`).
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import asdict
from typing import Any, Literal, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike

from ._arguments import whole
from ._arrays import Array, relative
from .audit import Bound, Change, Trimmed, account, changes
from .budget.network import BudgetWalk
from .budget.plan import BudgetPlan
from .checkpoint import Checkpoint, SolvedLayer, identity
from .errors import ConvergenceWarning
from .execution import Pool
from .plan import Plan, chosen_layers
from .progress import reporter
from .recipe import recipe_of
from .report import BUDGET, KEPT, UNREACHED, LayerReport, TrimResult
from .view import as_view, samples
from .walk import Draw, Walk

Model = TypeVar("Model")
Scheme = Literal["cascade", "parallel"]
Slack = Literal["positive", "paper"]
Share = Literal["network", "layer"]


def trim(
    model: Model,
    X: ArrayLike,
    *,
    epsilon: float | None = None,
    sparsity: float | None = None,
    scheme: Scheme = "cascade",
    gamma: float = 1.1,
    slack: Slack = "positive",
    kappa: float = 1.0,
    layers: Iterable[int | str] | None = None,
    held_out: ArrayLike | None = None,
    tol: float = 1e-4,
    max_iter: int | None = None,
    time_limit: float | None = None,
    solver: str = "auto",
    n_threads: int | None = None,
    executor: Executor | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    share: Share = "network",
    pattern: str | None = None,
    min_density: float = 0.0,
    max_patches: int = 20_000,
    seed: int = 0,
    progress: bool = True,
) -> TrimResult[Model]:
    r"""Make a trained network sparse, layer by layer: to an error, with proof, or to a sparsity.

    Given ``epsilon``, each layer is a convex program. A layer with input :math:`X` and original output :math:`Y` gets the weights of smallest l1 norm
    (biases included, as a row of weights on a column of ones) that keep its response,

    .. math:: \min \lVert W\rVert_1 \quad\text{s.t.}\quad
              \lVert (XW - Y)_\Omega\rVert_F \le \epsilon_l, \quad (XW)_{\Omega^c} \le V ,

    where :math:`\Omega` is where :math:`Y > 0` (everywhere for a linear layer).

    * ``scheme="parallel"``: every layer sees the original signals, :math:`\epsilon_l` is ``epsilon``
      times the norm of its output, :math:`V = 0`.
    * ``scheme="cascade"``: the first pruned layer as above. A later one sees the output
      :math:`\hat X` of the layers already trimmed, and what the original weights do with it is
      allowed to the new ones:
      :math:`\epsilon_l^2 = \gamma \lVert(\hat X W_l - Y)_\Omega\rVert_F^2` and
      :math:`V = \max(\hat X W_l, 0)` (``slack="positive"``) or :math:`V = \hat X W_l` (``"paper"``).
      Both keep the original weights feasible and the same bound; "positive" never costs l1 norm.

    Given ``sparsity`` or ``pattern``, each layer keeps a number of weights, chosen and fitted for the
    least error of its outputs behind the ReLU (`nettrim.solve_layer_budget`): on the original signals
    in the parallel scheme, on the outputs of the layers already trimmed in the cascade. Biases stay and
    do not count. No one can prove that these weights are the best; the bound on the error of the
    network holds all the same.

    Parameters
    ----------
    model : Network
        Or any object with the three methods of `nettrim.view.ModelView`.
    X : array_like of shape (n_samples, n_features)
        Calibration data: samples of what the network will see. No labels are needed.
    epsilon : float, optional
        Error allowed to a layer, relative to the Frobenius norm of its output: to each layer in the
        parallel scheme, to the first pruned one in the cascade.
    sparsity : float, optional
        Share of the weights of the pruned layers that is to be removed, to one weight. Either this
        (or `pattern`) or `epsilon`.
    scheme : {"cascade", "parallel"}, default "cascade"
    gamma : float, default 1.1
        Inflation of :math:`\epsilon_l^2` in the cascade, at least 1. At 1 the original weights lie
        on the boundary of the feasible set and solving is slow.
    slack : {"positive", "paper"}, default "positive"
        Upper bound on inactive entries in the cascade.
    kappa : float in (0, 1], default 1
        Cascade only: factor on :math:`\epsilon_l` of the last pruned layer. Below 1 the discrepancy
        of the network shrinks about as much, or the program is infeasible; give ``checkpoint`` then
        and the layers in front need not be solved again for another kappa.
    layers : iterable of int or str, optional
        Positions (negative ones count from the end) or names of the layers to be pruned. Default
        all prunable layers.
    held_out : array_like of shape (n, n_features), optional
        Samples the solver does not see, on which the discrepancy is measured as well.
    tol : float, default 1e-4
        Relative tolerance on feasibility and duality gap of every layer.
    max_iter, time_limit, solver, n_threads
        Passed to `nettrim.solve_layer` for every layer; ``time_limit`` is seconds for each layer. All
        but `n_threads`, and with them `gamma`, `slack`, `kappa` and `tol`, belong to `epsilon`.
    executor : concurrent.futures.Executor, optional
        Solve on its workers: threads, processes, loky, Dask (``client.get_executor()``), mpi4py, or
        `nettrim.execution.RayExecutor`. In the parallel scheme each worker takes a layer, if there
        are as many; otherwise, and in the cascade, the outputs of a layer are shared out
        (``executor`` of `nettrim.solve_layer`). Every answer is proved to the same ``tol``.
    checkpoint : str or path-like, optional
        Folder in which finished layers are kept. The same call after a crash takes them from there
        and gives the same result, bit for bit; a call that differs in model, data or options is
        refused.
    share : {"network", "layer"}, default "network"
        With `sparsity`: all layers share one budget, and a weight stays where that keeps the output
        of the network closest; or each layer is made as sparse as the others.
    pattern : str, optional
        "2:4" leaves at most 2 of every 4 inputs in a row to each output; so do other numbers. Without
        `sparsity`: all that the pattern lets go.
    min_density : float, default 0
        With `sparsity` and ``share="network"``: share of its weights that every layer keeps at least.
    max_patches : int, default 20,000
        A layer that meets every sample at many positions (a convolution, a sequence) is solved on
        at most so many of them, drawn at random; everything else is measured on all.
    seed : int, default 0
        Of that draw.
    progress : bool, default True
        Show progress on stderr: a bar if rich is installed, a line for each layer otherwise.

    Returns
    -------
    TrimResult
        The trimmed model, of the type of ``model`` and in the precision of its weights, and a
        report for each layer. Discrepancies and bounds hold for the model as returned.

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it must be; the message names it.
    InfeasibleError
        If ``kappa`` asks for more than the last layer can do.

    Warns
    -----
    ConvergenceWarning
        If a layer stopped before its gap and feasibility met ``tol``. Its answer is used and
        flagged.
    RuntimeWarning
        If a worker died and took its pool along: what is left is solved in this process.

    Notes
    -----
    Ctrl-C ends the run and returns what is finished, with ``interrupted`` set. The logger
    ``nettrim`` hears of every finished layer at INFO and of every certificate at DEBUG.

    In the cascade :math:`\epsilon_l` is zero when the layers in front changed nothing, which would
    leave no room but rounding errors. It is therefore never taken below ``min(tol, epsilon)`` times
    the norm of the layer's output. ``gap``, ``epsilon`` and ``violation`` speak of the float64
    answer; if the model's weights are float32 the answer is rounded, and everything measured or
    proved about the network takes that into account.

    Source: Net-Trim (NIPS 2017), parallel and cascade schemes, Theorems 1 and 2; ``kappa`` from its
    supplement.

    Examples
    --------
    >>> import numpy as np
    >>> import nettrim
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((200, 8))
    >>> net = nettrim.Network([
    ...     nettrim.Dense(rng.standard_normal((8, 6)), rng.standard_normal(6)),
    ...     nettrim.Dense(rng.standard_normal((6, 2)), activation="linear"),
    ... ])
    >>> result = nettrim.trim(net, X, epsilon=0.3, progress=False)
    >>> result.converged, result.discrepancy <= result.bound
    (True, True)
    >>> result.layers[0].nonzeros_after < result.layers[0].nonzeros_before
    True
    """
    plan: Plan | BudgetPlan
    if sparsity is None and pattern is None:
        plan = Plan.checked(
            epsilon=epsilon, scheme=scheme, gamma=gamma, slack=slack, kappa=kappa, tol=tol
        )
    elif epsilon is not None:
        raise ValueError("epsilon prescribes the error, sparsity and pattern the weights: give one")
    elif executor is not None:
        raise ValueError("executor: a given sparsity is trimmed to in this process, by n_threads")
    else:
        plan = BudgetPlan.checked(
            sparsity=sparsity,
            scheme=scheme,
            share=share,
            pattern=pattern,
            min_density=min_density,
        )
    view = as_view(model)
    data = samples(view, X, "X")
    unseen = None if held_out is None else samples(view, held_out, "held_out")
    listed = view.prunable_layers()
    chosen = chosen_layers(listed, layers)
    if unseen is not None and unseen.shape[1:] != data.shape[1:]:
        raise ValueError(f"held_out has samples of shape {unseen.shape[1:]}, X of {data.shape[1:]}")

    pool = None if executor is None else Pool(executor)
    limits: dict[str, Any] = {}  # of solve_layer
    if isinstance(plan, Plan):
        limits = {
            "tol": plan.tol,
            "max_iter": max_iter,
            "time_limit": time_limit,
            "solver": solver,
        }
    options = {**limits, "n_threads": n_threads}
    draw = Draw(whole(max_patches, "max_patches"), whole(seed, "seed", least=0))
    hashes = identity(view, listed, data)
    store = None
    if checkpoint is not None:
        store = Checkpoint(checkpoint, {**hashes, **plan.options(), **limits, **draw._asdict()})
    with reporter(progress, len(chosen), tol) as report:
        how = (draw, chosen, options, pool, store, report)
        if isinstance(plan, Plan):
            walk = Walk(view, listed, data, plan, *how)
        else:
            walk = BudgetWalk(view, listed, data, plan, *how)
        walk.run()
    names = [listed[position].name for position in chosen]
    arguments = {**asdict(plan), "layers": names, **options, **draw._asdict()}
    result = _account(model, walk, unseen, recipe_of(model, hashes, data, unseen, arguments))
    _warn(result)
    return result


def _account(
    model: Model, walk: Walk, unseen: Array | None, recipe: dict[str, Any]
) -> TrimResult[Model]:
    """Measure and bound what the walk did, and write the reports."""
    view, weights = walk.view, walk.weights
    measured, proved = zip(*account(view, _trimmed(walk), walk.data), strict=True)
    held_out: list[float | None] = [None] * len(measured)
    if unseen is not None:
        held_out = [change.relative for change in changes(view, weights, unseen)]
    reports = tuple(
        _report(walk, position, *told)
        for position, told in enumerate(zip(measured[:-1], proved, held_out, strict=False))
    )
    return TrimResult(
        model=cast(Model, view.with_weights(weights)),
        original=model,
        layers=reports,
        scheme=walk.plan.scheme,
        n_samples=len(walk.data),
        discrepancy=measured[-1].relative,
        bound=relative(proved[-1].proved, measured[-1].norm),
        held_out_discrepancy=held_out[-1],
        interrupted=walk.interrupted,
        recipe=recipe,
    )


def _trimmed(walk: Walk) -> dict[int, Trimmed]:
    """Return what the bounds need to know of each solved layer."""
    return {
        position: Trimmed(
            affine=affine,
            epsilon=_radius(walk.solved[position]) or 0.0,
            cascaded=walk.plan.cascaded,
            growth=walk.plan.growth(walk.layers[position], walk.place(position)),
            floor=walk.plan.floor(walk.place(position)),
        )
        for position, affine in walk.weights.items()
    }


def _report(
    walk: Walk, position: int, change: Change, bound: Bound, held_out: float | None
) -> LayerReport:
    layer, solved = walk.layers[position], walk.solved.get(position)
    before, after = layer.affine, walk.weights.get(position, layer.affine)
    norm = change.norm or 1.0
    return LayerReport(
        name=layer.name,
        shape=layer.shape,
        nonzeros_before=int(np.count_nonzero(before.weights)),
        nonzeros_after=int(np.count_nonzero(after.weights)),
        l1_before=float(np.abs(before.stacked).sum()),
        l1_after=float(np.abs(after.stacked).sum()),
        output_norm=norm,
        discrepancy=change.relative,
        bound=bound.proved / norm,
        prior_bound=bound.prior / norm,
        held_out_discrepancy=held_out,
        **_answer(solved, UNREACHED if position in walk.chosen else KEPT),
    )


def _answer(solved: SolvedLayer | None, otherwise: str) -> dict[str, Any]:
    """Return the part of a report that comes from the solver."""
    if solved is None:
        return {"status": otherwise}
    fields = ("status", "gap", "residual", "violation", "iterations", "seconds")
    answer = {field: getattr(solved, field) for field in fields}
    if solved.status == BUDGET:
        return {name: answer[name] for name in ("status", "seconds")}
    history = tuple((float(seconds), float(gap)) for seconds, gap in solved.history)
    return {**answer, "epsilon": _radius(solved), "history": history}


def _radius(solved: SolvedLayer) -> float | None:
    """Return the relative error allowed to a layer, None if it was given a number of weights."""
    if solved.status == BUDGET:
        return None
    return relative(solved.epsilon, solved.output_norm)


def _warn(result: TrimResult[Any]) -> None:
    """Warn once of all layers whose answers are not proved optimal."""
    open_layers = [layer for layer in result.layers if layer.pruned and not layer.converged]
    if open_layers:
        names = ", ".join(
            f"{layer.name} ({layer.status}, gap {layer.gap:.1e})" for layer in open_layers
        )
        warnings.warn(
            f"not solved to the tolerance: {names}; their answers are used and flagged. Allow more "
            "iterations or time, or a larger tol",
            ConvergenceWarning,
            stacklevel=3,
        )
