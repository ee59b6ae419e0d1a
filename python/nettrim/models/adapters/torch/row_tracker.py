"""Which of all rows arrive at a layer that meets those the model picks."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ....base.arrays import Array
from ...picked_rows import PickedRows
from ...samples import Data
from .routing import hooked_modules
from .run import Runner, Stop

__all__ = ["LocatedRows", "RowTracker", "as_rows", "collect_rows", "join_rows", "nonzero_rows"]

REMEMBERED = 8  # inputs of modules in which rows are looked for


class LocatedRows(NamedTuple):
    """What arrives at a layer in a pass of some samples, and which rows of all these are.

    Attributes
    ----------
    values : ndarray of shape (n_rows, ...)
        float64.
    numbers : ndarray of int of shape (n_rows,) or None
        Counted sample by sample; None where that is not known.
    n_positions : int
        How many rows each sample has of which some are picked; 0 where that is not known.
    """

    values: Array
    numbers: NDArray[np.intp] | None = None
    n_positions: int = 0


class RowTracker:
    """Finds out which of all rows arrive at a layer, in a pass of some samples.

    They are looked for, bit by bit, in what has last arrived at modules around. Where none has
    them, as behind the first matrix of an expert, as many rows as at the layer before are taken for
    the same ones.

    Parameters
    ----------
    n_samples : int
    """

    def __init__(self, n_samples: int) -> None:
        self._n_samples = n_samples
        self._inputs: deque[tuple[torch.Tensor, list[_Table]]] = deque(maxlen=REMEMBERED)
        self._last = LocatedRows(np.empty((0, 0)))

    def hear(self, values: torch.Tensor) -> None:
        """Take notice of what arrives at a module that meets the rows of all samples."""
        if not any(values is known for known, _ in self._inputs):
            self._inputs.append((values, []))

    def locate(self, rows: Array) -> LocatedRows:
        """Return which rows these are, of shape (n_rows, ...)."""
        for values, tables in reversed(self._inputs):
            shape = rows.shape[1:]
            if values.shape[-len(shape) :] != shape:
                continue
            if not tables:
                tables.append(_Table(as_rows(values, shape)))
            numbers = tables[0].look_up(rows)
            if numbers is not None:
                n_positions = len(tables[0]) // self._n_samples
                self._last = LocatedRows(rows, numbers, n_positions)
                return self._last
        last = self._last.numbers
        same = last is not None and len(last) == len(rows)
        self._last = self._last._replace(values=rows) if same else LocatedRows(rows)
        return self._last


class _Table:
    """The rows of a tensor, to be looked up by what they hold."""

    def __init__(self, rows: Array) -> None:
        self._rows = rows
        self._numbers: dict[int, list[int]] = {}
        for number, row in enumerate(rows):
            self._numbers.setdefault(hash(row.tobytes()), []).append(number)

    def __len__(self) -> int:
        return len(self._rows)

    def look_up(self, rows: Array) -> NDArray[np.intp] | None:
        """Return where rows are, each in a place of its own; None if one is not there."""
        numbers, seen = np.empty(len(rows), dtype=np.intp), Counter[int]()
        for k, row in enumerate(rows):
            key = hash(row.tobytes())
            places = self._numbers.get(key, [])
            if seen[key] == len(places):
                return None
            numbers[k] = places[seen[key]]
            seen[key] += 1
        return numbers if np.array_equal(self._rows[numbers], rows) else None


def collect_rows(
    runner: Runner, X: Data, name: str, shape: Sequence[int], whole: Iterable[str]
) -> tuple[Array, PickedRows]:
    """Run data to the end, and return the rows that arrive at a layer in all of its calls.

    Parameters
    ----------
    runner : Runner
    X : ndarray of shape (n_samples, ...) or Samples
    name : str
    shape : sequence of int
        Of a row.
    whole : iterable of str
        The modules in whose inputs the rows are.
    """
    parts: list[tuple[slice, LocatedRows]] = []
    for batch in runner.batches(len(X)):
        tracker = RowTracker(batch.stop - batch.start)

        def on_input(
            _: Stop, values: torch.Tensor, batch: slice = batch, tracker: RowTracker = tracker
        ) -> None:
            parts.append((batch, tracker.locate(as_rows(values, shape))))

        def on_module(_: str, values: torch.Tensor, tracker: RowTracker = tracker) -> None:
            tracker.hear(values)

        with hooked_modules(runner, whole, on_module), runner.hooked([name], on_input):
            runner.output(X[batch])
    return join_rows(parts, shape, len(X))


def as_rows(values: torch.Tensor, shape: Sequence[int]) -> Array:
    """Return a tensor as rows of some shape, which are held in memory of their own."""
    rows: Array = values.detach().to("cpu", torch.float64, copy=True).numpy()
    return rows.reshape(-1, *shape)


def nonzero_rows(values: Array) -> tuple[Array, PickedRows]:
    """Return the rows of features that are not zero, and which ones these are among all."""
    rows = values.reshape(-1, values.shape[-1])
    numbers = np.flatnonzero(rows.any(axis=1))
    return rows[numbers], PickedRows(numbers, len(rows))


def join_rows(
    parts: Iterable[tuple[slice, LocatedRows]], shape: Sequence[int], n_samples: int
) -> tuple[Array, PickedRows]:
    """Return the rows of batches, and which ones these are among the rows of all samples.

    Parameters
    ----------
    parts : iterable of (slice, LocatedRows)
        Which samples passed, and what of them arrived. Those of which nothing did may be missing.
    shape : sequence of int
        Of a row.
    n_samples : int
    """
    met = [(batch, part) for batch, part in parts if len(part.values)]
    values = np.concatenate([part.values for _, part in met] or [np.empty((0, *shape))])
    sizes = {part.n_positions for _, part in met}
    if len(sizes) > 1 or any(part.numbers is None for _, part in met):
        return values, PickedRows(None, 0)
    n_positions = max(sizes, default=0)
    numbers = [part.numbers + batch.start * n_positions for batch, part in met]
    none = np.empty(0, dtype=np.intp)
    return values, PickedRows(np.concatenate(numbers or [none]), n_positions * n_samples)
