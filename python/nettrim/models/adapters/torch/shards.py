"""Weights in a folder of safetensors files: mapped into memory, and written to another folder."""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
import weakref
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from .prepare import copy_sharing_tensors

__all__ = ["ResultFolder", "check_result_place", "map_weights", "skeleton"]

ALONE, INDEX = "model.safetensors", "model.safetensors.index.json"
LONGEST = 100_000_000  # bytes of a header, as the format has it
WEIGHTS = {".bin", ".pt", ".pth", ".h5", ".msgpack", ".onnx", ".gguf", ".safetensors"}
TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
DAMAGES = (AttributeError, KeyError, RecursionError, RuntimeError, TypeError, ValueError)


@contextmanager
def skeleton() -> Iterator[None]:
    """Make modules without numbers in their parameters.

    What becomes a parameter of a module inside goes to PyTorch's meta device at once, before it is
    given numbers. Buffers have theirs, as files often do not hold them. That goes for modules that
    other threads make meanwhile, too.

    Examples
    --------
    >>> import nettrim.torch
    >>> import torch
    >>> with nettrim.torch.skeleton():
    ...     module = torch.nn.Linear(10_000, 10_000)
    >>> module.weight.device
    device(type='meta')
    """

    def to_meta(_: nn.Module, __: str, parameter: nn.Parameter | None) -> nn.Parameter | None:
        if parameter is None or parameter.is_meta:
            return None  # a parameter that is shared stays so
        return nn.Parameter(parameter.to("meta"), requires_grad=parameter.requires_grad)

    handle = register_module_parameter_registration_hook(to_meta)  # type: ignore[arg-type]
    try:
        yield
    finally:
        handle.remove()


class ResultFolder:
    """A copy of a folder of weights that is written to, and appears in its place when complete.

    Files of weights in other formats are left out. What was not completed is removed with the
    object.

    Parameters
    ----------
    source, place : pathlib.Path
        The folder, and where its copy is to be.

    Attributes
    ----------
    path : pathlib.Path
        Where it is meanwhile: on the same file system.
    """

    def __init__(self, source: Path, place: Path) -> None:
        check_result_place(place)
        self._place, self._shards = place, _shard_names(source)
        around = tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.absolute().parent)
        self._remove = weakref.finalize(self, shutil.rmtree, around, ignore_errors=True)
        self.path = Path(around, place.name)
        self.path.mkdir()
        for file in sorted(source.iterdir()):
            if file.name in self._shards or (file.is_file() and file.suffix not in WEIGHTS):
                shutil.copyfile(file, self.path / file.name)

    def complete(self) -> None:
        """Move it to its place, with all that was written to mappings of its files."""
        check_result_place(self._place)
        for name in self._shards:
            with (self.path / name).open("rb+") as stream:
                os.fsync(stream.fileno())
        self.path.replace(self._place)
        self._remove()


def check_result_place(place: Path) -> None:
    """Refuse a place where something is already, or that has no folder around it.

    Raises
    ------
    FileNotFoundError, ValueError
    """
    if place.exists() or place.is_symlink():
        raise ValueError(f"into: {str(place)!r} is there already; name a folder that is not")
    if not place.absolute().parent.is_dir():
        raise FileNotFoundError(f"into: there is no folder {str(place.absolute().parent)!r}")


def map_weights(model: nn.Module, folder: Path, *, writable: bool = False) -> nn.Module:
    """Return a copy of a model whose weights are those of a folder, read where they are used.

    Parameters
    ----------
    model : torch.nn.Module
        Its parameters may be on PyTorch's meta device. All of them are replaced, and the buffers
        that the folder has.
    folder : pathlib.Path
    writable : bool, default False
        Whether what is written to a weight is written to its file.

    Raises
    ------
    ValueError
        If the folder is none of that kind, is damaged, or has weights of other names or shapes.
    """
    tensors = {
        name: tensor
        for file in _shard_names(folder)
        for name, tensor in _map_file(folder / file, writable=writable)
    }
    mapped: nn.Module = copy_sharing_tensors(model)
    for names, parameter in _named_together(mapped):
        tensor = _find(tensors, names, parameter)
        trained = parameter.requires_grad and tensor.is_floating_point()
        replacement = nn.Parameter(tensor, requires_grad=trained)
        for owner, name in map(_split, names):
            setattr(mapped.get_submodule(owner), name, replacement)
    stored = mapped.state_dict().keys()
    for name, buffer in [*mapped.named_buffers()]:
        if name in stored and (name in tensors or buffer.is_meta):
            owner, own_name = _split(name)
            found = _find(tensors, [name], buffer)
            mapped.get_submodule(owner)._buffers[own_name] = found.clone()
        elif buffer.is_meta:
            raise ValueError(
                f"model: {name!r} is on the meta device, and no file holds such buffers; make the "
                "model inside nettrim.torch.skeleton(), where they have their numbers"
            )
    return mapped


