"""Small random networks: one blueprint, built for every framework, computed by NumPy."""

from __future__ import annotations

import copy
import itertools
import warnings
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

import nettrim
from support.random_entry import Random, pick

Array = NDArray[np.float64]
Weights: TypeAlias = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Stage:
    """A step: "dense", "conv", "skip" (two dense layers and a shortcut), "norm", or a plain one."""

    kind: str
    name: str = ""
    padding: int = 0
    groups: int = 1


@dataclass(frozen=True)
class Blueprint:
    """Stages one after another, then a dense layer for each output; weights outputs first.

    Attributes
    ----------
    shape : tuple of int
        Of a sample.
    stages : list of Stage
    heads : list of str
    weights : dict of ndarray
        ``name.weight`` and, if there is one, ``name.bias``.
    """

    shape: tuple[int, ...]
    stages: list[Stage]
    heads: list[str]
    weights: Weights = field(repr=False)

    def run(self, weights: Weights, X: Any) -> list[Array]:
        """Return all outputs in float64, with the weights of some model."""
        signal = np.asarray(X, dtype=np.float64)
        for stage in self.stages:
            signal = _step(stage, signal, weights)
        return [_dense(signal, weights, head) for head in self.heads]


def _step(stage: Stage, signal: Array, weights: Weights) -> Array:
    name = stage.name
    if stage.kind == "dense":
        return _dense(signal, weights, name)
    if stage.kind == "conv":
        return _convolution(signal, weights, stage)
    if stage.kind == "skip":
        inner = np.maximum(_dense(signal, weights, f"{name}a"), 0)
        return signal + _dense(inner, weights, f"{name}b")
    if stage.kind == "norm":
        scale, shift, mean, variance = (
            weights[f"{name}.{part}"].astype(float)[:, None, None]
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (signal - mean) / np.sqrt(variance + 1e-5) * scale + shift
    if stage.kind == "flatten":
        return signal.reshape(len(signal), -1)
    if stage.kind == "mean":
        return signal.mean(axis=(2, 3))
    return np.clip(signal, 0, 6) if stage.kind == "relu6" else np.maximum(signal, 0)


def _dense(signal: Array, weights: Weights, name: str) -> Array:
    bias = weights.get(f"{name}.bias", np.zeros(1))
    return signal @ weights[f"{name}.weight"].T.astype(float) + bias.astype(float)


def _convolution(signal: Array, weights: Weights, stage: Stage) -> Array:
    kernel, p = weights[f"{stage.name}.weight"].astype(float), stage.padding
    padded = np.pad(signal, ((0, 0), (0, 0), (p, p), (p, p)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[2:], (2, 3))
    parts = [
        np.einsum("nchwij,ocij->nohw", inputs, kernels)
        for inputs, kernels in zip(
            np.split(windows, stage.groups, axis=1),
            np.split(kernel, stage.groups),
            strict=True,
        )
    ]
    bias = weights.get(f"{stage.name}.bias", np.zeros(1)).astype(float)
    return np.concatenate(parts, axis=1) + bias[:, None, None]


def blueprint(rng: Random, n_outputs: int | None = None, folded: bool = True) -> Blueprint:
    """Draw one; with a number of outputs, or one to three; `folded` allows norm and relu6."""
    draw = _Draw(rng, folded)
    if rng.random() < 0.35:
        draw.convolutions()
    else:
        draw.shape = draw.first = (int(rng.integers(1, 9)),)
    for number in range(int(rng.integers(0, 3))):
        draw.hidden(f"fc{number}")
    heads = [f"head{number}" for number in range(n_outputs or int(rng.integers(1, 4)))]
    for head in heads:
        draw.affine(head, int(rng.integers(1, 6)), draw.shape[0])
    return Blueprint(draw.first, draw.stages, heads, draw.weights)


class _Draw:
    """A blueprint in the making."""

    def __init__(self, rng: Random, folded: bool) -> None:
        self.rng, self.folded = rng, folded
        self.dtype: Any = pick(rng, [np.float32, np.float64])
        self.shape: tuple[int, ...] = ()
        self.first: tuple[int, ...] = ()
        self.stages: list[Stage] = []
        self.weights: Weights = {}

    def affine(self, name: str, *shape: int) -> None:
        fan = int(np.prod(shape[1:]))
        kernel = self.rng.standard_normal(shape) / np.sqrt(fan)
        self.weights[f"{name}.weight"] = kernel.astype(self.dtype)
        if self.rng.random() < 0.8:
            self.weights[f"{name}.bias"] = (0.3 * self.rng.standard_normal(shape[0])).astype(
                self.dtype
            )

    def hidden(self, name: str) -> None:
        size = int(self.rng.integers(1, 10))
        if self.rng.random() < 0.2:
            self.affine(f"{name}a", size, self.shape[0])
            self.affine(f"{name}b", self.shape[0], size)
            self.stages.append(Stage("skip", name))
            return
        self.affine(name, size, self.shape[0])
        self.stages.append(Stage("dense", name))
        self.shape = (size,)
        self.follower()

    def follower(self) -> None:
        kinds = ["relu"] * 6 + ["relu6"] * self.folded
        if self.rng.random() < 0.85:
            self.stages.append(Stage(pick(self.rng, kinds)))

    def convolutions(self) -> None:
        self.dtype = np.float32  # onnxruntime has no convolution of doubles
        groups = int(self.rng.integers(1, 3))
        channels, size = 2 * groups, int(self.rng.integers(3, 6))
        self.first = (channels, size, size)
        outputs, kernel = groups * int(self.rng.integers(1, 4)), int(self.rng.integers(1, 4))
        padding = int(self.rng.integers(0, 2))
        self.affine("conv", outputs, channels // groups, kernel, kernel)
        self.stages.append(Stage("conv", "conv", padding, groups))
        if self.folded and self.rng.random() < 0.3:
            self.normalisation(outputs)
        self.follower()
        last = pick(self.rng, ["flatten", "mean"])
        self.stages.append(Stage(last))
        left = size + 2 * padding - kernel + 1
        self.shape = (outputs if last == "mean" else outputs * left * left,)

    def normalisation(self, channels: int) -> None:
        self.stages.append(Stage("norm", "norm"))
        for part, least in (("weight", 0.5), ("bias", -0.5), ("running_mean", -0.5)):
            values = least + self.rng.random(channels)
            self.weights[f"norm.{part}"] = values.astype(self.dtype)
        self.weights["norm.running_var"] = (0.5 + self.rng.random(channels)).astype(self.dtype)


def samples(rng: Random, shape: tuple[int, ...]) -> Array:
    """Draw samples: mostly many of moderate size, sometimes few, equal, sparse, tiny or large."""
    X = rng.standard_normal((int(rng.integers(1, 40)), *shape))
    kind = int(rng.integers(8))
    if kind == 0:
        X = np.maximum(X, 0)
    elif kind == 1:
        X[:] = X[:1]
    elif kind == 2:
        X *= 10.0 ** rng.uniform(-6, 6)
    elif kind == 3:
        X *= rng.random(shape) < 0.5
    return X


# --- the same in other forms ----------------------------------------------------------------------


def as_network(plan: Blueprint) -> nettrim.Network:
    """Build it of nettrim's own layers; it has one output."""
    layers: list[Any] = []
    kinds = [stage.kind for stage in plan.stages]
    for number, stage in enumerate(plan.stages):
        relu = "relu" if "relu" in kinds[number + 1 : number + 2] else "linear"
        weight, bias = (plan.weights.get(f"{stage.name}.{p}") for p in ("weight", "bias"))
        if stage.kind == "dense":
            layers.append(nettrim.Dense(weight.T, bias, relu))
        elif stage.kind == "conv":
            layers.append(
                nettrim.Conv2D(
                    weight, bias, padding=stage.padding, groups=stage.groups, activation=relu
                )
            )
        elif stage.kind == "skip":
            layers.append(_skip(plan.weights, stage.name))
        elif stage.kind in ("flatten", "mean"):
            pools = {"flatten": nettrim.Flatten, "mean": nettrim.GlobalAveragePool}
            layers.append(pools[stage.kind]())
    head = plan.heads[0]
    weight, bias = plan.weights[f"{head}.weight"], plan.weights.get(f"{head}.bias")
    return nettrim.Network([*layers, nettrim.Dense(weight.T, bias, "linear")])


def _skip(weights: Weights, name: str) -> nettrim.Residual:
    return nettrim.Residual(
        [
            nettrim.Dense(weights[f"{name}{end}.weight"].T, weights.get(f"{name}{end}.bias"), how)
            for end, how in (("a", "relu"), ("b", "linear"))
        ]
    )


def network_weights(network: nettrim.Network, plan: Blueprint) -> Weights:
    """Read the weights of a network of `as_network`."""
    found: Weights = {}
    layers = iter(network.layers)
    for stage in [*plan.stages, Stage("dense", plan.heads[0])]:
        if stage.kind in ("relu", "norm"):
            continue
        layer: Any = next(layers)
        inner = zip("ab", layer.body, strict=True) if stage.kind == "skip" else [("", layer)]
        for end, part in inner:
            if hasattr(part, "weights"):
                outputs_first = part.weights if part.weights.ndim > 2 else part.weights.T
                found[f"{stage.name}{end}.weight"] = outputs_first
                if part.bias is not None:
                    found[f"{stage.name}{end}.bias"] = part.bias
    return found


@cache
def _fitted(classifies: bool, n_outputs: int) -> Any:
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    X = np.eye(8)
    y = np.arange(8) % n_outputs if classifies else np.ones((8, n_outputs))
    kind = MLPClassifier if classifies else MLPRegressor
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kind(hidden_layer_sizes=(4,), max_iter=1, random_state=0).fit(X, y)


def perceptron(rng: Random, classifies: bool = False) -> Any:
    """Return a fitted perceptron of scikit-learn with weights of its own."""
    classifies, n_outputs = classifies or bool(rng.random() < 0.5), int(rng.integers(2, 5))
    model = copy.deepcopy(_fitted(classifies, n_outputs))
    hidden = [int(n) for n in rng.integers(1, 10, int(rng.integers(1, 3)))]
    sizes = [int(rng.integers(1, 9)), *hidden, model.coefs_[-1].shape[1]]
    model.coefs_ = [rng.standard_normal(pair) for pair in itertools.pairwise(sizes)]
    model.intercepts_ = [0.3 * rng.standard_normal(size) for size in sizes[1:]]
    model.n_features_in_, model.n_layers_ = sizes[0], len(sizes)
    model.hidden_layer_sizes = tuple(hidden)
    return model


def perceptron_output(model: Any, X: Any) -> list[Array]:
    """Return what comes out in front of softmax or logistic function."""
    signal = np.asarray(X, dtype=np.float64)
    for weights, bias in zip(model.coefs_[:-1], model.intercepts_[:-1], strict=True):
        signal = np.maximum(signal @ weights + bias, 0)
    return [signal @ model.coefs_[-1] + model.intercepts_[-1]]


def as_onnx(plan: Blueprint) -> Any:
    """Build it as an ONNX model."""
    import onnx
    from onnx import helper

    nodes: list[Any] = []
    dtype = plan.weights[f"{plan.heads[0]}.weight"].dtype
    kind = helper.np_dtype_to_tensor_dtype(dtype)

    def add(operator: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        out = f"t{len(nodes)}"
        nodes.append(helper.make_node(operator, list(inputs), [out], name, **attributes))
        return out

    def affine(operator: str, signal: str, name: str, **attributes: Any) -> str:
        ends = [f"{name}.{p}" for p in ("weight", "bias") if f"{name}.{p}" in plan.weights]
        return add(operator, signal, *ends, name=name, **attributes)

    signal = "X"
    for stage in plan.stages:
        if stage.kind == "dense":
            signal = affine("Gemm", signal, stage.name, transB=1)
        elif stage.kind == "conv":
            pads = [stage.padding] * 4
            signal = affine("Conv", signal, stage.name, pads=pads, group=stage.groups)
        elif stage.kind == "skip":
            inner = add("Relu", affine("Gemm", signal, f"{stage.name}a", transB=1))
            signal = add("Add", signal, affine("Gemm", inner, f"{stage.name}b", transB=1))
        elif stage.kind == "norm":
            parts = ("weight", "bias", "running_mean", "running_var")
            signal = add("BatchNormalization", signal, *(f"norm.{p}" for p in parts))
        elif stage.kind == "flatten":
            signal = add("Flatten", signal)
        elif stage.kind == "mean":
            signal = add("Flatten", add("GlobalAveragePool", signal))
        elif stage.kind == "relu6":
            signal = add("Clip", signal, "zero", "six")
        else:
            signal = add("Relu", signal)
    ends = {affine("Gemm", signal, head, transB=1): head for head in plan.heads}
    numbers = {"zero": np.array(0, dtype), "six": np.array(6, dtype)}
    used = {name for node in nodes for name in node.input}
    tensors = [
        onnx.numpy_helper.from_array(array, name)
        for name, array in {**plan.weights, **numbers}.items()
        if name in used
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("X", kind, ["N", *plan.shape])],
        [
            helper.make_tensor_value_info(end, kind, ["N", len(plan.weights[f"{head}.weight"])])
            for end, head in ends.items()
        ],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def onnx_weights(model: Any) -> Weights:
    """Read the initializers of an ONNX model."""
    import onnx

    return {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}


def as_module(plan: Blueprint, packed: str) -> Any:
    """Build it as a module of PyTorch that returns its outputs as a "tuple", "dict" or "list"."""
    import torch

    from support.random_modules import Built

    module = Built(plan, packed)
    state = {k.replace(".", "__", k.count(".") - 1): v for k, v in plan.weights.items()}
    module.load_state_dict(
        {f"parts.{name}": torch.tensor(value) for name, value in state.items()}, strict=False
    )
    return module
