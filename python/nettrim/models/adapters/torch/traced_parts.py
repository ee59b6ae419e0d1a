"""Graphs of the parts of a module that can be traced, where the whole of it cannot.

As of the experts of a mixture: which tokens they get nothing can follow, what they do with them
torch.fx can.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

from ...samples import Data
from .graph import LayerTail, TorchGraph
from .hooks import hooks_behind
from .outputs import named_tensors

if TYPE_CHECKING:
    from .run import Runner

__all__ = ["TracedPart", "trace_parts"]


class TracedPart(NamedTuple):
    """A module inside, and the graph of its calls.

    Attributes
    ----------
    name : str
    graph : TorchGraph
    """

    name: str
    graph: TorchGraph

    def local(self, layer: str) -> str:
        """Return what a layer is called inside."""
        return layer.removeprefix(f"{self.name}.")

    def tail(self, layer: str, *, foldable: bool) -> LayerTail | None:
        """Return what follows a layer; None where that lies behind the part's own output."""
        tail = self.graph.tail(self.local(layer), foldable=foldable)
        if tail is None or tail.activation == "relu" or tail.follower is not None:
            return tail
        leaves = any(user.op == "output" for end in tail.ends for user in end.users)
        return None if leaves else tail


class _Call(NamedTuple):
    """A call of a module: its tensors by name of the argument, and those that it returned."""

    given: dict[str, torch.Tensor]
    returned: dict[str, torch.Tensor]


class _Record:
    """What modules are called on while samples pass, and how often."""

    def __init__(self) -> None:
        self.calls: dict[str, _Call] = {}
        self.counts = Counter[str]()

    def note(self, name: str, module: nn.Module, args: Any, kwargs: Any, returned: Any) -> None:
        """Note a call; the first one that meets anything is kept."""
        self.counts[name] += 1
        if name in self.calls:
            return
        try:
            arguments = inspect.signature(module.forward).bind(*args, **kwargs).arguments
        except (TypeError, ValueError):  # of code that says nothing of its arguments
            return
        given = {k: v.clone() for k, v in arguments.items() if isinstance(v, torch.Tensor)}
        if all(value.numel() for value in given.values()):
            returned = {k: v.clone() for k, v in named_tensors(returned).items()}
            self.calls[name] = _Call(given, returned)


def trace_parts(
    runner: Runner, layers: Sequence[str], batches: Iterable[Data], tried_in: torch.dtype | None
) -> dict[str, TracedPart]:
    """Trace what is around some layers: of each the largest part that torch.fx can follow.

    A graph counts if it computes what its module does on what that is called on, and if all calls
    of a layer are in those of the module.

    Parameters
    ----------
    runner : Runner
    layers : sequence of str
    batches : iterable of ndarray or Samples
        They pass in turn until all modules have been called.
    tried_in : torch.dtype or None
        See `TorchGraph`.

    Returns
    -------
    dict of str to TracedPart
        By layer; those are missing that are in no such part.
    """
    modules = {name: m for name, m in runner.model.named_modules() if _holds(name, layers)}
    record = _record(runner, modules, batches)
    found: dict[str, TracedPart] = {}
    for name, module in modules.items():
        inside = [k for k in layers if k.startswith(f"{name}.") and k not in found]
        call = record.calls.get(name)
        if not inside or call is None or name == "":
            continue
        graph = TorchGraph.of(module, call.given, tried_in)
        if graph is None or not graph.confirm(call.given, call.returned):
            continue
        part = TracedPart(name, graph)
        for layer in inside:
            n_calls = len(graph.calls(part.local(layer)))
            if n_calls and record.counts[layer] == n_calls * record.counts[name]:
                found[layer] = part
    return found


def _holds(name: str, layers: Sequence[str]) -> bool:
    """Tell whether a module is one of some layers, or around one."""
    return any(layer == name or layer.startswith(f"{name}.") for layer in layers)


def _record(runner: Runner, modules: Mapping[str, nn.Module], batches: Iterable[Data]) -> _Record:
    """Let batches pass until a call of each module is known."""
    record = _Record()
    with hooks_behind(_hooks(modules, record)):
        for batch in batches:
            runner.output(batch)
            if record.calls.keys() >= modules.keys():
                break
    return record


def _hooks(modules: Mapping[str, nn.Module], record: _Record) -> Iterator[tuple[nn.Module, Any]]:
    for name, module in modules.items():

        def hook(
            module: nn.Module, args: Any, kwargs: Any, returned: Any, name: str = name
        ) -> None:
            record.note(name, module, args, kwargs, returned)

        yield module, hook
