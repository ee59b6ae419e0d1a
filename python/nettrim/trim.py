"""Trim a whole network: one walk over a model view, one convex program for each layer.

The walk knows no framework (see `nettrim.view`) and no optimisation (see `nettrim.layer`); what it
knows is which program a layer gets, in which order, and what is kept of the answer.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict
from typing import Any, Literal, NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._arguments import whole
from ._arrays import Array, frobenius, relative
from .audit import Bound, Change, Trimmed, account, changes
from .checkpoint import Checkpoint, SolvedLayer, identity
from .errors import ConvergenceWarning, InfeasibleError
from .execution import Pool
from .layer import solve_layer, solve_side_by_side
from .plan import Place, Plan, Program, chosen_layers
from .progress import Reporter, reporter
from .recipe import recipe_of
from .report import KEPT, UNREACHED, LayerReport, TrimResult
from .solution import LayerProgress, LayerSolution
from .view import Affine, LayerView, ModelView, Signal, as_view, samples

Model = TypeVar("Model")
Scheme = Literal["cascade", "parallel"]
Slack = Literal["positive", "paper"]

LARGEST = 1 << 24  # entries of the outputs that are solved at a time


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
    max_patches: int = 20_000,
    seed: int = 0,
    progress: bool = True,
) -> TrimResult[Model]:
    r"""Make a trained network sparse, layer by layer, each by a convex program.

    A layer with input :math:`X` and original output :math:`Y` gets the weights of smallest l1 norm
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

    Parameters
    ----------
    model : Network
        Or any object with the three methods of `nettrim.view.ModelView`.
    X : array_like of shape (n_samples, n_features)
        Calibration data: samples of what the network will see. No labels are needed.
    epsilon : float
        Error allowed to a layer, relative to the Frobenius norm of its output: to each layer in the
        parallel scheme, to the first pruned one in the cascade.
    sparsity : None
        Reserved: trimming to a given sparsity is not part of this version.
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
        Passed to `nettrim.solve_layer` for every layer; ``time_limit`` is seconds for each layer.
    executor : concurrent.futures.Executor, optional
        Solve on its workers: threads, processes, loky, Dask (``client.get_executor()``), mpi4py, or
        `nettrim.execution.RayExecutor`. In the parallel scheme each worker takes a layer, if there
        are as many; otherwise, and in the cascade, the outputs of a layer are shared out
        (``executor`` of `nettrim.solve_layer`). Every answer is proved to the same ``tol``.
    checkpoint : str or path-like, optional
        Folder in which finished layers are kept. The same call after a crash takes them from there
        and gives the same result, bit for bit; a call that differs in model, data or options is
        refused.
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
    if sparsity is not None:
        raise ValueError("sparsity: trimming to a given sparsity is not implemented, give epsilon")
    plan = Plan.checked(
        epsilon=epsilon, scheme=scheme, gamma=gamma, slack=slack, kappa=kappa, tol=tol
    )
    view = as_view(model)
    data = samples(view, X, "X")
    unseen = None if held_out is None else samples(view, held_out, "held_out")
    chosen = chosen_layers(view.prunable_layers(), layers)
    if unseen is not None and unseen.shape[1:] != data.shape[1:]:
        raise ValueError(f"held_out has samples of shape {unseen.shape[1:]}, X of {data.shape[1:]}")

    if executor is not None:
        Pool(executor)  # an error now and not after the first layers
    limits = {"tol": plan.tol, "max_iter": max_iter, "time_limit": time_limit, "solver": solver}
    options = {**limits, "n_threads": n_threads}
    draw = Draw(whole(max_patches, "max_patches"), whole(seed, "seed", least=0))
    hashes = identity(view.prunable_layers(), data, {})
    store = None
    if checkpoint is not None:
        store = Checkpoint(checkpoint, {**hashes, **plan.options(), **limits, **draw._asdict()})
    with reporter(progress, len(chosen), plan.tol) as report:
        walk = _Walk(view, data, plan, draw, chosen, options, executor, store, report)
        walk.run()
    names = [view.prunable_layers()[position].name for position in chosen]
    arguments = {**asdict(plan), "layers": names, **options, **draw._asdict()}
    result = _account(model, walk, unseen, recipe_of(model, hashes, data, unseen, arguments))
    _warn(result)
    return result


