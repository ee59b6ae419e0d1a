"""What torch.fx finds out about a module: what follows a layer, and how signals depend on layers."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import fx, nn

from .gains import Call, Shape, stretches
from .run import evaluation, first_tensor

__all__ = ["Graph", "Section"]

Gains = dict[int, float]
RELU = (nn.ReLU, F.relu, F.relu_, torch.relu, torch.relu_, "relu", "relu_")
IDLE = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout)  # in evaluation mode
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


class Section(NamedTuple):
    """A layer and what belongs to it.

    Attributes
    ----------
    end : torch.fx.Node
        Where the layer's output in the sense of `nettrim.view.LayerView` appears.
    activation : {"relu", "linear"}
    norm : torch.nn.Module or None
        A batch normalisation between the layer and its ReLU.
    """

    end: fx.Node
    activation: str
    norm: nn.Module | None


class Graph:
    """The calls of a module in evaluation mode, in order.

    Parameters
    ----------
    traced : torch.fx.GraphModule
    """

    def __init__(self, traced: fx.GraphModule) -> None:
        self.traced = traced
        self.modules = dict(traced.named_modules())
        self.shapes: Mapping[fx.Node, Shape] = {}

    @classmethod
    def of(cls, model: nn.Module) -> Graph | None:
        """Trace a module; None where torch.fx cannot follow its code."""
        parameters = inspect.signature(model.forward).parameters.values()
        defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
        try:
            return cls(fx.symbolic_trace(model, concrete_args=defaults))
        except Exception:  # noqa: BLE001 (of code that is not ours)
            return None

    def confirm(self, batch: torch.Tensor, output: torch.Tensor) -> bool:
        """Learn the shapes on a batch; tell whether the graph computes what the module does."""
        recorder = _Recorder(self.traced)
        try:
            with evaluation():
                computed = first_tensor(recorder.run(batch))
        except Exception:  # noqa: BLE001 (of code that is not ours)
            return False
        self.shapes = recorder.shapes
        faithful = computed.shape == output.shape and torch.allclose(computed, output)
        return faithful and not recorder.overwritten

    def section(self, name: str, *, foldable: bool) -> Section | None:
        """Return what follows a layer; None for one that the graph does not show.

        Parameters
        ----------
        name : str
        foldable : bool
            Whether a batch normalisation would see the layer's outputs as its channels.
        """
        call = self.call(name)
        if call is None:
            return None
        at, norm = call, None
        while len(at.users) == 1:
            at = next(iter(at.users))
            kind = self.kind(at)
            if kind in RELU:
                return Section(at, "relu", norm)
            if foldable and norm is None and self._is_norm(at):
                norm = self.module(at)
            elif kind not in IDLE and not _is_idle_dropout(at):
                break
        return Section(call, "linear", None)

    def gains(
        self, layers: Sequence[str], ends: Mapping[fx.Node, tuple[int, float]]
    ) -> list[Gains]:
        """Return how far the input of each layer, and last the output, follows the layers before.

        Parameters
        ----------
        layers : sequence of str
            Names, in order of the calls.
        ends : mapping of torch.fx.Node to (int, float)
            Where the output of a layer appears, its position, and how far it follows that output.
        """
        found: dict[fx.Node, Gains] = {}
        for node in self.traced.graph.nodes:
            found[node] = self._gains(node, found, layers, ends)
        output = next(node for node in found if node.op == "output")
        arriving = []
        for position, name in enumerate(layers):
            call = self.call(name)
            unknown = dict.fromkeys(range(position), math.inf)
            arriving.append(unknown if call is None else found[call.all_input_nodes[0]])
        return [*arriving, found[output]]

    def _gains(
        self,
        node: fx.Node,
        found: Mapping[fx.Node, Gains],
        layers: Sequence[str],
        ends: Mapping[fx.Node, tuple[int, float]],
    ) -> Gains:
        if node in ends:
            return dict([ends[node]])
        inside = self._inside(node, layers)
        if inside:  # code that was not followed, or weights used directly
            before = {k for operand in node.all_input_nodes for k in found[operand]}
            return dict.fromkeys(sorted(before.union(inside)), math.inf)
        if node.op == "call_module" and node.target in layers:
            return {}  # nothing but the layer's own section uses it
        if node.op == "output":
            return found[self._first_tensor(node.args[0])]
        gains: Gains = {}
        for operand, stretch in stretches(self._described(node)):
            for position, gain in found[operand].items() if stretch else ():
                gains[position] = gains.get(position, 0.0) + stretch * gain
        return gains

    def _first_tensor(self, value: Any) -> fx.Node:
        """Return the node of what `run.first_tensor` takes for the output."""
        if isinstance(value, fx.Node):
            return value
        parts = value.values() if isinstance(value, Mapping) else value
        return next(part for part in parts if isinstance(part, fx.Node) and part in self.shapes)

    def _inside(self, node: fx.Node, layers: Sequence[str]) -> list[int]:
        """Return the layers within a module that is called whole, or whose weights a node reads."""
        target = str(node.target)
        if node.op == "call_module":
            return [k for k, name in enumerate(layers) if name.startswith(f"{target}.")]
        if node.op == "get_attr":
            return [k for k, name in enumerate(layers) if target.startswith(f"{name}.")]
        return []

    def _described(self, node: fx.Node) -> Call:
        module = self.module(node) if node.op == "call_module" else None
        return Call(node, self.kind(node), module, self.traced, self.shapes)

    def _is_norm(self, node: fx.Node) -> bool:
        """Whether a node normalises by statistics that do not depend on the batch."""
        return self.kind(node) in NORMS and self.module(node).running_mean is not None

    def call(self, name: str) -> fx.Node | None:
        """Return where a layer is called, None if it is not, or out of sight."""
        calls = (node for node in self.traced.graph.nodes if node.op == "call_module")
        return next((node for node in calls if node.target == name), None)

    def kind(self, node: fx.Node) -> Any:
        """Return a class of modules, a function, or the name of a method."""
        return type(self.module(node)) if node.op == "call_module" else node.target

    def module(self, node: fx.Node) -> Any:
        """Return the module that a node calls."""
        return self.modules[str(node.target)]


class _Recorder(fx.Interpreter):
    """Runs a graph and notes the shapes of its tensors.

    It also notes whether a tensor is used after it was overwritten, which a graph does not show.
    """

    def __init__(self, traced: fx.GraphModule) -> None:
        super().__init__(traced)
        self.shapes: dict[fx.Node, Shape] = {}
        self.overwritten = False
        self._versions: dict[fx.Node, int] = {}

    def run_node(self, n: fx.Node) -> Any:
        for operand in n.all_input_nodes:
            if operand in self._versions:
                changed = self.env[operand]._version != self._versions[operand]
                self.overwritten = self.overwritten or changed
        result = super().run_node(n)
        if isinstance(result, torch.Tensor):
            self.shapes[n] = tuple(result.shape)
            self._versions[n] = result._version
        return result


def _is_idle_dropout(node: fx.Node) -> bool:
    return node.target is F.dropout and node.kwargs.get("training") is False