def _named_together(model: nn.Module) -> list[tuple[list[str], nn.Parameter]]:
    """Return every parameter with all of its names."""
    names: dict[nn.Parameter, list[str]] = defaultdict(list)
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names[parameter].append(name)
    return [(own, parameter) for parameter, own in names.items()]


def _split(name: str) -> tuple[str, str]:
    """Return the module that has a tensor, and what it calls it."""
    owner, _, own_name = name.rpartition(".")
    return owner, own_name


def _find(
    tensors: Mapping[str, torch.Tensor], names: Sequence[str], wanted: torch.Tensor
) -> torch.Tensor:
    """Return the tensor of one of some names, if it has the shape that the model wants."""
    name = next((name for name in names if name in tensors), None)
    if name is None:
        first = [*tensors][:3]
        raise ValueError(f"folder: it has no tensor {names[0]!r} of the model; it begins {first}")
    if tensors[name].shape != wanted.shape:
        got, shape = tuple(tensors[name].shape), tuple(wanted.shape)
        raise ValueError(f"folder: {name!r} has shape {got} there, and {shape} in the model")
    return tensors[name]


def _shard_names(folder: Path) -> list[str]:
    """Return the names of the files of weights in a folder."""
    index = folder / INDEX
    if not index.is_file():
        if not (folder / ALONE).is_file():
            raise ValueError(f"folder: {str(folder)!r} has neither {INDEX} nor {ALONE}")
        return [ALONE]
    try:
        names = sorted({*json.loads(index.read_text("utf-8"))["weight_map"].values()})
        missing = [
            name for name in names if name != Path(name).name or not (folder / name).exists()
        ]
    except DAMAGES as error:
        raise ValueError(f"{str(index)!r} is no index of safetensors files: {error!r}") from None
    if missing:
        raise ValueError(f"{str(index)!r} names files that are not beside it: {missing}")
    return names


def _map_file(path: Path, *, writable: bool) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the tensors of a file by name; they are views of it."""
    try:
        header, first = _read_header(path)
        storage = torch.UntypedStorage.from_file(str(path), writable, path.stat().st_size)
        for name, entry in header.items():
            if name != "__metadata__":
                yield name, _view(storage, first, entry)
    except DAMAGES as error:
        raise ValueError(f"{str(path)!r} is no safetensors file: {error}") from None


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    """Return what a file says of its tensors, and where their bytes begin."""
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > min(LONGEST, path.stat().st_size - 8):
            raise ValueError("it is shorter than its header would be")
        header: dict[str, Any] = json.loads(stream.read(length))
    return header, 8 + length


def _view(storage: Any, first: int, entry: Mapping[str, Any]) -> torch.Tensor:
    """Return the tensor that an entry of a header describes, on a storage of its own."""
    if entry["dtype"] not in TYPES:
        raise ValueError(f"it holds numbers of type {entry['dtype']}, known are {[*TYPES]}")
    dtype, shape = TYPES[entry["dtype"]], entry["shape"]
    begin, end = (first + offset for offset in entry["data_offsets"])
    size = math.prod(shape) * dtype.itemsize
    if not first <= begin <= end <= len(storage) or end - begin != size:
        raise ValueError(f"{size} bytes cannot be at {entry['data_offsets']}")
    numbers = torch.empty(0, dtype=torch.uint8).set_(storage[begin:end])
    return numbers.view(dtype).reshape(shape)