class Draw(NamedTuple):
    """Which rows of a layer are solved for."""

    max_patches: int
    seed: int

    def rows(self, layer: LayerView, position: int, values: Array) -> NDArray[np.intp] | None:
        """Return their numbers in order, None for all of them."""
        each = layer.rows_per_sample(values)
        total = each * len(values)
        if each == 1 or total <= self.max_patches:
            return None
        random = np.random.default_rng([self.seed, position])
        return np.sort(random.choice(total, self.max_patches, replace=False))


class _Walk:
    """One pass over a model: the layers solved so far and what it takes to solve the next."""

    def __init__(
        self,
        view: ModelView,
        data: Array,
        plan: Plan,
        draw: Draw,
        chosen: Sequence[int],
        options: Mapping[str, Any],
        executor: Executor | None,
        store: Checkpoint | None,
        report: Reporter,
    ) -> None:
        self.view = view
        self.layers = view.prunable_layers()
        self.data = data
        self.plan = plan
        self.draw = draw
        self.chosen = chosen
        self.options = options
        self.executor = executor
        self.store = store
        self.report = report
        self.solved: dict[int, SolvedLayer] = {}
        self.weights: dict[int, Affine] = {}
        self.interrupted = False

    def run(self) -> None:
        """Solve the chosen layers; Ctrl-C ends it and leaves what is finished."""
        pool = None if self.executor is None or self.plan.cascaded else Pool(self.executor)
        try:
            if pool is not None and len(self.chosen) >= pool.n_workers:
                self._solve_side_by_side(pool)
            else:
                self._solve_in_turn()
        except KeyboardInterrupt:
            self.interrupted = True

    def _solve_in_turn(self) -> None:
        originals = self.view.signals(self.data, {})
        currents = self.view.signals(self.data, self.weights)  # looked up as the walk goes on
        for position, signals in enumerate(zip(originals, currents, strict=True)):
            if position in self.chosen and not self._advance(position, *signals):
                self.interrupted = True
                return
            if position == self.chosen[-1]:
                return

    def _solve_side_by_side(self, pool: Pool) -> None:
        """Give whole layers to workers; those of the parallel scheme see the original signals alone."""
        posed: list[tuple[int, Program]] = []

        def arguments() -> Iterator[dict[str, Any]]:
            for position, signal in enumerate(self.view.signals(self.data, {})):
                if position in self.chosen and not self._resume(position):
                    program = self._program(position, signal, signal)
                    posed.append((position, _without_arrays(program)))
                    yield _arguments_of(program)
                if position == self.chosen[-1]:
                    return

        for number, solution in solve_side_by_side(arguments(), pool, **self.options):
            position, program = posed[number]
            if solution.status == "interrupted":
                self.interrupted = True
                continue
            layer = self.layers[position]
            self.report.start(layer.name, layer.shape)
            self._finish(position, _accepted(layer, program, solution, []))

    def place(self, position: int) -> Place:
        """Tell where a layer stands among the chosen ones."""
        return Place(first=position == self.chosen[0], last=position == self.chosen[-1])

    def _advance(self, position: int, original: Signal, current: Signal) -> bool:
        """Solve a layer, or take it from the checkpoint; return False if it was interrupted."""
        if self._resume(position):
            return True
        layer = self.layers[position]
        self.report.start(layer.name, layer.shape)
        program = self._program(position, original, current)
        solved = _solve(layer, program, self.options, self.executor, self.report)
        if solved.status == "interrupted":
            return False
        self._finish(position, solved)
        return True

    def _resume(self, position: int) -> bool:
        """Take a layer from the checkpoint, if it is there."""
        solved = self.store.load(position, self._details(position)) if self.store else None
        if solved is None:
            return False
        self.report.start(self.layers[position].name, self.layers[position].shape)
        self._keep(position, solved)
        self.report.finish(solved, resumed=True)
        return True

    def _program(self, position: int, original: Signal, current: Signal) -> Program:
        layer = self.layers[position]
        chosen = self.draw.rows(layer, position, original.values)
        before = layer.chosen_rows(original.values, chosen)
        now = before if current is original else layer.chosen_rows(current.values, chosen)
        return self.plan.program(layer, before, now, self.place(position))

    def _finish(self, position: int, solved: SolvedLayer) -> None:
        """Keep an answer, here and in the checkpoint."""
        self._keep(position, solved)
        if self.store:
            self.store.save(position, self._details(position), solved)
        self.report.finish(solved, resumed=False)

    def _keep(self, position: int, solved: SolvedLayer) -> None:
        self.solved[position] = solved
        self.weights[position] = self.layers[position].affine.replaced(solved.weights)

    def _details(self, position: int) -> dict[str, Any]:
        """Tell what this layer's answer depends on beyond the options of the run."""
        kappa = self.plan.kappa if self.place(position).last else 1.0
        in_front = [self.layers[p].name for p in self.chosen if p < position]
        return {"layer": self.layers[position].name, "pruned in front": in_front, "kappa": kappa}


