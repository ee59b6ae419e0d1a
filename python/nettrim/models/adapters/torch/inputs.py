"""What a module's forward takes, and data as users have them: tensors, mappings, loaders."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate

from ....base.arrays import check_samples
from ...samples import Data, Samples

__all__ = ["ForwardSignature", "load_samples"]

BATCH = 256  # samples that are taken from a data set at a time


class ForwardSignature(NamedTuple):
    """What a module's forward takes.

    Attributes
    ----------
    names : tuple of str
        Parameters that can be given by position; those without a name of their own are called
        "0", "1", ...
    required : int
        How many of them have no default.
    by_name : frozenset of str
        Parameters that can be given by name.
    anything : bool
        Whether other names are taken too.
    """

    names: tuple[str, ...]
    required: int
    by_name: frozenset[str]
    anything: bool

    def takes(self, name: Any) -> bool:
        """Tell whether an input can be given by this name."""
        return self.anything or name in self.by_name

    @classmethod
    def of(cls, model: nn.Module) -> ForwardSignature:
        """Look at a module's forward."""
        names: list[str] = []
        required, by_name, anything = 0, set(), False
        for parameter in inspect.signature(model.forward).parameters.values():
            if parameter.kind is parameter.VAR_KEYWORD:
                anything = True
            elif parameter.kind is parameter.VAR_POSITIONAL:
                names += map(str, range(len(names), len(names) + 64))
            elif parameter.kind is parameter.POSITIONAL_ONLY:
                names.append(str(len(names)))
            else:
                by_name.add(parameter.name)
                if parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
                    names.append(parameter.name)
            by_position = (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
            required += parameter.kind in by_position and parameter.default is parameter.empty
        return cls(tuple(names), required, frozenset(by_name), anything)


def load_samples(values: Any, name: str, takes: ForwardSignature) -> Data:
    """Return samples as arrays: float64, int64 if they are whole numbers, bool for masks.

    Parameters
    ----------
    values : array_like, torch.Tensor, mapping, tuple, or batches of these
        See `nettrim.models.adapters.torch.model.TorchView.calibration`.
    name : str
        How an error calls them.
    takes : ForwardSignature

    Returns
    -------
    ndarray or Samples
        An array if there is one input that was given without a name.

    Raises
    ------
    TypeError, ValueError
        If they are no finite numbers, do not fit each other or the module.
    """
    batches = _batches(values)
    if batches is not None:
        return _concatenate([_data(_inputs(b, takes), name, takes) for b in batches], name)
    return _data(values, name, takes)


def _batches(values: Any) -> Iterable[Any] | None:
    """Return the batches that something holds or yields; None for what is data itself."""
    if hasattr(values, "toarray"):  # a sparse matrix has items, but no length
        return None
    if isinstance(values, (DataLoader, Iterator)):
        return values
    if isinstance(values, (Dataset, IterableDataset)) or _is_like_dataset(values):
        return _records(values)
    if isinstance(values, list) and values and _is_batch(values[0]):
        return values
    return None


def _records(values: Any) -> Iterator[Any]:
    """Yield the samples of a data set: in batches, or one by one where they have names.

    Those may differ in length; and lists in them are the numbers of one sample.
    """
    for items in DataLoader(values, BATCH, collate_fn=list):
        if all(isinstance(item, Mapping) for item in items):
            yield from ({k: _alone(v) for k, v in item.items()} for item in items)
        else:
            yield default_collate(items)


def _alone(value: Any) -> Any:
    """Return a sample as a batch."""
    if value is None:
        return None
    return (value if isinstance(value, torch.Tensor) else np.asarray(value))[None]


def _is_like_dataset(values: Any) -> bool:
    known = isinstance(values, (list, tuple, str, bytes, Mapping)) or hasattr(values, "__array__")
    return not known and hasattr(values, "__getitem__") and hasattr(values, "__len__")


def _is_batch(item: Any) -> bool:
    """Whether an item of a list is a batch, and not a sample's numbers."""
    if isinstance(item, torch.Tensor):
        return item.ndim > 1
    if isinstance(item, (list, tuple)) and item:
        inputs = isinstance(item[0], (torch.Tensor, Mapping)) or _is_call(item)
        return inputs or _is_batch(item[0])
    return isinstance(item, Mapping)


def _inputs(batch: Any, takes: ForwardSignature) -> Any:
    """Return what a module takes from a batch: the items it needs, or what the first holds."""
    if not isinstance(batch, (list, tuple)) or not batch:
        return batch
    if _is_call(batch) and all(map(takes.takes, batch[1])):  # otherwise these are labels by name
        return tuple(batch)
    if isinstance(batch[0], (list, tuple, Mapping)):
        return tuple(batch[0]) if isinstance(batch[0], list) else batch[0]
    return tuple(batch[: max(1, takes.required)])


def _is_call(values: Sequence[Any]) -> bool:
    """Whether something is arguments by position, and arguments by name."""
    return (
        len(values) == 2 and isinstance(values[0], (tuple, list)) and isinstance(values[1], Mapping)
    )


def _data(values: Any, name: str, takes: ForwardSignature) -> Data:
    if isinstance(values, Mapping) and not hasattr(values, "toarray"):
        return _samples(_match_names(values, name, takes), name)
    if isinstance(values, tuple) and _is_call(values):
        return _samples(_match_call(values[0], values[1], name, takes), name)
    positional = isinstance(values, tuple) and any(_is_array(part) for part in values)
    by_position = _match_positions(values, name, takes) if positional else {}
    if len(by_position) > 1:
        return _samples(by_position, name)
    alone = values[0] if positional else values
    if isinstance(alone, torch.Tensor) and alone.dtype is torch.bool and takes.names:
        return _samples({takes.names[0]: alone}, name)
    return check_samples(_plain(alone, name), name)


def _is_array(part: Any) -> bool:
    return isinstance(part, (torch.Tensor, np.ndarray)) and part.ndim > 0


def _match_call(
    args: Sequence[Any], kwargs: Mapping[Any, Any], name: str, takes: ForwardSignature
) -> dict[str, Any]:
    """Return inputs by name, some of which were given by position."""
    first = _match_positions(args, name, takes)
    others = _match_names(kwargs, name, takes) if kwargs else {}
    twice = sorted(first.keys() & others.keys())
    if twice:
        raise ValueError(f"{name} has {', '.join(twice)} by position and by name")
    return first | others


def _match_positions(values: Sequence[Any], name: str, takes: ForwardSignature) -> dict[str, Any]:
    """Return inputs that were given by position, by name."""
    if len(values) > len(takes.names):
        raise ValueError(
            f"{name} has {len(values)} inputs, and forward takes {len(takes.names)}: "
            f"{', '.join(takes.names)}"
        )
    return dict(zip(takes.names, values, strict=False))


def _match_names(values: Mapping[Any, Any], name: str, takes: ForwardSignature) -> dict[str, Any]:
    """Return inputs by name, without those that the module does not take, like labels."""
    taken = {str(k): v for k, v in values.items() if takes.takes(k)}
    if not taken:
        raise ValueError(
            f"{name} has none of the inputs that forward takes "
            f"({', '.join(sorted(takes.by_name))}), it has {', '.join(map(str, values))}"
        )
    return taken


def _samples(values: Mapping[str, Any], name: str) -> Samples:
    """Return inputs by name; numbers go along with every batch."""
    entries = {k: _entry(v, f"{name}[{k!r}]") for k, v in values.items() if v is not None}
    arrays = {k: v for k, v in entries.items() if v.ndim}
    counts = {k: len(v) for k, v in arrays.items()}
    if not arrays:
        raise ValueError(f"{name} must hold samples along the first axis of some input")
    if len(set(counts.values())) > 1:
        raise ValueError(f"{name} has different numbers of samples: {counts}")
    return Samples(arrays, {k: v for k, v in entries.items() if not v.ndim})


def _entry(value: Any, name: str) -> NDArray[Any]:
    """Return one of several inputs: bool, int64, or float64 where minus infinity may mask."""
    plain = _plain(value, name)
    array = np.asarray(plain)
    if array.dtype == np.bool_ and array.size and not np.ma.isMaskedArray(plain):
        return array
    if array.dtype.kind == "f" and np.isneginf(array).any():
        check_samples(np.where(np.isneginf(array), 0.0, array), name)
        return array.astype(np.float64)
    return check_samples(np.atleast_1d(plain), name).reshape(array.shape)


def _plain(values: Any, name: str) -> Any:
    """Return data as NumPy understands them."""
    if isinstance(values, (list, tuple)) and any(isinstance(v, torch.Tensor) for v in values):
        values = _stack(values, name)
    if not isinstance(values, torch.Tensor):
        return values
    if values.is_nested:
        raise TypeError(f"{name} is a nested tensor; pad it (torch.nested.to_padded_tensor)")
    values = values.detach().cpu()
    values = values.dequantize() if values.is_quantized else values.to_dense()
    return (values.double() if values.is_floating_point() else values).resolve_conj().numpy()


def _stack(values: Sequence[Any], name: str) -> torch.Tensor:
    try:
        return torch.stack([torch.as_tensor(value) for value in values])
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} has tensors that do not fit each other: {error}") from None


