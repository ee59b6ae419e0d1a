"""Running weights that stay where they are: converted where they are read, and never copied."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import nn
from torch.utils._pytree import tree_map_only

from ....base.arrays import Array
from ...layer_view import Affine
from .layers import StoredAffine, write
from .prepare import copy_sharing_tensors
from .run import Runner

__all__ = ["StoredRunner"]

DETACH, EMBEDDING = torch.ops.aten.detach.default, torch.ops.aten.embedding.default


class DoubleView(torch.Tensor):
    """A tensor that computes as one of float64, and is stored as another one.

    Every operation converts what is stored, and forgets the copy; an embedding converts the rows
    that are looked up.

    Parameters
    ----------
    stored : torch.Tensor
        Of floats.
    """

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]
    stored: torch.Tensor

    @staticmethod
    def __new__(cls: type[DoubleView], stored: torch.Tensor) -> Any:
        """Make a tensor without numbers of its own."""
        view = torch.Tensor._make_wrapper_subclass(
            cls, stored.shape, stored.stride(), dtype=torch.float64, device=stored.device
        )
        view.stored = stored
        return view

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Compute with what is stored."""
        kwargs = kwargs or {}
        if func is DETACH:
            return cls(args[0].stored)
        if func is EMBEDDING and isinstance(args[0], cls):
            return func(args[0].stored, *args[1:], **kwargs).double()
        args, kwargs = tree_map_only(cls, lambda view: view.stored.double(), (args, kwargs))
        return func(*args, **kwargs)


class StoredRunner(Runner):
    """A runner whose copy holds the weights of the model itself.

    They are not to be written to: `load` puts others in their place.
    """

    stored: ClassVar[bool] = True

    @cached_property
    def shown(self) -> Runner:
        """One in the precision of the weights."""
        return StoredRunner(self._original, [*self.layers], precise=False) if self.precise else self

    def _copied(self, model: nn.Module) -> nn.Module:
        copied: nn.Module = copy_sharing_tensors(model)
        if not self.precise:
            return copied
        for module in copied.modules():
            self._put(module, module._parameters)
            for name, buffer in module._buffers.items():
                if buffer is not None and buffer.is_floating_point():
                    module._buffers[name] = buffer.double()
        return copied

    def load(self, name: str, affine: Affine | None, scale: Array | None) -> None:
        """Let a layer compute with the weights of the moment, wherever they are."""
        layer = self._original.get_submodule(name)
        if isinstance(affine, StoredAffine):
            layer = affine.layer
        elif affine is not None:
            layer = copy.deepcopy(layer)
            write(layer, affine, scale)
        self._put(self.layers[name], layer._parameters)

    def _put(self, module: nn.Module, parameters: Mapping[str, nn.Parameter | None]) -> None:
        """Let a module compute with some parameters."""
        for name, parameter in [*parameters.items()]:
            if parameter is not None and self.precise and parameter.is_floating_point():
                view = DoubleView(parameter.detach())
                setattr(module, name, nn.Parameter(view, requires_grad=False))
            elif parameter is not None:
                setattr(module, name, parameter)
