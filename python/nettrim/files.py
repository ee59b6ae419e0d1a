"""Models in files: NumPy networks in ``.npz``, ONNX models in ``.onnx``, each with its recipe."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._arrays import read_npz, write_npz
from .network import Network

if TYPE_CHECKING:
    import onnx

__all__ = ["check_output", "load", "recipe_in", "save"]

NUMPY, ONNX = ".npz", ".onnx"
NPZ_KEY, ONNX_KEY = "recipe", "nettrim.recipe"
IR_VERSION = b"\x08"  # tag of the first field of every ONNX model


def load(path: str | os.PathLike[str]) -> Any:
    """Read a model.

    Parameters
    ----------
    path : str or path-like
        A file of `nettrim.Network.save` (or one it can load) or of an ONNX model. A suffix that is
        neither ``.npz`` nor ``.onnx`` leaves it to the content.

    Returns
    -------
    Network or onnx.ModelProto

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file does not hold a model.
    ImportError
        If it is an ONNX model and onnx is not installed.
    """
    if kind_of(path) == NUMPY:
        return Network.load(path)
    from .adapters.onnx import read

    return read(path)


def save(model: Any, path: str | os.PathLike[str], recipe: Mapping[str, Any] | None = None) -> None:
    """Write a model of `load`, whole or not at all, and with it the recipe it came about by.

    Parameters
    ----------
    model : Network or onnx.ModelProto
    path : str or path-like
    recipe : mapping, optional
        `nettrim.TrimResult.recipe`. Those who only want the model do not notice it.
    """
    if isinstance(model, Network):
        note = {} if recipe is None else {NPZ_KEY: json.dumps(recipe)}
        write_npz(path, {**model.to_arrays(), **note})
        return
    from .adapters.onnx import write

    write(model if recipe is None else _carrying(model, recipe), path)


def recipe_in(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Return the recipe a file of `save` carries, None if it carries none."""
    if kind_of(path) == NUMPY:
        note = read_npz(path).get(NPZ_KEY)
    else:
        note = {entry.key: entry.value for entry in load(path).metadata_props}.get(ONNX_KEY)
    return None if note is None else dict(json.loads(str(note)))


def check_output(path: str | os.PathLike[str], output: str | os.PathLike[str]) -> None:
    """Refuse an output whose suffix says that it is not of the kind of the input.

    Raises
    ------
    ValueError
        If it is not.
    """
    kind = kind_of(path)
    if Path(output).suffix.lower() in {NUMPY, ONNX} - {kind}:
        raise ValueError(
            f"output {os.fspath(output)!r} must be a {kind} file like {os.fspath(path)!r}: a model is "
            "written in the format it was read in"
        )


def kind_of(path: str | os.PathLike[str]) -> str:
    """Return the suffix of a model's format, by its name or else by its first byte."""
    suffix = Path(path).suffix.lower()
    if suffix in (NUMPY, ONNX):
        return suffix
    with open(path, "rb") as stream:
        return ONNX if stream.read(1) == IR_VERSION else NUMPY


def _carrying(model: onnx.ModelProto, recipe: Mapping[str, Any]) -> onnx.ModelProto:
    """Return a copy of a model with a recipe among its properties."""
    copy = type(model)()
    copy.CopyFrom(model)
    others = [entry for entry in model.metadata_props if entry.key != ONNX_KEY]
    del copy.metadata_props[:]
    copy.metadata_props.extend(others)
    copy.metadata_props.add(key=ONNX_KEY, value=json.dumps(recipe))
    return copy
