"""What a call does to the units of its operands, found by making it again with other operands.

Whatever its code: a call passes units on if, without some indices along an axis of its operands, it
gives what it gives with them but for these indices along an axis of the result. It moves units if
every number in its result is one that it was given.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

from ....units.unit_map import FIXED
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

    def axes(self, size: int) -> list[int]:
        """Return the axes of some size that units may lie along.

        Numbers that are the same along an axis may be as many as there are units.
        """
        if not isinstance(self.value, torch.Tensor):
            return []
        axes = [axis for axis, own in enumerate(self.value.shape) if own == size]
        known = [*axes] if self.name else varying(self.labels)
        return [axis for axis in axes if axis in known or _is_constant(self.value, axis)]

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

    Raises
    ------
    Exception
        If it does not take random numbers.
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
        numbers, labels = self._numbered()
        table = self._other_numbers(len(labels))
        others = [n if n is None else table[n] for n in numbers]
        try:
            plain, changed = (self._made(self._filled(own)) for own in (numbers, others))
        except Exception:  # noqa: BLE001 (of code that is not ours)
            return None
        if not all(_is_moved(*pair, table) for pair in zip(plain, changed, strict=True)):
            return None
        return [compress(labels[result.detach().cpu().long().numpy()]) for result in plain]

    def _ways(self, position: int, axis: int) -> Iterator[dict[int, int]]:
        """Yield axes of all operands that may go with one; first those that lie over it."""
        value = self.operands[position].value
        choices: list[list[int | None]] = []
        for operand in self.operands:
            fitting = operand.axes(value.shape[axis])
            over = operand.value.ndim - value.ndim + axis if fitting else 0
            choices.append([*sorted(fitting, key=partial(operator.ne, over)), None])
        choices[position] = [axis]
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
            axis = None if constant else _axis_of(full, part, size, chosen)
            if axis is None and not constant:
                return None
            found.append(axis)
        return found

    def _made(self, values: Sequence[Any]) -> list[torch.Tensor]:
        return self._run([v.clone() if isinstance(v, torch.Tensor) else v for v in values])

    def _noise(self) -> list[Any]:
        """Return operands of random numbers; those of the model positive, as variances are."""
        return [
            self._noise_like(value, name is not None) if _is_float(value) else value
            for value, _, name in self.operands
        ]

    def _noise_like(self, value: torch.Tensor, positive: bool) -> torch.Tensor:
        noise = torch.randn(value.shape, generator=self._random)
        return (noise.abs() + 0.1 if positive else noise).to(value)

    def _numbered(self) -> tuple[list[torch.Tensor | None], Labels]:
        """Return a number of its own for every entry of operands, and the unit of every number.

        Zero is left for what is put in between entries.
        """
        numbers: list[torch.Tensor | None] = []
        labels = [np.array([FIXED])]
        first = 1
        for value, own, _ in self.operands:
            if own is None and not _is_float(value):
                numbers.append(None)
                continue
            numbers.append(torch.arange(first, first + value.numel()).reshape(value.shape))
            labels.append(np.broadcast_to(FIXED if own is None else own, value.shape).ravel())
            first += value.numel()
        return numbers, np.concatenate(labels)

    def _other_numbers(self, count: int) -> torch.Tensor:
        """Return another number for every one; zero stays."""
        numbers = torch.randperm(count - 1, generator=self._random) + 1
        signs = 2 * torch.randint(0, 2, (count - 1,), generator=self._random) - 1
        return torch.cat([torch.zeros(1, dtype=torch.int64), numbers * signs])

    def _filled(self, numbers: Sequence[torch.Tensor | None]) -> list[Any]:
        """Return operands that hold some numbers, exactly if that can be."""
        values: list[Any] = []
        for (value, *_), own in zip(self.operands, numbers, strict=True):
            if own is not None and _is_float(value):
                own = own.to(torch.float32 if value.device.type == "mps" else torch.float64)
            values.append(value if own is None else own.to(value.device))
        return values


def _is_constant(value: torch.Tensor, axis: int) -> bool:
    """Whether numbers do not vary along an axis."""
    return bool((value == value.narrow(axis, 0, 1)).all())


def _is_float(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def _axis_of(full: torch.Tensor, part: torch.Tensor, size: int, chosen: torch.Tensor) -> int | None:
    """Return the axis of some size along which a part has the chosen indices of the whole."""
    for axis in (k for k, n in enumerate(full.shape) if n == size):
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


def _is_moved(plain: torch.Tensor, changed: torch.Tensor, table: torch.Tensor) -> bool:
    """Tell whether what came out for other numbers is what a table says of those for some."""
    if plain.shape != changed.shape:
        return False
    numbers = plain.detach().cpu().double()
    if not ((numbers == numbers.round()) & (numbers >= 0) & (numbers < len(table))).all():
        return False
    return torch.equal(table[numbers.long()].double(), changed.detach().cpu().double())
