"""What was exported, and what exporting takes: the models, a place to write to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ...base.storage import write_atomically
from ...base.table import TableColumn, format_table
from ...models.model_view import ModelView, viewed_model
from ...models.network import Network

__all__ = [
    "Export",
    "ExportedFile",
    "Models",
    "Unavailable",
    "ViewedModel",
    "describe_file",
    "export_file",
]


class Unavailable(ValueError):
    """A model has no file of a format; the message says why."""


@dataclass(frozen=True)
class ExportedFile:
    """A file of an export.

    Attributes
    ----------
    name : str
        In the folder of the export.
    format : str
        What it is, in a few words.
    before : int or None
        Bytes of the original model in a file of this kind, its zeros written out; for
        ``network.h``, of all its numbers as floats. None where there is nothing to compare.
    after : int
        Bytes of the file; of ``network.h``, those of its tables when they are compiled.
    """

    name: str
    format: str
    before: int | None
    after: int

    @property
    def ratio(self) -> float | None:
        """How many times smaller than before."""
        return None if self.before is None else self.before / self.after


@dataclass(frozen=True, repr=False)
class Export:
    """The files that were written; ``print`` shows a table.

    Attributes
    ----------
    folder : pathlib.Path
    files : tuple of ExportedFile
    notes : tuple of str
        What was not written and why, and what a file does not hold.
    """

    folder: Path
    files: tuple[ExportedFile, ...]
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Return the names of the files."""
        return f"Export({str(self.folder)!r}, {[file.name for file in self.files]})"

    def __str__(self) -> str:
        """Return the table."""
        rows = [_row(file) for file in self.files]
        return "\n".join([str(self.folder), *_laid_out(rows), *(f"- {n}" for n in self.notes)])


class ViewedModel:
    """A model and what `trim` knows of it.

    Attributes
    ----------
    model : object
        The model itself where its view was given to `trim`.
    view : ModelView
    network : Network or None
        The network that the model is; a perceptron of scikit-learn is one.
    """

    def __init__(self, model: Any, view: ModelView) -> None:
        self.model, self.view = viewed_model(model), view
        network = getattr(self.view, "network", model)
        self.network = network if isinstance(network, Network) else None


@dataclass(frozen=True)
class Models:
    """What formats are made of.

    Attributes
    ----------
    original, trimmed : ViewedModel
    input_shape : tuple of int or None
        Of a sample, None if it is not known.
    recipe : mapping
    """

    original: ViewedModel
    trimmed: ViewedModel
    input_shape: tuple[int, ...] | None
    recipe: Mapping[str, Any]

    def network(self, format: str) -> Network:
        """Return the trimmed model as a `Network`."""
        if self.trimmed.network is None:
            kind = type(self.trimmed.model).__name__
            raise Unavailable(f"{format} wants a nettrim.Network, the model is a {kind}")
        return self.trimmed.network

    def sample_shape(self, network: Network) -> tuple[int, ...]:
        """Return the shape of what goes into a network."""
        n_features = network.layers[0].n_features
        if self.input_shape is not None:
            return self.input_shape
        if n_features is None:
            raise Unavailable("header wants input_shape, the shape of a sample")
        return (n_features,)


def export_file(folder: Path, name: str, write: Callable[[Path], object]) -> int:
    """Let something be written whole or not at all; return its bytes, files beside it included."""
    with write_atomically(folder / name) as path:
        write(path)
        return _size(path.parent)


def describe_file(folder: Path, name: str, write: Callable[[Path], object]) -> int:
    """Return the bytes of what is written, of which nothing stays."""
    with TemporaryDirectory(prefix=f".{name}.", dir=folder) as temporary:
        write(Path(temporary, name))
        return _size(Path(temporary))


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def _row(file: ExportedFile) -> list[str]:
    before = "" if file.before is None else f"{file.before:,}"
    ratio = "" if file.ratio is None else f"{file.ratio:.1f}x"
    return [file.name, file.format, before, f"{file.after:,}", ratio]


def _laid_out(rows: list[list[str]]) -> list[str]:
    columns = [
        TableColumn("file", "<"),
        TableColumn("format", "<"),
        *map(TableColumn, ("bytes before", "after", "")),
    ]
    return [format_table(columns, rows[:-1], rows[-1])] if rows else []
