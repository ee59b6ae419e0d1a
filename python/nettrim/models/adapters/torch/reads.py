"""Which layers' parameters a module reads elsewhere than in these layers."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode, is_traceable_wrapper_subclass
from torch.utils._pytree import tree_leaves

__all__ = ["extent", "find_overlapping", "is_plain", "reads_elsewhere"]

Extent = tuple[int, int, int]  # a storage, and the first and the last byte of a tensor in it


@contextlib.contextmanager
def reads_elsewhere(
    layers: Mapping[str, nn.Module], readers: Mapping[str, nn.Module]
) -> Iterator[set[str]]:
    """Collect the layers whose parameters are operands outside of some calls, in runs meanwhile.

    Views do not compute; what is computed from one counts.

    Parameters
    ----------
    layers : mapping of str to torch.nn.Module
    readers : mapping of str to torch.nn.Module
        In whose calls they may be: mostly the layers themselves.
    """
    active: list[str] = []
    handles = []
    for name, reader in readers.items():
        enter, leave = _call_hooks(active, name)
        handles.append(reader.register_forward_pre_hook(enter))
        handles.append(reader.register_forward_hook(leave, always_call=True))
    watch = _ReadRecorder(layers, active)
    try:
        with watch:
            yield watch.found
    finally:
        for handle in handles:
            handle.remove()


def find_overlapping(tensors: Iterable[torch.Tensor]) -> set[int]:
    """Return the positions of tensors that have numbers in common with another one in memory."""
    extents = [(extent(t), k) for k, t in enumerate(tensors) if is_plain(t)]
    found: set[int] = set()
    last: tuple[Extent, int] | None = None  # of those so far, what reaches farthest
    for (storage, first, end), position in sorted(extents):
        if last is not None and last[0][0] == storage and first < last[0][2]:
            found |= {last[1], position}
        if last is None or last[0][0] != storage or end > last[0][2]:
            last = (storage, first, end), position
    return found


def is_plain(tensor: torch.Tensor) -> bool:
    """Whether a tensor is numbers in memory, and no sparse one or a subclass made of others."""
    return tensor.layout == torch.strided and not is_traceable_wrapper_subclass(tensor)


def extent(tensor: torch.Tensor) -> Extent:
    """Return where a tensor lies in memory."""
    storage = tensor.untyped_storage().data_ptr()
    first = int(tensor.storage_offset()) * tensor.element_size()
    if not tensor.numel():
        return storage, first, first
    strides = zip(tensor.shape, tensor.stride(), strict=True)
    length = 1 + sum((size - 1) * stride for size, stride in strides)
    return storage, first, first + int(length) * tensor.element_size()


class _ReadRecorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Hears of every operation, and notes which read a layer's parameters outside its calls."""

    def __init__(self, layers: Mapping[str, nn.Module], active: list[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: set[str] = set()
        self._active = active
        self._owned: dict[int, list[tuple[str, Extent]]] = defaultdict(list)
        for name, layer in layers.items():
            for parameter in layer.parameters(recurse=False):
                place = extent(parameter)
                self._owned[place[0]].append((name, place))

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Spare a process the loading of PyTorch's compiler, a second or two: none runs here."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if not func.is_view:
            for operand in tree_leaves((args, kwargs)):
                if isinstance(operand, torch.Tensor) and is_plain(operand):
                    self._note(operand)
        return func(*args, **kwargs)

    def _note(self, operand: torch.Tensor) -> None:
        owned = self._owned.get(operand.untyped_storage().data_ptr())
        if not owned:
            return
        _, first, end = extent(operand)
        for name, (_, begin, stop) in owned:
            if name not in self._active and first < stop and begin < end:
                self.found.add(name)


def _call_hooks(active: list[str], name: str) -> tuple[Callable[..., None], Callable[..., None]]:
    """Return hooks that tell while a layer is called."""

    def enter(*_: Any) -> None:
        active.append(name)

    def leave(*_: Any) -> None:
        active.remove(name)

    return enter, leave
