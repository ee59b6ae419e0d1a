"""ONNX models: what `nettrim.trim` needs to know of them, and their files."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray

from ....base.arrays import Array
from ....base.errors import warn_user
from ...layer_view import Affine, LayerView, Signal, Untouched
from ...model_view import ModelView
from ...network import Dense
from ...samples import Data, Samples
from ...units.unit_map import UnitMap
from .files import is_large
from .graph import OnnxGraph, Values, constants, densify, fill, is_float, is_standard, tensors
from .inputs import Inputs
from .layers import find_prunable
from .lipschitz import LipschitzConstants, propagate_lipschitz
from .repeated import group_calls, group_view, overlap, side_by_side
from .session import Probe, Session
from .units import Trial, follow_units, keep_units, list_bounds
from .untouched import list_untouched

__all__ = ["OnnxView", "view"]

OLDEST_OPSET = 7  # from there on operators broadcast like NumPy
SHAPES = ("Identity", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose")
BFLOAT16 = onnx.TensorProto.BFLOAT16
FEW = 3  # samples on which a smaller model is compared
BUDGET = 1 << 29  # bytes of signals that a walk holds at a time; two of them go in step


def view(model: onnx.ModelProto) -> OnnxView:
    """Return the view of a model.

    Raises
    ------
    TypeError
        If it is another message of ONNX.
    ValueError
        If the model is not valid, or has external data that was not loaded.

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
        warn_user(
            f"model: the weights of {', '.join(onnx_view.left_alone)} are read elsewhere too; "
            "these layers are left as they are",
        )
    return onnx_view


