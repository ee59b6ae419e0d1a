"""Blocks of a layer's outputs: what is sent to a worker and what comes back.

A block is some outputs of one group. Given a share of epsilon or a penalty it is a layer program of
its own, and nothing here knows of the others. What goes to a worker and comes back is small:
weights and the multipliers of the tight rows, for what is active has the multipliers of its
residual. All multipliers, as many as Y has entries, come back only if asked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...base.dispatch import core
from ..options import Form, LayerOptions
from ..solution import LayerSolution

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...base.limits import Listener
    from ..data import LayerData

    Floats = NDArray[np.floating[Any]]

__all__ = [
    "Block",
    "BlockResult",
    "BlockStart",
    "BlockTask",
    "SparseMultipliers",
    "describe_engine",
    "solve_block",
    "solve_blocks",
    "split_outputs",
]


class Block(NamedTuple):
    """Some outputs of the layer, all of them in one group."""

    group: int
    outputs: slice


class SparseMultipliers(NamedTuple):
    """Multipliers where inactive, in units of the form: those of tight rows are not zero."""

    places: NDArray[np.intp]  # in the flattened array of the block
    values: Floats

    @classmethod
    def of(cls, dual: Floats, active: NDArray[np.bool_], unit: float) -> SparseMultipliers:
        """Pick them out of all multipliers."""
        places = np.flatnonzero(np.where(active, 0, dual))
        values = (
            dual.ravel()[places].astype(np.float64) / unit
        )  # a unit may be beyond single precision
        return cls(places, values.astype(dual.dtype))

    def spread(self, shape: tuple[int, ...], unit: float) -> Floats:
        """Return an array of all multipliers, zero where active."""
        dual = np.zeros(shape, self.values.dtype)
        most = float(np.finfo(dual.dtype).max)
        dual.ravel()[self.places] = np.clip(self.values.astype(np.float64) * unit, -most, most)
        return dual


class BlockStart(NamedTuple):
    """Where a block begins; None for a cold start."""

    weights: Floats | None = None
    multipliers: SparseMultipliers | None = None

    @classmethod
    def of(
        cls, data: LayerData, block: Block, form: Form, weights: Floats | None, dual: Floats | None
    ) -> BlockStart:
        """Take a block's part of a start of the whole layer."""
        if weights is None:
            return cls()
        own = np.ascontiguousarray(weights[:, block.outputs])
        if dual is None:
            return cls(own)
        active = data.is_active(block.outputs)
        return cls(own, SparseMultipliers.of(dual[:, block.outputs], active, form.unit))


class BlockTask(NamedTuple):
    """A block's program, and where it starts."""

    block: Block
    form: Form
    start: BlockStart
    max_iter: int


class BlockResult(NamedTuple):
    """The solution of a block.

    Attributes
    ----------
    solution : LayerSolution
        Its ``dual`` is empty unless all multipliers were asked for.
    multipliers : SparseMultipliers
    l1, linear, square : float
        Sum of absolute weights, at their costs, and with multipliers G in units of the form
        <G, target> and ||G_active||^2.
    """

    solution: LayerSolution
    multipliers: SparseMultipliers
    l1: float
    linear: float
    square: float

    @property
    def start(self) -> BlockStart:
        """Where the block may begin at another penalty."""
        return BlockStart(self.solution.weights, self.multipliers)

    @property
    def meets_no_half_spaces(self) -> bool:
        """Whether the block's half-spaces contradict each other: then the layer has no weights."""
        return self.solution.status == "infeasible" and self.square == 0

    def as_ray(self, shape: tuple[int, ...]) -> BlockResult:
        """Return the same with all multipliers, where those of active entries are zero."""
        return self._replace(
            solution=replace(self.solution, dual=self.multipliers.spread(shape, 1.0))
        )

    def scaled(self, factor: float) -> BlockResult:
        """Return the same with all multipliers times a factor."""
        solution = replace(self.solution, dual=self.solution.dual * factor)
        linear, square = self.linear * factor, self.square * factor**2
        return self._replace(solution=solution, linear=linear, square=square)

    def without_multipliers(self, shape: tuple[int, ...]) -> BlockResult:
        """Return the same with zero multipliers."""
        dual = np.zeros(shape, self.solution.weights.dtype)
        return self._replace(solution=replace(self.solution, dual=dual), linear=0.0, square=0.0)


