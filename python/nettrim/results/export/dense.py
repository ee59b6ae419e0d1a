"""The trimmed model as a file of its own framework, zeros included."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from ...base.storage import open_to_write
from ...models.network.shrink import shrink
from .exported import ExportedFile, Models, Unavailable, ViewedModel, describe_file, export_file

__all__ = ["write", "write_safetensors", "write_shrunk"]

Writer = Callable[[ViewedModel, Path], object]
SHRUNK, SAFE = "shrunk.npz", "model.safetensors"


def write(models: Models, folder: Path) -> ExportedFile:
    """Write ``model.npz``, ``model.onnx`` or ``model.pt``."""
    name, writer = _writer(models.trimmed)
    return ExportedFile(
        name,
        "dense",
        describe_file(folder, name, partial(writer, models.original)),
        export_file(folder, name, partial(writer, models.trimmed)),
    )


def write_safetensors(models: Models, folder: Path) -> ExportedFile:
    """Write ``model.safetensors``, of a module of PyTorch; shared tensors are in it once."""
    kind = type(models.trimmed.model)
    if "torch" not in _frameworks(kind):
        raise Unavailable(f"safetensors wants a module of PyTorch, the model is a {kind.__name__}")
    try:
        from safetensors.torch import save_model
    except ImportError:
        needed = 'pip install "nettrim[safetensors]"'
        raise Unavailable(f"safetensors needs the library of that name: {needed}") from None
    return ExportedFile(
        SAFE,
        "dense",
        describe_file(folder, SAFE, lambda path: save_model(models.original.model, str(path))),
        export_file(folder, SAFE, lambda path: save_model(models.trimmed.model, str(path))),
    )


def write_shrunk(models: Models, folder: Path) -> ExportedFile:
    """Write ``shrunk.npz``: the same network without the units that cannot matter."""
    small = shrink(models.network("shrunk"))
    return ExportedFile(
        SHRUNK,
        "dense, smaller shapes",
        describe_file(folder, SHRUNK, partial(_write_network, models.original)),
        export_file(folder, SHRUNK, small.save),
    )


def _writer(viewed: ViewedModel) -> tuple[str, Writer]:
    """Return the name of a model's file and what writes it."""
    if viewed.network is not None:
        return "model.npz", _write_network
    frameworks = _frameworks(type(viewed.model))
    if "onnx" in frameworks:
        return "model.onnx", _write_onnx
    if "torch" in frameworks:
        return "model.pt", _write_state
    raise Unavailable(f"dense has no file format for a {type(viewed.model).__name__}")


def _frameworks(kind: type) -> set[str]:
    """Return the packages that a class and those it inherits from are of."""
    return {origin.__module__.partition(".")[0] for origin in kind.__mro__}


def _write_network(viewed: ViewedModel, path: Path) -> None:
    assert viewed.network is not None
    viewed.network.save(path)


def _write_onnx(viewed: ViewedModel, path: Path) -> None:
    from ...models.adapters.onnx import write

    write(viewed.model, path)


def _write_state(viewed: ViewedModel, path: Path) -> None:
    """Write the parameters of a module, for `load_state_dict`."""
    import torch

    with open_to_write(path) as stream:
        torch.save(viewed.model.state_dict(), stream)
