"""The weights of the trimmed model without their zeros, in CSR or with a bit for every weight."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from numpy.typing import NDArray

from ...base.storage import as_path, read_npz, write_npz
from ...models.layer_view import Affine, LayerView
from ...models.model_view import as_view
from ...models.network.sparse_storage import pack, unpack
from .exported import ExportedFile, Models, ViewedModel, describe_file, export_file

__all__ = ["load_weights", "write_bitmask", "write_csr"]

LAYERS = "nettrim-layers-1"
Model = TypeVar("Model")


def write_csr(models: Models, folder: Path) -> ExportedFile:
    """Write ``sparse.npz``."""
    return _write(models, folder, "sparse.npz", "csr", "CSR")


def write_bitmask(models: Models, folder: Path) -> ExportedFile:
    """Write ``bitmask.npz``."""
    return _write(models, folder, "bitmask.npz", "bitmask", "bit mask")


def load_weights(path: str | os.PathLike[str], model: Model) -> Model:
    """Put the weights of an exported file into a model.

    The files ``sparse.npz`` and ``bitmask.npz`` of a `Network` are networks, which `Network.load`
    reads. Those of a model of another framework hold the weights of its prunable layers; this puts
    them back where they were.

    Parameters
    ----------
    path : str or path-like
        A file of `nettrim.TrimResult.export`.
    model : torch.nn.Module, onnx.ModelProto or estimator
        The model that was trimmed, or one with the same layers. It is not changed.

    Returns
    -------
    model of the same type
        A copy with the weights of the file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file does not hold such weights, or they do not fit the model.

    Examples
    --------
    >>> import nettrim, numpy as np, tempfile, torch
    >>> module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    >>> X = np.random.default_rng(0).standard_normal((50, 4))
    >>> result = nettrim.trim(module, X, epsilon=0.3, progress=False)
    >>> folder = tempfile.mkdtemp()
    >>> result.export(folder, formats=["sparse"])
    Export(..., ['sparse.npz'])
    >>> again = load_weights(f"{folder}/sparse.npz", module)
    >>> torch.equal(again[0].weight, result.model[0].weight)
    True
    """
    view, arrays = as_view(model), read_npz(as_path(path, "path"))
    try:
        if str(arrays["format"]) != LAYERS:
            raise ValueError(f"its format is {str(arrays['format'])!r}, not {LAYERS!r}")
        arrays = unpack(arrays)
        affines = {k: _affine(layer, arrays) for k, layer in enumerate(view.prunable_layers())}
    except (KeyError, ValueError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise ValueError(
            f"{os.fspath(path)!r} does not hold the weights of the model: {reason}"
        ) from None
    loaded: Model = view.with_weights(affines)
    return loaded


def _write(
    models: Models, folder: Path, name: str, encoding: str, description: str
) -> ExportedFile:
    original, trimmed = _arrays(models.original), _arrays(models.trimmed)
    return ExportedFile(
        name,
        description,
        describe_file(folder, name, lambda path: write_npz(path, original)),
        export_file(folder, name, lambda path: write_npz(path, pack(trimmed, encoding))),
    )


def _arrays(viewed: ViewedModel) -> dict[str, Any]:
    """Return what a file has to hold: a network, or the prunable layers of another model."""
    if viewed.network is not None:
        return viewed.network.to_arrays()
    arrays: dict[str, Any] = {"format": LAYERS}
    for layer in viewed.view.prunable_layers():
        arrays[f"{layer.name}.weights"] = layer.affine.weights
        if layer.affine.bias is not None:
            arrays[f"{layer.name}.bias"] = layer.affine.bias
    return arrays


def _affine(layer: LayerView, arrays: Mapping[str, NDArray[Any]]) -> Affine:
    """Return the weights of a layer as they are in a file."""
    affine = layer.affine._replace(weights=arrays[f"{layer.name}.weights"])
    if affine.bias is not None:
        affine = affine._replace(bias=arrays[f"{layer.name}.bias"])
    for name in ("weights", "bias"):
        new, old = getattr(affine, name), getattr(layer.affine, name)
        if old is not None and new.shape != old.shape:
            raise ValueError(f"{layer.name}.{name} has shape {new.shape}, the model {old.shape}")
    return affine
