"""Modules of PyTorch: which of their layers can be pruned, what arrives there, and copies of them."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from ..._arrays import Array
from ...view import Affine, LayerView, Signal, are_same
from .data import loaded, stored
from .graph import Graph, Section
from .layers import layer_view, normalisation, prunable_modules, write
from .run import OUTPUT, Arrival, Runner

__all__ = ["TorchView", "view"]

MEMORY = 1 << 30  # bytes of signals that are kept from one run
TRANSFORMERS = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)


def view(model: nn.Module) -> TorchView:
    """Return the view of a module.

    Raises
    ------
    ValueError
        If it has no weights yet, or weights of a type that NumPy does not know.
    """
    return TorchView(model)


@dataclass(frozen=True)
class _Place:
    """A layer where it stands in the model.

    Attributes
    ----------
    layer : LayerView
    section : Section or None
        None where the graph does not show the layer.
    scale : ndarray of shape (n_outputs,) or None
        Of the batch normalisation that is folded in.
    """

    layer: LayerView
    section: Section | None
    scale: Array | None


class TorchView:
    """The view of a `torch.nn.Module` (see `nettrim.view.ModelView`).

    It runs copies of the module, in evaluation mode. Which layers run, in which order, is known only
    from a run: give data to `calibration` before asking for `prunable_layers`.

    Parameters
    ----------
    model : torch.nn.Module
    relu : iterable of str, default ()
        Names of layers that are followed by a ReLU, beyond those where it is found.
    """

    def __init__(self, model: nn.Module, relu: Iterable[str] = ()) -> None:
        modules, left_out = prunable_modules(model)
        if "" in modules:
            raise ValueError(
                "model is a single layer: put it into a torch.nn.Sequential, "
                "or give its data to nettrim.solve_layer"
            )
        for layer, reason in left_out.items():
            _leave_out(layer, reason)
        self.model = model
        self._modules = modules
        self._relu = frozenset(relu)
        if not self._relu <= modules.keys():
            unknown = sorted(self._relu - modules.keys())
            raise ValueError(f"relu: no prunable layer is called {unknown}, there are {[*modules]}")
        self._copy(precise=all(p.device.type != "mps" for p in model.parameters()))
        self._arrivals: dict[str, Arrival] = {}
        self._places = [self._place(name, foldable=True) for name in modules]
        self._gains: list[dict[int, float]] = []
        self._loaded: dict[int, Affine] = {}  # replacements in the copy that runs
        self._asked = False

    def calibration(self, values: Any, name: str) -> NDArray[Any]:
        """Return calibration data as an array, and find out on it which layers run.

        Parameters
        ----------
        values : array_like, torch.Tensor or torch.utils.data.DataLoader
            Samples along the first axis. Whole numbers (tokens) stay whole. The first item of a
            loader's batches is the model's input.
        name : str
            How an error calls it.

        Returns
        -------
        ndarray of shape (n_samples, ...)
            float64 or int64.

        Raises
        ------
        TypeError, ValueError
            If these are no finite numbers, or the model does not take them.

        Warns
        -----
        UserWarning
            Of layers that run more than once, or whose input does not hold the samples in order, and
            if the model cannot compute in float64.
        """
        data = loaded(values, name)
        if not self._gains:
            listed = [place.layer.name for place in self._places]
            self._settle(data, name)
            if self._asked and listed != [place.layer.name for place in self._places]:
                raise ValueError(
                    f"{name} must go to `calibration` before `prunable_layers` is asked"
                )
        return data

    def prunable_layers(self) -> list[LayerView]:
        """Return the layers in the order of their calls; before a run, as the module lists them."""
        self._asked = True
        return [place.layer for place in self._places]

    def signals(self, X: NDArray[Any], weights: Mapping[int, Affine]) -> Iterator[Signal]:
        """Walk data through the module (see `nettrim.view.ModelView`).

        A run ends at the first layer. From there on one run hears as many layers as 1 GB holds; when
        the weights have changed since, another one hears the next layer alone.
        """
        if not self._gains:
            X = self.calibration(X, "X")
        stops = list(self._arrivals)
        held: dict[str, Array] = {}
        then: dict[int, Affine] | None = None
        for position, name in enumerate(stops):
            now = dict(weights)
            same = then is not None and are_same(now, then)
            if name not in held or not same:
                keep = self._affordable(stops[position:], len(X)) if same else 1
                wanted = {stop: self._arrivals[stop].axis for stop in stops[position:][:keep]}
                self._load(now)
                held, then = self._runner.capture(X, wanted), now
            yield Signal(held.pop(name), self._gains[position])

    def with_weights(self, weights: Mapping[int, Affine]) -> nn.Module:
        """Return a copy of the module with other weights (see `nettrim.view.ModelView`)."""
        trimmed = copy.deepcopy(self.model)
        for position, affine in weights.items():
            place = self._places[position]
            write(trimmed.get_submodule(place.layer.name), affine, place.scale)
        return trimmed

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the tensors of the module's state by name, as bytes (see `nettrim.view.ModelView`)."""
        state = self.model.state_dict().items()
        return {name: stored(value) for name, value in state if isinstance(value, torch.Tensor)}

    def _copy(self, *, precise: bool) -> None:
        """Make the copy that runs."""
        self._runner = Runner(self.model, list(self._modules), precise=precise)
        self._graph = Graph.of(self._runner.model)

    def _settle(self, data: NDArray[Any], name: str) -> None:
        """Run a few samples to see what the module does with them."""
        samples = [np.concatenate([data[:n]] * n)[:n] for n in (2, 3)]
        arrivals = self._try(samples, name)
        if not self._runner.precise:
            warnings.warn(
                "model cannot compute in float64: what is reported holds up to its own rounding",
                UserWarning,
                stacklevel=3,
            )
        for layer, arrival in arrivals.items():
            if arrival is None and layer == OUTPUT:
                raise ValueError("model must return one result for each sample")
            if arrival is None:
                _leave_out(layer, "it runs more than once, or does not meet one sample at a time")
            else:
                self._arrivals[layer] = arrival
        output, again = (self._runner.output(self._runner.tensor(samples[0])) for _ in range(2))
        if not torch.allclose(output, again, equal_nan=True):
            raise ValueError(
                "model must compute the same twice; a dropout may be on in evaluation too"
            )
        if self._graph and not self._graph.confirm(self._runner.tensor(samples[0]), output):
            self._graph = None
        names = list(self._arrivals)[:-1]
        self._places = [self._place(layer, foldable=self._foldable(layer)) for layer in names]
        self._gains = self._all_gains(names)

    def _try(self, samples: list[NDArray[Any]], name: str) -> dict[str, Arrival | None]:
        """Run samples in float64, or as the module is if its own code knows no float64."""
        try:
            return self._runner.arrivals(samples)
        except Exception as error:
            if not self._runner.precise:
                raise ValueError(f"{name} does not pass through the model: {error}") from error
        self._copy(precise=False)
        return self._try(samples, name)

    def _place(self, name: str, *, foldable: bool) -> _Place:
        """Find out what follows a layer."""
        module = self._modules[name]
        section = self._graph.section(name, foldable=foldable) if self._graph else None
        activation = "linear" if section is None else section.activation
        if name in self._relu or self._feeds_relu(name):
            activation = "relu"
        if section is None or section.norm is None:
            return _Place(layer_view(name, module, activation), section, None)
        scale, shift = normalisation(section.norm)
        return _Place(layer_view(name, module, activation, (scale, shift)), section, scale)

    def _feeds_relu(self, name: str) -> bool:
        """Whether this is the first layer behind the attention in a transformer with ReLU units."""
        owner, _, last = name.rpartition(".")
        block: Any = self.model.get_submodule(owner)
        if type(block) not in TRANSFORMERS or last != "linear1":
            return False
        return isinstance(block.activation, nn.ReLU) or block.activation in (F.relu, torch.relu)

    def _foldable(self, name: str) -> bool:
        """Whether a layer's outputs are the channels of what comes out of it."""
        dense = isinstance(self._modules[name], nn.Linear)
        return not dense or self._arrivals[name].entries == self._modules[name].in_features

    def _all_gains(self, names: list[str]) -> list[dict[int, float]]:
        if self._graph is None:
            return [dict.fromkeys(range(k), math.inf) for k in range(len(names) + 1)]
        ends = {}
        for position, place in enumerate(self._places):
            if place.section is not None:
                known = place.section.activation == place.layer.activation
                ends[place.section.end] = (position, 1.0 if known else math.inf)
        return self._graph.gains(names, ends)

    def _affordable(self, stops: list[str], n_samples: int) -> int:
        """Return at how many of the next layers a run may listen."""
        sizes = np.cumsum([8.0 * n_samples * self._arrivals[stop].entries for stop in stops])
        return max(1, int(np.searchsorted(sizes, MEMORY, side="right")))

    def _load(self, weights: Mapping[int, Affine]) -> None:
        """Give the running copy the weights of the moment."""
        for position, place in enumerate(self._places):
            affine, name = weights.get(position), place.layer.name
            if affine is self._loaded.get(position):
                continue
            if affine is None:
                original = self._modules[name].state_dict()
                self._runner.layers[name].load_state_dict(original)
                del self._loaded[position]
            else:
                write(self._runner.layers[name], affine, place.scale)
                self._loaded[position] = affine


def _leave_out(name: str, reason: str) -> None:
    """Warn of a layer that stays as it is."""
    warnings.warn(f"layer {name!r} is not pruned: {reason}", UserWarning, stacklevel=3)
