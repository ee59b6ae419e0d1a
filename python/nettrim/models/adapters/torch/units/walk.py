"""A walk through a module's graph that follows units from the layers that write them to others."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.func import functional_call
from torch.fx.node import map_arg
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from ....units.couplings import COMBINED, Couplings
from ....units.unit_map import FIXED, UnitMap, Units
from ..graph import TorchGraph, run_calls
from ..layers import shared_parameters
from ..transposed import TRANSPOSED
from .calls import Call, Cut, Operand
from .labels import Labels, arrange, compress, varying
from .places import place_of

__all__ = ["FoundUnits", "find_units"]

Run = Callable[[Sequence[Any]], list[torch.Tensor]]

EMBEDDINGS = (nn.Embedding, F.embedding, torch.embedding, "embedding")
ATTENTIONS = (F.scaled_dot_product_attention, "scaled_dot_product_attention")
INSIDE = "the module around it computes with its own weights"
COUNTERS = ("num_features", "num_parameters")  # of modules that units pass


class FoundUnits(NamedTuple):
    """What a walk has found.

    Attributes
    ----------
    units : UnitMap
    guesses : mapping from str to bool
        Its numbers that are as large as those of units, and may be others. Whether they are likely
        to count units: parts that a tensor was split into, like heads.
    """

    units: UnitMap
    guesses: Mapping[str, bool]


def find_units(
    graph: TorchGraph,
    given: Mapping[str, torch.Tensor],
    n_samples: int,
    model: nn.Module,
    layers: Mapping[str, str | None],
    inputs: Mapping[str, tuple[str, int]] = MappingProxyType({}),
) -> FoundUnits:
    """Follow units through a graph.

    Parameters
    ----------
    graph : TorchGraph
    given : mapping from str to torch.Tensor
        A batch of samples, by the names of the graph's arguments.
    n_samples : int
    model : torch.nn.Module
        Whose tensors are to be cut; modules of it may have been replaced in the graph.
    layers : mapping from str to str or None
        Affine layers: None for those that can be pruned, and why others cannot.
    inputs : mapping from str to (str, int), optional
        Arguments of which parts can go as well: what to call these, and the axis they lie along.
    """
    walk = _UnitWalk(graph, given, n_samples, model, layers, inputs)
    with torch.no_grad():
        run_calls(walk)
    return walk.finish()


class _UnitWalk(fx.Interpreter):
    """Runs a graph and notes what every call does to units."""

    def __init__(
        self,
        graph: TorchGraph,
        given: Mapping[str, torch.Tensor],
        n_samples: int,
        model: nn.Module,
        layers: Mapping[str, str | None],
        inputs: Mapping[str, tuple[str, int]],
    ) -> None:
        super().__init__(graph.traced)
        self._graph, self._given, self._n_samples = graph, given, n_samples
        self._model, self._layers, self._inputs = model, layers, inputs
        shared = shared_parameters(model)
        named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers()]
        self._tensors = {name: tensor for name, tensor in named if id(tensor) not in shared}
        self._labels: dict[fx.Node, Any] = {}  # nested like the values
        self._couplings = Couplings()
        self._grids: list[Labels] = []
        self._passed: list[tuple[str, Labels]] = []  # tensors of calls that units pass
        self._embedded: dict[str, Units] = {}
        self._uses = Counter[str]()  # of the weights of layers that stay as they are
        self._counted: set[str] = set()
        # Numbers of modules, and the axes that may be as long for being of units.
        self._guesses: list[tuple[str, Labels, int]] = []

    def placeholder(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Return what is given for an argument, or its default."""
        return self._given[target] if target in self._given else args[0] if args else None

    def run_node(self, n: fx.Node) -> Any:
        """Compute a node, and note the units in what comes out."""
        result = super().run_node(n)
        leaves, form = tree_flatten(result)
        tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
        found = iter(self._found_in(n, tensors))
        own = [next(found, None) if isinstance(x, torch.Tensor) else None for x in leaves]
        self._labels[n] = tree_unflatten(own, form)
        if n.op == "output":
            for labels in _arrays(map_arg(n.args, self._labels.__getitem__)):
                self._fix(labels, "they are the model's output")
        return result

    def finish(self) -> FoundUnits:
        """Return what was found."""
        passed = [grid for _, grid in self._passed]
        guessed = [grid for _, grid, _ in self._guesses]
        grids = [*self._grids, *passed, *guessed]
        found = iter(self._couplings.straighten(grids)[len(self._grids) :])
        for name, _ in self._passed:
            at = next(found)
            shape, uses = tuple(self._tensors[name].shape), self._uses.pop(name, 0)
            self._couplings.tensor(name, shape, {at.axis: at.units}, uses)
            for attribute in COUNTERS:
                self._count(f"{name.rpartition('.')[0]}.{attribute}", at.units)
        for name, uses in self._uses.items():
            self._couplings.tensor(name, tuple(self._tensors[name].shape), {}, uses)
        guesses: dict[str, bool] = {}
        for name, grid, axis in self._guesses:
            at = next(found)
            if at.axis == axis and name not in self._counted:
                self._count(name, at.units)
                guesses[name] = len(varying(grid)) > 1
        units = self._couplings.finish()
        counts = [count for count in units.counts if (count.units != FIXED).any()]
        guesses = {count.name: guesses[count.name] for count in counts if count.name in guesses}
        return FoundUnits(replace(units, counts=tuple(counts)), guesses)

    # --- calls ------------------------------------------------------------------------------------

    def _found_in(self, node: fx.Node, results: Sequence[torch.Tensor]) -> list[Labels | None]:
        """Return the units in each tensor that a node gives."""
        if node.op == "placeholder" and node.target in self._inputs:
            writer, axis = self._inputs[str(node.target)]
            units = self._couplings.make(results[0].shape[axis], writer)
            return [self._settled(arrange(units, {0: axis}, results[0].ndim))]
        return self._follow(node, results) if node.op.startswith("call") else []

    def _follow(self, node: fx.Node, results: Sequence[torch.Tensor]) -> list[Labels | None]:
        """Return the units in each tensor that a call gives."""
        args, _ = self.fetch_args_kwargs_from_env(node)
        if node.target is operator.getitem and not isinstance(args[0], torch.Tensor):
            return self._take(node.args[0], *args)
        operands, run = self._operands(node)
        layer = self._graph.layer(node)
        if self._graph.kind(node) in EMBEDDINGS:
            return [self._embed(operands, results[0])]
        if layer is not None and self._layers.get(layer, "") is None:
            return [self._pass_layer(layer, operands[0], results[0])]
        if layer is not None and layer in self._layers and f"{layer}.weight" in self._tensors:
            self._uses[f"{layer}.weight"] += self._count_uses(layer, operands[0].value, results[0])
        if all(operand.labels is None for operand in operands):
            return []
        try:
            call = Call(run, operands)
        except Exception:  # noqa: BLE001 (of code that is not ours)
            for operand in operands:
                self._fix(operand.labels, self._reason(node))
            return []
        found = self._pass(call, self._reason(node), _owner(node))
        return [self._settled(labels) for labels in found]

    def _take(self, node: Any, container: Any, place: Any) -> list[Labels | None]:
        """Return the units in a part of a tuple; the other parts have no effect on it."""
        labels: Any = map_arg(node, self._labels.__getitem__)
        pairs = zip(tree_flatten(labels[place])[0], tree_flatten(container[place])[0], strict=True)
        return [own for own, part in pairs if isinstance(part, torch.Tensor)]

    def _operands(self, node: fx.Node) -> tuple[list[Operand], Run]:
        """Return what a node is called with, and how to call it with others."""
        values, form = tree_flatten(self.fetch_args_kwargs_from_env(node))
        given = (node.args, node.kwargs)
        labels = tree_flatten(map_arg(given, self._labels.__getitem__))[0]
        names = tree_flatten(map_arg(given, self._name))[0]
        operands = [
            Operand(value, own if isinstance(own, np.ndarray) else None, self._known(name, value))
            for value, own, name in zip(values, labels, names, strict=True)
        ]
        if self._graph.kind(node) in ATTENTIONS:
            operands[1:3] = [_repeated(o, operands[0].value.shape[-3]) for o in operands[1:3]]
        module = self.fetch_attr(str(node.target)) if node.op == "call_module" else nn.Module()
        held = dict([*module.named_parameters(), *module.named_buffers()])
        for name, tensor in held.items():
            operands.append(Operand(tensor, None, self._known(f"{node.target}.{name}", tensor)))

        def run(changed: Sequence[Any]) -> list[torch.Tensor]:
            args, kwargs = tree_unflatten([*changed[: len(values)]], form)
            if node.op == "call_module":
                tensors = dict(zip(held, changed[len(values) :], strict=True))
                result = functional_call(module, tensors, args, kwargs)
            elif node.op == "call_method":
                result = getattr(args[0], str(node.target))(*args[1:], **kwargs)
            else:
                result = node.target(*args, **kwargs)  # type: ignore[operator]
            return [x for x in tree_flatten(result)[0] if isinstance(x, torch.Tensor)]

        return operands, run

    def _name(self, node: fx.Node) -> Any:
        """Return what a tensor of the model is called; nothing for each part of other values."""
        if node.op == "get_attr":
            return str(node.target)
        return tree_map(lambda _: None, self._labels[node])

    def _known(self, name: Any, value: Any) -> str | None:
        """Return the name of a tensor if the model has it, and it is no one else's."""
        if not isinstance(value, torch.Tensor) or name not in self._tensors:
            return None
        return str(name) if self._tensors[name].shape == value.shape else None

    def _pass(self, call: Call, reason: str, owner: str) -> list[Labels | None]:
        """Return the units in what comes out of a call of any kind."""
        cuts, blocked = _find_cuts(call)
        moved = call.move() if blocked else None
        if moved is not None:
            self._guess(owner, [*(operand.labels for operand in call.operands), *moved])
            parts = [own for own in moved if own is not None]
            self._grids += [own for own in parts if len(varying(own)) > 1]
            if len({*call.shapes}) == 1:  # parts of one size, which is to be found again
                for other in parts[1:]:
                    self._tie(parts[0], other)
            return moved
        labels = [operand.labels for operand in call.operands]
        for position, axis in blocked:
            own = labels[position]
            assert own is not None
            own = self._tied(own, axis)
            labels[position] = own if varying(own) else None
            if not varying(own):
                self._fix(own, _foreign(call, position, axis) or reason)
        self._pass_tensors(call, cuts, labels)
        return [self._result(cuts, labels, k, len(shape)) for k, shape in enumerate(call.shapes)]

    def _result(
        self, cuts: Sequence[Cut], labels: Sequence[Labels | None], result: int, n_axes: int
    ) -> Labels | None:
        """Return the units in a result; those of several operands that meet go together."""
        arranged = []
        for position, own in enumerate(labels):
            goes = {cut.axes[position]: cut.results[result] for cut in cuts if position in cut.axes}
            axes = {axis: to for axis, to in goes.items() if to is not None}
            if own is not None and all(axis in axes for axis in varying(own)):
                arranged.append(arrange(own, axes, n_axes))
        for other in arranged[1:]:
            if {*varying(other)}.isdisjoint(varying(arranged[0])):
                self._fix(other, "other units lie across them")
            else:
                self._tie(arranged[0], other)
        return np.broadcast_arrays(*arranged)[0] if arranged else None

    def _pass_tensors(
        self, call: Call, cuts: Sequence[Cut], labels: Sequence[Labels | None]
    ) -> None:
        """Note the units in tensors of the model that are cut along with operands."""
        for position, operand in enumerate(call.operands):
            with_it = [cut for cut in cuts if position in cut.axes]
            if operand.name is None or operand.labels is not None or not with_it:
                continue
            beside = [(k, own) for k in with_it[0].axes if (own := labels[k]) is not None]
            if not beside:
                continue
            other, own = beside[0]
            goes = {cut.axes[other]: cut.axes[position] for cut in with_it if other in cut.axes}
            for axis in varying(own):
                if axis not in goes:
                    own = self._tied(own, axis)
            grid = arrange(own, goes, operand.value.ndim)
            known = [passed for name, passed in self._passed if name == operand.name]
            if known:
                self._tie(known[0], grid)
            else:
                self._passed.append((operand.name, grid))

    def _pass_layer(self, name: str, operand: Operand, result: torch.Tensor) -> Labels | None:
        """Return the units that a prunable layer writes."""
        module: Any = _submodule(self._model, name)
        place = place_of(module)
        kernel = getattr(module, "kernel_size", ())
        at = -1 - len(kernel)
        features = self._along(operand, at)
        outputs = self._couplings.make(result.shape[at], name)
        if place is None:
            self._couplings.fix(features, INSIDE)
            self._couplings.fix(outputs, INSIDE)
            return None
        groups = getattr(module, "groups", 1)
        whole = groups > len(features) // groups  # groups go, otherwise places in all of them
        self._tie_in_groups(groups, whole, features, outputs)
        first, second = (features, outputs) if place.inputs == 0 else (outputs, features)
        axes = {0: first, 1: second[: len(second) // groups]}
        reads = features[: len(features) // groups]
        if whole:
            axes = {0: first}
            self._count(f"{name}.groups", features[:: len(features) // groups])
            reads = np.full(len(reads), FIXED)  # places in groups, of which all units have them
        self._couplings.layer(name, np.repeat(reads, np.prod(kernel, dtype=int)), outputs)
        uses = self._count_uses(name, operand.value, result)
        self._couplings.tensor(f"{name}.weight", tuple(module.weight.shape), axes, uses)
        if module.bias is not None:
            self._couplings.tensor(f"{name}.bias", tuple(module.bias.shape), {0: outputs})
        self._count(f"{name}.{place.n_inputs}", features)
        self._count(f"{name}.{place.n_outputs}", outputs)
        return arrange(outputs, {0: result.ndim + at}, result.ndim)

    def _count_uses(self, name: str, given: torch.Tensor, result: torch.Tensor) -> int:
        """Return how often a call of a layer multiplies each of its weights, for one sample."""
        module: Any = _submodule(self._model, name)
        spread = given if isinstance(module, TRANSPOSED) else result
        channels = spread.shape[-1 - len(getattr(module, "kernel_size", ()))]
        return spread.numel() // self._n_samples // channels

    def _tie_in_groups(self, groups: int, whole: bool, features: Units, outputs: Units) -> None:
        """Make units of what the groups of a convolution read and write.

        A whole group is one, on both sides; or what is at one place in every group, on one side.
        """
        sides = [units.reshape(groups, -1) for units in (features, outputs)]
        for side in sides:
            self._tie(side[:, :1] if whole else side[:1], side)
        if whole:
            self._tie(sides[0][:, 0], sides[1][:, 0])

    def _embed(self, operands: Sequence[Operand], result: torch.Tensor) -> Labels | None:
        """Return the units that an embedding writes."""
        name = next((operand.name for operand in operands if operand.name is not None), None)
        if name is None or not result.is_floating_point():
            return None
        if name not in self._embedded:
            owner = name.rpartition(".")[0]
            units = self._embedded[name] = self._couplings.make(result.shape[-1], owner)
            self._couplings.tensor(name, tuple(self._tensors[name].shape), {1: units})
            self._count(f"{owner}.embedding_dim", units)
        return arrange(self._embedded[name], {0: result.ndim - 1}, result.ndim)

    # --- units ------------------------------------------------------------------------------------

    def _along(self, operand: Operand, axis: int) -> Units:
        """Return the units along the axis of a layer's inputs."""
        labels, axis = operand.labels, operand.value.ndim + axis
        if labels is not None and axis not in varying(labels):
            self._fix(labels, "a layer takes them for positions")
            labels = None
        if labels is None:
            return np.full(operand.value.shape[axis], FIXED)
        for other in varying(labels):
            if other != axis:
                labels = self._tied(labels, other)
        return labels.ravel()

    def _tied(self, labels: Labels, axis: int) -> Labels:
        """Make one unit of those along an axis."""
        first = labels.take([0], axis)
        self._tie(first, labels)
        return first

    def _tie(self, one: Labels, other: Labels) -> None:
        pairs = np.broadcast_arrays(one, other)
        self._couplings.tie(pairs[0].ravel(), pairs[1].ravel())

    def _fix(self, labels: Labels | None, reason: str) -> None:
        if labels is not None:
            self._couplings.fix(np.unique(labels), reason)

    def _settled(self, labels: Labels | None) -> Labels | None:
        """Return labels if units lie along some axis; what is made of one alone needs it."""
        labels = None if labels is None else compress(labels)
        if labels is not None and not varying(labels):
            self._fix(labels, "it is taken out alone")
            return None
        return labels

    def _count(self, name: str, units: Units) -> None:
        """Say that an attribute of a module counts units, if it does."""
        owner, _, attribute = name.rpartition(".")
        module = _submodule(self._model, owner)
        if name not in self._counted and getattr(module, attribute, None) == len(units):
            self._counted.add(name)
            self._couplings.count(name, units)

    def _guess(self, owner: str, grids: Sequence[Labels | None]) -> None:
        """Note which numbers of a module may count units that its code moves."""
        module = _submodule(self._model, owner)
        numbers = {} if module is None else vars(module)
        for name, value in numbers.items():
            for grid in grids:
                if type(value) is not int or grid is None:
                    continue
                for axis in varying(grid):
                    if grid.shape[axis] == value:
                        path = f"{owner}.{name}".lstrip(".")
                        self._guesses.append((path, grid, axis))

    def _reason(self, node: fx.Node) -> str:
        """Say what a call needs all units of its operands for."""
        layer = self._graph.layer(node)
        if layer is not None and self._layers.get(layer) is not None:
            return f"{layer}, which reads them, is not pruned: {self._layers[layer]}"
        kind = self._graph.kind(node)
        where = str(node.target) if node.op == "call_module" else _owner(node)
        what = getattr(kind, "__name__", str(kind))
        return f"{what} ({where}) takes them together" if where else f"{what} takes them together"


def _find_cuts(call: Call) -> tuple[list[Cut], list[tuple[int, int]]]:
    """Return how units can be taken from operands, and the axes along which they cannot."""
    cuts: list[Cut] = []
    blocked = []
    for position, operand in enumerate(call.operands):
        for axis in varying(operand.labels):
            if any(cut.axes.get(position) == axis for cut in cuts):
                continue
            cut = call.find_cut(position, axis)
            if cut is None:
                blocked.append((position, axis))
            else:
                cuts.append(cut)
    return cuts, blocked


def _foreign(call: Call, position: int, axis: int) -> str | None:
    """Say so if units meet what is no unit."""
    value = call.operands[position].value
    behind = value.ndim - axis
    for operand in call.operands:
        at = operand.value.ndim - behind if operand.is_foreign else -1
        if at >= 0 and operand.value.shape[at] == value.shape[axis]:
            return COMBINED
    return None


def _repeated(operand: Operand, n_heads: int) -> Operand:
    """Return keys or values of groups of heads with one for every head."""
    times = n_heads // operand.value.shape[-3]
    labels = operand.labels
    if labels is not None and labels.shape[-3] > 1:
        labels = np.repeat(labels, times, -3)
    return operand._replace(value=operand.value.repeat_interleave(times, -3), labels=labels)


def _arrays(labels: Any) -> list[Labels]:
    """Return the units in all parts of a value that have some."""
    return [own for own in tree_flatten(labels)[0] if isinstance(own, np.ndarray)]


def _owner(node: fx.Node) -> str:
    """Return the module whose code makes a call."""
    stack = [*node.meta.get("nn_module_stack", {}).values()]
    return str(stack[-1][0]) if stack else ""


def _submodule(model: nn.Module, name: str) -> nn.Module | None:
    try:
        return model.get_submodule(name)
    except AttributeError:  # a part of what was replaced
        return None
