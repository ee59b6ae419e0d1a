"""Finished layers on disk, so that a run that was killed goes on where it stopped.

A checkpoint is a folder with one ``.npz`` file for each finished layer. Every file names what its
answer depends on: hashes of model and data, and the options. A file made with anything else is
refused; a checkpoint can therefore never change a result.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..base.storage import as_path, read_npz, refuse_changes, write_npz
from .solved_layer import Proof, SolvedLayer

FORMAT = 7
PROOF = "proof."  # in front of the names of its fields in a file


OWN = [field.name for field in fields(SolvedLayer) if field.name != "proof"]
PROVED = [f"{PROOF}{field.name}" for field in fields(Proof)]


class Checkpoint:
    """The folder of one run.

    Parameters
    ----------
    folder : str or path-like
        Created if it is missing.
    identity : mapping
        What every layer's answer depends on, as plain values: hashes of model and
        data, and the options.
    """

    def __init__(self, folder: str | os.PathLike[str], identity: Mapping[str, Any]) -> None:
        self.folder = as_path(folder, "checkpoint")
        self.identity = dict(identity)
        if self.folder.exists() and not self.folder.is_dir():
            raise ValueError(f"checkpoint must be a folder, {str(self.folder)!r} is a file")
        self.folder.mkdir(parents=True, exist_ok=True)

    def part(self, name: str, identity: Mapping[str, Any]) -> Checkpoint:
        """Return the folder of one walk: a folder in this one if it has a name."""
        return Checkpoint(self.folder / name, {**self.identity, **identity})

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
        arrays = read_npz(path, {"identity", *OWN, *PROVED}.__contains__)
        try:
            stored = json.loads(str(arrays["identity"]))
            solved = _from_arrays(arrays)
        except (KeyError, RecursionError, ValueError) as error:
            raise ValueError(f"{str(path)!r} is not a checkpoint of nettrim: {error}") from None
        refuse_changes(stored, self._complete(details), path)
        return solved

    def save(self, position: int, details: Mapping[str, Any], solved: SolvedLayer) -> None:
        """Store a finished layer; the file appears whole or not at all."""
        identity = json.dumps(self._complete(details))
        write_npz(self._path(position), {"identity": identity, **_to_arrays(solved)})

    def _path(self, position: int) -> Path:
        return self.folder / f"layer{position + 1:03d}.npz"

    def _complete(self, details: Mapping[str, Any]) -> dict[str, Any]:
        """Return the identity as it comes back from a file: what JSON makes of it."""
        complete: dict[str, Any] = json.loads(
            json.dumps({"format": FORMAT, **self.identity, **details})
        )
        return complete


def _to_arrays(solved: SolvedLayer) -> dict[str, Any]:
    """Return what a file holds of an answer."""
    own = {name: getattr(solved, name) for name in OWN}
    proof = {} if solved.proof is None else vars(solved.proof)
    return {**own, **{f"{PROOF}{name}": value for name, value in proof.items()}}


def _from_arrays(arrays: Mapping[str, Any]) -> SolvedLayer:
    """Return the answer that a file holds."""
    proof = None
    if any(name in arrays for name in PROVED):
        proof = Proof(**{name.removeprefix(PROOF): _plain(arrays[name]) for name in PROVED})
    return SolvedLayer(**{name: _plain(arrays[name]) for name in OWN}, proof=proof)


def _plain(array: Any) -> Any:
    return array.item() if array.ndim == 0 else array
