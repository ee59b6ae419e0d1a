"""Finished layers on disk, so that a run that was killed goes on where it stopped.

A checkpoint is a folder with one ``.npz`` file for each finished layer. Every file names what its
answer depends on: hashes of model and data, and the options. A file made with anything else is
refused; a checkpoint can therefore never change a result.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._arrays import Array
from ._storage import path_of, read_npz, write_npz
from .samples import Data, Samples
from .view import LayerView, ModelView, arrays_of

FORMAT = 5


@dataclass(frozen=True)
class SolvedLayer:
    """What is kept of a layer's solution.

    Attributes
    ----------
    weights : ndarray of shape (n_features [+ 1], n_outputs)
        float64, the bias as last row.
    epsilon : float
        Radius of the ball in the program, absolute.
    output_norm : float
        Of the original output, in the program.
    active_rows : int
        Different rows of the program on which an output is active, their median over all outputs.
    residual, violation : float
        Feasibility, relative to the norm of the output and to its largest entry.
    gap : float
        Relative distance of the l1 norm to the proved lower bound.
    status, solver : str
    iterations : int
    seconds : float
    history : ndarray of shape (n_certificates, 2)
        Seconds and gap of each certificate.
    """

    weights: Array
    epsilon: float
    output_norm: float
    active_rows: int
    residual: float
    violation: float
    gap: float
    status: str
    solver: str
    iterations: int
    seconds: float
    history: Array


class Checkpoint:
    """The folder of one run.

    Parameters
    ----------
    folder : str or path-like
        Created if it is missing.
    identity : mapping
        What every layer's answer depends on, as plain values: `identity`, and the options.
    """

    def __init__(self, folder: str | os.PathLike[str], identity: Mapping[str, Any]) -> None:
        self.folder = path_of(folder, "checkpoint")
        self.identity = dict(identity)
        if self.folder.exists() and not self.folder.is_dir():
            raise ValueError(f"checkpoint must be a folder, {str(self.folder)!r} is a file")
        self.folder.mkdir(parents=True, exist_ok=True)

    def load(self, position: int, details: Mapping[str, Any]) -> SolvedLayer | None:
        """Return the answer stored for a layer, None if there is none yet.

        Raises
        ------
        ValueError
            If the file belongs to another model, other data or other options, or is damaged.
        """
        path = self._path(position)
        if not path.exists():
            return None
        arrays = read_npz(path, {"identity", *(f.name for f in fields(SolvedLayer))}.__contains__)
        try:
            stored = json.loads(str(arrays["identity"]))
            solved = SolvedLayer(**{f.name: _plain(arrays[f.name]) for f in fields(SolvedLayer)})
        except (KeyError, RecursionError, ValueError) as error:
            raise ValueError(f"{str(path)!r} is not a checkpoint of nettrim: {error}") from None
        refuse_changes(stored, self._complete(details), path)
        return solved

    def save(self, position: int, details: Mapping[str, Any], solved: SolvedLayer) -> None:
        """Store a finished layer; the file appears whole or not at all."""
        identity = json.dumps(self._complete(details))
        write_npz(self._path(position), {"identity": identity, **asdict(solved)})

    def _path(self, position: int) -> Path:
        return self.folder / f"layer{position + 1:03d}.npz"

    def _complete(self, details: Mapping[str, Any]) -> dict[str, Any]:
        """Return the identity as it comes back from a file: what JSON makes of it."""
        complete: dict[str, Any] = json.loads(
            json.dumps({"format": FORMAT, **self.identity, **details})
        )
        return complete


def identity(view: ModelView, layers: Sequence[LayerView], X: Data) -> dict[str, str]:
    """Return what the answers of a run depend on beside its options: hashes of model and data."""
    return {"weights of the model": hash_of_model(view, layers), "data X": hash_of_data(X)}


def hash_of_model(view: ModelView, layers: Sequence[LayerView]) -> str:
    """Return the SHA-256 of a model's prunable layers, and of all else that its view tells."""
    digest = hashlib.sha256()
    for layer in layers:
        digest.update(f"{layer.name} {layer.activation}".encode())
        _add(digest, layer.affine.weights)
        if layer.affine.bias is not None:
            _add(digest, layer.affine.bias)
    for name, array in arrays_of(view).items():
        digest.update(name.encode())
        _add(digest, array)
    return digest.hexdigest()


def hash_of_data(X: Data) -> str:
    """Return the SHA-256 of samples."""
    digest = hashlib.sha256()
    if isinstance(X, Samples):
        for name, array in [*X.arrays.items(), *X.shared.items()]:
            digest.update(name.encode())
            _add(digest, array)
    else:
        _add(digest, X)
    return digest.hexdigest()


def _add(digest: hashlib._Hash, array: NDArray[Any]) -> None:
    digest.update(f"{array.dtype.str} {array.shape}".encode())
    digest.update(np.ascontiguousarray(array).view(np.uint8).data)


def _plain(array: Any) -> Any:
    return array.item() if array.ndim == 0 else array


def refuse_changes(stored: Mapping[str, Any], wanted: Mapping[str, Any], path: Path) -> None:
    """Raise a ValueError that names what differs between a run's identity and the stored one."""
    changed = [
        key
        if len(str(wanted.get(key))) > 40
        else f"{key} ({stored.get(key)}, now {wanted.get(key)})"
        for key in {**wanted, **stored}
        if stored.get(key) != wanted.get(key)
    ]
    if changed:
        raise ValueError(
            f"checkpoint {str(path)!r} was made with a different {', '.join(changed)}; delete it "
            "or choose another place"
        )
