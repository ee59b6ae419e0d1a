"""What tracing finds out about a module: what follows a layer, and how signals depend on layers."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import io
import logging
import math
import operator
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import fx, nn

from .followers import SMOOTH, VALUES, BranchInterpreter, classify_calls, find_joins
from .lipschitz import AFFINE, GraphCall, Shape, operand_lipschitz
from .outputs import ALONE, are_close, leaves, named_tensors
from .run import evaluation

__all__ = ["LayerTail", "TorchGraph", "run_calls"]

LipschitzConstants = dict[int, float]
RELU = (nn.ReLU, F.relu, F.relu_, torch.relu, torch.relu_, "relu", "relu_")
IDLE = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout)  # in evaluation mode
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
PRODUCTS = (operator.mul, torch.mul, "mul")


class LayerTail(NamedTuple):
    """A layer and what belongs to it.

    Attributes
    ----------
    ends : tuple of torch.fx.Node
        Where the layer's output in the sense of `nettrim.models.layer_view.LayerView` appears, in
        every call of it.
    activation : {"relu", "linear"}
    norm : torch.nn.Module or None
        A batch normalisation between the layer and what follows.
    follower : str or None
        The smooth activation behind its end; see `nettrim.models.layer_view.LayerView`.
    behind : torch.fx.Node
        Where that of the follower appears, in the first call; the end where there is none.
    """

    ends: tuple[fx.Node, ...]
    activation: str
    norm: nn.Module | None
    follower: str | None
    behind: fx.Node


class TorchGraph:
    """The calls of a module in evaluation mode, in order.

    Parameters
    ----------
    traced : torch.fx.GraphModule
    tried_in : torch.dtype, optional
        In which type numbers go through what follows a layer, to see what it is. Default that of
        the tensors there.
    """

    def __init__(self, traced: fx.GraphModule, tried_in: torch.dtype | None = None) -> None:
        self.traced, self.tried_in = traced, tried_in
        self._branch = BranchInterpreter(traced)
        self.modules = dict(traced.named_modules())
        self.shapes: Mapping[fx.Node, Shape] = {}
        self.types: Mapping[fx.Node, torch.dtype] = {}

    @classmethod
    def of(
        cls,
        model: nn.Module,
        given: Collection[str] = (),
        tried_in: torch.dtype | None = None,
    ) -> TorchGraph | None:
        """Trace a module; None where torch.fx cannot follow its code.

        Parameters
        ----------
        model : torch.nn.Module
        given : collection of str
            Arguments of the module's forward that vary although they have a default.
        tried_in : torch.dtype, optional
        """
        parameters = inspect.signature(model.forward).parameters.values()
        defaults = {
            p.name: p.default
            for p in parameters
            if p.default is not p.empty and p.name not in given
        }
        try:
            return cls(fx.symbolic_trace(model, concrete_args=defaults), tried_in)
        except Exception:  # noqa: BLE001 (of code that is not ours)
            return None

    @classmethod
    def exported(
        cls,
        model: nn.Module,
        given: Mapping[str, torch.Tensor],
        tried_in: torch.dtype | None = None,
    ) -> TorchGraph | None:
        """Follow a module by torch.export; None where that fails."""
        try:
            with _silence(), evaluation(), _returning_tensors(model):
                program = torch.export.export(model, (), dict(given), strict=False)
                graph = cls(program.module(), tried_in)
        except Exception:  # noqa: BLE001 (of code that is not ours)
            return None
        graph.modules |= dict(model.named_modules())  # the program has but their parameters
        _name_once(graph.traced.graph, model)
        return graph

    def confirm(
        self, given: Mapping[str, torch.Tensor], outputs: Mapping[str, torch.Tensor]
    ) -> bool:
        """Learn the shapes on a batch; tell whether the graph computes what the module does."""
        recorder = _Recorder(self.traced, given)
        try:
            with evaluation():
                returned = run_calls(recorder)
            computed = named_tensors(self.traced.graph.process_outputs(returned))
        except Exception:  # noqa: BLE001 (of code that is not ours)
            return False
        self.shapes, self.types = recorder.shapes, recorder.types
        faithful = all(
            name in computed and are_close(computed[name], x) for name, x in outputs.items()
        )
        return faithful and not recorder.overwritten

    def tail(self, name: str, *, foldable: bool) -> LayerTail | None:
        """Return what follows a layer; None for one that the graph does not show.

        Of a layer that is called more than once, what follows its first call, if the same follows
        all others.

        Parameters
        ----------
        name : str
        foldable : bool
            Whether a batch normalisation would see the layer's outputs as its channels.
        """
        calls = self.calls(name)
        if not calls:
            return None
        first, *others = (self._tail(call, foldable and len(calls) == 1) for call in calls)
        same = all(
            t.activation == first.activation and t.follower == first.follower for t in others
        )
        if not same:
            return LayerTail((*calls,), "linear", None, None, calls[0])
        return first._replace(ends=(*first.ends, *(end for tail in others for end in tail.ends)))

    def _tail(self, call: fx.Node, foldable: bool) -> LayerTail:
        """Return what follows one call of a layer."""
        at, norm = call, None
        while True:
            passed = at
            for calls in find_joins(at):
                known = self._norm(calls[0]) if foldable and norm is None else None
                if known is not None and len(calls) == 1:
                    at, norm = calls[0], known
                    break
                does = self._behaviour(at, calls)
                if does == "relu":
                    return LayerTail((calls[-1],), "relu", norm, None, calls[-1])
                if does in SMOOTH:
                    return LayerTail((at,), "linear", norm, does, calls[-1])
                if does == "linear":
                    at = calls[-1]
                    break
            if at is passed:
                return LayerTail((call,), "linear", None, None, call)

    def factor(self, name: str, tails: Mapping[str, LayerTail]) -> str | None:
        """Return the layer of the same input by whose output a layer's own is multiplied.

        As in gated linear units: each behind the smooth activation that follows it, if any. None
        for what is called more than once.
        """
        if len(self.calls(name)) > 1:
            return None
        users = [*tails[name].behind.users]
        if len(users) != 1 or self.kind(users[0]) not in PRODUCTS:
            return None
        operands = {*users[0].all_input_nodes}
        for other, tail in tails.items():
            is_plain = tail.activation == "linear" and tail.norm is None
            if is_plain and other != name and operands == {tails[name].behind, tail.behind}:
                return other if self._input(other) is self._input(name) else None
        return None

    def _input(self, name: str) -> fx.Node | None:
        """Return what a layer is called on."""
        calls = self.calls(name)
        return calls[0].all_input_nodes[0] if len(calls) == 1 else None

    def lipschitz(
        self,
        layers: Sequence[str],
        ends: Mapping[fx.Node, tuple[int, float]],
        outputs: Sequence[str],
    ) -> list[LipschitzConstants]:
        """Return how far the input of each layer, and then each output, follows the layers before.

        Parameters
        ----------
        layers : sequence of str
            Names, in order of the calls.
        ends : mapping of torch.fx.Node to (int, float)
            Where an output of a layer appears, its position, and how far it follows that output.
        outputs : sequence of str
            Names of outputs.
        """
        found: dict[fx.Node, LipschitzConstants] = {}
        for node in self.traced.graph.nodes:
            found[node] = self._lipschitz(node, found, layers, ends)
        arriving = []
        for position, name in enumerate(layers):
            unknown = dict.fromkeys(range(position), math.inf)
            met = [found[call.all_input_nodes[0]] for call in self.calls(name)] or [unknown]
            arriving.append(_side_by_side(met))
        return [*arriving, *(found.get(self._exit(name), {}) for name in outputs)]

    def _lipschitz(
        self,
        node: fx.Node,
        found: Mapping[fx.Node, LipschitzConstants],
        layers: Sequence[str],
        ends: Mapping[fx.Node, tuple[int, float]],
    ) -> LipschitzConstants:
        before = {k for operand in node.all_input_nodes for k in found[operand]}
        inside = self._inside(node, before, layers)
        if inside:
            return dict.fromkeys(sorted(before.union(inside)), math.inf)
        if node in ends and ends[node][0] not in before:
            return dict([ends[node]])
        if node.op == "output" or self.layer(node) in layers:
            return {}  # nothing but the layer's own section uses it
        constants: LipschitzConstants = {}
        for operand, own_constant in operand_lipschitz(self._described(node)):
            for position, constant in found[operand].items() if own_constant else ():
                constants[position] = constants.get(position, 0.0) + own_constant * constant
        return constants

    def _exit(self, name: str) -> Any:
        """Return the node of an output, or of what it is a part of; None for a constant."""
        output = next(node for node in self.traced.graph.nodes if node.op == "output")
        exits = dict(_exits(self.traced.graph.process_outputs(output.args[0])))
        while name not in exits and "." in name:
            name = name.rpartition(".")[0]
        return exits.get(name, exits.get(ALONE))

    def _inside(self, node: fx.Node, before: set[int], layers: Sequence[str]) -> list[int]:
        """Return the layers of which nothing is known behind a node.

        Those within a module that is called whole, or whose weights a node reads; and a layer that
        is called on what it, or a later one, has put out.
        """
        target, called = str(node.target), self.layer(node)
        if called in layers:
            position = layers.index(called)
            return [position] if any(k >= position for k in before) else []
        if node.op == "call_module":
            return [k for k, name in enumerate(layers) if name.startswith(f"{target}.")]
        if node.op == "get_attr" and not all(self.layer(user) for user in node.users):
            return [k for k, name in enumerate(layers) if target.startswith(f"{name}.")]
        return []

    def _behaviour(self, at: fx.Node, calls: Sequence[fx.Node]) -> str | None:
        """Tell whether calls behind a node are a ReLU, or do nothing."""
        if len(calls) == 1 and self.kind(calls[0]) in RELU:
            return "relu"
        if len(calls) == 1 and self.kind(calls[0]) in IDLE:
            return "linear"
        floats = (p.dtype for p in self.traced.parameters() if p.is_floating_point())
        dtype = self.tried_in or self.types.get(at, next(floats, torch.float64))
        shape = _with_rows(self.shapes.get(at, self._guessed_shape(at)))
        return classify_calls(self._branch, at, calls, torch.empty(shape, dtype=dtype))

    def _guessed_shape(self, at: fx.Node) -> Shape:
        """Return one of enough values for a node, as far as known before a run."""
        module = self.modules.get(self.layer(at) or "")
        width = int(getattr(module, "out_features", 1))
        return max(2, VALUES // max(1, width)), width

    def _described(self, node: fx.Node) -> GraphCall:
        module = self.module(node) if node.op == "call_module" else None
        if node.op == "call_function" and (name := self.layer(node)) is not None:
            module = self.modules.get(name)
        return GraphCall(node, self.kind(node), module, self.traced, self.shapes)

    def _norm(self, node: fx.Node) -> nn.Module | None:
        """Return the normalisation a node calls, if its statistics do not depend on the batch."""
        name = self._owner(node, 3) if self.kind(node) == "batch_norm" else None
        module = self.modules.get(name or str(node.target))
        known = isinstance(module, NORMS) and module.running_mean is not None
        return module if known else None

    def calls(self, name: str) -> list[fx.Node]:
        """Return where a layer is called; nothing if it is not, or out of sight."""
        return [node for node in self.traced.graph.nodes if self.layer(node) == name]

    def layer(self, node: fx.Node) -> str | None:
        """Return what a node calls by name: a module, or an operation with a layer's weights."""
        if node.op == "call_module":
            return str(node.target)
        return self._owner(node, 1) if self.kind(node) in AFFINE else None

    def _owner(self, node: fx.Node, position: int) -> str | None:
        """Return the module that holds an operand."""
        operand = node.args[position] if len(node.args) > position else None
        held = isinstance(operand, fx.Node) and operand.op == "get_attr"
        return str(operand.target).rpartition(".")[0] if held else None  # type: ignore[union-attr]

    def kind(self, node: fx.Node) -> Any:
        """Return a class of modules, a function, or the name of a method or operation."""
        if isinstance(node.target, torch._ops.OpOverload):
            return node.target._schema.name.rpartition("::")[2]
        return type(self.module(node)) if node.op == "call_module" else node.target

    def module(self, node: fx.Node) -> Any:
        """Return the module that a node calls."""
        return self.modules[str(node.target)]


