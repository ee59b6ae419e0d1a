"""What a training depends on, in words and hashes: a checkpoint goes on with nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import CodeType
from typing import Any

import torch
from torch import nn

from ..models.adapters.torch.data import iterate_batches, tensor_bytes

__all__ = [
    "find_generators",
    "hash_batches",
    "hash_model",
    "hash_value",
    "qualified_name",
    "untouched",
]


def hash_value(value: Any) -> str:
    """Return the SHA-256 of nested mappings and sequences of tensors and plain values."""
    digest = hashlib.sha256()
    for part in _parts(value):
        digest.update(part)
    return digest.hexdigest()


def hash_model(model: nn.Module) -> str:
    """Return the SHA-256 of a module's architecture, as it prints itself, and of its tensors."""
    return hash_value([str(model), model.state_dict()])


def hash_batches(loader: Iterable[Any]) -> str:
    """Return the SHA-256 of all that a loader yields in one walk: the data, and their order."""
    digest = hashlib.sha256()
    for batch in iterate_batches(loader, "train_loader", torch.device("cpu")):
        for part in _parts(list(batch)):
            digest.update(part)
    return digest.hexdigest()


def qualified_name(function: Callable[..., Any]) -> str:
    """Return the name of a function, with a hash of its code and of what it has bound."""
    if isinstance(function, partial):
        bound = hash_value([function.args, function.keywords])
        return f"{qualified_name(function.func)} with {bound[:12]}"
    if isinstance(function, nn.Module):
        return f"{type(function).__name__} {hash_model(function)[:12]}"
    code = getattr(function, "__code__", None)
    name = getattr(function, "__qualname__", type(function).__qualname__)
    if code is None:
        return str(name)
    cells = [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]
    whole = [_code(code), getattr(function, "__defaults__", None), cells]
    return f"{name} {hash_value(whole)[:12]}"


def find_generators(loader: Any) -> list[torch.Generator]:
    """Return the generators that a loader and its samplers have of their own, each once."""
    samplers = getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None)
    owners = [loader, *samplers, getattr(samplers[1], "sampler", None)]
    found = [getattr(owner, "generator", None) for owner in owners]
    return list({id(g): g for g in found if isinstance(g, torch.Generator)}.values())


@contextmanager
def untouched(loader: Any, seed: int) -> Iterator[None]:
    """Walk a loader from a seed; afterwards all random states are as they were."""
    generators = find_generators(loader)
    states = [generator.get_state() for generator in generators]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
    for generator, state in zip(generators, states, strict=True):
        generator.set_state(state)


def _parts(value: Any) -> Iterator[bytes]:
    if isinstance(value, torch.Tensor):
        yield f"{value.dtype} {tuple(value.shape)}".encode()
        yield tensor_bytes(value).tobytes()
    elif isinstance(value, Mapping):
        yield f"mapping {len(value)}".encode()
        for key, entry in value.items():
            yield f"{type(key).__name__} {key!r}".encode()
            yield from _parts(entry)
    elif isinstance(value, (list, tuple)):
        yield f"sequence {len(value)}".encode()
        for entry in value:
            yield from _parts(entry)
    elif value is None or isinstance(value, (bool, int, float, str, bytes)):
        yield f"{type(value).__name__} {value!r}".encode()
    elif callable(value):
        yield qualified_name(value).encode()
    else:  # what prints itself with an address is known by its type
        yield type(value).__qualname__.encode()


def _code(code: CodeType) -> list[Any]:
    """Return what a function does, wherever it is written."""
    constants = [_code(c) if isinstance(c, CodeType) else c for c in code.co_consts]
    return [code.co_code, list(code.co_names), constants]
