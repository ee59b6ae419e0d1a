"""From the module a user has to one that can be copied, and back into its wrapper."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.utils import prune, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm, SpectralNormLoadStateDictPreHook
from torch.nn.utils.weight_norm import WeightNorm

from ....base.errors import warn_user

__all__ = [
    "bake_parametrizations",
    "check_model",
    "copy_model",
    "copy_sharing_tensors",
    "rewrap",
    "unwrap",
]

SPARSE = (torch.sparse_coo, torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc)


def check_model(model: Any) -> nn.Module:
    """Return a model that is a module whose layers can be seen.

    Raises
    ------
    TypeError
        If it is not, with what to give instead.
    """
    if isinstance(model, torch.jit.ScriptModule):
        raise TypeError(
            "model is a TorchScript module, whose layers are compiled: give the torch.nn.Module "
            "that it was made from, and script the result"
        )
    if isinstance(model, torch.export.ExportedProgram):
        raise TypeError(
            "model is an ExportedProgram, which holds operations and no layers: give the "
            "torch.nn.Module that was exported, and export the result"
        )
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    tensors = [*model.named_parameters(), *model.named_buffers()]
    for name, tensor in tensors:
        if tensor.is_meta:
            raise ValueError(f"model: {name!r} is on the meta device and has no numbers; load them")
    return model


def unwrap(model: nn.Module) -> nn.Module:
    """Return the module inside the wrappers of parallel training and of torch.compile."""
    inner = _inner(model)
    return model if inner is None else unwrap(inner)


def rewrap(module: nn.Module, model: nn.Module) -> nn.Module:
    """Put a module into wrappers like those of another one.

    Warns
    -----
    UserWarning
        If that is not possible; then it stays outside of that wrapper.
    """
    inner = _inner(model)
    if inner is None:
        return module
    module = rewrap(module, inner)
    if isinstance(model, nn.DataParallel):
        wrapper = copy.copy(model)
        wrapper._modules = {**model._modules, "module": module}
        return wrapper
    try:
        context: Any = model.dynamo_ctx  # what torch.compile calls
        compiled: nn.Module = context(module)
    except AttributeError:  # DistributedDataParallel, or another version of torch.compile
        warn_user(
            f"model: the result is the plain module; wrap it into {type(model).__name__} again"
        )
        return module
    return compiled


def copy_model(model: nn.Module) -> Any:
    """Return a deep copy, of modules too that keep a computed weight, and with dense parameters."""
    memo: dict[int, Any] = {id(value): value.detach().clone() for value in _computed(model)}
    for parameter in model.parameters():
        if parameter.layout in SPARSE:
            memo[id(parameter)] = nn.Parameter(parameter.detach().to_dense())
    return copy.deepcopy(model, memo)


def copy_sharing_tensors(model: nn.Module) -> Any:
    """Return a copy of new modules that hold the tensors of the model itself."""
    tensors = [*model.parameters(), *model.buffers(), *_computed(model)]
    return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})


def bake_parametrizations(model: nn.Module) -> nn.Module:
    """Return a model whose weights are what its layers compute with.

    It is the model itself if nothing is to be done: no masks of `torch.nn.utils.prune`, no
    `torch.nn.utils.weight_norm` or `spectral_norm` by hooks, and no sparse tensors.

    Warns
    -----
    UserWarning
        For every layer of which that is not so.
    """
    computed = [(name, what) for name, _, _, what in _hooks(model)]
    sparse = [n for n, p in model.named_parameters() if p.layout in SPARSE]
    if not computed and not sparse:
        return model
    plain: nn.Module = copy_model(model)
    for _, module, hook, _ in [*_hooks(plain)]:
        _bake(module, hook)
    for name, what in computed:
        warn_user(f"model: layer {name!r}: its {what} is baked into its weights in the result")
    for name in sparse:
        warn_user(f"model: {name!r} is a sparse tensor; it is dense in the result")
    return plain


def _computed(model: nn.Module) -> Iterator[torch.Tensor]:
    """Yield the tensors that modules keep as attributes and have computed from others."""
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, torch.Tensor) and not value.is_leaf:
                yield value


def _inner(model: nn.Module) -> nn.Module | None:
    """Return what a wrapper holds; None for other modules."""
    if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        module: nn.Module = model.module
        return module
    inner = getattr(model, "_orig_mod", None)
    compiled = any(kind.__name__ == "OptimizedModule" for kind in type(model).__mro__)
    return inner if compiled and isinstance(inner, nn.Module) else None


def _hooks(model: nn.Module) -> Iterator[tuple[str, nn.Module, Any, str]]:
    """Yield every hook that computes a parameter, with its module and what it is called."""
    for name, module in model.named_modules():
        for hook in [*module._forward_pre_hooks.values()]:
            if isinstance(hook, prune.BasePruningMethod):
                yield name, module, hook, "mask"
            elif isinstance(hook, WeightNorm):
                yield name, module, hook, "weight_norm"
            elif isinstance(hook, SpectralNorm):
                yield name, module, hook, "spectral_norm"


def _bake(module: Any, hook: Any) -> None:
    if isinstance(hook, prune.BasePruningMethod):
        prune.remove(module, hook._tensor_name)  # type: ignore[no-untyped-call]
    elif isinstance(hook, WeightNorm):
        remove_weight_norm(module, hook.name)
    else:
        remove_spectral_norm(module, hook.name)
        # PyTorch looks for this one without its wrapper, and leaves it behind.
        for key, left in [*module._load_state_dict_pre_hooks.items()]:
            if isinstance(getattr(left, "hook", left), SpectralNormLoadStateDictPreHook):
                del module._load_state_dict_pre_hooks[key]
