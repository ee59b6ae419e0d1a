"""ONNX models: what `nettrim.trim` needs to know of them, and their files."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray

from ..._arrays import Array, sample_array
from ...view import Affine, LayerView, Signal, are_same
from .files import is_large
from .gains import Gains, propagate
from .graph import Graph, Values, constants, fill, is_float, is_standard, tensors
from .layers import layers_of
from .session import Input, Probe, Session

__all__ = ["OnnxView", "view"]

OLDEST_OPSET = 7  # from there on operators broadcast like NumPy
SHAPES = ("Identity", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose")
BUDGET = 1 << 29  # bytes of signals that a walk holds at a time; two of them go in step


def view(model: onnx.ModelProto) -> OnnxView:
    """Return the view of a model.

    Raises
    ------
    TypeError
        If it is another message of ONNX.
    ValueError
        If the model is not valid, does not have one input, or has external data that was not
        loaded.

    Warns
    -----
    UserWarning
        If layers have weights that are read elsewhere too; they are left as they are.
    """
    if not isinstance(model, onnx.ModelProto):
        raise TypeError(f"model must be an onnx.ModelProto, got {type(model).__name__}")
    try:
        _check(model)
        onnx_view = OnnxView(model)
    except UnicodeDecodeError as error:  # protobuf looks at texts when they are asked for
        raise ValueError(f"model is not valid: {error}") from None
    if onnx_view.left_alone:
        warnings.warn(
            f"model: the weights of {', '.join(onnx_view.left_alone)} are read elsewhere too; these "
            "layers are left as they are",
            stacklevel=4,
        )
    return onnx_view


class OnnxView:
    """A model as `nettrim.trim` sees it (`nettrim.view.ModelView`).

    Prunable are Gemm, MatMul with a constant on its right (and an Add of a constant behind it), and
    Conv along one or two axes. onnxruntime computes the signals, in float64 where it has the operators
    for it and otherwise in the model's own precision: what is reported then holds up to its rounding.

    The model's output is the first one of floats, with an axis of samples, that depends on a
    prunable layer; if there is none, what comes out of the last prunable layer. Where it is a
    prunable layer's own output, maybe in another shape, it is computed in float64 like all responses
    of layers.

    Parameters
    ----------
    model : onnx.ModelProto
        Not copied and not changed.

    Attributes
    ----------
    model : onnx.ModelProto
    left_alone : list of str
        Names of the layers whose weights are read elsewhere too.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self._input = Input(model.graph)
        self._graph = Graph(model)
        moving = self._graph.reached_from(self._input.name)
        found = [layer for layer in layers_of(self._graph) if layer.input in moving]
        self.left_alone = [layer.name for layer in found if layer.weights.shared]
        self._layers = [layer for layer in found if not layer.weights.shared]
        self._by_output = {layer.output: layer for layer in found}
        self._positions = {layer.output: k for k, layer in enumerate(self._layers)}
        self._situations: dict[tuple[int, ...], _Situation] = {}

    def calibration(self, values: ArrayLike, name: str) -> NDArray[Any]:
        """Return calibration data as an array, after making sure that the model takes them.

        Parameters
        ----------
        values : array_like of shape (n_samples, ...)
        name : str
            How an error calls them.

        Returns
        -------
        ndarray of shape (n_samples, ...)
            float64 or int64.

        Raises
        ------
        TypeError, ValueError
            If these are no finite numbers, of another shape than the model's input, or out of its
            range.
        """
        data = sample_array(values, name)
        self._input.cast(data, name)
        return data

    def prunable_layers(self) -> list[LayerView]:
        """Return the layers, named like their nodes or, without a name, like their weights."""
        return [layer.view for layer in self._layers]

    def signals(self, X: Array, weights: Mapping[int, Affine]) -> Iterator[Signal]:
        """Walk data through the model once, under the weights of the moment (`ModelView`)."""
        samples = self._input.cast(X)
        situation = self._situation(samples)
        names = [layer.input for layer in self._layers]
        names.append(self._source(situation.output))
        walk = zip(names, self._walk(samples, names, weights, situation.probe), strict=True)
        for name, values in itertools.islice(walk, len(self._layers)):
            yield Signal(values.astype(np.float64), situation.gains.get(name, {}))
        ((_, values),) = walk
        yield self._output(values.astype(np.float64), situation, weights)

    def with_weights(self, weights: Mapping[int, Affine]) -> onnx.ModelProto:
        """Return a copy in which the weights of some layers are replaced (`ModelView`)."""
        copy = onnx.ModelProto()
        copy.CopyFrom(self.model)
        stored = constants(copy.graph)
        for position, affine in weights.items():
            for name, value in self._layers[position].packed(affine).items():
                fill(stored[name], value)
        return copy

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return every tensor of numbers that the model stores (see `nettrim.view.ModelView`)."""
        numbers = [t for t in tensors(self.model) if t.data_type != onnx.TensorProto.STRING]
        return {f"{k} {t.name}": onnx.numpy_helper.to_array(t) for k, t in enumerate(numbers)}

    @cached_property
    def _originals(self) -> dict[str, Values]:
        """The stored weights of all prunable layers."""
        stored = [tensor for layer in self._layers for tensor in layer.stored]
        return {s.name: onnx.numpy_helper.to_array(s.tensor) for s in stored}

    @cached_property
    def _outputs(self) -> list[str]:
        """The model's outputs of floats, before nodes that only change their shape."""
        names = [output.name for output in self.model.graph.output if is_float(output)]
        makers = {name: node for node in self._graph.nodes for name in node.output}
        for position, name in enumerate(names):
            while name in makers and is_standard(makers[name], *SHAPES):
                name = makers[name].input[0]
            names[position] = name
        return names

    @cached_property
    def _session(self) -> Session:
        """All that signals are made of."""
        sources = [layer.input for layer in self._layers] + list(map(self._source, self._outputs))
        return self._part(dict.fromkeys(sources))

    def _part(self, outputs: Iterable[str]) -> Session:
        given = [tensor for layer in self._layers for tensor in layer.stored]
        return Session(self._graph, self._input, given, list(outputs))

    def _source(self, name: str) -> str:
        """Return the tensor an output of the model is computed from, itself if by onnxruntime."""
        return self._layers[self._positions[name]].input if name in self._positions else name

    def _situation(self, samples: Values) -> _Situation:
        """Return what depends on the shape of the samples, from a run of the whole model on a few."""
        key = samples.shape[1:]
        if key not in self._situations:
            made = [name for node in self._graph.nodes for name in node.output]
            everything = self._part(n for n in made if n and n not in self._originals)
            probe = everything.probe(samples, self._originals)
            gains = propagate(self._graph, self._by_output, self._positions, probe.shapes)
            following = [o for o in self._outputs if gains.get(o) and o in probe.axes]
            following += [layer.output for layer in self._layers[:-2:-1]]
            self._situations[key] = _Situation(probe, gains, (following + self._outputs)[0])
        return self._situations[key]

    def _walk(
        self, samples: Values, names: Sequence[str], weights: Mapping[int, Affine], probe: Probe
    ) -> Iterator[Values]:
        """Yield tensors under the weights of the moment, computed ahead while these stay."""
        held: dict[str, Values] = {}
        seen = dict(weights)
        for position, name in enumerate(names):
            changed = not are_same(seen, weights)
            if changed or name not in held:
                held, seen = {}, dict(weights)
                # What changed once will change again behind this layer.
                ahead = [name] if changed else _affordable(names[position:], len(samples), probe)
                held = self._session.run(samples, ahead, self._given(seen), probe)
            yield held[name]

    def _given(self, weights: Mapping[int, Affine]) -> dict[str, Values]:
        given = dict(self._originals)
        for position, affine in weights.items():
            given |= self._layers[position].packed(affine)
        return given

    def _output(
        self, values: Array, situation: _Situation, weights: Mapping[int, Affine]
    ) -> Signal:
        gains = situation.gains.get(situation.output, {})
        if situation.output not in self._positions:
            return Signal(values, gains)
        position = self._positions[situation.output]
        layer = self._layers[position]
        affine = weights.get(position, layer.affine)
        return Signal(layer.step.with_affine(affine).forward(values), gains)


