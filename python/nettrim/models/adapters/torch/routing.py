"""Which layers meet rows that the model picks itself, like the experts of a mixture."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import nn

from ...samples import Data
from .run import Arrival, Exit, Runner, Stop

__all__ = ["UNREACHED", "Routing", "find_routing", "hooked_modules"]

UNREACHED = "no sample of the data reaches it"

Shape = tuple[int, ...]


class Routing(NamedTuple):
    """What the calls of a model show of layers that meet rows it picks.

    Attributes
    ----------
    arrivals : dict of Stop to Arrival or None
        All layers that run, in an order that all samples keep, and last the outputs. Where they
        keep none, layers count as called more than once: nothing can wait for their turn.
    left_out : dict of str to str
        Layers that meet no row of the data, and why they cannot be pruned.
    whole : frozenset of str
        The modules that meet the rows of all samples, as many of each.
    """

    arrivals: dict[Stop, Arrival | None]
    left_out: dict[str, str]
    whole: frozenset[str]


class _Calls(NamedTuple):
    """The shapes that arrive at modules while some samples pass, in the order of first calls."""

    n_samples: int
    shapes: dict[str, list[Shape]]


def find_routing(
    runner: Runner,
    layers: Mapping[str, nn.Module],
    found: Mapping[Stop, Arrival | None],
    few: Sequence[Data],
    data: Data,
) -> Routing:
    """Find the layers that meet rows a model picks; all data pass if few show that some may.

    Parameters
    ----------
    runner : Runner
    layers : mapping of str to torch.nn.Module
        Those that could be pruned.
    found : mapping of Stop to Arrival or None
        What the few samples show; see `Runner.arrivals`.
    few : sequence of ndarray or Samples
    data : ndarray of shape (n_samples, ...) or Samples
    """
    if all(found.get(name) is not None for name in layers):
        return Routing({**found}, {}, frozenset())
    parts = [*few, *(data[batch] for batch in runner.batches(len(data)))]
    runs = [_observe(runner, part) for part in parts]
    routed = {name: arrival for name in layers if (arrival := _routed(name, layers[name], runs))}
    if not routed:
        return Routing({**found}, {}, frozenset())
    left_out = {name: UNREACHED for name in layers if _is_unreached(name, runs, routed)}
    known: dict[str, Arrival | None] = {n: a for n, a in found.items() if isinstance(n, str)}
    known = {name: a for name, a in (known | routed).items() if name not in left_out}
    sequences = [[name for name in run.shapes if name in known] for run in runs]
    order = _merge(sequences)
    for name in _inverted(sequences, order).intersection(routed):
        known[name] = routed[name]._replace(n_calls=max(2, routed[name].n_calls))
    arrivals: dict[Stop, Arrival | None] = {name: known[name] for name in order}
    arrivals |= {stop: arrival for stop, arrival in found.items() if isinstance(stop, Exit)}
    names = {name for run in runs for name in run.shapes}
    return Routing(arrivals, left_out, frozenset(n for n in names if _is_whole(n, runs)))


@contextmanager
def hooked_modules(
    runner: Runner, names: Iterable[str], on_input: Callable[[str, torch.Tensor], None]
) -> Iterator[None]:
    """Tell what arrives at modules, whatever they are: their first tensor of floats."""
    handles = [
        runner.model.get_submodule(name).register_forward_pre_hook(
            _hook(name, on_input), with_kwargs=True
        )
        for name in names
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(name: str, on_input: Callable[[str, torch.Tensor], None]) -> Callable[..., None]:
    def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        for value in (*args, *kwargs.values()):
            if isinstance(value, torch.Tensor) and value.is_floating_point():
                on_input(name, value)
                return

    return hook


def _observe(runner: Runner, samples: Data) -> _Calls:
    """Let samples pass, and return what arrives where."""
    calls = _Calls(len(samples), {})

    def on_input(name: str, values: torch.Tensor) -> None:
        calls.shapes.setdefault(name, []).append(tuple(values.shape))

    with hooked_modules(runner, [name for name, _ in runner.model.named_modules()], on_input):
        runner.output(samples)
    return calls


def _routed(name: str, layer: nn.Module, runs: Sequence[_Calls]) -> Arrival | None:
    """Return how rows arrive at a layer if their number goes neither with the samples nor is one.

    None for one that meets no rows at all, or rows of several shapes.
    """
    first = -1 if isinstance(layer, nn.Linear) else 1  # axis of a row
    shapes = [shape for run in runs for shape in run.shapes.get(name, [])]
    counts = [_count_rows(name, run, first) for run in runs]
    if not shapes or len({shape[first:] for shape in shapes}) > 1 or not any(counts):
        return None
    if len({*counts}) == 1 or _goes_with_samples(counts, runs):
        return None
    row = shapes[0][first:]
    n_calls = max(len(run.shapes.get(name, [])) for run in runs)
    return Arrival(0, math.prod(row), n_calls, row)


def _count_rows(name: str, run: _Calls, first: int) -> int:
    return sum(math.prod(shape[:first]) for shape in run.shapes.get(name, []))


def _goes_with_samples(counts: Sequence[int], runs: Sequence[_Calls]) -> bool:
    """Tell whether each sample brings as many rows as any other."""
    return all(
        count * runs[0].n_samples == counts[0] * run.n_samples
        for count, run in zip(counts, runs, strict=True)
    )


def _is_whole(name: str, runs: Sequence[_Calls]) -> bool:
    """Tell whether a module meets the rows of all samples, sample by sample, in every run."""
    if not all(run.shapes.get(name) for run in runs):
        return False
    if any(
        len(shape) < 2 or not shape[0] or shape[0] % run.n_samples
        for run in runs
        for shape in run.shapes[name]
    ):
        return False
    return _goes_with_samples([_count_rows(name, run, -1) for run in runs], runs)


def _is_unreached(name: str, runs: Sequence[_Calls], routed: Collection[str]) -> bool:
    """Tell whether a layer meets nothing, and is called so or named like one that meets some."""
    if name in routed or any(math.prod(s) for run in runs for s in run.shapes.get(name, [])):
        return False
    called = any(name in run.shapes for run in runs)
    return called or _without_numbers(name) in map(_without_numbers, routed)


def _without_numbers(name: str) -> str:
    """Return a name without what tells an expert from the others."""
    return re.sub(r"\d+", "", name)


def _merge(sequences: Iterable[Sequence[str]]) -> list[str]:
    """Return an order of all names in which each comes behind the one in front of it, if it can."""
    order: list[str] = []
    for sequence in sorted({tuple(s) for s in sequences}, key=lambda s: (-len(s), s)):
        place = 0
        for name in sequence:
            if name not in order:
                order.insert(place, name)
            place = order.index(name) + 1
    return order


def _inverted(sequences: Iterable[Sequence[str]], order: Sequence[str]) -> set[str]:
    """Return the names that follow in some sequence on what comes later in the order."""
    place = {name: number for number, name in enumerate(order)}
    return {
        name
        for sequence in sequences
        for pair in pairwise(sequence)
        if place[pair[0]] > place[pair[1]]
        for name in pair
    }