def _concatenate(batches: list[Data], name: str) -> Data:
    """Return batches one after another."""
    if not batches:
        raise ValueError(f"{name} is empty: the loader has no batches")
    named = [batch for batch in batches if isinstance(batch, Samples)]
    alone = [batch for batch in batches if not isinstance(batch, Samples)]
    try:
        if not named:
            return np.concatenate(alone)
        inputs = {frozenset(batch.arrays) | frozenset(batch.shared) for batch in named}
        if alone or len(inputs) > 1:
            raise ValueError("they have different inputs")
        arrays = _join([batch.arrays for batch in named])
    except (KeyError, ValueError) as error:
        raise ValueError(f"{name} has batches that do not fit each other: {error}") from None
    shared = named[0].shared
    for key, value in shared.items():
        if any(not np.array_equal(value, batch.shared[key]) for batch in named):
            raise ValueError(f"{name}[{key!r}] is not the same number in all batches")
    return Samples(arrays, shared)


def _join(batches: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Put arrays one after another; those with a mask that tells of it are padded with zeros."""
    joined = {}
    for key in batches[0]:
        parts = [batch[key] for batch in batches]
        if len({part.shape[1:2] for part in parts}) > 1:
            if not any(_covers(batches, mask, key) for mask in batches[0]):
                raise ValueError(
                    f"{key!r} has several lengths, and no input is a mask of them, as "
                    "'attention_mask' is"
                )
            parts = [_pad(part, max(part.shape[1] for part in parts)) for part in parts]
        joined[key] = np.concatenate(parts)
    return joined


def _covers(batches: Sequence[Mapping[str, NDArray[Any]]], mask: str, key: str) -> bool:
    """Whether an input is called a mask, and has a number for each position of another one."""
    return mask.endswith("mask") and all(
        batch[mask].shape == batch[key].shape[:2] for batch in batches
    )


def _pad(array: NDArray[Any], length: int) -> NDArray[Any]:
    """Append zeros along the second axis."""
    ahead = [(0, 0), (0, length - array.shape[1]), *[(0, 0)] * (array.ndim - 2)]
    return np.pad(array, ahead)
