"""A trimmed model as files to ship; one module for each format."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...base.arguments import show
from ...base.storage import as_path
from ...models.model_view import view_both
from ...models.network.shapes import check_sizes
from . import dense, header, recipe, sparse
from .exported import Export, ExportedFile, Models, Unavailable, ViewedModel
from .sparse import load_weights

if TYPE_CHECKING:
    from ..outcome import Outcome

__all__ = ["FORMATS", "Export", "ExportedFile", "load_weights", "write"]

FORMATS: dict[str, Callable[[Models, Path], ExportedFile]] = {
    "dense": dense.write,
    "safetensors": dense.write_safetensors,
    "sparse": sparse.write_csr,
    "bitmask": sparse.write_bitmask,
    "shrunk": dense.write_shrunk,
    "header": header.write,
    "recipe": recipe.write,
}


def write(
    result: Outcome[Any],
    folder: str | os.PathLike[str],
    formats: Iterable[str] | None = None,
    input_shape: Sequence[int] | None = None,
) -> Export:
    """Write what `nettrim.TrimResult.export` describes."""
    chosen = list(FORMATS) if formats is None else _chosen(formats)
    shape = _shape(input_shape, result)
    views = view_both(result.original, result.model)
    original, trimmed = map(ViewedModel, (result.original, result.model), views)
    models = Models(original, trimmed, shape, result.recipe)
    target = as_path(folder, "folder")
    if target.exists() and not target.is_dir():
        raise ValueError(f"folder must be a folder, {str(target)!r} is a file")
    target.mkdir(parents=True, exist_ok=True)
    files, notes = [], _notes(models.trimmed)
    for name in chosen:
        try:
            files.append(FORMATS[name](models, target))
        except Unavailable as error:
            if formats is not None:
                raise ValueError(f"formats: {error}") from None
            notes.append(f"not written: {error}")
    return Export(target, tuple(files), tuple(notes))


def _chosen(formats: Iterable[str]) -> list[str]:
    try:
        names = [formats] if isinstance(formats, str) else list(formats)
    except TypeError:
        raise TypeError(
            f"formats must hold names of formats, got {type(formats).__name__}"
        ) from None
    for name in names:
        if not isinstance(name, str) or name not in FORMATS:
            raise ValueError(f"formats must be among {list(FORMATS)}, got {show(name)}")
    return names


def _shape(given: Sequence[int] | None, result: Outcome[Any]) -> tuple[int, ...] | None:
    """Return the shape of a sample, from the recipe if it was not given and there is one input."""
    if given is not None:
        return check_sizes(given, "input_shape")
    shape = result.recipe.get("calibration", {}).get("shape")
    return None if shape is None or isinstance(shape, dict) else tuple(shape[1:])


def _notes(viewed: ViewedModel) -> list[str]:
    """Say what the files do not hold."""
    if viewed.network in (None, viewed.model):
        return []
    kind = type(viewed.model).__name__
    about = f"the files hold the perceptron of the {kind}, from the data it sees to its logits"
    return [f"{about}; for the estimator use pickle"]
