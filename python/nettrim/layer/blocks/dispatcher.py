"""Rounds of all blocks of a layer: who solves them, within limits for all rounds together."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from ..options import Form, LayerOptions
from .block import Block, BlockResult, BlockStart, BlockTask, solve_blocks
from .penalty_step import relative_gap

if TYPE_CHECKING:
    from ...base.limits import Listener
    from ..data import LayerData

__all__ = ["BlockSolver", "Dispatcher"]


class BlockSolver(Protocol):
    """Solves the blocks of a layer."""

    @property
    def data(self) -> LayerData:
        """The layer."""
        ...

    def solve(self, tasks: Sequence[BlockTask], options: LayerOptions) -> list[BlockResult]:
        """Solve tasks, here or elsewhere; results are in the order of the tasks."""
        ...


class Dispatcher:
    """Sends the tasks of all blocks to a solver, and counts time and iterations.

    Attributes
    ----------
    solver : BlockSolver
    blocks : sequence of Block
    options : LayerOptions
        Limits are those of the whole layer.
    callback : Listener or None
    used : list of int
        Iterations of every block so far.
    interrupted : bool
        From then on there is no time left.
    """

    def __init__(
        self,
        solver: BlockSolver,
        blocks: Sequence[Block],
        options: LayerOptions,
        callback: Listener | None,
    ) -> None:
        self.solver = solver
        self.blocks = blocks
        self.options = options
        self.callback = callback
        self.began = time.perf_counter()
        self.used = [0] * len(blocks)
        self.interrupted = False

    @property
    def data(self) -> LayerData:
        """The layer."""
        return self.solver.data

    @property
    def seconds(self) -> float:
        """Since the search began."""
        return time.perf_counter() - self.began

    @property
    def iterations(self) -> int:
        """Of the block that took the most."""
        return max(self.used)

    def solve(
        self,
        forms: Sequence[Form],
        starts: Sequence[BlockStart],
        most: int | None = None,
        **terms: Any,
    ) -> list[BlockResult]:
        """Have every block solved; ``terms`` are fields of `LayerOptions`."""
        left = 0.0 if self.interrupted else max(self.options.time_limit - self.seconds, 0.0)
        options = replace(self.options, time_limit=left, **terms)
        results = self.solver.solve(self._tasks(forms, starts, most), options)
        self.interrupted |= any(result.solution.status == "interrupted" for result in results)
        self.used = [
            used + result.solution.iterations
            for used, result in zip(self.used, results, strict=True)
        ]
        return results

    def report(self, objective: float, bound: float, residual: float, violation: float) -> bool:
        """Report on the whole layer; return whether the callback stops it."""
        if self.callback is None:
            return False
        gap = relative_gap(objective, bound)
        numbers = (self.iterations, objective, bound, gap, residual, violation, self.seconds)
        return bool(self.callback(*numbers))

    def step_here(
        self, forms: Sequence[Form], starts: Sequence[BlockStart], **terms: Any
    ) -> list[BlockResult]:
        """Have every block take one step, now."""
        options = replace(self.options, time_limit=0.0, **terms)
        return solve_blocks(self.data, self._tasks(forms, starts, 1), options)

    def _tasks(
        self, forms: Sequence[Form], starts: Sequence[BlockStart], most: int | None
    ) -> list[BlockTask]:
        limit = self.options.max_iter
        left = [max(min(most or limit, limit - used), 1) for used in self.used]
        return [BlockTask(*task) for task in zip(self.blocks, forms, starts, left, strict=True)]
