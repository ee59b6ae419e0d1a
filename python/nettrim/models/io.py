"""Models in files: NumPy networks in ``.npz``, ONNX models in ``.onnx``, each with its recipe."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..base.storage import check_place, read_npz, write_npz
from .network import Network

if TYPE_CHECKING:
    import onnx

__all__ = ["check_output", "check_places", "load", "read_recipe", "save"]

NUMPY, ONNX = ".npz", ".onnx"
NPZ_KEY, ONNX_KEY = "recipe", "nettrim.results.recipe"
WRITTEN_THERE = {  # by an export
    *("model.npz", "model.onnx", "model.onnx.data", "model.pt", "network.h", "recipe.json"),
    *("sparse.npz", "bitmask.npz", "shrunk.npz"),
}
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
    if detect_format(path) == NUMPY:
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

    write(model if recipe is None else _attach_recipe(model, recipe), path)


def read_recipe(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Return the recipe a file of `save` carries, None if it carries none.

    Raises
    ------
    ValueError
        If it cannot be read.
    """
    if detect_format(path) == NUMPY:
        note = read_npz(path, {NPZ_KEY}.__contains__).get(NPZ_KEY)
    else:
        note = {entry.key: entry.value for entry in load(path).metadata_props}.get(ONNX_KEY)
    if note is None:
        return None
    try:
        return dict(json.loads(str(note)))
    except (RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"the recipe in {os.fspath(path)!r} is damaged: {error}") from None


def check_output(path: str | os.PathLike[str], output: str | os.PathLike[str]) -> None:
    """Refuse an output whose suffix says that it is not of the kind of the input.

    Raises
    ------
    ValueError
        If it is not.
    """
    kind = detect_format(path)
    if Path(output).suffix.lower() in {NUMPY, ONNX} - {kind}:
        raise ValueError(
            f"output {os.fspath(output)!r} must be a {kind} file like {os.fspath(path)!r}: a model "
            "is written in the format it was read in"
        )


def check_places(
    inputs: Mapping[str, str | None],
    files: Mapping[str, str | None],
    folders: Mapping[str, str | None],
) -> None:
    """Refuse places for output where it cannot be written, or would replace something it must not.

    Parameters
    ----------
    inputs, files, folders : mapping of str to str or None
        What is read and what is to be written, by the name of its option; None if it was not given.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such folder, no file can be there, or two options name the same place. The
        message names options and paths.
    """
    taken = {os.path.realpath(path): name for name, path in inputs.items() if path is not None}
    for name, path in [*files.items(), *folders.items()]:
        if path is None:
            continue
        place = os.path.realpath(path)
        if place in taken:
            raise ValueError(f"{name} and {taken[place]} are the same place, {path!r}")
        taken[place] = name
        if name in files:
            check_place(path)
        elif not _can_be_folder(Path(place)):
            raise ValueError(f"{name} must be a folder, {path!r} is or leads through a file")
    _check_folders(taken, {name: path for name, path in folders.items() if path is not None})


def _can_be_folder(place: Path) -> bool:
    """Tell whether a place is a folder, or nothing yet that could become one."""
    return next(part for part in (place, *place.parents) if part.exists()).is_dir()


def _check_folders(taken: Mapping[str, str], folders: Mapping[str, str]) -> None:
    """Refuse files that lie where files of a folder of output will be."""
    for name, folder in folders.items():
        for place, other in taken.items():
            inside = Path(place).parent == Path(os.path.realpath(folder))
            if inside and Path(place).name in WRITTEN_THERE:
                raise ValueError(
                    f"{name} writes {Path(place).name!r} in {folder!r}, which is {other}"
                )


def detect_format(path: str | os.PathLike[str]) -> str:
    """Return the suffix of a model's format, by its name or else by its first byte."""
    suffix = Path(path).suffix.lower()
    if suffix in (NUMPY, ONNX):
        return suffix
    with open(path, "rb") as stream:
        return ONNX if stream.read(1) == IR_VERSION else NUMPY


def _attach_recipe(model: onnx.ModelProto, recipe: Mapping[str, Any]) -> onnx.ModelProto:
    """Return a copy of a model with a recipe among its properties."""
    copy = type(model)()
    copy.CopyFrom(model)
    others = [entry for entry in model.metadata_props if entry.key != ONNX_KEY]
    del copy.metadata_props[:]
    copy.metadata_props.extend(others)
    copy.metadata_props.add(key=ONNX_KEY, value=json.dumps(recipe))
    return copy
