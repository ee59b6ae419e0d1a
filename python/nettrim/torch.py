"""Helpers for modules of PyTorch: ReLUs that cannot be found, modules larger than memory, training.

`nettrim.trim` takes modules without any of this.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from .base.arguments import check_integer, check_number
from .base.storage import as_path

try:
    import torch
    import torch.nn.functional as F
    from torch import nn
    from torch.nn.utils import parametrize
except ImportError as error:
    raise ImportError("nettrim.torch needs PyTorch: pip install nettrim[torch]") from error

from .models.adapters.torch import TorchView
from .models.adapters.torch.data import iterate_batches
from .models.adapters.torch.expansions.expand import expandable
from .models.adapters.torch.layers import prunable_modules
from .models.adapters.torch.prepare import copy_model
from .models.adapters.torch.sharded import ShardedView
from .models.adapters.torch.shards import skeleton

__all__ = ["declare", "fine_tune", "keep_zeros", "open_shards", "remove_masks", "skeleton"]

Module = TypeVar("Module", bound=nn.Module)


def declare(module: nn.Module, relu: Iterable[str]) -> TorchView:
    """Say which layers are followed by a ReLU, where `nettrim.trim` cannot find that out.

    It does find out where torch.fx can trace the module or torch.export can; where neither can, it
    warns of the layers whose followers it does not know, unless they are declared (``relu=[]`` for
    none). A ReLU that was missed costs weights: the
    layer is held to its output before the ReLU. One that is declared and not there costs the truth
    of what is reported.

    Parameters
    ----------
    module : torch.nn.Module
    relu : iterable of str
        Qualified names of layers whose outputs go to a ReLU and nowhere else.

    Returns
    -------
    TorchView
        To be given to `nettrim.trim` instead of the module. What is trimmed is the module.

    Raises
    ------
    TypeError, ValueError
        If ``module`` is no module, or a name is not that of a layer that can be pruned.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> import nettrim.torch
    >>> from torch import nn
    >>> class Branching(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 2)
    ...     def forward(self, x):
    ...         hidden = self.first(x).relu()
    ...         return self.second(hidden if hidden.sum() > 0 else -hidden)
    >>> module = nettrim.torch.declare(Branching(), relu=["first"])
    >>> X = np.random.default_rng(0).standard_normal((50, 4))
    >>> type(nettrim.trim(module, X, epsilon=0.1, progress=False).model).__name__
    'Branching'
    """
    if isinstance(relu, str):
        raise TypeError(f"relu must be a list of names, got the string {relu!r}")
    return TorchView(_checked(module), relu)


def open_shards(
    module: nn.Module, folder: str | os.PathLike[str], into: str | os.PathLike[str]
) -> ShardedView:
    """Open a module whose weights stay in files while `nettrim.trim` works on it.

    They are mapped into memory: read where they are used, a layer at a time, and never copied as a
    whole. What trimming itself needs does not grow with the number of layers. Answers go to a copy
    of the folder that appears under the name of ``into`` when all are there.

    Parameters
    ----------
    module : torch.nn.Module
        Without numbers, as `skeleton` has it made. It is not changed.
    folder : str or path-like
        Holds ``model.safetensors``, or ``model.safetensors.index.json`` and the files it names, as
        ``save_pretrained`` writes them: each tensor under its name in the module's
        ``state_dict``, in whatever precision.
    into : str or path-like
        Folder of the result, which is not there yet. It has the files beside the weights too.

    Returns
    -------
    nettrim.models.model_view.ModelView
        To be given to `nettrim.trim` instead of the module; its attribute ``model`` is the module
        with the weights of the folder. ``result.model`` is the module with those of ``into``.

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it must be: ``module`` has weights that the folder does not hold
        or of other shapes, a file is damaged, or ``into`` is there already.
    FileNotFoundError
        If ``into`` is to be in a folder that is not there.

    Notes
    -----
    With ``share="network"`` narrow linear layers share a budget, and a number for each of their
    weights is held meanwhile; ``share="layer"`` does not. Until the end the result is in a folder
    beside ``into`` whose name begins with a dot; a killed process leaves it behind.

    The files of the result have tensors of the same shapes, so no units are removed
    (`nettrim.Units`).

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import torch
    >>> from safetensors.torch import save_model
    >>> from torch import nn
    >>> import nettrim.torch
    >>> def build():
    ...     return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> folder = tempfile.mkdtemp()
    >>> save_model(build(), f"{folder}/model.safetensors")
    >>> with nettrim.torch.skeleton():
    ...     module = build()
    >>> X = np.random.default_rng(0).standard_normal((50, 4))
    >>> view = nettrim.torch.open_shards(module, folder, f"{folder}/half")
    >>> result = nettrim.trim(view, X, sparsity=0.5, share="layer", progress=False)
    >>> [float((layer.weight == 0).float().mean()) for layer in result.model[::2]]
    [0.5, 0.5]
    """
    return ShardedView.open(_checked(module), as_path(folder, "folder"), as_path(into, "into"))


class KeepZeros(nn.Module):
    """The parametrisation that `keep_zeros` registers: a weight, and zero where it was zero."""

    mask: torch.Tensor

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", weight.detach() != 0)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the weight with its zeros."""
        return torch.where(self.mask, weight, 0.0)


