"""Tensors of an ONNX model for given samples and weights, computed by onnxruntime."""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx

from ...samples import Samples
from .files import is_large, write
from .graph import OnnxGraph, Stored, Values, reads, select_needed
from .inputs import Inputs
from .unsigned import make_unsigned

__all__ = ["Probe", "Session"]

BATCH = 1 << 24  # entries of tensors that are computed at a time
LARGEST_CONVERTED = 1 << 28  # bytes of a model that is copied with larger floats
THREADS = 2  # of onnxruntime; the solver's threads wait meanwhile, and sums depend on the number

Casts: TypeAlias = Mapping[np.dtype[Any], type]
Runner: TypeAlias = tuple[Any, Casts]  # an onnxruntime.InferenceSession

_HALF, _SINGLE, _DOUBLE = (getattr(onnx.TensorProto, n) for n in ("FLOAT16", "FLOAT", "DOUBLE"))
_DTYPES = {_HALF: np.float16, _SINGLE: np.float32, _DOUBLE: np.float64}
_LARGER = (((_HALF, _SINGLE), _DOUBLE), ((_HALF,), _SINGLE))  # what to compute in, the best first


@dataclass(frozen=True)
class Probe:
    """The shapes of all tensors for a few samples.

    Attributes
    ----------
    n_samples : int
    shapes : mapping from str to tuple of int
    axes : mapping from str to int
        The axis along which a tensor has the samples; tensors without such an axis are missing.
    """

    n_samples: int
    shapes: Mapping[str, tuple[int, ...]]
    axes: Mapping[str, int]

    @property
    def entries(self) -> int:
        """Of all tensors, for one sample."""
        return sum(map(math.prod, self.shapes.values())) // self.n_samples

    def shape(self, name: str, n_samples: int) -> tuple[int, ...]:
        """Return a tensor's shape for other samples, their axis first."""
        shape = list(self.shapes.get(name, ()))
        if name not in self.axes:
            raise ValueError(
                f"model: tensor {name!r} has no axis of samples, its shape for {self.n_samples} is "
                f"{tuple(shape)}"
            )
        own = shape.pop(self.axes[name])
        return (own * n_samples // self.n_samples, *shape)


class Session:
    """Some tensors of a model, computed by onnxruntime for samples and, maybe, given constants.

    Attributes
    ----------
    inputs : Inputs
    outputs : sequence of str
        The tensors that can be asked for.

    Raises
    ------
    ImportError
        If onnxruntime is missing.
    ValueError
        If onnxruntime refuses the model.
    """

    def __init__(self, inputs: Inputs, outputs: Sequence[str], runners: Iterator[Runner]) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self._runners = runners
        self._runner, self._casts = next(runners)

    @classmethod
    def part(
        cls, graph: OnnxGraph, inputs: Inputs, given: Sequence[Stored], outputs: Sequence[str]
    ) -> Session:
        """Compute what some tensors need, with some constants to be given at every run.

        The arithmetic is as exact as onnxruntime can have it: node by node, as several nodes at a
        time may be computed with coarser numbers, and in float64 in the place of smaller floats if
        there are all operators for it.
        """
        return cls(inputs, outputs, _exact(_part(graph, inputs, given, outputs)))

    @classmethod
    def whole(cls, model: onnx.ModelProto, inputs: Inputs, outputs: Sequence[str]) -> Session:
        """Compute tensors of a model as its users do, in onnxruntime's default settings."""
        wanted = onnx.ModelProto()
        wanted.CopyFrom(model)
        wanted.graph.ClearField("output")
        wanted.graph.output.extend(
            onnx.ValueInfoProto(name=name) for name in dict.fromkeys(outputs)
        )
        return cls(inputs, outputs, iter([(_load(wanted), {})]))

    @classmethod
    def timed(cls, model: onnx.ModelProto, inputs: Inputs, n_threads: int) -> Session:
        """Compute all outputs of a model in onnxruntime's default settings, in some threads."""
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        names = [output.name for output in model.graph.output]
        return cls(inputs, names, iter([(_load(copy, n_threads=n_threads), {})]))

    def caller(self, X: Samples) -> Callable[[], object]:
        """Return what computes all outputs for a batch, to be timed."""
        feeds = self.inputs.feeds(self._filled(X))
        return partial(self._runner.run, list(self.outputs), feeds)

    def probe(self, X: Samples, weights: Mapping[str, Values]) -> Probe:
        """Return the shapes for the first samples, as few as the model takes."""
        few = self._filled(X[:1])
        shapes = self._shapes(few, weights)
        if self.inputs.batch:
            axes = {n: 0 for n, s in shapes.items() if s and s[0] and s[0] % len(few) == 0}
        else:
            twice = self._shapes(_repeated(few, 2), weights)
            axes = {name: _doubled(shape, twice[name]) for name, shape in shapes.items()}
        return Probe(len(few), shapes, {name: axis for name, axis in axes.items() if axis >= 0})

    def run(
        self, X: Samples, names: Sequence[str], weights: Mapping[str, Values], probe: Probe
    ) -> dict[str, Values]:
        """Return some tensors for all samples, the axis of samples first, computed in batches."""
        size = self.inputs.batch or max(1, BATCH // max(1, probe.entries))
        compute = partial(self._batch, names=names, weights=weights, probe=probe)
        results: dict[str, Values] = {}
        for first in range(0, len(X), size):
            batch = X[first : first + size]
            values = compute(self._filled(batch))
            if self.inputs.batch and len(batch) < size:
                _check_order(batch, size, values, compute)
            for name, value in values.items():
                if name not in results:
                    results[name] = np.empty(probe.shape(name, len(X)), value.dtype)
                each = len(results[name]) // len(X)
                part = results[name][first * each : (first + size) * each]
                part[:] = value[: len(part)]
        return results

    def values(self, X: Samples, names: Sequence[str], weights: Mapping[str, Values]) -> list[Any]:
        """Return some tensors as the model has them, for a few samples that it takes at a time."""
        return self._run(self._filled(X), names, weights)

    def _batch(
        self, X: Samples, names: Sequence[str], weights: Mapping[str, Values], probe: Probe
    ) -> dict[str, Values]:
        """Return some tensors for a batch that the model takes, the axis of samples first."""
        values = {}
        for name, value in zip(names, self._run(X, names, weights), strict=True):
            wanted = probe.shape(name, len(X))
            values[name] = np.moveaxis(value, probe.axes[name], 0)
            if values[name].shape != wanted:
                raise ValueError(
                    f"model: tensor {name!r} has shape {values[name].shape} for {len(X)} samples "
                    f"where {wanted} is expected; shapes must not depend on the data"
                )
        return values

    def _filled(self, X: Samples) -> Samples:
        """Repeat the last sample until the batch is as large as the model wants it."""
        missing = (self.inputs.batch or len(X)) - len(X)
        return _repeated(X, 1 + missing) if missing > 0 else X

    def _shapes(self, X: Samples, weights: Mapping[str, Values]) -> dict[str, tuple[int, ...]]:
        found = zip(self.outputs, self._run(X, self.outputs, weights), strict=True)
        shapes = {name: value.shape for name, value in found if isinstance(value, np.ndarray)}
        given = {name: value.shape for name, value in self.inputs.feeds(X).items()}
        return {**given, **shapes}

    def _run(self, X: Samples, names: Sequence[str], weights: Mapping[str, Values]) -> list[Any]:
        known = {value.name for value in self._runner.get_inputs()}
        given = {n: v for n, v in self.inputs.feeds(X).items() if n in known}
        feeds = {
            n: v.astype(self._casts.get(v.dtype, v.dtype), copy=False)
            for n, v in {**given, **weights}.items()
        }
        try:
            values: list[Any] = self._runner.run(names, feeds)
        except Exception as error:  # noqa: BLE001 (onnxruntime's have no narrower base)
            # Some operators take float64 when they are loaded, and say only here that they do not.
            later = next(self._runners, None)
            if later is None:
                raise ValueError(
                    f"model: onnxruntime cannot run it on {len(X)} samples at a time: {error}"
                ) from None
            self._runner, self._casts = later
            return self._run(X, names, weights)
        return values


def _repeated(X: Samples, times: int) -> Samples:
    """Return samples with the last one so many times."""
    return X[np.minimum(np.arange(len(X) - 1 + times), len(X) - 1)]


def _doubled(shape: tuple[int, ...], twice: tuple[int, ...]) -> int:
    """Return the axis that is as long again for as many samples again, -1 if there is none."""
    pairs = enumerate(zip(shape, twice, strict=False))
    grown = [axis for axis, (one, two) in pairs if one != two]
    doubled = len(grown) == 1 and twice[grown[0]] == 2 * shape[grown[0]]
    return grown[0] if doubled and len(shape) == len(twice) else -1


def _check_order(
    X: Samples,
    size: int,
    values: Mapping[str, Values],
    compute: Callable[[Samples], Mapping[str, Values]],
) -> None:
    """Make sure that what fills a batch up does not reach what is kept of it."""
    filled = _repeated(X, 1 + size - len(X))
    for array in filled.arrays.values():  # these are copies
        array[len(X) :] = 0
    for name, other in compute(filled).items():
        kept = len(other) * len(X) // size
        if not np.array_equal(values[name][:kept], other[:kept]):
            raise ValueError(
                f"X must have a multiple of {size} samples, got {len(X)} too many: the model takes "
                f"so many at a time and mixes them in tensor {name!r}"
            )


def _part(
    graph: OnnxGraph, inputs: Inputs, given: Sequence[Stored], outputs: Sequence[str]
) -> onnx.ModelProto:
    """Return the model of the nodes that some outputs need; given constants become inputs."""
    names = {stored.name for stored in given}
    nodes = [n for n in select_needed(graph.nodes, outputs) if not names.intersection(n.output)]
    wanted = {*outputs, *(name for node in nodes for name in reads(node))} - names
    model = graph.model
    taken = [v for v in model.graph.input if v.name in inputs.names or v.name in wanted]
    taken += [
        onnx.helper.make_tensor_value_info(s.name, s.tensor.data_type, s.tensor.dims) for s in given
    ]
    part = onnx.helper.make_graph(
        nodes,
        "part",
        taken,
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [tensor for tensor in model.graph.initializer if tensor.name in wanted],
    )
    make_unsigned(part)
    return onnx.helper.make_model(
        part,
        opset_imports=model.opset_import,
        ir_version=model.ir_version,
        functions=model.functions,
    )


def _exact(model: onnx.ModelProto) -> Iterator[Runner]:
    """Yield exact sessions, the best first, and the types in which they take what has others."""
    if model.ByteSize() <= LARGEST_CONVERTED:
        for small, large in _LARGER:
            with contextlib.suppress(ValueError):
                casts = {np.dtype(_DTYPES[kind]): _DTYPES[large] for kind in small}
                yield _load(_convert_floats(model, small, large), exact=True), casts
    yield _load(model, exact=True), {}


def _convert_floats(model: onnx.ModelProto, small: Sequence[int], large: int) -> onnx.ModelProto:
    """Return the model with larger floats for small ones; onnxruntime says whether it fits."""
    converted = onnx.ModelProto()
    converted.CopyFrom(model)
    attributes = [a for node in converted.graph.node for a in node.attribute]
    for tensor in [*converted.graph.initializer, *(a.t for a in attributes if a.HasField("t"))]:
        if tensor.data_type in small:
            values = onnx.numpy_helper.to_array(tensor).astype(_DTYPES[large])
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    for value in converted.graph.input:
        if value.type.tensor_type.elem_type in small:
            value.type.tensor_type.elem_type = large
    for node in converted.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i in small:
                attribute.i = large
    return converted


def _load(model: onnx.ModelProto, *, exact: bool = False, n_threads: int = 0) -> Any:
    """Return an onnxruntime.InferenceSession, with the settings it has by default or exact ones.

    The model is one of ours, and may be changed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(
            'onnxruntime is missing, which runs ONNX models: pip install "nettrim[onnx]"'
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = n_threads  # 0: as many as there are processors
    options.log_severity_level = 4  # what goes wrong is raised, and need not be printed as well
    if exact:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = THREADS
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    for value in model.graph.input:
        for dim in value.type.tensor_type.shape.dim:
            if dim.HasField("dim_value") and dim.dim_value <= 0:  # as old exports say "any"
                dim.Clear()
    create = partial(
        onnxruntime.InferenceSession, sess_options=options, providers=["CPUExecutionProvider"]
    )
    try:
        if not is_large(model):
            return create(model.SerializeToString())
        with tempfile.TemporaryDirectory() as folder:
            write(model, Path(folder) / "model.onnx")
            return create(str(Path(folder) / "model.onnx"))
    except Exception as error:  # noqa: BLE001 (onnxruntime's have no narrower base)
        raise ValueError(f"model: onnxruntime refuses it: {error}") from None