def _arguments_of(program: Program) -> dict[str, Any]:
    """Return the program's part of the arguments of `nettrim.solve_layer`."""
    own = ("X", "Y", "epsilon", "upper", "active", "activation", "groups")
    return {name: getattr(program, name) for name in own}


def _without_arrays(program: Program) -> Program:
    """Return the numbers of a program; `_excuse` wants no more of the parallel scheme."""
    nothing = np.empty((0, 0))
    return program._replace(X=nothing, Y=nothing, upper=None, active=None)


def _solve(
    layer: LayerView,
    program: Program,
    options: Mapping[str, Any],
    executor: Executor | None,
    report: Reporter,
) -> SolvedLayer:
    history: list[tuple[float, float]] = []

    def certified(progress: LayerProgress) -> None:
        history.append((progress.seconds, progress.gap))
        report.update(progress)

    solution = solve_layer(
        **_arguments_of(program),
        callback=certified,
        executor=executor,
        block_outputs=_affordable(program) if executor is None else None,
        **options,
    )
    return _accepted(layer, program, solution, history)


def _affordable(program: Program) -> int | None:
    """Return how many outputs at a time keep a solver's arrays small; None for all of them."""
    if program.groups > 1 or program.Y.size <= LARGEST:
        return None
    return max(1, LARGEST // len(program.Y))


def _accepted(
    layer: LayerView,
    program: Program,
    solution: LayerSolution,
    history: list[tuple[float, float]],
) -> SolvedLayer:
    """Return what is kept of an answer."""
    if solution.status == "infeasible":
        raise InfeasibleError(_excuse(layer, program))
    # An engine that broke down may return anything; the original weights are at least a model.
    broken = not np.isfinite(solution.weights).all()
    return SolvedLayer(
        weights=layer.affine.stacked if broken else np.asarray(solution.weights, dtype=np.float64),
        epsilon=program.epsilon,
        output_norm=program.output_norm,
        residual=relative(solution.residual, program.output_norm),
        violation=relative(solution.violation, program.largest),
        gap=solution.gap,
        status=solution.status,
        solver=solution.solver,
        iterations=solution.iterations,
        seconds=solution.seconds,
        history=np.array(history).reshape(-1, 2),
    )


def _excuse(layer: LayerView, program: Program) -> str:
    """Say what can be done about a layer without feasible weights, as precisely as is known."""
    if program.kappa == 1:
        return (
            f"layer {layer.name!r}: the solver finds no feasible weights, although the original ones "
            "are feasible up to rounding; a larger epsilon or gamma gives it room"
        )
    least = 0.0
    if program.activation == "linear":
        nearest = np.linalg.lstsq(program.X, program.Y)[0]
        distance = frobenius(program.X @ nearest - program.Y)
        least = program.kappa * distance / program.epsilon
    known = f" (feasible from {least:.3g} on)" if program.kappa < least <= 1 else ""
    return f"layer {layer.name!r}: no weights meet kappa={program.kappa:g}; choose a larger kappa{known}"


def _account(
    model: Model, walk: _Walk, unseen: Array | None, recipe: dict[str, Any]
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


def _trimmed(walk: _Walk) -> dict[int, Trimmed]:
    """Return what the bounds need to know of each solved layer."""
    return {
        position: Trimmed(
            affine=affine,
            epsilon=relative(walk.solved[position].epsilon, walk.solved[position].output_norm),
            cascaded=walk.plan.cascaded,
            growth=walk.plan.growth(walk.layers[position], walk.place(position)),
            floor=walk.plan.floor(walk.place(position)),
        )
        for position, affine in walk.weights.items()
    }


def _report(
    walk: _Walk, position: int, change: Change, bound: Bound, held_out: float | None
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
    history = tuple((float(seconds), float(gap)) for seconds, gap in solved.history)
    epsilon = relative(solved.epsilon, solved.output_norm)
    return {**answer, "epsilon": epsilon, "history": history}


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
