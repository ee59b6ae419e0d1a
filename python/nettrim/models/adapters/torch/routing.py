"""Which layers meet rows that the model picks itself, like the experts of a mixture."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from ...samples import Data
from .hooks import hooks_in_front
from .run import Arrival, Exit, Runner, Stop, row_axis

__all__ = ["UNREACHED", "Routing", "find_idle", "find_routing", "hooked_modules"]

UNREACHED = "no sample of the data reaches it"

OTHERS = 8  # times that as few samples pass, to see whether layers are called in turn

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
    beginnings = np.linspace(0, len(data) - 1, OTHERS).astype(int)
    others = [data[(np.arange(len(few[1])) + first) % len(data)] for first in beginnings]
    batches = [data[batch] for batch in runner.batches(len(data))]
    runs = [_observe(runner, part) for part in [*few, *others, *batches]]
    routed = {name: arrival for name in layers if (arrival := _routed(name, layers[name], runs))}
    left_out = dict.fromkeys(_unreached(layers, runs), UNREACHED)
    # An expert that meets all rows may meet fewer under other weights. That some are never called
    # tells nothing: blocks of a list that are not in use are not either.
    empty = {name for run in runs for name in run.shapes if name in left_out}
    kinds = {_without_numbers(name) for name in [*routed, *empty]}
    for name in layers:
        if name not in routed and name not in left_out and _without_numbers(name) in kinds:
            arrival = _routed(name, layers[name], runs, always=True)
            routed |= {} if arrival is None else {name: arrival}
    known: dict[str, Arrival | None] = {n: a for n, a in found.items() if isinstance(n, str)}
    known = {name: a for name, a in (known | routed).items() if name not in left_out}
    sequences = [[name for name in run.shapes if name in known] for run in runs]
    order = _merge(sequences)
    for name in _disordered(sequences, order).intersection(routed):
        known[name] = routed[name]._replace(n_calls=max(2, routed[name].n_calls))
    arrivals: dict[Stop, Arrival | None] = {name: known[name] for name in order}
    arrivals |= {stop: arrival for stop, arrival in found.items() if isinstance(stop, Exit)}
    names = {name for run in runs for name in run.shapes}
    whole = {name for name in names if _is_whole(name, runs)} if routed else set()
    return Routing(arrivals, left_out, frozenset(whole))


def find_idle(runner: Runner, names: Iterable[str], data: Data) -> set[str]:
    """Return those of some layers that meet zeros alone; data pass until all others are known."""
    idle = {*names}

    def on_input(stop: Stop, values: torch.Tensor) -> None:
        if values.any():
            idle.discard(str(stop))

    for batch in runner.batches(len(data)):
        if not idle:
            break
        with runner.hooked([*idle], on_input):
            runner.output(data[batch])
    return idle


def hooked_modules(
    runner: Runner, names: Iterable[str], on_input: Callable[[str, torch.Tensor], None]
) -> AbstractContextManager[None]:
    """Tell what arrives at modules, whatever they are: their first tensor of floats."""
    return hooks_in_front(
        (runner.model.get_submodule(name), _hook(name, on_input)) for name in names
    )


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


def _routed(
    name: str, layer: nn.Module, runs: Sequence[_Calls], *, always: bool = False
) -> Arrival | None:
    """Return how rows arrive at a layer if their number goes neither with the samples nor is one.

    None for one that meets no rows at all, or rows of several shapes. ``always`` for one that is
    known to meet rows which the model picks, although these have been all of them.
    """
    first = row_axis(layer)
    shapes = [shape for run in runs for shape in run.shapes.get(name, [])]
    counts = [_count_rows(name, run, first) for run in runs]
    if not shapes or len({shape[first:] for shape in shapes}) > 1 or not any(counts):
        return None
    if not always and (len({*counts}) == 1 or _goes_with_samples(counts, runs)):
        return None
    row = shapes[0][first:]
    n_calls = max(len(run.shapes.get(name, [])) for run in runs)
    return Arrival(0, math.prod(row), n_calls, row, is_picked=True)


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


def _unreached(layers: Iterable[str], runs: Sequence[_Calls]) -> list[str]:
    """Return layers that meet nothing, and are called so or named like one that meets some."""
    calls = [call for run in runs for call in run.shapes.items()]
    met = {name for name, shapes in calls if any(map(math.prod, shapes))}
    called = {name for name, _ in calls}
    alike = {_without_numbers(name) for name in met}
    others = [name for name in layers if name not in met]
    return [name for name in others if name in called or _without_numbers(name) in alike]


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


def _disordered(sequences: Iterable[Sequence[str]], order: Sequence[str]) -> set[str]:
    """Return the names from those that follow in some sequence on later ones up to these."""
    place = {name: number for number, name in enumerate(order)}
    found: set[str] = set()
    for sequence in {tuple(s) for s in sequences}:
        for one, other in pairwise(sequence):
            found.update(order[place[other] : place[one] + 1])
    return found
