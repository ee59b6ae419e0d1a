"""Calibration data of a model with several inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Data", "Samples", "data_shape", "sample_shape"]


@dataclass(frozen=True)
class Samples:
    """Samples of several inputs by name; it can be sliced like an array of samples.

    Attributes
    ----------
    arrays : mapping of str to ndarray of shape (n_samples, ...)
    shared : mapping of str to ndarray
        What goes along with every batch as it is, like a sample rate.
    """

    arrays: Mapping[str, NDArray[Any]]
    shared: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(next(iter(self.arrays.values())))

    def __getitem__(self, rows: slice | NDArray[np.intp]) -> Samples:
        """Return some of the samples."""
        return Samples({name: array[rows] for name, array in self.arrays.items()}, self.shared)


Data: TypeAlias = "NDArray[Any] | Samples"


def data_shape(data: Data) -> Any:
    """Return the shape of data as plain values: a list, or one for each input by name."""
    if isinstance(data, Samples):
        return {name: list(array.shape) for name, array in data.arrays.items()}
    return list(data.shape)


def sample_shape(data: Data) -> Any:
    """Return the shape of one sample: a tuple, or one for each input by name."""
    if isinstance(data, Samples):
        return {name: array.shape[1:] for name, array in data.arrays.items()}
    return data.shape[1:]