class OnnxView(ModelView):
    """A model as `nettrim.trim` sees it (`nettrim.models.model_view.ModelView`).

    Prunable are Gemm, MatMul with a constant on its right (and an Add of a constant behind it), and
    Conv along one or two axes. A ReLU behind them may be written as Relu, as Clip between 0 and no
    bound, as Max with 0, or as LeakyRelu, PRelu, Elu or ThresholdedRelu with a parameter of 0; a
    layer in front of any other activation, like Clip between 0 and 6, is a linear one.

    onnxruntime computes the signals node by node, in float64 where it has the operators for it and
    otherwise in float32: what is reported then holds up to its rounding.

    Those outputs of the model count that are tensors of floats (or the maps that ZipMap makes of
    one), have an axis of samples, and depend on a prunable layer; if there is none, what comes out
    of the last prunable layer. Where an output is a prunable layer's own, maybe in another shape,
    it is computed in float64 like all responses of layers.

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
        self.model = densify(model)
        self._inputs = Inputs(self.model.graph)
        self._graph = OnnxGraph(self.model)
        self._moving = self._graph.reached_from(self._inputs.names)
        found = [layer for layer in find_prunable(self._graph) if layer.input in self._moving]
        self._calls = group_calls(self._graph, found)
        self._layers = [calls[0] for calls in self._calls]
        self._by_output = {layer.output: layer for layer in found}
        self._positions = {
            call.output: position for position, calls in enumerate(self._calls) for call in calls
        }
        self.left_alone = [layer.name for layer in found if layer.output not in self._positions]
        self._situations: dict[tuple[tuple[int, ...], ...], _Situation] = {}
        self._counted: Sequence[str] | None = None

    def calibration(self, values: Any, name: str) -> Data:
        """Return calibration data as arrays, after making sure that the model takes them.

        Parameters
        ----------
        values : array_like of shape (n_samples, ...), mapping from str to array_like, or batches
            One array, or one for each input by name. Batches of either come as a list or a loader,
            single samples as a data set; what else is in them, like labels, is left out.
        name : str
            How an error calls them.

        Returns
        -------
        ndarray of shape (n_samples, ...), or Samples
            float64 or int64.

        Raises
        ------
        TypeError, ValueError
            If these are no finite numbers, of another shape than the model's inputs, out of their
            range, or by other names.
        """
        self._refuse_bfloat16()
        data = self._inputs.calibration(values, name)
        if self._layers:
            samples = self._inputs.cast(data, name)
            situation = self._situation(samples)
            self._refuse_randomness(samples[:1])
            self._refuse_slides_over_samples(situation.probe)
            self._counted = situation.names
        return data

    def _refuse_randomness(self, few: Samples) -> None:
        names = self._session.outputs
        runs = [self._session.values(few, names, self._originals) for _ in range(2)]
        for name, value, again in zip(names, *runs, strict=True):
            if not np.array_equal(value, again, equal_nan=True):
                raise ValueError(
                    f"model must compute the same twice, and tensor {name!r} does not: it draws "
                    "random numbers"
                )

    def _refuse_slides_over_samples(self, probe: Probe) -> None:
        for layer in itertools.chain.from_iterable(self._calls):
            if not isinstance(layer.step, Dense) and probe.axes.get(layer.input, 0) != 0:
                raise ValueError(
                    f"model: its samples run along the positions of convolution {layer.name!r}, "
                    "which meets them all at once; there is no error of a layer by samples"
                )

    def outputs(self) -> list[str]:
        """Return the names of the outputs that count, for the calibration data seen last.

        Before there were any, of all outputs of floats that depend on a prunable layer.
        """
        if self._counted is not None:
            return list(self._counted)
        moved = self._graph.reached_from(layer.output for layer in self._layers)
        return [name for name in self._outputs if name in moved] or self._last

    def prunable_layers(self) -> list[LayerView]:
        """Return the layers, named like their nodes or, without a name, like their weights."""
        return [*map(group_view, self._calls)]

    def untouched(self) -> list[Untouched]:
        """Return the weights that no prunable layer holds (`ModelView`)."""
        return list_untouched(self._graph, set(self._originals), self._moving)

    def signals(self, X: Data, weights: Mapping[int, Affine]) -> Iterator[Signal]:
        """Walk data through the model once, under the weights of the moment (`ModelView`)."""
        samples = self._inputs.cast(X)
        situation = self._situation(samples)
        names = [tuple(call.input for call in calls) for calls in self._calls]
        names += [(self._source(name),) for name in situation.tensors]
        walk = self._walk(samples, names, weights, situation.probe)
        for position, met in enumerate(itertools.islice(walk, len(self._layers))):
            yield Signal(
                side_by_side(self._calls[position], met), self._lipschitz_of(position, situation)
            )
        for name, (values,) in zip(situation.tensors, walk, strict=True):
            lipschitz = situation.lipschitz.get(name, {})
            yield Signal(self._output(name, values.astype(np.float64), weights), lipschitz)

    def _lipschitz_of(self, position: int, situation: _Situation) -> LipschitzConstants:
        """Return how the signal of a layer follows others; unknown where it follows its own."""
        calls, shapes = self._calls[position], situation.probe.shapes
        met = [situation.lipschitz.get(call.input, {}) for call in calls]
        layers = {k for constants in met for k in constants}
        if any(k >= position for k in layers):
            return dict.fromkeys(range(len(self._layers)), math.inf)
        factors = [overlap(calls, call, shapes[call.input]) for call in calls] if layers else []
        pairs = [*zip(factors, met, strict=True)] if layers else []
        return {
            k: math.hypot(*(f * constants.get(k, 0.0) for f, constants in pairs)) for k in layers
        }

    def run(self, model: onnx.ModelProto, X: Data) -> list[Values]:
        """Return the outputs that count as users of a model get them (`ModelView`).

        In the settings that onnxruntime has by default and in the model's own precision, before
        nodes that only change a shape.
        """
        samples = self._inputs.cast(X)
        situation = self._situation(samples)
        session = Session.whole(model, self._inputs, situation.tensors)
        names = list(dict.fromkeys(situation.tensors))
        values = session.run(samples, names, {}, situation.probe)
        return [values[name] for name in situation.tensors]

    def timed_call(self, model: onnx.ModelProto, X: Data, n_threads: int) -> Callable[[], object]:
        """Return what onnxruntime runs a model with (`ModelView`)."""
        return Session.timed(model, self._inputs, n_threads).caller(self._inputs.cast(X))

    def with_weights(self, weights: Mapping[int, Affine]) -> onnx.ModelProto:
        """Return a copy in which the weights of some layers are replaced (`ModelView`)."""
        copy = onnx.ModelProto()
        copy.CopyFrom(self.model)
        stored = constants(copy.graph)
        for position, affine in weights.items():
            for name, value in self._layers[position].packed(affine).items():
                fill(stored[name], value)
        return copy

    def find_units(self, X: Data) -> UnitMap:
        """Return the units that can go (see `ModelView`); inputs and outputs of the model stay.

        Smaller models are tried on a few of the samples: signals stay without which one computes
        something else.
        """
        few = self._inputs.cast(X)[:FEW]
        probe = self._situation(few).probe
        names = {calls[0].name for calls in self._calls if len(calls) == 1}
        layers = [*self._by_output.values()]
        places = follow_units(self._graph, layers, names, probe, self._bounds(few))
        trial = Trial(self._layers, self.with_weights, self._inputs, few)
        units = places.finish()
        while faulty := trial.find_faulty(units):
            units = places.finish(faulty)
        return units

    def keep_units(
        self, model: onnx.ModelProto, units: UnitMap, kept: NDArray[np.bool_]
    ) -> onnx.ModelProto:
        """Return a copy of a model with fewer units (see `ModelView`)."""
        return keep_units(model, units, kept)

    def _bounds(self, few: Samples) -> dict[str, Values]:
        """Return the bounds of parts that the graph computes, as they are for a sample."""
        names = list_bounds(self._graph)
        if not names:
            return {}
        values = self._part(names).values(few[:1], names, self._originals)
        return dict(zip(names, values, strict=True))

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return every tensor of numbers that the model stores (see `ModelView`)."""
        numbers = [t for t in tensors(self.model) if t.data_type != onnx.TensorProto.STRING]
        return {f"{k} {t.name}": onnx.numpy_helper.to_array(t) for k, t in enumerate(numbers)}

    @cached_property
    def _originals(self) -> dict[str, Values]:
        """The stored weights of all prunable layers."""
        stored = [tensor for layer in self._layers for tensor in layer.stored]
        return {s.name: onnx.numpy_helper.to_array(s.tensor) for s in stored}

    @property
    def _last(self) -> list[str]:
        """The output of the last prunable layer."""
        return [layer.output for layer in self._layers[-1:]]

    @cached_property
    def _outputs(self) -> dict[str, str]:
        """By name of the outputs of floats, tensors before nodes that only change a shape.

        The maps of a scikit-learn classifier, one for each sample, hold the numbers of a tensor.
        """
        makers = {name: node for node in self._graph.nodes for name in node.output}
        found = {}
        for output in self.model.graph.output:
            name, maker = output.name, makers.get(output.name)
            if is_float(output):
                found[name] = name
            elif maker is not None and maker.op_type == "ZipMap":
                found[name] = maker.input[0]
            else:
                continue
            while found[name] in makers and is_standard(makers[found[name]], *SHAPES):
                found[name] = makers[found[name]].input[0]
        return found

    @cached_property
    def _session(self) -> Session:
        """All that signals are made of."""
        sources = [call.input for calls in self._calls for call in calls]
        sources += map(self._source, [*self._outputs.values(), *self._last])
        return self._part(dict.fromkeys(sources))

    def _part(self, outputs: Iterable[str]) -> Session:
        given = [tensor for layer in self._layers for tensor in layer.stored]
        return Session.part(self._graph, self._inputs, given, list(outputs))

    def _source(self, name: str) -> str:
        """Return the tensor an output of the model is computed from, itself if by onnxruntime."""
        return self._by_output[name].input if self._is_computed(name) else name

    def _is_computed(self, name: str) -> bool:
        """Tell whether a tensor is what comes out of a layer, of its input and nothing else."""
        return name in self._positions and not self._by_output[name].lacks_bias

    def _situation(self, samples: Samples) -> _Situation:
        """Return what depends on the samples' shape, from a run of the whole model on a few."""
        fed = self._inputs.feeds(samples[:1])
        key = tuple(values.shape for values in fed.values())
        if key not in self._situations:
            made = [name for node in self._graph.nodes for name in node.output]
            everything = self._part(n for n in made if n and n not in self._originals)
            probe = everything.probe(samples, self._originals)
            lipschitz = propagate_lipschitz(
                self._graph, self._by_output, self._positions, probe.shapes
            )
            counted = {
                k: o for k, o in self._outputs.items() if lipschitz.get(o) and o in probe.axes
            }
            counted = counted or {name: name for name in self._last} or self._outputs
            self._situations[key] = _Situation(
                probe, lipschitz, list(counted), list(counted.values())
            )
        return self._situations[key]

    def _walk(
        self,
        samples: Samples,
        names: Sequence[tuple[str, ...]],
        weights: Mapping[int, Affine],
        probe: Probe,
    ) -> Iterator[list[Values]]:
        """Yield tensors under the weights of the moment, computed ahead while these stay."""
        held: dict[str, Values] = {}
        seen = dict(weights)
        for position, together in enumerate(names):
            changed = not _are_same(seen, weights)
            if changed or not held.keys() >= {*together}:
                held, seen = {}, dict(weights)
                # What changed once will change again behind this layer.
                ahead = [*dict.fromkeys(together)]
                if not changed:
                    ahead = _affordable(names[position:], len(samples), probe)
                held = self._session.run(samples, ahead, self._given(seen), probe)
            yield [held[name] for name in together]

    def _given(self, weights: Mapping[int, Affine]) -> dict[str, Values]:
        given = dict(self._originals)
        for position, affine in weights.items():
            given |= self._layers[position].packed(affine)
        return given

    def _output(self, name: str, values: Array, weights: Mapping[int, Affine]) -> Array:
        """Return a tensor that stands for an output, from what onnxruntime computed."""
        if not self._is_computed(name):
            return values
        position = self._positions[name]
        layer = self._by_output[name]
        affine = weights.get(position, layer.affine)
        return layer.step.with_affine(affine).forward(values)

    def _refuse_bfloat16(self) -> None:
        names = [s.name for s in self._graph.stored.values() if s.tensor.data_type == BFLOAT16]
        if names:
            raise ValueError(
                f"model has constants of bfloat16, which onnxruntime computes nothing with on a "
                f"CPU: {', '.join(names[:3])}; give the model in float32 or float16"
            )


