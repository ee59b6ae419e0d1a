"""Layers of PyTorch as affine maps: which there are, and how they are read and written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.nn.parameter import is_lazy

from ....base.arrays import AnyFloat, Array, check_finite
from ...layer_view import Affine, LayerView, Precision, rows_of_features
from ...network import BatchNorm, Conv1D, Conv2D, Dense
from .reads import find_overlapping
from .transposed import TRANSPOSED, Spread, turn_kernels

__all__ = [
    "FLOATS",
    "LAYERS",
    "OUTPUT_HEAD",
    "SHARED",
    "BFloat16Affine",
    "NormalisedAffine",
    "StoredAffine",
    "find_output_heads",
    "layer_view",
    "prunable_modules",
    "read_normalisation",
    "shared_parameters",
    "write",
]

OUTPUT_HEAD = "output head of the language model: name it in layers to prune it"
SHARED = "it shares its parameters with another module"

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, *TRANSPOSED)
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)  # that weights may be

NOTHING = np.empty((0, 0))

# A subclass that computes something else is not what its weights say.
COMPUTED = {(kind.forward, getattr(kind, "_conv_forward", None)) for kind in LAYERS}


class BFloat16Affine(Affine):
    """An affine map whose weights are bfloat16 in the model.

    NumPy does not know that type: here they are float32, and an answer holds numbers that the model
    can store.
    """

    @property
    def precision(self) -> Precision:
        """What the model stores the weights in."""
        return Precision("bfloat16", torch.finfo(torch.bfloat16).eps)

    def rounded(self, values: Array, stored: AnyFloat) -> AnyFloat:
        """Round to the nearest numbers, as PyTorch does."""
        nearest: AnyFloat = torch.tensor(values).bfloat16().float().numpy()
        return nearest


class NormalisedAffine(Affine):
    """An affine map with a batch normalisation folded in: ``scale * (x @ own + bias) + shift``.

    Weights and bias are float64. An answer is rounded as the layer's own weights will be.
    """

    own: Affine
    scale: Array
    shift: Array

    @classmethod
    def of(cls, own: Affine, scale: Array, shift: Array) -> NormalisedAffine:
        """Fold a normalisation into a map; its bias is fixed from then on."""
        bias = shift if own.bias is None else scale * own.bias + shift
        folded = cls(own.weights * scale, bias, own.groups, fixed_bias=True)
        folded.own, folded.scale, folded.shift = own, scale, shift
        return folded

    @property
    def precision(self) -> Precision:
        """What the layer's own weights are stored in."""
        return self.own.precision

    def replaced(self, stacked: Array) -> Affine:
        """Return the map with weights that the layer can have (see `Affine.replaced`)."""
        own = self.own.rounded(unscale(stacked, self.scale), self.own.weights)
        return NormalisedAffine.of(self.own._replace(weights=own), self.scale, self.shift)


def _as_read(name: str) -> Any:
    """Return a property that is what an affine map, read anew, has by that name."""
    return property(lambda stored: getattr(stored.read(), name))


class StoredAffine(Affine):
    """An affine map whose numbers stay where a layer has them, and are read when asked for.

    Attributes
    ----------
    layer : torch.nn.Module
    """

    layer: nn.Module
    _name: str
    _norm: tuple[Array, Array] | None

    @classmethod
    def of(cls, name: str, layer: nn.Module, norm: tuple[Array, Array] | None) -> StoredAffine:
        """Return the map of a layer with a normalisation, having seen that it can be read."""
        known = _affine(_step(name, layer), layer, norm)
        stored = cls(NOTHING, None, known.groups, known.fixed_bias)
        stored.layer, stored._name, stored._norm = layer, name, norm
        return stored

    def read(self) -> Affine:
        """Return the map with the numbers of now."""
        return _affine(_step(self._name, self.layer), self.layer, self._norm)

    weights = _as_read("weights")
    bias = _as_read("bias")
    precision = _as_read("precision")
    stacked = _as_read("stacked")
    offset = _as_read("offset")
    inputs = _as_read("inputs")
    apply = _as_read("apply")
    rounded = _as_read("rounded")
    replaced = _as_read("replaced")


def prunable_modules(model: nn.Module) -> tuple[dict[str, nn.Module], dict[str, str]]:
    """Return the layers that have weights of their own, by qualified name.

    And those that have not, with the reason: they share their parameters, or compute their weights.
    """
    shared = shared_parameters(model)
    found: dict[str, nn.Module] = {}
    left_out: dict[str, str] = {}
    for name, module in model.named_modules():
        if not _is_known(module):
            continue
        if "weight" not in module._parameters:
            left_out[name] = "its weights are computed from other parameters; bake them in first"
        elif any(id(p) in shared for p in module.parameters(recurse=False)):
            left_out[name] = SHARED
        elif (kind := _unreadable(module.weight)) is not None:
            left_out[name] = f"its weights are {kind}"
        else:
            found[name] = module
    return found, left_out


def find_output_heads(model: nn.Module) -> set[str]:
    """Return the names of the modules that language models call their output embeddings."""
    heads = set()
    for module in model.modules():
        try:
            heads.add(id(module.get_output_embeddings()))  # type: ignore[operator]
        except (AttributeError, NotImplementedError, TypeError):
            continue
    return {name for name, module in model.named_modules() if id(module) in heads}


def shared_parameters(model: nn.Module) -> set[int]:
    """Return the ids of parameters that several modules hold, or that overlap in memory."""
    owners = Counter(id(p) for module in model.modules() for p in module.parameters(recurse=False))
    parameters = [p for p in model.parameters() if not is_lazy(p)]
    over = find_overlapping(parameters)
    twice = {parameter for parameter, count in owners.items() if count > 1}
    return twice | {id(parameters[k]) for k in over}


