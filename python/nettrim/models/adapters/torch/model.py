"""Modules of PyTorch: which layers can be pruned, what arrives there, and copies of them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from ....base.arrays import Array
from ...model_view import Affine, LayerView, ModelView, Signal, Untouched
from ...samples import Data, Samples
from .data import tensor_bytes
from .expansions.expand import ExpandedModel, are_near, expand
from .graph import LayerTail, TorchGraph
from .inputs import ForwardSignature, load_samples
from .layers import (
    OUTPUT_HEAD,
    find_output_heads,
    layer_view,
    prunable_modules,
    read_normalisation,
    write,
)
from .outputs import are_close
from .prepare import bake_parametrizations, check_model, copy_model, rewrap, unwrap
from .reads import read_elsewhere
from .run import Arrival, Exit, Runner, Stop, layer_names
from .transposed import find_resized
from .untouched import is_quantised, list_untouched
from .walkthrough import Walkthrough

__all__ = ["TorchView", "view"]

TRANSFORMERS = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)


def view(model: nn.Module) -> TorchView:
    """Return the view of a module.

    Raises
    ------
    TypeError
        If it is no `torch.nn.Module` whose layers can be seen: TorchScript, an exported program.
    ValueError
        If it has no weights yet, or weights of a type that NumPy does not know.
    """
    return TorchView(model)


@dataclass(frozen=True)
class _LayerPlace:
    """A layer where it stands in the model.

    Attributes
    ----------
    layer : LayerView
    tail : LayerTail or None
        None where the graph does not show the layer.
    norm : pair of ndarrays of shape (n_outputs,) or None
        Factors and shifts of the batch normalisation that is folded in.
    """

    layer: LayerView
    tail: LayerTail | None
    norm: tuple[Array, Array] | None

    @property
    def scale(self) -> Array | None:
        """The factors of the normalisation."""
        return None if self.norm is None else self.norm[0]


class TorchView(ModelView):
    """The view of a `torch.nn.Module` (see `nettrim.models.model_view.ModelView`).

    It runs copies of the module, in evaluation mode. Which layers run, in which order, is known
    only from a run: give data to `calibration` before asking for `prunable_layers`.

    A layer whose outputs go to a ReLU and nowhere else, however that is written (``clamp(min=0)``,
    ``x * (x > 0)``, ...), is a ReLU layer; a batch normalisation may stand between. torch.fx shows
    what follows a layer, where it cannot trace the module torch.export, and where that fails too
    the user (`nettrim.torch.declare`). All other layers are linear ones, held to their output
    before what follows: so are those in front of a ReLU6 or ``clamp(0, 6)``, which is known to move
    no more than its input does.

    Attention and recurrent layers are replaced by equivalents of linear layers in the copies that
    run (`nettrim.models.adapters.torch.expansions`), where these compute the same on the data.

    The module inside `torch.nn.DataParallel`, ``DistributedDataParallel`` and what `torch.compile`
    returned is the one that counts, and names are those in it.

    Parameters
    ----------
    model : torch.nn.Module
    relu : iterable of str, optional
        Names of layers that are followed by a ReLU, beyond those where it is found. If it is given,
        nothing is said of layers whose followers are unknown.

    Attributes
    ----------
    model : torch.nn.Module
        The module without wrappers, and with masks and norms baked into its weights.
    """

    _runs: ClassVar[type[Runner]] = Runner
    _stored: ClassVar[bool] = False  # whether layers keep their weights, and none are copied

    def __init__(self, model: nn.Module, relu: Iterable[str] | None = None) -> None:
        self._given = check_model(model)
        self.model = bake_parametrizations(unwrap(model))
        self._hold(expand(self.model))
        modules = self._modules
        if "" in modules:
            raise ValueError(
                "model is a single layer: put it into a torch.nn.Sequential, "
                "or give its data to nettrim.solve_layer"
            )
        if not modules and any(map(is_quantised, self.model.modules())):
            raise ValueError(
                "model is quantised and holds no weights of floats: give the module that it was "
                "made from, and quantise the result"
            )
        for layer, reason in self._left_out.items():
            _warn_of(layer, reason)
        self._declares = relu is not None
        self._relu = frozenset(relu or ())
        if not self._relu <= modules.keys():
            unknown = sorted(self._relu - modules.keys())
            raise ValueError(f"relu: no prunable layer is called {unknown}, there are {[*modules]}")
        self._heads = find_output_heads(self.model)
        self._takes = ForwardSignature.of(self.model)
        self._copy(precise=all(p.device.type != "mps" for p in self.model.parameters()))
        self._graph = self._traced()
        self._inputs: set[str] | None = None  # None for one without a name
        self._arrivals: dict[Stop, Arrival] = {}
        self._places = [self._place(name, foldable=True) for name in modules]
        self._lipschitz: list[dict[int, float]] = []
        self._loaded: dict[int, Affine] = {}  # replacements in the copy that runs
        self._asked = False

    def calibration(self, values: Any, name: str) -> Data:
        """Return calibration data as arrays, and find out on them which layers run.

        Parameters
        ----------
        values : array_like, torch.Tensor, mapping, tuple of tensors, or batches of these
            Samples along the first axis. Whole numbers (tokens) stay whole. A mapping, like a
            ``BatchEncoding``, has inputs by name, and what forward does not take (labels) is left
            out; a tuple has them by position, a pair of a tuple and a mapping both. None stands for
            a default, and numbers go along with every batch.

            Batches come from a `DataLoader`, a data set, an iterator or a list of tensors, tuples
            or mappings. The first item of a batch that is a tuple or a list is the model's input,
            or as many of its first items as forward requires; the others are labels. Batches of
            mappings may have been padded to different lengths if a mask tells of it.
        name : str
            How an error calls it.

        Returns
        -------
        ndarray of shape (n_samples, ...) or Samples
            float64 or int64 for one input that was given without a name; otherwise by the names of
            forward's parameters, where masks may also be bool.

        Raises
        ------
        TypeError, ValueError
            If these are no finite numbers, or the model does not take them.

        Warns
        -----
        UserWarning
            Of layers that run more than once, whose parameters are read elsewhere, or whose input
            does not hold the samples in order; if it is not known what follows some layers; and if
            the model cannot compute in float64.
        """
        data = load_samples(values, name, self._takes)
        inputs = {*data.arrays, *data.shared} if isinstance(data, Samples) else None
        if not self._lipschitz:
            listed = [place.layer.name for place in self._places]
            self._inputs = inputs
            self._settle(data, name)
            if self._asked and listed != [place.layer.name for place in self._places]:
                raise ValueError(
                    f"{name} must go to `calibration` before `prunable_layers` is asked"
                )
        if inputs != self._inputs:
            wanted = "one array" if self._inputs is None else sorted(self._inputs)
            came = "one array" if inputs is None else sorted(inputs)
            raise ValueError(f"{name} must have the inputs of the first data, {wanted}, got {came}")
        return data

    def prunable_layers(self) -> list[LayerView]:
        """Return the layers in the order of their calls; before a run, as the module lists them."""
        self._asked = True
        return [place.layer for place in self._places]

    def outputs(self) -> list[str]:
        """Return the names of the outputs of floats with an axis of samples; none before a run.

        The parts of tuples, mappings and dataclasses have dotted names, like "logits" or
        "hidden_states.0"; a tensor alone is called "output".
        """
        return [stop.name for stop in self._arrivals if isinstance(stop, Exit)]

    def untouched(self) -> list[Untouched]:
        """Return the weights that no prunable layer holds (see `Untouched`)."""
        handled = {place.layer.name for place in self._places}
        silent = dict.fromkeys(self._modules.keys() - handled, "it does not run")
        return list_untouched(self._expanded.model, handled, {**silent, **self._left_out})

    def signals(self, X: Data, weights: Mapping[int, Affine]) -> Iterator[Signal]:
        """Walk data through the module (see `nettrim.models.model_view.ModelView`).

        One pass through it waits at every layer, however often weights change.
        """
        if not self._lipschitz:
            X = self.calibration(X, "X")
        with closing(Walkthrough(self._runner, X, layer_names(self._arrivals))) as walk:
            for position, (stop, arrival) in enumerate(self._arrivals.items()):
                yield Signal(walk.reach(stop, arrival.axis), self._lipschitz[position])
                for read in self._read_behind(stop):
                    self._load(read, weights.get(read))

    def output_values(self, X: Data, weights: Mapping[int, Affine]) -> list[Array]:
        """Return the outputs that count under some weights, without a stop at layers."""
        if not self._lipschitz:
            X = self.calibration(X, "X")
        for position in range(len(self._places)):
            self._load(position, weights.get(position))
        return [*self._runner.outputs(X, self._exits).values()]

    def with_weights(self, weights: Mapping[int, Affine]) -> nn.Module:
        """Return a copy of the module with other weights (see `ModelView`).

        Warns
        -----
        UserWarning
            If the module came in a wrapper that cannot be put around the copy.
        """
        trimmed = copy_model(self.model)
        expanded = expand(trimmed, self._expanded.names).model
        for position, affine in weights.items():
            place = self._places[position]
            write(expanded.get_submodule(place.layer.name), affine, place.scale)
        return rewrap(trimmed, self._given)

    def run(self, model: nn.Module | TorchView, X: Data) -> list[Array]:
        """Return the outputs that count as users of a module see them (see `ModelView`).

        In evaluation mode, in the precision of its weights, by the fused code of PyTorch where it
        has some; without its wrapper.
        """
        if not self._lipschitz:
            X = self.calibration(X, "X")
        module = model.model if isinstance(model, TorchView) else unwrap(model)
        runner = self._runs(module, [], precise=False, fast=True)
        runner.batch = self._runner.batch
        return [*runner.outputs(X, self._exits).values()]

    def view_of(self, model: nn.Module) -> TorchView:
        """Return the view of a copy, of which the same was declared (see `ModelView`)."""
        return TorchView(model, self._relu if self._declares else None)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the tensors of the module's state by name, as bytes (see `ModelView`)."""
        state = self.model.state_dict().items()
        return {
            name: tensor_bytes(value) for name, value in state if isinstance(value, torch.Tensor)
        }

    def _hold(self, expanded: ExpandedModel) -> None:
        """Take the layers of an expanded model for those of the module."""
        self._expanded = expanded
        self._modules, self._left_out = prunable_modules(expanded.model)

    @property
    def _exits(self) -> dict[Exit, int]:
        """The outputs that count, and the axes of the samples there."""
        return {s: a.axis for s, a in self._arrivals.items() if isinstance(s, Exit)}

    def _copy(self, *, precise: bool) -> None:
        """Make the copy that runs, and the one whose code is looked at: mostly the same."""
        self._runner = self._runs(self._expanded.model, list(self._modules), precise=precise)
        self._shown = self._runner

    def _traced(self, given: Collection[str] = ()) -> TorchGraph | None:
        return TorchGraph.of(self._shown.model, given, self._tried_in)

    @property
    def _tried_in(self) -> torch.dtype | None:
        """The type that activations are tried in, where the module itself does not have it."""
        return torch.float64 if self._runner.precise and not self._shown.precise else None

    def _settle(self, data: Data, name: str) -> None:
        """Run a few samples to see what the module does with them."""
        samples = [data[np.arange(n) % len(data)] for n in (2, 3)]
        self._drop_differing_expansions(samples[0])
        arrivals = self._try(samples, name)
        if not self._runner.precise:
            warnings.warn(
                "model cannot compute in float64: what is reported holds up to its own rounding",
                UserWarning,
                stacklevel=3,
            )
        self._accept(arrivals, samples[0])
        outputs, again = (self._shown.output(samples[0]) for _ in range(2))
        counted = {name: outputs[name] for name in self.outputs()}
        if not all(name in again and are_close(again[name], x) for name, x in counted.items()):
            raise ValueError(
                "model must compute the same twice; a dropout may be on in evaluation too"
            )
        if self._mixes(data[np.arange(4) % len(data)]):
            self._runner.batch = None
            warnings.warn(
                "model: what comes out for a sample depends on those beside it, so all of them "
                "pass at once, and what is reported holds for these together. If samples are not "
                "along the first axis (a recurrent layer or attention without batch_first), put "
                "them there",
                UserWarning,
                stacklevel=3,
            )
        self._graph = self._confirmed(self._shown.given(samples[0]), counted)
        names = layer_names(self._arrivals)
        self._places = [self._place(layer, foldable=self._foldable(layer)) for layer in names]
        self._find_factors()
        self._lipschitz = self._all_lipschitz(names)
        self._warn_of_unknown()

    def _drop_differing_expansions(self, samples: Data) -> None:
        """Leave the modules alone whose expansions compute something else on samples."""
        precise = self._runner.precise
        while self._expanded.names and (differing := self._differing(samples, precise)):
            self._hold(expand(self.model, self._expanded.names - differing))
            self._copy(precise=precise)
            self._graph = self._traced()

    def _differing(self, samples: Data, precise: bool) -> frozenset[str]:
        """Return expansions that compute something else, or all if only the model does.

        In float64, or as the module is if its own code knows no float64.
        """
        plain = self._runs(self.model, [], precise=precise)
        expanded = self._runner
        if precise != expanded.precise:
            expanded = self._runs(self._expanded.model, [], precise=precise)
        try:
            with self._expanded._replace(model=expanded.model).compared(plain.model) as differing:
                wanted = plain.output(samples)
        except Exception:  # noqa: BLE001 (of code that is not ours)
            # Data that do not pass at all are refused later.
            return self._differing(samples, False) if precise else frozenset()
        if differing:
            return frozenset(differing)
        try:
            same = are_near(expanded.output(samples), wanted)
        except Exception:  # noqa: BLE001 (of code that is not ours)
            same = False
        return frozenset() if same else self._expanded.names

    def _mixes(self, samples: Data) -> bool:
        """Tell whether outputs of samples are others when the samples pass in two batches."""
        whole = self._runner.outputs(samples, self._exits)
        middle = len(samples) // 2
        parts = samples[slice(middle)], samples[slice(middle, None)]
        halves = [self._runner.outputs(part, self._exits) for part in parts]
        return not all(
            np.allclose(np.concatenate([half[stop] for half in halves]), values, equal_nan=True)
            for stop, values in whole.items()
        )

    def _accept(self, arrivals: Mapping[Stop, Arrival | None], samples: Data) -> None:
        """Keep the layers that can be pruned, and the outputs that count."""
        shown = self._shown
        running = {name: shown.layers[name] for name in layer_names(arrivals)}
        readers = {name: shown.model.get_submodule(self._expanded.reader(name)) for name in running}
        read = read_elsewhere(running, readers, lambda: shown.output(samples))
        resized = find_resized(running, lambda: shown.output(samples))
        for stop, arrival in arrivals.items():
            if isinstance(stop, Exit):
                if arrival is not None:
                    self._arrivals[stop] = arrival
            elif arrival is None:
                self._leave_out(
                    stop, "it runs more than once, or does not meet one sample at a time"
                )
            elif arrival.axis and not isinstance(self._modules[stop], nn.Linear):
                self._leave_out(stop, "samples run along the positions that it slides over")
            elif stop in read:
                self._leave_out(stop, "its weights are read elsewhere too")
            elif stop in resized:
                self._leave_out(stop, "it is told how large its output shall be")
            else:
                self._arrivals[stop] = arrival
        if not self.outputs():
            raise ValueError("model must return one result for each sample")

    def _leave_out(self, name: str, reason: str) -> None:
        self._left_out[name] = reason
        _warn_of(name, reason)

    def _confirmed(
        self, given: Mapping[str, torch.Tensor], outputs: Mapping[str, torch.Tensor]
    ) -> TorchGraph | None:
        """Return a graph that computes what the module does and shows most layers, or None."""
        fresh = self._inputs is not None  # an input may be one that has a default
        names = layer_names(self._arrivals)

        def seen(graph: TorchGraph | None) -> int:
            return sum(graph.call(n) is not None for n in names) if graph else -1

        traced = self._traced(given) if fresh else self._graph
        if traced is not None and not traced.confirm(given, outputs):
            traced = None
        if not names or seen(traced) == len(names):
            return traced
        exported = TorchGraph.exported(self._shown.model, given, self._tried_in)
        if exported is not None and not exported.confirm(given, outputs):
            exported = None
        return max(traced, exported, key=seen)

    def _warn_of_unknown(self) -> None:
        """Name the layers that may be followed by a ReLU, for all that is known."""
        unknown = [
            place.layer.name
            for place in self._places
            if place.tail is None
            and place.layer.activation != "relu"
            and not self._expanded.is_followed_inside(place.layer.name)
        ]
        if unknown and not self._declares:
            warnings.warn(
                f"model: what follows the layers {', '.join(map(repr, unknown))} is not known, as "
                "neither torch.fx nor torch.export can follow its code; they are taken for linear "
                "ones. nettrim.torch.declare(module, relu=[...]) says which of them go to a ReLU",
                UserWarning,
                stacklevel=3,
            )

    def _try(self, samples: list[Data], name: str) -> dict[Stop, Arrival | None]:
        """Run samples in float64, or as the module is if its own code knows no float64."""
        try:
            return self._runner.arrivals(samples)
        except Exception as error:
            if not self._runner.precise:
                raise ValueError(f"{name} does not pass through the model: {error}") from error
        self._copy(precise=False)
        self._graph = self._traced()
        return self._try(samples, name)

    def _place(self, name: str, *, foldable: bool) -> _LayerPlace:
        """Find out what follows a layer."""
        module = self._modules[name]
        tail = self._graph.tail(name, foldable=foldable) if self._graph else None
        activation = "linear" if tail is None else tail.activation
        if name in self._relu or self._feeds_relu(name):
            activation = "relu"
        norm = None if tail is None or tail.norm is None else read_normalisation(tail.norm)
        layer = layer_view(name, module, activation, norm, stored=self._stored)
        if name in self._heads:
            layer = replace(layer, left_out=OUTPUT_HEAD)
        if tail is not None and activation == "linear":
            layer = replace(layer, follower=tail.follower)
        return _LayerPlace(layer, tail, norm)

    def _find_factors(self) -> None:
        """Find the layers whose outputs are multiplied by those of another one."""
        tails = {place.layer.name: place.tail for place in self._places if place.tail is not None}
        for number, place in enumerate(self._places):
            if self._graph is not None and place.tail is not None:
                factor = self._graph.factor(place.layer.name, tails)
                layer = replace(place.layer, factor=factor)
                self._places[number] = replace(place, layer=layer)

    def _feeds_relu(self, name: str) -> bool:
        """Whether this is the first layer behind the attention in a transformer with ReLU units."""
        owner, _, last = name.rpartition(".")
        block: Any = self._expanded.model.get_submodule(owner)
        if type(block) not in TRANSFORMERS or last != "linear1":
            return False
        return isinstance(block.activation, nn.ReLU) or block.activation in (F.relu, torch.relu)

    def _foldable(self, name: str) -> bool:
        """Whether a layer's outputs are the channels of what comes out of it."""
        dense = isinstance(self._modules[name], nn.Linear)
        return not dense or self._arrivals[name].entries == self._modules[name].in_features

    def _all_lipschitz(self, names: list[str]) -> list[dict[int, float]]:
        if self._graph is None:
            unknown = [dict.fromkeys(range(k), math.inf) for k in range(len(names) + 1)]
            return unknown + unknown[-1:] * (len(self.outputs()) - 1)
        ends = {}
        for position, place in enumerate(self._places):
            if place.tail is not None:
                known = place.tail.activation == place.layer.activation
                ends[place.tail.end] = (position, 1.0 if known else math.inf)
        constants = self._graph.lipschitz(names, ends, self.outputs())
        for position, name in enumerate(names):
            if self._expanded.feeds_itself(name):
                constants[position] = {**constants[position], position: math.inf}
        return constants

    def _read_behind(self, stop: Stop) -> list[int]:
        """Return the layers whose weights are read between a stop and the next one.

        The layer itself, or all of the recurrent module that it is a part of.
        """
        if isinstance(stop, Exit):
            return []
        reader = self._expanded.reader(stop)
        names = layer_names(self._arrivals)
        return [k for k, name in enumerate(names) if self._expanded.reader(name) == reader]

    def _load(self, position: int, affine: Affine | None) -> None:
        """Give a layer of the running copy the weights of the moment."""
        place = self._places[position]
        if affine is self._loaded.get(position):
            return
        layer = self._runner.layers[place.layer.name]
        if affine is None:
            layer.load_state_dict(self._modules[place.layer.name].state_dict())
            del self._loaded[position]
        else:
            write(layer, affine, place.scale)
            self._loaded[position] = affine


def _warn_of(name: str, reason: str) -> None:
    """Warn of a layer that stays as it is."""
    warnings.warn(f"layer {name!r} is not pruned: {reason}", UserWarning, stacklevel=4)
