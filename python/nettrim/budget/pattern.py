"""Which weights of a layer may be removed: features that stay whole, and patterns like 2:4."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..base.arguments import check_booleans, show
from ..base.arrays import Array

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Mask = NDArray[np.bool_]

__all__ = ["Pattern", "check_pattern"]

PATTERN = re.compile(r"0*([0-9]{1,9}):0*([0-9]{1,9})")  # more digits than any layer has features


def check_pattern(value: object, name: str) -> str:
    """Return a pattern as it is commonly written: "2:4", also for "02:04"."""
    parts = PATTERN.fullmatch(value) if isinstance(value, str) else None
    most, group = map(int, parts.groups()) if parts else (0, 0)
    if not 0 < most < group:
        raise ValueError(f"{name} must be like '2:4', 2 of every 4 weights, got {show(value)}")
    return f"{most}:{group}"


@dataclass(frozen=True)
class Pattern:
    """Which weights may be removed.

    Attributes
    ----------
    keep : ndarray of bool, of shape (n_features,)
        Features whose weights all stay, like the row of biases. They do not count.
    most, group : int
        Of every `group` of the other features in a row, at most `most` stay in an output; 0 for no
        such pattern.
    """

    keep: Mask
    most: int = 0
    group: int = 0

    @classmethod
    def of(cls, keep: ArrayLike | None, pattern: str | None, n_features: int) -> Pattern:
        """Check what the caller gave."""
        mask = np.zeros(n_features, bool) if keep is None else check_booleans(keep, "keep")
        if mask.shape != (n_features,):
            raise ValueError(f"keep must have one entry for each of the {n_features} features")
        if pattern is None:
            return cls(mask)
        most, group = map(int, check_pattern(pattern, "pattern").split(":"))
        return cls(mask, most, group)

    @property
    def n_free(self) -> int:
        """Features whose weights may go."""
        return int(np.count_nonzero(~self.keep))

    @property
    def demanded(self) -> int:
        """How many weights of an output have to go."""
        if self.group == 0:
            return 0
        groups, rest = divmod(self.n_free, self.group)
        return groups * (self.group - self.most) + max(rest - self.most, 0)

    def count(self, weights: Array) -> int:
        """Return how many weights are left, of those that count."""
        return int(np.count_nonzero(weights[~self.keep]))

    def admits(self, weights: Array) -> bool:
        """Tell whether no more weights are left in a row than the pattern allows."""
        if self.group == 0:
            return True
        left = weights[~self.keep] != 0
        begins = np.arange(0, self.n_free, self.group)
        return bool((np.add.reduceat(left, begins, axis=0, dtype=int) <= self.most).all())

    def first_to_go(self, sizes: Array) -> Mask:
        """Return which weights have to go for it if the smallest do; of shape (n_outputs, ...)."""
        first = np.zeros(sizes.shape, bool)
        if self.group == 0:
            return first
        free = np.flatnonzero(~self.keep)
        for begin in range(0, self.n_free, self.group):
            own = free[begin : begin + self.group]
            smallest = np.argsort(sizes[:, own], axis=1, kind="stable")
            gone = smallest[:, : max(len(own) - self.most, 0)]
            np.put_along_axis(first, own[gone], True, axis=1)
        return first
