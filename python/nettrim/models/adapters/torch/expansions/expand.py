"""Modules that use weights directly, as equivalent ones made of linear layers.

In the copy of a model that runs, such a module is replaced by its expansion: what arrives at each
matrix can be heard, and the matrix is a layer like any other. The parts of an expansion hold views
of the weights, so that what is written to a part is written to the module it was made from.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

from ..layers import shared_parameters
from ..outputs import named_tensors
from ..prepare import copy_sharing_tensors
from .attention import Attention
from .cell import RecurrentCell
from .experts import Experts, matrices_of_experts
from .parts import linear_of
from .recurrent import RecurrentLayers

__all__ = ["ExpandedModel", "are_near", "expand", "expandable"]


class ExpandedModel(NamedTuple):
    """A model in which some modules are made of linear layers.

    Attributes
    ----------
    model : torch.nn.Module
        It shares its tensors with the model it was made from.
    names : frozenset of str
        The modules that were replaced.
    """

    model: nn.Module
    names: frozenset[str]

    @contextlib.contextmanager
    def compared(self, original: nn.Module) -> Iterator[set[str]]:
        """Collect the replaced modules that do not compute what they were made from.

        Parameters
        ----------
        original : torch.nn.Module
            A copy of the model without expansions, of the same precision, that is run meanwhile.
        """
        differing: set[str] = set()

        def compare(name: str) -> Callable[..., None]:
            def hook(_: nn.Module, args: Any, kwargs: Any, returned: Any) -> None:
                if not _computes(self.model.get_submodule(name), args, kwargs, returned):
                    differing.add(name)

            return hook

        modules = [(name, original.get_submodule(name)) for name in self.names]
        handles = [m.register_forward_hook(compare(n), with_kwargs=True) for n, m in modules]
        try:
            yield differing
        finally:
            for handle in handles:
                handle.remove()

    def reader(self, name: str) -> str:
        """Return the module that may read the weights of a layer: itself, or the one around it."""
        owner = name.rpartition(".")[0]
        around = self.model.get_submodule(owner)
        return owner if isinstance(around, RecurrentLayers) else name

    def is_followed_inside(self, name: str) -> bool:
        """Whether a layer is a part whose outputs go to others of the same module, and no ReLU."""
        prefixes = tuple(f"{replaced}." if replaced else "" for replaced in self.names)
        is_part = name not in self.names and name.startswith(prefixes)
        return is_part and not name.endswith(".out_proj")

    def meets_zeros(self, name: str) -> bool:
        """Whether zeros stand for the rows that do not arrive at a layer, as in `Experts`."""
        around = name.rpartition(".")[0].rpartition(".")[0]
        return isinstance(self.model.get_submodule(around), Experts)

    def feeds_itself(self, name: str) -> bool:
        """Whether what a layer puts out arrives there again, one step later."""
        return self.reader(name) != name and name.rpartition(".")[2].startswith("hh")


def expand(model: nn.Module, names: Collection[str] | None = None) -> ExpandedModel:
    """Replace modules of a model by their equivalents of linear layers.

    Parameters
    ----------
    model : torch.nn.Module
    names : collection of str, optional
        Which ones. Default all that have an equivalent.
    """
    if names is None:
        names = expandable(model)
    if not names:
        return ExpandedModel(model, frozenset())
    expanded = copy_sharing_tensors(model)
    replaced = {id(m): _expansion(m) for m in map(expanded.get_submodule, names)}
    for module in [*expanded.modules()]:
        for name, child in module._modules.items():
            module._modules[name] = replaced.get(id(child), child)
    return ExpandedModel(replaced.get(id(expanded), expanded), frozenset(names))


def expandable(model: nn.Module) -> list[str]:
    """Return the modules that have an equivalent, and that nothing else has a hold on."""
    shared = shared_parameters(model)
    return [
        name
        for name, module in model.named_modules()
        if _is_known(module)
        and not (module._forward_hooks or module._forward_pre_hooks)
        and not any(id(p) in shared for p in module.parameters())
    ]


def _is_known(module: nn.Module) -> bool:
    if type(module) is nn.MultiheadAttention:
        return module.bias_k is None and not module.add_zero_attn
    if type(module) in (nn.LSTM, nn.GRU, nn.RNN):
        return not module.proj_size
    if type(module) in (nn.LSTMCell, nn.GRUCell, nn.RNNCell):
        return True
    return _is_transposed_linear(module) or _is_mixture(module)


def _is_transposed_linear(module: nn.Module) -> bool:
    """Whether a module is the linear layer of GPT-2, whose weight is (inputs, outputs)."""
    return type(module).__name__ == "Conv1D" and _is_of_transformers(module)


def _is_mixture(module: Any) -> bool:
    """Whether a module holds the matrices of experts in tensors of three axes."""
    if not _is_of_transformers(module) or not hasattr(module, "has_gate"):
        return False
    matrices = matrices_of_experts(module)
    biases = [f"{name}_bias" for name in matrices] if module.has_bias else []
    held = module._parameters
    return {*held} == {*matrices, *biases} and all(held[name].dim() == 3 for name in matrices)


def _is_of_transformers(module: nn.Module) -> bool:
    """Whether the transformers library, which need not be there, has a module's class."""
    return type(module).__module__.partition(".")[0] == "transformers"


def _expansion(module: Any) -> nn.Module:
    if isinstance(module, nn.MultiheadAttention):
        return Attention(module)
    if isinstance(module, nn.RNNBase):
        return RecurrentLayers(module)
    if isinstance(module, nn.RNNCellBase):
        return RecurrentCell(module)
    if _is_mixture(module):
        return Experts(module)
    return linear_of(module.weight.t(), module.bias)


def _computes(module: nn.Module, args: Any, kwargs: Any, returned: Any) -> bool:
    """Whether a module returns the same for these arguments, up to rounding."""
    try:
        computed = module(*args, **kwargs)
    except Exception:  # noqa: BLE001 (for arguments that it does not know)
        return False
    return are_near(named_tensors(computed), named_tensors(returned))


def are_near(computed: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> bool:
    """Tell whether tensors are the same by name, up to rounding in their own precision."""
    return computed.keys() == wanted.keys() and all(
        _is_near(computed[name], x) for name, x in wanted.items()
    )


def _is_near(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if not one.is_floating_point():
        return torch.equal(one, other)
    sizes = other[other.isfinite()].abs()
    largest = float(sizes.max()) if sizes.numel() else 0.0
    near = torch.finfo(one.dtype).eps ** 0.5 * largest
    return torch.allclose(one, other, rtol=0.0, atol=near, equal_nan=True)