class _Situation(NamedTuple):
    """What depends on the shape of the samples.

    Attributes
    ----------
    probe : Probe
    lipschitz : mapping from str to LipschitzConstants
        Of every tensor.
    names, tensors : list of str
        Of the outputs that count, and of the tensors that stand for them.
    """

    probe: Probe
    lipschitz: Mapping[str, LipschitzConstants]
    names: Sequence[str]
    tensors: Sequence[str]


def _affordable(names: Sequence[tuple[str, ...]], n_samples: int, probe: Probe) -> list[str]:
    """Return as many of the next tensors as there is room for, at least those that come first."""
    chosen: dict[str, None] = {}
    total = 0
    for together in names:
        new = [name for name in dict.fromkeys(together) if name not in chosen]
        total += sum(8 * math.prod(probe.shape(name, n_samples)) for name in new)
        if chosen and total > BUDGET:
            break
        chosen |= dict.fromkeys(new)
    return list(chosen)


def _check(model: onnx.ModelProto) -> None:
    if any(map(onnx.external_data_helper.uses_external_data, tensors(model))):
        raise ValueError(
            "model has external data that is not loaded; "
            "nettrim.models.adapters.onnx.read(path) loads it"
        )
    if not is_large(model):
        try:
            onnx.checker.check_model(_infer_shapes(model))
        except onnx.checker.ValidationError as error:
            told = " ".join(str(error).split())
            raise ValueError(f"model is not valid: {told}") from None
    for opset in model.opset_import:
        if opset.domain in ("", "ai.onnx") and opset.version < OLDEST_OPSET:
            raise ValueError(
                f"model has operators of version {opset.version}, at least {OLDEST_OPSET} is "
                f"wanted; onnx.version_converter.convert_version(model, {OLDEST_OPSET}) converts it"
            )


def _infer_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model whose inputs and outputs all have shapes, which onnxruntime can do without."""
    if all(map(_has_shape, (*model.graph.input, *model.graph.output))):
        return model
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for value in (*copy.graph.input, *copy.graph.output):
        if not _has_shape(value):
            value.type.tensor_type.shape.SetInParent()
    return copy


def _has_shape(value: onnx.ValueInfoProto) -> bool:
    kind = value.type
    return not kind.HasField("tensor_type") or kind.tensor_type.HasField("shape")


def _are_same(one: Mapping[int, Affine], other: Mapping[int, Affine]) -> bool:
    """Tell whether two mappings hold the same objects."""
    return one.keys() == other.keys() and all(one[k] is other[k] for k in one)
