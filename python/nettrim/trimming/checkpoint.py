"""Finished layers on disk, so that a run that was killed goes on where it stopped.

A checkpoint is a folder with one ``.npz`` file for each finished layer. Every file names what its
answer depends on: hashes of model and data, and the options. A file made with anything else is
refused; a checkpoint can therefore never change a result.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ..base.arrays import Array
from ..base.storage import path_of, read_npz, refuse_changes, write_npz

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
        What every layer's answer depends on, as plain values: `nettrim.models.hashes.identity`, and the options.
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


def _plain(array: Any) -> Any:
    return array.item() if array.ndim == 0 else array
