"""Random ONNX graphs of operators through which units can be followed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import helper, numpy_helper

Shape = tuple[int, ...]  # without the axis of samples; units lie along the first one
STARTS: tuple[Shape, ...] = ((6,), (4, 6, 6), (6, 5))


class RandomGraph:
    """A graph under construction.

    Attributes
    ----------
    signals : dict
        Shapes of the tensors that further nodes may read, the latest last.
    """

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []
        self.start: Shape = STARTS[self.rng.integers(len(STARTS))]
        self.signals: dict[str, Shape] = {"x": self.start}
        for _ in range(self.rng.integers(3, 12)):
            self._grow()
        self._end()

    @property
    def model(self) -> onnx.ModelProto:
        """The graph as a model."""
        graph = helper.make_graph(
            self.nodes,
            "random",
            [helper.make_tensor_value_info("x", 1, ["n", *self.start])],
            [helper.make_tensor_value_info("y", 1, ["n", 3])],
            self.tensors,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)

    def samples(self, count: int) -> np.ndarray:
        """Samples for it."""
        return self.rng.standard_normal((count, *self.start)).astype(np.float32)

    def _grow(self) -> None:
        names = [*self.signals]
        name = names[-1] if self.rng.random() < 0.7 else self._pick(names)
        shape = self.signals[name]
        steps = [*ANY, *BY_RANK.get(len(shape), ())]
        step: Callable[[RandomGraph, str, Shape], None] = self._pick(steps)
        step(self, name, shape)

    def _end(self) -> None:
        parts = []
        for name in [*self.signals][-3:]:
            flat = self.node("Flatten", [name])
            size = int(np.prod(self.signals[name]))
            parts.append(self.node("MatMul", [flat, self.weights(size, 3)]))
        self.node("Sum", parts, output="y")

    def _pick(self, choices: Any) -> Any:
        return choices[self.rng.integers(len(choices))]

    def node(self, kind: str, reads: list[str], output: str | None = None, **options: Any) -> str:
        """Add a node, return what it makes."""
        name = output or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, reads, [name], name=f"n_{name}", **options))
        return name

    def put(self, shape: Shape, kind: str, reads: list[str], **options: Any) -> str:
        """Add a node whose output others may read."""
        name = self.node(kind, reads, **options)
        self.signals[name] = shape
        return name

    def constant(self, value: Any) -> str:
        """Add a constant."""
        name = f"c{len(self.tensors)}"
        self.tensors.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def weights(self, *shape: int) -> str:
        """Add weights; sums of products stay of the size of what comes in."""
        n_terms = np.prod(shape[1:]) if len(shape) > 2 else shape[0]
        scale = 1 / np.sqrt(n_terms)
        return self.constant((scale * self.rng.standard_normal(shape)).astype(np.float32))

    def vector(self, *shape: int) -> str:
        """Add positive numbers."""
        return self.constant(self.rng.uniform(0.5, 1.5, shape).astype(np.float32))


def _activate(g: RandomGraph, name: str, shape: Shape) -> None:
    g.put(shape, g._pick(["Relu", "Tanh", "Sigmoid", "LeakyRelu", "HardSwish"]), [name])


def _scale(g: RandomGraph, name: str, shape: Shape) -> None:
    along = g.vector(shape[0], *(1 for _ in shape[1:]))
    g.put(shape, g._pick(["Add", "Mul", "Div"]), [name, along])


def _join_operands(g: RandomGraph, name: str, shape: Shape) -> None:
    others = [other for other, of in g.signals.items() if of == shape]
    g.put(shape, g._pick(["Add", "Mul", "Max"]), [name, g._pick(others)])


def _concatenate(g: RandomGraph, name: str, shape: Shape) -> None:
    others = [other for other, of in g.signals.items() if of[1:] == shape[1:]]
    other = g._pick(others)
    size = shape[0] + g.signals[other][0]
    if size <= 24:
        g.put((size, *shape[1:]), "Concat", [name, other], axis=1)


def _split(g: RandomGraph, name: str, shape: Shape) -> None:
    if shape[0] < 2:
        return
    first = int(g.rng.integers(1, shape[0]))
    sizes = g.constant(np.array([first, shape[0] - first]))
    parts = [f"{name}_a{len(g.nodes)}", f"{name}_b{len(g.nodes)}"]
    g.nodes.append(helper.make_node("Split", [name, sizes], parts, axis=1))
    g.signals |= {parts[0]: (first, *shape[1:]), parts[1]: (shape[0] - first, *shape[1:])}


def _slice(g: RandomGraph, name: str, shape: Shape) -> None:
    start = int(g.rng.integers(0, shape[0]))
    end = int(g.rng.integers(start + 1, shape[0] + 1))
    bounds = [g.constant(np.array([bound])) for bound in (start, end, 1)]
    g.put((end - start, *shape[1:]), "Slice", [name, *bounds])


def _normalise(g: RandomGraph, name: str, shape: Shape) -> None:
    g.put(shape, "BatchNormalization", [name, *(g.vector(shape[0]) for _ in range(4))])


def _gemm(g: RandomGraph, name: str, shape: Shape) -> None:
    size, turned = int(g.rng.integers(2, 9)), int(g.rng.integers(2))
    weights = g.weights(size, shape[0]) if turned else g.weights(shape[0], size)
    g.put((size,), "Gemm", [name, weights, g.vector(size)], transB=turned)


def _matmul(g: RandomGraph, name: str, shape: Shape) -> None:
    size = int(g.rng.integers(2, 9))
    product = g.node("MatMul", [name, g.weights(shape[0], size)])
    g.put((size,), "Add", [g.vector(size), product])


def _to_image(g: RandomGraph, name: str, shape: Shape) -> None:
    if shape[0] % 2 == 0:
        target = g.constant(np.array([-1, shape[0] // 2, 1, 2]))
        g.put((shape[0] // 2, 1, 2), "Reshape", [name, target])


def _positions_matmul(g: RandomGraph, name: str, shape: Shape) -> None:
    """A layer along the first axis of a sequence, by way of the last one."""
    size = int(g.rng.integers(2, 9))
    turned = g.node("Transpose", [name], perm=[0, 2, 1])
    product = g.node("MatMul", [turned, g.weights(shape[0], size)])
    g.put((size, shape[1]), "Transpose", [product], perm=[0, 2, 1])


def _mean(g: RandomGraph, name: str, shape: Shape) -> None:
    g.put(shape[:1], "ReduceMean", [name, g.constant(np.arange(2, len(shape) + 1))], keepdims=0)


def _softmax(g: RandomGraph, name: str, shape: Shape) -> None:
    g.put(shape, "Softmax", [name], axis=int(g.rng.integers(1, 3)))


def _attend(g: RandomGraph, name: str, shape: Shape) -> None:
    """Heads of two features each, of a sequence that has its features first."""
    features, length = shape
    heads = int(g.rng.integers(2, 4))
    turned = g.node("Transpose", [name], perm=[0, 2, 1])
    apart = g.constant(np.array([0, length, heads, 2]))
    parts = []
    for order in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]):
        product = g.node("MatMul", [turned, g.weights(features, 2 * heads)])
        parts.append(g.node("Transpose", [g.node("Reshape", [product, apart])], perm=order))
    scores = g.node("Softmax", [g.node("MatMul", parts[:2])])
    mixed = g.node("Transpose", [g.node("MatMul", [scores, parts[2]])], perm=[0, 2, 1, 3])
    joined = g.node("Reshape", [mixed, g.constant(np.array([0, 0, 2 * heads]))])
    g.put((2 * heads, length), "Transpose", [joined], perm=[0, 2, 1])


def _convolve(g: RandomGraph, name: str, shape: Shape) -> None:
    size = int(g.rng.integers(2, 9))
    g.put(
        (size, *shape[1:]),
        "Conv",
        [name, g.weights(size, shape[0], 3, 3), g.vector(size)],
        pads=[1, 1, 1, 1],
    )


def _convolve_each(g: RandomGraph, name: str, shape: Shape) -> None:
    times = int(g.rng.integers(1, 3))
    kernel = g.weights(times * shape[0], 1, 3, 3)
    pads = [1, 1, 1, 1]
    g.put((times * shape[0], *shape[1:]), "Conv", [name, kernel], pads=pads, group=shape[0])


def _convolve_back(g: RandomGraph, name: str, shape: Shape) -> None:
    size = int(g.rng.integers(2, 6))
    g.put((size, *shape[1:]), "ConvTranspose", [name, g.weights(shape[0], size, 1, 1)])


def _pool(g: RandomGraph, name: str, shape: Shape) -> None:
    options = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    g.put(shape, g._pick(["MaxPool", "AveragePool"]), [name], **options)


def _gate(g: RandomGraph, name: str, shape: Shape) -> None:
    squeezed = g.node("GlobalAveragePool", [name])
    narrow = g.node("Relu", [g.node("Conv", [squeezed, g.weights(2, shape[0], 1, 1)])])
    gate = g.node("Sigmoid", [g.node("Conv", [narrow, g.weights(shape[0], 2, 1, 1)])])
    g.put(shape, "Mul", [name, gate])


def _flatten(g: RandomGraph, name: str, shape: Shape) -> None:
    size = int(np.prod(shape))
    if size <= 200:
        target = g._pick([[-1, size], [0, -1], [0, size]])
        g.put((size,), "Reshape", [name, g.constant(np.array(target))])


def _shuffle(g: RandomGraph, name: str, shape: Shape) -> None:
    if shape[0] % 2 == 0:
        apart = g.constant(np.array([0, 2, shape[0] // 2, *shape[1:]]))
        turned = g.node("Transpose", [g.node("Reshape", [name, apart])], perm=[0, 2, 1, 3, 4])
        g.put(shape, "Reshape", [turned, g.constant(np.array([0, *shape]))])


def _to_places(g: RandomGraph, name: str, shape: Shape) -> None:
    if shape[0] % 4 == 0 and shape[0] > 4:
        new = (shape[0] // 4, 2 * shape[1], 2 * shape[2])
        if np.prod(new) <= 400:
            g.put(new, "DepthToSpace", [name], blocksize=2, mode=g._pick(["DCR", "CRD"]))


def _to_sequence(g: RandomGraph, name: str, shape: Shape) -> None:
    length = shape[1] * shape[2]
    if 1 < length <= 40:
        target = g._pick([[0, shape[0], -1], [0, 0, length], [-1, shape[0], length]])
        g.put((shape[0], length), "Reshape", [name, g.constant(np.array(target))])


ANY = (_activate, _activate, _scale, _join_operands, _concatenate, _split, _slice, _normalise)
BY_RANK = {
    1: (_gemm, _gemm, _matmul, _to_image),
    2: (_positions_matmul, _positions_matmul, _mean, _softmax, _attend, _attend, _flatten),
    3: (
        *(_convolve, _convolve, _convolve, _convolve_each, _convolve_back, _pool, _gate, _mean),
        *(_flatten, _shuffle, _to_places, _to_sequence),
    ),
}