def keep_zeros(module: Module) -> Module:
    """Make sure that weights that are zero stay zero, whatever an optimiser does.

    Every weight of a layer that `nettrim.trim` prunes gets a parametrisation, and its mask a place
    in the ``state_dict``: to load one, call this on a new module first. Biases are free.

    Parameters
    ----------
    module : torch.nn.Module
        Changed in place.

    Returns
    -------
    torch.nn.Module
        The same.

    Examples
    --------
    >>> import torch
    >>> import nettrim.torch
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 1))
    >>> _ = net[0].weight.data.copy_(torch.tensor([[0.0, 1.0]]))
    >>> optimizer = torch.optim.SGD(nettrim.torch.keep_zeros(net).parameters(), lr=0.1)
    >>> net(torch.ones(1, 2)).sum().backward()
    >>> optimizer.step()
    >>> net[0].weight.tolist()
    [[0.0, 0.8999999761581421]]
    """
    for layer, name in [*_weights(_checked(module))]:
        parametrize.register_parametrization(layer, name, KeepZeros(getattr(layer, name)))
    return module


def remove_masks(module: Module) -> Module:
    """Take away what `keep_zeros` registered; the weights stay as they are, zeros included.

    Parameters
    ----------
    module : torch.nn.Module
        Changed in place.

    Returns
    -------
    torch.nn.Module
        The same.

    Raises
    ------
    ValueError
        If a layer has other parametrisations on top, which would go as well.
    """
    for name, layer in [*_checked(module).named_modules()]:
        for weight, chain in _parametrised(layer):
            if not any(isinstance(step, KeepZeros) for step in chain):
                continue
            if len(chain) > 1:
                raise ValueError(
                    f"module: the {weight} of layer {name!r} has other parametrisations too"
                )
            parametrize.remove_parametrizations(layer, weight)
    return module


def fine_tune(
    module: Module,
    train_loader: Iterable[Any],
    *,
    epochs: int,
    loss: Callable[[Any, Any], torch.Tensor] | None = None,
    optimizer: Callable[..., torch.optim.Optimizer] | None = None,
    lr: float = 1e-3,
    callback: Callable[[int, float], object] | None = None,
) -> Module:
    """Train a copy of a trimmed module whose zeros stay zero.

    Parameters
    ----------
    module : torch.nn.Module
        Not changed.
    train_loader : iterable of pairs of tensors
        Inputs and targets, for example a `torch.utils.data.DataLoader`; walked once an epoch.
    epochs : int
    loss : callable, optional
        Takes what the module returns and the targets. Default the cross-entropy.
    optimizer : callable, optional
        A class of `torch.optim`, or anything that is called like one:
        ``optimizer(parameters, lr=lr)``. Default Adam.
    lr : float, default 1e-3
    callback : callable, optional
        Called with the epoch, from 0 on, and its mean loss; a true return ends the training.

    Returns
    -------
    torch.nn.Module
        The copy, without masks, in the training or evaluation mode of ``module``.

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it must be, or the loss is NaN or infinite.

    Notes
    -----
    Repeatable after `torch.manual_seed`, as far as PyTorch is.

    Examples
    --------
    >>> import torch
    >>> import nettrim.torch
    >>> _ = torch.manual_seed(0)
    >>> net = torch.nn.Sequential(torch.nn.Linear(3, 2))
    >>> _ = net[0].weight.data.copy_(torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]]))
    >>> loader = [(torch.randn(8, 3), torch.randint(2, (8,))) for _ in range(4)]
    >>> (nettrim.torch.fine_tune(net, loader, epochs=2)[0].weight == 0).int().tolist()
    [[0, 1, 0], [1, 1, 0]]
    """
    epochs, lr = check_integer(epochs, "epochs", least=0), check_number(lr, "lr", above=0.0)
    loss = F.cross_entropy if loss is None else loss
    tuned: Module = keep_zeros(copy_model(_checked(module))).train()
    parameters = [p for p in tuned.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError("module has no parameter that can be trained")
    steps = (torch.optim.Adam if optimizer is None else optimizer)(parameters, lr=lr)
    for epoch in range(epochs):
        mean = _epoch(tuned, train_loader, loss, steps, parameters[0].device)
        if not math.isfinite(mean):
            raise ValueError(f"lr={lr:g}: the loss was {mean} in epoch {epoch}; take a smaller one")
        if callback is not None and callback(epoch, mean):
            break
    remove_masks(tuned)
    for ours, original in zip(tuned.modules(), module.modules(), strict=True):
        ours.training = original.training
    return tuned


def _epoch(
    module: nn.Module,
    train_loader: Iterable[Any],
    loss: Callable[[Any, Any], torch.Tensor],
    optimizer: torch.optim.Optimizer,
    device: torch.device,
) -> float:
    """Train once on everything; return the mean loss of the samples."""
    total, count = 0.0, 0
    for inputs, targets in iterate_batches(train_loader, "train_loader", device):
        optimizer.zero_grad()
        value = loss(module(inputs), targets)
        torch.autograd.backward(value)
        optimizer.step()
        total, count = total + value.item() * len(inputs), count + len(inputs)
    return total / count


def _checked(module: Any) -> Any:
    if not isinstance(module, nn.Module):
        raise TypeError(f"module must be a torch.nn.Module, got {type(module).__name__}")
    return module


def _weights(module: nn.Module) -> Iterator[tuple[Any, str]]:
    """Yield what `nettrim.trim` prunes: the layers, and the names of their weights."""
    yield from ((layer, "weight") for layer in prunable_modules(module)[0].values())
    for name in expandable(module):
        for owner in module.get_submodule(name).modules():
            parameters = owner.named_parameters(recurse=False)
            yield from ((owner, weight) for weight, values in parameters if values.dim() > 1)


def _parametrised(layer: Any) -> list[tuple[str, list[nn.Module]]]:
    """Return the parameters of a module that are computed, with the steps."""
    if not parametrize.is_parametrized(layer):
        return []
    return [(name, [*chain]) for name, chain in layer.parametrizations.items()]