class _Situation(NamedTuple):
    """What depends on the shape of the samples.

    Attributes
    ----------
    probe : Probe
    gains : mapping from str to Gains
        Of every tensor.
    output : str
        The tensor that stands for the model's output.
    """

    probe: Probe
    gains: Mapping[str, Gains]
    output: str


def _affordable(names: Sequence[str], n_samples: int, probe: Probe) -> list[str]:
    """Return as many of the next tensors as there is room for, at least one."""
    chosen: dict[str, None] = {}
    total = 0
    for name in names:
        total += 0 if name in chosen else 8 * math.prod(probe.shape(name, n_samples))
        if chosen and total > BUDGET:
            break
        chosen[name] = None
    return list(chosen)


def _check(model: onnx.ModelProto) -> None:
    if any(map(onnx.external_data_helper.uses_external_data, tensors(model))):
        raise ValueError(
            "model has external data that is not loaded; nettrim.adapters.onnx.read(path) loads it"
        )
    if not is_large(model):
        try:
            onnx.checker.check_model(model)
        except onnx.checker.ValidationError as error:
            raise ValueError(f"model is not valid: {error}") from None
    for opset in model.opset_import:
        if opset.domain in ("", "ai.onnx") and opset.version < OLDEST_OPSET:
            raise ValueError(
                f"model has operators of version {opset.version}, at least {OLDEST_OPSET} is wanted; "
                "onnx.version_converter converts it"
            )
