r"""Convolutions as affine maps on patches: unfolding, and how far a convolution can stretch.

A patch is what a kernel sees at one position. Its features are ordered channel by channel and,
inside a channel, like the kernel, so that a group's channels stay side by side
(docs/mathematics/layer.md#convolutions).

How far a convolution stretches its input is bounded in two ways, of which the smaller is taken.
Every input lies in at most :math:`m = \prod_a \lceil k_a / s_a \rceil` patches, so the largest
singular value of the matrix that the patches meet, times :math:`\sqrt m`. And, with the input on a
torus large enough that nothing wraps around, the convolution is a part of a circular one, whose
norm is the largest over the frequencies of the singular values of the kernel's transform (Sedghi,
Gupta and Long, The singular values of convolutional layers, ICLR 2019).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ..base.arrays import AnyFloat, Array, spectral_norm

__all__ = ["Window"]

LARGEST_TORUS = 1 << 25  # entries of a kernel's transform that are worth the sharper bound


@dataclass(frozen=True)
class Window:
    """Which inputs a kernel of any number of axes sees at each of its positions.

    Attributes
    ----------
    kernel, stride, dilation : tuple of int
        One number for each axis.
    padding : tuple of (int, int)
        Zeros before and behind the input, for each axis.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]

    @property
    def reach(self) -> tuple[int, ...]:
        """Sizes of the kernel with the holes of its dilation."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True))

    def positions(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """Return the sizes of the output for those of an input."""
        return tuple(
            (n + before + behind - r) // s + 1
            for n, (before, behind), r, s in zip(
                size, self.padding, self.reach, self.stride, strict=True
            )
        )

    def patches(self, values: Array, fill: float = 0.0) -> Array:
        """Return a view (n, channels, *positions, *kernel) of values (n, channels, *size)."""
        padded = values
        if any(map(any, self.padding)):
            padded = np.pad(values, ((0, 0), (0, 0), *self.padding), constant_values=fill)
        if min(self.positions(values.shape[2:])) < 1:
            raise ValueError(
                f"a kernel of {self.reach} does not fit an input of {values.shape[2:]}"
            )
        axes = tuple(range(2, values.ndim))
        windows = sliding_window_view(padded, self.reach, axis=axes)
        strides = tuple(slice(None, None, s) for s in self.stride)
        holes = tuple(slice(None, None, d) for d in self.dilation)
        return windows[(slice(None), slice(None), *strides, *holes)]

    def unfold(self, values: Array) -> Array:
        """Return a row for each sample and position: its patch, channel by channel."""
        patches = np.moveaxis(self.patches(values), 1, 1 + len(self.kernel))
        return patches.reshape(math.prod(patches.shape[: 1 + len(self.kernel)]), -1)

    def unfold_some(self, values: Array, rows: NDArray[np.intp]) -> Array:
        """Return some rows of `unfold`, by their numbers."""
        patches = self.patches(values)
        shape = patches.shape[2 : 2 + len(self.kernel)]
        sample, *position = np.unravel_index(rows, (len(values), *shape))
        places: Any = (sample, slice(None), *position)
        chosen: Array = patches[places]
        return chosen.reshape(len(rows), -1)

    @cached_property
    def overlap(self) -> int:
        """In how many patches an input can lie at most."""
        return math.prod(
            -(-k // (s // math.gcd(s, d)))
            for k, s, d in zip(self.kernel, self.stride, self.dilation, strict=True)
        )

    def lipschitz(self, weights: AnyFloat, size: tuple[int, ...]) -> float:
        """Bound the norm of a convolution (out, in, *kernel), of one group, on inputs of a size."""
        by_patches = math.sqrt(self.overlap) * spectral_norm(weights.reshape(len(weights), -1))
        torus = [n + r - 1 for n, r in zip(size, self.reach, strict=True)]
        if (
            self.overlap == 1
            or weights.shape[0] * weights.shape[1] * math.prod(torus) > LARGEST_TORUS
        ):
            return by_patches
        dilated = np.zeros((*weights.shape[:2], *self.reach))
        taps: tuple[slice, ...] = tuple(slice(None, None, d) for d in self.dilation)
        dilated[(slice(None), slice(None), *taps)] = weights
        axes = tuple(range(2, weights.ndim))
        transform = np.moveaxis(np.fft.rfftn(dilated, s=torus, axes=axes), (0, 1), (-2, -1))
        return min(by_patches, float(np.linalg.norm(transform, 2, axis=(-2, -1)).max()))
