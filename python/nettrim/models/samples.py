"""Calibration data of a model with several inputs, or with positions that count in nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "UNNAMED",
    "Data",
    "Mask",
    "Samples",
    "data_shape",
    "refuse_shuffled",
    "sample_shape",
    "shuffles",
]

RANDOM = {"RandomSampler", "SubsetRandomSampler", "WeightedRandomSampler"}  # of PyTorch
UNNAMED = ""  # what the only input is called where it came without a name


class Mask(NamedTuple):
    """Which positions of samples count, like the real tokens of padded texts.

    Attributes
    ----------
    counts : ndarray of bool of shape (n_samples, n_positions)
    inputs : frozenset of str
        The inputs whose second axis is that of these positions.
    """

    counts: NDArray[np.bool_]
    inputs: frozenset[str]


@dataclass(frozen=True)
class Samples:
    """Samples of several inputs by name; it can be sliced like an array of samples.

    Attributes
    ----------
    arrays : mapping of str to ndarray of shape (n_samples, ...)
    shared : mapping of str to ndarray
        What goes along with every batch as it is, like a sample rate.
    masks : tuple of Mask
        Of the sequences of which not every position counts; no input runs along two of them.
    """

    arrays: Mapping[str, NDArray[Any]]
    shared: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    masks: tuple[Mask, ...] = ()

    @property
    def inputs(self) -> Data:
        """What a model is given: no masks, and one array where that came without a name."""
        return self.arrays.get(UNNAMED, Samples(self.arrays, self.shared))

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(next(iter(self.arrays.values())))

    def __getitem__(self, rows: slice | NDArray[np.intp]) -> Samples:
        """Return some of the samples."""
        masks = tuple(mask._replace(counts=mask.counts[rows]) for mask in self.masks)
        arrays = {name: array[rows] for name, array in self.arrays.items()}
        return Samples(arrays, self.shared, masks)


Data: TypeAlias = "NDArray[Any] | Samples"


def data_shape(data: Data) -> Any:
    """Return the shape of data as plain values: a list, or one for each input by name."""
    given = data.inputs if isinstance(data, Samples) else data
    if isinstance(given, Samples):
        return {name: list(array.shape) for name, array in given.arrays.items()}
    return list(given.shape)


def sample_shape(data: Data) -> Any:
    """Return the shape of one sample: a tuple, or one for each input by name.

    The number of positions is None where there is a mask, as samples may be padded to any.
    """
    if not isinstance(data, Samples):
        return data.shape[1:]
    padded = {name for mask in data.masks for name in mask.inputs}
    return {
        name: (None, *array.shape[2:]) if name in padded else array.shape[1:]
        for name, array in data.arrays.items()
    }


def shuffles(values: Any) -> bool:
    """Tell whether something is a loader that draws its samples anew whenever it is read."""
    loader = getattr(values, "batch_sampler", None)
    samplers = getattr(values, "sampler", None), getattr(loader, "sampler", None)
    kinds = {kind.__name__ for sampler in samplers for kind in type(sampler).__mro__}
    return bool(kinds & RANDOM) or any(getattr(s, "shuffle", False) is True for s in samplers)


def refuse_shuffled(name: str) -> NoReturn:
    """Say that labels cannot be told of samples that come in another order every time."""
    raise ValueError(
        f"labels: {name} is a loader that shuffles, so which sample has which of them is not "
        "known; give it without shuffling"
    )
