"""What a call does to the units of its operands, found out by making it again with other operands.

Whatever its code: a call that gives without some indices of an axis what it gives with them, but
for these indices of an axis of the result, passes units on; and one that gives numbers where it was
given them, and others where they are others, moves units.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from .labels import Labels, compress, varying

__all__ = ["Call", "Cut", "Operand"]

MOST_TRIALS = 64  # ways to cut the operands of one call


class Operand(NamedTuple):
    """What a call is given.

    Attributes
    ----------
    value : object
    labels : ndarray or None
        The units in it; None for what has none.
    name : str or None
        Of a tensor of the model that can be cut.
    """

    value: Any
    labels: Labels | None
    name: str | None

    @property
    def is_foreign(self) -> bool:
        """Whether it holds numbers that no unit goes with."""
        return _is_float(self.value) and self.labels is None and self.name is None


class Cut(NamedTuple):
    """Indices that a call can do without.

    Attributes
    ----------
    axes : mapping from int to int
        The axis of each operand that they are taken from.
    results : list of int or None
        The axis of each result that lacks the same ones; None for results that do not change.
    """

    axes: Mapping[int, int]
    results: list[int | None]


class Call:
    """A call that can be made again.

    Parameters
    ----------
    run : callable
        Takes values for the operands and returns the tensors that come out.
    operands : sequence of Operand
    """

    def __init__(
        self, run: Callable[[Sequence[Any]], list[torch.Tensor]], operands: Sequence[Operand]
    ) -> None:
        self.operands = operands
        self._run = run
        self._random = torch.Generator().manual_seed(0)
        self._values = self._noise()
        self._full = self._made(self._values)
        again = self._made(self._noise())
        self._constant = [_is_same(a, b) for a, b in zip(self._full, again, strict=True)]
        self.shapes = [tuple(result.shape) for result in self._full]

    def find_cut(self, position: int, axis: int) -> Cut | None:
        """Find out how units can be taken from an axis of an operand; None if they cannot."""
        for axes in itertools.islice(self._ways(position, axis), MOST_TRIALS):
            results = self._try(axes, self.operands[position].value.shape[axis])
            if results is not None:
                return Cut(axes, results)
        return None

    def move(self) -> list[Labels | None] | None:
        """Return the units in the results if the call moves entries, and computes nothing."""
        largest = 1 + max(int(o.labels.max()) for o in self.operands if o.labels is not None)
        table = self._other_numbers(largest)
        foreign = [
            torch.rand(o.value.shape, generator=self._random) if o.is_foreign or o.name else None
            for o in self.operands
        ]
        try:
            plain = self._made(self._coded(None, foreign))
            coded = self._made(self._coded(table, foreign))
        except Exception:  # noqa: BLE001 (of code that is not ours)
            return None
        if not all(_is_moved(*pair, table) for pair in zip(plain, coded, strict=True)):
            return None
        return [_read(result) for result in plain]

    def _ways(self, position: int, axis: int) -> Iterator[dict[int, int]]:
        """Yield axes of all operands that may go with one; first those that lie over it."""
        size = self.operands[position].value.shape[axis]
        behind = self.operands[position].value.ndim - axis
        choices: list[list[int | None]] = []
        for number, (value, labels, name) in enumerate(self.operands):
            if number == position:
                choices.append([axis])
            elif labels is None and name is None:
                choices.append([None])
            else:
                axes = varying(labels) if labels is not None else range(value.ndim)
                fitting = [own for own in axes if value.shape[own] == size]
                above = value.ndim - behind
                choices.append([*sorted(fitting, key=lambda own: own != above), None])
        for way in itertools.product(*choices):
            yield {number: own for number, own in enumerate(way) if own is not None}

    def _try(self, axes: Mapping[int, int], size: int) -> list[int | None] | None:
        """Return the axes of the results that lack what operands lack; None if they do not."""
        chosen = torch.randperm(size, generator=self._random)[: size // 2].sort().values
        values = [
            value.index_select(axes[number], chosen.to(value.device)) if number in axes else value
            for number, value in enumerate(self._values)
        ]
        try:
            parts = self._made(values)
        except Exception:  # noqa: BLE001 (of code that is not ours)
            return None
        if len(parts) != len(self._full):
            return None
        found: list[int | None] = []
        for full, part, constant in zip(self._full, parts, self._constant, strict=True):
            axis = None if constant else _axis_of(full, part, chosen)
            if axis is None and not constant:
                return None
            found.append(axis)
        return found

    def _made(self, values: Sequence[Any]) -> list[torch.Tensor]:
        return self._run([v.clone() if isinstance(v, torch.Tensor) else v for v in values])

    def _noise(self) -> list[Any]:
        """Return operands of random numbers; those of the model positive, as variances are."""
        return [
            operand.value
            if not _is_float(operand.value)
            else self._normal(operand.value).abs() + 0.1
            if operand.name
            else self._normal(operand.value)
            for operand in self.operands
        ]

    def _normal(self, like: torch.Tensor) -> torch.Tensor:
        return torch.randn(like.shape, generator=self._random).to(like)

    def _other_numbers(self, largest: int) -> torch.Tensor:
        """Return another number for every label, none for what is no unit."""
        numbers = torch.randperm(largest, generator=self._random) + 1
        signs = 2 * torch.randint(0, 2, (largest,), generator=self._random) - 1
        return torch.cat([torch.zeros(1), (numbers * signs).float()])

    def _coded(
        self, table: torch.Tensor | None, foreign: Sequence[torch.Tensor | None]
    ) -> list[Any]:
        """Return operands whose entries are the numbers of their units, zero for none."""
        values: list[Any] = []
        for (value, labels, _), other in zip(self.operands, foreign, strict=True):
            if labels is None:
                values.append(value if other is None else other.to(value))
                continue
            codes = torch.tensor(labels + 1).expand(value.shape)
            codes = codes.double() if table is None else table.double()[codes]
            values.append(codes.to(value) if _is_float(value) else codes.to(value.device))
        return values


def _is_float(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def _axis_of(full: torch.Tensor, part: torch.Tensor, chosen: torch.Tensor) -> int | None:
    """Return the axis along which a part has the chosen indices of the whole."""
    for axis, size in enumerate(full.shape):
        shape = (*full.shape[:axis], len(chosen), *full.shape[axis + 1 :])
        if size > len(chosen) and part.shape == shape and int(chosen.max()) < size:
            if _is_same(full.index_select(axis, chosen.to(full.device)), part):
                return axis
    return None


def _is_same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Tell whether tensors are the same up to rounding in another order."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if not one.is_floating_point():
        return torch.equal(one, other)
    rounding = torch.finfo(one.dtype).eps ** 0.75
    return torch.allclose(one, other, rtol=rounding, atol=rounding, equal_nan=True)


def _is_moved(plain: torch.Tensor, coded: torch.Tensor, table: torch.Tensor) -> bool:
    """Tell whether other numbers went in the same way."""
    if plain.shape != coded.shape:
        return False
    values = plain.detach().cpu().double()
    whole = values == values.round()
    if not ((values[whole] >= 0) & (values[whole] < len(table))).all():
        return False
    wanted = torch.where(whole, table.double()[torch.where(whole, values, 0.0).long()], values)
    return torch.equal(wanted, coded.detach().cpu().double())


def _read(result: torch.Tensor) -> Labels | None:
    """Return the units whose numbers stand in a result."""
    values = result.detach().cpu().double().numpy()
    return compress(np.where(values == values.round(), values, 0.0).astype(np.intp) - 1)
