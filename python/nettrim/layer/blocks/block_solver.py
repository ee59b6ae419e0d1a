"""Who solves the blocks of a layer: this process, or the workers of a pool."""

from __future__ import annotations

from collections.abc import Sequence

from ..data import LayerData
from ..options import LayerOptions
from .block import Order, Part, carry_out
from .workers import Pool, Shared, Task

__all__ = ["Alone", "Together"]


class Alone:
    """Solves blocks here, one after the other."""

    def __init__(self, data: LayerData) -> None:
        self.data = data

    def solve(self, orders: Sequence[Order], options: LayerOptions) -> list[Part]:
        """Carry out orders."""
        return carry_out(self.data, orders, options)


class Together:
    """Solves blocks on the workers of a pool, about as many at a time as there are workers."""

    def __init__(self, arrays: Shared, pool: Pool) -> None:
        self.arrays = arrays
        self.pool = pool

    @property
    def data(self) -> LayerData:
        """The layer."""
        return self.arrays.data

    def solve(self, orders: Sequence[Order], options: LayerOptions) -> list[Part]:
        """Carry out orders, neighbours by the same worker."""
        n = min(self.pool.n_workers, len(orders))
        ends = [len(orders) * (k + 1) // n for k in range(n)]
        batches = [orders[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]
        tasks = [Task(self.arrays, carry_out, (batch, options)) for batch in batches]
        parts = dict(self.pool.finished(tasks))
        return [part for k in range(n) for part in parts[k]]
