"""The configuration that models of the transformers library are built from, for other sizes."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ....units.unit_map import UnitMap

__all__ = ["adapt_config"]

ABSENT = ("n_inner",)  # may be None, which stands for a multiple of another number

Change = tuple[Any, str, int]  # a part of a configuration, its attribute and what becomes of it


def adapt_config(model: nn.Module, units: UnitMap, kept: NDArray[np.bool_]) -> None:
    """Let a model's configuration tell the sizes that are left, if one can tell them.

    A model of the transformers library, saved by ``save_pretrained``, is then read by
    ``from_pretrained``. That builds all blocks alike: where different numbers are left in them, or
    where the size of a head follows from the number of heads, the configuration stays.

    Parameters
    ----------
    model : torch.nn.Module
        Without units that are not kept.
    units : UnitMap
    kept : ndarray of bool of shape (units.n_units,)
    """
    config: Any = getattr(model, "config", None)
    if not hasattr(config, "to_dict"):
        return
    wanted = {name: tensor.shape for name, tensor in model.state_dict().items()}
    before = [(part, dict(vars(part))) for part in _parts(config)]
    least = _count_other_shapes(model, config, wanted)
    changes = [*_changes(config, _new_sizes(units, kept))]
    for part, name, size in changes + changes if least else []:  # one may take another one first
        old = getattr(part, name)
        setattr(part, name, size)
        others = _count_other_shapes(model, config, wanted)
        if others < least:
            least = others
        else:
            setattr(part, name, old)
    if least:
        for part, numbers in before:
            part.__dict__.update(numbers)


def _new_sizes(units: UnitMap, kept: NDArray[np.bool_]) -> dict[tuple[int, int], None]:
    """Return what sizes and numbers were, and what becomes of them."""
    pairs = [(len(count.units), count.count(kept)) for count in units.counts]
    pairs += [(len(signal.units), int(kept[signal.units].sum())) for signal in units.signals]
    return {(before, after): None for before, after in pairs if after < before}


def _changes(config: Any, sizes: Iterable[tuple[int, int]]) -> Iterator[Change]:
    """Yield changes of a configuration that may tell new sizes."""
    for part in _parts(config):
        for name, value in vars(part).items():
            for before, after in sizes:
                if (value is None and name in ABSENT) or (type(value) is int and value == before):
                    yield part, name, after
                elif type(value) is int and "head" in name and value % before == 0:
                    yield part, name, value // before * after  # heads that share keys


def _parts(config: Any) -> Iterator[Any]:
    """Yield a configuration and those in it."""
    yield config
    for value in vars(config).values():
        if hasattr(value, "to_dict"):
            yield from _parts(value)


def _count_other_shapes(model: nn.Module, config: Any, wanted: Mapping[str, torch.Size]) -> float:
    """Return how many tensors of a model that is built from a configuration have other shapes."""
    try:
        with warnings.catch_warnings(), torch.device("meta"):
            warnings.simplefilter("ignore")
            built = type(model)(config).state_dict()
    except Exception:  # noqa: BLE001 (of code that is not ours)
        return math.inf
    return float(sum(n not in built or built[n].shape != shape for n, shape in wanted.items()))
