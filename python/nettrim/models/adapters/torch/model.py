"""Modules of PyTorch: which layers can be pruned, what arrives there, and copies of them."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ....base.arrays import Array
from ...layer_view import Affine, LayerView, Signal, Untouched
from ...model_view import ModelView
from ...picked_rows import PickedRows
from ...samples import Data, Samples, sample_shape
from ...units.unit_map import CutTensor, UnitMap
from .data import tensor_bytes
from .expansions.expand import expand
from .independent import find_waiting_points
from .inputs import ForwardSignature, load_samples
from .layers import write
from .places import find_places, lipschitz_constants, warn_of_unknown
from .prepare import bake_parametrizations, check_model, copy_model, rewrap, unwrap
from .repeated import RepeatedInputs
from .row_tracker import collect_rows, nonzero_rows
from .run import Arrival, Exit, Runner, Stop, evaluation, threads
from .running_model import RunningModel
from .settle import settle, warn_of_left_out
from .units.compare import Comparison
from .units.config import adapt_config
from .units.confirm import confirm_units
from .units.cut import cut_module
from .units.walk import find_units
from .untouched import list_untouched
from .walkthrough import Walkthrough

__all__ = ["TorchView", "view"]

REPEATED = "it runs more than once"
ROUTED = "the model picks what it meets"


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
    kind : type of Runner, default Runner
        What makes the copies of the module, and runs them.

    Attributes
    ----------
    model : torch.nn.Module
        The module without wrappers, and with masks and norms baked into its weights.
    """

    def __init__(
        self, model: nn.Module, relu: Iterable[str] | None = None, kind: type[Runner] = Runner
    ) -> None:
        self._given = check_model(model)
        self.model = bake_parametrizations(unwrap(model))
        precise = all(p.device.type != "mps" for p in self.model.parameters())
        self._running = RunningModel.of(self.model, expand(self.model), kind, precise=precise)
        for layer, reason in self._running.left_out.items():
            warn_of_left_out(layer, reason)
        self._declares = relu is not None
        self._relu = frozenset(relu or ())
        names = self._running.names
        if not self._relu <= {*names}:
            unknown = sorted(self._relu - {*names})
            raise ValueError(f"relu: no prunable layer is called {unknown}, there are {names}")
        self._takes = ForwardSignature.of(self.model)
        self._inputs: set[str] | None = None  # None for one without a name
        self._places = find_places(self._running, self._relu)
        self._shape: Any = None  # of the samples of which it is known how they arrive
        self._lipschitz: list[dict[int, float]] = []
        self._points: list[str] = []  # where passes wait that stand for one of several calls
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
            Of layers that meet some samples more often than others, or in other shapes, whose
            parameters are read elsewhere, or whose input does not hold the samples in order; if it
            is not known what follows some layers; and if the model cannot compute in float64.
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
        return self._running.outputs

    def untouched(self) -> list[Untouched]:
        """Return the weights that no prunable layer holds (see `Untouched`)."""
        handled = {place.layer.name for place in self._places}
        layers, left_out = self._running.layers, self._running.left_out
        silent = dict.fromkeys(layers.keys() - handled, "it does not run")
        return list_untouched(self._running.expanded.model, handled, {**silent, **left_out})

    def signals(self, X: Data, weights: Mapping[int, Affine]) -> Iterator[Signal]:
        """Walk data through the module (see `nettrim.models.model_view.ModelView`).

        One pass through it waits at every layer, however often weights change. A layer that is
        called more than once meets the inputs of all its calls: each takes a pass of its own, side
        by side with the others, or, where calls depend on each other, there is one whenever weights
        have changed.
        """
        if not self._lipschitz:
            X = self.calibration(X, "X")
        inputs = RepeatedInputs(self._running.runner, X, self._running.called_again)
        with contextlib.ExitStack() as passes:
            walks = [passes.enter_context(closing(walk)) for walk in self._walkthroughs(X)]
            same_shape = sample_shape(X) == self._shape
            for position, (stop, arrival) in enumerate(self._running.arrivals.items()):
                values, rows = self._reach(walks, stop, arrival, same_shape)
                if values is None:
                    self._load_all(weights)
                    if arrival.is_picked:
                        values, rows = self._collect_rows(str(stop), arrival.row, X)
                    else:
                        values = inputs.take(str(stop), weights)
                yield self._signal(position, stop, values, rows)
                for read in self._read_behind(position):
                    self._load(read, weights.get(read))

    def _signal(self, position: int, stop: Stop, values: Array, rows: PickedRows | None) -> Signal:
        """Return what is known of what arrives at a stop."""
        if isinstance(stop, str) and self._running.expanded.meets_zeros(stop):
            values, rows = nonzero_rows(values)
        if rows is not None and not self._places[position].layer.meets_picked_rows:
            self._forget_constants(position)
        return Signal(values, self._lipschitz[position], rows)

    def _walkthroughs(self, X: Data) -> list[Walkthrough]:
        """Let data begin to pass through the module: once, or once for each independent call."""
        running = self._running
        names, passed_by, again = enumerate(running.names), running.passed_by, running.repeated
        turns = {name: turn for turn, name in names if name not in passed_by}
        first = Walkthrough(running.runner, X, turns, again, running.whole)
        if not self._points:
            return [first]
        points = {name: turns[name] for name in self._points}
        others = range(1, running.arrivals[again[0]].n_calls)
        return [first, *(Walkthrough(running.runner, X, points, again, number=k) for k in others)]

    def _reach(
        self, walks: Sequence[Walkthrough], stop: Stop, arrival: Arrival, same_shape: bool
    ) -> tuple[Array | None, PickedRows | None]:
        """Go on to a stop; return what arrives there, None where that takes a pass of its own."""
        walk, *others = walks
        again = not isinstance(stop, Exit) and arrival.is_repeated
        if arrival.is_picked:
            return (None, None) if again else walk.reach_rows(stop, arrival.row)
        if not (again or others or isinstance(stop, Exit)):
            return walk.reach_any(stop, arrival, same_shape=same_shape)
        values = walk.reach(stop, arrival.axis)
        if not again:
            if isinstance(stop, Exit) and others:
                walk.check_calls(self._running.repeated, len(walks))
            for other in others:
                other.wait_at(stop)
            return values, None
        if not others:
            return None, None
        met = [values, *(other.reach(stop, arrival.axis) for other in others)]
        return np.stack(met, self._running.runner.axes_in_front(str(stop), values.ndim)), None

    def _collect_rows(self, name: str, shape: tuple[int, ...], X: Data) -> tuple[Array, PickedRows]:
        """Run data to the end, and return the rows that arrive at a layer in all of its calls."""
        return collect_rows(self._running.runner, X, name, shape, self._running.whole)

    def output_values(self, X: Data, weights: Mapping[int, Affine]) -> list[Array]:
        """Return the outputs that count under some weights, without a stop at layers."""
        if not self._lipschitz:
            X = self.calibration(X, "X")
        self._load_all(weights)
        return [*self._running.runner.outputs(X, self._running.exits).values()]

    def with_weights(self, weights: Mapping[int, Affine]) -> nn.Module:
        """Return a copy of the module with other weights (see `ModelView`).

        Warns
        -----
        UserWarning
            If the module came in a wrapper that cannot be put around the copy.
        """
        return rewrap(self._copy_with(weights), self._given)

    def find_units(self, X: Data) -> UnitMap | None:
        """Return the units, channels and heads that can go (see `ModelView`).

        They are followed through the graph of the module, and some of them removed to see whether
        its code allows that. None where neither torch.fx nor torch.export can follow it.
        """
        if not self._lipschitz:
            X = self.calibration(X, "X")
        running = self._running
        if running.graph is None:
            return None
        few = X[np.arange(2) % len(X)]
        layers = [place.layer for place in self._places]
        reasons: dict[str, str | None] = {**running.left_out}
        reasons |= dict.fromkeys(running.names) | dict.fromkeys(running.repeated, REPEATED)
        reasons |= dict.fromkeys(running.routed, ROUTED)
        given = running.runner.given(few)
        found = find_units(running.graph, given, len(few), self.model, reasons)
        precise = running.runner.precise
        comparison = Comparison(self._copy_with, layers, few, self.outputs(), precise)
        units = confirm_units(found, comparison.holds)
        return replace(units, tensors=(*self._counted_tensors(units),))

    def _counted_tensors(self, units: UnitMap) -> Iterator[CutTensor]:
        """Yield the tensors of units, and the module's other parameters, which count as well."""
        parameters = dict(self.model.named_parameters())
        for tensor in units.tensors:
            yield tensor._replace(is_parameter=tensor.name in parameters)
        known = {tensor.name for tensor in units.tensors}
        for name, parameter in parameters.items():
            if name not in known:
                yield CutTensor(name, tuple(parameter.shape), {}, 0)

    def keep_units(self, model: nn.Module, units: UnitMap, kept: NDArray[np.bool_]) -> nn.Module:
        """Return a copy of a module with fewer units (see `ModelView`).

        Its layers say their new sizes, and so do its own numbers that count heads or channels, and
        the configuration of models of the transformers library, if it can (`adapt_config`).
        """
        smaller = cut_module(unwrap(model), units, kept)
        adapt_config(smaller, units, kept)
        return rewrap(smaller, model)

    def run(self, model: nn.Module | TorchView, X: Data) -> list[Array]:
        """Return the outputs that count as users of a module see them (see `ModelView`).

        In evaluation mode, in the precision of its weights, by the fused code of PyTorch where it
        has some; without its wrapper.
        """
        if not self._lipschitz:
            X = self.calibration(X, "X")
        module = model.model if isinstance(model, TorchView) else unwrap(model)
        runner = self._as_used(module)
        runner.batch = self._running.runner.batch
        return [*runner.outputs(X, self._running.exits).values()]

    def timed_call(self, model: nn.Module, X: Data, n_threads: int) -> Callable[[], object]:
        """Return what runs a module on some samples (see `ModelView`)."""
        runner = self._as_used(unwrap(model))
        arguments, by_name = runner.call(X)

        def call() -> None:
            with evaluation(fast=True), threads(n_threads):
                runner.model(*arguments, **by_name)

        return call

    def view_of(self, model: nn.Module) -> TorchView:
        """Return the view of a copy, of which the same was declared (see `ModelView`)."""
        return TorchView(model, self._relu if self._declares else None)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the tensors of the module's state by name, as bytes (see `ModelView`)."""
        state = self.model.state_dict().items()
        return {
            name: tensor_bytes(value) for name, value in state if isinstance(value, torch.Tensor)
        }

    def _copy_with(self, weights: Mapping[int, Affine]) -> nn.Module:
        """Return a copy of the module without its wrapper, with other weights."""
        trimmed: nn.Module = copy_model(self.model)
        expanded = expand(trimmed, self._running.expanded.names).model
        for position, affine in weights.items():
            place = self._places[position]
            write(expanded.get_submodule(place.layer.name), affine, place.scale)
        return trimmed

    def _as_used(self, module: nn.Module) -> Runner:
        """Return what runs a module as its users do."""
        return type(self._running.runner)(module, [], precise=False, fast=True)

    def _settle(self, data: Data, name: str) -> None:
        """Take from a run of a few samples what the module does with them."""
        self._running, self._shape = settle(self._running, data, name), sample_shape(data)
        self._places = find_places(self._running, self._relu)
        self._lipschitz = lipschitz_constants(self._running, self._places)
        self._points = find_waiting_points(self._running)
        if not self._declares:
            warn_of_unknown(self._running, self._places)

    def _forget_constants(self, position: int) -> None:
        """Let nothing bound a signal that turned out to be rows which the model picks, or more."""
        for number in range(position, len(self._lipschitz)):
            in_front = range(min(number, len(self._places)))
            known = self._lipschitz[number]
            self._lipschitz[number] = dict.fromkeys([*in_front, *known], math.inf)

    def _read_behind(self, position: int) -> list[int]:
        """Return the layers whose weights are read between a stop and the next one.

        The layer itself, or all of the recurrent module that it is a part of, and those in front at
        which nothing waited; and those met so far that may be called again.
        """
        names, reader = self._running.names, self._running.expanded.reader
        if position >= len(names):
            return []
        again = {*self._running.repeated}.intersection(names[:position])
        first = position
        while first and names[first] in self._running.passed_by:
            first -= 1
        readers = {reader(name) for name in [*names[first : position + 1], *again]}
        return [k for k, name in enumerate(names) if reader(name) in readers]

    def _load_all(self, weights: Mapping[int, Affine]) -> None:
        """Give every layer of the running copy the weights of the moment, or its own."""
        for position in range(len(self._places)):
            self._load(position, weights.get(position))

    def _load(self, position: int, affine: Affine | None) -> None:
        """Give a layer of the running copy the weights of the moment."""
        place = self._places[position]
        if affine is self._loaded.get(position):
            return
        self._running.runner.load(place.layer.name, affine, place.scale)
        if affine is None:
            del self._loaded[position]
        else:
            self._loaded[position] = affine
