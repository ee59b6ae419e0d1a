"""What an ONNX model takes: which inputs hold samples, along which axis, and of what type."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray

from ....base.arrays import check_finite, check_samples
from ...samples import Data, Samples
from .graph import KNOWN_TYPES, Values

__all__ = ["Inputs"]

Feed: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class _Input:
    """A tensor that a model takes.

    Attributes
    ----------
    name : str
    dtype : numpy.dtype
        object if it is no tensor, or not one of numbers.
    dims : list of int or str, or None
        Lengths of the axes, names of those that may have any length ("?" without a name); None if
        nothing is said of them.
    """

    name: str
    dtype: np.dtype[Any]
    dims: list[int | str] | None

    @classmethod
    def of(cls, value: onnx.ValueInfoProto) -> _Input:
        """Read what a model says of an input."""
        tensor = value.type.tensor_type
        dtype = np.dtype(object)
        if tensor.elem_type in KNOWN_TYPES:  # not if it is a sequence or a map
            dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        dims: list[int | str] | None = None
        if tensor.HasField("shape"):
            # Old exports write -1, or nothing, where any length will do.
            dims = [max(dim.dim_value, 0) or dim.dim_param or "?" for dim in tensor.shape.dim]
        return cls(value.name, dtype, dims)

    @property
    def first(self) -> int | str | None:
        """What is said of the first axis, None if there is none."""
        if self.dims is None:
            return "?"
        return self.dims[0] if self.dims else None

    def cast(self, values: NDArray[Any], called: str, axis: int | None) -> Values:
        """Return an array as the model takes it; the axis of samples, if there is one, is first."""
        self._check_shape(values.shape, called, axis)
        with np.errstate(over="ignore", invalid="ignore"):
            cast = values.astype(self.dtype)
        whole = self.dtype.kind != "f"
        if whole and (cast != values).any():
            raise ValueError(
                f"{called} must hold whole numbers for the model's {self.dtype} input, in range"
            )
        if not whole and not np.isfinite(cast).all():
            raise ValueError(
                f"{called} must fit the model's input, its largest entries are no {self.dtype}"
            )
        return cast

    def check_type(self) -> None:
        """Make sure that it is a tensor of numbers that NumPy has."""
        if self.dtype.kind not in "fiub":
            what = "is none"
            if self.dtype != object:
                what = f"is of {self.dtype}; convert the model to float32 or float16"
            raise ValueError(f"model must take a tensor of numbers, its input {self.name!r} {what}")

    def _check_shape(self, shape: tuple[int, ...], called: str, axis: int | None) -> None:
        if self.dims is None:
            return
        dims, got = list(self.dims), shape
        if axis is not None and dims:
            dims.pop(axis)
            got = shape[1:]
        pairs = zip(dims, got, strict=False)
        if len(shape) != len(self.dims) or any(
            wanted != length for wanted, length in pairs if isinstance(wanted, int)
        ):
            wanted = ", ".join(map(str, dims))
            have = "must have shape" if axis is None else "must have samples of shape"
            raise ValueError(
                f"{called} {have} ({wanted}) for the model's input {self.name!r}, got {got}"
            )


class Inputs:
    """All that a model takes, apart from inputs that have a value in the model.

    The samples lie along the first axis of the first input whose first axis may have any length.
    Where no input has such an axis, the model takes a fixed number of samples at a time. In other
    inputs they lie along the first axis too or, where its length is fixed to something else, along
    the first axis of any length, like those of the state of a recurrent layer. What has no such
    axis goes along with every batch as it is.
    """

    def __init__(self, graph: onnx.GraphProto) -> None:
        constants = {tensor.name for tensor in graph.initializer}
        self._stored = {value.name for value in graph.input if value.name in constants}
        free = [_Input.of(value) for value in graph.input if value.name not in constants]
        self._free = {given.name: given for given in free}
        ranked = [given for given in free if given.first is not None]
        anyhow = [given for given in ranked if isinstance(given.first, str)]
        self._first: _Input | None = next(iter(anyhow + ranked), None)

    @property
    def names(self) -> list[str]:
        """Of the inputs that have to be given."""
        return list(self._free)

    @property
    def batch(self) -> int | None:
        """Number of samples the model takes at a time, None if it takes any."""
        first = None if self._first is None else self._first.first
        return first if isinstance(first, int) else None

    def calibration(self, values: Any, name: str) -> Data:
        """Return data as users have them as one array or, of several inputs, as samples."""
        self._check_types()
        alone = len(self._free) == 1
        values = _readable(values)
        if alone and not isinstance(values, Mapping) and not self._are_batches(values):
            data: Data = check_samples(values, name)
        else:
            samples = self._samples(self._joined(values, name), name)
            data = next(iter(samples.arrays.values())) if alone else samples
        self.cast(data, name)
        return data

    def cast(self, data: Data, name: str = "X") -> Samples:
        """Return samples as the model takes them.

        Raises
        ------
        ValueError
            If their shape is another, or the model's type cannot hold them; the message starts with
            ``name``.
        """
        self._check_types()
        if not isinstance(data, Samples):
            (only,) = self._free.values()
            return Samples({only.name: only.cast(data, name, 0)})

        def cast(key: str, values: Values, axis: int | None) -> Values:
            return self._free[key].cast(values, f"{name}[{key!r}]", axis)

        arrays = {k: cast(k, v, self._axis(self._free[k])) for k, v in data.arrays.items()}
        return Samples(arrays, {k: cast(k, v, None) for k, v in data.shared.items()})

    def feeds(self, samples: Samples) -> dict[str, Values]:
        """Return what is given to onnxruntime: axes where the model has them."""
        arrays = {
            key: np.moveaxis(values, 0, self._axis(self._free[key]) or 0)
            for key, values in samples.arrays.items()
        }
        return {**arrays, **samples.shared}

    def _axis(self, given: _Input) -> int | None:
        """Return the axis of an input along which samples lie, None if they do not."""
        if given is self._first or isinstance(given.first, str):
            return 0
        if self._first is None or given.dims is None:
            return None
        if self.batch is not None:
            return 0 if given.first == self.batch else None
        named = {"?", self._first.first}
        free = [k for k, dim in enumerate(given.dims) if isinstance(dim, str)]
        fitting = [k for k in free if self._first.first == "?" or given.dims[k] in named]
        return next(iter(fitting), None)

    def _check_types(self) -> None:
        for given in self._free.values():
            given.check_type()
        if self._first is None:
            raise ValueError(f"model must take samples, its inputs are {self.names}")

    def _samples(self, feed: Feed, name: str) -> Samples:
        """Tell samples from what goes along with every batch."""
        self._check_names(feed, name)
        values = {key: _numbers(feed[key], f"{name}[{key!r}]") for key in self._free}
        assert self._first is not None
        n_samples = self._length(self._first, values, name)
        arrays, shared = {}, {}
        for key, given in self._free.items():
            axis = self._axis(given)
            if axis is not None and self._length(given, values, name) == n_samples:
                arrays[key] = np.moveaxis(values[key], axis, 0)
            elif axis is None or self._may_differ(given):
                shared[key] = values[key]
            else:
                raise ValueError(
                    f"{name}[{key!r}] must hold as many samples as {name}[{self._first.name!r}], "
                    f"{n_samples}, got {self._length(given, values, name)} along axis {axis}"
                )
        return Samples(arrays, shared)

    def _length(self, given: _Input, values: Mapping[str, Values], name: str) -> int:
        axis = self._axis(given) or 0
        if values[given.name].ndim <= axis:
            raise ValueError(
                f"{name}[{given.name!r}] must hold samples along axis {axis}, got shape "
                f"{values[given.name].shape}"
            )
        return int(values[given.name].shape[axis])

    def _may_differ(self, given: _Input) -> bool:
        """Whether an input's first axis is known to be another than that of samples."""
        assert self._first is not None
        return self.batch is not None or (
            given.first != self._first.first and "?" not in (given.first, self._first.first)
        )

    def _check_names(self, feed: Feed, name: str) -> None:
        for key in feed:
            if key in self._stored:
                raise ValueError(
                    f"{name} must not give {key!r}: its value is stored in the model, which the "
                    "layers are read from"
                )
            if key not in self._free:
                raise ValueError(
                    f"{name} gives {key!r}, which is no input of the model; its inputs are "
                    f"{self.names}"
                )
        missing = [key for key in self._free if key not in feed]
        if missing:
            raise ValueError(
                f"{name} must be a mapping that gives each input of the model, it lacks {missing}"
            )

    def _are_batches(self, values: Any) -> bool:
        """Tell a sequence, loader or data set of batches or samples from what is one array."""
        if hasattr(values, "__array__") or isinstance(values, (str, bytes)):
            return False
        if isinstance(values, (list, tuple)):
            return bool(values) and all(map(self._is_batch, values))
        return isinstance(values, Iterable)

    def _is_batch(self, item: Any) -> bool:
        if isinstance(item, (list, tuple)) and item:
            item = item[0]
        if isinstance(item, Mapping):
            return True
        if self._first is None or self._first.dims is None or not hasattr(item, "__array__"):
            return False
        return len(self._free) > 1 or np.ndim(item) == len(self._first.dims)

    def _joined(self, values: Any, name: str) -> Feed:
        """Return one array for each input, from one or many batches."""
        if isinstance(values, Mapping):
            return values
        if len(self._free) > 1 and _are_arrays(values):
            return self._feed(values, name)
        if not self._are_batches(values):
            raise ValueError(
                f"{name} must be a mapping from the names of the model's inputs {self.names} to "
                f"arrays, got {type(values).__name__}"
            )
        feeds = [self._feed(batch, name) for batch in values]
        if not feeds:
            raise ValueError(f"{name} is empty: there are no batches")
        return {key: self._concatenated(key, feeds, name) for key in feeds[0] if key in self._free}

    def _feed(self, batch: Any, name: str) -> Feed:
        """Return one batch or sample by name; what follows the inputs are labels."""
        items: Sequence[Any] = batch if isinstance(batch, (list, tuple)) else [batch]
        if items and isinstance(items[0], Mapping):
            return items[0]
        return dict(zip(self._free, items, strict=False))

    def _concatenated(self, key: str, feeds: Sequence[Feed], name: str) -> Any:
        called = f"{name}[{key!r}]"
        try:
            parts = [_numbers(feed[key], called) for feed in feeds]
        except KeyError:
            raise ValueError(f"{name} has batches that lack {key!r}") from None
        given = self._free[key]
        axis = self._axis(given)
        if axis is None:
            if any(not np.array_equal(part, parts[0]) for part in parts):
                raise ValueError(f"{called} must be the same for all batches, it has no samples")
            return parts[0]
        if given.dims is not None and parts[0].ndim == len(given.dims) - 1:  # single samples
            parts = [np.expand_dims(part, axis) for part in parts]
        try:
            return np.concatenate(parts, axis)
        except ValueError as error:
            raise ValueError(f"{called} has batches that do not fit each other: {error}") from None


def _are_arrays(values: Any) -> bool:
    """Tell one array for each input, in their order, from batches."""
    return isinstance(values, tuple) and all(hasattr(item, "__array__") for item in values)


def _numbers(values: Any, name: str) -> Values:
    """Return finite numbers: float64, or int64 if they are whole, with or without axes."""
    values = _readable(values)
    array = check_finite(values, name)
    return array.astype(np.float64) if array.ndim == 0 else check_samples(values, name)


def _readable(values: Any) -> Any:
    """Return data as NumPy can read them, or something that can be walked through."""
    if isinstance(values, (str, bytes, Mapping)):
        return values
    if hasattr(values, "detach"):  # a tensor of PyTorch, maybe with gradients
        return values.detach().cpu()
    if hasattr(values, "__array__") or isinstance(values, Iterable):
        return values
    if hasattr(values, "__getitem__") and hasattr(values, "__len__"):  # a data set
        return (values[number] for number in range(len(values)))
    return values
