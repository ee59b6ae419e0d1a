"""Tensors of an ONNX model for given samples and weights, computed by onnxruntime."""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from ...view import BATCH
from .files import is_large, write
from .graph import KNOWN_TYPES, Graph, Stored, Values, needed, reads

__all__ = ["Input", "Probe", "Session"]

LARGEST_DOUBLED = 1 << 28  # bytes of a model that is copied in float64
THREADS = 2  # of onnxruntime; the solver's threads wait meanwhile, and sums depend on the number


class Input:
    """The one tensor a model takes, and what it may be.

    Raises
    ------
    ValueError
        If there is not exactly one, or it is not a tensor of numbers.
    """

    def __init__(self, graph: onnx.GraphProto) -> None:
        constants = {tensor.name for tensor in graph.initializer}
        constants |= {sparse.values.name for sparse in graph.sparse_initializer}
        free = [value for value in graph.input if value.name not in constants]
        if len(free) != 1:
            names = [value.name for value in free]
            raise ValueError(f"model must have one input, it has {len(names)}: {names}")
        self.name: str = free[0].name
        tensor = free[0].type.tensor_type
        known = tensor.elem_type in KNOWN_TYPES  # not if it is a sequence or a map
        self.dtype = np.dtype(object)
        if known:
            self.dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        if self.dtype.kind not in "fiub":
            raise ValueError(
                f"model must take a tensor of numbers, its input {self.name!r} is none"
            )
        self.dims = [dim.dim_value or dim.dim_param or "?" for dim in tensor.shape.dim]

    @property
    def batch(self) -> int | None:
        """Number of samples the model takes at a time, None if it takes any."""
        first = self.dims[0] if self.dims else None
        return first if isinstance(first, int) else None

    def cast(self, X: NDArray[Any], name: str = "X") -> Values:
        """Return samples as the model takes them.

        Raises
        ------
        ValueError
            If their shape is another, or the model's type cannot hold them; the message starts with
            ``name``.
        """
        if not self._fits(X.shape):
            wanted = ", ".join(map(str, self.dims[1:]))
            raise ValueError(
                f"{name} must have samples of shape ({wanted}) for the model's input {self.name!r}, "
                f"got {X.shape[1:]}"
            )
        with np.errstate(over="ignore", invalid="ignore"):
            samples = X.astype(self.dtype)
        whole = self.dtype.kind != "f"
        if whole and (samples != X).any():
            raise ValueError(
                f"{name} must hold whole numbers for the model's {self.dtype} input, in range"
            )
        if not whole and not np.isfinite(samples).all():
            raise ValueError(
                f"{name} must fit the model's input, its largest entries are no {self.dtype}"
            )
        return samples

    def _fits(self, shape: tuple[int, ...]) -> bool:
        pairs = list(zip(self.dims, shape, strict=False))
        fixed = all(wanted == got for wanted, got in pairs[1:] if isinstance(wanted, int))
        return len(self.dims) == len(shape) and fixed


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
    """A part of a model, with some of its constants to be given at every run.

    float32 is computed in float64 where onnxruntime has all the operators for it.

    Parameters
    ----------
    graph : Graph
    source : Input
    given : sequence of Stored
    outputs : sequence of str
        The tensors that can be asked for.

    Raises
    ------
    ImportError
        If onnxruntime is missing.
    ValueError
        If onnxruntime refuses the model.
    """

    def __init__(
        self, graph: Graph, source: Input, given: Sequence[Stored], outputs: Sequence[str]
    ) -> None:
        self.source = source
        self._outputs = list(outputs)
        self._session, self._casts = _loaded(_part(graph, source, given, outputs))

    def probe(self, X: Values, weights: Mapping[str, Values]) -> Probe:
        """Return the shapes for the first samples, as few as the model takes."""
        few = self._filled(X[:1])
        shapes = self._shapes(few, weights)
        if self.source.batch:
            axes = {n: 0 for n, s in shapes.items() if s and s[0] and s[0] % len(few) == 0}
        else:
            twice = self._shapes(np.concatenate([few, few]), weights)
            axes = {name: _doubled(shape, twice[name]) for name, shape in shapes.items()}
        return Probe(len(few), shapes, {name: axis for name, axis in axes.items() if axis >= 0})

    def run(
        self, X: Values, names: Sequence[str], weights: Mapping[str, Values], probe: Probe
    ) -> dict[str, Values]:
        """Return some tensors for all samples, the axis of samples first, computed in batches."""
        size = self.source.batch or max(1, BATCH // max(1, probe.entries))
        compute = partial(self._batch, names=names, weights=weights, probe=probe)
        results: dict[str, Values] = {}
        for first in range(0, len(X), size):
            batch = X[first : first + size]
            values = compute(self._filled(batch))
            if self.source.batch and len(batch) < size:
                _check_order(batch, size, values, compute)
            for name, value in values.items():
                if name not in results:
                    results[name] = np.empty(probe.shape(name, len(X)), value.dtype)
                each = len(results[name]) // len(X)
                part = results[name][first * each : (first + size) * each]
                part[:] = value[: len(part)]
        return results

    def _batch(
        self, X: Values, names: Sequence[str], weights: Mapping[str, Values], probe: Probe
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

    def _filled(self, X: Values) -> Values:
        """Repeat the last sample until the batch is as large as the model wants it."""
        missing = (self.source.batch or len(X)) - len(X)
        return np.concatenate([X, np.repeat(X[-1:], missing, axis=0)]) if missing > 0 else X

    def _shapes(self, X: Values, weights: Mapping[str, Values]) -> dict[str, tuple[int, ...]]:
        found = zip(self._outputs, self._run(X, self._outputs, weights), strict=True)
        shapes = {name: value.shape for name, value in found if isinstance(value, np.ndarray)}
        return {self.source.name: X.shape, **shapes}

    def _run(self, X: Values, names: Sequence[str], weights: Mapping[str, Values]) -> list[Any]:
        given = {self.source.name: X, **weights}
        feeds = {
            n: v.astype(self._casts.get(v.dtype, v.dtype), copy=False) for n, v in given.items()
        }
        try:
            values: list[Any] = self._session.run(names, feeds)
        except Exception as error:  # noqa: BLE001 (onnxruntime's have no narrower base)
            raise ValueError(
                f"model: onnxruntime cannot run it on {len(X)} samples at a time: {error}"
            ) from None
        return values


def _doubled(shape: tuple[int, ...], twice: tuple[int, ...]) -> int:
    """Return the axis that is as long again for as many samples again, -1 if there is none."""
    pairs = enumerate(zip(shape, twice, strict=False))
    grown = [axis for axis, (one, two) in pairs if one != two]
    doubled = len(grown) == 1 and twice[grown[0]] == 2 * shape[grown[0]]
    return grown[0] if doubled and len(shape) == len(twice) else -1


def _check_order(
    X: Values,
    size: int,
    values: Mapping[str, Values],
    compute: Callable[[Values], Mapping[str, Values]],
) -> None:
    """Make sure that what fills a batch up does not reach what is kept of it."""
    zeros = np.zeros((size - len(X), *X.shape[1:]), X.dtype)
    for name, other in compute(np.concatenate([X, zeros])).items():
        kept = len(other) * len(X) // size
        if not np.array_equal(values[name][:kept], other[:kept]):
            raise ValueError(
                f"X must have a multiple of {size} samples, got {len(X)} too many: the model takes so "
                f"many at a time and mixes them in tensor {name!r}"
            )


def _part(
    graph: Graph, source: Input, given: Sequence[Stored], outputs: Sequence[str]
) -> onnx.ModelProto:
    """Return the model of the nodes that some outputs need; given constants become inputs."""
    names = {stored.name for stored in given}
    nodes = [n for n in needed(graph.nodes, outputs) if not names.intersection(n.output)]
    wanted = {*outputs, *(name for node in nodes for name in reads(node))} - names
    model = graph.model
    inputs = [v for v in model.graph.input if v.name == source.name or v.name in wanted]
    inputs += [
        onnx.helper.make_tensor_value_info(s.name, s.tensor.data_type, s.tensor.dims) for s in given
    ]
    part = onnx.helper.make_graph(
        nodes,
        "part",
        inputs,
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [tensor for tensor in model.graph.initializer if tensor.name in wanted],
        sparse_initializer=model.graph.sparse_initializer,
    )
    return onnx.helper.make_model(
        part,
        opset_imports=model.opset_import,
        ir_version=model.ir_version,
        functions=model.functions,
    )


def _loaded(model: onnx.ModelProto) -> tuple[Any, dict[np.dtype[Any], type]]:
    """Return a session, and the types in which it takes what has others."""
    if model.ByteSize() <= LARGEST_DOUBLED:
        with contextlib.suppress(ValueError):
            return _load(_in_double(model)), {np.dtype(np.float32): np.float64}
    return _load(model), {}


def _in_double(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with float64 in the place of float32; onnxruntime says whether it fits."""
    single, double = onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE
    doubled = onnx.ModelProto()
    doubled.CopyFrom(model)
    attributes = [a for node in doubled.graph.node for a in node.attribute]
    for tensor in [*doubled.graph.initializer, *(a.t for a in attributes if a.HasField("t"))]:
        if tensor.data_type == single:
            values = onnx.numpy_helper.to_array(tensor).astype(np.float64)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    for value in doubled.graph.input:
        if value.type.tensor_type.elem_type == single:
            value.type.tensor_type.elem_type = double
    for node in doubled.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == single:
                attribute.i = double
    return doubled


def _load(model: onnx.ModelProto) -> Any:
    """Return an onnxruntime.InferenceSession."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(
            'onnxruntime is missing, which runs ONNX models: pip install "nettrim[onnx]"'
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # what goes wrong is raised, and need not be printed as well
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