def _name_once(calls: fx.Graph, model: nn.Module) -> None:
    """Call what a module holds under several names by the first of them, as layers are called."""
    first = {module: name for name, module in model.named_modules()}
    names = {name: first[m] for name, m in model.named_modules(remove_duplicate=False)}
    for node in calls.nodes:
        owner, _, last = str(node.target).rpartition(".")
        if node.op == "get_attr" and names.get(owner, owner) != owner:
            node.target = f"{names[owner]}.{last}"


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Let torch.export not warn, log and print what it could not follow: no user's concern."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            with contextlib.redirect_stderr(io.StringIO()):
                yield
    finally:
        logging.disable(disabled)


@contextlib.contextmanager
def _returning_tensors(model: nn.Module) -> Iterator[None]:
    """Let a module return its tensors by name, and nothing that torch.export does not know."""
    forward, own = model.forward, "forward" in vars(model)

    @functools.wraps(forward)
    def flat(*args: Any, **kwargs: Any) -> dict[str, torch.Tensor]:
        return named_tensors(forward(*args, **kwargs))

    model.forward = flat
    try:
        yield
    finally:
        del model.forward
        if own:
            model.forward = forward


def _exits(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what a graph returns by name (see `leaves`); it makes tuples with fields by calls."""
    for found, leaf in leaves(value, name):
        made = leaf.target if isinstance(leaf, fx.Node) else None
        if isinstance(made, type) and (dataclasses.is_dataclass(made) or hasattr(made, "_fields")):
            parts = made(*leaf.args, **leaf.kwargs)
            yield from _exits(parts, name if leaf is value else found)
        else:
            yield found, leaf


def _side_by_side(met: Sequence[LipschitzConstants]) -> LipschitzConstants:
    """Return how far a layer's inputs in all its calls, as one signal, follow other layers."""
    layers = sorted({k for constants in met for k in constants})
    return {k: math.hypot(*(constants.get(k, 0.0) for constants in met)) for k in layers}


def _with_rows(shape: Shape) -> Shape:
    """Return a shape of some values for one of none, as of an expert that no sample reached."""
    others = math.prod(n for n in shape if n)
    return tuple(n or max(2, VALUES // others) for n in shape)


def run_calls(interpreter: fx.Interpreter) -> Any:
    """Run the calls of a graph in turn, and return what the last one gives.

    As `torch.fx.Interpreter.run` does, which leaves a thread of tqdm behind that watches over a bar
    nobody sees.
    """
    returned = None
    for node in interpreter.graph.nodes:
        returned = interpreter.env[node] = interpreter.run_node(node)
        if interpreter.garbage_collect_values:
            for done in interpreter.user_to_last_uses.get(node, ()):
                del interpreter.env[done]
    return returned


class _Recorder(fx.Interpreter):
    """Runs a graph and notes the shapes and types of its tensors.

    It also notes whether a tensor is used after it was overwritten, which a graph does not show.
    """

    def __init__(self, traced: fx.GraphModule, given: Mapping[str, torch.Tensor]) -> None:
        super().__init__(traced)
        self.shapes: dict[fx.Node, Shape] = {}
        self.types: dict[fx.Node, torch.dtype] = {}
        self.overwritten = False
        self._given = given
        self._versions: dict[fx.Node, int] = {}

    def placeholder(self, target: Any, args: Any, kwargs: Any) -> Any:
        return self._given[target] if target in self._given else args[0] if args else None

    def run_node(self, n: fx.Node) -> Any:
        for operand in n.all_input_nodes:
            if operand in self._versions:
                changed = self.env[operand]._version != self._versions[operand]
                self.overwritten = self.overwritten or changed
        result = super().run_node(n)
        if isinstance(result, torch.Tensor):
            self.shapes[n], self.types[n] = tuple(result.shape), result.dtype
            self._versions[n] = result._version
        return result