def _unreadable(weight: Any) -> str | None:
    """Say what keeps a weight from being read: it holds no real numbers, or not plainly."""
    plain = type(weight.data) is torch.Tensor
    if is_lazy(weight) or (plain and weight.is_floating_point()):
        return None
    return str(weight.dtype).removeprefix("torch.") if plain else type(weight.data).__name__


def layer_view(
    name: str,
    module: Any,
    activation: str = "linear",
    norm: tuple[Array, Array] | None = None,
    *,
    stored: bool = False,
) -> LayerView:
    """Return what `nettrim.trim` needs to know of a layer.

    Parameters
    ----------
    name : str
    module : torch.nn.Linear, Conv1d, Conv2d, ConvTranspose1d or ConvTranspose2d
    activation : {"relu", "linear"}
    norm : pair of ndarrays of shape (n_outputs,), optional
        Factors and shifts between the layer and its activation; see `read_normalisation`.
    stored : bool, default False
        Whether the module keeps its weights meanwhile, so that no copy of them is held.
    """
    step: Callable[[], Dense | Conv1D | Conv2D] = partial(_step, name, module)
    if not stored:
        step = cache(step)
    affine = StoredAffine.of(name, module, norm) if stored else _affine(step(), module, norm)
    n_axes = module.weight.dim() - 1  # of a sample

    spread = Spread.of(module) if isinstance(module, TRANSPOSED) else None

    def unfold(values: Array) -> Array:
        if isinstance(module, nn.Linear):
            return rows_of_features(values)
        values = values.reshape(-1, *values.shape[-n_axes:])
        return step().unfold(values if spread is None else spread.apply(values))

    def lipschitz(affine: Affine, given: tuple[int, ...]) -> float:
        channels, *size = given[-n_axes:]
        if spread is not None:
            size = [*spread.size(tuple(size))]
        return step().with_affine(affine).lipschitz((1, channels, *size))

    return LayerView(name, affine, activation, lipschitz, unfold, type(module))


def _affine(step: Dense | Conv1D | Conv2D, module: Any, norm: tuple[Array, Array] | None) -> Affine:
    """Return the affine map of a step, as the module stores it and a normalisation changes it."""
    affine = step.affine
    if module.weight.dtype is torch.bfloat16:
        affine = BFloat16Affine(*affine)
    return affine if norm is None else NormalisedAffine.of(affine, *norm)


def read_normalisation(norm: Any) -> tuple[Array, Array]:
    """Return by what a batch normalisation multiplies each channel, and what it adds."""
    stored = (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    arrays: list[Any] = [None if t is None else t.detach().cpu().double().numpy() for t in stored]
    step = BatchNorm(*arrays, epsilon=norm.eps)
    return step.factor, step.offset


def write(module: Any, affine: Affine, scale: Array | None = None) -> None:
    """Put weights into a layer, in its precision and where it lives; a fixed bias stays."""
    weights = affine.weights if scale is None else unscale(affine.weights, scale)
    values = weights.T
    if isinstance(module, TRANSPOSED):
        inputs = module.in_channels // module.groups
        kernels = values.reshape(module.out_channels, inputs, *module.kernel_size)
        values = turn_kernels(kernels, module.groups).copy()
    with torch.no_grad():
        module.weight.copy_(torch.tensor(values).reshape(module.weight.shape))
        if affine.bias is not None and not affine.fixed_bias:
            module.bias.copy_(torch.tensor(affine.bias))


def unscale(weights: AnyFloat, scale: Array) -> Array:
    """Divide outputs by their factors; where one is zero, weights mean nothing: zero as well."""
    return np.divide(weights, scale, out=np.zeros(weights.shape), where=scale != 0)


def _is_known(module: nn.Module) -> bool:
    """Whether a module is an affine map computed by PyTorch's own code, padded with zeros."""
    kind = type(module)
    computed = (kind.forward, getattr(kind, "_conv_forward", None))
    return (
        computed in COMPUTED
        and getattr(module, "padding_mode", "zeros") == "zeros"
        # Inside attention, whose own code uses the weights and never calls the layer.
        and not isinstance(module, NonDynamicallyQuantizableLinear)
    )


def _step(name: str, module: Any) -> Dense | Conv1D | Conv2D:
    """Return a layer as a step of a `nettrim.Network`."""
    weights, bias = _array(module.weight, f"model: the weight of layer {name!r}"), None
    if module.bias is not None:
        bias = _array(module.bias, f"model: the bias of layer {name!r}")
    if isinstance(module, nn.Linear):
        return Dense(weights.T, bias)
    kind = Conv1D if len(module.kernel_size) == 1 else Conv2D
    if isinstance(module, TRANSPOSED):
        kernels = turn_kernels(weights, module.groups)
        return kind(kernels, bias, dilation=module.dilation, groups=module.groups)
    return kind(
        weights,
        bias,
        stride=module.stride,
        padding=0 if module.padding == "valid" else module.padding,
        dilation=module.dilation,
        groups=module.groups,
    )


def _array(parameter: Any, name: str) -> AnyFloat:
    """Return a parameter as an array."""
    if is_lazy(parameter):
        raise ValueError(f"{name} does not exist yet; run the model once")
    if parameter.dtype not in FLOATS:
        raise ValueError(
            f"{name} must be float16, bfloat16, float32 or float64, got {parameter.dtype}; "
            "model.float() converts it"
        )
    values = parameter.detach().cpu()
    return check_finite(
        (values.float() if values.dtype is torch.bfloat16 else values).numpy(), name
    )
