"""The trimmed model as a file of its own framework, zeros included."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from ...models.network.shrink import shrink
from .account import ExportedFile, Models, Unavailable, Viewed, measured, placed

__all__ = ["write", "write_shrunk"]

Writer = Callable[[Viewed, Path], object]
SHRUNK = "shrunk.npz"


def write(models: Models, folder: Path) -> ExportedFile:
    """Write ``model.npz``, ``model.onnx`` or ``model.pt``."""
    name, writer = _writer(models.trimmed)
    return ExportedFile(
        name,
        "dense",
        measured(folder, name, partial(writer, models.original)),
        placed(folder, name, partial(writer, models.trimmed)),
    )


def write_shrunk(models: Models, folder: Path) -> ExportedFile:
    """Write ``shrunk.npz``: the same network without the units that cannot matter."""
    small = shrink(models.network("shrunk"))
    return ExportedFile(
        SHRUNK,
        "dense, smaller shapes",
        measured(folder, SHRUNK, partial(_write_network, models.original)),
        placed(folder, SHRUNK, small.save),
    )


def _writer(viewed: Viewed) -> tuple[str, Writer]:
    """Return the name of a model's file and what writes it."""
    if viewed.network is not None:
        return "model.npz", _write_network
    frameworks = {origin.__module__.partition(".")[0] for origin in type(viewed.model).__mro__}
    if "onnx" in frameworks:
        return "model.onnx", _write_onnx
    if "torch" in frameworks:
        return "model.pt", _write_state
    raise Unavailable(f"dense has no file format for a {type(viewed.model).__name__}")


def _write_network(viewed: Viewed, path: Path) -> None:
    assert viewed.network is not None
    viewed.network.save(path)


def _write_onnx(viewed: Viewed, path: Path) -> None:
    from ...models.adapters.onnx import write

    write(viewed.model, path)


def _write_state(viewed: Viewed, path: Path) -> None:
    """Write the parameters of a module, for `load_state_dict`."""
    import torch

    torch.save(viewed.model.state_dict(), path)
