"""Transposed convolutions as convolutions: of an input with zeros between its positions.

With the kernel turned round, a transposed convolution is a convolution of stride 1 over its input
in which zeros stand between the positions (of the stride) and around them (of kernel and padding).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ....base.arrays import Array
from .hooks import hooks_in_front

__all__ = ["TRANSPOSED", "Spread", "resized_outputs", "turn_kernels"]

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d)


class Spread(NamedTuple):
    """Where the zeros stand, for each axis.

    Attributes
    ----------
    stride : tuple of int
        From one position of the input to the next.
    before, behind : tuple of int
        How many zeros stand around it; so many positions are cut off where they are negative.
    """

    stride: tuple[int, ...]
    before: tuple[int, ...]
    behind: tuple[int, ...]

    @classmethod
    def of(cls, module: Any) -> Spread:
        """Return the zeros of a transposed convolution."""
        reach = [(k - 1) * d for k, d in zip(module.kernel_size, module.dilation, strict=True)]
        before = tuple(r - p for r, p in zip(reach, module.padding, strict=True))
        behind = tuple(b + o for b, o in zip(before, module.output_padding, strict=True))
        return cls(module.stride, before, behind)

    def size(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """Return the size of an input of some size with its zeros."""
        axes = zip(size, *self, strict=True)
        return tuple((n - 1) * stride + 1 + a + b for n, stride, a, b in axes)

    def apply(self, values: Array) -> Array:
        """Return values (n, channels, *size) with their zeros."""
        spread = np.zeros((*values.shape[:2], *self.size(values.shape[2:])))
        kept: list[slice] = []
        places: list[slice] = []
        for n, size, stride, before in zip(
            values.shape[2:], spread.shape[2:], self.stride, self.before, strict=True
        ):
            first = max(0, -(before // stride))  # ceil(-before / stride)
            end = max(first, min(n, -((before - size) // stride)))
            kept.append(slice(first, end))
            places.append(slice(before + first * stride, before + end * stride, stride))
        whole = (slice(None), slice(None))
        spread[(*whole, *places)] = values[(*whole, *kept)]
        return spread


def turn_kernels(kernels: NDArray[Any], groups: int) -> NDArray[Any]:
    """Turn kernels round and exchange their first two axes, which are inputs and outputs.

    It takes those of a transposed convolution, (in, out / groups, ...), to those of a convolution,
    (out, in / groups, ...), and back.
    """
    first, second = kernels.shape[:2]
    by_group = kernels.reshape(groups, first // groups, second, *kernels.shape[2:]).swapaxes(1, 2)
    swapped = by_group.reshape(groups * second, first // groups, *kernels.shape[2:])
    return np.flip(swapped, tuple(range(2, kernels.ndim)))


@contextlib.contextmanager
def resized_outputs(layers: Mapping[str, nn.Module]) -> Iterator[set[str]]:
    """Collect the transposed convolutions that are told how large their output shall be."""
    found: set[str] = set()

    def hear(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, args: Any, kwargs: Any) -> None:
            if len(args) > 1 or kwargs.get("output_size") is not None:
                found.add(name)

        return hook

    transposed = [(name, m) for name, m in layers.items() if isinstance(m, TRANSPOSED)]
    with hooks_in_front((m, hear(n)) for n, m in transposed):
        yield found
