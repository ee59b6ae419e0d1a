"""What a few samples show of a module: which layers run, and how the copy of it is to run."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import nn

from ....base.errors import warn_user
from ...samples import Data, Samples
from .expansions.expand import are_near, expand
from .graph import TorchGraph
from .outputs import are_close
from .reads import reads_elsewhere
from .routing import UNREACHED, Routing, find_idle, find_routing
from .run import Arrival, Exit, Stop, layer_names
from .running_model import RunningModel
from .traced_parts import TracedPart, trace_parts
from .transposed import resized_outputs

__all__ = ["settle", "warn_of_left_out"]


def settle(running: RunningModel, data: Data, name: str) -> RunningModel:
    """Run a few samples to see what a module does with them.

    Parameters
    ----------
    running : RunningModel
    data : ndarray of shape (n_samples, ...) or Samples
    name : str
        How an error calls them.

    Returns
    -------
    RunningModel
        With the layers to prune, the outputs that count, and a graph that computes the same.

    Raises
    ------
    ValueError
        If the samples do not pass through the module, or it does not return one result for each, or
        does not compute the same twice.

    Warns
    -----
    UserWarning
        Of layers that cannot be pruned after all, if the module cannot compute in float64, and if
        it mixes samples.
    """
    samples = [data[np.arange(n) % len(data)] for n in (2, 3)]
    running = _without_differing_expansions(running, samples[0])
    running, arrivals = _try(running, samples, name)
    routing = find_routing(running.runner, running.layers, arrivals, samples, data)
    routing = _without_idle(routing, running, data)
    if not running.runner.precise:
        warn_user(
            "model cannot compute in float64: what is reported holds up to its own rounding",
        )
    running = _accept(running, routing, samples[0])
    outputs = _computed_twice(running, samples[0])
    if _mixes(running, data[np.arange(4) % len(data)]):
        running.runner.batch = None
        warn_user(
            "model: what comes out for a sample depends on those beside it, so all of them "
            "pass at once, and what is reported holds for these together. If samples are not "
            "along the first axis (a recurrent layer or attention without batch_first), put "
            "them there",
        )
        running = _without_unmet(running, data)
    running = replace(running, graph=_confirmed(running, samples[0], outputs))
    if running.graph is None:
        running = _without_uncalled(running)
    return replace(running, parts=_traced_parts(running, samples[0], data))


def warn_of_left_out(name: str, reason: str) -> None:
    """Warn of a layer that stays as it is."""
    warn_user(f"layer {name!r} is not pruned: {reason}")


# --- the copy that runs ---------------------------------------------------------------------------


def _without_differing_expansions(running: RunningModel, samples: Data) -> RunningModel:
    """Leave the modules alone whose expansions compute something else on samples."""
    precise = running.runner.precise
    while running.expanded.names and (differing := _differing(running, samples, precise)):
        expanded = expand(running.module, running.expanded.names - differing)
        running = running.made_anew(expanded, precise=precise)
    return running


def _differing(running: RunningModel, samples: Data, precise: bool) -> frozenset[str]:
    """Return expansions that compute something else, or all if only the model does.

    In float64, or as the module is if its own code knows no float64.
    """
    kind = type(running.runner)
    plain = kind(running.module, [], precise=precise)
    expanded = running.runner
    if precise != expanded.precise:
        expanded = kind(running.expanded.model, [], precise=precise)
    try:
        with running.expanded._replace(model=expanded.model).compared(plain.model) as differing:
            wanted = plain.output(samples)
    except Exception:  # noqa: BLE001 (of code that is not ours)
        # Data that do not pass at all are refused later.
        return _differing(running, samples, False) if precise else frozenset()
    if differing:
        return frozenset(differing)
    try:
        same = are_near(expanded.output(samples), wanted)
    except Exception:  # noqa: BLE001 (of code that is not ours)
        same = False
    return frozenset() if same else running.expanded.names


def _try(
    running: RunningModel, samples: list[Data], name: str
) -> tuple[RunningModel, dict[Stop, Arrival | None]]:
    """Run samples in float64, or as the module is if its own code knows no float64."""
    try:
        arrivals = running.runner.arrivals(samples)
        if running.runner.shown is not running.runner:
            running.runner.shown.output(samples[0])
        return running, arrivals
    except Exception as error:
        if not running.runner.precise:
            raise ValueError(f"{name} does not pass through the model: {error}") from error
    return _try(running.made_anew(running.expanded, precise=False), samples, name)


# --- layers and outputs ---------------------------------------------------------------------------


def _without_idle(routing: Routing, running: RunningModel, data: Data) -> Routing:
    """Leave out the matrices of experts in a stack that no sample reaches."""
    experts = filter(running.expanded.meets_zeros, layer_names(routing.arrivals))
    idle = find_idle(running.runner, experts, data)
    reached = {stop: arrival for stop, arrival in routing.arrivals.items() if stop not in idle}
    left_out = routing.left_out | dict.fromkeys(idle, UNREACHED)
    return routing._replace(arrivals=reached, left_out=left_out)


def _accept(running: RunningModel, routing: Routing, samples: Data) -> RunningModel:
    """Keep the layers that can be pruned, and the outputs that count."""
    shown, found = running.runner.shown, routing.arrivals
    called = {name: shown.layers[name] for name in layer_names(found)}
    readers = {name: shown.model.get_submodule(running.expanded.reader(name)) for name in called}
    with reads_elsewhere(called, readers) as read, resized_outputs(called) as resized:
        shown.output(samples)
    arrivals: dict[Stop, Arrival] = {}
    left_out = {**running.left_out, **routing.left_out}
    if routing.left_out:
        _warn_of_unreached(routing.left_out)
    for stop, arrival in found.items():
        reason = None
        if not isinstance(stop, Exit):
            reason = _hindrance(stop, arrival, running.layers[stop], read, resized)
        if reason is not None:
            left_out[str(stop)] = reason
            warn_of_left_out(str(stop), reason)
        elif arrival is not None:
            arrivals[stop] = arrival
    running = replace(running, arrivals=arrivals, left_out=left_out, whole=routing.whole)
    if not running.outputs:
        raise ValueError("model must return one result for each sample")
    return running


def _without_unmet(running: RunningModel, data: Data) -> RunningModel:
    """Leave out the layers that rows reach in some batches, but none where all samples pass."""
    picked = [stop for stop, arrival in running.arrivals.items() if arrival.is_picked]
    unmet = dict.fromkeys(sorted(find_idle(running.runner, map(str, picked), data)), UNREACHED)
    if unmet:
        _warn_of_unreached(unmet)
    arrivals = {stop: a for stop, a in running.arrivals.items() if stop not in unmet}
    return replace(running, arrivals=arrivals, left_out={**running.left_out, **unmet})


def _without_uncalled(running: RunningModel) -> RunningModel:
    """Name the layers that no sample reaches, of a model whose code may choose its way by data."""
    known = {*running.names, *running.left_out}
    uncalled = dict.fromkeys(running.layers.keys() - known, UNREACHED)
    if uncalled:
        _warn_of_unreached(uncalled)
    return replace(running, left_out={**running.left_out, **uncalled})


def _warn_of_unreached(layers: Iterable[str]) -> None:
    names = ", ".join(map(repr, sorted(layers)))
    warn_user(f"model: the layers {names} are not pruned: {UNREACHED}")


def _hindrance(
    name: str, arrival: Arrival | None, layer: nn.Module, read: set[str], resized: set[str]
) -> str | None:
    """Tell why a layer cannot be pruned, None if it can."""
    if arrival is None:
        return (
            "what arrives there does not go with the samples, or changes in shape from call to call"
        )
    if arrival.axis and not isinstance(layer, nn.Linear):
        return "samples run along the positions that it slides over"
    if name in read:
        return "its weights are read elsewhere too"
    if name in resized:
        return "it is told how large its output shall be"
    return None


def _computed_twice(running: RunningModel, samples: Data) -> dict[str, torch.Tensor]:
    """Return the outputs that count, by name."""
    outputs, again = (running.runner.shown.output(samples) for _ in range(2))
    counted = {name: outputs[name] for name in running.outputs}
    if not all(name in again and are_close(again[name], x) for name, x in counted.items()):
        raise ValueError("model must compute the same twice; a dropout may be on in evaluation too")
    return counted


def _mixes(running: RunningModel, samples: Data) -> bool:
    """Tell whether outputs of samples are others when the samples pass in two batches."""
    whole = running.runner.outputs(samples, running.exits)
    middle = len(samples) // 2
    parts = samples[slice(middle)], samples[slice(middle, None)]
    halves = [running.runner.outputs(part, running.exits) for part in parts]
    return not all(
        np.allclose(np.concatenate([half[stop] for half in halves]), values, equal_nan=True)
        for stop, values in whole.items()
    )


def _confirmed(
    running: RunningModel, samples: Data, outputs: Mapping[str, torch.Tensor]
) -> TorchGraph | None:
    """Return a graph that computes what the module does and shows most layers, or None."""
    names, shown, tried_in = running.names, running.runner.shown, running.runner.tried_in
    traced, given = running.graph, shown.given(samples)
    if isinstance(samples, Samples):  # an input may be one that has a default
        traced = TorchGraph.of(shown.model, given, tried_in)
    traced = _agreeing(traced, given, outputs)
    if not names or _count_seen(running, traced) == len(names):
        return traced
    exported = _agreeing(TorchGraph.exported(shown.model, given, tried_in), given, outputs)
    return max(traced, exported, key=partial(_count_seen, running))


def _traced_parts(running: RunningModel, few: Data, data: Data) -> dict[str, TracedPart]:
    """Trace what is around the layers that the graph does not show."""
    graph, expanded, shown = running.graph, running.expanded, running.runner.shown
    names = [n for n in running.names if graph is None or not running.shows(graph, n)]
    unseen = [name for name in names if not expanded.is_followed_inside(name)]
    if not unseen:
        return {}
    rest = (data[batch] for batch in running.runner.batches(len(data)))
    return trace_parts(shown, unseen, itertools.chain([few], rest), running.runner.tried_in)


def _agreeing(
    graph: TorchGraph | None,
    given: Mapping[str, torch.Tensor],
    outputs: Mapping[str, torch.Tensor],
) -> TorchGraph | None:
    """Return a graph if it computes what the module does."""
    return graph if graph is not None and graph.confirm(given, outputs) else None


def _count_seen(running: RunningModel, graph: TorchGraph | None) -> int:
    return -1 if graph is None else sum(running.shows(graph, name) for name in running.names)
