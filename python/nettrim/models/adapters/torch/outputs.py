"""What a module returns: the tensors in it, by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch

__all__ = ["ALONE", "are_close", "leaves", "named_tensors"]

ALONE = "output"  # the name of a tensor that is returned as it is


def named_tensors(returned: Any) -> dict[str, torch.Tensor]:
    """Return all tensors in what a module returned, by dotted names; see `leaves`."""
    return {name: x for name, x in leaves(returned) if isinstance(x, torch.Tensor)}


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what is in tuples, lists, mappings and dataclasses, however nested, by dotted names.

    Parts are named by keys, fields or positions: ``"0"``, ``"logits"``, ``"hidden_states.0"``.
    """
    parts = _parts(value)
    if parts is None:
        yield name or ALONE, value
        return
    for key, part in parts:
        yield from leaves(part, f"{name}.{key}" if name else str(key))


def _parts(value: Any) -> Iterable[tuple[Any, Any]] | None:
    if isinstance(value, Mapping):
        return value.items()
    if isinstance(value, (list, tuple)):
        return zip(getattr(value, "_fields", range(len(value))), value, strict=True)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(f.name, getattr(value, f.name)) for f in dataclasses.fields(value)]
    return None


def are_close(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Tell whether two tensors are the same up to rounding."""
    return one.shape == other.shape and torch.allclose(one, other, equal_nan=True)