def split_outputs(data: LayerData, width: int) -> list[Block]:
    """Cut a layer into blocks of at most ``width`` outputs."""
    n_outputs = data.Y.shape[1]
    size = n_outputs // data.groups
    return [
        Block(first // size, slice(k, min(k + width, first + size)))
        for first in range(0, n_outputs, size)
        for k in range(first, first + size, width)
    ]


def solve_blocks(
    data: LayerData,
    tasks: Sequence[BlockTask],
    options: LayerOptions,
    stopped: Callable[[], bool] | None = None,
) -> list[BlockResult]:
    """Solve blocks in turn.

    After an interrupt, out of time, or where the layer is proved to have no weights, each still
    takes its first step.
    """
    deadline = time.perf_counter() + options.time_limit
    results: list[BlockResult] = []
    is_hopeless = False
    for task in tasks:
        left = max(deadline - time.perf_counter(), 0.0)
        begun = task._replace(start=BlockStart()) if is_hopeless else task  # any weights will do
        results.append(_solve_task(data, begun, replace(options, time_limit=left), stopped))
        is_hopeless = is_hopeless or results[-1].meets_no_half_spaces
        if is_hopeless or results[-1].solution.status == "interrupted":
            deadline = 0.0
    return results


def _solve_task(
    data: LayerData, task: BlockTask, options: LayerOptions, stopped: Callable[[], bool] | None
) -> BlockResult:
    block, form = task.block, task.form
    weights, dual = task.start.weights, None
    if task.start.multipliers is not None:
        dual = task.start.multipliers.spread(data.Y[:, block.outputs].shape, form.unit)
    options = replace(options, max_iter=task.max_iter)
    callback = None if stopped is None else lambda *_: stopped()
    solution = solve_block(data, block, form, options, (weights, dual), callback)
    active, unit = data.is_active(block.outputs), form.unit
    on = solution.dual[active].astype(np.float64) / unit
    square = float(on @ on)
    l1, linear = solution.objective, solution.dual_bound / unit
    if form.penalty is not None:
        l1 = data.norm(solution.weights, block.outputs)
        linear += square * unit / 4
    elif form.epsilon is not None:
        linear += form.epsilon * np.sqrt(square)
    rows = SparseMultipliers.of(solution.dual, active, unit)
    if not options.all_multipliers:
        solution = replace(solution, dual=np.empty((0, active.shape[1]), solution.dual.dtype))
    return BlockResult(solution, rows, l1, linear, square)


def solve_block(
    data: LayerData,
    block: Block,
    form: Form,
    options: LayerOptions,
    start: tuple[Floats | None, Floats | None],
    callback: Listener | None = None,
) -> LayerSolution:
    """Solve one block as a layer program; ``start`` holds weights and all multipliers."""

    def own(array: Any) -> Any:
        return None if array is None else np.ascontiguousarray(array[:, block.outputs])

    fields = core.solve_layer(
        data.inputs(block.group),
        own(data.Y),
        upper=own(data.upper),
        active=own(data.active),
        relu=data.relu,
        epsilon=form.epsilon,
        penalty=form.penalty,
        solver=options.solver,
        tol=options.tol,
        check_every=options.check_every,
        max_iter=options.max_iter,
        time_limit=options.time_limit,
        n_threads=options.n_threads,
        start_weights=start[0],
        start_dual=start[1],
        callback=callback,
        costs=own(data.costs),
        **data.drawing,
    )
    return LayerSolution(**fields)


def describe_engine(results: Sequence[BlockResult]) -> dict[str, Any]:
    """Tell which engine gave the answer; "none" is that of blocks whose start was good enough."""
    solutions = [result.solution for result in results]
    one = next((s for s in solutions if s.solver != "none"), solutions[0])
    return {"solver": f"{one.solver}, {len(results)} blocks", "reason": one.reason}
