"""The weights of a module that `nettrim.trim` leaves as they are, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.parameter import is_lazy

from ...layer_view import Untouched
from .expansions.experts import Experts
from .layers import SHARED
from .reads import extent, is_plain

__all__ = ["is_quantised", "list_untouched"]

KINDS: dict[type[nn.Module] | tuple[type[nn.Module], ...], str] = {
    nn.MultiheadAttention: "attention",
    (nn.RNNBase, nn.RNNCellBase): "recurrent layer",
    (nn.Embedding, nn.EmbeddingBag): "embedding",
    _ConvTransposeNd: "transposed convolution",
    nn.Conv3d: "convolution along three axes",
    nn.Bilinear: "bilinear layer",
    (_NormBase, nn.LayerNorm, nn.RMSNorm): "normalisation",
    Experts: "biases of experts",
    torch.jit.ScriptModule: "TorchScript",
}


def list_untouched(
    model: nn.Module, handled: Collection[str], reasons: Mapping[str, str]
) -> list[Untouched]:
    """Return every weight of two or more dimensions that no layer of some holds.

    Parameters
    ----------
    model : torch.nn.Module
    handled : collection of str
        Names of layers that are prunable.
    reasons : mapping of str to str
        Why others are not, by name.
    """
    owners = Counter(id(p) for m in model.modules() for p in m.parameters(recurse=False))
    found, seen = [], set()
    for name, tensor in _weights(model):
        owner = name.rpartition(".")[0]
        place = (extent(tensor), tensor.shape) if is_plain(tensor) else id(tensor)
        if owner in handled or place in seen:
            continue
        seen.add(place)
        reason = SHARED if owners[id(tensor)] > 1 else _reason(model, name, tensor, reasons)
        found.append(Untouched(name, tuple(tensor.shape), _nonzeros(tensor), reason))
    return found


def is_quantised(module: nn.Module) -> bool:
    """Whether a module of PyTorch computes with whole numbers."""
    return "torch.ao.nn" in type(module).__module__ and "quantized" in type(module).__module__


def _weights(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield what a module computes with: parameters, stored tables, and weights that are packed."""
    yield from ((n, p) for n, p in model.named_parameters() if not is_lazy(p) and p.dim() > 1)
    stored: Callable[..., Any] = model.state_dict
    kept = stored().keys()
    for name, buffer in model.named_buffers():
        if name in kept and buffer.dim() > 1 and _is_weight(name, buffer):
            yield name, buffer
    for name, module in model.named_modules():
        if is_quantised(module):
            yield from ((f"{name}.{key}".strip("."), w) for key, w in _packed(module))


def _is_weight(name: str, buffer: torch.Tensor) -> bool:
    """Whether a buffer is one of numbers; whole numbers are a weight if they are called so."""
    numbers = buffer.is_floating_point() or buffer.is_complex() or buffer.is_quantized
    named = "weight" in name.rpartition(".")[2] and buffer.dtype is not torch.bool
    return numbers or named


def _packed(module: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the weights that a quantised module keeps in a form of its own."""
    if callable(getattr(module, "get_weight", None)):
        yield from ((key, weight) for key, weight in module.get_weight().items())
    elif callable(getattr(module, "weight", None)):
        yield "weight", module.weight()


def _nonzeros(tensor: torch.Tensor) -> int:
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    return int(torch.count_nonzero(tensor.detach().to_dense()))


def _reason(model: nn.Module, name: str, tensor: torch.Tensor, reasons: Mapping[str, str]) -> str:
    """Say why a weight is left alone, by what is known of its module and those around it."""
    owner, _, last = name.rpartition(".")
    around = owner
    while around:
        if around in reasons:
            return reasons[around]
        if isinstance(model.get_submodule(around), nn.MultiheadAttention):
            return KINDS[nn.MultiheadAttention]
        around = around.rpartition(".")[0]
    module = model.get_submodule(owner)
    if is_quantised(module):
        return "quantised"
    for kinds, reason in KINDS.items():
        if isinstance(module, kinds):
            return reason
    if isinstance(module, _ConvNd) and module.padding_mode != "zeros":
        return f"padding mode {module.padding_mode!r}"
    if last in module._buffers:
        return "a buffer, not a parameter"
    return f"used by the code of {type(module).__name__}"
