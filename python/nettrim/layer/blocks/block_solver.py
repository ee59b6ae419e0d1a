"""What solves the blocks of a layer: this process, or the workers of a pool."""

from __future__ import annotations

from collections.abc import Sequence

from ..data import LayerData
from ..options import LayerOptions
from .block import BlockResult, BlockTask, solve_blocks
from .workers import Pool, SharedData, Task

__all__ = ["PoolSolver", "SerialSolver"]


class SerialSolver:
    """Solves blocks here, one after the other."""

    def __init__(self, data: LayerData) -> None:
        self.data = data

    def solve(self, tasks: Sequence[BlockTask], options: LayerOptions) -> list[BlockResult]:
        """Solve tasks."""
        return solve_blocks(self.data, tasks, options)


class PoolSolver:
    """Solves blocks on the workers of a pool, about as many at a time as there are workers."""

    def __init__(self, arrays: SharedData[LayerData], pool: Pool) -> None:
        self.arrays = arrays
        self.pool = pool

    @property
    def data(self) -> LayerData:
        """The layer."""
        return self.arrays.data

    def solve(self, tasks: Sequence[BlockTask], options: LayerOptions) -> list[BlockResult]:
        """Solve tasks, neighbours by the same worker."""
        n = min(self.pool.n_workers, len(tasks))
        ends = [len(tasks) * (k + 1) // n for k in range(n)]
        batches = [tasks[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]
        pool_tasks = [Task(self.arrays, solve_blocks, (batch, options)) for batch in batches]
        results = dict(self.pool.as_completed(pool_tasks))
        return [result for k in range(n) for result in results[k]]
